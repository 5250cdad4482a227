# SPDX-License-Identifier: Apache-2.0
"""Write requirements/lock: sets of requirements with all that they bring, pinned, with the SHA-256 of every file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[2] / 'requirements'

#: Files of requirements by the lock that is made from them.
EVERYWHERE = ('dev', 'export', 'view', 'ray', 'runtime', 'torch')
LOCKS = {
    'jazzy': (*EVERYWHERE, 'jazzy'),
    'kilted': (*EVERYWHERE, 'kilted'),
    'release': ('release',),
}


def main() -> None:
    """Write every lock; a pin that is in one stays as it is where its sources allow."""
    for lock, sources in LOCKS.items():
        subprocess.run(
            [
                *(sys.executable, '-m', 'uv', 'pip', 'compile', '--quiet', '--universal', '--python-version', '3.10'),
                *('--generate-hashes', '--no-emit-index-url', '--no-header', '--no-annotate'),
                *('--no-emit-package', 'torch'),  # which build of it is for the machine to choose
                *('--output-file', f'lock/{lock}.txt', *(f'{source}.txt' for source in sources)),
            ],
            cwd=REQUIREMENTS,
            check=True,
            stdout=subprocess.DEVNULL,
        )


if __name__ == '__main__':
    main()
