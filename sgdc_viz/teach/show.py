"""Pictures and tables in a notebook: with alt text, small enough to be kept in the file, the same on every machine."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sgdc_viz.views import Figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure


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


def show_states(figures: Mapping[str, Figure], alt: str) -> None:
    """Display 2 to 4 states of a widget as one picture, below each other, each under its name: its static twin.

    Args:
        figures: name of the state -> its figure.
        alt: the conclusion for those who do not see it.

    Raises:
        ValueError: not 2 to 4 states.
    """
    from IPython.display import display
    from PIL import Image

    if not 2 <= len(figures) <= 4:
        raise ValueError(f"a still picture shows 2 to 4 states, got {len(figures)}.")
    pictures = [_captioned(label, figure.to_png()) for label, figure in figures.items()]
    whole = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), "white")
    top = 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height
    file = io.BytesIO()
    whole.save(file, "PNG")
    told = "; ".join(f"{label}: {figure.message}" for label, figure in figures.items())
    bundle = {"image/png": small_png(file.getvalue()), "text/plain": f"[picture] {told}"}
    display(bundle, metadata={"image/png": {"alt": alt}}, raw=True)


def _captioned(label: str, png: bytes):
    """A picture with its name on a dark line above it."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(matplotlib.get_data_path() + "/fonts/ttf/DejaVuSans.ttf", 14)  # has "×", Pillow's has not
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    framed = Image.new("RGB", (picture.width, picture.height + 26), "white")
    draw = ImageDraw.Draw(framed)
    draw.rectangle((0, 2, picture.width, 24), fill="#333333")
    draw.text((8, 4), label, fill="white", font=font)
    framed.paste(picture, (0, 26))
    return framed


def show_plotly(plot: PlotlyFigure, still: Figure, alt: str | None = None) -> None:
    """Display a plotly figure that can be turned and zoomed, with a still picture for where plotly does not run.

    Both travel in one output: JupyterLab shows the plotly figure, GitHub and paper the picture. Nothing is asked of
    another host.

    Args:
        plot: for what a still cannot show, such as a surface seen from all sides.
        still: the same data as a picture.
        alt: says the conclusion to those who do not see it; default: the still's own.
    """
    import json

    from IPython.display import display

    bundle = {
        "application/vnd.plotly.v1+json": json.loads(plot.to_json()),
        "image/png": small_png(still.to_png()),
        "text/plain": f"[picture] {still.title}: {still.message}",
    }
    display(bundle, metadata={"image/png": {"alt": alt or still.alt}}, raw=True)


def small_png(png: bytes) -> bytes:
    """The same picture with 256 colours, about a third of the bytes, so that a notebook stays under 1 MB.

    Maximum coverage bounds the error of every colour (at most 15 of 255 in this course's figures), where the more
    usual median cut gives up rare colours and puts steps into colour bars. Colours that fill much of the picture, such
    as the zero of a map, are kept exactly.
    """
    import numpy as np
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    fewer = picture.quantize(240, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    place, palette = np.array(fewer), fewer.getpalette()[: 3 * 240]
    pixels = np.array(picture) @ np.array([65536, 256, 1])  # one number a colour
    colours, counts = np.unique(pixels, return_counts=True)
    for i, colour in enumerate(colours[np.argsort(-counts, kind="stable")][:16]):
        place[pixels == colour] = 240 + i
        palette += [int(colour) >> shift & 255 for shift in (16, 8, 0)]
    picture = Image.fromarray(place)
    picture.putpalette(palette)
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
