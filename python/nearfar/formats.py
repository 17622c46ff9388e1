"""Readers of data files: IDX (MNIST's format), CIFAR-10, npy and npz.

The files are not trusted. What a header declares is held against the size of the file before anything is allocated, and
nothing in a file is ever executed. All errors about a file's contents are ValueErrors that begin with its path.
"""

from __future__ import annotations

import ast
import gzip
import io
import math
import os
import pickle
import pickletools
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_cifar10", "read_idx", "read_npy", "read_npz"]

CHUNK = 1 << 20

# Deflate's best: a match of 258 bytes in two bits. No member of a gzip or zip file can grow by more.
MOST_DEFLATE_RATIO = 1032


def memory_limit() -> int:
    """Bytes that one array from a file may take: this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _check_size(path, declared: int, stored: int, compressed: bool) -> None:
    """Refuses a declared size that the stored bytes can't hold, or that this machine can't."""
    if compressed and declared > MOST_DEFLATE_RATIO * stored:
        raise ValueError(
            f"{path}: the header declares {declared:,} bytes, more than {stored:,} compressed bytes can hold"
        )
    if not compressed and declared != stored:
        what = "truncated" if stored < declared else "too long"
        raise ValueError(f"{path}: {what}: the header declares {declared:,} bytes of data, the file has {stored:,}")
    if declared > memory_limit():
        raise ValueError(f"{path}: declares {declared:,} bytes, more than this machine's memory ({memory_limit():,})")


def _read_exactly(stream, count: int, path) -> bytearray:
    """`count` bytes of a stream, and the end of it: grows with what really comes, so that a bomb stays small."""
    data = bytearray()
    while len(data) <= count:
        chunk = stream.read(min(CHUNK, count + 1 - len(data)))
        if not chunk:
            break
        data += chunk
    if len(data) != count:
        what = (
            f"truncated: {len(data):,} bytes of data where the header declares"
            if len(data) < count
            else "has more than"
        )
        raise ValueError(f"{path}: {what} {count:,}")
    return data


# ---- IDX ----

_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike) -> NDArray[Any]:
    """Read an array from an IDX file, the format of MNIST and Fashion-MNIST, gzipped or not.

    Parameters
    ----------
    path : path
        Compression is told by the file's first bytes, not by its name.

    Returns
    -------
    ndarray
        Of the type and shape that the header declares, in native byte order.

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If it is not IDX, is truncated or too long, or declares more than it can hold.

    References
    ----------
    Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits", section "File formats".
    """
    path = Path(path)
    stored = path.stat().st_size
    with open(path, "rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = gzip.GzipFile(fileobj=raw) if compressed else raw
        try:
            magic = stream.read(4)
            if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_TYPES or not magic[3]:
                raise ValueError(f"{path}: not an IDX file: wrong magic number 0x{magic.hex() or '(empty)'}")
            sizes = stream.read(4 * magic[3])
            if len(sizes) < 4 * magic[3]:
                raise ValueError(f"{path}: truncated in the header")
            shape = struct.unpack(f">{magic[3]}I", sizes)
            dtype = np.dtype(_IDX_TYPES[magic[2]])
            declared = math.prod(shape) * dtype.itemsize
            _check_size(path, declared, stored if compressed else stored - 4 - len(sizes), compressed)
            data = _read_exactly(stream, declared, path)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: damaged gzip data: {error}") from None
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


# ---- CIFAR-10 ----

_CIFAR_ROW = 3 * 32 * 32


def read_cifar10(path: str | os.PathLike) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read one batch file of CIFAR-10, of its binary or its Python version.

    Parameters
    ----------
    path : path
        "data_batch_1.bin" (rows of one label and 3072 bytes) or "data_batch_1" (a pickle, which is read without
        executing anything of it).

    Returns
    -------
    images : ndarray of uint8, (N, 32, 32, 3)
    labels : ndarray of int64, (N,)
        0..9.

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If it is neither, is truncated, or holds a label that is not 0..9.

    References
    ----------
    A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    path = Path(path)
    if path.stat().st_size > 1 << 30:
        raise ValueError(f"{path}: not a batch of CIFAR-10: {path.stat().st_size:,} bytes long")
    content = path.read_bytes()
    if path.suffix == ".bin":
        if not content or len(content) % (1 + _CIFAR_ROW):
            rule = f"must be a multiple of {1 + _CIFAR_ROW} bytes long"
            raise ValueError(f"{path}: truncated or not a binary batch of CIFAR-10: {rule}, got {len(content):,}")
        rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + _CIFAR_ROW)
        labels, pixels = rows[:, 0].astype(np.int64), rows[:, 1:]
    else:
        batch = unpickle_arrays(content, path)
        pixels, labels = _cifar_entry(batch, "data", path), _cifar_entry(batch, "labels", path)
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (_CIFAR_ROW,):
            raise ValueError(f"{path}: 'data' must be a uint8 array of shape (N, {_CIFAR_ROW})")
        if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < 256 for label in labels):
            raise ValueError(f"{path}: 'labels' must be a list of integers 0..9")
        labels = np.array(labels, np.int64)
        if len(labels) != len(pixels):
            raise ValueError(f"{path}: 'labels' must be as many as images, {len(pixels)}, got {len(labels)}")
    if len(labels) and labels.max() > 9:
        raise ValueError(f"{path}: labels must be 0..9, got {labels.max()}")
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels


def _cifar_entry(batch, key, path):
    if not isinstance(batch, dict) or not (key in batch or key.encode() in batch):
        raise ValueError(f"{path}: not a batch of CIFAR-10: no entry {key!r}")
    return batch[key] if key in batch else batch[key.encode()]


# Pickles hold a program. These stand in for the only names that a pickle of arrays needs; nothing else is ever called.


class _Reconstructed:
    """Stands in for an array while it is being unpickled; becomes one in `_arrays`."""

    def __setstate__(self, state):
        _, shape, dtype, fortran_order, data = state
        if not isinstance(dtype, _DType) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("arrays must be of plain numbers")
        self.array = np.frombuffer(data, dtype.code).reshape(shape, order="F" if fortran_order else "C")


class _DType:
    def __init__(self, code, *_):
        self.code = _text(code)
        if self.code not in ("u1", "i1", "i2", "i4", "i8", "f4", "f8"):
            raise pickle.UnpicklingError(f"arrays of dtype {self.code!r} are not supported")

    def __setstate__(self, state):
        order = _text(state[1])
        self.code = {"<": "<", ">": ">"}.get(order, "|") + self.code


def _text(value):
    """Python 2's strings arrive as bytes."""
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _encode(text, encoding):
    """How protocol 2 writes bytes."""
    return str(text).encode("latin1")


_STAND_INS = {
    ("numpy", "ndarray"): object(),
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Reconstructed(),
    ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Reconstructed(),
}

_PLAIN_OPCODES = frozenset(
    """
    PROTO FRAME STOP MARK POP EMPTY_DICT DICT SETITEM SETITEMS EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE
    TUPLE1 TUPLE2 TUPLE3 NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINSTRING SHORT_BINSTRING
    BINBYTES SHORT_BINBYTES BINUNICODE SHORT_BINUNICODE BINPUT LONG_BINPUT BINGET LONG_BINGET MEMOIZE GLOBAL
    STACK_GLOBAL REDUCE BUILD
    """.split()
)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"refused to load {module}.{name}")
        return _STAND_INS[module, name]


def _arrays(value):
    if isinstance(value, _Reconstructed):
        return value.array
    return {key: _arrays(entry) for key, entry in value.items()} if type(value) is dict else value


def unpickle_arrays(content: bytes, path) -> Any:
    """The dict of arrays, lists and strings in a pickle, without executing anything of it."""
    try:
        # First a pass that only reads: the unpickler itself would reserve memory for any place a pickle names.
        for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if opcode.name not in _PLAIN_OPCODES:
                raise ValueError(f"refused the pickle instruction {opcode.name}")
            if opcode.name in ("BINPUT", "LONG_BINPUT") and int(argument or 0) > number:
                raise ValueError("a memo index is out of range")
            if opcode.name == "FRAME" and int(argument or 0) > len(content):
                raise ValueError("truncated")
        return _arrays(_Unpickler(io.BytesIO(content), encoding="bytes").load())
    except Exception as error:  # damaged pickles raise about anything
        raise ValueError(f"{path}: not a readable batch of CIFAR-10 (a pickle of arrays): {error}") from None


# ---- npy and npz ----


def read_npy(path: str | os.PathLike) -> NDArray[Any]:
    """Map an array in an npy file into memory, read-only: only what is used is ever read.

    Parameters
    ----------
    path : path
        Arrays of Python objects are refused, as they are pickles.

    Returns
    -------
    ndarray
        Read-only.

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If it is not npy, is truncated, or holds Python objects.
    """
    path = Path(path)
    with open(path, "rb") as stream:
        shape, fortran_order, dtype = _npy_header(stream, path)
        declared, offset = math.prod(shape) * dtype.itemsize, stream.tell()
    stored = path.stat().st_size - offset
    if declared > stored:
        raise ValueError(f"{path}: truncated: the header declares {declared:,} bytes of data, the file has {stored:,}")
    if not declared:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran_order else "C")


def read_npz(path: str | os.PathLike) -> dict[str, NDArray[Any]]:
    """Read all arrays of an npz file.

    Parameters
    ----------
    path : path
        Arrays of Python objects are refused, as they are pickles.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If it is not npz, is damaged, holds Python objects, or declares more than it can hold.
    """
    path, arrays = Path(path), {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not member.filename.endswith(".npy"):
                    continue
                where = f"{path}: {member.filename}"
                with archive.open(member) as stream:
                    shape, fortran_order, dtype = _npy_header(stream, where)
                    declared = math.prod(shape) * dtype.itemsize
                    _check_size(where, declared, member.compress_size, compressed=True)
                    data = _read_exactly(stream, declared, where)
                array = np.frombuffer(data, dtype) if declared else np.empty(0, dtype)
                arrays[member.filename[:-4]] = array.reshape(shape, order="F" if fortran_order else "C")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path}: damaged npz file: {error}") from None
    return arrays


def _npy_header(stream, path) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type from the header of an npy stream, which is then at the first byte of data."""
    start = stream.read(8)
    if start[:6] != b"\x93NUMPY" or len(start) < 8 or start[6] not in (1, 2, 3):
        raise ValueError(f"{path}: not an npy file: wrong magic number 0x{start[:6].hex() or '(empty)'}")
    size_bytes = stream.read(2 if start[6] == 1 else 4)
    size = int.from_bytes(size_bytes, "little")
    text = stream.read(size) if size <= 10_000 else b""
    if len(text) < max(size, 1):
        raise ValueError(f"{path}: truncated or damaged npy header")
    try:
        header = ast.literal_eval(text.decode("utf8" if start[6] == 3 else "latin1").strip())
        shape, order, dtype = header["shape"], header["fortran_order"], np.dtype(header["descr"])
        sizes = all(type(size) is int and 0 <= size < 2**63 for size in shape)
        if type(shape) is not tuple or type(order) is not bool or len(shape) > 32 or not sizes:
            raise ValueError
    except Exception:  # literal_eval and dtype raise about anything
        raise ValueError(f"{path}: damaged npy header") from None
    if dtype.hasobject:
        raise ValueError(f"{path}: holds Python objects, which are not loaded: they are pickles")
    if dtype.kind not in "biuf":
        raise ValueError(f"{path}: must hold numbers, got dtype {dtype}")
    return shape, order, dtype
