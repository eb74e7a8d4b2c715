"""Start here (notebook 00): the microscope after a few clicks, with the clicked pixels marked.

Networks that looked at an image in, one `Figure` or plain numbers out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sgdc_viz.explore import Pair, Run
from sgdc_viz.views import Box, Figure, Picture

KINDS = {"A": "border of a nucleus", "B": "inside that nucleus", "C": "border of another one"}


def clicked(pair: Pair, clicks: Mapping[str, tuple[int, int]]) -> Figure:
    """The kernels of both networks after a few clicks; the pixel of each click is marked.

    Args:
        pair: two networks that looked at one image.
        clicks: "A", "B", ... -> image pixel (row, column); 2 to 4 of them.

    Raises:
        ValueError: not 2 to 4 clicks, or a pixel outside the image.
    """
    from sgdc_viz.teach.widgets import MicroscopeState, still  # needs the packages of the extra "notebooks"

    named = {f"{label}, {KINDS[label]}" if label in KINDS else label: pixel for label, pixel in clicks.items()}
    figure = still(pair, {label: MicroscopeState(*pixel) for label, pixel in named.items()})
    stride = pair.first.stride
    places = tuple(_marked(place, pixel, stride) for place, pixel in zip(figure.cells[0], named.values(), strict=True))
    return replace(
        figure,
        message="Top: the clicked pixel (small box), the kernels' reach (large box), the pixels that share one pooled "
        "kernel (dashed). Below: the kernels of the four heads.",
        cells=(places, *figure.cells[1:]),
    )


def _marked(place: Picture, pixel: tuple[int, int], stride: int) -> Picture:
    """With a box around the feature pixel that `pixel` lies in: the kernels belong to all of it."""
    y, x = (n // stride * stride for n in pixel)
    return replace(place, boxes=(*place.boxes, Box("clicked pixel", y, x, y + stride, x + stride)))


def alike(run: Run, one: tuple[int, int], other: tuple[int, int]) -> list[float]:
    """Correlation (Pearson) of the kernels at two image pixels, one number a head: 1 if they are the same."""
    kernels = zip(run.at(one).kernels, run.at(other).kernels, strict=True)
    return [float(np.corrcoef(k.flatten(), m.flatten())[0, 1]) for k, m in kernels]
