"""Samples -> tensors, windows of a fixed size, and augmentation of image, mask and instance map together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from sgdc_viz.data.images import Sample


def image_tensor(image: np.ndarray) -> torch.Tensor:
    """uint8 [H, W, 3] -> float32 [1, 3, H, W], 0..1."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].float() / 255


def to_tensor(samples: Sequence[Sample]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Stack samples of one size.

    Returns: images float32 [B, 3, H, W] in 0..1, masks int64 [B, H, W], instances int64 [B, H, W], or None if any of
    the samples has no instance map. Raises: ValueError if there are no samples or their sizes differ.
    """
    sizes = {sample.image.shape[:2] for sample in samples}
    if len(sizes) != 1:
        raise ValueError(
            f"to_tensor needs one or more samples of one size, got sizes {sorted(sizes)}; cut "
            "windows with random_window first."
        )
    images = torch.from_numpy(np.stack([s.image for s in samples])).permute(0, 3, 1, 2).contiguous().float() / 255
    masks = torch.from_numpy(np.stack([s.mask for s in samples]).astype(np.int64))
    if any(s.instances is None for s in samples):
        return images, masks, None
    return images, masks, torch.from_numpy(np.stack([s.instances for s in samples]).astype(np.int64))


def random_window(sample: Sample, size: int, rng: np.random.Generator) -> Sample:
    """Cut a random size x size window. A sample that is smaller is mirrored at its borders first (mask alike)."""
    if size < 1:
        raise ValueError(f"size={size} must be at least 1 pixel.")
    height, width = sample.mask.shape
    pad_y, pad_x = max(0, size - height), max(0, size - width)
    y = int(rng.integers(0, height + pad_y - size + 1))
    x = int(rng.integers(0, width + pad_x - size + 1))

    def cut(array: np.ndarray | None) -> np.ndarray | None:
        if array is None:
            return None
        if pad_y or pad_x:  # "symmetric" repeats the border pixel, so it works from 1 pixel up
            pads = ((pad_y // 2, pad_y - pad_y // 2), (pad_x // 2, pad_x - pad_x // 2)) + ((0, 0),) * (array.ndim - 2)
            array = np.pad(array, pads, mode="symmetric")
        return np.ascontiguousarray(array[y : y + size, x : x + size])

    return replace(sample, image=cut(sample.image), mask=cut(sample.mask), instances=cut(sample.instances))


def to_scale(image: np.ndarray | Sample, longest_side: int | None) -> np.ndarray | Sample:
    """Resize so that the longer side has `longest_side` pixels, keeping the aspect ratio (None: unchanged).

    Images (uint8 [H, W, 3]) are filtered bicubically with antialiasing; of a Sample the mask and the instance map go
    along, nearest neighbour, so that no value arises that was not there.
    """
    if longest_side is None:
        return image
    if longest_side < 1:
        raise ValueError(
            f"longest_side={longest_side} must be at least 1 pixel (None or --longest-side 0: keep the size)."
        )
    pixels = image.image if isinstance(image, Sample) else image
    height, width = pixels.shape[:2]
    scale = longest_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size == (width, height):
        return image
    resized = np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    if not isinstance(image, Sample):
        return resized

    def nearest(array: np.ndarray | None) -> np.ndarray | None:
        return None if array is None else np.array(Image.fromarray(array).resize(size, Image.Resampling.NEAREST))

    return replace(image, image=resized, mask=nearest(image.mask), instances=nearest(image.instances))


class Augmentation:
    """Random flips, quarter turns, a small affine change and a change of looks; image, mask and ids move together.

    Args: size: side of the square windows, in pixels. kind: "nuclei" adds grey inversion (dark nuclei on bright
    ground and the reverse teach a network both stains); "dermoscopy" and "unknown" do not.

    All randomness comes from torch's global generator, so `torch.manual_seed(s)` before a call fixes its result.
    """

    def __init__(self, size: int, kind: str = "unknown"):
        if size < 1:
            raise ValueError(f"size={size} must be at least 1 pixel.")
        if kind not in ("nuclei", "dermoscopy", "unknown"):
            raise ValueError(f"kind={kind!r} is not one of 'nuclei', 'dermoscopy', 'unknown'.")
        from kornia import augmentation as K  # noqa: N812 - kornia's own habit; imported here because it is heavy
        from kornia.constants import DataKey, Resample

        self.size, self.kind = size, kind
        self.geometry = K.AugmentationSequential(
            K.RandomHorizontalFlip(p=0.5),
            K.RandomVerticalFlip(p=0.5),
            K.RandomRotation90(times=(0, 3), p=1.0),
            K.RandomAffine(degrees=15, scale=(0.85, 1.2), shear=8, padding_mode="reflection", p=0.5),
            data_keys=["input", "mask"],
            # Nearest is kornia's default for masks; said in full, because kornia 0.8 warns where align_corners is not.
            extra_args={DataKey.MASK: {"resample": Resample.NEAREST, "align_corners": False}},
        )
        # ColorJitter multiplies. (ColorJiggle adds: that would turn dim fluorescence, mean 10 of 255, wholly black.)
        looks = [
            K.ColorJitter(brightness=0.25, contrast=0.2, saturation=0.2, hue=0.03, p=0.8),
            K.RandomGamma(gamma=(0.75, 1.35), p=0.3),
            K.RandomGaussianBlur((5, 5), (0.3, 1.2), p=0.2),
            K.RandomGaussianNoise(std=0.02, p=0.3),
        ]
        if kind == "nuclei":
            looks.insert(0, K.RandomInvert(p=0.15))
        self.looks = K.ImageSequential(*looks)

    @torch.no_grad()
    def __call__(
        self, images: torch.Tensor, masks: torch.Tensor, instances: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """images float [B, 3, H, W] in 0..1, masks int64 [B, H, W], instances int64 [B, H, W] or None -> the same.

        Mask and ids move by nearest neighbour on one grid: no value arises that was not there, and where mask and ids
        agreed before, they agree after. Ids up to 2**24 stay exact (they pass through float32).
        """
        maps = masks[:, None] if instances is None else torch.stack([masks, instances], dim=1)
        images, maps = self.geometry(images, maps.float())
        images = self.looks(images).clamp(0, 1)
        maps = maps.round().long()
        return images, maps[:, 0], None if instances is None else maps[:, 1]
