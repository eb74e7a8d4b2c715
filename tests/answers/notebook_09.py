"""Answers to the exercises of notebook 09: right ones written differently, and mistakes that students make."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from skimage.measure import label

from answers import Exercise
from sgdc_viz.nn import SGDC
from sgdc_viz.teach.lessons import small_objects

# --- exercise 1: sgdc_parameters(dim, guidance_channels, heads, kernel_size, mlp_ratio) -------------------------------


def counted(dim, guidance_channels, heads, kernel_size, mlp_ratio, leave_out=()):
    d, m = dim, dim * mlp_ratio
    parts = {
        "projection": guidance_channels * d + d,
        "attn": d * (2 * d + heads * kernel_size**2) + 2 * d + heads * kernel_size**2,
        "depthwise": 10 * d,
        "norms": 4 * d,
        "mlp": d * m + m + m * d + d,
        "scales": 2 * d,
    }
    return sum(n for name, n in parts.items() if name not in leave_out)


def by_polynomial(d, g, heads, k, ratio):
    out = 2 * d + heads * k * k
    return (g + 1) * d + (d + 1) * out + 10 * d + 4 * d + 2 * ratio * d * d + ratio * d + d + 2 * d


def by_building(*sizes):
    return sum(p.numel() for p in SGDC(*sizes).parameters())


def as_numpy_number(*sizes):
    return np.int64(counted(*sizes))


def without(*parts):
    return lambda *sizes: counted(*sizes, leave_out=parts)


def beside(extra):
    """The right count and so many more (fewer)."""

    def sgdc_parameters(d, g, heads, k, ratio):
        return counted(d, g, heads, k, ratio) + extra(d, g, heads, k, d * ratio)

    return sgdc_parameters


def ratio_built_in(d, g, heads, k, ratio):
    return counted(d, g, heads, k, 4)


def heads_built_in(d, g, heads, k, ratio):
    return counted(d, g, 4, k, ratio)


def no_biases(d, g, heads, k, ratio):
    return counted(d, g, heads, k, ratio) - (d + (2 * d + heads * k * k) + d + ratio * d + d)


def one_gate(d, g, heads, k, ratio):
    return counted(d, g, heads, k, ratio) - (d * d + d)


def k_weights(d, g, heads, k, ratio):
    return counted(d, g, heads, k, ratio) - (d + 1) * heads * (k * k - k)


def one_kernel_for_all_heads(d, g, heads, k, ratio):
    return counted(d, g, heads, k, ratio) - (d + 1) * (heads - 1) * k * k


def full_convolution(d, g, heads, k, ratio):
    return counted(d, g, heads, k, ratio) - 9 * d + 9 * d * d


def one_layer_mlp(d, g, heads, k, ratio):
    return counted(d, g, heads, k, ratio) - (d * d * ratio + d)


def narrow_mlp(d, g, heads, k, ratio):
    return counted(d, g, heads, k, 1)


# --- exercise 2: guided_stage(boundary, join, block, deep, shallow) ---------------------------------------------------


def step_by_step(boundary, join, block, deep, shallow):
    height, width = shallow.shape[2:]
    both = torch.cat((F.interpolate(deep, (height, width), mode="bilinear", align_corners=False), shallow), dim=1)
    outputs = boundary(deep, shallow)
    return [block(join(both), outputs[1]), outputs[0]]


def with_upsample(boundary, join, block, deep, shallow):
    edge, guidance = boundary(deep, shallow)
    up = torch.nn.Upsample(size=tuple(shallow.shape[-2:]), mode="bilinear")(deep)
    return block(join(torch.cat([up, shallow], dim=-3)), guidance), edge


def wiring(
    swap=False, detach=False, read="guidance", act=None, mode="bilinear", order=1, blocked=True, give=None, corners=None
):
    """The wiring with one wire wrong."""

    def guided_stage(boundary, join, block, deep, shallow):
        edge, guidance = boundary(shallow, deep) if swap else boundary(deep, shallow)
        up = F.interpolate(deep, size=shallow.shape[-2:], mode=mode, align_corners=corners)
        x = join(torch.cat([up, shallow][::order], 1))
        read_in = edge if read == "edge" else guidance
        read_in = act(read_in) if act else read_in
        read_in = read_in.detach() if detach else read_in
        features = block(x, read_in) if blocked else x
        return give(features, edge, guidance) if give else (features, edge)

    return guided_stage


def no_gradient(boundary, join, block, deep, shallow):
    with torch.no_grad():
        return step_by_step(boundary, join, block, deep, shallow)


def twice_as_large(boundary, join, block, deep, shallow):
    edge, guidance = boundary(deep, shallow)
    up = F.interpolate(deep, scale_factor=2, mode="bilinear")
    return block(join(torch.cat([up, shallow], 1)), guidance), edge


def nothing_enlarged(boundary, join, block, deep, shallow):
    edge, guidance = boundary(deep, shallow)
    return block(join(torch.cat([deep, shallow], 1)), guidance), edge


def deep_left_out(boundary, join, block, deep, shallow):
    edge, guidance = boundary(deep, shallow)
    return block(join(torch.cat([shallow, shallow], 1)), guidance), edge


# --- exercise 3: object_recall(mask, instances) -----------------------------------------------------------------------


def by_bincount(mask, instances):
    numbers, place = np.unique(instances.astype(int), return_inverse=True)
    covered = np.bincount(place.ravel(), mask.ravel()) * 2 >= np.bincount(place.ravel())
    return float(covered[numbers > 0].mean()) if (numbers > 0).any() else np.nan


def by_loop(mask, instances):
    found = total = 0
    for number in set(instances.ravel().tolist()) - {0}:
        its = instances == number
        total += 1
        found += (mask & its).sum() >= its.sum() / 2
    return found / total if total else float("nan")


def pixels(mask, instances):
    return float(mask[instances > 0].mean()) if (instances > 0).any() else float("nan")


def with_background(mask, instances):
    numbers = np.unique(instances)
    return float(np.mean([mask[instances == n].mean() >= 0.5 for n in numbers])) if len(numbers) > 1 else float("nan")


def largest_number(mask, instances):
    n = int(instances.max())
    found = sum(mask[instances == i].mean() >= 0.5 for i in range(1, n + 1) if (instances == i).any())
    return found / n if n else float("nan")


def connected_parts(mask, instances):
    return by_loop(mask, label(instances > 0))


def parts_of_the_mask(mask, instances):
    numbers = [n for n in np.unique(instances) if n > 0]
    parts = label(mask)
    found = {part for part in np.unique(parts) if part and (instances[parts == part] > 0).any()}
    return min(1.0, len(found) / len(numbers)) if numbers else float("nan")


def more_than_half(mask, instances):
    numbers = [n for n in np.unique(instances) if n > 0]
    return float(np.mean([mask[instances == n].mean() > 0.5 for n in numbers])) if numbers else float("nan")


def mean_share(mask, instances):
    numbers = [n for n in np.unique(instances) if n > 0]
    return float(np.mean([mask[instances == n].mean() for n in numbers])) if numbers else float("nan")


def one_pixel(mask, instances):
    numbers = [n for n in np.unique(instances) if n > 0]
    return float(np.mean([mask[instances == n].any() for n in numbers])) if numbers else float("nan")


def by_iou(mask, instances):
    numbers = [n for n in np.unique(instances) if n > 0]
    good = [(mask & (instances == n)).sum() / (mask | (instances == n)).sum() >= 0.5 for n in numbers]
    return float(np.mean(good)) if numbers else float("nan")


def of_the_predicted(mask, instances):
    numbers = [n for n in np.unique(instances) if n > 0]
    parts = label(mask)
    return by_loop(instances > 0, parts) if numbers and parts.any() else (0.0 if numbers else float("nan"))


def zero_without_objects(mask, instances):
    numbers = [n for n in np.unique(instances) if n > 0]
    return float(np.mean([mask[instances == n].mean() >= 0.5 for n in numbers])) if numbers else 0.0


def division_by_zero(mask, instances):
    numbers = [n for n in np.unique(instances) if n > 0]
    return sum(bool(mask[instances == n].mean() >= 0.5) for n in numbers) / len(numbers)


def a_list(mask, instances):
    return [bool(mask[instances == n].mean() >= 0.5) for n in np.unique(instances) if n > 0]


def renumbers_in_place(mask, instances):
    answer = by_loop(mask, instances)
    instances[instances == 7] = 3
    return answer


# --- exercise 4: plan() -----------------------------------------------------------------------------------------------


def choose(letters):
    return lambda: letters


EXERCISES = {
    "exercise_1": Exercise(
        right=[by_polynomial, as_numpy_number],
        wrong=[
            ("a block built and counted", by_building, "write the steps yourself"),
            ("layer scales forgotten", without("scales"), "two layer scales"),
            ("one layer scale forgotten", beside(lambda d, g, heads, k, m: -d), "one of ls1 and ls2"),
            ("bias of attn forgotten", beside(lambda d, g, heads, k, m: -2 * d - heads * k * k), "bias of attn"),
            ("bias inside the MLP forgotten", beside(lambda d, g, heads, k, m: -m), "MLP's first layer"),
            ("biases of the MLP forgotten", beside(lambda d, g, heads, k, m: -m - d), "two biases of the MLP"),
            ("a third layer in the MLP", beside(lambda d, g, heads, k, m: m * m + m), "you count a third"),
            ("a third gate", beside(lambda d, g, heads, k, m: d * d + d), "there are two gates, and two layers"),
            ("dwconv of side k", beside(lambda d, g, heads, k, m: d * (k * k - 9)), "whatever kernel_size is"),
            ("depthwise bias alone", beside(lambda d, g, heads, k, m: -9 * d), "9 weights a channel of the depthwise"),
            ("mlp_ratio built in", ratio_built_in, "right for mlp_ratio=4 only"),
            ("heads built in", heads_built_in, "right for heads=4 only"),
            ("one too many", beside(lambda *sizes: 1), "1 too many"),
            ("norms forgotten", without("norms"), "two norms are missing"),
            ("norms and layer scales forgotten", without("norms", "scales"), "norms .* and layer scales"),
            ("biases forgotten", no_biases, "biases are missing"),
            ("one gate", one_gate, "two gates"),
            ("k weights a kernel", k_weights, "k \\* k weights, not k"),
            ("heads not counted", one_kernel_for_all_heads, "each head has a kernel"),
            ("the 3 x 3 convolution is a full one", full_convolution, "depthwise"),
            ("guidance projection forgotten", without("projection"), "projection of the guidance"),
            ("MLP forgotten", without("mlp"), "the MLP is missing"),
            ("MLP of one layer", one_layer_mlp, "two layers"),
            ("MLP not wider inside", narrow_mlp, "wider inside"),
            ("depthwise convolution forgotten", without("depthwise"), "depthwise 3 x 3 convolution is missing"),
            ("one example hard-coded", lambda *sizes: 6628, "write down each part"),
            ("not a whole number", lambda *sizes: float(counted(*sizes)), "whole number"),
        ],
    ),
    "exercise_2": Exercise(
        right=[step_by_step, with_upsample],
        wrong=[
            ("boundary logits into the block", wiring(read="edge"), "do not enter the block"),
            ("sigmoid on the guidance", wiring(act=torch.sigmoid), "no sigmoid"),
            ("guidance detached", wiring(detach=True), "no gradient reaches the guidance"),
            ("guidance zeroed", wiring(act=torch.zeros_like), "set to 0"),
            ("deep and shallow swapped", wiring(swap=True), "swapped"),
            ("joined in the other order", wiring(order=-1), "first the deep features"),
            ("nearest pixel", wiring(mode="nearest"), "nearest pixel"),
            ("corners aligned", wiring(corners=True), "align_corners"),
            ("block forgotten", wiring(blocked=False), "block is missing"),
            ("features alone", wiring(give=lambda f, e, g: f), "return two things"),
            ("three things", wiring(give=lambda f, e, g: (f, e, g)), "return two things"),
            ("results swapped", wiring(give=lambda f, e, g: (e, f)), "results are swapped"),
            ("probabilities in place of logits", wiring(give=lambda f, e, g: (f, e.sigmoid())), "leave the sigmoid"),
            (
                "guidance returned as boundary",
                wiring(give=lambda f, e, g: (f, g)),
                "return the guidance as edge_logits",
            ),
            ("no gradient", no_gradient, "no gradient flows"),
            ("always twice as large", twice_as_large, "Sizes of tensors must match"),
            ("not enlarged", nothing_enlarged, "Sizes of tensors must match"),
            (
                "the lesson's function called",
                lambda *parts: small_objects.guided_stage(*parts),
                "write the steps yourself",
            ),
            ("shallow features twice", deep_left_out, "follow the four arrows"),
        ],
    ),
    "exercise_3": Exercise(
        right=[by_bincount, by_loop],
        wrong=[
            ("pixels counted", pixels, "you counted pixels"),
            ("background is an object", with_background, "background \\(0\\) is no object"),
            ("largest number is the count", largest_number, "numbers may have gaps"),
            ("touching objects are one", connected_parts, "touching objects are two"),
            ("parts of the mask counted", parts_of_the_mask, "touching objects are two"),
            ("mean covered share", mean_share, "mean covered share"),
            ("a third for every picture", lambda mask, instances: 1 / 3, "0.333 for every picture"),
            ("rounded", lambda mask, instances: round(by_loop(mask, instances), 2), "do not round"),
            ("the lesson's function called", lambda *given: small_objects.object_recall(*given), "write the steps"),
            ("more than half", more_than_half, "at least, >="),
            ("one pixel is enough", one_pixel, "one pixel is not enough"),
            ("IoU in place of coverage", by_iou, "divide by the union"),
            ("divided by the predicted ones", of_the_predicted, "number of true objects"),
            ("0 without objects", zero_without_objects, "undefined \\(NaN\\)"),
            ("divided by zero", division_by_zero, "ZeroDivisionError"),
            ("a list", a_list, "return one number"),
            ("numbers changed in place", renumbers_in_place, "work on a copy"),
        ],
    ),
    "exercise_4": Exercise(
        right=[choose({"A", "C", "D", "F", "H"}), choose("HFDCA")],
        wrong=[
            ("measure chosen afterwards", choose({"C", "D", "F", "H"}), "after the results"),
            ("the best of five against a mean", choose({"A", "B", "C", "D", "F", "H"}), "B spoils"),
            ("one run each", choose({"A", "D", "F", "H"}), "luck"),
            ("no control", choose({"A", "C", "F", "H"}), "without a control"),
            ("tuned on the test images", choose({"A", "C", "D", "E", "F", "H"}), "E spoils"),
            ("found objects alone", choose({"A", "C", "D", "H"}), "marks everything"),
            ("a larger network for one side", choose({"A", "C", "D", "F", "G", "H"}), "G spoils"),
            ("undecided results left out", choose({"A", "C", "D", "F"}), "undecided"),
            ("letters in a list of lists", choose([["A"]]), "letters A to H"),
            ("letters that do not exist", choose({"A", "Z"}), "letters A to H"),
            ("everything", choose("ABCDEFGH"), "spoils"),
        ],
    ),
}
