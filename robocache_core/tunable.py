# SPDX-License-Identifier: Apache-2.0
"""The machinery of a tunable: a dataclass's field with its default, unit, range and meaning, and its check."""

from __future__ import annotations

import dataclasses
import math
from typing import Any


class ConfigError(ValueError):
    """A tunable outside its range; the message names the parameter, the value and what is allowed."""


def tunable(
    default: Any,
    description: str,
    *,
    unit: str = '',
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    length: int | None = None,
) -> Any:
    """Declare a tunable: ``low``/``high`` bound a number (or each element), ``choices`` a string (or each element)."""
    return dataclasses.field(
        default=default,
        metadata={
            'description': description,
            'unit': unit,
            'low': low,
            'high': high,
            'choices': choices,
            'length': length,
        },
    )


def check_tunables(config: Any, prefix: str = '') -> None:
    """Raise ``ConfigError`` for the first tunable of a config dataclass that is outside its declared range."""
    for item in dataclasses.fields(config):
        if not item.metadata:
            continue
        name, value, meta = f'{prefix}{item.name}', getattr(config, item.name), item.metadata
        elements = value if isinstance(value, tuple) else (value,)
        if meta['length'] is not None and len(elements) not in (meta['length'], 0 if item.default == () else -1):
            raise ConfigError(f'{name} = {value!r}: needs {meta["length"]} elements')
        for element in elements:
            if meta['choices'] and element not in meta['choices']:
                raise ConfigError(f'{name} = {element!r}: must be one of {", ".join(meta["choices"])}')
            if isinstance(element, float) and not math.isfinite(element):
                raise ConfigError(f'{name} = {element!r}: must be finite')
            if meta['low'] is not None and element < meta['low']:
                raise ConfigError(f'{name} = {element!r}: must be at least {meta["low"]} {meta["unit"]}'.rstrip())
            if meta['high'] is not None and element > meta['high']:
                raise ConfigError(f'{name} = {element!r}: must be at most {meta["high"]} {meta["unit"]}'.rstrip())


class Checked:
    """Checks its tunables when made; ``check`` holds what one range cannot say."""

    def __post_init__(self) -> None:
        prefix = f'{self.name}.' if hasattr(self, 'name') else ''
        check_tunables(self, prefix)
        self.check(prefix)

    def check(self, prefix: str) -> None:
        """Raise ``ConfigError`` where values do not fit each other."""
