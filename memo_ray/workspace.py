"""A run while a command works on it: its settings, its folder, its artefacts, its Ray cluster, its terminal."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

import yaml

from memo_ray.artifacts.store import Artifact, Store
from memo_ray.config.loading import load_run
from memo_ray.config.run import RunConfig
from memo_ray.console import Console
from memo_ray.errors import ConfigError, EnvironmentProblem, StoreError

LATER = {
    "corpus": {"synthesis", "training", "merging", "evaluation"},
    "synthesis": {"training", "merging", "evaluation"},
    "training": {"merging", "evaluation"},
    "merging": {"evaluation"},
    "evaluation": set[str](),
}
"""Stage → the stages that read what it makes."""


class Workspace:
    """Open it with `with`; the Ray cluster starts when a stage first needs it and ends with the block."""

    def __init__(self, config: RunConfig, console: Console) -> None:
        self.config = config
        self.console = console
        self.folder = Path(config.root).absolute() / config.name
        self.store = Store(self.folder / "artifacts")
        self._open = ExitStack()
        self._ray_started = False
        self._checked = False

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    @property
    def config_path(self) -> Path:
        """The run's own copy of its settings, with every `--set` applied."""
        return self.folder / "run.yaml"

    def remember_config(self) -> None:
        """Keep the settings beside the artefacts, so that `memo ask`, `serve` and `status` find them."""
        text = yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        self._replace(self.config_path, text)

    def current(self) -> dict[str, str]:
        """Fingerprints by artefact name of the run's last settings; those of other settings are not the run's."""
        try:
            return json.loads((self.folder / "current.json").read_bytes())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    def note(self, name: str, fingerprint: str) -> None:
        """Note that with the run's settings artefact `name` has this fingerprint; what was made from another goes."""
        current = self.current()
        if current.get(name) == fingerprint:
            return
        stage, _, corpus = name.partition("-")
        later = LATER[stage]
        kept = {
            other: value
            for other, value in current.items()
            if not (other.partition("-")[0] in later and (not corpus or other.partition("-")[2] in ("", corpus)))
        }
        self._replace(self.folder / "current.json", json.dumps(kept | {name: fingerprint}, indent=1))

    def finished(self, name: str) -> Artifact | None:
        """The finished artefact of that name with the run's settings."""
        fingerprint = self.current().get(name)
        return self.store.find(name, fingerprint) if fingerprint else None

    def preflight(self) -> None:
        """Name everything that is missing before anything long starts, once a command.

        Raises EnvironmentProblem with a line each.
        """
        if self._checked:
            return
        from memo_ray.preflight import needs_of, require

        try:
            require(needs_of(self.config))
        except OSError as error:
            raise EnvironmentProblem(f"root: {self.config.root}: {error.strerror}; choose another folder") from error
        self._checked = True

    def _replace(self, path: Path, text: str) -> None:
        """Write a file of the run in one step, so that a kill leaves the old one. Raises StoreError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
            scratch.write_text(text, encoding="utf-8")
            scratch.replace(path)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written ({error.strerror}); check `root:` and its disk") from error

    @contextmanager
    def ray(self) -> Iterator[None]:
        """The run's Ray cluster, started once a command."""
        if not self._ray_started:
            from memo_ray.ray_session import session

            self._open.enter_context(session(self.folder / "logs"))
            self._ray_started = True
        yield


def open_run(name: str, console: Console) -> Workspace:
    """The run meant by a folder, a YAML file, or a name under runs/. Raises ConfigError when there is none."""
    path = Path(name)
    if path.suffix in {".yaml", ".yml"}:
        config = load_run(path)
        kept = Path(config.root) / config.name / "run.yaml"
        return Workspace(load_run(kept) if kept.is_file() else config, console)
    for folder in (path, Path("runs") / name):
        if (folder / "run.yaml").is_file():
            config = load_run(folder / "run.yaml")
            # The folder may have been moved since; where it lies now is what counts.
            return Workspace(
                config.model_copy(update={"root": str(folder.absolute().parent), "name": folder.absolute().name}),
                console,
            )
    raise ConfigError(f"{name}: no run there; give a run's folder or YAML file, or `memo run run.yaml` first")
