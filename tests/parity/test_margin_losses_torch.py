"""The margin losses against torch and pytorch-metric-learning, with the options that give their numbers."""

import nearfar as nf
import numpy as np
import pytest
import torch
from nearfar.torch import TripletLoss
from pytorch_metric_learning import distances, losses, miners, reducers

pytestmark = pytest.mark.parity

PRECISIONS = pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-9), (np.float32, 1e-4)])


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def random(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def by_torch(function, *arrays):
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    loss = function(*tensors)
    loss.sum().backward()
    return loss.detach().numpy(), [tensor.grad.numpy() for tensor in tensors]


def check(got, wanted, tolerance):
    loss, gradients = got
    assert np.allclose(loss, wanted[0], rtol=tolerance, atol=0)
    for gradient, expected in zip(gradients, wanted[1], strict=True):
        assert gradient.dtype == expected.dtype
        assert np.abs(gradient - expected).max() <= tolerance * np.abs(expected).max()


def check_batch(function, criterion, labels, tolerance, dtype, n=60, miner=None):
    """Of a batch with labels: ours, and one of pytorch-metric-learning."""
    z, y = random(n, 12, dtype=dtype), torch.tensor(labels)
    wanted = by_torch(lambda x: criterion(x, y, miner(x, y) if miner else None), z)
    loss, d_z = function(z, labels)
    check((loss, (d_z,)), wanted, tolerance)


LABELS = [np.arange(60) % 7, np.arange(60) // 30, np.r_[np.arange(50), np.arange(10)]]


# ---- torch ----


@PRECISIONS
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("margin", [0.3, 1.0])
def test_triplet_margin_loss(margin, reduction, swap, dtype, tolerance):
    arrays = [random(50, 9, seed=seed, dtype=dtype) for seed in range(3)]
    options = {"margin": margin, "swap": swap, "reduction": reduction}
    wanted = by_torch(lambda *x: torch.nn.functional.triplet_margin_loss(*x, eps=0, **options), *arrays)
    got = nf.losses.triplet_margin(*arrays, squared=False, normalize=False, **options)
    check(got, wanted, tolerance)
    near = torch.nn.functional.triplet_margin_loss(*map(torch.tensor, arrays), **options)  # with its eps of 1e-6
    assert np.allclose(got[0], near, rtol=0, atol=1e-4)


@PRECISIONS
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_triplets_with_a_distance_of_ones_own(squared, soft, dtype, tolerance):
    def loss(*x):
        a, p, n = (torch.nn.functional.normalize(y, dim=1) for y in x)
        near, far = (a - p).norm(dim=1), (a - n).norm(dim=1)
        excess = (near.square() - far.square() if squared else near - far) + 0.3
        return (torch.nn.functional.softplus(excess) if soft else excess.relu()).mean()

    arrays = [random(50, 9, seed=seed, dtype=dtype) for seed in range(3)]
    got = nf.losses.triplet_margin(*arrays, 0.3, squared=squared, soft=soft)
    check(got, by_torch(loss, *arrays), tolerance)


# ---- pytorch-metric-learning ----


@PRECISIONS
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("pos_margin, neg_margin", [(0.0, 1.0), (0.7, 1.4)])
def test_contrastive_loss(pos_margin, neg_margin, labels, dtype, tolerance):
    criterion = losses.ContrastiveLoss(pos_margin, neg_margin)
    check_batch(
        lambda z, y: nf.losses.contrastive(z, y, pos_margin=pos_margin, neg_margin=neg_margin),
        criterion,
        labels,
        tolerance,
        dtype,
    )
    if (pos_margin, neg_margin) == (0, 1):  # its defaults
        check_batch(nf.losses.contrastive, losses.ContrastiveLoss(), labels, tolerance, dtype)


@PRECISIONS
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("squared", [False, True])
def test_triplet_margin_loss_of_a_batch(squared, smooth, labels, dtype, tolerance):
    def ours(z, y):
        return nf.triplet(z, y, 0.05, squared=squared, soft=smooth, nonzero=True)

    distance = distances.LpDistance(power=2 if squared else 1)
    criterion = losses.TripletMarginLoss(0.05, smooth_loss=smooth, distance=distance)
    check_batch(ours, criterion, labels, tolerance, dtype)
    mean = losses.TripletMarginLoss(0.05, smooth_loss=smooth, distance=distance, reducer=reducers.MeanReducer())
    check_batch(lambda z, y: nf.triplet(z, y, 0.05, squared=squared, soft=smooth), mean, labels, tolerance, dtype)


@PRECISIONS
@pytest.mark.parametrize("labels", LABELS)
def test_batch_hard(labels, dtype, tolerance):
    miner = miners.BatchHardMiner(distance=distances.LpDistance())

    def ours(z, y):
        return nf.triplet(z, y, 0.05, mining="hard", squared=False, nonzero=True)

    check_batch(ours, losses.TripletMarginLoss(), labels, tolerance, dtype, miner=miner)


@PRECISIONS
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("margin", [1.0, -1.0])
def test_lifted_structure_loss(margin, labels, dtype, tolerance):
    criterion = losses.LiftedStructureLoss(neg_margin=margin)
    check_batch(
        lambda z, y: nf.losses.lifted_structure(z, y, margin, nonzero=True), criterion, labels, tolerance, dtype
    )


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("smooth", [False, True])
def test_the_module_takes_the_place_of_the_other(labels, smooth):
    z, y = torch.tensor(random(60, 12)), torch.tensor(labels)
    results = []
    for make in TripletLoss, losses.TripletMarginLoss:
        for criterion in make(), make(0.2, False, smooth, "all"), make(margin=0.2, smooth_loss=smooth):
            leaf = z.clone().requires_grad_()
            loss = criterion(leaf, y)
            loss.backward()
            results.append((loss.item(), leaf.grad))
    for (loss, gradient), (wanted, expected) in zip(results[:3], results[3:], strict=True):
        assert loss == pytest.approx(wanted, rel=1e-12)
        assert (gradient - expected).abs().max() <= 1e-10 * expected.abs().max()
