"""Answers to the exercises of notebook 00: right ones written differently, and mistakes that students make."""

from __future__ import annotations

import math

import torch

from answers import Exercise

# --- exercise 1: same_pooled_kernel(a, b, pool_size, stride) ---------------------------------------------------------


def by_divmod(a, b, pool_size, stride):
    return all(divmod(divmod(m, stride)[0], pool_size)[0] == divmod(n // stride, pool_size)[0] for m, n in zip(a, b))  # noqa: B905


def by_start_of_block(a, b, p, s):
    start = lambda pixel: [n - n % (p * s) for n in pixel]  # noqa: E731
    return start(a) == start(b)


def by_tensors(a, b, pool_size, stride):
    blocks = torch.div(torch.tensor([a, b]), pool_size * stride, rounding_mode="floor")
    return bool((blocks[0] == blocks[1]).all())


def without_stride(a, b, pool_size, stride):
    return a[0] // pool_size == b[0] // pool_size and a[1] // pool_size == b[1] // pool_size


def without_pool_size(a, b, pool_size, stride):
    return a[0] // stride == b[0] // stride and a[1] // stride == b[1] // stride


def by_distance(a, b, pool_size, stride):
    return abs(a[0] - b[0]) < pool_size * stride and abs(a[1] - b[1]) < pool_size * stride


def rows_only(a, b, pool_size, stride):
    return a[0] // (pool_size * stride) == b[0] // (pool_size * stride)


def columns_only(a, b, pool_size, stride):
    return a[1] // (pool_size * stride) == b[1] // (pool_size * stride)


def rounded(a, b, pool_size, stride):
    side = pool_size * stride
    return round(a[0] / side) == round(b[0] / side) and round(a[1] / side) == round(b[1] / side)


def row_with_column(a, b, pool_size, stride):
    side = pool_size * stride
    return a[0] // side == b[1] // side and a[1] // side == b[0] // side


def sixteen_built_in(a, b, pool_size, stride):
    return a[0] // 16 == b[0] // 16 and a[1] // 16 == b[1] // 16


def either_direction(a, b, pool_size, stride):
    side = pool_size * stride
    return a[0] // side == b[0] // side or a[1] // side == b[1] // side


def printed_1(a, b, pool_size, stride):
    print(by_divmod(a, b, pool_size, stride))


# --- exercise 2: normalised_entropy(kernels [heads, k*k, H, W]) ------------------------------------------------------


def with_clamp(kernels):
    return -(kernels * kernels.clamp_min(1e-12).log()).sum(dim=1) / math.log(kernels.size(1))


def with_xlogy(kernels):
    bits = -torch.special.xlogy(kernels, kernels).sum(-3) / math.log(2)
    return bits / math.log2(kernels.shape[-3])


def by_loop(kernels):
    heads = [torch.distributions.Categorical(probs=k.permute(1, 2, 0)).entropy() for k in kernels]
    return torch.stack(heads) / math.log(kernels.shape[1])


def nan_at_zero(kernels):
    return -(kernels * kernels.log()).sum(1) / math.log(kernels.shape[1])


def over_heads(kernels):
    return torch.special.entr(kernels).sum(0) / math.log(kernels.shape[0])


def over_everything(kernels):
    return torch.special.entr(kernels).sum() / math.log(kernels.shape[1])


def keeps_dimension(kernels):
    return torch.special.entr(kernels).sum(1, keepdim=True) / math.log(kernels.shape[1])


def mean_of_heads(kernels):
    return torch.special.entr(kernels).sum(1).mean(0) / math.log(kernels.shape[1])


def nothing_added(kernels):
    return torch.special.entr(kernels) / math.log(kernels.shape[1])


def no_sign(kernels):
    return (kernels * kernels.clamp_min(1e-12).log()).sum(1) / math.log(kernels.shape[1])


def not_normalised(kernels):
    return torch.special.entr(kernels).sum(1)


def in_bits(kernels):
    return -(kernels * kernels.clamp_min(1e-12).log2()).sum(1)


def log_k(kernels):
    return torch.special.entr(kernels).sum(1) / math.log(math.sqrt(kernels.shape[1]))


def two_logarithms(kernels):
    return -(kernels * kernels.clamp_min(1e-12).log2()).sum(1) / math.log(kernels.shape[1])


def mean_for_sum(kernels):
    return torch.special.entr(kernels).mean(1) / math.log(kernels.shape[1])


def softmax_again(kernels):
    return torch.special.entr(kernels.softmax(1)).sum(1) / math.log(kernels.shape[1])


def forty_nine_built_in(kernels):
    return torch.special.entr(kernels).sum(1) / math.log(49)


def detached(kernels):
    return torch.special.entr(kernels.detach()).sum(1) / math.log(kernels.shape[1])


def half_detached(kernels):
    return -(kernels.detach() * kernels.clamp_min(1e-12).log()).sum(1) / math.log(kernels.shape[1])


def in_numpy(kernels):
    p = kernels.detach().numpy()
    return -(p * torch.log(kernels.detach()).numpy()).sum(1) / math.log(p.shape[1])


def in_place(kernels):
    kernels.clamp_(min=1e-3)
    return -(kernels * kernels.log()).sum(1) / math.log(kernels.shape[1])


def one_minus_largest(kernels):
    """Not the formula: 1 - max, stretched so that it is 1 for a uniform kernel and 0 for a single tap."""
    taps = kernels.shape[1]
    return (1 - kernels.amax(1)) * taps / (taps - 1)


# --- exercise 3: judgement() -----------------------------------------------------------------------------------------


def judge(claim, needed):
    return lambda: {"claim": claim, "needed": needed}


EXERCISES = {
    "exercise_1": Exercise(
        right=[by_divmod, by_start_of_block, by_tensors],
        wrong=[
            ("pool_size counts image pixels", without_stride, "forget the stride"),
            ("one feature pixel is one block", without_pool_size, "did you use the stride alone"),
            ("near means same block", by_distance, "block's border"),
            ("the columns do not matter", rows_only, "columns must agree"),
            ("the rows do not matter", columns_only, "rows must agree"),
            ("blocks are rounded to the nearest", rounded, "round to the nearest"),
            ("rows compared with columns", row_with_column, "row with row"),
            ("16 built in", sixteen_built_in, "is 16 built in"),
            ("one direction is enough", either_direction, "must agree as well"),
            ("printed, not returned", printed_1, "returns nothing"),
            ("a number, not True or False", lambda a, b, p, s: 1, "True or False"),
        ],
    ),
    "exercise_2": Exercise(
        right=[with_clamp, with_xlogy, by_loop],
        wrong=[
            ("0 log 0 is 0 by itself", nan_at_zero, "NaN"),
            ("summed over the heads", over_heads, "added up over the heads"),
            ("summed over everything", over_everything, "added up everything"),
            ("summed dimension kept", keeps_dimension, "keepdim"),
            ("heads averaged", mean_of_heads, "averaged over the heads"),
            ("no sum", nothing_added, "added up nothing"),
            ("sign forgotten", no_sign, "sign is missing"),
            ("not normalised", not_normalised, "not divided by its largest value"),
            ("in bits, not normalised", in_bits, "in bits"),
            ("divided by log k", log_k, "k\\*k taps"),
            ("two different logarithms", two_logarithms, "same in both places"),
            ("mean in place of sum", mean_for_sum, "averaged over the taps"),
            ("softmax of what is a softmax already", softmax_again, "you took a softmax"),
            ("49 built in", forty_nine_built_in, "log\\(49\\) is built in"),
            ("cut off from autograd", detached, "no gradient"),
            ("cut off in part", half_detached, "gradient is not"),
            ("left torch", in_numpy, "return a tensor"),
            ("input changed in place", in_place, "changes the kernels"),
            ("another measure of width", one_minus_largest, "off by up to"),
        ],
    ),
    "exercise_3": Exercise(
        right=[judge("no", {"B", "D", "E", "G"}), judge("no", ["G", "E", "D", "B"]), judge("no", "BDEG")],
        wrong=[
            ("two masks are enough", judge("yes", {"B", "D", "E", "G"}), "nearer to the truth"),
            ("cherry-picking", judge("no", {"A", "B", "D", "E", "G"}), "A does not help"),
            ("a closer look", judge("no", {"B", "C", "D", "E", "G"}), "C does not help"),
            ("the edge map enters SGDC", judge("no", {"B", "D", "E", "F", "G"}), "F does not help: the edge map never"),
            ("the paper's numbers carry over", judge("no", {"B", "D", "E", "G", "H"}), "H does not help"),
            ("no truth needed", judge("no", {"D", "E", "G"}), "only truth"),
            ("no fair pair", judge("no", {"B", "E", "G"}), "luck or training time"),
            ("no control of the guidance", judge("no", {"B", "D", "G"}), "take the guidance away"),
            ("one image, one run", judge("no", {"B", "D", "E"}), "anecdote"),
            ("no letters", judge("no", set()), "something is missing"),
            ("other names", lambda: {"claim": "no"}, "with these two names"),
            ("neither yes nor no", judge("perhaps", {"B"}), "yes"),
            ("letters in a list of lists", judge("no", [["A"]]), "letters A to H"),
            ("letters that do not exist", judge("no", {"B", "Z"}), "letters A to H"),
        ],
    ),
}
