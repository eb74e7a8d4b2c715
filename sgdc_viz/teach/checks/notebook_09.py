"""Checks of notebook 09. Each is given the learner's own function and raises `CheckFailed`, or prints one line."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgdc_viz.nn import SGDC, SGE

from .errors import CheckFailed, call, choose, own_lines, passed


def exercise_1(sgdc_parameters: Callable[[int, int, int, int, int], int]) -> None:
    """Parameters of a block, counted. Compared with real blocks of the library.

    Args:
        sgdc_parameters: (dim, guidance_channels, heads, kernel_size, mlp_ratio) -> int.

    Raises:
        CheckFailed: naming what was forgotten.
    """
    own_lines(sgdc_parameters, "SGDC")
    names = ("dim", "guidance_channels", "heads", "kernel_size", "mlp_ratio")
    # The first sizes are such that different parts have different numbers of parameters: mlp_ratio=4, for example,
    # would give the MLP's first bias as many as two norms have.
    sizes = [(16, 11, 4, 7, 7), (24, 16, 4, 7, 4), (12, 5, 3, 3, 2), (8, 1, 2, 5, 1), (20, 16, 1, 1, 3)]
    usual = {"guidance_channels": 16, "heads": 4, "kernel_size": 7, "mlp_ratio": 4}
    for size in sizes:
        now = dict(zip(names, size, strict=True))
        told = ", ".join(f"{name}={value}" for name, value in now.items())
        answer = call(sgdc_parameters, *size, told=told)
        if isinstance(answer, bool) or not isinstance(answer, int | np.integer):
            raise CheckFailed(f"{told}: the answer must be a whole number, got {answer!r}.")
        block = SGDC(*size)
        truth = _count(block)
        if answer == truth:
            continue
        for name, value in usual.items():
            if now[name] != value and answer == _count(SGDC(**{**now, name: value})):
                raise CheckFailed(f"{told}: your number is right for {name}={value} only; use the argument {name}.")
        raise CheckFailed(f"{told}: the block has {truth} parameters, you count {answer}; {_forgotten(block, answer)}")
    passed("All five settings: two projections, a depthwise convolution, two norms, the MLP and two layer scales.")


def _count(block: SGDC) -> int:
    return sum(p.numel() for p in block.parameters())


def _forgotten(block: SGDC, answer: int) -> str:
    """The part whose absence (or whose other count) explains the difference."""
    count = {name: p.numel() for name, p in block.named_parameters()}
    truth, d, taps = sum(count.values()), block.dim, block.kernel_size**2
    biases = sum(n for name, n in count.items() if name.endswith("bias") and not name.startswith("norm"))
    m = block.mlp[0].out_channels
    attn = count["attn.bias"]
    off = {  # what is missing from the answer -> the mistake
        d: "dim too few: the bias of dwconv, of proj_guidance or of the MLP's second layer, or one of ls1 and ls2?",
        2 * d: "2 * dim too few: the two layer scales (ls1 and ls2, one number a channel each), or one of the norms?",
        4 * d: "4 * dim too few: the two norms are missing (a scale and a shift a channel, each)?",
        6 * d: "6 * dim too few: norms (scale and shift, two of them) and layer scales (two) are missing?",
        biases: "the biases are missing: every convolution here has one number an output channel more.",
        attn: "the bias of attn is missing: one number for each of its 2 * dim + heads * k * k output channels.",
        m: "the bias of the MLP's first layer is missing: one number for each of its m output channels.",
        m + d: "the two biases of the MLP are missing: m and dim numbers.",
        d * d + d: "there are two gates, one for each branch: a1 and a2 have dim channels each.",
        -(d * d + d): "a 1 x 1 convolution from dim to dim too many: there are two gates, and two layers in the MLP.",
        (d + 1) * block.heads * (taps - block.kernel_size): "a k x k kernel has k * k weights, not k.",
        (d + 1) * (block.heads - 1) * taps: "each head has a kernel of its own: the heads are not counted.",
        9 * d + d - (9 * d * d + d): "the 3 x 3 convolution is depthwise: 9 weights a channel, not for each pair.",
        9 * d: "the 9 weights a channel of the depthwise 3 x 3 convolution are missing.",
        9 * d - taps * d: "dwconv is 3 x 3 whatever kernel_size is: 9 weights a channel, not k * k.",
        count["proj_guidance.weight"] + d: "the projection of the guidance is missing.",
        d * m + m + m * d + d: "the MLP is missing.",
        d * m + d: "the MLP has two layers: up to mlp_ratio * dim channels, and back.",
        -(m * m + m): "the MLP has two layers, dim -> m -> dim: you count a third.",
        2 * d * m - 2 * d * d + m - d: "the MLP is wider inside: mlp_ratio * dim channels.",
        10 * d: "the depthwise 3 x 3 convolution is missing.",
    }  # fmt: skip
    missing = truth - answer
    more = f"that is {abs(missing)} too {'few' if missing > 0 else 'many'}; write down each part with its shape, "
    return off.get(missing, more + "print(SGDC(16)) lists them.")


def exercise_3(object_recall: Callable[[np.ndarray, np.ndarray], float]) -> None:
    """Share of the true objects that were found. Compared with small pictures counted by hand.

    Args:
        object_recall: (mask bool [H, W], instances int [H, W]) -> float; NaN without an object.

    Raises:
        CheckFailed: naming the likely mistake.
    """
    own_lines(object_recall, "object_recall")
    objects = np.zeros((6, 9), np.int64)
    objects[0:2, 0:2], objects[0:2, 2:4], objects[3:6, 0:9] = 1, 2, 7  # 4 pixels, 4 beside them, 27; numbers with gaps
    blank = np.zeros(objects.shape, bool)
    large, half, both = blank.copy(), blank.copy(), blank.copy()
    large[3:6] = True  # only the large object
    half[0, 0:2] = half[3:6, 0:4] = True  # half of object 1 (counts), 12 of 27 pixels of object 7 (do not)
    both[0:2, 0:4] = True  # objects 1 and 2, which touch: one blob in the mask
    before = objects.copy()
    cases = [  # mask, instances, truth, what it is, the mistake of those who miss it, or {wrong value: mistake}
        (large, objects, 1 / 3, "one of three objects is covered whole", {
            27 / 35: "you counted pixels: each object counts once, however large it is.",
            1 / 4: "the background (0) is no object.",
            1 / 2: "touching objects are two: use their numbers, not connected parts.",
            1 / 7: "the numbers may have gaps: count the objects, do not take the largest number.",
            1.0: "divide by the number of true objects, not by what was predicted.",
        }),
        (both, objects, 2 / 3, "two touching objects are covered, the third is not", {
            1 / 2: "touching objects are two: use their numbers, not the connected parts of a mask.",
            1 / 3: "touching objects are two: use their numbers, not the connected parts of the mask.",
            3 / 4: "the background (0) is no object.",
        }),
        (~blank, objects, 1.0, "the mask covers everything", dict.fromkeys((0.0, 1 / 3), "you divide by the union: "
            "what is marked beyond an object does not count against it here; divide by the object's own pixels.")),
        (half, objects, 1 / 3, "object 1 is covered to exactly one half, object 7 to less", {
            0.0: "exactly one half is enough: at least, >=.",
            2 / 3: "one pixel is not enough: at least half of the object's pixels must be in the mask.",
            (1 / 2 + 12 / 27) / 3: "that is the mean covered share: ask of each object whether at least half is "
            "covered, then take the share of those.",
        }),
        (blank, objects, 0.0, "the mask is empty", {}),
        (large, objects.astype(np.uint8), 1 / 3, "the numbers are uint8", {}),
        (large[:, :5], objects[:, :5] > 3, 1.0, "a single object, given as True and False", {}),
    ]  # fmt: skip
    answers = [
        _real(call(object_recall, mask.copy(), instances, told=told), told) for mask, instances, _, told, _ in cases
    ]
    if len({*answers}) == 1:
        raise CheckFailed(f"{answers[0]:.3g} for every picture: compute it from the mask and the object numbers.")
    for answer, (_, _, truth, told, mistakes) in zip(answers, cases, strict=True):
        if not (math.isfinite(answer) and abs(answer - truth) < 1e-6):
            why = next((m for value, m in mistakes.items() if abs(answer - value) < 1e-6), "")
            why = "do not round" if abs(answer - truth) < 0.01 else why
            raise CheckFailed(f"{told}: recall is {truth:.6g}, yours is {answer:.6g}{why and '; ' + why}")
    if not np.array_equal(objects, before):
        raise CheckFailed("your function changes the object numbers that it is given: work on a copy.")
    told = "there is no object"
    answer = _real(call(object_recall, large, np.zeros_like(objects), told=told), told)
    if not math.isnan(answer):
        raise CheckFailed(f"{told}: nothing can be found, so recall is undefined (NaN); yours is {answer:.3f}.")
    passed("Touching, large, half covered, none: each object counts once, and without objects it is undefined.")


def _real(answer: object, told: str) -> float:
    if isinstance(answer, bool) or not isinstance(answer, int | float | np.floating | np.integer):
        raise CheckFailed(f"{told}: return one number, got {type(answer).__name__}.")
    return float(answer)


def exercise_2(guided_stage: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """Wiring boundary branch and block into a network. Compared with the same modules called by hand, and by gradients.

    Args:
        guided_stage: (boundary, join, block, deep, shallow) -> (features, edge_logits).

    Raises:
        CheckFailed: naming the wire that is wrong.
    """
    own_lines(guided_stage, "guided_stage")
    for channels, size, smaller in ((8, (10, 12), (5, 6)), (8, (9, 14), (3, 5))):
        boundary, join, block, deep, shallow = _parts(channels, size, smaller)
        answer = call(guided_stage, boundary, join, block, deep, shallow, told=f"deep {smaller}, shallow {size}")
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise CheckFailed(
                "return two things, the block's output and the boundary logits: return features, edge_logits."
            )
        features, edge_logits = answer
        for name, value in (("features", features), ("edge_logits", edge_logits)):
            if not isinstance(value, Tensor):
                raise CheckFailed(f"{name} must be a tensor, got {type(value).__name__}.")
        wanted, wanted_edges = _wired(boundary, join, block, deep, shallow)
        if features.shape == wanted_edges.shape and edge_logits.shape == wanted.shape and channels != 1:
            raise CheckFailed("the two results are swapped: return features first, then edge_logits.")
        _edges(edge_logits, wanted_edges, boundary, deep, shallow)
        _features(features, wanted, (boundary, join, block, deep, shallow))
        _wires(features, boundary, deep, shallow)
    passed("Guidance reaches the block, boundary logits come out, and gradients flow back into both levels.")


def _parts(channels: int, size: tuple[int, int], smaller: tuple[int, int]) -> tuple:
    """As many channels deep as shallow, one guidance channel: so a swapped wire fits, and only its values are wrong."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        boundary = SGE(channels, channels, mid_channels=8, guidance_channels=1).eval()
        join = nn.Conv2d(2 * channels, channels, 1)
        block = SGDC(channels, guidance_channels=1, heads=2, kernel_size=3, layer_scale_init=1.0).eval()
        with torch.no_grad():
            boundary.out_guidance.weight.mul_(8)  # guidance far from 0, so that what is done to it shows
        deep, shallow = torch.randn(2, channels, *smaller), torch.randn(2, channels, *size)
    return boundary, join, block, deep.requires_grad_(), shallow.requires_grad_()


def _up(x: Tensor, size: tuple[int, int], mode: str = "bilinear", **more) -> Tensor:
    return F.interpolate(x, size=size, mode=mode, **more)


def _wired(boundary, join, block, deep, shallow) -> tuple[Tensor, Tensor]:
    edge_logits, guidance = boundary(deep, shallow)
    up = _up(deep, shallow.shape[-2:])
    return block(join(torch.cat([up, shallow], 1)), guidance), edge_logits


def _near(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, atol=1e-5)


def _edges(answer: Tensor, wanted: Tensor, boundary: SGE, deep: Tensor, shallow: Tensor) -> None:
    if _near(answer, wanted):
        return
    if _near(answer, wanted.sigmoid()):
        raise CheckFailed("edge_logits are probabilities already: leave the sigmoid to the loss, return logits.")
    if _near(answer, boundary(deep, shallow)[1]):
        raise CheckFailed("you return the guidance as edge_logits: the boundary branch gives (edge_logits, guidance).")
    if answer.shape == wanted.shape and _near(answer, boundary(shallow, deep)[0]):
        raise CheckFailed("deep and shallow are swapped: boundary(deep, shallow).")
    if answer.shape[-2:] != wanted.shape[-2:]:
        raise CheckFailed(
            f"edge_logits are {tuple(answer.shape[-2:])}, should be {tuple(wanted.shape[-2:])}, the shallow size: "
            "are deep and shallow swapped in boundary(deep, shallow)?"
        )
    raise CheckFailed("edge_logits are not what boundary(deep, shallow) gives first.")


def _features(answer: Tensor, wanted: Tensor, parts: tuple) -> None:
    if _near(answer, wanted):
        return
    boundary, join, block, deep, shallow = parts
    edge_logits, guidance = boundary(deep, shallow)
    size = shallow.shape[-2:]
    up = _up(deep, size)
    joined = join(torch.cat([up, shallow], 1))
    others = {
        "the boundary logits do not enter the block: give it the guidance.": lambda: block(joined, edge_logits),
        "the guidance enters as it is: no sigmoid (the block has its own).": lambda: block(joined, guidance.sigmoid()),
        "the guidance is set to 0 on its way to the block.": lambda: block(joined, torch.zeros_like(guidance)),
        "the block is missing: this is what join gives.": lambda: joined,
        "join comes first the deep features, then the shallow ones: torch.cat([up, shallow], 1).": lambda: block(
            join(torch.cat([shallow, up], 1)), guidance
        ),
        "make the deep features larger with mode='bilinear' (you took the nearest pixel).": lambda: block(
            join(torch.cat([_up(deep, size, "nearest"), shallow], 1)), guidance
        ),
        "make the deep features larger without align_corners=True.": lambda: block(
            join(torch.cat([_up(deep, size, align_corners=True), shallow], 1)), guidance
        ),
        "deep and shallow are swapped in boundary(deep, shallow).": lambda: block(joined, boundary(shallow, deep)[1]),
        "join is missing or its result is added twice: block(join(...), guidance).": lambda: joined + wanted,
    }
    for mistake, other in others.items():
        if _near(answer, other()):
            raise CheckFailed(mistake)
    if answer.shape != wanted.shape:
        raise CheckFailed(
            f"features are {tuple(answer.shape)}, should be {tuple(wanted.shape)}: shallow size, block's channels."
        )
    raise CheckFailed("the features are not block(join([up, shallow]), guidance): follow the four arrows one by one.")


def _wires(features: Tensor, boundary: SGE, deep: Tensor, shallow: Tensor) -> None:
    """What the block's output depends on."""
    if not features.requires_grad:
        raise CheckFailed("no gradient flows through your function: leave out .detach() and no_grad.")
    wanted = {"guidance": boundary.out_guidance.weight, "deep": deep, "shallow": shallow}
    found = torch.autograd.grad(features.square().sum(), list(wanted.values()), allow_unused=True, retain_graph=True)
    for name, gradient in zip(wanted, found, strict=True):
        if gradient is None or not gradient.abs().sum() > 0:
            raise CheckFailed(f"no gradient reaches the {name}: is it detached on its way?")


NEEDED = {
    "A": "a measure chosen after the results were seen can always be found that agrees with them",
    "C": "one training run each cannot tell the switch from luck: several seeds, in pairs",
    "D": "without a control nobody knows whether it is the guidance or being made per pixel",
    "F": "found objects alone reward a network that marks everything: count what is marked wrongly too",
    "H": "a result that is left out because it is undecided makes the rest look better than it is",
}  # fmt: skip
USELESS = {
    "B": "the best of five is compared with an average: choose the same way on both sides, or do not choose",
    "E": "what was tuned on the test images has seen them: tune on validation images",
    "G": "two things would differ at once: the larger network may win by its size alone",
}  # fmt: skip


def exercise_4(plan: Callable[[], set[str]]) -> None:
    """Which parts belong into a plan that can test "guidance helps to find small objects".

    Args:
        plan: () -> set of letters A to H.

    Raises:
        CheckFailed: naming the first letter too many or too few, and why.
    """
    answer = call(plan)
    choose(answer, NEEDED, USELESS, ("{letter} spoils the test", "something is missing"))
    passed("Measure first, pairs of seeds, a control, both kinds of error, and every result told.")
