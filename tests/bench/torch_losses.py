"""The losses as a training code on plain torch would have them, with names and conventions of `nearfar`'s."""

import torch
from torch import nn

INFINITY = torch.inf


def _unit(x):
    return nn.functional.normalize(x, dim=1)


def _same(labels):
    """Whether rows have the same label, and whether they are different rows of that."""
    same = labels[:, None] == labels
    return same, same & ~torch.eye(len(labels), dtype=torch.bool)


def _squared_distances(z):
    """Of unit rows."""
    return (2 - 2 * z @ z.T).clamp_min(0)


def sup_con(z, labels, temperature):
    z = _unit(z)
    scores = (z @ z.T / temperature).fill_diagonal_(-INFINITY)
    _, positive = _same(labels)
    log_p = torch.log_softmax(scores, 1).masked_fill(~positive, 0)
    return -(log_p.sum(1) / positive.sum(1)).mean()


def dcl(z, temperature):
    """Of 2N embeddings, first views first."""
    z = _unit(z)
    scores = z @ z.T / temperature
    count = len(z) // 2
    sample = torch.arange(2 * count) % count
    negatives = scores.masked_fill(sample[:, None] == sample, -INFINITY)
    return (torch.logsumexp(negatives, 1) - torch.cat([scores.diagonal(count), scores.diagonal(-count)])).mean()


def triplet(z, labels, margin, mining):
    """Of squared distances."""
    distances = _squared_distances(_unit(z))
    same, positive = _same(labels)
    if mining == "hard":
        farthest = distances.masked_fill(~positive, -INFINITY).amax(1)
        nearest = distances.masked_fill(same, INFINITY).amin(1)
        return (farthest - nearest + margin).relu().mean()
    anchors, positives = positive.nonzero(as_tuple=True)
    near, far, other = distances[anchors, positives], distances[anchors], ~same[anchors]
    if mining == "all":
        return ((near[:, None] - far + margin).relu() * other).sum() / other.sum()
    beyond = far.masked_fill(~(other & (far > near[:, None])), INFINITY).amin(1)
    farthest = far.masked_fill(~other, -INFINITY).amax(1)
    return (near - torch.where(beyond.isinf(), farthest, beyond) + margin).relu().mean()


def lifted_structure(z, labels, margin):
    distances = (_squared_distances(_unit(z)) + 1e-12).sqrt()
    same, positive = _same(labels)
    sums = torch.logsumexp((margin - distances).masked_fill(same, -INFINITY), 1)
    i, j = positive.triu().nonzero(as_tuple=True)
    return ((torch.logaddexp(sums[i], sums[j]) + distances[i, j]).relu() ** 2 / 2).mean()


def sigmoid(image, text, scale, bias):
    scores = scale.exp() * _unit(image) @ _unit(text).T + bias
    signs = 2 * torch.eye(len(image)) - 1
    return -nn.functional.logsigmoid(signs * scores).sum() / len(image)


def clip(image, text, scale):
    scores = scale.exp() * _unit(image) @ _unit(text).T
    targets = torch.arange(len(image))
    return (nn.functional.cross_entropy(scores, targets) + nn.functional.cross_entropy(scores.T, targets)) / 2


def align_uniform(x, y):
    """As its authors publish it, with alpha = t = 2 and weights 1."""
    x, y = _unit(x), _unit(y)
    uniform = [torch.pdist(z).pow(2).mul(-2).exp().mean().log() for z in (x, y)]
    return (x - y).norm(dim=1).pow(2).mean() + sum(uniform) / 2
