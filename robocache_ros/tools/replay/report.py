# SPDX-License-Identifier: Apache-2.0
"""Writes report.html from the summary, series, frame, overlays and configuration that a replay left in a folder.

    python -m robocache_ros.tools.replay.report DIR

The page is one file without links: it can be moved, mailed and opened without a network.
"""

from __future__ import annotations

import argparse
import html
import itertools
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robocache_core import payload
from robocache_core.config import PipelineConfig
from robocache_core.frame import FusedFrame
from robocache_core.ledger import Reason
from robocache_ros import parameters
from robocache_ros.offline import TARGETS
from robocache_ros.tools import overlays
from robocache_ros.tools.entry import run_tool
from robocache_ros.tools.presentation import time_plots
from robocache_ros.tools.presentation.ledger_table import ledger_table
from robocache_ros.tools.presentation.markup import cards, notices, number, page, plot, section
from robocache_ros.tools.presentation.overlay_section import overlay_section
from robocache_ros.tools.replay import plots
from robocache_ros.tools.replay.frame_sections import frame_sections
from robocache_ros.tools.replay.grid_sources import sources_section
from robocache_ros.tools.replay.verdict import notes, problems, warnings
from robocache_ros.tools.writing import write


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog='report', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path, metavar='DIR', help='the folder of replay --out')
    args = parser.parse_args(argv)
    return run_tool('report', lambda: _run(args.folder))


def _run(folder: Path) -> int:
    try:
        print(write_report(folder))
    except OSError as error:
        print(f'report: {error}', file=sys.stderr)
        return 2
    return 0


def write_report(folder: Path) -> Path:
    """Write ``folder``/report.html and return its path."""
    summary = json.loads((folder / 'summary.json').read_text(encoding='utf-8'))
    series = json.loads((folder / 'series.json').read_text(encoding='utf-8'))
    config_text = (folder / 'preprocess.yaml').read_text(encoding='utf-8')
    config, _ = parameters.from_file(folder / 'preprocess.yaml', warn=lambda _: None)
    sample = folder / 'frame.safetensors'
    frame = payload.decode(sample.read_bytes()) if sample.exists() else None
    sources = folder / 'sources.safetensors'
    apart = payload.decode(sources.read_bytes()) if sources.exists() else None
    page = folder / 'report.html'
    pictures = [overlay_section(overlays.load(folder))]
    if apart is not None:
        pictures.append(sources_section(apart, config))
    write(page, _page(summary, series, config, config_text, frame, pictures))
    return page


def _page(
    summary: Mapping[str, Any],
    series: Mapping[str, Any],
    config: PipelineConfig,
    config_text: str,
    frame: FusedFrame | None,
    pictures: list[str],
) -> str:
    names = [stream.name for stream in config.streams()]
    parts = [_header(summary), _notices(summary)]
    if frame is not None:
        parts.append(frame_sections(frame, config))
    parts += pictures
    if summary['frames']:
        parts.append(_timing(summary, series, names))
    parts += [
        _drops(series),
        section(
            'Ledger',
            'Every message received is used, still held, or dropped with a reason.',
            ledger_table(summary, names, 'sent'),
        ),
        section('Diagnostics', 'The last /diagnostics while the bag was played.', _statuses(series)),
        section('Configuration', _command(summary), f'<pre>{html.escape(config_text)}</pre>'),
    ]
    title = f'RoboCache replay of {html.escape(Path(summary["bag"]["path"]).name)}'
    return page(title, ''.join(parts))


def _header(summary: Mapping[str, Any]) -> str:
    bag, latency, targets = summary['bag'], summary['latency_ms'], summary['targets']
    failed = problems(summary)
    badge = '<span class="badge bad">failed</span>' if failed else '<span class="badge good">ledger adds up</span>'
    trigger = summary['trigger'] or 'fixed rate'
    lost = _losses(summary)
    figures = [
        ('fused frames', f'{summary["frames"]}', f'of {targets["targets"]} targets'),
        ('fused rate', f'{summary["fused_rate_hz"]:.2f}<i>Hz</i>', f'{trigger} {summary["trigger_rate_hz"]:.2f} Hz'),
        ('latency, median', f'{number(latency["p50"])}<i>ms</i>', f'p99 {number(latency["p99"])} ms'),
        ('lost or dropped', f'{sum(lost.values())}', f'of {sum(summary["published"].values())} sent'),
        ('backend', html.escape(summary['backend'] or '–'), html.escape(_device(summary))),
    ]
    return (
        f'<header><div class="inner"><div class="top"><b>RoboCache</b> replay {badge}</div>'
        f'<h1>{html.escape(Path(bag["path"]).name)}</h1>'
        f'<p class="sub">{bag["seconds"]:.1f} s · {bag["messages"]} messages · '
        f'{", ".join(summary["streams"])} · '
        f'played at {summary["settings"]["rate"]:g}× through the node over DDS</p>'
        f'{cards(figures)}</div></header>\n'
    )


def _device(summary: Mapping[str, Any]) -> str:
    """The device, and why it was chosen; for the CPU, why its backend was."""
    reason = summary['backend_reason'] if summary['device'] == 'cpu' else summary['device_reason'].split(': ')[-1]
    return f'{summary["device"]}: {reason.split(":")[0]}'


def _losses(summary: Mapping[str, Any]) -> dict[str, int]:
    """Messages that were lost on the way or dropped, without those that no target needed."""
    lost = {f'transport:{name}': count for name, count in summary['lost'].items() if name != 'fused' and count}
    for name, stream in summary['streams'].items():
        for reason, count in stream['dropped'].items():
            if reason != Reason.UNSELECTED:
                lost[f'{name}:{reason}'] = count
    return lost


def _notices(summary: Mapping[str, Any]) -> str:
    items = [('bad', text) for text in problems(summary)] + [('note', text) for text in warnings(summary)]
    return notices(items)


def _timing(summary: Mapping[str, Any], series: Mapping[str, Any], names: Sequence[str]) -> str:
    sections = [
        section(
            'Rate', 'Trigger messages sent and fused frames received, a second.', plot('rates', plots.rates(series))
        ),
        section(
            'Latency',
            'From sending the trigger’s message to receiving the fused frame, both in the replay’s process: '
            'the network both ways, the wait for the slower sensors, and the computation.',
            plot('latency', plots.latency(series)),
        ),
        section(
            'Alignment',
            'Distance in time of the sample that was used from the target.',
            plot('offsets', plots.offsets(series, names)),
        ),
        section(
            'Gaps',
            f'From each frame to the next one, by stamps; red: more than {time_plots.GAP:g} times the usual step.',
            plot('gaps', time_plots.gaps(series['frames']['t_s'], _steps_ms(series))),
        ),
        section(
            'Stages',
            'The time of each stage, as the node measures it.',
            plot('stages', plots.stages(_stages(summary, series))),
        ),
    ]
    return ''.join(sections)


def _steps_ms(series: Mapping[str, Any]) -> list[float | None]:
    """From each frame to the next one of its epoch; None behind the last."""
    frames = list(zip(series['frames']['stamp_ns'], series['frames']['epoch'], strict=True))
    steps = [
        (later - stamp) / 1e6 if later_epoch == epoch else None
        for (stamp, epoch), (later, later_epoch) in itertools.pairwise(frames)
    ]
    return [*steps, *([None] if frames else [])]


def _drops(series: Mapping[str, Any]) -> str:
    """What each /diagnostics had counted as dropped, but for what no target needed; empty where nothing was."""
    reports = []
    for each in series['diagnostics']:
        accounts = {name.removeprefix('input '): s for name, s in each['statuses'].items() if name.startswith('input ')}
        accounts[TARGETS] = each['statuses'].get('sync', {'values': {}})
        reports.append(
            {
                f'{name} {key.removeprefix("dropped.")}': int(value)
                for name, status in accounts.items()
                for key, value in status['values'].items()
                if key.startswith('dropped.') and key != f'dropped.{Reason.UNSELECTED}'
            }
        )
    names = sorted({name for counts in reports for name, count in counts.items() if count})
    if not names:
        return ''
    totals = {name: [counts.get(name, 0) for counts in reports] for name in names}
    drawn = plot('drops', time_plots.drops([each['t_s'] for each in series['diagnostics']], totals))
    return section('Drops', 'Messages and targets dropped, without those that no target needed.', drawn)


def _stages(summary: Mapping[str, Any], series: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """p50 and p99, ms: the node's stages by its last diagnostics, then the operations by stream, from the frames."""
    values = series['diagnostics'][-1]['statuses'].get('compute', {}).get('values', {}) if series['diagnostics'] else {}
    found = {}
    for key, text in values.items():
        stage = key.removesuffix('_p50_ms')
        if stage != key:
            pair = float(text), float(values.get(f'{stage}_p99_ms', 'nan'))
            if all(math.isfinite(value) for value in pair):
                found[stage.replace('.', ': ')] = pair
    for stage, p in summary['stage_ms'].items():
        if p['p50'] is not None:
            found[f'compute: {stage}'] = (p['p50'], p['p99'])
    return found


def _statuses(series: Mapping[str, Any]) -> str:
    closing = [d for d in series['diagnostics'] if d['t_s'] <= series['closing_s']]
    if not closing:
        return '<p class="dim">There were none.</p>'
    words = {0: 'ok', 1: 'warn', 2: 'error', 3: 'stale'}
    rows = (
        f'<li class="{words.get(status["level"], "error")}"><b>{html.escape(name)}</b> '
        f'{html.escape(status["message"])}</li>'
        for name, status in closing[-1]['statuses'].items()
    )
    return f'<ul class="statuses">{"".join(rows)}</ul>'


def _command(summary: Mapping[str, Any]) -> str:
    late = summary['player_late_ms']
    return (
        f'replay {html.escape(" ".join(summary["settings"]["command"]))} – the player itself was late by '
        f'{number(late["p99"])} ms at p99, {number(late["max"])} ms at most. ' + html.escape(' '.join(notes(summary)))
    )


if __name__ == '__main__':
    sys.exit(main())
