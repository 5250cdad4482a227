# SPDX-License-Identifier: Apache-2.0
"""What Prometheus reads of the node: a scrape over HTTP, parsed by Prometheus' own client."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(('127.0.0.1', 0)) as probe:
        return int(probe.getsockname()[1])


def scrape(port: int) -> str:
    """The page of the metrics."""
    with urllib.request.urlopen(f'http://127.0.0.1:{port}/metrics', timeout=10) as answer:
        return str(answer.read().decode())


def families(text: str) -> dict[str, tuple[str, str, list[tuple[dict[str, str], float]]]]:
    """By exposed name: type, meaning and samples; a histogram's by their names."""
    found = {}
    for family in text_string_to_metric_families(text):
        name = f'{family.name}_total' if family.type == 'counter' else family.name
        found[name] = family.type, family.documentation, [(s.labels, s.value) for s in family.samples]
    return found


def samples(text: str) -> dict[tuple[str, ...], float]:
    """By name and values of the labels in the order of their names, the value; buckets are left out."""
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels, reverse=True))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if 'le' not in sample.labels
    }


def buckets(text: str, name: str) -> dict[tuple[str, ...], dict[str, float]]:
    """Of a histogram by the values of its labels: how many are at or below each bound."""
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f'{name}_bucket':
                labels = {key: value for key, value in sample.labels.items() if key != 'le'}
                found.setdefault(tuple(labels.values()), {})[sample.labels['le']] = sample.value
    return found


def of_ledger(pipeline: Any) -> dict[tuple[str, ...], float]:
    """The samples that the accounts of a pipeline should give."""
    found: dict[tuple[str, ...], float] = {}
    for name, account in pipeline.ledger.items():
        counts = account.counts()
        found['robocache_messages_received_total', name] = counts.received
        found['robocache_messages_used_total', name] = counts.used
        found['robocache_messages_held', name] = counts.held
        for reason, count in counts.dropped.items():
            found['robocache_messages_dropped_total', name, reason] = count
    targets = pipeline.targets.counts()
    found['robocache_targets_received_total',] = targets.received
    found['robocache_targets_used_total',] = targets.used
    found['robocache_targets_held',] = targets.held
    for reason, count in targets.dropped.items():
        found['robocache_targets_dropped_total', reason] = count
    return found


#: By the begin of a status's name, the metric of each of its keys; ``*`` stands for the last label.
_KEYS = {
    'input': {
        'received': 'messages_received_total',
        'used': 'messages_used_total',
        'held': 'messages_held',
        'dropped.*': 'messages_dropped_total',
        'qos.incompatible': 'qos_incompatible_total',
        'qos.lost': 'messages_lost_total',
        'missing_by_stamps': 'messages_missing_total',
        'points.*': 'points_dropped_total',
    },
    'sync': {
        'epoch': 'epoch',
        'targets': 'targets_received_total',
        'emitted': 'targets_used_total',
        'pending': 'targets_held',
        'dropped.*': 'targets_dropped_total',
        'given_up.*': 'targets_given_up_total',
        'time_jumps.*': 'time_jumps_total',
    },
    'queue': {'depth': 'queue_depth', 'keep_every': 'keep_every'},
    'compute': {'exceptions': 'failures_total', 'memory.*': 'device_memory_bytes'},
    'output': {'frames': 'frames_total'},
}


def of_diagnostics(statuses: Mapping[str, Any]) -> dict[tuple[str, ...], float]:
    """The samples that a whole report should give; ``statuses`` by task."""
    found: dict[tuple[str, ...], float] = {}
    for task, status in statuses.items():
        kind, _, stream = task.partition(' ')
        for key, value in ((pair.key, pair.value) for pair in status.values):
            first, _, last = key.partition('.')
            metric = _KEYS[kind].get(key) or _KEYS[kind].get(f'{first}.*')
            if metric is not None:
                labels = [stream] if stream else []
                labels += [] if key in _KEYS[kind] else [last]
                found[(f'robocache_{metric}', *labels)] = float(value)
    return found


def assert_agrees(text: str, expected: Mapping[tuple[str, ...], float]) -> None:
    """All samples of the metrics in ``expected`` are those, and there is no other."""
    names = {name for name, *_ in expected}
    assert {key: value for key, value in samples(text).items() if key[0] in names} == dict(expected)
