"""Plots, with matplotlib's object interface: nothing is shown, and no global state is touched.

Each function draws into `axes` if given, and returns a `matplotlib.figure.Figure`, which notebooks show and
``figure.savefig("name.png")`` saves.
"""

from __future__ import annotations

import functools
import io
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nearfar._extras import one_thread, require
from nearfar.data import spread
from nearfar.pixels import WHITE, Pixels, shares_of_white

__all__ = ["embedding_map", "history", "report", "views"]

LOSS, CHANCE, QUIET = "#1f5fa8", "#c2452d", "#666666"


@functools.cache
def _figure_type() -> type:
    base: Any = require("matplotlib.figure", "matplotlib").Figure

    class Figure(base):
        """A figure that notebooks show without pyplot."""

        def _repr_png_(self) -> bytes:
            stream = io.BytesIO()
            self.savefig(stream, format="png")
            return stream.getvalue()

    return Figure


def _figure(width: float, height: float) -> Any:
    return _figure_type()(figsize=(width, height), dpi=120, layout="constrained")


def _axes(axes: Any, width: float, height: float) -> Any:
    return _figure(width, height).add_subplot() if axes is None else axes


def _clean(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)


def history(history: Any, axes: Any = None) -> Any:
    """Plot the loss of a training against the chance level.

    Parameters
    ----------
    history : History
        From `nearfar.fit`.
    axes : matplotlib axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    matplotlib.figure.Figure
    """
    axes = _axes(axes, 6, 4)
    step, loss, chance = history["step"], history["loss"], history["chance_level"]
    if not len(step):
        raise ValueError("history must have at least one step, got none")
    width = max(1, len(loss) // 50)
    smooth = np.convolve(loss, np.ones(width) / width, "valid")
    if width > 1:
        axes.plot(step, loss, color=LOSS, alpha=0.25, linewidth=0.8)
    axes.plot(
        step[(width - 1) // 2 :][: len(smooth)], smooth, color=LOSS, linewidth=1.8, label=f"loss, now {smooth[-1]:.2f}"
    )
    axes.plot(step, chance, color=CHANCE, linestyle="--", label=f"chance level, {chance[-1]:.2f}")
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats)")
    axes.set_ylim(0, max(chance.max(), np.percentile(loss, 99)) * 1.05)
    axes.grid(axis="y", alpha=0.25)
    axes.legend(loc="lower left", frameon=False)
    _clean(axes, "Loss")
    return axes.figure


def views(images: ArrayLike, augment: Any, *, count: int = 8, seed: int = 0, axes: Any = None) -> Any:
    """Show images and the views that a recipe makes of them.

    Parameters
    ----------
    images : array of uint8, uint16 or float32, (N, H, W, C) or (N, H, W), or a list of arrays (H, W, C) or (H, W)
        The first `count` are shown.
    augment : recipe
        From `nearfar.transforms`, or a function like `nearfar.fit` takes.
    count : int
        Number of images, >= 1.
    seed : int
        Of the views.
    axes : matplotlib axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    matplotlib.figure.Figure
    """
    images = _first(images, count)
    made = augment(images, seed=seed, epoch=0, indices=np.arange(len(images)))
    pictures = augment.denormalize(made) if hasattr(augment, "denormalize") else made
    groups = pictures if isinstance(pictures, list) else [pictures]  # views of several sizes come in several arrays
    columns = [np.clip(view, 0, 1) for group in groups for view in group]
    height, width = columns[0].shape[1:3]
    tiles = [np.stack([_shown(image, height, width) for image in images]), *columns]
    gap = max(1, height // 12)
    canvas, centers = _grid(tiles, gap)
    axes = _axes(axes, 1.1 * canvas.shape[1] / (width + gap) + 0.4, 1.1 * canvas.shape[0] / (width + gap) + 0.5)
    shown = canvas if canvas.shape[2] == 3 else canvas[..., 0]
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    numbers = range(1, len(tiles))
    axes.set_xticks(centers, ["image", *(f"view {n}" if tiles[n].shape[2] > 0.6 * width else str(n) for n in numbers)])
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=9)
    axes.set_yticks([])
    _clean(axes, "Views")
    axes.spines[:].set_visible(False)
    return axes.figure


def _first(images: ArrayLike, count: int) -> Any:
    """The first images of an array or a list, each (H, W, C)."""
    if count < 1:
        raise ValueError(f"count must be >= 1, got {count}")
    several = isinstance(images, (list, tuple))
    some = [np.asarray(image) for image in images[:count]] if several else np.asarray(images)[:count]
    least = 2 if several else 3
    for array in some if several else [some]:
        if array.dtype not in WHITE or array.ndim not in (least, least + 1):
            what = f"got {array.dtype} of shape {array.shape}"
            kinds = "uint8, uint16 or float32 (N, H, W, C), (N, H, W)"
            raise ValueError(f"images must be {kinds} or a list of such images, {what}")
    if not len(some):
        raise ValueError("images must hold at least one image")
    if several:
        return [image if image.ndim == 3 else image[..., None] for image in some]
    return some if some.ndim == 4 else some[..., None]


def _grid(columns: list[Any], gap: int) -> tuple[NDArray[np.float64], list[float]]:
    """Columns of pictures (N, h, w, C) side by side, and the middle of each; small ones are in the middle of a row."""
    row = max(column.shape[1] for column in columns) + gap
    width = sum(column.shape[2] + gap for column in columns) - gap
    canvas = np.ones((len(columns[0]) * row - gap, width, columns[0].shape[3]))
    centers, left = [], 0
    for column in columns:
        high, wide = column.shape[1:3]
        for number, tile in enumerate(column):
            top = number * row + (row - gap - high) // 2
            canvas[top : top + high, left : left + wide] = tile
        centers.append(left + (wide - 1) / 2)
        left += wide + gap
    return canvas, centers


def _shown(image: Pixels, height: int, width: int) -> NDArray[np.float32]:
    """The image in 0..1 at the size of a view: the nearest pixels of its centre square, if it is not of that shape."""
    side = min(image.shape[0] / height, image.shape[1] / width)
    top, left = (image.shape[0] - side * height) / 2, (image.shape[1] - side * width) / 2
    down = (top + side * (np.arange(height) + 0.5)).astype(int)
    across = (left + side * (np.arange(width) + 0.5)).astype(int)
    return np.clip(shares_of_white(image[down][:, across]), 0, 1)


def embedding_map(
    v: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    classes: tuple[str, ...] = (),
    limit: int = 2000,
    seed: int = 0,
    axes: Any = None,
) -> Any:
    """Draw features in the plane by t-SNE, coloured by class.

    Distances are Euclidean between L2-normalised rows. t-SNE keeps neighbours together; sizes of clusters and distances
    between them mean little.

    Parameters
    ----------
    v : array (N, d)
        Features or embeddings, N >= 2.
    labels : array of int (N,), optional
        Classes from 0.
    classes : sequence of str
        Names of the classes for the legend; numbers if not given.
    limit : int
        Most rows that are drawn, evenly spread over all.
    seed : int
        Of t-SNE.
    axes : matplotlib axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If scikit-learn or matplotlib are not installed.
    """
    v = np.asarray(v, np.float32)
    if v.ndim != 2 or len(v) < 2:
        raise ValueError(f"v must be (N, d) with N >= 2, got shape {v.shape}")
    rows = spread(len(v), limit)
    axes, count, v = _axes(axes, 6, 5), len(v), v[rows]
    points = _tsne(v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), np.finfo(np.float32).tiny), seed)
    size = float(np.clip(6000 / len(v), 4, 30))
    if labels is None:
        axes.scatter(*points.T, s=size, color=LOSS, linewidths=0)
    else:
        labels = np.asarray(labels)
        if labels.shape != (count,):
            raise ValueError(f"labels must have shape ({count},), one per row of v, got {labels.shape}")
        labels = labels[rows]
        numbers = np.unique(labels)
        colours = require("matplotlib", "matplotlib").colormaps["tab10" if len(numbers) <= 10 else "nipy_spectral"]
        for place, number in enumerate(numbers):
            mine = labels == number
            colour = colours(place if len(numbers) <= 10 else place / (len(numbers) - 1))
            name = classes[number] if number < len(classes) else str(number)
            axes.scatter(*points[mine].T, s=size, color=colour, linewidths=0, alpha=0.85, label=name)
        if len(numbers) <= 20:
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, markerscale=1.6, fontsize=9)
    axes.set_aspect("equal", "datalim")
    axes.set_xticks([])
    axes.set_yticks([])
    _clean(axes, f"Features of {len(v):,} images (t-SNE)")
    axes.spines[:].set_visible(False)
    return axes.figure


def _tsne(v: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    if len(v) < 5 or np.ptp(v, axis=0).max() == 0:  # too few, or all the same: nothing to arrange
        centred = v - v.mean(axis=0)
        return (
            np.linalg.svd(centred, full_matrices=False)[0][:, :2] if v.shape[1] > 1 else np.repeat(centred, 2, axis=1)
        )
    manifold = require("sklearn.manifold", "scikit-learn")
    perplexity = min(30.0, (len(v) - 1) / 3)
    init = "pca" if v.shape[1] >= 2 else "random"
    with one_thread():
        return manifold.TSNE(perplexity=perplexity, init=init, random_state=seed).fit_transform(v)


def report(method: Any, data: Any, history_: Any, *, title: str = "", seed: int = 0) -> Any:
    """One page on a training: the loss, some views, and a map of the test images' features.

    Parameters
    ----------
    method : SimCLR
        After `nearfar.fit`.
    data : Dataset
        What it was trained on.
    history_ : History
        From `nearfar.fit`.
    title : str
        Above everything.
    seed : int
        Of the views and the map.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = _figure(14, 5)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.25, 0.6, 1.35))
    history(history_, left)
    views(data.images[spread(len(data.images), 8)], method.augment, seed=seed, axes=middle)
    rows = spread(len(data.test_images), 1000)
    labels = None if data.test_labels is None else data.test_labels[rows]
    embedding_map(method.transform(data.test_images[rows]), labels, classes=data.classes, seed=seed, axes=right)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=13)
    return figure
