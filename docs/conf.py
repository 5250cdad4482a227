# SPDX-License-Identifier: Apache-2.0
"""Settings of Sphinx, for `make docs`, and for rosdoc2, which executes this file from another folder."""

import robocache_core

project = 'RoboCache'
author = 'RoboCache maintainers'
version = release = robocache_core.__version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
html_theme = 'furo'
html_title = f'RoboCache {version}'

myst_heading_anchors = 3

autodoc_default_options = {'members': True}
autodoc_member_order = 'bysource'
autoclass_content = 'both'
autodoc_typehints_format = 'short'
maximum_signature_line_length = 100

# References within the package must resolve, but to what signatures name and no page describes; those to other
# libraries would need their pages from the network.
nitpicky = True
nitpick_ignore = [
    ('py:class', 'robocache_core.align.Jumps'),
    ('py:class', 'robocache_core.camera_model.CameraModel'),
    ('py:class', 'robocache_core.clocks.Clocks'),
    ('py:class', 'robocache_core.field_paths.FieldPath'),
    ('py:class', 'robocache_core.observer.Observer'),
    ('py:class', 'robocache_core.ops.depth_layout.PixelField'),
    ('py:class', 'robocache_core.payload.BufferT'),
    ('py:class', 'robocache_core.streams.message_vector.Preset'),
    ('py:class', 'robocache_ros.bag_outcome.BagOutcome'),
    ('py:class', 'robocache_ros.bags.Bag'),
    ('py:class', 'robocache_ros.drop_log.Explanation'),
    ('py:class', 'robocache_ros.export_config.ExportConfig'),
    ('py:class', 'robocache_ros.node.PreprocessNode'),
    ('py:class', 'robocache_ros.parameter_spec.Spec'),
    ('py:class', 'robocache_ros.poses.PoseSource'),
]
nitpick_ignore_regex = [('py:.*', r'(?!robocache_).*')]
