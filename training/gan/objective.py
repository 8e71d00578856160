"""What each player of the game minimises, per example, from the discriminator's logits.

The logit t is the log-odds that an image is real: D = σ(t). In every formula x is a real image and z a latent. The
discriminator's losses pair the i-th real with the i-th generated image, which changes no expectation. All are written
with softplus, log(1 + exp t), which neither overflows nor loses the small tail: −log D = softplus(−t) and
−log(1 − D) = softplus(t).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import relu, softplus

GanObjectiveKind = Literal["minimax", "non_saturating", "hinge"]
PerExample = Float[Tensor, " batch"]


class Game(NamedTuple):
    """The two losses of one objective: the generator's of fake logits, the discriminator's of real and fake logits."""

    generator_loss: Callable[[PerExample], PerExample]
    discriminator_loss: Callable[[PerExample, PerExample], PerExample]


def game(kind: GanObjectiveKind) -> Game:
    """The pair of losses that are played against each other."""
    match kind:
        case "minimax":
            return Game(minimax_generator_loss, minimax_discriminator_loss)
        case "non_saturating":  # Goodfellow's remedy changes the generator's loss alone
            return Game(non_saturating_generator_loss, minimax_discriminator_loss)
        case "hinge":
            return Game(hinge_generator_loss, hinge_discriminator_loss)


def minimax_discriminator_loss(real_logits: PerExample, fake_logits: PerExample) -> PerExample:
    """−log D(x) − log(1 − D(G(z))), the negative of equation 1 of Goodfellow et al. 2014.

    Its optimum is t = log p(x)/q(x), where its mean is log 4 − 2 JS(p, q), with p the density of real images, q of
    generated ones and JS their Jensen-Shannon divergence.
    """
    return softplus(-real_logits) + softplus(fake_logits)


def minimax_generator_loss(fake_logits: PerExample) -> PerExample:
    """log(1 − D(G(z))), the saturating half of equation 1 of Goodfellow et al. 2014.

    Against the optimal discriminator it descends 2 JS(p, q). Its gradient in the logit is −σ(t): it vanishes where the
    discriminator is sure that the image is generated.
    """
    return -softplus(fake_logits)


def non_saturating_generator_loss(fake_logits: PerExample) -> PerExample:
    """−log D(G(z)), section 3 of Goodfellow et al. 2014.

    Against the optimal discriminator it descends KL(q ‖ p) − 2 JS(p, q) (Arjovsky & Bottou 2017, theorem 2.5). Its
    gradient in the logit is −σ(−t): largest where the discriminator is sure that the image is generated.
    """
    return softplus(-fake_logits)


def hinge_discriminator_loss(real_logits: PerExample, fake_logits: PerExample) -> PerExample:
    """max(0, 1 − t(x)) + max(0, 1 + t(G(z))), equation 16 of Miyato et al. 2018, after Lim & Ye 2017.

    Its optimum is t = sign(p − q), where its mean is 2 − 2 TV(p, q): the total variation distance.
    """
    return relu(1 - real_logits) + relu(1 + fake_logits)


def hinge_generator_loss(fake_logits: PerExample) -> PerExample:
    """−t(G(z)), equation 17 of Miyato et al. 2018.

    Against the optimal discriminator it descends 2 TV(p, q).
    """
    return -fake_logits
