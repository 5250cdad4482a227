# SPDX-License-Identifier: Apache-2.0
"""One tunable as a ROS parameter: its name, type and unit there, and the checks of a value."""

from __future__ import annotations

import array
import dataclasses
import functools
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.parameter import Parameter

from robocache_core.text import shown
from robocache_core.tunable import ConfigError, bounds, find_fault, parameter_name
from robocache_core.units import SECOND

_TYPES = {bool: 'BOOL', int: 'INTEGER', float: 'DOUBLE', str: 'STRING'}
_WORDS = {bool: 'true or false', int: 'an integer', float: 'a number', str: 'a string'}


@dataclass(frozen=True)
class Spec:
    """One parameter.

    Attributes:
        name: in full.
        element: type of the value, or of an array's elements.
        is_array: whether it is an array.
        default: value as a parameter has it: seconds, a list.
        field: the tunable's name in its dataclass.
        meta: the tunable's metadata: description, unit, low, high, choices, length.
    """

    name: str
    element: type
    is_array: bool
    default: Any
    field: str
    meta: Mapping[str, Any]

    @property
    def type(self) -> Parameter.Type:
        """ROS type of the parameter."""
        return Parameter.Type[_TYPES[self.element] + ('_ARRAY' if self.is_array else '')]

    @property
    def scale(self) -> int:
        """Units of the tunable in one of the parameter: nanoseconds in a second, else 1."""
        return SECOND if self.field.endswith('_ns') else 1

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Least and greatest value, None where there is none, in the parameter's unit."""
        return bounds(self.meta, self.scale)

    @property
    def description(self) -> str:
        """Meaning and unit."""
        unit = f' [{self.meta["unit"]}]' if self.meta['unit'] else ''
        return f'{self.meta["description"]}{unit}'

    @property
    def constraint(self) -> str:
        """What is allowed, in words; empty where everything of the type is."""
        low, high = self.bounds
        words = []
        if self.meta['length'] is not None:
            words.append(f'{self.meta["length"]} elements' + (' or none' if self.default == [] else ''))
        if self.meta['choices']:
            words.append('one of ' + ', '.join(self.meta['choices']))
        words += [f'at least {low:g}'] if low is not None else []
        words += [f'at most {high:g}'] if high is not None else []
        return '; '.join(words)

    def descriptor(self) -> ParameterDescriptor:
        """Return the descriptor for tools, with a range where the value is one number that has both bounds."""
        descriptor = ParameterDescriptor(
            name=self.name,
            type=self.type.value,
            description=self.description,
            additional_constraints=self.constraint,
        )
        low, high = self.bounds
        if low is not None and high is not None and not self.is_array:
            if self.element is int:
                descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
            else:
                descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
        return descriptor

    def convert(self, value: Any) -> Any:
        """Return ``value`` in the parameter's type; an int is taken for a double, None for an empty array.

        Raises:
            ConfigError: another type.
        """
        if not self.is_array:
            return self._convert_element(value, value)
        if value is not None and not isinstance(value, (list, tuple, array.array)):
            raise self._bad(value, self._rule)
        return [self._convert_element(element, value) for element in value or ()]

    def check(self, value: Any) -> Any:
        """Return ``value`` as ``convert`` does, if it is inside its range.

        Raises:
            ConfigError: another type, or outside the range.
        """
        value = self.convert(value)
        elements = value if self.is_array else [value]
        may_be_empty = self.default == []
        fault = find_fault(elements, self.meta, may_be_empty=may_be_empty, scale=self.scale, show='{:g}'.format)
        if fault is not None:
            raise self._bad(value, fault.rule)
        return value

    def to_config(self, value: Any) -> Any:
        """Return a checked value as the dataclass has it: nanoseconds, a tuple."""
        if self.scale != 1:
            return round(value * self.scale)
        return tuple(value) if self.is_array else value

    def _convert_element(self, element: Any, value: Any) -> Any:
        if self.element is float and type(element) is int:
            return float(element)
        if type(element) is not self.element:
            raise self._bad(value, self._rule)
        return element

    @property
    def _rule(self) -> str:
        """Of which type the value must be, in words."""
        element = _WORDS[self.element]
        return f'must be an array, each {element}' if self.is_array else f'must be {element}'

    def _bad(self, value: Any, rule: str) -> ConfigError:
        return ConfigError(f'{self.name} = {shown(value)}: {rule}')


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def tunables(config: Any, prefix: str = '') -> Iterator[Spec]:
    """Yield the parameters of a config dataclass, whose values are the defaults."""
    hints = _hints(type(config))  # type: ignore[arg-type]  # a class is hashable, whatever mypy says
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if item.metadata:
            is_array = typing.get_origin(hints[item.name]) is tuple
            element = typing.get_args(hints[item.name])[0] if is_array else hints[item.name]
            name = f'{prefix}{parameter_name(item.name)}'
            if item.name.endswith('_ns'):
                name, element, value = name.removesuffix('_ns'), float, value / SECOND
            yield Spec(name, element, is_array, list(value) if is_array else value, item.name, item.metadata)
        elif dataclasses.is_dataclass(value):
            yield from tunables(value, f'{prefix}{item.name}.')
