# SPDX-License-Identifier: Apache-2.0
"""Builds the package; colcon and pip both come here.

colcon runs this file several times a build, so its module level only states facts: no probing, no printing, no import
of what may not be there yet.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from glob import glob
from multiprocessing.pool import ThreadPool

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

PACKAGE = 'robocache_ros'

#: Contraction off: a fused multiply-add rounds once instead of twice, so results would depend on the CPU. No errno, for
#: which sqrt would be a call and no SIMD, and no traps, for which a selected value would be a branch; values stay.
FLAGS = [
    *('-std=c++17', '-O3', '-ffp-contract=off', '-fno-math-errno', '-fno-trapping-math'),
    *('-fvisibility=hidden', '-pthread', '-Wall', '-Wextra'),
]


class BuildExtension(build_ext):
    """Builds the compiled module; where no C++ compiler is, the package goes in without it and says so."""

    def build_extensions(self) -> None:
        compiler = (os.environ.get('CXX') or sysconfig.get_config_var('CXX') or 'c++').split()[0]
        if shutil.which(compiler) is None:
            self.warn(
                f"no C++ compiler ('{compiler}' is not found): installed without _robocache_core, "
                'the slower NumPy reference will run; to have it: apt install g++, then install again'
            )
            self.extensions = []  # so that nothing asks for the file which was not made
            return
        super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        try:
            import pybind11
        except ImportError:
            pass  # the headers may still be on the compiler's own path: Debian's pybind11-dev
        else:
            ext.include_dirs.append(pybind11.get_include())
        sanitizers = os.environ.get('ROBOCACHE_SANITIZE')  # as in scripts/sanitize.sh: address,undefined
        if sanitizers:
            # Python's own flags have -fwrapv, with which UBSan takes every signed overflow for intended.
            ext.extra_compile_args += ['-O1', '-g', '-fno-wrapv', '-fno-omit-frame-pointer']
            ext.extra_compile_args += [f'-fsanitize={sanitizers}', '-fno-sanitize-recover=all']
            ext.extra_link_args += [f'-fsanitize={sanitizers}']
        self._compile_side_by_side(ext)
        super().build_extension(ext)

    def _compile_side_by_side(self, ext: Extension) -> None:
        """Compile the sources on all cores; setuptools would take them one after the other, and then only links."""

        def compile_one(source: str) -> list[str]:
            return self.compiler.compile(
                [source],
                output_dir=self.build_temp,
                macros=ext.define_macros,
                include_dirs=ext.include_dirs,
                extra_postargs=ext.extra_compile_args,
                depends=ext.depends,
            )

        largest_first = sorted(ext.sources, key=os.path.getsize, reverse=True)
        with ThreadPool(os.cpu_count()) as pool:
            objects = pool.map(compile_one, largest_first, chunksize=1)
        ext.extra_objects += [name for names in objects for name in names]
        ext.depends = ext.depends + ext.sources
        ext.sources = []


setup(
    name=PACKAGE,
    version='0.1.0',
    description='Robot sensor topics in, time-aligned PyTorch tensors out, with the same bits live and offline',
    author='RoboCache maintainers',
    author_email='maintainers@robocache.dev',
    maintainer='RoboCache maintainers',
    maintainer_email='maintainers@robocache.dev',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['robocache_core', 'robocache_core.*', 'robocache_ros', 'robocache_ros.*']),
    package_data={'robocache_core': ['py.typed'], 'robocache_ros': ['py.typed']},
    ext_modules=[
        Extension(
            # Top level, not a child of robocache_core: a source tree on the path hides the installed packages, and
            # a child module would be hidden with them.
            '_robocache_core',
            sources=sorted(glob('robocache_core/csrc/*.cpp')),
            depends=['setup.py', *sorted(glob('robocache_core/csrc/*.hpp'))],
            include_dirs=['robocache_core/csrc'],
            language='c++',
            define_macros=[('ROBOCACHE_COMPILER_FLAGS', f'"{" ".join(FLAGS)}"')],
            extra_compile_args=[*FLAGS, '-g0'],
            extra_link_args=['-pthread'],
        )
    ],
    cmdclass={'build_ext': BuildExtension},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        (f'share/{PACKAGE}/launch', sorted(glob('launch/*.launch.py'))),
        (f'share/{PACKAGE}/config', sorted(glob('config/*.yaml') + glob('config/*.xml'))),
    ],
    # On a ROS machine rosdep brings these; pip's names are for an environment without one.
    install_requires=['numpy', 'opencv-python-headless', 'PyYAML', 'torch'],
    extras_require={
        'test': ['hypothesis', 'pytest'],  # by this `colcon test` knows to run pytest
        'tools': ['matplotlib', 'rosbags'],
    },
    zip_safe=False,
    entry_points={
        'console_scripts': [
            'preprocess = robocache_ros.node:main',
            'replay = robocache_ros.tools.replay:main',
            'simulate = robocache_ros.tools.simulate:main',
            'doctor = robocache_ros.tools.doctor:main',
        ],
    },
)
