"""The interval that knows seeds and images: what it must equal, and how often it holds the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from sgdc_viz.learn.statistics import hierarchical_bootstrap


def many(rng, seeds, groups, of_seed, of_group, rest, size=1):
    """Differences with mean 0 and three sources of chance; `size` images a group."""
    labels = np.repeat(np.arange(groups), size)
    shared = rng.normal(0, of_group, groups)[labels]
    rows = [shared + rng.normal(0, of_seed) + rng.normal(0, rest, len(labels)) for _ in range(seeds)]
    return rows, [labels] * seeds


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("of_seed, of_group", [(0.02, 0.0), (0.0, 0.05), (0.01, 0.03)])
def test_a_95_percent_interval_holds_the_truth_about_95_times_in_100(seeds, of_seed, of_group):
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        rows, labels = many(rng, seeds, 40, of_seed, of_group, 0.02)
        held += not hierarchical_bootstrap(rows, labels, resamples=1000).decided
    assert held >= 184  # 92 %, two standard errors below 95


def test_an_interval_over_images_alone_would_be_far_too_sure():
    rng, held, alone = np.random.default_rng(2), 0, 0
    for _ in range(200):
        rows, labels = many(rng, 5, 60, 0.02, 0.01, 0.02)
        held += not hierarchical_bootstrap(rows, labels, resamples=500).decided
        images = np.mean(rows, axis=0)
        alone += abs(images.mean()) < 1.96 * images.std(ddof=1) / np.sqrt(60)
    assert held > 184 > 100 > alone


def test_where_seeds_alone_differ_the_interval_is_students():
    means = np.array([0.01, 0.03, 0.02, 0.05, -0.01])
    for level in (0.95, 0.99):
        told = hierarchical_bootstrap([np.full(30, m) for m in means], [np.arange(30)] * 5, level)
        half = t.ppf((1 + level) / 2, 4) * means.std(ddof=1) / np.sqrt(5)
        assert told.mean == pytest.approx(0.02)
        assert told.high - told.low == pytest.approx(2 * half, rel=0.12)
        assert told.by_seed == pytest.approx(means)


def test_images_of_one_group_count_as_one():
    rng = np.random.default_rng(3)
    fine = rng.normal(0, 1, 30)
    copied = np.repeat(fine, 8)
    apart = hierarchical_bootstrap([fine] * 3, [np.arange(30)] * 3)
    together = hierarchical_bootstrap([copied] * 3, [np.repeat(np.arange(30), 8)] * 3)
    fooled = hierarchical_bootstrap([copied] * 3, [np.arange(240)] * 3)
    assert together.high - together.low == pytest.approx(apart.high - apart.low, rel=0.02)
    assert fooled.high - fooled.low < 0.5 * (together.high - together.low)
    assert (together.images, together.groups, together.seeds) == (240, 30, 3)


def test_folds_have_images_of_their_own():
    rng = np.random.default_rng(4)
    rows = [rng.normal(0.5, 0.1, n) for n in (12, 14, 16)]
    told = hierarchical_bootstrap(rows, [np.arange(n) for n in (12, 14, 16)])
    assert (told.images, told.groups, told.seeds) == (42, 42, 3)
    assert told.mean == pytest.approx(np.concatenate(rows).mean())
    assert 0.4 < told.low < told.mean < told.high < 0.6 and told.decided


@settings(max_examples=25, deadline=None)
@given(st.floats(-2, 2), st.floats(0.1, 10), st.integers(0, 1000))
def test_shift_scale_and_sign(shift, scale, seed):
    rows, labels = many(np.random.default_rng(seed), 4, 12, 0.02, 0.05, 0.02, 2)
    told = hierarchical_bootstrap(rows, labels, resamples=300)
    moved = hierarchical_bootstrap([scale * r + shift for r in rows], labels, resamples=300)
    for name in ("mean", "low", "high", "median"):
        assert getattr(moved, name) == pytest.approx(scale * getattr(told, name) + shift, abs=1e-9)
    turned = hierarchical_bootstrap([-r for r in rows], labels, resamples=300)
    assert (turned.low, turned.high) == pytest.approx((-told.high, -told.low), abs=1e-9)
    assert told.better + turned.better == pytest.approx(1)


def test_a_wider_level_is_wider_and_the_same_call_gives_the_same():
    rows, labels = many(np.random.default_rng(5), 5, 20, 0.01, 0.02, 0.01)
    narrow, wide = hierarchical_bootstrap(rows, labels), hierarchical_bootstrap(rows, labels, 0.9945)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert hierarchical_bootstrap(rows, labels) == narrow


def test_undefined_images_are_left_out():
    rows, labels = many(np.random.default_rng(6), 3, 20, 0.01, 0.02, 0.01)
    holed = [r.copy() for r in rows]
    holed[1][3] = np.nan
    told = hierarchical_bootstrap(holed, labels)
    assert told.mean == pytest.approx(np.nanmean(np.concatenate(holed)))
    assert np.isfinite([told.low, told.high]).all()


@pytest.mark.parametrize(
    "rows, labels, level, words",
    [
        ([np.ones(3)], [np.arange(3)], 0.95, "two or more"),
        ([np.ones(3), np.ones(3)], [np.arange(3), np.arange(2)], 0.95, "one entry for each image"),
        ([np.ones(3), np.ones(3)], [np.arange(3)] * 2, 95, "between 0 and 1"),
        ([np.ones(3), np.full(3, np.nan)], [np.arange(3)] * 2, 0.95, "no image in which both"),
    ],
)
def test_what_makes_no_interval_is_refused(rows, labels, level, words):
    with pytest.raises(ValueError, match=words):
        hierarchical_bootstrap(rows, labels, level)
