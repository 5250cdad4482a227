# SPDX-License-Identifier: Apache-2.0
"""The points of the lidars in the images of a frame, as HTML."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from robocache_ros.tools.presentation.markup import data_uri, section


def overlay_section(overlays: Mapping[str, Any]) -> str:
    """The ``overlays`` of a bag, as ``overlays_of_bag`` has them; nothing where there are none."""
    if not overlays:
        return ''
    figures = ''.join(_figure(name, each) for name, each in overlays['cameras'].items())
    return section(
        'Lidar in the images',
        f'A frame from the middle of the bag, at {overlays["stamp_ns"] / 1e9:.3f} s: the points of the lidars, where '
        'they were at its time, from red (near) to blue (far). Edges that do not meet show a wrong pose, calibration '
        'or clock; what moved, the robot too, is as far off as it came in the age of the image.',
        f'<div class="gallery">{figures}</div>',
    )


def _figure(name: str, overlay: Mapping[str, Any]) -> str:
    points = ', '.join(f'{count:,} points of {html.escape(lidar)}' for lidar, count in overlay['points'].items())
    caption = f'no points: {html.escape(overlay["missing"])}' if overlay['missing'] else points
    age_ms = overlay['age_ms']
    age = 'no image' if age_ms is None else f'{abs(age_ms):.1f} ms {"before" if age_ms >= 0 else "after"} the target'
    return (
        f'<figure><img alt="lidar points in the image of {name}" src="{data_uri("image/jpeg", overlay["picture"])}">'
        f'<figcaption><b>{name}</b> {caption} <span>{age}</span></figcaption></figure>'
    )
