# SPDX-License-Identifier: Apache-2.0
"""What comes out of the pipeline: fused frames."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from robocache_core.samples import CameraInfo

#: Bumped when a consumer of a serialized frame would have to change.
SCHEMA = 1

#: Stages of a frame beside those that have a stream's name: what a frame on a GPU waited for.
WAITS = ('upload', 'decode', 'deskew', 'resample', 'download')


@dataclass(frozen=True)
class CameraView:
    """Where the image in a frame comes from.

    Attributes:
        frame_id: the camera's optical frame.
        info: calibration of the image in the frame, as ``rectify.result_info`` gives it; None where it is unknown.
        rotation: of the optical frame into that of the image, 9 elements by rows: R of the camera's calibration where
            the image is rectified, else the identity.
    """

    frame_id: str
    info: CameraInfo | None
    rotation: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class FusedFrame:
    """Everything the robot sensed at one instant, aligned.

    Attributes:
        stamp_ns: the target time, ns, of which ``tensors`` speak.
        epoch: counts jumps of time (a bag that loops, a clock that is set back); starts at 0.
        sequence: counts frames of this pipeline, over epochs; starts at 0. A gap never occurs.
        frame_id: the frame that voxels are in.
        tensors: by name. A lidar that is in no grid, and a grid, gives ``<name> [C, Z, Y, X]`` (dense), or
            ``<name>.coords [V, 3]``, ``<name>.features [V, C]`` and ``<name>.counts [V]`` (sparse); a camera
            ``<name> [C, H, W]``, or with its ``layout`` hwc ``[H, W, C]``; a depth camera ``<name> [1, H, W]``, m, 0
            where ``<name>.valid [1, H, W] bool`` is False, and where it has voxels ``<name>.voxels [C, Z, Y, X]``
            (dense) or those of a lidar (sparse); an IMU or a vector ``<name> [K, D]`` and ``<name>.valid [K] bool``.
        valid: by stream: False where the stream had nothing within its tolerance (its tensors are then held or zero),
            or what it had is ``damaged``. By grid: whether a lidar that is in it is valid; the grid has no points of
            those that are not.
        age_ns: by stream: target minus the stamp of the newest sample used; negative where that is newer.
        latency_ns: by stage, ns. On the CPU each stream's name: the time it took. On a GPU, by its own clock,
            stage after stage, so that they add up to the frame's time there: each stream's name, what its operation
            took; ``upload``, how long operations waited for their bytes (one stream's are on their way while the one
            before is computed); ``decode``, ``deskew`` and ``resample``, how long for the host to decode images, make
            pose tables and read vector streams; ``download``, to bring the frame to the host, by the host's clock.
        given_up: streams that the target did not wait for (``sync.max_wait``): a nearer sample may have come later,
            even where ``valid`` is True.
        damaged: cameras whose image is damaged and was kept (``<camera>.damaged``): ``tensors`` hold what could be
            decoded, and ``valid`` is False.
        columns: by vector, the names of the D numbers of its rows, as ``pose.pose.position.x`` or ``position[elbow]``.
        stamped_by_arrival: streams whose stamps are when messages arrived, or in a bag were recorded: the types have no
            header, or the configuration says so. Live and offline give the same bits but for these.
        stamp_offset_ns: by stream that has one, what was added to the stamps of its messages.
        schema: version of this layout.
        views: by camera that has given an image; for views in this process, a payload does not hold them.
    """

    stamp_ns: int
    epoch: int
    sequence: int
    frame_id: str
    tensors: dict[str, torch.Tensor]
    valid: dict[str, bool]
    age_ns: dict[str, int]
    latency_ns: dict[str, int] = field(default_factory=dict)
    given_up: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    stamped_by_arrival: tuple[str, ...] = ()
    stamp_offset_ns: dict[str, int] = field(default_factory=dict)
    schema: int = SCHEMA
    views: dict[str, CameraView] = field(default_factory=dict, compare=False)
