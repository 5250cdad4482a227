# SPDX-License-Identifier: Apache-2.0
"""MCAP: a rosbag2 for each bag, with the topics on which the node publishes frames, and all its views of them.

Messages are recorded at the stamp of their frame. Where stamps go back, at an epoch, the record goes on: it plays in
the order of the frames. A view of a stream that is not valid in a frame is left out. The same frames give the same
bytes.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rclpy.serialization import serialize_message
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from robocache_core.config import StreamConfig
from robocache_core.frame import FusedFrame
from robocache_ros.publishers import OUTPUTS, Output
from robocache_ros.tools.export.writer import BagWriter, Part, SetWriter, State

_NODE = '/preprocess'
#: From the last record before an epoch to its first, ns.
_PAUSE_NS = 10**9

Outlet = tuple[Output, tuple[StreamConfig, ...], Any]


class McapWriter(SetWriter):
    """Writes a folder ``<bag>`` with ``<bag>.mcap`` and ``metadata.yaml``, as ``ros2 bag`` does."""

    def begin(self, part: Part) -> BagWriter:
        return _Record(self.folder / f'{part.index:03d}', self._topics())

    def finish(self, states: Sequence[State], manifest: Mapping[str, Any]) -> None:
        return  # each bag is whole by itself

    def _topics(self) -> Iterator[tuple[str, Output, tuple[StreamConfig, ...]]]:
        node = dataclasses.replace(self.node, publish_voxels=True, publish_images=True)
        for output in OUTPUTS:
            if output.content is FusedFrame:
                for topic, streams in output.topics(self.config, node):
                    yield topic.replace('~', _NODE), output, streams


class _Record(BagWriter):
    def __init__(self, folder: Path, topics: Iterator[tuple[str, Output, tuple[StreamConfig, ...]]]) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._store = get_typestore(Stores.ROS2_JAZZY)
        self._outlets: list[Outlet] = [
            (output, streams, self._writer.add_connection(topic, _type_name(output.message), typestore=self._store))
            for topic, output, streams in topics
        ]
        self._epoch, self._last_ns, self._offset_ns = 0, 0, 0

    def add(self, frame: FusedFrame) -> None:
        if frame.epoch != self._epoch and self._last_ns:
            self._offset_ns = max(0, self._last_ns + _PAUSE_NS - frame.stamp_ns)
        self._epoch, self._last_ns = frame.epoch, frame.stamp_ns + self._offset_ns
        for output, streams, connection in self._outlets:
            message = output.encode(frame, *streams) if all(frame.valid[stream.name] for stream in streams) else None
            if message is not None:
                raw = message if isinstance(message, memoryview) else self._serialized(message, connection.msgtype)
                self._writer.write(connection, self._last_ns, raw)

    def _serialized(self, message: Any, msgtype: str) -> memoryview:
        """The CDR of a message; that of rclpy has any bytes between members."""
        found: memoryview = self._store.serialize_cdr(
            self._store.deserialize_cdr(serialize_message(message), msgtype), msgtype
        )
        return found

    def close(self) -> State:
        self._writer.close()
        return {}

    def abort(self) -> None:
        with suppress(OSError, ValueError):  # what is left may not fit on the disk either, or its file be closed
            self._writer.close()


def _type_name(message: Any) -> str:
    return f'{message.__module__.partition(".")[0]}/msg/{message.__name__}'
