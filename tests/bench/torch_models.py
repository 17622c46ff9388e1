"""The same networks in torch, module by module, with nearfar's weights. Needs torch."""

from __future__ import annotations

import nearfar as nf
import torch
from nearfar import layers as nl
from torch import nn


def _take_weights(module: nn.Module, network: nf.Network) -> nn.Module:
    """In their order: torch's modules have no names here."""
    weights = map(torch.from_numpy, network.state_dict().values())
    module.load_state_dict(dict(zip(module.state_dict(), weights, strict=True)))
    return module


class _ChannelNorm(nn.LayerNorm):
    """Over the channels of (N, C, H, W), or of (N, C)."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class _Residual(nn.Sequential):
    def __init__(self, body, shortcut):
        super().__init__(*body)
        self.downsample = nn.Sequential(*shortcut)
        self.in_place = not isinstance(body[-1], nn.ReLU)  # whose gradient needs its output

    def forward(self, x):
        shortcut = self.downsample(x)
        for name, layer in self.named_children():
            if name != "downsample":
                x = layer(x)
        return x.add_(shortcut) if self.in_place else x + shortcut


def _modules(layers, channels: int) -> tuple[list[nn.Module], int]:
    """Layers of nearfar as torch's, and the number of channels behind them."""
    modules: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nl.Conv):
            size = (layer.kernel, layer.stride, layer.padding)
            modules.append(nn.Conv2d(channels, layer.out_channels, *size, bias=layer.bias))
            channels = layer.out_channels
        elif isinstance(layer, nl.DepthwiseConv):
            size = (layer.kernel, layer.stride, layer.padding)
            modules.append(nn.Conv2d(channels, channels, *size, groups=channels, bias=layer.bias))
        elif isinstance(layer, nl.BatchNorm):
            modules.append(nn.BatchNorm2d(channels))
        elif isinstance(layer, nl.LayerNorm):
            modules.append(_ChannelNorm(channels, layer.eps))
        elif isinstance(layer, nl.GlobalAveragePool):
            modules.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        elif isinstance(layer, nl.MaxPool):
            modules.append(nn.MaxPool2d(layer.kernel, layer.stride, layer.padding))
        elif isinstance(layer, nl.Residual):
            body, behind = _modules(layer.body, channels)
            modules.append(_Residual(body, _modules(layer.shortcut, channels)[0]))
            channels = behind
        else:
            modules.append({nl.ReLU: lambda: nn.ReLU(inplace=True), nl.GELU: nn.GELU, nl.SiLU: nn.SiLU}[type(layer)]())
    return modules, channels


def encoder(network: nf.Network) -> nn.Module:
    """Any encoder of images."""
    return _take_weights(nn.Sequential(*_modules(network.layers, network.in_shape[2])[0]), network)


def projection_head(network: nf.Network, features: int, hidden: int, out: int) -> nn.Module:
    return _take_weights(
        nn.Sequential(nn.Linear(features, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out)), network
    )


def nt_xent(z: torch.Tensor, temperature: float) -> torch.Tensor:
    """Of 2N embeddings, first views first."""
    z = nn.functional.normalize(z, dim=1)
    scores = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    return nn.functional.cross_entropy(scores, torch.arange(len(z)).roll(len(z) // 2))
