# SPDX-License-Identifier: Apache-2.0
"""Fuzzes one target until libFuzzer ends it: ``one TARGET FOLDER [ARGUMENTS OF LIBFUZZER …]``, or runs a file by it.

Python is instrumented by atheris as it is imported. The compiled module counts its edges itself (``counters.cpp``), and
libFuzzer is given its counters here.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import atheris
from support.fuzz_coverage import corpus

NUM_COUNTERS = 1 << 16


def main() -> None:
    with atheris.instrument_imports(include=['robocache_core', 'robocache_ros', 'rosbags']):
        targets = importlib.import_module('support.fuzz.targets').TARGETS
    name, target = sys.argv[1], targets[sys.argv[1]]
    _begin(Path(sys.argv[2]), (*target.seeds(), *corpus.inputs(name)))
    arguments = [sys.argv[0], *sys.argv[2:], f'-max_len={target.max_len}']
    atheris.Setup(arguments, functools.partial(_check, target.check), enable_python_coverage=True)
    _watch_compiled_module()
    atheris.Fuzz()


def _check(check: Callable[[bytes], None], data: bytes) -> None:
    try:
        check(data)
    except BaseException:
        # Python takes libFuzzer's alarm for none of its own as it ends, and would die of it before the input is kept.
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise


def _begin(folder: Path, inputs: Iterable[bytes]) -> None:
    """Write what a folder of inputs begins with, where it is not there yet."""
    if not folder.exists():
        folder.mkdir(parents=True)
        for number, data in enumerate(inputs):
            (folder / f'begin_{number:03d}').write_bytes(data)


def _watch_compiled_module() -> None:
    """Give libFuzzer the counters of the compiled module, each as an edge that has a place of its own."""
    compiled = ctypes.CDLL(importlib.import_module('_robocache_core').__file__)
    begin = ctypes.addressof((ctypes.c_uint8 * NUM_COUNTERS).in_dll(compiled, 'robocache_fuzz_counters'))
    places = (ctypes.c_size_t * (2 * NUM_COUNTERS))(*(part for at in range(NUM_COUNTERS) for part in (begin + at, 0)))
    fuzzer = ctypes.CDLL(os.environ['ROBOCACHE_LIBFUZZER'])
    pointer = ctypes.c_void_p
    fuzzer.__sanitizer_cov_8bit_counters_init(pointer(begin), pointer(begin + NUM_COUNTERS))
    address = ctypes.addressof(places)
    fuzzer.__sanitizer_cov_pcs_init(pointer(address), pointer(address + ctypes.sizeof(places)))
    _kept.append(places)


#: What libFuzzer looks at for as long as it runs.
_kept: list[object] = []

if __name__ == '__main__':
    main()
