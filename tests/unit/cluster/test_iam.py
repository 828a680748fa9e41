"""cluster/iam: what the policies allow, held against the calls that Ray's launcher and our store make."""

from __future__ import annotations

import re
from typing import Any

import boto3
import pytest
from botocore import xform_name
from botocore.session import get_session

from tests.unit.cluster.conftest import NAMES, POLICIES, ROOT, actions, config, listed, policy, recorded, workers

CLUSTERS = (ROOT / "docs" / "clusters.md").read_text()


@pytest.mark.parametrize("name", ["node", "head", "person"])
def test_a_policy_names_its_actions_and_limits_what_changes_something(name: str) -> None:
    unlimited = ("Describe", "UpdateInstanceInformation", "CreateControlChannel", "CreateDataChannel",
                 "OpenControlChannel", "OpenDataChannel")  # fmt: skip
    for statement in policy(name):
        assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"} and statement["Effect"] == "Allow"
        assert not [action for action in listed(statement["Action"]) if "*" in action]
        if "*" in listed(statement["Resource"]):
            verbs = [action.partition(":")[2] for action in listed(statement["Action"])]
            assert all(verb.startswith(unlimited) for verb in verbs), "AWS limits these to a resource"


@pytest.mark.parametrize("name", ["head", "person"])
def test_only_the_clusters_own_nodes_are_launched_tagged_and_ended(name: str) -> None:
    for statement in policy(name):
        to_instances = any(":instance/" in resource for resource in listed(statement["Resource"]))
        if to_instances and actions([statement]) != {"ssm:StartSession"}:
            (condition,) = statement["Condition"]["StringEquals"].items()
            assert condition in {
                ("aws:RequestTag/ray-cluster-name", config()["cluster_name"]),
                ("aws:ResourceTag/ray-cluster-name", config()["cluster_name"]),
                ("ec2:CreateAction", "RunInstances"),
            }


def test_a_role_is_passed_to_nothing_but_what_the_config_names() -> None:
    types = config()["available_node_types"]
    for name, node in {"head": "cpu-spot", "person": "head"}.items():
        (passing,) = (s for s in policy(name) if "iam:PassRole" in listed(s["Action"]))
        assert passing["Resource"].rpartition("/")[2] == types[node]["node_config"]["IamInstanceProfile"]["Name"]
    assert {node["node_config"]["IamInstanceProfile"]["Name"] for node in workers().values()} == {"memo-ray-node"}


def test_a_node_may_do_to_the_bucket_what_the_store_does(account: None) -> None:
    """Every operation of a place on S3, taken from its own calls; multipart uploads need s3:PutObject."""
    from memo_ray.artifacts.place import open_place
    from memo_ray.artifacts.s3_client import _client

    boto3.client("s3").create_bucket(Bucket="memo", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    _client.cache_clear()
    try:
        with recorded() as calls:
            place = open_place("s3://memo/runs/one")
            place.put("a.json", b"{}")
            assert place.put_new("b.json", b"{}") and place.get("a.json") == b"{}"
            with place.exclusive("test") as held, place.storing("model") as folder:
                (folder / "weights").write_bytes(bytes(40 * 2**20))
                held()
            open_place("s3://memo/runs/two").adopt(place, "model", "model")
            assert list(place.names())
            place.remove("model")
    finally:
        _client.cache_clear()
    permission = {
        **dict.fromkeys(("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"), "PutObject"),
        **dict.fromkeys(("GetObject", "HeadObject"), "GetObject"),
        **dict.fromkeys(("DeleteObject", "DeleteObjects"), "DeleteObject"),
        **dict.fromkeys(("ListObjectsV2", "HeadBucket"), "ListBucket"),
        "AbortMultipartUpload": "AbortMultipartUpload",
    }
    copies = {"CopyObject", "UploadPartCopy"}  # GetObject on the one, PutObject on the other
    used = {call.partition(":")[2] for call in calls if call.startswith("s3:")} - copies
    assert {f"s3:{permission[operation]}" for operation in used} <= actions(policy("node"))
    # A transfer that fails is aborted; nothing here fails.
    assert actions(policy("node")) - {f"s3:{permission[name]}" for name in used} == {"s3:AbortMultipartUpload"}


def shown() -> str:
    """The block of docs/clusters.md that sets an account up."""
    return next(text for text in re.findall(r"```bash\n(.*?)```", CLUSTERS, re.DOTALL) if "create-role" in text)


def test_the_page_sets_up_every_policy_with_variables_that_it_names() -> None:
    for name in (path.stem for path in POLICIES.iterdir()):
        assert re.search(rf"\b(put \w+ {name}|for name in [a-z ]*\b{name}\b.*|{name}\.json)", shown()), name
    used = set(re.findall(r"\$([A-Z]+)", shown()))
    made = set(re.findall(r"^([A-Z]+)=", shown(), re.MULTILINE))
    assert used - made == set(re.findall(r"`([A-Z]+)`", CLUSTERS.partition("Once, in the account")[2][:120]))
    assert used - made == {*NAMES, "VPC"}


def test_the_pages_commands_are_calls_that_aws_knows() -> None:
    commands = re.findall(r"\baws (iam|ec2) ([a-z-]+)((?: +(?:--[a-z-]+|[^\s;)#`-]\S*))*)", shown())
    assert len(commands) == 10
    for service, verb, options in commands:
        model: Any = get_session().get_service_model(service)
        operations = {xform_name(name, "-"): name for name in model.operation_names}
        members = model.operation_model(operations[verb]).input_shape.members
        known = {xform_name(name, "-") for name in members} | {"query", "output", "protocol", "source-group"}
        assert set(re.findall(r"--([a-z-]+)", options)) <= known, verb


def test_an_account_that_never_had_spot_gets_its_role() -> None:
    """Through the API spot is refused without it, and neither head nor operator may make roles."""
    assert any(node["node_config"].get("InstanceMarketOptions") for node in workers().values())
    assert "create-service-linked-role --aws-service-name spot.amazonaws.com" in shown()
    assert all("iam:CreateServiceLinkedRole" not in actions(policy(name)) for name in ("head", "person", "node"))


def test_who_launches_spot_may_request_it() -> None:
    launched_by = {"head": workers().values(), "person": [config()["available_node_types"]["head"]]}
    for name, types in launched_by.items():
        spot = any(node["node_config"].get("InstanceMarketOptions") for node in types)
        resources = [
            r for s in policy(name) if "ec2:RunInstances" in listed(s["Action"]) for r in listed(s["Resource"])
        ]
        assert any(":spot-instances-request/" in resource for resource in resources) == spot


@pytest.mark.parametrize(("holder", "names", "most"), [("group", "node person", 5120), ("role", "node head", 10240)])
def test_policies_fit_into_what_holds_them(holder: str, names: str, most: int) -> None:
    """IAM's limits for all policies written into one group or role; spaces do not count."""
    texts = "".join((POLICIES / f"{name}.json").read_text() for name in names.split())
    assert len(re.sub(r"\s", "", texts)) + 300 < most, "a bucket's and an account's names come on top"
