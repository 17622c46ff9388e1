from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

def get_num_threads() -> int: ...
def set_num_threads(n: int, /) -> None: ...
def config() -> dict[str, str | int]: ...

# networks
@final
class Network:
    """Layers are (kind, inputs, options): `inputs` are indices of earlier layers, -1 the network's input."""

    def __new__(
        cls,
        layers: list[tuple[str, tuple[int, ...], dict[str, float]]],
        in_shape: tuple[int, ...],
        conv_algo: str = "auto",
        activation_dtype: str = "float32",
    ) -> Network: ...
    @property
    def parameters(self) -> NDArray[np.float32]: ...
    @property
    def gradients(self) -> NDArray[np.float32]: ...
    @property
    def statistics(self) -> NDArray[np.float32]: ...
    @property
    def out_features(self) -> int: ...
    def slots(self) -> list[tuple[int, str, int, tuple[int, ...]]]: ...
    def statistic_slots(self) -> list[tuple[int, str, int, tuple[int, ...]]]: ...
    def forward(self, x: ArrayLike, training: bool, groups: int) -> NDArray[np.float32]: ...
    def backward(self, d_y: ArrayLike, input_gradient: bool, accumulate: bool) -> NDArray[np.float32] | None: ...
    def memory_bytes(self, n: int, h: int, w: int, training: bool, groups: int, /) -> int: ...

# losses; the value of each is float64 (1,), or (anchors,) with reduction 2; weights have the shape of the first array
# without its last axis
def info_nce(
    query: ArrayLike,
    key: ArrayLike,
    negatives: ArrayLike | None,
    weights: ArrayLike | None,
    temperature: float,
    symmetric: bool,
    normalize: bool,
    reduction: int,
    /,
) -> tuple[NDArray[np.float64], NDArray, NDArray, NDArray | None, float]: ...
def nce(
    query: ArrayLike,
    key: ArrayLike,
    negatives: ArrayLike,
    key_offsets: ArrayLike | None,
    negative_offsets: ArrayLike | None,
    weights: ArrayLike | None,
    temperature: float,
    normalize: bool,
    reduction: int,
    /,
) -> tuple[NDArray[np.float64], NDArray, NDArray, NDArray, float]: ...
def npid(
    query: ArrayLike,
    bank: ArrayLike,
    indices: ArrayLike,
    negatives: ArrayLike,
    weights: ArrayLike | None,
    log_offset: float,
    temperature: float,
    normalize: bool,
    reduction: int,
    /,
) -> tuple[NDArray[np.float64], NDArray, float]: ...
def nt_xent(
    z: ArrayLike, weights: ArrayLike | None, temperature: float, normalize: bool, reduction: int, /
) -> tuple[NDArray[np.float64], NDArray, float]: ...
def dcl(
    z: ArrayLike, weights: ArrayLike | None, temperature: float, sigma: float, normalize: bool, reduction: int, /
) -> tuple[NDArray[np.float64], NDArray, float]: ...
def debiased_nt_xent(
    z: ArrayLike, weights: ArrayLike | None, temperature: float, tau_plus: float, beta: float, reduction: int, /
) -> tuple[NDArray[np.float64], NDArray, float]: ...
def sup_con(
    z: ArrayLike,
    labels: ArrayLike,
    weights: ArrayLike | None,
    inside: bool,
    temperature: float,
    normalize: bool,
    reduction: int,
    /,
) -> tuple[tuple[NDArray[np.float64], NDArray, float], int]: ...

# margin losses
def pair(
    a: ArrayLike,
    b: ArrayLike,
    same: ArrayLike,
    weights: ArrayLike | None,
    form: int,
    margin: float,
    normalize: bool,
    reduction: int,
    /,
) -> tuple[NDArray, NDArray, NDArray]: ...
def triplet_margin(
    anchor: ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    weights: ArrayLike | None,
    margin: float,
    squared: bool,
    soft: bool,
    swap: bool,
    normalize: bool,
    reduction: int,
    /,
) -> tuple[NDArray, NDArray, NDArray, NDArray]: ...
def contrastive(
    z: ArrayLike,
    labels: ArrayLike,
    weights: ArrayLike | None,
    pos_margin: float,
    neg_margin: float,
    normalize: bool,
    reduction: int,
    /,
) -> tuple[NDArray, NDArray]: ...
def triplet(
    z: ArrayLike,
    labels: ArrayLike,
    weights: ArrayLike | None,
    margin: float,
    mining: int,
    squared: bool,
    soft: bool,
    nonzero: bool,
    normalize: bool,
    reduction: int,
    /,
) -> tuple[NDArray, NDArray]: ...
def lifted_structure(
    z: ArrayLike,
    labels: ArrayLike,
    weights: ArrayLike | None,
    margin: float,
    nonzero: bool,
    normalize: bool,
    reduction: int,
    /,
) -> tuple[NDArray, NDArray]: ...

# Scores are 0 dot, 1 cosine, 2 bilinear, 3 distance; objectives 0 sigmoid, 1 Jensen-Shannon, 2 NWJ, 3
# Donsker-Varadhan; reductions 0 mean, 1 sum, 2 none.
def scores(x: ArrayLike, y: ArrayLike, w: ArrayLike | None, score: int, /) -> NDArray: ...
def scores_backward(
    x: ArrayLike, y: ArrayLike, w: ArrayLike | None, d_scores: ArrayLike, score: int, /
) -> tuple[NDArray, NDArray, NDArray | None]: ...
def critic_loss(
    x: ArrayLike,
    y: ArrayLike,
    w: ArrayLike | None,
    weights: ArrayLike | None,
    objective: int,
    score: int,
    scale: float,
    bias: float,
    reduction: int,
    /,
) -> tuple[NDArray[np.float64], NDArray, NDArray, NDArray | None, float, float]: ...
def critic_matrix_loss(
    scores: ArrayLike, weights: ArrayLike | None, objective: int, reduction: int, /
) -> tuple[NDArray[np.float64], NDArray]: ...
def align_uniform(
    x: ArrayLike,
    y: ArrayLike,
    alpha: float,
    t: float,
    alignment: float,
    uniformity: float,
    normalize: bool,
    /,
) -> tuple[NDArray[np.float64], NDArray, NDArray]: ...

# transforms: results have the images' type, uint8, uint16 or float32
def resized_crop(
    image: ArrayLike,
    top: int,
    left: int,
    height: int,
    width: int,
    out_height: int,
    out_width: int,
    interpolation: int,
    /,
) -> NDArray[Any]: ...
def hflip(image: ArrayLike, /) -> NDArray[Any]: ...
def vflip(image: ArrayLike, /) -> NDArray[Any]: ...
def crop(image: ArrayLike, top: int, left: int, height: int, width: int, /) -> NDArray[Any]: ...
def pad(
    image: ArrayLike, left: int, top: int, right: int, bottom: int, mode: int, fill: ArrayLike, /
) -> NDArray[Any]: ...

# `center`: no numbers, or x and y; `points`: four startpoints and four endpoints, 16 numbers
def rotate(
    image: ArrayLike, angle: float, expand: bool, center: ArrayLike, interpolation: int, fill: ArrayLike, /
) -> NDArray[Any]: ...
def affine(
    image: ArrayLike,
    angle: float,
    translate_x: float,
    translate_y: float,
    scale: float,
    shear_x: float,
    shear_y: float,
    center: ArrayLike,
    interpolation: int,
    fill: ArrayLike,
    /,
) -> NDArray[Any]: ...
def perspective(image: ArrayLike, points: ArrayLike, interpolation: int, fill: ArrayLike, /) -> NDArray[Any]: ...
def erase(image: ArrayLike, top: int, left: int, height: int, width: int, value: ArrayLike, /) -> NDArray[Any]: ...
def adjust_brightness(image: ArrayLike, factor: float, /) -> NDArray[Any]: ...
def adjust_contrast(image: ArrayLike, factor: float, /) -> NDArray[Any]: ...
def adjust_saturation(image: ArrayLike, factor: float, /) -> NDArray[Any]: ...
def adjust_hue(image: ArrayLike, factor: float, /) -> NDArray[Any]: ...
def rgb_to_grayscale(image: ArrayLike, channels: int, /) -> NDArray[Any]: ...
def gaussian_blur(
    image: ArrayLike, kernel_height: int, kernel_width: int, sigma_y: float, sigma_x: float, /
) -> NDArray[Any]: ...
def adjust_gamma(image: ArrayLike, gamma: float, gain: float, /) -> NDArray[Any]: ...
def solarize(image: ArrayLike, threshold: float, /) -> NDArray[Any]: ...
def posterize(image: ArrayLike, bits: int, /) -> NDArray[np.uint8]: ...
def invert(image: ArrayLike, /) -> NDArray[Any]: ...
def autocontrast(image: ArrayLike, /) -> NDArray[Any]: ...
def equalize(image: ArrayLike, /) -> NDArray[np.uint8]: ...
def adjust_sharpness(image: ArrayLike, factor: float, /) -> NDArray[Any]: ...
def box_blur(image: ArrayLike, radius_y: float, radius_x: float, /) -> NDArray[np.uint8]: ...
def pillow_gaussian_blur(image: ArrayLike, radius_y: float, radius_x: float, /) -> NDArray[np.uint8]: ...
def gaussian_noise(image: ArrayLike, mean: float, sigma: float, seed: int, index: int, /) -> NDArray[Any]: ...
def cutout(image: ArrayLike, y: int, x: int, height: int, width: int, fill: ArrayLike, /) -> NDArray[Any]: ...
def jigsaw(image: ArrayLike, order: ArrayLike, grid: int, /) -> NDArray[Any]: ...
def normalize(image: ArrayLike, mean: ArrayLike, std: ArrayLike, /) -> NDArray[np.float32]: ...

# A transform is a row of 20 numbers: its kind, its probability, then the fields of its struct in nearfar.h. Records are
# bytes (views, count, size of a record).
def check_transforms(rows: ArrayLike, /) -> int: ...
def recipe_sample(
    rows: ArrayLike,
    views: int,
    first_view: int,
    channels: int,
    sizes: ArrayLike,
    indices: ArrayLike,
    seed: int,
    epoch: int,
    /,
) -> NDArray[np.uint8]: ...
def recipe_apply(
    rows: ArrayLike,
    views: int,
    images: ArrayLike | list[ArrayLike],
    records: ArrayLike,
    mean: ArrayLike,
    std: ArrayLike,
    as_bytes: bool,
    channels_first: bool,
    out: NDArray[Any] | None,
    /,
) -> NDArray[Any]: ...

# optimisers: state and parameters are changed in place
def sgd_step(
    parameters: NDArray[np.float32],
    buffer: NDArray[np.float32] | None,
    gradients: ArrayLike,
    lr: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
    /,
) -> None: ...
def adamw_step(
    parameters: NDArray[np.float32],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    gradients: ArrayLike,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    /,
) -> None: ...
def lars_step(
    parameters: NDArray[np.float32],
    buffer: NDArray[np.float32] | None,
    gradients: ArrayLike,
    slots: ArrayLike,
    lr: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
    trust_coefficient: float,
    eps: float,
    /,
) -> None: ...
def momentum_update(key: NDArray[np.float32], query: ArrayLike, m: float, /) -> None: ...

# measures
def knn_search(train_v: ArrayLike, test_v: ArrayLike, k: int, /) -> tuple[NDArray[np.int64], NDArray[np.float32]]: ...
def knn_vote(
    indices: ArrayLike, similarities: ArrayLike, train_y: ArrayLike, classes: int, temperature: float, /
) -> NDArray[np.int64]: ...
def uniformity(x: ArrayLike, t: float, /) -> float: ...

# for tests
def _philox(counter: tuple[int, int, int, int], key: tuple[int, int], /) -> tuple[int, int, int, int]: ...
def _draw(kind: str, seed: int, epoch: int, index: int, stream: int, count: int, below: int = 1, /) -> list[float]: ...
def _kernel_exp(x: ArrayLike, /) -> NDArray: ...
def _alloc_fail_at(n: int, /) -> None: ...
