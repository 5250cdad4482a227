# SPDX-License-Identifier: Apache-2.0
"""``config/grafana_dashboard.json``: what it asks for is there, and nothing that is there is left out."""

import json
import re
from pathlib import Path

import pytest
from support.runtime import LIDAR, make

from robocache_core.config import PipelineConfig
from robocache_ros.prometheus import ROWS, Exposition

DASHBOARD = json.loads((Path(__file__).parents[2] / 'config' / 'grafana_dashboard.json').read_text())
TARGETS = [target for panel in DASHBOARD['panels'] for target in panel['targets']]
LABELS = {row.name: set(row.labels) for row in ROWS}


def names_in(expression):
    return {name.removesuffix('_bucket') for name in re.findall(r'robocache_\w+', expression)}


def test_every_metric_is_shown_and_no_other():
    scrape = Exposition(make(PipelineConfig(lidars=(LIDAR,))).runtime).text().decode()
    exposed = set(re.findall(r'^# TYPE (robocache_\w+)', scrape, re.M))
    assert {name for target in TARGETS for name in names_in(target['expr'])} == exposed


@pytest.mark.parametrize('target', TARGETS, ids=lambda target: target['expr'][:60])
def test_labels_are_those_of_the_metric(target):
    (name,) = names_in(target['expr'])
    for labels in re.findall(r'by \((.*?)\)', target['expr']):
        assert set(labels.split(', ')) - {'le'} <= LABELS[name]
    assert set(re.findall(r'\{\{(\w+)\}\}', target['legendFormat'])) <= LABELS[name]


def test_counters_and_histograms_are_shown_as_rates():
    for target in TARGETS:
        is_gauge = not re.search(r'_total|_bucket', target['expr'])
        assert ('rate(' in target['expr']) != is_gauge or 'qos_incompatible' in target['expr'], target['expr']


def test_panels_do_not_overlap():
    places = [panel['gridPos'] for panel in DASHBOARD['panels']]
    cells = [
        (x, y)
        for place in places
        for x in range(place['x'], place['x'] + place['w'])
        for y in range(place['y'], place['y'] + place['h'])
    ]
    assert len(cells) == len(set(cells))
    assert all(place['x'] + place['w'] <= 24 for place in places)
    assert len({panel['id'] for panel in DASHBOARD['panels']}) == len(places)
