"""SGDC, the structure-guided dynamic convolution block (Shi et al., MIDL 2026, arXiv 2602.23496).

One block, one switch: `kernel_source` decides from which context c the kernels and gates are made, and nothing else.
All four sources have the same parameters.

    structure   c = x + Conv1x1(guidance)      per pixel, guided by the boundary branch: SGDC
    semantic    c = x                          per pixel, no guidance
    pooled      c = upsample(avgpool_p(x))     one context for each p x p block of pixels
    global      c = mean of x over the image   one context for the image: the classical dynamic convolution
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dynamic_conv import PADDINGS, dynamic_conv2d
from .sge import check_features

KERNEL_SOURCES = ("structure", "semantic", "pooled", "global")


def pool_context(x: Tensor, pool_size: int) -> Tensor:
    """Average over p x p blocks, then give every pixel its block's mean: [B, C, H, W] -> [B, C, H, W].

    Blocks cut off by the right or bottom border average what is left of them. pool_size 1 returns x.
    """
    if pool_size == 1:
        return x
    height, width = x.shape[-2:]
    rows, columns = min(pool_size, height), min(pool_size, width)
    pooled = F.avg_pool2d(x, (rows, columns), ceil_mode=True, count_include_pad=False)
    blocks = pooled.repeat_interleave(rows, dim=-2).repeat_interleave(columns, dim=-1)
    return blocks[..., :height, :width]


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of each pixel: [B, C, H, W] -> [B, C, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training, drop the whole branch of a sample with probability p."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        keep = torch.rand(x.shape[0], 1, 1, 1, device=x.device) >= self.p
        return x * keep.to(x.dtype) / (1 - self.p)


class SGDC(nn.Module):
    """The block. With c from `kernel_source`:

        [a1, a2, L] = Conv1x1(c)                         a1, a2 [d], L [heads * k*k] at each pixel
        K = softmax over the k*k taps of L               per head and pixel
        s = DWConv3x3(x * sigmoid(a1))                   static branch
        u = dynamic_conv2d(LayerNorm(x), K) * sigmoid(a2)    dynamic branch
        y = x + DropPath(ls1 * (s + u))
        out = y + DropPath(ls2 * MLP(LayerNorm(y)))

    K is never negative and sums to one: before its gate, a value of the dynamic branch is an average of neighbours in
    LayerNorm(x) (with 0 outside the image, if padding is "zeros") and never leaves their range. With *one* kernel for
    all pixels that would be a filter which, away from the border, adds no variation: sums of |differences| never grow.
    But each pixel has a kernel of its own, so this is not always a low-pass filter: kernels that average on one side of
    a border only, as in the Kuwahara filter, make a blurred step steeper. What they cannot do is overshoot. Values
    beyond the range of the neighbours come from the static branch alone, whose weights may be negative. The gates are
    per pixel *and* per channel.

    Args:
        dim: d, channels of x. Divisible by `heads`.
        guidance_channels: g, channels of the guidance.
        heads: kernels per pixel; head h filters the h-th contiguous slice of d / heads channels.
        kernel_size: k, odd.
        mlp_ratio: hidden width of the MLP over d; at least 1 / d.
        drop_path: probability of dropping a branch in training, 0 <= p < 1.
        layer_scale_init: start value of ls1 and ls2. At the released 1e-6 the block starts as an identity and its
            guidance path receives gradients of about 1e-8. How soon it wakes up is the optimizer's doing: with AdamW
            at 2e-3 the layer scale itself grows by about that much a step, and within some tens of steps the gradients
            have caught up; with SGD it takes a learning rate that suits the task (notebook 04 measures both). 0.1
            starts it awake.
        kernel_source: "structure", "semantic", "pooled" or "global" (top of this file).
        pool_size: p of "pooled", in feature pixels; unused otherwise.
        padding: what the dynamic branch sees outside the image. "zeros" is the release and weakens values at borders,
            because kernels lose the mass that falls outside; "replicate" and "renormalize" keep it, see
            `dynamic_conv2d`.
        antialias: smooth the guidance before it is made smaller. The release does not, and a line one pixel wide can
            vanish altogether.

    Taps: identity modules through which everything worth seeing passes, so that a hook reads or replaces it:
        context [B,d,H,W], guidance [B,g,H,W] (only "structure" reads it), kernel_logits and kernels
        [B,heads,k*k,H,W], gate_static, gate_dynamic, value (LayerNorm(x)), static_out (s), dynamic_out (u) [B,d,H,W].

    Shape:
        x [B, d, H, W], guidance [B, g, h, w] of any size (resized to H x W) -> [B, d, H, W]

    Raises:
        ValueError: naming the argument that does not fit, here or in `forward`.
    """

    def __init__(
        self,
        dim: int,
        guidance_channels: int = 16,
        heads: int = 4,
        kernel_size: int = 7,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        layer_scale_init: float = 1e-6,
        kernel_source: str = "structure",
        pool_size: int = 8,
        padding: str = "zeros",
        antialias: bool = False,
    ):
        super().__init__()
        for name, width in (("dim", dim), ("guidance_channels", guidance_channels)):
            if width < 1:
                raise ValueError(f"{name}={width} must be 1 or more channels.")
        if heads < 1 or dim % heads:
            raise ValueError(f"dim={dim} is not divisible by heads={heads}: every head needs an equal share.")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size} must be odd and positive, so that the kernel has a centre.")
        if kernel_source not in KERNEL_SOURCES:
            raise ValueError(f"kernel_source={kernel_source!r} is unknown: use one of {', '.join(KERNEL_SOURCES)}.")
        if pool_size < 1:
            raise ValueError(f"pool_size={pool_size} must be 1 or more feature pixels.")
        if padding not in PADDINGS:
            raise ValueError(f"padding={padding!r} is unknown: use one of {', '.join(PADDINGS)}.")
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path={drop_path} is a probability: 0 <= drop_path < 1.")
        hidden = int(dim * mlp_ratio)
        if hidden < 1:
            raise ValueError(f"mlp_ratio={mlp_ratio} leaves the MLP no channel at dim={dim}: use 1 / {dim} or more.")
        self.dim, self.heads, self.kernel_size = dim, heads, kernel_size
        self.guidance_channels, self.kernel_source, self.pool_size = guidance_channels, kernel_source, pool_size
        self.padding, self.antialias = padding, antialias

        self.proj_guidance = nn.Conv2d(guidance_channels, dim, 1)
        self.attn = nn.Conv2d(dim, 2 * dim + heads * kernel_size**2, 1)
        self.norm1 = LayerNorm2d(dim, eps=1e-6)
        self.norm2 = LayerNorm2d(dim, eps=1e-6)
        self.dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.mlp = nn.Sequential(nn.Conv2d(dim, hidden, 1), nn.GELU(), nn.Conv2d(hidden, dim, 1))
        self.ls1 = nn.Parameter(torch.full((dim,), float(layer_scale_init)))
        self.ls2 = nn.Parameter(torch.full((dim,), float(layer_scale_init)))
        self.drop_path = DropPath(drop_path)

        self.tap_names = ("context", "guidance", "kernel_logits", "kernels", "gate_static", "gate_dynamic", "value",
                          "static_out", "dynamic_out")  # fmt: skip
        for name in self.tap_names:
            self.add_module(name, nn.Identity())

    def make_context(self, x: Tensor, guidance: Tensor | None) -> Tensor:
        """c, from which kernels and gates are made: [B, d, H, W]."""
        if self.kernel_source == "semantic":
            return x
        if self.kernel_source == "pooled":
            return pool_context(x, self.pool_size)
        if self.kernel_source == "global":
            return x.mean((-2, -1), keepdim=True).expand_as(x)
        if guidance is None:
            raise ValueError("kernel_source='structure' needs the guidance that SGE gives: call block(x, guidance).")
        check_features("guidance", guidance, self.guidance_channels)
        if guidance.shape[0] != x.shape[0]:
            raise ValueError(f"guidance is of {guidance.shape[0]} image(s) and x of {x.shape[0]}: give the same batch.")
        if guidance.shape[-2:] != x.shape[-2:]:
            guidance = F.interpolate(
                guidance, size=x.shape[-2:], mode="bilinear", align_corners=False, antialias=self.antialias
            )
        return x + self.proj_guidance(self.guidance(guidance))

    def mix(self, x: Tensor, guidance: Tensor | None) -> Tensor:
        """s + u, what the block adds before layer scale: [B, d, H, W]."""
        taps = self.kernel_size**2
        mixed = self.attn(self.context(self.make_context(x, guidance)))  # [B, 2d + heads*k*k, H, W]
        a1, a2, logits = mixed.split((self.dim, self.dim, self.heads * taps), dim=1)
        logits = self.kernel_logits(logits.unflatten(1, (self.heads, taps)))  # [B, heads, k*k, H, W]
        kernels = self.kernels(logits.softmax(dim=2))
        s = self.static_out(self.dwconv(x * self.gate_static(a1.sigmoid())))
        u = dynamic_conv2d(self.value(self.norm1(x)), kernels, self.padding) * self.gate_dynamic(a2.sigmoid())
        return s + self.dynamic_out(u)

    def forward(self, x: Tensor, guidance: Tensor | None = None) -> Tensor:
        check_features("x", x, self.dim)
        y = x + self.drop_path(self.ls1[:, None, None] * self.mix(x, guidance))
        return y + self.drop_path(self.ls2[:, None, None] * self.mlp(self.norm2(y)))
