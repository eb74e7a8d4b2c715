"""One image through a pair of networks that differ in one switch, ready to be looked at: what app and notebooks share.

explorer = Explorer()
pair = explorer.look("nuclei", image)              # runs both networks once and keeps what they did
pair.overview((40, 52)), pair.kernels((40, 52)), pair.microscope((40, 52)), pair.predictions()
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch

from sgdc_viz.data.transforms import to_scale
from sgdc_viz.learn import list_pretrained, load_pretrained
from sgdc_viz.learn.metrics import evaluate_masks
from sgdc_viz.lens import PixelView, Recording, blocks, kernel_entropy, record
from sgdc_viz.nn import SGDCNet, SGDCNetConfig
from sgdc_viz.views import BlockMaps, Figure, Prediction, microscope, overview, pixel_kernels, predictions
from sgdc_viz.views.overview import window_around

ARMS = {"guided": "structure", "pooled": "pooled"}  # what people read -> kernel_source
FAMILIES = ("nuclei", "dermoscopy", "synthetic")
UNTRAINED = "untrained"  # the control: same networks, random weights
MAX_SIDE = 512  # pixels of the longer side that are run and kept; more is cut to the middle
TAPS = ("kernels", "gate_static", "gate_dynamic", "value", "static_out", "dynamic_out")
CHECKED = 64  # pixels of each recording on which the sum is compared with the network's own value


def families() -> tuple[str, ...]:
    """Families of which both networks, guided and pooled, are in the assets folder."""
    names = list_pretrained()
    return tuple(f for f in FAMILIES if all(f"{f}-{source}" in names for source in ARMS.values()))


def missing_weights() -> tuple[str, ...]:
    """File names that should lie in the assets folder and do not."""
    names = list_pretrained()
    wanted = [f"{f}-{source}" for f in FAMILIES for source in ARMS.values()]
    return tuple(f"{name}.safetensors" for name in wanted if name not in names)


def load_network(family: str, source: str) -> SGDCNet:
    """One network in eval mode: a shipped one, or with random weights (seed 0) for family "untrained".

    Raises:
        ValueError: no such family, or its weights are missing; never random weights in their place.
    """
    if family == UNTRAINED:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return SGDCNet(SGDCNetConfig.compact(kernel_source=source)).eval()
    if family not in FAMILIES:
        raise ValueError(f"there are no networks {family!r}; choose one of {', '.join((*FAMILIES, UNTRAINED))}.")
    if f"{family}-{source}" not in list_pretrained():
        raise ValueError(
            f"the weights assets/{family}-{source}.safetensors are missing: get them with the repository, or train "
            "them (see the README)."
        )
    return load_pretrained(f"{family}-{source}")


@dataclass(frozen=True, eq=False)
class Run:
    """One image through one network: what it predicted, and the recording of its finest block."""

    recording: Recording
    block: str
    stride: int
    pool_size: int | None  # p in feature pixels where kernels are shared by blocks
    maps: BlockMaps
    probability: np.ndarray  # float32 [H, W], 0..1, of being object
    boundary: np.ndarray  # float32 [h, w], 0..1, of the boundary branch

    def at(self, pixel: tuple[int, int]) -> PixelView:
        return self.recording.at(self.block, *pixel)


@dataclass(frozen=True, eq=False)
class Pair:
    """One image through both networks. All figures come from here.

    Attributes:
        key: names the image as the networks saw it.
        image: uint8 [H, W, 3] as the networks saw it; all coordinates are its pixels.
        runs: "guided" and "pooled" -> Run.
        truth: object numbers [H, W] or None.
        notes: sentences about what was done to the image before the networks saw it.
    """

    key: str
    image: np.ndarray
    runs: dict[str, Run]
    truth: np.ndarray | None
    trained: bool
    notes: tuple[str, ...]

    def overview(self, pixel: tuple[int, int], zoom: int = 1) -> Figure:
        guided, pooled = self.runs.values()
        return overview(
            self.image, {name: run.maps for name, run in self.runs.items()}, stride=guided.stride,
            pool_size=pooled.pool_size, pixel=pixel, truth=self.truth, zoom=zoom, trained=self.trained, key=self.key,
        )  # fmt: skip

    def kernels(self, pixel: tuple[int, int]) -> Figure:
        return pixel_kernels({name: run.at(pixel) for name, run in self.runs.items()}, pixel)

    def microscope(self, pixel: tuple[int, int], channel: int | None = None) -> Figure:
        return microscope(
            self.image, {name: run.at(pixel) for name, run in self.runs.items()}, pixel,
            pool_sizes={name: run.pool_size for name, run in self.runs.items()}, channel=channel,
        )  # fmt: skip

    def predictions(self, pixel: tuple[int, int], zoom: int = 1) -> Figure:
        told = {}
        for name, run in self.runs.items():
            metrics = None if self.truth is None else evaluate_masks(run.probability > 0.5, self.truth > 0)
            told[name] = Prediction(run.probability, run.boundary, metrics)
        window = window_around(pixel, self.image.shape[:2], zoom)
        stride = next(iter(self.runs.values())).stride
        return predictions(self.image, told, stride=stride, truth=self.truth, window=window)


class Explorer:
    """Runs images through pairs of networks and keeps the last recordings, so that a click needs no forward pass.

    Args:
        keep: how many recordings to keep. One takes about 20 MB for a 256 x 256 image, 80 MB for 512 x 512.

    Safe to call from several threads: one lock guards networks and recordings (hooks are state of a network).
    """

    def __init__(self, keep: int = 6):
        if keep < 2:
            raise ValueError(f"keep={keep} must be at least 2: a pair has two recordings.")
        self._keep = keep
        self._lock = threading.Lock()
        self._networks: dict[tuple[str, str], SGDCNet] = {}
        self._runs: OrderedDict[tuple[str, str], Run] = OrderedDict()
        self.forward_passes = 0

    def look(self, family: str, image: np.ndarray, truth: np.ndarray | None = None) -> Pair:
        """The image through the guided and the pooled network of a family.

        Args:
            family: "nuclei", "dermoscopy", "synthetic" or "untrained".
            image: uint8 RGB [H, W, 3].
            truth: object numbers (or a binary mask) [H, W], if known.

        Raises:
            ValueError: unknown family or missing weights.
        """
        with self._lock:
            networks = {name: self._network(family, source) for name, source in ARMS.items()}
            info = getattr(networks["guided"], "info", None)
            image, truth, notes = fit(image, truth, info.data.get("longest_side") if info else None)
            image_hash = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()[:16]
            runs = {name: self._run(f"{family}-{name}", image_hash, networks[name], image) for name in ARMS}
        return Pair(image_hash, image, runs, truth, family != UNTRAINED, notes)

    def _network(self, family: str, source: str) -> SGDCNet:
        if (family, source) not in self._networks:
            self._networks[family, source] = load_network(family, source)
        return self._networks[family, source]

    def _run(self, name: str, image_hash: str, network: SGDCNet, image: np.ndarray) -> Run:
        key = (name, image_hash)
        if key not in self._runs:
            self._runs[key] = run_network(network, image)
            self.forward_passes += 1
        self._runs.move_to_end(key)
        while len(self._runs) > self._keep:
            self._runs.popitem(last=False)
        return self._runs[key]


def fit(
    image: np.ndarray, truth: np.ndarray | None, longest_side: int | None
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Bring an image (and its truth) to what a pair of networks takes; sentences say what was done."""
    height, width = image.shape[:2]
    if longest_side is not None:
        scaled = to_scale(image, longest_side)
        if scaled is image:
            return image, truth, ()
        if truth is not None:
            from skimage.transform import resize

            truth = resize(truth, scaled.shape[:2], order=0, preserve_range=True, anti_aliasing=False).astype(
                truth.dtype
            )
        h, w = scaled.shape[:2]
        return scaled, truth, (f"The image is {width} × {height} pixels; these networks were trained on, and see, "
                               f"{w} × {h}. Rows and columns count those.",)  # fmt: skip
    if max(height, width) <= MAX_SIDE:
        return image, truth, ()
    top, left = max(0, (height - MAX_SIDE) // 2), max(0, (width - MAX_SIDE) // 2)
    part = (slice(top, top + MAX_SIDE), slice(left, left + MAX_SIDE))
    image = np.ascontiguousarray(image[part])
    used = f"{image.shape[1]} × {image.shape[0]}"
    return image, None if truth is None else truth[part], (
        f"The image is {width} × {height} pixels; to stay quick, its middle {used} is used. Cut out the part you "
        "want to see before you upload.",)  # fmt: skip


@torch.no_grad()
def run_network(network: SGDCNet, image: np.ndarray) -> Run:
    """One image (uint8 [H, W, 3], at the network's scale) through one network, its finest block recorded."""
    block = blocks(network)[-1]
    stride = network.config.strides[0]
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].float() / 255
    with record(network, [f"{block}.{tap}" for tap in TAPS]) as recording:
        out = network(tensor)
    height, width = image.shape[:2]
    rows, columns = -(-height // stride), -(-width // stride)  # the rest only pads the image inside the network

    def shown(site: str) -> torch.Tensor:
        return recording[f"{block}.{site}"][..., :rows, :columns]

    # Where the sum is compared with the network's own value: pixels spread over the image, corners included.
    grid = [(y, x) for y in np.linspace(0, height - 1, int(CHECKED**0.5)).astype(int)
            for x in np.linspace(0, width - 1, int(CHECKED**0.5)).astype(int)]  # fmt: skip
    maps = BlockMaps(
        gate_static=shown("gate_static")[0].mean(0).numpy(),
        gate_dynamic=shown("gate_dynamic")[0].mean(0).numpy(),
        entropy=kernel_entropy(shown("kernels"))[0].mean(0).numpy(),
        faithfulness=max(recording.at(block, int(y), int(x)).error for y, x in grid),
    )
    logits = out.logits[0]
    probability = logits[0].sigmoid() if len(logits) == 1 else 1 - logits.softmax(0)[0]
    pool_size = network.config.pool_size if network.config.kernel_source == "pooled" else None
    return Run(recording, block, stride, pool_size, maps, probability.numpy(), out.edge_logits[0, 0].sigmoid().numpy())
