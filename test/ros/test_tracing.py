# SPDX-License-Identifier: Apache-2.0
"""Frames as OpenTelemetry traces: what they say, where they go, and that a collector never holds the node up."""

import dataclasses
import http.server
import importlib.util
import sys
import threading

import pytest
from support import robot
from support.robot import LIDAR, SUCCESS, Robot
from support.runtime import FRONT, START_NS, cloud, make
from support.runtime import LIDAR as STREAM
from support.scrape import free_port

from robocache_core.config import PipelineConfig
from robocache_core.tunable import ConfigError
from robocache_core.units import MS
from robocache_ros import tracing
from robocache_ros.parameters import TracingConfig

HAS_OPENTELEMETRY = importlib.util.find_spec('opentelemetry') is not None
needs_opentelemetry = pytest.mark.skipif(
    not HAS_OPENTELEMETRY, reason='OpenTelemetry is not installed: pip install -e .[tracing]'
)
if HAS_OPENTELEMETRY:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from robocache_ros import spans

CONFIG = PipelineConfig(lidars=(STREAM,), cameras=(dataclasses.replace(FRONT, required=False),))


def traced(exporter, lost):
    """A runtime whose frames are traced to ``exporter``, and the tracer."""
    bench = make(CONFIG)
    tracer = spans.FrameTracer(exporter, '/preprocess', bench.clock, lambda count, why: lost.append((count, why)))
    bench.runtime.worker.on_published = tracer.record
    return bench, tracer


def give(bench, *stamps_ms):
    """Put in clouds that each wait for 20 ms in the inbox, and 1.3 s for an image that does not come."""
    for ms in stamps_ms:
        bench.put('lidar', cloud(ms))
        bench.clock.advance(0.02)
        bench.work()
        bench.clock.advance(1.3)
        bench.work()


@needs_opentelemetry
def test_a_frame_is_a_span_with_one_for_each_stage():
    exporter, lost = InMemorySpanExporter(), []
    bench, tracer = traced(exporter, lost)
    give(bench, 0, 100)
    tracer.close()
    (first, second), found = bench.frames, exporter.get_finished_spans()
    roots = [span for span in found if span.parent is None]
    assert [span.name for span in roots] == ['frame', 'frame']
    for frame, root in zip((first, second), roots, strict=True):
        ids = root.context.trace_id, root.context.span_id
        assert ids == spans.ids_of('/preprocess', frame)
        assert spans.traceparent('/preprocess', frame) == f'00-{ids[0]:032x}-{ids[1]:016x}-01'
        stages = {span.name: span for span in found if span.context.trace_id == ids[0] and span is not root}
        computed = [f'compute.{name}' for name in frame.latency_ns]
        assert set(stages) == {'wait', 'decode', 'align', 'compute', *computed, 'wait_for_publisher', 'publish'}
        for name, span in stages.items():
            within = stages['compute'] if name.startswith('compute.') else root
            assert span.parent.span_id == within.context.span_id
        durations = {name: span.end_time - span.start_time for name, span in stages.items()}
        assert (durations['wait'], durations['align']) == (20 * MS, 1300 * MS)
        assert [durations[name] for name in computed] == list(frame.latency_ns.values())
        assert root.end_time - root.start_time == 1320 * MS
        assert root.attributes == {
            'robocache.stamp_ns': frame.stamp_ns,
            'robocache.sequence': frame.sequence,
            'robocache.epoch': 0,
            'robocache.valid': ('lidar',),
            'robocache.invalid': ('front',),
            'robocache.given_up': ('front',),
            'robocache.damaged': (),
            'robocache.age_ns.lidar': 0,
        } | {f'robocache.age_ns.{name}': age for name, age in frame.age_ns.items()}
    assert first.stamp_ns == START_NS
    assert not lost


@needs_opentelemetry
def test_a_collector_that_holds_on_costs_whole_traces_and_no_frame(monkeypatch):
    monkeypatch.setattr(spans, 'MOST_WAITING', 40)
    monkeypatch.setattr(spans, 'BATCH', 8)
    monkeypatch.setattr(spans, 'CLOSE_S', 0.01)
    begun, go_on, taken = threading.Event(), threading.Event(), []

    class Holding(SpanExporter):
        def export(self, batch):
            begun.set()
            assert go_on.wait(30.0)
            taken.extend(batch)
            return SpanExportResult.SUCCESS

    lost = []
    bench, tracer = traced(Holding(), lost)
    give(bench, 0)
    assert begun.wait(30.0)
    give(bench, *range(100, 1100, 100))
    assert len(bench.frames) == 11
    tracer.close()  # though it still holds on
    (ending,) = (thread for thread in threading.enumerate() if thread.name == 'robocache-tracing-end')
    go_on.set()
    ending.join(30.0)
    roots = sum(span.parent is None for span in taken)
    assert lost == [(1, '40 spans wait for it')] * (11 - roots)
    assert 0 < roots < 11


@needs_opentelemetry
@pytest.mark.parametrize('raises', [False, True])
def test_traces_that_a_collector_refuses_are_counted_by_frame(raises):
    class Refusing(SpanExporter):
        def export(self, batch):
            if raises:
                raise RuntimeError('planted')
            return SpanExportResult.FAILURE

    lost = []
    bench, tracer = traced(Refusing(), lost)
    give(bench, 0, 100)
    tracer.close()
    assert sum(count for count, _ in lost) == 2
    assert {why for _, why in lost} == {'it cannot be reached, or refuses them'}


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes what an OTLP exporter sends."""

    def do_POST(self):
        request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers['Content-Length'])))
        self.server.requests.append((self.path, request))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args):
        pass


@needs_opentelemetry
def test_the_node_sends_its_frames_to_a_collector():
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Collector) as server:
        server.requests = []
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        with Robot(**LIDAR, tracing__otlp_endpoint=f'http://127.0.0.1:{server.server_port}') as live:
            live.bring_up()
            for ms in (0, 100, 200):
                live.deliver('lidar', robot.cloud(ms))
            live.until(lambda: len(live.frames) == 3, 'frames')
            name = live.node.get_fully_qualified_name()
            assert live.node.trigger_deactivate() == SUCCESS
            assert live.node.trigger_cleanup() == SUCCESS
            live.until(lambda: sum(len(frames_of(request)) for _, request in server.requests) == 3, 'traces')
        server.shutdown()
        serving.join()
    assert {path for path, _ in server.requests} == {'/v1/traces'}
    found = [span for _, request in server.requests for span in frames_of(request)]
    assert {(int.from_bytes(span.trace_id, 'big'), int.from_bytes(span.span_id, 'big')) for span in found} == {
        spans.ids_of(name, frame) for frame in live.frames
    }
    (resource,) = {str(group.resource) for _, request in server.requests for group in request.resource_spans}
    assert 'robocache' in resource
    assert name in resource


def frames_of(request):
    """The spans of frames in a request."""
    return [
        span
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
        if not span.parent_span_id
    ]


@needs_opentelemetry
def test_without_a_collector_frames_come_and_the_log_says_what_is_lost(capfd):
    endpoint = f'http://127.0.0.1:{free_port()}'
    with Robot(**LIDAR, tracing__otlp_endpoint=endpoint) as live:
        live.bring_up()
        live.deliver('lidar', robot.cloud(0))
        live.until(lambda: live.frames, 'a frame')
        metrics = live.node.runtime.metrics
        assert live.node.trigger_deactivate() == SUCCESS
        assert live.node.trigger_cleanup() == SUCCESS
        live.until(lambda: metrics.frames_untraced == 1, 'the count')
    said = capfd.readouterr().err
    assert f'1 frames are not traced to {endpoint}/v1/traces: it cannot be reached' in said
    assert 'Traceback' not in said


@pytest.mark.parametrize(
    'endpoint', ['nonsense', 'ftp://host', 'http://', 'http://user:secret@host', 'http://a b', 'http://h:0', 'http://[']
)
def test_an_endpoint_that_is_no_url_is_refused_with_it(endpoint):
    with pytest.raises(ConfigError, match=r'^tracing.otlp_endpoint = .*: must be like http://127.0.0.1:4318'):
        tracing.open_tracer(TracingConfig(endpoint), '/preprocess', None, None, None)


def test_without_opentelemetry_only_an_endpoint_is_refused(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, 'opentelemetry', None)
    for name in [name for name in sys.modules if name.startswith(('opentelemetry.', 'robocache_ros.spans'))]:
        monkeypatch.setitem(sys.modules, name, None)
    with Robot(**LIDAR) as live:
        assert live.node.trigger_configure() == SUCCESS
        assert live.node.trigger_cleanup() == SUCCESS
        live.node.set_parameters([robot.Parameter('tracing.otlp_endpoint', value='http://127.0.0.1:4318')])
        assert live.node.trigger_configure() != SUCCESS
    said = capfd.readouterr().err
    assert 'pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http' in said


@pytest.mark.parametrize(
    ('endpoint', 'url'),
    [
        ('http://127.0.0.1:4318', 'http://127.0.0.1:4318/v1/traces'),
        ('https://collector/', 'https://collector/v1/traces'),
        ('http://host/otlp/traces', 'http://host/otlp/traces'),
    ],
)
def test_a_path_is_added_where_there_is_none(endpoint, url):
    assert tracing._url(endpoint) == url
