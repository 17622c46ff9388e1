"""Checkpoints: the state of a method, and of its training, in one safetensors file.

The file holds the networks' tensors under torchvision's names behind the network's ("encoder.conv1.weight"), the
optimiser's vectors ("optimizer.first_moment.0"), and in its metadata, as JSON, what is needed to build the method again
and to go on with the training, and a checksum over all of it.

A checkpoint on disk is always whole: it is written to a temporary file beside it, synced, and renamed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from nearfar import layers, methods, transforms
from nearfar._extras import require
from nearfar.network import Network

__all__ = ["load", "read_checkpoint", "save", "write_atomically", "write_checkpoint"]

FORMAT = 1
FILE_NAME = "checkpoint.safetensors"

METHODS: dict[str, Any] = {"simclr": methods.SimCLR}


def write_atomically(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file so that at any moment, power cuts included, `path` has either its old content or the new."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)


# ---- descriptions: objects to JSON and back ----


def describe_network(network: Network) -> dict[str, Any]:
    """The architecture of a network as JSON: its input shape and its layers with their settings."""
    return {"in_shape": list(network.in_shape), "layers": [_describe_layer(layer) for layer in network.layers]}


def _describe_layer(layer):
    values = {field.name: getattr(layer, field.name) for field in dataclasses.fields(layer)}
    for key in ("body", "shortcut"):
        if key in values:
            values[key] = [_describe_layer(inner) for inner in values[key]]
    return {"layer": type(layer).__name__, **_plain(values)}


def build_network(description: dict[str, Any], seed: int = 0) -> Network:
    """The network of a description, with initial parameters."""
    return Network([_build_layer(layer) for layer in description["layers"]], description["in_shape"], seed)


def _build_layer(description):
    values = dict(description)
    name = values.pop("layer")
    kind = getattr(layers, name) if name in layers.__all__ else None
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise ValueError(f"no layer {name!r}")
    for key in ("body", "shortcut"):
        if key in values:
            values[key] = [_build_layer(inner) for inner in values[key]]
    return kind(**values)


def describe_recipe(recipe: Any) -> dict[str, Any]:
    """A recipe as JSON: its name, and its settings if it is one of `nearfar.transforms`."""
    name = type(recipe).__name__
    if not (dataclasses.is_dataclass(recipe) and getattr(transforms, name, None) is type(recipe)):
        return {"own": getattr(recipe, "__qualname__", name)}
    settings = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe) if field.init}
    if "operations" in settings:
        settings["operations"] = [describe_recipe(operation) for operation in settings["operations"]]
    return {"recipe": name, **_plain(settings)}


def build_recipe(description: dict[str, Any] | None) -> Any:
    """The recipe of a description; None for one that is not of `nearfar.transforms`."""
    if description is None or "own" in description:
        return None
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in description.items()}
    name = settings.pop("recipe")
    kind = getattr(transforms, name) if name in transforms.__all__ else None
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise ValueError(f"no recipe {name!r}")
    if "operations" in settings:
        settings["operations"] = [build_recipe(operation) for operation in settings["operations"]]
    return kind(**settings)


def describe_method(method: Any) -> dict[str, Any]:
    """Name, settings, networks and recipe of a method, as JSON."""
    return {
        "method": {"name": method.name, **_plain(method.settings)},
        "networks": {name: describe_network(network) for name, network in method.networks.items()},
        "augment": None if method.augment is None else describe_recipe(method.augment),
    }


def _plain(value):
    """The value with tuples as lists and NumPy numbers as Python's: what JSON gives back."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(entry) for entry in value]
    return value.item() if isinstance(value, np.generic) else value


# ---- files ----


def write_checkpoint(path: str | os.PathLike, tensors: dict[str, Any], description: dict[str, Any]) -> None:
    """Writes tensors and a description atomically, with a checksum over both.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    OSError
        If the file can't be written; the one before is then still there.
    """
    safetensors = require("safetensors.numpy", "safetensors")
    tensors = {name: np.ascontiguousarray(tensor).reshape(np.shape(tensor)) for name, tensor in tensors.items()}
    checksum = _checksum(tensors, description)
    # One entry: safetensors does not keep the order of several, and equal states are to give equal files.
    metadata = {"nearfar": json.dumps({"crc32": checksum, "description": description})}
    write_atomically(path, safetensors.save(tensors, metadata))


def read_checkpoint(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors and description of a checkpoint.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    OSError
        If the file can't be read.
    ValueError
        If it is damaged or not a checkpoint of nearfar.
    """
    safetensors = require("safetensors", "safetensors")
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder")
    with open(path, "rb"):  # a clear OSError
        pass
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except Exception as error:  # the package has its own exceptions for damaged files
        raise ValueError(f"{path}: damaged or not a safetensors file: {error}") from None
    text = metadata.get("nearfar")
    if text is None:
        raise ValueError(f"{path}: not a checkpoint of nearfar (weights of other packages: Network.load_state_dict)")
    try:
        content = json.loads(text)
        description = content["description"]
        damaged = content["crc32"] != _checksum(tensors, description) or not isinstance(description, dict)
    except (KeyError, TypeError, ValueError):
        damaged = True
    if damaged:
        raise ValueError(f"{path}: damaged: the checksum does not fit")
    if description.get("format") != FORMAT:
        raise ValueError(f"{path}: has format {description.get('format')!r}, this version reads {FORMAT}")
    return tensors, description


def _checksum(tensors: dict[str, Any], description: dict[str, Any]) -> str:
    crc = zlib.crc32(json.dumps(description).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        crc = zlib.crc32(f"{name} {tensor.dtype} {tensor.shape}".encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data, crc)
    return f"{crc:08x}"


def network_tensors(method: Any) -> dict[str, Any]:
    """All tensors of the method's networks, by network and name."""
    return {
        f"{name}.{key}": tensor
        for name, network in method.networks.items()
        for key, tensor in network.state_dict().items()
    }


def load_networks(method: Any, tensors: dict[str, Any], path: Any) -> None:
    """Fills the method's networks from a checkpoint's tensors."""
    for name, network in method.networks.items():
        own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        try:
            network.load_state_dict(own)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: the {name} does not fit the checkpoint: {error}") from None


def save(method: Any, path: str | os.PathLike) -> None:
    """Save a method: its networks with their weights, its settings and its recipe.

    Parameters
    ----------
    method : SimCLR
    path : path
        File to write, by custom "<name>.safetensors"; replaced if there. At any moment it has its old content or the
        new.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    OSError
        If the file can't be written; the one before is then still there.
    """
    write_checkpoint(path, network_tensors(method), {"format": FORMAT, **describe_method(method)})


def load(path: str | os.PathLike) -> Any:
    """Load a method that `save` or `fit` has written.

    Parameters
    ----------
    path : path
        The file, or the run folder in which `fit` has written it.

    Returns
    -------
    SimCLR
        With a recipe, if it was one of `nearfar.transforms`: ready for `transform`.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    OSError
        If the file can't be read.
    ValueError
        If it is damaged or not a checkpoint of nearfar.
    """
    path = Path(path)
    file = path / FILE_NAME if path.is_dir() else path
    tensors, description = read_checkpoint(file)
    try:
        settings = dict(description["method"])
        kind = METHODS[settings.pop("name")]
        networks = {name: build_network(network) for name, network in description["networks"].items()}
        method = kind(**networks, **settings)
        method.augment = build_recipe(description["augment"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{file}: can't build the method it describes: {error!r}") from None
    load_networks(method, tensors, file)
    return method
