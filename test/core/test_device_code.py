# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of every operation is what the GPU runs, so that it stays one arithmetic."""

import re
from collections import Counter
from pathlib import Path

CSRC = Path(__file__).resolve().parents[2] / 'robocache_core' / 'csrc'
HEADERS = ('scalar.hpp', 'voxelize.hpp', 'image.hpp', 'resample.hpp')


def test_the_kernels_call_every_function_of_the_device():
    """Themselves, or by one that does: else a template is not compiled for a GPU at all."""
    headers, kernels = (
        re.sub('//.*|#.*', '', ''.join(file.read_text() for file in files))
        for files in ([CSRC / name for name in HEADERS], [*CSRC.glob('*.cu'), *CSRC.glob('*.cuh')])
    )
    defined = Counter(re.findall(r'RC_HD[^;{()]*?(\w+)(?:<\w+>)?\(', headers))
    assert defined.keys() > {'place_in', 'pose_at', 'sample', 'slerp', 'from_float', 'at', 'weight'}
    used = Counter(re.findall(r'\w+', headers))
    assert [name for name in defined if used[name] == defined[name] and not re.search(rf'\b{name}\b', kernels)] == []
