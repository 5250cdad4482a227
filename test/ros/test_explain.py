# SPDX-License-Identifier: Apache-2.0
"""``explain``: sentences on what became of each target, and exit codes."""

import dataclasses
import subprocess
import sys

import pytest
from support.flight import BROKEN, CONFIG, drive, robot, write_broken
from support.runtime import FRONT, IMU, LIDAR, START_NS, cloud, image

from robocache_core.config import PipelineConfig, SyncConfig
from robocache_core.units import MS, SECOND
from robocache_ros.tools import explain

T0 = START_NS // SECOND


def explained(bench, capsys, *arguments):
    """Exit status and lines of the tool on what a robot has recorded."""
    path = bench.runtime.dumps.write('test')
    status = explain.main([str(path), *arguments])
    return status, capsys.readouterr().out.splitlines()


def of_target(lines, ms):
    """The lines on one target."""
    start = next(at for at, line in enumerate(lines) if line.startswith(f'target {T0}.{ms:03d}000000:'))
    rest = lines[start + 1 :]
    end = next((at for at, line in enumerate(rest) if not line.startswith('  ')), len(rest))
    return lines[start : start + 1 + end]


def test_a_frame_says_what_it_took(tmp_path, capsys):
    bench = robot(tmp_path)
    drive(bench, 1000)
    status, lines = explained(bench, capsys)
    assert status == 1  # the first target has no window
    assert lines[0].startswith('preprocess: the 1.0 s before ')
    assert lines[0].endswith('written because of: test')
    assert lines[1] == '10 targets: 9 frames, 1 dropped (1 missing:imu)'
    head, *picks = of_target(lines, 500)
    assert head == f'target {T0}.500000000: frame 4 of epoch 0, 0.0 ms after it was ready'
    assert picks == [
        '  lidar: at the target, valid',
        '  front: at the target, valid',
        '  imu: 3, from 20.0 ms before to at the target, valid',
    ]


def test_a_window_that_is_not_covered_is_compared_with_the_readings(tmp_path, capsys):
    bench = robot(tmp_path, dataclasses.replace(CONFIG, imus=(dataclasses.replace(IMU, tolerance_ns=5 * MS),)))
    drive(bench, 500)
    _, lines = explained(bench, capsys)
    assert of_target(lines, 0) == [
        f'target {T0}.000000000: dropped, missing:imu',
        '  missing: a required stream had nothing within its `tolerance` after `sync.max_wait`',
        '  imu: its window is from 20.0 ms before to at the target, its readings for it are from at to at the target, '
        'its tolerance is 5.0 ms',
        '  lidar: at the target, valid',
        '  front: at the target, valid',
        '  imu: at the target',
    ]


def test_a_stream_that_stays_away_is_named_with_what_came_of_it(tmp_path, capsys):
    bench = robot(tmp_path)
    drive(bench, 300)
    drive(bench, 1000, since_ms=300, without=('front',))
    status, lines = explained(bench, capsys)
    assert status == 1
    text = '\n'.join(of_target(lines, 500))
    assert 'dropped, missing:front' in text
    assert 'missing: a required stream had nothing within its `tolerance` after `sync.max_wait`' in text
    assert (
        'front: the nearest message that had arrived is 250.0 ms before the target, its tolerance is 100.0 ms' in text
    )
    assert 'front was not waited for: the stamps of the others showed that 200.0 ms (sync.max_wait) had gone by' in text


def test_messages_that_were_refused_are_what_led_to_it(tmp_path, capsys):
    bench = robot(tmp_path, PipelineConfig(lidars=(LIDAR,), cameras=(FRONT,), sync=SyncConfig(max_wait_ns=0)))
    for ms in range(0, 600, 100):
        bench.clock.advance(0.1)
        bench.put('front', image(ms, encoding='cmyk'))
        bench.put('lidar', cloud(ms))
        bench.work()
    _, lines = explained(bench, capsys)
    text = '\n'.join(of_target(lines, 300))
    assert 'of its messages were dropped in the second before, unknown_encoding: ' in text
    assert "'cmyk'" in text


def test_a_jump_of_time_is_named(tmp_path, capsys):
    config = PipelineConfig(lidars=(LIDAR,), cameras=(FRONT,), sync=SyncConfig(max_wait_ns=SECOND))
    bench = robot(tmp_path, config)
    bench.put('lidar', *map(cloud, (900, 950, 0, 50)))
    bench.work()
    _, lines = explained(bench, capsys)
    assert of_target(lines, 900)[1:] == [
        '  time_jump: its stamp is of the time before a jump of time, or far from those around it',
        f'  epoch 1 began: time went on from {T0}.000000000',
    ]


def test_thinning_is_named_with_when_it_began(tmp_path, capsys):
    bench = robot(tmp_path, PipelineConfig(lidars=(LIDAR,)))
    bench.runtime.recorder.thinned(2, 5)
    bench.runtime.pipeline.keep_every = bench.runtime.worker.backpressure.keep_every = 2
    bench.clock.advance(0.1)
    bench.put('lidar', cloud(0))
    bench.runtime.worker.step(0.0)
    _, lines = explained(bench, capsys)
    assert of_target(lines, 0)[1:] == [
        '  thinned: back-pressure: compute does not keep up with the trigger',
        '  one target in 2 was kept since 100.0 ms before, when 5 targets waited',
    ]


@pytest.mark.parametrize(
    ('stamp', 'status', 'head'), [('.5', 0, '.500000000: frame'), ('.02', 1, '.000000000: dropped')]
)
def test_one_target_alone(tmp_path, capsys, stamp, status, head):
    bench = robot(tmp_path)
    drive(bench, 1000)
    found, lines = explained(bench, capsys, '--target', f'{T0}{stamp}')
    assert found == status
    assert lines[0].startswith(f'target {T0}{head}')
    assert sum(line.startswith('target') for line in lines) == 1


@pytest.mark.parametrize('text', BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_no_record_is_one_line(tmp_path, capsys, text):
    assert explain.main([str(write_broken(tmp_path, text))]) == 2
    said = capsys.readouterr()
    assert said.err.startswith('explain: ')
    assert (said.out, said.err.count('\n')) == ('', 1)


def test_no_file_and_no_such_target_are_one_line(tmp_path, capsys):
    assert explain.main([str(tmp_path / 'none')]) == 2
    assert 'No such file' in capsys.readouterr().err
    bench = robot(tmp_path)
    empty = bench.runtime.dumps.write('test')
    assert explain.main([str(empty), '--target', '1']) == 2
    assert capsys.readouterr().err == 'explain: the record has no target\n'
    drive(bench, 1000)
    path = bench.runtime.dumps.write('test')
    assert explain.main([str(path), '--target', '17']) == 2
    assert 'no target is within half a second of 17.000000000; the nearest is at 1700000000.' in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        explain.main([str(path), '--target', 'noon'])
    assert ended.value.code == 2


def test_a_pipe_that_is_closed_ends_it_without_a_traceback(tmp_path):
    bench = robot(tmp_path)
    for _ in range(20):
        for number in range(500):
            bench.runtime.recorder.dropped(START_NS + number, 'thinned')
    path = bench.runtime.dumps.write('test')
    command = [sys.executable, '-m', 'robocache_ros.tools.explain', str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tool:
        tool.stdout.readline()
        tool.stdout.close()
        assert tool.stderr.read() == b''
    assert tool.returncode == 1
