# SPDX-License-Identifier: Apache-2.0
"""RVL against an encoder of the tests' own, and whatever else may come as RVL."""

from __future__ import annotations

import struct
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import depths

from robocache_core import backends
from robocache_core.rvl import decode_rvl
from robocache_core.samples import DataError

VALUES = st.one_of(st.just(0), st.integers(0, 65535), st.integers(990, 1010))


def decoded(data: bytes, num_pixels: int) -> np.ndarray | None:
    """What both backends give; None where they refuse it."""
    found = []
    for name in backends.NAMES:
        with backends.use(name):
            try:
                found.append(decode_rvl(np.frombuffer(data, np.uint8), num_pixels, 1)[0])
            except DataError as error:
                found.append(None if error.reason == 'decode_failed' else error)
    np.testing.assert_array_equal(*found)
    return found[0]


@given(st.lists(VALUES, min_size=1, max_size=200), st.binary(max_size=9))
@settings(max_examples=300, deadline=None)
def test_any_image_comes_back(values, behind):
    pixels = np.array(values, np.uint16)
    np.testing.assert_array_equal(decoded(depths.rvl(pixels) + behind, len(pixels)), pixels)


@pytest.mark.parametrize(
    'pixels',
    [np.zeros(100_000, np.uint16), np.full(70_000, 65535, np.uint16), np.uint16([1, 65535] * 500), depths.scene()],
    ids=['nothing', 'all', 'edges', 'scene'],
)
def test_long_runs_and_steep_edges(pixels):
    np.testing.assert_array_equal(decoded(depths.rvl(pixels), pixels.size), pixels.reshape(-1))


def test_words_are_those_of_the_paper():
    """One 0, two others: 1, 2, then +3 and -2 as 6 and 3: nibbles 1 2 6 3, the rest of the word 0."""
    assert decoded(bytes.fromhex('00006312'), 3).tolist() == [0, 3, 1]


@pytest.mark.parametrize(
    'data',
    [
        b'',
        bytes(3),
        bytes(4),  # runs of nothing
        b'\xff' * 64,  # a number without an end
        bytes.fromhex('000000a1'),
        depths.rvl(np.arange(1, 10, dtype=np.uint16))[:-4],
        depths.rvl(np.ones(10, np.uint16)),
        struct.pack('<I', 0x01100000),  # a difference of 0 to nothing
        struct.pack('<II', 0x09110000, 0),  # a value below 1
    ],
    ids=range(9),
)
def test_what_is_no_image_of_nine_pixels_is_refused(data):
    assert decoded(data, 9) is None


def test_damage_never_reads_or_writes_beyond():
    """Bytes turned, cut and made up: an image of the right size, or a refusal by name."""
    rng, whole = Random(0), depths.rvl(depths.scene())
    refused = 0
    for _ in range(1000):
        data = bytearray(whole if rng.random() < 0.8 else rng.randbytes(rng.randrange(200)))
        for _ in range(rng.randrange(1, 4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        data = data[: rng.randrange(len(data) + 1)] if rng.random() < 0.3 else data
        num_pixels = rng.choice((1, 64 * 48, 64 * 48, 5000))
        refused += decoded(bytes(data), num_pixels) is None
    assert 300 < refused < 1000
