"""Pictures and tables in a notebook: with alt text, small enough to be kept in the file, the same on every machine."""

from __future__ import annotations

import io
from collections.abc import Sequence

from sgdc_viz.views import Figure


def show(figure: Figure, alt: str | None = None) -> None:
    """Display a figure as a PNG with its alt text.

    The text beside the picture (what a terminal shows, what nbval compares) is the figure's message, which holds no
    measured number; the numbers are in the picture and in the alt text.

    Args:
        figure: from sgdc_viz.views.
        alt: says the conclusion to those who do not see the picture; default: the figure's own.
    """
    from IPython.display import display

    alt = alt or figure.alt
    bundle = {"image/png": small_png(figure.to_png()), "text/plain": f"[picture] {figure.title}: {figure.message}"}
    display(bundle, metadata={"image/png": {"alt": alt}}, raw=True)


def small_png(png: bytes) -> bytes:
    """The same picture with 256 colours, about a third of the bytes, so that a notebook stays under 1 MB.

    Maximum coverage bounds the error of every colour (at most 15 of 255 in this course's figures), where the more
    usual median cut gives up rare colours and puts steps into colour bars.
    """
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Display a table of words and numbers already rounded.

    Raises:
        ValueError: a row of another length than the head.
    """
    from IPython.display import Markdown, display

    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"a row has {len(row)} cells and the head {len(head)}: {list(row)}.")
    lines = [head, ["---"] * len(head), *rows]
    display(Markdown("\n".join("| " + " | ".join(line) + " |" for line in lines)))
