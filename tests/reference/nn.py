"""Layers and networks in float64 NumPy: the specification of csrc/nn.

Each layer is a pair of functions: `<kind>(x, parameters, ...) -> y` and `<kind>_gradient(d_y, x, parameters, ...)`,
which return the gradient of `x` and of each parameter. Maps are (N, H, W, C), filters (kh, kw, in, out), matrices
(in, out).

A network is a list of (kind, inputs, options), as `nearfar._core.Network` takes it: `inputs` are the indices of the
earlier layers that it reads, -1 for the network's input. Parameters, statistics and gradients are dicts with the keys
(layer index, "weight" | "bias" | "running_mean" | "running_var").
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import special

# ---- convolution ----


def _windows(x, kernel, stride, padding, fill=0.0):
    """x (N, H, W, C) -> view (N, H', W', C, kh, kw)"""
    (ph, pw), (kh, kw) = padding, kernel
    x = np.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)), constant_values=fill)
    return sliding_window_view(x, (kh, kw), (1, 2))[:, ::stride, ::stride]


def conv(x, weight, bias=0.0, *, stride=1, padding=(0, 0)):
    """y[n, i, j, o] = bias[o] + sum_{k, l, c} x[n, i s + k - ph, j s + l - pw, c] weight[k, l, c, o]"""
    return np.tensordot(_windows(x, weight.shape[:2], stride, padding), weight, ((3, 4, 5), (2, 0, 1))) + bias


def conv_gradient(d_y, x, weight, *, stride=1, padding=(0, 0)):
    """d_x, d_weight, d_bias"""
    kh, kw, channels, out = weight.shape
    n, height, width, _ = x.shape
    (ph, pw), (_, rows, columns, _) = padding, d_y.shape
    windows = _windows(x, (kh, kw), stride, padding)
    d_weight = np.tensordot(windows, d_y, ((0, 1, 2), (0, 1, 2))).transpose(1, 2, 0, 3)
    d_padded = np.zeros((n, height + 2 * ph, width + 2 * pw, channels))
    for k in range(kh):
        for l in range(kw):
            d_padded[:, k : k + rows * stride : stride, l : l + columns * stride : stride] += d_y @ weight[k, l].T
    d_x = d_padded[:, ph : ph + height, pw : pw + width]
    return d_x, d_weight, d_y.reshape(-1, out).sum(0)


# ---- batch normalisation ----


def batch_norm(x, weight, bias, mean, var, *, eps=1e-5):
    """y = weight (x - mean) / sqrt(var + eps) + bias, per channel"""
    return weight * (x - mean) / np.sqrt(var + eps) + bias


def batch_statistics(x):
    """Mean and biased variance of each channel."""
    rows = x.reshape(-1, x.shape[-1])
    return rows.mean(0), rows.var(0)


def running_statistics(running_mean, running_var, x, momentum):
    """The running mean and (unbiased) variance after batch `x`."""
    mean, var = batch_statistics(x)
    count = x.size // x.shape[-1]
    return (
        (1 - momentum) * running_mean + momentum * mean,
        (1 - momentum) * running_var + momentum * var * count / (count - 1),
    )


def batch_norm_gradient(d_y, x, weight, statistics=None, *, eps=1e-5):
    """d_x, d_weight, d_bias in training, where mean and variance are functions of x (or given, if x is rounded)."""
    mean, var = statistics or batch_statistics(x)
    scale = 1 / np.sqrt(var + eps)
    normal = (x - mean) * scale
    axes = tuple(range(x.ndim - 1))
    d_bias, d_weight = d_y.sum(axes), (d_y * normal).sum(axes)
    count = x.size // x.shape[-1]
    return weight * scale * (d_y - d_bias / count - normal * d_weight / count), d_weight, d_bias


def layer_norm(x, weight, bias, *, eps=1e-5):
    """y = weight (x - mean) / sqrt(var + eps) + bias, over the last axis"""
    return weight * _normal(x, eps) + bias


def row_statistics(x):
    """Mean and biased variance of each row."""
    return x.mean(-1, keepdims=True), x.var(-1, keepdims=True)


def _normal(x, eps, statistics=None):
    mean, var = statistics or row_statistics(x)
    return (x - mean) / np.sqrt(var + eps)


def layer_norm_gradient(d_y, x, weight, statistics=None, *, eps=1e-5):
    """d_x, d_weight, d_bias; as for batch norm, mean and variance may be given"""
    u, g, axes = _normal(x, eps, statistics), d_y * weight, tuple(range(x.ndim - 1))
    d_x = g - g.mean(-1, keepdims=True) - u * (g * u).mean(-1, keepdims=True)
    _, var = statistics or row_statistics(x)
    return d_x / np.sqrt(var + eps), (d_y * u).sum(axes), d_y.sum(axes)


# ---- depthwise convolution ----


def depthwise_conv(x, weight, bias=0.0, *, stride=1, padding=(0, 0)):
    """y[n, i, j, c] = bias[c] + sum_{k, l} x[n, i s + k - ph, j s + l - pw, c] weight[k, l, 0, c]"""
    windows = _windows(x, weight.shape[:2], stride, padding)
    return np.einsum("nijckl,klc->nijc", windows, weight[:, :, 0]) + bias


def depthwise_conv_gradient(d_y, x, weight, *, stride=1, padding=(0, 0)):
    """d_x, d_weight, d_bias"""
    d_x, d_weight, d_bias = zip(
        *(
            conv_gradient(d_y[..., [c]], x[..., [c]], weight[..., [c]], stride=stride, padding=padding)
            for c in range(x.shape[-1])
        ),
        strict=True,
    )
    return np.concatenate(d_x, -1), np.concatenate(d_weight, -1), np.concatenate(d_bias)


# ---- the rest ----


def relu(x):
    return np.maximum(x, 0)


def relu_gradient(d_y, x):
    return d_y * (x > 0)


def gelu(x):
    return x * special.ndtr(x)


def gelu_gradient(d_y, x):
    return d_y * (special.ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi))


def silu(x):
    return x * special.expit(x)


def silu_gradient(d_y, x):
    return d_y * special.expit(x) * (1 + x * special.expit(-x))


ACTIVATIONS = {"relu": (relu, relu_gradient), "gelu": (gelu, gelu_gradient), "silu": (silu, silu_gradient)}


def _pool_windows(x, kernel, stride, padding):
    windows = _windows(x, (kernel, kernel), stride, (padding, padding), -np.inf)
    return windows.reshape(*windows.shape[:4], kernel * kernel)


def max_pool(x, *, kernel, stride, padding):
    return _pool_windows(x, kernel, stride, padding).max(-1)


def max_pool_gradient(d_y, x, *, kernel, stride, padding):
    """Each d_y goes to the first largest cell of its window, in row order."""
    n, i, j, c = np.indices(d_y.shape)
    k, l = np.divmod(_pool_windows(x, kernel, stride, padding).argmax(-1), kernel)
    d_x = np.zeros_like(x)
    np.add.at(d_x, (n, i * stride + k - padding, j * stride + l - padding, c), d_y)
    return d_x


def global_average_pool(x):
    return x.mean((1, 2))


def global_average_pool_gradient(d_y, x):
    return np.broadcast_to(d_y[:, None, None] / (x.shape[1] * x.shape[2]), x.shape)


def linear(x, weight, bias=0.0):
    """x (N, F), or maps (N, H, W, C) that are taken as vectors."""
    return x.reshape(len(x), -1) @ weight + bias


def linear_gradient(d_y, x, weight):
    """d_x, d_weight, d_bias"""
    return (d_y @ weight.T).reshape(x.shape), x.reshape(len(x), -1).T @ d_y, d_y.sum(0)


# ---- networks ----


def shapes(layers, channels):
    """Shapes of all parameters and of all statistics, from the number of channels; without linear layers on maps."""
    parameters, statistics, channels = {}, {}, {-1: channels}
    for index, (kind, inputs, options) in enumerate(layers):
        before = channels[inputs[0]]
        out = options.get("out_channels", options.get("out_features", before))
        channels[index] = out
        if kind == "conv":
            parameters[index, "weight"] = (options["kernel_h"], options["kernel_w"], before, out)
        elif kind == "depthwise_conv":
            parameters[index, "weight"] = (options["kernel_h"], options["kernel_w"], 1, out)
        elif kind == "linear":
            parameters[index, "weight"] = (before, out)
        elif kind in ("batch_norm", "layer_norm"):
            parameters[index, "weight"] = (out,)
        if kind == "batch_norm":
            statistics |= {(index, "running_mean"): (out,), (index, "running_var"): (out,)}
        if kind in ("batch_norm", "layer_norm") or options.get("bias"):
            parameters[index, "bias"] = (out,)
    return parameters, statistics


def _conv_options(options):
    return {"stride": options["stride"], "padding": (options["padding_h"], options["padding_w"])}


def _parts(x, groups):
    return np.split(x, groups)


def forward(layers, parameters, statistics, x, training, groups=1):
    """Output of the network, the running statistics after it, and the outputs of all layers (-1: the input)."""
    statistics, values = dict(statistics), {-1: np.asarray(x, float)}
    for index, (kind, inputs, options) in enumerate(layers):
        x = values[inputs[0]]
        weight, bias = parameters.get((index, "weight")), parameters.get((index, "bias"), 0.0)
        if kind == "conv":
            y = conv(x, weight, bias, **_conv_options(options))
        elif kind == "batch_norm":
            eps, keys = options["eps"], [(index, "running_mean"), (index, "running_var")]
            if training:
                y = np.concatenate(
                    [batch_norm(part, weight, bias, *batch_statistics(part), eps=eps) for part in _parts(x, groups)]
                )
                for part in _parts(x, groups):
                    moved = running_statistics(*(statistics[key] for key in keys), part, options["momentum"])
                    statistics |= zip(keys, moved, strict=True)
            else:
                y = batch_norm(x, weight, bias, *(statistics[key] for key in keys), eps=eps)
        elif kind == "depthwise_conv":
            y = depthwise_conv(x, weight, bias, **_conv_options(options))
        elif kind == "layer_norm":
            y = layer_norm(x, weight, bias, **options)
        elif kind in ACTIVATIONS:
            y = ACTIVATIONS[kind][0](x)
        elif kind == "max_pool":
            y = max_pool(x, **options)
        elif kind == "global_average_pool":
            y = global_average_pool(x)
        elif kind == "linear":
            y = linear(x, weight, bias)
        elif kind == "sum":
            y = x + values[inputs[1]]
        values[index] = y
    return y, statistics, values


def to_bfloat16(x, side=None):
    """Rounded to 8 significant bits, to the nearest, ties to even; to the other side where `side` of that is true."""
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    nearest, cut = bits + 0x7FFF + (bits >> 16 & 1) >> 16, bits >> 16

    def to_float(halves):
        return (halves << 16).astype(np.uint32).view(np.float32).astype(float)

    if side is None:
        return to_float(nearest)
    other = np.where(nearest == cut, cut + 1, cut)
    return np.where(side(to_float(nearest)), to_float(other), to_float(nearest))


def stored(layers, parameters, values, groups=1):
    """What backward sees of `values` where activations are stored as bfloat16.

    Computed again, in one pass from what is stored: batch norms (by the statistics of what was not rounded) with a ReLU
    right behind them, layer norms and smooth activations. All else is rounded; the input of a batch norm with a ReLU
    behind it such that the ReLU is zero where it was.
    """
    seen, again = {-1: to_bfloat16(values[-1])}, set()

    def normal(x, index, inputs, options):
        pairs = zip(_parts(x, groups), _parts(values[inputs[0]], groups), strict=True)
        weight, bias = parameters[index, "weight"], parameters[index, "bias"]
        return np.concatenate(
            [batch_norm(one, weight, bias, *batch_statistics(of), **_eps(options)) for one, of in pairs]
        )

    for index, (kind, inputs, options) in enumerate(layers):
        x, source = seen[inputs[0]], inputs[0]
        behind = layers[index + 1][0] if index + 1 < len(layers) and layers[index + 1][1] == (index,) else None
        cheap = kind in ("batch_norm", "layer_norm", "gelu", "silu") and source not in again
        if kind == "batch_norm" and cheap and behind == "relu" and source not in again:
            exact = values[index] > 0
            seen[source] = x = to_bfloat16(
                values[source], lambda one, i=index, o=options, s=inputs, e=exact: (normal(one, i, s, o) > 0) != e
            )
        if kind == "batch_norm" and cheap:
            y = normal(x, index, inputs, options)
        elif kind == "layer_norm" and cheap:
            y = layer_norm(x, parameters[index, "weight"], parameters[index, "bias"], **options)
        elif cheap or (kind == "relu" and source in again and layers[source][0] == "batch_norm"):
            cheap, y = True, ACTIVATIONS[kind][0](x)
        else:
            y = to_bfloat16(values[index])
        again |= {index} if cheap else set()
        seen[index] = y
    return seen


def _eps(options):
    return {"eps": options["eps"]}


def backward(layers, parameters, values, d_y, groups=1, seen=None):
    """Gradients of all parameters and of the input, in training, from the `values` of `forward`.

    If they were stored in another form, `seen` are those that come back; statistics and the choices of max pools are of
    the `values` in any case.
    """
    seen = seen or values
    gradients, d_values = {}, {index: np.zeros_like(value) for index, value in values.items()}
    d_values[len(layers) - 1] += d_y
    for index, (kind, inputs, options) in reversed(list(enumerate(layers))):
        x, exact, d_y = seen[inputs[0]], values[inputs[0]], d_values[index]
        weight = parameters.get((index, "weight"))
        if kind == "conv":
            d_x, *found = conv_gradient(d_y, x, weight, **_conv_options(options))
        elif kind == "batch_norm":
            triples = zip(_parts(d_y, groups), _parts(x, groups), _parts(exact, groups), strict=True)
            d_parts, *found = zip(
                *(
                    batch_norm_gradient(d, part, weight, batch_statistics(of), **_eps(options))
                    for d, part, of in triples
                ),
                strict=True,
            )
            d_x, found = np.concatenate(d_parts), [sum(terms) for terms in found]
        elif kind == "depthwise_conv":
            d_x, *found = depthwise_conv_gradient(d_y, x, weight, **_conv_options(options))
        elif kind == "layer_norm":
            d_x, *found = layer_norm_gradient(d_y, x, weight, row_statistics(exact), **options)
        elif kind in ACTIVATIONS:
            d_x, found = ACTIVATIONS[kind][1](d_y, x), []
        elif kind == "max_pool":
            d_x, found = max_pool_gradient(d_y, exact, **options), []
        elif kind == "global_average_pool":
            d_x, found = global_average_pool_gradient(d_y, x), []
        elif kind == "linear":
            d_x, *found = linear_gradient(d_y, x, weight)
        elif kind == "sum":
            d_x, found = d_y, []
            d_values[inputs[1]] += d_y
        d_values[inputs[0]] += d_x
        for part, gradient in zip(("weight", "bias"), found, strict=False):
            if (index, part) in parameters:
                gradients[index, part] = gradient
    return gradients, d_values[-1]


# ---- flat vectors, as the C side keeps them ----


def split(vector, slots):
    """{(layer index, name): float64 tensor} from a flat vector and its (layer index, name, offset, shape) slots."""
    return {
        (index, name): np.asarray(vector[offset : offset + int(np.prod(shape))], float).reshape(shape)
        for index, name, offset, shape in slots
    }


class Twin:
    """A `_core.Network` (its list of layers, parameters and statistics as they are now) in float64."""

    def __init__(self, core, layers, activation_dtype="float32"):
        self.layers, self.activation_dtype = layers, activation_dtype
        self.parameters = split(core.parameters, core.slots())
        self.statistics = split(core.statistics, core.statistic_slots())

    def forward(self, x, training=False, groups=1):
        """y; in training, what `backward` needs is kept and the running statistics move."""
        run = forward(self.layers, self.parameters, self.statistics, x, training, groups)
        y, self.statistics, self.values = run
        self.groups = groups
        return y

    def backward(self, d_y):
        """Gradients by (layer index, name), and the gradient of the input under the key "x"."""
        seen = None
        if self.activation_dtype == "bfloat16":
            seen = stored(self.layers, self.parameters, self.values, self.groups)
        gradients, d_x = backward(self.layers, self.parameters, self.values, d_y, self.groups, seen)
        return gradients | {"x": d_x}

    def numerical_gradients(self, x, d_y, groups=1, step=1e-6):
        """Central differences of sum(d_y * forward(x)) in every single parameter and input."""
        x = np.array(x, float)

        def loss():
            y, _, _ = forward(self.layers, self.parameters, self.statistics, x, True, groups)
            return (y * d_y).sum()

        gradients = {}
        for key, tensor in (self.parameters | {"x": x}).items():
            gradients[key] = np.zeros(tensor.shape)
            for place in np.ndindex(tensor.shape):
                value = tensor[place]
                tensor[place] = value + step
                above = loss()
                tensor[place] = value - step
                gradients[key][place] = (above - loss()) / (2 * step)
                tensor[place] = value
        return gradients
