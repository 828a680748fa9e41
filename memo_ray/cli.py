"""`memo VERB`: parses the command line, imports what the verb needs, and turns expected errors into one line.

Exit status: 0 done, 2 the user can mend it (the line says how), 1 a bug (with its traceback), 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from contextlib import nullcontext

HOMES = {
    "bench": "memo_ray.benching",
    "cartridge": "memo_ray.cartridges",
    "doctor": "memo_ray.preflight",
    "gc": "memo_ray.housekeeping",
    "push": "memo_ray.pushing",
    "stop": "memo_ray.stopping",
}
"""Verbs that are not in `commands`, and their modules."""
STAGES = ("corpus", "synthesis", "training", "merging", "evaluation")


def main(arguments: list[str] | None = None) -> int:
    """Run one verb and return its exit status."""
    options = parser().parse_args(arguments)
    # A notebook's kernel names a backend of its own, which is not installed here; charts are drawn without any.
    os.environ.pop("MPLBACKEND", None)
    # Only now: the verbs' module brings in pydantic and the artefact store.
    from memo_ray.errors import MemoError
    from memo_ray.json_log import failed
    from memo_ray.quiet import json_alone, quiet_libraries

    quiet_libraries()
    try:
        with json_alone() if getattr(options, "json", False) else nullcontext():
            home = importlib.import_module(HOMES.get(options.verb, "memo_ray.commands"))
            return getattr(home, options.verb)(options)
    except MemoError as error:
        failed(f"memo {options.verb}", error)
        return error.exit_status
    except ModuleNotFoundError as error:
        from memo_ray.extras import remedy

        line = remedy(error.name or "")
        if not line:
            raise
        print(f"memo {options.verb}: {line}", file=sys.stderr)
        return MemoError.exit_status
    except KeyboardInterrupt:
        print(f"memo {options.verb}: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0


class Version(argparse.Action):
    """`--version`, looked up in the installed package only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print it and exit."""
        from importlib.metadata import version

        print(f"memo-ray {version('memo-ray')}")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """The command line. Nothing heavy is imported, so `memo --help` answers at once."""
    top = argparse.ArgumentParser(
        prog="memo",
        description="Train a small memory model on your documents, and let any large model ask it.",
        epilog="Begin with `memo init DOCS`, then `memo run run.yaml`.",
    )
    top.add_argument("--version", action=Version, nargs=0, help="print memo-ray's version")
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

    add = verbs.add_parser("add", help="add a corpus to a run: its memory alone is trained, then all are merged again")
    add.add_argument("run", metavar="RUN")
    add.add_argument("corpus", metavar="CORPUS", help="a file or folder of documents, or a YAML file with one corpus")
    add.add_argument("--name", help="the corpus's name (default: from its path)")
    how = add.add_mutually_exclusive_group()
    how.add_argument(
        "--recipe", help="the merge, as linear or '{method: ties, density: 0.5}' (default: the best so far)"
    )
    how.add_argument("--sweep", action="store_true", help="try all merges of the paper")
    add.add_argument("--json", action="store_true")

    forget = verbs.add_parser("forget", help="make a run forget a document, with a signed certificate")
    forget.add_argument("run", metavar="RUN", nargs="?")
    forget.add_argument("document", metavar="DOCUMENT", nargs="?", help="its id, title or file")
    forget.add_argument("--corpus", help="the corpus it is in, when several have such a document")
    forget.add_argument("--how", choices=("retrain", "subtract"), default="retrain",
                        help="train its corpus's memory anew, or leave that memory out of the merge")  # fmt: skip
    forget.add_argument("--key", metavar="FILE", help="Ed25519 private key in PEM (default: from MEMO_SIGNING_KEY)")
    forget.add_argument("--verify", metavar="CERTIFICATE", help="check a certificate instead")
    forget.add_argument("--public-key", metavar="FILE", help="the signer's public key in PEM")
    forget.add_argument("--json", action="store_true")

    plan = verbs.add_parser("plan", help="what a run's synthesis and training will need; runs nothing")
    plan.add_argument("config", metavar="run.yaml")
    plan.add_argument("--measured", metavar="RUN", help="take ratios from this run's finished synthesis")
    plan.add_argument("--prefill-rate", type=float, metavar="TOKENS", help="prompt tokens a second of one engine")
    plan.add_argument("--decode-rate", type=float, metavar="TOKENS", help="tokens a second that one engine writes")
    plan.add_argument("--price-input", type=float, metavar="PRICE", help="for a million prompt tokens")
    plan.add_argument("--price-output", type=float, metavar="PRICE", help="for a million tokens written")
    plan.add_argument("--gpu-memory", type=float, metavar="GIB", help="of a training GPU (default: this machine's)")
    plan.add_argument("--set", dest="overrides", metavar="KEY=VALUE", action="append", default=[])
    plan.add_argument("--json", action="store_true")

    preview = verbs.add_parser("preview", help="read sampled pairs beside the text they were made from")
    preview.add_argument("run", metavar="RUN")
    preview.add_argument("--step", help="only pairs of this step, for example connections")
    preview.add_argument("--number", type=int, default=3, help="pairs of each step (default: 3)")
    preview.add_argument("--seed", type=int, default=0, help="another seed samples other pairs")
    preview.add_argument("--rejects", action="store_true", help="what was lost instead of what was kept")
    preview.add_argument("--json", action="store_true")

    advise = verbs.add_parser("advise", help="merge the memories, retrain on the union, or route: before a sweep")
    advise.add_argument("run", metavar="RUN", help="a run of two or more corpora whose memories are trained")
    advise.add_argument("--json", action="store_true")

    submit = verbs.add_parser("submit", help="run the stages as Ray jobs on a cluster, one after another")
    submit.add_argument("config", metavar="run.yaml")
    submit.add_argument("--address", default="http://127.0.0.1:8265", help="the cluster's dashboard")
    submit.add_argument("--until", choices=STAGES, help="stop after this stage")
    submit.add_argument("--set", dest="overrides", metavar="KEY=VALUE", action="append", default=[],
                        help="replace a value of the file")  # fmt: skip
    submit.add_argument(
        "--install",
        choices=("cpu", "gpu"),
        help="have each job install its part of this lock, where the nodes' image lacks packages",
    )
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
    serve.add_argument("--withdraw", metavar="NAME@VERSION", help="give this version up, for memo gc too")

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
    report.add_argument("--against", metavar="RUN", help="count the pairs against this run's, as the full recipe's")

    export = verbs.add_parser("export", help="write reflections as chat JSON Lines, and the memory with a model card")
    export.add_argument("run", metavar="RUN")
    export.add_argument("--output", default="export", help="a new or empty folder (default: export)")
    export.add_argument("--licence", default="", help="the memory's licence for its card, as apache-2.0")
    export.add_argument("--reflections-only", action="store_true", help="leave the memory out")

    push = verbs.add_parser("push", help="publish the memory with its model card on a hub or in a bucket")
    push.add_argument("run", metavar="RUN")
    push.add_argument("to", metavar="TO", help="hf://OWNER/NAME or s3://BUCKET/PREFIX")
    push.add_argument("--licence", default="", help="the memory's licence for its card, as apache-2.0")
    push.add_argument("--public", action="store_true", help="a hub's repository that everybody may read")

    doctor = verbs.add_parser("doctor", help="what is wrong with this machine, and the remedy")
    doctor.add_argument("buckets", metavar="s3://BUCKET/PREFIX", nargs="*", help="where a run will lie, to be tried")
    doctor.add_argument("--json", action="store_true")

    cartridge = verbs.add_parser("cartridge", help="train a KV cache of every document, to compare the memory with")
    cartridge.add_argument("run", metavar="RUN")
    cartridge.add_argument("--base", metavar="MODEL", help="the model that answers over them (default: the executive)")
    cartridge.add_argument("--set", dest="overrides", metavar="KEY=VALUE", action="append", default=[],
                           help="another value than the paper's, for example tokens=512")  # fmt: skip
    cartridge.add_argument("--json", action="store_true")

    stop = verbs.add_parser("stop", help="end what a run has left running: its commands, its server, its jobs")
    stop.add_argument("run", metavar="RUN")
    stop.add_argument("--address", metavar="URL", help="a cluster's dashboard, to end the run's jobs there too")

    gc = verbs.add_parser("gc", help="what of a run nothing needs any more, and how large it is; --delete frees it")
    gc.add_argument("run", metavar="RUN")
    gc.add_argument("--delete", action="store_true", help="remove it; without this nothing is touched")
    gc.add_argument("--artifacts", action="store_true",
                    help="also finished artefacts of other settings than the run's last ones")  # fmt: skip
    gc.add_argument("--cache", action="store_true", help="also this machine's copies of what any run has fetched")
    gc.add_argument("--json", action="store_true")

    bench = verbs.add_parser("bench", help="run benchmarks at small sizes and print what they measure, as JSON lines")
    bench.add_argument("scripts", metavar="SCRIPT", nargs="*", help="names (default: those of benchmarks/quick.yml)")
    bench.add_argument("--full", action="store_true", help="at the scripts' own sizes, which may take hours")
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
