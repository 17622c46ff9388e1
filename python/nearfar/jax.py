"""The losses as JAX functions; needs JAX (the extra ``jax``).

Each returns the loss alone, and is made for `jax.grad`, `jax.value_and_grad`, `jax.jit` and `jax.vmap`: gradients with
respect to embeddings and temperature come out of the call that computes the loss, in C, on the CPU, without a matrix of
all scores. Arrays on other devices are copied to the CPU and back.

What all functions share:

- Embeddings are floats, computed and returned in the type they promote to; float16 and bfloat16 in float32, for which
  the loss then is float32, too. float64 needs JAX's option ``jax_enable_x64``.
- Under `jax.vmap` the losses run one after the other. Forward mode and second derivatives are errors of JAX's.
- Wrong shapes and types are errors at once. Wrong values (NaN or infinity, a temperature that is not above 0) are seen
  only when the loss runs; the error then is JAX's, with the message of nearfar in it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

try:
    import jax
    import jax.numpy as jnp
    from jax.experimental.buffer_callback import buffer_callback
except ImportError as error:
    raise ImportError(f"nearfar.jax needs JAX ({error}): pip install 'nearfar[jax]'") from error

from nearfar import losses
from nearfar.losses.image_text import CLIP_LOGIT_SCALE, SIGLIP_LOGIT_BIAS, SIGLIP_LOGIT_SCALE

__all__ = ["clip", "dcl", "dclw", "info_nce", "nt_xent", "sigmoid_loss", "sup_con"]


@dataclass(frozen=True)  # so that JAX can tell equal ones, and compiles once for them
class _OfViews:
    """A loss of views with its gradients, that for the temperature last."""

    loss: Callable
    options: tuple[tuple[str, Any], ...]

    def __call__(self, temperature: float, z: np.ndarray, **constants: np.ndarray) -> tuple:
        options = dict(self.options)
        loss, gradients = self.loss(z, temperature=temperature, **constants, **options, temperature_gradient=True)
        return loss, *gradients


@dataclass(frozen=True)
class _InfoNCE:
    symmetric: bool
    normalize: bool

    def __call__(self, temperature: float, query: np.ndarray, key: np.ndarray, negatives=None) -> tuple:
        options = {"symmetric": self.symmetric, "normalize": self.normalize}
        loss, gradients = losses.info_nce(
            query, key, temperature, negatives=negatives, **options, temperature_gradient=True
        )
        return loss, *gradients


@dataclass(frozen=True)
class _SigmoidLoss:
    """Its scale takes the place of a temperature, its bias that of one more embedding."""

    normalize: bool

    def __call__(self, logit_scale: float, image: np.ndarray, text: np.ndarray, logit_bias: np.ndarray) -> tuple:
        loss, (d_image, d_text, d_logit_scale, d_logit_bias) = losses.sigmoid_loss(
            image, text, logit_scale, logit_bias.item(), normalize=self.normalize
        )
        return loss, d_image, d_text, d_logit_bias, d_logit_scale


@dataclass(frozen=True)
class _InPlace:
    """`function` on buffers of JAX's: reads and writes them where they are."""

    function: Callable

    def __call__(self, context, outputs, constants, temperature, *embeddings) -> None:
        results = _call(self.function, constants, temperature, embeddings)
        for output, result in zip(outputs, results, strict=True):
            np.asarray(output)[...] = result


@dataclass(frozen=True)
class _ByCopy:
    """`function` on arrays that JAX has brought to the CPU."""

    function: Callable

    def __call__(self, constants, temperature, *embeddings) -> tuple:
        results = _call(self.function, constants, temperature, embeddings)
        return tuple(np.asarray(result, embeddings[0].dtype) for result in results)


def _call(function: Callable, constants: dict, temperature: Any, embeddings: tuple) -> tuple:
    constants = {name: np.asarray(x) for name, x in constants.items()}
    return function(np.asarray(temperature).item(), *map(np.asarray, embeddings), **constants)


def _run(function: Callable, constants: dict, temperature: jax.Array, *embeddings: jax.Array) -> tuple:
    """The loss, and its gradients for the embeddings and the temperature.

    On the CPU `jax.pure_callback` would not do: its arrays wait for a thread of JAX's, of which there may be as few as
    the one that is waiting.
    """
    dtype = temperature.dtype
    shapes = tuple(jax.ShapeDtypeStruct(shape, dtype) for shape in ((), *(x.shape for x in embeddings), ()))
    return jax.lax.platform_dependent(
        constants,
        temperature,
        *embeddings,
        cpu=buffer_callback(_InPlace(function), shapes, vmap_method="sequential"),
        default=functools.partial(jax.pure_callback, _ByCopy(function), shapes, vmap_method="sequential"),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loss(function, constants, temperature, embeddings):
    return _run(function, constants, temperature, *embeddings)[0]


def _loss_forward(function, constants, temperature, embeddings):
    loss, *gradients = _run(function, constants, temperature, *embeddings)
    return loss, gradients


def _loss_backward(function, gradients, d_loss):
    *d_embeddings, d_temperature = (d_loss * gradient for gradient in gradients)
    return None, d_temperature, tuple(d_embeddings)


_loss.defvjp(_loss_forward, _loss_backward)


def _evaluate(
    function: Callable, temperature: Any, embeddings: dict[str, Any], constants: dict[str, jax.Array] | None = None
) -> jax.Array:
    """The loss by `function`, which gets the temperature, the arrays of `embeddings`, and by name the constants, for
    which there is no gradient."""
    arrays = {name: jnp.asarray(x) for name, x in embeddings.items()}
    for name, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"{name} must be floats, got dtype {array.dtype}")
        if 0 in array.shape and name != "negatives":
            raise ValueError(f"{name} must have at least one row and one column, got shape {array.shape}")
    temperature = jnp.asarray(temperature)
    if temperature.shape != ():
        raise ValueError(f"temperature must be a number, got shape {temperature.shape}")
    if jnp.issubdtype(temperature.dtype, jnp.complexfloating):
        raise TypeError(f"temperature must be real, got dtype {temperature.dtype}")
    dtype = jnp.result_type(*arrays.values(), jnp.float32)
    tensors = tuple(x.astype(dtype) for x in arrays.values())
    return _loss(function, constants or {}, temperature.astype(dtype), tensors)


def nt_xent(z, temperature=0.5, *, normalize: bool = True) -> jax.Array:
    """NT-Xent, the loss of SimCLR; formula and conventions are in `nearfar.nt_xent`.

    Parameters
    ----------
    z : array, (V, N, D)
        Embeddings of V >= 2 views of N samples.
    temperature : float or array, 0-D
        > 0; may be traced, and differentiated.
    normalize : bool
        Scale rows to length 1 first, so that products are cosines.

    Returns
    -------
    array, 0-D
        The mean over all embeddings, in nats.

    Raises
    ------
    TypeError, ValueError
        If types or shapes are not as said.
    jax.errors.JaxRuntimeError
        When the loss runs, if `z` holds NaN or infinity, or `temperature` is not above 0.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from nearfar.jax import nt_xent
    >>> z = jnp.stack([jnp.eye(4), jnp.eye(4)])
    >>> loss, (d_z, d_temperature) = jax.jit(jax.value_and_grad(nt_xent, (0, 1)))(z, 0.5)
    >>> round(float(loss), 4), d_z.shape, round(float(d_temperature), 4)
    (0.5944, (2, 4, 4), 1.7925)
    """
    if jnp.ndim(z) != 3 or jnp.shape(z)[0] < 2:
        raise ValueError(f"z must be (V, N, D) with V >= 2, got shape {jnp.shape(z)}")
    return _evaluate(_OfViews(losses.nt_xent, (("normalize", bool(normalize)),)), temperature, {"z": z})


def dcl(z, temperature=0.1, *, normalize: bool = True) -> jax.Array:
    """DCL, NT-Xent without the positives in the denominator; formula and conventions are in `nearfar.dcl`.

    Parameters
    ----------
    z : array, (V, N, D)
        Embeddings of V >= 2 views of N >= 2 samples.
    temperature, normalize
        As in `nt_xent`.

    Returns
    -------
    array, 0-D
        The mean over all embeddings, in nats.

    Raises
    ------
    TypeError, ValueError, jax.errors.JaxRuntimeError
        As `nt_xent`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from nearfar.jax import dcl
    >>> round(float(dcl(jnp.ones((2, 8, 4)))), 4)  # log(14)
    2.6391
    """
    if jnp.ndim(z) != 3 or min(jnp.shape(z)[:2]) < 2:
        raise ValueError(f"z must be (V, N, D) with V, N >= 2, got shape {jnp.shape(z)}")
    return _evaluate(_OfViews(losses.dcl, (("normalize", bool(normalize)),)), temperature, {"z": z})


def dclw(z, temperature=0.1, *, sigma: float = 0.5, normalize: bool = True) -> jax.Array:
    """DCLW, `dcl` with weighted positives; formula and conventions are in `nearfar.dclw`.

    Parameters
    ----------
    z : array, (2, N, D)
        Embeddings of two views of N >= 2 samples.
    sigma : float
        > 0: the smaller, the more weights differ. A constant, which can't be traced.
    temperature, normalize
        As in `nt_xent`.

    Returns
    -------
    array, 0-D
        The mean over all embeddings, in nats.

    Raises
    ------
    TypeError, ValueError, jax.errors.JaxRuntimeError
        As `nt_xent`.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from nearfar.jax import dclw
    >>> round(float(dclw(jnp.ones((2, 8, 4)))), 4)  # log(14)
    2.6391
    """
    if jnp.ndim(z) != 3 or jnp.shape(z)[0] != 2 or jnp.shape(z)[1] < 2:
        raise ValueError(f"z must be (2, N, D) with N >= 2, got shape {jnp.shape(z)}")
    sigma = float(sigma)
    if not sigma > 0:
        raise ValueError(f"sigma must be > 0, got {sigma}")
    options = ("sigma", sigma), ("normalize", bool(normalize))
    return _evaluate(_OfViews(losses.dclw, options), temperature, {"z": z})


def info_nce(
    query, key, temperature=0.1, *, negatives=None, symmetric: bool = False, normalize: bool = True
) -> jax.Array:
    """InfoNCE; formula and conventions are in `nearfar.info_nce`.

    Parameters
    ----------
    query, key : array, (N, D)
        Embeddings; row i of `key` is the positive of row i of `query`.
    temperature : float or array, 0-D
        > 0; may be traced, and differentiated.
    negatives : array, (K, D) or (N, K, D), optional
        Negatives that all queries share, or each query's own. Without them, those of a query are the other samples'
        keys.
    symmetric : bool
        The mean of both directions. Not with `negatives`.
    normalize : bool
        Scale rows to length 1 first, so that products are cosines.

    Returns
    -------
    array, 0-D
        The mean over the queries, in nats.

    Raises
    ------
    TypeError, ValueError
        If types or shapes are not as said, or `symmetric` is combined with `negatives`.
    jax.errors.JaxRuntimeError
        When the loss runs, if an input holds NaN or infinity, or `temperature` is not above 0.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from nearfar.jax import info_nce
    >>> query = jnp.eye(4)
    >>> loss, (d_query, d_key) = jax.value_and_grad(info_nce, (0, 1))(query, query, temperature=0.5)
    >>> round(float(loss), 4), d_key.shape
    (0.3408, (4, 4))
    >>> round(float(jax.jit(info_nce)(query, query, negatives=-jnp.ones((10, 4)))), 4)
    0.0
    """
    if jnp.ndim(query) != 2:
        raise ValueError(f"query must be (N, D), got shape {jnp.shape(query)}")
    samples, width = jnp.shape(query)
    if jnp.shape(key) != (samples, width):
        raise ValueError(f"key must have query's shape {(samples, width)}, got {jnp.shape(key)}")
    embeddings = {"query": query, "key": key}
    if negatives is not None:
        if symmetric:
            raise ValueError("symmetric=True needs in-batch negatives: negatives must be None")
        shape = jnp.shape(negatives)
        if not (len(shape) in (2, 3) and shape[-1] == width and (len(shape) == 2 or shape[0] == samples)):
            raise ValueError(f"negatives must be (K, {width}) or ({samples}, K, {width}), got shape {shape}")
        embeddings["negatives"] = negatives
    return _evaluate(_InfoNCE(bool(symmetric), bool(normalize)), temperature, embeddings)


def sup_con(z, labels, temperature=0.1, *, positives: str = "out", normalize: bool = True) -> jax.Array:
    """SupCon, the supervised contrastive loss; formulas and conventions are in `nearfar.sup_con`.

    Parameters
    ----------
    z : array, (N, D) or (V, N, D)
        Embeddings of N samples, or of V views of them.
    labels : array of int, (N,)
        The class of each sample; may be traced.
    temperature : float or array, 0-D
        > 0; may be traced, and differentiated.
    positives : "out" or "in"
        Where the mean over the positives is taken: outside the logarithm or inside.
    normalize : bool
        Scale rows to length 1 first, so that products are cosines.

    Returns
    -------
    array, 0-D
        The mean over the embeddings that have a positive, in nats; 0 if there is none.

    Raises
    ------
    TypeError, ValueError
        If types or shapes, or `positives`, are not as said.
    jax.errors.JaxRuntimeError
        When the loss runs, if `z` holds NaN or infinity, or `temperature` is not above 0.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from nearfar.jax import sup_con
    >>> loss, d_z = jax.value_and_grad(sup_con)(jnp.eye(4), jnp.array([0, 0, 1, 1]))
    >>> round(float(loss), 4), d_z.shape
    (1.0986, (4, 4))
    """
    if positives not in ("out", "in"):
        raise ValueError(f"positives must be 'out' or 'in', got {positives!r}")
    if jnp.ndim(z) not in (2, 3):
        raise ValueError(f"z must be (N, D) or (V, N, D), got shape {jnp.shape(z)}")
    labels = jnp.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels must be integers, got dtype {labels.dtype}")
    if labels.shape != (jnp.shape(z)[-2],):
        raise ValueError(f"labels must have shape {(jnp.shape(z)[-2],)}, one for each sample, got {labels.shape}")
    return _evaluate(
        _OfViews(losses.sup_con, (("positives", positives), ("normalize", bool(normalize)))),
        temperature,
        {"z": z},
        {"labels": labels},
    )


def _check_pairs(image: Any, text: Any) -> None:
    if jnp.ndim(image) != 2:
        raise ValueError(f"image must be (N, D), got shape {jnp.shape(image)}")
    if jnp.shape(text) != jnp.shape(image):
        raise ValueError(f"text must have image's shape {jnp.shape(image)}, got {jnp.shape(text)}")


def _number(x: Any, name: str) -> jax.Array:
    """`x` as an array that has a gradient."""
    x = jnp.asarray(x)
    if x.shape != ():
        raise ValueError(f"{name} must be a number, got shape {x.shape}")
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(f"{name} must be real, got dtype {x.dtype}")
    return x.astype(jnp.result_type(x.dtype, jnp.float32))


def clip(image, text, logit_scale=CLIP_LOGIT_SCALE, *, normalize: bool = True) -> jax.Array:
    """The loss of CLIP, symmetric InfoNCE with a scale that is learned; formula and conventions are in `nearfar.clip`.

    Parameters
    ----------
    image, text : array, (N, D)
        Embeddings; row i of `text` belongs to row i of `image`.
    logit_scale : float or array, 0-D
        The logarithm of what cosines are multiplied by; may be traced, and differentiated.
    normalize : bool
        Scale rows to length 1 first, so that products are cosines.

    Returns
    -------
    array, 0-D
        The mean over the pairs and both directions, in nats.

    Raises
    ------
    TypeError, ValueError
        If types or shapes are not as said.
    jax.errors.JaxRuntimeError
        When the loss runs, if an input holds NaN or infinity.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from nearfar.jax import clip
    >>> loss, d_logit_scale = jax.value_and_grad(clip, 2)(jnp.eye(4), jnp.eye(4), jnp.log(2.0))
    >>> round(float(loss), 4), round(float(d_logit_scale), 4)
    (0.3408, -0.5775)
    """
    _check_pairs(image, text)
    temperature = jnp.exp(-_number(logit_scale, "logit_scale"))
    return _evaluate(_InfoNCE(True, bool(normalize)), temperature, {"image": image, "text": text})


def sigmoid_loss(
    image,
    text,
    logit_scale=SIGLIP_LOGIT_SCALE,
    logit_bias=SIGLIP_LOGIT_BIAS,
    *,
    normalize: bool = True,
) -> jax.Array:
    """The loss of SigLIP; formula and conventions are in `nearfar.sigmoid_loss`.

    Parameters
    ----------
    image, text, logit_scale, normalize
        As in `clip`.
    logit_bias : float or array, 0-D
        What is added to the scaled products; may be traced, and differentiated.

    Returns
    -------
    array, 0-D
        The mean over the images of the sum over the texts, in nats.

    Raises
    ------
    TypeError, ValueError, jax.errors.JaxRuntimeError
        As `clip`.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from nearfar.jax import sigmoid_loss
    >>> loss, d_logit_bias = jax.value_and_grad(sigmoid_loss, 3)(jnp.eye(4), jnp.eye(4), jnp.log(10.0), -10.0)
    >>> round(float(loss), 4), round(float(d_logit_bias), 4)
    (0.6933, -0.4999)
    """
    _check_pairs(image, text)
    bias = _number(logit_bias, "logit_bias").astype(jnp.result_type(image, text, jnp.float32))
    embeddings = {"image": image, "text": text, "logit_bias": bias}
    return _evaluate(_SigmoidLoss(bool(normalize)), _number(logit_scale, "logit_scale"), embeddings)
