# SPDX-License-Identifier: Apache-2.0
"""The one thread that decodes, pushes, polls and computes; frames are published beside it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from robocache_core.frame import FusedFrame
from robocache_core.ledger import Reason
from robocache_core.pipeline import Pipeline
from robocache_core.units import SECOND
from robocache_ros.backpressure import Backpressure
from robocache_ros.clock import Clock
from robocache_ros.drop_log import DropLog
from robocache_ros.frame_times import FrameTimes, TriggerTimes
from robocache_ros.inbox import Arrival, Inboxes
from robocache_ros.ingest import Ingest
from robocache_ros.metrics import Metrics
from robocache_ros.outbox import Outbox
from robocache_ros.recorder import Recorder

#: Trigger messages whose times are kept until their target is computed.
_TRIGGERS = 256
#: Time that ``stop`` gives to the step at hand.
STOP_S = 5.0


class Worker:
    """Runs the pipeline on a thread of its own, from ``start`` to ``stop``.

    Args:
        pipeline: used by this thread alone while it runs.
        inboxes: where messages come from.
        ingest: takes them into the pipeline.
        hand_over: called with every frame, on this thread.
        publish: called with every frame and when its computation began (steady clock, ns), on a thread beside it.
        metrics: records durations.
        log: explains exceptions.
        clock: measures durations, and how long nothing has arrived.
        recorder: records back-pressure.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        inboxes: Inboxes,
        ingest: Ingest,
        hand_over: Callable[[FusedFrame], None],
        publish: Callable[[FusedFrame, int], None],
        metrics: Metrics,
        log: DropLog,
        clock: Clock,
        recorder: Recorder,
    ) -> None:
        self._pipeline = pipeline
        self._inboxes = inboxes
        self._ingest = ingest
        self._hand_over = hand_over
        self._publish = publish
        self._outbox = Outbox(self._publish_timed, lambda: log.fail('publisher', 'a frame cannot be published'))
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._recorder = recorder
        self.backpressure = Backpressure(pipeline.config.backpressure)
        #: By stamp.
        self._triggers: OrderedDict[int, TriggerTimes] = OrderedDict()
        #: Called with every frame that was published, on the thread that published it.
        self.on_published: Callable[[FusedFrame, FrameTimes], None] = lambda frame, times: None
        self._last_arrival_ns = 0
        #: When ``start`` was last called, steady clock.
        self.started_ns = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._idle_ns = SECOND + pipeline.config.sync.max_wait_ns

    def start(self) -> None:
        """Begin to take messages."""
        self._stopping.clear()
        self.started_ns = self._last_arrival_ns = self._clock.steady_ns()
        self.backpressure = Backpressure(self._pipeline.config.backpressure)
        self._pipeline.keep_every = self.backpressure.keep_every
        self._outbox.start()
        self._inboxes.open()
        self._thread = threading.Thread(target=self._run, name='robocache-worker', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the step at hand, its frame published; all that waits is dropped ``deactivated``.

        Raises:
            TimeoutError: the step goes on for longer than ``STOP_S``, or the publication does. The thread ends after
                it; until then the pipeline is the thread's, and what it holds is not counted as dropped.
        """
        self._stopping.set()
        self._inboxes.close(Reason.DEACTIVATED)
        if self._thread is not None:
            self._thread.join(STOP_S)
            if self._thread.is_alive():
                raise TimeoutError(
                    f'the worker is still busy with one step after {STOP_S} s: the pipeline is not released'
                )
            self._thread = None
        self._ingest.clear(Reason.DEACTIVATED)
        self._pipeline.clear(Reason.DEACTIVATED)
        self._outbox.stop()

    @property
    def num_waiting(self) -> int:
        """Targets that wait: those that are ready, and those that will be kept of what is still in the inboxes.

        The latter are the trigger's messages; without a trigger, the targets of the time for which messages wait.
        """
        sync, trigger = self._pipeline.config.sync, self._pipeline.config.trigger
        if trigger:
            coming = self._inboxes.levels()[trigger].depth
        else:
            coming = int(self._inboxes.waited_ns() / SECOND * sync.rate_hz)
        return self._pipeline.num_ready + coming // self._pipeline.keep_every

    @property
    def saturation(self) -> float:
        """How many targets wait, of those that may, 0..1."""
        return min(1.0, self.num_waiting / self._pipeline.config.backpressure.max_ready)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.step(0.0 if self._pipeline.num_ready else self._idle_ns / SECOND / 4)

    def step(self, timeout_s: float) -> None:
        """Take in one message or event, waiting for it up to ``timeout_s``, and emit one ready target.

        The thread calls it over and over; an exception is logged and counted.
        """
        try:
            item = self._inboxes.take(timeout_s)
            if isinstance(item, tuple):
                self._take_in(*item)
            else:
                if item is not None:
                    item()
                self._give_up_if_idle()
            self._emit()
        except Exception:
            self._log.fail('worker', 'the worker failed and goes on')

    def _give_up_if_idle(self) -> None:
        """End the wait for late streams once nothing arrives: stamps stand still then, so only a steady clock can."""
        if not len(self._inboxes) and self._clock.steady_ns() - self._last_arrival_ns > self._idle_ns:
            self._ingest.give_up()
            self._pipeline.give_up()

    def _take_in(self, name: str, arrival: Arrival) -> None:
        begin = self._last_arrival_ns = self._clock.steady_ns()
        self._metrics.waited(name, begin - arrival.arrived_ns)
        sample = self._ingest.decode(name, arrival.message)
        if sample is None:
            return
        decoded = self._clock.steady_ns()
        self._metrics.took('decode', decoded - begin)
        if name == self._pipeline.config.trigger:
            stamp_ns = self._pipeline.streams[name].corrected_ns(sample.stamp_ns)
            self._triggers[stamp_ns] = TriggerTimes(arrival.arrived_ns, begin, decoded)
            if len(self._triggers) > _TRIGGERS:
                self._triggers.popitem(last=False)
        self._ingest.push(name, sample)

    def _emit(self) -> None:
        """Compute one ready target and have it published, and let the backlog decide how many targets are kept."""
        if not self._pipeline.num_ready:
            return
        begin = self._clock.steady_ns()
        frames = self._pipeline.poll(limit=1)
        computed = self._clock.steady_ns()
        self._metrics.took('compute', computed - begin)
        for frame in frames:
            trigger = self._triggers.pop(frame.stamp_ns, None)
            if trigger is not None:
                self._metrics.took('align', begin - trigger.arrived_ns)
            self._hand_over(frame)
            self._outbox.put(frame, FrameTimes(begin, computed, trigger=trigger))
        num_waiting, before = self.num_waiting, self._pipeline.keep_every
        self._pipeline.keep_every = self.backpressure.update(num_waiting, self._clock.steady_ns())
        if self._pipeline.keep_every != before:
            self._recorder.thinned(self._pipeline.keep_every, num_waiting)

    def _publish_timed(self, frame: FusedFrame, times: FrameTimes) -> None:
        begin = self._clock.steady_ns()
        self._publish(frame, times.began_ns)
        end = self._clock.steady_ns()
        self._metrics.took('publish', end - begin)
        self.on_published(frame, times._replace(publishing_ns=begin, published_ns=end))
