# SPDX-License-Identifier: Apache-2.0
"""A set by a Ray cluster, of which a node is killed: the bytes of one pass."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import exports, hard_bag

from robocache_ros.shards import Shard
from robocache_ros.tools.export import run
from robocache_ros.tools.export.writer import ExportError

ray = pytest.importorskip('ray', reason='ray is not installed: requirements/ray.txt')

from ray.cluster_utils import Cluster  # noqa: E402  needs it

from robocache_ros.tools.export import ray_tasks  # noqa: E402

_STORE = {'object_store_memory': 80 << 20}
_WAIT_S = 120


@pytest.fixture(scope='module')
def cluster() -> Iterator[Cluster]:
    """Two nodes of one CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('RAY_USAGE_STATS_ENABLED', '0')
        found = Cluster(True, head_node_args={'num_cpus': 1, 'include_dashboard': False, **_STORE})
        found.add_node(num_cpus=1, **_STORE)
        ray.init(address=found.address, log_to_driver=False, logging_level='ERROR')
        yield found
        ray.shutdown()
        found.shutdown()


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hard_bag.write(tmp_path_factory.mktemp('ray') / 'bag')


def wait_for_no_free_cpu() -> None:
    until = time.monotonic() + _WAIT_S
    while ray.available_resources().get('CPU', 0):
        assert time.monotonic() < until, 'tasks run on one node alone'
        time.sleep(0.02)


def test_a_cluster_that_loses_a_node_gives_the_set_of_one_pass(
    cluster: Cluster, bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks wait after two frames that nobody took: so both nodes have one that is not done as one of them is killed.

    Another node joins then: a task that waits so keeps its CPU from the one that is begun again.
    """
    options = {**ray_tasks._OPTIONS, '_generator_backpressure_num_objects': 2}
    monkeypatch.setattr(ray_tasks, '_OPTIONS', options)
    (lost,) = cluster.worker_nodes

    def kill(done_s: float, frames: int) -> None:
        if frames == 1:
            wait_for_no_free_cpu()
            cluster.add_node(num_cpus=1, **_STORE)
            cluster.remove_node(lost, allow_graceful=False)

    run.export([bag], exports.configuration(), tmp_path / 'one', ('webdataset',))
    run.export([bag], exports.configuration(), tmp_path / 'ray', ('webdataset',), jobs=2, engine='ray', progress=kill)
    assert exports.contents(tmp_path / 'ray') == exports.contents(tmp_path / 'one')
    (frames,) = (each['frames'] for each in json.loads((tmp_path / 'ray' / 'manifest.json').read_text())['bags'])
    assert frames > 20


def test_a_node_that_lacks_the_bag_is_named(cluster: Cluster, bag: Path) -> None:
    task = ray_tasks._Task(Shard(bag / 'gone'), exports.CONFIG, {}, {})
    references = ray.remote(ray_tasks._compute).options(**ray_tasks._OPTIONS).remote(task)
    with pytest.raises(ExportError, match=r'gone is not on node .*: all nodes must have the bags at the same path'):
        ray_tasks._found(next(references))
