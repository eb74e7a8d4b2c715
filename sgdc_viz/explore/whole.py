"""A whole image through one network, tile by tile, so that nobody waits for it who only wants to click."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from sgdc_viz.learn.predict import at_size, predict_tiles, scaled
from sgdc_viz.nn import SGDCNet

ROWS = 512  # of the image whose probabilities are worked out at once


@dataclass(frozen=True, eq=False)
class Whole:
    """What one network says about a whole image, at the image's own size.

    Attributes:
        probability: float16 [H, W], 0..1, of being object (of any kind); about 3 digits.
        mask: bool [H, W], probability over 0.5, decided before it was rounded to float16.
        objects: connected parts of the mask; pixels that touch at a corner are connected.
        share: part of the image that the mask covers, 0..1.
        seconds: that network and tiles took, waiting for others left out.
        tiles: how many there were. Of several, pixels may differ from a prediction in one piece if each kernel is made
            from all that the network sees ("global", "dyconv", "idconv") or from blocks too large for a tile: see
            `sgdc_viz.learn.predict.predict_tiles`.
        metrics: against the truth, as `sgdc_viz.learn.metrics.evaluate_masks` gives them; None without truth.
    """

    probability: np.ndarray
    mask: np.ndarray
    objects: int
    share: float
    seconds: float
    tiles: int
    metrics: Mapping[str, float] | None = None

    @property
    def area(self) -> int:
        """Pixels of the mask."""
        return int(np.count_nonzero(self.mask))

    @property
    def nbytes(self) -> int:
        return self.probability.nbytes + self.mask.nbytes


class Progress(NamedTuple):
    """So many tiles of all are done; the last step has the result."""

    done: int
    all: int
    result: Whole | None = None


def segment(
    network: SGDCNet, image: np.ndarray, lock: AbstractContextManager | None = None, tile: int | None = None,
    overlap: int | None = None,
) -> Iterator[Progress]:  # fmt: skip
    """Steps of a network's way over an image; the last has the result.

    Args:
        image: uint8 RGB [H, W, 3] of any size.
        lock: held while a tile runs and free between two steps, so that others who use the network get their turn.
        tile, overlap: see `sgdc_viz.learn.predict.predict_tiles`.

    Raises:
        ValueError: as `predict_tiles`, or a network that gives NaN.
    """
    lock = lock or nullcontext()
    steps = predict_tiles(network, scaled(network, image), tile, overlap)
    seconds = 0.0
    while True:
        with lock:
            start = time.perf_counter()
            step = next(steps)
            seconds += time.perf_counter() - start
        yield Progress(step.done, step.all)
        if step.logits is not None:
            break
        time.sleep(0.001)  # a lock is not fair: without a pause, whoever waits for it may never get it
    start = time.perf_counter()
    probability, mask = _probability(at_size(step.logits, image.shape[:2]))
    objects = count_objects(mask)
    share = float(np.count_nonzero(mask)) / mask.size
    yield Progress(
        step.all, step.all,
        Whole(probability, mask, objects, share, seconds + time.perf_counter() - start, step.all),
    )  # fmt: skip


def count_objects(mask: np.ndarray) -> int:
    """Connected parts of a mask, bool [H, W]; pixels that touch at a corner are connected."""
    from scipy.ndimage import label

    return int(label(mask, np.ones((3, 3)))[1])


def _probability(logits: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Logits [1, C, H, W] -> (probability float16 [H, W] of being object, mask bool [H, W])."""
    height, width = logits.shape[-2:]
    probability, mask = np.empty((height, width), np.float16), np.empty((height, width), bool)
    for y in range(0, height, ROWS):  # a few rows at a time: of many classes, all at once would take gigabytes
        part = logits[0, :, y : y + ROWS]
        values = (part[0].sigmoid() if len(part) == 1 else 1 - part.softmax(0)[0]).cpu().numpy()
        if not np.isfinite(values).all():
            raise ValueError("the network gives NaN for this image: its weights are broken, train or save it again.")
        probability[y : y + ROWS], mask[y : y + ROWS] = values, values > 0.5
    return probability, mask
