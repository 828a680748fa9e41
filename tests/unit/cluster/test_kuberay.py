"""cluster/kuberay as Kustomize renders it, against the schemas of KubeRay and of Kubernetes, strictly."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from ray.serve.schema import ServeDeploySchema

from memo_ray.config.models import VllmModel
from memo_ray.models.ray_limits import AutoscalesTo
from memo_ray.serving.options import gpus_of
from memo_ray.serving.ray_serving import AppArguments
from tests.unit.cluster.conftest import tool
from tests.unit.cluster.kuberay_schemas import DIGEST

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "cluster" / "kuberay"
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())
WITH_GPUS = [name for name in OVERLAYS if name != "cpu"]
STAGES = ("corpus", "synthesis", "training", "merging", "evaluation")
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


@cache
def rendered(folder: str) -> tuple[dict[str, Any], ...]:
    """Every object that `kubectl apply -k` would send."""
    command = ["kustomize", "build"] if shutil.which("kustomize") else [tool("kubectl"), "kustomize"]
    done = subprocess.run([*command, str(FOLDER / folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def objects(overlay: str, kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in rendered(f"overlays/{overlay}") if one["kind"] == kind}


def ray_specs(overlay: str) -> dict[str, dict[str, Any]]:
    """Name → what every object of Ray says of its cluster."""
    jobs = {name: job["spec"]["rayClusterSpec"] for name, job in objects(overlay, "RayJob").items()}
    served = {name: one["spec"]["rayClusterConfig"] for name, one in objects(overlay, "RayService").items()}
    return {name: one["spec"] for name, one in objects(overlay, "RayCluster").items()} | jobs | served


def pods(overlay: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod's spec, with its place: those of Ray, and Redis."""
    for name, spec in ray_specs(overlay).items():
        yield f"{name}/head", spec["headGroupSpec"]["template"]["spec"]
        for group in spec["workerGroupSpecs"]:
            yield f"{name}/{group['groupName']}", group["template"]["spec"]
    for name, one in objects(overlay, "StatefulSet").items():
        yield name, one["spec"]["template"]["spec"]


def amount(quantity: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(\w*)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * UNITS.get(unit, 1)


# Schemas --------------------------------------------------------------------------------------------------------------


@cache
def crd(kind: str) -> dict[str, Any]:
    """KubeRay's schema of `kind` without room for unknown keys."""
    made = json.loads(DIGEST.read_text())
    return closed(made["kinds"][kind] | {"definitions": made["definitions"]})


def closed(schema: Any) -> Any:
    """The schema with unknown keys forbidden wherever it names some."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    named = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if named and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


@pytest.mark.parametrize("folder", [f"overlays/{name}" for name in OVERLAYS])
def test_kuberays_schemas_take_what_is_rendered(folder: str) -> None:
    seen = [one for one in rendered(folder) if one["apiVersion"] == "ray.io/v1"]
    assert {"RayCluster", "RayJob"} <= {one["kind"] for one in seen}
    for one in seen:
        jsonschema.Draft7Validator(crd(one["kind"])).validate(one)


@pytest.mark.parametrize("folder", [f"overlays/{name}" for name in OVERLAYS])
def test_kubernetes_schemas_take_what_is_rendered(folder: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    core = [one for one in rendered(folder) if one["apiVersion"] != "ray.io/v1"]
    assert {"NetworkPolicy", "PodDisruptionBudget", "Role", "StatefulSet"} <= {one["kind"] for one in core}
    for one in core:
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize(
    "place", [("spec",), ("spec", "headGroupSpec", "template", "spec"), ("spec", "autoscalerOptions", "resources")]
)
def test_a_misspelt_key_would_be_noticed(place: tuple[str, ...]) -> None:
    wrong = json.loads(json.dumps(objects("gpu", "RayCluster")["memo"]))
    where = wrong
    for key in place:
        where = where[key]
    where["nodeSelecter"] = {}
    with pytest.raises(jsonschema.ValidationError, match="nodeSelecter"):
        jsonschema.Draft7Validator(crd("RayCluster")).validate(wrong)


def test_tls_is_one_component_more(tmp_path: Path) -> None:
    copy = tmp_path / "cluster" / "kuberay"
    shutil.copytree(FOLDER, copy)
    shutil.copytree(ROOT / "serve_configs", tmp_path / "serve_configs")
    overlay = copy / "overlays" / "gpu" / "kustomization.yaml"
    overlay.write_text(overlay.read_text().replace("components:\n", "components:\n  - ../../tls\n"))
    for one in rendered(str(copy / "overlays" / "gpu")):
        if one["apiVersion"] == "ray.io/v1":
            jsonschema.Draft7Validator(crd(one["kind"])).validate(one)
            spec = one["spec"]
            spec = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
            assert spec["tlsOptions"] == {"enabled": True}, one["kind"]


# What it says ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_stage_is_a_job_of_the_same_pods(overlay: str) -> None:
    jobs = objects(overlay, "RayJob")
    run = objects(overlay, "ConfigMap")["memo-run"]["data"]["MEMO_RUN"]
    assert jobs.keys() == {f"memo-{stage}" for stage in STAGES}
    for stage in STAGES:
        job = jobs[f"memo-{stage}"]
        assert job["spec"]["entrypoint"] == f"python -m jobs.{stage} {run}"
        assert (ROOT / "jobs" / f"{stage}.py").is_file()
        assert job["metadata"]["labels"] == {"memo-ray/part": stage}
        assert job["spec"]["rayClusterSpec"] == objects(overlay, "RayCluster")["memo"]["spec"]
        # A lost head is tried again, once, since a user's mistake is too; no cluster stays behind.
        assert job["spec"]["backoffLimit"] == 1 and job["spec"]["shutdownAfterJobFinishes"] is True


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_clusters_want_a_token_start_from_nothing_and_outlive_their_head(overlay: str) -> None:
    for name, spec in ray_specs(overlay).items():
        assert spec["rayVersion"] == ray.__version__
        assert spec["authOptions"] == {"mode": "token"}
        assert spec["enableInTreeAutoscaling"] is True and spec["autoscalerOptions"]["version"] == "v2"
        assert spec["gcsFaultToleranceOptions"]["redisAddress"] == "redis://memo-redis:6379"
        assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        least = {group["minReplicas"] for group in spec["workerGroupSpecs"]}
        assert least == ({1} if name == "memo-serving" else {0})


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_head_is_told_how_far_the_cluster_grows(overlay: str) -> None:
    told = objects(overlay, "ConfigMap")["memo-size"]["data"]["MEMO_AUTOSCALES_TO"]
    limits = AutoscalesTo.model_validate_json(told)
    groups = objects(overlay, "RayCluster")["memo"]["spec"]["workerGroupSpecs"]
    nodes = [(g["maxReplicas"], g["template"]["spec"]["containers"][0]["resources"]["limits"]) for g in groups]
    assert sum(count * amount(one["cpu"]) for count, one in nodes) == limits.CPU
    assert sum(count * amount(one.get("nvidia.com/gpu", "0")) for count, one in nodes) == limits.GPU
    # Ray keeps three tenths of a node's memory for its object store.
    assert 0 < limits.node_memory <= 0.7 * max(amount(one["memory"]) for _, one in nodes)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_run_one_image_without_root_rights_or_kubernetes_token(overlay: str) -> None:
    images = set()
    for place, pod in pods(overlay):
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0, place
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, place
        assert container["securityContext"]["allowPrivilegeEscalation"] is False, place
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, place
        assert not [volume for volume in pod.get("volumes", []) if "hostPath" in volume], place
        # Only the head's autoscaler speaks to Kubernetes.
        assert pod.get("automountServiceAccountToken", True) is place.endswith("/head"), place
        if container["name"].startswith("ray-"):
            images.add(container["image"])
            # What is asked for is what is granted, or Ray would promise cores and memory that are not there.
            assert container["resources"]["requests"] == container["resources"]["limits"], place
            assert {"/dev/shm", "/var/cache/memo-ray/s3"} == {m["mountPath"] for m in container["volumeMounts"]}, place
    assert images == {"memo-ray:cpu" if overlay == "cpu" else "memo-ray:gpu"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_gpus_are_asked_for_where_the_taint_is_tolerated_and_nowhere_on_the_cpu(overlay: str) -> None:
    with_gpus = set()
    for place, pod in pods(overlay):
        if "nvidia.com/gpu" in pod["containers"][0]["resources"].get("limits", {}):
            with_gpus.add(place)
            assert "nvidia.com/gpu" in {one["key"] for one in pod["tolerations"]}, place
    assert bool(with_gpus) is (overlay != "cpu")
    for place, pod in pods(overlay):
        if "/" in place:
            assert pod["nodeSelector"] == {"memo-ray/pool": place.partition("/")[2]}
            spot = "memo-ray/spot" in {one["key"] for one in pod.get("tolerations", [])}
            assert spot is place.endswith(("/cpu", "/generation")), "serving and training stay off spot"


@pytest.mark.parametrize("overlay", WITH_GPUS)
def test_the_service_serves_the_shipped_config_on_nodes_that_hold_its_engines(overlay: str) -> None:
    service = objects(overlay, "RayService")["memo-serving"]["spec"]
    assert service["serveConfigV2"] == (ROOT / "serve_configs" / "many_memories.yaml").read_text()
    config = ServeDeploySchema.model_validate(yaml.safe_load(service["serveConfigV2"]))
    assert (config.http_options.host, config.http_options.port) == ("0.0.0.0", 8000)
    arguments = AppArguments.model_validate_json(json.dumps(config.applications[0].args))
    assert arguments.run == objects(overlay, "ConfigMap")["memo-run"]["data"]["MEMO_RUN"]
    (group,) = service["rayClusterConfig"]["workerGroupSpecs"]
    pod = group["template"]["spec"]
    gpus = int(pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"])
    engines = [m for m in (arguments.serving.memory, arguments.serving.executive) if isinstance(m, VllmModel)]
    assert engines and sum(gpus_of(model) for model in engines) <= gpus
    assert pod["terminationGracePeriodSeconds"] > arguments.serving.drain_timeout_s
    assert arguments.serving.api_key_env == "MEMO_API_KEY"
    assert {"secretRef": {"name": "memo-keys", "optional": True}} in pod["containers"][0]["envFrom"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_is_reached_but_what_a_policy_opens(overlay: str) -> None:
    policies = objects(overlay, "NetworkPolicy")
    assert policies["memo-closed"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    open_to = {
        port["port"]: name
        for name, policy in policies.items()
        for rule in policy["spec"].get("ingress", [])
        for port in rule.get("ports", [])
    }
    assert {8265: "memo-operator", 6379: "memo-redis", 8080: "memo-monitoring"}.items() <= open_to.items()
    assert 10001 not in open_to, "nobody needs Ray's client server"
    # Clients reach the gateway alone, and only pods that serve.
    clients = policies["memo-clients"]["spec"]
    assert clients["podSelector"]["matchLabels"]["ray.io/serve"] == "true"
    assert [port["port"] for rule in clients["ingress"] for port in rule["ports"]] == [8000]
    # No rule lets anybody in without saying who, and nothing but TLS leaves to everywhere.
    rules = [rule for policy in policies.values() for rule in policy["spec"].get("ingress", [])]
    assert rules and all(rule.get("from") for rule in rules)
    leaving = [rule for policy in policies.values() for rule in policy["spec"].get("egress", []) if "to" not in rule]
    assert [port["port"] for rule in leaving for port in rule["ports"]] == [443, 6443]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_roles_name_what_they_allow(overlay: str) -> None:
    roles = {name: role["rules"] for name, role in objects(overlay, "Role").items()}
    assert not [one for one in rendered(f"overlays/{overlay}") if one["kind"].startswith("ClusterRole")]
    for name, rules in roles.items():
        for rule in rules:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"], name
            if "secrets" in rule["resources"]:
                assert (rule["verbs"], rule["resourceNames"]) == (["get"], ["memo"]), name
    changing = {verb for rule in roles["memo-viewer"] for verb in rule["verbs"]} - {"get", "list", "watch"}
    assert changing == set()
    assert {verb for rule in roles["memo-autoscaler"] for verb in rule["verbs"]} == {"get", "list", "watch", "patch"}
    accounts = objects(overlay, "ServiceAccount")
    assert accounts["memo-worker"]["automountServiceAccountToken"] is False
    assert {pod.get("serviceAccountName") for _, pod in pods(overlay)} <= {None, *accounts}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_object_holds_a_secret(overlay: str) -> None:
    assert objects(overlay, "Secret") == {}
    (namespace,) = (one for one in rendered(f"overlays/{overlay}") if one["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
