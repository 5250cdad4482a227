# SPDX-License-Identifier: Apache-2.0
"""A training set that a GPU computes: the bytes of that of the CPU, by one process and by several."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from support import exports, hard_bag

from robocache_core.config import ComputeConfig
from robocache_core.device import CudaDevice
from robocache_ros.offline import make_pipeline
from robocache_ros.tools.export import run

FORMATS = ('webdataset',)


def config(device: str):
    return dataclasses.replace(exports.CONFIG, compute=ComputeConfig(device=device))


@pytest.mark.parametrize('jobs', [1, 2])
def test_a_set_is_the_same_by_the_gpu(tmp_path: Path, jobs: int) -> None:
    assert isinstance(make_pipeline(config('cuda')).device, CudaDevice)
    bag = hard_bag.write(tmp_path / 'bag')
    for device, count in (('cpu', 1), ('cuda', jobs)):
        configuration = dataclasses.replace(exports.configuration(config(device)), text='of either')
        run.export([bag], configuration, tmp_path / device, FORMATS, jobs=count)
    assert exports.contents(tmp_path / 'cuda') == exports.contents(tmp_path / 'cpu')
    assert json.loads((tmp_path / 'cuda' / 'manifest.json').read_text())['frames'] > 20
