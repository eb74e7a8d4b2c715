"""What happens inside the network: record it, read it pixel by pixel, check that it is what the model really did.

from sgdc_viz.lens import blocks, record

with record(model) as rec, torch.no_grad():
    model(image)
view = rec.at(blocks(model)[-1], y=40, x=52)     # image pixel (row 40, column 52), finest block
view.kernels, view.contribution, view.error      # its kernels, what each neighbour gave, rebuilt minus model's own
"""

from .capture import Recording, record
from .kernels import kernel_entropy
from .rebuild import PixelView
from .taps import blocks, sites

__all__ = ["PixelView", "Recording", "blocks", "kernel_entropy", "record", "sites"]
