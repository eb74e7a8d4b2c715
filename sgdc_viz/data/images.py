"""One image file -> one numpy array, whatever camera or program wrote it. Needs Pillow and numpy."""

from __future__ import annotations

import io
import logging
import lzma
import math
import stat
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
ORIENTATION, PHOTOMETRIC, BITS, SAMPLE_FORMAT = 274, 262, 258, 339  # tags of TIFF, the first of EXIF too
COMPRESSION = 259
TILE_WIDTH, TILE_LENGTH = 322, 323
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SIGNED, FLOAT = 2, 3  # sample formats
FORMAT, STEP = "sgdc_viz format", "sgdc_viz step"  # see `_open`
LOW_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L", "LA;16B": "RGBA"}  # how Pillow reads PNG, see `_deep_png`
# Passes of an interlaced PNG: first column and row, then one in how many columns and rows.
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
TURNS = {
    1: "upright",
    2: "mirrored",
    3: "turned by 180 degrees",
    4: "mirrored upside down",
    5: "mirrored and turned by 90 degrees",
    6: "turned by 90 degrees",
    7: "mirrored and turned by 90 degrees",
    8: "turned by 90 degrees",
}
MAX_BYTES = 2**30  # of a file, and of its pixels: what Pillow opens at most, 179 million pixels, as 16-bit RGB

for _library in ("PIL", "tifffile"):  # what they have to say about a bad file, our one sentence says
    logging.getLogger(_library).addHandler(logging.NullHandler())


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with its truth.

    image: uint8 [H, W, 3], RGB.
    mask: uint8 [H, W]; 0 is background, 1 the object (binary) or the class index 1..C-1.
    instances: int32 [H, W], one number per object and 0 for background; None where objects are not told apart.
    name: unique in its data set.
    group: images that share it show the same slide, patient or scene; a split never cuts a group in two.
    """

    image: np.ndarray
    mask: np.ndarray
    instances: np.ndarray | None
    name: str
    group: str


def load_image(source: str | Path | bytes, max_side: int = 4096, name: str | None = None) -> np.ndarray:
    """Read a PNG, JPEG, TIFF or BMP as uint8 [H, W, 3], RGB, upright.

    - The EXIF rotation that cameras write is applied.
    - Transparency is composited on white, as most viewers show it. Palette, CMYK and grey become RGB.
    - Grey of more than 8 bits is brought to 8 by dropping low bits. How many bits are in use is read from the largest
      value: 12-bit microscope data in a 16-bit file is treated as 12-bit, so that it does not come out black. So is
      colour, by the largest value of the three. Whole numbers below 0 (CT, say) are refused.
    - Floating point: 0..1 if all values lie there, else stretched from its minimum to its maximum; so values below 0
      are taken, but it is the darkest pixel that comes out black then, not 0.
    - Of a file with several pages the first is read.

    Args:
        source: a path, or the bytes of the file.
        max_side: refuse images longer than this on a side, in pixels; read from the header, before decoding.
        name: what to call the image in error messages (default: its path).

    Raises: FileNotFoundError, or ValueError in one sentence for a file that is too large, damaged, or no image. Files
    of over 1 GiB are not read, nor are images of over 179 million pixels, whatever `max_side` says.
    """
    image, name = _open(source, max_side, name)
    if image.mode.startswith(("I", "F")):
        grey = _to_8_bits(np.asarray(image), name)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if "A" in image.mode or "transparency" in image.info:
        image = _convert(image, "RGBA", name)
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(_convert(image, "RGB", name))


def load_mask(source: str | Path | bytes, max_side: int = 4096, name: str | None = None) -> np.ndarray:
    """Read a mask as uint8 [H, W] of 0 and 1: 1 where the value is over half of the largest value in the file.

    So 0/1, 0/255, 16-bit and antialiased masks all work; an all-zero file is an empty mask. Colours count by their
    brightest channel, and transparency is ignored. Arguments and errors as `load_image` and `binary`. Numbers of
    objects or classes are not told from a mask here; `numbers_in` does that.
    """
    return binary(load_mask_values(source, max_side, name), _called(source, name))


def binary(values: np.ndarray, name: str) -> np.ndarray:
    """Values of a mask file [H, W] -> uint8 [H, W]: 1 where the value is over half of the largest.

    Raises: ValueError in one sentence for values below 0, and for different values that are all over half of the
    largest: there is no saying then what is background. `name` is what the sentence calls the file.
    """
    low, high = values.min(), values.max()
    if low < 0:
        raise ValueError(
            f"{name!r} holds values down to {low}, and a mask counts from 0, the background: save it with the values "
            "0 and 255 alone."
        )
    if high / 2 < low < high:
        raise ValueError(
            f"{name!r} holds values from {low} to {high} and no background near 0: save it with the values 0 for "
            "background and 255 for object."
        )
    return (values > high / 2).astype(np.uint8)


def numbers_in(values: np.ndarray) -> np.ndarray | None:
    """The distinct values of a mask file [H, W] if they look like numbers of objects or classes; None if they do not.

    A drawn mask has two values. A mask that was resized, blurred or saved as JPEG has many, but those in between only
    along outlines, next to 0 and next to the largest. So these are numbers: 0, 1, 2 ... n without a gap (with or
    without the 0) for an n under 32; or values of which at least half of those in between fill a square of 2 x 2 pixels
    somewhere. In between are the middle ones, an eighth to seven eighths of the largest; the smaller ones, too, where
    there are at most 32 values and none just below the largest, as in 0, 1 and an ignored border of 255. Soft masks
    reach 255 or 65535, the largest value of their file, more often than numbers do: at most 32 values are numbers then,
    and the square is 3 x 3.
    """
    if values.dtype.kind == "f" and (values == np.round(values)).all() and np.abs(values).max() <= 2**24:
        values = values.astype(np.int32)  # as Fiji saves them
    if values.dtype.kind not in "iu":
        return None
    found = np.flatnonzero(np.bincount(values.ravel())) if values.dtype == np.uint8 else np.unique(values)
    largest, few = int(found[-1]), len(found) <= 32
    if len(found) < 3 or found[0] < 0 or (largest in (255, 65535) and not few):
        return None
    if largest < 32 and largest - int(found[0]) == len(found) - 1:
        return found
    corner = values[1:, 1:]
    solid = (corner == values[:-1, 1:]) & (corner == values[1:, :-1]) & (corner == values[:-1, :-1])
    if largest in (255, 65535):
        solid = solid[1:, 1:] & solid[:-1, 1:] & solid[1:, :-1] & solid[:-1, :-1]
        corner = corner[1:, 1:]
    between = found[(found > found[0]) & (found < largest)]
    if not few or between[-1] >= largest * 7 / 8:  # JPEG, or an outline: next to 0 there are some as well
        between = between[(between > largest / 8) & (between < largest * 7 / 8)]
    flat = np.isin(between, corner[solid])
    return found if len(between) and flat.mean() >= 0.5 else None


def listed(numbers: np.ndarray) -> str:
    """Sorted numbers for a message: "0, 1, 2", or the first five and the last."""
    return ", ".join(map(str, numbers[:5])) + (f", ... {numbers[-1]}" if len(numbers) > 5 else "")


def load_mask_values(source: str | Path | bytes, max_side: int = 4096, name: str | None = None) -> np.ndarray:
    """The values of a mask file as they are, [H, W]; of colours the brightest channel. Arguments as `load_image`.

    Raises: as `load_image`, and ValueError where there is no telling what is object: further pages of the same size,
    colours that are all equally bright, a mask drawn in transparency alone, a palette with a border to be ignored.
    """
    image, name = _open_one_page(source, max_side, name)
    if image.mode == "P":
        _check_border(image, name)
    alpha = image.getchannel("A") if "A" in image.getbands() else None
    if image.mode == "1" or (image.mode != "L" and not image.mode.startswith(("I", "F"))):
        image = _convert(image, "L" if image.mode == "1" else "RGB", name)
    values = np.asarray(image)
    _check_finite(values, name)
    one_colour = (values == values[:1, :1]).all()
    if alpha is not None and one_colour and len(set(alpha.getextrema())) > 1:
        raise ValueError(
            f"{name!r} is of one colour, and what is drawn lies in its transparency: save it without, with the values "
            "0 and 255 alone."
        )
    if values.ndim == 2:
        return values
    values = values.max(2)
    if values.min() == values.max() and not one_colour:
        raise ValueError(
            f"{name!r} holds colours that are all equally bright, so there is no telling which are object: save it "
            "with the values 0 for background and 255 for object."
        )
    return values


def read_truth(data: bytes, name: str, shape: tuple[int, int], orientation: int = 1) -> tuple[np.ndarray, str]:
    """The mask that belongs to an image, from the bytes of its file.

    Args:
        name: of the file, for messages.
        shape: (rows, columns) of the image as `load_image` gave it, upright.
        orientation: of the image's file, see `exif_orientation`. Programs that draw masks often ignore it: a mask of
            the size that the image had before it was turned upright is turned with it.

    Returns:
        (truth, said): int32 [H, W], object numbers where the file holds numbers (see `numbers_in`), otherwise 1 for
        object and 0 for background (over half of the largest value); and a sentence about it, or two: where the image
        was turned and the mask may lie either way, that, too.

    Raises:
        ValueError: no readable mask, one of another size, or one of which nobody knows what is object; one sentence.
    """
    values = load_mask_values(data, name=name)
    either = shape[0] == shape[1] or orientation < 5
    if values.shape != shape and orientation in (5, 6, 7, 8) and values.shape == shape[::-1]:
        values = np.asarray(_upright(Image.fromarray(values), orientation))
    if values.shape != shape:
        height, width = values.shape
        raise ValueError(
            f"{name!r} is {width}x{height} pixels and the image {shape[1]}x{shape[0]}: draw the mask on the image "
            "itself, or export it at the image's size."
        )
    numbers = numbers_in(values)
    if numbers is not None and numbers[-1] in (255, 65535):
        raise ValueError(
            f"{name!r} holds the values {listed(numbers)}, and {numbers[-1]} may stand for an object or for a border "
            "to be ignored: save it with the values 0 and 255 alone, or number the objects from 1 on."
        )
    truth = (binary(values, name) if numbers is None else values).astype(np.int32)
    said = _about_truth(truth, numbers)
    if either and orientation not in (1, exif_orientation(data)):
        said += f" The image was stored {TURNS[orientation]}, the mask is taken for upright: look whether it fits."
    return truth, said


def _about_truth(truth: np.ndarray, numbers: np.ndarray | None) -> str:
    share = f"{100 * np.count_nonzero(truth) / truth.size:.2g} % of the image"
    if not truth.any():
        return "The mask is empty: it says that there is no object."
    if truth.all():
        return "The mask covers all of the image: if that is not so, it may be inverted, or drawn in transparency."
    if numbers is None:
        return f"The mask says what is object and what is not: {share} is object."
    return f"The mask holds {np.count_nonzero(numbers)} numbers, of objects or kinds of them, on {share}."


def exif_orientation(data: bytes) -> int:
    """How a camera was held, 1 (upright) to 8, from the bytes of an image file that `load_image` can read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.format == "PNG" and not any(key in data for key in (b"eXIf", b"exif", b"adobe.xmp")):
                return 1  # Pillow would unpack all pixels to look for it behind them
            return _orientation(image)
        except Exception:  # garbled, or not for Pillow
            return _orientation_of_tiff(data)


def _orientation(image: Image.Image) -> int:
    try:
        told = image.getexif().get(ORIENTATION, 1)
    except Exception:  # garbled EXIF: the picture itself is sound
        return 1
    return told if told in range(1, 9) else 1


def _orientation_of_tiff(data: bytes) -> int:
    if data[:4] not in TIFF_STARTS:
        return 1
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            told = int(tiff.pages[0].tags[ORIENTATION].value)
    except Exception:  # none, or no TIFF
        return 1
    return told if told in range(1, 9) else 1


def has_more_pages(data: bytes, alike: bool = False) -> bool:
    """Whether an image file, which `load_image` reads the first page of, has further ones (or moves). alike: whether
    the second is as large as the first, so that it is no thumbnail."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            first = image.size
            image.seek(1)
            return not alike or image.size == first
        except Exception:  # no second page, none that can be read, or a file for tifffile
            return _tiff_has_more_pages(data, alike)


def _tiff_has_more_pages(data: bytes, alike: bool) -> bool:
    if data[:4] not in TIFF_STARTS:
        return False
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            return len(tiff.pages) > 1 and (not alike or tiff.pages[1].shape == tiff.pages[0].shape)
    except Exception:  # as far as it goes, it is one page
        return False


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn (or mirror) what a camera with this orientation, 1 to 8, has written."""
    image.getexif()[ORIENTATION] = orientation
    return ImageOps.exif_transpose(image)


def load_labels(
    source: str | Path | bytes, max_side: int = 4096, name: str | None = None, colours: bool = True
) -> np.ndarray:
    """Read a mask whose values are numbers of objects or classes: int32 [H, W], unchanged (palettes give the index,
    grey of 2 or 4 bits what is stored). JPEG is refused, as it changes numbers, and so are further pages as large.

    Transparency is ignored, and grey saved as colour (red, green and blue alike) is grey. Of other colour files each
    colour gets a number, black being 0: they tell the objects of one file apart, but the same colour may have another
    number in the next file. So give `colours=False` where numbers are classes: colour is refused then.
    Arguments and errors as `load_image`; values that are no whole numbers are refused, too.
    """
    image, name = _open_one_page(source, max_side, name)
    if image.info.get(FORMAT) in ("JPEG", "MPO"):
        raise ValueError(f"{name!r} is a JPEG, which does not keep numbers: save those of objects or classes as PNG.")
    if image.mode == "P":
        _check_palette(image, name)
    if image.mode in ("1", "L", "P") or image.mode.startswith("I"):
        return np.array(image).astype(np.int32) // image.info.get(STEP, 1)
    if image.mode == "F":
        values = np.asarray(image)
        _check_finite(values, name)
        if (values != np.round(values)).any() or np.abs(values).max() > 2**24:  # beyond, float32 skips whole numbers
            raise ValueError(f"{name!r} holds values that are no whole numbers: save object or class numbers as such.")
        return values.astype(np.int32)
    rgb = np.asarray(_convert(image, "RGB", name)).astype(np.int32)
    if (rgb == rgb[:, :, :1]).all():
        return np.ascontiguousarray(rgb[:, :, 0])
    if not colours:
        raise ValueError(f"{name!r} holds colours, which are no class numbers: save the class of each pixel as grey.")
    packed = rgb @ np.array([65536, 256, 1], np.int32)
    found, numbers = np.unique(packed, return_inverse=True)
    numbers = numbers.reshape(packed.shape).astype(np.int32)
    return numbers if found[0] == 0 else numbers + 1


def _check_border(image: Image.Image, name: str) -> None:
    """Pascal VOC numbers its colours: 0, 1 ... and 255 for a border to be ignored."""
    used = np.unique(np.asarray(image))
    colours = _palette(image)[used]
    if used[-1] == 255 and 3 <= len(used) <= 32 and used[-2] < 128 and (colours != colours[:, :1]).any():
        raise ValueError(
            f"{name!r} holds the numbers {listed(used)} in its palette, and 255 may stand for an object or for a "
            "border to be ignored: save it without a palette, with the values 0 and 255 alone."
        )


def _check_palette(image: Image.Image, name: str) -> None:
    """Greys in another order than their indices: a program chose the indices, and they are no numbers."""
    used = np.unique(np.asarray(image))
    colours = _palette(image)[used].astype(int)
    if (colours == colours[:, :1]).all() and (np.diff(colours[:, 0]) < 0).any():
        raise ValueError(
            f"{name!r} has a palette whose greys are in another order than its numbers, so either may be meant: save "
            "object or class numbers as grey, without a palette."
        )


def _palette(image: Image.Image) -> np.ndarray:
    """uint8 [256, 3]; colours that a palette lacks are black."""
    known = np.asarray(image.getpalette("RGB") or [0] * 3, np.uint8).reshape(-1, 3)
    return np.concatenate([known, np.zeros((256, 3), np.uint8)])[:256]


def read_file(path: Path, name: str) -> bytes:
    """The bytes of a file that somebody names.

    Raises: FileNotFoundError, or ValueError in one sentence: no ordinary file (a pipe would be waited for without end),
    one that may not be read, or a larger one than any image.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ValueError(f"{name!r} is a folder; give an image file.")
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{name!r} is no ordinary file but a pipe or a device; give an image file.")
        if status.st_size > MAX_BYTES:
            raise ValueError(f"{name!r} has {_too_large(status.st_size)}.")
        return path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"no image file at {name!r}.") from None
    except OSError as error:
        raise ValueError(f"{name!r} cannot be read ({error.strerror}); check its name and its permissions.") from None


def _too_large(size: int) -> str:
    return f"{size / 2**20:.0f} MB, more than an image that can be read here (at most {MAX_BYTES // 2**20} MB)"


def _called(source: str | Path | bytes, name: str | None) -> str:
    return name or ("the image" if isinstance(source, (bytes, bytearray)) else str(source))


def _data_of(source: str | Path | bytes, name: str | None) -> tuple[bytes, str]:
    """The bytes of an image file, and what to call it."""
    name = _called(source, name)
    return (bytes(source) if isinstance(source, (bytes, bytearray)) else read_file(Path(source), name)), name


def one_line(error: object) -> str:
    """What a library says about a file, for a sentence of ours: it may quote the file, escape codes and all."""
    text = str(error).partition("\n")[0][:200]
    return "".join(letter for letter in text if letter.isprintable())


def _open_one_page(source: str | Path | bytes, max_side: int, name: str | None) -> tuple[Image.Image, str]:
    """`_open` for masks: objects on further pages would be lost without a word."""
    data, name = _data_of(source, name)
    image, name = _open(data, max_side, name)
    if has_more_pages(data, alike=True):
        raise ValueError(f"{name!r} holds several pages, and a mask has one: save all of the mask on one page.")
    return image, name


def _open(source: str | Path | bytes, max_side: int, name: str | None) -> tuple[Image.Image, str]:
    """Check and decode; everything that Pillow can throw at us becomes one sentence.

    The image's `info` tells its FORMAT and, where grey of few bits was spread to 0..255, the STEP between two values.
    """
    data, name = _data_of(source, name)
    if not data:
        raise ValueError(f"{name!r} is empty (0 bytes); copy or download it again.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # we check the size ourselves, and odd metadata is no reason to stop
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = image.size
            if max(width, height) > max_side:
                raise ValueError(
                    f"{name!r} is {width}x{height} pixels; at most {max_side} a side are read: make it "
                    "smaller or cut out the part of interest."
                )
            if image.format == "TIFF":
                _check_tiles(image.tag_v2.get(TILE_WIDTH, 0), image.tag_v2.get(TILE_LENGTH, 0), max_side, name)
                kinds = set(image.tag_v2.get(SAMPLE_FORMAT, ()))
                deep = image.mode in ("RGB", "RGBA") and max(image.tag_v2.get(BITS, (8,))) > 8
                swapped = data[:2] == b"MM" and image.tag_v2.get(COMPRESSION, 1) != 1 and kinds & {SIGNED, FLOAT}
                if deep or swapped or (image.mode == "L" and SIGNED in kinds):
                    return _open_with_tifffile(data, max_side, name), name  # Pillow garbles 16-bit planes, signed bytes
                image.info[STEP] = _step(image.mode, image.tag_v2.get(BITS, (8,))[0])
            raw = image.tile[0][3] if image.format == "PNG" and image.tile else ""
            image.load()
            image.info[FORMAT] = image.format
            if image.format == "PNG":
                _check_rows(data, name)
                image.info[STEP] = _step(image.mode, data[24])
            if image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
                image = image.convert("RGB")  # the fourth byte of such a pixel is most often not in use
            if raw in LOW_BYTES:
                return _upright(_deep_png(image, data, raw, name), _orientation(image)), name
            if image.mode == "I" and image.format == "TIFF" and image.tag_v2.get(SAMPLE_FORMAT, (1,))[0] != SIGNED:
                if np.asarray(image).min() < 0:  # 32 bits without sign, which Pillow takes for signed
                    raise ValueError(_too_deep(name))
            if image.mode.startswith("I;16") and image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == 0:
                white = 2 ** image.tag_v2.get(BITS, (16,))[0] - 1  # 0 is white, which Pillow minds for 8 bits only
                turned = Image.fromarray(white - np.asarray(image).astype(np.int32))
                return _upright(turned, image.tag_v2.get(ORIENTATION, 1)), name
            try:
                return ImageOps.exif_transpose(image), name
            except Exception:  # garbled EXIF: the picture itself is sound
                return image, name
    except Image.UnidentifiedImageError:
        return _open_with_tifffile(data, max_side, name), name
    except Image.DecompressionBombError:
        side = min(max_side, math.isqrt(2 * (Image.MAX_IMAGE_PIXELS or 0)) or max_side)  # what Pillow opens at most
        raise ValueError(f"{name!r} has far more than {side}x{side} pixels; make it smaller.") from None
    except MemoryError:
        raise ValueError(f"{name!r} needs more memory than there is; make it smaller.") from None
    except Exception as error:  # a damaged file can fail anywhere inside a decoder, with any exception
        if str(error).startswith(repr(name)):
            raise
        raise ValueError(f"{name!r} is damaged or incomplete ({one_line(error)}); copy or download it again.") from None


def _step(mode: str, bits: int) -> int:
    """Pillow spreads grey of 2 and 4 bits to 0..255: by this factor."""
    return 255 // (2**bits - 1) if mode == "L" and bits in (2, 4) else 1


def _check_rows(data: bytes, name: str) -> None:
    """Whether a PNG, which Pillow has read, holds all of its rows: those that its packed pixels lack came out black."""
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    bits *= {2: 3, 4: 2, 6: 4}.get(colour, 1)
    expected = 0
    for x, y, across, down in ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -((x - width) // across), -((y - height) // down)  # rounded up
        expected += rows * (1 + (columns * bits + 7) // 8) if columns > 0 else 0
    stream, at = zlib.decompressobj(), 8
    while at < len(data) and not stream.eof:
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        packed = data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        while packed and expected > 0:
            expected -= len(stream.decompress(packed, 2**20))
            packed = stream.unconsumed_tail
        if expected <= 0:
            return
        at += length + 12
    raise ValueError(f"{name!r} is damaged or incomplete (its last rows are missing); copy or download it again.")


def _deep_png(image: Image.Image, data: bytes, raw: str, name: str) -> Image.Image:
    """A colour PNG of 16 bits. Of each number Pillow takes the high byte, read again in another mode the low one."""
    again = Image.open(io.BytesIO(data), formats=FORMATS)
    again.tile = [(*again.tile[0][:3], LOW_BYTES[raw])]
    high, low = np.asarray(image).astype(np.uint16), np.asarray(again)
    if raw == "LA;16B":  # read again, the bytes of a pixel are grey, high and low, then alpha, high and low
        high, low = high[:, :, [0, 3]], low[:, :, [1, 3]]
    values = high << 8 | low
    colours, alpha = (values[:, :, :3], values[:, :, 3:]) if "RGB" in raw else (values[:, :, :1], values[:, :, 1:])
    clear = image.info.get("transparency")
    if isinstance(clear, tuple):
        alpha = (colours != np.array(clear)).any(2, keepdims=True) * np.uint16(65535)
    opaque = not alpha.size or alpha.min() == alpha.max() > 0
    if opaque and (colours == colours[:, :, :1]).all():
        return Image.fromarray(colours[:, :, 0].astype(np.int32))  # mode I: numbers stay numbers
    colours = np.broadcast_to(_to_8_bits(colours, name), (*colours.shape[:2], 3))
    return Image.fromarray(np.ascontiguousarray(colours if opaque else np.dstack([colours, _to_8_bits(alpha, name)])))


def _open_with_tifffile(data: bytes, max_side: int, name: str) -> Image.Image:
    """Microscope TIFFs that Pillow does not know, through tifffile, which scikit-image brings along."""
    if data.startswith((b"\x89PNG", b"\xff\xd8", b"BM")):
        raise ValueError(f"{name!r} is damaged at its very beginning; copy or download it again.")
    if data[:4] not in TIFF_STARTS:
        raise ValueError(f"{name!r} is not a PNG, JPEG, TIFF or BMP image, going by its bytes: save it as one of them.")
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            page = tiff.pages[0]
            if max(page.imagelength, page.imagewidth) > max_side:
                raise ValueError(
                    f"{name!r} is {page.imagewidth}x{page.imagelength} pixels; at most {max_side} a side "
                    "are read: make it smaller or cut out the part of interest."
                )
            if page.axes not in ("YX", "YXS", "SYX"):
                raise ValueError(f"{name!r} has the axes {page.axes!r}, not height x width (x colour).")
            if page.nbytes > MAX_BYTES:
                raise ValueError(f"{name!r} has {_too_large(page.nbytes)}.")
            if page.dtype is None or page.dtype.kind not in "biuf":
                raise ValueError(f"{name!r} holds values of the type {page.dtype}, not brightness; save it as PNG.")
            _check_tiles(page.tilewidth, page.tilelength, max_side, name)
            _check_packed(tiff, page, name)
            values, planes = page.asarray(), page.axes == "SYX"
            tag = page.tags.get(ORIENTATION)
            orientation = 1 if tag is None else int(tag.value)
    except Exception as error:
        if str(error).startswith(repr(name)):
            raise
        told = one_line(error)
        raise ValueError(f"{name!r} is a TIFF of a kind that cannot be read ({told}); save it as PNG.") from None
    if 0 in values.shape:
        raise ValueError(f"{name!r} has no pixels; copy or download it again.")
    if values.ndim == 3 and planes:
        values = np.moveaxis(values, 0, -1)
    if values.ndim == 3 and values.shape[2] > 4:
        raise ValueError(
            f"{name!r} has {values.shape[2]} channels, and colour has three: save the ones to be seen as red, green "
            "and blue, or one as grey."
        )
    if values.ndim == 3 and values.shape[2] in (1, 2):
        values = values[:, :, 0]
    if values.ndim == 2 and values.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold is said to be not finite
            return _upright(Image.fromarray(values.astype(np.float32)), orientation)  # mode F
    if values.ndim == 2 and values.dtype.kind in "iu" and values.dtype != np.uint8:
        if values.max() > np.iinfo(np.int32).max or values.min() < np.iinfo(np.int32).min:
            raise ValueError(_too_deep(name))
        return _upright(Image.fromarray(values.astype(np.int32)), orientation)  # mode I: numbers stay numbers
    values = _to_8_bits(values if values.ndim == 2 else values[:, :, :3], name)
    return _upright(Image.fromarray(np.ascontiguousarray(values)), orientation)


def _too_deep(name: str) -> str:
    return f"{name!r} holds values over {np.iinfo(np.int32).max} (31 bits); save it with 16 bits."


def _check_tiles(width: int, length: int, max_side: int, name: str) -> None:
    """A TIFF is unpacked by whole tiles, and a small one may claim to lie in one huge tile."""
    if max(width, length) > max(max_side, 1024):
        raise ValueError(
            f"{name!r} is stored in tiles of {width}x{length} pixels, larger than are read; save it as PNG."
        )


def _check_packed(tiff, page, name: str) -> None:
    """tifffile unpacks whatever comes; a strip or tile must not hold more than its pixels need."""
    openers = {8: zlib.decompressobj, 32946: zlib.decompressobj, 34925: lzma.LZMADecompressor}
    opener = openers.get(int(page.compression))
    if opener is None:
        return
    width, length = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
    most = max(1, width) * min(max(1, length), max(page.imagelength, page.tilelength)) * page.samplesperpixel
    most = most * page.dtype.itemsize + 2**16
    for offset, size in zip(page.dataoffsets, page.databytecounts, strict=False):
        tiff.filehandle.seek(offset)
        if len(opener().decompress(tiff.filehandle.read(min(size, MAX_BYTES)), most)) >= most:
            raise ValueError(
                f"{name!r} unpacks to more than its {page.imagewidth}x{page.imagelength} pixels; save it as PNG."
            )


def _check_finite(values: np.ndarray, name: str) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"{name!r} holds values that are not finite (NaN or infinity); clean it first.")


def _to_8_bits(values: np.ndarray, name: str) -> np.ndarray:
    if values.dtype.kind == "f":
        _check_finite(values, name)
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 1:
            values = (values.astype(np.float64) - low) / max(high - low, 1e-12)
        return np.round(values * 255).astype(np.uint8)
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values * np.uint8(255)
    if values.min() < 0:
        raise ValueError(
            f"{name!r} holds values down to {values.min()}, and brightness counts from 0: add an offset that lifts all "
            "of them (or choose a window, for CT) and save it again."
        )
    values = values.astype(np.int64)
    bits = max(8, int(values.max()).bit_length())
    bits += bits % 2 if bits < 16 else 0  # cameras have 8, 10, 12, 14 or 16 bits
    return (values >> (bits - 8)).astype(np.uint8)


def _convert(image: Image.Image, mode: str, name: str) -> Image.Image:
    if mode != "RGBA":
        image.info.pop("transparency", None)  # Pillow would warn that it is lost
    try:
        return image.convert(mode)
    except Exception as error:  # colour spaces go through a library of their own
        told = one_line(error)
        raise ValueError(f"{name!r} has the colour mode {image.mode}, which cannot become {mode} ({told}).") from None
