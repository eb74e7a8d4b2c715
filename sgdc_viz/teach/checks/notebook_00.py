"""Checks of notebook 00. Each is given the learner's own function and raises `CheckFailed`, or prints one line."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .errors import CheckFailed, call, choose, own_lines, passed

Pixels = tuple[int, int]
BlockRule = Callable[[Pixels, Pixels, int, int], bool]

# --- exercise 1: which pixels share a kernel -------------------------------------------------------------------------

SIDE = "a block has pool_size * stride image pixels a side"
DISTANCE = "what counts is the block that a pixel is in, not how far apart two pixels are"
EXACT = "(0, 0) and (3, 3) lie in block 0: count from 0, use //, do not compare exact positions"
ROUNDED = "rows 0 to side - 1 are block 0: // rounds down, round does not"
SAME_NUMBER = "two blocks got the same number: compare rows and columns separately"


def _both(block: Callable[[int, int, int], float]) -> BlockRule:
    """Rows and columns compared by one rule: (pixel, pool_size, stride) -> what must be equal."""
    return lambda a, b, p, s: all(block(m, p, s) == block(n, p, s) for m, n in zip(a, b, strict=True))


BLOCK_MISTAKES: list[tuple[str, BlockRule]] = [
    (f"{SIDE}: did you use the stride alone?", _both(lambda n, p, s: n // s)),
    (f"{SIDE}: did you forget the stride, or its brackets, n // (pool_size * stride)? pool_size counts feature pixels",
     _both(lambda n, p, s: n // p)),
    (f"{SIDE}, not pool_size + stride", _both(lambda n, p, s: n // (p + s))),
    (f"{SIDE}, not stride squared", _both(lambda n, p, s: n // s**2)),
    (f"{SIDE}, not pool_size squared", _both(lambda n, p, s: n // p**2)),
    (f"{SIDE}: is 16 built in? Use both arguments", _both(lambda n, p, s: n // 16)),
    (f"{SIDE}: is 8 built in? Use both arguments", _both(lambda n, p, s: n // 8)),
    (ROUNDED, _both(lambda n, p, s: round(n / (p * s)))),
    (EXACT, _both(lambda n, p, s: (n - 1) // (p * s))),  # math.ceil(n / side) is the same, plus 1
    (EXACT, _both(lambda n, p, s: (n + 1) // (p * s))),
    (EXACT, _both(lambda n, p, s: n / (p * s))),
    ("% tells where in its block a pixel lies; // tells in which block", _both(lambda n, p, s: n % (p * s))),
    (DISTANCE, lambda a, b, p, s: max(abs(m - n) for m, n in zip(a, b, strict=True)) < p * s),
    (DISTANCE, lambda a, b, p, s: max(abs(m - n) for m, n in zip(a, b, strict=True)) <= p * s),
    (DISTANCE, lambda a, b, p, s: math.dist(a, b) < p * s),
    ("the columns must agree as well", lambda a, b, p, s: a[0] // (p * s) == b[0] // (p * s)),
    ("the rows must agree as well", lambda a, b, p, s: a[1] // (p * s) == b[1] // (p * s)),
    ("one direction is not enough, rows *and* columns must agree as well",
     lambda a, b, p, s: any(m // (p * s) == n // (p * s) for m, n in zip(a, b, strict=True))),
    ("compare row with row and column with column",
     lambda a, b, p, s: all(m // (p * s) == n // (p * s) for m, n in zip(a, b[::-1], strict=True))),
    ("your answer is True for every pair", lambda a, b, p, s: True),
    (f"your answer is False for every pair; {EXACT}", lambda a, b, p, s: False),
    ("you answer the opposite question: True if they share a kernel",
     lambda a, b, p, s: not _share(a, b, p, s)),
]  # fmt: skip


def _share(a: Pixels, b: Pixels, pool_size: int, stride: int) -> bool:
    """The reference, another way: both pixels moved to the upper left corner of their block."""
    side = pool_size * stride
    return all(m - m % side == n - n % side for m, n in zip(a, b, strict=True))


HAND = [  # a, b, pool_size, stride, truth: worked out on paper
    ((0, 0), (3, 3), 8, 2, True),
    ((0, 0), (6, 6), 4, 4, True),
    ((2, 2), (13, 13), 8, 2, True),
    ((15, 15), (16, 16), 8, 2, False),
    ((5, 5), (5, 40), 8, 2, False),
    ((5, 5), (40, 5), 8, 2, False),
    ((3, 40), (40, 3), 8, 2, False),
    ((3, 40), (9, 47), 8, 2, True),
    ((0, 0), (8, 8), 4, 2, False),
    ((6, 6), (7, 7), 1, 1, False),
]


def _numbered() -> list[tuple[Pixels, Pixels, int, int, bool]]:
    """Pairs that get one number from row block * n + column block (or the reverse), for every likely n."""
    cases = []
    for pool_size, stride in ((8, 2), (4, 4), (2, 1)):
        side = pool_size * stride
        for n in (*range(1, 70), 100, 128, 256, 512, 1000, 1024):
            cases += [((0, n * side), (side, 0), pool_size, stride, False),
                      ((n * side, 0), (0, side), pool_size, stride, False)]  # fmt: skip
    return cases


def _drawn(count: int = 300) -> list[tuple[Pixels, Pixels, int, int, bool]]:
    """Random pairs, half of them near each other."""
    draw, cases = random.Random(0), []
    for i in range(count):
        pool_size, stride = draw.choice((1, 2, 3, 4, 8)), draw.choice((1, 2, 4, 8))
        a = draw.randrange(512), draw.randrange(512)
        reach = pool_size * stride if i % 2 else 512
        b = tuple(max(0, n + draw.randint(-reach, reach)) for n in a)
        cases.append((a, b, pool_size, stride, _share(a, b, pool_size, stride)))
    return cases


def exercise_1(same_pooled_kernel: BlockRule) -> None:
    """Do two image pixels share one kernel in a pooled network? Compared with cases worked out by hand, with pairs
    that a single number for each block confuses, and with random pairs.

    Args:
        same_pooled_kernel: (a, b, pool_size, stride) -> bool; a, b: (row, column) in image pixels.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    drawn = _drawn()
    cases, answers = [*HAND, *drawn, *_numbered()], []
    for a, b, pool_size, stride, _ in cases:
        told = f"a={a}, b={b}, pool_size={pool_size}, stride={stride}"
        answer = call(same_pooled_kernel, a, b, pool_size, stride, told=told)
        if not isinstance(answer, bool | np.bool_ | int | np.integer) or answer not in (0, 1):
            raise CheckFailed(f"{told}: the answer must be True or False, got {answer!r}.")
        answers.append(bool(answer))
    wrong = [i for i, case in enumerate(cases) if answers[i] is not case[-1]]
    if wrong:
        *given, truth = cases[wrong[0]]
        why = SAME_NUMBER if wrong[0] >= len(HAND) + len(drawn) else (
            f"{SIDE}: which block is each row in, and which each column? Rows *and* columns must agree")  # fmt: skip
        for mistake, rule in BLOCK_MISTAKES:
            if all(answer is rule(*case[:-1]) for case, answer in zip(cases, answers, strict=True)):
                why = mistake
                break
        a, b, pool_size, stride = given
        raise CheckFailed(f"a={a}, b={b}, pool_size={pool_size}, stride={stride}: you say {not truth}, it is {truth}; "
                          f"{why}.")  # fmt: skip
    passed("By hand and at random, all pairs of pixels: block = pixel // (pool_size * stride), in both directions.")


# --- exercise 2: normalised entropy ----------------------------------------------------------------------------------


def exercise_2(normalised_entropy: Callable[[Tensor], Tensor]) -> None:
    """Entropy of kernels, 0..1. Compared with hand values, with the formula in NumPy and with the formula's derivative.

    Args:
        normalised_entropy: kernels [heads, k*k, H, W], sums over k*k are 1 -> [heads, H, W].

    Raises:
        CheckFailed: naming the likely mistake.
    """
    own_lines(normalised_entropy, "kernel_entropy")
    heads, taps, h, w = 4, 49, 3, 5
    kernels = torch.randn(heads, taps, h, w, generator=torch.Generator().manual_seed(0)).mul(2).softmax(1)
    told = f"for kernels of shape {(heads, taps, h, w)}"
    before = kernels.clone()
    answer = _unchanged(normalised_entropy, kernels, told)
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


IN_PLACE = "your function changes the kernels it is given: avoid in-place operations (clamp_, log_, mul_, +=)."


def _unchanged(function: Callable[[Tensor], Tensor], kernels: Tensor, told: str) -> Tensor:
    """Its answer, if the kernels are afterwards what they were."""
    before = kernels.clone()
    answer = call(function, kernels, told=told)
    if not torch.equal(kernels, before):
        raise CheckFailed(IN_PLACE)
    return answer


def _uniform(function: Callable[[Tensor], Tensor], taps: int) -> None:
    heads, h, w = 3, 5, 6  # no two sizes alike: the value tells which one was taken for the taps
    kernels = torch.full((heads, taps, h, w), 1 / taps)
    value = _first(_unchanged(function, kernels, f"uniform kernel of {taps} taps"))
    mistakes = {
        -1.0: "the sign is missing: entropy is *minus* the sum of K log K",
        math.log(taps): "it is not divided by its largest value, log(k*k)",
        math.log2(taps): "it is in bits and not divided by its largest value, log(k*k)",
        -math.log(taps): "the sign is missing, and it is not divided by log(k*k)",
        2.0: "you divided by log(k); a k x k kernel has k*k taps, so divide by log(k*k)",
        1 / math.log(2): "one logarithm is log2, the other log: use the same in both places",
        1 / math.log(10): "one logarithm is log10, the other log: use the same in both places",
        math.log(taps) / math.log(heads): "you divided by log(heads): the taps are dimension 1, kernels.shape[1]",
        math.log(taps) / math.log(h): "you divided by log(H): the taps are dimension 1, kernels.shape[1]",
        math.log(taps) / math.log(w): "you divided by log(W): the taps are dimension 1, kernels.shape[1]",
        math.log(taps) / taps: "you divided by the number of taps (mean does that too): divide the sum by log(k*k)",
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
    value = _first(_unchanged(function, one_tap, "kernel with all its weight on one tap"))
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
    given = logits.softmax(1)
    try:
        answer = function(given)
    except RuntimeError as error:  # such as .numpy() of a tensor that needs a gradient
        raise CheckFailed(f"with requires_grad your function stops: {str(error).splitlines()[0]}") from None
    if given._version:  # counts what was done in place, though no value may have changed
        raise CheckFailed(IN_PLACE)
    if not answer.requires_grad:
        raise CheckFailed("no gradient flows through your function: leave out .detach(), .item() and no_grad.")
    try:
        (gradient,) = torch.autograd.grad(answer.sum(), logits)
    except RuntimeError as error:
        raise CheckFailed(f"backward stops: {str(error).splitlines()[0]}") from None
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


# --- exercise 3: judgement -------------------------------------------------------------------------------------------

NEEDED = {
    "B": "only truth says what was found rightly and what wrongly, and guidance is claimed to act at the border",
    "D": "without the same start, data and number of steps, the difference may be luck or training time",
    "E": "the switch changes more than guidance (kernels per pixel, not per block): take the guidance away from the "
         "trained network and see whether the gain goes with it",
    "G": "one image and one run are an anecdote: another image or another seed alone moves such numbers",
}  # fmt: skip
USELESS = {
    "A": "choosing the image by its result shows what you chose, not what the network does",
    "C": "a closer look at the same two masks, or a count of what they find, still does not say what is found rightly",
    "F": "the boundary map never enters SGDC: only the guidance does, so what the map shows proves nothing about "
         "the mask",
    "H": "other networks, other data, other training: their numbers cannot say what this switch does here",
}  # fmt: skip


def exercise_3(judgement: Callable[[], dict]) -> None:
    """Can two masks alone show that guidance works, and what else is needed?

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
            '"claim": one mask finds more, but nothing here says whether it is nearer to the truth: more may be found '
            "wrongly. Nor that another image or another training run would differ the same way."
        )
    choose(needed, NEEDED, USELESS, ("{letter} does not help", "something is missing"), "needed")
    passed("A fair pair, truth and measures, more than one image and run, and the guidance taken away.")
