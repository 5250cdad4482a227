# SPDX-License-Identifier: Apache-2.0
"""The worker, step by step, by a clock that stands still until it is set."""

import dataclasses
import threading

import pytest
from support.runtime import FRONT, LIDAR, START_NS, assert_adds_up, cloud, image, make

from robocache_core import ops
from robocache_core.config import BackpressureConfig, PipelineConfig, QueueConfig, SyncConfig
from robocache_core.units import MS

ONE = PipelineConfig(lidars=(LIDAR,))
TWO = PipelineConfig(lidars=(LIDAR,), cameras=(dataclasses.replace(FRONT, required=False),))


def stamps(bench):
    return [(frame.stamp_ns - START_NS) // MS for frame in bench.frames]


def test_a_step_takes_one_message_and_emits_one_frame():
    bench = make(ONE)
    bench.put('lidar', cloud(0), cloud(100))
    assert bench.runtime.worker.num_waiting == 2
    bench.runtime.worker.step(0.0)
    assert stamps(bench) == [0]
    assert bench.runtime.worker.num_waiting == 1
    assert_adds_up(bench.runtime)
    bench.runtime.worker.step(0.0)
    assert stamps(bench) == [0, 100]
    assert_adds_up(bench.runtime)


def test_durations_are_measured_by_the_clock(monkeypatch):
    bench = make(ONE)
    voxelize = ops.voxelize_sparse

    def slow(*args, **kwargs):
        bench.clock.advance(0.02)
        return voxelize(*args, **kwargs)

    monkeypatch.setattr(ops, 'voxelize_sparse', slow)
    bench.put('lidar', cloud(0))
    bench.clock.advance(0.5)
    bench.work()
    stages = {name: list(found.recent) for name, found in bench.runtime.metrics.stages.items() if '.' not in name}
    assert stages == {'decode': [0], 'align': [500 * MS], 'compute': [20 * MS], 'publish': [0]}
    assert list(bench.runtime.metrics.inputs['lidar'].waits.recent) == [500 * MS]


def test_a_target_waits_for_a_late_stream_until_nothing_has_arrived_for_a_while():
    bench = make(TWO)
    bench.put('lidar', cloud(0))
    bench.work()
    bench.clock.advance(1.2)  # 1 s and max_wait
    bench.work()
    assert stamps(bench) == []
    assert_adds_up(bench.runtime)
    bench.clock.advance(0.1)
    bench.work()
    assert bench.frames[0].valid == {'lidar': True, 'front': False}
    assert_adds_up(bench.runtime)


def test_a_message_with_a_stamp_far_ahead_is_taken_when_nothing_has_arrived_for_a_while():
    bench = make(ONE)
    bench.put('lidar', cloud(0), cloud(100), cloud(37_000))
    bench.work()
    assert stamps(bench) == [0, 100]
    bench.clock.advance(1.3)
    bench.work()
    assert stamps(bench) == [0, 100, 37_000]
    assert_adds_up(bench.runtime)


def test_a_message_begins_the_wait_again():
    bench = make(TWO)
    bench.put('lidar', cloud(0))
    bench.work()
    bench.clock.advance(1.0)
    bench.put('lidar', cloud(50))
    bench.work()
    bench.clock.advance(1.0)
    bench.work()
    assert stamps(bench) == []
    bench.put('front', image(50))
    bench.work()
    assert stamps(bench) == [0, 50]


def test_a_request_for_a_report_is_no_arrival():
    """Reports come once a second, which is less than the wait: they must not prolong it for ever."""
    bench = make(TWO)
    bench.put('lidar', cloud(0))
    bench.work()
    for _ in range(2):
        bench.clock.advance(0.7)
        bench.runtime.inboxes.put_event(lambda: None)
        bench.runtime.worker.step(0.0)
    bench.work()
    assert stamps(bench) == [0]


def test_events_that_leave_no_pause_do_not_keep_targets_waiting():
    """CameraInfo at 10 Hz, or a short ``diagnostics_period``: the worker never finds its inboxes empty."""
    bench = make(TWO)
    bench.put('lidar', cloud(0))
    bench.work()
    for _ in range(13):  # 1 s and max_wait
        bench.clock.advance(0.1)
        bench.runtime.inboxes.put_event(lambda: None)
        bench.runtime.worker.step(0.0)
    assert bench.frames[0].valid == {'lidar': True, 'front': False}


def test_messages_behind_an_event_end_the_silence():
    """After a step that took long, in which they arrived."""
    bench = make(TWO)
    bench.put('lidar', cloud(0))
    bench.work()
    bench.clock.advance(5.0)
    bench.runtime.inboxes.put_event(lambda: None)
    bench.put('front', image(0))
    bench.work()
    assert bench.frames[0].valid == {'lidar': True, 'front': True}


def test_an_event_keeps_its_place_among_the_messages():
    bench, order = make(ONE), []
    bench.put('lidar', cloud(0))
    bench.runtime.inboxes.put_event(lambda: order.append(len(bench.frames)))
    bench.put('lidar', cloud(100))
    bench.work()
    assert order == [1]
    assert stamps(bench) == [0, 100]


def test_an_exception_of_a_step_is_logged_once_a_second_counted_and_survived():
    bench = make(ONE)
    for _ in range(3):
        bench.runtime.inboxes.put_event(lambda: 1 // 0)
        bench.runtime.worker.step(0.0)
    (line,) = bench.log.of('error')
    assert line.startswith('the worker failed and goes on:\nTraceback')
    assert bench.runtime.metrics.failures == 3
    bench.put('lidar', cloud(0))
    bench.work()
    assert stamps(bench) == [0]


def test_a_fault_in_compute_costs_its_target(monkeypatch):
    bench = make(ONE)
    with monkeypatch.context() as patch:
        patch.setattr(ops, 'voxelize_sparse', lambda *args, **kwargs: 1 // 0)
        bench.put('lidar', cloud(0))
        bench.work()
    bench.put('lidar', cloud(100))
    bench.work()
    assert stamps(bench) == [100]
    assert bench.runtime.pipeline.targets.counts().dropped == {'internal_error': 1}
    assert bench.runtime.pipeline.ledger['lidar'].counts().dropped == {'internal_error': 1}
    assert_adds_up(bench.runtime)


def test_a_backlog_that_is_worked_off_costs_no_target():
    bench = make(ONE)
    bench.put('lidar', *(cloud(100 * i) for i in range(20)))
    for _ in range(20):
        bench.runtime.worker.step(0.0)
        bench.clock.advance(0.08)
    assert stamps(bench) == [100 * i for i in range(20)]
    assert bench.runtime.pipeline.keep_every == 1


def test_a_backlog_that_stands_thins_the_trigger_and_an_empty_one_takes_it_back():
    config = dataclasses.replace(ONE, backpressure=BackpressureConfig(high_watermark=4, low_watermark=1))
    bench = make(config)
    bench.put('lidar', *(cloud(100 * i) for i in range(11)))
    bench.runtime.worker.step(0.0)  # 10 wait
    bench.put('lidar', cloud(1100))
    bench.clock.advance(0.6)
    bench.runtime.worker.step(0.0)  # and still
    assert bench.runtime.worker.backpressure.state == 'thinning'
    assert bench.runtime.pipeline.keep_every == 2
    assert_adds_up(bench.runtime)
    bench.work()
    assert bench.runtime.pipeline.targets.counts().dropped['thinned'] > 0
    assert len(bench.frames) < 12
    bench.put('lidar', *(cloud(100 * i) for i in range(12, 14)))
    bench.work()
    assert bench.runtime.pipeline.keep_every == 1
    assert_adds_up(bench.runtime)


def overloaded(config, compute_s, seconds=20):
    """A runtime whose frames take their time by its clock, with a scan each 50 ms; what is kept at the end."""
    bench = make(config)
    poll, sent = bench.runtime.pipeline.poll, 0

    def slow_poll(limit=None):
        frames = poll(limit)
        bench.clock.advance(compute_s * len(frames))
        return frames

    bench.runtime.pipeline.poll = slow_poll
    begin_ns = bench.clock.now_ns
    while bench.clock.now_ns < begin_ns + seconds * 10**9:
        while begin_ns + sent * 50 * MS <= bench.clock.now_ns:
            bench.put('lidar', cloud(50 * sent))
            sent += 1
        before = bench.clock.now_ns
        bench.runtime.worker.step(0.0)
        if bench.clock.now_ns == before:
            bench.clock.advance(0.001)
    assert_adds_up(bench.runtime)
    return bench


@pytest.mark.parametrize('sync', [SyncConfig(), SyncConfig(rate_hz=20.0)])
@pytest.mark.parametrize(('compute_s', 'keep_every'), [(0.02, 1), (0.08, 2), (0.15, 4)])
def test_overload_settles_at_what_can_be_computed(sync, compute_s, keep_every):
    """By a trigger or at a fixed rate: as many as possible are kept, and none waits for long."""
    bench = overloaded(dataclasses.replace(ONE, sync=sync), compute_s)
    assert bench.runtime.pipeline.keep_every in (keep_every // 2 or 1, keep_every)
    assert bench.runtime.worker.num_waiting <= 6
    assert 'inbox_full' not in bench.runtime.pipeline.ledger['lidar'].counts().dropped
    assert len(bench.frames) > 0.6 * min(20 / 0.05, 20 / compute_s)


def test_what_is_too_old_is_not_computed():
    lidar = dataclasses.replace(LIDAR, queue=QueueConfig(max_age_ns=100 * MS))
    bench = make(PipelineConfig(lidars=(lidar,)))
    bench.put('lidar', cloud(0))
    bench.clock.advance(0.2)
    bench.put('lidar', cloud(100))
    bench.work()
    assert stamps(bench) == [100]
    assert bench.runtime.pipeline.ledger['lidar'].counts().dropped == {'inbox_age': 1}
    assert_adds_up(bench.runtime)


def test_stopped_it_drops_what_waits():
    bench = make(TWO)
    bench.put('lidar', cloud(0), cloud(100))
    bench.runtime.worker.step(0.0)  # the first waits for the camera, the second in the inbox
    bench.runtime.worker.stop()
    assert bench.runtime.pipeline.ledger['lidar'].counts().dropped == {'deactivated': 2}
    assert bench.runtime.pipeline.targets.counts().dropped == {'deactivated': 1}
    assert bench.runtime.pipeline.num_held('lidar') == 0
    assert_adds_up(bench.runtime)
    bench.put('lidar', cloud(200))
    assert bench.runtime.pipeline.ledger['lidar'].counts().received == 2


@pytest.mark.parametrize('times', [1, 3])
def test_on_its_thread_it_does_the_same(times):
    bench = make(ONE)
    worker = bench.runtime.worker
    for _ in range(times):
        done = threading.Event()
        worker.start()
        assert worker.is_alive
        bench.put('lidar', cloud(0))
        bench.runtime.inboxes.put_event(done.set)
        assert done.wait(10)
        worker.stop()
        assert not worker.is_alive
    assert stamps(bench) == [0] * times
    assert_adds_up(bench.runtime)


def test_a_step_that_does_not_end_holds_up_stop_for_a_while_only(monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def decode(message, config):
        begun.set()
        go_on.wait(60)

    bench = make(ONE)
    source = dataclasses.replace(bench.runtime.ingest.sources['lidar'], decode=decode)
    monkeypatch.setattr(bench.runtime.ingest, 'sources', {'lidar': source})
    monkeypatch.setattr('robocache_ros.worker.STOP_S', 0.05)
    bench.runtime.worker.start()
    bench.put('lidar', cloud(0))
    assert begun.wait(30)
    with pytest.raises(TimeoutError, match='busy with one step after'):
        bench.runtime.worker.stop()
    go_on.set()
    monkeypatch.setattr('robocache_ros.worker.STOP_S', 30.0)
    bench.runtime.worker.stop()
    assert not bench.runtime.worker.is_alive
