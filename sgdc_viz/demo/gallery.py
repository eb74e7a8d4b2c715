"""What there is to look at: images, networks, and both together. What people bring is kept in memory, not on disk."""

from __future__ import annotations

from functools import lru_cache
from html import escape
from typing import NamedTuple

import numpy as np

from sgdc_viz.data.samples import Example, example, examples
from sgdc_viz.explore import UNTRAINED, Explorer, Pair, Place, families, missing_weights, networks
from sgdc_viz.explore.networks import MEANT_FOR, digest

from .bounded import Bounded
from .view import View

MAX_UPLOAD = 20 * 2**20  # bytes
KEEP_UPLOADS = 200 * 2**20  # bytes of images that people brought: a few of the largest, hundreds of usual ones
KEEP_PAIRS = 300 * 2**20  # bytes of recordings: some 7 images of 256 x 256 pixels
LISTED = 8  # own images, and own networks, in a visitor's list
FIRST = "immunohistochemistry"
UPLOAD, OWN = "upload-", f"{networks.OWN}-"  # how the keys of images and networks begin that somebody brought
Choices = tuple[tuple[str, str], ...]  # (text, key) of each

explorer = Explorer(keep=4)


class Upload(NamedTuple):
    """An image that somebody brought: uint8 [H, W, 3], its truth [H, W] or None, and how its file was turned."""

    image: np.ndarray
    truth: np.ndarray | None
    orientation: int


uploads: Bounded[Upload] = Bounded(
    KEEP_UPLOADS, lambda u: u.image.nbytes + (0 if u.truth is None else u.truth.nbytes)
)  # by key


def kept(key: str) -> Upload:
    """Raises ValueError if it is no longer kept."""
    upload = uploads.get(key)
    if upload is None:
        raise ValueError("that image is no longer kept: upload it again.")
    return upload


def keep(upload: Upload) -> str:
    """Keep an image that somebody brought, in memory and for a while. Returns its key.

    The same image with a truth is another one: nobody else's picture gets somebody's truth.
    """
    key = UPLOAD + digest(upload.image) + ("" if upload.truth is None else f"-{digest(upload.truth)}")
    uploads.put(key, upload)
    return key


def image_of(key: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Image key -> (image, truth or None where nobody knows it)."""
    return kept(key)[:2] if key.startswith(UPLOAD) else loaded(key)


@lru_cache
def loaded(key: str) -> tuple[np.ndarray, np.ndarray | None]:
    return example(key).load()


pairs: Bounded[Pair] = Bounded(KEEP_PAIRS, lambda pair: pair.nbytes)  # a click asks for the same one again and again


def look(key: str, family: str, versus: str, centre: tuple[int, int] | None = None) -> Pair:
    """An image through a family's first network and what it is compared with, one of `comparisons`.

    Raises:
        ValueError: an image or networks that are not, or no longer, there; a comparison that these do not have.
    """
    name = (key, family, versus, centre)
    image, truth = image_of(key)
    others = explorer.comparisons_of(family)
    if versus not in others:
        raise ValueError(f"these networks have no comparison {versus!r}: use one of {', '.join(others)}.")
    label, arm = next(iter(explorer.arms_of(family).items()))
    return pairs.get(name) or pairs.put(
        name, explorer.compare(family, image, {label: arm, versus: others[versus]}, truth, centre=centre)
    )


def see(view: View) -> Pair:
    """What a page looks at."""
    return look(view.image, view.family, view.versus, view.centre)


def chosen(key: str) -> Example | None:
    """The example of that key; None for an image that somebody brought."""
    return None if key.startswith(UPLOAD) else example(key)


def images(own: Choices = ()) -> list[tuple[str, str]]:
    """Choices of images, (text, key): the examples, and what this visitor brought as long as it is kept."""
    return [(e.title, e.key) for e in examples()] + [(text, key) for text, key in own if key in uploads]


def offers(key: str, own: Choices = ()) -> list[tuple[str, str]]:
    """Choices of networks for an image, (text, family): the one meant for it first, what this visitor brought, and the
    control last."""
    sample = chosen(key)
    meant = sample.family if sample else None
    ready = sorted(families(), key=lambda f: f != meant)
    choices = [(f"trained on {MEANT_FOR[f]}" + (" · meant for this image" if f == meant else ""), f) for f in ready]
    return [*choices, *own, ("random weights · a control, nothing learnt", UNTRAINED)]


def comparisons(family: str) -> list[tuple[str, str]]:
    """Choices of what a family's first network is compared with, (text, row name)."""
    told = {"pooled": "pooled · trained, kernels per block", "random weights": "random weights · nothing learnt"}
    return [
        (told.get(name, f"{name} · not retrained" if arm.change else name), name)
        for name, arm in explorer.comparisons_of(family).items()
    ]


def first_pixel(pair: Pair, sample: Example | None) -> tuple[tuple[int, int], int]:
    """Pixel and zoom to begin with: the example's own, else the middle."""
    height, width = pair.image.shape[:2]
    if sample is None or pair.place.part:
        return (height // 2, width // 2), 1
    return pair.place.from_other(sample.pixel, Place()), sample.zoom


def note(key: str, family: str, pair: Pair) -> str:
    """What people should know about this image and these networks, as HTML."""
    lines, sample = [], chosen(key)
    if missing := missing_weights():
        lines.append(
            f"<strong>Weights are missing in assets/: {escape(', '.join(missing))}.</strong> "
            "Get them with the repository, or train them (see the README)."
        )
    if sample is not None:
        lines.append(f'<span class="sg-about">{escape(sample.note)}</span>')
    if family == UNTRAINED:
        lines.append("<strong>These networks have random weights: nothing they show was learnt.</strong>")
    elif family not in MEANT_FOR:
        lines.append("<strong>Networks that you brought:</strong> what they learnt is for you to say.")
    elif sample is None:
        lines.append(
            f"These networks learnt {MEANT_FOR[family]}; if yours shows anything else, do not trust the masks."
        )
    elif sample.family is None:
        lines.append("<strong>Outside what any of these networks learnt:</strong> watch how they react, do not believe "
                     "the masks.")  # fmt: skip
    elif sample.family != family:
        lines.append(
            f"<strong>Outside what these networks learnt ({MEANT_FOR[family]}):</strong> do not believe the masks."
        )
    lines += [escape(line) for line in pair.notes]
    return f'<p class="sg-note">{" ".join(lines)}</p>'
