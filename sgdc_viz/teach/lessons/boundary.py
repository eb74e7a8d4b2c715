"""Notebook 03: the Sobel gate at a glance, and a boundary branch small enough to be trained in a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgdc_viz.data.synthetic import synthetic_nuclei
from sgdc_viz.data.transforms import image_tensor
from sgdc_viz.learn.losses import edge_target
from sgdc_viz.nn import SGDCNet
from sgdc_viz.nn.sge import SGE, ConvBNReLU
from sgdc_viz.views import Figure, Picture, Plot, Scale, Series, boundary_score, panels, true_boundary
from sgdc_viz.views.boundary_branch import thin
from sgdc_viz.views.figure import true_outline
from sgdc_viz.views.sge_stages import OPEN
from sgdc_viz.views.style import number

SIDE = 64  # pixels of a small picture
THRESHOLDS = tuple(round(0.1 * n, 1) for n in range(1, 10))
GATE = Scale("gate (0.5 to 1)", 0.5, 1.0, "viridis")
WEAK = Scale("gate (0.5 to 0.75)", 0.5, 0.75, "viridis")
BOUNDARY = Scale("probability of boundary", 0.0, 1.0, "magma")


# --- the gate --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def sge_inputs(net: SGDCNet, image: np.ndarray) -> tuple[Tensor, Tensor]:
    """What the boundary branch of a network reads of one image.

    Args:
        net: any SGDCNet.
        image: uint8 [H, W, 3], height and width multiples of the coarsest stride.

    Returns:
        deep [1, C4, H / coarsest, W / coarsest], shallow [1, C1, H / finest, W / finest].

    Raises:
        ValueError: a size that is not such a multiple.
    """
    coarsest = net.config.strides[-1]
    if any(side % coarsest for side in image.shape[:2]):
        raise ValueError(f"image {image.shape[:2]}: height and width must be multiples of {coarsest}.")
    features = net.encoder((image_tensor(image) - 0.5) / 0.25)  # as SGDCNet.forward
    return features[-1], features[0]


@torch.no_grad()
def projected(sge: SGE, shallow: Tensor) -> Tensor:
    """P of the shallow level as in a training step (batch norm by this batch's statistics): [B, m, h, w], 0 or more."""
    training, statistics = sge.training, {k: v.clone() for k, v in sge.s1_proj.state_dict().items()}
    p = sge.s1_proj.train()(shallow)
    sge.train(training)
    sge.s1_proj.load_state_dict(statistics)  # train mode moved the running statistics
    return p


def gate_figure(
    image: np.ndarray, gate: Tensor, told: str, stride: int = 2, window: tuple[int, int, int, int] | None = None
) -> Figure:
    """An image, the gate over it, and how often each value of the gate occurs.

    Args:
        image: uint8 [H, W, 3].
        gate: [1, channels, h, w], 0.5 to 1; the map shows the first channel, the curve counts all of them.
        told: how this gate was made, such as "channels: 32".
        stride: image pixels per pixel of the gate.
        window: (y0, x0, y1, x1), the part to show, in image pixels; numbers and curve are of the whole image.
    """
    values = gate[0].numpy()
    counts, edges = np.histogram(values, bins=25, range=(0.5, 1.0))
    share = 100 * counts / values.size
    stuck = 100 * float((values > OPEN).mean())
    amount = "under 0.1" if 0 < stuck < 0.1 else number(stuck)
    narrow = np.percentile(values, 95) < WEAK.high
    seen = _seen(values)
    alt = f"Sobel gate, {told}: over {OPEN:g} on {amount} % of the values. {seen}"
    which = "gate" if len(values) == 1 else f"gate (first of {len(values)} channels)"
    middles = (edges[1:] + edges[:-1]) / 2
    line = Series("share", np.r_[0.5, middles, 1.0], np.r_[share[0], share, share[-1]], 0)  # the axis ends at 0.5 and 1
    return panels(
        {
            "image": Picture(image, "The image.", window=window),
            which: Picture(values[0], alt, WEAK if narrow else GATE, stride, bar=True, window=window),
            "": Plot("how often each value occurs", (line,), "value of the gate", "share of values, %", (0, 103), alt),
        },
        title=f"The Sobel gate, {told}",
        message=seen,
        summary=f"Over {OPEN:g}: {amount} % of the values. Mean {values.mean():.2f}, standard deviation "
        f"{values.std():.2f}, smallest {values.min():.2f}. One image"
        + (", a part of it shown; numbers and curve are of all of it." if window else "."),
        alt=alt,
        columns=3,
        name="gate",
    )  # fmt: skip


def _seen(values: np.ndarray) -> str:
    stuck = float((values > OPEN).mean())
    if stuck > 0.05:
        amount = "nearly all" if stuck > 0.9 else "many" if stuck > 0.35 else "some"
        return f"Of the gate's values, {amount} are stuck open."
    if float((values < 0.65).mean()) > 0.5:
        return "Hardly any value is stuck at 1, but most stay under 0.65: the gate now works weakly."
    return "Of the gate's values, hardly any is stuck."


def three_states(gates: dict[str, Tensor]) -> str:
    """Alt text of the gate slider's still picture. gates: name -> values [1, channels, h, w], as in `gate_figure`."""
    names = ("channels: 1", "channels: 256", "channels: each alone / 8")
    return "The gate three times. " + " ".join(
        f"{name}: {_seen(gates[name].numpy())} Median {float(gates[name].median()):.2f}." for name in names
    )


def shrunk_figure(line: Tensor, small: dict[str, Tensor], part: tuple[slice, slice], factor: int = 4) -> Figure:
    """A thin target, and what is left of it after shrinking.

    Args:
        line: target [H, W] of zeros and ones.
        small: {"nearest": ..., "max": ...}, the same shrunk by each method, [1, 1, H / factor, W / factor].
        part: rows and columns of `line` to show, multiples of the factor.
    """
    cells = tuple(slice(s.start // factor, s.stop // factor) for s in part)
    return panels(
        {
            "width 1, full size": black_white(line[part]),
            f"shrunk by {factor}, nearest": black_white(small["nearest"][0, 0][cells]),
            f"shrunk by {factor}, largest (max-pool)": black_white(small["max"][0, 0][cells]),
        },
        title="A thin target does not survive shrinking",
        message="White is 1. Nearest keeps a few dots of the line; max-pooling keeps all of it, four times as wide.",
        alt="The thin outlines of five nuclei; after shrinking with nearest only scattered cells are left; after "
        "shrinking with max-pooling the outlines are complete but fill a large part of the nuclei.",
        name="shrunk",
    )


def black_white(target: Tensor) -> np.ndarray:
    """A target of zeros and ones [H, W] as a picture, 1 is white: uint8 [H, W, 3]."""
    return np.repeat((target.numpy() > 0)[..., None] * np.uint8(255), 3, axis=2)


# --- training the branch alone ---------------------------------------------------------------------------------------


class Pictures(NamedTuple):
    """images: float32 [n, 3, 64, 64], 0 to 1. instances: int64 [n, 64, 64], 0 is background."""

    images: Tensor
    instances: Tensor


def small_pictures(seeds: Iterable[int]) -> Pictures:
    """Drawn nuclei, few and large, some of them touching; the truth is exact. The same seeds give the same pictures."""
    drawn = [
        synthetic_nuclei(seed, SIDE, style="histology", count=(3, 5), radius=(0.09, 0.13), crowding=0.6, defocus=0.0)
        for seed in seeds
    ]
    # Not `to_tensor`: it gives the same numbers in another memory layout, sums then round differently, and a training
    # magnifies that. The notebook's text quotes numbers that were measured with this one.
    images = torch.from_numpy(np.stack([d.image for d in drawn])).permute(0, 3, 1, 2).float() / 255
    return Pictures(images, torch.from_numpy(np.stack([d.instances for d in drawn]).astype(np.int64)))


class BoundaryNet(nn.Module):
    """Four convolutions and an SGE, no decoder: image [B, 3, H, W], 0 to 1 -> boundary logits [B, 1, H / 2, W / 2]."""

    def __init__(self, sobel_gate: str = "per_channel"):
        super().__init__()
        self.fine = nn.Sequential(ConvBNReLU(3, 12, 3, stride=2), ConvBNReLU(12, 12, 3))
        self.coarse = nn.Sequential(ConvBNReLU(12, 24, 3, stride=2), ConvBNReLU(24, 24, 3, stride=2))
        self.sge = SGE(24, 12, mid_channels=16, guidance_channels=4, sobel_gate=sobel_gate)

    def forward(self, image: Tensor) -> Tensor:
        shallow = self.fine((image - 0.5) / 0.25)
        edge_logits, _ = self.sge(self.coarse(shallow), shallow)
        return edge_logits


def plain_loss(edge_logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy with nothing balanced, [B, 1, h, w] and [B, 1, H, W]: what `edge_loss` is compared with."""
    return F.binary_cross_entropy_with_logits(_enlarged(edge_logits, target.shape[-2:]), target)


def train(
    loss: Callable[[Tensor, Tensor], Tensor], pictures: Pictures, seed: int = 0, steps: int = 40, width: int = 1,
    sobel_gate: str = "per_channel",
) -> BoundaryNet:  # fmt: skip
    """Train a small boundary branch alone; about half a second. Global random numbers stay as they are.

    Args:
        loss: (edge_logits, target) -> scalar, such as `edge_loss` or `plain_loss`.
        pictures: batches of 8 are drawn from them.
        seed: of the first weights and of the order of pictures: the same for two losses means the same start.
        steps: of Adam, learning rate 0.01.
        width: of the boundary target, 1, 3 or 5 pixels.
        sobel_gate: see `SGE`.

    Raises:
        ValueError: fewer than 8 pictures.
    """
    if len(pictures.images) < 8:
        raise ValueError(f"{len(pictures.images)} pictures are fewer than one batch of 8.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = BoundaryNet(sobel_gate)
    target = edge_target(pictures.instances, width)
    order = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(steps):
        batch = torch.randperm(len(target), generator=order)[:8]
        optimiser.zero_grad()
        loss(net(pictures.images[batch]), target[batch]).backward()
        optimiser.step()
    return net.eval()


@torch.no_grad()
def probability(net: BoundaryNet, pictures: Pictures) -> np.ndarray:
    """Probability of boundary at the pictures' own resolution: float32 [n, 64, 64]."""
    return _enlarged(net(pictures.images), pictures.images.shape[-2:]).sigmoid()[:, 0].numpy()


def _enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False)


class Scores(NamedTuple):
    """Means over pictures, 0 to 1.

    accuracy: share of pixels on the right side of the threshold. precision, recall, f: of the thinned boundary, at a
    tolerance of 1 pixel. precision leaves out pictures in which nothing was predicted (NaN if that is all of them).
    """

    accuracy: float
    precision: float
    recall: float
    f: float


def scores(maps: np.ndarray, pictures: Pictures, threshold: float = 0.5, width: int = 1) -> Scores:
    """Accuracy beside boundary scores.

    Args:
        maps: float [n, H, W], probability of boundary.
        pictures: their truth.
        threshold: between 0 and 1.
        width: of the target that the accuracy is counted on.
    """
    target = edge_target(pictures.instances, width)[:, 0].numpy() > 0
    each = [
        boundary_score(thin(one, 1, one.shape, threshold), true_boundary(labels), tolerance=1)
        for one, labels in zip(maps, pictures.instances.numpy(), strict=True)
    ]
    predicted = [s.precision for s in each if not np.isnan(s.precision)]
    return Scores(
        float(((maps > threshold) == target).mean()),
        float(np.mean(predicted)) if predicted else float("nan"),
        float(np.mean([s.recall for s in each])),
        float(np.mean([s.f for s in each])),
    )


class Trained(NamedTuple):
    """Several runs with one loss. maps: one float [n, H, W] for each run. scores: their mean at threshold 0.5.
    f: the F score over `THRESHOLDS`, float [runs, 9]."""

    maps: list[np.ndarray]
    scores: Scores
    f: np.ndarray


def train_and_score(
    loss: Callable[[Tensor, Tensor], Tensor], pictures: Pictures, unseen: Pictures, seeds: Iterable[int] = range(2),
    **options,
) -> Trained:  # fmt: skip
    """Train once for each seed and score on unseen pictures. options: as for `train`."""
    maps = [probability(train(loss, pictures, seed, **options), unseen) for seed in seeds]
    width = options.get("width", 1)
    every = np.array([[scores(m, unseen, t, width) for t in THRESHOLDS] for m in maps])  # [runs, thresholds, 4]
    at_half = every[:, THRESHOLDS.index(0.5)]
    known = ~np.isnan(at_half).all(0)
    mean = np.full(4, np.nan)
    mean[known] = np.nanmean(at_half[:, known], axis=0)
    return Trained(maps, Scores(*(float(v) for v in mean)), every[..., 3])


def trained_figure(unseen: Pictures, trained: dict[str, Trained], which: int = 0) -> Figure:
    """One unseen picture, the boundary map of each loss (first run), and the F score against the threshold.

    Args:
        unseen: the pictures that the maps are of.
        trained: name of the loss -> its runs.
        which: number of the picture to show.
    """
    picture = (unseen.images[which].permute(1, 2, 0) * 255).round().byte().numpy()
    outline = true_outline(unseen.instances[which].numpy())
    cells = {"unseen picture, true outline": Picture(picture, "An unseen picture.", outlines=outline)}
    for name, runs in trained.items():
        cells[f"{name}: boundary map"] = runs.maps[0][which]
    lines = tuple(
        Series(name, np.array(THRESHOLDS), runs.f.mean(0), i, runs.f.min(0), runs.f.max(0))
        for i, (name, runs) in enumerate(trained.items())
    )
    runs, n = len(next(iter(trained.values())).maps), len(unseen.images)
    told = "; ".join(
        f"{name}: accuracy {r.scores.accuracy:.3f}, precision "
        + ("undefined" if np.isnan(r.scores.precision) else f"{r.scores.precision:.2f}")
        + f", recall {r.scores.recall:.2f}, F {r.scores.f:.2f}"
        for name, r in trained.items()
    )
    alt = f"Boundary maps after the same few steps with each loss. At threshold 0.5 {told}."
    cells["F score at 1 px"] = Plot("F at 1 px, unseen pictures", lines, "threshold", "F score, 0..1", (0, 1.03), alt,
                                    mark=(0.5, "0.5"))  # fmt: skip
    return panels(
        cells,
        scale={f"{name}: boundary map": BOUNDARY for name in trained},
        title="The boundary branch, trained alone for a moment",
        message="Without balance the map stays faint and little of it passes a threshold of 0.5; with balance the "
        "outlines pass.",
        summary=f"At threshold 0.5, mean of {runs} runs and {n} unseen pictures: {told}. Shaded: lowest to highest "
        f"run. Drawn pictures; {runs} runs give no interval.",
        alt=alt,
        columns=len(cells),
        legend=(*((f"series-{i}", name) for i, name in enumerate(trained)), ("truth", "true outline")),
        name="trained",
    )
