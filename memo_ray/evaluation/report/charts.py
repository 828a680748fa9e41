"""Line charts as inline SVG that follow the page's light or dark colours.

Numbers go in, a string of SVG comes out: the same numbers give the same string, and nothing in it is fetched.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

Points = Sequence[tuple[float, float]]

COLOURS = {"#010203": "var(--ink)", "#010204": "var(--rule)"} | {
    f"#0102{digit:02x}": f"var(--series-{digit - 15})" for digit in range(16, 22)
}
"""Colours that matplotlib draws with, and the page's own colours that take their place in the SVG."""
INK, RULE, *SERIES = COLOURS
MARKERS = ("o", "s", "^", "D", "v", "P", "*", "h", "+")
DASHES = ("-", "--", "-.", ":", "-", "--")

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


def line_chart(
    name: str,
    title: str,
    series: Mapping[str, Points],
    x_label: str,
    y_label: str,
    *,
    shares: bool = False,
    chosen: float | None = None,
    mark: str = "chosen",
    lines: bool = True,
) -> str:
    """One line a series, or its points alone. `name` makes the SVG's ids unique on its page; `title` is read aloud
    instead of it.

    `shares`: y is in 0..1 and shown in percent. `chosen`: the x to mark with a vertical line, labelled `mark`.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(6.4, 3.3), layout="constrained")
        figure.patch.set_visible(False)
        axes = figure.subplots()
        axes.patch.set_visible(False)
        if chosen is not None:
            axes.axvline(chosen, color=INK, linewidth=0.8, linestyle=(0, (2, 3)))
            axes.annotate(mark, (chosen, 1.0), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=9)
        for place, (label, points) in enumerate(series.items()):
            look = place % len(SERIES)
            # Further ones share a colour of their own and differ by their markers, hollow since points may coincide.
            further = place >= len(SERIES)
            marker = MARKERS[place % len(MARKERS)] if len(points) <= 40 else ""
            axes.plot(
                *zip(*points, strict=True),
                label=label, color=INK if further else SERIES[look], marker=marker,
                linestyle=DASHES[look] if lines else "", linewidth=1.8, markersize=8 if further else 4.5,
                fillstyle="none" if further else "full",
            )  # fmt: skip
        if shares:
            axes.set_ylim(-0.03, 1.03)
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set(xlabel=x_label, ylabel=y_label)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        if not lines:
            axes.set_xlim(left=0)  # costs are compared by how many times they are
        if len(series) > 1:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return _inline(name, title, _svg(figure))


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return buffer.getvalue()


def _inline(name: str, title: str, svg: str) -> str:
    """Matplotlib's document as an element of an HTML page: own ids, the page's colours and font, a title."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', body).replace("url(#", f"url(#{name}-")
    for drawn, own in COLOURS.items():
        body = body.replace(drawn, own)
    view = re.search(r'viewBox="[^"]*"', body)
    opening = f'<svg {view.group() if view else ""} role="img" aria-label="{escape(title)}">'
    return opening + body[body.index(">") + 1 :].strip()
