# SPDX-License-Identifier: Apache-2.0
"""The fault matrix over DDS: faulty recordings at their own pace through the node, which must stay active.

``make faults`` runs all cases and writes what came of each to the file that ``ROBOCACHE_FAULTS`` names; without it two
run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.faults import recording
from support.faults.cases import CASES, SECONDS
from support.faults.live import Paced
from support.faults.verdict import check_frames, check_ledger, check_sayings, parameters_of

from robocache_core.frame import FusedFrame
from robocache_ros import parameters
from robocache_ros.offline import fused_frames

RESULTS = os.environ.get('ROBOCACHE_FAULTS')
NAMES = [name for name, case in CASES.items() if not case.needs_tf] if RESULTS else ['IMU in TAI', 'camera pauses']


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recording.write(tmp_path_factory.mktemp('faults') / 'bag', SECONDS)


@pytest.fixture(scope='module')
def whole(bag: Path) -> Sequence[FusedFrame]:
    """The frames without faults, of the bag: those over DDS have the same bits."""
    config, _ = parameters.from_dict(parameters_of(CASES['loop']))
    return list(fused_frames(bag, config))


@pytest.fixture(scope='module')
def results() -> Iterator[dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, Any]] = {}
    yield found
    if RESULTS:
        Path(RESULTS).parent.mkdir(parents=True, exist_ok=True)
        Path(RESULTS).write_text(json.dumps(found, indent=2) + '\n')


@pytest.mark.parametrize('name', NAMES)
def test_the_node_survives_a_fault_and_names_it(
    tmp_path: Path, bag: Path, whole: Sequence[FusedFrame], name: str, results: dict[str, dict[str, Any]]
) -> None:
    case = CASES[name]
    results[name] = {'ok': False, 'recovered_s': None, 'blocker': ''}
    injections = recording.inject(bag, tmp_path / 'faulty', [case.fault])
    with Paced(case) as robot:
        outcome = robot.play(tmp_path / 'faulty')
    recovered_s = check_frames(case, injections, whole, outcome)
    results[name] |= {'recovered_s': recovered_s, 'blocker': check_sayings(case, outcome)}
    check_ledger(case, injections, outcome)
    assert recovered_s <= case.recovered_s
    results[name]['ok'] = True
