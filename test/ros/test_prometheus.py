# SPDX-License-Identifier: Apache-2.0
"""The metrics of a node: equal to its ledger and to /diagnostics, documented, and bounded in their labels."""

import dataclasses
import re
import struct
from pathlib import Path

import pytest
from support.runtime import FRONT, IMU, LIDAR, assert_adds_up, cloud, image, imu, make
from support.scrape import assert_agrees, buckets, families, of_diagnostics, of_ledger, samples

from robocache_core.config import PipelineConfig
from robocache_core.ledger import Reason
from robocache_core.ops.points import POINT_DROP_REASONS
from robocache_core.units import MS
from robocache_ros.blocker import Cause
from robocache_ros.durations import BOUNDS_NS
from robocache_ros.prometheus import Exposition

ROOT = Path(__file__).parents[2]
CONFIG = PipelineConfig(lidars=(LIDAR,), cameras=(FRONT,), imus=(IMU,))
STREAMS = {'lidar', 'front', 'imu'}
HOSTILE = 'a"} 1\nrobocache_frames_total 99 \\ {"' + '\u202e' * 2000


def partly_outside(ms):
    message = cloud(ms)
    message.width, message.row_step = 3, 36
    message.data = struct.pack('<9f', 1.0, 2.0, 0.5, 100.0, 0.0, 0.0, float('nan'), 0.0, 0.0)
    return message


def eventful():
    """A robot to which much has happened: drops by stream and reason, points, losses, a jump, a failure, a wait."""
    bench = make(CONFIG)
    for ms in range(0, 2000, 10):
        bench.clock.advance(0.01)
        bench.put('imu', imu(ms))
        if ms % 50 == 0:
            bench.put('front', image(ms, encoding='cmyk' if ms % 250 == 0 else 'bgr8'))
        if ms % 100 == 0:
            bench.put('lidar', partly_outside(ms))
        bench.work()
    bench.put('lidar', cloud(500), cloud(1950, HOSTILE))
    bench.put('lidar', cloud(2_000_000), cloud(2_050))
    bench.work()
    bench.runtime.metrics.lost('front', 3)
    bench.runtime.metrics.incompatible('imu', HOSTILE)
    bench.runtime.metrics.failed(f'Traceback\n{HOSTILE}')
    bench.runtime.metrics.transported('front', 3 * MS)
    bench.put('lidar', cloud(2100))  # waits in its inbox
    bench.put('imu', imu(2100), imu(2110))
    bench.runtime.pipeline.keep_every = 1
    return bench


def text_of(bench):
    return Exposition(bench.runtime).text().decode()


def test_a_scrape_is_equal_to_the_ledger_and_to_diagnostics():
    bench = eventful()
    statuses = bench.report()
    text = text_of(bench)
    expected = of_ledger(bench.runtime.pipeline)
    assert_agrees(text, expected)
    assert_agrees(text, of_diagnostics(statuses))
    reasons = {key[2] for key in expected if key[0] == 'robocache_messages_dropped_total'}
    assert reasons >= {'unselected', 'unknown_encoding', 'time_jump'}
    assert samples(text)['robocache_points_dropped_total', 'lidar', 'outside'] > 0
    assert_adds_up(bench.runtime)


def test_inboxes_and_queue_are_as_they_are():
    bench = eventful()
    found = samples(text_of(bench))
    for name, level in bench.runtime.inboxes.levels().items():
        assert found['robocache_inbox_messages', name] == level.depth
        assert found['robocache_inbox_bytes', name] == level.nbytes
        assert found['robocache_inbox_saturation_ratio', name] == pytest.approx(level.saturation)
    assert found['robocache_inbox_messages', 'lidar'] == 1
    values = {pair.key: pair.value for pair in bench.runtime.diagnostics.backpressure().values}
    assert found['robocache_queue_saturation_ratio',] == pytest.approx(float(values['saturation']), abs=1e-3)
    assert found['robocache_queue_depth',] == float(values['depth'])


def test_histograms_count_every_duration_in_seconds():
    bench = make(CONFIG)
    for duration_ns in (0, BOUNDS_NS[0], 3 * MS, 3600 * 10**9, -MS):
        bench.runtime.metrics.transported('front', duration_ns)
    text = text_of(bench)
    found = samples(text)
    assert found['robocache_transport_seconds_count', 'front'] == 5
    assert found['robocache_transport_seconds_sum', 'front'] == pytest.approx(3600.0031)
    cumulative = buckets(text, 'robocache_transport_seconds')[('front',)]
    assert list(map(float, cumulative)) == [*(bound / 1e9 for bound in BOUNDS_NS), float('inf')]
    assert [cumulative[bound] for bound in ('0.0001', '0.0025', '0.005', '5.0', '+Inf')] == [3, 3, 4, 4, 5]


def test_every_stage_and_wait_has_a_histogram():
    bench = eventful()
    found = samples(text_of(bench))
    stages = {key[1] for key in found if key[0] == 'robocache_stage_seconds_count'}
    assert stages == {'decode', 'align', 'compute', 'publish', 'compute.lidar', 'compute.front', 'compute.imu'}
    for stage in stages:
        kept = bench.runtime.metrics.stages[stage]
        assert found['robocache_stage_seconds_count', stage] == kept.histogram().count > 0
        assert found['robocache_stage_seconds_sum', stage] == pytest.approx(kept.histogram().sum_ns / 1e9)
    assert found['robocache_frame_latency_seconds_count',] == len(bench.frames)
    taken = bench.runtime.pipeline.ledger['lidar'].counts().received - 1
    assert found['robocache_inbox_wait_seconds_count', 'lidar'] == taken


def test_labels_have_values_of_a_fixed_set_whatever_is_sent():
    bench = eventful()
    bench.types['/lidar'] = [HOSTILE]
    bench.report()
    causes = {*Reason, *Cause, *POINT_DROP_REASONS}
    for name, (_, _, found) in families(text_of(bench)).items():
        for labels, _ in found:
            assert labels.get('stream', '') in STREAMS | {'', '/clock'}, name
            reason, _, stream = labels.get('reason', 'late').partition(':')
            assert reason in causes, name
            assert stream in STREAMS | {''}, name
            assert all(len(value) < 60 for value in labels.values())


@pytest.mark.parametrize(
    ('kind', 'faults'),
    [([], {('lidar', 'no_publisher')}), ([HOSTILE], {('lidar', 'other_type')})],
)
def test_the_blocker_by_stream_and_cause(kind, faults):
    bench = make(PipelineConfig(lidars=(LIDAR,)))
    assert not {key for key in samples(text_of(bench)) if key[0] == 'robocache_blocker_info'}
    bench.types['/lidar'] = kind
    bench.report()
    assert {key[1:] for key in samples(text_of(bench)) if key[0] == 'robocache_blocker_info'} == faults
    for ms in range(0, 300, 100):
        bench.put('lidar', cloud(ms))
        bench.work()
    bench.report()
    assert not {key for key in samples(text_of(bench)) if key[0] == 'robocache_blocker_info'}


def test_what_is_installed_and_computes():
    bench = make(CONFIG)
    ((labels, value),) = families(text_of(bench))['robocache_build_info'][2]
    assert value == 1
    assert labels.keys() == {'version', 'ros_distro', 'backend', 'device'}
    assert (labels['backend'], labels['device']) == (bench.runtime.pipeline.device.backend.name, 'cpu')


def test_a_scrape_changes_nothing_and_holds_no_lock():
    bench = eventful()
    before = text_of(bench)
    assert text_of(bench) == before
    assert bench.runtime.metrics.lock.acquire(blocking=False)


def test_without_a_message_there_is_no_delay():
    bench = make(CONFIG)
    assert not {key for key in samples(text_of(bench)) if key[0] == 'robocache_message_delay_seconds'}
    bench.put('imu', imu(0))
    assert {key for key in samples(text_of(bench)) if key[0] == 'robocache_message_delay_seconds'} == {
        ('robocache_message_delay_seconds', 'imu')
    }


def documented():
    """By metric, its type, labels and meaning in docs/metrics.md."""
    rows = re.findall(
        r'^\| `(robocache_\w+)` \| (\w+) \| (.*?) ?\| (.*) \|$', (ROOT / 'docs/metrics.md').read_text(), re.M
    )
    return {name: (kind, tuple(re.findall(r'`(\w+)`', labels)), meaning) for name, kind, labels, meaning in rows}


def test_the_documented_metrics_are_those_of_a_scrape():
    bench = eventful()
    bench.report()
    bench.report()  # of a time without a frame
    found, listed = families(text_of(bench)), documented()
    assert {name: (kind, text) for name, (kind, text, _) in found.items()} == {
        name: (kind, meaning) for name, (kind, _, meaning) in listed.items()
    }
    for name, (_, _, given) in found.items():
        for labels, _ in given:
            assert labels.keys() - {'le'} == set(listed[name][1]), name
    assert [name for name, (_, _, given) in found.items() if not given] == ['robocache_device_memory_bytes']


def test_the_page_states_the_bounds_of_the_buckets():
    text = (ROOT / 'docs/metrics.md').read_text()
    for bound in BOUNDS_NS:
        assert re.search(rf'\b{bound / MS if bound < 1000 * MS else bound / 1e9:g}\b', text)


def test_names_follow_prometheus_conventions():
    for name, (kind, _, _) in families(text_of(make(CONFIG))).items():
        assert re.fullmatch(r'robocache_[a-z_]+', name)
        assert name.endswith('_total') == (kind == 'counter'), name
        assert kind != 'histogram' or name.endswith('_seconds'), name


def test_memory_of_the_gpu_is_that_of_the_last_report(monkeypatch):
    bench = make(CONFIG)
    monkeypatch.setattr(bench.runtime.pipeline, 'device_memory', lambda: {'free': 5, 'total': 7})
    bench.report()
    monkeypatch.setattr(bench.runtime.pipeline, 'device_memory', lambda: pytest.fail('asked by a scrape'))
    found = samples(text_of(bench))
    assert found['robocache_device_memory_bytes', 'free'] == 5
    assert found['robocache_device_memory_bytes', 'total'] == 7


def test_stream_names_of_any_length_that_is_allowed():
    name = 'l' * 100
    bench = make(PipelineConfig(lidars=(dataclasses.replace(LIDAR, name=name),)))
    assert samples(text_of(bench))['robocache_messages_received_total', name] == 0
