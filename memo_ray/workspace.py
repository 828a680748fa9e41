"""A run while a command works on it: its settings, its folder, its artefacts, its Ray cluster, its terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

import yaml

from memo_ray import json_log
from memo_ray.artifacts.cache import cache_folder
from memo_ray.artifacts.local import LocalPlace
from memo_ray.artifacts.place import is_remote, open_place
from memo_ray.artifacts.store import Artifact, Attempt, Store
from memo_ray.config.loading import load_run, read_run
from memo_ray.config.run import RunConfig
from memo_ray.console import Console
from memo_ray.continual.forgotten import left_out, read_forgotten
from memo_ray.errors import ConfigError, EnvironmentProblem, StoreError

LATER = {
    "corpus": {"synthesis", "training", "advice", "merging", "evaluation"},
    "synthesis": {"training", "advice", "merging", "evaluation"},
    "training": {"advice", "merging", "evaluation"},
    "advice": set[str](),
    "merging": {"evaluation"},
    "evaluation": set[str](),
}
"""Stage → the stages that read what it makes."""

CURRENT = "current.json"
"""A file of the run, there from its beginning: `run.yaml` alone may be anybody's settings."""


class Workspace:
    """Open it with `with`; the Ray cluster starts when a stage first needs it and ends with the block."""

    def __init__(self, config: RunConfig, console: Console) -> None:
        self.console = console
        json_log.labels["run"] = config.name
        root = config.root.rstrip("/") if is_remote(config.root) else str(Path(config.root).absolute())
        self.place = open_place(f"{root}/{config.name}")
        self.config = left_out(config, read_forgotten(self.place))
        self.store = Store(self.place.child("artifacts"))
        self._open = ExitStack()
        self._ray_started = False
        self._checked = False
        self._trying = False
        self._looked_ahead = False
        self.stages: Container[str] | None = None
        """The stages that this command may run; None: any."""
        self.failure_counted = False
        """Whether what ends this command is in its stage's metrics already."""

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    @property
    def where(self) -> str:
        """The run's folder as a person in the current folder would type it, or its URL."""
        return shown(self.place.url)

    @property
    def logs(self) -> Path:
        """Where Ray's logs of a failure are kept on this machine."""
        if isinstance(self.place, LocalPlace):
            return self.place.folder / "logs"
        return cache_folder() / "logs" / self.config.name

    def remember_config(self) -> None:
        """Keep the settings beside the artefacts, so that `memo ask`, `serve` and `status` find them.

        Artefacts that such settings do not make, of a corpus that is gone for example, are no longer the run's.
        """
        text = yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        self.keep("run.yaml", text)
        if self.place.get(CURRENT) is None:
            self.keep(CURRENT, "{}")
        self.unnote(name for name in self.current() if not self.makes(name))

    def makes(self, name: str) -> bool:
        """Whether the run's settings make an artefact of that name."""
        stage, _, corpus = name.partition("-")
        if corpus:
            return corpus in {one.name for one in self.config.corpora}
        merging = self.config.merging
        return stage == "evaluation" or (merging is not None and (stage != "training" or merging.union))

    def current(self) -> dict[str, str]:
        """Fingerprints by artefact name of the run's last settings; those of other settings are not the run's."""
        try:
            return json.loads(self.place.get(CURRENT) or b"{}")
        except json.JSONDecodeError:
            return {}

    def note(self, name: str, fingerprint: str) -> None:
        """Note that with the run's settings artefact `name` has this fingerprint; what was made from another goes."""
        current = self.current()
        if self._trying or current.get(name) == fingerprint:
            return
        stage, _, corpus = name.partition("-")
        later = LATER[stage]
        kept = {
            other: value
            for other, value in current.items()
            if not (other.partition("-")[0] in later and (not corpus or other.partition("-")[2] in ("", corpus)))
        }
        self.keep(CURRENT, json.dumps(kept | {name: fingerprint}, indent=1))

    @contextmanager
    def trying(self) -> Iterator[None]:
        """What is made meanwhile stays in the store and is not noted as the run's, so that it may still be refused."""
        self._trying = True
        try:
            yield
        finally:
            self._trying = False

    def unnote(self, names: Iterable[str]) -> None:
        """Note that artefacts `names` are no longer the run's."""
        current, gone = self.current(), set(names)
        if gone & current.keys():
            self.keep(CURRENT, json.dumps({k: v for k, v in current.items() if k not in gone}, indent=1))

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
            require(needs_of(self.config, self.stages))
        except OSError as error:
            raise EnvironmentProblem(f"root: {self.config.root}: {error.strerror}; choose another folder") from error
        self._checked = True

    def look_ahead(self, stage: str) -> None:
        """Name what the stages from `stage` on will ask of the run's cluster and can never get, once a command, before
        any of them works. Raises MemoError."""
        from memo_ray.ray_stages import connected

        if self._looked_ahead or not connected():
            return
        from memo_ray.ray_room import check_room

        check_room(self.config, [one for one in (stage, *LATER[stage]) if self.stages is None or one in self.stages])
        self._looked_ahead = True

    def keep(self, name: str, text: str) -> None:
        """Write a file of the run in one step, so that a kill leaves the old one. Raises StoreError."""
        try:
            self.place.put(name, text.encode())
        except StoreError:
            raise
        except OSError as error:
            raise StoreError(
                f"{self.place.url}/{name}: cannot be written ({error.strerror}); check `root:` and its disk"
            ) from error

    def build(
        self,
        stage: str,
        attempt: Attempt,
        build: Callable[[Attempt], None],
        worked: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """Have `build` make an artefact, with what that costs in its record; `worked` is told of the seconds as they
        pass. Raises SpendingLimitReached."""
        from memo_ray.accounts import Account
        from memo_ray.ray_meter import metered

        with metered(Account(self.config, self.place), stage, attempt, worked=worked):
            build(attempt)

    @contextmanager
    def ray(self) -> Iterator[None]:
        """The run's Ray cluster, started once a command."""
        if not self._ray_started:
            from memo_ray.ray_session import session

            self._open.enter_context(session(self.logs))
            self._ray_started = True
        yield


def load_settings(where: str, overrides: tuple[str, ...] = ()) -> RunConfig:
    """The run of a YAML file at a path or an `s3://` address, as that which lies beside a run's artefacts.

    Raises ConfigError with one line a mistake, StoreError.
    """
    if not is_remote(where):
        return load_run(where, overrides)
    folder, _, name = where.rpartition("/")
    content = open_place(folder).get(name) if Path(name).suffix in {".yaml", ".yml"} else None
    if content is None:
        raise ConfigError(f"{where}: no such file; give a run's YAML file, as s3://bucket/prefix/NAME/run.yaml")
    return read_run(content, where, overrides)


def open_run(name: str, console: Console) -> Workspace:
    """The run meant by a folder, an `s3://` URL, a YAML file, or a name under runs/.

    Raises ConfigError when there is none.
    """
    if not is_remote(name) and Path(name).suffix in {".yaml", ".yml"}:
        config = load_run(name)
        run = Workspace(config, console)
        kept = run.place.get("run.yaml")
        return Workspace(read_run(kept, f"{run.where}/run.yaml"), console) if kept is not None else run
    settings: list[str] = []
    for where in (name,) if is_remote(name) else (name, f"runs/{name}"):
        place = open_place(where.rstrip("/"))
        kept = place.get("run.yaml")
        if kept is not None and place.get(CURRENT) is None:
            settings.append(f"{where.rstrip('/')}/run.yaml")
        elif kept is not None:
            config = read_run(kept, f"{where}/run.yaml")
            # The folder may have been moved since; where it lies now is what counts.
            root, _, last = place.url.rpartition("/")
            return Workspace(config.model_copy(update={"root": root or "/", "name": last}), console)
    if settings:
        raise ConfigError(f"{name}: holds settings and no run; give {settings[0]}, or `memo run {settings[0]}` first")
    raise ConfigError(f"{name}: no run there; give a run's folder, URL or YAML file, or `memo run run.yaml` first")


def shown(url: str) -> str:
    """A path as a person in the current folder would type it; a URL as it is."""
    try:
        return url if is_remote(url) else str(Path(url).relative_to(Path.cwd()))
    except ValueError:
        return url
