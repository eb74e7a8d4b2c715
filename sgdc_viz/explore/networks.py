"""Which networks there are, and how an image is brought to what they take."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from sgdc_viz.data.transforms import to_scale
from sgdc_viz.learn import list_pretrained, load_pretrained
from sgdc_viz.nn import SGDCNet, SGDCNetConfig

SOURCES = {"guided": "structure", "pooled": "pooled"}  # what people read -> kernel_source
FAMILIES = ("nuclei", "dermoscopy", "synthetic")
UNTRAINED = "untrained"  # the control: same networks, random weights
MAX_SIDE = 512  # pixels of the longer side that are run and kept; more is cut to the middle


def families() -> tuple[str, ...]:
    """Families of which both networks, guided and pooled, are in the assets folder."""
    names = list_pretrained()
    return tuple(f for f in FAMILIES if all(f"{f}-{source}" in names for source in SOURCES.values()))


def missing_weights() -> tuple[str, ...]:
    """File names that should lie in the assets folder and do not."""
    names = list_pretrained()
    wanted = [f"{f}-{source}" for f in FAMILIES for source in SOURCES.values()]
    return tuple(f"{name}.safetensors" for name in wanted if name not in names)


def load_network(family: str, source: str) -> SGDCNet:
    """One network in eval mode: a shipped one, or with random weights (seed 0) for family "untrained".

    Raises:
        ValueError: no such family, or its weights are missing; never random weights in their place.
    """
    if family == UNTRAINED:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return SGDCNet(SGDCNetConfig.compact(kernel_source=source)).eval()
    if family not in FAMILIES:
        raise ValueError(f"there are no networks {family!r}; choose one of {', '.join((*FAMILIES, UNTRAINED))}.")
    if f"{family}-{source}" not in list_pretrained():
        raise ValueError(
            f"the weights assets/{family}-{source}.safetensors are missing: get them with the repository, or train "
            "them (see the README)."
        )
    return load_pretrained(f"{family}-{source}")


@dataclass(frozen=True)
class Place:
    """Where an image that the networks see lies in the one that was given; by default it is the given one.

    Attributes:
        scale: (rows, columns), pixels seen for each pixel given.
        corner: (row, column), pixels cut off above and to the left.
        size: (rows, columns), what the networks see; None where no pixel can lie outside.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    corner: tuple[int, int] = (0, 0)
    size: tuple[int, int] | None = None

    def from_other(self, pixel: tuple[int, int], other: Place) -> tuple[int, int]:
        """The pixel that shows what `pixel` shows in another place of the same image; the nearest if it was cut off."""
        given = (np.array(pixel) + 0.5) / other.scale + other.corner  # the pixel's middle
        seen = np.floor((given - self.corner) * self.scale)
        last = np.inf if self.size is None else np.array(self.size) - 1
        return tuple(int(n) for n in np.clip(seen, 0, last))


def place(given: tuple[int, int], seen: tuple[int, int], longest_side: int | None) -> Place:
    """What `fit` did, from sizes (rows, columns) alone: it scales for a `longest_side`, else it cuts out the middle."""
    if longest_side is not None:
        return Place(tuple(s / g for s, g in zip(seen, given, strict=True)), (0, 0), seen)
    return Place((1.0, 1.0), tuple((g - s) // 2 for s, g in zip(seen, given, strict=True)), seen)


def fit(
    image: np.ndarray, truth: np.ndarray | None, longest_side: int | None
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Bring an image (and its truth) to what a pair of networks takes; sentences say what was done."""
    height, width = image.shape[:2]
    if longest_side is not None:
        scaled = to_scale(image, longest_side)
        if scaled is image:
            return image, truth, ()
        if truth is not None:
            from skimage.transform import resize

            truth = resize(truth, scaled.shape[:2], order=0, preserve_range=True, anti_aliasing=False).astype(
                truth.dtype
            )
        h, w = scaled.shape[:2]
        return scaled, truth, (f"The image is {width} × {height} pixels; these networks were trained on, and see, "
                               f"{w} × {h}. Rows and columns count those.",)  # fmt: skip
    if max(height, width) <= MAX_SIDE:
        return image, truth, ()
    top, left = max(0, (height - MAX_SIDE) // 2), max(0, (width - MAX_SIDE) // 2)
    part = (slice(top, top + MAX_SIDE), slice(left, left + MAX_SIDE))
    image = np.ascontiguousarray(image[part])
    used = f"{image.shape[1]} × {image.shape[0]}"
    return image, None if truth is None else truth[part], (
        f"The image is {width} × {height} pixels; to stay quick, its middle {used} is used. Cut out the part you "
        "want to see before you upload.",)  # fmt: skip


def digest(array: np.ndarray) -> str:
    """Names an image or a mask by its content."""
    return hashlib.sha256(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
