# SPDX-License-Identifier: Apache-2.0
"""The long runs of `make soak`, made short: each sees what is left over on purpose, and nothing where nothing is."""

import json
import subprocess
import sys

import pytest

from benchmark.endurance.load import Usual, _result
from benchmark.endurance.readings import Reading, summary

#: A program's begin after which whatever computes a frame leaves over memory, a descriptor and a thread.
LEAKS = """
import os, threading, torch
from robocache_core.pipeline import Pipeline
kept, poll = [], Pipeline.poll
def leaking(self, limit=None):
    frames = poll(self, limit)
    for frame in frames:
        kept.append(next(iter(frame.tensors.values())))
        kept.append(torch.ones(1 << 18, dtype=torch.uint8))
        kept.append(os.dup(0))
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    return frames
Pipeline.poll = leaking
"""
RUN = """
import json
from benchmark.endurance import {name}
print(json.dumps({name}.run({amount})))
"""
#: The least that gives enough readings.
AMOUNTS = {'sensor_time': 12 / 3600, 'cycles': 8}


def run(program):
    process = subprocess.run([sys.executable, '-c', program], stdout=subprocess.PIPE, text=True, timeout=120)
    assert process.returncode == 0
    return json.loads(process.stdout.splitlines()[-1])


def words(result):
    return ' '.join(result['leaks'])


@pytest.mark.parametrize(('name', 'amount'), AMOUNTS.items(), ids=AMOUNTS)
def test_what_is_left_over_on_purpose_is_seen(name, amount):
    text = words(run(LEAKS + RUN.format(name=name, amount=amount)))
    assert 'resident memory grew by' in text
    assert 'descriptors grew by' in text
    assert 'threads grew by' in text


@pytest.mark.parametrize(('name', 'amount'), AMOUNTS.items(), ids=AMOUNTS)
def test_nothing_else_is_left_over(name, amount):
    """So short a run says nothing of memory."""
    result = run(RUN.format(name=name, amount=amount))
    assert result['frames'] > 50
    assert result['growth']['descriptors'] <= 0
    assert result['growth']['threads'] <= 0


def test_time_that_jumps_back_costs_what_it_must():
    result = run(
        'from benchmark.endurance import sensor_time; sensor_time.LOOP_S = 20'
        + RUN.format(name='sensor_time', amount=50 / 3600)
    )
    assert result['epochs'] == 2
    assert result['targets_dropped']['time_jump'] <= 2
    assert result['frames'] > 480


def test_what_a_live_node_leaves_over_on_purpose_is_seen(tmp_path, monkeypatch):
    program = f"""
from robocache_ros.process import Signals
signals = Signals()
{LEAKS}
import sys
from robocache_ros import node
sys.exit(node.run(signals))
"""
    (tmp_path / 'leaking_node.py').write_text(program)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv('PYTHONPATH', ':'.join(sys.path))
    from benchmark.endurance import live

    text = words(live.run(0.1, 'leaking_node'))
    assert 'resident memory grew by' in text
    assert 'descriptors grew by' in text
    assert 'threads grew by' in text


def readings(**growth):
    """A hundred readings of which one figure grows by so much after warm-up, as steadily as before."""
    usual = {'rss_mib': 300.0, 'descriptors': 20, 'threads': 8, 'device_mib': 50.0}
    ((name, amount),) = growth.items()
    return [Reading(**usual | {name: type(usual[name])(usual[name] + amount * i / 50)}) for i in range(100)]


@pytest.mark.parametrize(
    ('growth', 'found'),
    [
        ({'rss_mib': 1.9}, ''),
        ({'rss_mib': 2.5}, 'resident memory'),
        ({'device_mib': 2.5}, 'device memory'),
        ({'device_mib': -50.0}, ''),
        ({'descriptors': 4}, 'descriptors'),
        ({'threads': 4}, 'threads'),
    ],
    ids=str,
)
def test_the_verdict(growth, found):
    leaks = summary(readings(**growth))['leaks']
    assert len(leaks) == bool(found)
    assert found in ' '.join(leaks)


def test_growth_while_it_warms_up_is_none():
    warm = [Reading(200.0 + min(i, 20), 10 + min(i, 20), 8) for i in range(100)]
    assert summary(warm)['leaks'] == []


def test_threads_that_come_and_go_are_none():
    assert summary([Reading(200.0, 10, 8 + i % 3) for i in range(100)])['leaks'] == []


USUAL = Usual(frames=10, worst_ms=20.0, rss_mib=300.0)
SECOND = {'frames': 10, 'worst_ms': 21.0, 'depth': 0, 'keep_every': 1, 'node': Reading(301.0, 20, 8)}


@pytest.mark.parametrize(
    ('change', 'recovered_s', 'beyond'),
    [
        ({}, 1, ''),
        ({'worst_ms': 9_000.0}, 1, 'latency'),
        ({'depth': 49}, 1, 'depth'),
        ({'node': Reading(330.0, 20, 8)}, 1, 'memory'),
        ({}, None, 'recovery'),
        ({'frames': 0, 'worst_ms': None}, 1, ''),
    ],
    ids=str,
)
def test_the_bounds_of_load(change, recovered_s, beyond):
    result = _result(USUAL, [SECOND | change], [SECOND], recovered_s)
    assert len(result['beyond']) == bool(beyond)
    assert beyond in ' '.join(result['beyond'])


@pytest.mark.parametrize(
    'change',
    [{'frames': 5}, {'worst_ms': None, 'frames': 0}, {'worst_ms': 50.0}, {'depth': 2}, {'keep_every': 2}],
    ids=str,
)
def test_a_second_under_load_is_not_as_usual(change):
    assert USUAL.has(SECOND)
    assert not USUAL.has(SECOND | change)
