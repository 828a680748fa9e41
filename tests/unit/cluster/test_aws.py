"""cluster/aws.yaml, by Ray's own schema, launcher and scheduler and a simulated EC2, and the policies it runs under.

Nothing here asks AWS. The simulation (moto) checks requests against the EC2 API's own description, so that a key which
EC2 does not know fails.
"""

from __future__ import annotations

import copy
import json
import re
import string
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import boto3
import jsonschema
import pytest
import ray
import yaml
from botocore.client import BaseClient
from botocore.exceptions import ParamValidationError
from moto import mock_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer, get_nodes_for
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.node_launch_exception import NodeLaunchException

from memo_ray.models.ray_limits import AutoscalesTo

ROOT = Path(__file__).resolve().parents[3]
CONFIG = ROOT / "cluster" / "aws.yaml"
POLICIES = ROOT / "cluster" / "iam"
NAMES = {"ACCOUNT": "123456789012", "REGION": "us-west-2", "BUCKET": "memo"}


def config() -> dict[str, Any]:
    return copy.deepcopy(parsed())


@cache
def parsed() -> dict[str, Any]:
    return yaml.safe_load(CONFIG.read_text())


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


# The file -------------------------------------------------------------------------------------------------------------


def test_rays_own_schema_takes_the_file() -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(config(), schema)
    validate_config(prepare_config(config()))


@pytest.mark.parametrize("where", [(), ("auth",), ("available_node_types", "serving")])
def test_a_misspelt_key_would_be_noticed(where: tuple[str, ...]) -> None:
    wrong = config()
    place = wrong
    for key in where:
        place = place[key]
    place["max_worker"] = 1
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        validate_config(prepare_config(wrong))


def test_no_worker_stays_and_serving_is_never_on_spot() -> None:
    assert {node["min_workers"] for node in workers().values()} == {0}
    spot = {name for name, node in workers().items() if "InstanceMarketOptions" in node["node_config"]}
    assert spot == {name for name in workers() if name.endswith("-spot")}
    assert {"serving", "one-gpu-on-demand", "training-on-demand"} == workers().keys() - spot
    assert "InstanceMarketOptions" not in config()["available_node_types"]["head"]["node_config"]
    assert config()["max_workers"] == sum(node["max_workers"] for node in workers().values())


def test_nodes_are_told_how_far_the_cluster_grows() -> None:
    told = re.search(r"MEMO_AUTOSCALES_TO='(.*)'", "\n".join(config()["setup_commands"]))
    assert told
    limits = AutoscalesTo.model_validate_json(told.group(1))
    for kind, amount in {"CPU": limits.CPU, "GPU": limits.GPU}.items():
        assert amount == sum(node["max_workers"] * node["resources"].get(kind, 0) for node in workers().values())


def test_the_dashboard_is_private_and_every_node_wants_the_token() -> None:
    written = config()
    head, worker = written["head_start_ray_commands"][-1], written["worker_start_ray_commands"][-1]
    assert "--dashboard-host=127.0.0.1" in head and written["provider"]["use_internal_ips"] is True
    assert "~/.ray/auth_token" in written["file_mounts"]
    (environment,) = (command for command in written["setup_commands"] if "RAY_AUTH_MODE=token" in command)
    assert "cat > ~/.memo-ray.sh" in environment and f"AWS_REGION={written['provider']['region']}" in environment
    assert all(command.startswith(". ~/.memo-ray.sh;") for command in (head, worker))


def test_every_node_gets_our_lock_and_nothing_else() -> None:
    setup = config()["setup_commands"]
    (install,) = (command for command in setup if "install.py" in command)
    assert install.endswith("python3.11 requirements/install.py gpu .venv")
    assert not [command for command in setup if "pip install" in command]
    # Empty lists are needed, or Ray fills in a nightly build of its own.
    assert prepare_config(config())["head_setup_commands"] == prepare_config(config())["setup_commands"]


@pytest.mark.parametrize(
    ("waiting", "chosen"),
    [
        ([{"CPU": 1}], {"cpu-spot": 1}),
        ([{"CPU": 1, "GPU": 1}] * 3, {"one-gpu-spot": 3}),
        ([{"CPU": 1, "GPU": 1}] * 8, {"training-spot": 1}),
        ([{"CPU": 1, "GPU": 2}], {"serving": 1}),
        ([{"CPU": 1, "GPU": 8}] * 2, {"training-spot": 1, "training-on-demand": 1}),
    ],
)
def test_the_launchers_scheduler_chooses_the_types_that_the_comments_say(waiting: Any, chosen: dict[str, int]) -> None:
    scorer: Any = partial(_default_utilization_scorer, node_availability_summary=NodeAvailabilitySummary({}))
    types = prepare_config(config())["available_node_types"]
    found, left = get_nodes_for(types, {}, "head", config()["max_workers"], waiting, utilization_scorer=scorer)
    assert (dict(found), left) == (chosen, [])


# The launcher on a simulated EC2 --------------------------------------------------------------------------------------


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
        patch.setenv("AWS_DEFAULT_REGION", NAMES["REGION"])
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


def test_ray_launches_every_node_type_and_the_policies_allow_that_and_no_more(launch: Launch) -> None:
    assert len(launch.instances) == len(config()["available_node_types"])
    assert actions(policy("head"), "ec2:") == launch.asked_by_head
    assert actions(policy("person"), "ec2:") == launch.asked_by_person | launch.asked_by_head


def test_nodes_keep_to_the_private_group_need_a_metadata_token_and_encrypt_their_disks(launch: Launch) -> None:
    (group,) = boto3.client("ec2").describe_security_groups(GroupNames=["memo-ray"])["SecurityGroups"]
    assert all([g["GroupId"] for g in node["SecurityGroups"]] == [group["GroupId"]] for node in launch.instances)
    # Ray adds no rule to a group that has some; to one of its own making it would add SSH from everywhere.
    assert [rule["UserIdGroupPairs"][0]["GroupId"] for rule in group["IpPermissions"]] == [group["GroupId"]]
    for node in launch.ready["available_node_types"].values():
        assert node["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
        assert all(disk["Ebs"]["Encrypted"] for disk in node["node_config"]["BlockDeviceMappings"])


def test_a_key_that_ec2_does_not_know_is_noticed(launch: Launch) -> None:
    wrong = copy.deepcopy(launch.ready)
    wrong["available_node_types"]["serving"]["node_config"]["MetadataOption"] = {}
    with pytest.raises(ParamValidationError, match='Unknown parameter in input: "MetadataOption"'):
        create(wrong, launch.provider, "serving")


def test_without_the_roles_the_launch_names_what_is_missing(launch: Launch) -> None:
    wrong = copy.deepcopy(launch.ready)
    wrong["available_node_types"]["head"]["node_config"]["IamInstanceProfile"] = {"Name": "nobody"}
    with pytest.raises(NodeLaunchException, match="nobody not found"):
        create(wrong, launch.provider, "head")


# The policies ---------------------------------------------------------------------------------------------------------


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
