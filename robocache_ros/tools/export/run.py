# SPDX-License-Identifier: Apache-2.0
"""One export, from the bags to the training set."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import operator
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robocache_core import payload
from robocache_core.config import PipelineConfig
from robocache_core.device import on_host
from robocache_core.frame import FusedFrame
from robocache_ros.bag_outcome import BagOutcome
from robocache_ros.bags import Bag, open_bag
from robocache_ros.offline import fused_frames
from robocache_ros.parameters import NodeConfig
from robocache_ros.period import listed
from robocache_ros.shards import shards_of
from robocache_ros.tools.configuration import absent_topics, expected_types
from robocache_ros.tools.export import manifest
from robocache_ros.tools.export.engines import Engine, Frames, make_engine
from robocache_ros.tools.export.formats import make_writer
from robocache_ros.tools.export.part_folder import PartFolder
from robocache_ros.tools.export.timeline import Timeline
from robocache_ros.tools.export.writer import BagWriter, ExportError, NoFrameError, Part, SetWriter, UnusableError
from robocache_ros.tools.writing import write

#: Called with the seconds of all bags that are done, and the number of frames so far.
Progress = Callable[[float, int], None]


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
    html: Path | None = None,
    engine: str = 'processes',
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
        jobs: processes or tasks that compute; the set does not depend on it.
        engine: of ``names.ENGINES``, what computes.
        html: file to write a report to, not in ``out``; needs matplotlib.
        progress: is called for each frame.

    Raises:
        UnusableError: the configuration does not fit a format, a library is missing, ``out`` exists, ``html`` is a
            folder or in ``out``.
        ExportError: a bag is written meanwhile, or a process or task is lost.
        BagError: a bag cannot be read, lacks all topics of the configuration, or is given twice.
        NoFrameError: no frame comes, or a format takes none of them; nothing is left of the set.
        OSError: a file cannot be written: what is written stays in ``OUT.part``.
    """
    folder = PartFolder(out)
    if html is not None:
        _check_reporting(html, out)  # before hours of computing
    types = expected_types(configuration.pipeline)
    bags = [open_bag(path, types.values()) for path in paths]
    for bag in bags:
        absent_topics(bag, types)
    writers = {
        name: make_writer(name, folder.path / name, configuration.pipeline, configuration.node) for name in formats
    }
    states = [manifest.state_of(bag) for bag in bags]
    identities = [manifest.identity(bag) for bag in bags]
    manifest.check_given_once(bags, identities)
    settings = {
        'formats': list(formats),
        'configuration': configuration.text,
        'bags': identities,
        **manifest.made_by(),
    }
    folder.open(settings)
    with closing(folder), _removed_without_frames(folder):
        records = _Exporter(bags, states, configuration.pipeline, writers, folder, progress).run(engine, jobs)
        digests = [digest for record in records for digest in record['digests']]
        if not digests:
            why = '; '.join(_why_none(bag, record['outcome']) for bag, record in zip(bags, records, strict=True))
            raise NoFrameError(f'no frame came of {why}: `inspect BAG CONFIG` says what to do')
        outcomes = [{**identity, **record['outcome']} for identity, record in zip(identities, records, strict=True)]
        whole = manifest.manifest(outcomes, digests, configuration.text, formats)
        for name, writer in writers.items():
            writer.finish([record['states'][name] for record in records], whole)
        (folder.path / manifest.NAME).write_text(json.dumps(whole, indent=2) + '\n', encoding='utf-8')
        if html is not None:
            _write_report(html, whole, [record['over_time'] for record in records], bags[0], configuration.pipeline)
        folder.complete()
    return whole


@contextmanager
def _removed_without_frames(folder: PartFolder) -> Iterator[None]:
    """Remove the folder of a set that is refused, where it has no bag, or would have no frame."""
    try:
        yield
    except ExportError as error:
        if isinstance(error, NoFrameError) or folder.written(0) is None:
            folder.remove()
        raise


def _why_none(bag: Bag, outcome: Mapping[str, Any]) -> str:
    """Say what the targets of a bag were dropped for, or where none came, the messages of its streams."""
    accounts = {'targets': outcome['targets']} if outcome['targets']['received'] else outcome['streams']
    found = (
        f'{each["received"]} {name}' + f' (dropped: {listed(each["dropped"])})' * bool(each['dropped'])
        for name, each in accounts.items()
    )
    return f'{bag.path}: {", ".join(found)}'


def _check_reporting(html: Path, out: Path) -> None:
    try:
        importlib.import_module('robocache_ros.tools.export.page')
    except ModuleNotFoundError as error:
        raise UnusableError(f'a report needs {error.name}: pip install {error.name}') from error
    if html.is_dir() or out.resolve() in html.resolve().parents:
        raise UnusableError(f'--html {html}: must be a file, beside {out} and not in it')
    html.parent.mkdir(parents=True, exist_ok=True)


def _write_report(
    file: Path, whole: Mapping[str, Any], over_time: Sequence[Mapping[str, Any]], first: Bag, config: PipelineConfig
) -> None:
    from robocache_ros.tools.export.page import render  # matplotlib is for pages alone
    from robocache_ros.tools.overlays import overlays_of_bag

    write(file, render(whole, over_time, overlays_of_bag(first, config), config))


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

    def run(self, engine: str, jobs: int) -> list[dict[str, Any]]:
        """Return what was noted of each bag."""
        missing = [index for index in range(len(self._bags)) if self._folder.written(index) is None]
        if (engine, jobs) == ('processes', 1) or not missing:
            return self._write_all(self._one_pass)
        per_bag = max(1, jobs // len(missing))
        shards = {index: shards_of(self._bags[index], per_bag) for index in missing}
        in_order = [shard for each in shards.values() for shard in each]
        with closing(make_engine(engine, in_order, self._config, jobs, self._folder.spool)) as workers:
            return self._write_all(lambda index, timeline: _joined(workers, len(shards[index]), timeline))

    def _write_all(self, source: Callable[[int, Timeline], Frames]) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = []
        for index in range(len(self._bags)):
            record = self._folder.written(index)
            if record is None:
                timeline = Timeline(self._bags[index].duration_s)
                record = self._write(index, source(index, timeline), timeline, records)
                self._folder.note(index, record)
            records.append(record)
        return records

    def _one_pass(self, index: int, timeline: Timeline) -> Frames:
        with fused_frames(self._bags[index].path, self._config) as frames:
            for frame in frames:
                yield frame
                timeline.counted(frames.counts)
            timeline.counted(frames.counts)
            return frames.outcome

    def _write(
        self, index: int, frames: Frames, timeline: Timeline, before: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        bag = self._bags[index]
        for writer in self._writers.values():
            writer.folder.mkdir(parents=True, exist_ok=True)
        parts = {
            key: writer.begin(Part(index, manifest.name_of(bag), [record['states'][key] for record in before]))
            for key, writer in self._writers.items()
        }
        try:
            digests, found = self._copy(index, frames, timeline, list(parts.values()))
            if manifest.state_of(bag) != self._bag_states[index]:
                raise ExportError(f'{bag.path} was written while it was read: export it once its recording has ended')
            states = {key: part.close() for key, part in parts.items()}
        except BaseException:
            for part in parts.values():
                part.abort()
            raise
        outcome, over_time = manifest.outcome(digests, found), timeline.summary()
        return {'states': states, 'outcome': outcome, 'digests': digests, 'over_time': over_time}

    def _copy(
        self, index: int, frames: Frames, timeline: Timeline, parts: Sequence[BagWriter]
    ) -> tuple[list[str], BagOutcome]:
        done_s = sum(bag.duration_s for bag in self._bags[:index])
        digests: list[str] = []
        while True:
            try:
                frame = _plain(next(frames))
            except StopIteration as end:
                return digests, end.value
            digests.append(payload.digest(frame))
            timeline.frame(frame)
            for part in parts:
                part.add(frame)
            self._num_frames += 1
            into_s = (frame.stamp_ns - self._bags[index].start_ns) / 1e9
            self._progress(done_s + min(max(into_s, 0.0), self._bags[index].duration_s), self._num_frames)


def _joined(engine: Engine, count: int, timeline: Timeline) -> Frames:
    """The frames of the next shards, numbered as those of one pass."""
    parts = []
    number = 0
    for _ in range(count):
        outcome, number = yield from _numbered(engine.take(), number)
        parts.append(outcome)
        timeline.counted(functools.reduce(operator.add, parts).counts)
    return functools.reduce(operator.add, parts)


def _numbered(frames: Frames, number: int) -> Generator[FusedFrame, None, tuple[BagOutcome, int]]:
    """Frames of a shard, numbered from ``number`` on; at their end what became of it, and the next number."""
    while True:
        try:
            frame = next(frames)
        except StopIteration as end:
            return end.value, number
        yield dataclasses.replace(frame, sequence=number)
        number += 1


def _plain(frame: FusedFrame) -> FusedFrame:
    """The frame on the CPU, without how long it took: the same whenever it is computed."""
    tensors = dict(zip(frame.tensors, on_host(list(frame.tensors.values())), strict=True))
    return dataclasses.replace(frame, tensors=tensors, latency_ns={})
