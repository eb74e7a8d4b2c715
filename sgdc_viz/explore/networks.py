"""Which networks there are, and how an image is brought to what they take."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sgdc_viz.data.transforms import to_scale
from sgdc_viz.learn import checkpoints, list_pretrained, load_pretrained
from sgdc_viz.learn.checkpoints import first_line
from sgdc_viz.nn import KERNEL_SOURCES, SGDCNet, SGDCNetConfig
from sgdc_viz.views.overview import check_inside

SOURCES = {"guided": "structure", "pooled": "pooled"}  # what people read -> kernel_source
# What each family learnt, in words.
MEANT_FOR = {"nuclei": "cell nuclei", "dermoscopy": "skin lesions", "synthetic": "drawn skin lesions"}
FAMILIES = tuple(MEANT_FOR)
UNTRAINED = "untrained"  # the control: same networks, random weights
OWN = "own"  # families of networks that people bring: "own-<digest>", with partners "own-<digest>+<digest>"
MAX_SIDE = 512  # pixels a side that are run and kept; of more, a window is cut out

# What is taken of networks that people bring. The compact network has 0.6 million weights, 2.3 MB, and needs 49 numbers
# for each image pixel at its widest (its kernels at stride 2).
MOST_BYTES = 64 * 2**20
MOST_PARAMETERS = 16_000_000
MOST_HEADER = 2**20  # bytes
MOST_WIDTH = 100
MOST_CLASSES = 8  # each takes 64 MB for an image of 4096 x 4096 pixels
MOST_SIDE = 4096  # pixels to which an image may be scaled
FLOATS, INTEGERS = ("F32", "F16", "BF16", "F64"), ("I64",)  # as safetensors calls them


def families() -> tuple[str, ...]:
    """Families of which both networks, guided and pooled, are in the assets folder."""
    names = list_pretrained()
    return tuple(f for f in FAMILIES if all(f"{f}-{source}" in names for source in SOURCES.values()))


def missing_weights() -> tuple[str, ...]:
    """File names that should lie in the assets folder and do not."""
    names = list_pretrained()
    wanted = [f"{f}-{source}" for f in FAMILIES for source in SOURCES.values()]
    return tuple(f"{name}.safetensors" for name in wanted if name not in names)


def load_network(family: str, source: str) -> SGDCNet:
    """One network in eval mode: a shipped one, or with random weights (seed 0) for family "untrained".

    Raises:
        ValueError: no such family, or its weights are missing; never random weights in their place.
    """
    if family == UNTRAINED:
        return untrained_like(SGDCNetConfig.compact(kernel_source=source))
    if family not in FAMILIES:
        raise ValueError(f"there are no networks {family!r}; choose one of {', '.join((*FAMILIES, UNTRAINED))}.")
    if f"{family}-{source}" not in list_pretrained():
        raise ValueError(
            f"the weights assets/{family}-{source}.safetensors are missing: get them with the repository, or train "
            "them (see the README)."
        )
    return load_pretrained(f"{family}-{source}")


@dataclass(frozen=True)
class Place:
    """Where an image that the networks see lies in the one that was given; by default it is the given one.

    Attributes:
        scale: (rows, columns), pixels seen for each pixel given.
        corner: (row, column), pixels of the given image that are cut off above and to the left.
        size: (rows, columns), what the networks see; None where no pixel can lie outside.
        given: (rows, columns) of the given image; None where it is not known.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    corner: tuple[float, float] = (0, 0)
    size: tuple[int, int] | None = None
    given: tuple[int, int] | None = None

    def from_other(self, pixel: tuple[int, int], other: Place) -> tuple[int, int]:
        """The pixel that shows what `pixel` shows in another place of the same image; the nearest if it was cut off."""
        given = (np.array(pixel) + 0.5) / other.scale + other.corner  # the pixel's middle
        seen = np.floor((given - self.corner) * self.scale)
        last = np.inf if self.size is None else np.array(self.size) - 1
        return tuple(int(n) for n in np.clip(seen, 0, last))

    def from_given(self, pixel: tuple[int, int]) -> tuple[int, int]:
        """Pixel of the given image -> pixel that the networks see; the nearest if it was cut off."""
        return self.from_other(pixel, Place())

    def to_given(self, pixel: tuple[int, int]) -> tuple[int, int]:
        """Pixel that the networks see -> pixel of the given image."""
        return Place(size=self.given).from_other(pixel, self)

    def shows(self, pixel: tuple[int, int]) -> bool:
        """Is this pixel of the given image among what the networks see?"""
        y0, x0, y1, x1 = self.box
        return y0 <= pixel[0] < y1 and x0 <= pixel[1] < x1

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(y0, x0, y1, x1): what the networks see, in pixels of the given image.

        Raises:
            ValueError: a place without a size covers no box.
        """
        if self.size is None:
            raise ValueError("this place has no size: ask the place of a Pair.")
        y0, x0 = (round(c) for c in self.corner)
        y1, x1 = (round(c + n / s) for c, n, s in zip(self.corner, self.size, self.scale, strict=True))
        return y0, x0, y1, x1

    @property
    def part(self) -> bool:
        """Is something of the given image cut off?"""
        return self.given is not None and self.box != (0, 0, *self.given)


def place(
    given: tuple[int, int], seen: tuple[int, int], longest_side: int | None, centre: tuple[int, int] | None = None
) -> Place:
    """What `fit` did, from sizes (rows, columns) alone: it scales for a `longest_side`, then it cuts out a window.

    Args:
        centre: (row, column) of the given image that the window has in its middle, or nearly so: it stays inside.
    """
    ratio = 1.0 if longest_side is None else longest_side / max(given)
    whole = [max(1, round(n * ratio)) for n in given]  # as `to_scale` rounds
    scale = tuple(w / g for w, g in zip(whole, given, strict=True))
    middle = [w // 2 for w in whole] if centre is None else Place(scale, size=tuple(whole)).from_given(centre)
    first = [min(max(0, m - n // 2), w - n) for m, n, w in zip(middle, seen, whole, strict=True)]
    return Place(scale, tuple(f / s for f, s in zip(first, scale, strict=True)), tuple(seen), tuple(given))


def fit(
    image: np.ndarray, truth: np.ndarray | None, longest_side: int | None, centre: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Bring an image (and its truth) to what a pair of networks takes; sentences say what was done.

    Args:
        longest_side: the whole is scaled so that its longer side has so many pixels; None: it is not.
        centre: (row, column) of the given image around which a window is cut out where more than MAX_SIDE pixels a
            side are left; None: the middle.

    Raises:
        ValueError: a centre outside the image.
    """
    height, width = image.shape[:2]
    if centre is not None:
        check_inside(centre, height, width)
    notes = []
    whole = to_scale(image, longest_side)
    h, w = whole.shape[:2]
    if whole is not image:
        if truth is not None:
            from skimage.transform import resize

            truth = resize(truth, (h, w), order=0, preserve_range=True, anti_aliasing=False).astype(truth.dtype)
        notes.append(f"The image is {width} × {height} pixels; these networks were trained on, and see, {w} × {h}. "
                     "Rows and columns count those.")  # fmt: skip
    where = place((height, width), (min(h, MAX_SIDE), min(w, MAX_SIDE)), longest_side, centre)
    if where.part:
        rows, columns = where.size
        top, left = (round(c * s) for c, s in zip(where.corner, where.scale, strict=True))
        part = (slice(top, top + rows), slice(left, left + columns))
        whole = np.ascontiguousarray(whole[part])
        truth = None if truth is None else truth[part]
        y0, x0, y1, x1 = where.box
        of_it = "its middle" if centre is None else "a part of"
        notes.append(
            f"The image is {width} × {height} pixels; to stay quick, {of_it} {columns} × {rows} is shown (rows "
            f"{y0}–{y1 - 1}, columns {x0}–{x1 - 1}): choose another part in the whole picture."
        )
    return whole, truth, tuple(notes)


def digest(array: np.ndarray) -> str:
    """Names an image or a mask by its content."""
    return hashlib.sha256(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


# --- networks that people bring --------------------------------------------------------------------------------------


def untrained_of(family: str) -> str:
    """The family of random weights that a family is controlled with; of people's own networks, those of their shape."""
    if family.startswith(UNTRAINED):
        return family
    return UNTRAINED + family.removeprefix(OWN) if family.startswith(f"{OWN}-") else UNTRAINED


def untrained_like(config: SGDCNetConfig) -> SGDCNet:
    """A network with random weights (seed 0), in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SGDCNet(config).eval()


def read_network(
    data: bytes, name: str, most_bytes: int = MOST_BYTES, most_parameters: int = MOST_PARAMETERS
) -> SGDCNet:
    """A network that somebody brings, from the bytes of a file written by `sgdc_viz.learn.save_checkpoint`.

    Nothing is unpickled, and no tensor is read or made before the file's header has been checked.

    Args:
        name: of the file, for messages.
        most_bytes, most_parameters: larger ones are refused.

    Returns:
        The network in eval mode, with `info`.

    Raises:
        ValueError: one sentence that says what is wrong with the file and what to do.
    """
    header = _header(data, name, most_bytes)
    metadata = header.pop("__metadata__", {})
    config, described = _settings(metadata, name)
    if config.kernel_source not in KERNEL_SOURCES:
        raise ValueError(
            f"{name!r} is a network of {config.kernel_source!r} blocks, which have no kernel for each pixel to look "
            f"at: bring one that was trained with kernel_source {', '.join(KERNEL_SOURCES)}."
        )
    _check_shapes(header, config, name, most_parameters)
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(
            f"{name!r} is broken or incomplete ({first_line(error)}): copy it again and upload it again."
        ) from None
    try:
        network = SGDCNet(config)
    except Exception as error:  # a number that no weight can have, say
        raise _no_network(name, error) from None
    checkpoints._load_weights(network, tensors, name)
    # Of what the file says about itself, only what is used here: it may say anything.
    known, trained = described["data"], described["training"].get("config")
    crop = trained.get("crop") if isinstance(trained, dict) else None
    network.info = checkpoints.CheckpointInfo(
        Path(name).stem, config, {"longest_side": known.get("longest_side")},
        training={"config": {"crop": crop}} if type(crop) is int else {},
    )  # fmt: skip
    return network.eval()


def _header(data: bytes, name: str, most_bytes: int) -> dict:
    """The header of a safetensors file, {tensor: {"dtype", "shape", "data_offsets"}, "__metadata__": {}}."""
    remedy = "save the network with sgdc_viz.learn.save_checkpoint, which writes a .safetensors file, and upload that."
    if Path(name).suffix.lower() != ".safetensors":
        raise ValueError(
            f"{name!r} is not a .safetensors file: other formats can run code when loaded and are not opened; {remedy}"
        )
    if checkpoints.is_pickle(data):
        raise ValueError(
            f"{name!r} is a pickle, whatever its name says: pickles can run code when loaded and are not opened; "
            f"{remedy}"
        )
    if len(data) > most_bytes:
        raise ValueError(
            f"{name!r} has {len(data) / 2**20:.1f} MB; networks of at most {most_bytes / 2**20:.0f} MB are taken here: "
            "train a smaller one, such as SGDCNetConfig.compact()."
        )
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise ValueError(f"{name!r} is broken, incomplete or no safetensors file: copy it again and upload it again.")
    try:
        if length > MOST_HEADER:
            raise ValueError("a header of that length belongs to no network of ours")
        header = json.loads(data[8 : 8 + length])
        if not isinstance(header, dict) or not all(isinstance(value, dict) for value in header.values()):
            raise ValueError("its header is no table")
        sizes = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        if max(sizes, default=0) != len(data) - 8 - length:
            raise ValueError("its tensors do not fill it")
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ValueError(
            f"{name!r} is broken, incomplete or no safetensors file ({first_line(error)}): copy it again and upload it "
            "again."
        ) from None
    return header


def _settings(metadata: dict, name: str) -> tuple[SGDCNetConfig, dict]:
    """(config, {"data", "metrics", "training"}) from what `save_checkpoint` wrote into the header."""
    if metadata.get("format") == checkpoints.HISTORY_FORMAT:
        raise ValueError(
            f"{name!r} holds several steps of a training: upload the checkpoint of one step, as save_checkpoint "
            "writes it."
        )
    if metadata.get("format") != checkpoints.FORMAT or "config" not in metadata:
        raise ValueError(
            f"{name!r} holds weights but no sgdc_viz settings: it was not written by sgdc_viz.learn.save_checkpoint; "
            "load them into an SGDCNet (authors' weights: sgdc_viz.nn.load_authors_state_dict), and save that."
        )
    try:
        newer = int(metadata["format_version"]) > checkpoints.FORMAT_VERSION
        described = checkpoints.described_in(metadata, MOST_SIDE)
        if not newer:
            config = SGDCNetConfig.from_dict(described.pop("config"))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f"{name!r} has settings that cannot be read ({first_line(error)}): save it again with save_checkpoint."
        ) from None
    if newer:
        by = metadata.get("sgdc_viz", "")[:20]
        raise ValueError(f"{name!r} was written by a newer sgdc_viz ({by!r}): update this one.")
    return config, described


def _no_network(name: str, error: Exception) -> ValueError:
    return ValueError(
        f"{name!r} has settings from which no network can be made ({first_line(error)}): save it again with "
        "save_checkpoint."
    )


def _check_shapes(header: dict, config: SGDCNetConfig, name: str, most_parameters: int) -> None:
    """The header's tensors against those of a network with these settings, which is only thought of (no memory)."""
    try:
        with torch.device("meta"):
            own = SGDCNet(config).state_dict()
    except Exception as error:  # settings of the wrong type fail anywhere, in any way
        raise _no_network(name, error) from None
    count = sum(value.numel() for value in own.values())
    if count > most_parameters:
        raise ValueError(
            f"{name!r} is a network of {count / 1e6:.1f} million weights; at most {most_parameters / 1e6:.0f} million "
            "are taken here: train a smaller one, such as SGDCNetConfig.compact()."
        )
    widest = max(
        max(config.heads * config.kernel_size**2, dim * max(1.0, config.mlp_ratio), channels, config.mid_channels)
        / stride**2
        for dim, channels, stride in zip(config.decoder_channels, config.encoder_channels, config.strides, strict=True)
    )
    if widest > MOST_WIDTH or config.num_classes > MOST_CLASSES:
        raise ValueError(
            f"{name!r} is too wide to be looked at here: {widest:.0f} numbers for each image pixel (at most "
            f"{MOST_WIDTH}), {config.num_classes} classes (at most {MOST_CLASSES}); train one with smaller kernels, "
            "fewer channels or fewer classes."
        )
    wrong = sorted(set(own) ^ set(header))
    wrong += sorted(key for key in set(own) & set(header) if list(own[key].shape) != header[key].get("shape"))
    if wrong:
        raise ValueError(
            f"{name!r} does not fit its own settings: {len(wrong)} weight(s) are missing, unknown or of another shape, "
            f"such as {wrong[0][:80]!r}; it was changed after it was saved: save it again with save_checkpoint."
        )
    for key, value in own.items():
        kinds = FLOATS if value.is_floating_point() else INTEGERS
        if header[key].get("dtype") not in kinds:
            raise ValueError(
                f"{name!r} holds {key!r} as {header[key].get('dtype')!r}; {' or '.join(kinds)} is read: save it again "
                "with save_checkpoint."
            )
