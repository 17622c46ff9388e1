"""The optimisers against torch's, over 50 steps of the same random gradients."""

from types import SimpleNamespace

import nearfar as nf
import numpy as np
import pytest
import torch

pytestmark = pytest.mark.parity


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda n: nf.SGD(n, lr=0.1, momentum=0), lambda p: torch.optim.SGD(p, lr=0.1)),
        (
            lambda n: nf.SGD(n, lr=0.1, momentum=0.9, weight_decay=0.05),
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.05),
        ),
        (
            lambda n: nf.SGD(n, lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True),
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True),
        ),
        (lambda n: nf.AdamW(n), lambda p: torch.optim.AdamW(p)),
        (
            lambda n: nf.AdamW(n, lr=0.03, betas=(0.8, 0.95), eps=1e-5, weight_decay=0.2),
            lambda p: torch.optim.AdamW(p, lr=0.03, betas=(0.8, 0.95), eps=1e-5, weight_decay=0.2),
        ),
    ],
    ids=["sgd", "sgd-momentum", "sgd-nesterov", "adamw", "adamw-settings"],
)
def test_optimizers(ours, theirs):
    rng = np.random.default_rng(0)
    start = rng.standard_normal(10_007).astype(np.float32)
    network = SimpleNamespace(parameters=start.copy(), gradients=np.zeros_like(start))
    parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
    mine, other = ours(network), theirs([parameter])
    for _ in range(50):
        network.gradients[:] = rng.standard_normal(start.size)
        parameter.grad = torch.from_numpy(network.gradients.copy())
        mine.step()
        other.step()
    expected = parameter.detach().numpy()
    np.testing.assert_allclose(network.parameters, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_cosine_schedule():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.7)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    ours = nf.cosine_schedule(0.7, 20)
    for step in range(20):
        assert ours(step) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        theirs.step()
