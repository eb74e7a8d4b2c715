"""What the page holds of a network, and how: enough to make every kernel, gate and sum of the finest block anew.

A kernel for each of 4 heads at 64 x 64 pixels is 800,000 numbers. They are all made from 24 features a pixel, the
context c, by one layer (see `sgdc_viz.nn.sgdc`):

    [a1, a2, L] = W c + b       gates = sigmoid(a1), sigmoid(a2)       kernels = softmax of L

so the page holds c (an eighth of the numbers), W, b and the neighbours v, and its script does what stands above. Pooled
networks share c in blocks of p x p pixels: one c for each block. Beside it the page holds the value that the network
itself computed, to compare with.

Every number is kept as a whole multiple of a small step, 4 bytes in byte planes (all lowest bytes first), compressed.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from sgdc_viz.data.transforms import image_tensor
from sgdc_viz.explore import Pair, load_network
from sgdc_viz.explore.networks import SOURCES
from sgdc_viz.lens import blocks, record

STEP = 5e-6  # of features and values: each is stored with an error of at most half of this
WEIGHT_STEP = 1e-7  # of W and b; a context of 24 numbers up to 20 turns it into less than 5e-5 of a logit
TOLERANCE = 5e-5  # numbers that the page shows are this near to the library's; checked at all pixels by `check`


@dataclass(frozen=True, eq=False)
class Array:
    """Numbers to store, any shape, as multiples of `step`; 0.5 steps is the largest error."""

    values: np.ndarray
    step: float

    @property
    def steps(self) -> np.ndarray:
        """int32, as stored."""
        return np.rint(np.asarray(self.values, np.float64) / self.step).astype("<i4")

    @property
    def read(self) -> np.ndarray:
        """float64, as the page reads it."""
        return self.steps * self.step


def stored_network(pair: Pair, name: str) -> tuple[dict[str, Array], float]:
    """What the page holds of one network on one image, and how far what it makes of it is from the network's own.

    Args:
        name: "guided" or "pooled".

    Returns:
        arrays: context [d, rows, columns] (pooled: one for each block), weights [2 d + heads * k * k, d] and bias of
            the layer that makes gates and kernels, value [d, ...] (with the neighbours that padding adds to the right
            and below) and own [d, rows, columns], the dynamic branch as the network computed it.
        error: see `check`.

    Raises:
        ValueError: the block pads otherwise than with zeros, which the page's script cannot do; or `check` fails.
    """
    network = load_network(pair.family, SOURCES[name])
    block = blocks(network)[-1]
    module = network.get_submodule(block)
    if module.padding != "zeros":
        raise ValueError(f"the {name} network pads with {module.padding!r}: the page's script knows zeros alone.")
    taps = ("context", "kernels", "gate_static", "gate_dynamic", "value", "dynamic_out")
    with torch.no_grad(), record(network, [f"{block}.{tap}" for tap in taps]) as recording:
        network(image_tensor(pair.image))
    run = pair.runs[name]
    rows, columns = run.maps.entropy.shape
    seen = {tap: recording[f"{block}.{tap}"][0].numpy() for tap in taps}
    shown = {tap: values[..., :rows, :columns] for tap, values in seen.items()}
    reach, share = module.kernel_size // 2, run.pool_size or 1
    arrays = {
        "context": Array(shown["context"][:, ::share, ::share], STEP),
        "weights": Array(module.attn.weight.detach().numpy()[:, :, 0, 0], WEIGHT_STEP),
        "bias": Array(module.attn.bias.detach().numpy(), WEIGHT_STEP),
        "value": Array(seen["value"][:, : rows + reach, : columns + reach], STEP),
        "own": Array(shown["dynamic_out"], STEP),
    }
    return arrays, check(arrays, shown, share)


def check(arrays: Mapping[str, Array], seen: Mapping[str, np.ndarray], share: int) -> float:
    """Do in numpy what the page's script does, at every pixel and channel: the largest difference to what was recorded.

    Args:
        arrays: what is stored.
        seen: what was recorded there: kernels [heads, k*k, h, w], gates and dynamic_out [d, h, w].
        share: pixels from side to side of a block that shares its context; 1: none.

    Raises:
        ValueError: a kernel's weight, a gate or a value of the dynamic branch is further off than TOLERANCE.
    """
    rows, columns = seen["dynamic_out"].shape[1:]
    channels, (heads, taps) = len(seen["dynamic_out"]), seen["kernels"].shape[:2]
    context = arrays["context"].read.repeat(share, 1).repeat(share, 2)[:, :rows, :columns]
    mixed = np.tensordot(arrays["weights"].read, context, 1) + arrays["bias"].read[:, None, None]
    gates = 1 / (1 + np.exp(-mixed[: 2 * channels]))
    logits = mixed[2 * channels :].reshape(heads, taps, rows, columns)
    kernels = np.exp(logits - logits.max(1, keepdims=True))
    kernels /= kernels.sum(1, keepdims=True)

    k = int(taps**0.5)
    value = arrays["value"].read
    room = [(0, max(0, n + k // 2 - have)) for n, have in zip((rows, columns), value.shape[1:], strict=True)]
    padded = np.pad(value, [(0, 0), *((k // 2, after) for _, after in room)])
    summed = np.zeros((channels, rows, columns))
    for tap in range(taps):
        shifted = padded[:, tap // k : tap // k + rows, tap % k : tap % k + columns]
        summed += shifted * kernels[:, tap].repeat(channels // heads, 0)
    made = {"kernels": kernels, "gate_static": gates[:channels], "gate_dynamic": gates[channels:],
            "dynamic_out": summed * gates[channels:]}  # fmt: skip
    error = max(float(np.abs(made[tap] - seen[tap]).max()) for tap in made)
    if not error <= TOLERANCE:
        raise ValueError(f"what the page would show is off by {error:.1e}, more than {TOLERANCE:g}: use smaller steps.")
    return error


def pack(told: dict, arrays: Mapping[str, Array]) -> bytes:
    """Facts and arrays in one compressed piece, which unpack.js reads.

    Layout before compression: 4 bytes, length n of the JSON, little-endian; n bytes of JSON, `told` with an entry
    "arrays" (name -> shape, step, first byte); then each array in 4 byte planes.
    """
    parts, place = {}, 0
    for name, array in arrays.items():
        parts[name] = {"shape": list(array.steps.shape), "step": array.step, "at": place}
        place += 4 * array.steps.size
    text = json.dumps({**told, "arrays": parts}, ensure_ascii=False, allow_nan=False).encode()
    planes = [np.ascontiguousarray(a.steps).reshape(-1, 1).view(np.uint8).T.tobytes() for a in arrays.values()]
    return zlib.compress(len(text).to_bytes(4, "little") + text + b"".join(planes), 9)
