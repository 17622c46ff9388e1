"""What nearfar runs on: version, instruction set, BLAS, threads."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from nearfar import _core

__all__ = ["__version__", "show_config"]

try:
    __version__ = version("nearfar")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

# What of the environment changes how fast nearfar runs, or what it runs on.
_VARIABLES = ("NEARFAR_ISA", "NEARFAR_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_CORETYPE")


def show_config(mode: str = "stdout") -> dict[str, str | int] | None:
    """Print what nearfar runs on, or return it: to be included in reports of problems and of measurements.

    Parameters
    ----------
    mode : {"stdout", "dicts"}
        Whether to print (default) or to return, as in ``numpy.show_config``.

    Returns
    -------
    dict or None
        With mode "dicts" the versions of nearfar, NumPy and Python, the machine, the instruction set of the kernels,
        the BLAS library with the kind of processor that it picked its kernels for, and the number of threads; and those
        environment variables that are set and bear on them.

    Raises
    ------
    ValueError
        If `mode` is neither.

    Examples
    --------
    >>> import nearfar as nf
    >>> config = nf.show_config(mode="dicts")
    >>> config["threads"] == nf.get_num_threads()
    True
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f'mode must be "stdout" or "dicts", got {mode!r}')
    config: dict[str, str | int] = {
        "nearfar": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        **_core.config(),
        **{name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }
    if mode == "dicts":
        return config
    for name, value in config.items():
        print(f"{name + ':':<21}{value}")
    return None
