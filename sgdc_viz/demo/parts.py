"""The pictures of every tab. A part is drawn again only when something it depends on has changed, and never twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from itertools import zip_longest

import numpy as np

from sgdc_viz import evidence
from sgdc_viz.explore import Pair
from sgdc_viz.explore.at_pixel import change_at, pooling_at
from sgdc_viz.explore.linked import linked
from sgdc_viz.explore.results import result_of_whole, results_of_pair, results_zip
from sgdc_viz.explore.whole import Whole, count_objects
from sgdc_viz.memory import give_back
from sgdc_viz.views import Figure, Picture, whole
from sgdc_viz.views.overview import window_around

from . import gallery
from .bounded import Bounded
from .refusal import sentence
from .view import PLACES, View

KEEP_HTML = 48 * 2**20  # bytes of drawn parts
WHERE = ("y", "x")  # what moves with every click


@dataclass(frozen=True)
class Part:
    """One piece of a tab.

    Attributes:
        name: short and unique; `elem_id` is "sg-" + name.
        tab: key of `TABS`.
        draw: (pair, view, start) -> Figure, or None where there is nothing to show; start is ((row, column), zoom) to
            begin with. A figure that does not depend on y and x is drawn at the start, and the page moves its marks.
        by: attributes of View that it depends on, besides image, networks and zoom.
    """

    name: str
    tab: str
    draw: Callable[[Pair, View, tuple[tuple[int, int], int]], Figure | None]
    by: tuple[str, ...] = ()

    def depends(self, view: View, image: str) -> tuple:
        """What it depends on: equal if nothing has to be drawn. image: key of the image as the networks see it."""
        return (self.name, image, view.image, view.family, view.zoom, *(getattr(view, name) for name in self.by))


def _overview(pair: Pair, view: View, start) -> Figure:
    return pair.overview(*start)


def _kernels(pair: Pair, view: View, start) -> Figure:
    return pair.kernels(view.pixel)


def _microscope(pair: Pair, view: View, start) -> Figure:
    return pair.microscope(view.pixel, view.channel)


def _predictions(pair: Pair, view: View, start) -> Figure:
    return pair.predictions(*start)


def _pooling(pair: Pair, view: View, start) -> Figure:
    return pair.pooling(view.pool_size, *start)


def _pooling_here(pair: Pair, view: View, start) -> Figure:
    return pooling_at(pair, view.pool_size, view.pixel)


def _branch(pair: Pair, view: View, start) -> Figure:
    """Against the truth; where nobody knows it, how the branch comes to what it says."""
    if pair.truth is None:
        return pair.sge_stages(*start)
    return pair.boundary_branch(view.tolerance, *start, controls=view.controls)


def _profile(pair: Pair, view: View, start) -> Figure:
    return pair.boundary_profile(view.pixel, view.zoom or 4, controls=view.controls)


def _effect(pair: Pair, view: View, start) -> Figure | None:
    if view.place == PLACES[0]:
        return pair.causal([view.change], *start)
    if view.place == PLACES[1]:
        return pair.region(view.change, *start)
    return pair.region(view.change, *start, mask=painted(view, pair)) if view.dabs else None


def _effect_here(pair: Pair, view: View, start) -> Figure | None:
    if view.place == PLACES[0]:
        return change_at(pair, view.change, view.pixel)
    return change_at(pair, view.change, view.pixel, painted(view, pair)) if painting(view) and view.dabs else None


def _canvas(pair: Pair, view: View, start) -> Figure | None:
    """The picture to paint on."""
    if not painting(view):
        return None
    pixel, zoom = start
    alt = "The image, to paint a region on: drag over it, or use the button that paints at the selected pixel."
    picture = Picture(pair.image, alt, linked=True, window=window_around(pixel, pair.image.shape[:2], zoom))
    figure = Figure(
        name="canvas", title="Paint a region", message="Drag over the picture, or paint with the space bar: the "
        "change is made there alone.", summary="", alt=alt, rows=(), columns=(), cells=(), lead=picture,
    )  # fmt: skip
    return linked(figure, pair.key, pixel, pair.first.stride, zoom)


def _whole(pair: Pair, view: View, start) -> Figure:
    """All of the image, with the part that is looked at, and what was found if it was asked for and is still known."""
    image, truth = gallery.image_of(view.image)
    part = pair.place.box if pair.place.part else None
    found = known_whole(view) if view.segmented else None
    told = {} if found is None else dict(mask=found.mask, objects=found.objects, metrics=found.metrics)
    if found is None and part is None and pair.image.shape == image.shape:  # seen whole: its mask is there already
        run = pair.first
        told = dict(mask=run.mask, objects=count_objects(run.mask), metrics=pair.prediction(run).metrics)
    return whole(image, truth=truth, part=part, name=next(iter(pair.runs)), **told)


def known_whole(view: View) -> Whole | None:
    """The segmented whole image, if its result is kept; no network runs."""
    image, truth = gallery.image_of(view.image)
    if not gallery.explorer.has_whole(view.family, image):
        return None
    return next(gallery.explorer.whole(view.family, image, truth=truth)).result


PARTS = (
    Part("overview", "look", _overview, ("versus",)),
    Part("kernels", "look", _kernels, ("versus", *WHERE)),
    Part("microscope", "look", _microscope, ("versus", *WHERE, "channel")),
    Part("pooling", "compare", _pooling, ("pool_size",)),
    Part("pooling-here", "compare", _pooling_here, ("pool_size", *WHERE)),
    Part("predictions", "compare", _predictions, ("versus",)),
    Part("profile", "boundary", _profile, ("versus", *WHERE, "controls")),
    Part("branch", "boundary", _branch, ("versus", "tolerance", "controls")),
    Part("canvas", "cause", _canvas, ("place",)),
    Part("effect", "cause", _effect, ("change", "place", "dabs")),
    Part("effect-here", "cause", _effect_here, ("change", "place", "dabs", *WHERE)),
    Part("whole", "yours", _whole, ("centre", "segmented")),
)


def painting(view: View) -> bool:
    return view.place == PLACES[2]


def painted(view: View, pair: Pair) -> np.ndarray:
    """The region that was painted: bool [H, W], the union of all dabs."""
    height, width = pair.image.shape[:2]
    rows, columns = np.ogrid[:height, :width]
    region = np.zeros((height, width), bool)
    for y, x, radius in view.dabs:
        region |= (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    return region


def evidence_html() -> str:
    """The figures about many images and seeds; a sentence where their numbers are missing."""
    try:
        summary = evidence.load_summary()
    except FileNotFoundError:
        return note("the numbers are missing: there is no assets/evidence.json; get it with the repository.")
    made = evidence.figures(summary)
    first = [made.pop(name).to_html() for name in ("contrasts", "regime") if name in made]
    words = [f'<p class="sg-answer">{escape(p)}</p>' for p in evidence.regime(summary).split("\n\n")]
    told = [part for pair in zip_longest(first, words, fillvalue="") for part in pair]  # a figure, then what it means
    return (
        "".join(told)
        + "<details><summary>Dose and response, and every other network that was trained</summary>"
        + "".join(figure.to_html() for figure in made.values())
        + "</details>"
    )


def results_of(view: View) -> bytes:
    """What a visitor takes home, as the bytes of a zip file: masks, figures and numbers of what is looked at, and of
    the whole image if it was segmented."""
    pair, explorer = gallery.see(view), gallery.explorer
    _, truth = gallery.image_of(view.image)
    told = results_of_pair(pair, truth)
    found = known_whole(view) if view.segmented else None
    if found is not None and pair.place.part:
        label, name = next(iter(explorer.names_of(view.family).items()))
        told.append(result_of_whole(f"{label}, whole image", name, found))
    zoomed = view.pixel, 1
    figures = {
        "overview": pair.overview(*zoomed), "microscope": pair.microscope(view.pixel, view.channel),
        "predictions": pair.predictions(*zoomed),
    }  # fmt: skip
    return results_zip(told, figures)


drawn: Bounded[str] = Bounded(KEEP_HTML, len)  # by what a part depends on


def html_of(part: Part, view: View, pair: Pair) -> str:
    """A part as HTML; one that cannot be drawn for this image says so in a sentence."""
    key = part.depends(view, pair.key)
    known = drawn.get(key)
    if known is not None:
        return known
    try:
        pixel, zoom = gallery.first_pixel(pair, gallery.chosen(view.image))
        figure = part.draw(pair, view, (pixel, view.zoom or zoom))
        html = "" if figure is None else figure.to_html()
    except ValueError as error:
        html = note(error)
    html = html.encode("ascii", "xmlcharrefreplace").decode()  # else Python takes two bytes for each letter
    if not set(WHERE) & set(part.by):  # much was computed for it
        give_back()
    return drawn.put(key, html)


def note(reason: object) -> str:
    """One sentence in place of a picture, as HTML."""
    return f'<p class="sg-note">{sentence(reason)}</p>'
