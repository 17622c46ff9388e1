"""The training loop.

A run is a function of its arguments: the order of the images in an epoch depends on (seed, epoch) alone, the views on
(seed, epoch, image), so the number of steps done is all that a run needs to go on where it stopped.
"""

from __future__ import annotations

import contextlib
import functools
import json
import operator
import os
import platform
import signal
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nearfar import checkpoint
from nearfar._extras import require
from nearfar.history import History, LogFile
from nearfar.optim import AdamW, cosine_schedule
from nearfar.pixels import Pixels, check_type
from nearfar.prefetch import Prefetch

__all__ = ["epoch_order", "fit"]

CONFIG_FILE = "config.json"
LOG_FILE = "log.csv"


def epoch_order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of the images in an epoch: a permutation of 0..count - 1 that depends on (seed, epoch) alone."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def fit(
    method: Any,
    images: ArrayLike,
    augment: Any,
    *,
    epochs: int,
    batch_size: int = 256,
    optimizer: Any = None,
    schedule: Callable[[int], float] | None = None,
    warmup_steps: int | None = None,
    seed: int = 0,
    callback: Callable[[History], Any] | None = None,
    run_dir: str | os.PathLike | None = None,
    resume: bool = False,
    checkpoint_seconds: float = 30.0,
    config: dict[str, Any] | None = None,
    progress: bool = True,
    prefetch: bool = False,
) -> History:
    """Train a method on images.

    Each epoch goes through the images once, in an order of its own; images that do not fill the last batch are left out
    of that epoch. Each step makes views of a batch, lets the method compute gradients, and updates the parameters.

    Parameters
    ----------
    method : SimCLR
        Trained in place.
    images : array of uint8, uint16 or float32, (N, H, W, C)
        White is 255, 65535 or 1. Only the rows of a batch are touched at a time, so it may be a memory-mapped file.
    augment : recipe
        ``augment(images, seed=, epoch=, indices=)`` gives V >= 2 float32 views (V, N, h, w, C): one of
        `nearfar.transforms` whose views have one size (`MultiView` makes each by a recipe of its own), or a function of
        your own. It becomes ``method.augment``.
    epochs : int
        >= 1.
    batch_size : int
        Images per step, >= 1; N if the data set is smaller.
    optimizer : optimiser, optional
        Over ``method.trained``. Default: AdamW, learning rate 2e-3, weight decay 1e-4.
    schedule : callable, optional
        ``schedule(step)`` gives the learning rate of step 0, 1, ... Default: `cosine_schedule` from the optimiser's
        learning rate to 0 over the whole training.
    warmup_steps : int, optional
        Steps over which the default schedule rises, 0 to all. Default: 50, or a tenth of the training if that is less.
    seed : int
        Of the order of the images and of the views, >= 0.
    callback : callable, optional
        ``callback(history)`` after each step; training stops early if it returns True.
    run_dir : path, optional
        Folder for config.json, log.csv and checkpoint.safetensors, made if not there; it must not hold a run already.
        Needs the extra [train].
    resume : bool
        Go on with the run in `run_dir` from its checkpoint, bit for bit as if it had not been interrupted. Arguments
        on which results depend must be those of the run. A run without a checkpoint starts from the beginning.
    checkpoint_seconds : float
        At least so much time lies between two checkpoints; there is always one at the end.
    config : dict, optional
        What else to write to config.json, as "options".
    progress : bool
        Show a progress bar on stderr, if tqdm is installed.
    prefetch : bool
        Make the next step's views on a thread of their own while a step computes, with the same results. That pays
        where a CPU has nothing else to do, or where `augment` is a slow function of your own.

    Returns
    -------
    History
        Loss, learning rate, speed and cosines of each step; with `resume`, those before the interruption too.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as said, or differs from that of the run to resume, or a file of the run is damaged.
    FileExistsError
        If `run_dir` holds a run already, and `resume` is not set.
    BlockingIOError
        If another process is training in `run_dir`.
    FloatingPointError
        If training diverges; the last checkpoint is still there.
    KeyboardInterrupt
        At Ctrl-C: after the step at hand is done and a checkpoint is written. The method is as after that step. A
        second Ctrl-C ends at once.

    Notes
    -----
    The results are the same bits for any number of threads.
    """
    images = _check_images(images, method)
    epochs, batch_size = _at_least(1, epochs, "epochs"), _at_least(1, batch_size, "batch_size")
    seed = _at_least(0, seed, "seed")
    batch_size = min(batch_size, len(images))
    per_epoch = len(images) // batch_size
    steps = epochs * per_epoch
    warmup_steps = min(50, steps // 10) if warmup_steps is None else _at_least(0, warmup_steps, "warmup_steps")
    optimizer = AdamW(method.trained, lr=2e-3, weight_decay=1e-4) if optimizer is None else optimizer
    if schedule is None:
        schedule = cosine_schedule(optimizer.lr, steps, warmup_steps)
    method.augment = augment
    training: dict[str, Any] = {"seed": seed, "epochs": epochs, "batch_size": batch_size, "warmup_steps": warmup_steps}
    if not resume and run_dir is None:
        run: _Run | _NoRun = _NoRun()
    elif run_dir is None:
        raise ValueError("run_dir must be given to resume, got None")
    else:
        training["data"] = _fingerprint(images)
        run = _Run(Path(run_dir), method, optimizer, training, bool(resume), config, checkpoint_seconds)

    @functools.lru_cache(maxsize=1)
    def order(epoch):
        return epoch_order(len(images), seed, epoch)

    def views_of(step):
        epoch, batch = divmod(step, per_epoch)
        indices = order(epoch)[batch * batch_size : (batch + 1) * batch_size]
        return augment(images[indices], seed=seed, epoch=epoch, indices=indices)

    views = Prefetch(views_of, run.step, steps, prefetch)
    with run, _Bar(progress, steps, run.step, batch_size, per_epoch) as bar, views, _HeldInterrupt() as interrupt:
        for step in range(run.step, steps):
            started = time.perf_counter()
            epoch = step // per_epoch
            result = method.step(views.take())
            learning_rate = schedule(step)
            optimizer.step(learning_rate)
            seconds = time.perf_counter() - started
            cosines = result.positive_cosine, result.negative_cosine
            row = (step + 1, epoch, result.loss, learning_rate, batch_size / seconds, *cosines, result.chance_level)
            run.after_step(row)
            bar.after_step(row)
            stop = (callback is not None and callback(run.history) is True) or interrupt.requested
            if stop or step + 1 == steps:
                run.save()
            if stop:
                break
    return run.history


def _at_least(least: int, value: Any, name: str) -> int:
    try:
        integer = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if integer < least:
        raise ValueError(f"{name} must be >= {least}, got {integer}")
    return integer


def _check_images(images: ArrayLike, method: Any) -> Pixels:
    images = np.asanyarray(images)
    check_type(images, "images")
    channels = method.encoder.in_shape[2]
    if images.ndim != 4 or not images.size or images.shape[3] != channels:
        raise ValueError(f"images must be (N, H, W, {channels}) with N, H, W >= 1, got shape {images.shape}")
    return images


def _fingerprint(images: Pixels) -> list[Any]:
    """Shape, and a checksum over some 4,096 images: tells other data from the same."""
    some = images[:: max(1, len(images) // 4096)]
    crc = 0
    for image in some:
        crc = zlib.crc32(np.ascontiguousarray(image).data, crc)
    return [*images.shape, f"{crc:08x}"]


class _NoRun:
    """A training that leaves no files."""

    def __init__(self):
        self.step, self.history = 0, History()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def after_step(self, row):
        self.history.append(row)

    def save(self):
        pass


class _Run(_NoRun):
    """A training with a run folder: the log, the checkpoints, and the state to go on from."""

    def __init__(self, folder, method, optimizer, training, resume, config, checkpoint_seconds):
        super().__init__()
        self.folder, self.method, self.optimizer = folder, method, optimizer
        self.checkpoint = folder / checkpoint.FILE_NAME
        self.seconds = float(checkpoint_seconds)
        settings = {key: value for key, value in optimizer.state_dict().items() if not isinstance(value, np.ndarray)}
        settings.pop("steps", None)
        self.description = {
            "format": checkpoint.FORMAT,
            **checkpoint.describe_method(method),
            "optimizer": {"name": type(optimizer).__name__, **settings},
            "training": training,
        }
        require("safetensors.numpy", "safetensors")  # before hours of training, not after
        if resume:
            if not folder.is_dir():
                raise FileNotFoundError(f"run_dir {folder}: no such folder")
            self._restore()
        else:
            self._create(config)
        self.log = LogFile(folder / LOG_FILE, self.history)
        self.saved = time.monotonic()

    def _create(self, config):
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in (checkpoint.FILE_NAME, LOG_FILE, CONFIG_FILE):
            if (self.folder / name).exists():
                raise FileExistsError(f"run_dir {self.folder}: holds a run already; resume it, or name another folder")
        machine = {"python": platform.python_version(), "numpy": np.__version__, "machine": platform.machine()}
        content = self.description | {"machine": machine} | ({"options": config} if config else {})
        checkpoint.write_atomically(self.folder / CONFIG_FILE, (json.dumps(content, indent=2) + "\n").encode())

    def _restore(self):
        if not self.checkpoint.exists():
            return
        tensors, description = checkpoint.read_checkpoint(self.checkpoint)
        progress = description.pop("progress", None)
        if progress is None:
            raise ValueError(f"{self.checkpoint}: holds no training to resume")
        difference = _difference(description, self.description)
        if difference:
            key, old, new = difference
            raise ValueError(f"resume must have the arguments of the run in {self.folder}: {key} was {old}, got {new}")
        history = History.read(self.folder / LOG_FILE)
        self.step = progress["step"]
        if len(history.rows) < self.step:
            what = f"{len(history.rows)} whole rows for {self.step} steps"
            raise ValueError(f"{self.folder / LOG_FILE}: does not fit the checkpoint: {what}")
        self.history = History(history.rows[: self.step])
        state = {key.removeprefix("optimizer."): t for key, t in tensors.items() if key.startswith("optimizer.")}
        self.optimizer.load_state_dict(state | progress["optimizer"])
        checkpoint.load_networks(self.method, tensors, self.checkpoint)

    def __exit__(self, *_):
        self.log.close()

    def after_step(self, row):
        self.history.append(row)
        self.log.append(row)
        self.step = row[0]
        if time.monotonic() - self.saved >= self.seconds:
            self.save()

    def save(self):
        self.method.check_finite()
        self.log.flush()
        state = self.optimizer.state_dict()
        vectors = {f"optimizer.{key}": value for key, value in state.items() if isinstance(value, np.ndarray)}
        numbers = {key: value for key, value in state.items() if not isinstance(value, np.ndarray)}
        description = self.description | {"progress": {"step": self.step, "optimizer": numbers}}
        checkpoint.write_checkpoint(self.checkpoint, checkpoint.network_tensors(self.method) | vectors, description)
        self.saved = time.monotonic()


def _difference(old: Any, new: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """The first entry in which two descriptions differ, by its path, and both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in old | new:
            found = _difference(old.get(name), new.get(name), f"{key}.{name}".lstrip("."))
            if found:
                return found
        return None
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, (a, b) in enumerate(zip(old, new, strict=True)):
            found = _difference(a, b, f"{key}[{place}]")
            if found:
                return found
        return None
    return None if old == new else (key, old, new)


class _Bar:
    """A progress bar with loss, images per second and time left."""

    def __init__(self, show, steps, done, batch_size, per_epoch):
        self.bar, self.epochs, self.batch_size = None, steps // per_epoch, batch_size
        if show:
            with contextlib.suppress(ImportError):
                tqdm = require("tqdm", "tqdm").tqdm
                form = "{desc} |{bar:24}| {percentage:3.0f} %  {rate_fmt}, {remaining} left"
                self.bar = tqdm(
                    total=steps * batch_size,
                    initial=done * batch_size,
                    unit=" images",
                    bar_format=form,
                    mininterval=0.1 if sys.stderr.isatty() else 10,
                    dynamic_ncols=True,
                )

    def __enter__(self):
        return self

    def after_step(self, row):
        if self.bar is not None:
            text = f"epoch {row[1] + 1}/{self.epochs}  loss {row[2]:.3f} (chance {row[7]:.3f})"
            self.bar.set_description_str(text, refresh=False)
            self.bar.update(self.batch_size)

    def __exit__(self, *_):
        if self.bar is not None:
            self.bar.close()


class _HeldInterrupt:
    """Lets the step at hand end before Ctrl-C raises, on leaving; a second Ctrl-C raises at once.

    Only where Python's own handler is in place, which others may have replaced, and only on the main thread.
    """

    def __init__(self):
        self.requested = False
        self._held = False

    def __enter__(self):
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self._held = True
        return self

    def _note(self, number, frame):
        if self.requested:
            signal.default_int_handler(number, frame)
        self.requested = True

    def __exit__(self, kind, *_):
        if self._held:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if self.requested and kind is None:
                raise KeyboardInterrupt
