# SPDX-License-Identifier: Apache-2.0
"""What streams of pictures and of depth images share: their calibration, decoding ahead, and what a frame shows."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeVar

from robocache_core.frame import CameraView
from robocache_core.rectify import Rectifier, decoded_info, result_info
from robocache_core.samples import CameraFrame, CameraInfo, DataError, EncodedImage
from robocache_core.sensor_poses import SensorPoses
from robocache_core.streams.base import Stream

if TYPE_CHECKING:
    from robocache_core.config import PipelineConfig
    from robocache_core.streams.camera import CameraConfig
    from robocache_core.streams.depth import DepthConfig
    from robocache_core.target import Pick

Config = TypeVar('Config', bound='CameraConfig | DepthConfig')


def info_topic_beside(image_topic: str) -> str:
    """Return the topic of the CameraInfo of images, as image_transport derives it."""
    return ''.join(image_topic.rpartition('/')[:2]) + 'camera_info'


def is_of_rectified(image_topic: str) -> bool:
    """Whether a topic has the name that image_pipeline and drivers give to that of rectified images."""
    return image_topic.rpartition('/')[2].startswith('image_rect')


class ImageStream(Stream[Config]):
    """Images, rectified where that is asked for.

    Attributes:
        info: the camera's calibration, if it has come.
    """

    kinds = (CameraFrame, EncodedImage)

    def __init__(self, config: Config, pipeline: PipelineConfig, poses: SensorPoses) -> None:
        super().__init__(config, pipeline, poses)
        self.info: CameraInfo | None = None
        self._rectifier: Rectifier | None = None
        if config.rectify:
            self._rectifier = Rectifier(
                out_width=config.width,
                out_height=config.height,
                letterbox=config.letterbox,
                info_topic=config.calibration_topic,
            )

    def calibrate(self, info: CameraInfo) -> None:
        self.info = info
        if self._rectifier is not None:
            self._rectifier.info = info

    def show(self, image: CameraFrame) -> None:
        """Take ``image`` for the one that the frame, and those after it that have none, show."""
        view = CameraView(image.frame_id, None)
        rectified = self.config.rectify or self.config.comes_rectified
        if self.info is not None:
            with contextlib.suppress(DataError):  # where images are rectified, this one was refused with that
                found = result_info(
                    decoded_info(self.info, image.reduction),
                    width=image.width,
                    height=image.height,
                    out_width=self.config.width,
                    out_height=self.config.height,
                    letterbox=self.config.letterbox,
                    rectified=rectified,
                )
                rotation = self.info.r if rectified else view.rotation
                view = CameraView(image.frame_id, found, rotation)
        self.view = view

    @property
    def decodes(self) -> bool:
        # What is registered comes after its camera, whose image shows whether it is the one that was calibrated.
        return self.config.is_compressed or (self.registration is not None and self.registration.camera_decodes)

    def prepare(self, pick: Pick) -> None:
        for entry in pick.entries:
            if isinstance(entry.sample, EncodedImage):
                entry.sample.begin()
