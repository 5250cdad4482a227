# SPDX-License-Identifier: Apache-2.0
"""Writes a bag with faults from one without."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from rosbags.interfaces import Qos
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.metadata import parse_qos

from robocache_core.units import MS, SECOND
from robocache_ros.bags import Bag, Topic
from robocache_ros.tools.faults.fault import Fault, Message
from robocache_ros.tools.faults.injector import Injection, Injector
from robocache_ros.tools.faults.transport import Loop
from robocache_ros.tools.recording import TYPESTORE

#: Where the injections are listed, in the folder of the bag: a line of JSON each.
LIST = 'faults.jsonl'

#: Time from the last message of a bag to the first of the next lap, ns.
_BETWEEN_LAPS_NS = MS


def write_faulty(
    bag: Bag,
    out: Path,
    faults: Sequence[tuple[str, Fault | Loop]],
    *,
    seed: int,
    overwrite: bool = False,
    progress: Callable[[float], None] = lambda done_s: None,
) -> Counter[str]:
    """Write the bag ``out``, an mcap, and the list of injections in it; nothing is left when that fails half-way.

    Args:
        bag: what is read.
        out: folder of the bag.
        faults: each with the name of its kind, in the order in which they are applied.
        seed: of all that is random.
        overwrite: replace ``out`` where it is a bag.
        progress: called after each message with the recorded seconds that are done.

    Returns:
        Messages that were changed, by kind of fault.

    Raises:
        FileExistsError: ``out`` exists, and is not a bag, or holds ``bag``, or ``overwrite`` is not given.
        BagError: ``bag`` cannot be read.
    """
    _check_out(out, bag, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix='.faults-', dir=out.parent) as scratch:
        folder = Path(scratch) / out.name
        with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer, (folder / LIST).open('w') as file:
            counts = _write(bag, writer, file, faults, seed, progress)
        if out.exists():
            shutil.rmtree(out)
        folder.rename(out)
    return counts


def num_laps(faults: Sequence[tuple[str, Fault | Loop]]) -> int:
    """Return how often the faults have the bag played."""
    return math.prod(fault.times for _, fault in faults if isinstance(fault, Loop))


def _check_out(out: Path, bag: Bag, overwrite: bool) -> None:
    if not out.exists():
        return
    if not overwrite:
        raise FileExistsError(f'{out} exists: choose another name or overwrite it')
    if not (out / 'metadata.yaml').is_file():
        raise FileExistsError(f'{out} exists and is not a bag: it is not overwritten')
    if any(path.resolve().is_relative_to(out.resolve()) for path in bag.files):
        raise FileExistsError(f'{out} is the bag that is read: choose another name')


def _write(
    bag: Bag,
    writer: Writer,
    file: TextIO,
    faults: Sequence[tuple[str, Fault | Loop]],
    seed: int,
    progress: Callable[[float], None],
) -> Counter[str]:
    injector = Injector([(kind, fault) for kind, fault in faults if isinstance(fault, Fault)], seed)
    connections = {
        topic.name: _connect(writer, topic) for topic in bag.topics.values() if topic.count and not topic.unreadable
    }
    counts: Counter[str] = Counter()

    def flush(now_ns: int | None) -> None:
        for each in injector.due(now_ns):
            writer.write(connections[each.topic.name], each.record_ns, each.raw)
        counts.update(_list(injector.injections, file))
        injector.injections.clear()

    for message in _messages(bag, connections, num_laps(faults)):
        if message.lap:
            injector.injections.append(Injection.of('loop', message, 1))
        injector.put(message)
        flush(message.record_ns)
        progress(message.elapsed_ns / SECOND)
    flush(None)
    return counts


def _messages(bag: Bag, topics: dict[str, Any], laps: int) -> Iterator[Message]:
    """Yield the messages of a bag, lap after lap."""
    for lap in range(laps):
        numbers: Counter[str] = Counter()
        shift_ns = lap * (bag.end_ns - bag.start_ns + _BETWEEN_LAPS_NS)
        for name, recorded_ns, raw in bag.messages(topics):
            record_ns = recorded_ns + shift_ns
            yield Message(bag.topics[name], record_ns, raw, numbers[name], lap, record_ns - bag.start_ns)
            numbers[name] += 1


def _list(injections: Sequence[Injection], file: TextIO) -> Iterator[str]:
    """Write a line for each injection; yield its kind."""
    for injection in injections:
        file.write(json.dumps(dataclasses.asdict(injection)) + '\n')
        yield injection.kind


def _connect(writer: Writer, topic: Topic) -> Any:
    """Add a topic to a bag; a type that is not one of ROS 2's own keeps what the recorder wrote of it."""
    offered = _offered(topic)
    if topic.msgtype in TYPESTORE.fielddefs:
        return writer.add_connection(topic.name, topic.msgtype, typestore=TYPESTORE, offered_qos_profiles=offered)
    return writer.add_connection(
        topic.name,
        topic.msgtype,
        msgdef=topic.definition,
        rihs01=topic.digest or f'RIHS01_{0:064x}',
        offered_qos_profiles=offered,
    )


def _offered(topic: Topic) -> list[Qos]:
    try:
        return list(parse_qos([dict(qos.profile) for qos in topic.qos]))
    except Exception:  # what a recorder left out there is no reason to lose the topic
        return []
