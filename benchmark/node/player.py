# SPDX-License-Identifier: Apache-2.0
"""The sensors' drivers: publishes the prepared messages on time.

python -m benchmark.node.player frames|imu --folder FOLDER --period-ns N --frames N --warm-up N

The stamp of a message is the moment at which it is due: its bytes are ready before, and it is published then. How late
that was is reported, and is part of every latency. Readings of the IMU are due with the frames, and between them.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import struct
import time
from array import array
from pathlib import Path
from typing import Any

import rclpy

from benchmark.node import subject
from benchmark.node.topics import FRAME_TOPICS, IMU_PER_FRAME, IMU_TOPICS, folder_of, sensor_data

#: How long before it is due a frame is put together.
_AHEAD_NS = 5_000_000
#: How long the end of ROS may take before the log says where it hangs.
_END_S = 5.0
#: Frames before the first one and after the last one for which there are readings of the IMU.
_IMU_BEFORE, _IMU_AFTER = 2, 1


class Track:
    """One topic: its publisher and its messages, which are sent one after the other, and then again."""

    def __init__(self, node: Any, topic: str, message: Any, folder: Path) -> None:
        self.publisher = node.create_publisher(message, topic, sensor_data(10))
        self._messages = [file.read_bytes() for file in sorted(folder_of(topic, folder).glob('*.cdr'))]
        if not self._messages:
            raise FileNotFoundError(f'{folder_of(topic, folder)} has no messages')

    def stamped(self, number: int, stamp_ns: int) -> bytes:
        """Message ``number`` with this stamp, which comes first in it, behind four bytes that every message has."""
        message = memoryview(self._messages[number % len(self._messages)])
        return b''.join((message[:4], struct.pack('<iI', *divmod(stamp_ns, 1_000_000_000)), message[12:]))


def main(args: list[str] | None = None) -> None:
    """Wait for the subscribers, then for the order to begin; publish, and report how late that was."""
    options = _parser().parse_args(args)
    node = subject.start(f'player_of_{options.what}')
    topics = FRAME_TOPICS if options.what == 'frames' else IMU_TOPICS
    tracks = [Track(node, topic, message, options.folder) for topic, message in topics.items()]
    subject.wait_matched(lambda: all(track.publisher.get_subscription_count() == 1 for track in tracks))
    subject.say('ready', priority=claim_priority())
    order = subject.hear()
    if order is not None:
        if options.what == 'frames':
            _play_frames(tracks, order['first_ns'], options)
        else:
            _play_imu(tracks, order['first_ns'], options)
        subject.hear()
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # nothing is due any more
    faulthandler.dump_traceback_later(_END_S)
    rclpy.shutdown()


def claim_priority() -> str:
    """Have this thread go before those of the subjects: a sensor's clock waits for nobody's computation."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return 'normal'
    return 'real-time'


def _play_frames(tracks: list[Track], first_ns: int, options: argparse.Namespace) -> None:
    stamps = [first_ns + number * options.period_ns for number in range(options.frames)]
    late_ns = array('q')
    for number, stamp_ns in enumerate(stamps):
        sleep_until(stamp_ns - _AHEAD_NS)
        messages = [track.stamped(number, stamp_ns) for track in tracks]
        if number == options.warm_up:
            subject.say('measuring')
        sleep_until(stamp_ns)
        late_ns.append(time.time_ns() - stamp_ns)
        for track, message in zip(tracks, messages, strict=True):
            track.publisher.publish(message)
    sleep_until(stamps[-1] + options.period_ns)
    subject.say('sent', stamps_ns=stamps[options.warm_up :], late_ns=list(late_ns[options.warm_up :]))


def _play_imu(tracks: list[Track], first_ns: int, options: argparse.Namespace) -> None:
    late_ns = array('q')
    for number in range(-_IMU_BEFORE * IMU_PER_FRAME, (options.frames + _IMU_AFTER) * IMU_PER_FRAME):
        due_ns = first_ns + number * options.period_ns // IMU_PER_FRAME
        sleep_until(due_ns)
        late_ns.append(time.time_ns() - due_ns)
        for track in tracks:
            track.publisher.publish(track.stamped(number, due_ns))
    warm_up = (_IMU_BEFORE + options.warm_up) * IMU_PER_FRAME
    subject.say('sent', late_ns=list(late_ns[warm_up:]))


def sleep_until(due_ns: int) -> None:
    """Sleep until a time of the wall clock, if it is to come."""
    time.sleep(max(0, due_ns - time.time_ns()) * 1e-9)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m benchmark.node.player', description=__doc__.partition('\n')[0])
    parser.add_argument('what', choices=('frames', 'imu'))
    parser.add_argument('--folder', type=Path, required=True, help='the prepared messages')
    parser.add_argument('--period-ns', type=int, required=True, help='from a frame to the next')
    parser.add_argument('--frames', type=int, required=True, help='how many')
    parser.add_argument('--warm-up', type=int, required=True, help='how many of them are not measured')
    return parser


if __name__ == '__main__':
    main()
