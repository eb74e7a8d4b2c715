"""Paired differences over training seeds and images, with intervals that know both.

Two networks of one seed are compared image by image. Two things make the mean difference uncertain: other images of
the same kind (images of one slide or field belong together: a group) and another seed, that is other initial weights
and another order of the images. An interval over images alone is far too sure of itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtri, stdtrit  # quantiles of the normal and of Student's distribution

RESAMPLES, SEED = 10_000, 20261123


@dataclass(frozen=True)
class Difference:
    """A mean difference and how sure of it one may be.

    Attributes: mean; low, high: the interval at `level`; level: such as 0.95; by_seed: mean of each seed; median: over
    all images and seeds; images, groups, seeds: how many; better: share of (seed, image) pairs above 0.
    """

    mean: float
    low: float
    high: float
    level: float
    by_seed: tuple[float, ...]
    median: float
    better: float
    images: int
    groups: int
    seeds: int

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def hierarchical_bootstrap(
    differences: Sequence[np.ndarray],
    groups: Sequence[np.ndarray],
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Difference:
    """Mean of paired differences with a percentile interval from a bootstrap of two levels.

    Seeds are drawn with replacement, and groups of images with replacement: the same groups for all seeds drawn where
    all seeds have the same images (crossed, the "pigeonhole" bootstrap: Owen, Annals of Applied Statistics 2007), or
    within each seed where each has its own (folds).

    A percentile bootstrap of n values is too narrow when n is 5: its variance is (n - 1) / n of what it should be, and
    it uses the normal distribution where Student's is due. So before the bootstrap the seeds' means are stretched
    around their common mean by sqrt(n / (n - 1)) * t / z: of seeds that differ, and images that do not, the interval is
    Student's (Hesterberg, arXiv 1411.5279, widens percentile intervals by the same factor). A test measures the
    coverage.

    Args:
        differences: for each seed, float [images]: first minus second; NaN where one of the two is undefined.
        groups: for each seed, int [images]: which group an image belongs to. Equal for all seeds means crossed.
        level: of the interval, between 0 and 1.
        resamples: of the bootstrap; its seed is fixed.

    Raises:
        ValueError: fewer than two seeds, lengths that differ, or nothing defined.
    """
    rows = [np.asarray(d, float) for d in differences]
    labels = [np.asarray(g) for g in groups]
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} seed(s): an interval over seeds needs two or more.")
    if len(labels) != len(rows) or any(len(d) != len(g) for d, g in zip(rows, labels, strict=True)):
        raise ValueError("differences and groups must have one entry for each image of each seed.")
    if not 0 < level < 1:
        raise ValueError(f"level={level} must lie between 0 and 1, such as 0.95.")
    if any(not np.isfinite(d).any() for d in rows):
        raise ValueError("a seed has no image in which both are defined.")
    crossed = all(np.array_equal(g, labels[0]) for g in labels[1:])
    values = np.concatenate(rows)
    values = values[np.isfinite(values)]
    by_seed = np.array([np.nanmean(d) for d in rows])
    stretch = _stretch(len(rows), level) - 1
    rows = [d + stretch * (m - by_seed.mean()) for d, m in zip(rows, by_seed, strict=True)]

    seeds = _drawn(0, len(rows), resamples)  # [resamples, seeds]: how often each was drawn
    totals, counts = np.zeros(resamples), np.zeros(resamples)
    for s, (row, label) in enumerate(zip(rows, labels, strict=True)):
        of_group, number = _by_group(row, label)  # sum and number of defined images of each group
        drawn = _drawn(1 if crossed else 1 + s, len(of_group), resamples)  # [resamples, groups]
        totals += seeds[:, s] * (drawn @ of_group)
        counts += seeds[:, s] * (drawn @ number)
    with np.errstate(invalid="ignore"):
        means = totals / counts  # no image at all in a resample: NaN, left out
    low, high = np.nanpercentile(means, [50 * (1 - level), 50 * (1 + level)])
    images = max(len(d) for d in rows) if crossed else sum(len(d) for d in rows)
    number = len(np.unique(labels[0])) if crossed else sum(len(np.unique(g)) for g in labels)
    return Difference(
        float(values.mean()), float(low), float(high), level, tuple(float(m) for m in by_seed),
        float(np.median(values)), float((values > 0).mean()), images, number, len(rows),
    )  # fmt: skip


def _stretch(n: int, level: float) -> float:
    """sqrt(n / (n - 1)) * t / z: 1.58 for five seeds at 95 %, and nearly 1 for many."""
    tail = (1 + level) / 2
    return math.sqrt(n / (n - 1)) * float(stdtrit(n - 1, tail) / ndtri(tail))


@lru_cache(maxsize=16)  # every comparison of an experiment draws the same
def _drawn(stream: int, n: int, resamples: int) -> np.ndarray:
    """How often each of n things comes up in n draws with replacement: float [resamples, n]."""
    rng = np.random.default_rng((SEED, stream, n))
    return rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)


def _by_group(values: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    _, index = np.unique(labels, return_inverse=True)
    known = np.isfinite(values)
    return np.bincount(index, np.where(known, values, 0)), np.bincount(index, known.astype(float))
