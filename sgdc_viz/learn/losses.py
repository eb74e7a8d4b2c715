"""Losses and edge targets.

The SGDC paper (arXiv 2602.23496) gives no losses, so these are ours, and they are the usual ones: for the mask a
pixel-wise cross-entropy plus a soft Dice (Milletari 2016, arXiv 1606.04797), and for the boundary branch a
class-balanced cross-entropy (as in HED, Xie and Tu 2015, arXiv 1504.06375) plus a soft Dice.

Everything here takes logits and works in float32 whatever the network ran in (under autocast the logits are bfloat16 or
float16, and a sum over 65,536 pixels in bfloat16 keeps only three digits).
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

EDGE_WIDTHS = (1, 3, 5)
MAX_POS_WEIGHT = 10.0
DICE_SMOOTH = 1.0  # in pixels: keeps the Dice of a two-pixel object from jumping between 0 and 1


class NetworkOutput(Protocol):
    """What `total_loss` reads: any object with these two tensors, such as `sgdc_viz.nn.SGDCOutput`."""

    logits: Tensor  # [B, K, H, W]
    edge_logits: Tensor  # [B, 1, h, w]


def segmentation_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice of a predicted mask.

    K = 1 is binary: one logit for "foreground". K > 1 is multi-class: one logit per class, class 0 is the background.
    With K = 2 and logits [0, z] the value equals that of K = 1 with logit z.

    Args:
        logits: [B, K, H, W], raw scores before sigmoid or softmax.
        mask: [B, H, W], whole numbers (long, int, uint8 or bool); 0 or 1 when K = 1, 0 to K-1 otherwise.

    Returns:
        A scalar, mean cross-entropy (natural logarithm, over all pixels) + `soft_dice_loss`; each is 0 or more.

    Raises:
        ValueError: shapes disagree, or the mask holds a value that has no logit.
    """
    logits = _at_least_float32(logits)
    _check_mask(logits, mask)
    if logits.shape[1] == 1:
        cross_entropy = F.binary_cross_entropy_with_logits(logits[:, 0], mask.to(logits.dtype))
    else:
        cross_entropy = F.cross_entropy(logits, mask.long())
    return cross_entropy + soft_dice_loss(logits, mask)


def soft_dice_loss(logits: Tensor, mask: Tensor, smooth: float = DICE_SMOOTH) -> Tensor:
    """1 - soft Dice, averaged over the foreground classes that occur, image by image.

    With p the predicted probability and t the truth (0 or 1) of one class in one image, summed over its pixels:

        dice = (2 * sum(p * t) + smooth) / (sum(p) + sum(t) + smooth)

    Policy for empty masks: a class that does not occur in an image has no overlap to measure, so that (image, class)
    pair is left out of the mean, and if no pair is left the loss is 0 with a gradient of 0. False alarms there are the
    cross-entropy's business. The background (class 0) is left out as well: it would only dilute the foreground.

    Args:
        logits: [B, K, H, W], raw scores.
        mask: [B, H, W], as in `segmentation_loss`.
        smooth: pixels added to numerator and denominator.

    Returns:
        A scalar from 0 (perfect) to 1.

    Raises:
        ValueError: as `segmentation_loss`.
    """
    logits = _at_least_float32(logits)
    _check_mask(logits, mask)
    classes = logits.shape[1]
    if classes == 1:
        probability = logits.sigmoid()  # [B, 1, H, W]
        truth = (mask == 1)[:, None]
    else:
        probability = logits.softmax(dim=1)[:, 1:]  # [B, K-1, H, W]
        foreground = torch.arange(1, classes, device=mask.device).view(1, -1, 1, 1)
        truth = mask[:, None] == foreground
    truth = truth.to(logits.dtype)
    overlap = (probability * truth).sum(dim=(2, 3))  # [B, K-1]
    size = truth.sum(dim=(2, 3))
    dice = (2 * overlap + smooth) / (probability.sum(dim=(2, 3)) + size + smooth)
    present = (size > 0).to(logits.dtype)
    return ((1 - dice) * present).sum() / present.sum().clamp_min(1)


def edge_target(labels: Tensor, width: int = 3) -> Tensor:
    """Truth for the boundary branch: a line along every border between two different labels.

    Make it from the *augmented* mask (a warped edge map is no longer one clean line) and, where there is one, from the
    instance map: in a plain mask two touching nuclei are one blob, and the border between them is lost.

    Which pixels are on:

    1. `width=1`, the inner border: an object pixel (label not 0) whose 3x3 window holds any different label, background
       or other object. This is the internal morphological gradient of a label map: window maximum differs from window
       minimum, and the pixel itself is not background.
    2. `width=3` and `width=5`: the same line dilated by a 3x3 or 5x5 square.

    So across a straight edge between object and background exactly `width` pixels are on, centred on the object's
    outermost pixel: for width 3 two inside and one outside, for width 5 three and two. Where two objects touch each has
    its own inner border, so the line is `width + 1` pixels wide and symmetric. The image's frame is not an edge: a mask
    that covers the whole image has none. (The plain gradient, dilation minus erosion, is always an even number of
    pixels wide: 2 with a 3x3 window.)

    Args:
        labels: [B, H, W], whole numbers, 0 is the background: a binary mask, a class map or an instance map with
            numbers up to 16,777,216 (2**24: float32 holds every whole number up to there).
        width: 1, 3 or 5 pixels.

    Returns:
        float32 [B, 1, H, W] of zeros and ones, on the labels' device.

    Raises:
        ValueError: labels are not [B, H, W], not whole numbers, or the width is not offered.
    """
    if width not in EDGE_WIDTHS:
        raise ValueError(f"width={width!r} is not an edge width; choose 1, 3 or 5 pixels.")
    if labels.ndim != 3:
        raise ValueError(f"labels must be [B, H, W], got shape {tuple(labels.shape)}; add or drop the extra dimension.")
    if labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"labels must be whole numbers, got {labels.dtype}; convert them with .long().")
    from kornia.morphology import dilation, gradient  # here, so that importing this module needs torch alone

    values = labels[:, None].float()
    # "replicate" repeats a pixel that is in the 3x3 window anyway: the frame adds no label, whatever the numbers. (The
    # default border of older kornia versions pads with 10,000, an edge along the frame for higher instance numbers.)
    changes = gradient(values, torch.ones(3, 3, device=labels.device), border_type="replicate") != 0
    line = (changes & (values != 0)).float()
    return line if width == 1 else dilation(line, torch.ones(width, width, device=labels.device))


def downsize_edge_target(target: Tensor, size: tuple[int, int], how: str = "max") -> Tensor:
    """Shrink an edge target, to show why `edge_loss` does not.

    "nearest" looks at one pixel in each cell: a straight 1-pixel line shrunk 4 times vanishes in 3 of 4 positions.
    "max" keeps every cell that the line touches, so no part is lost, but the line grows to a cell's width (4 original
    pixels). Comparing at full resolution avoids the choice.

    Args:
        target: [B, 1, H, W] of zeros and ones.
        size: (height, width) wanted.
        how: "max" or "nearest".

    Returns:
        [B, 1, height, width] of zeros and ones.

    Raises:
        ValueError: `how` is neither.
    """
    if how == "max":
        return F.adaptive_max_pool2d(target, size)
    if how == "nearest":
        return F.interpolate(target, size=size, mode="nearest")
    raise ValueError(f'how={how!r} is unknown; choose "max" or "nearest".')


def edge_loss(edge_logits: Tensor, target: Tensor) -> Tensor:
    """Class-balanced cross-entropy plus soft Dice of the predicted boundary, at the target's resolution.

    The logits are upsampled to the target (bilinear, align_corners=False); the target is never shrunk, see
    `downsize_edge_target`. Few pixels are edge, so those that are count `pos_weight` times:

        pos_weight = clip(edge-free pixels / edge pixels, 1, 10)     counted over the whole batch
        cross-entropy = sum(w * bce) / sum(w),   w = pos_weight on the edge, 1 elsewhere

    The clip keeps a handful of edge pixels from ruling their batch. Dividing by the weights keeps the scale: a logit of
    0 everywhere costs log 2, whatever the share of edges. A batch without an edge has plain cross-entropy and a Dice
    term of 0.

    Args:
        edge_logits: [B, 1, h, w], raw scores, any h and w.
        target: [B, 1, H, W] of zeros and ones, from `edge_target`.

    Returns:
        A scalar, 0 or more.

    Raises:
        ValueError: either is not [B, 1, ., .], or the batch sizes differ.
    """
    one_channel = edge_logits.ndim == target.ndim == 4 and edge_logits.shape[1] == target.shape[1] == 1
    if not one_channel or edge_logits.shape[0] != target.shape[0]:
        raise ValueError(
            "edge_logits and target must be [B, 1, h, w] and [B, 1, H, W] with the same B, got "
            f"{tuple(edge_logits.shape)} and {tuple(target.shape)}; make the target with edge_target."
        )
    logits = _at_least_float32(edge_logits)
    if logits.shape[2:] != target.shape[2:]:
        logits = F.interpolate(logits, size=target.shape[2:], mode="bilinear", align_corners=False)
    target = target.to(logits.dtype)
    edges = target.sum()
    pos_weight = ((target.numel() - edges) / edges.clamp_min(1)).clamp(1, MAX_POS_WEIGHT)
    weight = 1 + (pos_weight - 1) * target
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="sum") / weight.sum()
    return cross_entropy + soft_dice_loss(logits, target[:, 0].long())


def total_loss(
    output: NetworkOutput,
    mask: Tensor,
    instances: Tensor | None = None,
    edge_weight: float = 1.0,
    edge_width: int = 3,
) -> dict[str, Tensor]:
    """The loss that the network is trained on.

    Args:
        output: has `.logits` [B, K, H, W] and `.edge_logits` [B, 1, h, w].
        mask: [B, H, W], whole numbers 0 to K-1 (0 or 1 when K = 1), as augmented.
        instances: [B, H, W], whole numbers, 0 background, as augmented. Without it the edges are those of `mask`.
        edge_weight: what the edge loss is multiplied with in the total; 0 or more.
        edge_width: width in pixels of the edge target: 1, 3 or 5.

    Returns:
        Scalars "segmentation", "edge" (before weighting) and "total" = segmentation + edge_weight * edge.

    Raises:
        ValueError: a shape, a value or the width is wrong (see `segmentation_loss`, `edge_target`, `edge_loss`).
    """
    if not edge_weight >= 0:
        raise ValueError(f"edge_weight={edge_weight!r} must be 0 or more; 0 switches the edge loss off.")
    if instances is not None and instances.shape != mask.shape:
        raise ValueError(
            f"instances {tuple(instances.shape)} and mask {tuple(mask.shape)} differ in shape; augment them together."
        )
    segmentation = segmentation_loss(output.logits, mask)
    labels = mask if instances is None else instances
    edge = edge_loss(output.edge_logits, edge_target(labels, edge_width))
    return {"segmentation": segmentation, "edge": edge, "total": segmentation + edge_weight * edge}


def _at_least_float32(logits: Tensor) -> Tensor:
    # float64 stays: torch.autograd.gradcheck needs it.
    return logits if logits.dtype == torch.float64 else logits.float()


def _check_mask(logits: Tensor, mask: Tensor) -> None:
    if logits.ndim != 4 or mask.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(
            f"logits must be [B, K, H, W] and mask [B, H, W], got {tuple(logits.shape)} and {tuple(mask.shape)}; "
            "the logits must be at the mask's size."
        )
    if mask.is_floating_point() or mask.is_complex():
        raise ValueError(f"mask must hold whole numbers, got {mask.dtype}; convert it with .long().")
    highest = max(logits.shape[1] - 1, 1)
    if mask.numel() and (int(mask.max()) > highest or int(mask.min()) < 0):
        raise ValueError(
            f"mask holds values from {int(mask.min())} to {int(mask.max())}, but {logits.shape[1]} logit(s) a pixel "
            f"allow 0 to {highest}; map the mask to class numbers first (a 0/255 mask: mask > 0)."
        )
