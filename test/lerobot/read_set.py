# SPDX-License-Identifier: Apache-2.0
"""Reads a set with the real ``lerobot``, in an environment of its own, and compares it with the frames it was made of.

    read_set.py SET EXPECTED.npz

Of every episode the first, the middle and the last frame are read, and all their features compared; of every frame the
times. EXPECTED has of each feature its values in all frames, images as ``[N, H, W, 3] uint8``.
"""

import sys

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

#: Greatest mean difference of the pixels of a video to the images it was made of; an image by itself has none.
MOST_LOST = 4.0


def main(root: str, expected_file: str) -> None:
    expected = np.load(expected_file)
    dataset = LeRobotDataset('robocache/test', root=root)
    meta = dataset.meta
    assert len(dataset) == meta.total_frames == len(expected['index']), (len(dataset), meta.total_frames)
    for name in ('robocache.stamp_ns', 'timestamp', 'episode_index', 'frame_index', 'index'):
        column = np.asarray(dataset.hf_dataset.with_format('numpy')[name][:]).reshape(-1)
        np.testing.assert_array_equal(column, expected[name].reshape(-1), name)
    assert set(meta.stats) >= set(expected.files) - {name for name in expected.files if 'grids' in name}
    num_read = 0
    for episode in meta.episodes:
        begin, end = episode['dataset_from_index'], episode['dataset_to_index']
        for index in sorted({begin, (begin + end) // 2, end - 1}):
            compare(dataset[index], {name: expected[name][index] for name in expected.files}, meta.video_keys)
            num_read += 1
    print(f'{root}: lerobot reads {num_read} frames of {meta.total_episodes} episodes as they were written')


def compare(item: dict, expected: dict, video_keys: list[str]) -> None:
    for name, value in expected.items():
        found = item[name].numpy()
        if 'images' in name:
            pixels = found.transpose(1, 2, 0) * 255
            lost = float(np.abs(pixels - value.astype(np.float32)).mean())
            assert lost <= (MOST_LOST if name in video_keys else 1e-4), (name, lost)
        else:
            np.testing.assert_array_equal(found.reshape(value.shape), value, name)


main(*sys.argv[1:])
