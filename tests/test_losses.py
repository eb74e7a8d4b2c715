"""Losses and edge targets against hand-computed values, independent formulas and laws."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdc_viz.learn.losses import (
    downsize_edge_target,
    edge_loss,
    edge_target,
    segmentation_loss,
    soft_dice_loss,
    total_loss,
)

LAW = settings(deadline=None, max_examples=25)


def two_squares() -> torch.Tensor:
    """Two touching 8x8 objects, 1 on the left and 2 on the right: [1, 16, 24]."""
    instances = torch.zeros(1, 16, 24, dtype=torch.long)
    instances[0, 4:12, 4:12] = 1
    instances[0, 4:12, 12:20] = 2
    return instances


# --- segmentation ----------------------------------------------------------------------------------------------------


def test_binary_loss_by_hand():
    # Probabilities 3/4, 1/4, 1/4, 1/4 for truths 1, 0, 0, 1.
    z = math.log(3)
    logits = torch.tensor([[[[z, -z], [-z, -z]]]])
    mask = torch.tensor([[[1, 0], [0, 1]]])
    cross_entropy = -(3 * math.log(3 / 4) + math.log(1 / 4)) / 4
    dice = (2 * (3 / 4 + 1 / 4) + 1) / (6 / 4 + 2 + 1)
    assert segmentation_loss(logits, mask).item() == pytest.approx(cross_entropy + 1 - dice, abs=1e-6)


def test_multi_class_loss_by_hand():
    # Softmax of log p is p. Class 2 does not occur, so the Dice is that of class 1 alone.
    probability = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]])  # two pixels x three classes
    logits = probability.log().T.reshape(1, 3, 1, 2)
    mask = torch.tensor([[[0, 1]]])
    cross_entropy = -(math.log(0.7) + math.log(0.5)) / 2
    dice = (2 * 0.5 + 1) / (0.7 + 1 + 1)
    assert segmentation_loss(logits, mask).item() == pytest.approx(cross_entropy + 1 - dice, abs=1e-6)


def test_dice_is_averaged_over_images_and_classes_not_over_pixels():
    # Image 0: a 1-pixel object missed. Image 1: a 9-pixel object found. The small one counts as much as the large one.
    mask = torch.zeros(2, 5, 5, dtype=torch.long)
    mask[0, 2, 2] = 1
    mask[1, 1:4, 1:4] = 1
    logits = torch.full((2, 1, 5, 5), -100.0)
    logits[1, 0, 1:4, 1:4] = 100.0
    missed, found = 1 - 1 / (0 + 1 + 1), 0.0
    assert soft_dice_loss(logits, mask).item() == pytest.approx((missed + found) / 2, abs=1e-6)


@LAW
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9))
def test_two_classes_equal_binary(seed, batch, height, width):
    generator = torch.Generator().manual_seed(seed)
    z = 3 * torch.randn(batch, 1, height, width, generator=generator)
    mask = torch.randint(0, 2, (batch, height, width), generator=generator)
    two = torch.cat([torch.zeros_like(z), z], dim=1)
    torch.testing.assert_close(segmentation_loss(two, mask), segmentation_loss(z, mask))


@LAW
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 4]), st.floats(0.05, 0.95))
def test_a_better_prediction_costs_less(seed, classes, step):
    """Moving every logit part of the way towards the truth lowers the loss, whatever the mask and the start."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.randint(0, max(classes, 2), (2, 6, 7), generator=generator)
    logits = 2 * torch.randn(2, classes, 6, 7, generator=generator)
    if classes == 1:
        direction = (2 * mask - 1)[:, None].float()
    else:
        direction = F.one_hot(mask, classes).permute(0, 3, 1, 2).float()
    worse, better = segmentation_loss(logits, mask), segmentation_loss(logits + step * direction, mask)
    assert better < worse
    perfect = segmentation_loss(100 * (direction if classes == 1 else 2 * direction - 1), mask)
    assert perfect.item() == pytest.approx(0, abs=1e-5)


def test_a_larger_hit_beats_a_smaller_one_and_a_shift():
    mask = torch.zeros(1, 32, 32, dtype=torch.long)
    mask[0, 8:24, 8:24] = 1

    def loss(rows: slice, columns: slice) -> float:
        logits = torch.full((1, 1, 32, 32), -4.0)
        logits[0, 0, rows, columns] = 4.0
        return segmentation_loss(logits, mask).item()

    exact, near = loss(slice(8, 24), slice(8, 24)), loss(slice(9, 24), slice(8, 24))
    shifted, missed = loss(slice(12, 28), slice(8, 24)), loss(slice(0, 0), slice(0, 0))
    assert exact < near < shifted < missed


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("fill", ["empty", "full", "absent class"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_finite_values_and_gradients_at_the_extremes(classes, fill, scale):
    mask = torch.zeros(2, 8, 8, dtype=torch.long)
    if fill == "full":
        mask[:] = 1
    elif fill == "absent class":
        mask[1, 2:5, 2:5] = 1
    logits = (scale * torch.randn(2, classes, 8, 8, generator=torch.Generator().manual_seed(0))).requires_grad_()
    edge_logits = (scale * torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(1))).requires_grad_()
    terms = total_loss(SimpleNamespace(logits=logits, edge_logits=edge_logits), mask)
    assert all(term.isfinite() and term >= 0 for term in terms.values())
    terms["total"].backward()
    assert logits.grad.isfinite().all() and edge_logits.grad.isfinite().all()


@pytest.mark.parametrize("classes", [1, 3])
def test_an_empty_mask_has_no_dice_term_and_still_punishes_false_alarms(classes):
    mask = torch.zeros(2, 6, 6, dtype=torch.long)
    logits = torch.zeros(2, classes, 6, 6, requires_grad=True)
    dice = soft_dice_loss(logits, mask)
    dice.backward()
    assert dice.item() == 0 and not logits.grad.any()
    quiet = torch.full((2, classes, 6, 6), -3.0)
    quiet[:, 0] = -3.0 if classes == 1 else 3.0
    assert segmentation_loss(quiet, mask) < segmentation_loss(torch.zeros_like(quiet), mask)


def test_one_empty_image_leaves_the_other_images_dice_alone():
    logits = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    mask = torch.zeros(2, 6, 6, dtype=torch.long)
    mask[1, 1:4, 1:4] = 1
    torch.testing.assert_close(soft_dice_loss(logits, mask), soft_dice_loss(logits[1:], mask[1:]))


@pytest.mark.parametrize("classes", [1, 3])
def test_gradients_match_finite_differences(classes):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, classes, 3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    edge_logits = torch.randn(2, 1, 2, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    mask = torch.zeros(2, 3, 4, dtype=torch.long)
    mask[0, :2, :2] = 1

    def loss(logits, edge_logits):
        return total_loss(SimpleNamespace(logits=logits, edge_logits=edge_logits), mask)["total"]

    assert torch.autograd.gradcheck(loss, (logits, edge_logits))


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_computed_in_float32(classes, dtype):
    generator = torch.Generator().manual_seed(4)
    # Values that both half types hold exactly, so that any difference would come from the loss's own arithmetic.
    logits = torch.randint(-12, 12, (2, classes, 64, 64), generator=generator).to(dtype) / 4
    edge_logits = torch.randint(-12, 12, (2, 1, 16, 16), generator=generator).to(dtype) / 4
    mask = torch.randint(0, max(classes, 2), (2, 64, 64), generator=generator)
    expected = total_loss(SimpleNamespace(logits=logits.float(), edge_logits=edge_logits.float()), mask)
    leaves = logits.requires_grad_(), edge_logits.requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        terms = total_loss(SimpleNamespace(logits=leaves[0], edge_logits=leaves[1]), mask)
    for name, value in terms.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=0)
    terms["total"].backward()
    assert leaves[0].grad.dtype == dtype and all(leaf.grad.isfinite().all() for leaf in leaves)


@pytest.mark.parametrize("mask_dtype", [torch.long, torch.int32, torch.uint8, torch.bool])
def test_mask_dtypes_give_one_value(mask_dtype):
    logits = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    mask = torch.randint(0, 2, (1, 8, 8), generator=torch.Generator().manual_seed(6))
    output = SimpleNamespace(logits=logits, edge_logits=logits)
    expected = total_loss(output, mask)["total"]
    torch.testing.assert_close(total_loss(output, mask.to(mask_dtype))["total"], expected)


# --- edge target -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "rows"), [(1, [8]), (3, [7, 8, 9]), (5, [6, 7, 8, 9, 10])])
@pytest.mark.parametrize("transpose", [False, True])
def test_a_straight_edge_is_width_pixels_wide(width, rows, transpose):
    mask = torch.zeros(1, 20, 20, dtype=torch.long)
    mask[0, 8:] = 1  # reaches the frame below: the frame is no edge
    target = edge_target(mask.transpose(1, 2) if transpose else mask, width)
    target = target.transpose(2, 3) if transpose else target
    assert target.shape == (1, 1, 20, 20) and target.dtype == torch.float32
    assert target[0, 0, :, 10].nonzero().flatten().tolist() == rows
    assert torch.equal(target, target[..., 10:11].expand_as(target))


@pytest.mark.parametrize(("width", "columns"), [(1, [11, 12]), (3, [10, 11, 12, 13]), (5, [9, 10, 11, 12, 13, 14])])
def test_touching_instances_keep_their_border(width, columns):
    instances = two_squares()
    inside = edge_target(instances, width)[0, 0, 8, 9:15].nonzero().flatten() + 9  # away from the outer edges
    assert inside.tolist() == columns
    assert not edge_target((instances > 0).long(), width)[0, 0, 8, 9:15].any(), "a plain mask loses it: the trap"


def test_total_loss_takes_the_edges_from_the_instances():
    instances = two_squares()
    mask = (instances > 0).long()
    truth = edge_target(instances)
    output = SimpleNamespace(logits=torch.zeros(1, 1, 16, 24), edge_logits=20 * (2 * truth - 1))
    with_instances, without = total_loss(output, mask, instances), total_loss(output, mask)
    assert with_instances["edge"] < 1e-4 < 0.05 < without["edge"]
    assert with_instances["segmentation"] == without["segmentation"]


@LAW
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 12), st.integers(1, 5))
def test_edge_target_equals_a_loop_over_the_definition(seed, height, width, count):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, count + 1, (height, width), generator=generator)
    line = torch.zeros(height, width)
    for y in range(height):
        for x in range(width):
            window = labels[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            line[y, x] = labels[y, x] != 0 and bool((window != labels[y, x]).any())
    assert torch.equal(edge_target(labels[None], 1)[0, 0], line)
    for size in (3, 5):
        thick = torch.zeros(height, width)
        for y, x in line.nonzero().tolist():
            thick[max(y - size // 2, 0) : y + size // 2 + 1, max(x - size // 2, 0) : x + size // 2 + 1] = 1
        assert torch.equal(edge_target(labels[None], size)[0, 0], thick)


@LAW
@given(st.integers(0, 10_000), st.integers(1, 4), st.sampled_from([1, 20_000, 4_000_000]))
def test_edge_target_equals_max_pooling_also_for_large_instance_numbers(seed, cell, step):
    generator = torch.Generator().manual_seed(seed)
    labels = step * torch.randint(0, 4, (2, 1, 6, 6), generator=generator)
    labels = labels.repeat_interleave(cell, 2).repeat_interleave(cell, 3)
    values = labels.float()
    changes = F.max_pool2d(values, 3, 1, 1) != -F.max_pool2d(-values, 3, 1, 1)
    line = (changes & (labels > 0)).float()
    assert torch.equal(edge_target(labels[:, 0], 1), line)
    assert torch.equal(edge_target(labels[:, 0], 5), F.max_pool2d(line, 5, 1, 2))


@LAW
@given(st.integers(0, 10_000), st.sampled_from([1, 3, 5]))
def test_renumbering_the_instances_changes_nothing_and_wider_holds_narrower(seed, width):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 6, (2, 9, 11), generator=generator)
    new_number = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(5, generator=generator) * 3_000_000])
    assert torch.equal(edge_target(new_number[labels], width), edge_target(labels, width))
    if width < 5:
        assert (edge_target(labels, width + 2) >= edge_target(labels, width)).all()


@pytest.mark.parametrize("value", [0, 1, 7])
def test_an_empty_or_full_mask_has_no_edge(value):
    assert not edge_target(torch.full((2, 6, 6), value), 5).any()


def test_a_one_pixel_object_is_all_edge():
    mask = torch.zeros(1, 7, 7, dtype=torch.long)
    mask[0, 3, 3] = 1
    assert [int(edge_target(mask, width).sum()) for width in (1, 3, 5)] == [1, 9, 25]


def test_the_down_size_trap():
    """A straight 1-pixel line, shrunk 4 times, at each of its four positions in the grid of cells."""
    kept = {"nearest": 0, "max": 0}
    for offset in range(4):
        target = torch.zeros(1, 1, 64, 64)
        target[0, 0, 24 + offset] = 1
        for how in kept:
            small = downsize_edge_target(target, (16, 16), how)
            assert small.shape == (1, 1, 16, 16) and set(small.unique().tolist()) <= {0.0, 1.0}
            kept[how] += int(small[0, 0, 6].sum())
            assert small.sum() == small[0, 0, 6].sum()
    assert kept == {"nearest": 16, "max": 64}


def test_the_down_size_trap_on_a_circle():
    y, x = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    target = edge_target(((y - 60) ** 2 + (x - 65) ** 2 < 40**2).long()[None], 1)
    cells = downsize_edge_target(target, (32, 32), "max")
    nearest = downsize_edge_target(target, (32, 32), "nearest")
    assert torch.equal(cells * nearest, nearest)
    # 78 cells hold a piece of the circle's border; nearest sees it in 17 of them.
    assert (int(cells.sum()), int(nearest.sum())) == (78, 17)


# --- edge loss -------------------------------------------------------------------------------------------------------


def test_edge_loss_by_hand():
    # One edge pixel in four: pos_weight 3. Probabilities 1/4 on the edge and 1/4 off it.
    target = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    logits = torch.full((1, 1, 2, 2), -math.log(3))
    cross_entropy = -(3 * math.log(1 / 4) + 3 * math.log(3 / 4)) / (3 + 3)
    dice = (2 / 4 + 1) / (4 / 4 + 1 + 1)
    assert edge_loss(logits, target).item() == pytest.approx(cross_entropy + 1 - dice, abs=1e-6)


def test_the_edge_weight_is_clipped_at_ten():
    target = torch.zeros(1, 1, 40, 40)
    target[0, 0, 3, 3] = 1  # 1599 to 1
    logits = torch.zeros(1, 1, 40, 40)
    logits[0, 0, 3, 3] = -2.0
    weighted = (10 * math.log1p(math.exp(2.0)) + 1599 * math.log(2)) / (10 + 1599)
    dice = soft_dice_loss(logits, target[:, 0].long()).item()
    assert edge_loss(logits, target).item() == pytest.approx(weighted + dice, rel=1e-5)


@LAW
@given(st.integers(0, 10_000), st.floats(0.0, 1.0))
def test_ignorance_costs_log_two_whatever_the_share_of_edges(seed, share):
    target = (torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) < share).float()
    logits = torch.zeros(2, 1, 8, 8)
    cross_entropy = edge_loss(logits, target) - soft_dice_loss(logits, target[:, 0].long())
    assert cross_entropy.item() == pytest.approx(math.log(2), abs=1e-5)


def test_edge_loss_upsamples_the_logits_and_never_shrinks_the_target():
    generator = torch.Generator().manual_seed(8)
    target = edge_target(torch.randint(0, 2, (2, 13, 17), generator=generator), 1)
    logits = torch.randn(2, 1, 7, 9, generator=generator)
    full = F.interpolate(logits, size=(13, 17), mode="bilinear", align_corners=False)
    torch.testing.assert_close(edge_loss(logits, target), edge_loss(full, target))


def test_a_sharper_edge_prediction_costs_less():
    mask = torch.zeros(1, 32, 32, dtype=torch.long)
    mask[0, 8:24, 8:24] = 1
    target = edge_target(mask)
    right, wrong = 4 * (2 * target - 1), 4 * (2 * edge_target(mask, 5).roll(5, 3) - 1)
    blank = torch.full_like(target, -4.0)
    assert edge_loss(right, target) < edge_loss(torch.zeros_like(target), target)
    assert edge_loss(right, target) < edge_loss(wrong, target)
    assert edge_loss(right, target) < edge_loss(blank, target), "predicting no edge at all must not pay"


def test_edge_loss_can_be_trained_away():
    """Gradient descent on half-size logits alone draws the square's border."""
    mask = torch.zeros(1, 16, 16, dtype=torch.long)
    mask[0, 4:12, 4:12] = 1
    target = edge_target(mask)
    logits = torch.zeros(1, 1, 8, 8, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.5)
    first = edge_loss(logits, target).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss = edge_loss(logits, target)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.6 * first


# --- total and messages ----------------------------------------------------------------------------------------------


def test_total_is_the_weighted_sum():
    generator = torch.Generator().manual_seed(9)
    output = SimpleNamespace(
        logits=torch.randn(2, 3, 12, 10, generator=generator), edge_logits=torch.randn(2, 1, 6, 5, generator=generator)
    )
    mask = torch.randint(0, 3, (2, 12, 10), generator=generator)
    terms = total_loss(output, mask, edge_weight=0.25, edge_width=1)
    assert set(terms) == {"segmentation", "edge", "total"}
    torch.testing.assert_close(terms["segmentation"], segmentation_loss(output.logits, mask))
    torch.testing.assert_close(terms["edge"], edge_loss(output.edge_logits, edge_target(mask, 1)))
    torch.testing.assert_close(terms["total"], terms["segmentation"] + 0.25 * terms["edge"])
    assert total_loss(output, mask, edge_weight=0.0)["total"] == terms["segmentation"]


MASK = torch.zeros(1, 4, 4, dtype=torch.long)
LOGITS = torch.zeros(1, 1, 4, 4)
OUTPUT = SimpleNamespace(logits=LOGITS, edge_logits=LOGITS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: segmentation_loss(LOGITS, MASK[:, :3]), "logits must be at the mask's size"),
        (lambda: segmentation_loss(LOGITS[0], MASK), r"logits must be \[B, K, H, W\]"),
        (lambda: segmentation_loss(LOGITS, MASK.float()), "mask must hold whole numbers"),
        (lambda: segmentation_loss(LOGITS, MASK + 255), "from 255 to 255, but 1 logit"),
        (lambda: segmentation_loss(LOGITS.expand(1, 3, 4, 4), MASK + 3), "allow 0 to 2"),
        (lambda: segmentation_loss(LOGITS, MASK - 1), "from -1 to -1"),
        (lambda: edge_target(MASK, 2), "width=2 is not an edge width; choose 1, 3 or 5"),
        (lambda: edge_target(MASK[0]), r"labels must be \[B, H, W\]"),
        (lambda: edge_target(MASK.float()), "labels must be whole numbers"),
        (lambda: edge_loss(LOGITS, LOGITS[0]), "make the target with edge_target"),
        (lambda: edge_loss(LOGITS, LOGITS.expand(2, 1, 4, 4)), "with the same B"),
        (lambda: downsize_edge_target(LOGITS, (2, 2), "area"), 'choose "max" or "nearest"'),
        (lambda: total_loss(OUTPUT, MASK, MASK[:, :2]), "augment them together"),
        (lambda: total_loss(OUTPUT, MASK, edge_weight=-1.0), "edge_weight=-1.0 must be 0 or more"),
        (lambda: total_loss(OUTPUT, MASK, edge_weight=float("nan")), "edge_weight=nan"),
    ],
)
def test_bad_input_gets_one_clear_sentence(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
