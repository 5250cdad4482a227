# SPDX-License-Identifier: Apache-2.0
"""Imports of modules in a Python that lacks some packages."""

import subprocess
import sys

#: Begin of a program in which no module of the packages in sys.argv[1] can be imported.
REFUSE = """
import importlib, sys
refused = set(sys.argv[1].split(','))
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in refused:
            raise ModuleNotFoundError(f'{name} is refused', name=name)
sys.meta_path.insert(0, Refuse())
"""
_IMPORT = """
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


def import_without(refused, *modules):
    command = [sys.executable, '-c', REFUSE + _IMPORT, ','.join(refused), *modules]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)
