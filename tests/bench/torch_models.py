"""The same networks in torch, written as in torchvision, with nearfar's weights. Needs torch."""

from __future__ import annotations

import nearfar as nf
import torch
from torch import nn


class _Basic(nn.Module):
    expansion = 1

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class _Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, 4 * width, stride)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


def _shortcut(inputs, outputs, stride):
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


_DEPTHS = {18: (_Basic, (2, 2, 2, 2)), 50: (_Bottleneck, (3, 4, 6, 3))}


class _ResNet(nn.Module):
    """Without the classifier."""

    def __init__(self, depth, stem, width, in_channels):
        super().__init__()
        block, counts = _DEPTHS[depth]
        self.relu = nn.ReLU(inplace=True)
        if stem == "small":
            self.conv1 = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
            self.maxpool = nn.Identity()
        else:
            self.conv1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for stage, count in enumerate(counts):
            blocks = []
            for i in range(count):
                blocks.append(block(inputs, width * 2**stage, 2 if stage and not i else 1))
                inputs = width * 2**stage * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean((2, 3))


def _take_weights(module: nn.Module, network: nf.Network) -> nn.Module:
    module.load_state_dict({name: torch.from_numpy(value) for name, value in network.state_dict().items()})
    return module


def resnet(network: nf.Network, depth: int, stem: str, width: int, in_channels: int) -> nn.Module:
    return _take_weights(_ResNet(depth, stem, width, in_channels), network)


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
