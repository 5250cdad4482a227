# SPDX-License-Identifier: Apache-2.0
"""Signals as the processes of these tests expect them."""

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope='session')
def hangups_end_processes() -> Iterator[None]:
    """Where the tests run under nohup, what they start would ignore a SIGHUP as well."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)
