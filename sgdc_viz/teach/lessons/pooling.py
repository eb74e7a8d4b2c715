"""What average pooling keeps, and where the rest goes: code and figures of notebook 02.

A pooled context is a box filter followed by taking one value for each block. Everything here is measured: gains by
filtering waves or by a Fourier transform, the place of a border from the networks' own probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sgdc_viz.nn import SGDC, SGDCNet, pool_context, sobel_magnitude
from sgdc_viz.views import (
    Figure,
    Picture,
    Plot,
    Scale,
    Series,
    curves,
    panels,
    shared_scale,
)
from sgdc_viz.views.figure import true_outline
from sgdc_viz.views.overview import window_around
from sgdc_viz.views.style import number

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

    from sgdc_viz.explore import Pair, Run

GREY = "gray"
# Inside the sites of a block, what is made from the context, and what is not.
FROM_CONTEXT = ("kernels", "gate_static", "gate_dynamic")
FROM_FEATURES = ("value", "static_out", "dynamic_out")


# --- the filter ------------------------------------------------------------------------------------------------------


def gain_of_average(taps: int, frequencies: np.ndarray | float) -> np.ndarray:
    """What an average over neighbours leaves of a wave: the Dirichlet kernel |sin(pi f n) / (n sin(pi f))|.

    Args:
        taps: n, how many neighbours are averaged, 1 or more.
        frequencies: f, cycles per pixel, any shape.

    Returns:
        float64 of that shape, 0..1.

    Raises:
        ValueError: fewer than one tap.
    """
    if taps < 1:
        raise ValueError(f"taps={taps} must be 1 or more.")
    f = np.asarray(frequencies, np.float64)
    below = taps * np.sin(np.pi * f)
    return np.abs(np.divide(np.sin(np.pi * taps * f), below, out=np.ones_like(f), where=below != 0))


# Frequencies are drawn in units of 1/8 cycle per pixel, so that the ticks at these places stand apart.
MOST_DOTS = 9  # a line of a `Plot` has about this many markers at most
EIGHTHS = ((0, "0"), (1, "1/8"), (2, "1/4"), (3, "3/8"), (4, "1/2"))


def gain_figure(frequencies: np.ndarray, measured: np.ndarray, taps: int, others: Sequence[int]) -> Figure:
    """Measured gain of one average as dots on the curve of the formula, and the formula for other sizes.

    Args:
        frequencies: float [n], cycles per pixel, 0 to 1/2; up to nine of them.
        measured: float [n], amplitude after the average over amplitude before it.
        taps: pixels in the measured average.
        others: up to three further sizes.

    Raises:
        ValueError: more than nine frequencies: not each would be drawn.
    """
    if len(frequencies) > MOST_DOTS:
        raise ValueError(f"{len(frequencies)} frequencies: at most {MOST_DOTS} are drawn as dots.")
    fine = np.linspace(0, 0.5, 241)
    off = float(np.abs(measured - gain_of_average(taps, frequencies)).max())
    side = float(gain_of_average(taps, 1.5 / taps))
    dots = np.full((2, 2 * len(frequencies) - 1), np.nan)  # NaN between two points leaves a gap: dots, no line
    dots[:, ::2] = 8 * frequencies, measured
    dots[0, 1::2] = dots[0, :-1:2]
    both = {f"n = {taps}": (8 * fine, gain_of_average(taps, fine)), "measured (squares)": (dots[0], dots[1])}
    sizes = {f"n = {n}": (8 * fine, gain_of_average(n, fine)) for n in others}
    return curves(
        {f"Average over n = {taps} pixels": both, "Other n": sizes},
        x_label="frequency f, cycles per pixel",
        y_label="gain (0 gone, 1 unchanged)",
        y_range=(-0.03, 1.05),
        ticks=EIGHTHS,
        title="How much of a wave an average leaves",
        message="Slow waves pass, waves that fit into the block a whole number of times vanish, and between these "
        "some come back.",
        summary=f"Measured with waves on a ring of pixels; {'equal to' if off < 1e-9 else 'not'} the formula.",
        alt=f"Gain of an average over {taps} pixels: 1 at frequency 0, zero at every multiple of 1/{taps} cycles per "
        f"pixel, with bumps between the zeros; the one at f = {1.5 / taps:.2f} reaches {side:.2f}. The measured "
        "squares lie on the formula's line. The longer the average, the lower the frequency of its first zero.",
        name="gain",
    )


def response_surface(taps: int, size: int = 49) -> tuple[PlotlyFigure, Figure]:
    """Gain of an average over n x n pixels for all waves of a picture: a surface to turn, and its still twin.

    Measured: the Fourier transform of the n x n block of equal weights, at these frequencies.

    Args:
        taps: n.
        size: frequencies in each direction, odd, so that frequency 0 is one of them.

    Raises:
        ValueError: an even size, or one smaller than the average.
    """
    from plotly.graph_objects import Figure as PlotlyFigure
    from plotly.graph_objects import Surface

    if size % 2 == 0 or size < taps:
        raise ValueError(f"size={size} must be odd and at least taps={taps}.")
    f = np.arange(size) - size // 2
    f = f / (size - 1)  # -1/2 .. 1/2, both ends included
    row = np.abs(np.exp(-2j * np.pi * np.outer(f, np.arange(taps))).mean(1))  # the transform, at these frequencies
    gain = np.outer(row, row)
    plot = PlotlyFigure(
        Surface(x=f, y=f, z=gain.astype(np.float32), colorscale="Viridis", cmin=0, cmax=1,
                colorbar={"title": {"text": "gain"}},
                hovertemplate="f_x %{x:.2f}, f_y %{y:.2f}: gain %{z:.2f}<extra></extra>"),
        {"template": None, "height": 460, "margin": {"l": 0, "r": 0, "t": 40, "b": 0},
         "title": {"text": f"Average over {taps} × {taps} pixels: turn me"},
         "scene": {"xaxis": {"title": {"text": "f_x, cycles per pixel"}},
                   "yaxis": {"title": {"text": "f_y, cycles per pixel"}}, "zaxis": {"title": {"text": "gain"}},
                   "aspectratio": {"x": 1, "y": 1, "z": 0.6}}},
    )  # fmt: skip
    fine = np.linspace(0, 0.5, 121)
    along, slanted = gain_of_average(taps, fine), gain_of_average(taps, fine / np.sqrt(2)) ** 2
    cut = Plot(
        "Two cuts through it, from the middle",
        (Series("along a row", 8 * fine, along, 0), Series("along the diagonal", 8 * fine, slanted, 1)),
        "frequency, cycles per pixel",
        "gain",
        (-0.03, 1.05),
        "Both cuts fall from 1 at frequency 0; along the diagonal the bumps are much lower.",
        ticks=EIGHTHS,
    )
    label = "f_x to the right, f_y down: 0 in the middle, ±1/2 at the rims"
    still = panels(
        {label: gain, "cut": cut},
        scale={label: Scale("gain; colours follow its square root", 0, 1, power=0.5)},
        title=f"What an average over {taps} × {taps} pixels leaves of an image's waves",
        message="Waves longer than the block come through: the bright spot. Of the shorter ones, those along rows or "
        "columns come back most.",
        alt=f"Two-dimensional gain of an average over {taps} × {taps} pixels: a bright spot at frequency 0, dark lines "
        f"at multiples of 1/{taps} cycles per pixel in both directions, faint bumps along the two axes. Waves along "
        "rows and columns come through at some frequencies where slanted ones hardly do.",
        legend=(("series-0", "along a row"), ("series-1", "along the diagonal")),
        name="response",
    )
    return plot, still


# --- the picture -----------------------------------------------------------------------------------------------------


def means_figure(
    image: np.ndarray, side: int, truth: np.ndarray | None = None, window: tuple[int, int, int, int] | None = None
) -> Figure:
    """An image's brightness, its block means, and what the means leave out. The outlines are on the first and third.

    Args:
        image: uint8 [H, W, 3].
        side: of a block, in image pixels.
        truth: object numbers [H, W], for outlines.
        window: part to show, (y0, x0, y1, x1).
    """
    grey = torch.from_numpy(image.mean(2) / 255)[None, None]
    means = pool_context(grey, side)
    lost = (grey - means)[0, 0].numpy()
    bright = shared_scale("brightness, 0..1", grey[0, 0].numpy(), cmap=GREY)
    outlines = true_outline(truth)
    names = ("the image (brightness)", f"its means over {side} × {side} pixels", "lost: image minus means")
    figure = panels(
        dict(zip(names, (grey[0, 0].numpy(), means[0, 0].numpy(), lost), strict=True)),
        scale={names[0]: bright, names[1]: bright,
               names[2]: shared_scale("image minus means (grey: 0)", lost, cmap=GREY, symmetric=True)},
        title="What block means keep, and what they lose",
        message="The means keep where it is dark and where it is bright. The outlines are in what was lost.",
        alt=f"Left a picture of dark nuclei; middle its means over blocks of {side} × {side} pixels, in which the "
        "nuclei are grey squares without a shape; right the difference, which holds the outlines of all nuclei.",
        outlines=outlines, window=window, columns=3,
        legend=(("truth", "true outline"),) if outlines else (),
        name="means",
    )  # fmt: skip
    first, middle, last = figure.cells[0]  # over the means, a drawn outline is seen as if it were in them
    return replace(figure, cells=((first, replace(middle, outlines=()), last),))


def turn_blocks(values: np.ndarray, pool_size: int) -> np.ndarray:
    """Turn each block of pool_size x pool_size by 180 degrees about its own middle: [H, W] -> [H, W].

    Block means stay exactly what they were; where things are inside a block does not.

    Raises:
        ValueError: H or W is no multiple of pool_size.
    """
    height, width = values.shape
    if height % pool_size or width % pool_size:
        raise ValueError(f"a map of {height} x {width} does not consist of whole blocks of {pool_size}.")
    blocks = values.reshape(height // pool_size, pool_size, width // pool_size, pool_size)
    return blocks[:, ::-1, :, ::-1].reshape(height, width).copy()


def disc_and_pieces(blocks: int = 4, pool_size: int = 8, radius: float = 11.0) -> tuple[np.ndarray, np.ndarray]:
    """A: a disc of ones on zeros, a little off the middle. B: A with every block turned by 180 degrees.

    float32 [side, side] each, side = blocks * pool_size.

    All values are 0 or 1, so the block means of A and B are equal without any rounding if pool_size is a power of 2.
    """
    side = blocks * pool_size
    y, x = np.mgrid[:side, :side] + 0.5
    a = (np.hypot(y - side / 2 + 1, x - side / 2 - 1.5) < radius).astype(np.float32)
    return a, turn_blocks(a, pool_size)


def features_of(pattern: np.ndarray, dim: int = 8) -> tuple[Tensor, Tensor]:
    """A pattern [H, W] as features of a block, [1, dim, H, W], and as guidance, [1, 1, H, W].

    Channel c holds the pattern times a weight of its own (multiples of 1/4: no rounding); the guidance is the
    pattern's Sobel magnitude, a stand-in for what a boundary branch would give.
    """
    image = torch.from_numpy(pattern)[None, None]
    weights = torch.arange(dim).sub(dim // 2).add(1)[None, :, None, None] / 4
    return image * weights, sobel_magnitude(image)


def blocks_of_each_source(
    sources: Sequence[str] = ("pooled", "semantic", "structure"), dim: int = 8, pool_size: int = 8, seed: int = 0
) -> dict[str, SGDC]:
    """SGDC blocks with the same random weights that differ in `kernel_source` alone, in eval mode."""
    made = {}
    for source in sources:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            block = SGDC(dim, guidance_channels=1, kernel_source=source, pool_size=pool_size, layer_scale_init=1.0)
            # As drawn, the logits are close to 0 and all kernels nearly uniform: larger ones show the difference.
            with torch.no_grad():
                block.attn.weight.mul_(6)
        made[source] = block.eval()
    return made


def kernel_distance(a: Tensor, b: Tensor) -> np.ndarray:
    """How much of the weight lies elsewhere: kernels [1, heads, k*k, H, W] twice -> [H, W], mean over heads.

    Total variation, half the sum of |differences|: 0 the same kernel, 1 no tap in common.
    """
    return (a - b).abs().sum(2).div(2).mean(1)[0].numpy()


def pair_figure(a: np.ndarray, b: np.ndarray, distances: Mapping[str, np.ndarray], change: np.ndarray) -> Figure:
    """Two patterns with the same block means, and how far kernels and output differ between them.

    Args:
        a, b: float [H, W], 0..1.
        distances: kernel source -> `kernel_distance` [H, W].
        change: float [H, W], mean over channels of |difference| of the pooled block's output.
    """
    means = [pool_context(torch.from_numpy(v)[None, None], 8)[0, 0].numpy() for v in (a, b)]
    value, moved = Scale("value, 0..1", 0, 1, GREY), Scale("share of kernel weight that moved", 0, 1, "magma")
    cells = {"A": a, "B: each block of A turned": b, "block means of A": means[0], "block means of B": means[1]}
    scales = dict.fromkeys(cells, value)
    for source, distance in distances.items():
        cells[f"kernels, A against B: {source}"] = distance
        scales[f"kernels, A against B: {source}"] = moved
    cells["output of pooled, A against B"] = change
    scales["output of pooled, A against B"] = Scale("mean |difference|", 0, max(float(change.max()), 1e-6), "magma")
    told = ", ".join(f"{source} {d.max():.2f}" for source, d in distances.items())
    return panels(
        cells, scale=scales, title="Two patterns, the same block means",
        message="The pooled block has the very same kernels for A and B (all black). Its output differs all the same.",
        summary=f"Largest share of kernel weight that moved: {told}. Random weights, the same in all three blocks.",
        alt="A is a disc, B the same disc with each 8 × 8 block turned by 180 degrees, in pieces. Their block means "
        "are the same picture. Kernels of the pooled block do not differ between A and B; those of the semantic and "
        "the structure block do, along the outlines. The output of the pooled block differs too.",
        name="pair",
    )  # fmt: skip


# --- the trained networks --------------------------------------------------------------------------------------------


def variation_inside(values: Tensor, pool_size: int) -> float:
    """Share of the variation that lies inside the blocks, all channels together: [..., H, W] -> 0..1.

    As `views.overview.within_block_variation`, for more than one map: squares are added up over channels first.
    """
    maps = values.reshape(1, -1, *values.shape[-2:]).double()
    total = (maps - maps.mean((-2, -1), keepdim=True)).square().sum()
    if total < 1e-12:
        return 0.0
    return float((maps - pool_context(maps, pool_size)).square().sum() / total)


def shares_inside(run: Run, pool_size: int) -> dict[str, float]:
    """Site of the finest block (and "probability") -> `variation_inside` blocks of pool_size feature pixels.

    Args:
        run: with its recording, as in `Explorer.look(...).runs`.
    """
    rows, columns = run.maps.entropy.shape  # the rest only pads the image inside the network
    sites = {
        site: run.recording[f"{run.block}.{site}"][..., :rows, :columns] for site in (*FROM_CONTEXT, *FROM_FEATURES)
    }
    shares = {site: variation_inside(values, pool_size) for site, values in sites.items()}
    return {**shares, "probability": variation_inside(torch.from_numpy(run.probability), pool_size * run.stride)}


def sites_figure(image: np.ndarray, run: Run, pixel: tuple[int, int], truth: np.ndarray, zoom: int = 3) -> Figure:
    """Maps of one network's finest block around a pixel: first what is made from the context, then the rest.

    Args:
        image: uint8 [H, W, 3].
        run: of the pooled network, with its recording.
        truth: object numbers [H, W].
        zoom: show 1/zoom of the longer side.
    """
    rows, columns = run.maps.entropy.shape
    common = dict(outlines=true_outline(truth))
    common["window"] = window_around(pixel, run.probability.shape, zoom)
    u = run.recording[f"{run.block}.dynamic_out"][0, :, :rows, :columns]
    channel = int(u.abs().mean((1, 2)).argmax())

    def map_of(title: str, values: np.ndarray, unit: str, cmap: str = "viridis") -> Picture:
        scale = shared_scale(unit, values, cmap=cmap)
        return Picture(values, f"{title}.", scale, run.stride, title=title, bar=True, **common)

    def one(site: str, title: str) -> Picture:
        values = run.recording[f"{run.block}.{site}"][0, channel, :rows, :columns].numpy()
        return map_of(title, values, f"channel {channel}")

    cells = [
        Picture(image, "The image.", title="image", **common),
        map_of("static gate", run.maps.gate_static, "mean over channels"),
        map_of("dynamic gate", run.maps.gate_dynamic, "mean over channels"),
        map_of("kernel entropy", run.maps.entropy, "mean over heads", "cividis"),
        one("value", "value v"),
        one("static_out", "static branch s"),
        one("dynamic_out", "dynamic branch u"),
        Picture(run.probability, "Probability.", Scale("of object", 0, 1), title="predicted probability", bar=True,
                **common),
    ]  # fmt: skip
    return panels(
        {cell.title: cell for cell in cells},
        title="Inside the pooled network, around a few nuclei",
        message="Above, gates and kernels know only blocks. Below, values, both branches and the prediction follow "
        "outlines.",
        summary=f"One map pixel is {run.stride} × {run.stride} image pixels; v, s and u: channel {channel}, the one "
        "with the largest mean |u|. Each map has its own scale. One image.",
        alt="The image and seven maps of the network with pooled kernels. Static gate, dynamic gate and kernel entropy "
        f"consist of squares of {(run.pool_size or 1) * run.stride} image pixels. The value, the static branch, the "
        "dynamic branch and the predicted probability show the outlines of single nuclei, feature pixel by feature "
        "pixel.",
        legend=(("truth", "true outline"),),
        columns=4,
        name="sites",
    )


def slider_still(
    pair: Pair, pixel: tuple[int, int], sizes: Sequence[int | None] = (1, 8, None), zoom: int = 3
) -> Figure:
    """The pooling slider as a small still picture: static gate, change of the probability, surface Dice.

    Args:
        pixel: (row, column) in image pixels; the maps show 1/zoom of the longer side around it.
        sizes: pool sizes of the curve, the first one 1. Maps: 1, the pooled network's own size, and that network.

    Raises:
        ValueError: as `views.pooling`, or without the pooled network's size.
    """
    from sgdc_viz.views import pooling

    steps = pair.pooling_steps(sizes)
    *_, last = steps.values()
    same = [i for i, step in enumerate(steps.values()) if step.pool_size == last.pool_size and not step.retrained]
    if not same:
        raise ValueError(f"sizes={tuple(sizes)} must hold {last.pool_size}, the size that the pooled network has.")
    figure = pooling(
        pair.image,
        steps,
        stride=pair.first.stride,
        truth=pair.truth,
        window=window_around(pixel, pair.image.shape[:2], zoom),
    )
    before, after, own = (figure.cells[i] for i in (0, same[0], -1))
    size = last.pool_size
    cells = {
        "image": figure.lead,
        "static gate, as trained": before[0],
        f"static gate, {size} · not retrained": after[0],
        f"static gate, {size} · trained so": own[0],
        "surface Dice": figure.strip[1],
        "probability, as trained": replace(
            before[3], pixels=next(iter(steps.values())).probability, scale=Scale("of object", 0, 1)
        ),
        f"its change, {size} · not retrained": after[3],
        f"its change, {size} · trained so": own[3],
    }
    still = panels(
        {name: replace(cell, title=name, bar=True) if isinstance(cell, Picture) and cell is not figure.lead else cell
         for name, cell in cells.items()},
        title=figure.title,
        message="Averages make the gates blocky and move the prediction at the outlines. Blue square and last column: "
        "the network that was trained with averages of this size.",
        summary="Third column: every weight as in the second, only the input of kernels and gates is averaged. One "
        "image, one training run for each network.",
        alt="Static gate and change of the probability, as trained, with averaged contexts and the same weights, and "
        "of the network trained with averages. The averaged gates consist of squares; the probability changes along "
        f"the outlines. {figure.strip[1].alt} "
        f"Trained with pool size {size}: {number(last.metrics['nsd1'])}.",
        legend=(*(entry for entry in figure.legend if entry[0].startswith("series-")), ("truth", "true outline")),
        columns=4,
        name="slider",
    )  # fmt: skip
    return replace(still, faithfulness=figure.faithfulness)


def moving_disc(left: Sequence[float], size: int = 128, radius: float = 20.0) -> np.ndarray:
    """Pictures of one dark disc on pale ground, uint8 [n, size, size, 3]; the i-th one begins at column left[i].

    The disc's edge fades over one pixel; every picture has the same little noise.
    """
    y, x = np.mgrid[:size, :size] + 0.5
    noise = np.random.default_rng(0).normal(0, 3, (size, size, 3))
    pictures = []
    for start in left:
        inside = np.clip(radius - np.hypot(y - size / 2, x - start - radius) + 0.5, 0, 1)[..., None]
        picture = np.array([235, 215, 230]) * (1 - inside) + np.array([110, 70, 150]) * inside
        pictures.append((picture + noise).clip(0, 255).round().astype(np.uint8))
    return np.stack(pictures)


def left_border(probability: np.ndarray) -> np.ndarray:
    """Where the object begins on the middle row: [..., H, W] -> [...], in pixels; NaN where there is none.

    The first crossing of 1/2 from the left, between the centres of two pixels by linear interpolation.
    """
    rows = np.asarray(probability, np.float64)
    rows = rows[..., rows.shape[-2] // 2, :]
    flat = rows.reshape(-1, rows.shape[-1])
    found = np.full(len(flat), np.nan)
    for i, row in enumerate(flat):
        rises = np.flatnonzero((row[:-1] <= 0.5) & (row[1:] > 0.5))
        if row[0] > 0.5:
            found[i] = 0.0
        elif rises.size:
            j = rises[0]
            found[i] = j + 0.5 + (0.5 - row[j]) / (row[j + 1] - row[j])
    return found.reshape(rows.shape[:-1])


@torch.no_grad()
def predicted_left(network: SGDCNet, pictures: np.ndarray) -> np.ndarray:
    """Where a network sees the object begin: uint8 [n, H, W, 3] -> float [n], image pixels."""
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    return left_border(network(images).logits[:, 0].sigmoid().numpy())


def border_figure(true: np.ndarray, predicted: Mapping[str, np.ndarray], side: int) -> Figure:
    """Predicted against true place of a border that moves through a block.

    Args:
        true: float [n], image pixels.
        predicted: network -> float [n].
        side: of a block, in image pixels.
    """
    whole = side * np.rint(true / side)
    lines = {**{name: (true, place) for name, place in predicted.items()}, "imagined: whole blocks": (true, whole)}
    wrong = {name: (x, y - true) for name, (x, y) in lines.items()}
    off = "; ".join(f"{name} {np.abs(place - true).max():.1f} px" for name, place in predicted.items())
    return curves(
        {"Where the border is predicted": lines, "Error of the prediction": wrong},
        x_label="true place of the border, column",
        y_label={"Where the border is predicted": "column", "Error of the prediction": "predicted minus true, px"},
        y_range={"Where the border is predicted": (true.min() - 2, true.max() + 2),
                 "Error of the prediction": (-side / 2 - 1, side / 2 + 1)},
        title="A border on its way through one block",
        message="Both networks follow the border through the block. One that knew only blocks would stay, then jump.",
        summary=f"Largest error: {off}. One drawn disc, one training run per network.",
        alt="Predicted against true place of a disc's left border, moved in steps of one pixel through a block of "
        f"{side} pixels. Guided and pooled network both lie close to the diagonal; the imagined line of a network "
        f"that knows only blocks is flat and then jumps by {side} pixels. Largest error: {off}.",
        name="border",
    )  # fmt: skip
