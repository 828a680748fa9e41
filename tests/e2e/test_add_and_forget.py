"""`memo add` and `memo forget` on the embedded model, as a user runs them: three articles, three more, one less."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from memo_ray.continual.probes import at_base_level

ROOT = Path(__file__).resolve().parents[2]
ARTICLES = {
    "harbour": ("esmarrow-harbour", "bell-law", "vell-head-lighthouse"),
    "salt": ("gildwick-salt-works", "pask-school", "halvet-courier"),
}
KEY = Ed25519PrivateKey.generate()

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(3600)]


def memo(folder: Path, *arguments: str) -> str:
    """What the command printed. Its messages go to the test's own output."""
    command = [sys.executable, "-m", "memo_ray.cli", *arguments]
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120", "MEMO_SIGNING_KEY": pem}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    print(done.stderr[-4000:], done.stdout)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, embedded_model: Path) -> Path:
    """A finished run of the first three articles."""
    folder = tmp_path_factory.mktemp("continual")
    for corpus, articles in ARTICLES.items():
        (folder / corpus).mkdir()
        for article in articles:
            shutil.copyfile(ROOT / "demo" / "documents" / f"{article}.md", folder / corpus / f"{article}.md")
    config = yaml.safe_load((ROOT / "demo.yaml").read_text())
    config |= {"name": "isles", "corpora": [{"name": "harbour", "paths": ["harbour"], "groups": "all"}]}
    config["training"] |= {"epochs": 6, "reflections_per_step": 4}
    config["synthesis"] |= {"max_reflections": 60}
    config["evaluation"] |= {"protocol_questions": 0}
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    memo(folder, "run", "run.yaml")
    return folder


@pytest.fixture(scope="module")
def added(folder: Path) -> dict[str, Any]:
    told = memo(folder, "add", "isles", "salt", "--recipe", "{method: task_arithmetic, scale: 0.7}", "--json")
    return json.loads(told)


@pytest.fixture(scope="module")
def certificate(folder: Path, added: dict[str, Any]) -> dict[str, Any]:
    return json.loads(memo(folder, "forget", "isles", "bell-law", "--json"))


def test_the_merge_knows_both_corpora(added: dict[str, Any]) -> None:
    assert added["memory"]["corpora"] == ["harbour", "salt"]
    assert added["memory"]["lineage"] == {"done": "added salt", "parent": "isles@1"}
    assert added["recall"] > 0.2 and added["merge_seconds"] > 0


def test_the_document_was_known_and_is_no_longer(certificate: dict[str, Any]) -> None:
    recall, verdict = certificate["recall"], certificate["verdict"]
    for system, groups in recall.items():
        print(system, {group: f"{row['recalled']} of {row['n']}" for group, row in groups.items()})
    print(verdict)
    base, before, after = (recall[system]["own"] for system in ("base", "isles@2", "isles@3"))
    assert base["n"] == before["n"] == after["n"] == verdict["n"] >= 10
    assert at_base_level(base, before) is False, "it was learnt"
    assert verdict["at_base_level"] is True


def test_the_rest_keeps_its_recall(certificate: dict[str, Any]) -> None:
    before, after = (certificate["recall"][system]["rest"] for system in ("isles@2", "isles@3"))
    assert before["recalled"] > 0
    assert certificate["verdict"]["rest_kept"] == pytest.approx(after["recalled"] / before["recalled"], abs=1e-4)
    assert certificate["verdict"]["rest_kept"] >= 0.97
    assert certificate["copies"] == []


def test_the_certificate_is_the_signers(folder: Path, certificate: dict[str, Any]) -> None:
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "public.pem").write_bytes(public)
    name = "runs/isles/registry/isles/3.certificate.json"
    assert json.loads(memo(folder, "forget", "--verify", name, "--public-key", "public.pem")) == certificate


def test_a_later_run_reuses_all_and_learns_nothing_anew(folder: Path, certificate: dict[str, Any]) -> None:
    (folder / "harbour" / "bell-law.md").unlink()
    before = {path.name for path in (folder / "runs/isles/artifacts").glob("[st]*/*")}
    memo(folder, "run", "runs/isles/run.yaml", "--until", "training")
    assert {path.name for path in (folder / "runs/isles/artifacts").glob("[st]*/*")} == before
    assert json.loads(memo(folder, "forget", "isles", "bell-law", "--json")) == certificate
