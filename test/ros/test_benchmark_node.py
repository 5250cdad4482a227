# SPDX-License-Identifier: Apache-2.0
"""The benchmark of a message's whole path: its statistics, goals and rounds on made-up numbers."""

from __future__ import annotations

import dataclasses

import pytest

from benchmark.node import diagnostics, goals, statistics
from benchmark.node.__main__ import main
from benchmark.node.goals import Limit
from benchmark.node.processes import ProcessError
from benchmark.node.rounds import Campaign
from benchmark.node.run import Observed
from benchmark.node.statistics import Numbers, Spread, Tolerance

MS = 1_000_000
STRICT = Tolerance(late_ms=2.0, busy=0.1)
RUN = Numbers(
    sent=100, complete=100, p50_ms=10.0, p99_ms=20.0, p999_ms=30.0, cpu_ms=8.0, rss_mib=100.0, late_p99_ms=0.1,
    priority='real-time', busy=0.01,
)  # fmt: skip


def run(**changed) -> Numbers:
    return dataclasses.replace(RUN, **changed)


# ---- statistics ------------------------------------------------------------------------------------------------------


def test_a_run_counts_what_was_sent_in_its_measured_time():
    stamps = [100 * MS * k for k in range(10, 14)]
    complete = [[stamp, stamp + latency * MS] for stamp, latency in zip(stamps, (5, 7, 9), strict=False)]
    complete.append([100 * MS, 900 * MS])  # of the warm-up
    observed = Observed(
        stamps, late_ns=[0, MS], priority='normal', busy=0.05, cpu_s=0.06, peak_rss_mib=50.0,
        results=[{'complete': complete, 'arrivals': []}],
    )  # fmt: skip
    found = statistics.numbers(observed)
    assert (found.sent, found.complete, found.lost) == (4, 3, 0.25)
    assert found.p50_ms == pytest.approx(7)
    assert found.cpu_ms == pytest.approx(20)
    assert found.late_p99_ms == pytest.approx(0.99)


def test_a_run_without_a_frame_has_no_latency():
    observed = Observed([MS, 2 * MS], [0], 'normal', 0.0, 0.1, 50.0, [{'complete': [], 'arrivals': []}])
    found = statistics.numbers(observed)
    assert (found.complete, found.p50_ms, found.p999_ms, found.cpu_ms, found.lost) == (0, None, None, None, 1.0)


def test_the_parts_of_a_latency_add_up_and_those_of_the_consumer_follow():
    stamp, source, received, called, complete = (k * MS for k in (100, 101, 103, 106, 110))
    relay = {'complete': [[stamp, complete]], 'arrivals': [[stamp, source, received, called]]}
    consumer = {'complete': [[stamp, 120 * MS]], 'arrivals': [[stamp, complete, 115 * MS, 120 * MS]]}
    found = statistics.parts([stamp], [relay, consumer])
    assert {name: p50 for name, (p50, _) in found.items()} == pytest.approx(
        {'publisher': 1, 'dds': 2, 'executor': 3, 'work': 4, 'out dds': 5, 'out executor': 5}
    )


@pytest.mark.parametrize(
    ('changed', 'named'),
    [
        ({}, []),
        ({'late_p99_ms': 2.5}, ['late by p99 2.50 ms (limit 2 ms)']),
        ({'busy': 0.23}, ['23% of the CPUs (limit 10%)']),
        ({'late_p99_ms': 2.5, 'busy': 0.23}, ['late', 'CPUs']),
    ],
)
def test_a_run_that_was_disturbed_is_refused_with_its_number(changed, named):
    found = statistics.refusals(run(**changed), STRICT)
    assert len(found) == len(named)
    assert all(part in line for part, line in zip(named, found, strict=True))


@pytest.mark.parametrize(
    ('values', 'expected'),
    [([3.0, 1.0, 2.0], Spread(2, 1, 3)), ([None, 4.0], Spread(4, 4, 4)), ([None], None), ([], None)],
)
def test_the_spread_is_of_what_is_known(values, expected):
    assert statistics.spread(values) == expected


def test_losses_and_stages_are_read_from_diagnostics():
    values = {
        'sync': {'dropped.thinned': '3', 'emitted': '9'},
        'input front': {'dropped.unselected': '5', 'dropped.decode_failed': '2', 'last.decode_failed': 'x'},
    }
    assert diagnostics.losses(values) == {'target.thinned': 3, 'front.decode_failed': 2}
    compute = {'align_p50_ms': '1.5', 'align_p99_ms': '2.5', 'backend': 'cpu'}
    assert diagnostics.stages_ms(compute) == {'align': [1.5, 2.5]}


# ---- goals -----------------------------------------------------------------------------------------------------------

RELAY = {'relay': run(p50_ms=10.0, p99_ms=20.0)}


@pytest.mark.parametrize(
    ('limit', 'rounds', 'value', 'met'),
    [
        (Limit('p50_ms', 1.3, 'relay'), [{'node': run(p50_ms=13.0), **RELAY}], 1.3, True),
        (Limit('p50_ms', 1.3, 'relay'), [{'node': run(p50_ms=14.0), **RELAY}], 1.4, False),
        # The median of the rounds' ratios: one bad round decides nothing.
        (Limit('p50_ms', 1.3, 'relay'), [{'node': run(p50_ms=p50), **RELAY} for p50 in (12, 90, 11)], 1.2, True),
        (Limit('p50_ms', 1.5, 'relay', subject='in_process'), [{'in_process': run(p50_ms=11.0), **RELAY}], 1.1, True),
        # What was measured in different rounds is not compared.
        (Limit('p50_ms', 1.3, 'relay'), [{'node': run()}, RELAY], None, None),
        (Limit('p50_ms', 1.3, 'relay'), [{'node': run(p50_ms=None), **RELAY}], None, None),
        (Limit('p50_ms', 1.3, 'relay'), [], None, None),
        (Limit('lost', 0.01), [{'node': run(complete=99)}], 0.01, True),
        (Limit('lost', 0.01), [{'node': run(complete=98)}], 0.02, False),
        (Limit('thinned', 0), [{'node': run(losses={'target.thinned': 1})}], 1, False),
        (Limit('thinned', 0), [{'node': run()}], 0, True),
    ],
)
def test_a_limit_is_held_against_the_median_of_the_rounds(limit, rounds, value, met):
    (verdict,) = goals.judge([limit], rounds)
    assert verdict.value == (None if value is None else pytest.approx(value))
    assert verdict.met is met


@pytest.mark.parametrize(
    ('num_cpus', 'rate_hz', 'subject', 'expected'),
    [
        (2, 10, 'node', ['thinned ≤ 0', 'p50 ≤ 1.8× relay', 'p99 ≤ usual / 2', 'CPU ≤ usual / 2']),
        (4, 20, 'node', []),
        (2, 10, 'in_process', []),
        (16, 20, 'in_process', ['p50 ≤ 1.5× bare']),
        (16, 20, 'bare', []),
        (16, 10, 'node', ['p50 ≤ 1.3× relay', 'p99 ≤ 1.6× relay', 'CPU ≤ 3× bare', 'CPU ≤ usual / 15']),
        (16, 40, 'node', ['p50 ≤ 1.3× relay', 'p99 ≤ 1.6× relay', 'CPU ≤ 3× bare', 'CPU ≤ usual / 15', 'lost ≤ 0.01']),
    ],
)
def test_the_goals_are_those_of_the_host_the_rate_and_the_subject(num_cpus, rate_hz, subject, expected):
    assert [str(limit) for limit in goals.limits(num_cpus, rate_hz, subject)] == expected


@pytest.mark.parametrize(
    ('met', 'expected'), [([], None), ([True, True], True), ([True, None], None), ([None, False], False)]
)
def test_a_row_has_met_its_goal_when_all_its_limits_are_met(met, expected):
    assert goals.all_met([goals.Verdict('', None, each) for each in met]) is expected


# ---- rounds ----------------------------------------------------------------------------------------------------------


def campaign(found, **options) -> Campaign:
    """One whose runs give what ``found`` holds, one after the other."""
    remaining = iter(found)
    return Campaign(lambda subject, rate_hz: next(remaining), STRICT, report=lambda line: None, **options)


def test_a_refused_run_is_repeated_and_never_averaged_in():
    late = run(late_p99_ms=9.0, p50_ms=1000.0)
    (row,) = campaign([late, run(p50_ms=10.0), late, late, run(p50_ms=12.0)], tries=2).rows(['bare'], 10, 3)
    assert (row.runs, row.p50_ms) == (2, Spread(11, 10, 12))
    assert [why.partition(':')[0] for why in row.refused] == ['run 1, try 1', 'run 2, try 1', 'run 2, try 2']
    assert '9.00 ms' in row.refused[0]


def test_a_row_whose_runs_were_all_refused_says_so():
    (row,) = campaign([run(busy=0.5)] * 2, tries=2).rows(['bare'], 10, 1)
    assert (row.runs, row.p50_ms, row.sent, row.met) == (0, None, 0, None)
    assert '50%' in str(row)


def test_a_run_of_which_a_process_fails_is_repeated_and_its_reason_kept():
    failed = ProcessError('player did not end; the end of a.log:\n    why')
    said, remaining = [], iter([failed, run(p50_ms=10.0), failed, failed])

    def measure(subject, rate_hz):
        found = next(remaining)
        if isinstance(found, ProcessError):
            raise found
        return found

    made = Campaign(measure, STRICT, tries=2, report=said.append)
    (row,) = made.rows(['bare'], 10, 1)
    assert (row.runs, row.refused) == (1, ['run 1, try 1: player did not end'])
    assert said[0].endswith('    why')
    with pytest.raises(ProcessError, match='player did not end'):
        made.rows(['bare'], 10, 1)


def test_only_the_node_is_judged():
    rows = campaign([run(), run(p50_ms=20.0)], tries=1, num_cpus=2).rows(['relay', 'node'], 10, 1)
    assert [(row.met, bool(row.goal)) for row in rows] == [(None, False), (False, True)]


@pytest.mark.parametrize(
    ('runs', 'peak_hz', 'limited_by'),
    [
        ([run(), run(complete=99), run()], 30, 'the list of rates'),
        ([run(), run(complete=98)], 10, '20 Hz: 2.0% lost'),
        ([run(complete=0)], None, '10 Hz: 100.0% lost'),
        ([run(), run(late_p99_ms=3.0)], 10, '20 Hz: refused'),
    ],
)
def test_the_peak_is_the_highest_rate_at_which_little_is_lost(runs, peak_hz, limited_by):
    found = campaign(runs, tries=1).peak('node', (10, 20, 30))
    assert (found['peak_hz'], found['limited_by']) == (peak_hz, limited_by)


def test_it_says_what_its_options_are(capsys):
    with pytest.raises(SystemExit):
        main(['--help'])
    assert 'at most 1% lost' in capsys.readouterr().out
