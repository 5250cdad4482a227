# SPDX-License-Identifier: Apache-2.0
"""Fuzzed messages through the runtime, as the node has it, and what must hold after each of them."""

from __future__ import annotations

import gc
from collections import deque
from dataclasses import dataclass
from random import Random
from types import FunctionType, ModuleType
from typing import Any

import torch
from std_msgs.msg import UInt8MultiArray
from support.fuzz import Fuzzed, fuzzed, images, lidars, on_the_wire, readings
from support.fuzz.changes import TIME
from support.runtime import assert_adds_up, make

from robocache_core import payload
from robocache_core.frame import FusedFrame
from robocache_core.ledger import Reason
from robocache_core.text import MAX_MESSAGE
from robocache_ros import parameters
from robocache_ros.cdr import deserialize
from robocache_ros.encode import encode_fused
from robocache_ros.message import Serialized
from robocache_ros.publishers import OUTPUTS

LIDAR = {
    'lidars': ['lidar'],
    'target_frame': 'base_link',
    'lidar.topic': '/lidar',
    'lidar.extrinsics': [0.0, 0.0, 1.0, 0.0, 0.0, 0.6, 0.8],
    'lidar.voxel.size': [1.0, 1.0, 1.0],
    'lidar.voxel.lower': [-16.0, -16.0, -4.0],
    'lidar.voxel.upper': [16.0, 16.0, 4.0],
    'lidar.voxel.max_voxels': 40,
    'lidar.voxel.channels': ['count', 'density', 'mean:x', 'mean:intensity', 'max:intensity', 'min:y'],
}
CAMERA = {'cameras': ['camera'], 'camera.topic': '/camera', 'camera.width': 8, 'camera.height': 6}
IMU = {'imus': ['imu'], 'imu.topic': '/imu', 'imu.window_size': 5, 'imu.window_period': 0.01}
PATIENT = {'backpressure.max_ready': 1000, 'backpressure.high_watermark': 1000}  # a stamp ahead makes many targets
VECTOR = PATIENT | {'vectors': ['state'], 'state.topic': '/state', 'sync.rate_hz': 50.0, 'state.window_size': 3}
FIELDS = ['orientation', 'angular_velocity', 'linear_acceleration']
GYRO = IMU | {'imu.extrinsics': [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], 'imu.required': False}

#: An image of depth is whole, but not among pictures.
PICTURES = TIME | {'depth_image'}

#: Most entries of any table: arrivals of a stream whose times are kept.
MOST_KEPT = 4096


@dataclass(frozen=True)
class Case:
    """A kind of message, the stream that takes it, and the parameters of its node."""

    kind: str
    stream: str
    parameters: dict[str, Any]
    #: For which any message may be dropped.
    reasons: frozenset[str] = TIME

    def messages(self, serial: int) -> list[tuple[str, Fuzzed]]:
        """What is sent, by stream: message ``serial``, behind what it needs. A CameraInfo has no stream."""
        message = fuzzed(self.kind, serial)
        if self.kind == 'CameraInfo':
            whole = images.image(_random(serial), serial, 32, 24)
            return [('', message), (self.stream, Fuzzed(f'{message.name}, its image', whole, (), frozenset()))]
        if 'lidar.deskew.source' in self.parameters:
            first = serial * lidars.PERIOD_NS // readings.PERIOD_NS
            turns = (readings.imu(_random(at), at) for at in range(first, first + 10, 2))
            return [
                *(('imu', Fuzzed(f'before {message.name}', turn, (), frozenset())) for turn in turns),
                (self.stream, message),
            ]
        return [(self.stream, message)]


def _random(serial: int) -> Random:
    return Random(serial)


CASES = {
    'clouds': Case('PointCloud2', 'lidar', LIDAR),
    'clouds, dense and deskewed': Case(
        'PointCloud2',
        'lidar',
        LIDAR | GYRO | {'lidar.voxel.output': 'dense', 'lidar.deskew.source': 'imu', 'lidar.deskew.time_unit': 'ns'},
        TIME | {'unknown_time_field', 'no_motion'},  # a small cloud does not show what its times mean
    ),
    'scans': Case('LaserScan', 'lidar', LIDAR | {'lidar.message': 'LaserScan'}),
    'scans, deskewed': Case(
        'LaserScan',
        'lidar',
        LIDAR | GYRO | {'lidar.message': 'LaserScan', 'lidar.deskew.source': 'imu'},
        TIME | {'no_motion', 'unknown_time_field'},  # of three whole scans one has no time_increment
    ),
    'images': Case('Image', 'camera', CAMERA | {'camera.resize': 'area', 'camera.letterbox': True}, PICTURES),
    'compressed images': Case(
        'CompressedImage', 'camera', CAMERA | {'camera.message': 'compressed', 'camera.max_pixels': 1 << 20}, PICTURES
    ),
    'calibrations': Case(
        'CameraInfo', 'camera', CAMERA | {'camera.rectify': True, 'camera.dtype': 'float32'}, PICTURES
    ),
    'joints': Case(
        'JointState',
        'state',
        VECTOR
        | {
            'state.message': 'sensor_msgs/msg/JointState',
            'state.joints': ['wrist', 'shoulder', 'elbow'],
            'state.fields': ['position', 'velocity'],
        },
    ),
    'poses': Case('PoseStamped', 'state', VECTOR | {'state.message': 'geometry_msgs/msg/PoseStamped'}),
    'fixes': Case('NavSatFix', 'state', VECTOR | {'state.message': 'sensor_msgs/msg/NavSatFix'}),
    'distances': Case('Range', 'state', VECTOR | {'state.message': 'sensor_msgs/msg/Range'}),
    'joysticks': Case(
        'Joy', 'state', VECTOR | {'state.message': 'sensor_msgs/msg/Joy', 'state.fields': ['axes[:4]', 'buttons[1]']}
    ),
    'readings': Case('Imu', 'imu', IMU | PATIENT | {'sync.rate_hz': 50.0, 'imu.fields': FIELDS}),
}


class Driven:
    """A runtime that takes one fuzzed message after the other, and checks what became of each."""

    def __init__(self, case: Case) -> None:
        config, _ = parameters.from_dict(case.parameters)
        self.case, self.bench = case, make(config)
        self.pipeline = self.bench.runtime.pipeline
        #: Reasons for which messages whose fate is open may be dropped, by stream.
        self._open: dict[str, set[str]] = {name: set() for name in self.pipeline.streams}
        self._dropped: dict[str, dict[str, int]] = {name: {} for name in self.pipeline.streams}
        #: Reasons for which targets may have been lost, with the samples of other streams.
        self._lost_with: set[str] = set()
        #: Reasons for which images may be dropped by the CameraInfo that holds, which is the last that could be sent.
        self._of_calibration: frozenset[str] = frozenset()
        #: Messages that were put in, by stream.
        self.sent = dict.fromkeys(self.pipeline.streams, 0)

    def send(self, name: str, each: Fuzzed) -> list[FusedFrame]:
        """Put in a message of stream ``name``, a CameraInfo where it is empty; return the frames that came, checked."""
        bench, raw = self.bench, on_the_wire(each.message)
        if raw is None:
            return []
        if name:
            self.sent[name] += 1
            self._open[name] |= each.reasons | self._of_calibration
            bench.runtime.put(name, Serialized(raw))
        else:
            self._of_calibration = each.reasons
            bench.runtime.put_calibration(self.case.stream, raw)
        bench.clock.advance(0.02)
        bench.work()
        self._check_drops(each)
        for frame in bench.frames:
            self._check_frame(frame, each.message)
        frames, bench.frames = bench.frames, []
        return frames

    def check(self) -> None:
        """What must hold at any time: the ledger adds up, nothing is raw, and nothing grows."""
        bench = self.bench
        assert_adds_up(bench.runtime)
        assert {name: account.counts().received for name, account in self.pipeline.ledger.items()} == self.sent
        assert bench.runtime.metrics.failures == 0
        assert not bench.log.of('error')
        for status in bench.report().values():
            assert all(is_line(pair.value, 4 * MAX_MESSAGE) for pair in status.values), status
        assert all(is_line(line) for line in bench.log.of('warning'))
        bench.log.lines.clear()
        assert len(bench.runtime.drops.explanations) <= len(Reason) * len(self.sent)
        assert largest_table(bench.runtime) <= MOST_KEPT

    def _check_drops(self, each: Fuzzed) -> None:
        """Every new drop has a reason that what was done can have, and an explanation that is one short line."""
        for name, account in self.pipeline.ledger.items():
            dropped = account.counts().dropped
            # What has another stream behind it, as all_non_finite:lidar, went with a target that was lost by that one.
            new = {r for r, num in dropped.items() if num > self._dropped[name].get(r, 0)} - self._lost_with
            traces = [text for _, text in self.bench.log.lines if 'Traceback' in text]
            assert new <= self._open[name] | self.case.reasons, (each.name, each.done, new, self.explained(), *traces)
            self._dropped[name] = dropped
            self._lost_with |= {f'{reason}:{name}' for reason in new | self.case.reasons}
            if not self.pipeline.num_held(name):
                self._open[name].clear()
        for key, text in self.explained().items():
            assert is_line(text), (each.name, each.done, key, text)

    def explained(self) -> dict[tuple[str, str], str]:
        return {key: each.message for key, each in self.bench.runtime.drops.explanations.items()}

    def _check_frame(self, frame: FusedFrame, message: Any) -> None:
        for name, tensor in frame.tensors.items():
            # An image of floats keeps its infinities and NaN; what a rectified image does not show is padding.
            if getattr(message, 'encoding', '') != '32FC1':
                assert tensor.isfinite().all(), (name, tensor)
        if self.case.stream == 'imu':
            norms = frame.tensors['imu'][:, :4].norm(dim=1)[frame.tensors['imu.valid']]
            assert torch.allclose(norms, torch.ones(1), atol=1e-5), norms
        back = payload.decode(deserialize(encode_fused(frame), UInt8MultiArray).data)
        assert back.tensors.keys() == frame.tensors.keys()
        for output in OUTPUTS:
            if output.content is FusedFrame and output.group:
                for stream in getattr(self.pipeline.config, output.group):
                    output.encode(frame, stream)


def largest_table(root: object) -> int:
    """Entries of the largest container that ``root`` keeps alive, what its modules and classes hold left out."""
    waiting, seen, largest = [root], {id(root)}, 0
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict | list | set | deque):
            largest = max(largest, len(each))
        for referent in gc.get_referents(each):
            if id(referent) not in seen and not isinstance(referent, ModuleType | FunctionType | type):
                seen.add(id(referent))
                waiting.append(referent)
    return largest


def is_line(text: str, limit: int = MAX_MESSAGE + 200) -> bool:
    return text.isprintable() and len(text) <= limit
