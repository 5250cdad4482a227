# SPDX-License-Identifier: Apache-2.0
"""Fused frames to messages, read back by the message's own description."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import UInt8MultiArray

from robocache_core import payload
from robocache_core.config import CameraConfig, DepthConfig, DepthVoxelConfig, LidarConfig, VoxelConfig
from robocache_core.frame import CameraView, FusedFrame
from robocache_core.samples import CameraInfo
from robocache_ros import encode
from robocache_ros.decode_depth import decode_depth
from robocache_ros.decode_image import decode_camera_info

STAMP_NS = 1_700_000_000_000_000_007
GRID = {'size': (0.5, 1.0, 2.0), 'lower': (-2.0, -3.0, -4.0), 'upper': (2.0, 3.0, 4.0)}  # shape x 8, y 6, z 4
COORDS = torch.tensor([[0, 0, 0], [1, 2, 3], [3, 5, 7]], dtype=torch.int32)  # z y x
CENTRES = np.array([[-1.75, -2.5, -3.0], [-0.25, -0.5, -1.0], [1.75, 2.5, 3.0]], np.float32)  # x y z


def make_frame(**tensors: torch.Tensor) -> FusedFrame:
    frame = FusedFrame(STAMP_NS, 0, 5, 'base_link', tensors, {'lidar': True}, {'lidar': 0})
    frame.views['front'] = CameraView('front_optical', None)
    return frame


def make_lidar(*channels: str, output: str = 'sparse') -> LidarConfig:
    return LidarConfig('lidar', voxel=VoxelConfig(channels=channels, output=output, **GRID))


def make_sparse(features: torch.Tensor) -> FusedFrame:
    counts = torch.tensor([1, 2, 70_000], dtype=torch.int32)
    return make_frame(**{'lidar.coords': COORDS, 'lidar.features': features, 'lidar.counts': counts})


def points_of(msg: PointCloud2) -> np.ndarray:
    kinds = {PointField.FLOAT32: '<f4', PointField.UINT32: '<u4'}
    dtype = np.dtype(
        {
            'names': [f.name for f in msg.fields],
            'formats': [kinds[f.datatype] for f in msg.fields],
            'offsets': [f.offset for f in msg.fields],
            'itemsize': msg.point_step,
        }
    )
    assert (msg.height, msg.row_step, msg.is_bigendian) == (1, msg.point_step * msg.width, False)
    assert len(msg.data) == msg.row_step
    return np.frombuffer(msg.data, dtype)


def fused(frame: FusedFrame) -> UInt8MultiArray:
    return deserialize_message(bytes(encode.encode_fused(frame)), UInt8MultiArray)


def position_of(points: np.ndarray) -> np.ndarray:
    return np.stack([points['x'], points['y'], points['z']], axis=-1)


def assert_stamped(header, frame_id: str = 'base_link') -> None:
    assert header.stamp.sec * 10**9 + header.stamp.nanosec == STAMP_NS
    assert header.frame_id == frame_id


# ---- the whole frame ------------------------------------------------------------------------------------------------


def test_the_fused_message_holds_the_payload() -> None:
    frame = make_sparse(torch.arange(6.0).reshape(3, 2))
    msg = fused(frame)
    assert msg.data.tobytes() == payload.encode(frame)
    (dim,) = msg.layout.dim
    assert (dim.label, dim.size, dim.stride, msg.layout.data_offset) == ('safetensors', len(msg.data), len(msg.data), 0)


def test_the_fused_message_is_what_ros_would_make_of_it() -> None:
    frame = make_frame(x=torch.ones(3))
    assert bytes(encode.encode_fused(frame)) == serialize_message(fused(frame))


def test_any_reader_of_safetensors_reads_the_fused_message() -> None:
    library = pytest.importorskip('safetensors.torch', reason='safetensors is not installed')
    msg = fused(make_frame(front=torch.full((3, 4, 5), 0.5, dtype=torch.float16)))
    assert torch.equal(library.load(msg.data.tobytes())['front'], torch.full((3, 4, 5), 0.5).half())


# ---- voxels ---------------------------------------------------------------------------------------------------------


def test_sparse_voxels_lie_at_their_centres() -> None:
    msg = encode.encode_voxels(make_sparse(torch.tensor([[9.0], [8.0], [7.0]])), make_lidar('max:intensity'))
    assert_stamped(msg.header)
    points = points_of(msg)
    assert points.dtype.names == ('x', 'y', 'z', 'count', 'max_intensity')
    assert np.array_equal(position_of(points), CENTRES)
    assert points['count'].tolist() == [1, 2, 70_000]
    assert points['max_intensity'].tolist() == [9.0, 8.0, 7.0]


def test_sparse_voxels_lie_at_their_mean_where_it_is_known() -> None:
    features = torch.tensor([[1.0, 0.1, 0.25], [2.0, -0.1, 0.5], [3.0, 0.0, -0.5]])
    msg = encode.encode_voxels(make_sparse(features), make_lidar('count', 'mean:x', 'mean:z'))
    points = points_of(msg)
    assert points.dtype.names == ('x', 'y', 'z', 'count')
    expected = CENTRES.copy()
    expected[:, 0] += features[:, 1].numpy()
    expected[:, 2] += features[:, 2].numpy()
    assert np.allclose(position_of(points), expected, atol=1e-6)


def test_no_voxel_gives_an_empty_cloud_with_its_fields() -> None:
    frame = make_frame(
        **{
            'lidar.coords': COORDS[:0],
            'lidar.features': torch.zeros(0, 1),
            'lidar.counts': torch.zeros(0, dtype=torch.int32),
        }
    )
    msg = encode.encode_voxels(frame, make_lidar('occupancy'))
    assert (msg.width, len(msg.data)) == (0, 0)
    assert [f.name for f in msg.fields] == ['x', 'y', 'z', 'count', 'occupancy']


@pytest.mark.parametrize(
    ('channels', 'names'),
    [
        (('count', 'mean:ring'), ('x', 'y', 'z', 'count', 'mean_ring')),
        (('mean:ring', 'occupancy'), ('x', 'y', 'z', 'mean_ring', 'occupancy')),
        (('density', 'mean:ring'), ('x', 'y', 'z', 'density', 'mean_ring')),
        (('mean:ring',), ('x', 'y', 'z', 'mean_ring')),
    ],
)
def test_dense_voxels_that_hold_a_point(channels: tuple[str, ...], names: tuple[str, ...]) -> None:
    dense = torch.zeros(len(channels), 4, 6, 8)
    for i, (z, y, x) in enumerate(COORDS.tolist()):
        for c, channel in enumerate(channels):
            dense[c, z, y, x] = i + 1 if channel == 'mean:ring' else 2.0
    points = points_of(encode.encode_voxels(make_frame(lidar=dense), make_lidar(*channels, output='dense')))
    assert points.dtype.names == names
    assert np.array_equal(position_of(points), CENTRES)
    assert points['mean_ring'].tolist() == [1.0, 2.0, 3.0]


def test_a_dense_voxel_whose_features_are_zero_is_not_lost() -> None:
    dense = torch.zeros(2, 4, 6, 8)
    dense[0, 1, 2, 3] = 1.0  # a point, whose maximum is 0
    lidar = make_lidar('count', 'max:intensity', output='dense')
    points = points_of(encode.encode_voxels(make_frame(lidar=dense), lidar))
    assert np.array_equal(position_of(points), CENTRES[1:2])


def test_dense_voxels_of_a_depth_camera_are_beside_its_image() -> None:
    voxel = DepthVoxelConfig(channels=('count',), output='dense', **GRID)
    dense = torch.zeros(1, 4, 6, 8)
    dense[0, 1, 2, 3] = 5.0
    frame = make_frame(depth=torch.ones(1, 3, 4), **{'depth.voxels': dense})
    points = points_of(encode.encode_voxels(frame, DepthConfig('depth', voxel=voxel)))
    assert np.array_equal(position_of(points), CENTRES[1:2])
    assert points['count'].tolist() == [5]


# ---- images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(('channels', 'encoding'), [(1, 'mono8'), (3, 'rgb8')])
def test_an_image_is_denormalised(dtype: torch.dtype, channels: int, encoding: str) -> None:
    camera = CameraConfig('front')
    pixels = np.arange(channels * 6 * 7, dtype=np.uint8).reshape(6, 7, channels) * 2
    mean, std = (np.array(values[:channels]) for values in (camera.mean, camera.std))
    tensor = torch.from_numpy((pixels * camera.scale - mean) / std).permute(2, 0, 1).to(dtype)
    msg = encode.encode_image(make_frame(front=tensor), camera)
    assert_stamped(msg.header, 'front_optical')
    assert (msg.width, msg.height, msg.encoding, msg.step, len(msg.data)) == (7, 6, encoding, 7 * channels, pixels.size)
    read = np.frombuffer(msg.data, np.uint8).reshape(pixels.shape)
    error = np.abs(read.astype(int) - pixels).max()
    assert error <= {torch.float32: 0, torch.float16: 0, torch.bfloat16: 1}[dtype]


def test_an_image_s_pixels_are_clamped() -> None:
    camera = CameraConfig('front', scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    tensor = torch.tensor([[[-5.0, 300.0, float('nan'), float('inf'), 254.6]]])
    assert encode.encode_image(make_frame(front=tensor), camera).data.tolist() == [0, 255, 0, 255, 255]


@pytest.mark.parametrize('layout', ['chw', 'hwc'])
@pytest.mark.parametrize('channels', [1, 3])
def test_an_image_of_uint8_is_shown_as_it_is(channels: int, layout: str) -> None:
    camera = CameraConfig('front', dtype='uint8', layout=layout)
    pixels = torch.arange(channels * 6 * 7, dtype=torch.uint8).reshape(6, 7, channels) * 2
    tensor = pixels if layout == 'hwc' else pixels.permute(2, 0, 1)
    msg = encode.encode_image(make_frame(front=tensor), camera)
    assert (msg.width, msg.height, msg.step) == (7, 6, 7 * channels)
    assert bytes(msg.data) == pixels.numpy().tobytes()


def test_depth_is_in_metres_and_nan_where_it_is_not_valid() -> None:
    depth = torch.arange(42, dtype=torch.float32).reshape(1, 6, 7)
    frame = make_frame(front=depth, **{'front.valid': depth > 5})
    msg = encode.encode_depth(frame, DepthConfig('front'))
    assert_stamped(msg.header, 'front_optical')
    assert (msg.width, msg.height, msg.encoding, msg.step, msg.is_bigendian) == (7, 6, '32FC1', 28, 0)
    read = np.frombuffer(msg.data, '<f4').reshape(6, 7)
    np.testing.assert_array_equal(read, np.where(depth[0] > 5, depth[0], np.nan))
    assert decode_depth(msg, DepthConfig('front')).encoding == '32FC1'


def test_a_camera_s_calibration_is_in_its_optical_frame() -> None:
    k, r, p = tuple(range(9)), tuple(range(1, 10)), tuple(range(12))
    info = CameraInfo(8, 6, 'plumb_bob', (0.0,) * 5, k, r, p, frame_id='front_optical')
    frame = make_frame()
    frame.views['front'] = CameraView('front_optical', info)
    msg = encode.encode_camera_info(frame, CameraConfig('front'))
    assert_stamped(msg.header, 'front_optical')
    assert decode_camera_info(msg) == dataclasses.replace(info, frame_id='front_optical')


def test_a_camera_whose_calibration_is_unknown_has_none() -> None:
    assert encode.encode_camera_info(make_frame(), CameraConfig('front')) is None
    assert encode.encode_camera_info(make_frame(), CameraConfig('silent')) is None


@pytest.mark.parametrize('stamp_ns', [0, 1, 999_999_999, 1_000_000_000, 2**31 * 10**9 - 1])
def test_stamps_are_exact(stamp_ns: int) -> None:
    stamp = encode.to_stamp(stamp_ns)
    assert stamp.sec * 10**9 + stamp.nanosec == stamp_ns
