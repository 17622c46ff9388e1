"""Scoring functions: how much x_i and y_j have in common, as a matrix (N, M), and the way back.

Each function has its ``..._backward``, which takes the gradient of a loss with respect to the matrix and gives those
with respect to what went in: with a loss of your own on a matrix of scores, that is all the calculus there is to do.

========================================  ====================================  ===================================
function                                  score of x_i and y_j                  range
========================================  ====================================  ===================================
``dot(x, y)``                             :math:`x_i \\cdot y_j`                 any
``cosine(x, y)``                          the same of rows of length 1          -1 to 1; 0 for a row of zeros
``bilinear(x, y, w)``                     :math:`x_i \\cdot W y_j`               any
``negative_squared_distance(x, y)``       :math:`-|x_i - y_j|^2`                up to 0
========================================  ====================================  ===================================

x is (N, D), y is (M, D); for ``bilinear`` y is (M, E) and w (D, E). Results are float32 if all inputs are float32 or
float16, else float64. Inputs that do not fit, are empty, or hold NaN or infinity are a ValueError, inputs that are no
arrays of real numbers a TypeError. Scores must stay below 1e300, in float32 below 1e38.

In float32 a small distance between long rows has an absolute error of some 1e-7 of their squares.

Sources: van den Oord et al., 2018 (bilinear, for InfoNCE); Snell et al., "Prototypical networks for few-shot learning",
NIPS 2017 (negative squared distance); Chen et al., ICML 2020 (cosine).

Examples
--------
>>> import numpy as np, nearfar as nf
>>> x, y = np.eye(3), np.ones((2, 3))
>>> scores = nf.losses.scores.negative_squared_distance(x, y)
>>> scores.tolist()
[[-2.0, -2.0], [-2.0, -2.0], [-2.0, -2.0]]
>>> d_x, d_y = nf.losses.scores.negative_squared_distance_backward(np.ones((3, 2)), x, y)
>>> d_y.tolist()
[[-4.0, -4.0, -4.0], [-4.0, -4.0, -4.0]]
"""

from nearfar import _core

__all__ = [
    "bilinear",
    "bilinear_backward",
    "cosine",
    "cosine_backward",
    "dot",
    "dot_backward",
    "negative_squared_distance",
    "negative_squared_distance_backward",
]

DOT, COSINE, BILINEAR, DISTANCE = range(4)
BY_NAME = {"dot": DOT, "cosine": COSINE, "bilinear": BILINEAR, "distance": DISTANCE}


def score_of(name: str) -> int:
    """The number that C knows a score by."""
    if name not in BY_NAME:
        raise ValueError(f"score must be one of {', '.join(map(repr, BY_NAME))}, got {name!r}")
    return BY_NAME[name]


def dot(x, y):
    """The products of rows: ``x @ y.T``, (N, M)."""
    return _core.scores(x, y, None, DOT)


def dot_backward(d_scores, x, y):
    """``(d_x, d_y)`` given the gradient of ``dot(x, y)``, (N, M)."""
    return _core.scores_backward(x, y, None, d_scores, DOT)[:2]


def cosine(x, y):
    """The cosines of the angles between rows, (N, M); 0 where one is a row of zeros."""
    return _core.scores(x, y, None, COSINE)


def cosine_backward(d_scores, x, y):
    """``(d_x, d_y)`` given the gradient of ``cosine(x, y)``, (N, M); zero for a row of zeros."""
    return _core.scores_backward(x, y, None, d_scores, COSINE)[:2]


def bilinear(x, y, w):
    """``x @ w @ y.T``, (N, M), of x (N, D), y (M, E) and w (D, E), which is learned."""
    return _core.scores(x, y, w, BILINEAR)


def bilinear_backward(d_scores, x, y, w):
    """``(d_x, d_y, d_w)`` given the gradient of ``bilinear(x, y, w)``, (N, M)."""
    return _core.scores_backward(x, y, w, d_scores, BILINEAR)


def negative_squared_distance(x, y):
    """``-|x_i - y_j|**2``, (N, M)."""
    return _core.scores(x, y, None, DISTANCE)


def negative_squared_distance_backward(d_scores, x, y):
    """``(d_x, d_y)`` given the gradient of ``negative_squared_distance(x, y)``, (N, M)."""
    return _core.scores_backward(x, y, None, d_scores, DISTANCE)[:2]
