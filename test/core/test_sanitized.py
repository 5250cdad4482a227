# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

from robocache_core import backends

SANITIZED = os.environ.get('ROBOCACHE_SANITIZED')


@pytest.mark.skipif(SANITIZED is None, reason='only make sanitize builds the module with sanitizers')
def test_the_sanitized_module_is_the_one_that_runs():
    active = backends.active()
    assert active.name == 'cpu'
    assert Path(importlib.import_module('_robocache_core').__file__).parent == Path(SANITIZED)
