"""Everything that a visitor's page shows, in one value: it is the page's state, and it is its address.

    /?image=synthetic-nuclei&networks=nuclei&y=129&x=124&tab=cause&change=kernels+uniform

A lecturer copies the address and gets the same page again; what an address leaves out takes its usual value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from sgdc_viz.explore import POOL_SIZES
from sgdc_viz.explore.several import CAUSES

TABS = {  # id -> label, in the order of discovery
    "look": "Look", "compare": "Compare", "boundary": "Boundary", "cause": "Cause", "train": "Train",
    "evidence": "Evidence", "yours": "Your image",
}  # fmt: skip
PLACES = ("everywhere", "around the outlines", "where you paint")  # of a change
CHANGES_OFFERED = (
    *CAUSES, *(f"head {h} uniform" for h in range(1, 5)), "kernels centre only", "static gate open", "static gate shut",
    "dynamic gate open", "dynamic gate shut",
)  # fmt: skip
ZOOMS = (1, 2, 4)
TOLERANCES = (1.0, 2.0, 3.0, 4.0)  # image pixels
MOST_DABS = 150  # of one region, each a disk: so many fit into an address
MOST_RADIUS = 30  # image pixels


@dataclass(frozen=True)
class View:
    """What a page shows.

    Attributes:
        image: key of an example or of an upload.
        family: the networks, as `sgdc_viz.explore.FAMILIES`, "untrained", or a visitor's own.
        versus: what the guided network is compared with, a key of `COMPARISONS`.
        y, x: the selected pixel (row, column), in pixels of the image as the networks see it.
        tab: key of `TABS`.
        zoom: one of `ZOOMS` to begin with; None: the image's own. The browser zooms without asking.
        channel: the channel that the microscope follows; None: the one with the largest value.
        pool_size: p of the counterfactual, in feature pixels; None: the whole image.
        tolerance: image pixels by which the boundary branch may miss the outline.
        controls: draw the control networks beside the others.
        change: one of `CHANGES_OFFERED`.
        place: where the change is made, one of `PLACES`.
        dabs: the region that was painted, (row, column, radius) of each disk, in image pixels.
        centre: (row, column) of the given image; of one that is too large to be looked at in one piece, the part around
            it is shown (None: its middle).
        segmented: show the mask of the whole image, where it was asked for.
    """

    image: str
    family: str
    versus: str = "pooled"
    y: int = 0
    x: int = 0
    tab: str = "look"
    zoom: int | None = None
    channel: int | None = None
    pool_size: int | None = 8
    tolerance: float = 1.0
    controls: bool = False
    change: str = "guidance zeroed"
    place: str = "everywhere"
    dabs: tuple[tuple[int, int, int], ...] = ()
    centre: tuple[int, int] | None = None
    segmented: bool = False

    @property
    def pixel(self) -> tuple[int, int]:
        return self.y, self.x

    def query(self) -> str:
        """The address of this page, without its "?": image, networks and pixel always, the rest where it is not usual.

        An image that somebody brought cannot be part of it: it is nowhere but here.
        """
        usual = View(self.image, self.family)
        always = ("image", "networks", "y", "x", "tab")
        told = {}
        for name, (attribute, write, _) in LINK.items():
            value = getattr(self, attribute)
            if name in always or value != getattr(usual, attribute):
                told[name] = write(value)
        return urlencode(told)


def _whole(text: str) -> int:
    if not text.isdecimal() or len(text) > 5:
        raise ValueError("give a whole number")
    return int(text)


def _one_of(choices) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"use one of {', '.join(choices)}")
        return text

    return read


def _pool_size(text: str) -> int | None:
    sizes = {_written(p): p for p in POOL_SIZES}
    return sizes[_one_of(sizes)(text)]


def _written(pool_size: int | None) -> str:
    return "image" if pool_size is None else str(pool_size)


def _dabs(text: str) -> tuple[tuple[int, int, int], ...]:
    dabs = [tuple(_whole(n) for n in dab.split(".")) for dab in text.split("_")[:MOST_DABS]]
    if any(len(dab) != 3 or not 0 < dab[2] <= MOST_RADIUS for dab in dabs):
        raise ValueError(f"give row.column.radius_row.column.radius..., radius from 1 to {MOST_RADIUS}")
    return tuple(dabs)


def _zoom(text: str) -> int:
    return int(_one_of([str(z) for z in ZOOMS])(text))


def _tolerance(text: str) -> float:
    return float(_one_of([f"{t:g}" for t in TOLERANCES])(text))


# name in the address -> attribute of View, how it is written, how it is read (ValueError says what would be right)
LINK: dict[str, tuple[str, Callable, Callable]] = {
    "image": ("image", str, str),
    "networks": ("family", str, str),
    "compare": ("versus", str, str),
    "y": ("y", str, _whole),
    "x": ("x", str, _whole),
    "tab": ("tab", str, _one_of(TABS)),
    "zoom": ("zoom", str, _zoom),
    "channel": ("channel", str, _whole),
    "p": ("pool_size", _written, _pool_size),
    "tolerance": ("tolerance", "{:g}".format, _tolerance),
    "controls": ("controls", lambda on: "yes" if on else "no", lambda text: _one_of(("yes", "no"))(text) == "yes"),
    "change": ("change", str, _one_of(CHANGES_OFFERED)),
    "place": ("place", str, _one_of(PLACES)),
    "region": ("dabs", lambda dabs: "_".join(f"{y}.{x}.{r}" for y, x, r in dabs), _dabs),
}


def read_link(query: Mapping[str, str]) -> tuple[dict[str, object], tuple[str, ...]]:
    """What an address asks for.

    Args:
        query: its parameters; those that are none of ours are left alone (other programs add theirs).

    Returns:
        (attribute of View -> value, sentences about what could not be read). Whether there is such an image, such
        networks and such a pixel, only the gallery knows.
    """
    told, complaints = {}, []
    for name, (attribute, _, read) in LINK.items():
        if name in query:
            try:
                told[attribute] = read(str(query[name]))
            except ValueError as error:
                complaints.append(f"The address has {name}={str(query[name])[:40]!r}: {error}.")
    return told, tuple(complaints)
