# SPDX-License-Identifier: Apache-2.0
"""The report's sections on one fused frame: its voxels, images, depth images, IMU windows and vectors."""

from __future__ import annotations

import html
from collections.abc import Iterable

from robocache_core.config import GridConfig, PipelineConfig, Voxelized
from robocache_core.frame import FusedFrame
from robocache_core.text import printable
from robocache_ros.tools.pictures import depth_picture, depth_span, picture
from robocache_ros.tools.presentation.markup import data_uri, plot, section
from robocache_ros.tools.replay import plots, voxel_view

#: Numbers of a vector's row that are shown.
_MOST_COLUMNS = 64


def frame_sections(frame: FusedFrame, config: PipelineConfig) -> str:
    """The voxels, images, depth images, IMU windows and vectors of ``frame``, as HTML."""
    sections = (_scene, _cameras, _depths, _imus, _vectors)
    return ''.join(each(frame, config) for each in sections)


def _scene(frame: FusedFrame, config: PipelineConfig) -> str:
    if not config.voxelized:
        return ''
    clouds = [voxel_view.occupied(frame, each) for each in config.voxelized]
    views = []
    for each, cloud in zip(config.voxelized, clouds, strict=True):
        low, high = voxel_view.height_range(cloud.centre)
        size = ' × '.join(f'{edge:g}' for edge in cloud.size)
        shape = ' × '.join(str(n) for n in each.voxel.grid.shape)
        facts = _facts(
            [
                ('stream', _origin(each)),
                ('voxels occupied', f'{len(cloud.centre):,}'),
                ('points in them', f'{int(cloud.count.sum()):,}'),
                ('voxel', f'{size} m'),
                ('grid x × y × z', shape),
                ('frame', frame.frame_id),
                ('channels', ', '.join(each.voxel.channels)),
            ]
        )
        scale = f'<div class="scale"><span>{low:.1f} m</span><div class="ramp"></div><span>{high:.1f} m</span></div>'
        png = data_uri('image/png', voxel_view.from_above(cloud))
        views.append(
            f'<div class="split"><img class="dark" alt="voxels of {each.name} from above" src="{png}">'
            f'<div>{facts}<h4>Height</h4>{scale}<p class="dim">From above: each column shows its topmost voxel, '
            'brighter with more points. The robot is the white triangle and looks up; x is up, y left.</p></div></div>'
        )
    hero = data_uri('image/png', voxel_view.from_behind(clouds))
    body = f'<img class="dark wide" alt="voxels in perspective" src="{hero}">' + ''.join(views)
    return section('Voxels', f'One fused frame, at {frame.stamp_ns / 1e9:.3f} s: what the model sees.', body)


def _origin(config: Voxelized) -> str:
    """Whose points the voxels hold."""
    return f'{config.name} ({", ".join(config.from_)})' if isinstance(config, GridConfig) else config.name


def _cameras(frame: FusedFrame, config: PipelineConfig) -> str:
    if not config.cameras:
        return ''
    figures = []
    for camera in config.cameras:
        uri = data_uri('image/jpeg', picture(frame, camera))
        shape = ' × '.join(str(n) for n in frame.tensors[camera.name].shape)
        figures.append(
            f'<figure><img alt="fused image of {camera.name}" src="{uri}"><figcaption><b>{camera.name}</b> '
            f'[{shape}] {camera.dtype} <span>{_age(frame, camera.name)}</span></figcaption></figure>'
        )
    return section(
        'Cameras',
        'The image tensors of the same frame, their normalisation undone.',
        f'<div class="gallery">{"".join(figures)}</div>',
    )


def _depths(frame: FusedFrame, config: PipelineConfig) -> str:
    if not config.depths:
        return ''
    figures = []
    for camera in config.depths:
        depth, valid = (frame.tensors[name][0].numpy() for name in (camera.name, f'{camera.name}.valid'))
        low, high = depth_span(depth, valid)
        uri = data_uri('image/png', depth_picture(depth, valid))
        shape = ' × '.join(str(n) for n in frame.tensors[camera.name].shape)
        figures.append(
            f'<figure><img alt="depth of {camera.name}" src="{uri}"><figcaption><b>{camera.name}</b> [{shape}] m, '
            f'{valid.mean():.0%} valid, red {low:.2f} m to blue {high:.2f} m <span>{_age(frame, camera.name)}</span>'
            '</figcaption></figure>'
        )
    return section(
        'Depth',
        'The depth tensors of the same frame: near is red, far is blue, what is not valid is black.',
        f'<div class="gallery">{"".join(figures)}</div>',
    )


def _imus(frame: FusedFrame, config: PipelineConfig) -> str:
    parts = []
    for imu in config.imus:
        span_ms = (imu.window_size - 1) * imu.window_period_ns / 1e6
        parts.append(
            section(
                f'IMU window · {imu.name}',
                f'{imu.window_size} instants over {span_ms:g} ms, interpolated; tensor '
                f'[{" × ".join(str(n) for n in frame.tensors[imu.name].shape)}].',
                plot(f'IMU window of {imu.name}', plots.imu_window(frame, imu)),
            )
        )
    return ''.join(parts)


def _vectors(frame: FusedFrame, config: PipelineConfig) -> str:
    parts = []
    for vector in config.vectors:
        rows = frame.tensors[vector.name]
        span_ms = (vector.window_size - 1) * vector.window_period_ns / 1e6
        shape = ' × '.join(str(n) for n in rows.shape)
        validity = 'valid' if frame.valid[vector.name] else 'not valid'
        names = map(printable, vector.columns[:_MOST_COLUMNS])
        body = _facts((name, f'{value:.9g}') for name, value in zip(names, rows[-1].tolist(), strict=False))
        if vector.window_size > 1:
            body = plot(f'Window of {vector.name}', plots.vector_window(frame, vector)) + body
        parts.append(
            section(
                f'Vector · {vector.name}',
                f'{html.escape(vector.message)}, {vector.window_size} instants over {span_ms:g} ms; tensor [{shape}], '
                f'{validity}; its last row:',
                body,
            )
        )
    return ''.join(parts)


def _facts(pairs: Iterable[tuple[str, str]]) -> str:
    return '<dl>' + ''.join(f'<dt>{html.escape(a)}</dt><dd>{html.escape(b)}</dd>' for a, b in pairs) + '</dl>'


def _age(frame: FusedFrame, name: str) -> str:
    if name not in frame.age_ns:
        return 'no sample'
    age_ms = frame.age_ns[name] / 1e6
    return f'{abs(age_ms):.1f} ms {"before" if age_ms >= 0 else "after"} the target'
