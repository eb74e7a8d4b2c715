"""Views: arrays in, one `Figure` out. No model, no widget, no state, so notebook and app show the same."""

from .boundary_branch import boundary_branch
from .boundary_profile import ProfileMaps, boundary_profile
from .causal import Case, Change, causal
from .charts import Effect, Effects, Plot, Series
from .ellipses import KernelEllipses, ellipses
from .figure import CSS, LINKED_JS, Bars, Box, Column, Figure, Heat, Outline, Picture, Strokes, Words
from .geometry import BoundaryScore, boundary_score, elsewhere, ring, signed_distance, true_boundary
from .kernel_maps import KernelMaps, kernel_maps
from .live import snapshot
from .microscope import microscope, pixel_kernels
from .overview import BlockMaps, overview
from .panels import curves, heat, panels, square
from .pooling import PoolingStep, pooling
from .prediction import Prediction, predictions
from .region import Region, region
from .sge_stages import SGEStages, sge_stages
from .statistic_by_distance import statistic_by_distance
from .style import Scale, outlines_of, shared_scale
from .training import TrainingStep, training
from .whole import WHOLE_JS, whole

__all__ = [
    "CSS", "LINKED_JS", "Bars", "BlockMaps", "BoundaryScore", "Box", "Case", "Change", "Column", "Effect", "Effects",
    "Figure", "Heat", "KernelEllipses", "KernelMaps", "Outline", "Picture", "Plot", "PoolingStep", "Prediction",
    "ProfileMaps", "Region", "SGEStages", "Scale", "Series", "Strokes", "TrainingStep", "WHOLE_JS", "Words",
    "boundary_branch", "boundary_profile", "boundary_score", "causal", "curves", "ellipses", "elsewhere", "heat",
    "kernel_maps", "microscope", "outlines_of", "overview", "panels", "pixel_kernels", "pooling", "predictions",
    "region", "ring", "sge_stages", "shared_scale", "signed_distance", "snapshot", "square", "statistic_by_distance",
    "training", "true_boundary", "whole",
]  # fmt: skip
