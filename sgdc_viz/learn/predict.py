"""From an image to a mask, and from a data set to numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from sgdc_viz.data import Sample, load_image
from sgdc_viz.data.transforms import image_tensor, to_scale
from sgdc_viz.nn import SGDCNet

from .metrics import evaluate_labels, evaluate_masks, summarise

TILE, OVERLAP = 1024, 384  # pixels at the model's scale; a larger image is predicted in tiles, see `predict_tiles`


class NaNError(ValueError):
    """The network gives no numbers."""


def scaled(model: SGDCNet, image: np.ndarray) -> np.ndarray:
    """An image at the scale the model was trained at: uint8 RGB [H, W, 3] -> uint8 [h, w, 3].

    Raises:
        ValueError: if it is no such image.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"an image must be uint8 RGB [H, W, 3], got {image.dtype} {image.shape}.")
    return to_scale(image, _data(model).get("longest_side"))


def prepare(model: SGDCNet, image: np.ndarray | str | Path) -> torch.Tensor:
    """An image as the model wants it: [1, 3, h, w], values 0..1, at the scale the model was trained at.

    Args:
        image: uint8 RGB [H, W, 3], or the path of an image file.

    Raises:
        ValueError: if it is no such image.
    """
    if isinstance(image, str | Path):
        image = load_image(image)
    return image_tensor(scaled(model, image)).to(next(model.parameters()).device)


def predict_probability(model: SGDCNet, image: np.ndarray | str | Path) -> np.ndarray:
    """Probability of each class at each pixel of the image as given.

    Returns:
        float32 [H, W], probability of foreground (binary), or [C, H, W] (multi-class), at the image's own size.

    Raises:
        ValueError: if the image cannot be used, the model is in training mode, or it gives NaN.
    """
    if model.training:
        raise ValueError("the model is in training mode, where batch norm would use this image: call model.eval().")
    if isinstance(image, str | Path):
        image = load_image(image)
    for step in predict_tiles(model, scaled(model, image)):  # noqa: B007 - the last one has the logits
        pass
    logits = at_size(step.logits, image.shape[:2])
    probability = logits[0, 0].sigmoid() if logits.shape[1] == 1 else logits[0].softmax(0)
    if not probability.isfinite().all():
        raise NaNError("the network gives NaN for this image: its weights are broken, train or save it again.")
    return probability.float().cpu().numpy()


def at_size(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Logits [1, C, h, w] -> [1, C, H, W], bilinear, where the model's scale is not the image's own."""
    if logits.shape[-2:] == size:
        return logits
    there = logits.device
    if there.type == "mps":  # torch 2.5 and 2.6 have no antialiased resize for Apple's GPUs: done on the CPU
        logits = logits.cpu()
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False, antialias=True).to(there)


def predict_mask(model: SGDCNet, image: np.ndarray | str | Path) -> np.ndarray:
    """Segment an image.

    Args:
        image: uint8 RGB [H, W, 3] of any size, or the path of an image file.

    Returns:
        bool [H, W]: probability above 0.5 (binary), or the most probable class, uint8 [H, W] (multi-class).
    """
    probability = predict_probability(model, image)
    return probability > 0.5 if probability.ndim == 2 else probability.argmax(0).astype(np.uint8)


class TileStep(NamedTuple):
    """So many tiles of an image are done; `logits` [1, C, h, w] come with the last one, before that there are none."""

    done: int
    all: int
    logits: torch.Tensor | None = None


def predict_tiles(
    model: SGDCNet, image: np.ndarray, tile: int | None = None, overlap: int | None = None
) -> Iterator[TileStep]:
    """Logits of an image of any size, tile by tile; a small image is one tile.

    Tiles overlap. The third of an overlap that is next to a cut counts for nothing, the middle third is blended.

    Nothing runs between two steps, so whoever asks for them may pause, or stop for good. The model sees one tile at a
    time: memory grows with the tile, and with the image only by its logits.

    Whether this is the prediction in one piece depends on what the model's kernels are made from:

        its surroundings ("structure", "semantic") or nothing ("plain"): yes. What the compact network finds at a pixel
            depends on 190 pixels around it, and noticeably on 130, a third of the overlap. Measured with the shipped
            network for nuclei on 4096 x 4096 pixels: probabilities differ by at most 2e-4.
        blocks ("pooled"): so too (measured: 3e-3), as tiles begin where blocks begin; but no, if a tile of this size
            does not hold four of the largest blocks (by default: pool size over 16, compact), whose cuts then fall
            elsewhere
        all that the model sees ("global", "dyconv", "idconv"): no, as the average over a tile is not the image's

    Args:
        image: uint8 RGB [h, w, 3] at the model's scale, see `scaled`.
        tile: side of a tile in pixels, overlap: what two neighbours share. Their difference is a multiple of the
            coarsest stride, so that the feature grids of all tiles are one grid, and of the largest block's side, where
            a tile holds four blocks. Default: 1024 and 384, rounded to such multiples, down and up.

    Yields:
        first TileStep(0, all), then one step for each tile.

    Raises:
        ValueError: a tile that does not hold its overlap, or feature grids that do not meet.
    """
    most, (height, width), device = tile or TILE, image.shape[:2], next(model.parameters()).device
    unit, what = _unit(model, most)
    tile, overlap = tile or TILE // unit * unit, overlap or -(-OVERLAP // unit) * unit
    if not 0 < overlap < tile or (tile - overlap) % unit:
        raise ValueError(
            f"tile={tile} must be larger than overlap={overlap}, and by a multiple of {unit}, {what} in pixels."
        )
    rows, columns = (_spans(side, tile if side > most else side, overlap) for side in (height, width))
    spans = list(product(rows, columns))
    total = None
    yield TileStep(0, len(spans))
    for done, ((y, down), (x, across)) in enumerate(spans, start=1):
        part = image_tensor(image[y : y + len(down), x : x + len(across)]).to(device)
        with torch.no_grad():  # not around the yield: it would hold for whoever is at work between two steps
            logits = model(part).logits
        if len(spans) == 1:
            total = logits
        else:
            total = logits.new_zeros(1, logits.shape[1], height, width) if total is None else total
            weight = (down[:, None] * across[None, :]).to(logits)
            total[..., y : y + len(down), x : x + len(across)] += logits * weight
        yield TileStep(done, len(spans), total if done == len(spans) else None)


def _unit(model: SGDCNet, tile: int) -> tuple[int, str]:
    """How many pixels lie between places where a tile may begin, and what that is in words."""
    config = model.config
    coarsest = config.strides[-1]
    largest = coarsest * config.pool_size  # its multiples begin blocks at the finer strides too: those divide it
    if config.kernel_source == "pooled" and 4 * largest <= tile:  # else a tile's border is near all of its blocks
        return largest, "the side of the model's largest pooled block"
    return coarsest, "the model's coarsest stride"


def _spans(size: int, tile: int, overlap: int) -> list[tuple[int, torch.Tensor]]:
    """Along one side: where each tile begins, and the weight of each of its pixels; the weights add up to 1.

    Tiles begin at multiples of tile - overlap. From a cut on, weights are 0 for a third of the overlap, where a tile
    lacks context, then rise to 1 within the next third. The image's own borders are no cuts.
    """
    starts = [0] if size <= tile else range(0, size - overlap, tile - overlap)
    sums, ramps = torch.zeros(size), []
    for start in starts:
        length = min(tile, size - start)
        rising = (3 * torch.arange(1, length + 1) / overlap - 1).clamp(0, 1)
        ramp = torch.ones(length)
        if start > 0:
            ramp = ramp.minimum(rising)
        if start + length < size:
            ramp = ramp.minimum(rising.flip(0))
        ramps.append((start, ramp))
        sums[start : start + length] += ramp
    return [(start, ramp / sums[start : start + len(ramp)]) for start, ramp in ramps]


def evaluate(model: SGDCNet, samples: Iterable[Sample], progress: bool = False) -> dict:
    """Measure a model on samples with truth, at each image's own size.

    Args:
        samples: a data set or a list.
        progress: show a progress bar.

    Returns:
        {"images": one record of metrics per image (with its "name"), "summary": see `metrics.summarise`}
    """
    from tqdm.auto import tqdm

    names, records = [], []
    for sample in tqdm(samples, desc="evaluate", disable=not progress, unit="image"):
        predicted = predict_mask(model, sample.image)
        if model.config.num_classes == 1:
            record = evaluate_masks(predicted, sample.mask > 0)
        else:
            record = evaluate_labels(predicted, sample.mask, model.config.num_classes)
        names.append(sample.name)
        records.append(record)
    if not records:
        raise ValueError("there is nothing to evaluate: the data set (or its split) holds no image.")
    images = [{"name": name, **record} for name, record in zip(names, records, strict=True)]
    return {"images": images, "summary": summarise(records)}


def _data(model: SGDCNet) -> dict:
    return getattr(getattr(model, "info", None), "data", None) or {}
