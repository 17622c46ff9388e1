"""Runs: from options, as given on the command line, to data, networks and a recipe; and the folders that hold them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nearfar import data as datasets
from nearfar import optim, transforms
from nearfar.data import Dataset
from nearfar.encoders import convnet, convnext, mobilenet, resnet, resnet9, wide_resnet
from nearfar.heads import projection_head
from nearfar.methods import SimCLR
from nearfar.network import Network
from nearfar.pixels import WHITE
from nearfar.train import CONFIG_FILE

__all__ = [
    "DEFAULTS",
    "build_augment",
    "build_method",
    "build_optimizer",
    "new_folder",
    "read_options",
    "with_defaults",
]

DEFAULTS: dict[str, Any] = {
    "data": "digits",
    "image_size": None,
    "limit": None,
    "size": None,
    "scale": (0.2, 1.0),
    "flip": 0.5,
    "jitter": 0.8,
    "strength": 0.5,
    "grayscale": None,
    "blur": 0.0,
    "mean": None,
    "std": None,
    "encoder": "convnet",
    "width": None,
    "stem": "small",
    "head_hidden": None,
    "head_out": 64,
    "head_layers": 2,
    "head_batch_norm": False,
    "epochs": 10,
    "batch_size": 256,
    "optimizer": "adamw",
    "lr": 2e-3,
    "weight_decay": 1e-4,
    "warmup_steps": None,
    "temperature": 0.2,
    "groups": 1,
    "seed": 0,
}

# What the kind of data changes. Digits must not be mirrored, and few small ones need many epochs.
DATA_DEFAULTS: dict[str, dict[str, Any]] = {
    "digits": {"scale": (0.5, 1.0), "flip": 0.0, "temperature": 0.5, "epochs": 100},
}


def _wide_resnet(width, stem, **rest):
    if width is not None and width % 16:
        raise ValueError(f"width must be a multiple of 16 for wide-resnet16, got {width}")
    return wide_resnet(16, (width or 64) // 16, **rest)


# Each takes width, stem, in_channels and seed. Width, the channels of the first stage, may be None: the usual ones.
ENCODERS: dict[str, Callable[..., Network]] = {
    "convnet": lambda width, stem, **rest: convnet([k * (width or 32) for k in (1, 2, 4)], **rest),
    "resnet9": lambda width, stem, **rest: resnet9(width=width or 64, **rest),
    **{
        f"resnet{depth}": lambda width, depth=depth, **rest: resnet(depth, width=width or 64, **rest)
        for depth in (18, 34, 50, 101, 152)
    },
    "wide-resnet16": _wide_resnet,
    "mobilenet": lambda width, **rest: mobilenet(width=(width or 32) / 32, **rest),
    "convnext": lambda width, stem, **rest: convnext(width=width or 96, stem=2 if stem == "small" else 4, **rest),
}
OPTIMIZERS = ("adamw", "sgd", "lars")


def with_defaults(given: dict[str, Any]) -> dict[str, Any]:
    """All options: those given, then those of the kind of data, then the general ones."""
    unknown = given.keys() - DEFAULTS.keys()
    if unknown:
        raise ValueError(f"options must be known ones, got {', '.join(sorted(unknown))}")
    kind = str(given.get("data", DEFAULTS["data"])).partition(":")[0]
    return DEFAULTS | DATA_DEFAULTS.get(kind, {}) | given


def build_augment(options: dict[str, Any], data: Dataset) -> Any:
    """The recipe for views."""
    colour = data.images.shape[3] == 3
    mean, std = _mean_and_std(data.images)
    channels = len(mean)
    for name in ("mean", "std"):
        if options[name] is not None and len(options[name]) not in (1, channels):
            raise ValueError(f"{name} must be one number or {channels}, one per channel, got {list(options[name])}")
    return transforms.SimCLR(
        options["size"] or max(data.images.shape[1:3]),
        scale=tuple(options["scale"]),
        flip=options["flip"],
        jitter=options["jitter"],
        strength=options["strength"],
        grayscale=(0.2 if colour else 0.0) if options["grayscale"] is None else options["grayscale"],
        blur=options["blur"],
        mean=tuple(np.broadcast_to(mean if options["mean"] is None else options["mean"], channels).tolist()),
        std=tuple(np.broadcast_to(std if options["std"] is None else options["std"], channels).tolist()),
    )


def _mean_and_std(images) -> tuple[list[float], list[float]]:
    """Per channel, of values in 0..1, over some 10,000 images; three decimals, so that they can be written down."""
    some = np.asarray(images[:: max(1, len(images) // 10_000)])
    means, stds = [], []
    for channel in range(some.shape[3]):
        values = some[..., channel].ravel()
        if values.dtype.kind == "f":
            mean, std = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        else:
            white = WHITE[values.dtype]
            counts, levels = np.bincount(values, minlength=white + 1) / len(values), np.arange(white + 1) / white
            mean = float(counts @ levels)
            std = float(np.sqrt(counts @ (levels - mean) ** 2))
        means.append(round(mean, 3))
        stds.append(round(max(std, 0.01), 3))
    return means, stds


def build_encoder(options: dict[str, Any], channels: int) -> Network:
    """The encoder with its initial weights."""
    name, width = options["encoder"], options["width"]
    if name not in ENCODERS:
        raise ValueError(f"encoder must be one of {', '.join(ENCODERS)}, got {name!r}")
    if width is not None and width < 1:
        raise ValueError(f"width must be >= 1, got {width}")
    return ENCODERS[name](width, stem=options["stem"], in_channels=channels, seed=options["seed"])


def build_method(options: dict[str, Any], channels: int) -> SimCLR:
    """The method with initial weights."""
    encoder = build_encoder(options, channels)
    features = encoder.out_features
    head = projection_head(
        features,
        options["head_hidden"] or features,
        options["head_out"],
        layers=options["head_layers"],
        batch_norm=options["head_batch_norm"],
        seed=options["seed"] + 1,
    )
    return SimCLR(encoder, head, options["temperature"], groups=options["groups"])


def build_optimizer(options: dict[str, Any], method: Any) -> Any:
    """The optimiser over the method's networks."""
    kinds = {"adamw": optim.AdamW, "sgd": optim.SGD, "lars": optim.LARS}
    if options["optimizer"] not in kinds:
        raise ValueError(f"optimizer must be one of {', '.join(kinds)}, got {options['optimizer']!r}")
    return kinds[options["optimizer"]](method.trained, options["lr"], weight_decay=options["weight_decay"])


def load_data(options: dict[str, Any]) -> Dataset:
    """The data set, with the limits that the options set."""
    return datasets.load(options["data"], size=options["image_size"]).subset(options["limit"])


def new_folder(name: str, parent: str | os.PathLike = "runs") -> Path:
    """Makes the first folder of runs/<name>-1, runs/<name>-2, ... that is not there yet."""
    parent = Path(parent)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        try:
            (folder := parent / f"{name}-{number}").mkdir()
            return folder
        except FileExistsError:
            number += 1


def read_options(folder: str | os.PathLike) -> dict[str, Any]:
    """The options in a run's config.json.

    Raises
    ------
    OSError
        If there is none.
    ValueError
        If it is damaged, or was not written by ``nearfar train``.
    """
    path = Path(folder) / CONFIG_FILE
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: damaged: {error}") from None
    options = config.get("options") if isinstance(config, dict) else None
    if not isinstance(options, dict):
        raise ValueError(f"{path}: has no 'options': not a run of 'nearfar train'")
    try:
        return with_defaults(options)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
