# SPDX-License-Identifier: Apache-2.0
"""Tests that need a GPU: without one they are skipped, and say why."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import on_gpu


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    why_not = on_gpu.why_not()
    here = Path(__file__).parent
    if why_not is not None:
        for item in items:
            if here in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=why_not))
