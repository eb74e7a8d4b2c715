"""Notebook 07, cause and effect: an arbitrary change that is as large as taking the guidance away, and a chart of
paired effects."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor

from sgdc_viz.lens.interventions import Change
from sgdc_viz.views import Effect, Effects, Figure
from sgdc_viz.views.geometry import interval_of_mean


def turned(seed: int = 0) -> Change:
    """Add to each pixel's vector a turned copy of itself, -R v, with one random rotation R of the channels.

    `zero()` adds -v. This adds a vector of the same length at every pixel, in an arbitrary direction: the control that
    says whether a network minds what was changed, or only how much. R is orthogonal and drawn uniformly (QR of a normal
    matrix, signs fixed), the same for all pixels and images, so the change is also as smooth as v.

    Args:
        seed: of R.

    Raises:
        ValueError: while the model runs, if the value is not [B, C, H, W].
    """

    def make(value: Tensor, site: str) -> Tensor:
        if value.ndim != 4:
            raise ValueError(f"turned(seed={seed}) is for features [B, C, H, W], not for {site!r}.")
        return value - torch.einsum("ij,bjhw->bihw", rotation(value.shape[1], seed).to(value), value)

    return Change(f"turned(seed={seed})", make)


def rotation(size: int, seed: int) -> Tensor:
    """A random orthogonal matrix [size, size], float64, the same on every machine."""
    normal = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    q, r = torch.linalg.qr(normal)
    return q * r.diagonal().sign()  # QR leaves these signs open: without them R would depend on the library


def effects_figure(
    effects: Mapping[str, np.ndarray],
    *,
    title: str,
    axis: str,
    message: str,
    alt: str,
    controls: Collection[str] = (),
    zero: str = "as it is",
    summary: str = "",
) -> Figure:
    """Paired effects as points, with the 95 % bootstrap interval of their mean over images.

    Args:
        effects: name of a change -> effect on each image, float [n]; the same images for all.
        title, axis: what is drawn; quantity and unit.
        message: what to see, one sentence without measured numbers.
        alt: the conclusion for those who do not see it.
        controls: names drawn as hollow squares.
        zero: what 0 means.
        summary: more, below the chart.

    Raises:
        ValueError: nothing to draw, other numbers of images, or an unknown name in `controls`.
    """
    if not effects:
        raise ValueError("effects is empty: give at least one change.")
    if unknown := [name for name in controls if name not in effects]:
        raise ValueError(f"{unknown[0]!r} is none of the effects: {', '.join(effects)}.")
    values = {name: np.asarray(v, float) for name, v in effects.items()}
    shapes = {v.shape for v in values.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"effects have the shapes {sorted(shapes)}: give one number an image, of the same images.")
    entries = []
    for name, value in values.items():
        mean, low, high = (None if v is None else float(v) for v in interval_of_mean(value))
        entries.append(Effect(name, mean, low, high, name in controls))
    ((count,),) = shapes
    images = f"Mean over {count} images" if count > 1 else "One image"
    bars = "Bars: 95 % bootstrap interval of the mean over images." if count > 1 else "One image, no interval."
    hollow = " Hollow square: control." if controls else ""
    return Figure(
        name="effects", title=title, message=message, summary=f"{bars}{hollow} {summary}".rstrip(), alt=alt,
        rows=(), columns=(), cells=(), strip=(Effects(images, tuple(entries), axis, alt, zero),),
    )  # fmt: skip
