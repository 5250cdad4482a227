# SPDX-License-Identifier: Apache-2.0
"""A thread that runs the callbacks of nodes, and passes on the error of one that failed."""

from __future__ import annotations

import threading
from types import TracebackType

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node


class Spinner:
    """Spins nodes of one context on a thread of its own while the context lasts."""

    def __init__(self, *nodes: Node) -> None:
        self._executor = SingleThreadedExecutor(context=nodes[0].context)
        for node in nodes:
            self._executor.add_node(node)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._spin, name='spinner', daemon=True)

    def __enter__(self) -> Spinner:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown()
        self._thread.join()

    def check(self) -> None:
        """Raise what a callback raised."""
        if self._error is not None:
            raise self._error

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            pass
        except Exception as error:  # raised again in the thread that checks
            self._error = error
