"""cluster/aws.yaml, by Ray's own schema, launcher and scheduler, and a simulated EC2.

The simulation (moto) checks requests against the EC2 API's own description: a key that EC2 does not know fails.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import jsonschema
import pytest
import ray
from botocore.exceptions import ParamValidationError
from ray.autoscaler._private.command_runner import SSHCommandRunner
from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer, get_nodes_for
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.node_launch_exception import NodeLaunchException

from memo_ray.models.ray_limits import AutoscalesTo
from tests.unit.cluster.conftest import ROOT, Launch, actions, config, create, policy, tool, workers


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


def test_what_git_leaves_out_stays_here_too() -> None:
    """A pattern of .gitignore, whose last `/` means a folder; and what lies beside a checkout's sources otherwise."""
    ignored = {line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line[:1] not in {"", "#"}}
    tops = {"/site", "/.venv-release", "/.hipporag"}  # the latter two may lie anywhere
    excluded = set(config()["rsync_exclude"])
    assert {one.lstrip("/") for one in ignored | tops} <= {one.lstrip("/") for one in excluded}
    assert {".git", "*.pem", "/shared", "/data"} <= excluded


def test_ray_up_sends_the_sources_and_no_key_data_or_environment(tmp_path: Path) -> None:
    """By rsync itself, with the arguments that Ray's launcher gives it."""
    rsync = tool("rsync")
    tracked = ["memo_ray/corpus/loading.py", "requirements/gpu.txt", "serve_configs/laptop.yaml", "docs/runs/site/a.md"]
    kept_here = [
        *("key.pem", "deep/er/key.pem", ".venv/bin/python", ".venv-release/x", ".hipporag/x", "site/index.html"),
        *("dist/a.whl", "build/x", "shared/data/x", "data/musique/x", "runs/demo/run.yaml", "reports/x", ".git/HEAD"),
        *("memo_ray/__pycache__/x.pyc", "memo_ray.egg-info/PKG-INFO", ".hypothesis/x"),
    ]
    for name in [*tracked, *kept_here]:
        (tmp_path / "from" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "from" / name).write_text("")
    chosen: Any = SSHCommandRunner._create_rsync_filter_args
    arguments = chosen(None, options={"rsync_exclude": config()["rsync_exclude"]})
    subprocess.run([rsync, "-a", *arguments, f"{tmp_path}/from/", f"{tmp_path}/to/"], check=True, timeout=60)
    sent = {path.relative_to(tmp_path / "to").as_posix() for path in (tmp_path / "to").rglob("*") if path.is_file()}
    assert sent == set(tracked)


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
