"""What each verb of `memo` does. Results go to standard output, progress to standard error."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from memo_ray.config.run import RunConfig
from memo_ray.console import Console
from memo_ray.errors import ConfigError, MemoError
from memo_ray.pipeline import STAGES, run_stages
from memo_ray.quiet import print_json
from memo_ray.workspace import Workspace, load_settings, open_run


def init(options: Namespace) -> int:
    """`memo init DOCS`: write run.yaml for these documents on this machine."""
    from memo_ray.init import initialise

    print(initialise(Path(options.documents), Path(options.output), options.name))
    return 0


def run(options: Namespace) -> int:
    """`memo run run.yaml`: the stages, the summary, the report, one answered question, and what to try next.

    For an experiment (its file or its name) all of that for each of its runs, and one table of them.
    """
    from memo_ray.evaluation.experiments.experiment import is_experiment

    if options.only and (options.start or options.until):
        raise ConfigError("--only: is one stage alone; leave out --from and --until, or --only")
    if is_experiment(options.config):
        return run_experiment(options)
    return run_config(load_settings(options.config, tuple(options.overrides)), options)


def run_experiment(options: Namespace) -> int:
    """Every run of an experiment in turn; one that fails says why, and the others go on."""
    from memo_ray.evaluation.experiments.experiment import load_experiment, write_rows

    experiment = load_experiment(options.config, tuple(options.overrides))
    console = Console(quiet=options.json)
    failed = 0
    for number, each in enumerate(experiment.runs, start=1):
        console.say(f"{experiment.title}: run {number} of {len(experiment.runs)}, {'/'.join(each.labels.values())}")
        try:
            run_config(each.config, options)
        except MemoError as error:
            failed += 1
            console.say(f"{each.config.name}: {error}")
    print(write_rows(experiment))
    return MemoError.exit_status if failed else 0


def run_config(config: RunConfig, options: Namespace) -> int:
    """One run with the stages that the options ask for."""
    from memo_ray.continual.registering import register
    from memo_ray.results import finish

    start, until = options.only or options.start or STAGES[0], options.only or options.until or STAGES[-1]
    console = Console(quiet=options.json)
    clock = time.monotonic()
    with Workspace(config, console) as workspace:
        workspace.remember_config()
        console.say(f"run {config.name} in {workspace.where}")
        results = run_stages(workspace, start, until)
    summary = finish(workspace, results, seconds=time.monotonic() - clock)
    register(workspace, results)
    if options.json:
        print_json(summary)
    elif results.evaluation is not None:
        from memo_ray.results import closing_text

        print(closing_text(workspace, results, summary))
    else:
        print(f"finished up to {until}; go on with: memo run {options.config}")
    return 0


def add(options: Namespace) -> int:
    """`memo add RUN CORPUS`: one more corpus, its memory, a merge of all, and the new version."""
    from memo_ray.continual.command import add_corpus_command

    return add_corpus_command(options)


def forget(options: Namespace) -> int:
    """`memo forget RUN DOCUMENT`: a document leaves the run, with a signed certificate; or `--verify` reads one."""
    from memo_ray.continual.command import forget_command

    return forget_command(options)


def plan(options: Namespace) -> int:
    """`memo plan run.yaml`: what synthesis and training will need, before anything runs."""
    from memo_ray.config.models import Prices
    from memo_ray.machine import gpu_memory
    from memo_ray.planning.command import as_json, as_text, plan_run
    from memo_ray.planning.plan import Rates
    from memo_ray.planning.training import as_json as fit_json
    from memo_ray.planning.training import as_text as fit_text
    from memo_ray.planning.training import training_fit

    rate = both(options, "prefill_rate", "decode_rate")
    price = both(options, "price_input", "price_output")
    config = load_settings(options.config, tuple(options.overrides))
    plans = plan_run(
        config,
        options.measured,
        Rates(*rate) if rate else None,
        Prices(input=price[0], output=price[1]) if price else None,
    )
    if options.gpu_memory is not None and not options.gpu_memory > 0:
        raise ConfigError("--gpu-memory: give the GiB of one GPU, a positive number")
    memory = int(options.gpu_memory * 2**30) if options.gpu_memory else min(gpu_memory(), default=None)
    fit = training_fit(config.training, memory)
    if options.json:
        print_json([{**as_json(one), "training": fit_json(fit)} for one in plans])
    else:
        print("\n\n".join(as_text(one) for one in plans), fit_text(fit, memory), sep="\n\n")
    return 0


def both(options: Namespace, first: str, second: str) -> tuple[float, float] | None:
    """Two options that make sense only together; None when neither is given. Raises ConfigError for one alone."""
    values = getattr(options, first), getattr(options, second)
    if values == (None, None):
        return None
    if None in values or min(values) <= 0:
        flags = " and ".join(f"--{name.replace('_', '-')}" for name in (first, second))
        raise ConfigError(f"{flags}: give both, as positive numbers")
    return values


def preview(options: Namespace) -> int:
    """`memo preview RUN`: sampled pairs by step, each with the text that it was made from."""
    from memo_ray.synthesis.preview import as_text, sample

    workspace = open_run(options.run, Console(quiet=options.json))
    shown: list[dict[str, Any]] = []
    for name in (corpus.name for corpus in workspace.config.corpora):
        corpus, synthesis = (workspace.finished(f"{stage}-{name}") for stage in ("corpus", "synthesis"))
        if corpus is not None and synthesis is not None:
            found = sample(corpus, synthesis, options.step, options.number, options.seed, rejects=options.rejects)
            shown += [{"corpus": name, **row} for row in found]
    if not shown:
        raise ConfigError(f"{options.run}: has no finished synthesis; `memo run --until synthesis` makes one")
    print_json(shown) if options.json else print(as_text(shown))
    return 0


def advise(options: Namespace) -> int:
    """`memo advise RUN`: predict what merging loses, recommend a way, and show the costs of each."""
    from memo_ray.evaluation.advised import advised, as_text
    from memo_ray.merging.stage import make_advice
    from memo_ray.results import stored_results

    with open_run(options.run, Console(quiet=options.json)) as workspace:
        results = stored_results(workspace)
        names = [corpus.name for corpus in workspace.config.corpora]
        if workspace.config.merging is None:
            raise ConfigError(f"{workspace.where}: has one corpus; there is nothing to merge, retrain or route")
        missing = [name for name in names if name not in results.training]
        if missing:
            where = f"memo run {workspace.where}/run.yaml --until training"
            raise ConfigError(f"{workspace.where}: {missing[0]} has no finished memory; run `{where}` first")
        results.advice = make_advice(workspace, results)
        found = advised(results.all())
    print_json(found) if options.json else print(as_text(found))
    return 0


def submit(options: Namespace) -> int:
    """`memo submit run.yaml`: the stages as Ray jobs, their logs followed; again: it resumes."""
    from memo_ray.ray_jobs import stop
    from memo_ray.ray_jobs import submit as submit_jobs

    workspace = Workspace(load_settings(options.config, tuple(options.overrides)), Console())
    if options.stop:
        stopped = stop(workspace, options.address)
        print("\n".join(f"{job}: stopped" for job in stopped) or "no job of this run is under way")
        return 0
    wanted = STAGES[: STAGES.index(options.until or STAGES[-1]) + 1]
    stages = [stage for stage in wanted if stage != "merging" or workspace.config.merging is not None]
    submit_jobs(workspace, stages, options.address, wait=not options.no_wait, install=options.install or "")
    print(f"next: memo status {workspace.where}")
    return 0


def ask(options: Namespace) -> int:
    """`memo ask RUN QUESTION`: from a running gateway, or one started for this question alone."""
    from memo_ray.asking import ask_run, print_answer

    workspace = open_run(options.run, Console(quiet=options.json))
    answer = ask_run(workspace, options.question, url=options.url, stream=options.stream)
    if options.json:
        print_json(answer)
    else:
        print_answer(answer, stages=not options.stream)
    return 0


def serve(options: Namespace) -> int:
    """`memo serve RUN`: the endpoints, until interrupted; with --swap another version behind those that run."""
    from memo_ray.asking import serve_run, swap_memory, withdraw_memory

    workspace = open_run(options.run, Console())
    if options.withdraw:
        print(withdraw_memory(workspace, options.withdraw))
        return 0
    if options.swap:
        swap_memory(workspace, options.swap)
        return 0
    changes: dict[str, Any] = {k: v for k, v in (("host", options.host), ("port", options.port)) if v is not None}
    serve_run(workspace, changes)
    return 0


def replay(options: Namespace) -> int:
    """`memo replay TRANSCRIPT`: from the log alone, or with the executive that is named."""
    from memo_ray.protocol.describe import describe
    from memo_ray.replaying import replay as again

    answer = again(options)
    if options.json:
        print_json(answer)
        return 0
    print("\n".join(describe(answer["transcript"])))
    for asked in answer.get("not_in_the_transcript", []):
        print(f"not in the transcript: {asked}", file=sys.stderr)
    return 0


def blame(options: Namespace) -> int:
    """`memo blame TRANSCRIPT --answer RIGHT`: ask again with one thing put right at a time."""
    from memo_ray.replaying import blame_lines, find_blame, run_tables

    if options.tries < 1:
        raise ConfigError("--tries: must be at least 1")
    found = find_blame(options, run_tables(options.run) if options.run else None)
    print_json(asdict(found)) if options.json else print("\n".join(blame_lines(found)))
    return 0


def key(options: Namespace) -> int:
    """`memo key NAME`: a fresh key on standard error, its entry for serving.keys_file on standard output."""
    from memo_ray.serving.keys import new_key

    made, entry = new_key(options.name)
    print(f"the key, shown this once: {made}", file=sys.stderr)
    print(entry, end="")
    return 0


def status(options: Namespace) -> int:
    """`memo status RUN`: what is finished, runs or failed and why, rows, cost, and the command that goes on."""
    from memo_ray.results import status_of, status_text

    workspace = open_run(options.run, Console())
    found = status_of(workspace)
    print_json(found) if options.json else print(status_text(workspace, found))
    return 0


def report(options: Namespace) -> int:
    """`memo report RUN`: write summary and report again from whatever is finished."""
    from memo_ray.accounts import spent_text
    from memo_ray.results import finish, stored_results

    workspace = open_run(options.run, Console())
    results = stored_results(workspace)
    if not results.all():
        raise ConfigError(f"{workspace.where}: has no finished stage; run `memo run {workspace.where}/run.yaml` first")
    cost = finish(workspace, results, seconds=None, again=True, against=options.against)["cost"]
    print(f"artefacts: {spent_text(cost, cost['currency'])}")
    print(f"with attempts that failed: {spent_text(cost['all_attempts'], cost['currency'])}")
    print(f"{workspace.where}/report.html")
    return 0


def export(options: Namespace) -> int:
    """`memo export RUN`: reflections for other trainers, and the memory with its card."""
    from memo_ray.export import export_run

    workspace = open_run(options.run, Console())
    written = export_run(workspace, Path(options.output), options.licence, memory=not options.reflections_only)
    print(*written, sep="\n")
    return 0
