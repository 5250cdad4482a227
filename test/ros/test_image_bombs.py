# SPDX-License-Identifier: Apache-2.0
"""Images made to cost much are refused by what they say of themselves, before they take memory or time."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from sensor_msgs.msg import Image
from support.bombs import BOMBS
from support.messages import assert_refused, header

from robocache_core.config import CameraConfig
from robocache_ros.decode_image import decode_image

#: Decodes a bomb with 96 MB of memory beside what the libraries took, and prints what became of it, and the seconds.
DECODE = """
import resource, sys, time
from support.bombs import BOMBS
from support.messages import decode_whole, header
from sensor_msgs.msg import CompressedImage
from robocache_core.config import CameraConfig
from robocache_core.samples import DataError
messages = {}
for name, (_, data) in BOMBS.items():
    messages[name] = CompressedImage(header=header(), format='')
    messages[name].data.frombytes(data)
pages = int(open('/proc/self/statm').read().split()[0])
limit = pages * resource.getpagesize() + (96 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for name, message in messages.items():
    begin = time.process_time()
    try:
        decode_whole(message, CameraConfig('front'))
        reason = 'used'
    except DataError as error:
        reason = error.reason
    print(name, str(reason), time.process_time() - begin, sep='|')
"""


@pytest.fixture(scope='module')
def outcomes() -> dict[str, tuple[str, float]]:
    run = subprocess.run(
        [sys.executable, '-c', DECODE],
        env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    rows = (line.split('|') for line in run.stdout.splitlines())
    return {name: (reason, float(seconds)) for name, reason, seconds in rows}


@pytest.mark.parametrize('name', BOMBS)
def test_a_bomb_is_refused_in_little_memory_and_time(name: str, outcomes: dict[str, tuple[str, float]]) -> None:
    reason, seconds = outcomes[name]
    assert reason == BOMBS[name][0]
    assert seconds < 0.5  # of the processor, not of the clock


def test_a_raw_image_beyond_max_pixels() -> None:
    msg = Image(header=header(), width=101, height=100, encoding='mono8', step=101)
    msg.data.frombytes(bytes(10_100))
    config = CameraConfig('front', max_pixels=10_000)
    assert_refused('bad_image_size', 'at most front.max_pixels = 10000', decode_image, msg, config)
    assert decode_image(msg, CameraConfig('front', max_pixels=10_100)).width == 101
