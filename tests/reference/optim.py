"""The optimisers in float64 NumPy: one function a step, state in and out."""

import numpy as np


def sgd(p, b, g, lr, momentum=0.9, weight_decay=0.0, nesterov=False, scale=1.0):
    """Return parameters and buffer after one step; `scale` multiplies the decayed gradient."""
    d = scale * (g + weight_decay * p)
    b = momentum * b + d
    return p - lr * (d + momentum * b if nesterov else b), b


def adamw(p, m, v, g, step, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
    """Return parameters and both moments after step number `step`, counted from 1."""
    beta1, beta2 = betas
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    ratio = (m / (1 - beta1**step)) / (np.sqrt(v / (1 - beta2**step)) + eps)
    return p * (1 - lr * weight_decay) - lr * ratio, m, v


def lars(p, b, g, slots, lr, momentum=0.9, weight_decay=1e-6, trust_coefficient=0.001, eps=1e-8, nesterov=False):
    """Return parameters and buffer after one step; `slots`: tuples (offset, size, adapted)."""
    p, b = p.copy(), b.copy()
    for offset, size, adapted in slots:
        here = slice(offset, offset + size)
        p_norm, g_norm = np.linalg.norm(p[here]), np.linalg.norm(g[here])
        ratio, decay = 1.0, 0.0
        if adapted and p_norm > 0 and g_norm > 0:
            ratio, decay = trust_coefficient * p_norm / (g_norm + weight_decay * p_norm + eps), weight_decay
        p[here], b[here] = sgd(p[here], b[here], g[here], lr, momentum, decay, nesterov, ratio)
    return p, b


def momentum_update(key, query, m):
    return m * key + (1 - m) * query


def cosine_schedule(base_lr, steps, warmup_steps, step):
    if step < warmup_steps:
        return base_lr * (step + 1) / warmup_steps
    return base_lr * np.cos(np.pi / 2 * min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))) ** 2
