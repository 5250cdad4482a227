# SPDX-License-Identifier: Apache-2.0
"""What the registration of depth images refuses, and where it writes its result."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.cameras import make_info, straight_info
from support.images import message

from robocache_core import ops
from robocache_core.camera_model import camera_model_of
from robocache_core.rays import corner_rays_of
from robocache_core.samples import DataError

PLACE = {'encoding': '16UC1', 'width': 8, 'height': 4, 'step': 16}
PLAIN = {
    'corners': torch.zeros(3, 5, 9),
    'transform': torch.eye(4),
    'camera_model': camera_model_of(straight_info(8, 4), out_width=8, out_height=4),
}


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'encoding': 'mono16'}, 'unknown_encoding'),
        ({'width': 0}, 'empty_image'),
        ({'step': 15}, 'step_too_small'),
        ({'height': 5}, 'data_too_short'),
    ],
)
def test_an_image_that_cannot_be_read_is_refused(changes, reason):
    with pytest.raises(DataError) as error:
        ops.register_depth(torch.zeros(64, dtype=torch.uint8), **PLAIN, **(PLACE | changes))
    assert error.value.reason == reason


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'unit': -1.0}, 'unit = -1.0'),
        ({'min_depth': 3.0, 'max_depth': 3.0}, 'min_depth = 3.0, max_depth = 3.0'),
        ({'corners': torch.zeros(3, 4, 8)}, 'corners has shape'),
        ({'corners': torch.zeros(5, 9, 3)}, 'corners has shape'),
        ({'transform': torch.zeros(4, 4)}, 'transform = '),
        ({'transform': torch.eye(4).double()}, 'transform'),
        ({'camera_model': straight_info(8, 4)}, 'camera_model is CameraInfo'),
        ({'out': (torch.zeros(1, 4, 8), torch.zeros(1, 4, 7, dtype=torch.bool))}, r'out\[1\] \(valid\)'),
    ],
)
def test_an_argument_that_is_not_allowed_is_named(changes, text):
    with pytest.raises((ValueError, TypeError), match=text):
        ops.register_depth(torch.zeros(64, dtype=torch.uint8), **(PLAIN | PLACE | changes))


@pytest.mark.usefixtures('each_backend')
def test_a_result_is_written_where_the_caller_wants_it():
    data, place = message(np.full((4, 8, 1), 1500, np.uint16))
    out = torch.full((1, 4, 8), -1.0), torch.zeros(1, 4, 8, dtype=torch.bool)
    corners = corner_rays_of(straight_info(8, 4), width=8, height=4)
    found = ops.register_depth(data, encoding='16UC1', out=out, **(PLAIN | {'corners': corners}), **place)
    assert found[0] is out[0]
    assert (out[0] == 1.5).all()
    assert out[1].all()


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'k': (0.0,) * 9}, 'bad_camera_info'),
        ({'distortion_model': 'fov'}, 'bad_camera_info'),
        ({'binning': (2, 2)}, 'camera_info_binning'),
    ],
)
def test_a_calibration_that_is_none_is_refused(changes, reason):
    with pytest.raises(DataError) as error:
        camera_model_of(make_info(**changes), out_width=64, out_height=40)
    assert error.value.reason == reason
