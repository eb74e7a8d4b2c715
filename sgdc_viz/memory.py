"""What the C library does with memory that is freed. Only glibc's, on most of Linux, is asked; others are left alone.

glibc hands every piece over 32 MB back to the system as soon as it is freed, and the system fills each page with zeros
when it is asked for anew. Feature maps of large images are such pieces: predicting 2048 x 2048 pixels in one piece took
5.6 s, of which 3.8 s went into that, and the time did not grow with the pixels, but with their power of 1.25.
"""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8  # numbers of the settings in <malloc.h>
MOST, MOST_OF_OLD = 2**31 - 1, 2**25  # bytes; glibc before 2.35 refuses more than the latter


def keep_freed() -> bool:
    """Keep freed memory in this process, for the next large image. Programs call it when they start: a library must not
    decide that for others. To be called before other threads begin. Returns whether there was glibc to ask."""
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return False
    # Told nothing, glibc moves this limit by itself; once told anything, it does not: so always set it.
    mallopt(MMAP_THRESHOLD, MOST) or mallopt(MMAP_THRESHOLD, MOST_OF_OLD)
    mallopt(TRIM_THRESHOLD, -1)
    mallopt(ARENA_MAX, 1)  # threads of the page have arenas of their own else, which hold no large pieces
    return True


def give_back() -> None:
    """Hand freed memory back to the system: after many large images glibc keeps gigabytes of it, asked to or not
    (measured: 2.5 GB before, 1.3 GB after)."""
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str):
    """A function of glibc, None where another C library is in use."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
