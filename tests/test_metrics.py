"""Metrics against hand-made values, slow and obvious references, and MONAI."""

import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist

from sgdc_viz.learn.metrics import (
    LEAST_IMAGES,
    METRICS,
    boundary_iou,
    dice,
    evaluate_labels,
    evaluate_masks,
    hd95,
    iou,
    summarise,
    surface_dice,
)

LAW = settings(deadline=None, max_examples=40)
EMPTY = np.zeros((30, 40), dtype=bool)


def square(top: int, left: int, side: int = 10, shape: tuple[int, int] = (64, 64)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


@st.composite
def mask_pairs(draw, may_be_empty=False):
    """Two related masks of blobs, smooth or not, often touching the frame, sometimes one pixel or the whole image."""
    rng = np.random.default_rng(draw(st.integers(0, 100_000)))
    shape = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    sigma, level = draw(st.sampled_from([0.0, 1.0, 3.0])), draw(st.floats(0.02, 1.0))
    noise = ndimage.gaussian_filter(rng.normal(size=shape), sigma)
    other = ndimage.gaussian_filter(rng.normal(size=shape), sigma)
    masks = []
    for field in (noise, noise + draw(st.sampled_from([0.0, 0.3, 1.0])) * other):
        mask = field >= np.quantile(field, 1 - level)
        if may_be_empty and draw(st.integers(0, 4)) == 0:
            mask = np.zeros(shape, dtype=bool)
        masks.append(mask)
    return masks


def slow_surface(mask: np.ndarray) -> np.ndarray:
    """Coordinates [N, 2] of the pixels with a 4-neighbour outside the mask; beyond the image is outside."""
    inside = set(map(tuple, np.argwhere(mask).tolist()))
    steps = ((-1, 0), (1, 0), (0, -1), (0, 1))
    edge = [p for p in sorted(inside) if any((p[0] + dy, p[1] + dx) not in inside for dy, dx in steps)]
    return np.array(edge, dtype=float).reshape(-1, 2)


def slow_boundary_iou(pred: np.ndarray, true: np.ndarray) -> float:
    """Cheng 2021 as its authors compute it: pad by one background pixel, erode d times with a 3x3 square, subtract."""
    times = max(1, round(0.02 * math.hypot(*true.shape)))
    bands = []
    for mask in (pred, true):
        eroded = ndimage.binary_erosion(np.pad(mask, 1), np.ones((3, 3)), iterations=times)[1:-1, 1:-1]
        bands.append(mask & ~eroded)
    return (bands[0] & bands[1]).sum() / (bands[0] | bands[1]).sum()


# --- hand-made values ------------------------------------------------------------------------------------------------


def test_overlap_by_hand():
    pred, true = square(0, 0, 10), square(0, 5, 10)
    assert iou(pred, true) == 50 / 150
    assert dice(pred, true) == 100 / 200


@pytest.mark.parametrize("shift", [0, 1, 2, 7, 20])
def test_a_shifted_square_is_its_shift_away(shift):
    assert hd95(square(20, 10), square(20, 10 + shift)) == shift


def test_hd95_forgives_a_twentieth_of_the_surface_and_no_more():
    true = square(10, 10, 30)
    spike = true.copy()
    spike[25, 40:45] = True  # 5 of about 120 surface pixels
    assert hd95(spike, true) == 0
    spike[25, 40:60] = True  # 20 of them
    assert hd95(spike, true) > 5


def test_hd95_takes_the_worse_direction():
    # Everything predicted is right, but the second object is missed: only the way from truth to prediction is long.
    one, both = square(5, 5), square(5, 5) | square(5, 45)
    assert hd95(one, both) == hd95(both, one) > 30


def test_hd95_by_hand_on_single_pixels():
    pred, true = square(3, 4, 1), square(6, 8, 1)
    assert hd95(pred, true) == 5
    assert hd95(pred, true, spacing=0.5) == 2.5
    assert hd95(pred, true, spacing=(4.0, 1.0)) == pytest.approx(math.hypot(12, 4))


def test_surface_dice_by_hand():
    pred, true = square(20, 10), square(20, 12)
    assert surface_dice(pred, true, tolerance=2) == 1
    # Each mask has 36 surface pixels. Top and bottom row, 10 each: 8 lie on the other's row, the ninth is 1 away, the
    # tenth 2. The 8 between them on the outer side are 2 away. Of the 8 on the inner side the first and the last are 1
    # away from the other mask's rows, the rest 2 or more.
    assert surface_dice(pred, true, tolerance=1) == (2 * 9 + 2) / 36
    assert surface_dice(pred, true, tolerance=0) == 2 * 8 / 36


def test_surface_dice_measures_tolerance_in_the_unit_of_spacing():
    pred, true = square(20, 10), square(20, 12)
    assert surface_dice(pred, true, tolerance=1, spacing=0.5) == surface_dice(pred, true, tolerance=2)


def test_boundary_iou_by_hand():
    # 300x400 has a diagonal of 500, so the band is 10 pixels wide.
    true, pred = square(50, 50, 100, (300, 400)), square(55, 55, 90, (300, 400))
    band_true, band_pred = 100**2 - 80**2, 90**2 - 70**2
    shared = 90**2 - 80**2
    assert boundary_iou(pred, true) == shared / (band_true + band_pred - shared)
    assert evaluate_masks(pred, true)["boundary_iou"] == boundary_iou(pred, true), "the band follows the whole image"
    assert boundary_iou(pred, true, ratio=0.01) == 0, "bands of 5 pixels, 5 apart, only touch"


def test_boundary_iou_of_a_thin_object_is_its_iou():
    pred, true = square(10, 10, 2), square(10, 11, 2)
    assert boundary_iou(pred, true) == iou(pred, true)


def test_boundary_iou_sees_what_iou_does_not():
    """The reason for the metric: the same 3 pixels at the border weigh less and less in the IoU of a larger object."""
    small = [square(50, 50, 40, (400, 400)), square(53, 53, 34, (400, 400))]
    large = [square(50, 50, 300, (400, 400)), square(53, 53, 294, (400, 400))]
    assert iou(*large) - iou(*small) > 0.2
    assert abs(boundary_iou(*large) - boundary_iou(*small)) < 0.1


def test_an_object_on_the_frame_has_surface_along_the_frame():
    whole = np.ones((40, 40), dtype=bool)
    inner = square(1, 1, 38, (40, 40))
    assert hd95(whole, inner) == 1, "the whole image has a surface: its frame"
    assert surface_dice(whole, inner, 0.5) == 0
    touching, cut = square(0, 5, 10, (20, 20)), square(0, 5, 6, (20, 20))
    # The two share the row on the frame (6 of it) and 5 more pixels of the left side.
    assert surface_dice(touching, cut, 0) == 2 * (6 + 5) / (36 + 20)


# --- laws ------------------------------------------------------------------------------------------------------------


@LAW
@given(mask_pairs())
def test_equal_to_the_slow_references(pair):
    pred, true = pair
    there, back = (cdist(slow_surface(a), slow_surface(b)).min(axis=1) for a, b in ((pred, true), (true, pred)))
    expected = {
        "iou": (pred & true).sum() / (pred | true).sum(),
        "dice": 2 * (pred & true).sum() / (pred.sum() + true.sum()),
        "hd95": max(np.percentile(there, 95), np.percentile(back, 95)),
        "nsd1": np.concatenate([there <= 1, back <= 1]).mean(),
        "nsd2": np.concatenate([there <= 2, back <= 2]).mean(),
        "boundary_iou": slow_boundary_iou(pred, true),
    }
    record = evaluate_masks(pred, true)
    assert tuple(expected) == METRICS and set(record) == {*METRICS, "undefined", "failure"}
    for name, value in expected.items():
        assert record[name] == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("seed", [0, 1])
def test_boundary_iou_equals_the_slow_reference_where_the_band_is_wide(seed):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(2, 260, 340)), (0, 25, 25))
    pred, true = noise[0] > 0, noise[0] + 0.5 * noise[1] > 0  # a band of 9 pixels; both masks are cut by the frame
    assert boundary_iou(pred, true) == pytest.approx(slow_boundary_iou(pred, true), abs=1e-12)


@LAW
@given(mask_pairs(may_be_empty=True))
def test_evaluate_masks_equals_the_single_functions(pair):
    record = evaluate_masks(*pair)
    single = [
        iou(*pair), dice(*pair), hd95(*pair), surface_dice(*pair, 1.0), surface_dice(*pair, 2.0), boundary_iou(*pair)
    ]  # fmt: skip
    assert list(record)[:6] == list(METRICS)
    np.testing.assert_array_equal(list(record.values())[:6], single)  # NaN equals NaN here
    assert all(type(value) is float for value in record.values())


@LAW
@given(mask_pairs(may_be_empty=True))
def test_laws(pair):
    pred, true = pair
    record = evaluate_masks(pred, true)
    np.testing.assert_array_equal(list(evaluate_masks(true, pred).values()), list(record.values()))
    for turn in (np.fliplr, np.transpose, np.asfortranarray):
        turned = evaluate_masks(turn(pred), turn(true))
        np.testing.assert_allclose(list(turned.values()), list(record.values()), rtol=1e-12)
    if record["undefined"]:
        assert all(math.isnan(record[name]) for name in METRICS)
        return
    assert record["dice"] == pytest.approx(2 * record["iou"] / (1 + record["iou"]))
    assert 0 <= record["iou"] <= 1 and 0 <= record["boundary_iou"] <= 1
    assert 0 <= record["nsd1"] <= record["nsd2"] <= 1
    assert 0 <= record["hd95"] <= math.hypot(*true.shape)
    assert (record["iou"] == 1) == bool((pred == true).all())
    if not record["failure"]:
        assert record["hd95"] < math.hypot(*true.shape), "a miss is never better than the worst hit"


@LAW
@given(mask_pairs(), st.integers(1, 9), st.integers(1, 9))
def test_more_background_around_changes_no_distance(pair, above, left):
    # The crop to the bounding box is exact. (Boundary IoU's band follows the image's size, so it may change.)
    padded = evaluate_masks(*(np.pad(mask, ((above, 3), (left, 5))) for mask in pair))
    record = evaluate_masks(*pair)
    for name in METRICS[:-1]:
        assert padded[name] == record[name]


def test_inputs_are_left_alone():
    pred, true = square(3, 3), square(5, 5)
    copies = pred.copy(), true.copy()
    pred.flags.writeable = true.flags.writeable = False
    evaluate_masks(pred, true)
    assert (pred == copies[0]).all() and (true == copies[1]).all()


# --- empty masks -----------------------------------------------------------------------------------------------------


def test_both_empty_is_undefined():
    record = evaluate_masks(EMPTY, EMPTY)
    assert all(math.isnan(record[name]) for name in METRICS)
    assert (record["undefined"], record["failure"]) == (1.0, 0.0)


@pytest.mark.parametrize("swap", [False, True])
def test_one_empty_is_a_failure(swap):
    pair = [square(5, 5, shape=EMPTY.shape), EMPTY]
    record = evaluate_masks(*(pair[::-1] if swap else pair))
    assert record == {
        "iou": 0, "dice": 0, "hd95": 50, "nsd1": 0, "nsd2": 0, "boundary_iou": 0, "undefined": 0, "failure": 1
    }  # fmt: skip


def test_a_miss_in_other_units_is_the_diagonal_in_those_units():
    assert hd95(square(5, 5, shape=EMPTY.shape), EMPTY, spacing=0.1) == pytest.approx(5.0)


# --- multi-class -----------------------------------------------------------------------------------------------------


def test_multi_class_is_the_mean_over_the_classes_present():
    true = np.zeros((64, 64), dtype=np.uint8)
    pred = true.copy()
    true[5:15, 5:15], pred[5:15, 8:18] = 1, 1  # class 1: shifted by 3
    true[30:40, 30:40], pred[30:40, 30:40] = 2, 2  # class 2: exact
    record = evaluate_labels(pred, true, num_classes=4)  # class 3: in neither
    assert record["hd95"] == (3 + 0) / 2
    assert record["iou"] == pytest.approx((70 / 130 + 1) / 2)
    assert (record["undefined"], record["failure"]) == (0.0, 0.0)
    assert record["class_1_hd95"] == 3 and record["class_2_iou"] == 1
    assert record["class_3_undefined"] == 1 and math.isnan(record["class_3_iou"])
    for c in (1, 2):
        alone = evaluate_masks(pred == c, true == c)
        assert {name: record[f"class_{c}_{name}"] for name in alone} == alone


def test_an_invented_class_is_a_failure_and_pulls_the_mean_down():
    true = np.zeros((30, 40), dtype=np.int64)
    true[5:15, 5:15] = 1
    pred = true.copy()
    pred[20, 20] = 2
    record = evaluate_labels(pred, true, num_classes=3)
    assert record["iou"] == 0.5 and record["hd95"] == 25 and record["failure"] == 1 and record["class_2_failure"] == 1


def test_two_classes_equal_binary():
    pred, true = square(5, 5), square(7, 8)
    labels = evaluate_labels(pred.astype(int), true.astype(int), num_classes=2)
    assert {name: labels[name] for name in evaluate_masks(pred, true)} == evaluate_masks(pred, true)


def test_no_class_at_all_is_undefined():
    labels = np.zeros((4, 4), dtype=int)
    record = evaluate_labels(labels, labels, num_classes=3)
    assert record["undefined"] == 1 and math.isnan(record["iou"]) and record["failure"] == 0


# --- summary ---------------------------------------------------------------------------------------------------------


def test_summary_counts_what_it_leaves_out():
    shape = EMPTY.shape
    records = [
        evaluate_masks(square(5, 5, shape=shape), square(5, 5, shape=shape)),
        evaluate_masks(square(5, 6, shape=shape), square(5, 5, shape=shape)),
        evaluate_masks(EMPTY, square(5, 5, shape=shape)),
        evaluate_masks(EMPTY, EMPTY),
    ]
    summary = summarise(records)
    assert (summary["images"], summary["undefined"], summary["failures"]) == (4, 1, 1)
    assert summary["iou"]["count"] == 3
    assert summary["iou"]["mean"] == pytest.approx((1 + 90 / 110 + 0) / 3)
    assert summary["iou"]["median"] == pytest.approx(90 / 110)
    assert summary["hd95"]["mean"] == pytest.approx((0 + 1 + 50) / 3) and summary["hd95"]["median"] == 1
    assert set(summary) == {"images", "undefined", "failures", *METRICS}
    assert json.loads(json.dumps(summary)) == summary


def test_summary_of_classes():
    true = np.zeros((20, 20), dtype=int)
    true[2:8, 2:8] = 1
    other = np.where(true == 1, 2, 0)
    summary = summarise([evaluate_labels(true, true, 3), evaluate_labels(other, true, 3)])
    assert summary["class_1_iou"]["count"] == 2 and summary["class_1_iou"]["mean"] == 0.5
    assert summary["class_2_iou"]["count"] == 1 and summary["class_2_undefined"] == 1
    assert (summary["failures"], summary["class_1_failures"], summary["class_2_failures"]) == (1, 1, 1)


def test_summary_of_undefined_images_is_nan():
    summary = summarise([evaluate_masks(EMPTY, EMPTY)])
    assert summary["iou"]["count"] == 0 and math.isnan(summary["iou"]["mean"]) and math.isnan(summary["iou"]["low"])


def record(value: float) -> dict[str, float]:
    return {**dict.fromkeys(METRICS, value), "undefined": 0.0, "failure": 0.0}


def test_the_interval_is_that_of_the_normal_approximation_on_plain_data_and_repeats():
    values = np.random.default_rng(1).normal(0.7, 0.1, size=400)
    records = [record(value) for value in values]
    summary = summarise(records)["iou"]
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert summary["low"] == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert summary["high"] == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert summarise(records)["iou"] == summary


def test_the_interval_of_one_image_is_a_point():
    """The command line says that these are too few, and so does the docstring; the numbers stay what they are."""
    assert LEAST_IMAGES == 5 and "LEAST_IMAGES (5)" in summarise.__doc__
    summary = summarise([record(0.25)])["dice"]
    assert summary == {"mean": 0.25, "median": 0.25, "low": 0.25, "high": 0.25, "count": 1}


# --- MONAI, the oracle -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def monai():
    """MONAI's four metrics as functions of two NumPy masks (its import takes seconds: only here)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics = pytest.importorskip("monai.metrics")
    import torch

    def call(function, pred, true, *arguments, **options) -> float:
        tensors = [torch.from_numpy(np.ascontiguousarray(mask))[None, None].float() for mask in (pred, true)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of every empty mask, and of its own deprecations
            return float(function(*tensors, *arguments, include_background=True, **options))

    class Oracle:
        def hd95(self, pred, true, **options):
            return call(metrics.compute_hausdorff_distance, pred, true, percentile=95, **options)

        def surface_dice(self, pred, true, tolerance, **options):
            return call(metrics.compute_surface_dice, pred, true, [tolerance], **options)

        def dice(self, pred, true, **options):
            return call(metrics.compute_dice, pred, true, **options)

        def iou(self, pred, true, **options):
            return call(metrics.compute_iou, pred, true, **options)

    return Oracle()


@settings(deadline=None, max_examples=60)
@given(mask_pairs(), st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.7]))
@example([np.ones((1, 1), bool)] * 2, 1.0)
@example([np.ones((6, 9), bool), square(0, 0, 3, (6, 9))], 1.0)
def test_agrees_with_monai(monai, pair, tolerance):
    # MONAI keeps distances in float32, hence the margin.
    assert hd95(*pair) == pytest.approx(monai.hd95(*pair), rel=1e-5, abs=1e-5)
    assert surface_dice(*pair, tolerance) == pytest.approx(monai.surface_dice(*pair, tolerance), abs=1e-6)
    assert dice(*pair) == pytest.approx(monai.dice(*pair), abs=1e-6)
    assert iou(*pair) == pytest.approx(monai.iou(*pair), abs=1e-6)


@settings(deadline=None, max_examples=20)
@given(mask_pairs(), st.sampled_from([(0.5, 0.5), (2.0, 0.75), (1.0, 3.0)]))
def test_agrees_with_monai_in_other_units(monai, pair, spacing):
    assert hd95(*pair, spacing) == pytest.approx(monai.hd95(*pair, spacing=spacing), rel=1e-5, abs=1e-5)
    # 1.1: no distance on these grids, so rounding to float32 cannot move one across the tolerance.
    expected = monai.surface_dice(*pair, 1.1, spacing=spacing)
    assert surface_dice(*pair, 1.1, spacing) == pytest.approx(expected, abs=1e-6)


def test_where_monai_differs_empty_masks(monai):
    """The one difference found: one mask empty. MONAI drops its NaN from means, so a miss costs nothing there."""
    something = square(5, 5, shape=EMPTY.shape)
    assert math.isnan(monai.hd95(EMPTY, something)) and math.isnan(monai.hd95(something, EMPTY))
    assert hd95(EMPTY, something) == hd95(something, EMPTY) == 50
    # An object missed scores 0 in both; an object invented is NaN in MONAI's overlap metrics and 0 in ours.
    for ours, theirs in ((dice, monai.dice), (iou, monai.iou)):
        assert ours(EMPTY, something) == theirs(EMPTY, something) == 0
        assert ours(something, EMPTY) == 0 and math.isnan(theirs(something, EMPTY))
    assert surface_dice(something, EMPTY) == monai.surface_dice(something, EMPTY, 1.0) == 0
    # Both empty: undefined in both.
    for value in (monai.hd95(EMPTY, EMPTY), monai.dice(EMPTY, EMPTY), monai.surface_dice(EMPTY, EMPTY, 1.0)):
        assert math.isnan(value)
    # With ignore_empty=False MONAI calls two empty masks perfect instead.
    assert monai.dice(EMPTY, EMPTY, ignore_empty=False) == 1


# --- messages --------------------------------------------------------------------------------------------------------

LABELS = np.zeros((4, 4), dtype=int)


@pytest.mark.parametrize("function", [iou, dice, hd95, surface_dice, boundary_iou, evaluate_masks])
@pytest.mark.parametrize(
    ("pred", "true", "message"),
    [
        (EMPTY, EMPTY[:5], r"pred \(30, 40\) and true \(5, 40\) differ in shape"),
        (EMPTY.astype(np.uint8), EMPTY, r"pred must be a NumPy bool mask \[H, W\], got uint8 .*mask > 0"),
        (EMPTY, EMPTY.astype(float), "true must be a NumPy bool mask .* got float64"),
        (EMPTY[None], EMPTY[None], r"pred must be .* got bool \(1, 30, 40\)"),
        (EMPTY.tolist(), EMPTY, "pred must be .* got list"),
    ],
)
def test_a_wrong_mask_gets_one_clear_sentence(function, pred, true, message):
    with pytest.raises(ValueError, match=message) as caught:
        function(pred, true)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: surface_dice(EMPTY, EMPTY, tolerance=-1), "tolerance=-1 must be 0 or more"),
        (lambda: surface_dice(EMPTY, EMPTY, tolerance=math.nan), "tolerance=nan"),
        (lambda: hd95(EMPTY, EMPTY, spacing=0), "spacing=0 must be one number or"),
        (lambda: hd95(EMPTY, EMPTY, spacing=(1, 2, 3)), r"spacing=\(1, 2, 3\)"),
        (lambda: boundary_iou(EMPTY, EMPTY, ratio=0), "ratio=0 must be above 0"),
        (lambda: evaluate_labels(EMPTY, EMPTY, 2), "class map of whole numbers .* use the class numbers"),
        (lambda: evaluate_labels(LABELS, LABELS[:2], 2), "differ in shape"),
        (lambda: evaluate_labels(LABELS, LABELS + 3, 3), "true holds values from 3 to 3, but 3 classes allow 0 to 2"),
        (lambda: evaluate_labels(LABELS - 1, LABELS, 3), "pred holds values from -1 to -1"),
        (lambda: evaluate_labels(LABELS, LABELS, 1), "num_classes=1 must be 2 or more"),
        (lambda: summarise([]), "no records to summarise"),
        (lambda: summarise([record(1.0), {"iou": 1.0}]), "Record 1 has other keys than record 0"),
    ],
)
def test_other_bad_input_gets_one_clear_sentence(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
