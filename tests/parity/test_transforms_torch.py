"""The blur against the convolution that torchvision makes of it: a full two-dimensional kernel in float32."""

import numpy as np
import pytest
from nearfar import transforms as T

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity


def kernel(size, sigma):
    half = (size - 1) * 0.5
    weights = torch.exp(-0.5 * (torch.linspace(-half, half, steps=size) / sigma).pow(2))
    return weights / weights.sum()


def blur_by_torch(image, sizes, sigmas):
    x = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
    filter = torch.mm(kernel(sizes[1], sigmas[1])[:, None], kernel(sizes[0], sigmas[0])[None])
    x = torch.nn.functional.pad(x, [sizes[0] // 2] * 2 + [sizes[1] // 2] * 2, mode="reflect")
    channels = image.shape[2]
    x = torch.nn.functional.conv2d(x, filter.expand(channels, 1, *filter.shape), groups=channels)
    return torch.round(x)[0].permute(1, 2, 0).numpy().astype(np.uint8)


def test_blur():
    rng = np.random.default_rng(0)
    same = total = 0
    for _ in range(200):
        height, width = rng.integers(1, 100, 2)
        image = rng.integers(0, 256, (height, width, rng.choice([1, 3])), np.uint8)
        sizes = [int(1 + 2 * rng.integers(0, min(12, side))) for side in (width, height)]
        sigmas = [float(s) for s in rng.uniform(0.1, 2.0, 2)]
        got, expected = T.gaussian_blur(image, sizes, sigmas), blur_by_torch(image, sizes, sigmas)
        assert np.abs(got.astype(int) - expected).max() <= 1
        same, total = same + (got == expected).sum(), total + got.size
    assert same / total > 0.998
