"""Synthetic dermoscopy and nuclei whose truth is known exactly, because the mask is the shape that was drawn.

Every dial is a number, or a (low, high) range from which the seed draws. Each ingredient (shape, colours, hair, noise,
...) has its own random stream, so turning one dial leaves everything else in the picture as it was: the same lesion
with twice the lobes, the same nuclei with less contrast. The same arguments give the same bytes.

These pictures are for teaching, tests and pretraining. They look like the real thing; they carry no medical content.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from sgdc_viz.data.images import Sample

Dial = float | tuple[float, float]

# Optical density of red, green, blue per unit of stain: Ruifrok and Johnston, Anal. Quant. Cytol. Histol. 23 (2001).
HEMATOXYLIN = np.array([0.65, 0.70, 0.29], np.float32)
EOSIN = np.array([0.07, 0.99, 0.11], np.float32)


def synthetic_dermoscopy(seed: int, size: int | tuple[int, int] = 256, *, lobes: Dial = (3, 16),
                         lobe_depth: Dial = (0.02, 0.12), radius: Dial = (0.2, 0.4), contrast: Dial = (0.45, 1.0),
                         softness: Dial = (0.8, 3.0), texture: Dial = (0.7, 1.0), hair: Dial = (0.0, 0.7),
                         illumination: Dial = (0.2, 1.0), noise: Dial = (0.005, 0.02), blur: Dial = (0.0, 0.8)
                         ) -> Sample:
    """One pigmented lesion on skin.

    Args:
        seed: any integer from 0.
        size: side, or (height, width), in pixels.
        lobes: how many bumps run around the contour: the spatial frequency of the boundary. 0 is a smooth ellipse.
        lobe_depth: height of a bump, as a share of the lesion's radius (0..0.4).
        radius: mean radius of the lesion, as a share of the shorter side.
        contrast: 0 (skin-coloured lesion) .. 1 (its full pigment).
        softness: distance in pixels over which the pigment fades, centred on the exact border; 0 is a hard edge.
        texture: 0 (flat skin, flat lesion) .. 1 (mottled skin, furrows, variegated pigment, network, globules).
        hair: 0 (none) .. 1 (about 30 hairs on a 256-pixel picture, some fine, some thick).
        illumination: 0 (even) .. 1 (vignette, uneven light, sometimes gel bubbles or the dermatoscope's dark rim).
        noise: standard deviation of the sensor noise, on the 0..1 scale.
        blur: standard deviation of the optics' blur, in pixels.

    Returns: Sample with a binary mask: 1 at the pixels whose centre lies inside the drawn contour; no instances.
    Raises: ValueError for a size below 8 or a dial out of its range.
    """
    height, width = _size(size)
    shape_rng, skin_rng, pigment_rng, hair_rng, light_rng, noise_rng, dial_rng = _streams(seed, 7)
    dials = _Dials(dial_rng, lobes=(lobes, 0, 200), lobe_depth=(lobe_depth, 0, 0.4), radius=(radius, 0.02, 0.7),
                   contrast=(contrast, 0, 1), softness=(softness, 0, 50), texture=(texture, 0, 1), hair=(hair, 0, 1),
                   illumination=(illumination, 0, 1), noise=(noise, 0, 0.5), blur=(blur, 0, 20))
    side = min(height, width)
    unit = side / 256  # textures grow with the picture
    distance = _star(shape_rng, height, width,
                     centre=(height * shape_rng.uniform(0.42, 0.58), width * shape_rng.uniform(0.42, 0.58)),
                     radius=dials.radius * side, squeeze=shape_rng.uniform(0.65, 1.0), angle=shape_rng.uniform(0, np.pi),
                     lobes=round(dials.lobes), depth=dials.lobe_depth)
    skin = _skin(skin_rng, (height, width), unit, dials.texture)
    ink = _pigment(pigment_rng, (height, width), unit, dials.texture, distance / (dials.radius * side))
    cover = _fade(distance, dials.softness)[:, :, None]
    # A lesion filters the light that skin sends back, so the texture of the skin goes on through it.
    image = skin * (1 + dials.contrast * cover * (ink - 1))
    halo = 0.12 * dials.texture * dials.contrast * np.exp(-np.maximum(-distance, 0) / (9 * unit))[:, :, None] * (1 - cover)
    image *= 1 - halo * np.array([0.5, 1.0, 1.0], np.float32)
    image = _draw_hair(hair_rng, image, unit, dials.hair)
    image = _light(light_rng, image, unit, dials.illumination)
    image = _camera(noise_rng, image, dials.blur * unit, dials.noise)
    return Sample(image, (distance > 0).astype(np.uint8), None, f"dermoscopy-{seed}", f"dermoscopy-{seed}")


def synthetic_nuclei(seed: int, size: int | tuple[int, int] = 256, *, style: str | None = None, count: Dial = (12, 60),
                     crowding: Dial = (0.0, 0.8), radius: Dial = (0.028, 0.055), lobes: Dial = (0, 5),
                     lobe_depth: Dial = (0.0, 0.1), contrast: Dial = (0.4, 1.0), softness: Dial = (0.5, 1.2),
                     texture: Dial = (0.6, 1.0), defocus: Dial = (0.0, 0.5), illumination: Dial = (0.0, 1.0),
                     noise: Dial = (0.005, 0.03), blur: Dial = (0.0, 0.7)) -> Sample:
    """Cell nuclei, each with its own number.

    Args (those not listed mean the same as in `synthetic_dermoscopy`):
        style: "fluorescence" (grey nuclei on dark ground), "histology" (purple on pink, violet or near-white), or None
            to let the seed choose.
        count: how many nuclei to place; fewer if they do not fit.
        crowding: 0 (all apart) .. 1 (almost every nucleus touches or slightly overlaps another).
        radius: mean radius of a nucleus, as a share of the shorter side.
        lobes: bumps on each nucleus.
        defocus: share of nuclei that lie out of focus. Their truth is the sharp outline.

    Returns: Sample with instances 1..n and mask = instances > 0. Where two nuclei overlap, a pixel belongs to the one
    in which it lies deeper. Raises: ValueError for a size below 8, an unknown style or a dial out of its range.
    """
    height, width = _size(size)
    if style not in (None, "fluorescence", "histology"):
        raise ValueError(f"style={style!r} is not 'fluorescence', 'histology' or None.")
    shape_rng, place_rng, ground_rng, nucleus_rng, light_rng, noise_rng, dial_rng = _streams(seed, 7)
    drawn_style = "fluorescence" if dial_rng.random() < 0.6 else "histology"
    style = style or drawn_style
    dials = _Dials(dial_rng, count=(count, 0, 5000), crowding=(crowding, 0, 1), radius=(radius, 0.005, 0.5),
                   lobes=(lobes, 0, 200), lobe_depth=(lobe_depth, 0, 0.4), contrast=(contrast, 0, 1),
                   softness=(softness, 0, 50), texture=(texture, 0, 1), defocus=(defocus, 0, 1),
                   illumination=(illumination, 0, 1), noise=(noise, 0, 0.5), blur=(blur, 0, 20))
    unit = min(height, width) / 256
    distance, instances, number = _place_nuclei(shape_rng, place_rng, height, width, dials)
    paint = _histology if style == "histology" else _fluorescence
    image = paint(ground_rng, nucleus_rng, distance, instances, number, unit, dials)
    if dials.illumination:
        glow = _clouds(light_rng, (height, width), 140 * unit)
        image = image * np.exp((0.22 if style == "fluorescence" else 0.06) * dials.illumination * glow)[:, :, None]
    image = _camera(noise_rng, image, dials.blur * unit, dials.noise, grey=style == "fluorescence")
    return Sample(image, (instances > 0).astype(np.uint8), instances, f"nuclei-{seed}", f"nuclei-{seed}")


# ---------------------------------------------------------------------------------------------- shapes

class _Dials:
    """Each dial's value for this picture. One number is drawn per dial even where it is fixed, so that fixing one
    dial does not change what the seed draws for the others."""

    def __init__(self, rng: np.random.Generator, **dials: tuple[Dial, float, float]):
        for name, (value, low, high) in dials.items():
            share = rng.random()
            ends = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
            if len(ends) != 2 or not low <= ends[0] <= ends[1] <= high:
                raise ValueError(f"{name}={value!r} must be a number, or a (low, high) range, within {low}..{high}.")
            setattr(self, name, ends[0] + share * (ends[1] - ends[0]))


def _streams(seed: int, count: int) -> list[np.random.Generator]:
    if seed < 0:
        raise ValueError(f"seed={seed} must be 0 or larger.")
    return [np.random.default_rng((seed, stream)) for stream in range(count)]


def _size(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if np.isscalar(size) else size
    if min(height, width) < 8 or max(height, width) > 8192:
        raise ValueError(f"size={size!r} must be 8 to 8192 pixels a side.")
    return int(height), int(width)


def _star(rng: np.random.Generator, height: int, width: int, centre: tuple[float, float], radius: float,
          squeeze: float, angle: float, lobes: int, depth: float, top: int = 0, left: int = 0) -> np.ndarray:
    """Signed distance in pixels (first order, positive inside) to the contour r = R(theta), float32 [height, width].

    R is an ellipse of mean radius `radius` and axis ratio `squeeze`, times 1 + depth * bumps(theta). The bumps are
    `lobes` periods of a cosine whose height varies around the contour, plus a slow wobble; without lobes or depth the
    contour is the plain ellipse. (top, left) is the image position of the array's first pixel.
    """
    theta = np.linspace(-np.pi, np.pi, 2049)
    long, short = radius / np.sqrt(squeeze), radius * np.sqrt(squeeze)
    contour = long * short / np.hypot(short * np.cos(theta - angle), long * np.sin(theta - angle))
    phases = rng.uniform(0, 2 * np.pi, 5)
    if lobes > 0 and depth > 0:
        uneven = 0.75 + 0.25 * np.cos(2 * theta + phases[0])
        wobble = 0.6 * np.cos(2 * theta + phases[1]) + 0.5 * np.cos(3 * theta + phases[2])
        bumps = uneven * (0.8 * np.cos(lobes * theta + phases[3]) + 0.3 * np.cos((lobes + 1) * theta + phases[4]))
        contour = contour * (1 + depth * (bumps + wobble))
    slope = np.gradient(contour, theta)
    y = np.arange(top, top + height, dtype=np.float32)[:, None] + 0.5 - centre[0]  # pixel centres
    x = np.arange(left, left + width, dtype=np.float32)[None, :] + 0.5 - centre[1]
    r, at = np.hypot(y, x), np.arctan2(y, x)
    step = ((at + np.pi) * (2048 / (2 * np.pi))).astype(np.int32)
    reach, lean = contour.astype(np.float32)[step], slope.astype(np.float32)[step]
    return (reach - r) / np.sqrt(1 + (lean / np.maximum(r, 1)) ** 2)


def _place_nuclei(shape_rng: np.random.Generator, place_rng: np.random.Generator, height: int, width: int,
                  dials: _Dials) -> tuple[np.ndarray, np.ndarray, int]:
    """Signed distance to the nearest outline [H, W], instance map [H, W], number of nuclei."""
    side = min(height, width)
    distance = np.full((height, width), -1e3, np.float32)
    instances = np.zeros((height, width), np.int32)
    centres, radii, number = [], [], 0
    for _ in range(round(dials.count)):
        radius = dials.radius * side * np.clip(shape_rng.lognormal(0, 0.22), 0.5, 1.8)
        squeeze, angle = shape_rng.uniform(0.5, 1.0), shape_rng.uniform(0, np.pi)
        phase_rng = np.random.default_rng(shape_rng.integers(2**63))
        huddle = place_rng.random() < dials.crowding
        for _ in range(12):  # tries
            draw = place_rng.random(4)
            if huddle and centres:
                near = int(draw[0] * len(centres))
                reach = (radius + radii[near]) * (0.8 + 0.2 * draw[1])
                centre = (centres[near][0] + reach * np.sin(2 * np.pi * draw[2]),
                          centres[near][1] + reach * np.cos(2 * np.pi * draw[2]))
                closest = 0.72
            else:
                centre, closest = (draw[0] * height, draw[1] * width), 1.45
            if not (0 <= centre[0] < height and 0 <= centre[1] < width):
                continue
            if centres:
                gaps = np.hypot(*(np.array(centres) - centre).T) / (np.array(radii) + radius)
                if gaps.min() < closest:
                    continue
            break
        else:
            continue
        margin = int(2.2 * radius + 12)
        top, left = max(0, int(centre[0]) - margin), max(0, int(centre[1]) - margin)
        box = np.s_[top:min(height, int(centre[0]) + margin), left:min(width, int(centre[1]) + margin)]
        own = _star(phase_rng, *distance[box].shape, centre, radius, squeeze, angle, round(dials.lobes),
                    dials.lobe_depth, top, left)
        inside, taken = own > 0, distance[box] > 0
        if not inside.any() or (inside & taken).sum() > 0.25 * min(inside.sum(), np.pi * radius**2):
            continue
        number += 1
        centres.append(centre)
        radii.append(radius)
        instances[box] = np.where(inside & (own > distance[box]), number, instances[box])
        distance[box] = np.maximum(distance[box], own)
    return distance, instances, number


# ---------------------------------------------------------------------------------------------- noise and texture

def _clouds(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """Smooth random field, float32 [H, W], mean about 0 and standard deviation about 1; `cell` is its grain in pixels."""
    rows, columns = (int(np.ceil(n / max(cell, 1))) + 3 for n in shape)
    grid = Image.fromarray(rng.standard_normal((rows, columns)).astype(np.float32))
    box = (1.0, 1.0, 1.0 + shape[1] / max(cell, 1), 1.0 + shape[0] / max(cell, 1))
    return np.asarray(grid.resize(shape[::-1], Image.Resampling.BICUBIC, box=box)) * 1.35


def _mesh(rng: np.random.Generator, shape: tuple[int, int], spacing: float, bend: np.ndarray) -> np.ndarray:
    """Honeycomb of lines, 1 on a line and 0 inside a mesh: distance to the second nearest minus the nearest of
    jittered grid points (Worley 1996). `bend` shifts the coordinates, so that lines are not straight."""
    y = (np.arange(shape[0], dtype=np.float32)[:, None] + bend) / spacing + 4
    x = (np.arange(shape[1], dtype=np.float32)[None, :] - bend) / spacing + 4
    row, column = np.floor(y).astype(np.int32), np.floor(x).astype(np.int32)
    jitter = rng.random((2, row.max() + 3, column.max() + 3)).astype(np.float32)
    first = np.full(shape, 9, np.float32)
    second = first.copy()
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            at = (np.maximum(row + dy, 0), np.maximum(column + dx, 0))
            gap = np.hypot(row + dy + jitter[0][at] - y, column + dx + jitter[1][at] - x)
            second = np.minimum(second, np.maximum(first, gap))
            first = np.minimum(first, gap)
    return np.exp(-(second - first) / 0.13)


def _fade(distance: np.ndarray, softness: float) -> np.ndarray:
    """0 outside .. 1 inside, exactly one half on the contour; `softness` pixels from about 0.1 to 0.9."""
    if softness == 0:
        return (distance > 0).astype(np.float32)
    return 1 / (1 + np.exp(np.clip(-4.4 * distance / softness, -60, 60)))


def _camera(rng: np.random.Generator, image: np.ndarray, blur: float, noise: float, grey: bool = False) -> np.ndarray:
    """Optics and sensor: float [H, W, 3] around 0..1 -> uint8. Noise grows with the light, as shot noise does."""
    if blur > 0:
        image = gaussian_filter(image, (blur, blur, 0), truncate=3)
    if noise > 0:
        grain = rng.standard_normal((*image.shape[:2], 1 if grey else 3), np.float32)
        image = image + noise * grain * np.sqrt(0.3 + 0.7 * np.clip(image, 0, 1))
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


# ---------------------------------------------------------------------------------------------- dermoscopy

_SKINS = np.array([[0.93, 0.74, 0.66], [0.86, 0.63, 0.55], [0.80, 0.58, 0.52], [0.72, 0.52, 0.42]], np.float32)
_PIGMENTS = np.array([[0.78, 0.62, 0.50], [0.62, 0.44, 0.34], [0.46, 0.32, 0.27]], np.float32)  # share of light left
_PATCHES = np.array([[0.34, 0.27, 0.28], [0.58, 0.60, 0.70], [0.92, 0.68, 0.64], [0.50, 0.33, 0.22]], np.float32)


def _between(rng: np.random.Generator, colours: np.ndarray) -> np.ndarray:
    """A colour somewhere on the line through a list of colours."""
    place = rng.random() * (len(colours) - 1)
    low = min(int(place), len(colours) - 2)
    return colours[low] + (place - low) * (colours[low + 1] - colours[low])


def _skin(rng: np.random.Generator, shape: tuple[int, int], unit: float, texture: float) -> np.ndarray:
    tone = _between(rng, _SKINS)
    mottle = 0.6 * _clouds(rng, shape, 60 * unit) + 0.4 * _clouds(rng, shape, 16 * unit)
    redness = 0.7 * _clouds(rng, shape, 40 * unit) + 0.5 * _clouds(rng, shape, 9 * unit)
    furrows = _mesh(rng, shape, 11 * unit, 3 * unit * _clouds(rng, shape, 14 * unit))
    grain = _clouds(rng, shape, 2.2 * unit)
    light = 1 + texture * (0.035 * mottle - 0.045 * furrows + 0.012 * grain)
    flush = 0.022 * texture * redness[:, :, None] * np.array([0.3, -1.0, -0.8], np.float32)
    return tone * (light[:, :, None] + flush)


def _pigment(rng: np.random.Generator, shape: tuple[int, int], unit: float, texture: float, depth: np.ndarray
             ) -> np.ndarray:
    """Share of each colour's light that the lesion lets through, float32 [H, W, 3]. depth: 0 at the border, 1 deep."""
    base = _between(rng, _PIGMENTS)
    slow, middle = _clouds(rng, shape, 55 * unit), _clouds(rng, shape, 20 * unit)
    ink = np.broadcast_to(base, (*shape, 3)).copy()
    for colour in rng.permutation(_PATCHES)[:rng.integers(1, 4)]:  # variegation: islands of other colours
        island = 0.7 * _clouds(rng, shape, 50 * unit) + 0.4 * _clouds(rng, shape, 14 * unit)
        weight = texture * rng.uniform(0.4, 0.9) / (1 + np.exp(-4 * (island - rng.uniform(0.4, 1.2))))
        ink += weight[:, :, None] * (colour - ink)
    spacing = rng.uniform(6, 9) * unit
    mesh = _mesh(rng, shape, spacing, 0.35 * spacing * _clouds(rng, shape, 1.5 * spacing))
    netted = np.clip(0.6 + 0.8 * middle, 0, 1)  # the network shows in some regions, not in all
    specks = np.clip(_clouds(rng, shape, 4.5 * unit) - 1.5, 0, 1) * np.clip(slow + 0.3, 0, 1)
    shade = 0.14 * np.clip(depth, 0, 1) + 0.09 * slow + 0.07 * middle + rng.uniform(0.1, 0.35) * mesh * netted
    shade = shade + 1.1 * specks + 0.03 * _clouds(rng, shape, 2.5 * unit)
    return np.clip(ink * (1 - texture * shade[:, :, None] * np.array([0.85, 1.0, 1.0], np.float32)), 0.04, 1)


def _draw_hair(rng: np.random.Generator, image: np.ndarray, unit: float, amount: float) -> np.ndarray:
    height, width = image.shape[:2]
    lean, fineness = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.5)
    count = round(30 * amount)
    if count == 0:
        return image
    fine = 3  # drawn three times larger, then averaged: smooth edges and widths below one pixel
    layer = Image.new("L", (width * fine, height * fine))
    pen = ImageDraw.Draw(layer)
    for _ in range(count):
        start = rng.random(2) * (width, height)
        turn, length = lean + rng.normal(0, 0.7), rng.uniform(0.3, 1.1) * 256 * unit
        curve, thick = rng.normal(0, 1.1), rng.uniform(0.5, 1.3) * fineness * unit
        along = np.linspace(0, 1, 24)
        angles = turn + curve * along
        steps = np.stack([np.cos(angles), np.sin(angles)], 1) * length / len(along)
        points = (start + np.cumsum(steps, 0)) * fine
        tone = int(rng.uniform(150, 255))
        for k in range(len(points) - 1):  # the tip is thinner
            pen.line([tuple(points[k]), tuple(points[k + 1])], fill=tone,
                     width=max(1, round(thick * fine * (1.3 - 0.9 * along[k]))))
    cover = np.asarray(layer.reduce(fine), np.float32)[:, :, None] / 255
    colour = _between(rng, np.array([[0.10, 0.08, 0.08], [0.28, 0.18, 0.13]], np.float32))
    return image + 0.9 * cover * (colour - image)


def _light(rng: np.random.Generator, image: np.ndarray, unit: float, amount: float) -> np.ndarray:
    height, width = image.shape[:2]
    shift, rim, rim_at = rng.normal(0, 0.12, 2), rng.random(), rng.uniform(0.98, 1.12)
    glow = _clouds(rng, (height, width), 150 * unit)
    bubbles = [(rng.random(2), rng.uniform(2, 9) * unit) for _ in range(int(rng.integers(1, 9)))]
    bubbly = rng.random() < 0.3
    if amount == 0:
        return image
    y = ((np.arange(height, dtype=np.float32) + 0.5) / height * 2 - 1)[:, None]
    x = ((np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1)[None, :]
    r = np.hypot((y - shift[0]) * height / max(height, width), (x - shift[1]) * width / max(height, width))
    image = image * (1 + amount * (0.05 * glow - 0.28 * r**2.5))[:, :, None]
    if bubbly:
        rows, columns = np.ogrid[:height, :width]
        for (down, right), radius in bubbles:
            d = np.hypot(rows - down * height, columns - right * width) / radius
            image = image * (1 - 0.25 * amount * np.exp(-((d - 1) / 0.14) ** 2))[:, :, None]
            spot = np.hypot(rows - down * height + 0.35 * radius, columns - right * width + 0.35 * radius) / radius
            image = image + 0.35 * amount * np.exp(-((spot / 0.28) ** 2))[:, :, None]
    if rim < 0.22:  # the round field of view of the dermatoscope
        image = image * (0.03 + 0.97 / (1 + np.exp(np.clip((r - rim_at) * 60, -50, 50))))[:, :, None]
    return image


# ---------------------------------------------------------------------------------------------- nuclei

def _chromatin(rng: np.random.Generator, instances: np.ndarray, distance: np.ndarray, unit: float) -> np.ndarray:
    """Texture inside nuclei, about -1..1: clumps, fine grain and a few dark or bright nucleoli."""
    shape = instances.shape
    clumps = 0.6 * _clouds(rng, shape, 5 * unit) + 0.4 * _clouds(rng, shape, 2.2 * unit)
    return clumps


def _fluorescence(ground_rng: np.random.Generator, nucleus_rng: np.random.Generator, distance: np.ndarray,
                  instances: np.ndarray, number: int, unit: float, dials: _Dials) -> np.ndarray:
    shape = instances.shape
    dark, haze = ground_rng.uniform(0.015, 0.12), ground_rng.uniform(0.02, 0.12)
    fog = 0.5 + 0.25 * _clouds(ground_rng, shape, 50 * unit)
    bright = nucleus_rng.uniform(0.3, 0.85) * np.clip(nucleus_rng.lognormal(0, 0.3, number + 1), 0.4, 1.8)
    soft = nucleus_rng.random(number + 1) < dials.defocus
    texture = 0.5 * _clouds(nucleus_rng, shape, 5 * unit) + 0.5 * _clouds(nucleus_rng, shape, 2.4 * unit)
    nucleoli = np.clip(_clouds(nucleus_rng, shape, 6 * unit) - 1.1, 0, 1)
    # Paint past the outline too, with the brightness of the nearest nucleus, so that fading takes the right colour.
    owner = _nearest_owner(instances)
    dome = 0.82 + 0.18 * np.clip(distance / (5 * unit), 0, 1)
    level = bright[owner] * dome * (1 + dials.texture * (0.13 * texture - 0.35 * nucleoli))
    sharp = _fade(distance, dials.softness)
    layer = sharp * level
    blurred = gaussian_filter(layer * soft[owner], 2.6 * unit, truncate=3)
    layer = np.where(soft[owner], 0, layer) + blurred
    glow = gaussian_filter(layer, 9 * unit, truncate=2.5)
    image = dark + dials.contrast * (layer * (1 - dark)) + dials.texture * haze * (glow + 0.35 * fog * dark)
    return np.repeat(image[:, :, None], 3, axis=2)


def _nearest_owner(instances: np.ndarray) -> np.ndarray:
    if not instances.any():
        return instances
    from scipy.ndimage import distance_transform_edt

    rows, columns = distance_transform_edt(instances == 0, return_distances=False, return_indices=True)
    return instances[rows, columns]


def _histology(ground_rng: np.random.Generator, nucleus_rng: np.random.Generator, distance: np.ndarray,
               instances: np.ndarray, number: int, unit: float, dials: _Dials) -> np.ndarray:
    shape = instances.shape
    pink, violet = ground_rng.choice([0.04, 0.35, 0.55]), ground_rng.choice([0.02, 0.06, 0.22])
    turn = ground_rng.uniform(0, np.pi)
    fibres = _clouds(ground_rng, shape, 6 * unit) * 0.5 + 0.6 * _clouds(ground_rng, shape, 22 * unit)
    eosin = pink * np.clip(0.8 + dials.texture * 0.35 * fibres, 0, 2)
    ground = violet * np.clip(1 + dials.texture * 0.25 * _clouds(ground_rng, shape, 30 * unit), 0, 2)
    stain = nucleus_rng.uniform(0.6, 1.4) * np.clip(nucleus_rng.lognormal(0, 0.25, number + 1), 0.5, 1.7)
    soft = nucleus_rng.random(number + 1) < dials.defocus
    clumps = 0.6 * _clouds(nucleus_rng, shape, 5 * unit) + 0.5 * _clouds(nucleus_rng, shape, 2.2 * unit)
    owner = _nearest_owner(instances)
    rim = np.exp(-((distance - 1.2 * unit) / (1.4 * unit)) ** 2)
    level = stain[owner] * (1 + dials.texture * (0.28 * clumps + 0.3 * rim))
    layer = _fade(distance, dials.softness) * level
    layer = np.where(soft[owner], 0, layer) + gaussian_filter(layer * soft[owner], 2.2 * unit, truncate=3)
    hematoxylin = ground + dials.contrast * layer
    del turn
    return np.exp(-(hematoxylin[:, :, None] * HEMATOXYLIN + eosin[:, :, None] * EOSIN)).astype(np.float32)
