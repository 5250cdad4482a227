# SPDX-License-Identifier: Apache-2.0
"""The simulated sensors' readings as ROS messages, in the order in which a recorder on the robot would receive them."""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
from rosbags.typesys import Stores, get_typestore

from robocache_sim.arm import Arm
from robocache_sim.odometry import WheelOdometry
from robocache_sim.sensors import POINT, SECOND_NS, Camera, DepthCamera, DepthPicture, Imu, Lidar, Picture, Robot
from robocache_sim.trajectory import Pose

TYPESTORE = get_typestore(Stores.ROS2_JAZZY)
TYPES: dict[str, Any] = TYPESTORE.types

#: Time from a reading's end to its record, ns: least and most. Less than a period, so a topic stays in order.
LIDAR_DELAY_NS = (2_000_000, 8_000_000)
IMU_DELAY_NS = (200_000, 900_000)
CAMERA_DELAY_NS = (12_000_000, 25_000_000)
ODOMETRY_DELAY_NS = (1_000_000, 4_000_000)
ARM_DELAY_NS = (300_000, 1_500_000)

#: What a recording has, and can be without.
PARTS = ('tf', 'lidar', 'imu', 'camera')

#: PointField's numbers for the types in POINT.
_POINT_FIELD_TYPES = {'uint16': 4, 'uint32': 6, 'float32': 7}


class Recorded(NamedTuple):
    """A message, the time at which it is recorded and its topic."""

    record_ns: int
    topic: str
    message: Any


def recorded_messages(
    robot: Robot,
    seconds: float,
    camera: str = 'jpeg',
    without: Collection[str] = (),
    depth: str = 'raw',
    odometry: WheelOdometry | None = None,
    arm: Arm | None = None,
    begin_ns: int = 0,
) -> Iterator[Recorded]:
    """Yield all messages of a bag in the order of their record time; each is made on demand.

    Args:
        robot: the robot.
        seconds: time that the bag covers: lidar scans that end within it, and all other readings taken within it.
        camera: ``jpeg``, ``png`` or ``raw`` (bgr8).
        without: parts of ``PARTS`` that are not recorded.
        depth: of the depth cameras that the robot has: ``raw`` (16UC1) or ``compressedDepth`` (PNG).
        odometry: of the robot's wheels, on /odom and /tf; None: it has none.
        arm: whose joints are on /joint_states; None: it has none.
        begin_ns: stamp of the first readings, but of ``tf``, at least.
    """
    end_ns = robot.world.trajectory.start_ns + round(seconds * SECOND_NS)
    streams = {
        'tf': [_static_transforms(robot)],
        'lidar': [_clouds(lidar, begin_ns, end_ns) for lidar in robot.lidars],
        'imu': [_imu(robot.imu, begin_ns, end_ns)],
        'camera': [_images(c, begin_ns, end_ns, camera) for c in robot.cameras],
    }
    recorded = [stream for part in PARTS if part not in without for stream in streams[part]]
    recorded += [_depth_images(camera, begin_ns, end_ns, depth) for camera in robot.depths]
    recorded += [_laser_scans(scanner, begin_ns, end_ns) for scanner in robot.scanners]
    if odometry is not None:
        recorded.append(_odometry(odometry, begin_ns, end_ns))
    if arm is not None:
        recorded.append(_joint_states(arm, begin_ns, end_ns))
    return heapq.merge(*recorded, key=lambda recorded: recorded.record_ns)


def _static_transforms(robot: Robot) -> Iterator[Recorded]:
    stamp_ns = robot.imu.stamp_ns(0)
    transforms = [_transform(stamp_ns, 'base_link', sensor.name, sensor.pose) for sensor in robot.sensors]
    yield Recorded(stamp_ns, '/tf_static', TYPES['tf2_msgs/msg/TFMessage'](transforms=transforms))


def _odometry(odometry: WheelOdometry, begin_ns: int, end_ns: int) -> Iterator[Recorded]:
    index = _first(odometry.stamp_ns, begin_ns)
    while odometry.stamp_ns(index) < end_ns:
        reading = odometry.read(index)
        stamp_ns, pose = reading.stamp_ns, reading.pose
        covariance = np.diag([1e-4, 1e-4, 1e-6, 1e-6, 1e-6, 1e-4]).reshape(-1)
        message = TYPES['nav_msgs/msg/Odometry'](
            _header(stamp_ns, odometry.name),
            'base_link',
            TYPES['geometry_msgs/msg/PoseWithCovariance'](
                TYPES['geometry_msgs/msg/Pose'](
                    TYPES['geometry_msgs/msg/Point'](*map(float, pose.translation)), _quaternion(pose.quaternion)
                ),
                covariance,
            ),
            TYPES['geometry_msgs/msg/TwistWithCovariance'](
                TYPES['geometry_msgs/msg/Twist'](_vector(reading.linear), _vector(reading.angular)), covariance
            ),
        )
        transforms = [_transform(stamp_ns, odometry.name, 'base_link', pose)]
        record_ns = stamp_ns + int(odometry.world.noise(f'{odometry.name}.delay', index).integers(*ODOMETRY_DELAY_NS))
        yield Recorded(record_ns, '/odom', message)
        yield Recorded(record_ns, '/tf', TYPES['tf2_msgs/msg/TFMessage'](transforms=transforms))
        index += 1


def _joint_states(arm: Arm, begin_ns: int, end_ns: int) -> Iterator[Recorded]:
    index = _first(arm.stamp_ns, begin_ns)
    while arm.stamp_ns(index) < end_ns:
        reading = arm.read(index)
        message = TYPES['sensor_msgs/msg/JointState'](
            _header(reading.stamp_ns, arm.name), list(arm.joints), reading.position, reading.velocity, reading.effort
        )
        record_ns = reading.stamp_ns + int(arm.world.noise(f'{arm.name}.delay', index).integers(*ARM_DELAY_NS))
        yield Recorded(record_ns, '/joint_states', message)
        index += 1


def _transform(stamp_ns: int, parent: str, child: str, pose: Pose) -> Any:
    return TYPES['geometry_msgs/msg/TransformStamped'](
        header=_header(stamp_ns, parent),
        child_frame_id=child,
        transform=TYPES['geometry_msgs/msg/Transform'](
            translation=_vector(pose.translation), rotation=_quaternion(pose.quaternion)
        ),
    )


def _clouds(lidar: Lidar, begin_ns: int, end_ns: int) -> Iterator[Recorded]:
    fields = [
        TYPES['sensor_msgs/msg/PointField'](name, offset, _POINT_FIELD_TYPES[kind.name], 1)
        for name, (kind, offset, *_) in (POINT.fields or {}).items()
    ]
    for index in range(_first(lidar.stamp_ns, begin_ns), (end_ns - lidar.stamp_ns(0)) // lidar.period_ns):
        scan = lidar.read(index)
        message = TYPES['sensor_msgs/msg/PointCloud2'](
            header=_header(scan.stamp_ns, lidar.name),
            height=lidar.rings,
            width=lidar.columns,
            fields=fields,
            is_bigendian=False,
            point_step=POINT.itemsize,
            row_step=POINT.itemsize * lidar.columns,
            data=scan.points.reshape(-1).view(np.uint8),
            is_dense=False,
        )
        delay_ns = _delay_ns(lidar, index, LIDAR_DELAY_NS)
        yield Recorded(scan.stamp_ns + lidar.period_ns + delay_ns, f'/{lidar.name}/points', message)


def _laser_scans(scanner: Lidar, begin_ns: int, end_ns: int) -> Iterator[Recorded]:
    """Scans of a lidar of one ring; a ray that is lost has range 0."""
    step = 2 * np.pi / scanner.columns
    num_scans = (end_ns - scanner.world.trajectory.start_ns) // scanner.period_ns
    for index in range(_first(scanner.stamp_ns, begin_ns), num_scans):
        scan = scanner.read(index)
        (row,) = scan.points
        message = TYPES['sensor_msgs/msg/LaserScan'](
            header=_header(scan.stamp_ns, scanner.name),
            angle_min=0.0,
            angle_max=-step * (scanner.columns - 1),
            angle_increment=-step,
            time_increment=scanner.period_ns / scanner.columns / SECOND_NS,
            scan_time=scanner.period_ns / SECOND_NS,
            range_min=scanner.min_range,
            range_max=scanner.max_range,
            ranges=np.hypot(row['x'], row['y']),
            intensities=row['intensity'].astype(np.float32),
        )
        delay_ns = _delay_ns(scanner, index, LIDAR_DELAY_NS)
        yield Recorded(scan.stamp_ns + scanner.period_ns + delay_ns, '/scan', message)


def _imu(imu: Imu, begin_ns: int, end_ns: int) -> Iterator[Recorded]:
    certain = np.diag([1e-6, 1e-6, 1e-6]).reshape(-1)
    gyro = np.diag([imu.gyro_noise**2] * 3).reshape(-1)
    accel = np.diag([imu.accel_noise**2] * 3).reshape(-1)
    index = _first(imu.stamp_ns, begin_ns)
    while imu.stamp_ns(index) < end_ns:
        reading = imu.read(index)
        message = TYPES['sensor_msgs/msg/Imu'](
            header=_header(reading.stamp_ns, imu.name),
            orientation=_quaternion(reading.orientation),
            orientation_covariance=certain,
            angular_velocity=_vector(reading.angular_velocity),
            angular_velocity_covariance=gyro,
            linear_acceleration=_vector(reading.linear_acceleration),
            linear_acceleration_covariance=accel,
        )
        yield Recorded(reading.stamp_ns + _delay_ns(imu, index, IMU_DELAY_NS), '/imu/data', message)
        index += 1


def _images(camera: Camera, begin_ns: int, end_ns: int, encoding: str) -> Iterator[Recorded]:
    topic = 'image_raw' if encoding == 'raw' else 'image_raw/compressed'
    return _pictures(camera, begin_ns, end_ns, topic, lambda index: _image(camera.read(index), camera, encoding))


def _pictures(
    camera: Camera, begin_ns: int, end_ns: int, topic: str, message: Callable[[int], Any]
) -> Iterator[Recorded]:
    """Yield the messages of a camera's pictures on ``topic`` of its namespace, by their number, and its CameraInfo."""
    index = _first(camera.stamp_ns, begin_ns)
    while (stamp_ns := camera.stamp_ns(index)) < end_ns:
        record_ns = stamp_ns + _delay_ns(camera, index, CAMERA_DELAY_NS)
        yield Recorded(record_ns, f'/camera/{camera.name}/{topic}', message(index))
        yield Recorded(record_ns, f'/camera/{camera.name}/camera_info', _camera_info(stamp_ns, camera))
        index += 1


def _image(picture: Picture, camera: Camera, encoding: str) -> Any:
    header = _header(picture.stamp_ns, camera.name)
    if encoding == 'raw':
        return TYPES['sensor_msgs/msg/Image'](
            header=header,
            height=camera.height,
            width=camera.width,
            encoding='bgr8',
            is_bigendian=0,
            step=3 * camera.width,
            data=picture.pixels.reshape(-1),
        )
    suffix, options = {'jpeg': ('.jpg', [cv2.IMWRITE_JPEG_QUALITY, 90]), 'png': ('.png', [])}[encoding]
    encoded, data = cv2.imencode(suffix, picture.pixels, options)
    if not encoded:
        raise RuntimeError(f'OpenCV cannot encode {encoding}')
    # The format is written as compressed_image_transport writes it.
    return TYPES['sensor_msgs/msg/CompressedImage'](
        header=header, format=f'bgr8; {encoding} compressed bgr8', data=data.reshape(-1)
    )


def _depth_images(camera: DepthCamera, begin_ns: int, end_ns: int, encoding: str) -> Iterator[Recorded]:
    topic = 'image_rect_raw' if encoding == 'raw' else 'image_rect_raw/compressedDepth'
    return _pictures(
        camera, begin_ns, end_ns, topic, lambda index: _depth_image(camera.read_depth(index), camera, encoding)
    )


def _depth_image(picture: DepthPicture, camera: DepthCamera, encoding: str) -> Any:
    header = _header(picture.stamp_ns, camera.name)
    if encoding == 'raw':
        return TYPES['sensor_msgs/msg/Image'](
            header=header,
            height=camera.height,
            width=camera.width,
            encoding='16UC1',
            is_bigendian=0,
            step=2 * camera.width,
            data=picture.counts.reshape(-1).view(np.uint8),
        )
    encoded, data = cv2.imencode('.png', picture.counts)
    if not encoded:
        raise RuntimeError('OpenCV cannot encode a PNG')
    # Before the PNG comes what compressed_depth_image_transport writes of 16UC1: a number, and two that are not used.
    return TYPES['sensor_msgs/msg/CompressedImage'](
        header=header,
        format='16UC1; compressedDepth png',
        data=np.concatenate([np.zeros(12, np.uint8), data.reshape(-1)]),
    )


def _camera_info(stamp_ns: int, camera: Camera) -> Any:
    k = camera.intrinsics
    return TYPES['sensor_msgs/msg/CameraInfo'](
        header=_header(stamp_ns, camera.name),
        height=camera.height,
        width=camera.width,
        distortion_model='plumb_bob',
        d=np.zeros(5),
        k=k.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=np.hstack([k, np.zeros((3, 1))]).reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=TYPES['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False),
    )


def _first(stamp_of: Callable[[int], int], begin_ns: int) -> int:
    """The number of the first reading whose stamp is at least ``begin_ns``."""
    end = 1
    while stamp_of(end) < begin_ns:
        end *= 2
    return bisect.bisect_left(range(end), begin_ns, key=stamp_of)


def _delay_ns(sensor: Lidar | Imu | Camera, index: int, bounds_ns: tuple[int, int]) -> int:
    return int(sensor.world.noise(f'{sensor.name}.delay', index).integers(*bounds_ns))


def _header(stamp_ns: int, frame_id: str) -> Any:
    sec, nanosec = divmod(stamp_ns, SECOND_NS)
    return TYPES['std_msgs/msg/Header'](TYPES['builtin_interfaces/msg/Time'](sec, nanosec), frame_id)


def _vector(xyz: Any) -> Any:
    return TYPES['geometry_msgs/msg/Vector3'](*map(float, xyz))


def _quaternion(xyzw: Any) -> Any:
    return TYPES['geometry_msgs/msg/Quaternion'](*map(float, xyzw))
