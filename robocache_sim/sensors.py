# SPDX-License-Identifier: Apache-2.0
"""The simulated robot's sensors: a reading by its index, from the true motion, with seeded noise.

Reading ``i`` of a sensor is the same whatever else is read, and in whatever order: its noise comes from the seed, the
sensor's name and ``i``. Poses of sensors are those of their frames in ``base_link``.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from robocache_sim.scene import Components, Scene, courtyard, rotate
from robocache_sim.trajectory import Array, Pose, Trajectory

SECOND_NS = 1_000_000_000
START_NS = 1_760_000_000 * SECOND_NS

#: Standard gravity, m/s².
GRAVITY = 9.80665

#: A point as a spinning lidar's driver publishes it: x y z m, intensity 0 to 255, t ns since the stamp of the scan.
POINT = np.dtype({
    'names': ['x', 'y', 'z', 'intensity', 't', 'ring'],
    'formats': ['<f4', '<f4', '<f4', '<f4', '<u4', '<u2'],
    'offsets': [0, 4, 8, 16, 20, 24],
    'itemsize': 32,
})  # fmt: skip

#: From a camera's optical frame (x right, y down, z forward) to one with x forward, y left, z up.
OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class World:
    """The scene, the robot's true motion and the seed of all noise, shared by all sensors."""

    trajectory: Trajectory
    seed: int = 0
    scene: Scene = field(default_factory=courtyard)

    def noise(self, name: str, index: int) -> np.random.Generator:
        """Generator of the noise of reading ``index`` (not negative) of the sensor or purpose ``name``."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode()), index])


@dataclass(frozen=True)
class Scan:
    """One turn of a lidar: ``points [rings, columns]`` of ``POINT``, in the lidar's frame at each column's own time.

    A missing return is x = y = z = intensity = 0. ``stamp_ns`` is when the first column was taken.
    """

    stamp_ns: int
    points: npt.NDArray[np.void]


@dataclass(frozen=True)
class ImuReading:
    """One reading of an IMU, in its own frame, but for ``orientation [4]`` (x y z w), that of the frame in ``map``.

    ``angular_velocity [3]`` rad/s, ``linear_acceleration [3]`` m/s²: the specific force, +9.8 upwards at rest.
    """

    stamp_ns: int
    angular_velocity: Array
    linear_acceleration: Array
    orientation: Array


@dataclass(frozen=True)
class Picture:
    """One image: ``pixels [height, width, 3] uint8``, blue, green, red, all taken at ``stamp_ns``."""

    stamp_ns: int
    pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Lidar:
    """A spinning lidar, clockwise seen from above; a column's rays leave at once, columns one after the other.

    Attributes:
        rings: rays in a column, the topmost first, evenly from ``+elevation`` to ``-elevation`` rad.
        range_noise: standard deviation of a range, m.
        dropout: part of the returns that is lost by chance.
        phase_ns: stamp of its first scan, since the start.
    """

    world: World
    rings: int = 64
    columns: int = 1024
    name: str = 'lidar'
    pose: Pose = Pose.planar(np.array([0.1, 0.0, 1.3]), math.pi / 2)
    period_ns: int = SECOND_NS // 10
    elevation: float = math.radians(22.5)
    min_range: float = 0.3
    max_range: float = 100.0
    range_noise: float = 0.015
    dropout: float = 0.01
    phase_ns: int = 0

    def stamp_ns(self, index: int) -> int:
        """Stamp of scan ``index``."""
        return self.world.trajectory.start_ns + self.phase_ns + index * self.period_ns

    @property
    def column_ns(self) -> npt.NDArray[np.int64]:
        """When each column is taken, ``[columns]``, ns since the stamp of the scan."""
        return np.arange(self.columns, dtype=np.int64) * self.period_ns // self.columns

    @property
    def directions(self) -> Components:
        """Rays in the lidar's frame, of length 1 seen from above: x, y ``[1, columns]``, z ``[rings, 1]``."""
        azimuth = -2 * math.pi * np.arange(self.columns) / self.columns
        slope = np.tan(np.linspace(self.elevation, -self.elevation, self.rings))
        return np.cos(azimuth)[None, :], np.sin(azimuth)[None, :], slope[:, None]

    def read(self, index: int) -> Scan:
        """Scan ``index``, which ends one period after its stamp."""
        noise = self.world.noise(self.name, index)
        stamp_ns = self.stamp_ns(index)
        pose = self.world.trajectory.at(stamp_ns + self.column_ns).pose @ self.pose
        x, y, z = pose.translation.T
        origin = x[None], y[None], z[None]
        local = self.directions
        direction = rotate(pose.rotation, local)

        hits = self.world.scene.cast(origin, direction)
        stretch = np.hypot(1, local[2])
        true_range = hits.distance * stretch
        shape = true_range.shape
        distance = (true_range + self.range_noise * noise.standard_normal(shape)) / stretch
        seen = (true_range >= self.min_range) & (true_range <= self.max_range) & (noise.random(shape) >= self.dropout)
        distance = np.where(seen, distance, 0)

        brightness = self.world.scene.palette().mean(axis=1)
        points = np.zeros(shape, POINT)
        for axis, component in zip('xyz', local, strict=True):
            points[axis] = distance * component
        points['intensity'] = np.where(seen, brightness[self.world.scene.tinted(hits, origin, direction)], 0)
        points['t'] = self.column_ns
        points['ring'] = np.arange(self.rings)[:, None]
        return Scan(stamp_ns, points)


@dataclass(frozen=True)
class Imu:
    """An IMU with white noise and constant biases, off the robot's centre: its accelerometer measures the turning too.

    Attributes:
        rate_hz: readings a second.
        lead_ns: how long before the start its readings begin, so that the first scan has a window of them.
        gyro_density: of the gyroscope's noise, rad/s/sqrt(Hz).
        accel_density: of the accelerometer's noise, m/s²/sqrt(Hz).
    """

    world: World
    rate_hz: float = 200.0
    name: str = 'imu'
    pose: Pose = Pose.planar(np.array([-0.15, 0.08, 0.6]), 0.0)
    lead_ns: int = SECOND_NS // 5
    gyro_density: float = 2e-4
    accel_density: float = 2e-3

    @property
    def gyro_noise(self) -> float:
        """Standard deviation of an angular velocity, rad/s."""
        return self.gyro_density * math.sqrt(self.rate_hz)

    @property
    def accel_noise(self) -> float:
        """Standard deviation of an acceleration, m/s²."""
        return self.accel_density * math.sqrt(self.rate_hz)

    @cached_property
    def gyro_bias(self) -> Array:
        """Constant bias ``[3]`` of the angular velocity, rad/s."""
        return self.world.noise(f'{self.name}.gyro_bias', 0).normal(0, 3e-3, 3)

    @cached_property
    def accel_bias(self) -> Array:
        """Constant bias ``[3]`` of the acceleration, m/s²."""
        return self.world.noise(f'{self.name}.accel_bias', 0).normal(0, 3e-2, 3)

    def stamp_ns(self, index: int) -> int:
        """Stamp of reading ``index``."""
        return self.world.trajectory.start_ns - self.lead_ns + round(index * SECOND_NS / self.rate_hz)

    def truth(self, stamps_ns: npt.NDArray[np.int64]) -> tuple[Array, Array, Array]:
        """Angular velocity, specific force and orientation ``[N, 3], [N, 3], [N, 4]``, without noise and bias."""
        motion = self.world.trajectory.at(stamps_ns)
        pose = motion.pose @ self.pose
        turn = np.stack([np.zeros_like(motion.yaw), np.zeros_like(motion.yaw), motion.yaw_rate], axis=-1)
        spin_up = np.stack([np.zeros_like(motion.yaw), np.zeros_like(motion.yaw), motion.yaw_acceleration], axis=-1)
        arm = pose.translation - motion.position
        force = motion.acceleration + np.cross(spin_up, arm) + np.cross(turn, np.cross(turn, arm))
        force = force + np.array([0.0, 0.0, GRAVITY])
        to_imu = np.swapaxes(pose.rotation, -1, -2)
        return (to_imu @ turn[..., None])[..., 0], (to_imu @ force[..., None])[..., 0], pose.quaternion

    def read(self, index: int) -> ImuReading:
        """Reading ``index``."""
        noise = self.world.noise(self.name, index)
        stamp_ns = self.stamp_ns(index)
        (turn,), (force,), (orientation,) = self.truth(np.array([stamp_ns]))
        return ImuReading(
            stamp_ns,
            turn + self.gyro_bias + self.gyro_noise * noise.standard_normal(3),
            force + self.accel_bias + self.accel_noise * noise.standard_normal(3),
            orientation,
        )


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with a global shutter and no distortion; its frame is the optical one.

    Attributes:
        yaw: viewing direction, from the robot's front, rad.
        phase_ns: stamp of its first image, since the start: the cameras are not synchronised.
        focal: focal length, px.
    """

    world: World
    name: str
    position: tuple[float, float, float]
    yaw: float
    phase_ns: int
    rate_hz: float = 15.0
    width: int = 640
    height: int = 480
    focal: float = 400.0

    @property
    def pose(self) -> Pose:
        """Pose of the optical frame in ``base_link``."""
        mount = Pose.planar(np.array(self.position), self.yaw)
        return Pose(mount.translation, mount.rotation @ OPTICAL)

    @property
    def intrinsics(self) -> Array:
        """Camera matrix ``[3, 3]``, px; the centre of the first pixel is (0, 0)."""
        return np.array(
            [
                [self.focal, 0.0, (self.width - 1) / 2],
                [0.0, self.focal, (self.height - 1) / 2],
                [0.0, 0.0, 1.0],
            ]
        )

    def stamp_ns(self, index: int) -> int:
        """Stamp of image ``index``."""
        return self.world.trajectory.start_ns + self.phase_ns + round(index * SECOND_NS / self.rate_hz)

    def read(self, index: int) -> Picture:
        """Image ``index``."""
        stamp_ns, origin, direction = self.rays(index)
        hits = self.world.scene.cast(origin, direction)
        palette = self.world.scene.palette()
        sky = np.array([235, 206, 170], np.uint8)
        tint = self.world.scene.tinted(hits, origin, direction)
        tint[np.isinf(hits.distance)] = len(palette)
        return Picture(stamp_ns, np.take(np.vstack([palette, sky]), tint, axis=0))

    def rays(self, index: int) -> tuple[int, Components, Components]:
        """Stamp of image ``index``, where its rays begin, and where they go: 1 along the optical axis; in ``map``."""
        stamp_ns = self.stamp_ns(index)
        pose = self.world.trajectory.at(np.array([stamp_ns])).pose @ self.pose
        right = (np.arange(self.width)[None, :] - (self.width - 1) / 2) / self.focal
        down = (np.arange(self.height)[:, None] - (self.height - 1) / 2) / self.focal
        # float32 moves no edge by as much as a hundredth of a pixel, and is twice as fast.
        direction = _single(rotate(pose.rotation[0], (right, down, np.ones((1, 1)))))
        x, y, z = pose.translation.T
        return stamp_ns, _single((x[None], y[None], z[None])), direction


@dataclass(frozen=True)
class DepthPicture:
    """One depth image: ``counts [height, width] uint16``, mm along the optical axis, 0 where nothing was seen."""

    stamp_ns: int
    counts: npt.NDArray[np.uint16]


@dataclass(frozen=True)
class DepthCamera(Camera):
    """A depth camera as a stereo pair is one: its noise grows with the square of the distance.

    Attributes:
        range_noise: standard deviation of a distance of 1 m, m.
        dropout: part of the pixels that is lost by chance.
    """

    width: int = 320
    height: int = 240
    focal: float = 200.0
    min_range: float = 0.3
    max_range: float = 10.0
    range_noise: float = 0.001
    dropout: float = 0.02

    def read_depth(self, index: int) -> DepthPicture:
        """Depth image ``index``."""
        stamp_ns, origin, direction = self.rays(index)
        # The rays are 1 long along the optical axis.
        distance = self.world.scene.cast(origin, direction).distance.astype(np.float64)
        noise = self.world.noise(self.name, index)
        seen = (distance >= self.min_range) & (distance <= self.max_range)
        seen &= noise.random(distance.shape) >= self.dropout
        with np.errstate(invalid='ignore'):  # of rays that meet nothing
            measured = distance + self.range_noise * distance**2 * noise.standard_normal(distance.shape)
        counts = np.where(seen, np.rint(1000 * measured), 0).astype(np.uint16)
        return DepthPicture(stamp_ns, counts)


def _single(components: Components) -> Components:
    x, y, z = components
    return x.astype(np.float32), y.astype(np.float32), z.astype(np.float32)


@dataclass(frozen=True)
class Robot:
    """A robot's sensors in one world; a second lidar is not on every one."""

    world: World
    lidar: Lidar
    imu: Imu
    cameras: tuple[Camera, ...]
    depths: tuple[DepthCamera, ...] = ()
    scanners: tuple[Lidar, ...] = ()
    rear_lidar: Lidar | None = None

    @property
    def lidars(self) -> tuple[Lidar, ...]:
        """All lidars but those of one ring."""
        return (self.lidar,) if self.rear_lidar is None else (self.lidar, self.rear_lidar)

    @property
    def sensors(self) -> tuple[Lidar | Imu | Camera, ...]:
        """All sensors: lidars, IMU, cameras, depth cameras, 2-D lidars."""
        return (*self.lidars, self.imu, *self.cameras, *self.depths, *self.scanners)


def _scanner(world: World) -> Lidar:
    pose = Pose.planar(np.array([0.35, 0.0, 0.4]), 0.0)
    return Lidar(world, 1, 720, 'scanner', pose, elevation=0.0, max_range=30.0)


def robot(
    *,
    seed: int = 0,
    speed: float = 1.5,
    yaw_rate: float | None = None,
    lidar_rings: int = 64,
    imu_rate: float = 200.0,
    depth: bool = False,
    scanner: bool = False,
    rear_phase_ns: int | None = None,
    start_ns: int = START_NS,
) -> Robot:
    """Put the standard robot in the courtyard.

    Args:
        seed: of all noise, biases and delays, not negative.
        speed: mean speed, m/s; with ``yaw_rate`` 0 too, the robot stands at (0, -4.5), yaw 0.
        yaw_rate: mean yaw rate, rad/s; None: such that the robot looks along its path.
        lidar_rings: rays in a column of the lidar.
        imu_rate: readings of the IMU a second, Hz.
        depth: whether it has a depth camera.
        scanner: whether it has a 2-D lidar, of one ring.
        rear_phase_ns: how long after those of the first lidar the scans of a second one begin, ns, less than a period;
            None: there is no second one.
        start_ns: stamp at which it sets out.
    """
    radius = Trajectory.radius
    trajectory = Trajectory(start_ns, speed, speed / radius if yaw_rate is None else yaw_rate)
    world = World(trajectory, seed)
    behind = Pose.planar(np.array([-0.45, 0.15, 0.8]), -math.pi / 3)
    rear = (
        None
        if rear_phase_ns is None
        else Lidar(world, lidar_rings, name='lidar_rear', pose=behind, phase_ns=rear_phase_ns)
    )
    return Robot(
        world,
        Lidar(world, lidar_rings),
        Imu(world, imu_rate),
        (
            Camera(world, 'front', (0.4, 0.0, 0.9), 0.0, phase_ns=7_000_000),
            Camera(world, 'rear', (-0.4, 0.0, 0.9), math.pi, phase_ns=41_000_000),
        ),
        (DepthCamera(world, 'front_depth', (0.42, 0.0, 0.8), 0.0, phase_ns=23_000_000),) if depth else (),
        (_scanner(world),) if scanner else (),
        rear,
    )
