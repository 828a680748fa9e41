"""Which extra brings a module that an installation of the core alone lacks: one line instead of a traceback."""

from __future__ import annotations

EXTRAS = {
    **dict.fromkeys(("torch", "vllm"), ("cpu", "gpu")),
    **dict.fromkeys(("safetensors",), ("training", "merging")),
    **dict.fromkeys(("tokenizers", "deepspeed", "ninja", "peft", "tensorboardX"), ("training",)),
    **dict.fromkeys(("gguf",), ("synthesis",)),
    **dict.fromkeys(("transformers",), ("synthesis", "training")),
    **dict.fromkeys(("py3langid",), ("synthesis", "evaluation")),
    **dict.fromkeys(("mergekit", "optuna"), ("merging",)),
    **dict.fromkeys(("fastapi", "starlette", "uvicorn"), ("serving",)),
    **dict.fromkeys(("bm25s", "markupsafe", "matplotlib"), ("evaluation",)),
    **dict.fromkeys(("markitdown",), ("documents",)),
    **dict.fromkeys(("liger_kernel",), ("gpu",)),
}
"""Module → the extras of pyproject.toml that bring its package; a test compares the two."""


def remedy(module: str) -> str:
    """What to say when `module` is not installed; empty when no extra brings it, and its absence is a bug."""
    top = module.partition(".")[0]
    if top not in EXTRAS:
        return ""
    names = " or ".join(f"`{name}`" for name in EXTRAS[top])
    return (
        f"{top} is not installed: it comes with memo-ray's extra {names}; install a release's whole lock "
        "(docs/installation.md), or in a checkout: make venv"
    )
