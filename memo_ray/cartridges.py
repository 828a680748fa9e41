"""`memo cartridge`: trains a cartridge of every document from the run's reflections, to compare memories with."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from memo_ray.artifacts.fingerprint import fingerprint
from memo_ray.config.cartridges import CartridgeTraining
from memo_ray.config.comparison import Cartridge
from memo_ray.config.loading import explain, set_key
from memo_ray.config.models import VllmModel
from memo_ray.config.run import RunConfig
from memo_ray.config.serving import ServingConfig
from memo_ray.console import Console
from memo_ray.errors import ConfigError, TrainingError
from memo_ray.quiet import print_json
from memo_ray.results import stored_results
from memo_ray.rows import Document, LedgerEntry, Reflection
from memo_ray.workspace import Workspace, open_run

if TYPE_CHECKING:
    from memo_ray.pipeline import Results

VERSION = 3
"""Raised when training changes what it makes."""


def cartridge(options: Namespace) -> int:
    """`memo cartridge RUN`: train what is missing, and say where the adapters lie."""
    workspace = open_run(options.run, Console(quiet=options.json))
    adapters, facts = train_cartridges(workspace, settings_of(options.overrides), options.base)
    if options.json:
        print_json({"adapters": adapters, "documents": facts})
    else:
        bare = sum(row["from_text"] for row in facts.values())
        print(f"{len(facts)} cartridges{f', {bare} from text alone' if bare else ''}: {adapters}")
        base = f"base: {options.base}, " if options.base else ""
        print(f"next: a system {{kind: cartridge, {base}adapters: {adapters}}} in evaluation.comparison")
    return 0


def with_cartridges(run: Workspace, results: Results) -> RunConfig:
    """The run's config with the cartridges that a comparison leaves to be made, trained and named.

    They are those of the evidence of its questions, since no other is loaded. Raises as `train_cartridges`.
    """
    from memo_ray.evaluation.comparison import chosen

    comparison = run.config.evaluation.comparison
    if comparison is None:
        return run.config
    systems = []
    needed: set[str] | None = None
    for place, system in enumerate(comparison.systems):
        if not isinstance(system, Cartridge):
            systems.append(system)
            continue
        base = system.base or weights_of(run.config.serving, f"evaluation.comparison.systems.{place}.base")
        if needed is None:
            asked = [row for corpus in results.corpora.values() for row in chosen(corpus, comparison.questions)]
            needed = {name for row in asked for name in row.document_ids}
        adapters = system.adapters or train_cartridges(run, system.training, base, results, needed)[0]
        systems.append(system.model_copy(update={"base": base, "adapters": adapters}))
    comparison = comparison.model_copy(update={"systems": tuple(systems)})
    return run.config.model_copy(
        update={"evaluation": run.config.evaluation.model_copy(update={"comparison": comparison})}
    )


def weights_of(serving: ServingConfig, key: str) -> str:
    """The executive's model. Raises ConfigError for an endpoint; `key` is what its user sets instead."""
    if isinstance(serving.executive, VllmModel):
        return serving.executive.model
    raise ConfigError(f"{key}: the run's executive is an endpoint, whose weights are not here; name its model")


def train_cartridges(
    workspace: Workspace,
    settings: CartridgeTraining,
    base: str | None = None,
    results: Results | None = None,
    only: Collection[str] | None = None,
) -> tuple[str, dict[str, dict[str, Any]]]:
    """The folder of adapters, one a document, and each one's facts; a document that is there already is passed over.

    A document of which no reflection was kept is learned from its text. `base`: the model that will answer over them;
    none: the run's executive. `only`: ids of documents; none: all. Trained in this process, one
    after the other, on its GPU if it has one. Raises ConfigError for a run without a synthesis and for an executive
    without weights here, TrainingError when no document at all has text.
    """
    from memo_ray.models.cartridge import FACTS, folder_of
    from memo_ray.models.sources import resolve
    from memo_ray.training.cartridge import pairs_by_document, train_cartridge

    results = results or stored_results(workspace)
    if not results.synthesis:
        raise ConfigError(f"{workspace.where}: has no finished synthesis; `memo run --until synthesis` first")
    key = "base" if base else "serving.executive.model"
    source = resolve(base or weights_of(workspace.config.serving, "--base"), None, key)
    sources = {name: artifact.record.digest for name, artifact in results.synthesis.items()} | {"base": source.digest}
    identity = fingerprint("cartridge", VERSION, settings.model_dump(mode="json"), sources)
    place = workspace.place.child(f"cartridges/{identity[:16]}")
    todo = []
    for name, synthesis in results.synthesis.items():
        pairs = pairs_by_document(synthesis.rows("reflections", Reflection), synthesis.rows("ledger", LedgerEntry))
        documents = [row for row in results.corpora[name].rows("documents", Document) if row.text.strip()]
        wanted = [row for row in documents if only is None or row.document_id in only]
        todo += [(row.document_id, row.text, pairs.get(row.document_id, [])) for row in wanted]
    if not todo and only is None:
        raise TrainingError(f"{workspace.where}: no document has text to make a cartridge of")
    if place.get(FACTS) is None:
        place.put(FACTS, b"{}")  # so that it is a folder, whatever is trained
    facts: dict[str, dict[str, Any]] = json.loads(place.get(FACTS) or b"{}")
    began, made = time.monotonic(), 0
    with workspace.console.stage("cartridges"):
        for number, (document, text, found) in enumerate(todo):
            workspace.console.progress(number, len(todo), document)
            stored = folder_of(source.path, document).name
            if document in facts and place.location(stored) is not None:
                continue
            with place.storing(stored) as folder:
                facts[document] = asdict(train_cartridge(source.path, text, found, settings, folder))
            place.put(FACTS, json.dumps(facts).encode())
            made += 1
    seconds = time.monotonic() - began if made else None
    bare = sum(not found for _, _, found in todo)
    workspace.console.done("cartridges", seconds, {"cartridges": len(todo)} | ({"from text": bare} if bare else {}))
    return place.url, facts


def settings_of(overrides: Sequence[str]) -> CartridgeTraining:
    """The defaults with `key=value` over them. Raises ConfigError."""
    data: dict[str, Any] = {}
    for override in overrides:
        set_key(data, override)
    unknown = sorted(data.keys() - CartridgeTraining.model_fields.keys())
    if unknown:
        raise ConfigError(f"--set {unknown[0]}: unknown key; known keys: {', '.join(CartridgeTraining.model_fields)}")
    try:
        return CartridgeTraining.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise ConfigError("\n".join(explain(item, "--set") for item in error.errors(include_url=False))) from None
