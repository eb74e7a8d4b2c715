"""SGE, the structural guidance extractor: the boundary branch of SGDC (Shi et al., MIDL 2026, arXiv 2602.23496).

It reads one deep and one shallow feature map and gives two things: edge logits, which a boundary target supervises,
and guidance, which the SGDC blocks read. The edge map itself never enters an SGDC block: editing it changes nothing.

Parameter names follow the authors' release, so that their checkpoints load (`sgdc_viz.nn.authors`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SOBEL_GATES = ("channel_sum", "per_channel", "off")

# Cross-correlation kernels, as released.
SOBEL_X = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))
SOBEL_Y = ((1.0, 2.0, 1.0), (0.0, 0.0, 0.0), (-1.0, -2.0, -1.0))


def check_features(name: str, x: Tensor, channels: int) -> None:
    """Raise a ValueError that says so if x is no feature map [B, channels, H, W]."""
    if x.ndim != 4 or x.shape[1] != channels:
        raise ValueError(f"{name} must have shape [B, {channels}, H, W], got {list(x.shape)}.")


def sobel_magnitude(x: Tensor) -> Tensor:
    """Length of the Sobel gradient of each channel, zero padding: [B, C, H, W] -> [B, C, H, W].

        M = sqrt(Gx^2 + Gy^2)

    Where both derivatives are exactly 0 the true gradient of the root is infinite; the release then trains on NaN
    (an all-constant stage is enough, for example a 1 x 1 map). Here that gradient is 0. Values are unchanged.
    """
    channels = x.shape[1]
    kernels = torch.tensor((SOBEL_X, SOBEL_Y), dtype=x.dtype, device=x.device)  # [2, 3, 3]
    weight = kernels[:, None].repeat(channels, 1, 1, 1)  # [2C, 1, 3, 3]: x and y derivative of each channel in turn
    gradient = F.conv2d(x, weight, padding=1, groups=channels).unflatten(1, (channels, 2))  # [B, C, 2, H, W]
    return _safe_sqrt(gradient.square().sum(2))


def sobel_magnitude_dense_reference(x: Tensor) -> Tensor:
    """The released form: a dense C-to-C convolution whose filters are all equal. [B, C, H, W] -> [B, C, H, W].

    Every output channel is the Sobel magnitude of the *sum* over channels, computed C times: at C = 256 that is
    1,179,648 constant weights. `SGE` computes it once and broadcasts; a test holds the two equal.
    """
    channels = x.shape[1]
    sobel_x, sobel_y = torch.tensor((SOBEL_X, SOBEL_Y), dtype=x.dtype, device=x.device)
    gx = F.conv2d(x, sobel_x.expand(channels, channels, 3, 3), padding=1)
    gy = F.conv2d(x, sobel_y.expand(channels, channels, 3, 3), padding=1)
    return _safe_sqrt(gx.square() + gy.square())


def _safe_sqrt(x: Tensor) -> Tensor:
    positive = x > 0
    # The inner `where` keeps the root's infinite slope at 0 out of the backward pass (inf * 0 is NaN).
    return torch.where(positive, torch.where(positive, x, 1.0).sqrt(), 0.0)


class ConvBNReLU(nn.Sequential):
    """Convolution without bias, batch norm, ReLU, with the sub-modules named `conv` and `bn`."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = nn.ReLU(inplace=True)


class Refine(nn.Module):
    """Bottleneck with a residual connection: R(Q) = ReLU(Q + BN(Conv1x1(ReLU(BN(Conv3x3(ReLU(BN(Conv1x1(Q)))))))))."""

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        mid = channels // reduction
        self.refine = nn.Sequential(
            nn.Conv2d(channels, mid, 1, bias=False),
            nn.BatchNorm2d(mid),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid, mid, 3, padding=1, bias=False),
            nn.BatchNorm2d(mid),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, q: Tensor) -> Tensor:
        return F.relu(q + self.refine(q))


class SGE(nn.Module):
    """Structural guidance extractor.

    For each of the two levels, with P = ReLU(BN(Conv1x1(X))):

        M = |Sobel(P)|          Q = sigmoid(M) * P          R = Refine(Q)

    then F = ReLU(BN(Conv3x3([upsample(R4), R1]))), edge logits = Conv1x1(F), guidance = Conv1x1(F).

    Args:
        deep_channels: channels of the deep map X4 (stride 32 in the paper).
        shallow_channels: channels of the shallow map X1 (stride 4 in the paper).
        mid_channels: m, width inside the branch.
        guidance_channels: g, channels of the guidance.
        reduction: r, the bottleneck of Refine has m / r channels.
        sobel_gate: what M is.
            "channel_sum" (default, as released): Sobel of the sum over channels, the same for all channels. The sum of
            256 channels is so large that sigmoid(M) exceeds 0.999 nearly everywhere: the gate is stuck open.
            "per_channel": Sobel of each channel, divided by 8 (the filter's gain on a unit step is 4), so
            that the sigmoid works where it has a slope.
            "off": no gate, Q = P: the control that shows what the Sobel step adds.

    Shape:
        deep [B, deep_channels, h4, w4], shallow [B, shallow_channels, h, w]
        -> edge_logits [B, 1, h, w], guidance [B, guidance_channels, h, w]

    Raises:
        ValueError: naming the argument that does not fit, here or in `forward`.
    """

    def __init__(
        self,
        deep_channels: int,
        shallow_channels: int,
        mid_channels: int = 256,
        guidance_channels: int = 16,
        reduction: int = 4,
        sobel_gate: str = "channel_sum",
    ):
        super().__init__()
        if sobel_gate not in SOBEL_GATES:
            raise ValueError(f"sobel_gate={sobel_gate!r} is unknown: use one of {', '.join(SOBEL_GATES)}.")
        widths = dict(
            deep_channels=deep_channels, shallow_channels=shallow_channels, mid_channels=mid_channels,
            guidance_channels=guidance_channels,
        )  # fmt: skip
        for name, width in widths.items():
            if width < 1:
                raise ValueError(f"{name}={width} must be 1 or more channels.")
        if reduction < 1 or mid_channels % reduction:
            raise ValueError(f"mid_channels={mid_channels} is not divisible by reduction={reduction}: change one.")
        self.sobel_gate, self.deep_channels, self.shallow_channels = sobel_gate, deep_channels, shallow_channels
        self.s4_proj = ConvBNReLU(deep_channels, mid_channels)
        self.s1_proj = ConvBNReLU(shallow_channels, mid_channels)
        self.refine4 = Refine(mid_channels, reduction)
        self.refine1 = Refine(mid_channels, reduction)
        self.fuse = ConvBNReLU(2 * mid_channels, mid_channels, 3)
        self.out_edge_map = nn.Conv2d(mid_channels, 1, 1, bias=False)
        self.out_guidance = nn.Conv2d(mid_channels, guidance_channels, 1, bias=False)
        # Identity taps (see sgdc.py): a hook on these sees the step of the same name.
        self.gate_deep, self.gate_shallow = nn.Identity(), nn.Identity()

    def magnitude(self, p: Tensor) -> Tensor:
        """The Sobel map that drives the gate: [B, m, h, w] -> [B, 1 or m, h, w]."""
        if self.sobel_gate == "per_channel":
            return sobel_magnitude(p) / 8
        return sobel_magnitude(p.sum(1, keepdim=True))  # Sobel is linear: the sum may be taken first

    def modulate(self, p: Tensor, tap: nn.Module) -> Tensor:
        if self.sobel_gate == "off":
            return p
        return tap(torch.sigmoid(self.magnitude(p))) * p

    def forward(self, deep: Tensor, shallow: Tensor) -> tuple[Tensor, Tensor]:
        check_features("deep", deep, self.deep_channels)
        check_features("shallow", shallow, self.shallow_channels)
        if deep.shape[0] != shallow.shape[0]:
            raise ValueError(
                f"deep is of {deep.shape[0]} image(s), shallow of {shallow.shape[0]}: give the same batch."
            )
        p4, p1 = self.s4_proj(deep), self.s1_proj(shallow)
        r4 = self.refine4(self.modulate(p4, self.gate_deep))
        r1 = self.refine1(self.modulate(p1, self.gate_shallow))
        r4 = F.interpolate(r4, size=r1.shape[-2:], mode="bilinear", align_corners=False)
        fused = self.fuse(torch.cat([r4, r1], dim=1))  # [B, m, h, w]
        return self.out_edge_map(fused), self.out_guidance(fused)
