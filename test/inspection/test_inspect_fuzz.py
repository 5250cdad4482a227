# SPDX-License-Identifier: Apache-2.0
"""A bag of malformed and extreme messages is inspected as any other: each message counts, and all text is harmless."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import bags
from support.fuzz import COUNT, on_the_wire
from support.fuzz.driven import CASES, Driven

from robocache_ros.sources import routes
from robocache_ros.tools.inspect.inspection import inspect
from robocache_ros.tools.inspect.page import render
from robocache_ros.tools.inspect.text import format_report

pytestmark = pytest.mark.filterwarnings('error')


@pytest.mark.parametrize('name', CASES)
def test_malformed_messages_are_inspected(name: str, tmp_path: Path) -> None:
    driven = Driven(CASES[name])
    by_stream = {'' if r.is_calibration else r.stream.name: r for r in routes(driven.pipeline.config)}
    count = 0

    def records() -> Iterator[tuple[str, str, bytes]]:
        nonlocal count
        for serial in range(COUNT):
            for stream, each in driven.case.messages(serial):
                raw = on_the_wire(each.message)
                if raw is not None:
                    count += 1
                    yield by_stream[stream].absolute_topic, by_stream[stream].type_name, raw

    report = inspect(bags.write_raw(tmp_path / 'bag', records()))
    assert report['bag']['messages'] == count > 0
    for account in (report['outcome'] or {'streams': {}})['streams'].values():
        assert account['received'] == account['used'] + account['held'] + sum(account['dropped'].values())
    json.dumps(report, allow_nan=False)
    for text in (format_report(report), render(report)):
        assert all(line.isprintable() for line in text.splitlines())
