"""Answers to the exercises of notebook 04: right ones written differently, and mistakes that students make."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from answers import Exercise
from sgdc_viz.nn import SGDC, dynamic_conv2d, dynamic_conv2d_reference

# --- exercise 1: split_attn(mixed, dim, heads) -> a_static, a_dynamic, kernels ----------------------------------------


def by_slices(mixed, dim, heads):
    batch, channels, height, width = mixed.shape
    logits = mixed[:, 2 * dim :].reshape(batch, heads, (channels - 2 * dim) // heads, height, width)
    weights = (logits - logits.amax(2, keepdim=True)).exp()
    return mixed[:, :dim], mixed[:, dim : 2 * dim], weights / weights.sum(2, keepdim=True)


def by_chunks(mixed, dim, heads):
    gates, logits = mixed.tensor_split((2 * dim,), dim=1)
    kernels = [torch.softmax(head, dim=1) for head in logits.chunk(heads, dim=1)]
    return [*gates.chunk(2, dim=1), torch.stack(kernels, 1)]


def by_moving(mixed, dim, heads):
    last = mixed.permute(0, 2, 3, 1)  # channels last
    logits = last[..., 2 * dim :].unflatten(-1, (heads, -1)).softmax(-1)
    return mixed.narrow(1, 0, dim), mixed.narrow(1, dim, dim), logits.permute(0, 3, 4, 1, 2)


def parts(mixed, dim, heads):
    """a_static, a_dynamic and logits by head, right."""
    return mixed[:, :dim], mixed[:, dim : 2 * dim], mixed[:, 2 * dim :].unflatten(1, (heads, -1))


def with_kernels(make):
    """An answer whose gates are right and whose kernels are make(logits by head)."""

    def answer(mixed, dim, heads):
        a, b, logits = parts(mixed, dim, heads)
        return a, b, make(logits)

    return answer


def as_squares(logits):
    return logits.softmax(2).unflatten(2, (math.isqrt(logits.shape[2]), -1))


def from_flat(make):
    """The same, from logits [B, heads*k*k, H, W] and heads."""
    return lambda mixed, dim, heads: (mixed[:, :dim], mixed[:, dim : 2 * dim], make(mixed[:, 2 * dim :], heads))


def logits_first(mixed, dim, heads):
    logits, a, b = mixed.split((mixed.shape[1] - 2 * dim, dim, dim), 1)
    return a, b, logits.unflatten(1, (heads, -1)).softmax(2)


def logits_between(mixed, dim, heads):
    a, logits, b = mixed.split((dim, mixed.shape[1] - 2 * dim, dim), 1)
    return a, b, logits.unflatten(1, (heads, -1)).softmax(2)


def logits_of_first_channels(mixed, dim, heads):
    a, b, _ = parts(mixed, dim, heads)
    return a, b, mixed[:, : mixed.shape[1] - 2 * dim].unflatten(1, (heads, -1)).softmax(2)


def gates_exchanged(mixed, dim, heads):
    a, b, logits = parts(mixed, dim, heads)
    return b, a, logits.softmax(2)


def gates_open(mixed, dim, heads):
    a, b, logits = parts(mixed, dim, heads)
    return a.sigmoid(), b.sigmoid(), logits.softmax(2)


def second_gate_open(mixed, dim, heads):
    a, b, logits = parts(mixed, dim, heads)
    return a, b.sigmoid(), logits.softmax(2)


def gates_interleaved(mixed, dim, heads):
    return mixed[:, : 2 * dim : 2], mixed[:, 1 : 2 * dim : 2], parts(mixed, dim, heads)[2].softmax(2)


def gate_per_pixel(mixed, dim, heads):
    a, b, logits = parts(mixed, dim, heads)
    return a.mean(1, keepdim=True), b.mean(1, keepdim=True), logits.softmax(2)


def kernels_first(mixed, dim, heads):
    a, b, logits = parts(mixed, dim, heads)
    return logits.softmax(2), a, b


def kernels_alone(mixed, dim, heads):
    return parts(mixed, dim, heads)[2].softmax(2)


def sizes_built_in(mixed, dim, heads):
    a, b, logits = mixed.split((24, 24, 196), 1)
    return a, b, logits.unflatten(1, (4, 49)).softmax(2)


def softmax_of_everything(mixed, dim, heads):
    return parts(mixed.softmax(1), dim, heads)


def in_place_1(mixed, dim, heads):
    a, b, logits = parts(mixed, dim, heads)
    logits -= logits.amax(2, keepdim=True)
    return a, b, logits.softmax(2)


def detached_1(mixed, dim, heads):
    a, b, logits = parts(mixed, dim, heads)
    return a, b, logits.detach().softmax(2)


def sum_detached(mixed, dim, heads):
    a, b, logits = parts(mixed, dim, heads)
    e = (logits - logits.amax(2, keepdim=True)).exp()
    return a, b, e / e.sum(2, keepdim=True).detach()


def overflowing(mixed, dim, heads):
    a, b, logits = parts(mixed, dim, heads)
    return a, b, logits.exp() / logits.exp().sum(2, keepdim=True)


def in_numpy_1(mixed, dim, heads):
    return tuple(part.detach().numpy() for part in by_slices(mixed, dim, heads))


# --- exercise 2: static_branch(x, a_static, weight, bias) -> s --------------------------------------------------------


def by_unfold(x, a_static, weight, bias):
    patches = (
        F.unfold(x * torch.sigmoid(a_static), 3, padding=1).unflatten(1, (x.shape[1], 9)).unflatten(3, x.shape[2:])
    )
    return (patches * weight.flatten(1)[:, :, None, None]).sum(2) + bias[:, None, None]


def by_channel(x, a_static, weight, bias):
    gated = x / (1 + torch.exp(-a_static))
    each = [F.conv2d(gated[:, c : c + 1], weight[c : c + 1], bias[c : c + 1], padding="same") for c in range(len(bias))]
    return torch.cat(each, 1)


def by_dynamic_convolution(x, a_static, weight, bias):
    """A static kernel is a dynamic one that is the same everywhere; one head per channel."""
    batch, channels, height, width = x.shape
    kernels = weight.view(1, channels, 9, 1, 1).expand(batch, -1, -1, height, width)
    return dynamic_conv2d(x * a_static.sigmoid(), kernels) + bias[:, None, None]


def conv(x, weight, bias, padding=1):
    return F.conv2d(x, weight, bias, padding=padding, groups=x.shape[1])


def static_with(gate):
    """gate(x, a) -> what goes into the convolution."""
    return lambda x, a, weight, bias: conv(gate(x, a), weight, bias)


def padded_by(*pad, mode="constant"):
    return lambda x, a, weight, bias: conv(F.pad(x * a.sigmoid(), pad, mode), weight, bias, 0)


def dense(x, a, weight, bias):
    return F.conv2d(x * a.sigmoid(), weight.expand(-1, x.shape[1], 3, 3), bias, padding=1)


def without_groups(x, a, weight, bias):
    return F.conv2d(x * a.sigmoid(), weight, bias, padding=1)


def groups_built_in(x, a, weight, bias):
    return F.conv2d(x * a.sigmoid(), weight, bias, padding=1, groups=5)


def bias_along_the_width(x, a, weight, bias):
    return conv(x * a.sigmoid(), weight, None) + bias


def in_place_2(x, a, weight, bias):
    x *= a.sigmoid()
    return conv(x, weight, bias)


# --- exercise 3: dynamic_branch(x, kernels, a_dynamic, weight, bias) -> u ---------------------------------------------


def norm(x, weight, bias, eps=1e-6):
    return F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), weight, bias, eps).permute(0, 3, 1, 2)


def last(x, weight, bias):
    """Normalised, and the channels still last."""
    return F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), weight, bias, 1e-6)


def with_layer_norm(x, kernels, a_dynamic, weight, bias):
    return dynamic_conv2d(norm(x, weight, bias), kernels) * torch.sigmoid(a_dynamic)


def with_var(x, kernels, a_dynamic, weight, bias):
    var, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
    v = torch.rsqrt(var + 1e-6) * (x - mean)
    v = torch.einsum("bchw,c->bchw", v, weight) + bias.view(1, -1, 1, 1)
    return dynamic_conv2d_reference(v, kernels).mul(a_dynamic.sigmoid())


def with_group_norm(x, kernels, a_dynamic, weight, bias):
    """Pixels as a batch: group norm with one group is then a layer norm over the channels."""
    batch, channels, height, width = x.shape
    flat = x.permute(0, 2, 3, 1).reshape(-1, channels, 1)
    v = F.group_norm(flat, 1, weight, bias, 1e-6).view(batch, height, width, channels).permute(0, 3, 1, 2)
    return torch.sigmoid(a_dynamic) * dynamic_conv2d(v.contiguous(), kernels)


def dynamic_with(value):
    """value(x, weight, bias) -> what is filtered."""
    return lambda x, k, a, weight, bias: dynamic_conv2d(value(x, weight, bias), k) * a.sigmoid()


def gated(make):
    """make(t, a) -> result, from the right sum t."""
    return lambda x, k, a, weight, bias: make(dynamic_conv2d(norm(x, weight, bias), k), a)


def filtered(make, padding="zeros"):
    """make(kernels, x) -> kernels that are used."""
    return lambda x, k, a, weight, bias: dynamic_conv2d(norm(x, weight, bias), make(k, x), padding) * a.sigmoid()


def standardised(x, dims, eps=1e-6):
    return (x - x.mean(dims, keepdim=True)) / (x.var(dims, correction=0, keepdim=True) + eps).sqrt()


def affine(v, weight, bias):
    return v * weight[:, None, None] + bias[:, None, None]


def over(dims):
    return dynamic_with(lambda x, weight, bias: affine(standardised(x, dims), weight, bias))


def sample_variance(x, weight, bias):
    return affine((x - x.mean(1, True)) / (x.var(1, keepdim=True) + 1e-6).sqrt(), weight, bias)


def eps_outside(x, weight, bias):
    return affine((x - x.mean(1, True)) / (x.var(1, correction=0, keepdim=True).sqrt() + 1e-6), weight, bias)


def sample_deviation(x, weight, bias):
    return affine((x - x.mean(1, True)) / (x.std(1, keepdim=True) + 1e-6), weight, bias)


def without_eps(x, weight, bias):
    return affine((x - x.mean(1, True)) / x.std(1, correction=0, keepdim=True), weight, bias)


def without_root(x, weight, bias):
    return affine((x - x.mean(1, True)) / (x.var(1, correction=0, keepdim=True) + 1e-6), weight, bias)


def root_mean_square(x, weight, bias):
    return affine(x / ((x * x).mean(1, True) + 1e-6).sqrt(), weight, bias)


def bias_before_weight(x, weight, bias):
    return (standardised(x, 1) + bias[:, None, None]) * weight[:, None, None]


def along_the_width(x, weight, bias):
    return standardised(x, 1) * weight + bias


def normalised_width(x, weight, bias):
    return F.layer_norm(x, (x.shape[-1],), weight, bias, 1e-6)


def gate_first(x, k, a, weight, bias):
    return dynamic_conv2d(norm(x, weight, bias) * a.sigmoid(), k)


def gate_before_norm(x, k, a, weight, bias):
    return dynamic_conv2d(norm(x * a.sigmoid(), weight, bias), k)


def norm_last(x, k, a, weight, bias):
    return norm(dynamic_conv2d(x, k) * a.sigmoid(), weight, bias)


def norm_after_sum(x, k, a, weight, bias):
    return norm(dynamic_conv2d(x, k), weight, bias) * a.sigmoid()


def channels_last(x, k, a, weight, bias):
    return with_layer_norm(x, k, a, weight, bias).permute(0, 2, 3, 1)


def padded_before_norm(x, k, a, weight, bias):
    r = math.isqrt(k.shape[2]) // 2
    v = norm(F.pad(x, (r, r, r, r)), weight, bias)
    inside = slice(r, -r or None)
    return dynamic_conv2d(v, F.pad(k, (r, r, r, r)))[..., inside, inside] * a.sigmoid()


def interleaved_heads(kernels, x):
    return kernels.repeat(1, x.shape[1] // kernels.shape[1], 1, 1, 1)  # one head a channel, in the wrong order


def transposed_taps(kernels, x):
    k = math.isqrt(kernels.shape[2])
    return kernels.unflatten(2, (k, k)).transpose(2, 3).flatten(2, 3)


def in_place_3(x, k, a, weight, bias):
    v = x.sub_(x.mean(1, True))
    return dynamic_conv2d(norm(v, weight, bias), k) * a.sigmoid()


def statistics_detached(x, k, a, weight, bias):
    var, mean = torch.var_mean(x.detach(), dim=1, correction=0, keepdim=True)
    return dynamic_conv2d(affine((x - mean) / (var + 1e-6).sqrt(), weight, bias), k) * a.sigmoid()


# --- exercise 4: sgdc_forward(block, x, guidance) ---------------------------------------------------------------------


def resized(guidance, x, **how):
    how = {"mode": "bilinear", "align_corners": False} | how
    return guidance if guidance.shape[-2:] == x.shape[-2:] else F.interpolate(guidance, size=x.shape[-2:], **how)


def forward(
    block, x, guidance, *, resize=resized, context=None, split=None, static=None, dynamic=None, join=None, mlp=None
):
    """The block in steps, each of which a wrong answer may replace."""
    guidance = resize(guidance, x)
    c = x + block.proj_guidance(guidance) if context is None else context(block, x, guidance)
    mixed = block.attn(c)
    if split is None:
        a1, a2, logits = mixed[:, : block.dim], mixed[:, block.dim : 2 * block.dim], mixed[:, 2 * block.dim :]
        kernels = logits.unflatten(1, (block.heads, -1)).softmax(2)
    else:
        a1, a2, kernels = split(block, mixed)
    s = block.dwconv(x * a1.sigmoid()) if static is None else static(block, x, c, a1)
    if dynamic is None:
        u = dynamic_conv2d(block.norm1(x), kernels, block.padding) * a2.sigmoid()
    else:
        u = dynamic(block, x, c, a2, kernels)
    y = x + block.ls1[:, None, None] * (s + u) if join is None else join(block, x, c, s, u)
    return y + block.ls2[:, None, None] * block.mlp(block.norm2(y)) if mlp is None else mlp(block, x, y)


def block_with(**steps):
    return lambda block, x, guidance: forward(block, x, guidance, **steps)


def in_steps(block, x, guidance):
    return forward(block, x, guidance)


def by_parameters(block, x, guidance):
    """From the parameters alone, without calling a sub-module."""
    p, d = dict(block.named_parameters()), x.shape[1]
    guidance = F.interpolate(guidance, size=x.shape[-2:], mode="bilinear")  # of its own size: changes nothing
    c = x + F.conv2d(guidance, p["proj_guidance.weight"], p["proj_guidance.bias"])
    a, logits = F.conv2d(c, p["attn.weight"], p["attn.bias"]).tensor_split((2 * d,), 1)
    gate_s, gate_d = a.sigmoid().chunk(2, 1)
    kernels = torch.stack([head.softmax(1) for head in logits.chunk(block.heads, 1)], 1)
    s = conv(x * gate_s, p["dwconv.weight"], p["dwconv.bias"])
    v = norm(x, p["norm1.weight"], p["norm1.bias"])
    u = gate_d * dynamic_conv2d_reference(v, kernels, block.padding)
    y = x + p["ls1"].view(-1, 1, 1) * s + p["ls1"].view(-1, 1, 1) * u
    hidden = F.gelu(F.conv2d(norm(y, p["norm2.weight"], p["norm2.bias"]), p["mlp.0.weight"], p["mlp.0.bias"]))
    return y + torch.einsum("bchw,c->bchw", F.conv2d(hidden, p["mlp.2.weight"], p["mlp.2.bias"]), p["ls2"])


def through_taps(block, x, guidance):
    """As the library writes it, with its identity taps."""
    c = block.context(x + block.proj_guidance(block.guidance(resized(guidance, x))))
    taps = block.kernel_size**2
    a1, a2, logits = block.attn(c).split((block.dim, block.dim, block.heads * taps), dim=1)
    kernels = block.kernels(block.kernel_logits(logits.unflatten(1, (block.heads, taps))).softmax(2))
    s = block.static_out(block.dwconv(x * block.gate_static(a1.sigmoid())))
    t = dynamic_conv2d(block.value(block.norm1(x)), kernels, block.padding)
    y = x + block.drop_path(block.ls1[:, None, None] * (s + block.dynamic_out(t * block.gate_dynamic(a2.sigmoid()))))
    return y + block.drop_path(block.ls2[:, None, None] * block.mlp(block.norm2(y)))


def ls(block, n):
    return getattr(block, f"ls{n}")[:, None, None]


def split_with(make):
    """make(logits, heads) -> kernels."""
    return lambda block, mixed: (
        mixed[:, : block.dim],
        mixed[:, block.dim : 2 * block.dim],
        make(mixed[:, 2 * block.dim :], block.heads),
    )


def gates_exchanged_4(block, mixed):
    a1, a2, kernels = by_slices(mixed, block.dim, block.heads)
    return a2, a1, kernels


def without_resize(guidance, x):
    return guidance


def enlarged(guidance, x):
    return resized(guidance, x) if guidance.shape[-1] < x.shape[-1] else guidance


def copied_weights(block, x, guidance):
    """Values without a way back: an SGDC of one's own with the same weights."""
    ratio = block.mlp[0].out_channels / block.dim
    own = SGDC(block.dim, block.guidance_channels, block.heads, block.kernel_size, ratio, padding=block.padding)
    own.load_state_dict(block.state_dict())
    return own(x, guidance)


def borrowed_forward(block, x, guidance):
    """Passes the gradients too: an SGDC of one's own that borrows the block's parameters."""
    ratio = block.mlp[0].out_channels / block.dim
    own = SGDC(block.dim, block.guidance_channels, block.heads, block.kernel_size, ratio, padding=block.padding)
    return torch.func.functional_call(own, dict(block.named_parameters()), (x, guidance))


def in_place_4(block, x, guidance):
    y = forward(block, x, guidance, mlp=lambda block, x, y: y)
    x += y - x
    return x + ls(block, 2) * block.mlp(block.norm2(x))


def scales_in_place(block, x, guidance):
    with torch.no_grad():
        block.ls1.fill_(1)
    return forward(block, x, guidance)


def guidance_detached(block, x, guidance):
    return forward(block, x, guidance.detach())


def context_detached(block, x, guidance):
    return forward(block, x, guidance, context=lambda b, x, g: (x + b.proj_guidance(g)).detach())


def kernels_detached(block, x, guidance):
    return forward(block, x, guidance, split=split_with(lambda z, n: z.unflatten(1, (n, -1)).softmax(2).detach()))


EXERCISES = {
    "exercise_1": Exercise(
        right=[by_slices, by_chunks, by_moving],
        wrong=[
            ("softmax over the heads", with_kernels(lambda z: z.softmax(1)), "over the heads"),
            ("softmax over the rows", with_kernels(lambda z: z.softmax(3)), "over the rows"),
            ("softmax over the last dimension", with_kernels(lambda z: z.softmax(-1)), "over the columns"),
            ("softmax over the pixels", with_kernels(lambda z: z.flatten(3).softmax(3).view_as(z)), "over the pixels"),
            ("softmax over the batch", with_kernels(lambda z: z.softmax(0)), "over the batch"),
            ("softmax before the heads are apart", from_flat(lambda z, n: z.softmax(1).unflatten(1, (n, -1))),
             "heads and taps together"),
            ("softmax over everything", with_kernels(lambda z: z.flatten().softmax(0).view_as(z)), "over everything"),
            ("softmax over all channels", lambda m, d, n: (*parts(m, d, n)[:2], parts(m.softmax(1), d, n)[2]),
             "gates included"),
            ("softmax over all channels, returned for the gates too", softmax_of_everything, "a_static is off"),
            ("sigmoid in place of softmax", with_kernels(torch.sigmoid), "sigmoid looks at each tap alone"),
            ("no softmax", with_kernels(lambda z: z), "softmax is missing"),
            ("log_softmax", with_kernels(lambda z: z.log_softmax(2)), "logarithm of the softmax"),
            ("softmax twice", with_kernels(lambda z: z.softmax(2).softmax(2)), "taken twice"),
            ("exp without the sum", with_kernels(torch.exp), "not divided by their sum"),
            ("sum without exp", with_kernels(lambda z: z / z.sum(2, True)), "without the exponential"),
            ("softmax of minus L", with_kernels(lambda z: (-z).softmax(2)), "sign is wrong"),
            ("scaled as in a transformer", with_kernels(lambda z: (z / z.shape[2] ** 0.5).softmax(2)), "transformers"),
            ("heads interleaved", from_flat(lambda z, n: z.unflatten(1, (-1, n)).transpose(1, 2).softmax(2)),
             "heads are interleaved: channel"),
            ("heads interleaved, softmax over the heads",
             from_flat(lambda z, n: z.unflatten(1, (-1, n)).transpose(1, 2).softmax(1)),
             "interleaved, and the softmax"),
            ("taps before heads", from_flat(lambda z, n: z.unflatten(1, (-1, n)).softmax(1)),
             "heads and taps are exch"),
            ("taps as rows and columns", with_kernels(as_squares),
             "k\\*k taps in one dimension"),
            ("heads not apart", from_flat(lambda z, n: z.softmax(1)), "not apart yet"),
            ("logits before the gates", logits_first, "first 2\\*dim channels"),
            ("logits between the gates", logits_between, "first 2\\*dim channels"),
            ("logits from the first channels", logits_of_first_channels, "\\*last\\* heads"),
            ("gates exchanged", gates_exchanged, "two gates are exchanged"),
            ("gates after the sigmoid", gates_open, "after its sigmoid"),
            ("one gate after the sigmoid", second_gate_open, "a_dynamic: this is the gate after its sigmoid"),
            ("gates interleaved", gates_interleaved, "every second channel"),
            ("one gate for all channels", gate_per_pixel, "per pixel \\*and\\* channel"),
            ("kernels returned first", kernels_first, "is this a gate"),
            ("kernels alone", kernels_alone, "return three tensors"),
            ("24, 4 and 49 built in", sizes_built_in, "Are numbers built in"),
            ("input changed in place", in_place_1, "changes the mixed"),
            ("cut off from autograd", detached_1, "no gradient flows"),
            ("the sum cut off from autograd", sum_detached, "gradient is not"),
            ("exp overflows", overflowing, "overflows"),
            ("left torch", in_numpy_1, "return three tensors"),
        ],
    ),
    "exercise_2": Exercise(
        right=[by_unfold, by_channel, by_dynamic_convolution],
        wrong=[
            ("gate after the convolution", lambda x, a, w, b: conv(x, w, b) * a.sigmoid(),
             "after the convolution; here"),
            ("gate on both sides", lambda x, a, w, b: conv(x * a.sigmoid(), w, b) * a.sigmoid(), "twice, before and"),
            ("gate squared", static_with(lambda x, a: x * a.sigmoid() ** 2), "gate is applied twice \\("),
            ("no gate", static_with(lambda x, a: x), "gate is missing"),
            ("no sigmoid", static_with(lambda x, a: x * a), "sigmoid is missing: a are"),
            ("no sigmoid, after", lambda x, a, w, b: conv(x, w, b) * a, "must come before"),
            ("1 - gate", static_with(lambda x, a: x * (1 - a.sigmoid())), "not 1 - sigmoid"),
            ("tanh", static_with(lambda x, a: x * a.tanh()), "not a tanh"),
            ("ReLU", static_with(lambda x, a: x * a.relu()), "not a ReLU"),
            ("softmax", static_with(lambda x, a: x * a.softmax(1)), "channels compete"),
            ("hard gate", static_with(lambda x, a: x * (a > 0)), "not a threshold"),
            ("sigmoid twice", static_with(lambda x, a: x * a.sigmoid().sigmoid()), "taken twice"),
            ("mean gate of a pixel", static_with(lambda x, a: x * a.sigmoid().mean(1, True)), "mean over the channels"),
            ("gate of the mean logit", static_with(lambda x, a: x * a.mean(1, True).sigmoid()),
             "mean over the channels"),
            ("gate per channel", static_with(lambda x, a: x * a.sigmoid().mean((2, 3), True)), "mean over the image"),
            ("gate of the channel's mean", static_with(lambda x, a: x * a.mean((2, 3), True).sigmoid()),
             "mean over the im"),
            ("sigmoid of x", static_with(lambda x, a: x.sigmoid() * a), "wrong factor"),
            ("sigmoid of the product", static_with(lambda x, a: (x * a).sigmoid()), "around the product"),
            ("gate added", static_with(lambda x, a: x + a.sigmoid()), "must multiply"),
            ("gate without x", static_with(lambda x, a: a.sigmoid()), "features x are missing"),
            ("no bias", lambda x, a, w, b: conv(x * a.sigmoid(), w, None), "bias is missing"),
            ("bias twice", lambda x, a, w, b: conv(x * a.sigmoid(), w, b) + b[:, None, None], "added twice"),
            ("bias subtracted", lambda x, a, w, b: conv(x * a.sigmoid(), w, -b), "bias is subtracted"),
            ("bias along the width", bias_along_the_width, "along the width"),
            ("residual", lambda x, a, w, b: x + conv(x * a.sigmoid(), w, b), "residual"),
            ("kernel flipped", lambda x, a, w, b: conv(x * a.sigmoid(), w.flip(2, 3), b), "flipped"),
            ("kernel transposed", lambda x, a, w, b: conv(x * a.sigmoid(), w.mT, b), "rows and columns"),
            ("one filter for all", lambda x, a, w, b: conv(x * a.sigmoid(), w[:1].expand_as(w), b), "first channel's"),
            ("padding on one side", padded_by(2, 0, 2, 0), "shifted"),
            ("padding on the other side", padded_by(0, 2, 0, 2), "shifted"),
            ("replicate padding", padded_by(1, 1, 1, 1, mode="replicate"), "replicate padding"),
            ("reflect padding", padded_by(1, 1, 1, 1, mode="reflect"), "reflect padding"),
            ("circular padding", padded_by(1, 1, 1, 1, mode="circular"), "circular padding"),
            ("no padding", lambda x, a, w, b: conv(x * a.sigmoid(), w, b, 0), "padding is missing"),
            ("too much padding", lambda x, a, w, b: conv(x * a.sigmoid(), w, b, 2), "too large"),
            ("dense convolution", dense, "summed over the channels"),
            ("groups forgotten", without_groups, "groups must be"),
            ("groups built in", groups_built_in, "groups must be"),
            ("mean for sum", lambda x, a, w, b: conv(x * a.sigmoid(), w / 9, b), "must be their sum"),
            ("ReLU at the end", lambda x, a, w, b: conv(x * a.sigmoid(), w, b).relu(), "no ReLU"),
            ("input changed in place", in_place_2, "changes the x"),
            ("gate cut off from autograd", static_with(lambda x, a: x * a.sigmoid().detach()),
             "no gradient reaches a_st"),
            ("all cut off from autograd", lambda x, a, w, b: conv(x * a.sigmoid(), w, b).detach(), "no gradient flows"),
            ("left torch", lambda x, a, w, b: conv(x * a.sigmoid(), w, b).detach().numpy(), "must be a tensor"),
        ],
    ),
    "exercise_3": Exercise(
        right=[with_layer_norm, with_var, with_group_norm],
        wrong=[
            ("norm over the image", over((2, 3)), "over the image"),
            ("norm over channels and image", over((1, 2, 3)), "channels and image together"),
            ("batch norm", over((0, 2, 3)), "batch norm"),
            ("norm over the batch", over(0), "over the batch"),
            ("norm over the rows", over(2), "over the rows"),
            ("norm over the columns", over(3), "over the columns"),
            ("F.layer_norm without permute", dynamic_with(normalised_width), "\\*last\\* dimension"),
            ("sample variance", dynamic_with(sample_variance), "unbiased=False"),
            ("sample deviation plus eps", dynamic_with(sample_deviation), "C - 1, and eps is outside"),
            ("eps outside the root", dynamic_with(eps_outside), "eps is outside the root"),
            ("eps of torch's default", dynamic_with(lambda x, w, b: norm(x, w, b, 1e-5)), "1e-5"),
            ("no eps", dynamic_with(without_eps), "NaN"),
            ("mean not taken off", dynamic_with(root_mean_square), "mean is not taken off"),
            ("not divided", dynamic_with(lambda x, w, b: affine(x - x.mean(1, True), w, b)), "nothing is divided"),
            ("no root", dynamic_with(without_root), "root is missing"),
            ("no affine", dynamic_with(lambda x, w, b: norm(x, None, None)), "weight and bias of the layer norm are m"),
            ("no weight", dynamic_with(lambda x, w, b: norm(x, None, b)), "weight of the layer norm is missing"),
            ("no bias", dynamic_with(lambda x, w, b: norm(x, w, None)), "bias of the layer norm is missing"),
            ("bias before weight", dynamic_with(bias_before_weight), "before its weight"),
            ("weight along the width", dynamic_with(along_the_width), "along the width"),
            ("no norm", dynamic_with(lambda x, w, b: x), "layer norm is missing: the neigh"),
            ("affine alone", dynamic_with(affine), "alone do not make it"),
            ("gate first", gate_first, "after the sum, not before \\("),
            ("gate before the norm", gate_before_norm, "not before the layer norm"),
            ("norm last", norm_last, "comes last"),
            ("norm after the sum", norm_after_sum, "comes after the sum; it"),
            ("no gate", gated(lambda t, a: t), "gate is missing"),
            ("no sigmoid", gated(lambda t, a: t * a), "sigmoid is missing"),
            ("gate twice", gated(lambda t, a: t * a.sigmoid() ** 2), "applied twice"),
            ("1 - gate", gated(lambda t, a: t * (-a).sigmoid()), "not 1 - sigmoid"),
            ("tanh", gated(lambda t, a: t * a.tanh()), "not a tanh"),
            ("softmax", gated(lambda t, a: t * a.softmax(1)), "channels compete"),
            ("sigmoid twice", gated(lambda t, a: t * a.sigmoid().sigmoid()), "taken twice"),
            ("mean gate of a pixel", gated(lambda t, a: t * a.sigmoid().mean(1, True)), "mean over the channels"),
            ("gate per channel", gated(lambda t, a: t * a.sigmoid().mean((2, 3), True)), "mean over the image"),
            ("gate added", gated(lambda t, a: t + a.sigmoid()), "must multiply"),
            ("no sum", lambda x, k, a, w, b: norm(x, w, b) * a.sigmoid(), "sum is missing"),
            ("residual", lambda x, k, a, w, b: x + with_layer_norm(x, k, a, w, b), "residual"),
            ("softmax again", filtered(lambda k, x: k.softmax(2)), "no second softmax"),
            ("kernels flipped", filtered(lambda k, x: k.flip(2)), "flipped"),
            ("kernels transposed", filtered(transposed_taps), "rows and columns"),
            ("heads interleaved", filtered(interleaved_heads), "heads are interleaved"),
            ("mean of the heads", filtered(lambda k, x: k.mean(1, True)), "same kernel"),
            ("first head for all", filtered(lambda k, x: k[:, :1]), "same kernel"),
            ("padding replicate", filtered(lambda k, x: k, "replicate"), "replicate"),
            ("padding renormalize", filtered(lambda k, x: k, "renormalize"), "renormalize"),
            ("padded before the norm", padded_before_norm, "pad LayerNorm"),
            ("channels last", channels_last, "permute back"),
            ("channels not brought back before the sum", dynamic_with(lambda x, w, b: last(x, w, b)),
             "bring them back"),
            ("channels brought back by the same permute",
             dynamic_with(lambda x, w, b: last(x, w, b).permute(0, 2, 3, 1)), "bring them back"),
            ("channels brought back by transpose", dynamic_with(lambda x, w, b: last(x, w, b).transpose(1, 3)),
             "bring them back"),
            ("rows and channels exchanged", dynamic_with(lambda x, w, b: last(x, w, b).permute(0, 2, 1, 3)),
             "wrong order|bring them back"),
            ("channels brought back by reshape", dynamic_with(lambda x, w, b: last(x, w, b).reshape(x.shape)),
             "wrong order"),
            ("mean over the channels", dynamic_with(lambda x, w, b: norm(x, w, b).mean(1)), "keepdim"),
            ("sigmoid of the product", gated(lambda t, a: (t * a).sigmoid()), "around the product"),
            ("neither norm nor gate", lambda x, k, a, w, b: dynamic_conv2d(x, k), "layer norm and gate are missing"),
            ("neither norm nor sigmoid", lambda x, k, a, w, b: dynamic_conv2d(x, k) * a, "norm and sigmoid are mis"),
            ("input changed in place", in_place_3, "changes the x"),
            ("statistics cut off from autograd", statistics_detached, "gradient at x is not"),
            ("kernels cut off from autograd", filtered(lambda k, x: k.detach()), "no gradient reaches kernels"),
        ],
    ),
    "exercise_4": Exercise(
        right=[in_steps, by_parameters, through_taps],
        wrong=[
            ("the block called", lambda block, x, g: block(x, g), "build it from its parts"),
            ("the class's forward called", lambda block, x, g: type(block).forward(block, x, g), "from its parts"),
            ("the library's forward called", lambda block, x, g: SGDC.forward(block, x, g), "library's own"),
            ("a copy of the block called", copied_weights, "library's own"),
            ("a block of the library with these parameters", borrowed_forward, "library's own"),
            ("returns x", lambda block, x, g: x, "friend of q3"),
            ("returns x, copied", lambda block, x, g: x.clone(), "friend of q3"),
            ("static branch alone on the context", block_with(static=lambda b, x, c, a: b.dwconv(c * a.sigmoid())),
             "static branch filters x; yours filters c"),
            ("static branch on norm1(x)", block_with(static=lambda b, x, c, a: b.dwconv(b.norm1(x) * a.sigmoid())),
             "yours filters norm1"),
            ("no sigmoid, static", block_with(static=lambda b, x, c, a: b.dwconv(x * a)), "sigmoid of the static"),
            ("no sigmoid, dynamic", block_with(dynamic=lambda b, x, c, a, k: dynamic_conv2d(b.norm1(x), k, b.padding)
                                               * a), "sigmoid of the dynamic"),
            ("no sigmoids", block_with(static=lambda b, x, c, a: b.dwconv(x * a), dynamic=lambda b, x, c, a, k:
                                       dynamic_conv2d(b.norm1(x), k, b.padding) * a), "sigmoids of both"),
            ("no softmax", block_with(split=split_with(lambda z, n: z.unflatten(1, (n, -1)))), "softmax over the k"),
            ("a scale for each branch", block_with(join=lambda b, x, c, s, u: x + ls(b, 1) * s + ls(b, 2) * u),
             "ls2 multiplies u"),
            ("residual scaled", block_with(join=lambda b, x, c, s, u: ls(b, 1) * (x + s + u)), "residual x is scaled"),
            ("step 5 forgotten", block_with(join=lambda b, x, c, s, u: s + u, mlp=lambda b, x, y: y), "s \\+ u alone"),
            ("no ls1, no MLP", block_with(join=lambda b, x, c, s, u: x + s + u, mlp=lambda b, x, y: y),
             "ls1 and the MLP are"),
            ("guidance not resized", block_with(resize=without_resize), "larger or smaller"),
            ("nearest", block_with(resize=lambda g, x: resized(g, x, mode="nearest", align_corners=None)), "nearest"),
            ("align_corners=True", block_with(resize=lambda g, x: resized(g, x, align_corners=True)), "align_corners"),
            ("antialias", block_with(resize=lambda g, x: resized(g, x, antialias=True)), "antialias"),
            ("area", block_with(resize=lambda g, x: resized(g, x, mode="area", align_corners=None)),
             "averages over areas"),
            ("bicubic", block_with(resize=lambda g, x: resized(g, x, mode="bicubic")), "bicubic"),
            ("context without x", block_with(context=lambda b, x, g: b.proj_guidance(g)), "yours is proj_guidance"),
            ("context without guidance", block_with(context=lambda b, x, g: x), "leaves out the guidance"),
            ("projection without bias", block_with(context=lambda b, x, g: x + F.conv2d(g, b.proj_guidance.weight)),
             "bias of proj_guidance"),
            ("gates exchanged", block_with(split=gates_exchanged_4), "gates are exchanged"),
            ("softmax over heads", block_with(split=split_with(lambda z, n: z.unflatten(1, (n, -1)).softmax(1))),
             "softmax is over the heads"),
            ("heads interleaved", block_with(split=split_with(lambda z, n: z.unflatten(1, (-1, n)).transpose(1, 2)
                                                              .softmax(2))), "heads are interleaved"),
            ("static gate after", block_with(static=lambda b, x, c, a: b.dwconv(x) * a.sigmoid()),
             "static gate comes bef"),
            ("no static gate", block_with(static=lambda b, x, c, a: b.dwconv(x)), "static gate is missing"),
            ("static branch on the context", block_with(static=lambda b, x, c, a: b.dwconv(c * a.sigmoid()),
                                                        dynamic=lambda b, x, c, a, k: dynamic_conv2d(
                                                            b.norm1(c), k, b.padding) * a.sigmoid()), "both branches"),
            ("value from the context", block_with(dynamic=lambda b, x, c, a, k: dynamic_conv2d(b.norm1(c), k, b.padding)
                                                  * a.sigmoid()), "yours filters LayerNorm\\(c\\)"),
            ("dynamic gate before", block_with(dynamic=lambda b, x, c, a, k: dynamic_conv2d(
                b.norm1(x) * a.sigmoid(), k, b.padding)), "dynamic gate comes after"),
            ("no dynamic gate", block_with(dynamic=lambda b, x, c, a, k: dynamic_conv2d(b.norm1(x), k, b.padding)),
             "dynamic gate is missing"),
            ("no norm1", block_with(dynamic=lambda b, x, c, a, k: dynamic_conv2d(x, k, b.padding) * a.sigmoid()),
             "norm1 is missing"),
            ("norm2 for norm1", block_with(dynamic=lambda b, x, c, a, k: dynamic_conv2d(b.norm2(x), k, b.padding)
                                           * a.sigmoid(), mlp=lambda b, x, y: y + ls(b, 2) * b.mlp(b.norm1(y))),
             "norm1 and norm2 are exchanged"),
            ("padding built in", block_with(dynamic=lambda b, x, c, a, k: dynamic_conv2d(b.norm1(x), k) * a.sigmoid()),
             "not block.padding"),
            ("no ls1", block_with(join=lambda b, x, c, s, u: x + s + u), "ls1 is missing"),
            ("ls1 on s alone", block_with(join=lambda b, x, c, s, u: x + ls(b, 1) * s + u), "use brackets"),
            ("ls1 on u alone", block_with(join=lambda b, x, c, s, u: x + s + ls(b, 1) * u), "use brackets"),
            ("ls1 along the width", block_with(join=lambda b, x, c, s, u: x + b.ls1 * (s + u),
                                               mlp=lambda b, x, y: y + b.ls2 * b.mlp(b.norm2(y))),
             "each layer scale goes"),
            ("only ls2 along the width", block_with(mlp=lambda b, x, y: y + b.ls2 * b.mlp(b.norm2(y))),
             "ls2 goes along"),
            ("only ls1 along the width", block_with(join=lambda b, x, c, s, u: x + b.ls1 * (s + u)), "ls1 goes along"),
            ("ls1 twice", block_with(mlp=lambda b, x, y: y + ls(b, 1) * b.mlp(b.norm2(y))), "ls1 is used twice"),
            ("ls2 twice", block_with(join=lambda b, x, c, s, u: x + ls(b, 2) * (s + u)), "ls2 is used twice"),
            ("norm2 twice", block_with(dynamic=lambda b, x, c, a, k: dynamic_conv2d(b.norm2(x), k, b.padding)
                                       * a.sigmoid()), "norm2 is used twice"),
            ("heads built in", block_with(split=split_with(lambda z, n: z.unflatten(1, (4, -1)).softmax(2))),
             "number built in"),
            ("taps before heads", block_with(split=split_with(lambda z, n: z.unflatten(1, (-1, n)).softmax(1))),
             "not \\(taps, heads"),
            ("guidance only enlarged", block_with(resize=enlarged),
             "larger or smaller"),
            ("no residual x", block_with(join=lambda b, x, c, s, u: ls(b, 1) * (s + u)), "residual x is missing"),
            ("residual of the context", block_with(join=lambda b, x, c, s, u: c + ls(b, 1) * (s + u)),
             "not the context"),
            ("s alone", block_with(join=lambda b, x, c, s, u: x + ls(b, 1) * s), "dynamic branch is missing"),
            ("u alone", block_with(join=lambda b, x, c, s, u: x + ls(b, 1) * u), "static branch is missing"),
            ("s times u", block_with(join=lambda b, x, c, s, u: x + ls(b, 1) * s * u), "multiplied"),
            ("s minus u", block_with(join=lambda b, x, c, s, u: x + ls(b, 1) * (s - u)), "subtracted"),
            ("scales exchanged", block_with(join=lambda b, x, c, s, u: x + ls(b, 2) * (s + u),
                                            mlp=lambda b, x, y: y + ls(b, 1) * b.mlp(b.norm2(y))),
             "ls1 and ls2 are ex"),
            ("no scales", block_with(join=lambda b, x, c, s, u: x + s + u, mlp=lambda b, x, y: y + b.mlp(b.norm2(y))),
             "both layer scales"),
            ("no ls2", block_with(mlp=lambda b, x, y: y + b.mlp(b.norm2(y))), "ls2 is missing"),
            ("no MLP", block_with(mlp=lambda b, x, y: y), "MLP is missing"),
            ("no residual y", block_with(mlp=lambda b, x, y: ls(b, 2) * b.mlp(b.norm2(y))), "residual y is missing"),
            ("residual x for y", block_with(mlp=lambda b, x, y: x + ls(b, 2) * b.mlp(b.norm2(y))), "is y, not x"),
            ("MLP beside the branches", block_with(mlp=lambda b, x, y: y + ls(b, 2) * b.mlp(b.norm2(x))),
             "reads norm2\\(x"),
            ("MLP of the branches", block_with(mlp=lambda b, x, y: y + ls(b, 2) * b.mlp(b.norm2(y - x))),
             "branches alone"),
            ("no norm2", block_with(mlp=lambda b, x, y: y + ls(b, 2) * b.mlp(y)), "norm2 is missing"),
            ("norm1 twice", block_with(mlp=lambda b, x, y: y + ls(b, 2) * b.mlp(b.norm1(y))), "norm1 is used twice"),
            ("ReLU for GELU", block_with(mlp=lambda b, x, y: y + ls(b, 2) * b.mlp[2](b.mlp[0](b.norm2(y)).relu())),
             "not ReLU"),
            ("no GELU", block_with(mlp=lambda b, x, y: y + ls(b, 2) * b.mlp[2](b.mlp[0](b.norm2(y)))),
             "GELU is missing"),
            ("input changed in place", in_place_4, "changes the x"),
            ("weights changed in place", scales_in_place, "changes block.ls1"),
            ("guidance detached", guidance_detached, "no gradient reaches the guidance"),
            ("context detached", context_detached, "gradient at x is not"),
            ("kernels detached", kernels_detached, "gradient at .* is not"),
        ],
    ),
    "exercise_5": Exercise(
        right=[lambda: {1, 2, 7}, lambda: [7, 2, 1], lambda: (1, 2, 7)],
        wrong=[
            ("the branch is useless", lambda: {1, 2, 3, 7}, "3 does not follow"),
            ("changed means worse", lambda: {1, 2, 4, 7}, "4 does not follow: changed is not worse"),
            ("the boundary loss does nothing", lambda: {1, 2, 5, 7}, "5 does not follow: E is a dead end"),
            ("boundary map and guidance are one", lambda: {1, 2, 6, 7}, "6 does not follow: E and G are two"),
            ("zeroed is as good as trained without", lambda: {1, 2, 7, 8}, "8 does not follow: zeros"),
            ("wiring taken for a measurement", lambda: {1, 7}, "no path leads from E"),
            ("zeroing shows nothing", lambda: {2, 7}, "this network does read it"),
            ("drawing on the map may help", lambda: {1, 2}, "such a tool edits E"),
            ("nothing follows", lambda: set(), "something is missing"),
            ("all follow", lambda: set(range(1, 9)), "3 does not follow"),
            ("letters", lambda: {"A"}, "set of numbers"),
            ("a number that is none", lambda: {1, 2, 7, 9}, "no statement 9"),
            ("one number, no set", lambda: 7, "set of numbers"),
        ],
    ),
}  # fmt: skip
