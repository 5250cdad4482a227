# SPDX-License-Identifier: Apache-2.0
"""The QoS that publishers offered while a bag was recorded, as the recorder wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

#: Values of rmw, which older recorders wrote, and their names, which newer ones write.
_BEST_EFFORT, _TRANSIENT_LOCAL = (2, 'best_effort'), (1, 'transient_local')


@dataclass(frozen=True)
class OfferedQos:
    """What one publisher offered.

    Attributes:
        depth: messages of its history.
        is_best_effort, is_latched: its reliability is best effort; its durability is transient local.
        profile: all of it, by the names of the recorder.
    """

    depth: int
    is_best_effort: bool
    is_latched: bool
    profile: Mapping[str, Any] = field(compare=False, default_factory=dict)


def offered_qos(text: str) -> list[OfferedQos]:
    """Return what each publisher of a channel offered, of the YAML that the recorder wrote; none of what is no such."""
    try:
        return [
            OfferedQos(
                depth=int(profile['depth']),
                is_best_effort=profile['reliability'] in _BEST_EFFORT,
                is_latched=profile['durability'] in _TRANSIENT_LOCAL,
                profile=profile,
            )
            for profile in yaml.safe_load(text) or ()
        ]
    except Exception:  # what a recorder wrote there is no reason to lose the topic
        return []
