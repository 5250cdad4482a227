# SPDX-License-Identifier: Apache-2.0
"""The node as a child process: started, watched, and shut down."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.client import Client
from rclpy.node import Node

from robocache_ros.tools.writing import named

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl  # looked up here: little is safe between fork and exec


class NodeError(RuntimeError):
    """The node did not start, or ended too early."""


class NodeProcess:
    """Runs ``python -m robocache_ros.process`` on a parameter file; its output goes to ``log``.

    A context manager: on the way out the node is shut down, or killed where it does not end by itself.

    Args:
        node: calls the child's lifecycle services; the caller spins it.
        params: the parameter file.
        log: file for the child's stdout and stderr.
    """

    def __init__(self, node: Node, params: Path, log: Path) -> None:
        self._node, self._params, self._log = node, params, log
        self._process: subprocess.Popen[bytes] | None = None
        self._get_state = node.create_client(GetState, '/preprocess/get_state')
        self._change_state = node.create_client(ChangeState, '/preprocess/change_state')

    def __enter__(self) -> NodeProcess:
        """Start the child."""
        command = [
            sys.executable, '-m', 'robocache_ros.process', '--ros-args', '--params-file', str(self._params),
            '-p', 'autostart:=true', '-p', 'use_sim_time:=true',
        ]  # fmt: skip
        with named(self._log), self._log.open('wb') as log:
            # A session of its own: Ctrl-C reaches this process alone, which then shuts the child down.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                preexec_fn=_die_with_parent, env={**os.environ, 'PYTHONUNBUFFERED': '1'},
            )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the child if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self._interrupt(5.0)

    def check(self) -> None:
        """Raise ``NodeError`` if the child has ended."""
        assert self._process is not None
        code = self._process.poll()
        if code is not None:
            raise NodeError(f'the node ended with exit code {code}; the end of {self._log}:\n{self.log_tail()}')

    def wait_active(self, timeout_s: float) -> None:
        """Wait until the lifecycle state is active.

        Raises:
            NodeError: the child ended, or was not active in time.
        """
        deadline = time.monotonic() + timeout_s
        state = 'not answering'
        while time.monotonic() < deadline:
            self.check()
            if self._get_state.service_is_ready():
                reply = self._call(self._get_state, GetState.Request(), 1.0)
                if reply is not None:
                    state = reply.current_state.label
                    if reply.current_state.id == State.PRIMARY_STATE_ACTIVE:
                        return
            time.sleep(0.05)
        raise NodeError(
            f'the node is {state} after {timeout_s:.0f} s, not active; the end of {self._log}:\n{self.log_tail()}'
        )

    def shut_down(self, timeout_s: float = 10.0) -> int:
        """Deactivate and clean up by the lifecycle services, interrupt, and return the exit code."""
        for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
            self.check()
            request = ChangeState.Request()
            request.transition.id = transition
            reply = self._call(self._change_state, request, timeout_s)
            if reply is None or not reply.success:
                what = 'was not answered' if reply is None else 'failed'
                raise NodeError(f'transition {transition} {what}; the end of {self._log}:\n{self.log_tail()}')
        return self._interrupt(timeout_s)

    def log_tail(self, lines: int = 25) -> str:
        """The last lines that the child wrote."""
        text = self._log.read_text(errors='replace') if self._log.exists() else ''
        return '\n'.join(f'    {line}' for line in text.splitlines()[-lines:]) or '    (empty)'

    def _interrupt(self, timeout_s: float) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _call(self, client: Client, request: object, timeout_s: float) -> Any:
        """Call a service from outside of the executor's thread; None where no answer comes in time."""
        future = client.call_async(request)
        deadline = time.monotonic() + timeout_s
        while not future.done() and time.monotonic() < deadline:
            time.sleep(0.005)
        if not future.done():
            client.remove_pending_request(future)
            return None
        return future.result()


def _die_with_parent() -> None:
    """Runs in the child before exec: if this process is killed, the kernel ends the child too (Linux)."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
