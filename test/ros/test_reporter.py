# SPDX-License-Identifier: Apache-2.0
"""When the worker is asked for a report, who answers, and what the log says of silence."""

import threading

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from support.runtime import LIDAR, START_NS, cloud, make

from robocache_core.config import PipelineConfig
from robocache_core.units import SECOND
from robocache_ros.reporter import Load

ONE = PipelineConfig(lidars=(LIDAR,))


def kinds(bench):
    found = [type(each) for each in bench.sent]
    bench.sent.clear()
    return found


@pytest.fixture
def stepped(monkeypatch):
    """A runtime whose worker counts as alive, while the test takes its steps."""
    bench = make(ONE)
    monkeypatch.setattr(type(bench.runtime.worker), 'is_alive', property(lambda worker: True))
    return bench


def test_without_a_worker_the_caller_reports_itself():
    bench = make(ONE)
    bench.clock.advance(2.5)
    bench.runtime.reporter.tick()
    report, load = bench.sent
    assert report.status[1].message == 'the node is not active'
    assert (report.header.stamp.sec, report.header.stamp.nanosec) == (START_NS // SECOND + 2, SECOND // 2)
    assert (load.queue_depth, load.backpressure.message) == (0, 'normal')
    assert bench.log.lines == []


def test_the_worker_answers_between_two_messages(stepped):
    stepped.put('lidar', cloud(0))
    stepped.runtime.reporter.tick()
    assert stepped.sent == []
    stepped.work()
    report, load = stepped.sent
    assert report.status[0].message == '0.0 Hz'
    assert load.queue_depth == 0


def test_a_worker_that_does_not_answer_is_reported_in_its_place(stepped):
    stepped.runtime.reporter.tick()
    stepped.clock.advance(1.5)
    stepped.runtime.reporter.tick()
    (report,) = stepped.sent
    (status,) = report.status
    assert (status.name, status.level) == ('preprocess: compute', b'\x02')
    assert status.message == 'the worker has been busy with one step for 1.5 s'
    stepped.sent.clear()
    stepped.work()
    assert kinds(stepped) == [DiagnosticArray, Load]
    stepped.runtime.reporter.tick()
    stepped.work()
    assert kinds(stepped) == [DiagnosticArray, Load]


def test_a_request_that_went_with_a_stopped_worker_is_made_again(stepped):
    stepped.runtime.reporter.tick()
    stepped.runtime.inboxes.close('deactivated')
    stepped.clock.advance(0.1)
    stepped.runtime.inboxes.open()
    stepped.runtime.worker.started_ns = stepped.clock.steady_ns()
    stepped.clock.advance(0.1)
    stepped.runtime.reporter.tick()
    stepped.work()
    assert kinds(stepped) == [DiagnosticArray, Load]


def test_the_log_says_when_silence_begins_every_ten_seconds_and_when_it_is_over(stepped):
    def seconds(count, *messages):
        for _ in range(count):
            stepped.put('lidar', *messages)
            stepped.runtime.reporter.tick()
            stepped.work()
            stepped.clock.advance(1.0)

    silent = 'no frame: lidar: no publisher on /lidar (PointCloud2)'
    seconds(11)
    assert stepped.log.lines == [('warning', silent)]
    seconds(2)
    assert stepped.log.lines == [('warning', silent)] * 2
    stepped.log.lines.clear()
    seconds(1, cloud(0))
    assert stepped.log.lines == [('info', 'frames come out')]
    seconds(1, cloud(100))
    assert len(stepped.log.lines) == 1
    stepped.clock.advance(1.0)
    seconds(1)
    assert stepped.log.lines[1:] == [('warning', 'no frame: lidar: no message for 2.0 s')]


def test_on_the_worker_s_thread():
    bench = make(ONE)
    done, senders = threading.Event(), set()
    send = bench.runtime.reporter._send
    bench.runtime.reporter._send = lambda message: (senders.add(threading.current_thread().name), send(message))
    bench.runtime.worker.start()
    bench.clock.advance(0.1)
    bench.runtime.reporter.tick()
    bench.runtime.inboxes.put_event(done.set)
    assert done.wait(10)
    bench.runtime.worker.stop()
    assert kinds(bench) == [DiagnosticArray, Load]
    assert senders == {'robocache-worker'}


def test_an_answer_that_comes_while_the_timer_fires_is_no_fault():
    """The worker finishes a long step just as the timer asks how long it has been busy."""
    bench = make(ONE)
    reporter, worker = bench.runtime.reporter, bench.runtime.worker

    class Racing(type(reporter)):
        """Each time that the request is read, the answer has come by the next time."""

        @property
        def _asked_ns(self):
            asked, self.__dict__['asked'] = self.__dict__.get('asked'), None
            return asked

        @_asked_ns.setter
        def _asked_ns(self, value):
            self.__dict__['asked'] = value

    worker.start()
    reporter.__class__ = Racing
    reporter._asked_ns = bench.clock.steady_ns() + 1
    bench.clock.advance(0.1)
    reporter.tick()
    worker.stop()
    assert kinds(bench)[:1] == [DiagnosticArray]
