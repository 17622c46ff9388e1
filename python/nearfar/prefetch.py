"""Making the next step's views while a step computes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Prefetch:
    """The results of ``make(step)`` for the steps first, first + 1, ..., end - 1, in this order.

    With `ahead`, a step's result is made on another thread while the caller is busy with the step before. As `make` is
    a function of the step alone, the results are the same. What it raises is raised by the `take` of that step. Leaving
    the ``with`` block waits for the one call that may be under way.
    """

    def __init__(self, make: Callable[[int], Any], first: int, end: int, ahead: bool):
        self._make, self._next, self._end = make, first, end
        self._executor = ThreadPoolExecutor(1, "nearfar-prefetch") if ahead else None
        self._future: Future | None = None

    def __enter__(self) -> Prefetch:
        self._start()
        return self

    def take(self) -> Any:
        """The next step's result."""
        if self._future is None:
            made = self._make(self._next)
            self._next += 1
            return made
        made = self._future.result()
        self._next += 1
        self._start()
        return made

    def _start(self) -> None:
        self._future = None
        if self._executor is not None and self._next < self._end:
            self._future = self._executor.submit(self._make, self._next)

    def __exit__(self, *_) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
