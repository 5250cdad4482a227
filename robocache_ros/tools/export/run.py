# SPDX-License-Identifier: Apache-2.0
"""One export, from the bags to the training set."""

from __future__ import annotations

import dataclasses
import functools
import json
import operator
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robocache_core import payload
from robocache_core.config import PipelineConfig
from robocache_core.device import on_host
from robocache_core.frame import FusedFrame
from robocache_core.ledger import Counts
from robocache_ros.bags import Bag, open_bag
from robocache_ros.offline import fused_frames
from robocache_ros.parameters import NodeConfig
from robocache_ros.shards import shards_of
from robocache_ros.tools.configuration import absent_topics, expected_types
from robocache_ros.tools.export import manifest
from robocache_ros.tools.export.formats import make_writer
from robocache_ros.tools.export.part_folder import PartFolder
from robocache_ros.tools.export.shards import Workers
from robocache_ros.tools.export.writer import BagWriter, ExportError, Part, SetWriter

#: Called with the seconds of all bags that are done, and the number of frames so far.
Progress = Callable[[float, int], None]
#: Frames of a bag, and at their end its counts.
Frames = Generator[FusedFrame, None, Mapping[str, Counts]]


@dataclass(frozen=True)
class Configuration:
    """The configuration of a set, and the text of its file."""

    pipeline: PipelineConfig
    node: NodeConfig
    text: str


def export(
    paths: Sequence[Path],
    configuration: Configuration,
    out: Path,
    formats: Sequence[str],
    *,
    jobs: int = 1,
    progress: Progress = lambda done_s, frames: None,
) -> dict[str, Any]:
    """Write the frames of bags to ``out``, a folder each format, and return the manifest of the set.

    While it is written it is ``OUT.part``. Where that is left by an export of the same bags by the same configuration
    that was interrupted, the bags that were written are not computed again.

    Args:
        paths: the bags, in the order of the set.
        configuration: of the pipeline and the formats.
        out: must not exist.
        formats: of ``formats.FORMATS``.
        jobs: processes that compute; the set does not depend on it.
        progress: is called for each frame.

    Raises:
        ExportError: the configuration does not fit a format, a library is missing, ``out`` exists, a bag is written
            meanwhile, no frame comes.
        BagError: a bag cannot be read, or lacks all topics of the configuration.
        OSError: a file cannot be written: what is written stays in ``OUT.part``.
    """
    types = expected_types(configuration.pipeline)
    bags = [open_bag(path, types.values()) for path in paths]
    for bag in bags:
        absent_topics(bag, types)
    states = [manifest.state_of(bag) for bag in bags]
    identities = [manifest.identity(bag) for bag in bags]
    settings = {
        'formats': list(formats),
        'configuration': configuration.text,
        'bags': identities,
        **manifest.made_by(),
    }
    with closing(PartFolder(out, settings)) as folder:
        writers = {
            name: make_writer(name, folder.path / name, configuration.pipeline, configuration.node) for name in formats
        }
        records = _Exporter(bags, states, configuration.pipeline, writers, folder, progress).run(jobs)
        digests = [digest for record in records for digest in record['digests']]
        if not digests:
            raise ExportError(f'no frame came of {", ".join(map(str, paths))}: `inspect` says why')
        outcomes = [{**identity, **record['outcome']} for identity, record in zip(identities, records, strict=True)]
        whole = manifest.manifest(outcomes, digests, configuration.text, formats)
        for name, writer in writers.items():
            writer.finish([record['states'][name] for record in records], whole)
        (folder.path / manifest.NAME).write_text(json.dumps(whole, indent=2) + '\n', encoding='utf-8')
        folder.complete()
    return whole


class _Exporter:
    """Writes the bags of a set that are not written yet, one after the other."""

    def __init__(
        self,
        bags: Sequence[Bag],
        bag_states: Sequence[list[tuple[int, int]]],
        config: PipelineConfig,
        writers: Mapping[str, SetWriter],
        folder: PartFolder,
        progress: Progress,
    ) -> None:
        self._bags, self._bag_states, self._config, self._writers = bags, bag_states, config, writers
        self._folder, self._progress = folder, progress
        self._num_frames = 0

    def run(self, jobs: int) -> list[dict[str, Any]]:
        """Return what was noted of each bag."""
        missing = [index for index in range(len(self._bags)) if self._folder.written(index) is None]
        if jobs == 1 or not missing:
            return self._write_all(self._one_pass)
        per_bag = max(1, jobs // len(missing))
        shards = {index: shards_of(self._bags[index], per_bag) for index in missing}
        workers = Workers([shard for each in shards.values() for shard in each], self._config, jobs, self._folder.spool)
        with closing(workers):
            return self._write_all(lambda index: self._joined(workers, len(shards[index])))

    def _write_all(self, source: Callable[[int], Frames]) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = []
        for index in range(len(self._bags)):
            record = self._folder.written(index)
            if record is None:
                record = self._write(index, source(index), records)
                self._folder.note(index, record)
            records.append(record)
        return records

    def _one_pass(self, index: int) -> Frames:
        with fused_frames(self._bags[index].path, self._config) as frames:
            yield from frames
            return frames.counts

    def _joined(self, workers: Workers, count: int) -> Frames:
        """The frames of the next shards, numbered as those of one pass."""
        parts = []
        number = 0
        for _ in range(count):
            frames, counts = workers.take()
            parts.append(counts)
            for frame in frames:
                yield dataclasses.replace(frame, sequence=number)
                number += 1
        return {name: functools.reduce(operator.add, (part[name] for part in parts)) for name in parts[0]}

    def _write(self, index: int, frames: Frames, before: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        bag = self._bags[index]
        parts = {
            key: writer.begin(Part(index, _name_of(bag), [record['states'][key] for record in before]))
            for key, writer in self._writers.items()
        }
        try:
            digests, counts = self._copy(index, frames, list(parts.values()))
            if manifest.state_of(bag) != self._bag_states[index]:
                raise ExportError(f'{bag.path} was written while it was read: export it once its recording has ended')
            states = {key: part.close() for key, part in parts.items()}
        except BaseException:
            for part in parts.values():
                part.abort()
            raise
        return {'states': states, 'outcome': manifest.outcome(digests, counts), 'digests': digests}

    def _copy(self, index: int, frames: Frames, parts: Sequence[BagWriter]) -> tuple[list[str], Mapping[str, Counts]]:
        done_s = sum(bag.duration_s for bag in self._bags[:index])
        digests: list[str] = []
        while True:
            try:
                frame = _plain(next(frames))
            except StopIteration as end:
                return digests, end.value
            digests.append(payload.digest(frame))
            for part in parts:
                part.add(frame)
            self._num_frames += 1
            into_s = (frame.stamp_ns - self._bags[index].start_ns) / 1e9
            self._progress(done_s + min(max(into_s, 0.0), self._bags[index].duration_s), self._num_frames)


def _name_of(bag: Bag) -> str:
    """What a set calls a bag: the name of its folder, or that of its file without the suffix."""
    path = bag.path.resolve()
    return path.name if path.is_dir() else path.stem


def _plain(frame: FusedFrame) -> FusedFrame:
    """The frame on the CPU, without how long it took: the same whenever it is computed."""
    tensors = dict(zip(frame.tensors, on_host(list(frame.tensors.values())), strict=True))
    return dataclasses.replace(frame, tensors=tensors, latency_ns={})
