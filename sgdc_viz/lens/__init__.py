"""What happens inside the network: record it, read it pixel by pixel, check that it is what the model really did; and
change it, to see what follows from it.

from sgdc_viz.lens import blocks, intervene, record, zero

with record(model) as rec, torch.no_grad():
    model(image)
view = rec.at(blocks(model)[-1], y=40, x=52)     # image pixel (row 40, column 52), finest block
view.kernels, view.contribution, view.error      # its kernels, what each neighbour gave, rebuilt minus model's own

with intervene(model, {"*.guidance": zero()}), torch.no_grad():
    model(image)                                 # what it predicts without guidance
"""

from .capture import Recording, record
from .interventions import (
    constant,
    delta,
    feature_mask,
    intervene,
    mean,
    permute,
    pooled,
    shuffle,
    swap,
    uniform,
    zero,
)
from .kernels import (
    KernelEllipse,
    kernel_covariance,
    kernel_cutoff,
    kernel_displacement,
    kernel_ellipse,
    kernel_entropy,
    kernel_in_bounds,
    kernel_response,
    kernel_width,
)
from .memory import saved_for_backward
from .patching import PatchEffect, patch_effect
from .rebuild import PixelView
from .taps import blocks, sites

__all__ = [
    "KernelEllipse", "PatchEffect", "PixelView", "Recording", "blocks", "constant", "delta", "feature_mask",
    "intervene", "kernel_covariance", "kernel_cutoff", "kernel_displacement", "kernel_ellipse", "kernel_entropy",
    "kernel_in_bounds", "kernel_response", "kernel_width", "mean", "patch_effect", "permute", "pooled", "record",
    "saved_for_backward", "shuffle", "sites", "swap", "uniform", "zero",
]  # fmt: skip
