"""From an image to a mask, and from a data set to numbers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from sgdc_viz.data import Sample, load_image
from sgdc_viz.data.transforms import image_tensor, to_scale
from sgdc_viz.nn import SGDCNet

from .metrics import evaluate_labels, evaluate_masks, summarise

TILE, OVERLAP = 1024, 128  # pixels at the model's scale; a larger image is predicted in tiles


def prepare(model: SGDCNet, image: np.ndarray | str | Path) -> torch.Tensor:
    """An image as the model wants it: [1, 3, h, w], values 0..1, at the scale the model was trained at.

    Args:
        image: uint8 RGB [H, W, 3], or the path of an image file.

    Raises:
        ValueError: if it is no such image.
    """
    if isinstance(image, str | Path):
        image = load_image(image)
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"an image must be uint8 RGB [H, W, 3], got {image.dtype} {image.shape}.")
    image = to_scale(image, _data(model).get("longest_side"))
    return image_tensor(image).to(next(model.parameters()).device)


@torch.no_grad()
def predict_probability(model: SGDCNet, image: np.ndarray | str | Path) -> np.ndarray:
    """Probability of each class at each pixel of the image as given.

    Returns:
        float32 [H, W], probability of foreground (binary), or [C, H, W] (multi-class), at the image's own size.

    Raises:
        ValueError: if the image cannot be used, or the model is in training mode.
    """
    if model.training:
        raise ValueError("the model is in training mode, where batch norm would use this image: call model.eval().")
    if isinstance(image, str | Path):
        image = load_image(image)
    tensor = prepare(model, image)
    logits = _tiled_logits(model, tensor)
    if logits.shape[-2:] != image.shape[:2]:
        logits = F.interpolate(logits, size=image.shape[:2], mode="bilinear", align_corners=False, antialias=True)
    if logits.shape[1] == 1:
        return logits[0, 0].sigmoid().float().cpu().numpy()
    return logits[0].softmax(0).float().cpu().numpy()


def predict_mask(model: SGDCNet, image: np.ndarray | str | Path) -> np.ndarray:
    """Segment an image.

    Args:
        image: uint8 RGB [H, W, 3] of any size, or the path of an image file.

    Returns:
        bool [H, W]: probability above 0.5 (binary), or the most probable class, uint8 [H, W] (multi-class).
    """
    probability = predict_probability(model, image)
    return probability > 0.5 if probability.ndim == 2 else probability.argmax(0).astype(np.uint8)


def _tiled_logits(model: SGDCNet, image: torch.Tensor) -> torch.Tensor:
    """Logits of an image of any size: in one piece up to TILE, otherwise overlapping tiles, blended linearly."""
    height, width = image.shape[-2:]
    if max(height, width) <= TILE:
        return model(image).logits
    total = image.new_zeros(1, model.config.num_classes, height, width)
    weight = image.new_zeros(1, 1, height, width)
    for y in _starts(height):
        for x in _starts(width):
            tile = model(image[..., y : y + TILE, x : x + TILE]).logits
            ramp = _ramp(tile.shape[-2])[:, None] * _ramp(tile.shape[-1])[None, :]
            ramp = ramp.to(tile)
            total[..., y : y + TILE, x : x + TILE] += tile * ramp
            weight[..., y : y + TILE, x : x + TILE] += ramp
    return total / weight


def _starts(size: int) -> list[int]:
    """Where tiles begin, in multiples of OVERLAP (a multiple of every stride, so that feature grids stay aligned)."""
    step = TILE - OVERLAP
    return list(range(0, max(1, size - OVERLAP), step))


def _ramp(size: int) -> torch.Tensor:
    """Weights that rise from the tile's rim to 1 over OVERLAP pixels."""
    distance = torch.minimum(torch.arange(1, size + 1), torch.arange(size, 0, -1))
    return (distance / OVERLAP).clamp(max=1.0)


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
