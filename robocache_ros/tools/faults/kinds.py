# SPDX-License-Identifier: Apache-2.0
"""The kinds of faults, one row each, and their arguments as the command line has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robocache_core.text import shown
from robocache_core.tunable import ConfigError
from robocache_core.units import MS, SECOND
from robocache_ros.parameter_spec import Spec, tunables
from robocache_ros.tools.faults import contents, images, stamps, transport
from robocache_ros.tools.faults.fault import Fault
from robocache_ros.tools.faults.transport import Drop, Loop


@dataclass(frozen=True)
class Kind:
    """What a fault is in a sentence, its class, and the defaults that are its own."""

    sentence: str
    make: type[Fault] | type[Loop]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self) -> dict[str, Spec]:
        """Return its arguments by name."""
        return {spec.name: spec for spec in tunables(self.make(**self.defaults))}


KINDS = {
    # The way to the recorder.
    'drop': Kind('messages do not arrive', Drop, {'share': 0.1}),
    'pause': Kind('a sensor is silent for a while', Drop, {'from_ns': SECOND, 'until_ns': 2 * SECOND}),
    'rate': Kind('a sensor slows down', transport.KeepEvery, {'from_ns': SECOND}),
    'duplicate': Kind('messages arrive twice', transport.Duplicate, {'share': 0.1}),
    'delay': Kind('messages arrive late', transport.Delay),
    'stall': Kind(
        'messages are held back, and arrive together', transport.Stall, {'from_ns': SECOND, 'until_ns': 2 * SECOND}
    ),
    'reorder': Kind('messages arrive behind later ones', transport.Delay, {'share': 0.1, 'by_ns': 150 * MS}),
    'restart': Kind(
        'a publisher dies and comes back; what it latches is sent again',
        transport.Restart,
        {'from_ns': SECOND, 'until_ns': 2 * SECOND},
    ),
    'truncate': Kind('messages are cut short', transport.Truncate, {'share': 0.1}),
    'flip': Kind('bits of messages are flipped', transport.Flip, {'share': 0.1}),
    'loop': Kind('the recording begins again', Loop),
    # Clocks and headers.
    'skew': Kind('the clock of a sensor is off', stamps.Skew),
    'tai': Kind('stamps are in TAI, 37 s ahead', stamps.Skew, {'by_ns': stamps.TAI_NS}),
    'jump': Kind('a clock is set from an instant on', stamps.Skew, {'by_ns': -5 * SECOND, 'from_ns': SECOND}),
    'stray': Kind('a stamp now and then is far off', stamps.Skew, {'by_ns': 60 * SECOND, 'share': 0.02}),
    'drift': Kind('a clock runs fast or slow', stamps.Drift),
    'nanosec': Kind('the nanoseconds of a stamp are 10^9 or more', stamps.Nanoseconds, {'share': 0.1}),
    'zero_stamp': Kind('stamps are not set', stamps.ZeroStamp, {'share': 0.1}),
    'frame_id': Kind('a sensor is in another coordinate frame', stamps.FrameId, {'from_ns': SECOND}),
    # What messages hold.
    'nan': Kind('readings, or points, are NaN', contents.NotFinite, {'share': 0.1}),
    'empty': Kind('clouds without points, images without pixels', contents.Empty, {'share': 0.1}),
    'wrong_unit': Kind('values are in another unit', contents.WrongUnit),
    'layout': Kind('the fields of clouds are elsewhere, or one is gone', contents.Layout, {'from_ns': SECOND}),
    'encoding': Kind('images have another encoding', images.Encoding, {'from_ns': SECOND}),
    'resolution': Kind('images have another size', images.Resolution, {'from_ns': SECOND}),
    # Transforms.
    'tf_absent': Kind('TF does not come', transport.DropTransforms),
    'tf_late': Kind('TF comes late', transport.DelayTransforms, {'by_ns': 2 * SECOND}),
}


def fault_of(text: str) -> Fault | Loop:
    """Return the fault that ``kind`` or ``kind:name=value,name=value`` describes.

    Raises:
        ConfigError: there is no such kind or argument, or a value is not allowed.
    """
    name, _, rest = text.partition(':')
    if name not in KINDS:
        raise ConfigError(f'{shown(name)} is no kind of fault: must be one of {", ".join(KINDS)}')
    kind, given = KINDS[name], {}
    arguments = kind.arguments()
    for part in filter(None, rest.split(',')):
        key, separator, value = part.partition('=')
        if key not in arguments or not separator:
            raise ConfigError(f'{name}: {shown(part)} is no argument: must be <name>=<value> of {", ".join(arguments)}')
        spec = arguments[key]
        try:
            given[spec.field] = spec.to_config(spec.check(_value(spec, value)))
        except ConfigError as error:
            raise ConfigError(f'{name}: {error}') from None
    try:
        return kind.make(**{**kind.defaults, **given})
    except ConfigError as error:
        raise ConfigError(f'{name}: {error}') from None


def _value(spec: Spec, text: str) -> Any:
    """Return what a text says as a value of a type; the text itself where it is none, which is then refused."""
    if spec.element is str:
        return text
    try:
        return spec.element(text)
    except ValueError:
        return text


def listing() -> str:
    """Return all kinds with their arguments, as ``--list`` prints them."""
    common = {spec.name: spec for spec in tunables(Drop())}
    lines = ['every kind but loop', *map(_line, common.values())]
    for name, kind in KINDS.items():
        arguments = kind.arguments()
        own = [
            f'{key}={spec.default}'
            for key, spec in arguments.items()
            if key in common and spec.default != common[key].default
        ]
        lines += ['', f'{name}: {kind.sentence}' + (f' ({", ".join(own)})' if own else '')]
        lines += [_line(spec) for key, spec in arguments.items() if key not in common]
    return '\n'.join(lines)


def _line(spec: Spec) -> str:
    limits = f'; {spec.constraint}' if spec.constraint else ''
    return f'    {spec.name}={spec.default}  {spec.description}{limits}'
