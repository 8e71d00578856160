"""The games whose value is an f-divergence of p and q (Nowozin et al. 2016), as losses per example.

D_f(p ‖ q) = ∫ q f(p/q) is the largest E_p[T(x)] − E_q[f*(T(G(z)))] over all functions T, with f* the convex conjugate
of f (Nguyen et al. 2010). The discriminator's output v is unbounded, and T = g(v) is brought into the domain of f* by
the paper's output activation (table 2). Each discriminator's loss is −g(v(x)) + f*(g(v(G(z)))); at its optimum
g(v) = f'(p/q) its mean is −D_f. Each generator's loss is −f*(g(v(G(z)))), the same saddle point: against the optimal
discriminator it descends D_f. Where g or f* are exponentials, the discriminator is sure and the generator's gradient
small, or the other way round: penalties on the discriminator's slope keep both in bounds.

Conjugates of KL, reverse KL and Hellinger hold an exponential. Beyond `LARGEST_EXPONENT` it goes on as its tangent, so
that neither it nor its gradient overflows: a bound on D_f all the same, by a convex function that is smaller.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

PerExample = Float[Tensor, " batch"]

LARGEST_EXPONENT = 20.0
LOG_2 = math.log(2)


def kl_discriminator_loss(real_outputs: PerExample, fake_outputs: PerExample) -> PerExample:
    """−v(x) + exp(v(G(z)) − 1): KL(p ‖ q), with g(v) = v. Its optimum is v = 1 + log p/q."""
    return -real_outputs + _exp(fake_outputs - 1)


def kl_generator_loss(fake_outputs: PerExample) -> PerExample:
    """−exp(v(G(z)) − 1). Against the optimal discriminator it descends KL(p ‖ q)."""
    return -_exp(fake_outputs - 1)


def reverse_kl_discriminator_loss(real_outputs: PerExample, fake_outputs: PerExample) -> PerExample:
    """exp(−v(x)) − 1 + v(G(z)): KL(q ‖ p), with g(v) = −exp(−v). Its optimum is v = log p/q."""
    return _exp(-real_outputs) - 1 + fake_outputs


def reverse_kl_generator_loss(fake_outputs: PerExample) -> PerExample:
    """1 − v(G(z)). Against the optimal discriminator it descends KL(q ‖ p)."""
    return 1 - fake_outputs


def pearson_discriminator_loss(real_outputs: PerExample, fake_outputs: PerExample) -> PerExample:
    """−v(x) + v(G(z))²/4 + v(G(z)): χ²(p ‖ q) = ∫ (p − q)²/q, with g(v) = v. Its optimum is v = 2 (p/q − 1)."""
    return -real_outputs + fake_outputs**2 / 4 + fake_outputs


def pearson_generator_loss(fake_outputs: PerExample) -> PerExample:
    """−v(G(z))²/4 − v(G(z)). Against the optimal discriminator it descends χ²(p ‖ q)."""
    return -(fake_outputs**2) / 4 - fake_outputs


def squared_hellinger_discriminator_loss(real_outputs: PerExample, fake_outputs: PerExample) -> PerExample:
    """exp(−v(x)) − 1 + exp(v(G(z))) − 1: H²(p, q) = ∫ (√p − √q)², with g(v) = 1 − exp(−v).

    Its optimum is v = ½ log p/q.
    """
    return _exp(-real_outputs) + _exp(fake_outputs) - 2


def squared_hellinger_generator_loss(fake_outputs: PerExample) -> PerExample:
    """1 − exp(v(G(z))). Against the optimal discriminator it descends H²(p, q)."""
    return 1 - _exp(fake_outputs)


def jensen_shannon_discriminator_loss(real_outputs: PerExample, fake_outputs: PerExample) -> PerExample:
    """−log 2σ(v(x)) − log 2σ(−v(G(z))): 2 JS(p, q), with g(v) = log 2σ(v). Its optimum is v = log p/q.

    It is the loss of minimax less log 4.
    """
    return softplus(-real_outputs) + softplus(fake_outputs) - 2 * LOG_2


def jensen_shannon_generator_loss(fake_outputs: PerExample) -> PerExample:
    """log 2σ(−v(G(z))). Against the optimal discriminator it descends 2 JS(p, q)."""
    return LOG_2 - softplus(fake_outputs)


def total_variation_discriminator_loss(real_outputs: PerExample, fake_outputs: PerExample) -> PerExample:
    """−½ tanh v(x) + ½ tanh v(G(z)): TV(p, q) = ½ ∫ |p − q|, with g(v) = ½ tanh v.

    Its optimum is v = ±∞, by the sign of p − q.
    """
    return (torch.tanh(fake_outputs) - torch.tanh(real_outputs)) / 2


def total_variation_generator_loss(fake_outputs: PerExample) -> PerExample:
    """−½ tanh v(G(z)). Against the optimal discriminator it descends TV(p, q)."""
    return -torch.tanh(fake_outputs) / 2


def _exp(exponent: Tensor) -> Tensor:
    """exp, continued by its tangent beyond `LARGEST_EXPONENT`."""
    within = exponent.clamp(max=LARGEST_EXPONENT)
    return torch.exp(within) * (1 + exponent - within)
