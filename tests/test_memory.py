"""Freed memory: kept where a program asks for that, given back when it asks for that."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from sgdc_viz.memory import give_back, keep_freed

linux = pytest.mark.skipif(sys.platform != "linux", reason="only glibc is asked")

PAGES = """
import resource, sys, threading
from sgdc_viz.memory import give_back, keep_freed
if sys.argv[1] == "keep":
    keep_freed()

def use():
    for _ in range(5):
        pages = b"x" * 100_000_000

def asked():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = threading.Thread(target=use)  # as the page's
    thread.start()
    thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first, again = asked(), asked()
give_back()
print(first, again, asked())
"""


@linux
@pytest.mark.parametrize("how", ["keep", "leave"])
def test_large_pieces_are_asked_for_once(how):
    """Counted in the pages that the system had to make."""
    done = subprocess.run([sys.executable, "-c", PAGES, how], capture_output=True, text=True, check=True, timeout=60)
    first, again, anew = map(int, done.stdout.split())
    if how == "keep":
        assert again < first / 10 and anew > first / 2
    else:
        assert again > first / 2  # else there is no need for any of this


@linux
def test_freed_memory_goes_back_to_the_system():
    process, arrays = psutil.Process(), [np.ones(12_000) for _ in range(3000)]  # 288 MB in pieces of 96 kB
    last = arrays[-1]  # holds the end of the heap
    del arrays
    give_back()
    kept = process.memory_info().rss
    arrays = [np.ones(12_000) for _ in range(3000)]
    grown, last = process.memory_info().rss - kept, arrays[-1]
    del arrays
    give_back()
    assert last.all() and grown > 200e6 and process.memory_info().rss - kept < 0.3 * grown


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_elsewhere_nothing_is_done(platform, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr("ctypes.CDLL", lambda _: pytest.fail("asked a C library that is none of glibc's"))
    assert not keep_freed()
    give_back()


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert not keep_freed()
    give_back()


def test_old_glibc_gets_the_most_that_it_takes(monkeypatch):
    """One that is told of the trim threshold alone would ask the system for each piece over 128 kB."""
    asked = {}

    def mallopt(setting, value):
        accepted = not (setting == -3 and value > 2**25)
        if accepted:
            asked[setting] = value
        return int(accepted)

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    assert keep_freed()
    assert asked == {-3: 2**25, -1: -1, -8: 1}
