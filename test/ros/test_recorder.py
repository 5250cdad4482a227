# SPDX-License-Identifier: Apache-2.0
"""The flight recorder: what it keeps, when it is written, and what its file holds."""

import dataclasses
import json
import random
import re
import threading
from collections import Counter
from pathlib import Path

import pytest
from support.flight import BROKEN, CONFIG, HEADER, drive, robot, write_broken
from support.runtime import FRONT, LIDAR, START_NS, Lines, SetClock, cloud, image, imu, make

from robocache_core.config import PipelineConfig, SyncConfig
from robocache_core.ledger import Reason
from robocache_core.units import MS, SECOND
from robocache_ros import record_file
from robocache_ros.dumps import PAUSE_NS, Dumps
from robocache_ros.event_log import EventLog
from robocache_ros.message import Serialized
from robocache_ros.recorder import Kind, Recorder
from robocache_ros.tools.explanation import Explainer, fates

PAGE = Path(__file__).parents[2] / 'docs' / 'flight_recorder.md'


def kinds(entries):
    return [entry.kind for entry in entries]


def test_arrivals_and_decisions_are_kept_in_order(tmp_path):
    bench = robot(tmp_path)
    drive(bench, 1000)
    entries = bench.runtime.recorder.entries()
    assert [entry.number for entry in entries] == list(range(len(entries)))
    found = kinds(entries)
    for name, account in bench.runtime.pipeline.ledger.items():
        arrived = [entry for entry in entries if entry.kind is Kind.ARRIVED and entry.values[0] == name]
        assert len(arrived) == account.counts().received
    targets = bench.runtime.pipeline.targets.counts()
    assert found.count(Kind.FRAME) == targets.used == len(bench.frames)
    assert found.count(Kind.DROPPED) == sum(targets.dropped.values()) == 1  # the first has no window
    picks = next(entry.values[2] for entry in entries if entry.kind is Kind.READY and 'imu' in entry.values[2])
    assert picks['lidar'] == (START_NS, START_NS, 1, True)


def test_messages_that_are_refused_have_their_reason(tmp_path):
    bench = robot(tmp_path)
    bench.put('front', image(0, encoding='cmyk'))
    bench.runtime.put('front', Serialized(b''))
    bench.work()
    refused = [entry.values for entry in bench.runtime.recorder.entries() if entry.kind is Kind.REFUSED]
    assert [(name, reason) for name, reason, _ in refused] == [
        ('front', 'unknown_encoding'),
        ('front', 'undeserializable'),
    ]
    assert 'cmyk' in refused[0][2]


def test_a_message_that_never_left_its_inbox_has_its_reason(tmp_path):
    front = dataclasses.replace(FRONT, queue=dataclasses.replace(FRONT.queue, depth=1))
    bench = robot(tmp_path, PipelineConfig(cameras=(front,)))
    bench.put('front', image(0), image(50))
    (refused,) = [entry for entry in bench.runtime.recorder.entries() if entry.kind is Kind.REFUSED]
    assert refused.values == ('front', 'inbox_full', '')


def test_an_epoch_and_what_it_ends_are_kept(tmp_path):
    bench = robot(tmp_path, PipelineConfig(lidars=(LIDAR,), cameras=(FRONT,), sync=SyncConfig(max_wait_ns=SECOND)))
    for ms in (5000, 5100, 0, 100):
        bench.put('lidar', cloud(ms))
    bench.work()
    entries = bench.runtime.recorder.entries()
    (epoch,) = [entry.values for entry in entries if entry.kind is Kind.EPOCH]
    assert epoch[0] == 1
    lost = [entry.values for entry in entries if entry.kind is Kind.DROPPED]
    assert lost == [(START_NS + ms * MS, 'time_jump') for ms in (5000, 5100)]


def test_thinned_targets_are_kept(tmp_path):
    bench = robot(tmp_path, PipelineConfig(lidars=(LIDAR,)))
    bench.runtime.pipeline.keep_every = 2
    for ms in range(0, 400, 100):
        bench.put('lidar', cloud(ms))
        bench.runtime.ingest.take(*take(bench))
    reasons = [entry.values[1] for entry in bench.runtime.recorder.entries() if entry.kind is Kind.DROPPED]
    assert reasons == ['thinned'] * 2


@pytest.mark.parametrize('seed', range(8))
def test_whatever_comes_every_target_ends_once_as_the_ledger_counts_it(tmp_path, seed):
    chance = random.Random(seed)
    bench = robot(tmp_path)
    at_ms = 0
    for _ in range(400):
        at_ms += chance.choice((0, 10, 10, 20, 50, -2000 if chance.random() < 0.02 else 30))
        bench.clock.advance(0.01)
        name, message = chance.choice((('imu', imu), ('imu', imu), ('front', image), ('lidar', cloud)))
        bench.runtime.pipeline.keep_every = chance.choice((1, 1, 1, 2))
        bench.put(name, message(5000 + at_ms))
        if chance.random() < 0.5:
            bench.work()
    bench.work()
    bench.runtime.pipeline.clear(Reason.DEACTIVATED)
    entries = bench.runtime.recorder.entries()
    targets = bench.runtime.pipeline.targets.counts()
    assert Counter(entry.values[1] for entry in entries if entry.kind is Kind.DROPPED) == targets.dropped
    assert kinds(entries).count(Kind.FRAME) == targets.used == len(bench.frames)
    assert kinds(entries).count(Kind.EPOCH) == bench.runtime.pipeline.epoch
    assert targets.received == targets.used + sum(targets.dropped.values())
    path = bench.runtime.dumps.write('test')
    shown = fates(record_file.read(path))
    assert len(shown) == targets.received
    explainer = Explainer(record_file.read(path))
    assert all(list(explainer.explain(fate)) for fate in shown)


def take(bench):
    name, arrival = bench.runtime.inboxes.take(0.0)
    return name, arrival.message


def test_it_is_bounded_in_time_and_in_number():
    clock = SetClock()
    recorder = Recorder(clock, SECOND, size=100)
    for number in range(250):
        clock.advance(0.001)
        recorder.arrived('imu', number, 1)
    assert [entry.values[1] for entry in recorder.entries()] == list(range(150, 250))
    clock.advance(0.95)
    recorder.arrived('imu', 250, 1)
    assert len(recorder._entries) == 52  # what is older is freed, not only left out
    assert [entry.values[1] for entry in recorder.entries()] == list(range(199, 251))


def test_it_can_be_turned_off():
    recorder = Recorder(SetClock(), 0)
    recorder.arrived('imu', 1, 1)
    assert recorder.is_empty
    assert recorder.entries() == []


def test_nothing_is_lost_where_several_threads_write():
    recorder = Recorder(SetClock(), SECOND, size=40_000)

    def write(name):
        for number in range(10_000):
            recorder.arrived(name, number, 1)

    threads = [threading.Thread(target=write, args=(name,)) for name in 'abcd']
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = recorder.entries()
    assert [entry.number for entry in entries] == list(range(40_000))
    for name in 'abcd':
        assert [entry.values[1] for entry in entries if entry.values[0] == name] == list(range(10_000))


def test_results_do_not_depend_on_it(tmp_path):
    benches = robot(tmp_path), make(CONFIG)
    for bench in benches:
        drive(bench, 1000)
    on, off = ([(f.stamp_ns, {k: t.tolist() for k, t in f.tensors.items()}) for f in b.frames] for b in benches)
    assert on == off


# ---- the file -------------------------------------------------------------------------------------------------------


def test_a_file_can_be_read_back(tmp_path):
    bench = robot(tmp_path)
    drive(bench, 500)
    path = bench.runtime.dumps.write('service')
    record = record_file.read(path)
    entries = bench.runtime.recorder.entries()
    assert len(record.entries) == len(entries)
    for read, entry in zip(record.entries, entries, strict=True):
        expected = {'kind': entry.kind.value, 'steady_ns': entry.steady_ns}
        assert read == json.loads(json.dumps(expected | dict(zip(entry.kind.fields, entry.values, strict=True))))
    assert (record.header['node'], record.header['cause']) == ('preprocess', 'service')
    assert record.header['streams']['front'] == {
        'topic': '/front',
        'required': True,
        'tolerance_ns': 100 * MS,
        'window_ns': None,
    }
    assert record.header['messages']['imu']['received'] == 50
    assert bench.log.of('info')[-1].startswith(f'flight record (service): {path}; ')


def test_ten_files_of_a_node_stay(tmp_path):
    other = tmp_path / 'record_preprocess_2_20200101_000000_000000000.jsonl'
    other.touch()
    paths = [record_file.write(tmp_path, '/robot/preprocess', {}, []) for _ in range(record_file.MAX_FILES + 3)]
    record_file.write(tmp_path, '/preprocess', {}, [])
    left = sorted(tmp_path.glob('record_robot.preprocess_*'))
    assert left == sorted(paths)[3:]
    assert other.exists()
    assert not list(tmp_path.glob('*.part'))


@pytest.mark.parametrize('text', BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_no_record_is_refused(tmp_path, text):
    with pytest.raises(record_file.RecordError):
        record_file.read(write_broken(tmp_path, text))


def test_the_page_has_every_kind_of_entry_and_its_fields():
    rows = re.findall(r'^\| `(\w+)` \| (.*?) \| .* \|$', PAGE.read_text(), re.M)
    assert {kind: tuple(re.findall(r'`(\w+)`', fields)) for kind, fields in rows} == {k.value: k.fields for k in Kind}


# ---- when it is written ---------------------------------------------------------------------------------------------


def records(folder):
    return [record_file.read(path) for path in sorted(folder.glob('*.jsonl'))]


def written(bench, folder):
    """Causes of the files, once they are there."""
    bench.runtime.dumps.close()
    return [record.header['cause'] for record in records(folder)]


def report(bench):
    bench.clock.advance(1.0)
    bench.runtime.reporter._report(active=True)


def test_an_error_is_written_once_by_cause(tmp_path):
    bench = robot(tmp_path)
    report(bench)
    assert written(bench, tmp_path) == []  # nothing has come: nothing to see
    drive(bench, 1000, without=('front',))
    for _ in range(30):
        report(bench)
    causes = written(bench, tmp_path)
    assert causes
    assert 'front' in causes[0]
    assert len(causes) == len(set(causes)) < 4


def test_a_good_robot_writes_nothing(tmp_path):
    bench = robot(tmp_path)
    drive(bench, 1000)
    report(bench)
    assert written(bench, tmp_path) == []


def test_an_exception_is_written(tmp_path, monkeypatch):
    bench = robot(tmp_path)
    monkeypatch.setattr(bench.runtime.ingest, 'push', lambda name, sample: [][1])
    drive(bench, 50)
    assert written(bench, tmp_path) == ['exception: IndexError']


def test_between_two_files_that_nobody_asked_for_is_a_pause(tmp_path):
    clock, lines = SetClock(), Lines()
    recorder = Recorder(clock, 100 * SECOND)
    dumps = Dumps(recorder, tmp_path, '/n', lambda: HEADER, EventLog(lines, clock), clock)
    dumps.write_for(['a'])
    recorder.arrived('imu', 1, 1)
    for causes in (['b'], ['c'], ['b', 'c']):
        dumps.write_for(causes)
        dumps.close()
        clock.advance(PAUSE_NS / 3 / SECOND)
    clock.advance(1.0)
    dumps.write_for(['c', 'b', 'd'])
    dumps.write_for([])
    dumps.close()
    assert [record.header['cause'] for record in records(tmp_path)] == ['b', 'c, d']


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path):
    bench = robot(tmp_path / 'file')
    (tmp_path / 'file').touch()
    drive(bench, 50)
    bench.runtime.dumps.write_for(['x'])
    bench.runtime.dumps.close()
    (line,) = bench.log.of('warning')
    assert line.startswith('the flight record (x) cannot be written: ')
    assert line.endswith('see recorder.folder')
