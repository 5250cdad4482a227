# SPDX-License-Identifier: Apache-2.0
"""Where the node's frames are traced to: an OpenTelemetry collector, as the parameters say."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from robocache_core.text import shown
from robocache_core.tunable import ConfigError
from robocache_ros.clock import Clock
from robocache_ros.event_log import EventLog
from robocache_ros.events import Event
from robocache_ros.metrics import Metrics
from robocache_ros.parameters import TracingConfig

if TYPE_CHECKING:
    from robocache_ros.spans import FrameTracer

#: What a collector adds to its address for traces.
PATH = '/v1/traces'


def open_tracer(config: TracingConfig, name: str, metrics: Metrics, log: EventLog, clock: Clock) -> FrameTracer:
    """Export the frames of node ``name`` until the tracer that is returned is closed.

    A collector that is not there is no error: what it does not take is counted and logged.

    Raises:
        ConfigError: the endpoint is no URL, or OpenTelemetry, which only this needs, cannot be imported.
    """
    setting = f'tracing.otlp_endpoint = {shown(config.otlp_endpoint)}'
    endpoint = _url(config.otlp_endpoint)
    if endpoint is None:
        raise ConfigError(f'{setting}: must be like http://127.0.0.1:4318, or empty to trace nothing')
    try:
        from robocache_ros.spans import FrameTracer, otlp_exporter
    except ImportError as error:
        remedy = 'pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http; empty needs neither'
        raise ConfigError(f'{setting}: OpenTelemetry cannot be imported ({error}): {remedy}') from error

    def on_lost(num_frames: int, why: str) -> None:
        metrics.untraced(num_frames)
        log.emit(Event.FRAMES_UNTRACED, num_frames=num_frames, endpoint=endpoint, detail=why)

    tracer = FrameTracer(otlp_exporter(endpoint), name, clock, on_lost)
    log.emit(Event.TRACING, endpoint=endpoint)
    return tracer


def _url(given: str) -> str | None:
    """The URL of a collector's traces; None where it is none."""
    try:
        parts = urlsplit(given)
        is_url = parts.scheme in ('http', 'https') and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    if not is_url or not given.isprintable() or ' ' in given or parts.username or parts.password:
        return None
    return given if parts.path.strip('/') else given.rstrip('/') + PATH
