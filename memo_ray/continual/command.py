"""`memo add` and `memo forget`, from their options to what they print."""

from __future__ import annotations

from argparse import Namespace

from memo_ray.console import Console
from memo_ray.continual.certificate import signing_key, verify
from memo_ray.continual.describe import added, added_text, certificate_of, forgotten_text
from memo_ray.errors import ConfigError
from memo_ray.quiet import print_json
from memo_ray.workspace import open_run


def add_corpus_command(options: Namespace) -> int:
    """Add a corpus and print the new version."""
    from memo_ray.continual.add import add_corpus

    workspace = open_run(options.run, Console(quiet=options.json))
    results, memory = add_corpus(workspace, options.corpus, options.name, options.recipe, sweep=options.sweep)
    told = added(results, memory)
    print_json(told) if options.json else print(added_text(workspace, told))
    return 0


def forget_command(options: Namespace) -> int:
    """Forget a document and print the certificate, or print one that `--verify` names if it is genuine."""
    if options.verify:
        if not options.public_key:
            raise ConfigError("--public-key: name the PEM file of the signer's public key")
        print_json(verify(options.verify, options.public_key))
        return 0
    if not options.run or not options.document:
        raise ConfigError("give RUN and DOCUMENT, or --verify CERTIFICATE --public-key FILE")
    from memo_ray.continual.forget import forget

    key = signing_key(options.key)
    workspace = open_run(options.run, Console(quiet=options.json))
    name = forget(workspace, options.document, options.corpus, options.how, key)
    told = certificate_of(workspace, name)
    print_json(told) if options.json else print(forgotten_text(workspace, name, told))
    return 0
