"""Views: arrays in, one `Figure` out. No model, no widget, no state, so notebook and app show the same."""

from .figure import CSS, LINKED_JS, Bars, Box, Column, Figure, Heat, Outline, Picture, Words
from .microscope import microscope, pixel_kernels
from .overview import BlockMaps, overview
from .prediction import Prediction, predictions
from .style import Scale, outlines_of, shared_scale

__all__ = [
    "CSS", "LINKED_JS", "Bars", "BlockMaps", "Box", "Column", "Figure", "Heat", "Outline", "Picture", "Prediction",
    "Scale", "Words", "microscope", "outlines_of", "overview", "pixel_kernels", "predictions", "shared_scale",
]  # fmt: skip
