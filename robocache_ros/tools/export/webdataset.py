# SPDX-License-Identifier: Apache-2.0
"""WebDataset: tar files with two members a frame, ``<key>.safetensors`` and ``<key>.json``, and an index of them.

The safetensors are the frame's payload, as the node publishes it, to the bit; the JSON is all of it but the tensors.
The same frames give the same bytes.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robocache_core import payload
from robocache_core.frame import FusedFrame
from robocache_ros.tools.export.manifest import sha256_of
from robocache_ros.tools.export.writer import BagWriter, Part, SetWriter, State

#: Bytes of a tar file from which the next frame goes into another one.
SHARD_BYTES = 256 << 20


class WebDatasetWriter(SetWriter):
    """Writes ``<bag>-<shard>.tar``, and ``index.json``.

    The index has the form of a wids-shard-index, and of each shard in ``frames`` the place of each frame's safetensors:
    the byte at which it begins in the tar file, and how many it has.
    """

    def begin(self, part: Part) -> BagWriter:
        return _Shards(self.folder, part)

    def finish(self, states: Sequence[State], manifest: Mapping[str, Any]) -> None:
        shards = [shard for state in states for shard in state['shards']]
        index = {'__kind__': 'wids-shard-index-v1', 'wids_version': 1, 'shardlist': shards}
        (self.folder / 'index.json').write_text(json.dumps(index, indent=1) + '\n', encoding='utf-8')


class _Shards(BagWriter):
    def __init__(self, folder: Path, part: Part) -> None:
        self._folder, self._part = folder, part
        self._shards: list[dict[str, Any]] = []
        self._tar: tarfile.TarFile | None = None
        #: Of the frames in the open file, where their safetensors are, and how long.
        self._offsets: list[tuple[int, int]] = []

    def add(self, frame: FusedFrame) -> None:
        tar = self._tar or self._open()
        key = f'{self._part.index:03d}-{frame.sequence:08d}'
        data = payload.encode(frame)
        self._offsets.append((tar.offset + tarfile.BLOCKSIZE, len(data)))
        _write(tar, f'{key}.safetensors', data)
        _write(tar, f'{key}.json', json.dumps(described(frame, self._part.name), separators=(',', ':')).encode())
        if tar.offset >= SHARD_BYTES:
            self._close()

    def close(self) -> State:
        self._close()
        return {'shards': self._shards}

    def abort(self) -> None:
        if self._tar is not None and self._tar.fileobj is not None:
            self._tar.fileobj.close()

    def _open(self) -> tarfile.TarFile:
        name = f'{self._part.index:03d}-{len(self._shards):05d}.tar'
        self._tar = tarfile.open(self._folder / name, 'w', format=tarfile.USTAR_FORMAT)  # noqa: SIM115  closed when full
        self._offsets = []
        return self._tar

    def _close(self) -> None:
        if self._tar is None:
            return
        self._tar.close()
        path = Path(str(self._tar.name))
        facts = {'filesize': path.stat().st_size, 'sha256': sha256_of(path)}
        self._shards.append({'url': path.name, 'nsamples': len(self._offsets), **facts, 'frames': self._offsets})
        self._tar = None


def _write(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def described(frame: FusedFrame, bag: str) -> dict[str, Any]:
    """All of a frame but its tensors, with their shapes and types."""
    return {
        'bag': bag,
        'stamp_ns': frame.stamp_ns,
        'epoch': frame.epoch,
        'sequence': frame.sequence,
        'frame_id': frame.frame_id,
        'valid': frame.valid,
        'age_ns': frame.age_ns,
        'given_up': frame.given_up,
        'damaged': frame.damaged,
        'columns': frame.columns,
        'stamped_by_arrival': frame.stamped_by_arrival,
        'stamp_offset_ns': frame.stamp_offset_ns,
        'tensors': {
            name: {'dtype': str(tensor.dtype).removeprefix('torch.'), 'shape': list(tensor.shape)}
            for name, tensor in frame.tensors.items()
        },
    }
