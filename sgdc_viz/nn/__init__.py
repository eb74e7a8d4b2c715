"""The network. Knows torch and nothing else: no files, plots or data."""

from .authors import load_authors_state_dict
from .baselines import BaselineBlock, DyConv, IDConv, Plain
from .dynamic_conv import dynamic_conv2d, dynamic_conv2d_reference
from .network import ALL_KERNEL_SOURCES, SGDCNet, SGDCNetConfig, SGDCOutput
from .sgdc import KERNEL_SOURCES, SGDC, pool_context
from .sge import SGE, sobel_magnitude, sobel_magnitude_dense_reference

__all__ = [
    "ALL_KERNEL_SOURCES", "KERNEL_SOURCES", "SGDC", "SGE", "BaselineBlock", "DyConv", "IDConv", "Plain", "SGDCNet",
    "SGDCNetConfig", "SGDCOutput", "dynamic_conv2d", "dynamic_conv2d_reference", "load_authors_state_dict",
    "pool_context", "sobel_magnitude", "sobel_magnitude_dense_reference",
]  # fmt: skip
