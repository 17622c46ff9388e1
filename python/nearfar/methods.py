"""Methods: which views, networks and loss make up one training step.

`nearfar.fit` runs any object that has what `SimCLR` has:

networks
    Dict of the networks with a state worth saving, by name.
trained
    The networks that the optimiser updates.
settings
    Dict of numbers that the step depends on, for the log and the checkpoint.
step(views)
    Leaves the gradients in the networks and returns a `Step`.
check_finite()
    Raises FloatingPointError if training has diverged.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nearfar.losses import nt_xent
from nearfar.network import Network
from nearfar.pixels import check_type

__all__ = ["SimCLR", "Step"]

Array = NDArray[np.float32]


class Step(NamedTuple):
    """What one step tells about itself."""

    loss: float  # nats
    chance_level: float  # the loss of embeddings that are all equal, nats
    positive_cosine: float  # mean cosine of two views of a sample
    negative_cosine: float  # mean cosine of views of two samples; NaN for one sample


class SimCLR:
    """SimCLR: two views of each image, one encoder and one head, NT-Xent within the batch.

    Parameters
    ----------
    encoder : Network
        Images (N, H, W, C) to features v (N, d), e.g. from `nearfar.resnet`.
    head : Network
        Features to embeddings z (N, D), e.g. from `nearfar.projection_head`.
    temperature : float
        Of the loss, > 0. SimCLR uses 0.1 for ImageNet, 0.5 for CIFAR-10.
    groups : int
        1: all views go through the networks as one batch, so that batch normalisation takes its statistics over all of
        them. As many as views: each view by itself, as in codes that call the encoder once per view.

    Attributes
    ----------
    augment : recipe or None
        The recipe of the last `nearfar.fit`, whose plain view `transform` uses.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as said, or the head does not fit the encoder.

    References
    ----------
    Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020.

    Examples
    --------
    >>> import nearfar as nf
    >>> encoder = nf.convnet((8, 16), in_channels=1)
    >>> method = nf.SimCLR(encoder, nf.projection_head(16, 16, 8), temperature=0.2)
    >>> data = nf.data.digits()
    >>> augment = nf.transforms.SimCLR(8, scale=(0.6, 1), flip=0, grayscale=0, blur=0, mean=0.3, std=0.4)
    >>> history = nf.fit(method, data.images, augment, epochs=1, progress=False)
    >>> method.transform(data.test_images).shape
    (355, 16)
    """

    name = "simclr"

    def __init__(self, encoder: Network, head: Network, temperature: float = 0.5, *, groups: int = 1):
        for network, what in ((encoder, "encoder"), (head, "head")):
            if not isinstance(network, Network):
                raise TypeError(f"{what} must be a Network, got {type(network).__name__}")
        if len(encoder.in_shape) != 3:
            raise ValueError(f"encoder must take images (H, W, C), got in_shape {encoder.in_shape}")
        if head.in_shape != (encoder.out_features,):
            raise ValueError(
                f"head must take the encoder's {encoder.out_features} features, got in_shape {head.in_shape}"
            )
        self.temperature = float(temperature)
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise ValueError(f"temperature must be > 0, got {temperature}")
        self.groups = operator.index(groups)
        if self.groups < 1:
            raise ValueError(f"groups must be >= 1, got {groups}")
        self.encoder, self.head = encoder, head
        self.augment: Any = None

    @property
    def networks(self) -> dict[str, Network]:
        return {"encoder": self.encoder, "head": self.head}

    @property
    def trained(self) -> list[Network]:
        return [self.encoder, self.head]

    @property
    def settings(self) -> dict[str, float]:
        return {"temperature": self.temperature, "groups": self.groups}

    def step(self, views: Array) -> Step:
        """Loss of a batch, and its gradient with respect to the parameters of both networks, left in `.gradients`.

        Parameters
        ----------
        views : ndarray of float32, (V, N, H, W, C)
            V >= 2 views of N images, normalised.

        Returns
        -------
        Step

        Raises
        ------
        FloatingPointError
            If features, embeddings or their gradients are not finite: training has diverged.
        """
        if not isinstance(views, np.ndarray):
            raise ValueError(f"views must be one array, of views of one size, got a {type(views).__name__}")
        if views.ndim != 5 or len(views) < 2:
            raise ValueError(f"views must be (V, N, H, W, C) with V >= 2, got shape {views.shape}")
        count, samples = views.shape[:2]
        if self.groups not in (1, count):
            raise ValueError(f"groups must be 1 or the number of views, {count}, got {self.groups}")
        v = self.encoder.forward(views.reshape(-1, *views.shape[2:]), training=True, groups=self.groups)
        _check(v, "features")
        z = self.head.forward(v, training=True, groups=self.groups)
        _check(z, "embeddings")
        z = z.reshape(count, samples, -1)
        loss, d_z = nt_xent(z, self.temperature)
        d_v = self.head.backward(d_z.reshape(count * samples, -1), input_gradient=True)
        assert d_v is not None
        _check(d_v, "gradients")
        self.encoder.backward(d_v)
        return Step(float(loss), math.log(max(count * samples - 1, 1)), *mean_cosines(z))

    def check_finite(self) -> None:
        """Raises FloatingPointError if training has diverged."""
        for network in self.trained:
            _check(network.parameters, "parameters")

    def transform(self, images: ArrayLike, augment: Any = None, *, batch_size: int = 256) -> Array:
        """Features of images, in evaluation mode.

        Parameters
        ----------
        images : array of uint8, uint16 or float32, (N, H, W, C)
            White is 255, 65535 or 1. N may be 0.
        augment : recipe, optional
            Its plain view (resized and normalised, nothing random) goes into the encoder. Default: the recipe that the
            encoder was trained with.
        batch_size : int
            Images at a time, >= 1; sets the memory needed.

        Returns
        -------
        ndarray of float32, (N, d)

        Raises
        ------
        TypeError, ValueError
            If `images` are not as said, or there was no training and no `augment`.
        """
        batches = self._plain_batches(images, augment, batch_size)
        return _stack((self.encoder.forward(batch) for batch in batches), self.encoder.out_features)

    def embed(self, images: ArrayLike, augment: Any = None, *, batch_size: int = 256) -> Array:
        """Embeddings z of images, in evaluation mode: as `transform`, and the head behind it."""
        batches = self._plain_batches(images, augment, batch_size)
        return _stack((self.head.forward(self.encoder.forward(batch)) for batch in batches), self.head.out_features)

    def _plain_batches(self, images, augment, batch_size) -> Iterator[Array]:
        plain: Callable = self._recipe(augment).plain
        images = np.asarray(images)
        check_type(images, "images")
        channels = self.encoder.in_shape[2]
        if images.ndim != 4 or images.shape[3] != channels:
            raise ValueError(f"images must be (N, H, W, {channels}), got shape {images.shape}")
        if operator.index(batch_size) < 1:
            raise ValueError(f"batch_size must be >= 1, got {batch_size}")
        return (plain(images[i : i + batch_size]) for i in range(0, len(images), batch_size))

    def _recipe(self, augment):
        recipe = self.augment if augment is None else augment
        if recipe is None:
            raise ValueError("augment must be given, as this method was not trained by fit: its plain view is needed")
        return recipe

    def __repr__(self) -> str:
        parameters = sum(network.parameters.size for network in self.trained)
        features, embedding = self.encoder.out_features, self.head.out_features
        return (
            f"{type(self).__name__}(temperature={self.temperature}, groups={self.groups}): {parameters:,} parameters, "
            f"{features} features, {embedding}-d embeddings"
        )


def _check(values: Array, name: str) -> None:
    if not np.isfinite(values).all():
        raise FloatingPointError(f"training has diverged: {name} are not finite any more; lower the learning rate")


def _stack(batches, width) -> Array:
    return np.concatenate([np.empty((0, width), np.float32), *batches])


def mean_cosines(z: Array) -> tuple[float, float]:
    """Mean cosine of positive pairs and of negative pairs among embeddings (V, N, D), in O(V N D).

    The sum over all pairs of rows is the squared length of their sum; the negatives are what is left without each row
    with itself and the positives.
    """
    count, samples, _ = z.shape
    unit = z.astype(np.float64)
    lengths = np.linalg.norm(unit, axis=2, keepdims=True)
    unit /= np.maximum(lengths, np.finfo(np.float64).tiny)
    per_sample = unit.sum(axis=0)
    own = np.square(unit).sum()  # each row with itself: 1, or 0 for a row of zeros
    same = np.square(per_sample).sum()
    total = np.square(per_sample.sum(axis=0)).sum()
    positive = (same - own) / (samples * count * (count - 1))
    negative = (total - same) / (count**2 * samples * (samples - 1)) if samples > 1 else math.nan
    return float(positive), float(negative)
