"""`memo export`: a run's reflections as chat JSON Lines, and its memory with a model card, in a folder to share."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

from memo_ray.artifacts.place import is_remote, local_folder, open_file
from memo_ray.artifacts.store import Artifact
from memo_ray.errors import ConfigError, MemoError
from memo_ray.evaluation.model_card import Card, licence_of, model_card
from memo_ray.evaluation.recall import recall_table
from memo_ray.evaluation.summary import column_counts
from memo_ray.models.embedded import LICENCE, ORIGIN
from memo_ray.pipeline import Results
from memo_ray.results import memory_of, stored_results
from memo_ray.rows import Answer, Reflection
from memo_ray.synthesis.imported import chat_lines
from memo_ray.workspace import Workspace

MEMORY = "memory"
CARD = "README.md"


def export_run(workspace: Workspace, output: Path, licence: str = "", *, memory: bool = True) -> list[Path]:
    """Write `reflections-CORPUS.jsonl` and, unless unwanted, the folder `memory`; returns what was written.

    Raises ConfigError when there is nothing to export yet, and for a folder that already holds something.
    """
    results = stored_results(workspace)
    if not results.synthesis:
        raise ConfigError(
            f"{workspace.where}: has no finished synthesis; run `memo run {workspace.where}/run.yaml` first"
        )
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"--output {output}: already holds something; name a new or empty folder")
    folder, chosen_by = memory_of(workspace) if memory else (None, "")
    output.mkdir(parents=True, exist_ok=True)
    written = []
    for name, artifact in results.synthesis.items():
        path = output / f"reflections-{name}.jsonl"
        with path.open("w", encoding="utf-8") as lines:
            lines.writelines(f"{line}\n" for line in chat_lines(artifact.rows("reflections", Reflection)))
        written.append(path)
    if folder is not None:
        shutil.copytree(local_folder(folder), output / MEMORY)
        card = card_of(workspace, chosen_by, licence)
        (output / MEMORY / CARD).write_text(model_card(card), encoding="utf-8")
        written.append(output / MEMORY)
    return written


def card_of(workspace: Workspace, chosen_by: str, licence: str = "") -> Card:
    """What the card of the run's memory says, from the records of its artefacts.

    `licence`: of the memory; empty: what its base's own README names.
    """
    config, results = workspace.config, stored_results(workspace)
    artifact = results.merging or next(iter(results.training.values()))
    recipe = config.training.model_dump(mode="json", exclude_defaults=False)
    if results.merging is not None:
        recipe |= {"merge": results.merging.record.facts.get("best", "")}
    return Card(
        name=config.name,
        base=ORIGIN if config.training.base == "embedded" else config.training.base,
        digest=artifact.record.digest,
        corpora={name: made.record.digest for name, made in results.corpora.items()},
        reflections=sum(int(made.record.facts.get("reflections", 0)) for made in results.training.values()),
        recipe=recipe,
        recall=recall_of(results),
        chosen_by=chosen_by,
        licence=licence or base_licence(config.training.base, config.training.revision),
        document_licences={name: licences_of(made) for name, made in results.synthesis.items()},
        version=artifact.record.versions.get("memo-ray", ""),
    )


def licences_of(synthesis: Artifact) -> list[str]:
    """The licences that the ledger names for a corpus's reflections, the commonest first."""
    counts: Counter[str] = Counter()
    for named, count in column_counts([synthesis], "ledger", "licence").items():
        counts.update({licence: count for licence in named.split("; ") if licence})
    return [licence for licence, _ in counts.most_common()]


def recall_of(results: Results) -> dict[str, tuple[float, int]]:
    """The memory's recall when asked alone, by kind of question; nothing before the evaluation."""
    if results.evaluation is None:
        return {}
    memory = results.evaluation.record.facts["systems"]["memory"]
    kinds = recall_table(results.evaluation.rows("answers", Answer)).get(memory, {})
    return {kind: (means["recall"], int(means["n"])) for kind, means in kinds.items()}


def base_licence(base: str, revision: str | None = None) -> str:
    """The licence that the base's own README names, `training.base` as it is written; empty when none can be read.

    Of a hub's model the README alone is fetched.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    if base == "embedded":
        return LICENCE
    folder = Path(base).expanduser()
    try:
        if is_remote(base):
            with open_file(f"{base.rstrip('/')}/{CARD}") as file:
                return licence_of(file.read().decode())
        path = folder / CARD if folder.is_dir() else hf_hub_download(base, CARD, revision=revision)
        return licence_of(Path(path).read_text(encoding="utf-8"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError, ValueError, MemoError):
        return ""
