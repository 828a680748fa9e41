"""Where a GPU's time goes: kernels of a traced region by kind, gaps between them, and what hides behind computing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch

KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("communication", ("nccl",)),
    ("attention", ("flash", "fmha", "attention")),
    ("products", ("gemm", "nvjet", "cutlass", "matmul", "_mm_", "splitk", "xmma")),
    ("copies", ("memcpy", "memset", "copy", "catarray")),
    ("optimizer", ("multi_tensor", "adam", "lpnorm")),
    ("loss", ("cross_entropy", "liger", "element_mul")),
    ("elementwise", ("",)),
)
"""The first kind with a part that a kernel's name holds."""

Span = tuple[float, float]


def kind_of(name: str) -> str:
    """The kind of a kernel, by its name."""
    low = name.lower()
    return next(kind for kind, parts in KINDS if any(part in low for part in parts))


def merged(spans: Iterable[Span]) -> list[Span]:
    """Spans of time without what they share."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def length(spans: Iterable[Span]) -> float:
    """Time that spans cover."""
    return sum(end - begin for begin, end in merged(spans))


def summary(events: Iterable[tuple[str, float, float]], top: int = 25) -> dict[str, Any]:
    """Shares of the time from the first kernel's begin to the last one's end; `events`: name, begin, end.

    `shares`: by kind, of all kernels' time together. `idle`: of the wall time in which no kernel ran.
    `communication`: of the wall time in which any of it ran; `communication_exposed`: while nothing else did.
    """
    found = list(events)
    if not found:
        return {}
    wall = max(end for _, _, end in found) - min(begin for _, begin, _ in found)
    by_kind: dict[str, list[Span]] = defaultdict(list)
    by_name: dict[str, list[float]] = defaultdict(list)
    for name, begin, end in found:
        by_kind[kind_of(name)].append((begin, end))
        by_name[name].append(end - begin)
    busy = {kind: sum(end - begin for begin, end in spans) for kind, spans in by_kind.items()}
    total, everything = sum(busy.values()), [(begin, end) for _, begin, end in found]
    others = [span for kind, spans in by_kind.items() if kind != "communication" for span in spans]
    sending = length(by_kind["communication"])
    names = sorted(by_name.items(), key=lambda item: -sum(item[1]))[:top]
    return {
        "shares": {kind: round(busy[kind] / total, 4) for kind in sorted(busy, key=lambda kind: -busy[kind])},
        "idle": round(1 - length(everything) / wall, 4),
        "communication": round(sending / wall, 4),
        "communication_exposed": round((length(everything) - length(others)) / wall, 4),
        "top": [(round(sum(spans) / total, 4), len(spans), name[:110]) for name, spans in names],
    }


def traced(work: Callable[[], Any]) -> dict[str, Any]:
    """`summary` of the kernels that `work` launches; empty without a GPU."""
    if not torch.cuda.is_available():
        work()
        return {}
    from torch.profiler import DeviceType, ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        work()
        torch.cuda.synchronize()
    return summary(
        (event.name, event.time_range.start, event.time_range.end)
        for event in profiler.events() or []
        if event.device_type == DeviceType.CUDA and not getattr(event, "is_user_annotation", False)
    )


def told(found: dict[str, Any]) -> str:
    """Lines for a person."""
    if not found:
        return "no kernels were traced"
    lines = [f"  {share:7.2%} x{count:<5} {name}" for share, count, name in found["top"]]
    shares = ", ".join(f"{kind} {share:.1%}" for kind, share in found["shares"].items())
    return "\n".join([f"  {shares}; idle {found['idle']:.1%}", *lines])
