"""The table in `nearfar.losses` of calls that give other packages' values: each row beside what that package computes,
written out in NumPy."""

import re

import nearfar.losses
import numpy as np
import pytest
from reference.losses import central_differences, dcl_pulls, log_sum_exp, normalized

TABLE = nearfar.losses.__doc__.split("\n\n", 3)[3]
ROWS = {" ".join(name.split()): call for name, call in re.findall(r"((?:^\S.*\n)+)    ``(.+)``\n", TABLE, re.M)}


class Result:
    """A value and its gradients by the name of the array, which are added and scaled as the value is."""

    def __init__(self, value, gradients):
        self.value, self.gradients = value, gradients

    def __rmul__(self, factor):
        return Result(factor * self.value, {name: factor * d_x for name, d_x in self.gradients.items()})

    def __truediv__(self, divisor):
        return 1 / divisor * self

    def __add__(self, other):
        return Result(self.value + other.value, self.gradients | other.gradients)

    def __sub__(self, constant):
        return Result(self.value - constant, self.gradients)


def ours(call, **variables):
    """What `call`, as the table has it, gives."""
    names = {id(x): name for name, x in variables.items()}

    def counted(function):
        def result(*arguments, **options):
            loss, gradients = function(*arguments, **options)
            arrays = [x for x in (*arguments, options.get("negatives")) if isinstance(x, np.ndarray) and x.ndim > 1]
            gradients = gradients if isinstance(gradients, tuple) else (gradients,)
            return Result(loss, {names[id(x)]: d_x for x, d_x in zip(arrays, gradients, strict=False)})

        return result

    functions = {name: counted(getattr(nearfar.losses, name)) for name in nearfar.losses.__all__}
    return eval(call, {"arange": np.arange, "log": np.log}, functions | variables)


# ---- What the packages compute ----


def cross_entropy(logits, labels):
    return (log_sum_exp(logits, 1) - np.take_along_axis(logits, labels[:, None], 1)[:, 0]).mean()


def first(count):
    return np.zeros(count, dtype=int)


def simclr(z, T):
    """The logits against the other view, then those against one's own without the diagonal."""
    a, b = normalized(z)
    n = len(a)
    own_a, own_b = a @ a.T / T - 1e9 * np.eye(n), b @ b.T / T - 1e9 * np.eye(n)
    to_b = cross_entropy(np.concatenate([a @ b.T / T, own_a], axis=1), np.arange(n))
    return to_b + cross_entropy(np.concatenate([b @ a.T / T, own_b], axis=1), np.arange(n))


def lightly_nt_xent(z, T):
    """All logits of both views but the diagonal, which is cut out of the matrix."""
    rows = normalized(z).reshape(-1, z.shape[-1])
    n = len(rows) // 2
    logits = (rows @ rows.T / T)[~np.eye(2 * n, dtype=bool)].reshape(2 * n, 2 * n - 1)
    return cross_entropy(logits, np.concatenate([np.arange(n) + n - 1, np.arange(n)]))


def with_queue(query, key, queue, T):
    query, key, queue = normalized(query), normalized(key), normalized(queue)
    positive = np.einsum("nc,nc->n", query, key)[:, None]
    return cross_entropy(np.concatenate([positive, query @ queue.T], axis=1) / T, first(len(query)))


def lightly_dcl(z, T, weights=1):
    a, b = normalized(z)
    others = ~np.eye(len(a), dtype=bool)

    def one_way(x, y):
        logits = np.stack([x @ x.T, x @ y.T]) / T
        negatives = np.where(others, np.exp(logits), 0).sum(axis=(0, 2))
        return (np.log(negatives) - weights * np.diagonal(x @ y.T) / T).mean()

    return (one_way(a, b) + one_way(b, a)) / 2


def lightly_sup_con(z, labels, T):
    rows, labels = normalized(z).reshape(-1, z.shape[-1]), np.tile(labels, len(z))
    logits = rows @ rows.T / T - 1e9 * np.eye(len(rows))
    targets = (labels[:, None] == labels) - np.eye(len(rows))
    log_p = logits - log_sum_exp(logits, 1)[:, None]
    return -T * (targets / targets.sum(axis=1, keepdims=True) * log_p).sum(axis=1).mean()


def metric_learning_nt_xent(z, labels, T):
    """Each ordered pair of a class: its exponential, and those of the anchor's negatives."""
    rows = normalized(z)
    e = np.exp(rows @ rows.T / T)
    pairs = [(i, p) for i in range(len(z)) for p in range(len(z)) if i != p and labels[i] == labels[p]]
    return np.mean([-np.log(e[i, p] / (e[i, p] + e[i, labels != labels[i]].sum())) for i, p in pairs])


def metric_learning_sup_con(z, labels, T):
    """The mean of what is above 0."""
    rows = normalized(z)
    logits, positive = rows @ rows.T / T, labels[:, None] == labels
    np.fill_diagonal(logits, -np.inf)
    np.fill_diagonal(positive, False)
    log_p = logits - log_sum_exp(logits, 1)[:, None]
    values = -np.where(positive, log_p, 0).sum(axis=1) / (positive.sum(axis=1) + 1e-16)
    return values[values > 0].mean()


def sup_contrast(z, mask, T, base_temperature):
    """Anchors and contrasts are all rows of all views; `mask` (N, N) says which samples belong together."""
    V, N, D = z.shape
    rows = z.reshape(-1, D)
    logits = rows @ rows.T / T
    logits = logits - logits.max(axis=1, keepdims=True)
    others = 1 - np.eye(V * N)
    positive = np.tile(mask, (V, V)) * others
    log_prob = logits - np.log((np.exp(logits) * others).sum(axis=1, keepdims=True))
    count = positive.sum(axis=1)
    mean = (positive * log_prob).sum(axis=1) / np.where(count < 1e-6, 1, count)
    return (-(T / base_temperature) * mean).reshape(V, N).mean()


def moco_v3(q1, q2, k1, k2, T):
    def one_way(q, k):
        return 2 * T * cross_entropy(normalized(q) @ normalized(k).T / T, np.arange(len(q)))

    return one_way(q1, k2) + one_way(q2, k1)


def open_clip(image, text, logit_scale):
    logits, labels = logit_scale * image @ text.T, np.arange(len(image))
    return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2


def clip_pseudocode(image, text, t):
    logits, labels = normalized(image) @ normalized(text).T * np.exp(t), np.arange(len(image))
    return (cross_entropy(logits.T, labels) + cross_entropy(logits, labels)) / 2


def sigmoid_of_pairs(image, text, factor, bias):
    logits = factor * image @ text.T + bias
    return np.logaddexp(0, -(2 * np.eye(len(image)) - 1) * logits).sum() / len(image)


def solo_learn(z, T):
    rows, sample = normalized(z).reshape(-1, z.shape[-1]), np.tile(np.arange(z.shape[1]), len(z))
    e, same = np.exp(rows @ rows.T / T), sample[:, None] == sample
    positive = (e * (same & ~np.eye(len(rows), dtype=bool))).sum(axis=1)
    return -np.log(positive / (positive + (e * ~same).sum(axis=1))).mean()


def info_nce_pytorch(query, key, T, negatives=None):
    query, key = normalized(query), normalized(key)
    if negatives is None:
        return cross_entropy(query @ key.T / T, np.arange(len(query)))
    negatives = normalized(negatives)
    others = query @ negatives.T if negatives.ndim == 2 else (query[:, None] @ negatives.transpose(0, 2, 1))[:, 0]
    logits = np.concatenate([(query * key).sum(axis=1, keepdims=True), others], axis=1)
    return cross_entropy(logits / T, first(len(query)))


def torch_triplet_margin(anchor, positive, negative, margin):
    near, far = np.linalg.norm(anchor - positive, axis=1), np.linalg.norm(anchor - negative, axis=1)
    return np.maximum(near - far + margin, 0).mean()


def distances(rows):
    return np.sqrt(np.square(rows[:, None] - rows).sum(axis=2))


def mean_of_non_zeros(values):
    values = np.asarray(values)
    return values.sum() / max(np.count_nonzero(values > 0), 1)


def metric_learning_triplet(z, labels, margin, hard=False):
    """All triplets; or each anchor's farthest positive and nearest negative, where it has both."""
    d, values = distances(normalized(z)), []
    for a in range(len(z)):
        same = labels == labels[a]
        positives, negatives = d[a, same & (np.arange(len(z)) != a)], d[a, ~same]
        if hard and len(positives):
            positives, negatives = positives.max(keepdims=True), negatives.min(keepdims=True)
        values += [max(p - n + margin, 0) for p in positives for n in negatives]
    return mean_of_non_zeros(values)


def metric_learning_contrastive(z, labels, pos_margin, neg_margin):
    d, same = distances(normalized(z)), labels[:, None] == labels
    positive = same & ~np.eye(len(z), dtype=bool)
    return mean_of_non_zeros(np.maximum(d[positive] - pos_margin, 0)) + mean_of_non_zeros(
        np.maximum(neg_margin - d[~same], 0)
    )


def metric_learning_lifted(z, labels, neg_margin):
    """Each ordered pair of a class: both rows' negatives in one logarithm, the square halved."""
    d, values = distances(normalized(z)), []
    for i, p in np.argwhere((labels[:, None] == labels) & ~np.eye(len(z), dtype=bool)):
        negatives = np.concatenate([d[row, labels != labels[row]] for row in (i, p)])
        values.append(max(np.log(np.exp(neg_margin - negatives).sum()) + d[i, p], 0) ** 2 / 2)
    return mean_of_non_zeros(values)


def addons_triplet(z, labels, margin, hard=False):
    d, values = distances(z) ** 2, []
    for a in range(len(z)):
        negatives = d[a, labels != labels[a]]
        positives = d[a, (labels == labels[a]) & (np.arange(len(z)) != a)]
        for p in [positives.max()] if hard else positives:
            farther = negatives[negatives > p]
            n = negatives.min() if hard else farther.min() if len(farther) else negatives.max()
            values.append(max(p - n + margin, 0))
    return np.mean(values)


def addons_contrastive(a, b, same, margin):
    d = np.linalg.norm(a - b, axis=1)
    return (same * d**2 + (1 - same) * np.maximum(margin - d, 0) ** 2).mean()


# ---- Beside the table ----


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


Z, QUERY, KEY, QUEUE = random(2, 5, 4), random(5, 4, seed=1), random(5, 4, seed=2), random(7, 4, seed=3)
VIEWS, LABELS = random(3, 5, 4, seed=4), np.array([0, 1, 0, 2, 1])
LONELY = np.array([4, 1, 4, 2, 1, 3, 4])  # two have no positive
THREES, SAME = np.arange(9) % 3, np.array([1, 0, 0, 1, 0])
PAIRS = {"query": QUERY, "key": KEY}
WEIGHTS = np.array(dcl_pulls(Z, 0.5))


def eye(labels):
    return (labels[:, None] == labels).astype(float)


# The row, by how it begins; the arrays; the function of them; what else the call needs to know.
CASES = {
    "google": ("google-research/simclr", {"z": Z}, lambda z: simclr(z, 0.3), {"T": 0.3}),
    "lightly": ("lightly, ``NTXentLoss``, ", {"z": Z}, lambda z: lightly_nt_xent(z, 0.3), {"T": 0.3}),
    "lightly with a bank": (
        "lightly, ``NTXentLoss`` with",
        {**PAIRS, "queue": QUEUE},
        lambda query, key, queue: with_queue(query, key, queue, 0.3),
        {"T": 0.3},
    ),
    "lightly DCL": ("lightly, ``DCLLoss``", {"z": Z}, lambda z: lightly_dcl(z, 0.3), {"T": 0.3}),
    "lightly DCLW": ("lightly, ``DCLWLoss``", {"z": Z}, lambda z: lightly_dcl(z, 0.3, WEIGHTS), {"T": 0.3}),
    "lightly SupCon": (
        "lightly, ``SupConLoss``",
        {"z": Z},
        lambda z: lightly_sup_con(z, LABELS, 0.3),
        {"T": 0.3, "labels": LABELS},
    ),
    "metric learning, pairs": (
        "pytorch-metric-learning, ``NTXentLoss``, T",
        {"z": Z},
        lambda z: metric_learning_nt_xent(z.reshape(-1, 4), np.tile(np.arange(5), 2), 0.3),
        {"T": 0.3},
    ),
    "metric learning, SupCon": (
        "pytorch-metric-learning, ``SupConLoss``",
        {"z": random(7, 4)},
        lambda z: metric_learning_sup_con(z, LONELY, 0.3),
        {"T": 0.3, "labels": LONELY},
    ),
    "SupContrast": (
        "SupContrast, ``SupConLoss``, T",
        {"z": VIEWS},
        lambda z: sup_contrast(z, eye(LABELS), 0.5, 0.07),
        {"T": 0.5, "base_temperature": 0.07, "labels": LABELS, "V": 3, "N": 5},
    ),
    "SupContrast, anchors without a positive": (
        "SupContrast, ``SupConLoss``, T",
        {"z": random(1, 7, 4)},
        lambda z: sup_contrast(z, eye(LONELY), 0.5, 0.07),
        {"T": 0.5, "base_temperature": 0.07, "labels": LONELY, "V": 1, "N": 7},
    ),
    "SupContrast without labels": (
        "SupContrast, ``SupConLoss`` without",
        {"z": VIEWS},
        lambda z: sup_contrast(z, np.eye(5), 0.5, 0.07),
        {"T": 0.5, "base_temperature": 0.07},
    ),
    "MoCo": (
        "MoCo, ",
        {**PAIRS, "queue": QUEUE},
        lambda query, key, queue: with_queue(query, key, queue, 0.07),
        {"T": 0.07},
    ),
    "MoCo v3": (
        "MoCo v3",
        {"q1": QUERY, "q2": KEY, "k1": Z[0], "k2": Z[1]},
        lambda **x: moco_v3(**x, T=0.2),
        {"T": 0.2},
    ),
    "CLIP": (
        "CLIP's",
        {"image": QUERY, "text": KEY},
        lambda image, text: clip_pseudocode(image, text, 1.2),
        {"t": 1.2},
    ),
    "SigLIP": (
        "SigLIP's",
        {"image": QUERY, "text": KEY},
        lambda image, text: sigmoid_of_pairs(normalized(image), normalized(text), np.exp(1.2), -2.0),
        {"t": 1.2, "b": -2.0},
    ),
    "open_clip, SigLIP": (
        "open_clip, ``SigLipLoss``",
        {"image": QUERY, "text": KEY},
        lambda image, text: sigmoid_of_pairs(image, text, 3.0, -2.0),
        {"logit_scale": 3.0, "logit_bias": -2.0},
    ),
    "open_clip": (
        "open_clip, ``ClipLoss``",
        {"image": QUERY, "text": KEY},
        lambda image, text: open_clip(image, text, 3.0),
        {"logit_scale": 3.0},
    ),
    "solo-learn": ("solo-learn", {"z": VIEWS}, lambda z: solo_learn(z, 0.3), {"T": 0.3, "V": 3, "N": 5}),
    "info-nce-pytorch": (
        "info-nce-pytorch, ``InfoNCE``, ",
        PAIRS,
        lambda query, key: info_nce_pytorch(query, key, 0.3),
        {"T": 0.3},
    ),
    **{
        f"info-nce-pytorch, {mode}": (
            "info-nce-pytorch, ``InfoNCE`` with",
            {**PAIRS, "negatives": negatives},
            lambda query, key, negatives: info_nce_pytorch(query, key, 0.3, negatives),
            {"T": 0.3},
        )
        for mode, negatives in {"unpaired": QUEUE, "paired": random(5, 3, 4, seed=5)}.items()
    },
    "torch": (
        "torch, ``triplet_margin_loss``",
        {"anchor": QUERY, "positive": KEY, "negative": Z[0]},
        lambda **x: torch_triplet_margin(**x, margin=1.0),
        {"margin": 1.0},
    ),
    "metric learning, triplets": (
        "pytorch-metric-learning, ``TripletMarginLoss``, margin",
        {"z": random(7, 4)},
        lambda z: metric_learning_triplet(z, LONELY, 0.3),
        {"margin": 0.3, "labels": LONELY},
    ),
    "metric learning, hardest triplets": (
        "pytorch-metric-learning, ``TripletMarginLoss`` with",
        {"z": random(7, 4)},
        lambda z: metric_learning_triplet(z, LONELY, 0.3, hard=True),
        {"margin": 0.3, "labels": LONELY},
    ),
    "metric learning, all pairs": (
        "pytorch-metric-learning, ``ContrastiveLoss``",
        {"z": random(7, 4)},
        lambda z: metric_learning_contrastive(z, LONELY, 0.2, 1.1),
        {"pos_margin": 0.2, "neg_margin": 1.1, "labels": LONELY},
    ),
    "metric learning, lifted structure": (
        "pytorch-metric-learning, ``LiftedStructureLoss``",
        {"z": random(7, 4)},
        lambda z: metric_learning_lifted(z, LONELY, 0.6),
        {"neg_margin": 0.6, "labels": LONELY},
    ),
    "TensorFlow, semi-hard triplets": (
        "TensorFlow Addons, ``triplet_semihard_loss``",
        {"z": random(9, 4)},
        lambda z: addons_triplet(z, THREES, 1.0),
        {"margin": 1.0, "labels": THREES},
    ),
    "TensorFlow, hardest triplets": (
        "TensorFlow Addons, ``triplet_hard_loss``",
        {"z": random(9, 4)},
        lambda z: addons_triplet(z, THREES, 1.0, hard=True),
        {"margin": 1.0, "labels": THREES},
    ),
    "TensorFlow, pairs": (
        "TensorFlow Addons, ``contrastive_loss``",
        {"a": QUERY, "b": KEY},
        lambda a, b: addons_contrastive(a, b, SAME, 3.0),
        {"margin": 3.0, "same": SAME},
    ),
}


def row(beginning):
    [call] = [call for name, call in ROWS.items() if name.startswith(beginning)]
    return call


@pytest.mark.parametrize("case", CASES)
def test_the_call_gives_the_package_s_value(case):
    beginning, arrays, theirs, constants = CASES[case]
    result = ours(row(beginning), **arrays, **constants)
    assert result.value == pytest.approx(theirs(**arrays), rel=1e-9)
    assert set(result.gradients) == set(arrays)
    for name, d_x in result.gradients.items():
        wanted = central_differences(lambda x, name=name: theirs(**{**arrays, name: x}), arrays[name])
        assert np.abs(d_x - wanted).max() < 1e-6 * np.abs(wanted).max()


LARGER_CLASSES = "pytorch-metric-learning, ``NTXentLoss``, larger"


def test_pairs_of_larger_classes():
    z, labels = random(9, 4), np.arange(9) % 3
    pairs = [(i, p) for i in range(9) for p in range(9) if i != p and labels[i] == labels[p]]
    anchors, positives = np.transpose(pairs)
    negatives = np.stack([z[labels != labels[i]] for i in anchors])
    result = ours(row(LARGER_CLASSES), query=z[anchors], key=z[positives], negatives=negatives, T=0.3)
    assert result.value == pytest.approx(metric_learning_nt_xent(z, labels, 0.3), rel=1e-9)


def test_every_row_is_tested():
    tested = {row(beginning) for beginning, *_ in CASES.values()} | {row(LARGER_CLASSES)}
    assert len(ROWS) == 28 and set(ROWS.values()) == tested
    beginnings = [*(beginning for beginning, *_ in CASES.values()), LARGER_CLASSES]
    assert all(any(name.startswith(beginning) for beginning in beginnings) for name in ROWS)


def test_the_known_value_of_collapsed_embeddings():
    """What SupContrast prints for two views of 256 samples that are all the same, at T = 0.1: 8.909."""
    z = normalized(np.ones((2, 256, 8)))
    call = row("SupContrast, ``SupConLoss`` without")
    assert ours(call, z=z, T=0.1, base_temperature=0.07).value == pytest.approx(8.909, abs=5e-4)
