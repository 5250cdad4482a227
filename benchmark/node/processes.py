# SPDX-License-Identifier: Apache-2.0
"""The processes of one run: started together, waited for with limits, named where one fails, and all ended."""

from __future__ import annotations

import ctypes
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

_TICK_S = 1 / os.sysconf('SC_CLK_TCK')
_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl  # looked up here: little is safe between fork and exec
_END_S = 10.0


class ProcessError(RuntimeError):
    """A process ended, or did not say in time what it should."""


class Process:
    """One process. What it says in lines of JSON is kept for ``Processes.wait``; all else goes to ``log``.

    Args:
        name: what it is called in errors.
        command: module and arguments for ``python -m``.
        log: a file.
        environment: of the process.
        by_signal: it ends by SIGINT; else when its stdin does.
    """

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str], by_signal: bool
    ) -> None:
        self.name, self._log, self._by_signal = name, log, by_signal
        self._said: queue.Queue[dict[str, Any]] = queue.Queue()
        with log.open('wb') as errors:
            self._popen = subprocess.Popen(
                [sys.executable, '-m', *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                text=True, start_new_session=True, preexec_fn=_die_with_parent, env=dict(environment),
            )  # fmt: skip
        threading.Thread(target=self._listen, name=f'listens to {name}', daemon=True).start()

    @property
    def pid(self) -> int:
        """Its id."""
        return self._popen.pid

    def order(self, **values: object) -> None:
        """Send a line of JSON."""
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(json.dumps(values) + '\n')
            self._popen.stdin.flush()
        except BrokenPipeError:
            self.check()
            raise

    def said(self, event: str) -> dict[str, Any] | None:
        """The next thing that it has said, None where that is nothing yet; it must be this event."""
        try:
            said = self._said.get(timeout=0.02)
        except queue.Empty:
            return None
        if said['event'] != event:
            raise ProcessError(f'{self.name} said {said["event"]!r} where {event!r} was due')
        return said

    def check(self) -> None:
        """Raise where it has ended."""
        if self._popen.poll() is not None and self._said.empty():
            raise ProcessError(f'{self.name} ended with exit code {self._popen.returncode}; {self._log_tail()}')

    def cpu_s(self) -> float:
        """CPU time of all its threads so far, of user and system; 0 where it has ended."""
        try:
            fields = Path(f'/proc/{self._popen.pid}/stat').read_text().rpartition(')')[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return 0.0
        return (int(fields[11]) + int(fields[12])) * _TICK_S

    def peak_rss_mib(self) -> float:
        """The most memory that it held so far."""
        lines = Path(f'/proc/{self._popen.pid}/status').read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith('VmHWM:')) / 1024

    def ask_to_end(self) -> None:
        """Have it end, without waiting."""
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        if self._by_signal and self._popen.poll() is None:
            self._popen.send_signal(signal.SIGINT)

    def join(self) -> str:
        """Wait for its end, and kill it where it does not come; returns what was wrong with it, '' for nothing."""
        try:
            code = self._popen.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
            return f'{self.name} did not end in {_END_S:.0f} s and was killed; {self._log_tail()}'
        return f'{self.name} ended with exit code {code}; {self._log_tail()}' if code else ''

    def _listen(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            if line.startswith('{"event"'):
                self._said.put(json.loads(line))

    def _log_tail(self, lines: int = 15) -> str:
        text = self._log.read_text(errors='replace').splitlines()[-lines:]
        return f'the end of {self._log}:\n' + ('\n'.join(f'    {line}' for line in text) or '    (empty)')


class Processes:
    """All processes of one run; a context manager that ends them.

    Args:
        folder: gets their logs.
        environment: of all.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self._all: list[Process] = []
        folder.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, *command: str, by_signal: bool = False) -> Process:
        """Start one."""
        log = self._folder / f'{name.replace(" ", "_")}.log'
        process = Process(name, command, log, self._environment, by_signal)
        self._all.append(process)
        return process

    def wait(self, process: Process, event: str, timeout_s: float) -> dict[str, Any]:
        """What ``process`` says next, which must be ``event``.

        Raises:
            ProcessError: any of the processes has ended, or it is not said in time.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            said = process.said(event)
            if said is not None:
                return said
            for each in self._all:
                each.check()
        raise ProcessError(f'{process.name} has not said {event!r} after {timeout_s:.0f} s')

    def cpu_s(self) -> float:
        """CPU time of all processes and of this one."""
        return time.process_time() + sum(process.cpu_s() for process in self._all)

    def end(self) -> None:
        """End all of them.

        Raises:
            ProcessError: one did not end well.
        """
        faults = self._end()
        if faults:
            raise ProcessError('\n'.join(faults))

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> list[str]:
        ending, self._all = self._all, []
        for process in ending:
            process.ask_to_end()
        return [fault for fault in [process.join() for process in ending] if fault]


def _die_with_parent() -> None:
    """Runs in the child before exec: if this process is killed, the kernel ends the child too (Linux)."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
