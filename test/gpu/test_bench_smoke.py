# SPDX-License-Identifier: Apache-2.0
"""The one place where tests look at times: ours beside torch, in one run on one GPU. Everywhere else a test of time
fails on a machine that is busy; here both are disturbed alike.
"""

from __future__ import annotations

import pytest

from benchmark.gpu import measure
from benchmark.gpu.__main__ import workloads
from benchmark.gpu.device import Cuda
from benchmark.gpu.workload import CALL, GRAPH
from benchmark.runner import Effort

NAMES = [
    'W1 fuse 3 streams, B=4, T=50, expanded',
    'W4 resample 32×500×256 to 256',
    'W2 count 500k, 128³',
    'lidar 262k sparse mean of 4, 512×512×32',
    'bgr8 1080p to 640×384 fp16',
]
SHORT = measure.Efforts(Effort(rounds=3, seconds=0, turn_ms=1), Effort(rounds=5, seconds=0, turn_ms=0))
ANY_RATES = measure.Rates(copy=1e12, upload=1e10)  # shares of bandwidth are not looked at


@pytest.mark.parametrize('name', NAMES)
def test_ours_has_the_bits_of_the_cpu_and_is_not_slower_than_torch(name):
    found = measure.run(name, workloads(quick=False)[name](), Cuda(), ANY_RATES, SHORT)
    assert found.failed == {}
    rows = {row.workload.removeprefix(f'{name}, '): row for row in found.rows}
    for way in (CALL, GRAPH):
        assert rows[way].ratio, f'{way}: no peer was measured'
        slower = {peer: ratio for peer, ratio in rows[way].ratio.items() if ratio < 1}
        assert not slower, f'{way}: {rows[way]}'
