"""Where this machine gets its packages, read from pip's configuration and told to uv.

`uv` does not read pip's configuration. These functions turn it into uv's arguments and environment when a
command runs, so that no host and no path of any machine is ever written into a file of the repository.
"""

from __future__ import annotations

import ast
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace

SECTIONS = ("global", "install", ":env:")
"""Sections of pip's configuration, the later winning over the earlier."""


@dataclass(frozen=True)
class Sources:
    """Package sources in pip's words. An empty `index_url` is the public index, the default of pip and of uv."""

    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    no_index: bool = False
    cert: str = ""

    def arguments(self) -> list[str]:
        """The same as uv's arguments. Like pip, uv then takes the best version that any of them offers."""
        default = [f"--default-index={self.index_url}"] if self.index_url else []
        indexes = [*default, *(f"--index={url}" for url in self.extra_index_urls), "--index-strategy=unsafe-best-match"]
        return [
            *(["--no-index"] if self.no_index else indexes),
            *(f"--find-links={place}" for place in self.find_links),
            *(f"--allow-insecure-host={host}" for host in self.trusted_hosts),
        ]

    def with_page(self, page: str) -> Sources:
        """These sources and one more page of links to files; an unreachable one stops uv, so add none needlessly."""
        return replace(self, find_links=(*self.find_links, page))

    def environment(self) -> dict[str, str]:
        """Variables for uv's process: the certificates that pip trusts, unless uv is already told of others."""
        return {"SSL_CERT_FILE": self.cert} if self.cert and "SSL_CERT_FILE" not in os.environ else {}


def configured_sources(python: str) -> Sources:
    """What `python -m pip config list` says; it covers pip's files and its environment variables."""
    command = [python, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return parse_config(listed)


def parse_config(listed: str) -> Sources:
    """The sources named in the output of `pip config list`, whose lines are `section.key='value'`."""
    found: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in found:
            found[section][key] = str(ast.literal_eval(value))
    settings: dict[str, str] = {}
    for section in SECTIONS:
        settings |= found[section]
    return _sources(settings)


def _sources(settings: Mapping[str, str]) -> Sources:
    return Sources(
        index_url=settings.get("index-url", ""),
        extra_index_urls=tuple(settings.get("extra-index-url", "").split()),
        find_links=tuple(settings.get("find-links", "").split()),
        trusted_hosts=tuple(settings.get("trusted-host", "").split()),
        no_index=settings.get("no-index", "").lower() in {"1", "true", "yes", "on"},
        cert=settings.get("cert", ""),
    )
