"""What people bring: images, masks and networks of their own; whole images in tiles, and what is taken home."""

from __future__ import annotations

import csv
import io
import json
import pickle
import struct
import threading
import zipfile
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save as save_tensors

from sgdc_viz.data import load_image
from sgdc_viz.data.images import exif_orientation, read_truth
from sgdc_viz.explore import (
    COMPARISONS,
    UNTRAINED,
    Arm,
    Explorer,
    Place,
    fit,
    result_of_whole,
    results_csv,
    results_of_pair,
    results_zip,
)
from sgdc_viz.explore.networks import place, read_network
from sgdc_viz.explore.results import Result
from sgdc_viz.learn import load_checkpoint, predict_mask, predict_probability, save_checkpoint
from sgdc_viz.learn.metrics import evaluate_masks
from sgdc_viz.learn.predict import predict_tiles
from sgdc_viz.nn import SGDCNet, SGDCNetConfig
from sgdc_viz.views import WHOLE_JS, whole
from sgdc_viz.views.whole import simple_outlines, smaller

TINY = dict(encoder_channels=(8, 8, 16, 16), decoder_channels=(8, 8, 16, 16), mid_channels=8, kernel_size=3)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Soft blobs, so that the networks have something to say."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).normal(size=(height, width, 3))
    soft = gaussian_filter(noise, (4, 4, 0))
    return np.clip(128 + 60 * soft / soft.std(), 0, 255).astype(np.uint8)


def network(source: str = "structure", longest_side: int | None = None, seed: int = 0, **changes) -> SGDCNet:
    torch.manual_seed(seed)
    net = SGDCNet(SGDCNetConfig.compact(**{**TINY, "kernel_source": source, **changes})).eval()
    if changes.get("num_classes", 1) == 1:
        with torch.no_grad():  # a mask that is neither empty nor full
            net.head.bias.sub_(
                net(torch.from_numpy(picture(64, 64).transpose(2, 0, 1)[None].copy()) / 255).logits.mean()
            )
    return net


def checkpoint(folder, net: SGDCNet, longest_side: int | None = None) -> bytes:
    data = {"kind": "nuclei", "longest_side": longest_side}
    return save_checkpoint(folder / "mine.safetensors", net, data=data).read_bytes()


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """Bytes of own checkpoints, by kernel source."""
    folder = tmp_path_factory.mktemp("own")
    return {source: checkpoint(folder, network(source)) for source in ("structure", "pooled", "semantic", "global")}


@pytest.fixture(scope="module")
def own(mine):
    """(explorer, family of one own guided network)."""
    explorer = Explorer()
    return explorer, explorer.add_network(mine["structure"], "mine.safetensors")


# --- reading images --------------------------------------------------------------------------------------------------

RGB = np.random.default_rng(7).integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]
SOLID = np.full((6, 9), 255, np.uint8)


def encode(array, kind: str = "PNG", mode: str | None = None, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array, mode).save(file, kind, **options) if mode else Image.fromarray(array).save(
        file, kind, **options
    )
    return file.getvalue()


def tiff(array, **options) -> bytes:
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def png16(array: np.ndarray) -> bytes:
    """A PNG of 16 bits with 1 to 4 channels, which Pillow cannot write."""
    height, width, channels = array.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


DEEP, DEEP_GREY = RGB.astype(np.uint16) * 257, GREY.astype(np.uint16) * 257
KINDS = {  # what the file is -> (its bytes, what is to be seen)
    "16-bit RGB PNG": (lambda: png16(DEEP), RGB),
    "16-bit RGBA PNG": (lambda: png16(np.dstack([DEEP, SOLID.astype(np.uint16) * 257])), RGB),
    "16-bit grey PNG": (lambda: png16(DEEP_GREY[..., None]), GREY),
    "16-bit grey and alpha PNG": (lambda: png16(np.dstack([DEEP_GREY, SOLID.astype(np.uint16) * 257])), GREY),
    "16-bit RGB TIFF": (lambda: tiff(DEEP, photometric="rgb"), RGB),
    "16-bit RGB TIFF, big-endian": (lambda: tiff(DEEP, photometric="rgb", byteorder=">"), RGB),
    "16-bit grey TIFF, big-endian": (lambda: tiff(DEEP_GREY, byteorder=">"), GREY),
    "16-bit grey TIFF, 0 is white": (lambda: tiff(65535 - DEEP_GREY, photometric="miniswhite"), GREY),
    "8-bit grey TIFF, 0 is white": (lambda: tiff(255 - GREY, photometric="miniswhite"), GREY),
    "BigTIFF": (lambda: tiff(RGB, photometric="rgb", bigtiff=True), RGB),
    "tiled TIFF": (lambda: tiff(RGB, photometric="rgb", tile=(16, 16), compression="zlib"), RGB),
    "16-bit tiled TIFF": (lambda: tiff(DEEP, photometric="rgb", tile=(16, 16), compression="zlib"), RGB),
    "LZW TIFF": (lambda: encode(RGB, "TIFF", compression="tiff_lzw"), RGB),
    "deflate TIFF": (lambda: encode(RGB, "TIFF", compression="tiff_adobe_deflate"), RGB),
    "float TIFF": (lambda: tiff((GREY / 255).astype(np.float32)), GREY),
    "float RGB TIFF": (lambda: tiff((RGB / 255).astype(np.float32), photometric="rgb"), RGB),
    "first of several pages": (lambda: tiff(np.stack([RGB, 255 - RGB]), photometric="rgb"), RGB),
    "first frame of an animation": (
        lambda: encode(RGB, save_all=True, append_images=[Image.fromarray(255 - RGB)]), RGB),
    "two grey planes": (
        lambda: tiff(np.stack([GREY, GREY // 2]), photometric="minisblack", planarconfig="separate"), GREY),
    "grey and alpha": (lambda: encode(np.dstack([GREY, SOLID])), GREY),
    "BMP with alpha": (lambda: encode(np.dstack([RGB, SOLID]), "BMP"), RGB),
    "1 x 1": (lambda: encode(RGB[:1, :1]), RGB[:1, :1]),
    "1 x N": (lambda: encode(RGB[:1], "TIFF"), RGB[:1]),
    "N x 1": (lambda: encode(RGB[:, :1], "BMP"), RGB[:, :1]),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_comes_back_exactly(kind):
    make, expected = KINDS[kind]
    image = load_image(make())
    assert image.dtype == np.uint8 and image.shape == (*expected.shape[:2], 3)
    np.testing.assert_array_equal(image, expected if expected.ndim == 3 else expected[:, :, None].repeat(3, 2))


def test_a_palette_with_a_transparent_colour_is_on_white():
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8)).convert("P")
    image.putpalette([200, 0, 0, 0, 150, 0, 0, 0, 90])
    file = io.BytesIO()
    image.save(file, "PNG", transparency=1)
    expected = [[(200, 0, 0), (255, 255, 255)], [(0, 0, 90), (255, 255, 255)]]
    np.testing.assert_array_equal(load_image(file.getvalue()), expected)


UPRIGHT = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
           5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1), 7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
           8: lambda a: np.rot90(a)}  # fmt: skip


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_all_eight_orientations_are_turned_upright_and_a_mask_drawn_before_is_turned_along(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    upright = UPRIGHT[orientation]
    blocks = np.kron(RGB[:2, :3], np.ones((16, 16, 1), np.uint8))  # JPEG keeps flat blocks of 16 almost exactly
    photo = encode(blocks, "JPEG", quality=100, subsampling=0, exif=exif)
    assert np.abs(load_image(photo).astype(int) - upright(blocks)).max() <= 2
    for data in (encode(RGB, "PNG", exif=exif), encode(RGB, "TIFF", exif=exif),
                 tiff(DEEP, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])):  # fmt: skip
        np.testing.assert_array_equal(load_image(data), upright(RGB))
        assert exif_orientation(data) == orientation
    if orientation >= 5:
        drawn = np.arange(54, dtype=np.uint16).reshape(6, 9) // 9  # object numbers 0 to 5, on the photo as it lay
        truth, _ = read_truth(encode(drawn, "TIFF"), "m.tif", upright(RGB).shape[:2], orientation)
        np.testing.assert_array_equal(truth, upright(drawn))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "JPEG"])
def test_a_header_that_claims_60000_pixels_a_side_is_refused_from_the_header(kind):
    data, side = encode(RGB, kind), 60000
    if kind == "PNG":
        head = data[12:16] + struct.pack(">II", side, side) + data[24:29]
        data = data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]
    elif kind == "BMP":
        data = data[:18] + struct.pack("<ii", side, side) + data[26:]
    elif kind == "JPEG":
        start = data.index(b"\xff\xc0") + 5
        data = data[:start] + struct.pack(">HH", side, side) + data[start + 4 :]
    else:
        for tag in (256, 257):  # width and height
            start = data.index(struct.pack("<HH", tag, 4) + struct.pack("<I", 1)) + 8
            data = data[:start] + struct.pack("<I", side) + data[start + 4 :]
    with pytest.raises(ValueError, match="'the image' (is 60000x60000 pixels; at most 4096|has far more than 4096)"):
        load_image(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"patient,age\n", "is not a PNG, JPEG, TIFF or BMP image, going by its bytes"),
        (lambda: encode(picture(90, 90))[:5000], "damaged or incomplete"),
        (lambda: encode(picture(90, 90), "JPEG")[:900], "damaged or incomplete"),
        (lambda: tiff(np.where(GREY > 9, np.nan, 0.5).astype(np.float32)), "not finite"),
        (lambda: tiff(np.where(RGB > 9, np.inf, 0.5).astype(np.float32), photometric="rgb"), "not finite"),
    ],
)
def test_what_is_no_image_is_said_in_one_sentence(data, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_image(data() if callable(data) else data, name="scan.png")
    assert "'scan.png'" in str(caught.value) and "\n" not in str(caught.value)


# --- masks -----------------------------------------------------------------------------------------------------------

DISC = np.hypot(*(np.indices((40, 50)) - np.array([20, 22])[:, None, None])) < 12
SOFT = np.clip(12.5 - np.hypot(*(np.indices((40, 50)) - np.array([20, 22])[:, None, None])), 0, 1)  # antialiased


def palette_mask() -> bytes:
    image = Image.fromarray(DISC.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0])
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "make",
    [
        lambda: encode(DISC.astype(np.uint8)), lambda: encode(DISC.astype(np.uint8) * 255), lambda: encode(DISC),
        palette_mask, lambda: encode(DISC.astype(np.uint16) * 65535, "TIFF"),
        lambda: encode(np.dstack([DISC.astype(np.uint8) * 200] + [np.zeros((40, 50), np.uint8)] * 2)),
        lambda: encode(DISC.astype(np.uint8) * 255, "BMP"), lambda: tiff(DISC.astype(np.float32)),
        lambda: encode(DISC.astype(np.uint8) * 255, "JPEG", quality=90),
    ],
)  # fmt: skip
def test_masks_of_any_kind_are_read(make):
    truth, said = read_truth(make(), "mask", (40, 50))
    np.testing.assert_array_equal(truth, DISC)
    assert truth.dtype == np.int32 and "22 % of the image is object" in said


def test_antialiased_numbered_empty_and_full_masks():
    truth, _ = read_truth(encode((SOFT * 255).astype(np.uint8)), "m", (40, 50))
    np.testing.assert_array_equal(truth, (SOFT * 255).astype(np.uint8) > 127)
    numbers = np.zeros((40, 50), np.uint16)
    numbers[5:15, 5:20], numbers[20:30, 20:40] = 300, 120
    truth, said = read_truth(encode(numbers, "TIFF"), "m", (40, 50))
    np.testing.assert_array_equal(truth, numbers)
    assert "holds 2 numbers" in said and "18 %" in said
    truth, said = read_truth(encode(np.zeros((40, 50), np.uint8)), "m", (40, 50))
    assert not truth.any() and said == "The mask is empty: it says that there is no object."
    truth, said = read_truth(encode(np.full((40, 50), 255, np.uint8)), "m", (40, 50))
    assert truth.all() and "inverted" in said


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_mask_of_another_size_is_refused_in_one_sentence(orientation):
    with pytest.raises(ValueError, match="'m.png' is 50x40 pixels and the image 51x40: draw the mask") as caught:
        read_truth(encode(DISC), "m.png", (40, 51), orientation)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="not finite"):
        read_truth(tiff(np.where(DISC, np.nan, 0).astype(np.float32)), "m.tif", (40, 50))


# --- windows into large images ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 1500), st.integers(1, 1500), st.sampled_from([None, 160, 700]), st.data())
def test_a_window_maps_there_and_back(height, width, longest_side, data):
    centre = (data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1)))
    ratio = 1 if longest_side is None else longest_side / max(height, width)
    size = tuple(min(512, max(1, round(n * ratio))) for n in (height, width))
    where = place((height, width), size, longest_side, centre)
    y0, x0, y1, x1 = where.box
    assert 0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width and where.shows(centre)
    y, x = where.from_given(centre)
    assert 0 <= y < size[0] and 0 <= x < size[1]
    back = where.to_given((y, x))
    for a, b, s in zip(back, centre, where.scale, strict=True):
        assert abs(a - b) <= 0.5 / s + 1  # half a pixel of what the networks see
    if longest_side is None:
        assert back == centre and (y1 - y0, x1 - x0) == size
        assert where.part == (max(height, width) > 512)


def test_the_window_is_cut_around_the_centre_and_said():
    image = np.zeros((700, 1300, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(700)[:, None] % 256, np.arange(1300) % 256
    truth = np.arange(700 * 1300).reshape(700, 1300)
    for centre, (top, left) in {
        (10, 650): (0, 394),
        (690, 1290): (188, 788),
        (350, 600): (94, 344),
        None: (94, 394),
    }.items():
        seen, seen_truth, (note,) = fit(image, truth, None, centre)
        np.testing.assert_array_equal(seen, image[top : top + 512, left : left + 512])
        np.testing.assert_array_equal(seen_truth, truth[top : top + 512, left : left + 512])
        assert f"rows {top}–{top + 511}, columns {left}–{left + 511}" in note
        assert "choose another part in the whole picture" in note and ("its middle" in note) == (centre is None)
    with pytest.raises(ValueError, match="row 700, column 0 is outside the image"):
        fit(image, None, None, (700, 0))


def test_the_lens_looks_at_the_part_around_the_centre():
    explorer, image = Explorer(), picture(40, 560)
    truth = np.zeros((40, 560), np.int32)
    truth[10:20, 500:530] = 5
    pair = explorer.look(UNTRAINED, image, truth, centre=(20, 540))
    np.testing.assert_array_equal(pair.image, image[:, 48:])
    np.testing.assert_array_equal(pair.truth, truth[:, 48:])
    assert pair.place.box == (0, 48, 40, 560) and pair.place.to_given((3, 0)) == (3, 48)
    assert pair.place.from_given((3, 0)) == (3, 0) and not pair.place.shows((3, 0))  # cut off: the nearest
    np.testing.assert_array_equal(
        pair.runs["guided"].probability, explorer.look(UNTRAINED, image[:, 48:]).runs["guided"].probability
    )
    whole_seen = explorer.look(UNTRAINED, image[:, :200], centre=(0, 0))
    assert whole_seen.place.box == (0, 0, 40, 200) and whole_seen.notes == () and not whole_seen.place.part


# --- whole images in tiles -------------------------------------------------------------------------------------------


def last(steps):
    *_, step = steps
    return step.result


def test_tiles_equal_the_whole_away_from_their_borders():
    net, image = network(), picture(150, 200)
    in_one = predict_probability(net, image)
    steps = list(predict_tiles(net, image, tile=144, overlap=96))
    assert [(s.done, s.all) for s in steps] == [(n, 6) for n in range(7)]
    assert [s.logits is None for s in steps] == [True] * 6 + [False]
    tiled = steps[-1].logits[0, 0].sigmoid().numpy()
    difference = np.abs(tiled - in_one)
    assert 0 < difference.max() < 0.03  # near borders a tile lacks what lies beyond
    assert difference[:16, :16].max() < 1e-5  # only the first tile there, and its borders are far away
    for tile, overlap in ((64, 0), (64, 64), (100, 50)):
        with pytest.raises(ValueError, match="multiple of 16"):
            next(predict_tiles(net, image, tile=tile, overlap=overlap or 70))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 400), st.sampled_from([(64, 16), (96, 32), (48, 40)]))
def test_the_weights_of_tiles_add_up_to_one(size, sides):
    from sgdc_viz.learn.predict import _spans

    total, covered = torch.zeros(size), 0
    for start, weight in _spans(size, *sides):
        assert (weight >= 0).all() and len(weight) <= sides[0] and start <= covered
        covered = start + len(weight)
        total[start:covered] += weight
    assert covered == size
    torch.testing.assert_close(total, torch.ones(size))


def test_a_whole_image_is_what_learn_predicts(own, mine, tmp_path):
    explorer, family = own
    image = picture(130, 170, 3)
    (tmp_path / "m.safetensors").write_bytes(mine["structure"])
    net = load_checkpoint(tmp_path / "m.safetensors")
    found = last(explorer.whole(family, image))
    np.testing.assert_array_equal(found.mask, predict_mask(net, image))
    assert found.mask.any() and not found.mask.all()
    np.testing.assert_allclose(found.probability, predict_probability(net, image), atol=5e-4)
    assert found.probability.dtype == np.float16 and found.nbytes == 3 * image.shape[0] * image.shape[1]
    assert found.area == found.mask.sum() and found.share == found.mask.mean() and found.metrics is None
    from skimage.measure import label

    assert found.objects == label(found.mask, connectivity=2).max()
    truth = np.roll(predict_mask(net, image), 3, 1).astype(np.int32)
    passes = explorer.forward_passes
    measured = last(explorer.whole(family, image, truth=truth))
    assert measured.metrics == evaluate_masks(found.mask, truth > 0) and explorer.forward_passes == passes
    assert measured.mask is found.mask  # from memory
    assert last(explorer.whole(family, image, truth=np.zeros_like(truth))).metrics["failure"] == 1


def test_a_model_of_another_scale_gives_a_mask_of_the_images_size(tmp_path):
    explorer = Explorer()
    family = explorer.add_network(checkpoint(tmp_path, network(), longest_side=64), "m.safetensors")
    image = picture(100, 140, 4)
    found = last(explorer.whole(family, image))
    np.testing.assert_array_equal(found.mask, predict_mask(load_checkpoint(tmp_path / "mine.safetensors"), image))
    arms = {"guided": Arm(), "guidance zeroed": COMPARISONS["guidance zeroed"]}
    truth = np.roll(found.mask, 2, 0).astype(np.int32)
    pair = explorer.compare(family, image, arms, truth)
    assert pair.image.shape == (46, 64, 3) and pair.place.box == (0, 0, 100, 140)
    with pytest.raises(ValueError, match="give the truth of the image as it was given"):
        results_of_pair(pair)
    guided, _ = results_of_pair(pair, truth)
    assert guided.mask.shape == (100, 140) and np.mean(guided.mask != found.mask) < 0.005
    assert guided.metrics == evaluate_masks(guided.mask, truth > 0) and guided.part is None


def test_others_get_their_turn_between_tiles_and_the_work_can_be_stopped(own):
    explorer, family = own
    image, small = picture(200, 200, 5), picture(40, 40, 6)
    steps = explorer.whole(family, image, tile=64, overlap=32)
    assert next(steps).done == 0 and next(steps).done == 1
    waiting = threading.Thread(target=lambda: explorer.look(family, small))
    waiting.start()
    waiting.join(20)  # while the iterator is suspended
    assert not waiting.is_alive()
    passes = explorer.forward_passes
    steps.close()
    assert explorer._lock.acquire(timeout=1)
    explorer._lock.release()
    assert explorer.forward_passes == passes and not explorer._whole.get((family, "structure", 64, 32))
    # and while it goes on as fast as it can
    done = []
    clicking = threading.Thread(target=lambda: (explorer.look(family, picture(40, 40, 8)), done.append("click")))
    for step in explorer.whole(family, image, tile=64, overlap=32):
        if step.done == 1 and not clicking.ident:
            clicking.start()
        if step.done == step.all:
            done.append("whole")
    clicking.join(20)
    assert done[0] == "click"


def test_whole_images_are_kept_by_bytes():
    explorer = Explorer(keep_whole=3 * 64 * 64 * 2)
    images = [picture(64, 64, seed) for seed in range(3)]
    first = last(explorer.whole(UNTRAINED, images[0]))
    last(explorer.whole(UNTRAINED, images[1]))
    assert last(explorer.whole(UNTRAINED, images[0].copy())) is first
    last(explorer.whole(UNTRAINED, images[2]))  # the second goes
    assert sum(w.nbytes for w in explorer._whole.values()) <= 3 * 64 * 64 * 2
    assert last(explorer.whole(UNTRAINED, images[0])) is first
    passes = explorer.forward_passes
    last(explorer.whole(UNTRAINED, images[1]))
    assert explorer.forward_passes == passes + 1
    with pytest.raises(ValueError, match="whole images are segmented by networks as they are"):
        explorer.whole(UNTRAINED, images[0], Arm(change="guidance zeroed"))
    with pytest.raises(ValueError, match="truth is int64"):
        explorer.whole(UNTRAINED, images[0], truth=np.zeros((3, 3), int))


# --- the picture of a whole image ------------------------------------------------------------------------------------


def test_the_whole_picture_counts_pixels_of_the_given_image():
    image = picture(1100, 2100)
    mask = np.zeros((1100, 2100), bool)
    mask[300:500, 600:1000] = True
    truth = np.zeros((1100, 2100), np.int32)
    truth[300:500, 600:900] = 1
    figure = whole(image, mask=mask, objects=1, truth=truth, metrics=evaluate_masks(mask, truth > 0),
                   part=(100, 200, 612, 712))  # fmt: skip
    assert figure.lead.stride == 3 and figure.lead.pixels.shape == (367, 700, 3)
    assert figure.lead.window == (0, 0, 1100, 2100)
    predicted, true = figure.lead.outlines
    assert (predicted.style, true.style) == ("prediction", "truth")
    (curve,) = predicted.curves
    assert np.abs(curve.min(0) - (300, 600)).max() <= 3 and np.abs(curve.max(0) - (500, 1000)).max() <= 3
    assert [tuple(getattr(figure.lead.boxes[0], n) for n in ("y0", "x0", "y1", "x1"))] == [(100, 200, 612, 712)]
    assert "1 separate object, on 3.5 % of the area. Its IoU with the truth is 0.750." in figure.message
    assert "rows 100–611, columns 200–711" in figure.summary and "one pixel for 3 × 3" in figure.summary
    close = figure.cells[0][0]  # the part, pixel for pixel, with what of the outlines is in it
    assert figure.rows == ("close", "found", "shown") and close.box == (100, 200, 612, 712) and close.stride == 1
    assert np.array_equal(close.pixels, image[100:612, 200:712])
    np.testing.assert_array_equal([f(c.curves[0], 0) for c in close.outlines for f in (np.min, np.max)],
                                  [(300, 600), (500, 712)] * 2)  # fmt: skip
    html = figure.to_html()
    assert 'data-part="100 200 612 712"' in html and 'viewBox="0 0 2100 1100"' in html and "sg-linked" not in html
    assert figure.to_png()[:4] == b"\x89PNG"


def test_what_was_found_is_said_for_every_outcome():
    image, some, none = picture(60, 80), np.zeros((60, 80), bool), np.zeros((60, 80), bool)
    some[10:20, 10:20] = True
    told = {
        (False, None): "finds no object in this image.",
        (True, None): "finds 1 separate object, on 2.1 % of the area.",
        (False, False): "The truth has none either.",
        (True, False): "The truth is empty: all of it is a false alarm.",
        (False, True): "All that the truth shows (2.1 % of the area) is missed.",
    }
    for (found, true), words in told.items():
        mask, truth = (some if found else none), None if true is None else (some if true else none)
        metrics = None if truth is None else evaluate_masks(mask, truth)
        figure = whole(image, mask=mask, objects=int(found), truth=truth, metrics=metrics, part=(0, 0, 60, 80))
        assert words in figure.message and "The other pictures can show all of it." in figure.alt
        assert figure.lead.boxes == ()
    assert whole(image).message == "The whole image, not segmented yet."
    with pytest.raises(ValueError, match=r"mask has shape \(3, 3\) and the image \(60, 80\)"):
        whole(image, mask=np.zeros((3, 3), bool))


def test_even_noise_makes_a_page_of_less_than_four_megabytes():
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    mask = np.zeros((1024, 1024), bool)
    mask[:640, :640] = np.random.default_rng(1).random((640, 640)) > 0.5
    figure = whole(noise, mask=mask, part=(0, 0, 512, 512))
    assert len(figure.to_html()) < 4_000_000
    for where in ("left out of the drawing, not of the numbers", "left out of the close picture"):
        assert where in figure.summary
    y0, x0, y1, x1 = figure.lead.box
    assert (y0, x0) == (0, 0) and 0 <= y1 - 1024 < figure.lead.stride and 0 <= x1 - 1024 < figure.lead.stride


def test_many_small_objects_get_finer_outlines():
    mask = np.zeros((600, 600), bool)
    mask[10:560:30, 10:560:30] = True
    mask[300:310, 300:310] = True
    assert whole(picture(600, 600), mask=mask).lead.outlines[0].fine
    mask[:] = False
    mask[100:300, 100:200] = True
    assert not whole(picture(600, 600), mask=mask).lead.outlines[0].fine


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 7))
def test_smaller_is_the_mean_of_its_pixels(height, width, stride):
    image = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    small = smaller(image, stride)
    for i, j in ((0, 0), (small.shape[0] - 1, small.shape[1] - 1)):
        part = image[i * stride : (i + 1) * stride, j * stride : (j + 1) * stride]
        np.testing.assert_allclose(small[i, j], part.mean((0, 1)), atol=0.5)


def test_large_outlines_stay_when_there_are_too_many():
    labels = np.zeros((60, 300), np.int32)
    for n in range(20):
        labels[10 : 12 + n, 15 * n : 15 * n + 10] = n + 1
    curves, dropped = simple_outlines(labels, 1, points=5 * 20)
    assert 0 < dropped < 20 and len(curves) + dropped == 20
    assert min(np.ptp(c[:, 0]) for c in curves) == 2 + dropped  # the tallest are there


@pytest.mark.browser
def test_a_click_comes_back_in_pixels_of_the_given_image(browser):
    figure = whole(picture(300, 1500), part=(0, 400, 300, 912))
    page = browser.new_page(viewport={"width": 900, "height": 700})
    from sgdc_viz.views import CSS

    page.set_content(f"<style>{CSS}</style><div id=box>{figure.to_html()}</div>")
    page.evaluate(
        "code => { window.told = []; new Function('element', 'trigger', 'watch', code)("
        "document.getElementById('box'), (name, event) => told.push(event.index), () => {}); }", WHOLE_JS
    )  # fmt: skip
    svg = page.locator("svg").first
    box = svg.bounding_box()
    scale = box["width"] / 1500
    assert box["height"] == pytest.approx(300 * scale, abs=1)  # the picture has the shape of the image
    page.mouse.click(box["x"] + 1200.5 * scale, box["y"] + 150.5 * scale)
    ((x, y),) = page.evaluate("told")
    assert abs(x - 1200) <= 2 / scale and abs(y - 150) <= 2 / scale
    svg.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("told[1]") == [912, 150]  # half a part to the right of its middle
    page.close()


# --- networks of one's own -------------------------------------------------------------------------------------------


def test_an_own_network_is_looked_at_like_a_shipped_one(own):
    explorer, family = own
    assert family.startswith("own-") and explorer.sources_of(family) == ("structure",)
    assert explorer.arms_of(family) == {"guided": Arm()}
    comparisons = explorer.comparisons_of(family)
    assert comparisons == {name: arm for name, arm in COMPARISONS.items() if name != "pooled"}
    pair = explorer.look(family, picture(40, 48))
    assert list(pair.runs) == ["guided", "guidance zeroed"] and pair.trained
    for name, arm in comparisons.items():
        other = explorer.compare(family, picture(40, 48), {"guided": Arm(), name: arm})
        assert other.overview((5, 5)).to_html() and other.predictions((5, 5)).to_html()
        assert other.runs[name].maps.faithfulness < 1e-5
        assert other.trained == (name != "random weights")
    steps = pair.pooling_steps((1, 4))
    assert list(steps) == ["guided, pool size 1", "pool size 4"]
    assert pair.random_weights().family == family.replace("own", "untrained")
    assert pair.random_weights().control_arms().keys() == {"guidance shuffled", "kernels permuted"}
    assert pair.random_weights().image is pair.image and not pair.random_weights().trained
    with pytest.raises(ValueError, match="no 'pooled' network beside the one that was uploaded"):
        explorer.compare(family, picture(40, 48), {"guided": Arm(), "pooled": Arm("pooled")})


def test_random_weights_of_an_own_network_have_its_shape(own):
    explorer, family = own
    image = picture(40, 48)
    pair = explorer.compare(family, image, {"guided": Arm(), "random weights": COMPARISONS["random weights"]})
    torch.manual_seed(0)
    expected = predict_probability(SGDCNet(SGDCNetConfig.compact(**TINY)).eval(), image)
    np.testing.assert_allclose(pair.runs["random weights"].probability, expected, atol=1e-6)


def test_a_partner_makes_a_pair(mine):
    explorer = Explorer()
    first = explorer.add_network(mine["pooled"], "a.safetensors")
    family = explorer.add_network(mine["structure"], "b.safetensors", partner=first)
    assert explorer.sources_of(family) == ("structure", "pooled")  # guided first, whichever came first
    assert explorer.arms_of(family) == explorer.arms_of("nuclei") == {"guided": Arm(), "pooled": Arm("pooled")}
    assert list(explorer.comparisons_of(family)) == list(COMPARISONS) == list(explorer.comparisons_of("nuclei"))
    assert "random weights" not in explorer.comparisons_of(UNTRAINED)
    pair = explorer.look(family, picture(40, 48))
    assert pair.runs["pooled"].pool_size == 8 and list(pair.pooling_steps((1,)))[-1] == "pooled, pool size 8"
    names = explorer.names_of(family)
    assert names["guided"].endswith("(structure)") and names["pooled"].endswith("(pooled)")
    assert explorer.names_of("nuclei") == {"guided": "nuclei-structure", "pooled": "nuclei-pooled"}
    alone = explorer.look(explorer.add_network(mine["structure"], "b.safetensors"), picture(40, 48))
    np.testing.assert_array_equal(alone.runs["guided"].probability, pair.runs["guided"].probability)


def test_partners_must_fit(mine, tmp_path):
    explorer = Explorer()
    family = explorer.add_network(mine["structure"], "a.safetensors")
    other = checkpoint(tmp_path, network(seed=5))
    with pytest.raises(ValueError, match="makes its kernels from 'structure', as the first network does"):
        explorer.add_network(other, "b.safetensors", partner=family)
    scaled = checkpoint(tmp_path, network("pooled"), longest_side=96)
    with pytest.raises(ValueError, match=r"another scale than the first network \(longest side 96 and None"):
        explorer.add_network(scaled, "b.safetensors", partner=family)


@pytest.mark.parametrize("source", ["semantic", "pooled", "global"])
def test_networks_without_guidance_offer_what_they_have(mine, source):
    explorer = Explorer()
    family = explorer.add_network(mine[source], "a.safetensors")
    told = explorer.comparisons_of(family)
    assert not any("guidance" in name for name in told) and {"kernels permuted", "random weights"} <= set(told)
    assert any("context" in name for name in told) == (source == "semantic")
    label, arm = next(iter(explorer.arms_of(family).items()))
    assert (label, arm.source) == (source, source)
    pair = explorer.look(family, picture(40, 48))
    assert pair.overview((5, 5)).to_html() and pair.sge_stages((5, 5)).to_html()
    assert pair.runs[source].pool_size == {"semantic": None, "pooled": 8, "global": 24}[source]


def test_the_last_few_networks_are_kept(mine):
    explorer = Explorer(keep_own=2)
    first = explorer.add_network(mine["structure"], "a.safetensors")
    explorer.add_network(mine["pooled"], "b.safetensors")
    explorer.arms_of(first)  # used again
    assert explorer.add_network(mine["structure"], "again.safetensors") == first
    second = explorer.add_network(mine["semantic"], "c.safetensors")  # the pooled one goes
    assert explorer.arms_of(first) and explorer.arms_of(second)
    explorer.add_network(mine["pooled"], "b.safetensors")
    for ask in (explorer.arms_of, explorer.names_of, lambda f: explorer.look(f, picture(9, 9)),
                lambda f: explorer.whole(f, picture(9, 9)),
                lambda f: explorer.add_network(mine["global"], "d.safetensors", f)):  # fmt: skip
        with pytest.raises(ValueError, match="no longer kept .* upload them again"):
            ask(first)
    with pytest.raises(ValueError, match="no longer kept"):
        explorer.arms_of("own-0123")
    with pytest.raises(ValueError, match="keep_own=0"):
        Explorer(keep_own=0)


def test_several_kinds_of_objects_count_as_one(tmp_path):
    explorer = Explorer()
    net = network(num_classes=3)
    family = explorer.add_network(checkpoint(tmp_path, net), "m.safetensors")
    image = picture(40, 48)
    pair = explorer.look(family, image)
    assert "tells 2 kinds of objects apart" in pair.notes[-1]
    any_object = 1 - predict_probability(net, image)[0]
    np.testing.assert_allclose(pair.runs["guided"].probability, any_object, atol=1e-5)
    found = last(explorer.whole(family, image))
    np.testing.assert_allclose(found.probability, any_object, atol=5e-4)


def rewritten(data: bytes, tensors: dict | None = None, config: dict | None = None, /, **metadata) -> bytes:
    """A checkpoint with other tensors or settings."""
    from safetensors.torch import load

    length = int.from_bytes(data[:8], "little")
    known = json.loads(data[8 : 8 + length])["__metadata__"]
    if config is not None:
        known["config"] = json.dumps({**json.loads(known["config"]), **config})
    return save_tensors(load(data) if tensors is None else tensors, {**known, **metadata})


class Bomb:
    def __reduce__(self):
        return (print, ("unpickled!",))


def torch_zip() -> bytes:
    file = io.BytesIO()
    torch.save({"weights": torch.zeros(2)}, file)
    return file.getvalue()


def header_of(entries: dict, body: bytes = b"") -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + body


BAD = {
    "another ending": (lambda d: d, "m.pt", "is not a .safetensors file: other formats can run code"),
    "pickle, renamed": (lambda d: pickle.dumps(Bomb()), "m.safetensors", "is a pickle, whatever its name says"),
    "torch.save, renamed": (lambda d: torch_zip(), "m.safetensors", "is a pickle, whatever its name says"),
    "empty": (lambda d: b"", "m.safetensors", "is broken, incomplete or no safetensors file"),
    "text": (lambda d: b"Dear reader, this is a text.", "m.safetensors", "is broken, incomplete or no safetensors"),
    "truncated": (lambda d: d[:-100], "m.safetensors", "its tensors do not fill it"),
    "truncated header": (lambda d: d[:500], "m.safetensors", "is broken, incomplete or no safetensors file"),
    "longer": (lambda d: d + b"more", "m.safetensors", "its tensors do not fill it"),
    "no table": (lambda d: header_of([1, 2]), "m.safetensors", "its header is no table"),
    "deep": (lambda d: (20000).to_bytes(8, "little") + b"[" * 20000, "m.safetensors", "broken, incomplete or no"),
    "long header": (lambda d: (2**21).to_bytes(8, "little") + bytes(2**21), "m.safetensors", "a header of that length"),
    "not ours": (lambda d: save_tensors({"a": torch.zeros(2)}), "m.safetensors", "weights but no sgdc_viz settings"),
    "history": (lambda d: rewritten(d, format="sgdc_viz history"), "m.safetensors", "several steps of a training"),
    "newer": (lambda d: rewritten(d, format_version="9", sgdc_viz="9.9"), "m.safetensors", "newer sgdc_viz .'9.9'.: u"),
    "version": (lambda d: rewritten(d, format_version="x"), "m.safetensors", "settings that cannot be read"),
    "unknown setting": (lambda d: rewritten(d, None, {"telepathy": 1}), "m.safetensors", "telepathy"),
    "kinds": (lambda d: rewritten(d, None, {"kernel_source": "magic"}), "m.safetensors", "kernel_source='magic'"),
    "no kernels": (lambda d: rewritten(d, None, {"kernel_source": "dyconv"}), "m.safetensors",
                   "'dyconv' blocks, which have no kernel for each pixel"),
    "type": (lambda d: rewritten(d, None, {"heads": "four"}), "m.safetensors", "from which no network can be made"),
    "architecture": (lambda d: rewritten(d, None, {"mid_channels": 16}), "m.safetensors", "not fit its own settings"),
    "huge": (lambda d: rewritten(d, None, {"mid_channels": 10**5}), "m.safetensors", "million weights; at most 16"),
    "wide": (lambda d: rewritten(d, None, {"kernel_size": 31}), "m.safetensors", "too wide to be looked at here"),
    "classes": (lambda d: rewritten(d, None, {"num_classes": 50}), "m.safetensors", r"50 classes \(at most 8\)"),
    "scale": (lambda d: rewritten(d, **{"data": '{"longest_side": 99999}'}), "m.safetensors", "99999 must be"),
    "tables": (lambda d: rewritten(d, training="[]"), "m.safetensors", "settings that cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_files_that_are_no_network_are_refused_in_one_sentence(mine, what, capsys):
    make, name, message = BAD[what]
    with pytest.raises(ValueError, match=message) as caught:
        Explorer().add_network(make(mine["structure"]), name)
    text = str(caught.value)
    assert name in text and "\n" not in text and text.endswith(".") and len(text) < 400
    assert "unpickled" not in capsys.readouterr().out


def test_a_header_may_have_any_length(mine):
    """Some lengths begin with the byte that a pickle begins with."""
    for padding in range(0, 256, 8):
        data = rewritten(mine["structure"], note="x" * padding)
        assert read_network(data, "m.safetensors").config.kernel_source == "structure"


def test_weights_that_are_wrong_are_named(mine):
    from safetensors.torch import load

    data, tensors = mine["structure"], load(mine["structure"])
    for change, message in (
        ({"head.bias": None}, "1 weight.s. are missing.*'head.bias'"),
        ({"extra": torch.zeros(1)}, "unknown.*'extra'"),
        ({"head.bias": torch.zeros(7)}, "another shape.*'head.bias'"),
        ({"head.bias": torch.full((1,), float("nan"))}, "NaN or infinite weights in 'head.bias'"),
        ({"head.bias": torch.zeros(1, dtype=torch.int64)}, "holds 'head.bias' as 'I64'"),
    ):
        changed = {key: value for key, value in {**tensors, **change}.items() if value is not None}
        with pytest.raises(ValueError, match=message):
            read_network(rewritten(data, changed), "m.safetensors")
    with pytest.raises(ValueError, match=r"has 0.\d MB; networks of at most 0 MB"):
        read_network(data, "m.safetensors", most_bytes=1000)
    with pytest.raises(ValueError, match="million weights; at most 0 million"):
        read_network(data, "m.safetensors", most_parameters=1000)
    hostile = rewritten(data, data='{"longest_side": 32}', training='{"config": "x"}')
    assert read_network(hostile, "m.safetensors").info.training == {}
    half = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
    assert read_network(rewritten(data, half), "m.safetensors").head.weight.dtype == torch.float32


# --- what is taken home ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(own):
    explorer, family = own
    image = picture(90, 120, 9)
    found = last(explorer.whole(family, image))
    truth = np.roll(found.mask, 2, 0).astype(np.int32)
    found = last(explorer.whole(family, image, truth=truth))
    name = explorer.names_of(family)["guided"]
    pair = explorer.compare(family, image, {"guided": Arm(), "guidance zeroed": Arm(change="guidance zeroed")}, truth)
    return found, [result_of_whole("guided", name, found), results_of_pair(pair)[1]], pair


def rows_of(data: bytes) -> list[dict]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))


def test_the_table_has_the_librarys_numbers(results):
    found, both, pair = results
    first, second = rows_of(results_csv(both))
    assert first["network"] == "guided" and first["model"].startswith("own-") and first["change"] == ""
    assert (first["image height (pixels)"], first["image width (pixels)"]) == ("90", "120")
    assert (first["first row"], first["last row"], first["last column"]) == ("0", "89", "119")
    assert int(first["objects (count)"]) == found.objects and int(first["object area (pixels)"]) == found.area
    for heading, key in (("IoU (0 to 1)", "iou"), ("HD95 (pixels)", "hd95"), ("boundary IoU (0 to 1)", "boundary_iou"),
                         ("surface Dice at 2 px (0 to 1)", "nsd2")):  # fmt: skip
        assert float(first[heading]) == pytest.approx(found.metrics[key], rel=1e-5)
    assert second["change"] == "guidance zeroed" and first["faithfulness (largest difference)"] == ""
    changed = pair.runs["guidance zeroed"]
    assert float(second["faithfulness (largest difference)"]) == pytest.approx(changed.maps.faithfulness, rel=1e-5)
    assert float(second["IoU (0 to 1)"]) == pytest.approx(evaluate_masks(changed.mask, pair.truth > 0)["iou"], rel=1e-5)
    with pytest.raises(ValueError, match="no results yet"):
        results_csv([])


def test_no_cell_is_run_as_a_formula_and_other_letters_survive():
    mask = np.zeros((2, 3), bool)
    names = ["=1+1", "+A1", "-2", "@SUM(A1)", "\tx", 'a,"b"\nc', "größer"]
    data = results_csv([Result(name, name, mask, (2, 3)) for name in names])
    assert data.startswith(b"\xef\xbb\xbf")  # for Excel, because of the ö
    read = [row["network"] for row in rows_of(data)]
    assert read == [f"'{n}" for n in names[:5]] + names[5:]
    assert results_csv([Result("guided", "m", mask, (2, 3))]).isascii()
    row = rows_of(results_csv([Result("guided", "m", mask, (2, 3), metrics=evaluate_masks(mask, mask))]))[0]
    assert row["IoU (0 to 1)"] == "" and row["truth"] == "known"  # undefined: both empty
    with pytest.raises(ValueError, match=r"mask of 'guided' is bool \(2, 3\); it covers 4 rows"):
        Result("guided", "m", mask, (4, 3))


def test_the_zip_holds_everything_and_repeats(results):
    found, both, pair = results
    figure = whole(pair.image, mask=found.mask)
    packed = results_zip(both, {"the whole image": figure}, probabilities=True)
    assert results_zip(both, {"the whole image": figure}, probabilities=True) == packed
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert list(files) == [
        "README.txt", "1-guided-mask.png", "1-guided-probability.png", "2-guidance-zeroed-mask.png",
        "2-guidance-zeroed-probability.png", "numbers.csv", "the-whole-image.png",
    ]  # fmt: skip
    mask = np.array(Image.open(io.BytesIO(files["1-guided-mask.png"])))
    np.testing.assert_array_equal(mask, found.mask * np.uint8(255))
    probability = np.array(Image.open(io.BytesIO(files["1-guided-probability.png"]))).astype(float) / 65535
    np.testing.assert_allclose(probability, found.probability, atol=1e-5)
    readme = files["README.txt"].decode()
    for words in ("NOT A MEDICAL DEVICE", "Not for diagnosis", "arXiv 2602.23496", both[0].model, *list(files)[1:]):
        assert words in readme
    assert files["the-whole-image.png"][:4] == b"\x89PNG" and max(map(len, readme.splitlines())) <= 200


def test_results_of_a_part_say_which():
    explorer, image = Explorer(), picture(40, 560)
    pair = explorer.look(UNTRAINED, image, centre=(20, 540))
    guided, pooled = results_of_pair(pair)
    np.testing.assert_array_equal(guided.mask, pair.runs["guided"].mask)
    assert guided.part == (0, 48, 40, 560) and guided.image == (40, 560) and pooled.pool_size == 8
    row = rows_of(results_csv([guided, pooled]))[1]
    assert (row["first column"], row["last column"], row["image width (pixels)"]) == ("48", "559", "560")
    assert row["model"] == "untrained-pooled" and row["kernel pool size (feature pixels)"] == "8"
    assert row["truth"] == "unknown" and row["IoU (0 to 1)"] == ""


def test_places_without_a_size_cover_no_box():
    with pytest.raises(ValueError, match="no size"):
        Place().box  # noqa: B018
