# SPDX-License-Identifier: Apache-2.0
"""What a recording of Rerun holds, read by its own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


class Entity:
    """The rows of an entity: ``stamp_ns``, and the values of each component, in the order of the rows."""

    def __init__(self) -> None:
        self.stamp_ns: list[int] = []
        self.values: dict[str, list[Any]] = {}

    def column(self, component: str) -> list[np.ndarray]:
        return [np.array(value) for value in self.values[component]]


def read(path: Path) -> dict[str, Entity]:
    """The entities of a file, by their paths, without what Rerun notes of itself."""
    from rerun.chunk import RrdReader

    found: dict[str, Entity] = {}
    for chunk in RrdReader(path).stream().to_chunks():
        if chunk.entity_path.startswith('/__'):
            continue
        entity, batch = found.setdefault(chunk.entity_path, Entity()), chunk.to_record_batch()
        for name in batch.schema.names:
            column = batch.column(name)
            if name == 'stamp':
                entity.stamp_ns += column.cast('int64').to_pylist()
            elif ':' in name:
                entity.values.setdefault(name, []).extend(column.to_pylist())
    return found
