"""Images and masks in, tensors out: data sets on disk, synthetic images with exact truth, augmentation."""

from sgdc_viz.data.folders import DATASETS, Dataset, Sample, open_dataset
from sgdc_viz.data.images import load_image, load_mask

__all__ = ["DATASETS", "Dataset", "Sample", "load_image", "load_mask", "open_dataset"]
