# SPDX-License-Identifier: Apache-2.0
"""Tables of frames in Parquet files, as the library ``datasets`` reads them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from robocache_ros.tools.export.lerobot.features import Feature
from robocache_ros.tools.export.lerobot.limits import FILES_IN_CHUNK
from robocache_ros.tools.export.lerobot.pictures import as_file

Array = npt.NDArray[Any]

#: Path of a file without the suffix, below the folder of its kind.
PLACE = 'chunk-{chunk_index:03d}/file-{file_index:03d}'


def numbered(number: int) -> dict[str, int]:
    """Chunk and file of the ``number``-th file of a kind."""
    chunk, file = divmod(number, FILES_IN_CHUNK)
    return {'chunk_index': chunk, 'file_index': file}


def place_of(number: int) -> str:
    """``PLACE`` of the ``number``-th file of a kind."""
    return PLACE.format(**numbered(number))


class DataFile:
    """An open Parquet file, with a row group for each table.

    Args:
        path: of the file.
        features: its columns; videos have none.
    """

    def __init__(self, path: Path, features: Sequence[Feature]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._columns = [feature for feature in features if feature.dtype != 'video']
        schema = pa.schema([(feature.name, _type_of(feature)) for feature in self._columns])
        self._file = path.open('wb')
        self._writer = pq.ParquetWriter(self._file, schema, compression='snappy', use_dictionary=True)
        self._schema = schema

    def write(self, values: Mapping[str, Sequence[Array]]) -> None:
        """Append rows: of each feature, its values."""
        columns = [_column(feature, values[feature.name]) for feature in self._columns]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))

    @property
    def nbytes(self) -> int:
        """Bytes that are written so far."""
        return self._file.tell()

    def close(self) -> None:
        """Write what readers need to open it."""
        self._writer.close()
        self._file.close()


def _type_of(feature: Feature) -> pa.DataType:
    if feature.dtype == 'image':
        return pa.struct([('bytes', pa.binary()), ('path', pa.string())])
    kind = pa.from_numpy_dtype(np.dtype(feature.dtype))
    if feature.shape == (1,):
        return kind
    if len(feature.shape) == 1:
        return pa.list_(kind, feature.shape[0])
    for _ in feature.shape:
        kind = pa.list_(kind)
    return kind


def _column(feature: Feature, values: Sequence[Array]) -> pa.Array:
    kind = _type_of(feature)
    if feature.dtype == 'image':
        return pa.array([{'bytes': as_file(feature, image), 'path': None} for image in values], kind)
    stacked = np.stack(values)
    flat = pa.array(stacked.reshape(-1))
    if feature.shape == (1,):
        return flat
    if len(feature.shape) == 1:
        return pa.FixedSizeListArray.from_arrays(flat, feature.shape[0])
    for axis in reversed(range(1, stacked.ndim)):
        rows = int(np.prod(stacked.shape[:axis]))
        offsets = np.arange(rows + 1, dtype=np.int32) * stacked.shape[axis]
        flat = pa.ListArray.from_arrays(pa.array(offsets), flat)
    return flat


def read_column(folder: Path, name: str) -> Array:
    """Return a column of numbers of all Parquet files below ``folder``, ``[N]`` or ``[N, D]``."""
    parts = []
    for path in sorted(folder.glob('*/*.parquet')):
        column = pq.read_table(path, columns=[name])[name].combine_chunks()
        is_list = pa.types.is_fixed_size_list(column.type)
        values = np.asarray(column.flatten() if is_list else column)
        parts.append(values.reshape(len(column), -1) if is_list else values)
    return np.concatenate(parts)


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of plain values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), sink, compression='snappy')
    path.write_bytes(sink.getvalue())


def write_tasks(path: Path, tasks: Sequence[str]) -> None:
    """Write the table of tasks as pandas writes a frame whose index is called ``task``."""
    columns = [('task_index', 'int64', 'int64'), ('task', 'unicode', 'object')]
    metadata = {
        'index_columns': ['task'],
        'column_indexes': [],
        'columns': [
            {'name': name, 'field_name': name, 'pandas_type': kind, 'numpy_type': numpy, 'metadata': None}
            for name, kind, numpy in columns
        ],
        'pandas_version': '2.0.0',
    }
    table = pa.table({'task_index': pa.array(range(len(tasks)), pa.int64()), 'task': pa.array(tasks, pa.string())})
    pq.write_table(table.replace_schema_metadata({'pandas': json.dumps(metadata)}), path)
