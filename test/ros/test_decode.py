# SPDX-License-Identifier: Apache-2.0
"""Messages built in process to samples; each malformed one has its own reason."""

from __future__ import annotations

import array
import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, Vector3
from sensor_msgs.msg import Imu, PointCloud2, PointField
from support.messages import STAMP_NS, assert_refused, header, is_view

from robocache_core import ops, payload
from robocache_core.config import CameraConfig, ImuConfig, LidarConfig, VoxelConfig
from robocache_core.frame import FusedFrame
from robocache_ros import decode
from robocache_ros.message_data import view_bytes

LIDAR = LidarConfig('lidar')
CAMERA = CameraConfig('front')

POINT = np.dtype(
    {
        'names': ['x', 'y', 'z', 'intensity', 't', 'ring'],
        'formats': ['<f4', '<f4', '<f4', '<f4', '<u4', '<u2'],
        'offsets': [0, 4, 8, 16, 20, 24],
        'itemsize': 32,
    }
)
ROS_TYPES = {
    'int8': PointField.INT8,
    'uint8': PointField.UINT8,
    'int16': PointField.INT16,
    'uint16': PointField.UINT16,
    'int32': PointField.INT32,
    'uint32': PointField.UINT32,
    'float32': PointField.FLOAT32,
    'float64': PointField.FLOAT64,
}


def make_points(height: int = 2, width: int = 3) -> np.ndarray:
    points = np.zeros((height, width), POINT)
    for i, name in enumerate(POINT.names):
        points[name] = np.arange(height * width).reshape(height, width) + 10 * i
    return points


def make_cloud(points: np.ndarray | None = None, pad: int = 0) -> PointCloud2:
    """``points [height, width]`` as a cloud, with ``pad`` bytes behind each row."""
    points = make_points() if points is None else points
    height, width = points.shape
    rows = points.view(np.uint8).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, pad)))
    fields = [
        PointField(name=name, offset=offset, datatype=ROS_TYPES[dtype.name], count=1)
        for name, (dtype, offset) in points.dtype.fields.items()
    ]
    return PointCloud2(
        header=header(),
        height=height,
        width=width,
        fields=fields,
        point_step=points.dtype.itemsize,
        row_step=rows.shape[1],
        data=array.array('B', rows.tobytes()),
        is_dense=False,
    )


def read_back(scan) -> np.ndarray:
    """The points that a scan's layout says are in its data, by NumPy."""
    layout = scan.layout
    order = '>' if layout.is_bigendian else '<'
    dtype = np.dtype(
        {
            'names': [f.name for f in layout.fields],
            'formats': [np.dtype(f.dtype).newbyteorder(order) for f in layout.fields],
            'offsets': [f.offset for f in layout.fields],
            'itemsize': layout.point_step,
        }
    )
    strides = (layout.row_step, layout.point_step)
    return np.ndarray((layout.height, layout.width), dtype, scan.data.numpy().data, strides=strides)


# ---- clouds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('pad', [0, 5])
def test_a_cloud_is_viewed(pad: int) -> None:
    msg = make_cloud(pad=pad)
    scan = decode.decode_cloud(msg, LIDAR)
    assert (scan.stamp_ns, scan.frame_id, scan.data.dtype) == (STAMP_NS, 'sensor', torch.uint8)
    assert is_view(scan.data, msg.data)
    read = read_back(scan)
    for name in POINT.names:
        assert np.array_equal(read[name], make_points()[name])


def test_a_cloud_lives_on_without_its_message() -> None:
    scan = decode.decode_cloud(make_cloud(), LIDAR)
    assert np.array_equal(read_back(scan)['ring'], make_points()['ring'])


def test_every_datatype_of_a_field() -> None:
    names = ['x', 'y', 'z', *ROS_TYPES]
    points = np.ones((1, 2), np.dtype([(n, n if n in ROS_TYPES else 'float64') for n in names]))
    scan = decode.decode_cloud(make_cloud(points), LidarConfig('lidar', voxel=VoxelConfig(channels=('max:int8',))))
    assert [f.dtype for f in scan.layout.fields] == ['float64'] * 3 + list(ROS_TYPES)
    assert (read_back(scan)['uint16'] == 1).all()


def test_a_bigendian_cloud() -> None:
    msg = make_cloud(make_points().astype(POINT.newbyteorder('>')))
    msg.is_bigendian = True
    assert np.array_equal(read_back(decode.decode_cloud(msg, LIDAR))['t'], make_points()['t'])


def test_a_cloud_from_a_bag_is_viewed_without_a_warning() -> None:
    raw = np.frombuffer(bytes(make_cloud().data), np.uint8)  # read-only, as a bag's reader has it
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        tensor = view_bytes(raw)
    assert tensor.data_ptr() == raw.ctypes.data


@pytest.mark.parametrize(
    'program',
    [
        'from robocache_ros.message_data import view_bytes; view_bytes(b"abc")',
        'from robocache_core import payload; payload.decode(FRAME)',
    ],
    ids=['view_bytes', 'payload.decode'],
)
def test_the_first_view_of_a_process_gives_no_warning(program: str) -> None:
    """By whichever module it has imported alone: torch warns of the first one that is read-only."""
    frame = payload.encode(FusedFrame(0, 0, 0, '', {'x': torch.zeros(2)}, {'x': True}, {'x': 0}))
    done = subprocess.run(
        [sys.executable, '-W', 'error::UserWarning', '-c', program.replace('FRAME', repr(frame))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, '')


def test_a_count_of_zero_is_read_as_one() -> None:
    msg = make_cloud()
    msg.fields[3].count = 0
    assert decode.decode_cloud(msg, LIDAR).layout.field('intensity').count == 1


def test_points_that_are_not_finite_are_left_to_the_operation() -> None:
    points = make_points()
    points['x'] = np.nan
    assert decode.decode_cloud(make_cloud(points), LIDAR).layout.num_points == 6


def test_a_cloud_with_a_stamp_of_zero() -> None:
    msg = make_cloud()
    msg.header.stamp = Time()
    assert_refused('zero_stamp', 'did not set it', decode.decode_cloud, msg, LIDAR)


@pytest.mark.parametrize('nanosec', [10**9, 2**32 - 1])
def test_a_stamp_whose_nanoseconds_are_no_part_of_a_second(nanosec: int) -> None:
    msg = make_cloud()
    msg.header.stamp.nanosec = nanosec
    assert_refused('bad_stamp', f'nanosec is {nanosec}: must be below 10', decode.decode_cloud, msg, LIDAR)


def test_a_cloud_with_a_field_beyond_point_step() -> None:
    msg = make_cloud()
    msg.fields[5].offset = 31
    text = "'ring' ends at byte 33, point_step is 32"
    assert_refused('field_beyond_point_step', text, decode.decode_cloud, msg, LIDAR)


@pytest.mark.parametrize('missing', [1, 32, 192])
def test_a_cloud_whose_data_are_too_short(missing: int) -> None:
    msg = make_cloud()
    msg.data = msg.data[: len(msg.data) - missing]
    assert_refused('data_too_short', f'{192 - missing} bytes < row_step 96 x height 2', decode.decode_cloud, msg, LIDAR)


def test_a_cloud_whose_rows_are_too_short() -> None:
    msg = make_cloud()
    msg.row_step = 95
    assert_refused('row_step_too_small', 'row_step 95 < width 3', decode.decode_cloud, msg, LIDAR)


def test_a_cloud_of_one_row_needs_no_row_step() -> None:
    points = make_points().reshape(1, -1)
    msg = make_cloud(points)
    msg.row_step = 0
    np.testing.assert_array_equal(read_back(decode.decode_cloud(msg, LIDAR)), points)
    msg.height, msg.width = 2, 3
    assert_refused('row_step_too_small', 'row_step 0 < width 3', decode.decode_cloud, msg, LIDAR)


@pytest.mark.parametrize(('width', 'height'), [(0, 1), (0, 0), (5, 0)])
def test_a_cloud_of_zero_points(width: int, height: int) -> None:
    msg = make_cloud(make_points(1, 1))
    msg.width, msg.height, msg.row_step, msg.data = width, height, 32 * width, array.array('B')
    assert_refused('empty_cloud', f'width {width}, height {height}', decode.decode_cloud, msg, LIDAR)


def test_a_message_never_filled_in() -> None:
    assert_refused('empty_cloud', 'no points', decode.decode_cloud, PointCloud2(header=header()), LIDAR)


def test_a_cloud_with_point_step_zero() -> None:
    msg = make_cloud()
    msg.point_step = 0
    assert_refused('bad_layout', 'point_step 0', decode.decode_cloud, msg, LIDAR)


@pytest.mark.parametrize('datatype', [0, 9])
def test_a_cloud_with_an_unknown_datatype(datatype: int) -> None:
    msg = make_cloud()
    msg.fields[4].datatype = datatype
    assert_refused('bad_layout', f"'t': datatype {datatype}", decode.decode_cloud, msg, LIDAR)


def test_a_cloud_whose_coordinates_are_integers() -> None:
    msg = make_cloud()
    msg.fields[2].datatype = PointField.INT32
    assert_refused('bad_layout', "'z' is int32", decode.decode_cloud, msg, LIDAR)


def test_a_cloud_without_a_coordinate() -> None:
    msg = make_cloud()
    msg.fields = msg.fields[1:]
    assert_refused('missing_field', "no field 'x'", decode.decode_cloud, msg, LIDAR)


def test_a_cloud_without_a_channel_s_field() -> None:
    config = LidarConfig('lidar', voxel=VoxelConfig(channels=('count', 'mean:reflectivity')))
    text = (
        r"no field 'reflectivity' \(it has: x, y, z, intensity, t, ring\); the channel mean:reflectivity needs it: "
        r'set voxel\.channels of lidar, or of the grid that it is in'
    )
    assert_refused('missing_field', text, decode.decode_cloud, make_cloud(), config)


def test_clouds_read_as_sensor_msgs_py_reads_them() -> None:
    oracle = pytest.importorskip('sensor_msgs_py.point_cloud2', reason='sensor_msgs_py is not installed')
    msg = make_cloud()
    expected = oracle.read_points(msg)
    read = read_back(decode.decode_cloud(msg, LIDAR)).reshape(-1)
    for name in POINT.names:
        assert np.array_equal(read[name], expected[name].reshape(-1))


# ---- IMU ------------------------------------------------------------------------------------------------------------


def make_imu() -> Imu:
    return Imu(
        header=header(),
        orientation=Quaternion(x=0.1, y=0.5, z=0.5, w=0.7),
        angular_velocity=Vector3(x=1.0, y=2.0, z=3.0),
        linear_acceleration=Vector3(x=4.0, y=5.0, z=9.81),
    )


ALL = ('linear_acceleration', 'orientation', 'angular_velocity')


def test_an_imu_gives_its_fields_in_the_order_asked_for() -> None:
    sample = decode.decode_imu(make_imu(), ImuConfig('imu', fields=ALL))
    assert (sample.stamp_ns, sample.frame_id, sample.values.dtype) == (STAMP_NS, 'sensor', torch.float32)
    expected = torch.tensor([4.0, 5.0, 9.81, 0.1, 0.5, 0.5, 0.7, 1.0, 2.0, 3.0])
    assert torch.equal(sample.values, expected)


@pytest.mark.parametrize('field', ALL)
def test_a_field_that_the_sensor_does_not_measure(field: str) -> None:
    msg = make_imu()
    getattr(msg, f'{field}_covariance')[0] = -1.0
    assert_refused(f'no_{field}', r'covariance\[0\] is -1', decode.decode_imu, msg, ImuConfig('imu', fields=ALL))
    others = tuple(name for name in ALL if name != field)
    assert decode.decode_imu(msg, ImuConfig('imu', fields=others)).values.isfinite().all()


@pytest.mark.parametrize('length', [2.0, 0.5, 1.001, 1e-300, 1e150])
def test_an_orientation_of_another_length_is_brought_to_one(length: float) -> None:
    msg = make_imu()
    msg.orientation = Quaternion(x=0.0, y=0.6 * length, z=0.0, w=0.8 * length)
    values = decode.decode_imu(msg, ImuConfig('imu', fields=('orientation',))).values
    assert torch.equal(values, torch.tensor([0.0, 0.6, 0.0, 0.8]))


def test_an_orientation_of_the_least_numbers_is_brought_to_one() -> None:
    """Its length, and its parts by that, are rounded to 1: the quotients have length 1.41."""
    msg = make_imu()
    msg.orientation = Quaternion(x=5e-324, y=0.0, z=0.0, w=5e-324)
    values = decode.decode_imu(msg, ImuConfig('imu', fields=('orientation',))).values
    assert torch.equal(values, torch.tensor([0.5, 0.0, 0.0, 0.5]).sqrt())


def test_an_orientation_of_length_one_keeps_its_bits() -> None:
    msg = make_imu()
    x, w = float(np.float32(0.6)), float(np.float32(0.8))
    msg.orientation = Quaternion(x=x, y=0.0, z=0.0, w=w)
    values = decode.decode_imu(msg, ImuConfig('imu', fields=('orientation',))).values
    assert values.tolist() == [x, 0.0, 0.0, w]


def test_an_orientation_of_length_zero() -> None:
    msg = make_imu()
    msg.orientation = Quaternion(x=0.0, y=0.0, z=0.0, w=0.0)
    assert_refused('no_orientation', 'length 0', decode.decode_imu, msg, ImuConfig('imu', fields=ALL))


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf, 1e300, 1.8e38])
@pytest.mark.parametrize('axis', ['x', 'y', 'z'])
def test_a_reading_that_is_not_finite(value: float, axis: str) -> None:
    msg = make_imu()
    setattr(msg.angular_velocity, axis, value)
    assert_refused('non_finite', 'angular_velocity', decode.decode_imu, msg, ImuConfig('imu'))
    assert decode.decode_imu(msg, ImuConfig('imu', fields=('linear_acceleration',))).values.isfinite().all()


def test_what_lies_between_the_greatest_readings_is_finite() -> None:
    rows = []
    for value in (1.7e38, -1.7e38):
        msg = make_imu()
        msg.angular_velocity.x = value
        rows.append(decode.decode_imu(msg, ImuConfig('imu')).values)
    stamps, targets = torch.tensor([[0, 10]]), torch.tensor([[0, 3, 5, 10]])
    assert ops.resample(torch.stack(rows)[None], stamps, targets, method='linear', tolerance_ns=10)[0].isfinite().all()


def test_an_imu_with_a_stamp_of_zero() -> None:
    msg = make_imu()
    msg.header.stamp = Time()
    assert_refused('zero_stamp', 'did not set it', decode.decode_imu, msg, ImuConfig('imu'))


def test_a_negative_stamp_is_no_stamp() -> None:
    msg = make_imu()
    msg.header.stamp = Time(sec=-5)
    assert_refused('zero_stamp', '-5000000000 ns', decode.decode_imu, msg, ImuConfig('imu'))
