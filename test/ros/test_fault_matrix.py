# SPDX-License-Identifier: Apache-2.0
"""The fault matrix without ROS's network: faults in a bag, and what its frames, its ledger and its warnings say."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from support.faults import recording
from support.faults.cases import CASES, SECONDS, Case
from support.faults.document import PAGE, documented
from support.faults.verdict import Outcome, check_frames, check_ledger, check_sayings, parameters_of

from robocache_core.frame import FusedFrame
from robocache_ros import parameters
from robocache_ros.bags import open_bag
from robocache_ros.offline import fused_frames
from robocache_ros.period import listed
from robocache_ros.tools.config_from_bag import config_from_bag
from robocache_ros.tools.faults.kinds import KINDS


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recording.write(tmp_path_factory.mktemp('faults') / 'bag', SECONDS)


@pytest.fixture(scope='module')
def whole(bag: Path) -> Sequence[FusedFrame]:
    """The frames without faults."""
    config, _ = parameters.from_dict(parameters_of(CASES['loop']))
    return list(fused_frames(bag, config))


def read(bag: Path, case: Case, caplog: pytest.LogCaptureFixture) -> Outcome:
    caplog.set_level(logging.INFO)
    config, _ = parameters.from_dict(parameters_of(case))
    frames = fused_frames(bag, config)
    found, pipeline = list(frames), frames.pipeline
    lines = [*(record.getMessage() for record in caplog.records), *frames.warnings]
    counts = {name: account.counts() for name, account in pipeline.ledger.items()}
    return Outcome(
        found,
        counts,
        {name: pipeline.num_held(name) for name in counts},
        pipeline.targets.counts(),
        [line for line in lines if 'no frame: ' in line],
        [*lines, *(f'input {name}: dropped: {listed(each.dropped)}' for name, each in counts.items())],
    )


def judge(case: Case, injections: list[dict], whole: Sequence[FusedFrame], outcome: Outcome) -> None:
    check_ledger(case, injections, outcome)
    assert check_frames(case, injections, whole, outcome) <= case.recovered_s
    check_sayings(case, outcome)


@pytest.mark.parametrize('name', CASES)
def test_a_fault_costs_what_it_reaches_and_is_named(
    tmp_path: Path, bag: Path, whole: Sequence[FusedFrame], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    case = CASES[name]
    injections = recording.inject(bag, tmp_path / 'faulty', [case.fault])
    assert injections
    outcome = read(tmp_path / 'faulty', case, caplog)
    judge(case, injections, whole, outcome)


@pytest.fixture
def outcome(tmp_path: Path, bag: Path, caplog: pytest.LogCaptureFixture) -> tuple[Case, list[dict], Outcome]:
    case = CASES['IMU is NaN']
    return case, recording.inject(bag, tmp_path / 'faulty', [case.fault]), read(tmp_path / 'faulty', case, caplog)


def one_more(outcome: Outcome, stream: str, **dropped: int) -> Outcome:
    """The same, but for messages of a stream that were dropped rather than used."""
    counts = outcome.counts[stream]
    changed = {reason: counts.dropped.get(reason, 0) + n for reason, n in dropped.items()}
    counts = dataclasses.replace(counts, used=counts.used - sum(dropped.values()), dropped=counts.dropped | changed)
    return dataclasses.replace(outcome, counts={**outcome.counts, stream: counts})


@pytest.mark.parametrize(
    'flawed',
    [
        lambda outcome: one_more(outcome, 'imu', non_finite=1),
        lambda outcome: one_more(outcome, 'imu', bad_stamp=1),
        lambda outcome: one_more(outcome, 'front', bad_stamp=1),
        lambda outcome: dataclasses.replace(outcome, held={**outcome.held, 'rear': 1000}),
        lambda outcome: dataclasses.replace(outcome, frames=outcome.frames[:-1]),
        lambda outcome: dataclasses.replace(outcome, frames=[*outcome.frames[:-1], outcome.frames[0]]),
        lambda outcome: dataclasses.replace(outcome, frames=[changed(outcome.frames[0]), *outcome.frames[1:]]),
        lambda outcome: dataclasses.replace(outcome, blockers=['no frame: targets dropped: 10 no_motion:lidar']),
    ],
)
def test_a_flaw_is_found(outcome, whole: Sequence[FusedFrame], flawed: Callable[[Outcome], Outcome]) -> None:
    case, injections, good = outcome
    judge(case, injections, whole, good)
    with pytest.raises(AssertionError):
        judge(case, injections, whole, flawed(good))


def changed(frame: FusedFrame) -> FusedFrame:
    """A frame of which one bit is another."""
    tensor = frame.tensors['imu'].clone()
    tensor.view(torch.int32)[0, 0] ^= 1
    return dataclasses.replace(frame, tensors={**frame.tensors, 'imu': tensor})


def test_the_page_has_every_case_and_kind() -> None:
    text = PAGE.read_text()
    assert documented(text) == [(name, case.fault) for name, case in CASES.items()]
    assert all(f'| `{name}` | {kind.sentence} |\n' in text for name, kind in KINDS.items())
    assert '**failed**' not in text


@pytest.mark.parametrize(
    ('fault', 'note'),
    [
        ('wrong_unit', '/imu: its linear_acceleration seems to be in g, not m/s²'),
        ('wrong_unit:of=angular_velocity', '/imu: its angular_velocity seems to be in degrees, not rad/s'),
    ],
)
def test_a_wrong_unit_which_the_node_cannot_know_is_named_by_replay(
    tmp_path: Path, bag: Path, fault: str, note: str
) -> None:
    recording.inject(bag, tmp_path / 'faulty', [fault])
    notes = config_from_bag(open_bag(tmp_path / 'faulty')).notes
    assert any(line.startswith(note) for line in notes), notes
