# SPDX-License-Identifier: Apache-2.0
"""Imports of modules in a Python that lacks some packages."""

import subprocess
import sys

#: Imports sys.argv[2:] where no module of the packages in sys.argv[1] can be imported.
_IMPORT_WITHOUT = """
import importlib, sys
refused = set(sys.argv[1].split(','))
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in refused:
            raise ImportError(f'{name} is refused')
sys.meta_path.insert(0, Refuse())
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


def import_without(refused, *modules):
    command = [sys.executable, '-c', _IMPORT_WITHOUT, ','.join(refused), *modules]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)
