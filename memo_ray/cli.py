"""`memo VERB`: parses the command line, imports what the verb needs, and turns expected errors into one line.

Exit status: 0 done, 2 the user can mend it (the line says how), 1 a bug (with its traceback), 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys

STAGES = ("corpus", "synthesis", "training", "merging", "evaluation")


def main(arguments: list[str] | None = None) -> int:
    """Run one verb and return its exit status."""
    options = parser().parse_args(arguments)
    # Only now: the verbs' module brings in pydantic and the artefact store.
    from memo_ray import commands
    from memo_ray.errors import MemoError
    from memo_ray.quiet import quiet_ray

    quiet_ray()
    try:
        return getattr(commands, options.verb)(options)
    except MemoError as error:
        print(f"memo {options.verb}: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print(f"memo {options.verb}: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0


def parser() -> argparse.ArgumentParser:
    """The command line. Nothing heavy is imported, so `memo --help` answers at once."""
    top = argparse.ArgumentParser(
        prog="memo",
        description="Train a small memory model on your documents, and let any large model ask it.",
        epilog="Begin with `memo init DOCS`, then `memo run run.yaml`.",
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    init = verbs.add_parser("init", help="look at documents and machine, and write run.yaml")
    init.add_argument("documents", metavar="DOCS", help="a file or folder of documents")
    init.add_argument("--output", default="run.yaml", help="the file to write (default: run.yaml)")
    init.add_argument("--name", help="the run's name (default: from the documents' folder)")

    run = verbs.add_parser("run", help="run the stages in order, reusing what is finished")
    run.add_argument("config", metavar="run.yaml")
    run.add_argument("--only", choices=STAGES, help="this stage alone; earlier ones must be finished")
    run.add_argument("--from", dest="start", choices=STAGES, help="begin here; earlier stages must be finished")
    run.add_argument("--until", choices=STAGES, help="stop after this stage")
    run.add_argument("--set", dest="overrides", metavar="KEY=VALUE", action="append", default=[],
                     help="replace a value of the file, for example training.epochs=2")  # fmt: skip
    run.add_argument("--json", action="store_true", help="print the summary as JSON")

    plan = verbs.add_parser("plan", help="what a run's synthesis will need; runs nothing")
    plan.add_argument("config", metavar="run.yaml")
    plan.add_argument("--measured", metavar="RUN", help="take ratios from this run's finished synthesis")
    plan.add_argument("--prefill-rate", type=float, metavar="TOKENS", help="prompt tokens a second of one engine")
    plan.add_argument("--decode-rate", type=float, metavar="TOKENS", help="tokens a second that one engine writes")
    plan.add_argument("--price-input", type=float, metavar="PRICE", help="for a million prompt tokens")
    plan.add_argument("--price-output", type=float, metavar="PRICE", help="for a million tokens written")
    plan.add_argument("--set", dest="overrides", metavar="KEY=VALUE", action="append", default=[])
    plan.add_argument("--json", action="store_true")

    preview = verbs.add_parser("preview", help="read sampled pairs beside the text they were made from")
    preview.add_argument("run", metavar="RUN")
    preview.add_argument("--step", help="only pairs of this step, for example connections")
    preview.add_argument("--number", type=int, default=3, help="pairs of each step (default: 3)")
    preview.add_argument("--seed", type=int, default=0, help="another seed samples other pairs")
    preview.add_argument("--rejects", action="store_true", help="what was lost instead of what was kept")
    preview.add_argument("--json", action="store_true")

    submit = verbs.add_parser("submit", help="run the stages as Ray jobs on a cluster, one after another")
    submit.add_argument("config", metavar="run.yaml")
    submit.add_argument("--address", default="http://127.0.0.1:8265", help="the cluster's dashboard")
    submit.add_argument("--until", choices=STAGES, help="stop after this stage")
    submit.add_argument("--set", dest="overrides", metavar="KEY=VALUE", action="append", default=[],
                        help="replace a value of the file")  # fmt: skip
    submit.add_argument("--no-wait", action="store_true", help="submit the next stage and return at once")
    submit.add_argument("--stop", action="store_true", help="stop the run's jobs instead")

    ask = verbs.add_parser("ask", help="ask a question, and see stages and citations")
    ask.add_argument("run", metavar="RUN", help="the run's folder, its YAML file, or its name under runs/")
    ask.add_argument("question", metavar="QUESTION")
    ask.add_argument(
        "--url", help="a gateway to ask (default: the run's own `memo serve`, else started for this question)"
    )
    ask.add_argument("--stream", action="store_true", help="show the stages as they happen")
    ask.add_argument("--json", action="store_true", help="print the whole answer as JSON")

    serve = verbs.add_parser("serve", help="serve the run's memory on this machine or cluster")
    serve.add_argument("run", metavar="RUN")
    serve.add_argument("--host", help="address to listen on (default: serving.host)")
    serve.add_argument("--port", type=int, help="port to listen on (default: serving.port)")
    serve.add_argument("--swap", metavar="NAME@VERSION", help="have the `memo serve` that runs serve this version")

    replay = verbs.add_parser("replay", help="run a stored question again, without a model or with another executive")
    replay.add_argument("transcript", metavar="TRANSCRIPT", help="JSON lines, or an answer of `memo ask --json`")
    models(replay, executive_needed=False)

    blame = verbs.add_parser("blame", help="who lost a wrong answer: synthesis, memory, protocol or executive")
    blame.add_argument("transcript", metavar="TRANSCRIPT", help="of the wrong answer")
    blame.add_argument("--answer", action="append", required=True, help="the right answer; repeat for several wordings")
    blame.add_argument("--run", metavar="RUN", help="the run whose reflections the memory was trained on")
    blame.add_argument("--document", action="append", default=[], metavar="ID", help="a document the answer is in")
    blame.add_argument("--entity", default="", metavar="NAME", help="the entity on which the question turns")
    blame.add_argument("--other", metavar="URL", help="another executive's endpoint")
    blame.add_argument("--other-model", default="", metavar="NAME")
    blame.add_argument("--other-key-env", metavar="VARIABLE")
    blame.add_argument("--tries", type=int, default=3, help="how often each trial is repeated (default: 3)")
    models(blame, executive_needed=True)

    key = verbs.add_parser("key", help="make an API key for the gateway: shown once, kept as a hash")
    key.add_argument("name", metavar="NAME", help="who it is for; stands in the audit log")

    status = verbs.add_parser("status", help="what a run has finished, and how to go on")
    status.add_argument("run", metavar="RUN")
    status.add_argument("--json", action="store_true")

    report = verbs.add_parser("report", help="write the run's HTML report again and print where it is")
    report.add_argument("run", metavar="RUN")

    export = verbs.add_parser("export", help="write reflections as chat JSON Lines, and the memory with a model card")
    export.add_argument("run", metavar="RUN")
    export.add_argument("--output", default="export", help="a new or empty folder (default: export)")
    export.add_argument("--licence", default="", help="the memory's licence for its card, as apache-2.0")
    export.add_argument("--reflections-only", action="store_true", help="leave the memory out")

    doctor = verbs.add_parser("doctor", help="what is wrong with this machine, and the remedy")
    doctor.add_argument("--json", action="store_true")

    verbs.add_parser("bench", help="run every script of benchmarks/ and print what it measures, as JSON lines")
    return top


def models(verb: argparse.ArgumentParser, *, executive_needed: bool) -> None:
    """The endpoints that a question is asked again with."""
    verb.add_argument("--executive", metavar="URL", required=executive_needed, help="an OpenAI-compatible endpoint")
    verb.add_argument("--executive-model", default="", metavar="NAME")
    verb.add_argument("--executive-key-env", metavar="VARIABLE", help="the variable that holds its key")
    verb.add_argument("--memory", metavar="URL", help="who answers what the transcript does not have")
    verb.add_argument("--memory-model", default="memory", metavar="NAME")
    verb.add_argument("--memory-key-env", metavar="VARIABLE")
    verb.add_argument("--no-schema", action="store_true", help="the endpoints have no structured outputs")
    verb.add_argument("--json", action="store_true")


if __name__ == "__main__":
    sys.exit(main())
