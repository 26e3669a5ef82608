"""Build the C++ module with the hash of its sources compiled in, as `seedbed_lattice.source_hash`.

`pip install ./seedbed/crf/native` puts the module into an environment.
"""

import hashlib
from pathlib import Path

from setuptools import Extension, setup

HERE = Path(__file__).resolve().parent
# seedbed.crf.backends.native_source_hash computes the same hash of the same files.
SOURCES = sorted(path for path in HERE.iterdir() if path.suffix in {".cpp", ".hpp", ".py"})
SOURCE_HASH = hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest()

setup(
    ext_modules=[
        Extension(
            "seedbed_lattice",
            sources=["module.cpp"],
            depends=[path.name for path in SOURCES],
            define_macros=[("SOURCE_HASH", f'"{SOURCE_HASH}"')],
            extra_compile_args=["-O3", "-std=c++17", "-Wno-psabi"],
            language="c++",
        )
    ]
)
