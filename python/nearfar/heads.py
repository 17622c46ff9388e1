"""Projection heads: features (N, d) to embeddings (N, D), where the loss is taken."""

from __future__ import annotations

from nearfar.layers import BatchNorm, Linear, ReLU
from nearfar.network import Network

__all__ = ["projection_head"]


def projection_head(
    in_features: int,
    hidden: int,
    out_features: int,
    *,
    layers: int = 2,
    batch_norm: bool | str = False,
    seed: int = 0,
) -> Network:
    """Perceptron between features and embeddings.

    Parameters
    ----------
    in_features : int
        The encoder's `out_features`.
    hidden : int
        Width of the hidden layers; not used if ``layers=1``.
    out_features : int
        Length of the embeddings.
    layers : int
        Number of linear layers, >= 1. 1: a linear head; 2: SimCLR, MoCo v2; 3: SimCLR v2. For no head at all, hand the
        encoder's features to the loss.
    batch_norm : bool or "all"
        False: ``Linear, ReLU, ..., Linear``, all with bias. True: hidden layers are ``Linear (no bias), BatchNorm,
        ReLU``; the last is a Linear with bias. "all": the last one, too, is a Linear without bias followed by a
        BatchNorm, as in the code of SimCLR (which leaves out that one's shift).
    seed : int
        Of the initial weights.

    Returns
    -------
    Network
        Parameters are named as in the same ``torch.nn.Sequential``: "0.weight", "0.bias", "2.weight", "2.bias".

    References
    ----------
    Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020.
    Chen et al., "Big Self-Supervised Models are Strong Semi-Supervised Learners", NeurIPS 2020 (SimCLR v2).

    Examples
    --------
    >>> import numpy as np
    >>> import nearfar as nf
    >>> head = nf.projection_head(512, 512, 128)
    >>> head.forward(np.zeros((4, 512), np.float32)).shape
    (4, 128)
    >>> list(head.state_dict())
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """
    if not isinstance(layers, int) or layers < 1:
        raise ValueError(f"layers must be an integer >= 1, got {layers!r}")
    if batch_norm not in (False, True, "all"):
        raise ValueError(f"batch_norm must be False, True or 'all', got {batch_norm!r}")
    stack = []
    for _ in range(layers - 1):
        stack += [Linear(hidden, bias=False), BatchNorm(), ReLU()] if batch_norm else [Linear(hidden), ReLU()]
    stack += [Linear(out_features, bias=False), BatchNorm()] if batch_norm == "all" else [Linear(out_features)]
    return Network(stack, (in_features,), seed)
