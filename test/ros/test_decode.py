# SPDX-License-Identifier: Apache-2.0
"""Messages built in process to samples; each malformed one has its own reason."""

from __future__ import annotations

import array
import math
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
import torch
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, Vector3
from sensor_msgs.msg import CompressedImage, Image, Imu, PointCloud2, PointField
from std_msgs.msg import Header

from robocache_core.config import CameraConfig, ImuConfig, LidarConfig, VoxelConfig
from robocache_core.encodings import ENCODINGS
from robocache_core.samples import DataError
from robocache_ros import decode

LIDAR = LidarConfig('lidar')
CAMERA = CameraConfig('front')
STAMP_NS = 1_700_000_000_987_654_321

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


def header() -> Header:
    return Header(stamp=Time(sec=STAMP_NS // 10**9, nanosec=STAMP_NS % 10**9), frame_id='sensor')


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


def decode_whole(message, config):
    return decode.decode_compressed(message, config).decode()


def assert_refused(reason: str, text: str, function, *args) -> None:
    with pytest.raises(DataError, match=text) as caught:
        function(*args)
    assert caught.value.reason == reason


def is_view(tensor: torch.Tensor, data: array.array) -> bool:
    return tensor.data_ptr() == data.buffer_info()[0] and tensor.numel() == len(data)


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
        tensor = decode._view(raw)
    assert tensor.data_ptr() == raw.ctypes.data


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
    text = r"no field 'reflectivity' \(it has: x, y, z, intensity, t, ring\)"
    assert_refused('missing_field', text, decode.decode_cloud, make_cloud(), config)


def test_clouds_read_as_sensor_msgs_py_reads_them() -> None:
    oracle = pytest.importorskip('sensor_msgs_py.point_cloud2', reason='sensor_msgs_py is not installed')
    msg = make_cloud()
    expected = oracle.read_points(msg)
    read = read_back(decode.decode_cloud(msg, LIDAR)).reshape(-1)
    for name in POINT.names:
        assert np.array_equal(read[name], expected[name].reshape(-1))


# ---- raw images -----------------------------------------------------------------------------------------------------


def make_image(encoding: str = 'bgr8', width: int = 4, height: int = 3, pad: int = 2) -> Image:
    step = ENCODINGS[encoding].row_bytes(width) + pad
    data = array.array('B', (np.arange(step * ENCODINGS[encoding].rows(height)) % 251).astype(np.uint8).tobytes())
    return Image(header=header(), width=width, height=height, encoding=encoding, step=step, data=data)


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_an_image_is_viewed(encoding: str) -> None:
    msg = make_image(encoding, height=4)
    frame = decode.decode_image(msg, CAMERA)
    assert is_view(frame.data, msg.data)
    assert (frame.stamp_ns, frame.frame_id) == (STAMP_NS, 'sensor')
    assert (frame.encoding, frame.width, frame.height, frame.step) == (encoding, 4, 4, msg.step)
    assert frame.is_bigendian is False


def test_a_bigendian_image() -> None:
    msg = make_image('mono16')
    msg.is_bigendian = 1
    assert decode.decode_image(msg, CAMERA).is_bigendian is True


@pytest.mark.parametrize(
    ('changes', 'reason', 'text'),
    [
        ({'encoding': 'bayer_xyz'}, 'unknown_encoding', "encoding 'bayer_xyz': must be one of rgb8, bgr8"),
        ({'encoding': ''}, 'unknown_encoding', "encoding ''"),
        ({'step': 11}, 'step_too_small', 'step 11 < 12 bytes of 4 pixels bgr8'),
        ({'height': 4}, 'data_too_short', '42 bytes < step 14 x height 4'),
        ({'data': array.array('B')}, 'data_too_short', '0 bytes'),
        ({'width': 0}, 'empty_image', '0 x 3'),
        ({'height': 0}, 'empty_image', '4 x 0'),
        ({'header': Header()}, 'zero_stamp', 'did not set it'),
    ],
)
def test_a_bad_image(changes: dict, reason: str, text: str) -> None:
    msg = make_image()
    for name, value in changes.items():
        setattr(msg, name, value)
    assert_refused(reason, text, decode.decode_image, msg, CAMERA)


# ---- compressed images ----------------------------------------------------------------------------------------------


def picture(channels: int, dtype: type = np.uint8) -> np.ndarray:
    """A smooth picture [24, 32(, channels)], each channel different."""
    y, x = np.mgrid[0:24, 0:32]
    planes = [(x * (3 + i) + y * (5 - i)) % 256 // 2 + 40 * i for i in range(channels)]
    image = np.stack(planes, axis=-1).astype(dtype)
    return image[..., 0] if channels == 1 else image


def compress(image: np.ndarray, suffix: str) -> bytes:
    ok, data = cv2.imencode(suffix, image)
    assert ok
    return data.tobytes()


def make_compressed(data: bytes, format_: str) -> CompressedImage:
    return CompressedImage(header=header(), format=format_, data=array.array('B', data))


def pixels(frame) -> np.ndarray:
    dtype = np.uint16 if frame.encoding == 'mono16' else np.uint8
    channels = ENCODINGS[frame.encoding].channels
    image = frame.data.numpy().view(dtype).reshape(frame.height, frame.step // np.dtype(dtype).itemsize)
    image = image[:, : frame.width * channels]
    return image if channels == 1 else image.reshape(frame.height, frame.width, channels)


@pytest.mark.parametrize(
    ('channels', 'dtype', 'encoding'),
    [(1, np.uint8, 'mono8'), (3, np.uint8, 'bgr8'), (4, np.uint8, 'bgra8'), (1, np.uint16, 'mono16')],
)
@pytest.mark.parametrize('format_', ['png', 'bgr8; png compressed bgr8', ''])
def test_a_png_is_decoded_exactly(channels: int, dtype: type, encoding: str, format_: str) -> None:
    image = picture(channels, dtype)
    if dtype == np.uint16:
        image = image * 257
    frame = decode_whole(make_compressed(compress(image, '.png'), format_), CAMERA)
    assert (frame.encoding, frame.width, frame.height) == (encoding, 32, 24)
    assert (frame.stamp_ns, frame.frame_id) == (STAMP_NS, 'sensor')
    assert np.array_equal(pixels(frame), image)


@pytest.mark.parametrize(('channels', 'encoding'), [(1, 'mono8'), (3, 'bgr8')])
@pytest.mark.parametrize('format_', ['jpeg', 'jpg', 'JPEG', 'bgr8; jpeg compressed bgr8', 'rgb8; jpeg compressed bgr8'])
def test_a_jpeg_is_decoded(channels: int, encoding: str, format_: str) -> None:
    image = picture(channels)
    frame = decode_whole(make_compressed(compress(image, '.jpg'), format_), CAMERA)
    assert frame.encoding == encoding
    assert np.abs(pixels(frame).astype(int) - image).mean() < 8


def test_channels_swapped_before_compression_are_named_so() -> None:
    message = make_compressed(compress(picture(3), '.png'), 'rgb8; png compressed rgb8')
    assert decode_whole(message, CAMERA).encoding == 'rgb8'


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
@pytest.mark.parametrize('zeros', [1, 4095, 4096, 10_000])
def test_padding_with_zeros_is_tolerated(suffix: str, zeros: int) -> None:
    data = compress(picture(3), suffix)
    plain = decode_whole(make_compressed(data, ''), CAMERA)
    padded = decode_whole(make_compressed(data + bytes(zeros), ''), CAMERA)
    assert torch.equal(padded.data, plain.data)


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_a_truncated_image_is_refused_wherever_it_ends(suffix: str) -> None:
    data = compress(picture(3), suffix)
    for size in [0, 1, 2, 3, 7, 8, 9, 40, *range(60, len(data), 97), len(data) - 3, len(data) - 1]:
        for padding in (0, 5000):
            message = make_compressed(data[:size] + bytes(padding), 'jpeg')
            assert_refused('decode_failed', 'cut short|start as neither', decode.decode_compressed, message, CAMERA)


def test_damage_inside_a_png_is_refused() -> None:
    data = bytearray(compress(picture(3), '.png'))
    data[len(data) // 2] ^= 0x55
    message = make_compressed(bytes(data), 'png')
    assert_refused('decode_failed', 'cannot be decoded', decode_whole, message, CAMERA)


def test_a_jpeg_without_an_image_is_refused() -> None:
    message = make_compressed(b'\xff\xd8\xff\xe0\x00\x04\x00\x00\xff\xd9', 'jpeg')
    assert_refused('decode_failed', 'cannot be decoded', decode_whole, message, CAMERA)


def test_a_png_too_large_to_hold_is_refused() -> None:
    data = bytearray(compress(picture(1), '.png'))
    data[16:24] = struct.pack('>II', 1 << 20, 1 << 20)
    data[29:33] = struct.pack('>I', zlib.crc32(data[12:29]))
    message = make_compressed(bytes(data), 'png')
    assert_refused('decode_failed', 'cannot be decoded', decode_whole, message, CAMERA)


@pytest.mark.parametrize(
    'format_', ['16UC1; compressedDepth png', '32FC1; compressedDepth', 'h264', 'tiff', 'rgb8; theora', 'webp']
)
def test_another_format_is_refused(format_: str) -> None:
    message = make_compressed(compress(picture(1), '.png'), format_)
    assert_refused('unknown_encoding', 'is not JPEG or PNG', decode.decode_compressed, message, CAMERA)


def test_another_container_is_refused() -> None:
    message = make_compressed(compress(picture(3), '.bmp'), 'png')
    assert_refused('decode_failed', 'neither JPEG nor PNG', decode.decode_compressed, message, CAMERA)


def test_sixteen_bit_colour_is_refused() -> None:
    message = make_compressed(compress(picture(3, np.uint16), '.png'), 'png')
    assert_refused('unknown_encoding', '3 channels uint16', decode_whole, message, CAMERA)


def test_a_compressed_image_with_a_stamp_of_zero() -> None:
    message = make_compressed(compress(picture(3), '.jpg'), 'jpeg')
    message.header = Header()
    assert_refused('zero_stamp', 'did not set it', decode.decode_compressed, message, CAMERA)


def test_exif_orientation_is_not_applied() -> None:
    data = compress(picture(3), '.jpg')
    tiff = b'MM\x00*\x00\x00\x00\x08' + struct.pack('>HHHIHHI', 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b'Exif\x00\x00' + tiff
    turned = data[:2] + b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif + data[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (32, 24, 3)  # it would be
    frame = decode_whole(make_compressed(turned, 'jpeg'), CAMERA)
    assert (frame.width, frame.height) == (32, 24)


# ---- IMU ------------------------------------------------------------------------------------------------------------


def make_imu() -> Imu:
    return Imu(
        header=header(),
        orientation=Quaternion(x=0.1, y=0.2, z=0.3, w=0.9),
        angular_velocity=Vector3(x=1.0, y=2.0, z=3.0),
        linear_acceleration=Vector3(x=4.0, y=5.0, z=9.81),
    )


ALL = ('linear_acceleration', 'orientation', 'angular_velocity')


def test_an_imu_gives_its_fields_in_the_order_asked_for() -> None:
    sample = decode.decode_imu(make_imu(), ImuConfig('imu', fields=ALL))
    assert (sample.stamp_ns, sample.frame_id, sample.values.dtype) == (STAMP_NS, 'sensor', torch.float32)
    expected = torch.tensor([4.0, 5.0, 9.81, 0.1, 0.2, 0.3, 0.9, 1.0, 2.0, 3.0])
    assert torch.equal(sample.values, expected)


@pytest.mark.parametrize('field', ALL)
def test_a_field_that_the_sensor_does_not_measure(field: str) -> None:
    msg = make_imu()
    getattr(msg, f'{field}_covariance')[0] = -1.0
    assert_refused(f'no_{field}', r'covariance\[0\] is -1', decode.decode_imu, msg, ImuConfig('imu', fields=ALL))
    others = tuple(name for name in ALL if name != field)
    assert decode.decode_imu(msg, ImuConfig('imu', fields=others)).values.isfinite().all()


def test_an_orientation_of_length_zero() -> None:
    msg = make_imu()
    msg.orientation = Quaternion(x=0.0, y=0.0, z=0.0, w=0.0)
    assert_refused('no_orientation', 'length 0', decode.decode_imu, msg, ImuConfig('imu', fields=ALL))


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf, 1e300])
@pytest.mark.parametrize('axis', ['x', 'y', 'z'])
def test_a_reading_that_is_not_finite(value: float, axis: str) -> None:
    msg = make_imu()
    setattr(msg.angular_velocity, axis, value)
    assert_refused('non_finite', 'angular_velocity', decode.decode_imu, msg, ImuConfig('imu'))
    assert decode.decode_imu(msg, ImuConfig('imu', fields=('linear_acceleration',))).values.isfinite().all()


def test_an_imu_with_a_stamp_of_zero() -> None:
    msg = make_imu()
    msg.header.stamp = Time()
    assert_refused('zero_stamp', 'did not set it', decode.decode_imu, msg, ImuConfig('imu'))


def test_a_negative_stamp_is_no_stamp() -> None:
    msg = make_imu()
    msg.header.stamp = Time(sec=-5)
    assert_refused('zero_stamp', '-5000000000 ns', decode.decode_imu, msg, ImuConfig('imu'))
