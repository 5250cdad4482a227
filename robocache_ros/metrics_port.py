# SPDX-License-Identifier: Apache-2.0
"""The port on which Prometheus scrapes the node."""

from __future__ import annotations

from robocache_core.tunable import ConfigError
from robocache_ros.event_log import EventLog
from robocache_ros.events import Event
from robocache_ros.parameters import MetricsConfig
from robocache_ros.runtime import Runtime
from robocache_ros.scrape_server import ScrapeServer


def open_port(config: MetricsConfig, runtime: Runtime, log: EventLog) -> ScrapeServer:
    """Serve the state of a runtime until the server that is returned is closed.

    Raises:
        ConfigError: nothing can listen there, or prometheus_client, which only this needs, cannot be imported.
    """
    setting = f'metrics.port = {config.port}'
    try:
        from robocache_ros.prometheus import CONTENT_TYPE, Exposition
    except ImportError as error:
        remedy = 'apt install python3-prometheus-client, or pip install prometheus-client; 0 needs neither'
        raise ConfigError(f'{setting}: prometheus_client cannot be imported ({error}): {remedy}') from error
    exposition = Exposition(runtime)
    try:
        server = ScrapeServer(
            config.address,
            config.port,
            exposition.text,
            CONTENT_TYPE,
            lambda: runtime.drops.fail('metrics', 'the metrics could not be read'),
        )
    except (OSError, UnicodeError) as error:
        why = str(error.strerror).partition(' (')[0] if isinstance(error, OSError) else 'that is no name of a host'
        where = f'{config.address}:{config.port}'
        raise ConfigError(f'{setting}: cannot listen on {where}: {why}; set another, or 0') from error
    log.emit(Event.METRICS_PORT, url=f'http://{config.address}:{config.port}/metrics')
    return server
