# SPDX-License-Identifier: Apache-2.0
"""Reads a set with the real ``lerobot``, in an environment of its own, and compares it with the frames it was made of.

    read_set.py SET EXPECTED.npz

Of every episode the first, the middle and the last frame are read, and all their features compared; of every frame the
times. EXPECTED has of each feature its values in all frames, images as ``[N, H, W, 3] uint8``, distances as
``[N, H, W] float32``, m.
"""

import sys

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata

#: Greatest mean difference of the pixels of a video to the images it was made of; an image by itself has none.
MOST_LOST = 4.0
#: Greatest distance of the depth camera, and what is added to distances before their logarithm is taken, m.
MAX_DEPTH, SHIFT = 6.0, 3.5


def main(root: str, expected_file: str) -> None:
    expected = np.load(expected_file)
    dataset = LeRobotDataset('robocache/test', root=root, depth_output_unit='m')
    meta = dataset.meta
    assert meta.depth_keys == [name for name in meta.features if name.endswith('.depth') and 'images' in name]
    assert len(dataset) == meta.total_frames == len(expected['index']), (len(dataset), meta.total_frames)
    for name in ('robocache.stamp_ns', 'timestamp', 'episode_index', 'frame_index', 'index'):
        column = np.asarray(dataset.hf_dataset.with_format('numpy')[name][:]).reshape(-1)
        np.testing.assert_array_equal(column, expected[name].reshape(-1), name)
    assert set(meta.stats) >= set(expected.files) - {name for name in expected.files if 'grids' in name}
    num_read = 0
    for episode in meta.episodes:
        begin, end = episode['dataset_from_index'], episode['dataset_to_index']
        for index in sorted({begin, (begin + end) // 2, end - 1}):
            compare(dataset[index], {name: expected[name][index] for name in expected.files}, meta)
            num_read += 1
    for name in meta.depth_keys:
        compare_statistics(meta.stats[name], expected[name])
        in_mm = LeRobotDataset('robocache/test', root=root)[0][name].numpy()  # as it is by default
        np.testing.assert_allclose(in_mm, dataset[0][name].numpy() * 1000, atol=0.501)
        np.testing.assert_array_equal(in_mm[0] == 0.0, expected[name][0] == 0.0)
    print(f'{root}: lerobot reads {num_read} frames of {meta.total_episodes} episodes as they were written')


def compare(item: dict, expected: dict, meta: LeRobotDatasetMetadata) -> None:
    for name, value in expected.items():
        found = item[name].numpy()
        if name in meta.depth_keys:
            compare_distances(found, value, is_video=name in meta.video_keys)
        elif 'images' in name:
            pixels = found.transpose(1, 2, 0) * 255
            lost = float(np.abs(pixels - value.astype(np.float32)).mean())
            assert lost <= (MOST_LOST if name in meta.video_keys else 1e-4), (name, lost)
        else:
            np.testing.assert_array_equal(found.reshape(value.shape), value, name)


def compare_distances(found: np.ndarray, expected: np.ndarray, *, is_video: bool) -> None:
    """Those of images by themselves are the same to the bit; of a video to half a code's step, and what is 0 is 0."""
    assert (expected == 0.0).any()
    assert (expected > 0.0).any()
    most = most_lost(expected) if is_video else 0.0
    assert (np.abs(found[0] - expected) <= most).all(), float(np.abs(found[0] - expected).max())
    np.testing.assert_array_equal(found[0] == 0.0, expected == 0.0)


def most_lost(distance: np.ndarray | float) -> np.ndarray | float:
    """Half of a code's step at a distance, m, and six roundings of a logarithm below 4 to float32."""
    step = np.log((MAX_DEPTH + SHIFT) / SHIFT) / 4095
    return (distance + SHIFT) * (np.expm1(step / 2) + 6 * 2**-23)


def compare_statistics(found: dict, expected: np.ndarray) -> None:
    """They are of all pixels, those that are not valid among them, as LeRobot's own are of what it records."""
    quantiles = {f'q{percent:02d}': np.quantile(expected, percent / 100) for percent in (1, 10, 50, 90, 99)}
    for name, value in {'min': expected.min(), 'max': expected.max(), 'mean': expected.mean(), **quantiles}.items():
        assert found[name].shape == (1, 1, 1)
        assert abs(float(found[name].item()) - value) <= most_lost(MAX_DEPTH), (name, found[name], value)


main(*sys.argv[1:])
