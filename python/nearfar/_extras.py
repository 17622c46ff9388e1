"""Packages that come with the extra [train], imported when they are needed."""

from contextlib import AbstractContextManager
from importlib import import_module
from types import ModuleType

__all__ = ["one_thread", "require"]


def require(module: str, package: str) -> ModuleType:
    """The module, or an ImportError that says what to install."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{package} is needed for this and can't be imported ({error}): pip install 'nearfar[train]'"
        ) from None


def one_thread() -> AbstractContextManager:
    """Around calls of scikit-learn on small data: its threads spin while they wait for each other, which costs more
    than they bring, and many times more on a machine that has other work."""
    return require("threadpoolctl", "scikit-learn").threadpool_limits(1)
