"""Builds nearfar._core and bundles a private copy of OpenBLAS with it.

Environment:
    NEARFAR_SANITIZE=1             build with AddressSanitizer and UndefinedBehaviorSanitizer
    NEARFAR_BLAS=pkgconfig:NAME    link the system's OpenBLAS, found by pkg-config as NAME, instead of bundling one
    NEARFAR_WERROR=1               treat compiler warnings as errors
"""

import glob
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

# Kernels are compiled once per instruction set; csrc/core/dispatch.c picks one set at import.
INSTRUCTION_SETS = {"scalar": []}
if platform.machine() in ("x86_64", "AMD64"):
    INSTRUCTION_SETS["avx2"] = ["-mavx2", "-mfma"]
    INSTRUCTION_SETS["avx512"] = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"]

# Kernels that serve both precisions are compiled a second time with NF_DOUBLE.
REAL_KERNELS = [
    f"csrc/kernels/{name}.c" for name in ("exponential", "margins", "multiply", "pair_tile", "rows", "score_tile")
]
# And so are operations that do.
REAL_OPERATIONS = sorted(glob.glob("csrc/losses/*.c"))

HEADERS = sorted(glob.glob("csrc/**/*.h", recursive=True))
KERNELS = sorted(glob.glob("csrc/kernels/*.c"))
MODULE = "csrc/binding/module.c"
SOURCES = sorted(set(glob.glob("csrc/**/*.c", recursive=True)) - set(KERNELS) - {MODULE})

CFLAGS = ["-std=c11", "-O3", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno"]
CFLAGS += ["-Wall", "-Wextra", "-Wshadow", "-Wconversion"]
CFLAGS += ["-g0"]  # Python's own flags may ask for debug information, which would be half the wheel
LDFLAGS = ["-pthread"]
if os.environ.get("NEARFAR_WERROR"):
    CFLAGS += ["-Werror"]
if os.environ.get("NEARFAR_SANITIZE"):
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g"]
    CFLAGS += sanitize
    LDFLAGS += sanitize

PRIVATE_BLAS = "libscipy_openblas-nearfar.so"


class BuildExt(build_ext):
    """Compiles in parallel, each kernel once per instruction set, and places the private OpenBLAS beside the module."""

    def build_extension(self, extension):
        import numpy

        extension.include_dirs.append(numpy.get_include())
        private = self.add_blas(extension)
        jobs = [(source, "common", []) for source in SOURCES]
        jobs += [(source, "common-double", ["-DNF_DOUBLE"]) for source in REAL_OPERATIONS]
        for name, flags in INSTRUCTION_SETS.items():
            jobs += [(source, name, [*flags, f"-DNF_ISA={name}"]) for source in KERNELS]
            jobs += [(source, name + "-double", [*flags, f"-DNF_ISA={name}", "-DNF_DOUBLE"]) for source in REAL_KERNELS]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = pool.map(lambda job: self.compile_one(extension, *job), jobs)
            extension.extra_objects = [*objects, *extension.extra_objects]
        self.force = True  # to link again: the switches may have changed
        super().build_extension(extension)
        if private:
            module = self.get_ext_fullpath(extension.name)
            subprocess.check_call(["patchelf", "--set-rpath", "$ORIGIN/_lib", module])
            self.place_blas(os.path.dirname(module))

    def compile_one(self, extension, source, folder, flags):
        """Compiles a source file unless its object is up to date, and returns the path of that."""
        flags = extension.extra_compile_args + flags
        switches = zlib.crc32(repr((self.compiler.compiler_so, extension.define_macros, flags)).encode())
        folder = os.path.join(self.build_temp, f"{folder}-{switches:08x}")
        [target] = self.compiler.object_filenames([source], output_dir=folder)
        if newer_group([source, *HEADERS, "setup.py"], target):
            self.compiler.compile(
                [source],
                output_dir=folder,
                macros=extension.define_macros,
                include_dirs=extension.include_dirs,
                extra_postargs=flags,
            )
        return target

    def add_blas(self, extension):
        """Adds what compiling and linking with OpenBLAS takes; returns whether it is a private copy."""
        wanted = os.environ.get("NEARFAR_BLAS", "")
        if wanted:
            scheme, _, name = wanted.partition(":")
            if scheme != "pkgconfig" or not name:
                sys.exit(f"NEARFAR_BLAS must be pkgconfig:NAME, got {wanted!r}")
            extension.extra_compile_args += subprocess.check_output(["pkg-config", "--cflags", name], text=True).split()
            extension.extra_link_args += subprocess.check_output(["pkg-config", "--libs", name], text=True).split()
            return False
        import scipy_openblas32

        extension.define_macros.append(("NF_BLAS(name)", "scipy_##name"))
        extension.include_dirs.append(scipy_openblas32.get_include_dir())
        library = os.path.join(scipy_openblas32.get_lib_dir(), scipy_openblas32.get_library(fullname=True))
        self.blas_folder = os.path.join(os.path.abspath(self.build_temp), "_lib")
        os.makedirs(self.blas_folder, exist_ok=True)
        private = shutil.copy2(library, os.path.join(self.blas_folder, PRIVATE_BLAS))
        # A name of its own: NumPy's and SciPy's copies of OpenBLAS stay apart, with their own thread settings.
        subprocess.check_call(["patchelf", "--set-soname", PRIVATE_BLAS, private])
        [licence] = [file for file in importlib.metadata.files("scipy_openblas32") if file.name == "LICENSE.txt"]
        shutil.copy2(licence.locate(), os.path.join(self.blas_folder, "LICENSE-OpenBLAS.txt"))
        extension.extra_objects.append(private)
        return True

    def place_blas(self, package):
        shutil.copytree(self.blas_folder, os.path.join(package, "_lib"), dirs_exist_ok=True)

    def copy_extensions_to_source(self):
        """For editable installs and build_ext --inplace: the private library goes where the module goes."""
        super().copy_extensions_to_source()
        if not os.environ.get("NEARFAR_BLAS"):
            self.place_blas(self.get_finalized_command("build_py").get_package_dir("nearfar"))


setup(
    ext_modules=[
        Extension(
            "nearfar._core",
            [MODULE],
            depends=[*HEADERS, *KERNELS, *SOURCES],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            extra_compile_args=CFLAGS,
            extra_link_args=LDFLAGS,
            py_limited_api=True,
        )
    ],
    cmdclass={"build_ext": BuildExt},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
