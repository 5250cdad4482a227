# SPDX-License-Identifier: Apache-2.0
"""Where a recording goes: to a file, or to a viewer on this host. Nothing here reaches another host."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robocache_ros.tools.writing import named

#: What a viewer logs. Rerun reads this as it is imported; here it logs nothing that is not raised, too.
_VIEWER_LOG = os.environ.get('RUST_LOG', 'warn')
os.environ.setdefault('RUST_LOG', 'off')

import rerun  # noqa: E402

_HOST = '127.0.0.1'
#: Time that a viewer has to open, and between two looks at it, s.
_OPENS_S, _LOOK_S = 30.0, 0.1


class ViewerError(OSError):
    """There is no viewer; the message says why, in one line."""


@contextmanager
def recording(file: Path | None, port: int, *, spawn: bool) -> Iterator[rerun.RecordingStream]:
    """Make a recording, which is whole at the end.

    Args:
        file: to write to; None: a viewer.
        port: of the viewer.
        spawn: open the viewer, where none is there.

    Raises:
        ViewerError: there is no viewer.
        OSError: the file cannot be written.
    """
    rerun.set_strict_mode(True)  # what cannot be shown is an error, not a warning
    stream = rerun.RecordingStream('robocache')
    rerun.set_log_time_enabled(False, recording=stream)  # the time line of stamps is enough, and the same each time
    if file is not None:
        with named(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.open('wb').close()  # a mistake shows at once, and as what it is
        with _reaching(file):
            stream.save(file)
    else:
        if not _listens(port):
            if not spawn:
                raise ViewerError(f'no viewer listens on port {port} of this host: run it, or leave --connect out')
            _open_viewer(port)
        stream.connect_grpc(f'rerun+http://{_HOST}:{port}/proxy')
    try:
        yield stream
    finally:
        with _reaching(file):
            stream.flush()
        stream.disconnect()


@contextmanager
def _reaching(file: Path | None) -> Iterator[None]:
    """Make what Rerun raises where a recording does not get to its file, or to the viewer, a ``ViewerError``."""
    try:
        yield
    except RuntimeError as error:
        why = ' '.join(str(error).split())
        if file is None:
            raise ViewerError(f'the viewer does not take what is shown: {why}') from error
        free_mb = shutil.disk_usage(file.parent).free / 1e6
        raise ViewerError(f'{file} is not whole: {why}; its disk has {free_mb:.1f} MB left') from error


def _open_viewer(port: int) -> None:
    """Start a viewer, which goes on when this process ends.

    By itself it would listen to all hosts, and send usage statistics, but not under CI.
    """
    command = [sys.executable, '-m', 'rerun_cli', '--bind', _HOST, '--port', str(port), '--hide-welcome-screen']
    environment = {**os.environ, 'RUST_LOG': _VIEWER_LOG, 'CI': 'true', 'RERUN_APP_ONLY': 'true'}
    viewer = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    end = time.monotonic() + _OPENS_S
    while not _listens(port):
        if viewer.poll() is not None:
            raise ViewerError('the viewer ended at once, as without a display: --save FILE needs none')
        if time.monotonic() > end:
            raise ViewerError(f'the viewer did not open within {_OPENS_S:g} s: --save FILE needs none')
        time.sleep(_LOOK_S)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_HOST, port)) == 0
