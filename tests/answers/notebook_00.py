"""Answers to the exercises of notebook 00: right ones written differently, and mistakes that students make."""

from __future__ import annotations

import math

import torch

from answers import Exercise
from sgdc_viz.lens import kernel_entropy

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


def one_number(n=16):
    def answer(a, b, pool_size, stride):
        side = pool_size * stride
        return a[0] // side * n + a[1] // side == b[0] // side * n + b[1] // side

    return answer


def one_number_of_the_side(a, b, pool_size, stride):
    return one_number(256 // (pool_size * stride))(a, b, pool_size, stride)


def blocks_added(a, b, pool_size, stride):
    return sum(a) // (pool_size * stride) == sum(b) // (pool_size * stride)


def by_block(block):
    return lambda a, b, p, s: block(a[0], p, s) == block(b[0], p, s) and block(a[1], p, s) == block(b[1], p, s)


def as_numbers(a, b, pool_size, stride):
    return int(by_divmod(a, b, pool_size, stride))


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


def log_of(dimension):
    return lambda kernels: torch.special.entr(kernels).sum(1) / math.log(kernels.shape[dimension])


def in_place_without_a_trace(kernels):
    kernels.clamp_(min=1e-30)
    return -(kernels * kernels.log()).sum(1) / math.log(kernels.shape[1])


def in_place_at_zero(kernels):
    kernels += 1e-30 * (kernels == 0)
    return -(kernels * kernels.log()).sum(1) / math.log(kernels.shape[1])


def in_place_by_nothing(kernels):
    return torch.special.entr(kernels.clamp_(min=0)).sum(1) / math.log(kernels.shape[1])


def decimal_logarithm(kernels):
    return -(kernels * kernels.clamp_min(1e-12).log10()).sum(1) / math.log(kernels.shape[1])


def through_the_library(kernels):
    return kernel_entropy(kernels[None])[0]


def library_inside(kernels):
    return torch.stack([each[0] for each in [kernel_entropy(head[None, None]) for head in kernels]])[:, 0]


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
        right=[by_divmod, by_start_of_block, by_tensors, as_numbers],
        wrong=[
            ("pool_size counts image pixels", without_stride, "forget the stride"),
            ("one feature pixel is one block", without_pool_size, "did you use the stride alone"),
            ("near means same block", by_distance, "not how far apart"),
            ("the columns do not matter", rows_only, "columns must agree"),
            ("the rows do not matter", columns_only, "rows must agree"),
            ("blocks are rounded to the nearest", rounded, "rounds down, round"),
            ("rows compared with columns", row_with_column, "row with row"),
            ("16 built in", sixteen_built_in, "is 16 built in"),
            ("one direction is enough", either_direction, "must agree as well"),
            ("a number for each block, 16 a row", one_number(), "two blocks got the same number"),
            ("a number for each block, 256 // side a row", one_number_of_the_side, "two blocks got the same number"),
            ("a number for each block, 10 a row", one_number(10), "two blocks got the same number"),
            ("a number for each block, 1000 a row", one_number(1000), "two blocks got the same number"),
            ("row and column added", blocks_added, "Rows \\*and\\* columns"),
            ("counted from 1", by_block(lambda n, p, s: (n - 1) // (p * s)), "count from 0"),
            ("rounded up", by_block(lambda n, p, s: math.ceil(n / (p * s))), "count from 0, use //"),
            ("/ for //", by_block(lambda n, p, s: n / (p * s)), "do not compare exact positions"),
            ("the same pixel only", lambda a, b, p, s: a == b, "do not compare exact positions"),
            ("always False", lambda a, b, p, s: False, "do not compare exact positions"),
            ("always True", lambda a, b, p, s: True, "True for every pair"),
            ("pool_size + stride", by_block(lambda n, p, s: n // (p + s)), "not pool_size \\+ stride"),
            ("stride squared", by_block(lambda n, p, s: n // s**2), "pool_size \\* stride .*not stride squared"),
            ("pool_size squared", by_block(lambda n, p, s: n // p**2), "not pool_size squared"),
            ("brackets forgotten", by_block(lambda n, p, s: n // p * s), "or its brackets"),
            ("8 built in", by_block(lambda n, p, s: n // 8), "is 8 built in"),
            ("% for //", by_block(lambda n, p, s: n % (p * s)), "% tells where"),
            ("the opposite", lambda a, b, p, s: not by_divmod(a, b, p, s), "opposite question"),
            ("one off in stride", by_block(lambda n, p, s: n // (p * (s + 1))), "which block is each row in"),
            ("printed, not returned", printed_1, "returns nothing"),
            ("blocks, not True or False", lambda a, b, p, s: (a[0] // (p * s), b[0] // (p * s)), "True or False"),
            ("a distance, not True or False", lambda a, b, p, s: abs(a[0] - b[0]), "True or False"),
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
            ("divided by k*k", lambda w: torch.special.entr(w).sum(1) / w.shape[1], "by the number of taps"),
            ("mean, not divided", lambda w: torch.special.entr(w).mean(1), "by the number of taps"),
            ("softmax of what is a softmax already", softmax_again, "you took a softmax"),
            ("49 built in", forty_nine_built_in, "log\\(49\\) is built in"),
            ("cut off from autograd", detached, "no gradient"),
            ("cut off in part", half_detached, "gradient is not"),
            ("left torch", in_numpy, "return a tensor"),
            ("input changed in place", in_place, "changes the kernels"),
            ("input changed in place, by little", in_place_without_a_trace, "avoid in-place"),
            ("input changed in place, where it is 0", in_place_at_zero, "avoid in-place"),
            ("input changed in place, by nothing", in_place_by_nothing, "avoid in-place"),
            ("divided by log of the heads", log_of(0), "you divided by log\\(heads\\)"),
            ("divided by log of H", log_of(2), "you divided by log\\(H\\)"),
            ("divided by log of W", log_of(-1), "you divided by log\\(W\\)"),
            ("log10 above, log below", decimal_logarithm, "log10"),
            ("the library called", through_the_library, "library's own version"),
            ("the library called in a list", library_inside, "library's own version"),
            ("another measure of width", one_minus_largest, "off by up to"),
        ],
    ),
    "exercise_3": Exercise(
        right=[judge("no", {"B", "D", "E", "G"}), judge("no", ["G", "E", "D", "B"]), judge("no", "BDEG")],
        wrong=[
            ("two masks are enough", judge("yes", {"B", "D", "E", "G"}), "nearer to the truth"),
            ("cherry-picking", judge("no", {"A", "B", "D", "E", "G"}), "A does not help"),
            ("a closer look, or a count", judge("no", {"B", "C", "D", "E", "G"}), "C does not help"),
            (
                "the boundary map enters SGDC",
                judge("no", {"B", "D", "E", "F", "G"}),
                "F does not help: the boundary map never",
            ),
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
