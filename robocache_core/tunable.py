# SPDX-License-Identifier: Apache-2.0
"""The machinery of a tunable: a dataclass's field with its default, unit, range and meaning, and its check."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from robocache_core.text import printable, shown

#: Greatest time that a tunable without a bound may have, ns, 32 years: sums with a stamp stay in 64 bits.
LONGEST_NS = 10**18

#: Most bytes of a tensor in a frame: what a payload and the devices of robots can hold.
MOST_BYTES = 1 << 31


class ConfigError(ValueError):
    """A tunable outside its range; the message names the parameter, the value and what is allowed."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


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


def parameter_name(field: str) -> str:
    """Return the name of the tunable in ``field``, which has an underscore behind it where Python reserves the name."""
    return field.removesuffix('_')


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is wrong with a value: the ``element`` (None: the number of elements), and the ``rule`` it breaks."""

    element: Any
    rule: str


def bounds(meta: Mapping[str, Any], scale: int = 1) -> tuple[float | None, float | None]:
    """Return the least and the greatest value of a tunable, None where there is none, divided by ``scale``."""
    low, high = meta['low'], meta['high']
    if scale == 1:
        return low, high
    return None if low is None else low / scale, None if high is None else high / scale


def find_fault(
    elements: Sequence[Any],
    meta: Mapping[str, Any],
    *,
    may_be_empty: bool,
    scale: int = 1,
    show: Callable[[float], str] = str,
) -> Fault | None:
    """Compare a value with the range of its tunable; the one check of all configurations and parameters.

    Args:
        elements: those of an array, or the value alone.
        meta: the tunable's metadata.
        may_be_empty: whether an array of a fixed length may have no element at all.
        scale: divides the bounds, for a value in another unit than the tunable's.
        show: formats a bound.
    """
    if meta['length'] is not None and len(elements) not in (meta['length'], 0 if may_be_empty else -1):
        return Fault(None, f'needs {meta["length"]} elements')
    low, high = bounds(meta, scale)
    for element in elements:
        if meta['choices'] and element not in meta['choices']:
            return Fault(element, f'must be one of {", ".join(meta["choices"])}')
        if isinstance(element, float) and not math.isfinite(element):
            return Fault(element, 'must be finite')
        if low is not None and element < low:
            return Fault(element, f'must be at least {show(low)} {meta["unit"]}'.rstrip())
        if high is not None and element > high:
            return Fault(element, f'must be at most {show(high)} {meta["unit"]}'.rstrip())
        if meta['unit'] == 's' and high is None and abs(element) * scale > LONGEST_NS:
            return Fault(element, f'must be within {show(LONGEST_NS / scale)} s')
    return None


def check_tunables(config: Any, prefix: str = '') -> None:
    """Raise ``ConfigError`` for the first tunable of a config dataclass that is outside its declared range."""
    for item in dataclasses.fields(config):
        if not item.metadata:
            continue
        value = getattr(config, item.name)
        elements = value if isinstance(value, tuple) else (value,)
        fault = find_fault(elements, item.metadata, may_be_empty=item.default == ())
        if fault is not None:
            culprit = value if fault.element is None else fault.element
            raise ConfigError(f'{prefix}{parameter_name(item.name)} = {shown(culprit)}: {fault.rule}')


def check_bytes_of(name: str, shape: tuple[int, ...], itemsize: int) -> None:
    """Raise ``ConfigError`` where a tensor of a frame would be too large; ``name``: what it is."""
    nbytes = math.prod(shape) * itemsize
    if nbytes > MOST_BYTES:
        raise ConfigError(
            f'{name}: the result {list(shape)} would take {nbytes / 2**30:.1f} GiB, must be at most '
            f'{MOST_BYTES / 2**30:.0f} GiB'
        )


class Checked:
    """Checks its tunables when made; ``check`` holds what one range cannot say."""

    def __post_init__(self) -> None:
        prefix = f'{self.name}.' if hasattr(self, 'name') else ''
        check_tunables(self, prefix)
        self.check(prefix)

    def check(self, prefix: str) -> None:
        """Raise ``ConfigError`` where values do not fit each other."""
