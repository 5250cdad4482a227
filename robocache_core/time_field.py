# SPDX-License-Identifier: Apache-2.0
"""Which field of a cloud holds the times of its points, in which unit, counted from what.

Drivers agree on none of it. The names of the fields say some; the values of one scan say the rest, since a scan lasts
10 ms to 1 s: only one unit makes its span so. What stays in doubt is refused with what was seen and what to set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robocache_core.deskew_config import DeskewConfig
from robocache_core.ledger import Reason
from robocache_core.samples import CloudLayout, DataError, LidarScan, PointField
from robocache_core.units import MS, SECOND

#: Nanoseconds of each unit that ``deskew.time_unit`` can name.
UNITS_NS = {'ns': 1, 'us': 1000, 'ms': MS, 's': SECOND}

#: Least and greatest duration of a scan, ns: a factor 100, where units are a factor 1000 apart.
SHORTEST_NS, LONGEST_NS = 10 * MS, SECOND

#: By how much the times of a scan may leave the duration that they should have, ns.
SLACK_NS = 2 * MS

#: Different times below which a scan is a fragment: its span shows no unit.
LEAST_TIMES = 16

_NAMES = {
    't', 'ts', 'dt', 'time', 'times', 'timestamp', 'timestamps', 'stamp', 'offsettime', 'timeoffset', 'toffset',
    'deltatime', 'timedelta', 'reltime', 'relativetime', 'pointtime', 'pointtimeoffset', 'pointtimestamp',
    'timestampoffset', 'offsettimestamp', 'firingtime', 'scantime',
}  # fmt: skip
_SUFFIXES = {
    'ns': 'ns', 'nsec': 'ns', 'nsecs': 'ns', 'nanos': 'ns', 'nanosec': 'ns', 'nanoseconds': 'ns',
    'us': 'us', 'usec': 'us', 'usecs': 'us', 'micros': 'us', 'microsec': 'us', 'microseconds': 'us',
    'ms': 'ms', 'msec': 'ms', 'msecs': 'ms', 'millis': 'ms', 'millisec': 'ms', 'milliseconds': 'ms',
    's': 's', 'sec': 's', 'secs': 's', 'seconds': 's',
}  # fmt: skip


@dataclass(frozen=True)
class TimeField:
    """What the raw values of a field mean: ``instant = origin + raw * unit``.

    Attributes:
        name: of the field.
        unit_ns: one raw unit, ns.
        is_absolute: the origin is that of the stamps; else it is the scan's stamp + ``origin_ns``.
        origin_ns: instant of raw value 0 minus the scan's stamp; 0 where absolute.
        begin_ns: begin of the scan minus its stamp: 0, or minus the duration of a scan.
    """

    name: str
    unit_ns: int
    is_absolute: bool
    origin_ns: int
    begin_ns: int

    def raw_at(self, stamp_ns: int, instant_ns: int) -> float:
        """Raw value of a point that a scan of stamp ``stamp_ns`` took at ``instant_ns``."""
        return (instant_ns if self.is_absolute else instant_ns - stamp_ns - self.origin_ns) / self.unit_ns


class _DoubtError(Exception):
    """Why a field cannot be read as times."""


def find_time_field(scan: LidarScan, config: DeskewConfig) -> TimeField:
    """Find the field of a scan that holds the times of its points, and what its values mean.

    Reads all values of the fields in question.

    A field with a fitting name is taken, or ``config.time_field``. Its unit is the one in its name (``t_us``), or the
    one that makes the scan last 10 ms to 1 s. Values in ``[0, scan_duration]`` count from the stamp at the start of the
    scan, those in ``[-scan_duration, 0]`` from the stamp at its end; those as near to the stamp itself are absolute.
    With ``time_reference`` ``end``, values from 0 on count from the start of a scan whose stamp is its end: that cannot
    be seen. Points that are not finite, or all zero as missing returns are, are not looked at.

    Raises:
        DataError: ``unknown_time_field``: it cannot be found; the message says what was seen and what to set.
    """
    candidates = _candidates(scan.layout, config)
    found, doubts = [], []
    for field, unit in candidates:
        try:
            found.append(_read_as_times(scan, field, unit, config))
        except _DoubtError as doubt:
            doubts.append(f"'{field.name}' ({field.dtype}) {doubt}")
    if len(found) == 1:
        return found[0]
    if found:
        seen = f'{" and ".join(repr(field.name) for field in found)} can both be it'
    elif doubts:
        seen = '; '.join(doubts)
    elif config.time_field != 'auto':
        seen = f"there is no field '{config.time_field}'"
    else:
        seen = 'no field has the name of a time'
    fields = ', '.join(f'{field.name} {field.dtype}' for field in scan.layout.fields)
    raise DataError(
        Reason.UNKNOWN_TIME_FIELD,
        f'the times of the points are not known: {seen}. The cloud has: {fields}. '
        'Set deskew.time_field, time_unit, time_reference and scan_duration.',
    )


def _candidates(layout: CloudLayout, config: DeskewConfig) -> list[tuple[PointField, str]]:
    """Fields that may hold times, each with the unit that settings or its name give it (else ``auto``)."""
    found = []
    for field in layout.fields:
        *tokens, last = re.findall(r'[A-Z]?[a-z0-9]+|[A-Z]+', field.name) or ['']
        base, unit = ''.join((*tokens, last)).lower(), 'auto'
        if tokens and last.lower() in _SUFFIXES:
            base, unit = ''.join(tokens).lower(), _SUFFIXES[last.lower()]
        if field.name == config.time_field or (config.time_field == 'auto' and base in _NAMES):
            found.append((field, unit if config.time_unit == 'auto' else config.time_unit))
    return found


def _read_as_times(scan: LidarScan, field: PointField, unit: str, config: DeskewConfig) -> TimeField:
    values = _values_of_returns(scan, field)
    if not values.size:
        raise _DoubtError('has no finite value at a point that is a return')
    low, high = float(values.min()), float(values.max())
    seen = f'is {low:.17g} to {high:.17g}'
    if field.dtype == 'float32' and _is_absolute_by_size(high, scan.stamp_ns, config):
        step = float(np.spacing(np.float32(abs(high))))
        raise _DoubtError(f'{seen}: a float32 cannot hold absolute time, its values there are {step:.3g} apart')
    unit_ns = UNITS_NS[unit] if config.time_unit != 'auto' else _unit_of_span(values, unit, seen)
    duration = config.scan_duration_ns
    relative = _begin(low * unit_ns, high * unit_ns, duration)
    absolute = _begin(low * unit_ns - scan.stamp_ns, high * unit_ns - scan.stamp_ns, duration)
    found = []
    if relative is not None and config.time_reference in ('auto', 'start' if relative == 0 else 'end'):
        found.append(TimeField(field.name, unit_ns, False, 0, relative))
    elif relative == 0 and config.time_reference == 'end':
        found.append(TimeField(field.name, unit_ns, False, -duration, -duration))
    if absolute is not None and config.time_reference in ('auto', 'absolute'):
        found.append(TimeField(field.name, unit_ns, True, 0, absolute))
    if len(found) == 1:
        return found[0]
    if found:
        raise _DoubtError(f'{seen}: relative to the stamp and absolute times look alike so near to 0')
    raise _DoubtError(f'{seen}: {_misfit(low * unit_ns, high * unit_ns, scan.stamp_ns, config)}')


def _values_of_returns(scan: LidarScan, field: PointField) -> npt.NDArray[np.float64]:
    """Finite values of ``field`` at the points that are returns: a missing one need not have a time."""
    axes = [_values(scan, scan.layout.field(axis)) for axis in 'xyz']
    total = np.abs(axes[0]) + np.abs(axes[1]) + np.abs(axes[2])
    values = _values(scan, field)
    times: npt.NDArray[np.float64] = values[np.isfinite(total) & (total > 0) & np.isfinite(values)]
    return times


def _values(scan: LidarScan, field: PointField) -> npt.NDArray[np.float64]:
    layout = scan.layout
    view: npt.NDArray[np.generic] = np.ndarray(
        (layout.height, layout.width),
        np.dtype(field.dtype).newbyteorder('>' if layout.is_bigendian else '<'),
        scan.data.numpy().data,
        field.offset,
        (layout.row_step, layout.point_step),
    )
    values: npt.NDArray[np.float64] = view.astype(np.float64).reshape(-1)
    return values


def _is_absolute_by_size(value: float, stamp_ns: int, config: DeskewConfig) -> bool:
    """Whether a value is within an hour of the stamp in some unit, and far from 0: what float32 makes of a time."""
    if config.time_reference != 'auto':
        return config.time_reference == 'absolute'
    near = (abs(value * unit - stamp_ns) <= 3600 * SECOND < stamp_ns for unit in UNITS_NS.values())
    return any(near)


def _unit_of_span(values: npt.NDArray[np.float64], unit: str, seen: str) -> int:
    if len(np.unique(values)) < LEAST_TIMES:
        raise _DoubtError(f'{seen}, fewer than {LEAST_TIMES} different values')
    units = UNITS_NS if unit == 'auto' else {unit: UNITS_NS[unit]}
    spans = {name: float(values.max() - values.min()) * unit_ns for name, unit_ns in units.items()}
    for name, span in spans.items():
        if SHORTEST_NS <= span <= LONGEST_NS:
            return UNITS_NS[name]
    spanned = ', '.join(f'{span / SECOND:.3g} s in {name}' for name, span in spans.items())
    raise _DoubtError(f'{seen}: that spans {spanned}, and a scan lasts 0.01 to 1 s')


def _begin(low_ns: float, high_ns: float, duration_ns: int) -> int | None:
    """Begin of the scan whose duration holds the times, all relative to its stamp, ns; None: they do not."""
    for begin in (0, -duration_ns):
        if begin - SLACK_NS <= low_ns and high_ns <= begin + duration_ns + SLACK_NS:
            return begin
    return None


def _misfit(low_ns: float, high_ns: float, stamp_ns: int, config: DeskewConfig) -> str:
    """Say why times (relative or absolute, ns) are neither from the scan's start nor to its end."""
    duration_s = config.scan_duration_ns / SECOND
    span_s = (high_ns - low_ns) / SECOND
    if span_s > duration_s + SLACK_NS / SECOND:
        return f'that spans {span_s:.4g} s, more than deskew.scan_duration = {duration_s:g} s'
    if config.time_reference != 'auto':
        return f'that does not fit deskew.time_reference = {config.time_reference}, stamp {stamp_ns / SECOND:.9f} s'
    offset_s = (low_ns - stamp_ns) / SECOND if abs(low_ns - stamp_ns) < abs(low_ns) else low_ns / SECOND
    kind = 'absolute' if abs(low_ns - stamp_ns) < abs(low_ns) else 'relative'
    return (
        f'as {kind} times they begin {offset_s:+.6g} s from the stamp {stamp_ns / SECOND:.9f} s and end '
        f'{offset_s + span_s:+.6g} s from it: the stamp is neither the start nor the end of the scan'
    )
