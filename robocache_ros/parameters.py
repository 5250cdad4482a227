# SPDX-License-Identifier: Apache-2.0
"""The node's parameters, made from the dataclasses of ``robocache_core.config``.

A tunable is declared once, there; its parameter has the same name, dotted by nesting, behind its stream's name
(``lidar.voxel.size``, ``imu.queue.depth``, ``sync.max_wait``). A tunable ``<x>_ns`` is the parameter ``<x>`` in float
seconds, a tuple an array. The same code reads a node and a params file.

What ROS makes hard is handled here: an integer is taken for a double, ``[]`` (which has no type in a params file) for
an empty array, and names that nothing declares, which rclpy ignores silently, are reported.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import difflib
import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from robocache_core.config import GROUPS, NAMED, LidarConfig, PipelineConfig
from robocache_core.frame import WAITS
from robocache_core.text import shown
from robocache_core.tunable import Checked, ConfigError, check_tunables, tunable
from robocache_core.units import SECOND
from robocache_ros import params_file
from robocache_ros.event_log import FORMATS
from robocache_ros.export_config import ExportConfig
from robocache_ros.parameter_spec import Spec, tunables
from robocache_ros.qos import check_overrides
from robocache_ros.rclpy_private import lifecycle_state, parameter_overrides


@dataclass(frozen=True)
class MetricsConfig(Checked):
    """Where Prometheus scrapes the node."""

    port: int = tunable(0, 'TCP port that serves /metrics; 0: none', low=0, high=65535)
    address: str = tunable('127.0.0.1', 'address that the port is opened on; what reaches it can read the metrics')


@dataclass(frozen=True)
class TracingConfig(Checked):
    """Where the traces of frames go."""

    otlp_endpoint: str = tunable('', 'URL of an OpenTelemetry collector (OTLP over HTTP); empty: frames are not traced')


@dataclass(frozen=True)
class LogConfig(Checked):
    """What the lines of the log are."""

    format: str = tunable(FORMATS[0], 'form of a line: text, or a JSON object', choices=FORMATS)
    timings_ns: int = tunable(
        0, 'time between two lines with how long the stages take; 0: none', unit='s', low=0, high=3600 * SECOND
    )


@dataclass(frozen=True)
class RecorderConfig(Checked):
    """The flight recorder."""

    seconds_ns: int = tunable(
        10 * SECOND, 'how far back the flight recorder goes; 0: none', unit='s', low=0, high=3600 * SECOND
    )
    folder: str = tunable('', "folder that its files are written to; empty: that of ROS's logs")


@dataclass(frozen=True)
class NodeConfig:
    """What the node does beside the pipeline."""

    autostart: bool = tunable(False, 'the node configures and activates itself')
    publish_voxels: bool = tunable(True, 'publish ~/voxels (PointCloud2) while someone subscribes')
    publish_images: bool = tunable(False, 'publish ~/image/<camera> (Image) while someone subscribes')
    diagnostics_period_ns: int = tunable(
        SECOND, 'time between two messages on /diagnostics', unit='s', low=SECOND // 100, high=3600 * SECOND
    )
    log: LogConfig = LogConfig()
    metrics: MetricsConfig = MetricsConfig()
    tracing: TracingConfig = TracingConfig()
    recorder: RecorderConfig = RecorderConfig()
    export: ExportConfig = ExportConfig()

    def __post_init__(self) -> None:
        check_tunables(self)


#: Which streams and grids there are, a tunable for each group; each has its tunables under its name.
StreamNames = dataclasses.make_dataclass(
    'StreamNames',
    [(group, tuple[str, ...], tunable((), f'names of the {group}; may be empty')) for group in NAMED],
    frozen=True,
)
# For the defaults beside the streams; a pipeline needs at least one stream.
_PIPELINE = PipelineConfig(lidars=(LidarConfig('lidar'),))
#: Names that a stream cannot have: parameters have them, or stages of a frame.
RESERVED = tuple(
    sorted(
        {spec.name.split('.')[0] for config in (StreamNames(), NodeConfig(), _PIPELINE) for spec in tunables(config)}
        | {'qos_overrides', 'use_sim_time', *WAITS}
    )
)


def declare(node: Node) -> None:
    """Declare every parameter; call once, in the node's constructor.

    Never raises for a bad override: that is kept for ``read`` to refuse, so the node stays, to be asked and corrected.
    Later changes are refused with a reason where the value is bad, or where a lifecycle node is not unconfigured.
    Streams that are named later get their parameters then.
    """
    for spec in tunables(StreamNames()):
        _declare(node, spec)
    _declare_streams(node)
    node.add_pre_set_parameters_callback(functools.partial(_on_pre_set, node))
    node.add_on_set_parameters_callback(functools.partial(_on_set, node))
    node.add_post_set_parameters_callback(functools.partial(_on_post_set, node))


def read(node: Node, warn: Callable[[str], None]) -> tuple[PipelineConfig, NodeConfig]:
    """Return the configuration that the node's parameters give; call in ``on_configure``.

    ``warn`` gets a line for each override that nothing declares (a typo, a stream that is not named).

    Raises:
        ConfigError: names the parameter in full, its value and what is allowed.
    """
    known = [spec.name for spec in _specs(_stream_names(node))]
    given = parameter_overrides(node)
    foreign = (name for name in given if name.startswith('qos_overrides.') or node.has_parameter(name))
    for line in _unknown(given.keys() - set(foreign), known):
        warn(line)
    check_overrides({name: parameter.value for name, parameter in given.items()})
    return _configure({name: node.get_parameter_or(name).value for name in known})


def autostart(node: Node) -> bool:
    """Return whether the node is to configure and activate itself.

    Raises:
        ConfigError: the parameter is no bool.
    """
    spec = next(spec for spec in tunables(NodeConfig()) if spec.field == 'autostart')
    return bool(spec.check(node.get_parameter_or(spec.name).value))


def log_format(node: Node) -> str:
    """Return the form of the lines of the log; that of the default where ``read`` will refuse the parameter."""
    given = node.get_parameter_or('log.format').value
    return given if given in FORMATS else FORMATS[0]


def from_dict(tree: Mapping[str, Any], warn: Callable[[str], None] | None = None) -> tuple[PipelineConfig, NodeConfig]:
    """``read`` for a dict as it stands under ``ros__parameters``, nested or dotted.

    ``warn`` gets a line for each unknown name; by default the log does.

    Raises:
        ConfigError: as ``read``.
    """
    values = dict(flatten(tree))
    known = [spec.name for spec in _specs(_names(values))]
    ours = {name for name in values if name != 'use_sim_time' and not name.startswith('qos_overrides.')}
    for line in _unknown(ours - set(known), known):
        (warn or logging.getLogger(__name__).warning)(line)
    return _configure(values)


def from_file(
    path: str | Path,
    node_name: str = '/preprocess',
    warn: Callable[[str], None] | None = None,
) -> tuple[PipelineConfig, NodeConfig]:
    """``from_yaml`` of what is in a params file.

    Raises:
        ConfigError, yaml.YAMLError, ValueError: as ``from_yaml``.
        OSError: it cannot be read.
    """
    return from_yaml(Path(path).read_bytes(), path, node_name, warn)


def from_yaml(
    content: bytes, path: str | Path, node_name: str = '/preprocess', warn: Callable[[str], None] | None = None
) -> tuple[PipelineConfig, NodeConfig]:
    """``read`` for the sections of a params file that a node of this full name would get (``/**`` and ``/*`` match).

    Args:
        content: of the file, which YAML decodes, whatever the locale.
        path: what messages call it.
        node_name: full name of the node.
        warn: as of ``read``.

    Raises:
        ConfigError: as ``read``, no section is for this node, or the node itself would refuse the file.
        yaml.YAMLError: the file is no YAML.
        ValueError: it has a date that there is not.
    """
    tree = yaml.safe_load(content)
    sections = params_file.matching(tree, node_name)
    if not sections:
        raise ConfigError(f'{path}: {params_file.unmatched(tree, node_name)}')
    merged: dict[str, Any] = {}
    for section in sections:
        merged |= dict(flatten(section))
    for name, value in merged.items():
        if isinstance(value, list) and {type(element) for element in value} == {int, float}:
            raise ConfigError(f'{name} = {shown(value)}: must have a point in every number, or ROS refuses the file')
    return from_dict(merged, warn)


def specs_of(tree: Mapping[str, Any]) -> dict[str, Spec]:
    """Return by its full name every parameter of a node that is configured by ``tree``, as ``from_dict`` takes it."""
    return {spec.name: spec for spec in _specs(_names(dict(flatten(tree))))}


def _specs(names: Any) -> Iterator[Spec]:
    """Yield every parameter of a node with these ``StreamNames``; a name that cannot be used has none."""
    for config in (StreamNames(), NodeConfig(), _PIPELINE):
        yield from tunables(config)
    for group, name in _grouped(names):
        if _is_usable(name):
            yield from tunables(NAMED[group](name), f'{name}.')


def _grouped(names: Any) -> Iterator[tuple[str, str]]:
    """Yield group and name of every stream and grid of ``StreamNames``."""
    for group in NAMED:
        yield from ((group, name) for name in getattr(names, group))


def _is_usable(name: str) -> bool:
    return name.isidentifier() and name not in RESERVED


def _names(values: Mapping[str, Any]) -> Any:
    """Return the ``StreamNames`` in ``values``; a bad value counts as the default (``_configure`` refuses it)."""
    found = {}
    for spec in tunables(StreamNames()):
        try:
            found[spec.field] = tuple(spec.convert(values.get(spec.name, spec.default)))
        except ConfigError:
            continue
    return StreamNames(**found)


def _changes(default: Any, prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a config dataclass: as in ``values``, by full name, else as in ``default``."""
    changes = {
        spec.field: spec.to_config(spec.check(values.get(spec.name, spec.default)))
        for spec in tunables(default, prefix)
        if '.' not in spec.name.removeprefix(prefix)
    }
    for item in dataclasses.fields(default):
        if dataclasses.is_dataclass(getattr(default, item.name)):
            changes[item.name] = _build(getattr(default, item.name), f'{prefix}{item.name}.', values)
    return changes


def _build(default: Any, prefix: str, values: Mapping[str, Any]) -> Any:
    """Return ``default`` with its ``_changes``.

    Raises:
        ConfigError: names the parameter in full.
    """
    changes = _changes(default, prefix, values)
    try:
        return dataclasses.replace(default, **changes)
    except ConfigError as error:  # a check of values against each other: nested dataclasses do not know their prefix
        text = str(error)
        raise ConfigError(text if text.startswith(prefix) else prefix + text) from None


def _configure(values: Mapping[str, Any]) -> tuple[PipelineConfig, NodeConfig]:
    names = _build(StreamNames(), '', values)
    for _, name in _grouped(names):
        if not _is_usable(name):
            raise ConfigError(
                f'stream name {name!r}: must be letters, digits and _, not start with a digit, '
                f'and be none of {", ".join(RESERVED)}'
            )
    named: dict[str, tuple[Any, ...]] = dict.fromkeys(NAMED, ())
    taken: set[str] = set()
    for group, name in _grouped(names):
        if name in taken:  # before its parameters are read, which would be those of two kinds
            raise ConfigError(f'stream name {name!r}: is used more than once')
        taken.add(name)
        config = _build(NAMED[group](name), f'{name}.', values)
        named[group] += (dataclasses.replace(config, topic=config.topic or f'/{name}') if group in GROUPS else config,)
    return PipelineConfig(**(_changes(_PIPELINE, '', values) | named)), _build(NodeConfig(), '', values)


def _unknown(names: set[str], known: list[str]) -> Iterator[str]:
    """Yield a line for each name that is no parameter, in order; one for all of a stream that is not named."""
    groups = {name.split('.')[0] for name in known}
    strays = collections.Counter(name.split('.')[0] for name in names if '.' in name)
    for name in sorted(names):
        stream = name.split('.')[0]
        if strays[stream] > 1 and stream not in groups:
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        hint = f"; did you mean '{near[0]}'?" if near else ''
        if not near and '.' in name and stream not in groups:
            hint = f': {_not_named(stream)}'
        if name in groups:
            hint = f": it is a section; its parameters are '{name}.…'"
        yield f"parameter '{name}' is unknown and has no effect{hint}"
    for stream in sorted(strays.keys() - groups):
        if strays[stream] > 1:
            yield f"{strays[stream]} parameters '{stream}.…' have no effect: {_not_named(stream)}"


def _not_named(stream: str) -> str:
    *most, last = NAMED
    return f"no stream '{stream}' is named in {', '.join(most)} or {last}"


def flatten(tree: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Yield the parameters of a nested configuration by their full names."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}', value


def _declare(node: Node, spec: Spec) -> None:
    if node.has_parameter(spec.name):
        return
    override = parameter_overrides(node).get(spec.name)
    raw = spec.default if override is None else override.value
    try:
        value = spec.check(raw)
    except ConfigError:
        # rclpy would raise for a wrong type or range, without saying what is allowed. As it is, `read` refuses it, and
        # a good value can be set.
        descriptor = ParameterDescriptor(description=spec.description, dynamic_typing=True)
        node.declare_parameter(spec.name, raw, descriptor, ignore_override=True)
        return
    if value == []:  # rclpy would take an empty list for a byte array
        node.declare_parameter(spec.name, spec.type, spec.descriptor(), ignore_override=True)
        node.set_parameters([Parameter(spec.name, spec.type, value)])
    else:
        node.declare_parameter(spec.name, value, spec.descriptor(), ignore_override=True)


def _stream_names(node: Node) -> Any:
    return _names({spec.name: node.get_parameter_or(spec.name).value for spec in tunables(StreamNames())})


def _declare_streams(node: Node) -> None:
    for spec in _specs(_stream_names(node)):
        _declare(node, spec)


def _on_pre_set(node: Node, parameters: list[Parameter]) -> list[Parameter]:
    """Convert parameters to the declared types: ``ros2 param set`` sends 1 for 1.0 and an untyped array for ``[]``."""
    specs = {spec.name: spec for spec in _specs(_stream_names(node))}
    converted = []
    for parameter in parameters:
        spec = specs.get(parameter.name)
        if spec is not None and parameter.type_ != Parameter.Type.NOT_SET:
            with contextlib.suppress(ConfigError):  # kept as it came, so that rclpy refuses its type
                parameter = Parameter(spec.name, spec.type, spec.convert(parameter.value))
        converted.append(parameter)
    return converted


def _on_set(node: Node, parameters: list[Parameter]) -> SetParametersResult:
    specs = {spec.name: spec for spec in _specs(_stream_names(node))}
    state = lifecycle_state(node)
    for parameter in parameters:
        spec = specs.get(parameter.name)
        if spec is None or node.get_parameter_or(spec.name).type_ == Parameter.Type.NOT_SET:
            continue  # not ours, or being declared
        try:
            spec.check(parameter.value)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if state != 'unconfigured':
            remedy = 'clean up first' if state == 'inactive' else 'deactivate and clean up first'
            reason = f'{spec.name} cannot be changed while {state}: {remedy}'
            return SetParametersResult(successful=False, reason=reason)
    return SetParametersResult(successful=True)


def _on_post_set(node: Node, parameters: list[Parameter]) -> None:
    if {parameter.name for parameter in parameters} & GROUPS.keys():
        _declare_streams(node)
