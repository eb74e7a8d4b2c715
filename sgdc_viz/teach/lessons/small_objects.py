"""Notebook 09: how the pair is wired into a network; and small objects: drawn ones, found ones, and intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from sgdc_viz.data.images import Sample
from sgdc_viz.data.synthetic import synthetic_nuclei
from sgdc_viz.learn.metrics import iou
from sgdc_viz.learn.publish import paired_difference
from sgdc_viz.nn import SGDC, SGE
from sgdc_viz.views import Figure, curves, panels
from sgdc_viz.views.figure import true_outline
from sgdc_viz.views.geometry import interval_of_mean

MEASURES = {"iou": "IoU of all pixels", "recall": "objects found", "precision": "marked pixels that are right"}


def guided_stage(boundary: SGE, join: nn.Module, block: SGDC, deep: Tensor, shallow: Tensor) -> tuple[Tensor, Tensor]:
    """Boundary branch and block, wired between the two levels of a network.

    Args:
        boundary: reads both levels.
        join: 1 x 1 convolution from deep and shallow channels to the block's.
        block: reads what join gives, and the guidance.
        deep: [B, C4, h, w], C4 deep channels. shallow: [B, C1, H, W], larger, C1 shallow channels.

    Returns:
        features [B, d, H, W] and boundary logits [B, 1, H, W].
    """
    edge_logits, guidance = boundary(deep, shallow)
    enlarged = F.interpolate(deep, size=shallow.shape[-2:], mode="bilinear")  # [B, C4, H, W]
    return block(join(torch.cat([enlarged, shallow], dim=1)), guidance), edge_logits


def draw(seed: int, radius: float, style: str, side: int = 128, count: int = 25) -> Sample:
    """Nuclei of one size, apart from each other, sharp, with little noise.

    Args:
        seed: of the picture.
        radius: mean radius in pixels.
        style: "fluorescence" or "histology".
        side: of the picture in pixels.
        count: how many nuclei, fewer if they do not fit.
    """
    return synthetic_nuclei(
        seed, side, style=style, count=count, crowding=0.0, radius=radius / side, lobes=0, contrast=0.9, softness=0.7,
        defocus=0.0, noise=0.01, blur=0.3,
    )  # fmt: skip


def write_folder(folder: str | Path, seeds: Iterable[int], radius: float, style: str) -> None:
    """Drawn pictures as files for `--data folder --instances`: images/NAME.png and masks/NAME.png.

    A second call adds to the folder; pictures of the same style, radius and seed are written over.

    Args:
        folder: made if needed.
        seeds: one picture each. radius, style: as `draw`.
    """
    for seed in seeds:
        sample = draw(seed, radius, style)  # of 25 objects at most, so their numbers fit into uint8
        for part, pixels in (("images", sample.image), ("masks", sample.instances.astype(np.uint8))):
            path = Path(folder, part, f"{style}-{radius:g}-{seed:04d}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def object_recall(mask: np.ndarray, instances: np.ndarray, share: float = 0.5) -> float:
    """How many of the true objects were found: those of whose pixels at least `share` are in the mask.

    Args:
        mask: bool [H, W], predicted.
        instances: true object numbers [H, W], 0 background.
        share: 0..1.

    Returns:
        0..1; NaN if there is no object.
    """
    numbers, place = np.unique(instances, return_inverse=True)
    pixels = np.bincount(place.ravel())
    covered = np.bincount(place.ravel(), weights=mask.ravel().astype(float))
    objects = numbers > 0
    return float((covered[objects] >= share * pixels[objects]).mean()) if objects.any() else float("nan")


def pixel_precision(mask: np.ndarray, instances: np.ndarray) -> float:
    """How much of what was marked is right: the share of the mask's pixels that lie on true objects.

    Args:
        mask: bool [H, W], predicted.
        instances: true object numbers [H, W], 0 background.

    Returns:
        0..1; NaN if nothing was marked.
    """
    return float((instances[mask] > 0).mean()) if mask.any() else float("nan")


def measure(
    arms: Mapping[str, Callable[[np.ndarray], np.ndarray]], radii: Sequence[float], style: str, seeds: Sequence[int]
) -> dict[str, dict[str, np.ndarray]]:
    """Every arm on the same pictures.

    Args:
        arms: name -> function from image uint8 [H, W, 3] to mask bool [H, W].
        radii: mean radii in pixels.
        style: of the pictures.
        seeds: one picture of each radius for each seed.

    Returns:
        measure ("iou", "recall", "precision") -> arm -> float [radii, seeds].
    """
    told = {name: {arm: np.empty((len(radii), len(seeds))) for arm in arms} for name in MEASURES}
    for i, radius in enumerate(radii):
        for j, seed in enumerate(seeds):
            sample = draw(seed, radius, style)
            for arm, predict in arms.items():
                mask = predict(sample.image)
                told["iou"][arm][i, j] = iou(mask, sample.mask > 0)
                told["recall"][arm][i, j] = object_recall(mask, sample.instances)
                told["precision"][arm][i, j] = pixel_precision(mask, sample.instances)
    return told


def difference(measured: Mapping[str, np.ndarray], first: str, second: str, row: int) -> dict[str, float]:
    """Paired difference first - second over the pictures of one radius, with its 95 % interval.

    Returns:
        "mean", "low", "high", "count" (pictures where both are defined).
    """
    pairs = [[{"name": i, "value": float(v)} for i, v in enumerate(measured[arm][row])] for arm in (first, second)]
    return paired_difference(*pairs, "value")


# What the two pictures of the notebook tell. It stands here and not in a cell, because the cells ask first.
TOLD = {
    ("guided", "pooled"): (
        "Which network finds more small objects depends on the kind of picture; finding more can mean marking too"
        " much.",
        "Shares of objects found and of marked pixels that are right, over the radius, for two kinds of drawn pictures."
        " In fluorescence the pooled network finds more of the smallest objects and marks more beside them; in"
        " histology the guided one finds more, and most of what each marks at that size lies beside the objects.",
    ),
    ("guided", "pooled", "guidance zeroed"): (
        "In histology the guided network's lead goes with its guidance; in fluorescence there is no lead to lose.",
        "Shares of objects found over the radius, with a third line: the guided network, its guidance set to zero. In"
        " histology it falls from the guided line to the pooled one or below; in fluorescence it lies close to the"
        " guided line, below the pooled one at the smallest size.",
    ),
}
MASKS_TOLD = (
    "Masks of three networks on drawn histology. At radius 6 each finds nearly every nucleus. At radius 2 the guided"
    " network covers more of them than the pooled one and than itself without guidance; all mark much beside them."
)


def size_curves(
    measured: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]], radii: Sequence[float], names: Sequence[str],
    arms: Sequence[str] = ("guided", "pooled"),
) -> Figure:  # fmt: skip
    """Measures over the size of the objects, one plot for each style and measure, with 95 % intervals of the mean.

    Args:
        measured: style -> what `measure` returned.
        radii: mean radii in pixels.
        names: which measures.
        arms: which lines; a key of TOLD.
    """
    message, alt = TOLD[tuple(arms)]
    plots = {}
    for style, told in measured.items():
        for name in names:
            lines = {}
            for arm in arms:
                mean, *ends = interval_of_mean(told[name][arm].T)
                lines[arm] = (np.log2(radii), mean, *(end for end in ends if end is not None))
            plots[f"{style}: {MEASURES[name]}"] = lines
    drawn = curves(
        plots, x_label="mean radius of the objects (px)", y_label="share (0 to 1)", y_range=(-0.02, 1.02),
        ticks=tuple((float(np.log2(r)), f"{r:g}") for r in radii), title="", message="", alt=alt,
    )  # fmt: skip
    count = len(measured[next(iter(measured))][names[0]][arms[0]][0])
    return panels(
        dict(zip(plots, drawn.strip, strict=True)), columns=2, legend=drawn.legend, message=message, alt=alt,
        title="Smaller and smaller objects", name="sizes",
        summary=f"{count} drawn pictures a point; shaded: 95 % interval of the mean over pictures. One training run for"
        " each network.",
    )  # fmt: skip


def masks(arms: Mapping[str, Callable[[np.ndarray], np.ndarray]], radius: float, style: str, seed: int) -> Figure:
    """A part of one picture and every arm's mask on it, with the true outlines."""
    sample = draw(seed, radius, style)
    cells, told = {"image": sample.image}, []
    for arm, predict in arms.items():
        mask = predict(sample.image)
        cells[f"mask, {arm}"] = np.repeat((mask * np.uint8(225))[:, :, None], 3, 2)
        found, right = object_recall(mask, sample.instances), pixel_precision(mask, sample.instances)
        marked = "nothing marked" if np.isnan(right) else f"{right:.0%} of the marked pixels right"
        told.append(f"{arm}: {found:.0%} of the objects found, {marked}")
    side = len(sample.image)
    return panels(
        cells, title=f"{style.capitalize()}, mean radius {radius:g} px", columns=len(cells),
        outlines=true_outline(sample.instances),
        message="White: marked as object. White beyond an outline is wrong; an outline without white was missed.",
        alt=f"Masks on one drawn picture with objects of {radius:g} pixels radius. " + "; ".join(told) + ".",
        summary="; ".join(told) + f". One picture, its middle {side // 2} × {side // 2} pixels shown; no interval.",
        legend=(("truth", "true outline"),), name="masks",
        window=(side // 4, side // 4, 3 * side // 4, 3 * side // 4),
    )  # fmt: skip
