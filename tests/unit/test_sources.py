"""pip's configuration becomes uv's arguments: the same sources, nothing invented."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from requirements.sources import Sources, configured_sources, parse_config

LISTED = """\
:env:.find-links='wheels more-wheels'
global.extra-index-url='https://one.invalid/simple\\nhttps://two.invalid/simple'
global.find-links='old'
global.index-url='https://main.invalid/simple'
global.trusted-host='one.invalid'
global.cert='ca.pem'
list.format='columns'
"""


def test_every_kind_of_source_is_read_and_the_environment_wins() -> None:
    assert parse_config(LISTED) == Sources(
        index_url="https://main.invalid/simple",
        extra_index_urls=("https://one.invalid/simple", "https://two.invalid/simple"),
        find_links=("wheels", "more-wheels"),
        trusted_hosts=("one.invalid",),
        cert="ca.pem",
    )


def test_uv_is_told_the_same() -> None:
    assert parse_config(LISTED).arguments() == [
        "--default-index=https://main.invalid/simple",
        "--index=https://one.invalid/simple",
        "--index=https://two.invalid/simple",
        "--index-strategy=unsafe-best-match",
        "--find-links=wheels",
        "--find-links=more-wheels",
        "--allow-insecure-host=one.invalid",
    ]


def test_a_bare_machine_uses_the_defaults_of_uv() -> None:
    assert parse_config("").arguments() == ["--index-strategy=unsafe-best-match"]
    assert parse_config("").environment() == {}


def test_without_an_index_only_the_links_are_left() -> None:
    sources = parse_config("global.no-index='true'\nglobal.extra-index-url='https://one.invalid'\n:env:.find-links='w'")
    assert sources.arguments() == ["--no-index", "--find-links=w"]


def test_pips_certificates_are_uvs_unless_it_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    assert parse_config(LISTED).environment() == {"SSL_CERT_FILE": "ca.pem"}
    monkeypatch.setenv("SSL_CERT_FILE", "mine.pem")
    assert parse_config(LISTED).environment() == {}


def test_the_real_pip_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://main.invalid/simple\nfind-links =\n    a\n    b\n"
    )
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_FIND_LINKS", "c")
    sources = configured_sources(sys.executable)
    assert sources.find_links == ("c",)
    assert sources.index_url == "https://main.invalid/simple"


def test_the_installer_refuses_another_python_version(tmp_path: Path) -> None:
    code = (
        "import sys, install; sys.version_info = (3, 12, 0); "
        f"sys.argv = ['install.py', 'cpu', {str(tmp_path / 'venv')!r}]; install.main()"
    )
    folder = Path(__file__).resolve().parents[2] / "requirements"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 1
    assert "Python 3.11" in done.stderr
    assert not (tmp_path / "venv").exists()
