"""Rebuild what a block did from its recorded parts: at one pixel (`PixelView`) or everywhere (`differences`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from sgdc_viz.nn import SGDC, dynamic_conv2d_reference

from .taps import join


@dataclass
class BlockRun:
    """One run of one block: its taps by name, its own input and output, and the size of the model's image then.

    `made` holds what the block had made for taps where something (see `intervene`) put another value in its place.
    """

    image: tuple[int, int] | None
    taps: dict[str, Tensor] = field(default_factory=dict)
    made: dict[str, Tensor] = field(default_factory=dict)
    x: Tensor | None = None
    out: Tensor | None = None

    def any_tap(self) -> Tensor:
        """One of the taps: all have the same batch, height, width and device."""
        return next(iter(self.taps.values()))


@dataclass(frozen=True, eq=False)
class PixelView:
    """What one SGDC block did at one pixel. Made by `Recording.at`; each part is cut out when first asked for.

    d channels, k x k taps; head h filters the h-th contiguous slice of d / heads channels. All tensors are float32, or
    float64 if recorded so, and where they were recorded.

    Attributes:
        block, stride, batch: which block, its image pixels per feature pixel, which image.
        feature: (i, j), row and column in the block's feature map.
    """

    block: str
    stride: int
    feature: tuple[int, int]
    batch: int
    _run: BlockRun = field(repr=False)
    _module: SGDC = field(repr=False)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(y0, x0, y1, x1): image pixels [y0, y1) x [x0, x1) under the k x k taps; may reach beyond the image."""
        r, s, (i, j) = self._module.kernel_size // 2, self.stride, self.feature
        return (i - r) * s, (j - r) * s, (i + r + 1) * s, (j + r + 1) * s

    @cached_property
    def kernels(self) -> Tensor:
        """[heads, k, k], each >= 0 and summing to one."""
        return self._read("kernels").unflatten(1, (self._module.kernel_size, -1))

    @cached_property
    def patch(self) -> Tensor:
        """[d, k, k]: the neighbours in `value` (LayerNorm of the block's input), outside the map as the block pads."""
        value = self._recorded("value")
        rows, columns = (n.clamp(0, size - 1) for n, size in zip(self._taps, value.shape[-2:], strict=True))
        patch = value[self.batch][:, rows[:, None], columns].to(_work(value))
        return patch if self._module.padding == "replicate" else patch.masked_fill(~self._inside, 0)

    @cached_property
    def in_bounds(self) -> Tensor:
        """[heads]: mass of each kernel that falls inside the feature map, 0..1."""
        return (self.kernels * self._inside).sum((1, 2))

    @cached_property
    def weights(self) -> Tensor:
        """[heads, k, k]: the weights as used: `kernels`, divided by `in_bounds` where padding is "renormalize"."""
        return self.kernels / self.in_bounds[:, None, None] if self._module.padding == "renormalize" else self.kernels

    @cached_property
    def contribution(self) -> Tensor:
        """[d, k, k]: what each neighbour gives, patch * weights of the channel's head."""
        return self.patch * self.weights.repeat_interleave(self.patch.shape[0] // self._module.heads, 0)

    @property
    def filtered(self) -> Tensor:
        """[d]: the dynamic convolution here, the sum of `contribution`."""
        return self.contribution.sum((1, 2))

    @cached_property
    def gate_static(self) -> Tensor:
        """[d], 0..1: how much of the input enters the static branch."""
        return self._read("gate_static")

    @cached_property
    def gate_dynamic(self) -> Tensor:
        """[d], 0..1: how much of `filtered` passes."""
        return self._read("gate_dynamic")

    @property
    def dynamic(self) -> Tensor:
        """[d]: the dynamic branch rebuilt, filtered * gate_dynamic."""
        return self.filtered * self.gate_dynamic

    @cached_property
    def model_dynamic(self) -> Tensor:
        """[d]: the dynamic branch as the model computed it."""
        return self._read("dynamic_out")

    @cached_property
    def static(self) -> Tensor:
        """[d]: the static branch as the model computed it."""
        return self._read("static_out")

    @property
    def error(self) -> float:
        """Largest |dynamic - model_dynamic|: how faithful this view is."""
        return (self.dynamic - self.model_dynamic).abs().max().item()

    @property
    def _taps(self) -> tuple[Tensor, Tensor]:
        """Rows [k] and columns [k] of the taps in the feature map; some may lie outside."""
        r, device = self._module.kernel_size // 2, self._run.any_tap().device
        i, j = (torch.arange(n - r, n + r + 1, device=device) for n in self.feature)
        return i, j

    @property
    def _inside(self) -> Tensor:
        """[k, k] bool: taps inside the feature map."""
        rows, columns = self._taps
        h, w = self._run.any_tap().shape[-2:]
        return ((rows >= 0) & (rows < h))[:, None] & ((columns >= 0) & (columns < w))

    def _recorded(self, tap: str) -> Tensor:
        if tap not in self._run.taps:
            site, pattern = join(self.block, tap), join(self.block, "*")
            raise ValueError(f"site {site!r} was not recorded in this run: use record(model, {pattern!r}).")
        return self._run.taps[tap]

    def _read(self, tap: str) -> Tensor:
        recorded = self._recorded(tap)
        return recorded[(self.batch, ..., *self.feature)].to(_work(recorded), copy=True)


def differences(block: SGDC, run: BlockRun, batch: int, accept_changes: bool = False) -> Tensor:
    """Largest |left - right| over the equations of `block` (sgdc.py), for one image of a completely recorded run.

    The recorded values stand on the right-hand sides, so an error shows in the equation where it arose. On the left
    too, or, where a value was changed and `accept_changes` is set, what the block had made. Returns a scalar; NaN if
    any value is.
    """
    like = next(block.parameters())

    def read(value: Tensor) -> Tensor:
        return value[batch : batch + 1].to(like.device, like.dtype)

    t, made = ({tap: read(value) for tap, value in values.items()} for values in (run.taps, run.made))
    left = t | made if accept_changes else t
    x, out = read(run.x), read(run.out)
    if block.kernel_source == "structure":  # not make_context: it would fire the guidance tap
        context = x + block.proj_guidance(t["guidance"])
    else:
        context = block.make_context(x, None)
    a1, a2, logits = block.attn(t["context"]).split((block.dim, block.dim, block.heads * block.kernel_size**2), dim=1)
    work = _work(like)  # the operator sums half precision in float32; so must its judge
    by_head = zip(t["value"].to(work).chunk(block.heads, 1), t["kernels"].to(work).split(1, 1), strict=True)
    filtered = torch.cat([dynamic_conv2d_reference(v, k, block.padding) for v, k in by_head], 1)  # a head at a time
    y = x + block.ls1[:, None, None] * (t["static_out"] + t["dynamic_out"])
    pairs = [
        (left["context"], context),
        (left["kernel_logits"].flatten(1, 2), logits),
        (left["kernels"], t["kernel_logits"].softmax(2)),
        (left["kernels"].to(work).sum(2), torch.ones((), device=like.device)),
        (left["gate_static"], a1.sigmoid()),
        (left["gate_dynamic"], a2.sigmoid()),
        (left["value"], block.norm1(x)),
        (left["static_out"], block.dwconv(x * t["gate_static"])),
        (left["dynamic_out"], filtered * t["gate_dynamic"]),
        (out, y + block.ls2[:, None, None] * block.mlp(block.norm2(y))),
        *((left[tap], made[tap]) for tap in made),  # all 0 if changes are accepted
    ]
    return torch.stack([(a.to(work) - b.to(work)).abs().max() for a, b in pairs]).max()


def _work(tensor: Tensor) -> torch.dtype:
    """float32 for half precision, otherwise the tensor's own type."""
    return torch.promote_types(tensor.dtype, torch.float32)
