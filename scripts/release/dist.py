# SPDX-License-Identifier: Apache-2.0
"""Build the sdist of the newest commit, and a wheel from it: the same bytes in every folder and at any time.

    scripts/release.sh dist [--out dist] [--target x86_64|aarch64|cuda]

The wheels for CPUs are compiled by zig's clang for the glibc of manylinux_2_28. The one for GPUs is compiled by nvcc
and the compiler of this machine, whose C++ library decides how old a system may be.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

from release import sbom
from release.archives import pack_wheel, unpack_wheel, write_sdist
from release.command import ROOT, run

WORK = ROOT / 'build' / 'release'

#: Symbols for debuggers have names of temporary files of nvcc, and paths of zig's libraries.
STRIP = '-Wl,--strip-all'


@dataclass(frozen=True)
class Target:
    """What a wheel is for: its tag of a platform, and which glibc zig links it against; none: the system's compiler."""

    machine: str
    platform: str
    glibc: str = ''
    label: str = ''

    @property
    def cuda(self) -> bool:
        """Whether the wheel has code for GPUs."""
        return not self.glibc


TARGETS = {
    'x86_64': Target('x86_64', 'manylinux_2_28_x86_64', '2.28'),
    'aarch64': Target('aarch64', 'manylinux_2_28_aarch64', '2.28'),
    'cuda': Target('x86_64', 'manylinux_2_35_x86_64', label='+cuda'),
}


def build(out: Path, target: Target) -> tuple[Path, Path]:
    """Build the sdist and the wheel for ``target`` in the folder ``out``; return their paths."""
    commit, epoch = run('git', 'log', '-1', '--format=%H %ct').split()
    sdist = build_sdist(out, commit, int(epoch))
    return sdist, build_wheel(sdist, out, target, int(epoch))


def build_sdist(out: Path, commit: str, epoch: int) -> Path:
    """Build the sdist of ``commit``, dated ``epoch`` [s], in the folder ``out``; return its path."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / 'source'
        source.mkdir()
        run('git', 'archive', '--format=tar', f'--output={folder / "commit.tar"}', commit)
        run('tar', '-xf', folder / 'commit.tar', '-C', source)
        run(sys.executable, 'setup.py', '-q', 'sdist', '--formats=tar', '--dist-dir', folder, cwd=source)
        (tar,) = folder.glob('robocache_ros-*.tar')
        out.mkdir(parents=True, exist_ok=True)
        sdist = out / f'{tar.name}.gz'
        write_sdist(tar, sdist, epoch)
    return sdist


def build_wheel(sdist: Path, out: Path, target: Target, epoch: int) -> Path:
    """Build a wheel for ``target`` from ``sdist``, dated ``epoch`` [s], in the folder ``out``; return its path."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = folder / 'options.cfg'
        options.write_text(f'[egg_info]\ntag_build={target.label}\n[bdist_wheel]\nplat_name={target.platform}\n')
        run(
            *(sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '--no-index'),
            *('--wheel-dir', folder, sdist),
            DIST_EXTRA_CONFIG=str(options),
            SOURCE_DATE_EPOCH=str(epoch),
            **compiler(target),
        )
        (built,) = folder.glob('*.whl')
        contents = unpack_wheel(built, folder / 'contents')
        sbom.add(contents, compiled_in(target), epoch)
        wheel = pack_wheel(contents, out, epoch)
    check_platform(wheel, target)
    return wheel


def compiler(target: Target) -> dict[str, str]:
    """The environment in which setup.py compiles for ``target``."""
    if target.cuda:
        return {'ROBOCACHE_CUDA': '1', 'LDFLAGS': STRIP}
    WORK.mkdir(parents=True, exist_ok=True)
    wrapper = WORK / f'c++-{target.machine}'  # setup.py takes the name of a compiler, without arguments
    triple = f'{target.machine}-linux-gnu.{target.glibc}'
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -m ziglang c++ -target {triple} "$@"\n')
    wrapper.chmod(0o755)
    suffix = re.sub('x86_64|aarch64', target.machine, sysconfig.get_config_var('EXT_SUFFIX'))
    return {
        'ROBOCACHE_CUDA': '0',
        'CXX': str(wrapper),
        'CXXFLAGS': '-Wno-bitwise-instead-of-logical',
        'LDFLAGS': STRIP,
        'SETUPTOOLS_EXT_SUFFIX': suffix,
        'ZIG_GLOBAL_CACHE_DIR': str(WORK / 'zig'),
        'ZIG_LOCAL_CACHE_DIR': str(WORK / 'zig'),
    }


def compiled_in(target: Target) -> list[sbom.Library]:
    """What of others is in the module of a wheel for ``target``."""
    libraries = [sbom.installed('pybind11')]
    if target.cuda:
        (version,) = re.findall(r'release [\d.]+, V([\d.]+)', run('nvcc', '--version'))
        return [*libraries, sbom.Library('cudart_static', version, 'LicenseRef-NVIDIA-CUDA-EULA')]
    (version,) = re.findall(r'clang version ([\d.]+)', run(sys.executable, '-m', 'ziglang', 'c++', '--version'))
    llvm = ('libcxx', 'libcxxabi', 'libunwind', 'compiler-rt')
    return [*libraries, *(sbom.Library(name, version, 'Apache-2.0 WITH LLVM-exception') for name in llvm)]


def check_platform(wheel: Path, target: Target) -> None:
    """Ask auditwheel whether the wheel runs on all that its tag promises.

    Raises:
        SystemExit: it needs a newer glibc or C++ library, or a library that is not on every system.
    """
    needed = json.loads(run(sys.executable, '-m', 'auditwheel', 'show', '--json', wheel))['overall_tag']
    if not needed.startswith('manylinux_') or glibc(needed) > glibc(target.platform):
        raise SystemExit(f'{wheel.name} says {target.platform}, but needs {needed}: see auditwheel show {wheel}')
    print(f'{wheel.name}: {wheel.stat().st_size} bytes, needs {needed} or newer')


def glibc(platform: str) -> tuple[int, int]:
    """The oldest glibc of a platform's tag, as (2, 28) of manylinux_2_28_x86_64."""
    major, minor = platform.split('_')[1:3]
    return int(major), int(minor)


def main() -> None:
    """Build what the command line names, and print the paths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=ROOT / 'dist')
    parser.add_argument('--target', choices=TARGETS, default='x86_64')
    arguments = parser.parse_args()
    build(arguments.out, TARGETS[arguments.target])


if __name__ == '__main__':
    main()
