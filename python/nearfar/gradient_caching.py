"""Gradient caching: the exact gradient of a loss over a batch whose activations do not fit into memory."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nearfar.network import Network

__all__ = ["cached_gradients"]

Array = NDArray[np.float32]
Loss = TypeVar("Loss")


def cached_gradients(
    networks: Network | Sequence[Network],
    x: ArrayLike,
    loss: Callable[[Array], tuple[Loss, ArrayLike]],
    *,
    chunk_size: int = 256,
) -> Loss:
    """Gradients of a loss over a large batch, with the memory of a small one.

    The batch goes through the networks chunk by chunk without keeping activations; `loss` is computed once, over all
    embeddings; then each chunk goes through the networks again and back, with its part of the loss's gradient. That
    takes one forward pass more for all chunks but one, which is about a third of the time. Activations are kept for
    one chunk, embeddings and their gradients for the batch.

    Parameters
    ----------
    networks : Network or sequence of Network
        Each takes what the one before gives: ``(encoder, head)``.
    x : array, float32, (N, ...) or (V, N, ...)
        The batch, or V views of it, for the first network: ``(V, N, H, W, C)``, for instance.
    loss : callable
        Takes the embeddings, (N, D) or (V, N, D), and returns the loss and its gradient with respect to them, as
        `nearfar.nt_xent` does. It must leave the networks alone.
    chunk_size : int
        Most samples (or views of samples) that go through the networks at a time, >= 1. Chunks are as equal as can be.

    Returns
    -------
    loss
        What `loss` returned first. The gradients are in the networks' `gradients`, as after `Network.backward`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as said, networks do not fit one another, or `x` or the gradient of the loss holds NaN or
        infinity.

    Notes
    -----
    Networks that treat each sample by itself get the same gradients with any `chunk_size`, up to rounding: some 1e-7 of
    their norm, or 1e-6 where a convolution takes Winograd's algorithm for the batch and not for a chunk. Batch
    normalisation does not: its means and variances are those of a chunk, so that chunks should not be small, and the
    result is the exact gradient for the network that normalises that way. Running statistics move once for each chunk,
    by the first pass; the second leaves them where they are. With `chunk_size` of at least the batch, the result is in
    all bits that of `forward`, loss and `backward`.

    References
    ----------
    Gao, Zhang, Han, Callan: "Scaling deep contrastive learning batch size under memory limited setup", RepL4NLP 2021.

    Examples
    --------
    >>> from functools import partial
    >>> import numpy as np, nearfar as nf
    >>> encoder, head = nf.convnet((8, 16)), nf.projection_head(16, 16, 8)
    >>> views = np.random.default_rng(0).normal(size=(2, 100, 8, 8, 3)).astype(np.float32)
    >>> loss = nf.cached_gradients((encoder, head), views, partial(nf.nt_xent, temperature=0.2), chunk_size=50)
    >>> optimizer = nf.SGD([encoder, head], lr=0.1)
    >>> optimizer.step()
    """
    chain = _check_networks(networks)
    chunk_size = operator.index(chunk_size)
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be >= 1, got {chunk_size}")
    x = np.asarray(x)
    sample = len(chain[0].in_shape)
    if x.ndim - sample not in (1, 2):
        wanted = "H, W, C" if sample == 3 else "F"
        raise ValueError(f"x must be (N, {wanted}) or (V, N, {wanted}), got shape {x.shape}")
    batch = x.shape[:-sample]
    rows = x.reshape(-1, *x.shape[-sample:])
    if not len(rows):
        raise ValueError(f"x must have at least one sample, got shape {x.shape}")

    chunks = _chunks(len(rows), chunk_size)
    z = np.concatenate([_forward(chain, rows[chunk]) for chunk in chunks])
    value, d_z = loss(z.reshape(*batch, *z.shape[1:]))
    d_z = np.asarray(d_z)
    if d_z.shape != (*batch, *z.shape[1:]):
        raise ValueError(f"loss must return a gradient of shape {(*batch, *z.shape[1:])}, got {d_z.shape}")
    d_z = d_z.reshape(z.shape)

    # The last chunk's activations are still there, and the running statistics are where they should be.
    _backward(chain, d_z[chunks[-1]], accumulate=False)
    saved = [(network.statistics.copy(), dict(network._batches)) for network in chain]
    try:
        for chunk in chunks[:-1]:
            _forward(chain, rows[chunk])
            _backward(chain, d_z[chunk], accumulate=True)
    finally:
        for network, (statistics, batches) in zip(chain, saved, strict=True):
            network.statistics[...] = statistics
            network._batches |= batches
    return value


def _check_networks(networks: Network | Sequence[Network]) -> list[Network]:
    chain = [networks] if isinstance(networks, Network) else list(networks)
    if not chain:
        raise ValueError("networks must hold at least one Network")
    for network in chain:
        if not isinstance(network, Network):
            raise TypeError(f"networks must hold Networks, got {type(network).__name__}")
    if len({id(network) for network in chain}) < len(chain):
        raise ValueError("networks must differ: each keeps the activations of one forward pass")
    for before, after in itertools.pairwise(chain):
        if len(after.in_shape) == 1 and after.in_shape != (before.out_features,):
            raise ValueError(
                f"networks must fit: one gives {before.out_features} features, the next takes {after.in_shape[0]}"
            )
    return chain


def _chunks(rows: int, chunk_size: int) -> list[slice]:
    count = -(-rows // chunk_size)
    edges = [index * rows // count for index in range(count + 1)]
    return [slice(*pair) for pair in itertools.pairwise(edges)]


def _forward(networks: list[Network], x: Array) -> Array:
    for network in networks:
        x = network.forward(x, training=True)
    return x


def _backward(networks: list[Network], d_z: Array, accumulate: bool) -> None:
    d_y: Any = d_z
    for network in reversed(networks):
        d_y = network.backward(d_y, input_gradient=network is not networks[0], accumulate=accumulate)
