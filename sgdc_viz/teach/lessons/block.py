"""Notebook 04, the SGDC block: pictures of what passes through it, its borders, and how fast its guidance wakes up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sgdc_viz.lens import Recording, kernel_entropy
from sgdc_viz.nn import SGDC, dynamic_conv2d
from sgdc_viz.views import Figure, Picture, Scale, curves, panels, shared_scale, square
from sgdc_viz.views.figure import Box
from sgdc_viz.views.style import MINUS, number

SIDE = 24  # pixels of the images on which paddings are shown
TRAININGS = {"AdamW, rate 0.002": ("AdamW", 0.002), "SGD, rate 0.1": ("SGD", 0.1), "SGD, rate 5": ("SGD", 5.0)}
STARTS = (1e-6, 0.1)  # of the layer scale
WITHOUT_GUIDANCE = 0.0625  # loss of `wake`'s task for whoever enlarges x by a quarter everywhere


def flow_figure(
    image: np.ndarray, recording: Recording, block: str, window: tuple[int, int, int, int] | None = None
) -> Figure:
    """What passes through a block, from guidance and features to what is added to x.

    Args:
        image: uint8 [H, W, 3], as the network saw it.
        recording: of one image, with all taps of `block`.
        block: its name, such as "decoder.s2.block".
        window: (y0, x0, y1, x1), the part of the image to show; None shows all.

    Raises:
        ValueError: the block was not recorded completely.
    """
    taps = ("guidance", "kernels", "gate_static", "gate_dynamic", "static_out", "dynamic_out")
    if missing := [tap for tap in taps if f"{block}.{tap}" not in recording]:
        raise ValueError(
            f"{block!r} was not recorded completely (no {', '.join(missing)}): record(model, '{block}.*')."
        )
    tap = {name: recording[f"{block}.{name}"][0] for name in taps}
    stride = image.shape[0] // tap["guidance"].shape[-2]

    def size(value: Tensor) -> np.ndarray:
        """Root of the mean square over the channels."""
        return value.square().mean(0).sqrt().numpy()

    maps = {
        "guidance G: how large it is": size(tap["guidance"]),
        "kernels K: their entropy": kernel_entropy(tap["kernels"]).mean(0).numpy(),
        "static gate (mean of channels)": tap["gate_static"].mean(0).numpy(),
        "dynamic gate (mean of channels)": tap["gate_dynamic"].mean(0).numpy(),
        "s, static branch: size": size(tap["static_out"]),
        "u, dynamic branch: size": size(tap["dynamic_out"]),
        "s + u: size": size(tap["static_out"] + tap["dynamic_out"]),
    }
    gates = shared_scale("gate: 0 shut, 1 open", *list(maps.values())[2:4], share=100)
    branches = shared_scale("root mean square over channels", *list(maps.values())[4:], cmap="magma", share=99)
    branches = Scale(branches.label, 0, branches.high, branches.cmap)
    large = shared_scale("root mean square over channels", maps["guidance G: how large it is"], cmap="magma")
    scales = [Scale(large.label, 0, large.high, large.cmap), Scale("0 one tap to 1 all alike", 0, 1, "cividis"),
              gates, gates, branches, branches, branches]  # fmt: skip
    cells = {"image": Picture(image, "The image.", window=window)}
    for (name, values), scale in zip(maps.items(), scales, strict=True):
        told = f"{name}: {values.min():.2f} to {values.max():.2f}."
        cells[name] = Picture(values, told, scale, stride=stride, window=window, title=name, bar=True)
    gate_s, gate_d = (maps[name] for name in list(maps)[2:4])
    return panels(
        cells,
        title="One block at work, from guidance to s + u",
        message="Each pixel has guidance, kernels and gates of its own; with them the two branches filter x.",
        alt="Eight pictures: the image, then maps of the size of the guidance, of kernel entropy, of the static and "
        "the dynamic gate, of the static and the dynamic branch, and of their sum. Each differs from pixel to pixel, "
        f"and the two gates differ from each other: averaged over the image, the static one is {gate_s.mean():.2f} "
        f"open and the dynamic one {gate_d.mean():.2f}.",
        name="block_flow",
    )


def kernels_figure(recording: Recording, block: str, pixel: tuple[int, int]) -> Figure:
    """Kernel logits and kernels of all heads at one pixel.

    Args:
        recording: of one image, with `kernel_logits` and `kernels` of `block`.
        block: its name.
        pixel: (y, x) feature pixel.

    Raises:
        ValueError: the pixel lies outside the feature map.
    """
    y, x = pixel
    taps = [recording[f"{block}.{name}"][0] for name in ("kernel_logits", "kernels")]
    height, width = taps[0].shape[-2:]
    if not (0 <= y < height and 0 <= x < width):
        raise ValueError(f"pixel {pixel} lies outside the feature map of {height} x {width}.")
    logits, kernels = (tap[:, :, y, x].numpy() for tap in taps)
    low = shared_scale("kernel logit L", logits, cmap="RdBu_r", symmetric=True, share=100)
    high = Scale("weight K", 0, float(kernels.max()), "magma", 0.5)
    centre = len(square(kernels[0])) // 2
    box = Box("centre", centre, centre, centre + 1, centre + 1, "centre")
    cells = {}
    for h, values in enumerate(logits, 1):
        span = f"{values.min():.1f} to {values.max():.1f}".replace("-", MINUS)
        name = f"L, head {h}: {span}"
        cells[name] = Picture(square(values), f"{name}.", low, boxes=(box,), title=name, bar=h == 1)
    for h, values in enumerate(kernels, 1):
        name = f"K, head {h}: largest {values.max():.2f}"
        cells[name] = Picture(square(values), f"{name}.", high, boxes=(box,), title=name, bar=h == 1)
    return panels(
        cells, columns=len(kernels), title="Softmax over the taps of each head",
        message="Above: logits, any numbers. Below: kernels, none negative, each adds up to one.",
        alt=f"Two rows of {len(kernels)} grids of {len(square(kernels[0]))} by {len(square(kernels[0]))} taps at one "
        "pixel. Upper row: logits, positive and negative. Lower row: kernels, after the softmax; taps with large "
        f"logits keep the weight. The largest weights are {', '.join(f'{k.max():.2f}' for k in kernels)}.",
        summary="Each row has one scale, below its first grid; colours of the lower row follow the square root of the "
        "weight. The box is the tap of the pixel itself.",
        name="block_kernels",
    )  # fmt: skip


PADDINGS = {
    "zeros": "Ones darken at the borders; a ramp is far off at its bright end.",
    "replicate": "Ones stay ones; a ramp is a little off.",
    "renormalize": "Ones stay ones; a ramp is a little more off.",
}


def padded(image: Tensor, padding: str, kernel_size: int = 7) -> Tensor:
    """An image [H, W] through dynamic convolution with uniform kernels: [H, W]."""
    height, width = image.shape
    kernels = torch.full((1, 1, kernel_size**2, height, width), 1 / kernel_size**2)
    return dynamic_conv2d(image[None, None], kernels, padding)[0, 0]


def padding_figure(padding: str, kernel_size: int = 7) -> Figure:
    """What a padding does to a constant image and to a ramp, under uniform kernels.

    Raises:
        ValueError: unknown padding.
    """
    if padding not in PADDINGS:
        raise ValueError(f"padding={padding!r} is none of {', '.join(PADDINGS)}.")
    ramp = torch.linspace(0, 1, SIDE).expand(SIDE, SIDE).contiguous()
    flat, bent = padded(torch.ones(SIDE, SIDE), padding, kernel_size), padded(ramp, padding, kernel_size) - ramp
    corner, edge = float(flat[0, 0]), float(flat[0, SIDE // 2])
    ends = float(bent[SIDE // 2].abs().max())
    return panels(
        {"ones, filtered": flat.numpy(), "ramp 0 to 1: filtered − ramp": bent.numpy()}, columns=2,
        scale={
            "ones, filtered": Scale("value; 1 would be right", 0, 1),
            "ramp 0 to 1: filtered − ramp": Scale("error; 0 would be right", -0.1, 0.1, "RdBu_r"),
        },
        title=f"padding = {padding!r}, uniform {kernel_size} × {kernel_size} kernels",
        message=PADDINGS[padding],
        alt=f"With padding {padding}, an image of ones becomes {corner:.2f} in the corner and {edge:.2f} at an edge; "
        f"the middle row of a ramp is off by up to {ends:.2f}.",
        summary=f"Ones: corner {corner:.2f}, edge {edge:.2f}, middle 1. Ramp, middle row: off by up to {ends:.2f} (the "
        "colours end at 0.1).",
        name="block_padding",
    )  # fmt: skip


def paddings_alt() -> str:
    """The alt text of the three figures below each other."""
    return (
        "Three paddings. With zeros, an image of ones is darker at its borders and darkest in its corners, and a ramp "
        "is far off at its bright end. With replicate and renormalize ones stay 1 everywhere, and a ramp is a little "
        "off at both ends: more with renormalize."
    )


# --- waking up -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Waking:
    """A short training.

    Attributes:
        gradient: norm of the gradient of proj_guidance.weight at each step.
        layer_scale: mean |ls1| before each step.
        loss: at each step.
        moved: |change of proj_guidance.weight| / |its start| at the end.
    """

    gradient: tuple[float, ...]
    layer_scale: tuple[float, ...]
    loss: tuple[float, ...]
    moved: float


def wake(training: str, layer_scale_init: float, steps: int = 165, seed: int = 0) -> Waking:
    """Train one small block on a task that needs guidance: x must grow by half where G's first channel is positive.

    x and G are random numbers, new at each step, the same for every training and layer scale. Who does not look at G
    can do no better than 1.25 x: a loss of `WITHOUT_GUIDANCE` times the mean square of x, which is 1.

    Args:
        training: a key of `TRAININGS`, which tells the optimizer and its learning rate. AdamW has the rate and the
            weight decay (0.02) of `sgdc_viz.learn`, without its warm-up; SGD is plain.
        layer_scale_init: start value of ls1 and ls2.
        steps: optimizer steps, 1 or more.
        seed: of weights and data.

    Raises:
        ValueError: unknown training, or no steps.
    """
    if training not in TRAININGS or steps < 1:
        raise ValueError(f"training={training!r}, steps={steps}: use one of {'; '.join(TRAININGS)}, 1 step or more.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        block = SGDC(8, guidance_channels=16, heads=2, kernel_size=3, layer_scale_init=layer_scale_init)
    weight = block.proj_guidance.weight
    start = weight.detach().clone()
    optimizer, rate = TRAININGS[training]
    if optimizer == "AdamW":
        stepper = torch.optim.AdamW(block.parameters(), lr=rate, weight_decay=0.02)
    else:
        stepper = torch.optim.SGD(block.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(seed + 1)
    gradients, scales, losses = [], [], []
    for _ in range(steps):
        x = torch.randn(4, 8, 16, 16, generator=generator)
        guidance = torch.randn(4, 16, 16, 16, generator=generator)
        wanted = x * (1 + 0.5 * (guidance[:, :1] > 0))
        loss = (block(x, guidance) - wanted).square().mean()
        stepper.zero_grad()
        loss.backward()
        gradients.append(float(weight.grad.norm()))
        scales.append(float(block.ls1.detach().abs().mean()))
        losses.append(float(loss.detach()))
        stepper.step()
    moved = float((weight.detach() - start).norm() / start.norm())
    return Waking(tuple(gradients), tuple(scales), tuple(losses), moved)


def waking_figure(runs: Mapping[tuple[str, float], Waking]) -> Figure:
    """Loss of several trainings, each from several start values of the layer scale.

    Args:
        runs: (training, start value) -> what `wake` gave.
    """
    plots: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for (training, start), run in runs.items():
        at = np.arange(1, len(run.loss) + 1)
        plots.setdefault(training, {})[f"from layer scale {start:g}"] = (at, np.array(run.loss))
    for lines in plots.values():
        at = next(iter(lines.values()))[0]
        lines["best without guidance"] = (at, np.full(len(at), WITHOUT_GUIDANCE))
    ends = "; ".join(f"{training} from {start:g}: {run.loss[-1]:.3f}" for (training, start), run in runs.items())
    message = "Both wake up: AdamW at its usual learning rate, SGD only at one far larger than we first tried."
    return curves(
        plots, x_label="optimizer step", y_label="loss", title="Can a sleeping block learn to use guidance?",
        message=message, y_range=(0.0, 0.14),
        alt=f"Loss over the steps, one plot for each training, with a line at {WITHOUT_GUIDANCE}, the best loss "
        f"without guidance. {message} In each plot the two starts run close together. Losses at the end: {ends}.",
        summary=f"Losses at the end: {ends}; best without guidance {WITHOUT_GUIDANCE}. One toy task, one seed.",
        name="block_waking",
    )  # fmt: skip


# --- editing the boundary map ----------------------------------------------------------------------------------------


def edited_figure(
    image: np.ndarray, boundary: np.ndarray, noise: np.ndarray, probability: np.ndarray,
    changes: Mapping[str, np.ndarray],
) -> Figure:  # fmt: skip
    """What edits do to the prediction.

    Args:
        image: uint8 [H, W, 3].
        boundary: float [h, w], probability of boundary.
        noise: float [h, w], what was put in its place.
        probability: float [H, W], of being object, without edits.
        changes: name of an edit -> float [H, W], probability with it minus without; two of them.
    """
    object_scale, edge_scale = Scale("probability of object", 0, 1), Scale("probability of boundary", 0, 1, "magma")
    change = Scale("change of the probability", -1, 1, "RdBu_r")
    stride = image.shape[0] // boundary.shape[0]
    maps = {
        "boundary map as made": (boundary, edge_scale, stride),
        "boundary map, edited": (noise, edge_scale, stride),
        "prediction, no edit": (probability, object_scale, 1),
        **{f"change: {name}": (values, change, 1) for name, values in changes.items()},
    }
    cells = {"image": Picture(image, "The image.")}
    for name, (values, scale, s) in maps.items():
        told = f"{name}: {values.min():.2f} to {values.max():.2f}."
        cells[name] = Picture(values, told, scale, stride=s, title=name, bar=True)
    most = ", ".join(f"{name} {number(float(np.abs(values).max()), 2)}" for name, values in changes.items())
    return panels(
        cells, columns=3, title="Two edits, and what they do to the prediction",
        message="A boundary map full of noise changes nothing; guidance set to zero changes much.",
        alt="Upper row: the image, its boundary map, and the noise put in its place. Lower row: the prediction, and "
        f"its change under each of the two edits. Largest change of the probability: {most}.",
        summary=f"Largest change of the probability: {most}. One image, one network.",
        name="block_edited",
    )  # fmt: skip
