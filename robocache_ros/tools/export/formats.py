# SPDX-License-Identifier: Apache-2.0
"""Makes the writer of a format; what a format needs is imported where it is asked for."""

from __future__ import annotations

import importlib
from pathlib import Path

from robocache_core.config import PipelineConfig
from robocache_ros.parameters import NodeConfig
from robocache_ros.tools.export.names import FORMATS
from robocache_ros.tools.export.writer import SetWriter, UnusableError


def make_writer(name: str, folder: Path, config: PipelineConfig, node: NodeConfig) -> SetWriter:
    """Make the writer of a format.

    Raises:
        UnusableError: a library that it needs is not installed, or the configuration does not fit it.
    """
    module, kind = FORMATS[name]
    try:
        imported = importlib.import_module(f'robocache_ros.tools.export.{module}')
    except ModuleNotFoundError as error:
        raise UnusableError(f'{name} needs {error.name}: pip install robocache_ros[export]') from error
    writer: SetWriter = getattr(imported, kind)(folder, config, node)
    return writer
