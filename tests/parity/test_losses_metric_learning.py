"""The losses against pytorch-metric-learning, by the calls of the table in `nearfar.losses`."""

import nearfar as nf
import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss, SupConLoss

pytestmark = pytest.mark.parity

PRECISIONS = pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-9), (np.float32, 1e-4)])
TEMPERATURES = pytest.mark.parametrize("temperature", [0.05, 0.1, 0.5, 2.0])


def random(*shape, dtype=np.float64):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def check(got, function, z, tolerance):
    """`got` is a loss and its gradient for z, of which `function` takes the rows as a tensor."""
    rows = torch.tensor(z.reshape(-1, z.shape[-1]), requires_grad=True)
    loss = function(rows)
    loss.backward()
    assert got[0] == pytest.approx(loss.item(), rel=tolerance)
    wanted = rows.grad.numpy().reshape(z.shape)
    assert np.abs(got[1] - wanted).max() <= tolerance * np.abs(wanted).max()


@PRECISIONS
@TEMPERATURES
@pytest.mark.parametrize("n", [2, 7, 40])
def test_nt_xent_of_two_views(n, temperature, dtype, tolerance):
    z = random(2, n, 12, dtype=dtype)
    labels = torch.arange(n).repeat(2)
    wanted = NTXentLoss(temperature)
    check(nf.nt_xent(z, temperature), lambda rows: wanted(rows, labels), z, tolerance)
    wanted = SelfSupervisedLoss(NTXentLoss(temperature))
    check(nf.nt_xent(z, temperature), lambda rows: wanted(rows[:n], rows[n:]), z, tolerance)


@PRECISIONS
@TEMPERATURES
def test_nt_xent_of_larger_classes(temperature, dtype, tolerance):
    z, labels = random(20, 8, dtype=dtype), np.arange(20) % 4
    same = (labels[:, None] == labels) & ~np.eye(20, dtype=bool)
    anchors, positives = np.nonzero(same)
    others = np.stack([np.nonzero(labels != label)[0] for label in labels[anchors]])
    loss, gradients = nf.info_nce(z[anchors], z[positives], temperature, negatives=z[others])
    d_z = np.zeros_like(z)
    for rows, d_rows in zip((anchors, positives, others), gradients, strict=True):
        np.add.at(d_z, rows, d_rows)
    wanted = NTXentLoss(temperature)
    check((loss, d_z), lambda rows: wanted(rows, torch.tensor(labels)), z, tolerance)


@PRECISIONS
@TEMPERATURES
@pytest.mark.parametrize("classes", [2, 10, 60])  # the last with anchors that have no positive
def test_sup_con(classes, temperature, dtype, tolerance):
    z, labels = random(70, 12, dtype=dtype), np.random.default_rng(1).integers(0, classes, 70)
    wanted = SupConLoss(temperature)
    check(nf.sup_con(z, labels, temperature), lambda rows: wanted(rows, torch.tensor(labels)), z, tolerance)
