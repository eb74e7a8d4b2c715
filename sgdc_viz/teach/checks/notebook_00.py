"""Checks of notebook 00. Each is given the learner's own function and raises `CheckFailed`, or prints one line."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .errors import CheckFailed, call, passed


def exercise_1(same_pooled_kernel: Callable[[tuple[int, int], tuple[int, int], int, int], bool]) -> None:
    """Do two image pixels share one kernel in a pooled network? Compared with cases worked out by hand.

    Args:
        same_pooled_kernel: (a, b, pool_size, stride) -> bool; a, b: (row, column) in image pixels.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    side = "blocks have pool_size * stride image pixels a side"
    cases = [  # a, b, pool_size, stride, truth, the mistake of those who miss it. The order tells mistakes apart.
        ((0, 0), (3, 3), 8, 2, True, f"{side}, here 16: did you use the stride alone?"),
        ((0, 0), (6, 6), 4, 4, True, f"{side}, here 16: did you forget the stride? pool_size counts feature pixels."),
        ((2, 2), (13, 13), 8, 2, True, "rows 0 to 15 are block 0: did you round to the nearest? // rounds down."),
        ((15, 15), (16, 16), 8, 2, False, "neighbours on two sides of a block's border share no kernel: what counts is "
                                          "the block that a pixel is in, not how far apart they are."),
        ((5, 5), (5, 40), 8, 2, False, "same row, another block: the columns must agree as well."),
        ((5, 5), (40, 5), 8, 2, False, "same column, another block: the rows must agree as well."),
        ((3, 40), (40, 3), 8, 2, False, "compare row with row and column with column."),
        ((3, 40), (9, 47), 8, 2, True, "compare row with row and column with column."),
        ((0, 0), (8, 8), 4, 2, False, f"{side}, here 8: is 16 built in? Use both arguments."),
        ((6, 6), (7, 7), 1, 1, False, "with pool_size=1 and stride=1 every pixel has a kernel of its own."),
    ]  # fmt: skip
    for a, b, pool_size, stride, truth, mistake in cases:
        told = f"a={a}, b={b}, pool_size={pool_size}, stride={stride}"
        answer = call(same_pooled_kernel, a, b, pool_size, stride, told=told)
        if not isinstance(answer, bool | np.bool_):
            raise CheckFailed(f"{told}: the answer must be True or False, got {answer!r}.")
        if bool(answer) is not truth:
            raise CheckFailed(f"{told}: you say {answer}, it is {truth}; {mistake}")
    passed(f"All {len(cases)} pairs of pixels: block = pixel // (pool_size * stride), in both directions.")


def exercise_2(normalised_entropy: Callable[[Tensor], Tensor]) -> None:
    """Entropy of kernels, 0..1. Compared with hand values, with the formula in NumPy and with the formula's derivative.

    Args:
        normalised_entropy: kernels [heads, k*k, H, W], sums over k*k are 1 -> [heads, H, W].

    Raises:
        CheckFailed: naming the likely mistake.
    """
    heads, taps, h, w = 4, 49, 3, 5
    kernels = torch.randn(heads, taps, h, w, generator=torch.Generator().manual_seed(0)).mul(2).softmax(1)
    told = f"for kernels of shape {(heads, taps, h, w)}"
    before = kernels.clone()
    answer = call(normalised_entropy, kernels, told=told)
    if not torch.equal(kernels, before):
        raise CheckFailed("your function changes the kernels it is given: avoid in-place operations (log_, mul_, +=).")
    if not isinstance(answer, Tensor):
        raise CheckFailed(f"return a tensor, got {type(answer).__name__}: stay in torch, without .item() or .numpy().")
    shapes = {
        (taps, h, w): "you added up over the heads: the k*k taps are dimension 1",
        (heads, taps, h, w): "you added up nothing: sum over the k*k taps (dimension 1)",
        (): "you added up everything: sum over the k*k taps (dimension 1) alone",
        (heads, 1, h, w): "the summed dimension is still there: leave out keepdim",
        (h, w): "you averaged over the heads too: give one number for each head",
    }
    if answer.shape != (heads, h, w):
        why = shapes.get(tuple(answer.shape), "sum over the k*k taps (dimension 1) alone")
        raise CheckFailed(f"{told} the answer must have shape {(heads, h, w)}, got {tuple(answer.shape)}: {why}.")

    _uniform(normalised_entropy, taps)
    _delta(normalised_entropy, taps)
    p = before.double().numpy()
    wanted = torch.from_numpy(-(p * np.log(p)).sum(1) / math.log(taps))
    off = (answer.double() - wanted).abs().max().item()
    if not off < 1e-4:
        raise CheckFailed(f"on random kernels your values are off by up to {off:.2g}: -sum(K log K) / log(k*k).")
    _uniform(normalised_entropy, 9)  # a 3 x 3 kernel: is 49 built in?
    _gradient(normalised_entropy, before)
    passed("1 for uniform kernels, 0 for a single tap, the formula's values and gradient in between.")


def _uniform(function: Callable[[Tensor], Tensor], taps: int) -> None:
    value = _first(call(function, torch.full((2, taps, 1, 1), 1 / taps), told=f"uniform kernel of {taps} taps"))
    mistakes = {
        -1.0: "the sign is missing: entropy is *minus* the sum of K log K",
        math.log(taps): "it is not divided by its largest value, log(k*k)",
        math.log2(taps): "it is in bits and not divided by its largest value, log(k*k)",
        -math.log(taps): "the sign is missing, and it is not divided by log(k*k)",
        2.0: "you divided by log(k); a k x k kernel has k*k taps, so divide by log(k*k)",
        1 / math.log(2): "one logarithm is log2, the other log: use the same in both places",
        math.log(taps) / taps: "you averaged over the taps (mean) where the formula adds up",
        1 / taps: "you averaged over the taps (mean) where the formula adds up",
    }  # fmt: skip
    if taps != 49:
        mistakes[math.log(taps) / math.log(49)] = "log(49) is built in: take the number of taps from the shape"
    if math.isclose(value, 1.0, abs_tol=1e-4):
        return
    for wrong, mistake in mistakes.items():
        if math.isclose(value, wrong, abs_tol=1e-4):
            raise CheckFailed(f"a uniform kernel of {taps} taps must give 1, yours gives {value:.3f}: {mistake}.")
    raise CheckFailed(f"a uniform kernel of {taps} taps must give 1, yours gives {value:.3f}.")


def _delta(function: Callable[[Tensor], Tensor], taps: int) -> None:
    one_tap = torch.zeros(2, taps, 1, 1)
    one_tap[:, taps // 2] = 1
    value = _first(call(function, one_tap, told="kernel with all its weight on one tap"))
    if math.isnan(value):
        raise CheckFailed(
            "a kernel with all its weight on one tap must give 0, yours gives NaN: 0 * log(0) is NaN for a computer, "
            "though the limit is 0. Look at torch.special.entr, or keep the logarithm away from 0 with clamp."
        )
    if math.isclose(value, _entropy_of_softmax(one_tap), abs_tol=1e-3):
        raise CheckFailed(
            f"a kernel with all its weight on one tap must give 0, yours gives {value:.3f}: you took a softmax, but "
            "`kernels` already are softmax weights that sum to 1."
        )
    if not abs(value) < 1e-3:
        raise CheckFailed(f"a kernel with all its weight on one tap must give 0, yours gives {value:.3f}.")


def _gradient(function: Callable[[Tensor], Tensor], kernels: Tensor) -> None:
    """Through the softmax that makes kernels, as in the network; by hand: dH/dlogit = -K (log K + H)."""
    logits = kernels.log().requires_grad_()
    answer = function(logits.softmax(1))
    if not answer.requires_grad:
        raise CheckFailed("no gradient flows through your function: leave out .detach(), .item() and no_grad.")
    (gradient,) = torch.autograd.grad(answer.sum(), logits)
    log = kernels.log()
    entropy = -(kernels * log).sum(1, keepdim=True)
    wanted = -kernels * (log + entropy) / math.log(kernels.shape[1])
    if not torch.allclose(gradient, wanted, rtol=1e-3, atol=1e-5):
        raise CheckFailed("the values are right, the gradient is not: is a part of the formula cut off (.detach())?")


def _entropy_of_softmax(kernels: Tensor) -> float:
    p = kernels[0, :, 0, 0].softmax(0)
    return float(-(p * p.log()).sum() / math.log(len(p)))


def _first(answer: Tensor) -> float:
    return float(answer.reshape(-1)[0])


NEEDED = {
    "B": "only truth says which mask is better, and only a border measure sees what guidance is claimed to change",
    "D": "without the same start, data and number of steps, the difference may be luck or training time",
    "E": "the switch changes more than the border (kernels per pixel, not per block): take the guidance away from the "
         "trained network and see whether the gain goes with it",
    "G": "one image and one run are an anecdote: another image or another seed alone moves such numbers",
}  # fmt: skip
USELESS = {
    "A": "choosing the image by its result shows what you chose, not what the network does",
    "C": "a closer look at the same two masks still does not say which one is right",
    "F": "the edge map never enters SGDC: only the guidance does, so a sharp edge map proves nothing about the mask",
    "H": "other networks, other data, other training: their numbers cannot say what this switch does here",
}


def exercise_3(judgement: Callable[[], dict]) -> None:
    """Can two masks alone show that guidance sharpens, and what else is needed?

    Args:
        judgement: () -> {"claim": "yes" or "no", "needed": set of letters A to H}.

    Raises:
        CheckFailed: naming the first letter too many or too few, and why.
    """
    answer = call(judgement)
    if not isinstance(answer, dict) or set(answer) != {"claim", "needed"}:
        raise CheckFailed('return {"claim": "yes" or "no", "needed": {...letters...}}, with these two names.')
    claim, needed = answer["claim"], answer["needed"]
    if claim not in ("yes", "no"):
        raise CheckFailed(f'"claim" is {claim!r}: answer "yes" or "no".')
    if claim == "yes":
        raise CheckFailed(
            '"claim": two masks differ at some pixels, but nothing here says which is nearer to the truth, nor that '
            "another image or another training run would differ the same way."
        )
    if not isinstance(needed, set | frozenset | list | tuple | str) or not {*map(str, needed)} <= {*NEEDED, *USELESS}:
        raise CheckFailed('"needed" must be a set of the letters A to H, such as {"A", "B"}.')
    for letter in sorted(set(needed) & set(USELESS)):
        raise CheckFailed(f"{letter} does not help: {USELESS[letter]}.")
    for letter in sorted(set(NEEDED) - set(needed)):
        raise CheckFailed(f"something is missing: {NEEDED[letter]}.")
    passed("A fair pair, truth and a border measure, more than one image and run, and the guidance taken away.")
