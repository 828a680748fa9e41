"""kuberay_schemas.json: what the digest of CRDs keeps, and that nothing is lost by keeping repeated parts once."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from tests.unit.cluster.kuberay_schemas import DIGEST, digest, lines, reduced

POD = {
    "type": "object",
    "description": "A pod.",
    "required": ["image"],
    "properties": {
        name: {"type": "string", "default": ""}
        for name in ("image", "default", "description", "node", "scheduler", "zone")
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"head": POD, "workers": {"type": "array", "items": POD, "x-kubernetes-list-type": "atomic"}},
}


def crd(schema: dict[str, Any]) -> dict[str, Any]:
    """A CRD of two versions, of which v1 has `schema`."""
    versions = [
        {"name": "v1alpha1", "schema": {"openAPIV3Schema": {}}},
        {"name": "v1", "schema": {"openAPIV3Schema": schema}},
    ]
    return {"spec": {"names": {"kind": "RayCluster"}, "versions": versions}}


def whole(part: Any, definitions: dict[str, Any]) -> Any:
    """`part` with every reference put in its place again."""
    if isinstance(part, list):
        return [whole(one, definitions) for one in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return whole(definitions[part["$ref"].rpartition("/")[2]], definitions)
    return {key: whole(one, definitions) for key, one in part.items()}


def test_a_repeated_part_is_kept_once_and_nothing_is_lost() -> None:
    made = json.loads(lines(digest("1.7.0", [crd(SCHEMA)])))
    (definition,) = made["definitions"].values()
    assert definition["properties"].keys() == POD["properties"].keys(), "a property may be called like a keyword"
    assert "description" not in definition
    assert whole(made["kinds"]["RayCluster"], made["definitions"]) == reduced(SCHEMA)


def test_references_are_followed_when_a_manifest_is_checked() -> None:
    made = digest("1.7.0", [crd(SCHEMA)])
    checks = jsonschema.Draft7Validator(made["kinds"]["RayCluster"] | {"definitions": made["definitions"]})
    checks.validate({"head": {"image": "one"}, "workers": [{"image": "two"}]})
    with pytest.raises(jsonschema.ValidationError, match="'image' is a required property"):
        checks.validate({"workers": [{}]})


def test_the_digest_names_its_version_and_licence_and_is_small() -> None:
    made = json.loads(DIGEST.read_text())
    assert made["source"].startswith("KubeRay 1.7") and made["licence"] == "Apache-2.0"
    assert set(made["kinds"]) == {"RayCluster", "RayJob", "RayService"}
    for schema in made["kinds"].values():
        assert "spec" in whole(schema, made["definitions"])["properties"]
    assert DIGEST.stat().st_size < 100_000
