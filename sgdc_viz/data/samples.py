"""Images to start with: real ones that scikit-image carries in its wheel, and synthetic ones with exact truth.

Nothing is downloaded: a file that the installed scikit-image does not carry is left out of the list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from sgdc_viz.data.images import Sample, load_image
from sgdc_viz.data.synthetic import synthetic_dermoscopy, synthetic_nuclei
from sgdc_viz.data.transforms import to_scale

# Rows and columns cut out, 256 x 256 pixels: connective tissue between two glands; the cell with its surroundings.
IHC_DETAIL = (slice(256, 512), slice(152, 408))
CELL_DETAIL = (slice(245, 501), slice(294, 550))


@dataclass(frozen=True)
class Example:
    """One image to start with.

    Attributes:
        key: short name, used in addresses and by API clients.
        title: what people read.
        family: the networks meant for such images: "nuclei", "dermoscopy" or "synthetic"; None: none of them.
        note: what it shows, where it is from, and what to expect.
        pixel: (y, x) image pixel worth looking at first.
        zoom: part of the picture to show first, 1/zoom of its longer side.
        make: returns the Sample; mask and instances are empty and None where nobody knows the truth.
        has_truth: whether its mask is the truth.
    """

    key: str
    title: str
    family: str | None
    note: str
    pixel: tuple[int, int]
    make: Callable[[], Sample]
    zoom: int = 1
    has_truth: bool = False

    def load(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Image uint8 [H, W, 3], and its truth [H, W] (object numbers where they are known) or None."""
        sample = self.make()
        truth = sample.mask if sample.instances is None else sample.instances
        return sample.image, truth if self.has_truth else None


def examples() -> tuple[Example, ...]:
    """All examples that can be shown without a network connection, best first."""
    return tuple(e for e in EXAMPLES if e.key not in FILES or _path(FILES[e.key]).is_file())


def example(key: str) -> Example:
    """One example by its key.

    Raises:
        ValueError: unknown key; the message lists the known ones.
    """
    for e in examples():
        if e.key == key:
            return e
    raise ValueError(f"there is no sample {key!r}; choose one of {', '.join(e.key for e in examples())}.")


def _path(file: str) -> Path:
    """In the installed package itself: skimage.data's own functions could start a download."""
    return Path(find_spec("skimage").origin).parent / "data" / file


def _from_file(
    key: str, cut: tuple[slice, slice] = (slice(None), slice(None)), side: int | None = None
) -> Callable[[], Sample]:
    """A part of a file's picture, or all of it made smaller so that its longer side has `side` pixels."""

    def make() -> Sample:
        image = to_scale(np.ascontiguousarray(load_image(_path(FILES[key]))[cut]), side)
        return Sample(image, np.zeros(image.shape[:2], np.uint8), None, key, key)

    return make


FILES = {"immunohistochemistry": "ihc.png", "immunohistochemistry-whole": "ihc.png", "retina": "retina.jpg",
         "cell": "cell.png", "microaneurysms": "microaneurysms.png"}  # fmt: skip

EXAMPLES = (
    Example("immunohistochemistry", "Immunohistochemistry, detail (real)", "nuclei",
            "Colon tissue, nuclei stained blue, a protein stained brown; a 256 × 256 pixel detail of scikit-image's "
            "picture. The networks for nuclei never saw this stain.",
            (171, 55), _from_file("immunohistochemistry", IHC_DETAIL), zoom=2),
    Example("synthetic-nuclei", "Nuclei, drawn, with exact truth", "nuclei",
            "Drawn by this project, so the true outline of every nucleus is known to the pixel. The networks learnt "
            "from real microscope images, not from drawn ones.",
            (129, 124), lambda: synthetic_nuclei(11, 256, style="histology", count=38, defocus=0.0), zoom=2,
            has_truth=True),
    Example("synthetic-lesion", "Skin lesion, drawn, with exact truth", "synthetic",
            "Drawn by this project: a pigmented lesion whose border is known to the pixel. The networks learnt from "
            "other drawn lesions.",
            (71, 201), lambda: synthetic_dermoscopy(5, (192, 256), radius=0.356, lobes=12, lobe_depth=0.12, hair=0.3),
            has_truth=True),
    Example("immunohistochemistry-whole", "Immunohistochemistry, whole (real)", "nuclei",
            "The whole 512 × 512 picture that scikit-image carries; takes a few seconds.",
            (427, 207), _from_file("immunohistochemistry-whole"), zoom=4),
    Example("cell", "A living cell (real)", None,
            "A whole cell floating in saline, measured by its optical thickness: a cell, not a nucleus.",
            (128, 71), _from_file("cell", CELL_DETAIL)),
    Example("retina", "Retina (real)", None, "The back of the eye, made smaller: 512 × 512 pixels of 1411 × 1411.",
            (228, 98), _from_file("retina", side=512), zoom=2),
    Example("microaneurysms", "Retina, small detail (real)", None,
            "102 × 102 pixels of a retina; the dark dots are swollen capillaries.",
            (22, 30), _from_file("microaneurysms")),
)  # fmt: skip
