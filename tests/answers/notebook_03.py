"""Answers to the exercises of notebook 03: right ones written differently, and mistakes that students make."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from answers import Exercise

# --- exercise 1: sobel(image [H, W]) -> [2, H, W] --------------------------------------------------------------------

KX = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])


def filtered(image, kernels, mode="constant", pad=(1, 1, 1, 1)):
    """image [H, W], kernels [n, 3, 3] -> [n, H, W]."""
    return F.conv2d(F.pad(image[None, None], pad, mode), kernels[:, None])[0]


BOTH = torch.stack([KX, KX.T])


def by_slices(image):
    p = F.pad(image, (1, 1, 1, 1))
    rows = p[:-2] + 2 * p[1:-1] + p[2:]
    columns = p[:, :-2] + 2 * p[:, 1:-1] + p[:, 2:]
    return torch.stack([rows[:, :-2] - rows[:, 2:], columns[:-2] - columns[2:]])


def by_unfold(image):
    patches = F.unfold(image[None, None], 3, padding=1)[0]
    return (BOTH.flatten(1) @ patches).view(2, *image.shape)


def by_two_steps(image):
    one = lambda k, shape: torch.tensor(k).view(1, 1, *shape)  # noqa: E731
    x = image[None, None]
    gx = F.conv2d(F.conv2d(x, one([1.0, 2.0, 1.0], (3, 1)), padding=(1, 0)), one([1.0, 0, -1], (1, 3)), padding=(0, 1))
    gy = F.conv2d(F.conv2d(x, one([1.0, 2.0, 1.0], (1, 3)), padding=(0, 1)), one([1.0, 0, -1], (3, 1)), padding=(1, 0))
    return torch.cat([gx[0], gy[0]])


def flipped(image):
    return filtered(image, BOTH.flip(1, 2))


def gy_flipped(image):
    return filtered(image, torch.stack([KX, -KX.T]))


def swapped(image):
    return filtered(image, BOTH.flip(0))


def twice_gx(image):
    return filtered(image, torch.stack([KX, KX]))


def prewitt(image):
    return filtered(image, BOTH.sign())


def prewitt_gy(image):
    return filtered(image, torch.stack([KX, KX.T.sign()]))


def by_eight(image):
    return filtered(image, BOTH / 8)


def by_four(image):
    return filtered(image, BOTH / 4)


def middle_row(image):
    k = torch.tensor([[0.0, 0, 0], [2, 0, -2], [0, 0, 0]])
    return filtered(image, torch.stack([k, k.T]))


def unpadded(image):
    return F.conv2d(image[None, None], BOTH[:, None])[0]


def padded_twice(image):
    return F.conv2d(image[None, None], BOTH[:, None], padding=2)[0]


def replicated(image):
    return filtered(image, BOTH, "replicate")


def moved(image):
    return filtered(image, BOTH, pad=(2, 0, 2, 0))


def absolute(image):
    return filtered(image, BOTH).abs()


def absolute_gy(image):
    gx, gy = filtered(image, BOTH)
    return torch.stack([gx, gy.abs()])


def length(image):
    return filtered(image, BOTH).square().sum(0).sqrt()


def batched(image):
    return filtered(image, BOTH)[None]


def last(image):
    return filtered(image, BOTH).permute(1, 2, 0)


def as_pair(image):
    gx, gy = filtered(image, BOTH)
    return gx, gy


def sobel_detached(image):
    return filtered(image.detach(), BOTH)


def gy_detached(image):
    gx, gy = filtered(image, BOTH)
    return torch.stack([gx, gy.detach()])


def centred(image):
    image -= image.mean()
    return filtered(image, BOTH)


def central(image):
    return torch.stack(torch.gradient(image)[::-1]) if min(image.shape) > 1 else torch.zeros(2, *image.shape)


def scharr(image):
    rows = torch.tensor([[3.0], [5.0], [3.0]])
    return filtered(image, torch.stack([KX * rows, (KX * rows).T]))


def diagonal(image):
    return filtered(image, torch.stack([KX, torch.tensor([[2.0, 1, 0], [1, 0, -1], [0, -1, -2]])]))


# --- exercise 2: safe_magnitude(gx, gy) ------------------------------------------------------------------------------


def eps_inside(gx, gy):
    return torch.sqrt(gx * gx + gy * gy + 1e-12)


def eps_as_told(gx, gy):
    return (gx**2 + gy**2 + 1e-6).sqrt()


def clamp_inside(gx, gy):
    return (gx.square() + gy.square()).clamp(min=1e-10).sqrt()


def vector_norm(gx, gy):
    return torch.linalg.vector_norm(torch.stack([gx, gy]), dim=0)


def where_twice(gx, gy):
    square = gx**2 + gy**2
    zero = square == 0
    return torch.where(zero, torch.zeros_like(gx), torch.where(zero, torch.ones_like(gx), square).sqrt())


def plain_root(gx, gy):
    return (gx**2 + gy**2).sqrt()


def eps_outside(gx, gy):
    return (gx**2 + gy**2).sqrt() + 1e-6


def where_outside(gx, gy):
    square = gx**2 + gy**2
    return torch.where(square > 0, square.sqrt(), torch.zeros_like(square))


def by_hypot(gx, gy):
    return torch.hypot(gx, gy)


def no_nan(gx, gy):
    return torch.nan_to_num((gx**2 + gy**2).sqrt())


def clamp_after(gx, gy):
    return (gx**2 + gy**2).sqrt().clamp_min(1e-6)


def eps_too_small(gx, gy):
    return (gx**2 + gy**2 + 1e-50).sqrt()


def eps_too_large(gx, gy):
    return (gx**2 + gy**2 + 1e-4).sqrt()


def eps_huge(gx, gy):
    return (gx**2 + gy**2 + 1e-2).sqrt()


def clamp_at_one(gx, gy):
    return (gx**2 + gy**2).clamp_min(1).sqrt()


def limited_gradient(gx, gy):
    square = gx**2 + gy**2
    return torch.where(square < 0.02, square.detach().sqrt(), square.clamp_min(0.02).sqrt())


def sum_of_absolutes(gx, gy):
    return gx.abs() + gy.abs()


def larger(gx, gy):
    return torch.maximum(gx.abs(), gy.abs())


def no_root(gx, gy):
    return gx**2 + gy**2


def mean_square(gx, gy):
    return torch.stack([gx, gy]).square().mean(0).add(1e-12).sqrt()


def no_squares(gx, gy):
    return (gx + gy).abs().add(1e-12).sqrt()


def one_only(gx, gy):
    return (gx**2 + 1e-12).sqrt() + 0 * gy


def magnitude_detached(gx, gy):
    return vector_norm(gx.detach(), gy.detach())


def half_magnitude(gx, gy):
    return vector_norm(gx, gy.detach())


def with_data(gx, gy):
    square = gx**2 + gy**2 + 1e-12
    return square / square.detach().sqrt()


def pushed(gx, gy):
    gx, gy = gx + 1e-8, gy + 1e-8
    return (gx**2 + gy**2).sqrt()


def summed(gx, gy):
    return vector_norm(gx, gy).sum()


def magnitude_in_place(gx, gy):
    return gx.square_().add_(gy.square_()).add_(1e-12).sqrt()


# --- exercise 3: edge_target_3(labels [H, W]) -> [H, W] --------------------------------------------------------------


def window(x, k=3):
    return F.max_pool2d(x[None, None].float(), k, 1, k // 2)[0, 0]


def smallest(x):
    return -window(-x.float())


def inner(labels):
    return (window(labels) != smallest(labels)) & (labels != 0)


def by_pad(labels):
    p = F.pad(labels[None, None].float(), (1, 1, 1, 1), mode="replicate")[0, 0]
    h, w = labels.shape
    line = torch.zeros(h, w, dtype=torch.bool)
    for i in range(3):
        for j in range(3):
            line |= p[i : i + h, j : j + w] != labels
    line &= labels > 0
    return F.conv2d(line[None, None].float(), torch.ones(1, 1, 3, 3), padding=1)[0, 0] > 0


def by_scipy(labels):
    from scipy.ndimage import binary_dilation, maximum_filter, minimum_filter

    n = labels.numpy()
    line = (maximum_filter(n, 3, mode="nearest") != minimum_filter(n, 3, mode="nearest")) & (n != 0)
    return torch.from_numpy(binary_dilation(line, np.ones((3, 3))))


def by_library(labels):
    from sgdc_viz.learn.losses import edge_target

    return edge_target(labels[None], 3)[0, 0]


def from_mask(labels):
    return window(inner((labels > 0).long()))


def width_one(labels):
    return inner(labels)


def two_wide(labels):
    return window(labels) != smallest(labels)


def two_wide_widened(labels):
    return window(two_wide(labels))


def outer_only(labels):
    return (window(labels) != smallest(labels)) & (labels == 0)


def outer_widened(labels):
    return window(outer_only(labels))


def five_wide(labels):
    return window(inner(labels), 5)


def dilation_only(labels):
    return window((window(labels) != labels) & (labels != 0))


def erosion_only(labels):
    return window((smallest(labels) != labels) & (labels != 0))


def zero_frame(labels):
    p = F.pad(labels, (1, 1, 1, 1))
    h, w = labels.shape
    line = torch.stack([p[i : i + h, j : j + w] != labels for i in range(3) for j in range(3)]).any(0)
    return window(line & (labels != 0))


def rolled(labels):
    turned = [labels.roll((i, j), (0, 1)) != labels for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return window(torch.stack(turned).any(0) & (labels != 0))


def cross_window(labels):
    p = F.pad(labels[None, None].float(), (1, 1, 1, 1), mode="replicate")[0, 0]
    around = p[:-2, 1:-1], p[2:, 1:-1], p[1:-1, :-2], p[1:-1, 2:]
    return window(torch.stack([a != labels for a in around]).any(0) & (labels != 0))


def cross_widened(labels):
    kernel = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]])[None, None]
    return F.conv2d(inner(labels)[None, None].float(), kernel, padding=1)[0, 0] > 0


def in_bytes(labels):
    return window(inner(labels.to(torch.uint8)))


def differences(labels):
    return window(labels) - smallest(labels)


def with_numbers(labels):
    return window(inner(labels) * labels)


def objects(labels):
    return labels > 0


def target_batched(labels):
    return window(inner(labels))[None, None]


def one_sided(labels):
    line = torch.zeros_like(labels, dtype=torch.bool)
    line[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    line[1:] |= labels[1:] != labels[:-1]
    return window(line)


def band_inside(labels):
    return (window(labels, 5) != -window(-labels.float(), 5)) & (labels != 0)


def target_unpadded(labels):
    x = labels[None, None].float()
    return (F.max_pool2d(x, 3, 1) != -F.max_pool2d(-x, 3, 1))[0, 0]


def by_sobel(labels):
    g = filtered(labels.float(), BOTH, "replicate")
    return window((g.abs().sum(0) > 0) & (labels != 0))


def renumbered(labels):
    labels[labels > 0] = 1
    return window(inner(labels))


def contact_only(labels):
    p = F.pad(labels[None, None].float(), (1, 1, 1, 1), mode="replicate")[0, 0]
    h, w = labels.shape
    parts = [p[i : i + h, j : j + w] for i in range(3) for j in range(3)]
    return window(torch.stack([(a == 0) for a in parts]).any(0) & (labels != 0))


# --- exercise 4: balanced_bce(logits, target) ------------------------------------------------------------------------


def weight_of(target, low=1.0, high=10.0):
    return ((target.numel() - target.sum()) / target.sum().clamp_min(1)).clamp(low, high)


def bce(logits, target, **options):
    return F.binary_cross_entropy_with_logits(logits, target, **options)


def by_logsigmoid(logits, target):
    w = torch.where(target > 0, weight_of(target), 1.0)
    each = -(target * F.logsigmoid(logits) + (1 - target) * F.logsigmoid(-logits))
    return (w * each).sum() / w.sum()


def by_pos_weight(logits, target):
    w = weight_of(target)
    edges = target.sum()
    return bce(logits, target, pos_weight=w, reduction="sum") / (w * edges + target.numel() - edges)


def by_branch(logits, target):
    edges = int(target.sum())
    if edges == 0:
        return bce(logits, target)
    ratio = min(max((target.numel() - edges) / edges, 1.0), 10.0)
    on = target == 1
    each = F.softplus(logits) - target * logits
    return (ratio * each[on].sum() + each[~on].sum()) / (ratio * edges + target.numel() - edges)


def torch_mean(logits, target):
    return bce(logits, target, pos_weight=weight_of(target))


def only_added(logits, target):
    return bce(logits, target, pos_weight=weight_of(target), reduction="sum")


def _normalised(logits, target, ratio):
    w = 1 + (ratio - 1) * target
    return (w * bce(logits, target, reduction="none")).sum() / w.sum()


def no_limit(logits, target):
    return _normalised(logits, target, (target.numel() - target.sum()) / target.sum().clamp_min(1))


def no_upper_limit(logits, target):
    return _normalised(logits, target, weight_of(target, 1, 1e9))


def no_lower_limit(logits, target):
    return _normalised(logits, target, weight_of(target, 0, 10))


def upside_down(logits, target):
    return _normalised(logits, target, 1 / weight_of(target))


def upside_down_clipped(logits, target):
    edges = target.sum()
    return _normalised(logits, target, (edges / (target.numel() - edges).clamp_min(1)).clamp(1, 10))


def on_the_rest(logits, target):
    w = 1 + (weight_of(target) - 1) * (1 - target)
    return (w * bce(logits, target, reduction="none")).sum() / w.sum()


def all_by_edges(logits, target):
    return _normalised(logits, target, (target.numel() / target.sum().clamp_min(1)).clamp(1, 10))


def one_more(logits, target):
    return _normalised(logits, target, weight_of(target) + 1)


def image_by_image(logits, target):
    return torch.stack([_normalised(z, t, weight_of(t)) for z, t in zip(logits, target, strict=True)]).mean()


def weights_by_image(logits, target):
    ratio = torch.stack([weight_of(t) for t in target]).view(-1, 1, 1, 1)
    return _normalised(logits, target, ratio)


def class_means(logits, target):
    each = bce(logits, target, reduction="none")
    return (each[target == 1].mean() + each[target == 0].mean()) / 2


def unweighted(logits, target):
    return bce(logits, target)


def floor_ratio(logits, target):
    edges = int(target.sum())
    return _normalised(logits, target, float(min(max((target.numel() - edges) // max(edges, 1), 1), 10)))


def with_dice(logits, target):
    from sgdc_viz.learn.losses import edge_loss

    return edge_loss(logits, target)


def share_weights(logits, target):
    w = torch.where(target > 0, 1 - target.mean(), target.mean())
    return (w * bce(logits, target, reduction="none")).mean()


def wrong_function(logits, target):
    w = 1 + (weight_of(target) - 1) * target
    return (w * F.binary_cross_entropy(logits, target, reduction="none")).sum() / w.sum()


def sigmoid_twice(logits, target):
    return _normalised(logits.sigmoid(), target, weight_of(target))


def of_probabilities(logits, target):
    p, w = logits.sigmoid(), 1 + (weight_of(target) - 1) * target
    each = -(target * p.log() + (1 - target) * (1 - p).log())
    return (w * each).sum() / w.sum()


def with_small_number(logits, target):
    p, w = logits.sigmoid(), 1 + (weight_of(target) - 1) * target
    each = -(target * (p + 1e-7).log() + (1 - target) * (1 - p + 1e-7).log())
    return (w * each).sum() / w.sum()


def empty_divides(logits, target):
    ratio = (target.numel() - target.sum()) / target.sum()
    w = 1 + (ratio.clamp(1, 10) - 1) * target
    return (w * bce(logits, target, reduction="none")).sum() / w.sum()


def empty_is_nan(logits, target):
    edges = target.sum()
    return _normalised(logits, target, weight_of(target)) * edges / edges


def empty_is_free(logits, target):
    if target.sum() == 0:
        return logits.sum() * 0
    return by_branch(logits, target)


def not_added(logits, target):
    return (1 + (weight_of(target) - 1) * target) * bce(logits, target, reduction="none")


def as_number(logits, target):
    return by_branch(logits, target).item()


def loss_detached(logits, target):
    return by_branch(logits.detach(), target)


def half_loss(logits, target):
    w = 1 + (weight_of(target) - 1) * target
    each = -(target * F.logsigmoid(logits.detach()) + (1 - target) * F.logsigmoid(-logits))
    return (w * each).sum() / w.sum()


def exchanged(logits, target):
    w = 1 + (weight_of(target) - 1) * target
    return (w * bce(target, logits, reduction="none")).sum() / w.sum()


def exchanged_plain(logits, target):
    return bce(target, logits)


def always_ten(logits, target):
    return _normalised(logits, target, 10)


def always_ten_mean(logits, target):
    return bce(logits, target, pos_weight=torch.tensor(10.0))


def negative(logits, target):
    return -by_branch(logits, target)


# --- exercise 5: judgement() -----------------------------------------------------------------------------------------


def judge(shows, changes="no"):
    return lambda: {"shows": shows, "mask changes": changes}


EXERCISES = {
    "exercise_1": Exercise(
        right=[by_slices, by_unfold, by_two_steps],
        wrong=[
            ("kernel flipped (true convolution)", flipped, "sign is turned round"),
            ("Gy flipped", gy_flipped, "Gy of a random image .* wrong sign"),
            ("Gx and Gy swapped", swapped, "are swapped"),
            ("the same kernel twice", twice_gx, "equals Gx"),
            ("Prewitt", prewitt, "Prewitt"),
            ("Prewitt for Gy alone", prewitt_gy, "Gy .*Prewitt"),
            ("divided by 8", by_eight, "divided by 8"),
            ("divided by 4", by_four, "divided by 4"),
            ("middle row alone", middle_row, "middle row alone"),
            ("no padding", unpadded, "outermost pixels are lost"),
            ("padded twice", padded_twice, "pad by 1"),
            ("frame repeated", replicated, "not at the frame"),
            ("padded on one side", moved, "moved by one pixel"),
            ("absolute values", absolute, "sign is lost"),
            ("absolute value of Gy", absolute_gy, "lost its sign"),
            ("length in place of derivatives", length, "one map only"),
            ("batch left in", batched, "batch dimension"),
            ("derivatives last", last, "come first"),
            ("two tensors", as_pair, "torch.stack"),
            ("cut off from autograd", sobel_detached, "no gradient"),
            ("one derivative cut off", gy_detached, "gradient is not"),
            ("image changed in place", centred, "changes the image"),
            ("torch.gradient", central, "torch.gradient"),
            ("Scharr", scharr, "times too much"),
            ("diagonal kernel", diagonal, "off by up to"),
        ],
    ),
    "exercise_2": Exercise(
        right=[eps_inside, eps_as_told, clamp_inside, vector_norm, where_twice],
        wrong=[
            ("root as released", plain_root, "0 still goes into the root"),
            ("eps outside the root", eps_outside, "added after the root"),
            ("torch.where outside", where_outside, "torch.where, nan_to_num, hypot"),
            ("hypot is safe", by_hypot, "torch.where, nan_to_num, hypot"),
            ("NaN taken out of the values", no_nan, "torch.where, nan_to_num, hypot"),
            ("clamp after the root", clamp_after, "added after the root"),
            ("eps below float32", eps_too_small, "0 still goes into the root"),
            ("eps too large", eps_too_large, "make eps smaller"),
            ("eps far too large", eps_huge, "swallows weak edges"),
            ("limit of 1", clamp_at_one, "swallows weak edges"),
            ("weak edges get no gradient", limited_gradient, "cuts weak edges off"),
            ("sum of absolute values", sum_of_absolutes, "taxi"),
            ("the larger one", larger, "larger of the two"),
            ("root forgotten", no_root, "root is missing"),
            ("mean of squares", mean_square, "averaged the squares"),
            ("root of the sum", no_squares, "not squared"),
            ("one derivative only", one_only, "gy is missing"),
            ("cut off from autograd", magnitude_detached, "no gradient"),
            ("half cut off", half_magnitude, "one of gx and gy"),
            ("the root cut off", with_data, "gradient is not"),
            ("moved away from 0", pushed, "did you move|Did you move"),
            ("summed over pixels", summed, "without a sum"),
            ("changed in place", magnitude_in_place, "changes gx or gy"),
        ],
    ),
    "exercise_3": Exercise(
        right=[by_pad, by_scipy],
        wrong=[
            ("the library's own function", by_library, "library's own version"),
            ("binary mask", from_mask, "border between the two objects is lost"),
            ("inner border only", width_one, "inner border, width 1"),
            ("plain gradient", two_wide, "two pixels wide"),
            ("plain gradient, widened", two_wide_widened, "four pixels wide"),
            ("outer border only", outer_only, "outer border"),
            ("outer border, widened", outer_widened, "middle one pixel outside"),
            ("five wide", five_wide, "five pixels wide"),
            ("dilation only", dilation_only, "compare with the smallest"),
            ("erosion only", erosion_only, "marks one of them"),
            ("frame counted", zero_frame, "frame of the image is no boundary"),
            ("roll goes round the image", rolled, "torch.roll"),
            ("four neighbours", cross_window, "diagonal neighbours"),
            ("widened with a cross", cross_widened, "corners are missing"),
            ("labels as bytes", in_bytes, "255"),
            ("largest minus smallest", differences, "two pixels wide"),
            ("object numbers, not ones", with_numbers, "zeros and ones"),
            ("the object itself", objects, "not its boundary"),
            ("left and upper neighbours only", one_sided, "on one side only"),
            ("a band inside", band_inside, "band inside the object"),
            ("no padding", target_unpadded, "outermost pixels are lost"),
            ("dimensions left in", target_batched, "take away dimensions"),
            ("Sobel of the labels", by_sobel, "cancel out"),
            ("labels changed in place", renumbered, "changes the labels"),
            ("background alone makes a border", contact_only, "nor compare with 0 alone"),
        ],
    ),
    "exercise_4": Exercise(
        right=[by_logsigmoid, by_pos_weight, by_branch],
        wrong=[
            ("divided by pixels", torch_mean, "divide by the sum of the weights"),
            ("sum not divided", only_added, "did not divide"),
            ("no limit", no_limit, "not limited"),
            ("no upper limit", no_upper_limit, "clip it to 1"),
            ("no lower limit", no_lower_limit, "under 1"),
            ("ratio upside down", upside_down, "upside down"),
            ("weight on the rest", on_the_rest, "wrong class"),
            ("upside down, then clipped", upside_down_clipped, "upside down and the clip"),
            ("all by edges", all_by_edges, "not all / #"),
            ("one added", one_more, "1 too large|not all / #"),
            ("image by image", image_by_image, "each image by itself"),
            ("weights image by image", weights_by_image, "each image by itself"),
            ("mean of class means", class_means, "classes' means"),
            ("not weighted", unweighted, "weight is missing"),
            ("ratio rounded", floor_ratio, "rounded"),
            ("Dice added", with_dice, "Dice term"),
            ("weights of HED", share_weights, "1 - share"),
            ("probabilities expected", wrong_function, "takes probabilities"),
            ("sigmoid twice", sigmoid_twice, "sigmoid is taken twice"),
            ("logarithm of the sigmoid", of_probabilities, "runs out of digits"),
            ("small number in the logarithm", with_small_number, "runs out of digits"),
            ("0 edges: NaN", empty_is_nan, "number of boundary pixels, which is 0"),
            ("0 edges: no loss", empty_is_free, "still teach"),
            ("not added up", not_added, "must be one number"),
            ("a Python number", as_number, "let gradients through"),
            ("cut off from autograd", loss_detached, "no gradient"),
            ("half cut off", half_loss, "gradient is not"),
            ("sign turned round", negative, "sign is turned round"),
            ("arguments exchanged", exchanged, "binary_cross_entropy_with_logits\\(logits, target\\)"),
            ("arguments exchanged, no weight", exchanged_plain, "arguments are exchanged"),
            ("the limit as weight", always_ten, "10 is the limit, not the weight"),
            ("the limit as weight, divided by pixels", always_ten_mean, "10 is the limit, not the weight"),
        ],
    ),
    "exercise_5": Exercise(
        right=[judge({"C", "E", "G"}), judge(["G", "C", "E"]), judge("CEG")],
        wrong=[
            ("accuracy is enough", judge({"A", "C", "E", "G"}), "A does not show it"),
            ("sharp is right", judge({"B", "C", "E", "G"}), "B does not show it"),
            ("low loss", judge({"C", "D", "E", "G"}), "D does not show it"),
            ("recall alone", judge({"C", "E", "F", "G"}), "F does not show it"),
            ("a good mask", judge({"C", "E", "G", "H"}), "H does not show it"),
            ("no truth", judge({"E", "G"}), "in its place"),
            ("nothing to compare with", judge({"C", "G"}), "beside another one"),
            ("one run", judge({"C", "E"}), "luck"),
            ("the boundary map is read", judge({"C", "E", "G"}, "yes"), "no block reads the boundary map"),
            ("no letters", judge(set()), "something is missing"),
            ("other names", lambda: {"shows": {"C"}}, "with these two names"),
            ("neither yes nor no", judge({"C"}, "perhaps"), "yes"),
            ("letters that do not exist", judge({"C", "Z"}), "letters A to H"),
            ("small letters", judge({"c", "e", "g"}), "capital letters"),
            ("a list in a list", judge([["C", "E", "G"]]), "capital letters"),
        ],
    ),
}
