# SPDX-License-Identifier: Apache-2.0
"""Messages of numbers, which vectors and IMUs read by their paths."""

from __future__ import annotations

from rclpy.serialization import serialize_message
from std_msgs.msg import Float32MultiArray, MultiArrayDimension
from support.fuzz.driven import CASES
from support.fuzz.targets.target import Target, messages, received, refusals

from robocache_core.config import StreamConfig
from robocache_core.samples import VectorSample
from robocache_ros import parameters
from robocache_ros.sources import source_of

_NAMES = ('joints', 'poses', 'fixes', 'joysticks', 'readings')
_ARRAY = {
    'vectors': ['state'], 'sync.rate_hz': 10.0, 'state.message': 'std_msgs/msg/Float32MultiArray',
    'state.fields': ['data[:3]'],
}  # fmt: skip


def _stream(tree: dict[str, object]) -> StreamConfig:
    config, _ = parameters.from_dict(tree)
    (stream,) = config.streams()
    return stream


_PARAMETERS = [*(CASES[name].parameters for name in _NAMES), _ARRAY]
#: A stream of each message type, and its row of the table of sources.
STREAMS = [(stream, source_of(stream)) for stream in map(_stream, _PARAMETERS)]


def check(data: bytes) -> None:
    """A byte that chooses a stream, and a message of its type."""
    if not data:
        return
    stream, source = STREAMS[data[0] % len(STREAMS)]
    with refusals(
        'bad_frame_id', 'bad_stamp', 'zero_stamp', 'non_finite', 'no_orientation', 'no_angular_velocity',
        'no_linear_acceleration', 'no_fix', 'wrong_joints', 'wrong_size',
    ):  # fmt: skip
        sample = source.decode(received(data[1:], source.message), stream)
        assert isinstance(sample, VectorSample)
        assert bool(sample.values.isfinite().all())


def _seeds():
    for number, name in enumerate(_NAMES):
        yield from messages(CASES[name].kind, settings=(number,), count=8)
    array = Float32MultiArray(data=[1.0, 2.0, 3.0])
    array.layout.dim = [MultiArrayDimension(label='a', size=3, stride=3)]
    yield bytes([len(_NAMES)]) + serialize_message(array)


TARGETS = {'numbers': Target(check, _seeds, 1024)}
