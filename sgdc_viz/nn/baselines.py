"""Published pooling-based dynamic convolutions, and a static one, as blocks for the same slot as SGDC.

    dyconv  Chen et al., "Dynamic Convolution: Attention over Convolution Kernels", CVPR 2020, arXiv 1912.03458
    idconv  the input-dependent depthwise convolution of TransXNet, Lou et al. 2023, arXiv 2310.19380
    plain   an ordinary depthwise convolution: one kernel for every image and pixel

Each is a depthwise k x k mixer between two 1 x 1 convolutions, in the residual frame of the SGDC block:

    y = x + ls1 * (Conv1x1(mixer(Conv1x1(LayerNorm(x)))))        out = y + ls2 * MLP(LayerNorm(y))

The MLP is as wide as it must be for the block to have the parameter count of the SGDC block it stands in for.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .sgdc import SGDC, DropPath, LayerNorm2d


class DyConv(nn.Module):
    """One kernel per *image*: softmax over E expert kernels, weighted from the globally pooled features.

        pi = softmax(W2 ReLU(W1 mean(x)) / T)        kernel = sum_e pi_e W_e

    Depthwise experts. T is the temperature; the paper anneals it from 30 to 1, here it is fixed.

    Shape: [B, C, H, W] -> [B, C, H, W]
    """

    def __init__(self, dim: int, kernel_size: int = 7, experts: int = 4, reduction: int = 4, temperature: float = 1.0):
        super().__init__()
        self.kernel_size, self.temperature = kernel_size, temperature
        hidden = max(1, dim // reduction)
        self.attention = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, experts))
        self.weight = nn.Parameter(_depthwise_kernels(experts, dim, kernel_size))
        self.bias = nn.Parameter(torch.zeros(experts, dim))

    def forward(self, x: Tensor) -> Tensor:
        pi = (self.attention(x.mean((-2, -1))) / self.temperature).softmax(-1)  # [B, E]
        weight = torch.einsum("be,eckl->bckl", pi, self.weight)  # [B, C, k, k]
        return _depthwise_per_image(x, weight, pi @ self.bias)


class IDConv(nn.Module):
    """One kernel per image and *channel*: attention over G kernels, made from features pooled to k x k.

        A = softmax over G of Conv1x1(Conv1x1(adaptive_avg_pool(x, k)))        kernel = sum_g A_g * W_g

    Shape: [B, C, H, W] -> [B, C, H, W]
    """

    def __init__(self, dim: int, kernel_size: int = 7, groups: int = 2, reduction: int = 4):
        super().__init__()
        self.kernel_size, self.groups = kernel_size, groups
        hidden = max(1, dim // reduction)
        self.attention = nn.Sequential(nn.Conv2d(dim, hidden, 1), nn.GELU(), nn.Conv2d(hidden, groups * dim, 1))
        self.weight = nn.Parameter(_depthwise_kernels(groups, dim, kernel_size))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, self.kernel_size)  # [B, C, k, k]
        scores = self.attention(pooled).unflatten(1, (self.groups, -1))  # [B, G, C, k, k]
        weight = (scores.softmax(1) * self.weight).sum(1)  # [B, C, k, k]
        return _depthwise_per_image(x, weight, self.bias.expand(x.shape[0], -1))


class Plain(nn.Conv2d):
    """A static depthwise k x k convolution. Shape: [B, C, H, W] -> [B, C, H, W]."""

    def __init__(self, dim: int, kernel_size: int = 7):
        super().__init__(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)


def _depthwise_kernels(count: int, dim: int, kernel_size: int) -> Tensor:
    """Random kernels [count, dim, k, k] at the scale of torch's own depthwise convolutions."""
    bound = 1 / kernel_size
    return torch.empty(count, dim, kernel_size, kernel_size).uniform_(-bound, bound)


def _depthwise_per_image(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Depthwise convolution with other kernels for each image: x [B,C,H,W], weight [B,C,k,k], bias [B,C]."""
    batch, channels = x.shape[:2]
    weight, bias = weight.to(x.dtype), bias.to(x.dtype)
    flat = x.reshape(1, batch * channels, *x.shape[2:])  # fold the batch into the channels: one group each
    out = F.conv2d(flat, weight.flatten(0, 1)[:, None], padding=weight.shape[-1] // 2, groups=batch * channels)
    return out.view_as(x) + bias[:, :, None, None]


MIXERS = {"dyconv": DyConv, "idconv": IDConv, "plain": Plain}


class BaselineBlock(nn.Module):
    """DyConv, IDConv or Plain in the slot of an SGDC block; the guidance is taken and ignored.

    Args: as `SGDC`; kernel_source is "dyconv", "idconv" or "plain".

    Shape: x [B, d, H, W] (guidance: anything) -> [B, d, H, W]
    """

    def __init__(
        self,
        dim: int,
        kernel_source: str,
        guidance_channels: int = 16,
        heads: int = 4,
        kernel_size: int = 7,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        layer_scale_init: float = 1e-6,
    ):
        super().__init__()
        if kernel_source not in MIXERS:
            raise ValueError(f"kernel_source={kernel_source!r} is unknown: use one of {', '.join(MIXERS)}.")
        self.kernel_source = kernel_source
        self.norm1, self.norm2 = LayerNorm2d(dim, eps=1e-6), LayerNorm2d(dim, eps=1e-6)
        self.before, self.after = nn.Conv2d(dim, dim, 1), nn.Conv2d(dim, dim, 1)
        self.mixer = MIXERS[kernel_source](dim, kernel_size)
        self.ls1 = nn.Parameter(torch.full((dim,), float(layer_scale_init)))
        self.ls2 = nn.Parameter(torch.full((dim,), float(layer_scale_init)))
        self.drop_path = DropPath(drop_path)

        with torch.device("meta"):  # only counted, never allocated (and it checks the arguments)
            goal = _count(SGDC(dim, guidance_channels, heads, kernel_size, mlp_ratio, drop_path))
        hidden = max(1, round((goal - _count(self) - dim) / (2 * dim + 1)))  # an MLP has 2 d hidden + hidden + d
        self.mlp = nn.Sequential(nn.Conv2d(dim, hidden, 1), nn.GELU(), nn.Conv2d(hidden, dim, 1))

    def forward(self, x: Tensor, guidance: Tensor | None = None) -> Tensor:
        mixed = self.after(self.mixer(self.before(self.norm1(x))))
        y = x + self.drop_path(self.ls1[:, None, None] * mixed)
        return y + self.drop_path(self.ls2[:, None, None] * self.mlp(self.norm2(y)))


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
