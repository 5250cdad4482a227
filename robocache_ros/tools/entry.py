# SPDX-License-Identifier: Apache-2.0
"""What ends any tool with one line and a status: an interruption, a full disk, a library that is not installed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext

from robocache_ros.tools import interruption
from robocache_ros.tools.writing import UnwrittenError, guarded_errors, guarded_output

_FAILED, _UNUSABLE = 1, 2


def run_tool(tool: str, body: Callable[[], int]) -> int:
    """Run ``body``, which imports what takes long; returns its exit status, or that of its end."""
    with guarded_errors(sys.stderr):
        return _ended(tool, body)


def _ended(tool: str, body: Callable[[], int]) -> int:
    interruption.end_at_once(tool)
    try:
        with guarded_output(sys.stdout) if sys.stdout else nullcontext():  # None where it is closed, as by `>&-`
            return body()
    except KeyboardInterrupt:
        return interruption.status_of(tool)
    except UnwrittenError as error:
        print(f'{tool}: {error}', file=sys.stderr)
        return _FAILED
    except ModuleNotFoundError as error:
        return name_missing(tool, error)


def name_missing(tool: str, error: ModuleNotFoundError) -> int:
    """Say what ``tool`` needs that is not installed, and the remedy; returns the exit status.

    Raises:
        ModuleNotFoundError: it is a part of something that is installed, and broken.
    """
    from robocache_ros.tools import doctor  # only now: it is itself a tool

    remedy = doctor.remedy(error.name or '', os.environ)
    if not remedy:
        raise error
    print(f'{tool}: needs {error.name}, which is not installed: {remedy}', file=sys.stderr)
    return _UNUSABLE
