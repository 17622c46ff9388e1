"""The same networks in torch, written as in torchvision, with nearfar's weights. Needs torch."""

from __future__ import annotations

import nearfar as nf
import torch
from torch import nn


class _Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class _ResNet18(nn.Module):
    """With the stem for small images, and without the classifier."""

    def __init__(self, width, in_channels):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        inputs = width
        for stage in range(4):
            outputs = width * 2**stage
            blocks = [_Block(inputs, outputs, 2 if stage else 1), _Block(outputs, outputs, 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            inputs = outputs

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean((2, 3))


def _take_weights(module: nn.Module, network: nf.Network) -> nn.Module:
    module.load_state_dict({name: torch.from_numpy(value) for name, value in network.state_dict().items()})
    return module


def resnet18(network: nf.Network, width: int, in_channels: int) -> nn.Module:
    return _take_weights(_ResNet18(width, in_channels), network)


def convnet(network: nf.Network, widths: tuple[int, ...], in_channels: int) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in zip((in_channels, *widths), widths, strict=False):
        conv = nn.Conv2d(inputs, outputs, 3, 2 if layers else 1, 1, bias=False)
        layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return _take_weights(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), network)


def projection_head(network: nf.Network, features: int, hidden: int, out: int) -> nn.Module:
    return _take_weights(
        nn.Sequential(nn.Linear(features, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out)), network
    )


def nt_xent(z: torch.Tensor, temperature: float) -> torch.Tensor:
    """Of 2N embeddings, first views first."""
    z = nn.functional.normalize(z, dim=1)
    scores = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    return nn.functional.cross_entropy(scores, torch.arange(len(z)).roll(len(z) // 2))
