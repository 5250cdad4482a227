# SPDX-License-Identifier: Apache-2.0
"""The points of the lidars in the images of a frame: whether sensors are aligned can be seen there."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from robocache_core.config import CameraConfig, PipelineConfig
from robocache_core.frame import FusedFrame
from robocache_core.projection import Projection, project
from robocache_core.rotation import pose_matrix
from robocache_core.samples import DataError
from robocache_core.units import SECOND
from robocache_ros import offline
from robocache_ros.bags import Bag
from robocache_ros.poses import PoseSource
from robocache_ros.tools.pictures import picture_with_points
from robocache_ros.tools.scan_points import ScanPoints
from robocache_ros.tools.writing import write

Array = npt.NDArray[Any]

_FILE = 'overlays.json'
#: The frame that is shown of a bag is from its middle, or from this far into it, where that comes before.
_FURTHEST_NS = 30 * SECOND
#: Frames that are looked at for one that has all lidars and cameras.
_MOST_FRAMES = 50


@dataclass(frozen=True)
class Overlay:
    """The points in the image of a camera.

    Attributes:
        projections: by lidar.
        missing: what keeps them from being found; empty where they are.
    """

    projections: Mapping[str, Projection]
    missing: str = ''


def overlay(frame: FusedFrame, camera: CameraConfig, points: Mapping[str, Array], poses: PoseSource) -> Overlay:
    """Find the points of the lidars in the image of a camera.

    Args:
        frame: has the image, and the view of it.
        camera: whose image.
        points: by lidar, ``[N, 3]``, m, in ``frame.frame_id``.
        poses: has the camera's, at the stamp of its image, where no parameter states it.
    """
    view = frame.views.get(camera.name)
    if not points:
        return Overlay({}, 'no lidar has a scan in this frame')
    if view is None:
        return Overlay({}, 'no image of it could be used until then')
    if view.info is None:
        return Overlay({}, f'no calibration of its images on {camera.calibration_topic}')
    try:
        pose = image_pose(frame, camera.name, camera.extrinsics, poses)
    except DataError as error:
        return Overlay({}, str(error))
    return Overlay({name: project(each, pose, view) for name, each in points.items()})


def image_pose(frame: FusedFrame, name: str, extrinsics: tuple[float, ...], poses: PoseSource) -> Array:
    """Return the pose ``[4, 4]`` of the optical frame of an image in that of the voxels.

    Args:
        frame: has the view of the image.
        name: the stream whose image it is.
        extrinsics: of the camera whose optical frame that is, x y z (m) qx qy qz qw; empty: from ``poses``.
        poses: has it at the stamp of the image.

    Raises:
        DataError: ``no_transform``: it is not known.
    """
    if extrinsics:
        return pose_matrix(extrinsics).numpy()
    stamp_ns = frame.stamp_ns - frame.age_ns.get(name, 0)
    return pose_matrix(poses.pose(frame.views[name].frame_id, frame.frame_id, stamp_ns).pose).numpy()


def overlays_of_bag(bag: Bag, config: PipelineConfig) -> dict[str, Any]:
    """Compute a frame from the middle of a bag, and show the points of its lidars in its images.

    Returns:
        ``stamp_ns`` of the frame, and ``cameras``: by name what is ``missing``, the ``points`` in the image by lidar,
        ``age_ms`` (None: no sample) and the ``picture``, a JPEG. Empty where there is no such frame, no lidar or no
        camera.
    """
    if not (config.lidars and config.cameras):
        return {}
    names = [stream.name for stream in (*config.lidars, *config.cameras)]
    begin_ns = bag.start_ns + min(_FURTHEST_NS, (bag.end_ns - bag.start_ns) // 2)
    observer = ScanPoints(config.lidars)
    pipeline = offline.make_pipeline(config, observer, on_host=True)
    with _silent(), offline.fused_frames(bag.path, config, pipeline, start_ns=begin_ns, views=True) as frames:
        chosen: tuple[int, FusedFrame, dict[str, Array]] | None = None
        for frame in itertools.islice(frames, _MOST_FRAMES):
            num_valid, points = sum(frame.valid[name] for name in names), observer.take(frame)
            if chosen is None or num_valid > chosen[0]:
                chosen = num_valid, frame, points
            if num_valid == len(names):
                break
        if chosen is None or frames.poses is None:
            return {}
        _, frame, points = chosen
        shown = {camera.name: _shown(frame, camera, points, frames.poses) for camera in config.cameras}
        return {'stamp_ns': frame.stamp_ns, 'cameras': shown}


def _shown(frame: FusedFrame, camera: CameraConfig, points: Mapping[str, Array], poses: PoseSource) -> dict[str, Any]:
    found = overlay(frame, camera, points, poses)
    age_ns = frame.age_ns.get(camera.name)
    return {
        'missing': found.missing,
        'points': {name: len(each.index) for name, each in found.projections.items()},
        'age_ms': None if age_ns is None else age_ns / 1e6,
        'picture': picture_with_points(frame, camera, found.projections.values()),
    }


def save(overlays: Mapping[str, Any], folder: Path) -> None:
    """Write what ``overlays_of_bag`` gave to overlays.json, and each picture beside it."""
    cameras = {}
    for name, each in overlays.get('cameras', {}).items():
        file = folder / f'overlay_{name}.jpg'
        write(file, each['picture'])
        cameras[name] = {**each, 'picture': file.name}
    found = {**overlays, 'cameras': cameras} if overlays else {}
    write(folder / _FILE, json.dumps(found, indent=2) + '\n')


def pictures(folder: Path) -> list[Path]:
    """The pictures that ``save`` wrote there; none where it wrote nothing."""
    return sorted(folder.glob('overlay_*.jpg')) if (folder / _FILE).is_file() else []


def load(folder: Path) -> dict[str, Any]:
    """Read what ``save`` wrote."""
    overlays: dict[str, Any] = json.loads((folder / _FILE).read_text(encoding='utf-8'))
    for each in overlays.get('cameras', {}).values():
        each['picture'] = (folder / each['picture']).read_bytes()
    return overlays


@contextmanager
def _silent() -> Iterator[None]:
    """Log nothing of a bag that was read before."""
    log = logging.getLogger(offline.__name__)
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = False
