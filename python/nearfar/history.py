"""The log of a training: a table with a row per step, in memory and as log.csv."""

from __future__ import annotations

import csv
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nearfar.checkpoint import write_atomically

__all__ = ["History", "LogFile"]

COLUMNS = (
    "step",  # steps done, from 1
    "epoch",  # from 0
    "loss",  # nats
    "learning_rate",
    "images_per_second",
    "positive_cosine",
    "negative_cosine",
    "chance_level",  # nats
)


class History(Mapping):
    """Columns by name, one entry per training step.

    ``history["loss"]`` is an array; ``pandas.DataFrame(history)`` and ``dict(history)`` work.

    The columns are ``step`` (steps done, from 1), ``epoch`` (from 0), ``loss`` (nats), ``learning_rate``,
    ``images_per_second`` (images, not views), ``positive_cosine`` and ``negative_cosine`` (means over the batch of
    embeddings) and ``chance_level`` (the loss if all embeddings were equal, ln(2N - 1) for two views, nats).
    """

    def __init__(self, rows=()):
        self.rows: list[tuple[float, ...]] = list(rows)

    def append(self, row: tuple[float, ...]) -> None:
        self.rows.append(row)

    def __getitem__(self, column: str) -> NDArray:
        place = COLUMNS.index(column) if column in COLUMNS else None
        if place is None:
            raise KeyError(f"no column {column!r}; there are {', '.join(COLUMNS)}")
        return np.array([row[place] for row in self.rows], np.int64 if place < 2 else np.float64)

    def __iter__(self) -> Iterator[str]:
        return iter(COLUMNS)

    def __len__(self) -> int:
        return len(COLUMNS)

    def __repr__(self) -> str:
        if not self.rows:
            return "History(no steps)"
        loss, chance = self["loss"], self["chance_level"][-1]
        return f"History({len(self.rows)} steps, loss {loss[0]:.3f} -> {loss[-1]:.3f}, chance {chance:.3f})"

    @classmethod
    def read(cls, path: str | os.PathLike) -> History:
        """The rows of a log.csv, up to the first that is not whole.

        Raises
        ------
        OSError
            If the file can't be read.
        ValueError
            If it is not such a file.
        """
        rows: list[tuple[float, ...]] = []
        with open(path, newline="", encoding="ascii", errors="replace") as stream:
            lines = csv.reader(line for line in stream if line.endswith("\n"))
            if tuple(next(lines, ())) != COLUMNS:
                raise ValueError(f"{path}: not a training log: the first line must be {','.join(COLUMNS)}")
            for line in lines:
                try:
                    row = (int(line[0]), int(line[1]), *map(float, line[2:]))
                except (ValueError, IndexError):
                    break
                if len(row) != len(COLUMNS) or row[0] != len(rows) + 1:
                    break
                rows.append(row)
        return cls(rows)


class LogFile:
    """log.csv, open for appending and locked, so that two processes can't train in one folder."""

    def __init__(self, path: Path, history: History):
        lines = [COLUMNS, *history.rows]
        self._lock = open(path.parent / ".lock", "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise BlockingIOError(f"run_dir {path.parent}: another process is training there") from None
        try:
            write_atomically(path, "".join(map(_line, lines)).encode())
            self._stream = open(path, "a")
        except BaseException:
            self._lock.close()
            raise

    def append(self, row: tuple[float, ...]) -> None:
        self._stream.write(_line(row))

    def flush(self) -> None:
        """Puts all rows on the disk."""
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        self._stream.close()
        self._lock.close()


def _line(row) -> str:
    return ",".join(value if isinstance(value, str) else repr(value) for value in row) + "\n"
