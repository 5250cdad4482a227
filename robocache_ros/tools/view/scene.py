# SPDX-License-Identifier: Apache-2.0
"""What of a fused frame is shown, and under which name.

world/voxels/<name>, world/points/<lidar>    in the frame of the voxels
world/cameras/<name>                         pose and calibration, where they are known; under it:
    image, state, points                     the image; its frame, or cross, with its age; the lidars' points in it
world/depths/<name>                          the same of a depth camera, without points
vectors/<name>                               the last row of the window; NaN where it is not valid
age_ms/<stream>                              target minus stamp of the newest sample used
points_dropped/<stream>/<reason>             since the frame before
events, blocker                              what was dropped, and why no frame comes, in words
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import rerun as rr

from robocache_core.config import VECTOR_FIELDS, CameraConfig, DepthConfig, ImuConfig, PipelineConfig
from robocache_core.frame import FusedFrame
from robocache_core.ledger import Reason
from robocache_core.samples import DataError
from robocache_core.text import printable
from robocache_ros.poses import PoseSource
from robocache_ros.tools.overlays import Overlay, image_pose
from robocache_ros.tools.pictures import depth_colours, image_pixels
from robocache_ros.tools.replay.voxel_view import height_range, occupied
from robocache_ros.tools.view.layout import layout

Array = npt.NDArray[Any]
Totals = Mapping[str, Mapping[str, int]]

_GREEN, _RED = (52, 199, 89), (255, 59, 48)
_COLOURS = matplotlib.colormaps['turbo']


class Scene:
    """Logs frames to a recording.

    Args:
        recording: receives them.
        config: of the pipeline that gives them.
        colour: what voxels are coloured by, ``height`` or ``count``.
    """

    def __init__(self, recording: rr.RecordingStream, config: PipelineConfig, colour: str = 'height') -> None:
        self._recording, self._config, self._colour = recording, config, colour
        #: By what is coloured, the values that the colours run between: those of its first frame.
        self._spans: dict[str, tuple[float, float]] = {}
        self._before: dict[str, dict[str, int]] = {}
        self._missing: dict[str, str] = {}
        self._blocker = ''
        recording.log('world', rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        for vector in (*config.imus, *config.vectors):
            names = [printable(name) for name in columns_of(vector)]
            recording.log(f'vectors/{vector.name}', rr.SeriesLines(names=names), static=True)
        recording.send_blueprint(layout(config))

    def frame(self, frame: FusedFrame) -> None:
        """Show what a frame holds; its tensors are on the CPU."""
        self._at(frame.stamp_ns)
        self._recording.set_time('frame', sequence=frame.sequence)
        self._voxels(frame)
        for camera in self._config.cameras:
            self._recording.log(f'world/cameras/{camera.name}/image', rr.Image(_colour(image_pixels(frame, camera))))
            self._state(frame, camera, 'cameras')
        for depth in self._config.depths:
            image = rr.DepthImage(frame.tensors[depth.name][0].numpy(), meter=1.0)
            self._recording.log(f'world/depths/{depth.name}/image', image)
            self._state(frame, depth, 'depths')
        for vector in (*self._config.imus, *self._config.vectors):
            rows, valid = frame.tensors[vector.name].double(), frame.tensors[f'{vector.name}.valid']
            last = rows[-1].numpy() if valid[-1] else np.full(rows.shape[1], np.nan)
            self._recording.log(f'vectors/{vector.name}', rr.Scalars(last))
        for name, age_ns in frame.age_ns.items():
            self._recording.log(f'age_ms/{name}', rr.Scalars(age_ns / 1e6))
        for name in frame.given_up:
            self._event(f'{name}: the target did not wait for it', 'INFO')

    def points(self, frame: FusedFrame, points: Mapping[str, Array]) -> None:
        """Show the points of the lidars, ``[N, 3]`` by name, in the frame of the voxels."""
        for lidar in self._config.lidars:
            found = points.get(lidar.name, np.zeros((0, 3)))
            colours = depth_colours(np.linalg.norm(found, axis=1))
            shown = rr.Points3D(found, colors=colours, radii=rr.Radius.ui_points(1.5))
            self._recording.log(f'world/points/{lidar.name}', shown)

    def camera(self, frame: FusedFrame, camera: CameraConfig | DepthConfig, poses: PoseSource) -> None:
        """Show where a camera is, and how it looks, as far as that is known."""
        view = frame.views.get(camera.name)
        if view is None or view.info is None:
            return
        try:
            pose = image_pose(frame, camera.name, self._extrinsics(camera), poses)
        except DataError:  # where it matters, its overlay says so
            return
        path = f'world/{_group(camera)}/{camera.name}'
        turned = pose[:3, :3] @ np.array(view.rotation).reshape(3, 3).T
        self._recording.log(path, rr.Transform3D(translation=pose[:3, 3], mat3x3=turned))
        size, matrix = (view.info.width, view.info.height), np.array(view.info.k).reshape(3, 3)
        pinhole = rr.Pinhole(image_from_camera=matrix, resolution=size, camera_xyz=rr.ViewCoordinates.RDF)
        self._recording.log(path, pinhole)

    def overlay(self, frame: FusedFrame, camera: CameraConfig, found: Overlay) -> None:
        """Show the points of the lidars in an image, and say once what is missing for it."""
        pixels = np.concatenate([np.zeros((0, 2)), *(each.pixels for each in found.projections.values())])
        depth = np.concatenate([np.zeros(0), *(each.depth for each in found.projections.values())])
        shown = rr.Points2D(pixels + 0.5, colors=depth_colours(depth), radii=rr.Radius.ui_points(1.5))
        self._recording.log(f'world/cameras/{camera.name}/points', shown)
        if found.missing != self._missing.get(camera.name, ''):
            self._missing[camera.name] = found.missing
            self._event(f'{camera.name}: no points in its image: {found.missing}' if found.missing else '', 'WARN')

    def dropped(self, stamp_ns: int, points: Totals, messages: Totals) -> None:
        """Show what was dropped since the last call; ``points`` and ``messages`` are all until now, by reason."""
        self._at(stamp_ns)
        for name, reason, count in self._new('points', points):
            self._recording.log(['points_dropped', name, reason], rr.Scalars(count))
        for name, reason, count in self._new('messages', messages):
            if count and reason != Reason.UNSELECTED:
                self._event(f'{name}: {count} dropped: {reason}', 'WARN')

    def blocker(self, stamp_ns: int, text: str) -> None:
        """Show why no frame comes; empty where they do."""
        if text != self._blocker:
            self._blocker = text
            self._at(stamp_ns)
            self._recording.log('blocker', rr.TextDocument(printable(text, 2000, keep='\n')))

    def _extrinsics(self, camera: CameraConfig | DepthConfig) -> tuple[float, ...]:
        """Those of the camera whose image it is: of a depth camera that is registered, the other one's."""
        shown = (each for each in self._config.cameras if each.name == camera.registered_to)
        return next(shown, camera).extrinsics

    def _at(self, stamp_ns: int) -> None:
        self._recording.set_time('stamp', timestamp=np.datetime64(stamp_ns, 'ns'))

    def _event(self, text: str, level: str) -> None:
        if text:
            self._recording.log('events', rr.TextLog(printable(text, 2000), level=level))

    def _voxels(self, frame: FusedFrame) -> None:
        for each in self._config.voxelized:
            found = occupied(frame, each)
            values = found.centre[:, 2] if self._colour == 'height' else np.log1p(found.count)
            if len(values) and each.name not in self._spans:
                heights = height_range(found.centre)
                self._spans[each.name] = heights if self._colour == 'height' else (0.0, float(values.max()) + 1e-9)
            low, high = self._spans.get(each.name, (0.0, 1.0))
            colours = (255 * _COLOURS(np.clip((values - low) / (high - low), 0, 1))[:, :3]).round().astype(np.uint8)
            half = np.broadcast_to(np.array(found.size) / 2, found.centre.shape)
            boxes = rr.Boxes3D(centers=found.centre, half_sizes=half, colors=colours, fill_mode='solid')
            self._recording.log(f'world/voxels/{each.name}', boxes)

    def _state(self, frame: FusedFrame, camera: CameraConfig | DepthConfig, group: str) -> None:
        """Frame an image in green, or in red with a cross where it is not valid; with its age."""
        right, low = camera.width, camera.height
        strips = [[(0, 0), (right, 0), (right, low), (0, low), (0, 0)]]
        is_valid = frame.valid[camera.name]
        if not is_valid:
            strips += [[(0, 0), (right, low)], [(0, low), (right, 0)]]
        age_ns = frame.age_ns.get(camera.name)
        age = 'no image' if age_ns is None else f'age {age_ns / 1e6:.1f} ms'
        text = age if is_valid else f'{"damaged" if camera.name in frame.damaged else "not valid"}, {age}'
        labels = [text, *[''] * (len(strips) - 1)]
        colour = _GREEN if is_valid else _RED
        shown = rr.LineStrips2D(strips, colors=colour, radii=rr.Radius.ui_points(3.0), labels=labels, draw_order=40)
        self._recording.log(f'world/{group}/{camera.name}/state', shown)

    def _new(self, kind: str, totals: Totals) -> Iterable[tuple[str, str, int]]:
        """By name and reason, how many more there are than at the last call; fewer: they are counted from 0 again."""
        for name, reasons in totals.items():
            before = self._before.get(f'{kind} {name}', {})
            self._before[f'{kind} {name}'] = dict(reasons)
            for reason, total in reasons.items():
                seen = before.get(reason, 0)
                yield name, reason, total - seen if total >= seen else total


def columns_of(vector: Any) -> tuple[str, ...]:
    """Return the names of the numbers in a row of an IMU or a vector."""
    if not isinstance(vector, ImuConfig):
        return tuple(vector.columns)
    return tuple(f'{field}.{axis}' for field in vector.fields for axis in 'xyzw'[: VECTOR_FIELDS[field]])


def _group(camera: CameraConfig | DepthConfig) -> str:
    return 'cameras' if isinstance(camera, CameraConfig) else 'depths'


def _colour(pixels: Array) -> Array:
    """An image of one channel without that axis, as viewers want it."""
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels
