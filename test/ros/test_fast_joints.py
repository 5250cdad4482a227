# SPDX-License-Identifier: Apache-2.0
"""Joint states at 1 kHz beside two cameras of 30 Hz and an IMU of 200 Hz: the node loses none, and accounts for all."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter

from sensor_msgs.msg import JointState
from support.robot import Robot, header, imu, jpeg

from benchmark.node import joint_states

JOINTS = ['shoulder', 'elbow']
PARAMETERS = {
    'cameras': ['front', 'back'],
    'front__message': 'compressed',
    'back__message': 'compressed',
    'imus': ['imu'],
    'vectors': ['joints'],
    'joints__message': 'sensor_msgs/msg/JointState',
    'joints__joints': JOINTS,
    'joints__window_size': 33,
    'joints__window_period': 0.001,
}
#: By stream, its first message, ms, the time between two, ms, and what makes one. Images begin where windows are full.
STREAMS = {
    'joints': (0, 1, lambda ms: JointState(header=header(ms), name=JOINTS, position=[0.001 * ms, 1.0])),
    'imu': (0, 5, imu),
    'front': (200, 33, jpeg),
    'back': (200, 33, jpeg),
}


def test_what_comes_in_bursts_is_lost_nowhere():
    """A second of all streams, a tenth of it at a time, faster than any clock would send it."""
    with Robot(**PARAMETERS) as robot:
        robot.bring_up()
        sent = Counter()
        for ms in range(1000):
            for name, (first_ms, period_ms, make) in STREAMS.items():
                if ms >= first_ms and (ms - first_ms) % period_ms == 0:
                    robot.publish(f'/{name}', make(ms), qos=1000)
                    sent[name] += 1
            if ms % 100 == 99:
                for name, count in sent.items():
                    robot.settled(name, count)
                robot.until(lambda: robot.node.runtime.worker.num_waiting == 0, 'the worker')
        for name, count in sent.items():
            counts = robot.settled(name, count)
            assert counts.received + robot.node.runtime.metrics.inputs[name].lost == count, name
            assert set(counts.dropped) <= {'unselected'}, name
        assert robot.counts('joints').used > 750
        assert robot.node.pipeline.targets.counts().dropped == {}


def test_the_workload_of_the_benchmark_accounts_for_every_message(tmp_path, capsys, monkeypatch):
    """Publishers in processes of their own, at a reduced pace."""
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(sys.path))  # theirs
    out = tmp_path / 'rows.json'
    joint_states.main(['--rate', '200', '--seconds', '1', '--runs', '1', '--payloads', 'tiny', '--out', str(out)])
    printed = capsys.readouterr().out
    rows = {row['workload']: row for row in json.loads(out.read_text())['rows']}
    assert list(rows) == ['joints 200 Hz', 'imu 200 Hz', 'front 30 Hz', 'back 30 Hz']
    for workload, row in rows.items():
        assert row['received'] + row['lost'].get('dds', 0) <= row['published'], workload
        assert row['received'] >= row['used'] > 0, workload
        assert workload in printed
    joints = rows['joints 200 Hz']
    assert joints['received'] + joints['lost'].get('dds', 0) == joints['published'] == 200, joints
    assert not joints['lost'].keys() & {'inbox_full', 'inbox_age', 'buffer_full', 'buffer_age', 'superseded'}, joints
