"""A network: a list of layers with its parameters, run forwards and backwards by the C core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nearfar import _core
from nearfar.layers import Layer, Residual

__all__ = ["Network", "ParameterSlot"]

Array = NDArray[np.float32]


class ParameterSlot(NamedTuple):
    """Where one parameter tensor lies: ``network.parameters[offset : offset + prod(shape)].reshape(shape)``."""

    name: str
    offset: int
    shape: tuple[int, ...]
    kind: str  # "conv_weight", "linear_weight", "bias", "batch_norm_weight" or "batch_norm_bias"


class _Step(NamedTuple):
    """One layer of the plan: its description, full name, and the earlier steps it reads (-1: the network's input)."""

    layer: Layer
    name: str
    inputs: tuple[int, ...]


def _flatten(layers: Sequence[Layer], prefix: str, source: int, steps: list[_Step]) -> int:
    """Appends the steps of `layers`, reading from step `source`; returns the step with their result."""
    for position, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise TypeError(f"layers must hold layers from nearfar.layers, got {layer!r} at {prefix}{position}")
        name = prefix + (layer.name or str(position))
        inputs: tuple[int, ...] = (source,)
        if isinstance(layer, Residual):
            body = _flatten(layer.body, f"{name}.", source, steps)
            inputs = (body, _flatten(layer.shortcut, f"{name}.downsample.", source, steps))
        source = len(steps)
        steps.append(_Step(layer, name, inputs))
    return source


# Axes of native tensors in torch's order: (kh, kw, in, out) -> (out, in, kh, kw), (in, out) -> (out, in).
_TORCH_AXES: dict[int, tuple[int, ...]] = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}


def _float32(value: ArrayLike, name: str) -> Array:
    """`value` as float32; the C core checks the rest."""
    array = np.asarray(value)
    if array.dtype == np.uint8:
        raise TypeError(f"{name} must be float32, got uint8: scale to [0, 1] and normalise first, as transforms do")
    if array.dtype != np.float32:
        if not np.can_cast(array.dtype, np.float32, "same_kind"):
            raise TypeError(f"{name} must be float32, got dtype {array.dtype}")
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    return array


def _vector(name: str) -> property:
    """A vector of the C core's. It can be written to (`-=` and such, too), but not replaced."""

    def get(self: Network) -> Array:
        return getattr(self._core, name)

    def assign(self: Network, value: Array):
        if value is not get(self):
            raise AttributeError(f"{name} can't be replaced, only written to: network.{name}[:] = ...")

    return property(get, assign)


class Network:
    """A list of layers with parameters, gradients and running statistics.

    Parameters
    ----------
    layers : sequence of Layer
        From `nearfar.layers`, in the order they run.
    in_shape : tuple
        Shape of one sample: (H, W, C), where H and W may both be None for any size, or (F,).
    seed : int
        Of the initial parameters: weights and biases of convolutions and linear layers are uniform in
        +-1 / sqrt(inputs of one output), torch's default; batch normalisation 1 and 0.
    conv_algo : {"auto", "direct", "winograd2", "winograd4"}
        How convolutions are computed. "winograd4" does those of kernel 3, stride 1 (or 2 with padding 1),
        without bias by Winograd's algorithm in tiles of 4 x 4, which needs a quarter of the multiplications (9/16) and
        rounds a little more (errors of some 2e-6 of the output's root mean square instead of 4e-7). "winograd2" does
        those of stride 1 in tiles of 2 x 2, with 4/9 of the multiplications and no more rounding than "direct", which
        does none so. "auto" takes for each the one that should be the fastest, a matter of its shape alone.
    activation_dtype : {"float32", "bfloat16"}
        How `forward` in training keeps activations for `backward`; both compute in float32. "bfloat16" rounds what is
        kept to 8 significant bits, to the nearest, and such that a ReLU behind a batch normalisation is zero where it
        was. Outputs stay the same to the bit, gradients move: those of a ResNet-18 at its initial weights, for NT-Xent
        on 64 images of 32 pixels, by 0.2 % of their norm. Such a network then takes three quarters of the memory,
        MobileNet half of it, and a step 2 % longer (ConvNeXt 6 %).

    Attributes
    ----------
    parameters, gradients : ndarray of float32, 1-D
        All parameters in one vector, and the gradients of the last `backward` at the same places. Views of the
        network's own memory: writing to them changes the network.
    statistics : ndarray of float32, 1-D
        Running means and variances of the batch normalisations.
    parameter_slots : list of ParameterSlot
        Name, offset, shape and kind of each tensor in `parameters`.
    out_features : int
        Length of an output vector.
    layers, in_shape, conv_algo, activation_dtype
        As given.

    Notes
    -----
    `forward` in training keeps what `backward` needs, so a network serves one batch at a time. Same seed, same data:
    same bits, for any number of threads. A network can be pickled and deep-copied; gradients and kept activations stay
    behind.

    Examples
    --------
    >>> import numpy as np
    >>> from nearfar.layers import Conv, GlobalAveragePool, Linear, ReLU
    >>> import nearfar as nf
    >>> network = nf.Network([Conv(8, 3), ReLU(), GlobalAveragePool(), Linear(2)], (None, None, 3))
    >>> x = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype(np.float32)
    >>> y = network.forward(x, training=True)
    >>> network.backward(y)  # of the loss sum(y ** 2) / 2
    >>> network.parameters -= 0.01 * network.gradients
    >>> network
    Network: 234 parameters, (?, ?, 3) -> (2,)
      0  Conv               (?, ?, 8)  216
      1  ReLU               (?, ?, 8)
      2  GlobalAveragePool  (8,)
      3  Linear             (2,)       18

    Networks that were made otherwise are made anew to change how they run:

    >>> resnet = nf.resnet(18, width=16)
    >>> thrifty = nf.Network(resnet.layers, resnet.in_shape, activation_dtype="bfloat16")
    >>> thrifty.memory_bytes(64, shape=(32, 32)) < 0.8 * resnet.memory_bytes(64, shape=(32, 32))
    True
    """

    layers: tuple[Layer, ...]
    in_shape: tuple[int | None, ...]
    parameters = _vector("parameters")
    gradients = _vector("gradients")
    statistics = _vector("statistics")
    parameter_slots: list[ParameterSlot]
    out_features: int

    def __init__(
        self,
        layers: Sequence[Layer],
        in_shape: Sequence[int | None],
        seed: int = 0,
        conv_algo: str = "auto",
        activation_dtype: str = "float32",
    ):
        self._build(layers, in_shape, conv_algo, activation_dtype)
        random = np.random.default_rng(seed)
        for slot in self.parameter_slots:
            tensor = _part(self.parameters, slot.offset, slot.shape)
            if slot.kind.startswith("batch_norm"):
                tensor[...] = slot.kind == "batch_norm_weight"
                continue
            if slot.kind != "bias":  # which comes after its weight
                fan_in = tensor[..., 0].size
            random.random(dtype=np.float32, out=tensor)
            tensor *= np.float32(2)
            tensor -= np.float32(1)
            tensor *= np.float32(1 / np.sqrt(fan_in))
        for name, tensor in self._statistics.items():
            tensor[...] = name.endswith(".running_var")

    def _build(
        self, layers: Sequence[Layer], in_shape: Sequence[int | None], conv_algo: str, activation_dtype: str
    ) -> None:
        self.layers, self.conv_algo, self.activation_dtype = tuple(layers), conv_algo, activation_dtype
        self.in_shape = tuple(None if size in (None, -1) else size for size in in_shape)
        if len(self.in_shape) == 3 and (self.in_shape[0] is None) != (self.in_shape[1] is None):
            raise ValueError(f"in_shape must leave open both height and width or none of them, got {self.in_shape}")
        self._steps: list[_Step] = []
        _flatten(self.layers, "", -1, self._steps)
        plan = [(step.layer.kind, step.inputs, step.layer.options()) for step in self._steps]
        sizes = tuple(-1 if size is None else size for size in self.in_shape)
        self._core = _core.Network(plan, sizes, conv_algo, activation_dtype)
        self.out_features = self._core.out_features
        self.parameter_slots = []
        for index, part, offset, shape in self._core.slots():
            step = self._steps[index]
            kind = "bias" if part == "bias" and step.layer.kind != "batch_norm" else f"{step.layer.kind}_{part}"
            self.parameter_slots.append(ParameterSlot(f"{step.name}.{part}", offset, tuple(shape), kind))
        names = [slot.name for slot in self.parameter_slots]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"layers must have different names, got {twice!r} twice")
        self._statistics = {
            f"{self._steps[index].name}.{part}": _part(self.statistics, offset, shape)
            for index, part, offset, shape in self._core.statistic_slots()
        }
        self._batches = {step.name: 0 for step in self._steps if step.layer.kind == "batch_norm"}

    def _infer_shapes(self, shape: tuple[int | None, ...]) -> list[tuple[int | None, ...]]:
        """Shapes of one sample behind each step, and at last (index -1) that of the input, which is given."""
        shapes: list[tuple[int | None, ...]] = [()] * len(self._steps) + [shape]
        for index, step in enumerate(self._steps):
            reads = shapes[step.inputs[0]]
            shapes[index] = reads if isinstance(step.layer, Residual) else step.layer.output_shape(reads)
        return shapes

    def _torch_views(self, vector: Array) -> dict[str, Array]:
        """Views of `vector` with torch's order of axes; that of a linear weight behind maps is (out, C, H, W)."""
        shapes = self._infer_shapes(self.in_shape)
        reads: dict[str, Any] = {step.name: shapes[step.inputs[0]] for step in self._steps}
        views = {}
        for slot in self.parameter_slots:
            shape = slot.shape
            if slot.kind == "linear_weight":
                shape = (*reads[slot.name.removesuffix(".weight")], shape[1])
            views[slot.name] = _part(vector, slot.offset, shape).transpose(_TORCH_AXES[len(shape)])
        return views

    def _torch_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters in `state_dict`."""
        slots = self.parameter_slots
        return {slot.name: tuple(slot.shape[axis] for axis in _TORCH_AXES[len(slot.shape)]) for slot in slots}

    # ---- running ----

    def forward(self, x: ArrayLike, training: bool = False, groups: int = 1) -> Array:
        """Output for a batch.

        Parameters
        ----------
        x : array, float32
            (N, H, W, C) or (N, F), N >= 1. Other float types are converted; uint8 images are refused, as they are not
            normalised.
        training : bool
            Whether to normalise by the batch's statistics, move the running ones, and keep what `backward` needs.
        groups : int
            In training, the batch counts as this many equal parts, one after the other, each with statistics of its
            own, as if they came in separate calls (views of the same images, say). Must divide N.

        Returns
        -------
        ndarray of float32
            (N, out_features), or (N, H', W', out_features) for a network that ends in maps.

        Raises
        ------
        TypeError
            If `x` is not an array of floats.
        ValueError
            If `x` has the wrong shape or holds NaN or infinity, or `groups` does not divide N.
        """
        y = self._core.forward(_float32(x, "x"), bool(training), groups)
        if training:
            for name in self._batches:
                self._batches[name] += int(groups)
        return y

    def backward(self, d_y: ArrayLike, input_gradient: bool = False, accumulate: bool = False) -> Array | None:
        """Gradients of a loss, from its gradient with respect to the output of the last `forward` in training.

        Can be called once for each `forward`: it works in the memory of the activations.

        Parameters
        ----------
        d_y : array, float32
            Shaped like the output.
        input_gradient : bool
            Whether to compute the gradient with respect to the input, too.
        accumulate : bool
            Whether to add to `gradients` instead of overwriting them.

        Returns
        -------
        ndarray of float32 or None
            Gradient with respect to `x`, if asked for.

        Raises
        ------
        TypeError, ValueError
            As `forward`; ValueError if no `forward` in training came before, or `backward` has used it already.
        """
        return self._core.backward(_float32(d_y, "d_y"), bool(input_gradient), bool(accumulate))

    def memory_bytes(
        self, batch: int, training: bool = True, shape: tuple[int, int] | None = None, groups: int = 1
    ) -> int:
        """Bytes of working memory for a batch: activations, gradients of them and scratch, without parameters.

        In training these are mainly the outputs of convolutions and linear layers. Normalisations and activations
        behind them are computed again in `backward`, to the same bits, rather than kept.

        Parameters
        ----------
        batch : int
            Number of samples.
        training : bool
            For training, which keeps activations, or for evaluation.
        shape : (int, int)
            Height and width of the images, where `in_shape` leaves them open.
        groups : int
            As in `forward`.
        """
        height, width = self._resolve(shape)[:2] if len(self.in_shape) == 3 else (1, 1)
        if height is None or width is None:
            raise ValueError(f"shape must be given: this network takes images of any size, got {shape}")
        return self._core.memory_bytes(batch, height, width, bool(training), groups)

    def copy(self) -> Network:
        """A network of its own with the same layers, parameters and running statistics."""
        twin = type(self).__new__(type(self))
        twin.__setstate__(self.__getstate__())
        return twin

    # ---- weights by name ----

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Copies of all parameters and running statistics, with torchvision's names, order and layout.

        Returns
        -------
        dict of str to ndarray
            "layer1.0.conv1.weight" and so on: float32, convolutions (out, in, kh, kw), linear weights (out, in); for
            each batch normalisation weight, bias, running_mean, running_var and num_batches_tracked (int64, 0-D).
        """
        tensors = self._copies(self.parameters) | {name: view.copy() for name, view in self._statistics.items()}
        tensors |= {f"{name}.num_batches_tracked": np.array(count, np.int64) for name, count in self._batches.items()}
        parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        keys = [f"{step.name}.{part}" for step in self._steps for part in parts]
        return {key: tensors[key] for key in keys if key in tensors}

    def gradient_dict(self) -> dict[str, Array]:
        """Copies of the gradients, named and laid out like the parameters in `state_dict`."""
        return self._copies(self.gradients)

    def _copies(self, vector: Array) -> dict[str, NDArray[Any]]:
        shapes = self._torch_shapes()
        return {name: view.copy(order="C").reshape(shapes[name]) for name, view in self._torch_views(vector).items()}

    def load_state_dict(self, state: Mapping[str, ArrayLike], strict: bool = True) -> tuple[list[str], list[str]]:
        """Copies parameters and running statistics from a dict such as `state_dict` returns.

        Parameters
        ----------
        state : mapping of str to array
            NumPy arrays, or anything `numpy.asarray` takes, such as torch's CPU tensors. "num_batches_tracked" may be
            missing. Nothing is changed if anything is wrong.
        strict : bool
            Whether missing and unexpected keys are errors; if not, the keys that fit are taken.

        Returns
        -------
        missing, unexpected : lists of str
            Keys that the network has and `state` has not, and the other way round.

        Raises
        ------
        ValueError
            If keys are missing or unexpected, or a value has another shape or is not finite.
        TypeError
            If a value is not an array of numbers.
        """
        targets = self._torch_views(self.parameters) | self._statistics
        shapes = self._torch_shapes()
        counters = {f"{name}.num_batches_tracked": name for name in self._batches}
        missing = [key for key in targets if key not in state]
        unexpected = [key for key in state if key not in targets and key not in counters]
        if strict and (missing or unexpected):
            parts = [
                f"{what} {', '.join(keys)}"
                for what, keys in (("misses", missing), ("has unexpected", unexpected))
                if keys
            ]
            raise ValueError(f"state must have the network's keys, but {' and '.join(parts)}")

        tensors = {}
        for key, target in targets.items():
            if key in state:
                tensor, wanted = _float32(state[key], f"state[{key!r}]"), shapes.get(key, target.shape)
                if tensor.shape != wanted:
                    raise ValueError(f"state[{key!r}] must have shape {wanted}, got {tensor.shape}")
                if not np.isfinite(tensor).all():
                    raise ValueError(f"state[{key!r}] must be finite, got NaN or infinity")
                if key.endswith(".running_var") and tensor.min() < 0:
                    raise ValueError(f"state[{key!r}] must be >= 0, got {tensor.min()}")
                tensors[key] = tensor
        batches = {}
        for key, name in counters.items():
            if key in state:
                count = np.asarray(state[key])
                if count.size != 1 or count.dtype.kind not in "iu" or count.item() < 0:
                    raise ValueError(f"state[{key!r}] must be one integer >= 0, got {state[key]!r}")
                batches[name] = int(count.item())

        for key, tensor in tensors.items():
            targets[key][...] = tensor.reshape(targets[key].shape)
        self._batches |= batches
        return missing, unexpected

    # ---- copying, pickling, printing ----

    def __getstate__(self) -> dict[str, Any]:
        return {
            "layers": self.layers,
            "in_shape": self.in_shape,
            "conv_algo": self.conv_algo,
            "activation_dtype": self.activation_dtype,
            "parameters": self.parameters.copy(),
            "statistics": self.statistics.copy(),
            "batches": dict(self._batches),
        }

    def __setstate__(self, state: dict[str, Any]):
        self._build(state["layers"], state["in_shape"], state["conv_algo"], state["activation_dtype"])
        self.parameters[...] = state["parameters"]
        self.statistics[...] = state["statistics"]
        self._batches |= state["batches"]

    def _resolve(self, shape: tuple[int, int] | None) -> tuple[int | None, ...]:
        """Shape of a sample, with open sizes taken from `shape`."""
        if shape is None or len(self.in_shape) == 1:
            return self.in_shape
        if len(shape) != 2:
            raise ValueError(f"shape must be (height, width), got {shape}")
        for own, asked in zip(self.in_shape, shape, strict=False):
            if own not in (None, asked):
                raise ValueError(f"shape must be {self.in_shape[:2]}, got {tuple(shape)}")
        return (*shape, self.in_shape[2])

    def summary(self, shape: tuple[int, int] | None = None) -> str:
        """Table of the layers: name, kind, shape of the output, number of parameters.

        Parameters
        ----------
        shape : (int, int)
            Height and width of the images, where `in_shape` leaves them open; "?" in the table if not given.
        """
        shapes = self._infer_shapes(self._resolve(shape))
        sizes: dict[str, int] = {}
        for slot in self.parameter_slots:
            layer = slot.name.rpartition(".")[0]
            sizes[layer] = sizes.get(layer, 0) + int(np.prod(slot.shape))
        rows = []
        for step, after in zip(self._steps, shapes, strict=False):
            count = f"{sizes[step.name]:,}" if step.name in sizes else ""
            rows.append((step.name, type(step.layer).__name__, _text(after), count))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = ["  ".join(("", *(f"{cell:<{w}}" for cell, w in zip(row, [*widths, 0], strict=True)))) for row in rows]
        title = (
            f"{type(self).__name__}: {self.parameters.size:,} parameters, {_text(shapes[-1])} -> {_text(shapes[-2])}"
        )
        return "\n".join([title, *(line.rstrip() for line in lines)])

    def __repr__(self) -> str:
        return self.summary()


def _part(vector: Array, offset: int, shape: tuple[int, ...]) -> Array:
    return vector[offset : offset + int(np.prod(shape))].reshape(shape)


def _text(shape: tuple[int | None, ...]) -> str:
    return str(shape).replace("None", "?")
