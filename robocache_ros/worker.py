# SPDX-License-Identifier: Apache-2.0
"""The one thread that decodes, pushes, polls, computes and publishes."""

from __future__ import annotations

import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from robocache_core.config import SECOND
from robocache_core.frame import FusedFrame
from robocache_core.ledger import Reason
from robocache_core.pipeline import Pipeline
from robocache_core.samples import DataError, Sample
from robocache_ros.backpressure import Backpressure
from robocache_ros.inbox import Arrival, Inboxes
from robocache_ros.metrics import Metrics

#: Arrival times of trigger messages kept to tell how long their target waited.
_ARRIVALS = 256


class Logger(Protocol):
    """What the worker needs of an rclpy logger."""

    def warning(self, message: str) -> bool: ...
    def error(self, message: str) -> bool: ...


class Worker:
    """Runs the pipeline on a thread of its own, from ``start`` to ``stop``.

    Args:
        pipeline: used by this thread alone while it runs.
        inboxes: where messages come from.
        decoders: by stream, message to sample; raise ``DataError``.
        publish: called with every frame and when its computation began (steady clock, ns).
        metrics: is told durations, ages and drops.
        logger: hears of drops, once a second for each stream and reason.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        inboxes: Inboxes,
        decoders: Mapping[str, Callable[[Any], Sample]],
        publish: Callable[[FusedFrame, int], None],
        metrics: Metrics,
        logger: Logger,
    ) -> None:
        self._pipeline = pipeline
        self._inboxes = inboxes
        self._decoders = decoders
        self._publish = publish
        pipeline.on_refused = self._log_drop
        pipeline.on_degraded = self._log_fault
        self._metrics = metrics
        self._logger = logger
        self.backpressure = Backpressure(pipeline.config.backpressure)
        self._arrived_ns: OrderedDict[int, int] = OrderedDict()
        self._logged_ns: dict[tuple[str, str], int] = {}
        self._stopping = threading.Event()
        #: When ``start`` was last called, steady clock.
        self.started_ns = 0
        self._thread: threading.Thread | None = None
        self._idle_s = 1.0 + pipeline.config.sync.max_wait_ns / SECOND

    def start(self) -> None:
        """Begin to take messages."""
        self._stopping.clear()
        self.started_ns = time.monotonic_ns()
        self.backpressure = Backpressure(self._pipeline.config.backpressure)
        self._pipeline.keep_every = self.backpressure.keep_every
        self._inboxes.open()
        self._thread = threading.Thread(target=self._run, name='robocache-worker', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the step at hand; whatever waits is dropped ``deactivated``."""
        self._stopping.set()
        self._inboxes.close(Reason.DEACTIVATED)
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._pipeline.clear(Reason.DEACTIVATED)

    @property
    def num_waiting(self) -> int:
        """Targets that wait: those that are ready, and the trigger's messages that are still in the inbox."""
        trigger = self._pipeline.config.trigger
        return self._pipeline.num_ready + (self._inboxes.levels()[trigger][0] if trigger else 0)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        last_arrival = time.monotonic()
        while not self._stopping.is_set():
            try:
                if self._ingest(0.0 if self._pipeline.num_ready else self._idle_s / 4):
                    last_arrival = time.monotonic()
                elif time.monotonic() - last_arrival > self._idle_s:
                    # Stamps stand still when nothing arrives, so only a steady clock can end the wait.
                    self._pipeline.give_up()
                self._emit()
            except Exception:
                self._metrics.failed(traceback.format_exc())
                if self._may_log('worker', Reason.INTERNAL_ERROR):
                    self._logger.error(f'the worker failed and goes on:\n{traceback.format_exc()}')

    def _ingest(self, timeout_s: float) -> bool:
        """Decode and push one message, wait for it if need be. Return whether there was one."""
        item = self._inboxes.take(timeout_s)
        if item is None:
            return False
        if callable(item):
            item()
        else:
            self._take_in(*item)
        return True

    def _take_in(self, name: str, arrival: Arrival) -> None:
        begin = time.monotonic_ns()
        try:
            sample = self._decoders[name](arrival.message)
        except DataError as error:
            self._pipeline.drop(name, error.reason)
            self._log_drop(name, error.reason, str(error))
            return
        except Exception:
            self._pipeline.drop(name, Reason.INTERNAL_ERROR)
            raise
        self._metrics.took('decode', time.monotonic_ns() - begin)
        if name == self._pipeline.config.trigger:
            self._arrived_ns[sample.stamp_ns] = arrival.arrived_ns
            if len(self._arrived_ns) > _ARRIVALS:
                self._arrived_ns.popitem(last=False)
        self._pipeline.push(name, sample)

    def _emit(self) -> None:
        """Compute and publish one ready target, and let the backlog decide how many targets are kept."""
        if not self._pipeline.num_ready:
            return
        begin = time.monotonic_ns()
        frames = self._pipeline.poll(limit=1)
        computed = time.monotonic_ns()
        self._metrics.took('compute', computed - begin)
        for frame in frames:
            arrived = self._arrived_ns.pop(frame.stamp_ns, None)
            if arrived is not None:
                self._metrics.took('align', begin - arrived)
            self._publish(frame, begin)
            self._metrics.took('publish', time.monotonic_ns() - computed)
        self._pipeline.keep_every = self.backpressure.update(self.num_waiting)

    def _log_fault(self, fault: str) -> None:
        self._logger.warning(f'{fault}; frames are computed on the CPU from now on')

    def _log_drop(self, name: str, reason: str, message: str) -> None:
        if self._may_log(name, reason):
            self._logger.warning(f'{name}: message dropped ({reason}): {message}')

    def _may_log(self, name: str, reason: str) -> bool:
        """Whether the last line of this kind is a second old."""
        now = time.monotonic_ns()
        if now - self._logged_ns.get((name, reason), -SECOND) < SECOND:
            return False
        self._logged_ns[name, reason] = now
        return True
