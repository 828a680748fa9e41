"""cluster/aws.yaml, and what Ray's launcher makes of it on a simulated account; nothing here asks AWS."""

from __future__ import annotations

import copy
import json
import os
import shutil
import string
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.client import BaseClient
from moto import mock_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config

ROOT = Path(__file__).resolve().parents[3]
POLICIES = ROOT / "cluster" / "iam"
NAMES = {"ACCOUNT": "123456789012", "REGION": "us-west-2", "BUCKET": "memo"}


def tool(name: str) -> str:
    """A program that some checks need: on PATH, or among the release's tools. Skips without it, but never on GitHub."""
    found = shutil.which(name) or shutil.which(name, path=str(ROOT / ".venv-release" / "bin"))
    if found is None and os.environ.get("GITHUB_ACTIONS") == "true":
        pytest.fail(f"{name} is not on PATH, and the workflow should have brought it")
    return found or pytest.skip(f"{name} is not on PATH")


def config() -> dict[str, Any]:
    return copy.deepcopy(parsed())


@cache
def parsed() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster" / "aws.yaml").read_text())


def workers() -> dict[str, dict[str, Any]]:
    """Node types but the head's."""
    types = config()["available_node_types"]
    return {name: node for name, node in types.items() if name != config()["head_node_type"]}


def policy(name: str) -> list[dict[str, Any]]:
    """The statements of cluster/iam/NAME.json with names in place of its variables."""
    document = json.loads(string.Template((POLICIES / f"{name}.json").read_text()).safe_substitute(NAMES))
    assert set(document) == {"Version", "Statement"} and document["Version"] == "2012-10-17"
    return document["Statement"]


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def actions(statements: list[dict[str, Any]], service: str = "") -> set[str]:
    return {one for s in statements for one in listed(s["Action"]) if one.startswith(service)}


@dataclass(frozen=True)
class Launch:
    """What Ray's launcher did on the simulated account, once for all tests: calls as policies name them."""

    ready: dict[str, Any]
    provider: AWSNodeProvider
    asked_by_person: set[str]
    asked_by_head: set[str]
    instances: list[dict[str, Any]]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A simulated account with the roles and the security group that docs/clusters.md has people make."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", config()["provider"]["region"])
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # where the launcher keeps the key pair
        iam, ec2 = boto3.client("iam"), boto3.client("ec2")
        for role in ("head", "node"):
            iam.create_instance_profile(InstanceProfileName=f"memo-ray-{role}")
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(GroupName="memo-ray", Description="memo-ray", VpcId=vpc)["GroupId"]
        rule = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
        yield


@pytest.fixture(scope="module")
def launch(account: None) -> Launch:
    """`ray up`, a node of every type, and the end of all of them."""
    with recorded() as asked_by_person:
        filled = AWSNodeProvider.fillout_available_node_types_resources(prepare_config(config()))
        ready = AWSNodeProvider.bootstrap_config(filled)
    with recorded() as asked_by_head:
        provider = AWSNodeProvider(ready["provider"], ready["cluster_name"])
        for name in ready["available_node_types"]:
            create(ready, provider, name)
        nodes = provider.non_terminated_nodes({})
        provider.set_node_tags(nodes[0], {"ray-node-status": "up-to-date"})
        instances = [i for r in boto3.client("ec2").describe_instances()["Reservations"] for i in r["Instances"]]
        provider.terminate_nodes(nodes[1:])
        provider.terminate_node(nodes[0])
    # Tags of a launch are asked for in the launch itself, but need their own permission.
    return Launch(ready, provider, asked_by_person, {*asked_by_head, "ec2:CreateTags"}, instances)


def create(ready: dict[str, Any], provider: AWSNodeProvider, name: str) -> None:
    provider.create_node(ready["available_node_types"][name]["node_config"], {"ray-user-node-type": name}, 1)


@contextmanager
def recorded() -> Iterator[set[str]]:
    """The calls to AWS within the block."""
    made: set[str] = set()
    original = BaseClient._make_api_call  # type: ignore[attr-defined]

    def call(client: Any, operation: str, arguments: Any) -> Any:
        made.add(f"{client.meta.service_model.service_name}:{operation}")
        return original(client, operation, arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", call)
        yield made
