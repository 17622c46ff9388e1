"""Fails unless a wheel has all its parts, links to its own OpenBLAS, is small and needs nothing but NumPy."""

import subprocess
import sys
import tempfile
import zipfile
from email import message_from_bytes
from pathlib import Path

LARGEST = 10_000_000  # bytes
PARTS = ["_core.abi3.so", "_core.pyi", "py.typed", "_lib/libscipy_openblas-nearfar.so", "_lib/LICENSE-OpenBLAS.txt"]

path = Path(sys.argv[1])
size = path.stat().st_size
assert size <= LARGEST, f"the wheel has {size} bytes"
assert "-cp311-abi3-" in path.name, path.name

wheel = zipfile.ZipFile(path)
names = wheel.namelist()
missing = [part for part in PARTS if f"nearfar/{part}" not in names]
assert not missing, f"the wheel lacks {missing}"
strays = [name for name in names if not name.startswith(("nearfar/", "nearfar-"))]
assert not strays, f"the wheel brings {strays}"

[metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
needs = message_from_bytes(wheel.read(metadata)).get_all("Requires-Dist")
hard = [need for need in needs if "extra ==" not in need]
assert len(hard) == 1 and hard[0].startswith("numpy"), hard

with tempfile.TemporaryDirectory() as folder:
    module = wheel.extract("nearfar/_core.abi3.so", folder)
    runpath = subprocess.check_output(["patchelf", "--print-rpath", module], text=True).strip()
    needed = subprocess.check_output(["patchelf", "--print-needed", module], text=True).split()
assert runpath == "$ORIGIN/_lib", runpath
assert [name for name in needed if "blas" in name] == ["libscipy_openblas-nearfar.so"], needed
print(f"{path.name}: {size / 1e6:.1f} MB")
