"""The pictures of the exported page: parts of the examples, small enough that one file holds every kernel of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sgdc_viz.data.samples import Example, examples
from sgdc_viz.data.transforms import to_scale
from sgdc_viz.explore import Explorer, Pair, Place

SIDE = 128  # pixels: 64 x 64 feature pixels of the finest block, each with kernels of its own
FALLBACK = "nuclei"  # the networks for a picture that none of them learnt


@dataclass(frozen=True)
class Shown:
    """One picture of the page.

    Attributes:
        key: of the example it is taken from; also its name in the page's address.
        corner: (row, column) where a window of SIDE x SIDE pixels is cut out of the example; None: the whole example.
        shrink: scale the example to a longer side of SIDE first (then nothing is cut out).
        pixel: (row, column) to open with, in pixels of what is shown; None: the example's own.
        zoom: part of the picture to show first, 1/zoom of its longer side.
    """

    key: str
    corner: tuple[int, int] | None = None
    shrink: bool = False
    pixel: tuple[int, int] | None = None
    zoom: int = 1


PICTURES = (
    Shown("immunohistochemistry", corner=(107, 0)),
    Shown("synthetic-nuclei", corner=(64, 60)),
    Shown("synthetic-lesion"),
    Shown("cell", shrink=True, pixel=(65, 37)),
    Shown("retina", corner=(164, 34)),
)


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture with what its networks did.

    Attributes:
        shown, example: which it is.
        pair: the guided and the pooled network on it, from `Explorer.look`.
        pixel: (row, column) to open with, in pixels of `pair.image`.
        part: a sentence about what was cut out or made smaller; empty if nothing was.
    """

    shown: Shown
    example: Example
    pair: Pair
    pixel: tuple[int, int]
    part: str

    @property
    def names(self) -> dict[str, str]:
        """Row name -> name of the weights: {"guided": "nuclei-structure", ...}."""
        return self.pair.explorer.names_of(self.pair.family)

    @property
    def note(self) -> tuple[str, str]:
        """What people should know: (sentences, warning); the warning is empty where the networks learnt such images."""
        told = [self.example.note, self.part, *self.pair.notes]
        outside = "" if self.example.family else (
            "Outside what any of these networks learnt: watch how they react, do not believe the masks."
        )  # fmt: skip
        return " ".join(filter(None, told)), outside


def load_pictures(chosen: Sequence[Shown] = PICTURES, explorer: Explorer | None = None) -> list[Picture]:
    """Each picture through the two networks meant for it; those whose file this scikit-image lacks are left out.

    Raises:
        ValueError: weights are missing, or there is none of these pictures.
    """
    explorer = explorer or Explorer()
    there = {e.key: e for e in examples()}
    found = [_load(shown, there[shown.key], explorer) for shown in chosen if shown.key in there]
    if not found:
        raise ValueError(f"none of the pictures {', '.join(s.key for s in chosen)} is there: choose others.")
    return found


def _load(shown: Shown, example: Example, explorer: Explorer) -> Picture:
    image, truth = example.load()
    pixel, part = np.array(example.pixel), ""
    if shown.corner is not None:
        y, x = shown.corner
        window = (slice(y, y + SIDE), slice(x, x + SIDE))
        image, truth = np.ascontiguousarray(image[window]), None if truth is None else truth[window]
        pixel, part = pixel - shown.corner, f"A window of {image.shape[1]} × {image.shape[0]} of its pixels."
    elif shown.shrink:
        image = to_scale(image, SIDE)
        part = f"Made smaller here, to {image.shape[1]} × {image.shape[0]} pixels."
    pair = explorer.look(example.family or FALLBACK, image, truth)
    pixel = shown.pixel or pair.place.from_other(tuple(int(n) for n in pixel), Place())
    return Picture(shown, example, pair, pixel, part)
