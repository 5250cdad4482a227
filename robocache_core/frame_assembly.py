# SPDX-License-Identifier: Apache-2.0
"""A fused frame of what the jobs of its target have computed, and of what its samples say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from robocache_core.config import PipelineConfig
from robocache_core.frame import FusedFrame

if TYPE_CHECKING:
    from robocache_core.streams.base import FrameDraft, Stream
    from robocache_core.target import Target


def frame_of(
    target: Target, draft: FrameDraft, config: PipelineConfig, streams: Mapping[str, Stream[Any]], sequence: int
) -> FusedFrame:
    """Return the frame of a target whose draft is whole; tensors come in the order of the streams, then of the grids.

    Args:
        target: what was picked.
        draft: what was computed of it.
        config: of the pipeline.
        streams: by name.
        sequence: number of the frame.
    """
    configs = {stream.name: stream for stream in config.streams()}
    names = (*configs, *(grid.name for grid in config.grids))
    picked = ((name, target.picks[name].entries) for name in configs if name not in draft.left_out)
    return FusedFrame(
        stamp_ns=target.stamp_ns,
        epoch=target.epoch,
        sequence=sequence,
        frame_id=config.target_frame or _frame_id(target, config),
        tensors={key: tensor for name in names for key, tensor in draft.tensors[name].items()},
        valid={name: draft.valid[name] for name in names},
        age_ns={name: target.stamp_ns - entries[-1].sample.stamp_ns for name, entries in picked if entries},
        latency_ns=draft.latency_ns,
        given_up=target.given_up,
        damaged=tuple(draft.damaged),
        columns={name: stream.columns for name, stream in configs.items() if stream.columns},
        stamped_by_arrival=tuple(name for name, stream in configs.items() if stream.stamped_by_arrival),
        stamp_offset_ns={name: s.stamp_offset_ns for name, s in configs.items() if s.stamp_offset_ns},
        views={name: stream.view for name, stream in streams.items() if stream.view is not None},
    )


def _frame_id(target: Target, config: PipelineConfig) -> str:
    """Frame of the samples that are located, which have no other frame to go to; without such streams, of any."""
    streams = list(config.streams())
    picks = [target.picks[s.name].entries for s in [s for s in streams if s.is_located] or streams]
    return next((entries[0].sample.frame_id for entries in picks if entries), '')
