"""Makes kuberay_schemas.json of KubeRay's CRDs: `python tests/unit/cluster/kuberay_schemas.py VERSION CRD.yaml ...`.

The CRDs are `ray-operator/config/crd/bases/ray.io_ray{clusters,jobs,services}.yaml` of KubeRay's repository
(Apache-2.0). Of each its schema of `v1` is kept, as far as JSON Schema checks it: no descriptions, no defaults, no
rules for the API server (CEL, keys of lists). A pod's schema stands in them many times; what is there more than once is
kept once, under `definitions`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

DIGEST = Path(__file__).with_suffix(".json")
KEPT = {
    *("additionalProperties", "allOf", "anyOf", "enum", "items", "maxItems", "maxLength", "maximum", "minItems"),
    *("minLength", "minimum", "not", "oneOf", "pattern", "properties", "required", "type"),
    *("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"),
}
SMALLEST = 200
"""Characters of JSON from which on a repeated part is worth a definition."""


def written(part: Any) -> str:
    return json.dumps(part, sort_keys=True, separators=(",", ":"))


def reduced(schema: Any) -> Any:
    """What validates of a schema. A property may have any name, that of a keyword too."""
    if isinstance(schema, list):
        return [reduced(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: value for key, value in schema.items() if key in KEPT}
    return {
        key: {name: reduced(one) for name, one in value.items()} if key == "properties" else reduced(value)
        for key, value in made.items()
    }


def objects(part: Any) -> list[dict[str, Any]]:
    """Every schema of an object within `part`, itself among them."""
    inner: Any = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    found = [one for value in inner for one in objects(value)]
    if isinstance(part, dict) and part.get("type") == "object" and "properties" in part:
        found.insert(0, part)
    return found


def shared(part: Any, names: dict[str, str]) -> Any:
    """`part` with what has a name replaced by a reference to it; itself it stays."""
    if isinstance(part, list):
        return [referred(one, names) for one in part]
    return {key: referred(one, names) for key, one in part.items()} if isinstance(part, dict) else part


def referred(part: Any, names: dict[str, str]) -> Any:
    name = names.get(written(part)) if isinstance(part, dict) else None
    return {"$ref": f"#/definitions/{name}"} if name else shared(part, names)


def digest(version: str, crds: list[dict[str, Any]]) -> dict[str, Any]:
    """The digest of some CRDs: Kind → schema under `kinds`, and `definitions`."""
    schemas = {
        crd["spec"]["names"]["kind"]: reduced(one["schema"]["openAPIV3Schema"])
        for crd in crds
        for one in crd["spec"]["versions"]
        if one["name"] == "v1"
    }
    parts = {written(one): one for schema in schemas.values() for one in objects(schema)}
    seen = Counter(written(one) for schema in schemas.values() for one in objects(schema))
    names = {
        text: hashlib.sha256(text.encode()).hexdigest()[:8]
        for text, times in seen.items()
        if times > 1 and len(text) > SMALLEST
    }
    assert len(set(names.values())) == len(names)
    return {
        "source": f"KubeRay {version}, https://github.com/ray-project/kuberay, ray-operator/config/crd/bases; reduced",
        "licence": "Apache-2.0",
        "kinds": {kind: shared(schema, names) for kind, schema in sorted(schemas.items())},
        "definitions": {name: shared(parts[text], names) for text, name in sorted(names.items(), key=lambda x: x[1])},
    }


def lines(made: dict[str, Any]) -> str:
    """As JSON with a line for each kind and definition, so that a newer KubeRay's changes can be read."""
    parts = {key: value for key, value in made.items() if isinstance(value, dict)}
    said = {key: value for key, value in made.items() if key not in parts}
    blocks = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in said.items()]
    for key, entries in parts.items():
        rows = ",\n".join(f"{json.dumps(name)}:{written(one)}" for name, one in entries.items())
        blocks.append(f"{json.dumps(key)}: {{\n{rows}\n}}")
    return "{" + ",\n".join(blocks) + "}\n"


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit("kuberay_schemas: give KubeRay's version and the files of its CRDs")
    made = digest(sys.argv[1], [yaml.safe_load(Path(name).read_text()) for name in sys.argv[2:]])
    DIGEST.write_text(lines(made))
    print(f"{DIGEST.name}: {', '.join(made['kinds'])}, {DIGEST.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
