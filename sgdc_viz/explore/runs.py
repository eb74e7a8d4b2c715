"""One image through one network: what it predicted and what its finest block did, as arrays ready to be drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sgdc_viz.data.transforms import image_tensor
from sgdc_viz.lens import (
    PixelView,
    Recording,
    blocks,
    kernel_displacement,
    kernel_ellipse,
    kernel_entropy,
    kernel_in_bounds,
    patch_effect,
    record,
)
from sgdc_viz.nn import SGDCNet, SGDCOutput
from sgdc_viz.views import BlockMaps, KernelEllipses, KernelMaps, ProfileMaps, SGEStages

from .arms import POOL_SIZES, changed, pooled_change

TAPS = ("kernels", "gate_static", "gate_dynamic", "value", "static_out", "dynamic_out")
CHECKED = 64  # pixels of each recording on which the sum is compared with the network's own value


@dataclass(frozen=True, eq=False)
class Run:
    """One image through one network: what it predicted, and the recording of its finest block.

    Attributes:
        recording: of the finest block; None where it was dropped to save memory.
        block, stride: that block's name, and its image pixels per feature pixel.
        pool_size: p in feature pixels where kernels are shared by p x p blocks; the longer side of the map where all
            pixels share one.
        maps: gates and entropy of that block.
        guidance: float32 [h, w], length of the guidance vector that the block read; None where it read none.
        probability: float32 [H, W], 0..1, of being object.
        boundary: float32 [h, w], 0..1, of the boundary branch.
    """

    recording: Recording | None
    block: str
    stride: int
    pool_size: int | None
    maps: BlockMaps
    guidance: np.ndarray | None
    probability: np.ndarray
    boundary: np.ndarray

    def at(self, pixel: tuple[int, int]) -> PixelView:
        return self.recording.at(self.block, *pixel)

    def light(self) -> Run:
        """The same without the recording: maps and prediction, 2 MB where the recording has 20."""
        return replace(self, recording=None)

    @property
    def mask(self) -> np.ndarray:
        """bool [H, W]: probability over 0.5."""
        return self.probability > 0.5

    @cached_property
    def kernel_maps(self) -> KernelMaps:
        """Statistics of the kernels, [heads, h, w] each."""
        kernels = self._kernels
        return KernelMaps(
            entropy=self._shown(kernel_entropy(kernels)), anisotropy=self._shown(self._ellipse.anisotropy),
            in_bounds=self._shown(kernel_in_bounds(kernels)), displacement=self._displacement,
            faithfulness=self.maps.faithfulness,
        )  # fmt: skip

    @cached_property
    def ellipses(self) -> KernelEllipses:
        """Where each kernel takes its values from, as ellipses."""
        e = self._ellipse
        return KernelEllipses(
            major=self._shown(e.major), minor=self._shown(e.minor), angle=self._shown(e.angle),
            unimodal=self._shown(e.unimodal), displacement=self._displacement, faithfulness=self.maps.faithfulness,
        )  # fmt: skip

    @property
    def profile(self) -> ProfileMaps:
        """Everything along whose way over a border one may want to look."""
        return ProfileMaps(
            probability=self.probability, boundary=self.boundary, gate_static=self.maps.gate_static,
            gate_dynamic=self.maps.gate_dynamic, entropy=self.maps.entropy, faithfulness=self.maps.faithfulness,
            anisotropy=self.kernel_maps.anisotropy.mean(0), guidance=self.guidance,
        )  # fmt: skip

    @property
    def _kernels(self) -> Tensor:
        return self.recording[f"{self.block}.kernels"][0]  # [heads, k*k, h', w'], with the network's own padding

    @cached_property
    def _ellipse(self):
        return kernel_ellipse(self._kernels)

    @cached_property
    def _displacement(self) -> np.ndarray:
        return self._shown(kernel_displacement(self._kernels))

    def _shown(self, values: Tensor) -> np.ndarray:
        """[..., h', w'] -> [..., h, w]: without what only pads the image inside the network."""
        rows, columns = self.maps.entropy.shape
        return values[..., :rows, :columns].numpy()


@torch.no_grad()
def run_network(network: SGDCNet, image: np.ndarray, change: str | None = None, mask: np.ndarray | None = None) -> Run:
    """One image (uint8 [H, W, 3], at the network's scale) through one network, its finest block recorded.

    Args:
        change: one of `CHANGES`.
        mask: bool [H, W], where the change is made; None: everywhere.
    """
    block = blocks(network)[-1]
    stride = network.config.strides[0]
    tensor = image_tensor(image)
    guided = network.config.kernel_source == "structure"
    taps = (*TAPS, "guidance") if guided else TAPS
    with changed(network, change, tensor, mask), record(network, [f"{block}.{tap}" for tap in taps]) as recording:
        out = network(tensor)
    height, width = image.shape[:2]
    rows, columns = -(-height // stride), -(-width // stride)  # the rest only pads the image inside the network

    def shown(site: str) -> Tensor:
        return recording[f"{block}.{site}"][..., :rows, :columns]

    # Where the sum is compared with the network's own value: pixels spread over the image, corners included.
    grid = [(y, x) for y in np.linspace(0, height - 1, int(CHECKED**0.5)).astype(int)
            for x in np.linspace(0, width - 1, int(CHECKED**0.5)).astype(int)]  # fmt: skip
    maps = BlockMaps(
        gate_static=shown("gate_static")[0].mean(0).numpy(),
        gate_dynamic=shown("gate_dynamic")[0].mean(0).numpy(),
        entropy=kernel_entropy(shown("kernels"))[0].mean(0).numpy(),
        faithfulness=max(recording.at(block, int(y), int(x)).error for y, x in grid),
    )
    pool_size = network.config.pool_size if network.config.kernel_source == "pooled" else None
    for p in POOL_SIZES:
        if change is not None and change == pooled_change(p) and mask is None:
            pool_size = p or max(rows, columns)
    return Run(
        recording, block, stride, pool_size, maps,
        shown("guidance")[0].norm(dim=0).numpy() if guided else None, _probability(out),
        out.edge_logits[0, 0].sigmoid().numpy(),
    )  # fmt: skip


def _probability(out: SGDCOutput) -> np.ndarray:
    """float32 [H, W], of being object (of any class)."""
    logits = out.logits[0]
    return (logits[0].sigmoid() if len(logits) == 1 else 1 - logits.softmax(0)[0]).numpy()


@torch.no_grad()
def run_patched(
    network: SGDCNet, image: np.ndarray, site: str, blur: float, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """The blurred image's run with the sharp image's values at `site` inside a region.

    Returns:
        (probability [H, W] of the blurred image, the same with the patch, effect): effect is the share of the mean
        |difference to the sharp image's probability| that the patch takes back.
    """
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(image.astype(np.float32), (blur, blur, 0)).round().clip(0, 255).astype(np.uint8)
    seen: list[np.ndarray] = []  # sharp, blurred, patched: the order in which patch_effect runs them

    def closeness(out: SGDCOutput) -> float:
        seen.append(_probability(out))
        return -float(np.abs(seen[-1] - seen[0]).mean())

    told = patch_effect(network, image_tensor(image), image_tensor(blurred), site, closeness, torch.from_numpy(mask))
    return seen[1], seen[2], told.effect


@torch.no_grad()
def run_stages(network: SGDCNet, image: np.ndarray) -> tuple[SGEStages, tuple[int, int]]:
    """What the boundary branch does to one image, step by step, and the (deep, shallow) strides of its two inputs.

    Its faithfulness: edge logits and guidance rebuilt from the captured steps, against the network's own.
    """
    sge, steps = network.sge, {}
    names = ("s4_proj", "s1_proj", "refine4", "refine1", "fuse", "gate_deep", "gate_shallow")
    handles = [
        getattr(sge, name).register_forward_hook(lambda _m, _a, out, name=name: steps.__setitem__(name, out.clone()))
        for name in names
    ]
    try:
        out = network(image_tensor(image))
    finally:
        for handle in handles:
            handle.remove()
    deep, shallow = network.config.strides[-1], network.config.strides[0]
    resized = torch.nn.functional.interpolate(
        steps["refine4"], size=steps["refine1"].shape[-2:], mode="bilinear", align_corners=False
    )
    fused = sge.fuse(torch.cat([resized, steps["refine1"]], dim=1))
    rows, columns = out.guidance.shape[-2:]
    rebuilt = [head(fused)[..., :rows, :columns] for head in (sge.out_edge_map, sge.out_guidance)]
    told = zip(rebuilt, (out.edge_logits, out.guidance), strict=True)
    gate = sge.sobel_gate != "off"

    def mean(name: str, stride: int) -> np.ndarray:
        height, width = (-(-n // stride) for n in image.shape[:2])
        return steps[name][0, :, :height, :width].mean(0).numpy()

    return SGEStages(
        deep=mean("s4_proj", deep), refined_deep=mean("refine4", deep), shallow=mean("s1_proj", shallow),
        refined_shallow=mean("refine1", shallow), fused=mean("fuse", shallow),
        boundary=out.edge_logits[0, 0].sigmoid().numpy(),
        guidance=(out.guidance[0].norm(dim=0) / out.guidance.shape[1] ** 0.5).numpy(),
        faithfulness=max(float((a - b).abs().max()) for a, b in told),
        gate_deep=mean("gate_deep", deep) if gate else None,
        gate_shallow=mean("gate_shallow", shallow) if gate else None,
    ), (deep, shallow)  # fmt: skip
