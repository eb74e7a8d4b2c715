"""Checks of notebook 04, "The SGDC block". The references are written out tap by tap, without `sgdc_viz.nn`'s operator.

Most messages come from a list of mistakes: the check computes what each mistake would give, and looks which one the
answer is equal to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sgdc_viz.nn import SGDC

from .errors import CheckFailed, call, own_lines, passed

CLOSE = dict(rtol=1e-4, atol=1e-5)
CUT_OFF = "no gradient flows through your function: leave out .detach(), .data, .item(), .numpy() and no_grad."
NOT_REACHED = "the values are right, but no gradient reaches {}: leave out .detach(), .data and copies."
Mistakes = Iterable[tuple[str, Tensor]]


# --- exercise 1 ------------------------------------------------------------------------------------------------------


def exercise_1(split_attn: Callable[[Tensor, int, int], tuple[Tensor, Tensor, Tensor]]) -> None:
    """Channels of the 1x1 convolution -> gate logits and kernels. Compared with indices written out one by one.

    Args:
        split_attn: (mixed [B, 2*dim + heads*k*k, H, W], dim, heads) -> a_static, a_dynamic [B, dim, H, W], kernels
            [B, heads, k*k, H, W].

    Raises:
        CheckFailed: naming the likely mistake.
    """
    # batch, dim, heads, k*k, height, width
    for case in ((2, 6, 3, 9, 4, 5), (2, 8, 2, 25, 3, 3), (1, 24, 4, 49, 1, 1), (3, 4, 1, 9, 2, 6)):
        _split_case(split_attn, *case)
    huge = _random(1, 2 * 4 + 2 * 9, 2, 2, seed=5).mul(1e3)
    *_, kernels = call(split_attn, huge, 4, 2, told="logits of about 1000")
    if not kernels.isfinite().all():
        raise CheckFailed("logits of about 1000 give NaN: exp() overflows; torch.softmax takes the largest off first.")
    _split_gradient(split_attn)
    passed("Gate logits first, then one group of k*k logits per head, with a softmax over the taps of each.")


def _split_case(function: Callable, batch: int, dim: int, heads: int, taps: int, height: int, width: int) -> None:
    mixed = _random(batch, 2 * dim + heads * taps, height, width, seed=batch + dim)
    told = f"with dim={dim}, heads={heads} and mixed of shape {tuple(mixed.shape)}"
    answer = _untouched(function, (mixed, dim, heads), told, ("mixed",), {
        "size": "Are numbers built in? dim and heads are arguments, and k*k follows from the shape of mixed.",
    })  # fmt: skip
    if not isinstance(answer, tuple | list) or len(answer) != 3 or not all(isinstance(a, Tensor) for a in answer):
        raise CheckFailed("return three tensors: a_static, a_dynamic, kernels.")
    gates, logits = mixed[:, : 2 * dim], mixed[:, 2 * dim :]
    own = [gates[:, :dim], gates[:, dim:]]
    by_head = logits.unflatten(1, (heads, taps))

    k = math.isqrt(taps)
    _shape("kernels", answer[2], (batch, heads, taps, height, width), told, {
        (batch, taps, heads, height, width): "heads and taps are exchanged: the heads come first",
        (batch, heads * taps, height, width): "the heads are not apart yet: give them a dimension of their own",
        (batch, heads, k, k, height, width): "keep the k*k taps in one dimension",
        (batch, dim, height, width): "is this a gate? Return a_static, a_dynamic, kernels, in this order",
        (heads, taps, height, width): "the batch is gone",
    })  # fmt: skip
    for i, name in enumerate(("a_static", "a_dynamic")):
        _shape(name, answer[i], (batch, dim, height, width), told, {
            (batch, 1, height, width): "a gate has one logit per pixel *and* channel",
            (batch, heads, taps, height, width): "are these the kernels? Return a_static, a_dynamic, kernels",
            (batch, heads * taps, height, width): "are these the kernel logits? Return a_static, a_dynamic, kernels",
        })  # fmt: skip
        other, last = own[1 - i], mixed[:, -2 * dim :][:, i * dim : (i + 1) * dim]
        before = "the gate logits are the first 2*dim channels, before the kernel logits"
        _equal(name, answer[i], own[i], told, [
            ("the two gates are exchanged: the first dim channels are a_static", other),
            (before, last),
            (before, mixed[:, -dim:]),
            ("this is the gate after its sigmoid; return the logits a, the sigmoid comes in exercise 2",
             own[i].sigmoid()),
            ("the gates are exchanged, and return the logits a: the sigmoid comes in exercise 2", other.sigmoid()),
            ("every second channel? The split is into contiguous parts, not interleaved", gates[:, i::2]),
        ])  # fmt: skip

    first = mixed[:, : heads * taps].unflatten(1, (heads, taps))
    middle = mixed[:, dim : dim + heads * taps].unflatten(1, (heads, taps))
    mixed_up = logits.unflatten(1, (taps, heads)).transpose(1, 2)
    taps_only = "; it must be over the k*k taps"
    _equal("kernels", answer[2], _softmax_over_taps(logits, heads), told, [
        ("the softmax is missing: these are logits", by_head),
        ("a sigmoid looks at each tap alone; use a softmax, so that the taps of a kernel sum to 1", by_head.sigmoid()),
        ("this is the logarithm of the softmax: use softmax, not log_softmax", by_head.log_softmax(2)),
        ("the softmax is over the heads" + taps_only, by_head.softmax(1)),
        ("the softmax is over the rows of the image" + taps_only, by_head.softmax(3)),
        ("the softmax is over the columns of the image" + taps_only, by_head.softmax(4)),
        ("the softmax is over the pixels" + taps_only, by_head.flatten(3).softmax(3).view_as(by_head)),
        ("the softmax is over the batch" + taps_only, by_head.softmax(0)),
        ("the softmax is over heads and taps together: give the heads a dimension of their own first, so that each "
         "head's kernel sums to 1", logits.softmax(1).unflatten(1, (heads, taps))),
        ("the softmax is over everything" + taps_only, by_head.flatten().softmax(0).view_as(by_head)),
        ("the softmax is over all channels, gates included" + taps_only,
         mixed.softmax(1)[:, 2 * dim :].unflatten(1, (heads, taps))),
        ("heads are interleaved: channel 2*dim + h*k*k + q belongs to head h, tap q, so unflatten into (heads, k*k)",
         mixed_up.softmax(2)),
        ("heads are interleaved, and the softmax is over the heads: unflatten into (heads, k*k), softmax over the taps",
         mixed_up.softmax(1)),
        ("the kernel logits are the *last* heads*k*k channels, after both gates", first.softmax(2)),
        ("the kernel logits are the *last* heads*k*k channels; you took those between the gates", middle.softmax(2)),
        ("the softmax was taken twice", by_head.softmax(2).softmax(2)),
        ("the softmax of attention in transformers divides by a root first; here nothing is divided",
         (by_head / math.sqrt(taps)).softmax(2)),
        ("the softmax of attention in transformers divides by a root first; here nothing is divided",
         (by_head / math.sqrt(dim)).softmax(2)),
        ("the exponentials are not divided by their sum", by_head.exp()),
        ("the logits are divided by their sum, without the exponential", by_head / by_head.sum(2, keepdim=True)),
        ("the sign is wrong: the largest logit must get the largest weight", (-by_head).softmax(2)),
    ])  # fmt: skip


def _softmax_over_taps(logits: Tensor, heads: int) -> Tensor:
    """[B, heads*k*k, H, W] -> [B, heads, k*k, H, W], each kernel made from its own channels, by index."""
    taps = logits.shape[1] // heads
    kernels = []
    for h in range(heads):
        e = torch.stack([logits[:, h * taps + q].double() for q in range(taps)], 1).exp()
        kernels.append(e / e.sum(1, keepdim=True))
    return torch.stack(kernels, 1).float()


def _split_gradient(function: Callable) -> None:
    """Of sum(weights * parts): the weights themselves for the gates; K (w - sum K w) for the kernels."""
    dim, heads, taps = 4, 2, 9
    mixed = _random(1, 2 * dim + heads * taps, 2, 3, seed=9).requires_grad_()
    a, b, kernels = function(mixed, dim, heads)
    weights = [_random(*part.shape, seed=11 + i) for i, part in enumerate((a, b, kernels))]
    if not all(part.requires_grad for part in (a, b, kernels)):
        raise CheckFailed(CUT_OFF)
    sum_of = sum((part * w).sum() for part, w in zip((a, b, kernels), weights, strict=True))
    (gradient,) = torch.autograd.grad(sum_of, mixed)
    k = _softmax_over_taps(mixed.detach()[:, 2 * dim :], heads)
    inner = k * (weights[2] - (k * weights[2]).sum(2, keepdim=True))
    wanted = torch.cat([weights[0], weights[1], inner.flatten(1, 2)], 1)
    if not torch.allclose(gradient, wanted, **CLOSE):
        raise CheckFailed("the values are right, the gradient is not: is a part of the formula cut off (.detach())?")


# --- exercise 2 ------------------------------------------------------------------------------------------------------


def exercise_2(static_branch: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
    """The static branch. Compared with the convolution written out tap by tap.

    Args:
        static_branch: (x [B, C, H, W], a_static [B, C, H, W], weight [C, 1, 3, 3], bias [C]) -> s [B, C, H, W].

    Raises:
        CheckFailed: naming the likely mistake.
    """
    for batch, channels, height, width in ((2, 5, 6, 5), (1, 1, 4, 7), (3, 6, 1, 1), (1, 8, 2, 9)):
        x, a = (_random(batch, channels, height, width, seed=i + channels) for i in (0, 20))
        weight, bias = _random(channels, 1, 3, 3, seed=40 + channels), _random(channels, seed=60 + channels)
        told = f"for x of shape {tuple(x.shape)}"
        names = ("x", "a_static", "weight", "bias")
        answer = _untouched(static_branch, (x, a, weight, bias), told, names, {
            "group": "A depthwise convolution has one filter per channel: groups must be the number of channels.",
        })  # fmt: skip
        _shape("s", answer, (batch, channels, height, width), told, {
            (batch, channels, height - 2, width - 2): "the padding is missing: padding=1 keeps the size",
            (batch, channels, height + 2, width + 2): "the padding is too large: 1 is enough for a 3 x 3 kernel",
            (batch, 1, height, width): "one filter for each channel, and one result for each (groups = channels)",
        })  # fmt: skip
        _equal("s", answer, _static(x, a.sigmoid(), weight, bias), told, _static_mistakes(x, a, weight, bias))

    x, a = (_random(1, 4, 3, 4, seed=i).requires_grad_() for i in (3, 4))
    weight, bias = (_random(4, 1, 3, 3, seed=5).requires_grad_(), _random(4, seed=6).requires_grad_())
    inputs = dict(x=x, a_static=a, weight=weight, bias=bias)
    _same_gradients(static_branch(x, a, weight, bias), _static(x, a.sigmoid(), weight, bias), inputs)
    passed("The gate multiplies each pixel and channel, then the 3 x 3 depthwise convolution runs over the result.")


def _static(
    x: Tensor, gate: Tensor, weight: Tensor, bias: Tensor, pad: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """sum over the nine taps of weight * (x * gate at the neighbour) + bias."""
    padded = pad(x * gate) if pad else F.pad(x * gate, (1, 1, 1, 1))
    height, width = x.shape[-2:]
    out = bias[:, None, None].expand_as(x)
    for dy in range(3):
        for dx in range(3):
            out = out + weight[:, :, dy, dx, None] * padded[..., dy : dy + height, dx : dx + width]
    return out


def _static_mistakes(x: Tensor, a: Tensor, weight: Tensor, bias: Tensor) -> Mistakes:
    g, one, b = a.sigmoid(), torch.ones_like(a), bias[:, None, None]

    def branch(x: Tensor = x, gate: Tensor = g, weight: Tensor = weight, pad: Callable | None = None) -> Tensor:
        return _static(x, gate, weight, bias, pad)

    right, ungated = branch(), branch(gate=one)
    own_channel = "each channel has a gate of its own: no mean over the channels"
    own_pixel = "each pixel has a gate of its own: no mean over the image"
    yield from [
        ("the gate comes after the convolution; here it comes before", ungated * g),
        ("the gate is applied twice, before and after the convolution; it belongs before", right * g),
        ("the gate is applied twice", branch(gate=g * g)),
        ("the gate is missing", ungated),
        ("the sigmoid is missing: a are logits, the gate is sigmoid(a)", branch(gate=a)),
        ("the sigmoid is missing, and the gate must come before the convolution", ungated * a),
        ("the gate is sigmoid(a), not 1 - sigmoid(a)", branch(gate=1 - g)),
        ("the gate is a sigmoid, not a tanh", branch(gate=a.tanh())),
        ("the gate is a sigmoid, not a ReLU", branch(gate=a.relu())),
        ("the gate is a sigmoid: a softmax lets the channels compete", branch(gate=a.softmax(1))),
        ("the gate is a sigmoid, not a threshold", branch(gate=(a > 0).float())),
        ("the sigmoid was taken twice", branch(gate=g.sigmoid())),
        (own_channel, branch(gate=a.mean(1, True).sigmoid())),
        (own_channel, branch(gate=g.mean(1, True))),
        (own_pixel, branch(gate=a.mean((2, 3), True).sigmoid())),
        (own_pixel, branch(gate=g.mean((2, 3), True))),
        ("the sigmoid is on the wrong factor: x * sigmoid(a)", branch(x.sigmoid(), a)),
        ("the sigmoid is around the product: x * sigmoid(a), only a goes into it", branch((x * a).sigmoid(), one)),
        ("the gate is added; it must multiply", branch(x + g, one)),
        ("the features x are missing: this filters the gate alone", branch(one)),
        ("the bias is missing", right - b),
        ("the bias is added twice", right + b),
        ("the bias is subtracted", right - 2 * b),
        ("the bias goes along the width; it is one number per channel", right - b + _along_width(bias, x.shape[-1])),
        ("the residual x does not belong here: it comes in step 5", right + x),
        ("the kernel is flipped: convolution in torch does not flip (F.conv2d)", branch(weight=weight.flip(2, 3))),
        ("rows and columns of the kernel are exchanged", branch(weight=weight.transpose(2, 3))),
        ("all channels use the first channel's filter: each has its own", branch(weight=weight[:1].expand_as(weight))),
        ("the padding is shifted: one pixel on *each* side", branch(pad=lambda z: F.pad(z, (2, 0, 2, 0)))),
        ("the padding is shifted: one pixel on *each* side", branch(pad=lambda z: F.pad(z, (0, 2, 0, 2)))),
        ("replicate padding; here zeros lie outside", branch(pad=lambda z: F.pad(z, (1, 1, 1, 1), "replicate"))),
        ("you summed over the channels; depthwise means that each channel is filtered alone (groups = channels)",
         F.conv2d(x * g, weight.expand(-1, x.shape[1], 3, 3), bias, padding=1)),
        ("the mean of the nine products is taken, it must be their sum", (right - b) / 9 + b),
        ("no ReLU follows", right.relu()),
    ]  # fmt: skip
    if min(x.shape[-2:]) > 1:
        for mode in ("reflect", "circular"):
            padded = branch(pad=lambda z, mode=mode: F.pad(z, (1, 1, 1, 1), mode))
            yield f"{mode} padding; here zeros lie outside", padded


PERMUTE_BACK = "Are the channels first again? After layer_norm bring them back: permute(0, 3, 1, 2)."


# --- exercise 3 ------------------------------------------------------------------------------------------------------


def exercise_3(dynamic_branch: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
    """The dynamic branch. Compared with layer norm and sum written out.

    Args:
        dynamic_branch: (x [B, C, H, W], kernels [B, heads, k*k, H, W], a_dynamic [B, C, H, W], weight [C], bias [C])
            -> u [B, C, H, W].

    Raises:
        CheckFailed: naming the likely mistake.
    """
    names = ("x", "kernels", "a_dynamic", "weight", "bias")
    # batch, channels, heads, k, height, width; in the first, width equals channels: broadcasts that go wrong, go unseen
    for batch, channels, heads, k, height, width in ((2, 6, 2, 3, 5, 6), (1, 8, 4, 5, 4, 7), (3, 4, 1, 1, 2, 3)):
        inputs = _dynamic_inputs(batch, channels, heads, k, height, width)
        told = f"for x of shape {tuple(inputs[0].shape)} and {heads} head(s) of {k} x {k} taps"
        answer = _untouched(dynamic_branch, inputs, told, names, {
            "differ in batch or image size": PERMUTE_BACK, "needs x [B, C, H, W]": "A dimension of v is gone: keepdim.",
        })  # fmt: skip
        _shape("u", answer, tuple(inputs[0].shape), told, {
            (batch, height, width, channels): "the channels are still last: permute back to [B, C, H, W]",
        })  # fmt: skip
        if not answer.isfinite().all():
            raise CheckFailed(
                f"{told} your result holds NaN: where all channels of a pixel are equal the variance is 0, and eps "
                "must keep the root away from 0."
            )
        _equal("u", answer, _dynamic(*inputs), told, _dynamic_mistakes(*inputs))

    inputs = [t.requires_grad_() for t in _dynamic_inputs(1, 4, 2, 3, 3, 4, flat=False)]
    _same_gradients(dynamic_branch(*inputs), _dynamic(*inputs), dict(zip(names, inputs, strict=True)))
    passed("Layer norm over the channels of each pixel, one kernel per pixel and head, and the gate at the end.")


def _dynamic_inputs(
    batch: int, channels: int, heads: int, k: int, height: int, width: int, flat: bool = True
) -> tuple[Tensor, ...]:
    """Random ones. Some pixels of x have tiny variance, where eps counts, and one (`flat`) has none at all."""
    x = _random(batch, channels, height, width, seed=channels)
    x[..., 0, :] *= 1e-3
    if flat:
        x[..., -1, -1] = 0.5
    kernels = _random(batch, heads, k * k, height, width, seed=30 + k).softmax(2)
    a = _random(batch, channels, height, width, seed=50 + channels)
    return x, kernels, a, 1 + 0.5 * _random(channels, seed=70), 0.5 * _random(channels, seed=80)


def _norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, dims: Any = 1, eps: float = 1e-6, **other: bool
) -> Tensor:
    """(x - mean) / root(variance + eps) * weight + bias, or with one of the `other` mistakes."""
    centred = x if other.get("uncentred") else x - x.mean(dims, keepdim=True)
    count = x[0].numel() // x[0, 0].numel() if dims == 1 else 0
    if other.get("sample"):
        variance = centred.square().sum(1, keepdim=True) / max(1, count - 1)
    else:
        variance = centred.square().mean(dims, keepdim=True)
    root = variance.sqrt() + eps if other.get("outside") else (variance + eps).sqrt()
    out = centred if other.get("undivided") else centred / (variance + eps if other.get("unrooted") else root)
    out = out if weight is None else out * weight[:, None, None]
    return out if bias is None else out + bias[:, None, None]


def _sum(v: Tensor, kernels: Tensor, pad: str = "constant") -> Tensor:
    """sum over the taps of kernel * neighbour: v [B, C, H, W], kernels [B, heads, k*k, H, W]."""
    k, heads = math.isqrt(kernels.shape[2]), kernels.shape[1]
    height, width = v.shape[-2:]
    padded = F.pad(v, (k // 2,) * 4, mode=pad) if k > 1 else v
    per_channel = kernels.repeat_interleave(v.shape[1] // heads, 1)  # [B, C, k*k, H, W]
    out = torch.zeros_like(v)
    for q in range(k * k):
        dy, dx = divmod(q, k)
        out = out + per_channel[:, :, q] * padded[..., dy : dy + height, dx : dx + width]
    return out


def _dynamic(x: Tensor, kernels: Tensor, a: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _sum(_norm(x, weight, bias), kernels) * a.sigmoid()


def _dynamic_mistakes(x: Tensor, kernels: Tensor, a: Tensor, weight: Tensor, bias: Tensor) -> Mistakes:
    g, v, one = a.sigmoid(), _norm(x, weight, bias), torch.ones_like(x)
    t = _sum(v, kernels)
    k, own = math.isqrt(kernels.shape[2]), x.shape[1] // kernels.shape[1]

    def norm(dims: Any = 1, eps: float = 1e-6, **other: bool) -> Tensor:
        return _norm(x, weight, bias, dims, eps, **other)

    w, b, bare = weight[:, None, None], bias[:, None, None], _norm(x, None, None)
    over = "layer norm here is over the channels of each pixel; you took mean and variance over "
    values = [
        (over + "the image", norm((2, 3))),
        (over + "channels and image together", norm((1, 2, 3))),
        (over + "the batch and the image, which is batch norm", norm((0, 2, 3))),
        (over + "the batch", norm(0)),
        (over + "the rows of the image", norm(2)),
        (over + "the columns of the image", norm(3)),
        ("the variance is divided by C - 1 (torch's default); layer norm divides by C: unbiased=False",
         norm(sample=True)),
        ("the variance is divided by C - 1, and eps is outside the root", norm(sample=True, outside=True)),
        ("eps is 1e-5 (torch's default), it must be 1e-6", norm(eps=1e-5)),
        ("eps is outside the root: divide by sqrt(variance + eps)", norm(outside=True)),
        ("the root is missing: divide by sqrt(variance + eps)", norm(unrooted=True)),
        ("the mean is not taken off", norm(uncentred=True)),
        ("the mean is taken off, but nothing is divided by the root of the variance", norm(undivided=True)),
        ("weight and bias of the layer norm are missing", bare),
        ("the weight of the layer norm is missing", bare + b),
        ("the bias of the layer norm is missing", bare * w),
        ("the bias of the layer norm is added before its weight multiplies", (bare + b) * w),
        ("the layer norm is missing: the neighbours are those of LayerNorm(x)", x),
        ("the layer norm is missing: weight and bias alone do not make it", x * w + b),
    ]  # fmt: skip
    last = F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), weight, bias, 1e-6)  # [B, H, W, C]
    for wrong in (last.transpose(1, 2), last.reshape(x.shape)):
        if wrong.shape == x.shape:
            values.append(("the channels are back in the wrong order: after layer_norm, permute(0, 3, 1, 2)", wrong))
    if x.shape[-1] == x.shape[1]:
        values += [
            ("weight and bias go along the width; they are one number per channel: [:, None, None]",
             bare * weight + bias),
            ("F.layer_norm works on the *last* dimension, which is the width: bring the channels there first (permute)",
             _norm(x, None, None, 3) * weight + bias),
        ]  # fmt: skip
    yield from ((told, _sum(value, kernels) * g) for told, value in values)
    own_channel = "each channel has a gate of its own: no mean over the channels"
    turned = kernels.unflatten(2, (k, k)).transpose(2, 3).flatten(2, 3)
    yield from [
        ("the gate comes after the sum, not before", _sum(v * g, kernels)),
        ("the gate comes after the sum, not before the layer norm", _sum(_norm(x * g, weight, bias), kernels)),
        ("the layer norm comes after the sum; it must come before", _norm(_sum(x, kernels), weight, bias) * g),
        ("the layer norm comes last; it must come first", _norm(_sum(x, kernels) * g, weight, bias)),
        ("the gate is missing", t),
        ("the sigmoid is missing: a are logits, the gate is sigmoid(a)", t * a),
        ("the sigmoid is around the product: t * sigmoid(a), only a goes into it", (t * a).sigmoid()),
        ("layer norm and gate are missing", _sum(x, kernels)),
        ("layer norm and sigmoid are missing", _sum(x, kernels) * a),
        ("the gate is applied twice", t * g * g),
        ("the gate is applied twice, before and after the sum", _sum(v * g, kernels) * g),
        ("the gate is sigmoid(a), not 1 - sigmoid(a)", t * (1 - g)),
        ("the gate is a sigmoid, not a tanh", t * a.tanh()),
        ("the gate is a sigmoid: a softmax lets the channels compete", t * a.softmax(1)),
        ("the sigmoid was taken twice", t * g.sigmoid()),
        (own_channel, t * g.mean(1, True)),
        (own_channel, t * a.mean(1, True).sigmoid()),
        ("each pixel has a gate of its own: no mean over the image", t * g.mean((2, 3), True)),
        ("the gate is added; it must multiply", t + g),
        ("the sum is missing: value times gate has seen no neighbour", v * g),
        ("the residual x does not belong here: it comes in step 5", t * g + x),
        ("kernels are softmax weights already: no second softmax", _sum(v, kernels.softmax(2)) * g),
        ("the kernels are flipped: tap (0, 0) is the upper left neighbour", _sum(v, kernels.flip(2)) * g),
        ("rows and columns of the kernels are exchanged: the taps are numbered row by row", _sum(v, turned) * g),
        ("heads are interleaved: head h owns the h-th *contiguous* slice of the channels",
         _sum(v, kernels.repeat(1, own, 1, 1, 1)) * g),
        ("all heads use the same kernel: head h has a kernel of its own", _sum(v, kernels.mean(1, True)) * g),
        ("all heads use the same kernel: head h has a kernel of its own", _sum(v, kernels[:, :1]) * g),
        ('padding="replicate" is an option of the library; here zeros lie outside', _sum(v, kernels, "replicate") * g),
        ('padding="renormalize" is an option of the library; here zeros lie outside', t / _sum(one, kernels) * g),
        ("pad LayerNorm(x), not x: outside, v is 0, not the layer norm's bias",
         _sum_of_padded_x(x, kernels, weight, bias) * g),
    ]  # fmt: skip


def _sum_of_padded_x(x: Tensor, kernels: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The mistake of padding first: outside, the layer norm of zeros is its bias."""
    r, (height, width) = math.isqrt(kernels.shape[2]) // 2, x.shape[-2:]
    wide = F.pad(kernels, (r, r, r, r))
    return _sum(_norm(F.pad(x, (r, r, r, r)), weight, bias), wide)[..., r : r + height, r : r + width]


# --- exercise 4 ------------------------------------------------------------------------------------------------------


class _Parts(SGDC):
    """The sub-modules of a block whose own forward is switched off, so that an answer must build it."""

    def _off(self, *_: Any, **__: Any) -> Tensor:
        raise RuntimeError("the block's own forward, mix and make_context are off here: build it from its parts")

    forward = mix = make_context = _off


def exercise_4(sgdc_forward: Callable[[SGDC, Tensor, Tensor], Tensor]) -> None:
    """The whole block. Compared with its formula, written out, and with SGDC of the same weights.

    Args:
        sgdc_forward: (block, x [B, dim, H, W], guidance [B, g, h, w]) -> [B, dim, H, W].

    Raises:
        CheckFailed: naming the likely mistake.
    """
    own_lines(sgdc_forward, "SGDC", "functional_call")
    # settings of the block, batch, size of x, size of the guidance. In the first, width equals dim.
    cases = [
        (dict(dim=6, guidance_channels=2, heads=2, kernel_size=3, mlp_ratio=2), 2, (5, 6), (5, 6)),
        (dict(dim=8, guidance_channels=3, heads=4, kernel_size=5), 1, (6, 7), (3, 5)),
        (dict(dim=4, guidance_channels=16, heads=1, kernel_size=3), 3, (5, 3), (13, 9)),
        (dict(dim=6, guidance_channels=2, heads=3, kernel_size=5, padding="renormalize"), 1, (4, 5), (4, 5)),
        (dict(dim=24, guidance_channels=16, heads=4, kernel_size=7), 1, (2, 3), (2, 3)),
    ]
    for settings, batch, size, guidance_size in cases:
        block, theirs, x, guidance = _make(settings, batch, size, guidance_size)
        told = ", ".join(f"{k}={v!r}" for k, v in settings.items())
        told = f"with {told}, x {list(size)}, guidance {list(guidance_size)}"
        before = {name: value.clone() for name, value in block.state_dict().items()}
        answer = _untouched(sgdc_forward, (block, x, guidance), told, ("", "x", "guidance"), {
            "must match the size": "Is the guidance resized to the size of x, larger or smaller?",
            "multiply up": "Is a number built in? Take it from block.heads, block.dim or a shape.",
            "split_sizes": "Is a number built in? Take it from block.heads, block.dim or a shape.",
            "square of an odd": "Unflatten the logits into (heads, taps), not (taps, heads).",
        })  # fmt: skip
        for name, value in block.state_dict().items():
            if not torch.equal(value, before[name]):
                raise CheckFailed(f"your function changes block.{name}: avoid in-place operations (mul_, +=).")
        _shape("the result", answer, tuple(x.shape), told, {})
        wanted = _formula(block, x, guidance)
        if not torch.allclose(wanted, theirs(x, guidance), **CLOSE):  # never the learner's fault
            raise RuntimeError("the check's own formula and SGDC differ: please report this")
        _equal("the result", answer.detach(), wanted, told, _block_mistakes(block, x, guidance))
        _block_gradients(sgdc_forward, block, theirs, x, guidance)
    passed("Equal to SGDC in values and gradients, for five settings, with guidance of its own size too.")


def _make(settings: dict, batch: int, size: tuple[int, int], guidance_size: tuple[int, int]):
    """Parts, an SGDC of the same weights, x and guidance; layer scales are large and differ from channel to channel."""
    with torch.random.fork_rng(devices=[]):  # a check leaves the learner's random numbers alone
        block, theirs = (make(**settings).eval() for make in (_Parts, SGDC))
    with torch.no_grad():
        for i, (name, p) in enumerate(theirs.named_parameters()):
            p.copy_(_random(*p.shape, seed=100 + i))
            if name.endswith("weight") and p.ndim == 4:
                p /= p[0].numel() ** 0.5
            elif name in ("norm1.weight", "norm2.weight", "ls1", "ls2"):
                p.copy_(1 + 0.4 * p)
    block.load_state_dict(theirs.state_dict())
    x = _random(batch, settings["dim"], *size, seed=1)
    return block, theirs, x, _random(batch, settings["guidance_channels"], *guidance_size, seed=2).mul(2)


def _formula(block: SGDC, x: Tensor, guidance: Tensor, **twist: Any) -> Tensor:
    """The block from its state dict, flat; `twist` makes one mistake."""
    w = block.state_dict()
    dim, heads = x.shape[1], block.heads
    if guidance.shape[-2:] != x.shape[-2:]:
        how = {"mode": "bilinear", "align_corners": False} | twist.get("resize", {})
        guidance = F.interpolate(guidance, size=x.shape[-2:], **how)
    projected = F.conv2d(guidance, w["proj_guidance.weight"], w["proj_guidance.bias"])
    context = {"guidance alone": projected, "no guidance": x}.get(twist.get("context"), x + projected)
    if twist.get("context") == "no bias":
        context = context - w["proj_guidance.bias"][:, None, None]
    mixed = F.conv2d(context, w["attn.weight"], w["attn.bias"])
    a1, a2, logits = mixed[:, :dim], mixed[:, dim : 2 * dim], mixed[:, 2 * dim :]
    kernels = _softmax_over_taps(logits, heads)
    if twist.get("kernels") == "heads":
        kernels = logits.unflatten(1, (heads, -1)).softmax(1)
    elif twist.get("kernels") == "interleaved":
        kernels = logits.unflatten(1, (-1, heads)).transpose(1, 2).softmax(2)
    if twist.get("gates") == "exchanged":
        a1, a2 = a2, a1
    if twist.get("kernels") == "logits":
        kernels = logits.unflatten(1, (heads, -1))
    g1 = a1 if twist.get("gates") in ("static logits", "logits") else a1.sigmoid()
    g2 = a2 if twist.get("gates") in ("dynamic logits", "logits") else a2.sigmoid()
    open_ = torch.ones_like(g1)
    norms = [(w[f"norm{n}.weight"], w[f"norm{n}.bias"]) for n in (1, 2)]
    seen = context if twist.get("features") in ("context", "static from context") else x
    seen = _norm(x, *norms[0]) if twist.get("features") == "static from value" else seen
    static = (w["dwconv.weight"], w["dwconv.bias"])
    if twist.get("gates") == "static after":
        s = _static(seen, open_, *static) * g1
    else:
        s = _static(seen, open_ if twist.get("gates") in ("no static", "none") else g1, *static)
    if twist.get("norms") == "exchanged":
        norms = norms[::-1]
    elif twist.get("norms") == "norm2 twice":
        norms[0] = norms[1]
    value_from = context if twist.get("features") in ("context", "value from context") else x
    value = value_from if twist.get("norms") == "no norm1" else _norm(value_from, *norms[0])
    if twist.get("gates") == "dynamic before":
        value = value * g2
    u = _sum(value, kernels)
    if (block.padding == "renormalize") != bool(twist.get("padding")):
        u = u / _sum(torch.ones_like(u), kernels)
    u = u if twist.get("gates") in ("no dynamic", "none", "dynamic before") else u * g2
    ls1, ls2 = (w[name][:, None, None] for name in ("ls1", "ls2"))
    if twist.get("scales") == "exchanged":
        ls1, ls2 = ls2, ls1
    elif twist.get("scales") == "ls1 twice":
        ls2 = ls1
    elif twist.get("scales") == "ls2 twice":
        ls1 = ls2
    elif "along the width" in twist.get("scales", ""):
        ls1 = ls1 if twist["scales"].startswith("ls2") else w["ls1"]
        ls2 = ls2 if twist["scales"].startswith("ls1") else w["ls2"]
    one, two = twist.get("scales") in ("no ls1", "none"), twist.get("scales") in ("no ls2", "none")
    ls1, ls2 = (torch.ones_like(ls1) if one else ls1), (torch.ones_like(ls2) if two else ls2)
    both = {"s": s, "u": u, "product": s * u, "difference": s - u, "mean": (s + u) / 2}.get(
        twist.get("branches"), s + u
    )
    y = x + {"s alone": ls1 * s + u, "u alone": s + ls1 * u, "one each": ls1 * s + ls2 * u}.get(
        twist.get("scales"), ls1 * both
    )
    if twist.get("residual") in ("no x", "neither"):
        y = y - x
    elif twist.get("residual") == "context":
        y = y - x + context
    elif twist.get("residual") == "scaled":
        y = y - x + ls1 * x
    if twist.get("mlp") == "none":
        return y
    into = x if twist.get("mlp") == "from x" else y - x if twist.get("mlp") == "from branches" else y
    if twist.get("norms") != "no norm2":
        into = _norm(into, *(norms[0] if twist.get("norms") == "norm1 twice" else norms[1]))
    hidden = F.conv2d(into, w["mlp.0.weight"], w["mlp.0.bias"])
    hidden = {"relu": hidden.relu(), "linear": hidden}.get(twist.get("mlp"), F.gelu(hidden))
    out = ls2 * F.conv2d(hidden, w["mlp.2.weight"], w["mlp.2.bias"])
    if twist.get("residual") in ("no y", "neither"):
        return out
    return (x if twist.get("residual") == "x in place of y" else y) + out


BLOCK_MISTAKES = [
    ("the guidance is made to fit by copying the nearest value; the block uses bilinear interpolation",
     dict(resize=dict(mode="nearest", align_corners=None))),
    ("the guidance is resized with align_corners=True; the block uses align_corners=False",
     dict(resize=dict(align_corners=True))),
    ("the guidance is smoothed while it is made smaller (antialias); this block does not do that",
     dict(resize=dict(antialias=True))),
    ("the guidance is resized by averages over areas; the block uses bilinear interpolation",
     dict(resize=dict(mode="area", align_corners=None))),
    ("the guidance is resized with bicubic interpolation; the block uses bilinear", dict(resize=dict(mode="bicubic"))),
    ("the context is x + proj_guidance(G); yours is proj_guidance(G) alone", dict(context="guidance alone")),
    ("the context is x + proj_guidance(G); yours leaves out the guidance", dict(context="no guidance")),
    ("the bias of proj_guidance is missing", dict(context="no bias")),
    ("the two gates are exchanged: a_static comes first", dict(gates="exchanged")),
    ("the static gate comes before the depthwise convolution", dict(gates="static after")),
    ("the dynamic gate comes after the sum over the neighbours", dict(gates="dynamic before")),
    ("the static gate is missing", dict(gates="no static")),
    ("the dynamic gate is missing", dict(gates="no dynamic")),
    ("both gates are missing", dict(gates="none")),
    ("the sigmoid of the static gate is missing", dict(gates="static logits")),
    ("the sigmoid of the dynamic gate is missing", dict(gates="dynamic logits")),
    ("the sigmoids of both gates are missing", dict(gates="logits")),
    ("the softmax over the k*k taps is missing", dict(kernels="logits")),
    ("the softmax is over the heads; it must be over the k*k taps", dict(kernels="heads")),
    ("heads are interleaved: unflatten the logits into (heads, k*k)", dict(kernels="interleaved")),
    ("both branches filter x; yours filter the context c, which only makes kernels and gates",
     dict(features="context")),
    ("the static branch filters x; yours filters c", dict(features="static from context")),
    ("the static branch filters x; yours filters norm1(x)", dict(features="static from value")),
    ("the dynamic branch filters LayerNorm(x); yours filters LayerNorm(c)", dict(features="value from context")),
    ("norm1 is missing: the dynamic branch filters norm1(x)", dict(norms="no norm1")),
    ("norm2 is missing: the MLP reads norm2(y)", dict(norms="no norm2")),
    ("norm1 and norm2 are exchanged", dict(norms="exchanged")),
    ("norm1 is used twice: the MLP reads norm2(y)", dict(norms="norm1 twice")),
    ("ls1 and ls2 are exchanged", dict(scales="exchanged")),
    ("norm2 is used twice: the dynamic branch filters norm1(x)", dict(norms="norm2 twice")),
    ("ls1 is used twice: the MLP is scaled by ls2", dict(scales="ls1 twice")),
    ("ls2 is used twice: the branches are scaled by ls1", dict(scales="ls2 twice")),
    ("ls1 is missing", dict(scales="no ls1")),
    ("ls2 is missing", dict(scales="no ls2")),
    ("both layer scales are missing", dict(scales="none")),
    ("ls1 multiplies s alone; it belongs to the sum s + u: use brackets", dict(scales="s alone")),
    ("ls1 multiplies u alone; it belongs to the sum s + u: use brackets", dict(scales="u alone")),
    ("ls1 multiplies s and ls2 multiplies u; ls1 belongs to s + u, ls2 to the MLP", dict(scales="one each")),
    ("the residual x is scaled too; ls1 belongs to s + u alone", dict(residual="scaled")),
    ("this is s + u alone: step 5 is missing", dict(residual="no x", scales="no ls1", mlp="none")),
    ("ls1 and the MLP are missing", dict(scales="no ls1", mlp="none")),
    ("the dynamic branch is missing", dict(branches="s")),
    ("the static branch is missing", dict(branches="u")),
    ("the two branches are multiplied; they must be added", dict(branches="product")),
    ("the dynamic branch is subtracted; it must be added", dict(branches="difference")),
    ("the mean of the two branches is taken; they must be added", dict(branches="mean")),
    ("the residual x is missing: y = x + ls1 * (s + u)", dict(residual="no x")),
    ("the residual is x, not the context c: y = x + ls1 * (s + u)", dict(residual="context")),
    ("the residual y is missing at the end: out = y + ls2 * MLP(norm2(y))", dict(residual="no y")),
    ("both residuals are missing: y = x + ..., out = y + ...", dict(residual="neither")),
    ("the second residual is y, not x: out = y + ls2 * MLP(norm2(y))", dict(residual="x in place of y")),
    ("the MLP is missing: out = y + ls2 * MLP(norm2(y))", dict(mlp="none")),
    ("the MLP reads norm2(x); it comes after the first half and reads norm2(y)", dict(mlp="from x")),
    ("the MLP reads the branches alone; it reads norm2(y), and y has the residual x in it", dict(mlp="from branches")),
    ("the MLP's activation is GELU, not ReLU: call block.mlp", dict(mlp="relu")),
    ("the MLP's GELU is missing: call block.mlp", dict(mlp="linear")),
]  # fmt: skip


def _block_mistakes(block: SGDC, x: Tensor, guidance: Tensor) -> Mistakes:
    yield "you return x: that is the friend of q3", x
    for told, twist in BLOCK_MISTAKES:
        if "resize" not in twist or guidance.shape[-2:] != x.shape[-2:]:
            yield told, _formula(block, x, guidance, **twist)
    told = "the padding is not block.padding: hand it to dynamic_conv2d"
    yield told, _formula(block, x, guidance, padding=True)
    if x.shape[1] == x.shape[-1]:
        told = "along the width; it is one number per channel: [:, None, None]"
        for which in ("ls1", "ls2"):
            yield f"{which} goes {told}", _formula(block, x, guidance, scales=f"{which} along the width")
        yield f"each layer scale goes {told}", _formula(block, x, guidance, scales="both along the width")


def _block_gradients(function: Callable, block: SGDC, theirs: SGDC, x: Tensor, guidance: Tensor) -> None:
    """At x, guidance and every parameter, against those of SGDC."""
    x, guidance = x.clone().requires_grad_(), guidance.clone().requires_grad_()
    answer, wanted = function(block, x, guidance), theirs(x, guidance)
    weights = _random(*x.shape, seed=3)
    found, known = {}, {}
    for out, module, into in ((answer, block, found), (wanted, theirs, known)):
        leaves = {"x": x, "the guidance": guidance, **{f"block.{n}": p for n, p in module.named_parameters()}}
        if not out.requires_grad:
            raise CheckFailed(CUT_OFF)
        into |= zip(leaves, torch.autograd.grad((out * weights).sum(), leaves.values(), allow_unused=True), strict=True)
    for name, gradient in known.items():
        if found[name] is None:
            raise CheckFailed(NOT_REACHED.format(name))
        if not torch.allclose(found[name], gradient, rtol=1e-3, atol=1e-4):
            raise CheckFailed(f"the values are right, the gradient at {name} is not: is a part cut off (.detach())?")


# --- exercise 5 ------------------------------------------------------------------------------------------------------

FOLLOWS = {
    1: "zeroing the guidance changed the mask: so this network does read it, on this image",
    2: "no path leads from E to the mask. This is how the network is wired, so it holds for every image and all "
       "weights; the 0 that was measured is one case of it",
    7: "such a tool edits E, and E reaches no mask",
}  # fmt: skip
DOES_NOT = {
    3: "the branch makes the guidance too, and zeroing that changed the mask",
    4: "changed is not worse: no truth was used, and what guidance is worth, only a network trained without can say",
    5: "E is a dead end for the *mask*, but the boundary loss reaches the layers before it, from which the guidance is "
       "made as well: look at the last table",
    6: "E and G are two projections of the same features with weights of their own: one can be good and the other not",
    8: "zeros are something that the trained network never met; one trained without guidance learns to do without",
}  # fmt: skip


def exercise_5(conclusions: Callable[[], set[int]]) -> None:
    """What follows from "editing the boundary map changes nothing"?

    Args:
        conclusions: () -> set of the numbers of the statements that follow.

    Raises:
        CheckFailed: naming the first number too many or too few, and why.
    """
    answer = call(conclusions)
    if not isinstance(answer, set | frozenset | list | tuple) or not all(type(n) is int for n in answer):
        raise CheckFailed("return a set of numbers, such as {1, 8}.")
    answer = set(answer)
    if unknown := sorted(answer - {*FOLLOWS, *DOES_NOT}):
        raise CheckFailed(f"there is no statement {unknown[0]}: choose from 1 to 8.")
    for n in sorted(answer & set(DOES_NOT)):
        raise CheckFailed(f"{n} does not follow: {DOES_NOT[n]}.")
    for n in sorted(set(FOLLOWS) - answer):
        raise CheckFailed(f"something is missing: {FOLLOWS[n]}.")
    passed("What the wiring forbids, what this run showed, and no more.")


# --- parts -----------------------------------------------------------------------------------------------------------


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _along_width(values: Tensor, width: int) -> Tensor | float:
    return values if len(values) == width else math.nan


def _untouched(
    function: Callable, arguments: tuple, told: str, names: tuple[str, ...], hints: dict[str, str] | None = None
) -> Any:
    """Call; the answer must leave the tensors it is given as they are. hints: word in torch's message -> what to do."""
    before = [a.clone() if isinstance(a, Tensor) else a for a in arguments]
    try:
        answer = call(function, *arguments, told=told)
    except CheckFailed as error:
        for word, hint in (hints or {}).items():
            if word in str(error.__cause__ or ""):
                raise CheckFailed(f"{error} {hint}") from error
        raise
    for name, old, new in zip(names, before, arguments, strict=False):
        if isinstance(old, Tensor) and not torch.equal(old, new):
            raise CheckFailed(f"your function changes the {name} it is given: avoid in-place operations (mul_, +=).")
    return answer


def _shape(name: str, answer: Any, wanted: tuple[int, ...], told: str, known: dict[tuple[int, ...], str]) -> None:
    if not isinstance(answer, Tensor):
        raise CheckFailed(f"{name} must be a tensor, got {type(answer).__name__}: stay in torch, without .numpy().")
    if answer.shape != wanted:
        why = known.get(tuple(answer.shape))
        raise CheckFailed(
            f"{told} {name} must have shape {wanted}, got {tuple(answer.shape)}{f': {why}' if why else ''}."
        )


def _equal(name: str, answer: Tensor, wanted: Tensor, told: str, mistakes: Mistakes) -> None:
    """Is it right? If not: is it one of the known mistakes?"""
    if torch.allclose(answer.to(wanted.dtype), wanted, **CLOSE):
        return
    for why, wrong in mistakes:
        if wrong.shape == answer.shape and torch.allclose(answer.to(wrong.dtype), wrong, **CLOSE):
            raise CheckFailed(f"{name}: {why} ({told}).")
    if not answer.isfinite().all():
        raise CheckFailed(f"{name} holds NaN or infinite numbers ({told}).")
    off = (answer - wanted).abs().max().item()
    raise CheckFailed(f"{name} is off by up to {off:.2g} {told}: compare each step with the formula.")


def _same_gradients(answer: Tensor, wanted: Tensor, inputs: dict[str, Tensor]) -> None:
    weights = _random(*wanted.shape, seed=13)
    if not answer.requires_grad:
        raise CheckFailed(CUT_OFF)
    leaves = list(inputs.values())
    found = torch.autograd.grad((answer * weights).sum(), leaves, allow_unused=True)
    known = torch.autograd.grad((wanted * weights).sum(), leaves)
    for name, a, b in zip(inputs, found, known, strict=True):
        if a is None:
            raise CheckFailed(NOT_REACHED.format(name))
        if not torch.allclose(a, b, rtol=1e-3, atol=1e-4):
            raise CheckFailed(f"the values are right, the gradient at {name} is not: is a part cut off (.detach())?")
