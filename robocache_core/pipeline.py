# SPDX-License-Identifier: Apache-2.0
"""Samples in, fused frames out: no ROS, no thread, and no clock but to measure how long a stage takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress

import torch

from robocache_core import ops
from robocache_core.align import Aligner, Jumps
from robocache_core.clocks import Clocks, odd_clocks
from robocache_core.config import PipelineConfig
from robocache_core.device import Device, choose_device, one_line
from robocache_core.frame import FusedFrame
from robocache_core.frame_assembly import frame_of
from robocache_core.grids import Grids
from robocache_core.ledger import Account, Reason
from robocache_core.observer import Observer
from robocache_core.sample_checks import check_sample
from robocache_core.samples import CameraInfo, DataError, Sample, VectorSample, restamped
from robocache_core.sensor_poses import SensorPoses, unknown_pose
from robocache_core.streams import make_streams, observed
from robocache_core.streams.base import FrameDraft, RequiredStreamMissing
from robocache_core.streams.no_depth import WithoutDepth
from robocache_core.target import Target


class Pipeline:
    """Aligns the streams of a robot and computes a frame at every target.

    Each message is announced by ``receive`` and then handed over by ``push`` or ended by ``drop``, so that for every
    stream ``received == used + held + sum(dropped)``, always. ``receive`` and ``drop`` may be called from any thread,
    and the counts of ``ledger`` and ``targets`` read from any; everything else is for one thread.

    It computes on ``device``. When a GPU fails, the frame at hand is computed again on the CPU, and all that follow:
    samples are kept until their frame is done, so nothing is lost but ``GpuBytes`` that cannot be copied either.

    Args:
        config: streams, alignment and operations.
        on_host: returns whether to bring a frame's tensors to the CPU while its samples are still there: a caller that
            would do so anyway loses no frame to a GPU that fails in between.
        observer: is called at each decision about targets; nothing depends on it.
    """

    def __init__(
        self,
        config: PipelineConfig,
        *,
        on_host: Callable[[], bool] = lambda: False,
        observer: Observer | None = None,
    ) -> None:
        self._on_host = on_host
        self._observer = observer or Observer()
        #: Where frames are computed; the fault for which that is not the device that was asked for, None if it is.
        self.device, self.device_fault = choose_device(config.compute.device)
        #: Called with what a GPU said when it failed.
        self.on_degraded: Callable[[str], None] = lambda fault: None
        #: Called for each sample that cannot be used with its stream, the reason, and what is wrong with it.
        self.on_refused: Callable[[str, Reason, str], None] = lambda name, reason, message: None
        #: Called for each sample that is used though it is damaged, with its stream and what is wrong with it.
        self.on_damaged: Callable[[str, str], None] = lambda name, message: None
        #: Returns how many samples of a stream are held back until their sensor's pose is known, by who pushes them.
        self.num_held_back: Callable[[str], int] = lambda name: 0
        ops.set_num_threads(config.compute.num_threads)  # of the process: its pipelines share one pool
        self.config = config
        #: Configuration of each stream.
        self.streams = {stream.name: stream for stream in config.streams()}
        self.ledger = {name: Account() for name in self.streams}
        #: Counts targets: received when due, used when its frame left, dropped with a reason.
        self.targets = Account()
        self._grids = Grids(config.grids)
        #: Points of each stream, and each grid, that no voxel took, by reason.
        self.points_dropped: dict[str, dict[str, int]] = {name: {} for name in (*self.streams, *self._grids.names)}
        #: By stream, frames with points of it, and no voxel.
        self.without_voxels = dict.fromkeys(self.streams, 0)
        self.without_depth = WithoutDepth(self.streams)
        #: By stream in a grid, frames that are without its points: it had none that was near enough.
        self.left_out = dict.fromkeys(self._grids.sources, 0)
        self._poses = SensorPoses()
        self._streams = make_streams(config, self._poses)
        #: By depth camera that is registered to a camera: takes the pose of a frame of it in that camera's.
        self.registrations = {n: s.registration for n, s in self._streams.items() if s.registration is not None}
        self._motion_sources = {stream.motion_source for stream in config.streams()}
        self._aligner = Aligner(config, self.ledger, self.targets, self._refuse, self._observer)
        #: By stream, targets that gave up on it, though a sample may have been near enough to be valid.
        self.given_up = dict.fromkeys(self.streams, 0)
        #: By stream, samples that were used though they are damaged: not valid in the frames that hold them.
        self.damaged = dict.fromkeys(self.streams, 0)
        #: By reason, the stamp of the last target that was dropped for it, ns.
        self.last_dropped_ns: dict[str, int] = {}
        self._ready: deque[Target] = deque()
        #: Whether frames are computed; where not, targets are passed over: what they teach is learned, and their
        #: samples count as used.
        self.computes = True
        self._sequence = 0
        self._failure: Exception | None = None  # to be raised by the next poll

    # --- what goes in

    def receive(self, name: str) -> None:
        """Announce a message of stream ``name``."""
        self.ledger[name].receive()

    def drop(self, name: str, reason: Reason) -> None:
        """End a message that was announced and cannot be pushed."""
        self.ledger[name].drop(reason)

    def push(self, name: str, sample: Sample) -> None:
        """Hand over the sample of a message that was announced; what cannot be used is counted as dropped.

        Its stamp is that of the message, which is corrected here (``StreamConfig.corrected_ns``).

        Raises:
            TypeError, ValueError: see ``check_sample``; it is counted as dropped ``internal_error``.
        """
        stream = self._streams[name]
        try:
            check_sample(sample, stream.kinds)
            self._check_located(name, sample)
            if (stamp_ns := self.streams[name].corrected_ns(sample.stamp_ns)) != sample.stamp_ns:
                sample = restamped(sample, stamp_ns)
            sample = stream.admit(sample)
        except DataError as error:
            self._refuse(name, error.reason, str(error))
            return
        except Exception:
            self.drop(name, Reason.INTERNAL_ERROR)
            raise
        self._aligner.push(name, sample)
        self._queue_ready()

    def set_pose(self, name: str, frame_id: str, matrix: torch.Tensor) -> None:
        """State the pose ``[4, 4] float32`` of the sensor frame ``frame_id`` of stream ``name`` in the target frame.

        Raises:
            DataError: ``no_transform``: the stream has come in too many frames.
            TypeError, ValueError: ``matrix`` is no pose.
        """
        self._poses.set(name, frame_id, matrix)

    def set_camera_info(self, name: str, info: CameraInfo) -> None:
        """State the calibration of camera ``name``, and the name of its frame, from here on."""
        self._streams[name].calibrate(info)
        for registration in self.registrations.values():
            if registration.camera == name:
                registration.calibrate_camera(info)

    def needs_pose(self, name: str) -> bool:
        """Whether samples of stream ``name`` are brought into the target frame, or give the motion of such ones."""
        return self.streams[name].is_located or name in self._motion_sources

    def has_pose(self, name: str, frame_id: str) -> bool:
        """Whether samples of stream ``name`` in ``frame_id`` can be brought into the target frame."""
        stream, target = self.streams[name], self.config.target_frame
        if self._poses.get(stream, frame_id) is not None:
            return True
        return target == frame_id != '' or (target == '' and stream.is_located)

    def _check_located(self, name: str, sample: Sample) -> None:
        """Refuse, by ``DataError``, a sample that must be brought into the target frame and cannot be."""
        frame_id = self.streams[name].mounted_frame(sample)
        has_own = not isinstance(sample, VectorSample) and sample.pose is not None
        if self.needs_pose(name) and not has_own and not self.has_pose(name, frame_id):
            raise unknown_pose(name, frame_id, self.config.target_frame)

    def clock_jumped(self, now_ns: int) -> None:
        """State that the ROS clock was set to ``now_ns``; starts a new epoch if that is before the stamps."""
        self._aligner.clock_jumped(now_ns)

    def give_up(self) -> None:
        """Stop waiting: nothing more comes. As many waiting targets as there is room for are taken as they are.

        Once none waits, samples that were set aside because their stamps are far from the others are taken or refused.
        """
        self._queue_ready(give_up=True)
        if not self._aligner.waiting:
            self._aligner.conclude()
            self._queue_ready(give_up=True)

    def clear(self, reason: Reason) -> None:
        """Drop everything that is held, samples and targets alike, for ``reason``."""
        while self._ready:
            self._drop_target(self._ready.popleft(), reason)
        self._aligner.clear(reason)

    def _refuse(self, name: str, reason: Reason, message: str) -> None:
        self.drop(name, reason)
        self.on_refused(name, reason, message)

    def _queue_ready(self, *, give_up: bool = False) -> None:
        """Move targets that became ready to the bounded queue, at once: what they pick must not depend on ``poll``."""
        while (target := self._aligner.pop_ready(give_up=give_up)) is not None:
            self._observer.ready(target)
            for name in target.given_up:
                self.given_up[name] += 1
            missing = self._missing(target)
            if missing is not None:
                self._drop_target(target, Reason.MISSING.of_stream(missing))
                continue
            self._ready.append(target)
            self._prepare(target)
            if len(self._ready) > self.config.backpressure.max_ready:
                self._drop_target(self._ready.popleft(), Reason.OVERRUN)
            elif give_up and len(self._ready) == self.config.backpressure.max_ready:
                return

    def _prepare(self, target: Target) -> None:
        if not self.computes:
            return
        for name, stream in self._streams.items():
            stream.prepare(target.picks[name])

    def _missing(self, target: Target) -> str | None:
        return next((n for n, s in self.streams.items() if s.required and not target.picks[n].valid), None)

    def _drop_target(self, target: Target, reason: str) -> None:
        target.close(reason)
        self.targets.drop(reason)
        self.last_dropped_ns[str(reason)] = target.stamp_ns
        self._observer.dropped(target.stamp_ns, reason)

    # --- what can be seen

    @property
    def num_ready(self) -> int:
        """Ready targets that wait for ``poll``."""
        return len(self._ready)

    @property
    def epoch(self) -> int:
        """Number of jumps of time so far."""
        return self._aligner.epoch

    @property
    def keep_every(self) -> int:
        """One target in this many is kept, the others are dropped ``thinned``."""
        return self._aligner.keep_every

    @keep_every.setter
    def keep_every(self, value: int) -> None:
        self._aligner.keep_every = value

    def num_held(self, name: str) -> int:
        """Samples of a stream that are held, unused: counted one by one, to check the ledger against."""
        entries = set(self._aligner.buffers[name])
        for target in self._ready:
            entries.update(target.picks[name].entries)
            for moved, readings in target.motion.items():
                entries.update(readings if self.streams[moved].motion_source == name else ())
        num_before = self._aligner.num_aside(name) + self.num_held_back(name)
        return sum(not entry.settled for entry in entries) + num_before

    @property
    def num_held_targets(self) -> int:
        """Targets that are due and neither used nor dropped: counted, to check their account against."""
        return len(self._aligner.waiting) + len(self._ready)

    @property
    def jumps(self) -> dict[str, Jumps]:
        """How often the stamps of each stream have jumped, and those of the ROS clock (``ROS_CLOCK``)."""
        return self._aligner.jumps

    @property
    def clocks(self) -> Clocks:
        """The stamps of the streams in this epoch, and how they advance."""
        return self._aligner.clocks

    def odd_clocks(self) -> dict[str, int]:
        """By stream that is the odd one out, how far its stamps are ahead of the others' (negative: behind), ns."""
        return odd_clocks(self.clocks.readings(), self.config.sync.max_wait_ns)

    def behind(self) -> dict[str, int | None]:
        """Streams that the oldest target waits for, and by how much each falls short of it, ns (None: no sample)."""
        return self._aligner.shortfall(self._aligner.waiting[0]) if self._aligner.waiting else {}

    # --- what comes out

    def poll(self, limit: int | None = None) -> list[FusedFrame]:
        """Compute the frames of ready targets, oldest first, ``limit`` targets at the most.

        An exception that nothing foresees drops its target as ``internal_error`` and is raised; where frames were
        computed before it, these are returned, and it is raised by the next call.
        """
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        frames: list[FusedFrame] = []
        for _ in range(len(self._ready) if limit is None else min(limit, len(self._ready))):
            target = self._ready.popleft()
            try:
                with observed(self._streams, target):
                    if not self.computes:
                        self._pass_over(target)
                        continue
                    self._prepare(target)  # what had no room when the target became ready
                    frame = self._conclude(target, self._compute_on_any_device(target))
            except Exception as error:
                self._drop_target(target, Reason.INTERNAL_ERROR)
                if not frames:
                    raise
                self._failure = error
                break
            if frame is not None:
                frames.append(frame)
        return frames

    def _pass_over(self, target: Target) -> None:
        """End a target as if its frame had been computed, as far as it is known what would have come of it."""
        lacking = (name for name, stream in self._streams.items() if stream.config.required and stream.lacks(target))
        if (lost := next(lacking, None)) is not None:
            self._drop_target(target, Reason.MISSING.of_stream(lost))
            return
        left_out = self._grids.left_out(target)
        moved = (stream for name, stream in self._streams.items() if name not in left_out)
        motion = [entry for stream in moved for entry in stream.motion_of(target)]
        target.close(used=True, motion=motion, left_out=left_out)
        self.targets.use()

    def device_memory(self) -> dict[str, int]:
        """Return bytes of the device's memory (see ``Device.memory``); a GPU that cannot give them has failed."""
        device = self.device
        try:
            return device.memory()
        except Exception as error:
            self._degrade(device, error)
        return self.device.memory()

    def _compute_on_any_device(self, target: Target) -> FrameDraft:
        """Compute a target on the device; where that fails, on the CPU."""
        device = self.device
        try:
            return self._compute(target)
        except Exception as error:
            self._degrade(device, error)
        return self._compute(target)

    def _degrade(self, device: Device, error: Exception) -> None:
        """Leave a device that has failed, which is not computed on again; raises an error that is not the device's."""
        if not device.has_failed(error):
            raise error
        device.close()
        self.device_fault = f'{device} failed: {one_line(error)}'
        self.device = Device(self.device_fault)
        self.on_degraded(self.device_fault)

    def _compute(self, target: Target) -> FrameDraft:
        """Compute a target; it changes nothing but the draft, so that it can be done again."""
        draft = FrameDraft()
        with suppress(RequiredStreamMissing):  # the draft says why there is no frame
            self._fill(draft, target, self.device)
        return draft

    def _fill(self, draft: FrameDraft, target: Target, device: Device) -> None:
        jobs = self._grids.jobs({name: stream.job(target, draft) for name, stream in self._streams.items()}, draft)
        device.begin_frame()
        for job in jobs:  # one stream computes while the next one's bytes are on their way
            job.upload(device)
            job.launch(device)
        device.synchronize(draft.voxels)
        for job in jobs:
            job.collect(device)
        if self._on_host():
            draft.bring_to_host()
        draft.latency_ns.update(device.stage_ns())

    def _conclude(self, target: Target, draft: FrameDraft) -> FusedFrame | None:
        """Count what became of a target, and make its frame if it has one."""
        for name, (reason, message) in draft.refused.items():
            for entry in target.picks[name].entries:
                entry.drop(reason)
            self.on_refused(name, reason, message)
        if draft.lost is not None:
            self._drop_target(target, draft.lost)
            return None
        for name, dropped in draft.points_dropped.items():
            totals = self.points_dropped[name]
            self.points_dropped[name] = {reason: totals.get(reason, 0) + n for reason, n in dropped.items()}
        for name in draft.without_voxels:
            self.without_voxels[name] += 1
        self.without_depth.take(draft.without_depth)
        for name in draft.left_out:
            self.left_out[name] += 1
        self._count_damaged(target, draft)
        frame = frame_of(target, draft, self.config, self._streams, self._sequence)
        self._sequence += 1
        target.close(used=True, motion=draft.motion, left_out=draft.left_out)
        self.targets.use()
        self._observer.used(frame, draft.scans)
        return frame

    def _count_damaged(self, target: Target, draft: FrameDraft) -> None:
        """Count the damaged samples of a frame, each with the first frame that uses it."""
        for name, message in draft.damaged.items():
            if any(not entry.settled for entry in target.picks[name].entries):
                self.damaged[name] += 1
                self.on_damaged(name, message)
