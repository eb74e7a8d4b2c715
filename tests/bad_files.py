"""A catalogue of bad and odd files, for tests: how each is made, and what must come of it.

`IMAGES` are files to be read as an image, `MASKS` as a mask, `ROOTS` folders and zips to be opened as a data set. Each
works, with the pixels given here, or it is refused in one sentence that holds the words given here.
"""

from __future__ import annotations

import builtins
import io
import os
import pickle
import struct
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

RGB = np.random.default_rng(7).integers(0, 256, (6, 9, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]
BLOCKS = np.kron(RGB[:2, :3], np.ones((16, 16, 1), np.uint8))  # JPEG keeps flat blocks of 16 almost exactly
LARGE = np.random.default_rng(8).integers(0, 256, (90, 90, 3), dtype=np.uint8)  # does not become small when packed
ONE_BIT = GREY > 99
STRIP = np.vstack([RGB[0, :7], [(0, 0, 0)]]).astype(np.uint8)
POSIX = os.name == "posix"
LINUX = sys.platform == "linux"
CANARY = "sgdc_viz_unpickled"  # an attribute that `builtins` gets if a pickle of ours is ever loaded


class Canary:
    """Unpickled, it leaves a mark."""

    def __reduce__(self):
        return exec, (f"import builtins; builtins.{CANARY} = True",)


@contextmanager
def all_quiet(capfd):
    """No warning, no line on stderr (libraries in C write there, too), no pickle run."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=ResourceWarning)
        yield
    assert not hasattr(builtins, CANARY), "a pickle was loaded"
    assert capfd.readouterr().err == ""


@dataclass(frozen=True)
class File:
    """One file of the catalogue.

    Attributes:
        what: says what it is; unique.
        make: gives its bytes, or makes it at a path.
        expect: the pixels that are to be seen, [H, W] or [H, W, 3], or words of the sentence that refuses it.
        name: of the file.
        off: by how much pixels may differ (JPEG).
        labels: where they are not what `expect` says: numbers [H, W] that `load_labels` gives, or words.
        raises: what refuses it, where that is no ValueError.
        where: on which systems it can be made.
    noisy: libtiff writes to stderr what is wrong; where a person reads that, in a command, it must not be seen.
    """

    what: str
    make: Callable
    expect: np.ndarray | str
    name: str = "photo.png"
    off: int = 0
    labels: np.ndarray | str | None = None
    raises: type = ValueError
    where: bool = True
    noisy: bool = False

    @property
    def works(self) -> bool:
        return not isinstance(self.expect, str)

    def write(self, folder: Path) -> Path:
        path = folder / self.name
        made = self.make(path) if self.make.__code__.co_argcount else self.make()
        if made is not None:
            path.write_bytes(made)
        return path

    def __str__(self) -> str:
        return self.what


# --- writing by hand what no library writes --------------------------------------------------------------------------


def encode(array, kind: str = "PNG", mode: str | None = None, **options) -> bytes:
    file = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    (image.convert(mode) if mode else image).save(file, kind, **options)
    return file.getvalue()


def tiff(array, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, bits, colour, rows: bytes, *extra: bytes, interlaced: int = 0) -> bytes:
    """colour: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA. rows: as they are before packing."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + body


def png16(array: np.ndarray) -> bytes:
    """A PNG of 16 bits with 2 to 4 channels."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    return png(array.shape[1], array.shape[0], 16, {2: 4, 3: 2, 4: 6}[array.shape[2]], rows)


def with_chunk(data: bytes, *extra: bytes) -> bytes:
    """A PNG with chunks after its header."""
    return data[:33] + b"".join(extra) + data[33:]


def adam7(array: np.ndarray) -> bytes:
    """An interlaced PNG: seven passes, from coarse to fine."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    parts = [array[y::down, x::across] for y, x, down, across in passes]
    rows = b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)
    return png(array.shape[1], array.shape[0], 8, 2, rows, interlaced=1)


def segment(marker: int, data: bytes) -> bytes:
    """A JPEG segment."""
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def with_segment(data: bytes, marker: int, content: bytes) -> bytes:
    return data[:2] + segment(marker, content) + data[2:]


def simple_tiff(*tags: tuple[int, int, int], data: bytes = b"", order: str = "<") -> bytes:
    """A TIFF of one directory. tags: (number, kind: 3 short or 4 long, value). data begins at byte 8."""
    start = 8 + len(data)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    entries = b""
    for number, kind, value in sorted(tags):
        packed = struct.pack(order + ("HH" if kind == 3 else "I"), *((value, 0) if kind == 3 else (value,)))
        entries += struct.pack(order + "HHI", number, kind, 1) + packed
    return head + data + struct.pack(order + "H", len(tags)) + entries + bytes(4)


def grey_tiff(side=16, **changes) -> bytes:
    """8-bit grey of zeros, with some tags changed (None: left out)."""
    tags = dict(width=(256, 4, side), length=(257, 4, side), bits=(258, 3, 8), packing=(259, 3, 1),
                photometric=(262, 3, 1), offset=(273, 4, 8), samples=(277, 3, 1), rows=(278, 4, side),
                count=(279, 4, side * side))  # fmt: skip
    data = changes.pop("data", bytes(side * side))
    tags |= {name: tag for name, tag in changes.items()}
    return simple_tiff(*(tag for tag in tags.values() if tag), data=data)


def top_down_bmp() -> bytes:
    """24-bit, the first row first, which a negative height says."""
    rows = b"".join(row[:, ::-1].tobytes() + bytes(-row.size % 4) for row in RGB)
    head = struct.pack("<IiiHHIIiiII", 40, 9, -6, 1, 24, 0, len(rows), 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + head + rows


def clear_bmp() -> bytes:
    """32-bit with masks for red, green, blue and alpha, and alpha 0 everywhere."""
    rows = np.dstack([RGB[::-1, :, ::-1], np.zeros((6, 9, 1), np.uint8)]).tobytes()
    head = struct.pack("<IiiHHIIiiII", 108, 9, 6, 1, 32, 3, len(rows), 2835, 2835, 0, 0)
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    return b"BM" + struct.pack("<IHHI", 122 + len(rows), 0, 0, 122) + head + masks + rows


def swapped(kind: str, by: int = 1) -> Callable[[], bytes]:
    """A packed TIFF in the byte order of other machines."""
    return lambda: tiff((GREY / by).astype(kind), byteorder=">", compression="zlib", photometric="minisblack")


def four_bits(array: np.ndarray) -> bytes:
    """A grey TIFF of 4 bits and one row of an even length."""
    return grey_tiff(
        width=(256, 3, array.shape[1]), length=(257, 3, 1), bits=(258, 3, 4), rows=(278, 3, 1),
        data=bytes((array[0, ::2] << 4 | array[0, 1::2]).tolist()),
    )  # fmt: skip


def nonsense_exif(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = number
    return exif


@cache
def zeros() -> bytes:
    """100 KB that unpack to 100 MB."""
    return zlib.compress(bytes(100 * 2**20))


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def changed(data: bytes, at: int, new: bytes) -> bytes:
    at %= len(data)
    return data[:at] + new + data[at + len(new) :]


def palette(transparent=None) -> tuple[bytes, np.ndarray]:
    indices = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putpalette([0, 0, 0, 200, 0, 0, 0, 90, 0])
    more = {} if transparent is None else {"transparency": transparent}
    return encode(image, **more), indices


def sparse(path: Path) -> None:
    """A file of 3 GiB that takes no room on the disk."""
    with path.open("wb") as file:
        file.write(encode(RGB))
        file.truncate(3 * 2**30)


def unreadable(path: Path) -> None:
    path.write_bytes(encode(RGB))
    path.chmod(0)


IS_ROOT = POSIX and os.geteuid() == 0
COLOURS = np.array([[(0, 0, 0), (200, 0, 0), (0, 90, 0)], [(0, 90, 0), (200, 0, 0), (0, 0, 0)]], np.uint8)
ON_WHITE = np.array([[(0, 0, 0), (227, 127, 127), (255, 255, 255)], [(255, 255, 255), (227, 127, 127), (0, 0, 0)]])
PAGES = "holds several pages, and a mask has one"
NIBBLES = np.array([[0, 1, 2, 3, 4, 9, 10, 14, 15, 7]], np.uint8)
LAST_ROWS = "is damaged or incomplete (its last rows are missing)"
DAMAGED, NO_IMAGE, NO_TIFF = "is damaged or incomplete", "is not a PNG, JPEG, TIFF or BMP image", "cannot be read"

TWELVE = np.full(1, 16, np.uint16)  # 8 bits times this are 12 (an array: NumPy 1 takes a scalar for 8 bits)
OPAQUE = np.full((6, 9), 65535, np.uint16)
RGB_LABELS = np.unique(RGB.reshape(-1, 3), axis=0, return_inverse=True)[1].reshape(6, 9) + 1  # a number for each colour

IMAGES = [
    # --- odd, and right: PNG
    File("interlaced PNG", lambda: adam7(RGB), RGB),
    File("1-bit PNG", lambda: encode(ONE_BIT), ONE_BIT * np.uint8(255), labels=ONE_BIT),
    File("PNG of 1 x 1 pixel", lambda: encode(RGB[:1, :1]), RGB[:1, :1]),
    File("PNG of 1 x 4096 pixels", lambda: encode(np.tile(STRIP, (1, 512, 1))), np.tile(STRIP, (1, 512, 1))),
    File(
        "PNG of 4096 x 1 pixels",
        lambda: encode(np.tile(STRIP[:, None], (512, 1, 1))),
        np.tile(STRIP[:, None], (512, 1, 1)),
    ),
    File(
        "PNG palette of 4 bits",
        lambda: encode(Image.open(io.BytesIO(palette()[0])), bits=4),
        COLOURS,
        labels=palette()[1],
    ),
    File(
        "PNG palette, each colour with its own transparency",
        lambda: palette(bytes([255, 128, 0]))[0],
        ON_WHITE,
        labels=palette()[1],
    ),
    File(
        "PNG grey with one transparent grey",
        lambda: encode(np.array([[0, 9], [77, 255]], np.uint8), transparency=77),
        np.array([[0, 9], [255, 255]], np.uint8),
        labels=np.array([[0, 9], [77, 255]]),
    ),
    File(
        "PNG RGB with one transparent colour",
        lambda: encode(RGB[:1, :2], transparency=tuple(map(int, RGB[0, 0]))),
        np.stack([np.full(3, 255, np.uint8), RGB[0, 1]])[None],
    ),
    File("PNG of colours, 12 of 16 bits in use", lambda: png16(RGB * TWELVE), RGB, labels=RGB_LABELS),
    File("PNG of colours and alpha, 12 of 16 bits in use", lambda: png16(with_alpha(RGB * TWELVE, OPAQUE)), RGB),
    File(
        "PNG of grey saved as colours, 12 of 16 bits in use",
        lambda: png16(np.dstack([GREY * TWELVE] * 3)),
        GREY,
        labels=GREY * TWELVE,
    ),
    File(
        "PNG of grey and alpha, 12 of 16 bits in use",
        lambda: png16(with_alpha(GREY * TWELVE, OPAQUE)),
        GREY,
        labels=GREY * TWELVE,
    ),
    File(
        "PNG of grey, 12 of 16 bits in use, and clear in parts",
        lambda: png16(with_alpha(GREY * TWELVE, OPAQUE * ONE_BIT)),
        np.where(ONE_BIT, GREY, 255).astype(np.uint8),
        labels=GREY,
    ),
    File(
        "PNG of colours with 16 bits, one of them transparent",
        lambda: with_chunk(png16(RGB[:1, :2] * TWELVE), chunk(b"tRNS", (RGB[0, 0] * TWELVE).astype(">u2").tobytes())),
        np.stack([np.full(3, 255, np.uint8), RGB[0, 1]])[None],
    ),
    File("PNG with a broken ICC profile", lambda: with_chunk(encode(RGB), chunk(b"iCCP", b"x\0\0not packed")), RGB),
    File("PNG with an ICC profile that is none", lambda: encode(RGB, icc_profile=b"no profile"), RGB),
    File("PNG with an orientation that is none", lambda: encode(RGB, exif=nonsense_exif(99)), RGB),
    File("PNG with garbled EXIF", lambda: with_chunk(encode(RGB), chunk(b"eXIf", b"\0\1garbled")), RGB),
    File("PNG with more behind its end", lambda: encode(RGB) + b"<?php more ?>" * 99, RGB),
    File(
        "PNG with a long comment", lambda: with_chunk(encode(RGB), chunk(b"tEXt", b"Comment\0" + b"x" * 500_000)), RGB
    ),
    File("PNG that stays open", lambda: encode(RGB)[:-12], RGB),  # all pixels are there, the last chunk is not
    # --- JPEG
    File(
        "progressive JPEG",
        lambda: encode(BLOCKS, "JPEG", quality=100, subsampling=0, progressive=True),
        BLOCKS,
        "photo.jpg",
        2,
    ),
    File("grey JPEG", lambda: encode(BLOCKS[:, :, 0], "JPEG", quality=100), BLOCKS[:, :, 0], "photo.jpg", 2),
    File("CMYK JPEG", lambda: encode(BLOCKS, "JPEG", "CMYK", quality=100), BLOCKS, "photo.jpg", 6),
    File("JPEG named .png", lambda: encode(BLOCKS, "JPEG", quality=100, subsampling=0), BLOCKS, "photo.png", 2),
    File(
        "JPEG with a broken ICC profile",
        lambda: with_segment(encode(BLOCKS, "JPEG", quality=100, subsampling=0), 0xE2, b"ICC_PROFILE\0\7\3junk"),
        BLOCKS,
        "photo.jpg",
        2,
    ),
    File(
        "JPEG with garbled EXIF",
        lambda: with_segment(
            encode(BLOCKS, "JPEG", quality=100, subsampling=0), 0xE1, b"Exif\0\0II*\0\xff\xff\xff\x7f"
        ),
        BLOCKS,
        "photo.jpg",
        2,
    ),
    File(
        "JPEG with orientation 0",
        lambda: encode(BLOCKS, "JPEG", quality=100, subsampling=0, exif=nonsense_exif(0)),
        BLOCKS,
        "photo.jpg",
        2,
    ),
    File(
        "JPEG of two pictures (MPO)",
        lambda: encode(
            BLOCKS, "MPO", quality=100, subsampling=0, save_all=True, append_images=[Image.fromarray(255 - BLOCKS)]
        ),
        BLOCKS,
        "photo.jpg",
        2,
    ),
    # --- TIFF
    File(
        "TIFF of three pages",
        lambda: tiff(np.stack([GREY, GREY // 2, GREY // 3]), photometric="minisblack"),
        GREY,
        "stack.tif",
        labels=PAGES,
    ),
    File(
        "TIFF of pages of other sizes",
        lambda: encode(RGB, "TIFF", save_all=True, append_images=[Image.fromarray(LARGE)]),
        RGB,
        "stack.tif",
    ),
    File(
        "TIFF of ImageJ",
        lambda: tiff(np.stack([GREY, GREY // 2]), imagej=True, photometric="minisblack"),
        GREY,
        "stack.tif",
        labels=PAGES,
    ),
    File(
        "TIFF in planes", lambda: tiff(RGB.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"), RGB, "a.tif"
    ),
    File(
        "TIFF of 1 bit, 0 is white",
        lambda: tiff(~ONE_BIT, photometric="miniswhite"),
        ONE_BIT * np.uint8(255),
        "a.tif",
        labels=ONE_BIT,
    ),
    File(
        "TIFF with a palette",
        lambda: encode(Image.open(io.BytesIO(palette()[0])), "TIFF"),
        COLOURS,
        "a.tif",
        labels=palette()[1],
    ),
    File("CMYK TIFF", lambda: encode(Image.fromarray(RGB).convert("CMYK"), "TIFF"), RGB, "a.tif"),
    File("TIFF in packed bits", lambda: encode(RGB, "TIFF", compression="packbits"), RGB, "a.tif"),
    File(
        "TIFF with a predictor", lambda: tiff(RGB, photometric="rgb", compression="zlib", predictor=True), RGB, "a.tif"
    ),
    File("BigTIFF, big-endian", lambda: tiff(RGB, photometric="rgb", bigtiff=True, byteorder=">"), RGB, "a.tif"),
    File(
        "float TIFF, 64 bits, big-endian",
        lambda: tiff(GREY / 255, byteorder=">"),
        GREY,
        "a.tif",
        labels="no whole numbers",
    ),
    File("float TIFF, 16 bits", lambda: tiff((GREY / 255).astype(np.float16)), GREY, "a.tif", 1, "no whole numbers"),
    File("TIFF of 32 bits without sign", lambda: tiff(GREY.astype(np.uint32)), GREY, "a.tif"),
    File("TIFF of 64 bits", lambda: tiff(GREY.astype(np.int64)), GREY, "a.tif"),
    File("TIFF of 16 bits with sign", lambda: tiff(GREY.astype(np.int16)), GREY, "a.tif"),
    File("TIFF of 8 bits with sign", lambda: tiff((GREY // 2).astype(np.int8)), GREY // 2, "a.tif"),
    File(
        "TIFF with alpha",
        lambda: tiff(np.dstack([RGB, np.full((6, 9), 255, np.uint8)]), photometric="rgb", extrasamples=["unassalpha"]),
        RGB,
        "a.tif",
    ),
    File(
        "TIFF with alpha, 12 of 16 bits in use",
        lambda: tiff(with_alpha(RGB * TWELVE, OPAQUE), photometric="rgb", extrasamples=["unassalpha"]),
        RGB,
        "a.tif",
    ),
    File(
        "TIFF of five channels",
        lambda: tiff(np.dstack([RGB, RGB[:, :, :2]]).astype(np.uint16) * 257, photometric="rgb", planarconfig="contig"),
        "has 5 channels, and colour has three",
        "a.tif",
    ),
    *(File(f"TIFF, big-endian, packed, {k}", swapped(k), GREY, "a.tif") for k in ("int16", "int32", "uint16")),
    File("TIFF, big-endian, packed, float", swapped("float32", 255), GREY, "a.tif", labels="no whole numbers"),
    File(
        "TIFF with orientation 77", lambda: tiff(RGB, photometric="rgb", extratags=[(274, "H", 1, 77, True)]), RGB, "a"
    ),
    File("TIFF of 4 bits", lambda: four_bits(NIBBLES), NIBBLES * np.uint8(17), "a.tif", labels=NIBBLES),
    File(
        "PNG of 4 bits",
        lambda: png(10, 1, 4, 0, b"\0" + np.packbits(np.unpackbits(NIBBLES[0][:, None], axis=1)[:, 4:]).tobytes()),
        NIBBLES * np.uint8(17),
        labels=NIBBLES,
    ),
    File("PNG of 2 bits", lambda: png(4, 1, 2, 0, b"\0\x1b"), NIBBLES[:, :4] * np.uint8(85), labels=NIBBLES[:, :4]),
    # --- BMP
    File("BMP with a fourth byte that is not in use", clear_bmp, RGB, "a.bmp"),
    File("BMP from the top down", top_down_bmp, RGB, "a.bmp"),
    File("BMP of 1 bit", lambda: encode(ONE_BIT, "BMP"), ONE_BIT * np.uint8(255), "a.bmp", labels=ONE_BIT),
    File(
        "BMP with a palette",
        lambda: encode(Image.open(io.BytesIO(palette()[0])), "BMP"),
        COLOURS,
        "a.bmp",
        labels=palette()[1],
    ),
    # --- names
    File("a name with spaces", lambda: encode(RGB), RGB, "my best photo (1).png"),
    File("a name in other scripts", lambda: encode(RGB), RGB, "größe 细胞 🔬.png"),
    File("a name with two points", lambda: encode(RGB), RGB, "a..b.png"),
    File("a name like an option", lambda: encode(RGB), RGB, "-x.png"),
    File("a name without an ending", lambda: encode(RGB), RGB, "photo"),
    File("a name in capitals", lambda: encode(RGB), RGB, "PHOTO.PNG"),
    File("a name with quotes", lambda: encode(RGB), RGB, 'it\'s "mine".png', where=POSIX),
    File("a name of two lines", lambda: encode(RGB), RGB, "two\nlines.png", where=POSIX),
    File("a name that Windows keeps for itself", lambda: encode(RGB), RGB, "CON.png", where=POSIX),
    File("a name of 240 letters", lambda: encode(RGB), RGB, "x" * 236 + ".png", where=POSIX),
    File("a name that is no UTF-8", lambda: encode(RGB), RGB, os.fsdecode(b"\xff\xfe.png"), where=LINUX),
    File(
        "a link",
        lambda path: [(path.parent / "it").write_bytes(encode(RGB)), path.symlink_to("it")][1],
        RGB,
        where=POSIX,
    ),
    # --- no image
    File("nothing in it", lambda: b"", "is empty (0 bytes)"),
    File("one byte", lambda: b"\x89", NO_IMAGE),
    File("text", lambda: b"Dear reader, this is a text.", NO_IMAGE),
    File("a web page", lambda: b"<!DOCTYPE html><title>404 Not Found</title>", NO_IMAGE),
    File("JSON", lambda: b'{"error": "not found"}', NO_IMAGE),
    File("GIF", lambda: encode(GREY, "GIF"), NO_IMAGE),
    File(
        "GIF, animated",
        lambda: encode(GREY, "GIF", save_all=True, append_images=[Image.fromarray(255 - GREY)]),
        NO_IMAGE,
        "photo.gif",
    ),
    File("WebP", lambda: b"RIFF\x24\0\0\0WEBPVP8L" + bytes(24), NO_IMAGE, "photo.webp"),
    File("HEIC of a telephone", lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), NO_IMAGE, "IMG_0001.HEIC"),
    File("SVG", lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="6"/>', NO_IMAGE, "photo.svg"),
    File("PDF", lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", NO_IMAGE),
    File("JPEG 2000", lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), NO_IMAGE),
    File("DICOM", lambda: bytes(128) + b"DICM" + bytes(40), NO_IMAGE, "slice.dcm"),
    File("a zip", lambda: zipped({"a.png": encode(RGB)}), NO_IMAGE),
    File("an array of numpy", lambda: npy(RGB), NO_IMAGE),
    File("a pickle", lambda: pickle.dumps(Canary()), NO_IMAGE),
    # --- broken PNG
    File("half a PNG", lambda: half(encode(LARGE)), DAMAGED),
    File("a PNG's header alone", lambda: encode(RGB)[:33], "damaged at its very beginning"),
    File("a PNG's first 20 bytes", lambda: encode(RGB)[:20], DAMAGED),
    File("a PNG with a wrong checksum of its header", lambda: changed(encode(RGB), 29, b"oops"), "damaged"),
    File("a PNG with a wrong checksum of its pixels", lambda: changed(encode(LARGE), 40_000 // 2, b"oops"), DAMAGED),
    File(
        "a PNG with a wrong checksum of a comment",
        lambda: with_chunk(encode(RGB), struct.pack(">I", 4) + b"tEXt" + b"a\0cd" + bytes(4)),
        "damaged",
    ),
    File(
        "a PNG as a text editor saved it", lambda: encode(RGB).replace(b"\r\n", b"\n"), "damaged at its very beginning"
    ),
    File("a PNG without pixels", lambda: encode(RGB)[:33] + chunk(b"IEND", b""), DAMAGED),
    File("a PNG of width 0", lambda: png(0, 6, 8, 0, bytes(6)), "damaged"),
    File("a PNG of a kind that does not exist", lambda: png(2, 1, 8, 9, b"\0\0\1"), "damaged"),
    # --- broken JPEG
    File("half a JPEG", lambda: half(encode(LARGE, "JPEG")), DAMAGED, "photo.jpg"),
    File("half a progressive JPEG", lambda: half(encode(LARGE, "JPEG", progressive=True)), DAMAGED, "photo.jpg"),
    File("a JPEG's first two bytes", lambda: b"\xff\xd8", "damaged", "photo.jpg"),
    File(
        "a JPEG without a picture",
        lambda: b"\xff\xd8" + segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0") + b"\xff\xd9",
        "damaged",
        "photo.jpg",
    ),
    File(
        "a JPEG of 12 bits",
        lambda: encode(BLOCKS, "JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        "damaged",
        "photo.jpg",
    ),
    # --- broken TIFF
    File("half a TIFF", lambda: half(encode(LARGE, "TIFF")), DAMAGED, "a.tif"),
    File("a TIFF's first 8 bytes", lambda: b"II*\0\x08\0\0\0", NO_TIFF, "a.tif"),
    File("a TIFF without its pixels", lambda: grey_tiff(offset=None, count=None), NO_TIFF, "a.tif"),
    File("a TIFF with pixels beyond its end", lambda: grey_tiff(offset=(273, 4, 10**6)), DAMAGED, "a.tif"),
    File("a TIFF of no width", lambda: grey_tiff(width=(256, 4, 0)), "has no pixels", "a.tif"),
    File(
        "a TIFF whose directory is itself",
        lambda: changed(grey_tiff(), -4, struct.pack("<I", 8 + 256)),
        np.zeros((16, 16), np.uint8),
        "a.tif",
    ),
    File(
        "NaN in a float TIFF", lambda: tiff(np.where(GREY > 9, np.nan, 0.5).astype(np.float32)), "not finite", "a.tif"
    ),
    File("infinity in a float TIFF", lambda: tiff(np.where(GREY > 9, np.inf, 0.5)), "not finite", "a.tif"),
    File(
        "NaN of a kind that warns in a float TIFF of 64 bits",
        lambda: tiff(np.full((6, 9), 0x7FF0000000000001, np.uint64).view(np.float64)),
        "not finite",
        "a.tif",
    ),
    File("complex numbers", lambda: tiff(GREY.astype(np.complex64)), "not brightness", "a.tif"),
    File(
        "32 bits without sign, all used", lambda: tiff(GREY.astype(np.uint32) | 0xFFFFFF00), "over 2147483647", "a.tif"
    ),
    File("64 bits, more than 31 used", lambda: tiff(GREY.astype(np.uint64) << 40), "over 2147483647", "a.tif"),
    File(
        "a TIFF whose packed pixels are damaged",
        lambda: changed(encode(LARGE, "TIFF", compression="tiff_adobe_deflate"), 500, b"oops" * 9),
        DAMAGED,
        "a.tif",
        noisy=True,
    ),
    # --- broken BMP
    File("half a BMP", lambda: half(encode(LARGE, "BMP")), DAMAGED, "a.bmp"),
    File("a BMP's first two bytes", lambda: b"BM", "damaged", "a.bmp"),
    File("a BMP of no height", lambda: changed(encode(RGB, "BMP"), 22, bytes(4)), "damaged", "a.bmp"),
    File(
        "a BMP with pixels beyond its end",
        lambda: changed(encode(RGB, "BMP"), 10, struct.pack("<I", 10**8)),
        DAMAGED,
        "a.bmp",
    ),
    File("a BMP packed in an unknown way", lambda: changed(encode(RGB, "BMP"), 30, b"\x63"), "damaged", "a.bmp"),
    # Pillow takes these for whole and fills them up with black.
    File("a PNG whose packed pixels end after two rows", lambda: png(3, 4, 8, 2, bytes(20)), LAST_ROWS),
    File("a PNG without a single packed row", lambda: png(3, 4, 8, 2, b""), DAMAGED),
    File(
        "an interlaced PNG without its last pass",
        lambda: png(9, 6, 8, 2, bytes(90), interlaced=1),  # three rows of 28 bytes are missing
        LAST_ROWS,
    ),
    # --- bombs: little to read, much to unpack
    File("a PNG header of 60000 x 60000", lambda: png(60000, 60000, 8, 2, b""), "has far more than 4096x4096"),
    File("a PNG of 12000 x 12000 zeros", lambda: png(12000, 12000, 1, 0, bytes(1501) * 12000), "is 12000x12000 pixels"),
    File(
        "a TIFF header of 60000 x 60000",
        lambda: grey_tiff(width=(256, 4, 60000), length=(257, 4, 60000)),
        "has far more than 4096x4096",
        "a.tif",
    ),
    File(
        "a TIFF in one tile of a million",
        lambda: grey_tiff(
            rows=None,
            offset=None,
            count=None,
            tile_width=(322, 4, 2**20),
            tile_length=(323, 4, 2**20),
            tile_offset=(324, 4, 8),
            tile_count=(325, 4, 256),
        ),
        "tiles of 1048576x1048576",
        "a.tif",
    ),
    File(
        "a TIFF of 65535 channels",
        lambda: grey_tiff(side=4000, samples=(277, 3, 65535), data=bytes(256)),
        "MB, more than an image that can be read",
        "a.tif",
    ),
    File(
        "a TIFF strip that unpacks to 100 MB",
        lambda: grey_tiff(bits=(258, 3, 24), packing=(259, 3, 8), data=zeros(), count=(279, 4, len(zeros()))),
        "unpacks to more than its 16x16 pixels",
        "a.tif",
    ),
    File(
        "a 16-bit TIFF that unpacks to 100 MB", lambda: bomb_strip(), "unpacks to more than its 16x16 pixels", "a.tif"
    ),
    File(
        "a PNG comment of 100 MB", lambda: with_chunk(encode(RGB), chunk(b"zTXt", b"Comment\0\0" + zeros())), "damaged"
    ),
    File(
        "a PNG colour profile of 100 MB", lambda: with_chunk(encode(RGB), chunk(b"iCCP", b"x\0\0" + zeros())), "damaged"
    ),
    # --- no ordinary file
    File("a folder", lambda path: path.mkdir(), "is a folder; give an image file"),
    File("no file", lambda path: None, "no image file at", raises=FileNotFoundError),
    File(
        "a link to nothing",
        lambda path: path.symlink_to("gone"),
        "no image file at",
        raises=FileNotFoundError,
        where=POSIX,
    ),
    File("a link to itself", lambda path: path.symlink_to(path.name), "cannot be read", where=POSIX),
    File("a pipe", lambda path: os.mkfifo(path), "no ordinary file but a pipe or a device", where=POSIX),
    File("a device without end", lambda path: path.symlink_to("/dev/zero"), "no ordinary file but a pipe", where=POSIX),
    File("a file that may not be read", unreadable, "cannot be read", where=POSIX and not IS_ROOT),
    File("a file of 3 GiB", sparse, "has 3072 MB, more than", where=LINUX),
]


def bomb_strip() -> bytes:
    """16-bit RGB of 16 x 16 pixels, whose one strip unpacks to 100 MB."""
    data, packed = tiff(LARGE[:16, :16].astype(np.uint16), photometric="rgb", compression="zlib"), zeros()
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    for tag, value in (("StripOffsets", len(data)), ("StripByteCounts", len(packed))):
        at, size = page.tags[tag].valueoffset, {3: 2, 4: 4}[int(page.tags[tag].dtype)]
        if size == 2:  # a short holds no such number: make it a long
            data = changed(data, at - 6, struct.pack("<H", 4))
        data = changed(data, at, struct.pack("<I", value))
    return data + packed


def zipped(files: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", packing) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def npy(array, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


# --- masks -----------------------------------------------------------------------------------------------------------

DISC = np.hypot(*(np.indices((40, 50)) - np.array([20, 22])[:, None, None])) < 12
PHOTO = np.random.default_rng(9).integers(0, 256, (40, 50, 3), dtype=np.uint8)
THREE = np.zeros((40, 50), np.uint8)  # background 0, class or object 1, class or object 2
THREE[4:20, 4:20], THREE[24:38, 24:44] = 1, 2
SOFT = (np.clip(12.5 - np.hypot(*(np.indices((40, 50)) - np.array([20, 22])[:, None, None])), 0, 1) * 255).astype(
    np.uint8
)
BORDER = np.where(DISC, 1, 0).astype(np.uint8)  # as in Pascal VOC
BORDER[np.hypot(*(np.indices((40, 50)) - np.array([20, 22])[:, None, None])).round() == 12] = 255
RED, WHITE = np.array([255, 0, 0], np.uint8), np.full((40, 50, 3), 255, np.uint8)
VOC = [0, 0, 0, 128, 0, 0, *[0] * 253 * 3, 224, 224, 192]  # 256 colours
FIRE = [0, 0, 0, *[200, 90, 0] * 254, 255, 255, 255]  # and what many programs use for masks: 0 and 255 alone
DISHES = np.where(BORDER == 1, np.where(np.arange(50) < 22, 5, 15), BORDER).astype(np.uint8)
STRIPES = (np.arange(50) // 9 * 51).astype(np.uint8) * np.ones((40, 1), np.uint8)
OBJECTS, CLASSES = {"instances": True}, {"num_classes": 3}
MANY = THREE.astype(np.int64) * 40_000  # needs more than 16 bits
RED_GREEN = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0)], np.uint8)[THREE]


def wide(values: np.ndarray) -> np.ndarray:
    """The same in 16 bits, with 65535 for 255."""
    return np.where(values == 255, np.uint16(65535), values)


def with_alpha(values: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.dstack([values, alpha])


@dataclass(frozen=True)
class Mask:
    """A mask file for PHOTO: the mask (or object numbers) that come of it, or words of the sentence that refuses it."""

    what: str
    make: Callable[[], bytes]
    expect: np.ndarray | str
    options: dict = field(default_factory=dict)
    suffix: str = "png"

    def __str__(self) -> str:
        return self.what


MASKS = [
    Mask("0 and 1", lambda: encode(DISC.astype(np.uint8)), DISC),
    Mask("0 and 255", lambda: encode(DISC.astype(np.uint8) * 255), DISC),
    Mask("0 and 65535", lambda: encode(DISC.astype(np.uint16) * 65535), DISC),
    Mask("1 bit", lambda: encode(DISC), DISC),
    Mask("1 bit, 0 is white", lambda: tiff(~DISC, photometric="miniswhite"), DISC, suffix="tif"),
    Mask("float, 0 and 1", lambda: tiff(DISC.astype(np.float32)), DISC, suffix="tif"),
    Mask("float of 16 bits", lambda: tiff(DISC.astype(np.float16)), DISC, suffix="tif"),
    Mask("inverted", lambda: encode((~DISC).astype(np.uint8) * 255), ~DISC),
    Mask("antialiased", lambda: encode(SOFT), SOFT > 127),
    Mask("JPEG", lambda: encode(DISC.astype(np.uint8) * 255, "JPEG", quality=90), DISC, suffix="jpg"),
    Mask("empty", lambda: encode(DISC.astype(np.uint8) * 0), DISC & False),
    Mask("all foreground", lambda: encode(np.full((40, 50), 255, np.uint8)), DISC | True),
    Mask("RGB", lambda: encode(np.dstack([DISC.astype(np.uint8) * 255] * 3)), DISC),
    Mask("red", lambda: encode(DISC[:, :, None] * np.array([200, 0, 0], np.uint8)), DISC),
    Mask("grey with alpha", lambda: encode(with_alpha(DISC.astype(np.uint8) * 255, np.full_like(SOFT, 9))), DISC),
    Mask(
        "palette whose colours are transparent",
        lambda: encode(palettes(DISC, 0, 0, 0, 128, 0, 0), transparency=bytes([0, 99])),
        DISC,
    ),
    Mask(
        "drawn in transparency alone",
        lambda: encode(np.dstack([np.zeros((40, 50, 3), np.uint8), SOFT])),
        "what is drawn lies in its transparency",
    ),
    Mask("all of it object, with alpha", lambda: encode(np.dstack([WHITE, np.full_like(SOFT, 255)])), DISC | True),
    Mask("red on blue", lambda: encode(np.where(DISC[:, :, None], RED, RED[::-1])), "colours that are all equally"),
    Mask("an object a page", lambda: tiff(np.stack([DISC, ~DISC]) * np.uint8(255)), PAGES, suffix="tif"),
    Mask(
        "a page and a thumbnail",
        lambda: encode(DISC, "TIFF", save_all=True, append_images=[Image.fromarray(DISC[::4, ::4])]),
        DISC,
        suffix="tif",
    ),
    Mask("Pascal VOC's palette and border", lambda: encode(palettes(BORDER, *VOC)), "0, 1, 255 in its palette"),
    Mask("0 and 255 in a palette with colours", lambda: encode(palettes(DISC * np.uint8(255), *FIRE)), DISC),
    Mask("Pascal VOC's palette", lambda: encode(palettes(DISC, *VOC)), DISC),
    Mask("another size", lambda: encode(DISC[:, :-1]), "(?s)40x49|49x40"),
    Mask("turned", lambda: encode(DISC.T), "50x40|40x50"),
    Mask("NaN", lambda: tiff(np.where(DISC, np.nan, 0).astype(np.float32)), "not finite", suffix="tif"),
    Mask("infinity", lambda: tiff(np.where(DISC, np.inf, 0).astype(np.float32)), "not finite", suffix="tif"),
    Mask("no image", lambda: b"no mask", NO_IMAGE),
    Mask("nothing", lambda: b"", "is empty"),
    Mask("half", lambda: half(encode(LARGE)), DAMAGED),
    # nobody knows what is object
    Mask("an object and a border of 255 to be ignored", lambda: encode(BORDER), "holds the values 0, 1, 255"),
    Mask("the same as float", lambda: tiff(BORDER.astype(np.float32)), "holds the values 0.*, 1.*, 255", suffix="tif"),
    Mask("an object and a border of 65535", lambda: encode(wide(BORDER)), "holds the values 0, 1, 65535"),
    Mask("classes 5 and 15, a border of 255", lambda: encode(DISHES), "holds the values 0, 5, 15, 255"),
    Mask("three greys", lambda: encode((THREE * 127.5).astype(np.uint8)), "holds the values 0, 127, 255"),
    Mask("five greys", lambda: encode(STRIPES), r"holds the values 0, 51, 102, 153, 204, ... 255"),
    Mask("128 and 255", lambda: encode(DISC * np.uint8(127) + np.uint8(128)), "values from 128 to 255 and no backgr"),
    Mask("254 and 255", lambda: encode(DISC + np.uint8(254)), "values from 254 to 255 and no background"),
    Mask("-1 and 0", lambda: tiff(-DISC.astype(np.int8)), "holds values down to -1, and a mask", suffix="tif"),
    Mask("-1 and 0, 16 bits", lambda: tiff(-DISC.astype(np.int16)), "values down to -1, and a mask", suffix="tif"),
    Mask("an ignored border of -1", lambda: tiff(DISC - (BORDER == 255).astype(np.int32)), "down to -1", suffix="tif"),
    Mask("logits", lambda: tiff(np.where(DISC, -1, -4).astype(np.float32)), "down to -4.0, and a mask", suffix="tif"),
    # and these are masks
    Mask("1 and 255", lambda: encode(DISC * np.uint8(254) + np.uint8(1)), DISC),
    Mask("five greys along the outline", lambda: encode((SOFT // 52 * 51).astype(np.uint8)), SOFT // 52 > 2),
    Mask("RGB of 16 bits, 0 and 1", lambda: png16(np.dstack([DISC.astype(np.uint16)] * 3)), DISC),
    Mask("numbers up to 255", lambda: encode(BORDER), BORDER, {"instances": True}),
    # numbers of objects
    Mask("numbers of 16 bits", lambda: encode(THREE.astype(np.uint16) * 300), THREE.astype(int) * 300, OBJECTS),
    Mask("numbers of 32 bits", lambda: tiff(MANY.astype(np.uint32)), MANY, OBJECTS, "tif"),
    Mask(
        "numbers as float (as Fiji saves them)",
        lambda: tiff(THREE.astype(np.float32) * 300),
        THREE.astype(int) * 300,
        OBJECTS,
        "tif",
    ),
    Mask("numbers with alpha", lambda: encode(with_alpha(THREE * 7, np.full_like(SOFT, 255))), THREE * 7, OBJECTS),
    Mask("numbers in grey saved as RGB", lambda: encode(np.dstack([THREE * 7] * 3)), THREE * 7, OBJECTS),
    Mask("a colour for each object", lambda: encode(RED_GREEN), np.array([0, 2, 1])[THREE], OBJECTS),
    Mask("numbers in JPEG", lambda: encode(THREE * 100, "JPEG"), "does not keep numbers", OBJECTS, "jpg"),
    Mask("broken numbers", lambda: tiff(THREE * np.float32(1.5)), "no whole numbers", OBJECTS, "tif"),
    Mask("NaN among numbers", lambda: tiff(np.where(DISC, np.nan, 2).astype(np.float32)), "not finite", OBJECTS, "tif"),
    Mask("numbers too large", lambda: tiff(MANY * 10**6), "over 2147483647", OBJECTS, "tif"),
    Mask(
        "negative numbers", lambda: tiff(THREE.astype(np.int16) - 1), "number -1: objects and classes", OBJECTS, "tif"
    ),
    # classes
    Mask("classes", lambda: encode(THREE), THREE, CLASSES),
    Mask("only one of the classes", lambda: encode(THREE & 2), THREE & 2, CLASSES),
    Mask("classes in a palette", lambda: encode(palettes(THREE, 0, 0, 0, 9, 9, 9, 1, 0, 0)), THREE, CLASSES),
    Mask(
        "classes in a palette of greys in another order",
        lambda: encode(palettes(THREE, 0, 0, 0, 2, 2, 2, 1, 1, 1)),
        "greys are in another order",
        CLASSES,
    ),
    Mask("classes in JPEG", lambda: encode(THREE, "JPEG"), "is a JPEG, which does not keep numbers", CLASSES, "jpg"),
    Mask("classes in grey saved as RGB", lambda: encode(np.dstack([THREE & 2] * 3)), THREE & 2, CLASSES),
    Mask("classes in colours", lambda: encode(RED_GREEN), "holds colours, which are no class numbers", CLASSES),
    Mask("a class too many", lambda: encode(THREE + 1), "holds the class 3, but num_classes=3", CLASSES),
    Mask("a class of 300", lambda: encode(THREE.astype(np.uint16) * 150), "holds the class 300", CLASSES),
    Mask("a class of -1", lambda: tiff(THREE.astype(np.int16) - 1), "number -1: objects and classes", CLASSES, "tif"),
]


def palettes(indices: np.ndarray, *colours: int) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8)).convert("P")
    image.putpalette(colours)
    return image


# --- folders and zips ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Root:
    """A folder or zip: names of its samples (all can be read), or words of the sentence that refuses it.

    make: is given an empty folder, and returns the root; `where` as for `File`.
    """

    what: str
    make: Callable[[Path], Path]
    expect: list[str] | str
    data: str = "folder"
    where: bool = True

    def __str__(self) -> str:
        return self.what


def pair(name: str, top: str = "") -> dict[str, bytes]:
    mask = encode(DISC.astype(np.uint8) * 255)
    return {f"{top}images/{name}.png": encode(PHOTO), f"{top}masks/{name}.png": mask}


def pairs(*names: str, top: str = "") -> dict[str, bytes]:
    return {key: data for name in names for key, data in pair(name, top).items()}


def folder(files: dict[str, bytes]) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        for name, data in files.items():
            path = root / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return root / "data"

    return make


def archive(data: Callable[[], bytes]) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        (root / "all.zip").write_bytes(data())
        return root / "all.zip"

    return make


def linked(root: Path) -> None:
    folder(pair("b"))(root.parent / "elsewhere")
    (root / "more").symlink_to(root.parent / "elsewhere/data")


def links(root: Path) -> Path:
    folder(pair("b"))(root / "elsewhere")
    (root / "data").mkdir()
    for name in ("images", "masks"):
        (root / "data" / name).symlink_to(root / "elsewhere/data" / name)
    return root / "data"


def twice(root: Path) -> None:
    (root / "again").symlink_to(root / "x")


def beside(files: dict[str, bytes], add: Callable[[Path], object]) -> Callable[[Path], Path]:
    """A folder of files, and something that bytes cannot say."""

    def make(root: Path) -> Path:
        made = folder(files)(root)
        add(made)
        return made

    return make


def with_members(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    """A good pair "a" and more."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as out:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a name twice
            for name, data in [*pair("a").items(), *members]:
                out.writestr(name, data)
    return packed.getvalue()


def link_member(name: str, target: str) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info, target.encode()


def in_directory(data: bytes, member: str, field: int, new: bytes) -> bytes:
    """A zip whose table of contents says something else of a member. field: where, from the start of the entry."""
    entry = data.index(b"PK\1\2", data.index(b"PK\1\2"))
    while data[entry + 46 : entry + 46 + len(member)] != member.encode():
        entry = data.index(b"PK\1\2", entry + 4)
    return changed(data, entry + field, new)


def encrypted() -> bytes:
    """The flag says so, in the member's own header and in the table of contents."""
    data = in_directory(zipped(pair("a")), "images/a.png", 8, b"\1\0")
    return changed(data, 6, b"\1\0")


def conic(changes: dict[str, bytes | None] | None = None, packed: bool = False, **arrays) -> Callable[[Path], Path]:
    """Three patches of CoNIC, with other arrays or other bytes."""
    images = np.full((3, 8, 8, 3), 9, np.uint8)
    labels = np.zeros((3, 8, 8, 2), np.uint16)
    files = {
        "images.npy": npy(arrays.get("images", images)),
        "labels.npy": npy(arrays.get("labels", labels)),
        "patch_info.csv": b"patch_info\na_1-0\nb_1-1\nc_1-2\n",
        **(changes or {}),
    }
    return archive(lambda: zipped(files)) if packed else folder(files)


def values_of(shape, dtype, **at) -> np.ndarray:
    array = np.zeros(shape, dtype)
    array[1, 2, 3, 0] = at["value"]
    return array


def objects() -> bytes:
    array = np.empty((3, 8, 8, 3), object)
    array[:] = Canary()
    return npy(array, allow_pickle=True)


def lying_header(shape: str, dtype: str = "|u1") -> bytes:
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + bytes(3 * 8 * 8 * 3)


IMAGES_SHAPE, LABELS_SHAPE, PATCHES = (3, 8, 8, 3), (3, 8, 8, 2), ["a_1-0", "b_1-1", "c_1-2"]
NFC, NFD = "caf\u00e9", "cafe\u0301"

ROOTS = [
    # --- folders
    Root(
        "names with spaces and in other scripts",
        folder(pairs("my photo 1", "größe", "细胞 🔬")),
        ["größe", "my photo 1", "细胞 🔬"],
    ),
    Root(
        "a mask for each, in PNG and JPEG",
        folder({**pair("a"), "images/b.jpg": encode(PHOTO, "JPEG"), "masks/b.png": encode(DISC)}),
        ["a", "b"],
    ),
    Root(
        "one name twice", folder({**pair("a"), "images/a.jpg": encode(PHOTO, "JPEG")}), "claim the name 'a'; keep one"
    ),
    Root("masks are missing", folder({**pair("a"), "images/b.png": encode(PHOTO)}), "image 'images/b.png' has no mask"),
    Root("images are missing", folder({**pair("a"), "masks/b.png": encode(DISC)}), "mask 'masks/b.png' has no image"),
    Root("nothing in it", lambda root: root, "found no file at all"),
    Root("a broken image among them", folder({**pairs("a"), **pair("b"), "images/b.png": b"oops"}), NO_IMAGE),
    Root("a folder called x.png", beside(pair("a"), lambda root: (root / "images/x.png").mkdir()), ["a"]),
    Root("a folder called x.zip", beside(pair("a"), lambda root: (root / "x.zip").mkdir()), ["a"]),
    Root(
        "rubbish of computers",
        folder(
            {**pair("a"), ".DS_Store": b"x", "Thumbs.db": b"x", "__MACOSX/images/._a.png": b"x", "images/._a.png": b"x"}
        ),
        ["a"],
    ),
    Root(
        "a link to an image",
        beside(
            pairs("a"),
            lambda root: [(root / "images/b.png").symlink_to("a.png"), (root / "masks/b.png").symlink_to("a.png")],
        ),
        ["a", "b"],
        where=POSIX,
    ),
    Root(
        "a link to nothing",
        beside(
            pairs("a", "b"),
            lambda root: [(root / "images/b.png").unlink(), (root / "images/b.png").symlink_to("gone.png")],
        ),
        "is no ordinary file, or a link",
        where=POSIX,
    ),
    Root("a folder in itself", beside(pair("a"), lambda root: (root / "again").symlink_to(root)), ["a"], where=POSIX),
    Root(
        "a pipe",
        beside(pairs("a", "b"), lambda root: [(root / "masks/b.png").unlink(), os.mkfifo(root / "masks/b.png")]),
        "is no ordinary file",
        where=POSIX,
    ),
    Root("a pipe called x.zip", beside(pair("a"), lambda root: os.mkfifo(root / "x.zip")), ["a"], where=POSIX),
    Root(
        "a root that is a pipe",
        lambda root: [os.mkfifo(root / "all.zip"), root / "all.zip"][1],
        "neither a folder nor a readable zip",
        where=POSIX,
    ),
    Root("names that are no UTF-8", folder(pairs("a", os.fsdecode(b"\xff"))), ["a", os.fsdecode(b"\xff")], where=LINUX),
    Root(
        "an image of BBBC038 is broken",
        folder({"x/images/x.png": b"oops", "x/masks/1.png": encode(DISC)}),
        "'x/images/x.png' is not a PNG",
        "bbbc038",
    ),
    # --- zips
    Root(
        "a zip beside what it holds",
        beside(pairs("a", "b"), lambda root: (root / "x.zip").write_bytes(zipped(pairs("a", "b")))),
        ["a", "b"],
    ),
    Root(
        "a zip with a folder of its own name, beside what it holds",
        beside(pairs("a", "b"), lambda root: (root / "x.zip").write_bytes(zipped(pairs("a", "b", top="x/")))),
        ["a", "b"],
    ),
    Root(
        "a zip beside other files of the same names",
        beside(
            {"images/a.png": encode(PHOTO, mode="RGBA"), "masks/a.png": encode(WHITE * DISC[:, :, None])},
            lambda root: (root / "x.zip").write_bytes(zipped(pair("a"))),
        ),
        ["a", "x__a"],
    ),
    Root("a link to a folder outside", beside(pair("a"), linked), ["a", "b"], where=POSIX),
    Root("links to images and masks", links, ["b"], where=POSIX),
    Root("a link beside what it leads to", beside(pairs("a", top="x/"), twice), ["a"], where=POSIX),
    Root(
        "accents apart",
        folder({"images/a\u0308.png": encode(PHOTO), "masks/\u00e4.png": encode(DISC)}),
        ["\u00e4"],
        where=LINUX,
    ),
    Root("capitals", folder({"images/A.png": encode(PHOTO), "masks/a.png": encode(DISC)}), "capital letters count"),
    Root("a zip", archive(lambda: zipped(pairs("a", "b"))), ["a", "b"]),
    Root("a zip in bzip2", archive(lambda: zipped(pairs("a", "b"), zipfile.ZIP_BZIP2)), ["a", "b"]),
    Root("a zip in lzma", archive(lambda: zipped(pairs("a", "b"), zipfile.ZIP_LZMA)), ["a", "b"]),
    Root("a zip with something before it", archive(lambda: b"#!/bin/sh\n" * 9 + zipped(pair("a"))), ["a"]),
    Root(
        "a zip of Windows with \\",
        archive(lambda: zipped({key.replace("/", "\\"): data for key, data in pair("a").items()})),
        ["a"],
    ),
    Root(
        "a member twice",
        archive(lambda: with_members(("images/a.png", encode(PHOTO)))),
        "all.zip' holds 'images/a.png' and then 'images/a.png'; keep one of them",
    ),
    Root(
        "a member with / and with \\",
        archive(lambda: with_members(("images\\a.png", encode(PHOTO)))),
        "all.zip' holds 'images/a.png' and then 'images",
    ),
    Root(
        "a member with its folder and without",
        archive(lambda: with_members(("all/images/a.png", encode(PHOTO)))),
        "and then 'all/images/a.png'; keep one of them",
    ),
    Root("rubbish twice", archive(lambda: with_members((".a", b"x"), (".a", b"y"))), ["a"]),
    Root(
        "names with escape codes",
        archive(lambda: zipped({"a.\x1b[31m\ntxt": b"x"})),
        r"found 1 files \(1 .\[31m\), such as",
    ),
    Root(
        "members outside",
        archive(
            lambda: with_members(
                ("../../evil.png", b"x"),
                ("/etc/evil.png", b"x"),
                ("..\\evil.png", b"x"),
                ("images/../../evil.png", b"x"),
            )
        ),
        "'all//etc/evil.png' has no mask",
    ),
    Root("members above", archive(lambda: with_members(("../../evil.png", b"x"), ("..\\evil.png", b"x"))), ["a"]),
    Root(
        "a member that is a link",
        archive(lambda: with_members(link_member("images/b.png", "/etc/passwd"), ("masks/b.png", encode(DISC)))),
        NO_IMAGE,
    ),
    Root("a zip in a zip", archive(lambda: zipped({"inner.zip": zipped(pair("a"))})), "found 1 files (1 .zip)"),
    Root("an empty zip", archive(lambda: zipped({})), "found no file at all"),
    Root("an encrypted zip", archive(encrypted), "is encrypted, password required"),
    Root("half a zip", archive(lambda: half(zipped(pairs("a", "b")))), "neither a folder nor a readable zip"),
    Root(
        "a zip without its beginning", archive(lambda: zipped(pairs("a", "b"))[3000:]), "cannot read|not a readable zip"
    ),
    Root("the half that holds masks", archive(lambda: zipped({"masks/a.png": encode(DISC)})), "expected images/"),
    Root(
        "a wrong checksum", archive(lambda: in_directory(zipped(pair("a")), "images/a.png", 16, b"oops")), "Bad CRC-32"
    ),
    Root(
        "damaged inside",
        archive(lambda: changed(zipped(pair("a")), 1000, b"oops" * 99)),
        "cannot read 'all/images/a.png'",
    ),
    Root(
        "damaged inside, lzma",
        archive(lambda: changed(zipped(pair("a"), zipfile.ZIP_LZMA), 60, b"oops" * 99)),
        "cannot read 'all/images/a.png'",
    ),
    Root(
        "damaged inside, bzip2",
        archive(lambda: changed(zipped(pair("a"), zipfile.ZIP_BZIP2), 60, b"oops" * 99)),
        "cannot read 'all/images/a.png'",
    ),
    Root(
        "packed in an unknown way",
        archive(lambda: in_directory(zipped(pair("a")), "images/a.png", 10, b"\x63\0")),
        "compression method is not supported",
    ),
    Root(
        "a member that says it has 4 GB",
        archive(lambda: in_directory(zipped(pair("a")), "images/a.png", 24, b"\xfe\xff\xff\xff")),
        "has 4096 MB; at most 1024 MB",
    ),
    Root(
        "a member that unpacks to 100 MB",
        archive(lambda: zipped({**pair("a"), "images/a.png": bytes(100 * 2**20)})),
        NO_IMAGE,
    ),
    Root(
        "a zip that needs a newer zip",
        archive(lambda: in_directory(zipped(pair("a")), "images/a.png", 6, b"\xff\0")),
        "is not a readable zip",
    ),
    Root(
        "a zip beside that is none",
        folder({**pair("a"), "more.zip": b"PK\5\6 oops"}),
        "more.zip' is not a readable zip",
    ),
    # --- arrays
    Root("CoNIC", conic(), PATCHES, "conic"),
    Root("CoNIC as float", conic(images=np.full(IMAGES_SHAPE, 9.0)), PATCHES, "conic"),
    Root(
        "NaN in an array",
        conic(images=values_of(IMAGES_SHAPE, float, value=np.nan)),
        "holds the brightness nan",
        "conic",
    ),
    Root(
        "infinity in an array",
        conic(labels=values_of(LABELS_SHAPE, float, value=np.inf)),
        "object number 0.0 to inf",
        "conic",
    ),
    Root(
        "brightness from 0 to 1",
        conic(images=np.linspace(0, 1, 576).reshape(IMAGES_SHAPE)),
        "not whole numbers in 0..255: convert",
        "conic",
    ),
    Root("broken classes", conic(labels=np.full(LABELS_SHAPE, 1.5)), "holds the class 1.5 to 1.5, not whole", "conic"),
    Root(
        "values over 255", conic(images=values_of(IMAGES_SHAPE, np.uint16, value=256)), "brightness 0 to 256", "conic"
    ),
    Root(
        "negative numbers", conic(labels=values_of(LABELS_SHAPE, np.int16, value=-1)), "object number -1 to 0", "conic"
    ),
    Root(
        "objects, that is pickles", conic({"images.npy": objects()}), "not a plain C-ordered array of numbers", "conic"
    ),
    Root("a pickle named .npy", conic({"labels.npy": pickle.dumps(Canary())}), "is not an .npy file", "conic"),
    Root(
        "text in an array", conic(images=np.full(IMAGES_SHAPE, "x")), "not a plain C-ordered array of numbers", "conic"
    ),
    Root("columns first", conic(images=np.asfortranarray(np.zeros(IMAGES_SHAPE))), "not a plain C-ordered", "conic"),
    Root(
        "a shape that overflows",
        conic({"images.npy": lying_header(f"(3, {2**40}, {2**40}, 3)")}),
        "patches of 1 to 4096",
        "conic",
    ),
    Root("a negative shape", conic({"images.npy": lying_header("(3, -8, -8, 3)")}), "patches of 1 to 4096", "conic"),
    Root("a larger shape than the file", conic({"images.npy": lying_header("(3, 9, 9, 3)")}), "is cut short", "conic"),
    Root(
        "a long header",
        conic({"images.npy": lying_header("(3, 8, 8, 3)" + " " * 20_000)}),
        "is not an .npy file",
        "conic",
    ),
    Root(
        "code in a header",
        conic({"images.npy": lying_header("__import__('os').abort()")}),
        "is not an .npy file",
        "conic",
    ),
    Root(
        "a table with a short row",
        conic({"patch_info.csv": b"x,patch_info\n1,a_1-0\n2\n3,c_1-2\n"}),
        "row 2 of 'patch_info.csv' names no patch",
        "conic",
    ),
    Root(
        "a table that is no text", conic({"patch_info.csv": b"patch_info\n\xff\xfe\n"}), "is no table in CSV", "conic"
    ),
    Root(
        "a table of one huge field",
        conic({"patch_info.csv": b"patch_info\n" + b"x" * 200_000}),
        "is no table in CSV",
        "conic",
    ),
    Root(
        "an array in a zip with a wrong checksum",
        archive(lambda: in_directory(conic_zip(), "labels.npy", 16, b"oops")),
        "Bad CRC-32",
        "conic",
    ),
    Root(
        "an array in a zip, encrypted",
        archive(lambda: in_directory(changed(conic_zip(), 6, b"\1\0"), "images.npy", 8, b"\1\0")),
        "is encrypted",
        "conic",
    ),
]


def conic_zip() -> bytes:
    """Large enough that reading the header does not read all."""
    labels = np.random.default_rng(0).integers(0, 7, (3, 200, 200, 2)).astype(np.uint16)
    files = {"images.npy": npy(np.zeros((3, 200, 200, 3), np.uint8)), "labels.npy": npy(labels)}
    return zipped({**files, "patch_info.csv": b"patch_info\na_1-0\nb_1-1\nc_1-2\n"})
