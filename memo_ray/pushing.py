"""`memo push`: a run's memory with its model card, to a repository of a hub or to a bucket.

    the memory's folder + README.md (the card) ─▶ hf://OWNER/NAME, one commit   or   s3://BUCKET/PREFIX, the card last

Nothing of the documents and none of the reflections goes with it.
"""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path

from memo_ray.artifacts.place import is_remote, local_folder, open_place
from memo_ray.console import Console
from memo_ray.errors import ConfigError
from memo_ray.evaluation.model_card import Card, model_card
from memo_ray.export import CARD, card_of
from memo_ray.results import memory_of
from memo_ray.workspace import Workspace, open_run

HUB = "hf://"
REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
WEIGHTS = (".safetensors", ".safetensors.index.json")


def push(options: Namespace) -> int:
    """`memo push RUN TO`: publish the memory, and print where it is."""
    workspace = open_run(options.run, Console())
    print(push_memory(workspace, options.to, options.licence, public=options.public))
    return 0


def push_memory(workspace: Workspace, to: str, licence: str = "", *, public: bool = False) -> str:
    """Write the run's memory and its card to `to`; returns where it is.

    A repository that is made for it is private unless `public`. Raises ConfigError for an address that is none, that
    holds something else, or that everybody may read though nobody asked for it.
    """
    if not to.startswith(HUB) and not is_remote(to):
        raise ConfigError(
            f"{to}: write hf://OWNER/NAME for a hub, or s3://BUCKET/PREFIX for a bucket; `memo export` writes a folder"
        )
    if to.startswith(HUB) and not REPOSITORY.fullmatch(to.removeprefix(HUB)):
        raise ConfigError(f"{to}: is no repository of a hub; write hf://OWNER/NAME")
    location, chosen_by = memory_of(workspace)
    card = card_of(workspace, chosen_by, licence)
    folder = local_folder(location)
    return to_hub(folder, card, to, public=public) if to.startswith(HUB) else to_bucket(folder, card, to)


def files_of(folder: Path) -> dict[str, Path]:
    """Every file of a model folder by the name that it gets, but for a card of its own."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    found.pop(CARD, None)
    return found


def to_bucket(folder: Path, card: Card, to: str) -> str:
    """The same below an `s3://` prefix that holds nothing, or this memory: a push that broke off, or an older card."""
    place = open_place(to)
    standing = place.get(CARD)
    others = set(place.names()) - {*files_of(folder), CARD}
    if others or (standing is not None and card.digest.encode() not in standing):
        raise ConfigError(f"{place.url}: already holds something else; name a new or empty prefix")
    place.upload(folder)
    place.put(CARD, model_card(card).encode())
    return place.url


def to_hub(folder: Path, card: Card, to: str, *, public: bool) -> str:
    """The same as one commit to a repository of the hub that HF_ENDPOINT names, by the rights of HF_TOKEN.

    Weights of an earlier commit that this memory does not have are removed; the repository's history keeps them.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import (
        HTTPError,  # type: ignore[reportPrivateImportUsage]  # that of the HTTP library that this release uses
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    api, repository = HfApi(), to.removeprefix(HUB)
    files = files_of(folder)
    try:
        api.create_repo(repository, private=not public, exist_ok=True)
        info = api.model_info(repository)
        if not info.private and not public:
            raise ConfigError(f"{to}: everybody may read this repository; add --public if that is meant")
        there = [sibling.rfilename for sibling in info.siblings or ()]
        operations = [CommitOperationAdd(name, str(path)) for name, path in files.items()]
        operations.append(CommitOperationAdd(CARD, model_card(card).encode()))
        stale = [name for name in there if name.endswith(WEIGHTS) and name not in files]
        api.create_commit(
            repository,
            [*operations, *map(CommitOperationDelete, stale)],
            commit_message="Memory model of memo-ray",
        )
    except (HTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled) as error:
        lines = str(error).strip().splitlines()
        raise ConfigError(
            f"{to}: the hub refuses this ({lines[0][:160] if lines else type(error).__name__}); check the name, the "
            "network, and that HF_TOKEN may write there"
        ) from None
    return f"{api.endpoint}/{repository}"
