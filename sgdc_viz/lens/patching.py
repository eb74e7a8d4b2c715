"""Causal effect of one place in the network: put its value from one image into the run of another (activation patching,
Meng et al., NeurIPS 2022, arXiv 2202.05262)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .capture import Recording, record
from .interventions import fitted, intervene


@dataclass(frozen=True)
class PatchEffect:
    """The metric of three runs, and what they say.

    Attributes:
        clean, corrupt: metric of the two images as they are.
        patched: metric of the corrupt image with the site's value taken from the clean one.
        effect: (patched - corrupt) / (clean - corrupt), the share of the gap that the site restores: 0 none of it, 1
            all of it; under 0 or over 1 if the patch makes things worse, or better than the clean image.
    """

    clean: float
    corrupt: float
    patched: float
    effect: float


@torch.no_grad()
def patch_effect(
    model: nn.Module,
    clean: Tensor | tuple[Tensor, ...],
    corrupt: Tensor | tuple[Tensor, ...],
    site: str,
    metric: Callable[[Any], float],
    mask: Tensor | None = None,
    *,
    stride: int | None = None,
) -> PatchEffect:
    """How much of the difference between two images passes through one site (and one region of it).

    Runs the model on `clean` and on `corrupt`, then on `corrupt` with the values at `site` taken from the clean run.
    High effect: what the site carries (there) is enough to bring the clean result back.

    Args:
        model: as for `record`.
        clean, corrupt: inputs of the model, a tensor or a tuple of tensors (x, guidance). Of the same size, because
            each feature pixel is replaced by the one at its place; for example an image and its blurred copy.
        site: name or glob; all sites it matches are patched together.
        metric: called with what the model returns, gives one number, such as the mean probability on a contour.
        mask, stride: patch only in a region, as in `intervene`.

    Raises:
        ValueError: the sizes differ; the metric is the same on both images (to within 1e-6 of it), so that there is
            nothing to restore, or is not a finite number; and all that `record` and `intervene` raise.
    """
    clean, corrupt = (given if isinstance(given, tuple) else (given,) for given in (clean, corrupt))
    shapes = [[tuple(tensor.shape) for tensor in given] for given in (clean, corrupt)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"clean {shapes[0]} and corrupt {shapes[1]} must have the same size: values are put in place.")
    with record(model, site) as recording:
        clean_metric = _number(metric(model(*clean)), "clean")
    corrupt_metric = _number(metric(model(*corrupt)), "corrupt")
    gap = clean_metric - corrupt_metric
    if abs(gap) <= 1e-6 * max(abs(clean_metric), abs(corrupt_metric)):
        raise ValueError(
            f"the metric is {clean_metric:.6g} on the clean and on the corrupt image, so there is no difference to "
            "restore: corrupt more, or choose a metric that tells the two apart."
        )
    with intervene(model, {site: _run_by_run(recording)}, mask, stride=stride):
        patched_metric = _number(metric(model(*corrupt)), "patched")
    return PatchEffect(clean_metric, corrupt_metric, patched_metric, (patched_metric - corrupt_metric) / gap)


def _run_by_run(recording: Recording) -> Callable[[Tensor, str], Tensor]:
    """As `swap`, and where the model uses a layer several times, its first run gets the first recorded value, etc."""
    values = {site: list(kept) if isinstance(kept, list) else [kept] for site, kept in recording.items()}

    def change(value: Tensor, site: str) -> Tensor:
        if not values.get(site):
            raise ValueError(f"site {site!r} fires more often on the corrupt image than on the clean one.")
        return fitted(values[site].pop(0), value, site)

    return change


def _number(value: Any, run: str) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(
            f"the metric is {number} on the {run} run, and must be finite: a distance to an empty mask, say, is not."
        )
    return number
