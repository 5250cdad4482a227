# SPDX-License-Identifier: Apache-2.0
"""Builds the package; colcon and pip both come here.

colcon runs this file several times a build, so its module level only states facts: no probing, no printing, no import
of what may not be there yet.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from glob import glob
from multiprocessing.pool import ThreadPool

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

PACKAGE = 'robocache_ros'
PACKAGES = ('robocache_core', 'robocache_ros', 'robocache_sim')

#: Contraction off: a fused multiply-add rounds once instead of twice, so results would depend on the CPU. No errno, for
#: which sqrt would be a call and no SIMD, and no traps, for which a selected value would be a branch; values stay.
#: No wrapping, which Python's own flags have: an index that may wrap leaves its loop scalar. UBSan sees that none does.
FLAGS = [
    *('-std=c++17', '-O3', '-ffp-contract=off', '-fno-math-errno', '-fno-trapping-math'),
    *('-fno-wrapv', '-fvisibility=hidden', '-pthread', '-Wall', '-Wextra', '-Wshadow'),
]

#: The same of what nvcc compiles: -fmad=false for the device, and FLAGS' contraction and visibility for the host.
CUDA_FLAGS = [
    *('-std=c++17', '-O3', '-fmad=false', '-lineinfo'),
    *('-Xcompiler', '-ffp-contract=off,-fvisibility=hidden,-fPIC'),
]

#: What is compiled for where ROBOCACHE_CUDA_ARCHS does not say, as far as nvcc knows it: A100, Orin, H100, Thor, and
#: for later GPUs code that their driver compiles. As CMake's CUDA_ARCHITECTURES: 90-real is machine code, 90-virtual
#: what a driver compiles, 90 both.
CUDA_ARCHS = '80-real;87-real;90;110-real'


def find_nvcc() -> str | None:
    """Nvcc where ROBOCACHE_CUDA wants it and it is found.

    Raises:
        RuntimeError: it is wanted and not found, or ROBOCACHE_CUDA says nothing that is known.
    """
    wanted = os.environ.get('ROBOCACHE_CUDA', 'auto')
    if wanted not in ('auto', '0', '1'):
        raise RuntimeError(f'ROBOCACHE_CUDA={wanted}: must be auto, 0 or 1')
    if wanted == '0':
        return None
    home = os.environ.get('CUDA_HOME')
    nvcc = os.environ.get('CUDACXX') or (home and shutil.which(f'{home}/bin/nvcc')) or shutil.which('nvcc')
    if nvcc is None and wanted == '1':
        raise RuntimeError('ROBOCACHE_CUDA=1, but nvcc is not found: set CUDACXX or CUDA_HOME, or put it on the PATH')
    return nvcc


def cuda_archs(nvcc: str) -> list[str]:
    """What is compiled for: ROBOCACHE_CUDA_ARCHS, or those of CUDA_ARCHS that ``nvcc`` knows."""
    given = os.environ.get('ROBOCACHE_CUDA_ARCHS')
    if given:
        return re.split('[;, ]+', given.strip())
    listed = subprocess.run([nvcc, '--list-gpu-code'], check=True, capture_output=True, text=True).stdout.split()
    known = [arch for arch in CUDA_ARCHS.split(';') if f'sm_{arch.split("-")[0]}' in listed]
    if '90' not in known:
        raise RuntimeError(f'{nvcc} is older than CUDA 11.8: install a newer one, or build with ROBOCACHE_CUDA=0')
    return known


def gencode(arch: str) -> list[str]:
    """Flags of nvcc that compile for ``arch``."""
    if arch == 'native':
        return ['-arch=native']
    number, _, kind = arch.partition('-')
    codes = {'real': [f'sm_{number}'], 'virtual': [f'compute_{number}'], '': [f'sm_{number}', f'compute_{number}']}
    if not re.fullmatch(r'\d+[af]?', number) or kind not in codes:
        raise RuntimeError(f'ROBOCACHE_CUDA_ARCHS has {arch!r}: must be like 90, 90-real or 90-virtual')
    return [flag for code in codes[kind] for flag in ('-gencode', f'arch=compute_{number},code={code}')]


def version_of(compiler: str) -> str:
    """What a compiler says of itself, and where it is."""
    return f'{compiler} {subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout}'


def is_older(built: str, sources: list[str]) -> bool:
    """Whether a file is not there or older than one of those that it is made from."""
    return not os.path.exists(built) or os.path.getmtime(built) < max(map(os.path.getmtime, sources))


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
        paths = {os.getcwd(): '.'}
        try:
            import pybind11
        except ImportError:
            pass  # the headers may still be on the compiler's own path: Debian's pybind11-dev
        else:
            ext.extra_compile_args += ['-isystem', pybind11.get_include()]  # whose warnings are not ours
            paths[pybind11.get_include()] = 'pybind11'
        # No path of the machine that builds is in the module: the same sources are the same bytes in every folder.
        mapped = [f'-ffile-prefix-map={path}={name}' for path, name in paths.items()]
        ext.extra_compile_args += mapped
        sanitizers = os.environ.get('ROBOCACHE_SANITIZE')  # as in scripts/sanitize.sh: address,undefined
        if sanitizers:
            ext.extra_compile_args += ['-O1', '-g', '-fno-omit-frame-pointer']
            ext.extra_compile_args += [f'-fsanitize={sanitizers}', '-fno-sanitize-recover=all']
            ext.extra_link_args += [f'-fsanitize={sanitizers}']
        nvcc = find_nvcc()
        archs = cuda_archs(nvcc) if nvcc else []
        targets = [flag for arch in archs for flag in gencode(arch)]
        if nvcc:
            ext.define_macros.append(('ROBOCACHE_CUDA', f'"{" ".join(archs)}"'))
            ext.library_dirs += cuda_library_dirs(nvcc)
            ext.libraries += ['cudart_static', 'rt', 'pthread', 'dl']
        settings = repr((nvcc and version_of(nvcc), targets, version_of(self.compiler.compiler_cxx[0]), sanitizers))
        ext.depends = [*ext.depends, *ext.sources, self._remember(settings)]
        if self.force or is_older(self.get_ext_fullpath(ext.name), ext.depends):
            self._compile_side_by_side(ext, nvcc, targets)
            super().build_extension(ext)

    def _remember(self, settings: str) -> str:
        """Write ``settings`` to a file, which is newer than what was built with others; return its path."""
        path = os.path.join(self.build_temp, 'settings')
        os.makedirs(self.build_temp, exist_ok=True)
        before = None
        if os.path.exists(path):
            with open(path) as file:
                before = file.read()
        if before != settings:
            with open(path, 'w') as file:
                file.write(settings)
        return path

    def _compile_side_by_side(self, ext: Extension, nvcc: str | None, targets: list[str]) -> None:
        """Compile the sources on all cores; setuptools would take them one after the other, and then only links."""

        def compile_one(source: str) -> list[str]:
            if source.endswith('.cu'):
                return [compile_cuda(nvcc, source, targets, self.build_temp)]
            return self.compiler.compile(
                [source],
                output_dir=self.build_temp,
                macros=ext.define_macros,
                include_dirs=ext.include_dirs,
                extra_postargs=ext.extra_compile_args,
                depends=ext.depends,
            )

        sources = [source for source in ext.sources if nvcc or not source.endswith('.cu')]
        # What nvcc compiles takes longest, then what is large.
        largest_first = sorted(sources, key=lambda name: (name.endswith('.cu'), os.path.getsize(name)), reverse=True)
        with ThreadPool(os.cpu_count()) as pool:
            objects = pool.map(compile_one, largest_first, chunksize=1)
        ext.extra_objects += [name for names in objects for name in names]
        ext.sources = []


def cuda_library_dirs(nvcc: str) -> list[str]:
    """Where ``nvcc``, which may be a wrapper, finds its libraries."""
    dry = subprocess.run([nvcc, '--dryrun', 'x.cu'], check=True, capture_output=True, text=True).stderr
    flags = [flag for line in re.findall(r'LIBRARIES=(.*)', dry) for flag in shlex.split(line)]
    return [flag.removeprefix('-L') for flag in flags if flag.startswith('-L')]


def cuda_flags(source: str) -> list[str]:
    """CUDA_FLAGS; of what is built to be given away, without what follows from the folder in which it is compiled."""
    if 'SOURCE_DATE_EPOCH' not in os.environ:
        return CUDA_FLAGS
    # Lines of the source have its path, and functions that are not seen outside of a file a hash of it in their names.
    return [flag for flag in CUDA_FLAGS if flag != '-lineinfo'] + ['-Xcudafe', f'--orig_src_path_name={source}']


def compile_cuda(nvcc: str, source: str, targets: list[str], build_temp: str) -> str:
    """Compile ``source`` to an object file and return its path."""
    object_file = os.path.join(build_temp, os.path.splitext(source)[0] + '.o')
    os.makedirs(os.path.dirname(object_file), exist_ok=True)
    command = [nvcc, *cuda_flags(source), *targets, '-I', os.path.dirname(source), '-c', source, '-o', object_file]
    if os.environ.get('CXX'):
        command += ['-ccbin', os.environ['CXX'].split()[0]]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(
            f'nvcc failed: {shlex.join(command)}\n{done.stdout}{done.stderr}\n'
            'It needs CUDA 11.8 or newer and a host compiler that it knows (CXX=...); ROBOCACHE_CUDA=0 builds without'
        )
    return object_file


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
    packages=find_packages(include=[f'{name}{part}' for name in PACKAGES for part in ('', '.*')]),
    package_data={name: ['py.typed'] for name in PACKAGES},
    ext_modules=[
        Extension(
            # Top level, not a child of robocache_core: a source tree on the path hides the installed packages, and
            # a child module would be hidden with them.
            '_robocache_core',
            sources=sorted(glob('robocache_core/csrc/*.cpp') + glob('robocache_core/csrc/*.cu')),
            depends=['setup.py', *sorted(glob('robocache_core/csrc/*.hpp') + glob('robocache_core/csrc/*.cuh'))],
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
        (f'include/{PACKAGE}/robocache', sorted(glob('robocache_core/include/robocache/*.hpp'))),
        (f'share/{PACKAGE}/launch', sorted(glob('launch/*.launch.py'))),
        (
            f'share/{PACKAGE}/config',
            sorted(path for kind in ('yaml', 'xml', 'json', 'rviz') for path in glob(f'config/*.{kind}')),
        ),
    ],
    # On a ROS machine rosdep brings these; pip's names are for an environment without one.
    install_requires=['numpy', 'opencv-python-headless', 'PyYAML', 'torch'],
    extras_require={
        'test': ['hypothesis', 'pytest'],  # by this `colcon test` knows to run pytest
        'metrics': ['prometheus-client'],
        'tracing': ['opentelemetry-sdk', 'opentelemetry-exporter-otlp-proto-http'],
        'tools': ['matplotlib', 'rosbags'],
        'jpeg': ['simplejpeg'],
        'export': ['av', 'pyarrow', 'rosbags', 'webdataset'],
        'ray': ['ray', 'rosbags'],
        'view': ['matplotlib', 'rerun-sdk>=0.41', 'rosbags'],
    },
    zip_safe=False,
    entry_points={
        'console_scripts': [
            'preprocess = robocache_ros.process:main',
            'replay = robocache_ros.tools.replay.cli:main',
            'simulate = robocache_ros.tools.simulate:main',
            'faults = robocache_ros.tools.faults.cli:main',
            'inspect = robocache_ros.tools.inspect.cli:main',
            'explain = robocache_ros.tools.explain:main',
            'export = robocache_ros.tools.export.cli:main',
            'view = robocache_ros.tools.view.cli:main',
            'init = robocache_ros.tools.init:main',
            'security_policy = robocache_ros.tools.security_policy:main',
            'doctor = robocache_ros.tools.doctor:main',
        ],
    },
)
