"""Synthetic dermoscopy, nuclei and plain shapes whose truth is known exactly: the mask is the shape that was drawn.

Every dial is a number, or a (low, high) range from which the seed draws. Each ingredient (shape, colours, hair, noise,
...) has its own random stream, so turning one dial leaves everything else in the picture as it was: the same lesion
with twice the lobes, the same nuclei with less contrast. The same arguments give the same bytes.

These pictures are for teaching, tests and pretraining. They look like the real thing; they carry no medical content.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt, gaussian_filter

from sgdc_viz.data.images import Sample

Dial = float | tuple[float, float]

# Optical density for red, green and blue per unit of stain. Eosin and the first hematoxylin: the reference of
# M. Macenko et al., ISBI 2009; the two further hematoxylins are matched by eye to bluer and redder dyes.
_EOSIN = np.array([0.2159, 0.8012, 0.5581], np.float32)
_BLUES = np.array([[0.5626, 0.7201, 0.4062], [0.75, 1.10, 0.18], [0.55, 1.10, 0.38]], np.float32)


def synthetic_dermoscopy(
    seed: int,
    size: int | tuple[int, int] = 256,
    *,
    lobes: Dial = (3, 20),
    lobe_depth: Dial = (0.02, 0.11),
    radius: Dial = (0.05, 0.38),
    contrast: Dial = (0.45, 1.0),
    softness: Dial = (1.0, 6.0),
    texture: Dial = (0.7, 1.0),
    hair: Dial = (0.0, 0.7),
    illumination: Dial = (0.2, 1.0),
    noise: Dial = (0.005, 0.02),
    blur: Dial = (0.0, 0.8),
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
    dials = _Dials(
        dial_rng,
        lobes=(lobes, 0, 200),
        lobe_depth=(lobe_depth, 0, 0.4),
        radius=(radius, 0.02, 0.7),
        contrast=(contrast, 0, 1),
        softness=(softness, 0, 50),
        texture=(texture, 0, 1),
        hair=(hair, 0, 1),
        illumination=(illumination, 0, 1),
        noise=(noise, 0, 0.5),
        blur=(blur, 0, 20),
    )
    side = min(height, width)
    unit = side / 256  # textures grow with the picture
    distance = _star(
        shape_rng,
        height,
        width,
        centre=(height * shape_rng.uniform(0.42, 0.58), width * shape_rng.uniform(0.42, 0.58)),
        radius=dials.radius * side,
        squeeze=shape_rng.uniform(0.65, 1.0),
        angle=shape_rng.uniform(0, np.pi),
        lobes=round(dials.lobes),
        depth=dials.lobe_depth,
    )
    uneven = np.exp(0.5 * dials.texture * _clouds(shape_rng, (height, width), 60 * unit))  # sharp here, soft there
    skin = _skin(skin_rng, (height, width), unit, dials.texture)
    ink = _pigment(pigment_rng, (height, width), unit, dials.texture, distance / (dials.radius * side))
    cover = _fade(distance, dials.softness * uneven)[:, :, None]
    # A lesion filters the light that skin sends back, so the texture of the skin goes on through it.
    image = skin * (1 + dials.contrast * cover * (ink - 1))
    halo = 0.15 * dials.texture * dials.contrast * np.exp(np.minimum(distance, 0) / (9 * unit))[:, :, None]
    image *= 1 - halo * (1 - cover) * np.array([0.4, 1.0, 1.0], np.float32)  # a faint stain around the lesion
    image = _draw_hair(hair_rng, image, unit, dials.hair)
    image = _light(light_rng, image, unit, dials.illumination)
    image = _camera(noise_rng, image, dials.blur, dials.noise)
    return Sample(image, (distance > 0).astype(np.uint8), None, f"dermoscopy-{seed}", f"dermoscopy-{seed}")


def synthetic_nuclei(
    seed: int,
    size: int | tuple[int, int] = 256,
    *,
    style: str | None = None,
    count: Dial = (10, 70),
    crowding: Dial = (0.0, 0.8),
    radius: Dial = (0.024, 0.06),
    lobes: Dial = (0, 5),
    lobe_depth: Dial = (0.0, 0.1),
    contrast: Dial = (0.4, 1.0),
    softness: Dial = (0.5, 1.2),
    texture: Dial = (0.6, 1.0),
    defocus: Dial = (0.0, 0.5),
    illumination: Dial = (0.0, 1.0),
    noise: Dial = (0.005, 0.03),
    blur: Dial = (0.0, 0.7),
) -> Sample:
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
    dials = _Dials(
        dial_rng,
        count=(count, 0, 5000),
        crowding=(crowding, 0, 1),
        radius=(radius, 0.005, 0.5),
        lobes=(lobes, 0, 200),
        lobe_depth=(lobe_depth, 0, 0.4),
        contrast=(contrast, 0, 1),
        softness=(softness, 0, 50),
        texture=(texture, 0, 1),
        defocus=(defocus, 0, 1),
        illumination=(illumination, 0, 1),
        noise=(noise, 0, 0.5),
        blur=(blur, 0, 20),
    )
    unit = min(height, width) / 256
    distance, instances, number = _place_nuclei(shape_rng, place_rng, height, width, dials)
    paint = _histology if style == "histology" else _fluorescence
    image = paint(ground_rng, nucleus_rng, distance, instances, number, unit, dials)
    if dials.illumination:
        glow = _clouds(light_rng, (height, width), 140 * unit)
        image = image * np.exp((0.22 if style == "fluorescence" else 0.06) * dials.illumination * glow)[:, :, None]
    image = _camera(noise_rng, image, dials.blur, dials.noise, grey=style == "fluorescence")
    return Sample(image, (instances > 0).astype(np.uint8), instances, f"nuclei-{seed}", f"nuclei-{seed}")


def synthetic_shapes(
    seed: int,
    size: int | tuple[int, int] = 96,
    *,
    lobes: Dial = (0, 24),
    lobe_depth: Dial = 0.14,
    radius: Dial = 0.2,
    branches: Dial = 5,
    width: Dial = (1.0, 8.0),
    contrast: Dial = (0.15, 1.0),
    noise: Dial = (0.0, 0.25),
) -> Sample:
    """One grey body with bumps and thin branches on a cloudy ground: nothing but structure, for dose and response.

    Args (those not listed mean the same as in `synthetic_dermoscopy`):
        lobes: bumps around the body: the spatial frequency of its boundary.
        branches: how many curved branches grow out of the body.
        width: of the branches, in pixels, the same from end to end: the finest structure of the picture.
        contrast: 0 (nothing to see) .. 1 (brighter or darker than the ground by 0.45 of the grey scale).
        noise: standard deviation of the noise, on the 0..1 scale.

    Returns: Sample with a binary mask: 1 at the pixels whose centre lies inside the drawn outline; no instances.
    Raises: ValueError for a size below 8 or a dial out of its range.
    """
    height, width_px = _size(size)
    shape_rng, branch_rng, ground_rng, noise_rng, dial_rng = _streams(seed, 5)
    dials = _Dials(
        dial_rng,
        lobes=(lobes, 0, 200),
        lobe_depth=(lobe_depth, 0, 0.4),
        radius=(radius, 0.02, 0.7),
        branches=(branches, 0, 50),
        width=(width, 0.5, 50),
        contrast=(contrast, 0, 1),
        noise=(noise, 0, 0.5),
    )
    side = min(height, width_px)
    centre = (height * shape_rng.uniform(0.42, 0.58), width_px * shape_rng.uniform(0.42, 0.58))
    body = _star(
        shape_rng, height, width_px, centre, dials.radius * side, shape_rng.uniform(0.75, 1.0),
        shape_rng.uniform(0, np.pi), round(dials.lobes), dials.lobe_depth,
    )  # fmt: skip
    count = round(dials.branches)
    angles = 2 * np.pi * (np.arange(count) + branch_rng.uniform(0, 0.8, count) + branch_rng.random()) / max(1, count)
    paths = [_branch(branch_rng, centre, dials.radius * side, side, angle) for angle in angles]
    lines = [dials.width / 2 - _distance_to_path(path, height, width_px) for path in paths]
    distance = np.maximum.reduce([body, *lines])
    clouds = _clouds(ground_rng, body.shape, side / 3) + 0.5 * _clouds(ground_rng, body.shape, side / 12)
    sign = ground_rng.choice((-1.0, 1.0))
    grey = 0.5 + 0.04 * clouds + 0.45 * sign * dials.contrast * (np.clip(distance + 0.5, 0, 1) - 0.5)
    grey = grey + dials.noise * noise_rng.standard_normal(grey.shape, np.float32)
    image = np.round(np.clip(grey, 0, 1) * 255).astype(np.uint8)
    image = np.repeat(image[:, :, None], 3, axis=2)
    return Sample(image, (distance > 0).astype(np.uint8), None, f"shapes-{seed}", f"shapes-{seed}")


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
            setattr(self, name, float(ends[0] + share * (ends[1] - ends[0])))


def _streams(seed: int, count: int) -> list[np.random.Generator]:
    if seed < 0:
        raise ValueError(f"seed={seed} must be 0 or larger.")
    return [np.random.default_rng((seed, stream)) for stream in range(count)]


def _size(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if np.isscalar(size) else size
    if min(height, width) < 8 or max(height, width) > 8192:
        raise ValueError(f"size={size!r} must be 8 to 8192 pixels a side.")
    return int(height), int(width)


def _star(
    rng: np.random.Generator,
    height: int,
    width: int,
    centre: tuple[float, float],
    radius: float,
    squeeze: float,
    angle: float,
    lobes: int,
    depth: float,
    top: int = 0,
    left: int = 0,
) -> np.ndarray:
    """Signed distance in pixels (first order, positive inside) to the contour r = R(theta), float32 [height, width].

    R is an ellipse of mean radius `radius` and axis ratio `squeeze`, times 1 + depth * bumps(theta). The bumps are
    `lobes` periods of a cosine whose height and width vary around the contour, plus a slow wobble; without lobes or
    depth the contour is the plain ellipse. (top, left) is the image position of the array's first pixel.
    """
    table = 4096 if radius > 30 else 1024
    theta = np.arange(-table // 2, table // 2) * (2 * np.pi / table)
    long, short = radius / np.sqrt(squeeze), radius * np.sqrt(squeeze)
    contour = long * short / np.hypot(short * np.cos(theta - angle), long * np.sin(theta - angle))
    phases = rng.uniform(0, 2 * np.pi, 6)
    if lobes > 0 and depth > 0:
        uneven = 0.5 + 0.3 * np.cos(2 * theta + phases[0]) + 0.2 * np.cos(5 * theta + phases[1])
        drift = min(1.0, lobes / 10) * (1.6 * np.sin(2 * theta + phases[2]) + 1.1 * np.sin(3 * theta + phases[3]))
        wobble = 0.4 * np.cos(2 * theta + phases[4]) + 0.4 * np.cos(3 * theta + phases[5])
        contour = contour * (1 + depth * (uneven * np.cos(lobes * theta + drift) + wobble))
    slope = (np.roll(contour, -1) - np.roll(contour, 1)) * (table / (4 * np.pi))
    y = np.arange(top, top + height, dtype=np.float32)[:, None] + (0.5 - float(centre[0]))  # pixel centres
    x = np.arange(left, left + width, dtype=np.float32)[None, :] + (0.5 - float(centre[1]))
    r, at = np.sqrt(y * y + x * x), np.arctan2(y, x)
    step = np.round(at * (table / (2 * np.pi))).astype(np.int32) % table - table // 2  # negative indices wrap
    reach, lean = contour.astype(np.float32)[step], slope.astype(np.float32)[step]
    return (reach - r) / np.sqrt(1 + (lean / np.maximum(r, 1)) ** 2)


def _branch(
    rng: np.random.Generator, centre: tuple[float, float], radius: float, side: int, angle: float
) -> np.ndarray:
    """A path that leaves a body at an angle and wanders, as (y, x) points [13, 2]."""
    bends = angle + np.cumsum(rng.normal(0, 0.28, 12))
    step = rng.uniform(0.022, 0.034) * side
    start = np.array(centre) + 0.7 * radius * np.array([np.sin(angle), np.cos(angle)])
    moves = step * np.stack([np.sin(bends), np.cos(bends)], axis=1)
    return np.concatenate([start[None], start + np.cumsum(moves, axis=0)])


def _distance_to_path(path: np.ndarray, height: int, width: int) -> np.ndarray:
    """Distance in pixels from each pixel's centre to a path of straight pieces [points, 2] (y, x): [H, W]."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) + 0.5
    nearest = np.full((height, width), np.inf, np.float32)
    for (y0, x0), (y1, x1) in zip(path[:-1], path[1:], strict=True):
        dy, dx = y1 - y0, x1 - x0
        along = np.clip(((y - y0) * dy + (x - x0) * dx) / (dy * dy + dx * dx), 0, 1)
        nearest = np.minimum(nearest, np.hypot(y - y0 - along * dy, x - x0 - along * dx))
    return nearest


def _place_nuclei(
    shape_rng: np.random.Generator, place_rng: np.random.Generator, height: int, width: int, dials: _Dials
) -> tuple[np.ndarray, np.ndarray, int]:
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
                centre = (
                    centres[near][0] + reach * np.sin(2 * np.pi * draw[2]),
                    centres[near][1] + reach * np.cos(2 * np.pi * draw[2]),
                )
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
        # The furthest that an outline reaches, and room to fade.
        margin = int(1.45 * (1 + 2 * dials.lobe_depth) * radius + 1.5 * dials.softness) + 8
        top, left = max(0, int(centre[0]) - margin), max(0, int(centre[1]) - margin)
        box = np.s_[top : min(height, int(centre[0]) + margin), left : min(width, int(centre[1]) + margin)]
        own = _star(
            phase_rng,
            *distance[box].shape,
            centre,
            radius,
            squeeze,
            angle,
            round(dials.lobes),
            dials.lobe_depth,
            top,
            left,
        )
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
    """Smooth random field, float32 [H, W], mean about 0 and standard deviation about 1; `cell` is its grain in pixels.

    White noise on a grid of half the grain, smoothed there so that the grid does not show, then enlarged.
    """
    pitch = max(cell / 2, 1.0)
    rows, columns = (int(np.ceil(n / pitch)) + 10 for n in shape)
    grid = rng.standard_normal((rows, columns), np.float32)
    for _ in range(2):  # twice 1-2-1 along each axis is close to a Gaussian of standard deviation 1, and fast
        grid = grid[:-2] + 2 * grid[1:-1] + grid[2:]
        grid = grid[:, :-2] + 2 * grid[:, 1:-1] + grid[:, 2:]
    grid *= 3.6 / 256
    box = (3.0, 3.0, 3.0 + shape[1] / pitch, 3.0 + shape[0] / pitch)
    return np.asarray(Image.fromarray(grid).resize(shape[::-1], Image.Resampling.BICUBIC, box=box))


def _mesh(rng: np.random.Generator, shape: tuple[int, int], spacing: float, bend: np.ndarray) -> np.ndarray:
    """Honeycomb of lines, 1 on a line and 0 inside a mesh: distance to the second nearest minus the nearest of
    jittered grid points (Worley 1996). `bend` shifts the coordinates, so that lines are not straight."""
    y = (np.arange(shape[0], dtype=np.float32)[:, None] + bend) / spacing + 8
    x = (np.arange(shape[1], dtype=np.float32)[None, :] - bend) / spacing + 8
    row, column = np.maximum(y, 1).astype(np.int32), np.maximum(x, 1).astype(np.int32)
    columns = int(column.max()) + 2
    points = rng.random((2, (int(row.max()) + 2) * columns), np.float32)
    down, right = y - row, x - column  # where in its own cell the pixel lies
    first = np.full(shape, 9, np.float32)
    second = first.copy()
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            cell = (row + dy) * columns + (column + dx)
            gap = (points[0].take(cell) + dy - down) ** 2 + (points[1].take(cell) + dx - right) ** 2
            second = np.minimum(second, np.maximum(first, gap))
            first = np.minimum(first, gap)
    return np.exp((np.sqrt(first) - np.sqrt(second)) / 0.13)


def _fade(distance: np.ndarray, softness: float | np.ndarray) -> np.ndarray:
    """0 outside .. 1 inside, exactly one half on the contour; `softness` pixels from about 0.1 to 0.9."""
    if not np.any(softness):
        return (distance > 0).astype(np.float32)
    return 1 / (1 + np.exp(np.clip(distance * (-4.4 / softness), -60, 60)))


def _hill(field: np.ndarray, steepness: float, middle: float) -> np.ndarray:
    """Soft threshold: 0 well below `middle`, 1 well above."""
    return 1 / (1 + np.exp(np.clip((middle - field) * steepness, -60, 60)))


def _between(rng: np.random.Generator, colours: np.ndarray) -> np.ndarray:
    """A random mixture of a list of colours, mostly of one or two of them."""
    share = rng.gamma(0.5, size=len(colours)) + 1e-3
    return (share @ colours / share.sum()).astype(np.float32)


def _camera(rng: np.random.Generator, image: np.ndarray, blur: float, noise: float, grey: bool = False) -> np.ndarray:
    """Optics and sensor: float [H, W, 3] around 0..1 -> uint8. Noise grows with the light, as shot noise does."""
    if blur > 0:
        image = gaussian_filter(image, (blur, blur, 0), truncate=2.5)
    if noise > 0:
        grain = rng.standard_normal((*image.shape[:2], 1 if grey else 3), np.float32)
        image = image + noise * grain * np.sqrt(0.3 + 0.7 * np.clip(image, 0, 1))
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


# ---------------------------------------------------------------------------------------------- dermoscopy

_SKINS = np.array(
    [
        [0.95, 0.75, 0.62],
        [0.84, 0.68, 0.55],
        [0.90, 0.66, 0.64],
        [0.88, 0.83, 0.83],
        [0.66, 0.53, 0.54],
        [0.78, 0.68, 0.50],
        [0.62, 0.45, 0.36],
    ],
    np.float32,
)
# Pigments: the share of red, green and blue light that they let through.
_BROWNS = np.array([[0.80, 0.58, 0.42], [0.62, 0.40, 0.29], [0.42, 0.26, 0.21], [0.72, 0.42, 0.36]], np.float32)
_PATCHES = np.array([[0.26, 0.20, 0.21], [0.50, 0.52, 0.62], [0.90, 0.62, 0.58], [0.48, 0.29, 0.19]], np.float32)


def _skin(rng: np.random.Generator, shape: tuple[int, int], unit: float, texture: float) -> np.ndarray:
    tone = _between(rng, _SKINS)
    mottle = 0.6 * _clouds(rng, shape, 70 * unit) + 0.4 * _clouds(rng, shape, 18 * unit)
    redness = 0.6 * _clouds(rng, shape, 45 * unit) + 0.4 * _clouds(rng, shape, 10 * unit)
    half = (-(-shape[0] // 2), -(-shape[1] // 2))  # furrows are soft: half the resolution will do
    furrows = Image.fromarray(_mesh(rng, half, 5 * unit, 1.5 * unit * _clouds(rng, half, 7 * unit)))
    furrows = np.asarray(furrows.resize(shape[::-1], Image.Resampling.BICUBIC)) * np.clip(0.5 + 0.5 * mottle, 0, 1)
    freckled = float(rng.choice([0.0, 0.0, 0.12, 0.3]))
    freckles = freckled * _hill(_clouds(rng, shape, 15 * unit) + 0.5 * _clouds(rng, shape, 6 * unit), 3, 1.9)
    light = 1 + texture * (0.03 * mottle - 0.05 * furrows + 0.012 * _clouds(rng, shape, 2.5 * unit))
    tint = 0.02 * redness[:, :, None] * np.array([0.4, -1.0, -0.8], np.float32)
    tint = tint - freckles[:, :, None] * np.array([0.35, 0.75, 1.0], np.float32)
    return tone * (light[:, :, None] + texture * tint)


def _pigment(
    rng: np.random.Generator, shape: tuple[int, int], unit: float, texture: float, depth: np.ndarray
) -> np.ndarray:
    """Share of each colour's light that the lesion lets through, float32 [H, W, 3]. depth: 0 at the border, 1 deep."""
    ink = np.broadcast_to(_between(rng, _BROWNS), (*shape, 3)).copy()
    slow, middle, fine = (_clouds(rng, shape, cell * unit) for cell in (55, 20, 7))
    for colour in rng.permutation(_PATCHES)[: rng.integers(1, 4)]:  # variegation: islands of other colours
        island = 0.7 * _clouds(rng, shape, 45 * unit) + 0.35 * middle + 0.2 * fine
        weight = texture * float(rng.uniform(0.3, 0.9)) * _hill(island, 4, float(rng.uniform(0.4, 1.3)))
        ink += weight[:, :, None] * (colour - ink)
    spacing = float(rng.uniform(6, 9)) * unit
    mesh = _mesh(rng, shape, spacing, 0.35 * spacing * _clouds(rng, shape, 1.5 * spacing))
    mesh *= np.clip(0.5 + 0.8 * middle, 0, 1)  # the network shows in some regions, not in all
    globules = _hill(_clouds(rng, shape, 6 * unit), 6, float(rng.uniform(1.2, 2.2))) * _hill(slow, 3, 0.2)
    shade = 0.2 * np.clip(depth, 0, 1) + 0.10 * slow + 0.09 * middle + float(rng.uniform(0.05, 0.12)) * fine
    shade = shade + float(rng.uniform(0.1, 0.4)) * mesh + float(rng.uniform(0.1, 0.4)) * globules
    shade = shade + 0.03 * _clouds(rng, shape, 2.5 * unit)
    return np.clip(ink * (1 - texture * shade[:, :, None] * np.array([0.8, 1.0, 1.0], np.float32)), 0.05, 1)


def _draw_hair(rng: np.random.Generator, image: np.ndarray, unit: float, amount: float) -> np.ndarray:
    height, width = image.shape[:2]
    lean, fineness = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.5)
    colour = _between(rng, np.array([[0.10, 0.08, 0.08], [0.30, 0.19, 0.13], [0.55, 0.40, 0.28]], np.float32))
    fine = 3  # drawn three times larger, then averaged: smooth edges and widths below one pixel
    layer = Image.new("L", (width * fine, height * fine))
    pen = ImageDraw.Draw(layer)
    for _ in range(round(30 * amount)):
        start = rng.random(2) * (width, height)
        turn, length = lean + rng.normal(0, 0.6), rng.uniform(0.3, 1.2) * 256 * unit
        thick, dark = rng.uniform(0.5, 1.3) * fineness * unit, int(rng.uniform(150, 255))
        along = np.linspace(0, 1, 24)
        angles = turn + rng.normal(0, 0.7) * along + rng.normal(0, 0.9) * along**2
        points = start + np.cumsum(np.stack([np.cos(angles), np.sin(angles)], 1), 0) * length / len(along)
        for part, share in ((slice(0, 12), 1.2), (slice(11, 19), 0.8), (slice(18, 24), 0.5)):  # thinner to the tip
            pen.line(
                [tuple(p) for p in points[part] * fine],
                fill=dark,
                width=max(1, round(thick * fine * share)),
                joint="curve",
            )
    if amount == 0:
        return image
    cover = np.asarray(layer.reduce(fine), np.float32)[:, :, None] / 255
    return image + 0.85 * cover * (colour - image)


def _light(rng: np.random.Generator, image: np.ndarray, unit: float, amount: float) -> np.ndarray:
    height, width = image.shape[:2]
    shift_y, shift_x = (float(v) for v in rng.normal(0, 0.12, 2))
    rim, rim_at, bubbly = rng.random(), float(rng.uniform(0.98, 1.15)), rng.random() < 0.25
    glow = _clouds(rng, (height, width), 150 * unit)
    if amount == 0:
        return image
    y = ((np.arange(height, dtype=np.float32) + 0.5) / height * 2 - 1)[:, None] - shift_y
    x = ((np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1)[None, :] - shift_x
    r = np.sqrt((y * (height / max(height, width))) ** 2 + (x * (width / max(height, width))) ** 2)
    shade = 1 + amount * (0.05 * glow - 0.26 * r * r * np.sqrt(r))
    if rim < 0.08:  # the round field of view of the dermatoscope
        shade = shade * (0.03 + 0.97 * _hill(-r, 60, -rim_at))
    image = image * shade[:, :, None]
    for _ in range(int(rng.integers(1, 9)) if bubbly else 0):  # bubbles in the gel: a thin dark ring with a glint
        radius = float(rng.uniform(2, 9)) * unit
        top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
        reach = int(2 * radius) + 2
        box = np.s_[max(0, top - reach) : min(height, top + reach), max(0, left - reach) : min(width, left + reach)]
        rows, columns = np.ogrid[box]
        ring = np.hypot(rows - top, columns - left) / radius
        spot = np.hypot(rows - top + 0.35 * radius, columns - left + 0.35 * radius) / radius
        part = image[box] * (1 - 0.25 * amount * np.exp(-(((ring - 1) / 0.14) ** 2)))[:, :, None]
        image[box] = part + 0.35 * amount * np.exp(-((spot / 0.28) ** 2))[:, :, None]
    return image


# ---------------------------------------------------------------------------------------------- nuclei


def _nearest_owner(instances: np.ndarray) -> np.ndarray:
    """Instance map in which background pixels carry the number of the nearest nucleus."""
    if not instances.any():
        return instances
    rows, columns = distance_transform_edt(instances == 0, return_distances=False, return_indices=True)
    return instances[rows, columns]


def _focus(layer: np.ndarray, soft: np.ndarray, blur: float) -> np.ndarray:
    """Blur only what belongs to nuclei out of focus."""
    if not soft.any():
        return layer
    return np.where(soft, 0, layer) + gaussian_filter(np.where(soft, layer, 0), blur, truncate=3)


def _fluorescence(
    ground_rng: np.random.Generator,
    nucleus_rng: np.random.Generator,
    distance: np.ndarray,
    instances: np.ndarray,
    number: int,
    unit: float,
    dials: _Dials,
) -> np.ndarray:
    """Grey light from nuclei on a dark, slightly foggy ground, float32 [H, W, 3]."""
    shape, owner = instances.shape, _nearest_owner(instances)  # painted past the outline, where light still fades
    dark, haze = float(ground_rng.uniform(0.015, 0.12)), float(ground_rng.uniform(0.03, 0.14))
    fog = np.clip(0.5 + 0.3 * _clouds(ground_rng, shape, 50 * unit), 0, 2)
    bright = nucleus_rng.uniform(0.3, 0.8) * np.clip(nucleus_rng.lognormal(0, 0.3, number + 1), 0.4, 1.8)
    soft = (nucleus_rng.random(number + 1) < dials.defocus)[owner]
    clumps = 0.6 * _clouds(nucleus_rng, shape, 6 * unit) + 0.5 * _clouds(nucleus_rng, shape, 3 * unit)
    nucleoli = _hill(_clouds(nucleus_rng, shape, 6 * unit), 5, 1.5)
    dome = 0.8 + 0.2 * np.clip(distance / (5 * unit), 0, 1)
    level = bright.astype(np.float32)[owner] * dome * (1 + dials.texture * (0.12 * clumps - 0.3 * nucleoli))
    layer = _focus(_fade(distance, dials.softness) * level, soft, 2.4 * unit)
    glow = gaussian_filter(layer[::2, ::2], 5 * unit, truncate=2.5).repeat(2, 0).repeat(2, 1)[: shape[0], : shape[1]]
    image = dark + dials.contrast * (1 - dark) * layer + dials.texture * haze * (glow + fog * dark)
    return np.repeat(image[:, :, None], 3, axis=2)


def _histology(
    ground_rng: np.random.Generator,
    nucleus_rng: np.random.Generator,
    distance: np.ndarray,
    instances: np.ndarray,
    number: int,
    unit: float,
    dials: _Dials,
) -> np.ndarray:
    """Light left by two stains, after Beer and Lambert: exp(-amount * optical density), float32 [H, W, 3]."""
    shape, owner = instances.shape, _nearest_owner(instances)
    pink, violet = [(0.38, 0.05), (0.04, 0.02), (0.06, 0.30), (0.22, 0.12)][int(ground_rng.integers(4))]
    blue = _between(ground_rng, _BLUES)
    # Fibres: a field stretched along a slowly turning direction, by shifting it along a smooth bend.
    wave = _clouds(ground_rng, shape, 60 * unit)
    y, x = np.ogrid[: shape[0], : shape[1]]
    lean = float(ground_rng.uniform(0, np.pi))
    phase = (y * float(np.sin(lean)) + x * float(np.cos(lean))).astype(np.float32) / (5 * unit) + 3.5 * wave
    fibres = 0.5 * np.sin(phase) * _clouds(ground_rng, shape, 25 * unit) + 0.5 * _clouds(ground_rng, shape, 12 * unit)
    holes = _hill(_clouds(ground_rng, shape, 60 * unit), 6, 1.5)  # gaps in the tissue
    tissue = np.clip(1 + dials.texture * (0.28 * fibres - 0.8 * holes), 0.05, 2)
    stain = nucleus_rng.uniform(0.8, 1.5) * np.clip(nucleus_rng.lognormal(0, 0.3, number + 1), 0.5, 1.7)
    soft = (nucleus_rng.random(number + 1) < dials.defocus)[owner]
    clumps = 0.6 * _clouds(nucleus_rng, shape, 6 * unit) + 0.5 * _clouds(nucleus_rng, shape, 2.5 * unit)
    rim = np.exp(-(((distance - 1.2 * unit) / (1.6 * unit)) ** 2))
    clear = nucleus_rng.uniform(0, 0.5, number + 1).astype(np.float32)[owner] * _hill(distance, 1.0 / unit, 4 * unit)
    level = stain.astype(np.float32)[owner] * (1 + dials.texture * (0.25 * clumps + 0.2 * rim - clear))
    layer = _focus(_fade(distance, dials.softness) * np.clip(level, 0, None), soft, 2.2 * unit)
    bluing = violet * tissue + dials.contrast * layer
    return np.exp(-(bluing[:, :, None] * blue + (pink * tissue)[:, :, None] * _EOSIN))
