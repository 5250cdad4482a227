# SPDX-License-Identifier: Apache-2.0
"""Frames on their way from the process that computed them: as bytes that hold all of each, to the bit."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from robocache_core import payload
from robocache_core.frame import CameraView, FusedFrame
from robocache_core.samples import CameraInfo

#: What precedes a frame: the lengths of its views, as JSON, and of its payload.
_HEAD = struct.Struct('<QQ')


def write_frame(file: BinaryIO, frame: FusedFrame) -> None:
    """Append a frame to a file."""
    views = json.dumps({name: dataclasses.asdict(view) for name, view in frame.views.items()}).encode()
    data = payload.encode(frame)
    file.write(_HEAD.pack(len(views), len(data)) + views)
    file.write(data)


def read_frames(file: BinaryIO) -> Iterator[FusedFrame]:
    """Yield the frames that were written to a file."""
    while head := file.read(_HEAD.size):
        of_views, size = _HEAD.unpack(head)
        views = {name: _view(each) for name, each in json.loads(file.read(of_views)).items()}
        yield dataclasses.replace(payload.decode(bytearray(file.read(size))), views=views)


def _view(tree: dict[str, Any]) -> CameraView:
    """The view that ``dataclasses.asdict`` made ``tree`` of; JSON has lists for tuples."""
    info = tree['info']
    found = info and {key: tuple(value) if isinstance(value, list) else value for key, value in info.items()}
    return CameraView(tree['frame_id'], CameraInfo(**found) if found else None, tuple(tree['rotation']))
