"""Optimisers over flat parameter vectors, learning-rate schedules, and the momentum encoder's update.

A *network* is, for this module, any object with these attributes:

``parameters``, ``gradients``
    Float32 vectors of the same length. ``parameters`` is changed in place.
``parameter_slots``
    For `LARS` only: a list of tuples ``(name, offset, shape, kind)``, in ascending order of offset, one for each weight
    or bias; ``kind`` is ``"conv_weight"``, ``"linear_weight"``, ``"bias"``, ``"batch_norm_weight"`` or
    ``"batch_norm_bias"``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from operator import index
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nearfar import _core

__all__ = ["LARS", "SGD", "AdamW", "cosine_schedule", "momentum_update"]


_State = dict[str, NDArray[np.float32]]

_NOTHING = np.empty(0, np.float32)
_EMPTY_NETWORK = SimpleNamespace(parameters=_NOTHING, gradients=_NOTHING, parameter_slots=[])


class _Optimizer:
    """What the optimisers share: the networks, their state vectors, and the state dict.

    `_settings` gives the names and types of the attributes that hold numbers, `_vectors` the names of the state vectors
    that each network has.
    """

    _settings: ClassVar[dict[str, Callable[[Any], Any]]] = {}
    _vectors: tuple[str, ...] = ()

    lr: float

    def __init__(self, networks: Any, **settings: Any) -> None:
        for name, kind in self._settings.items():
            setattr(self, name, kind(settings[name]))
        # The settings are checked by the operation itself, on nothing.
        self._update(_EMPTY_NETWORK, dict.fromkeys(self._vectors, _NOTHING), self.lr, 1)
        self.networks = [networks] if hasattr(networks, "parameters") else list(networks)
        if not self.networks:
            raise ValueError("networks must hold at least one network, got none")
        if len({id(network) for network in self.networks}) < len(self.networks):
            raise ValueError("networks must be different, got the same one twice")
        for network in self.networks:
            self._check(network)
        self.steps = 0
        self._state = [
            {name: np.zeros(network.parameters.size, np.float32) for name in self._vectors} for network in self.networks
        ]

    def _check(self, network: Any) -> None:
        for name in ("parameters", "gradients"):
            vector = getattr(network, name, None)
            if not isinstance(vector, np.ndarray) or vector.dtype != np.float32:
                raise TypeError(f"network.{name} must be a NumPy array of float32, got {_describe(vector)}")
            if vector.ndim != 1:
                raise ValueError(f"network.{name} must have 1 dimension, got {vector.ndim}")
        if network.gradients.size != network.parameters.size:
            raise ValueError(
                "network.gradients must have as many elements as network.parameters, "
                f"{network.parameters.size}, got {network.gradients.size}"
            )

    def _update(self, network: Any, state: _State, lr: float, step: int) -> None:
        """Update one network in its step number `step`, counted from 1."""
        raise NotImplementedError

    def step(self, lr: float | None = None) -> None:
        """Update the parameters of all networks from their gradients.

        Parameters
        ----------
        lr : float, optional
            Learning rate of this one step, e.g. from `cosine_schedule`; the optimiser's own if not given.

        Raises
        ------
        ValueError
            If a setting is out of its range.

        Notes
        -----
        Gradients are not searched for NaN; one would end up in its parameter. Ctrl-C waits for the end of the step.
        """
        lr = self.lr if lr is None else lr
        for network, state in zip(self.networks, self._state, strict=True):
            self._update(network, state, lr, self.steps + 1)
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs to go on bit for bit.

        Returns
        -------
        dict
            Numbers (the settings and ``"steps"``) and copies of the state vectors, named
            ``"<vector>.<position of the network>"``.
        """
        state = {name: getattr(self, name) for name in self._settings}
        state["steps"] = self.steps
        for position, vectors in enumerate(self._state):
            state.update({f"{name}.{position}": vector.copy() for name, vector in vectors.items()})
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over settings and state vectors from `state_dict` of an optimiser of the same kind and networks.

        Parameters
        ----------
        state : dict
            As `state_dict` returns it; numbers may be NumPy scalars or arrays without dimensions, as ``np.load`` gives.

        Raises
        ------
        ValueError
            If an entry is missing, is not known, or has another shape. Nothing is changed then.
        """
        numbers = self._settings | {"steps": int}
        vectors = {f"{name}.{i}": vector for i, mine in enumerate(self._state) for name, vector in mine.items()}
        expected, got = {*numbers, *vectors}, set(state.keys())
        if got != expected:
            raise ValueError(
                f"state must have this optimiser's entries, missing {sorted(expected - got)}, "
                f"unknown {sorted(got - expected)}"
            )
        for name, vector in vectors.items():
            if np.shape(state[name]) != vector.shape:
                raise ValueError(f"state[{name!r}] must have shape {vector.shape}, got {np.shape(state[name])}")
        values = {name: kind(np.asarray(state[name]).item()) for name, kind in numbers.items()}
        for name, vector in vectors.items():
            vector[:] = state[name]
        for name, value in values.items():
            setattr(self, name, value)


def _describe(value: Any) -> str:
    return f"dtype {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__


class SGD(_Optimizer):
    """Stochastic gradient descent with momentum.

    With gradient g, parameters p, momentum mu and buffer b, which starts at 0::

        d = g + weight_decay p
        b = mu b + d
        p = p - lr b            or, with nesterov,   p - lr (d + mu b)

    This is ``torch.optim.SGD`` with ``dampening=0``, in float32. Weight decay applies to every parameter.

    Parameters
    ----------
    networks : network or list of networks
        What to update: objects with float32 vectors ``.parameters`` and ``.gradients``.
    lr : float
        Learning rate, >= 0.
    momentum : float
        In [0, 1). Default 0.9.
    weight_decay : float
        >= 0. Default 0.
    nesterov : bool
        Nesterov's form; needs momentum > 0. Default False.

    Raises
    ------
    ValueError
        If a setting is out of its range.

    References
    ----------
    Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np, nearfar as nf
    >>> line = SimpleNamespace(parameters=np.ones(2, np.float32), gradients=np.array([1, -1], np.float32))
    >>> nf.SGD(line, lr=0.5).step()
    >>> line.parameters
    array([0.5, 1.5], dtype=float32)
    """

    _settings: ClassVar[dict[str, Callable[[Any], Any]]] = {
        "lr": float,
        "momentum": float,
        "weight_decay": float,
        "nesterov": bool,
    }
    momentum: float
    weight_decay: float
    nesterov: bool

    def __init__(
        self,
        networks: Any,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        self._vectors = ("momentum_buffer",) if momentum != 0 else ()
        super().__init__(networks, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)

    def _update(self, network: Any, state: _State, lr: float, step: int) -> None:
        buffer = state.get("momentum_buffer")
        _core.sgd_step(
            network.parameters, buffer, network.gradients, lr, self.momentum, self.weight_decay, self.nesterov
        )


class AdamW(_Optimizer):
    """Adam with decoupled weight decay.

    With gradient g, parameters p, moments m and v, which start at 0, and t the number of this step, from 1::

        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g^2
        p = (1 - lr weight_decay) p - lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)

    This is ``torch.optim.AdamW``, in float32. Weight decay applies to every parameter.

    Parameters
    ----------
    networks : network or list of networks
        What to update: objects with float32 vectors ``.parameters`` and ``.gradients``.
    lr : float
        Learning rate, >= 0. Default 0.001.
    betas : tuple of two floats
        Decay of the two moments, each in [0, 1). Default (0.9, 0.999).
    eps : float
        At least 1.18e-38, the smallest normal float32. Default 1e-8.
    weight_decay : float
        >= 0. Default 0.01.

    Raises
    ------
    ValueError
        If a setting is out of its range.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np, nearfar as nf
    >>> line = SimpleNamespace(parameters=np.ones(2, np.float32), gradients=np.array([3, -3], np.float32))
    >>> nf.AdamW(line, lr=0.25, weight_decay=0).step()
    >>> line.parameters
    array([0.75, 1.25], dtype=float32)
    """

    _settings: ClassVar[dict[str, Callable[[Any], Any]]] = {
        "lr": float,
        "beta1": float,
        "beta2": float,
        "eps": float,
        "weight_decay": float,
    }
    _vectors = ("first_moment", "second_moment")
    beta1: float
    beta2: float
    eps: float
    weight_decay: float

    def __init__(
        self,
        networks: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        if len(betas) != 2:
            raise ValueError(f"betas must be two numbers, got {betas}")
        super().__init__(networks, lr=lr, beta1=betas[0], beta2=betas[1], eps=eps, weight_decay=weight_decay)

    def _update(self, network: Any, state: _State, lr: float, step: int) -> None:
        _core.adamw_step(
            network.parameters,
            state["first_moment"],
            state["second_moment"],
            network.gradients,
            step,
            lr,
            self.beta1,
            self.beta2,
            self.eps,
            self.weight_decay,
        )


class LARS(_Optimizer):
    """SGD with momentum and layer-wise adaptive rate scaling, for large batches.

    Each weight with parameters p and gradient g moves by a share of its own norm. With momentum mu and buffer b, which
    starts at 0::

        r = trust_coefficient |p| / (|g| + weight_decay |p| + eps)
        d = r (g + weight_decay p)
        b = mu b + d
        p = p - lr b            or, with nesterov,   p - lr (d + mu b)

    Slots of an excluded kind, and weights with |p| = 0 or |g| = 0, have d = g: no scaling and no decay.

    Parameters
    ----------
    networks : network or list of networks
        What to update: objects with float32 vectors ``.parameters`` and ``.gradients``, and with ``.parameter_slots``.
        Elements that are in no slot are left as they are.
    lr : float
        Learning rate, >= 0. As it multiplies shares, it is much larger than that of SGD, e.g. 0.3 per 256 samples.
    momentum : float
        In [0, 1). Default 0.9.
    weight_decay : float
        >= 0. Default 1e-6. With 0 the scaling stays, only the decay goes.
    trust_coefficient : float
        > 0. Default 0.001.
    eps : float
        >= 0. Default 1e-8.
    nesterov : bool
        Nesterov's form; needs momentum > 0. Default False.
    exclude : tuple of str
        Kinds of slots without scaling and decay. Default: biases and batch normalisation's parameters.

    Raises
    ------
    ValueError
        If a setting is out of its range, or slots overlap or lie outside of the parameters.

    References
    ----------
    You, Gitman and Ginsburg, "Large batch training of convolutional networks", 2017 (arXiv:1708.03888); the order of
    scaling, momentum and learning rate is that of lightly.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np, nearfar as nf
    >>> network = SimpleNamespace(
    ...     parameters=np.array([3, 4, 1], np.float32),
    ...     gradients=np.array([0, 1, 1], np.float32),
    ...     parameter_slots=[("weight", 0, (2, 1), "linear_weight"), ("bias", 2, (1,), "bias")],
    ... )
    >>> nf.LARS(network, lr=1.0, momentum=0, weight_decay=0, trust_coefficient=0.1).step()
    >>> network.parameters
    array([3. , 3.5, 0. ], dtype=float32)
    """

    _settings: ClassVar[dict[str, Callable[[Any], Any]]] = {
        "lr": float,
        "momentum": float,
        "weight_decay": float,
        "trust_coefficient": float,
        "eps": float,
        "nesterov": bool,
    }
    momentum: float
    weight_decay: float
    trust_coefficient: float
    eps: float
    nesterov: bool

    def __init__(
        self,
        networks: Any,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 1e-6,
        trust_coefficient: float = 0.001,
        *,
        eps: float = 1e-8,
        nesterov: bool = False,
        exclude: Iterable[str] = ("bias", "batch_norm_weight", "batch_norm_bias"),
    ) -> None:
        self._vectors = ("momentum_buffer",) if momentum != 0 else ()
        self.exclude = tuple(exclude)
        super().__init__(
            networks,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            trust_coefficient=trust_coefficient,
            eps=eps,
            nesterov=nesterov,
        )

    def _check(self, network: Any) -> None:
        super()._check(network)
        if not hasattr(network, "parameter_slots"):
            raise TypeError(f"LARS needs network.parameter_slots, which {type(network).__name__} does not have")

    def _slots(self, network: Any) -> NDArray[np.int64]:
        slots = [
            (offset, math.prod(shape), kind not in self.exclude) for _, offset, shape, kind in network.parameter_slots
        ]
        return np.array(slots, np.int64).reshape(-1, 3)

    def _update(self, network: Any, state: _State, lr: float, step: int) -> None:
        _core.lars_step(
            network.parameters,
            state.get("momentum_buffer"),
            network.gradients,
            self._slots(network),
            lr,
            self.momentum,
            self.weight_decay,
            self.nesterov,
            self.trust_coefficient,
            self.eps,
        )


def cosine_schedule(base_lr: float, steps: int, warmup_steps: int = 0) -> Callable[[int], float]:
    """Return a learning rate that rises linearly, then falls along half a cosine to 0.

    With w = warmup_steps, the rate of step s = 0, 1, ... is::

        base_lr (s + 1) / w                                        for s < w
        base_lr (1 + cos(pi (s - w) / (steps - w))) / 2            for w <= s < steps
        0                                                          for s >= steps

    It is base_lr at the last step of the warm-up and at the first one after it.

    Parameters
    ----------
    base_lr : float
        The highest rate, finite and >= 0.
    steps : int
        Number of steps of the whole training, >= 1.
    warmup_steps : int
        How many of them are warm-up, 0..steps. Default 0.

    Returns
    -------
    callable
        ``schedule(step)`` with an integer step >= 0 gives the rate as a float.

    Raises
    ------
    ValueError
        If an argument is out of its range, or later the step is negative.

    References
    ----------
    Loshchilov and Hutter, "SGDR: Stochastic gradient descent with warm restarts", ICLR 2017.

    Examples
    --------
    >>> import nearfar as nf
    >>> schedule = nf.cosine_schedule(0.8, steps=6, warmup_steps=2)
    >>> [round(schedule(step), 3) for step in range(7)]
    [0.4, 0.8, 0.8, 0.683, 0.4, 0.117, 0.0]
    """
    base_lr, steps, warmup_steps = float(base_lr), index(steps), index(warmup_steps)
    if not 0 <= base_lr < math.inf:
        raise ValueError(f"base_lr must be finite and >= 0, got {base_lr}")
    if steps < 1:
        raise ValueError(f"steps must be >= 1, got {steps}")
    if not 0 <= warmup_steps <= steps:
        raise ValueError(f"warmup_steps must be in 0..{steps} (steps), got {warmup_steps}")

    def schedule(step: int) -> float:
        if step < 0:
            raise ValueError(f"step must be >= 0, got {step}")
        if step >= steps:
            return 0.0
        if step < warmup_steps:
            return base_lr * (step + 1) / warmup_steps
        return base_lr * (1 + math.cos(math.pi * (step - warmup_steps) / (steps - warmup_steps))) / 2

    return schedule


def momentum_update(key_network: Any, query_network: Any, m: float) -> None:
    """Move a momentum encoder's parameters towards those of the encoder it follows.

    ``key = m key + (1 - m) query``, for every parameter, in float32 and in place. Only parameters are averaged: batch
    normalisation's running statistics are not, the key network gathers its own when it runs in training mode. (The same
    choice as lightly and MoCo.)

    Parameters
    ----------
    key_network : network
        What to change: an object with a float32 vector ``.parameters``.
    query_network : network
        An object with a vector ``.parameters`` of the same length.
    m : float
        Momentum in [0, 1], e.g. 0.999. 1 changes nothing, 0 copies.

    Raises
    ------
    ValueError
        If m is out of range, or the networks differ in size or share memory.

    References
    ----------
    He et al., "Momentum contrast for unsupervised visual representation learning", CVPR 2020.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np, nearfar as nf
    >>> key = SimpleNamespace(parameters=np.zeros(2, np.float32))
    >>> query = SimpleNamespace(parameters=np.array([4, 8], np.float32))
    >>> nf.momentum_update(key, query, m=0.75)
    >>> key.parameters
    array([1., 2.], dtype=float32)
    """
    _core.momentum_update(key_network.parameters, query_network.parameters, m)
