"""Make the pictures of a finished figure share the page's selected pixel and zoom (see views/linked.js)."""

from __future__ import annotations

from dataclasses import replace

from sgdc_viz.views import Figure, Picture
from sgdc_viz.views.overview import footprint


def linked(figure: Figure, key: str, pixel: tuple[int, int], stride: int, zoom: int) -> Figure:
    """The figure with a mark on the selected pixel in every linked picture, and the facts that the page's script reads.

    Args:
        key: names the image; a page that gets another key forgets its zoom.
        pixel: (row, column) in image pixels.
        stride: image pixels per feature pixel; the mark is that feature pixel.
        zoom: show 1/zoom of the longer side at first, around the pixel.
    """
    facts = dict(key=key, zoom=str(zoom), stride=str(stride), row=str(pixel[0]), column=str(pixel[1]))
    mark = footprint(pixel, stride, 1)

    def marked(cell):
        if isinstance(cell, Picture) and cell.linked and cell.mark is None:
            return replace(cell, mark=mark)
        return cell

    return replace(
        figure,
        lead=marked(figure.lead),
        cells=tuple(tuple(marked(cell) for cell in row) for row in figure.cells),
        data=(*((name, value) for name, value in figure.data if name not in facts), *facts.items()),
    )
