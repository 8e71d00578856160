"""What each player of the game minimises, per example, from the discriminator's logits.

Its logit t is high where an image looks real: in the games of Goodfellow et al. 2014 the log-odds that it is, D = σ(t).
In every formula x is a real image and z a latent, p is the density of real images and q of generated ones,
m = (p + q)/2, and JS their Jensen-Shannon divergence. The losses that see both kinds pair the i-th real with the i-th
generated image, which changes no expectation but that of the relativistic game, which is about pairs.

What a generator "descends" is the functional of q whose slope in q is its loss under the discriminator that is optimal
against this very q. Logarithms are written with softplus, log(1 + exp t), which neither overflows nor loses the small
tail: −log D = softplus(−t) and −log(1 − D) = softplus(t). The games of the f-divergences are in `f_divergence`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import relu, softplus

from training.gan import f_divergence
from training.gan_sections import GanObjectiveKind

PerExample = Float[Tensor, " batch"]
OfBoth = Callable[[PerExample, PerExample], PerExample]


class Game(NamedTuple):
    """The two losses of one objective, each of real and fake logits.

    Unless it `compares` them, the generator's loss leaves the real ones unread.
    """

    generator_loss: OfBoth
    discriminator_loss: OfBoth
    compares: bool = False


def game(kind: GanObjectiveKind) -> Game:  # noqa: PLR0911, PLR0912  a kind each
    """The pair of losses that are played against each other."""
    match kind:
        case "minimax":
            return _game(minimax_generator_loss, minimax_discriminator_loss)
        case "non_saturating":  # Goodfellow's remedy changes the generator's loss alone
            return _game(non_saturating_generator_loss, minimax_discriminator_loss)
        case "least_squares":
            return _game(least_squares_generator_loss, least_squares_discriminator_loss)
        case "wasserstein":
            return _game(wasserstein_generator_loss, wasserstein_discriminator_loss)
        case "hinge":
            return _game(hinge_generator_loss, hinge_discriminator_loss)
        case "boundary_seeking":  # as does Hjelm's
            return _game(boundary_seeking_generator_loss, minimax_discriminator_loss)
        case "relativistic":
            return Game(relativistic_generator_loss, relativistic_discriminator_loss, compares=True)
        case "kl":
            return _game(f_divergence.kl_generator_loss, f_divergence.kl_discriminator_loss)
        case "reverse_kl":
            return _game(f_divergence.reverse_kl_generator_loss, f_divergence.reverse_kl_discriminator_loss)
        case "pearson":
            return _game(f_divergence.pearson_generator_loss, f_divergence.pearson_discriminator_loss)
        case "squared_hellinger":
            return _game(
                f_divergence.squared_hellinger_generator_loss, f_divergence.squared_hellinger_discriminator_loss
            )
        case "jensen_shannon":
            return _game(f_divergence.jensen_shannon_generator_loss, f_divergence.jensen_shannon_discriminator_loss)
        case "total_variation":
            return _game(f_divergence.total_variation_generator_loss, f_divergence.total_variation_discriminator_loss)


def _game(generator_loss: Callable[[PerExample], PerExample], discriminator_loss: OfBoth) -> Game:
    return Game(lambda _, fake_logits: generator_loss(fake_logits), discriminator_loss)


def minimax_discriminator_loss(real_logits: PerExample, fake_logits: PerExample) -> PerExample:
    """−log D(x) − log(1 − D(G(z))), the negative of equation 1 of Goodfellow et al. 2014.

    Its optimum is t = log p(x)/q(x), where its mean is log 4 − 2 JS(p, q).
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


def least_squares_discriminator_loss(real_logits: PerExample, fake_logits: PerExample) -> PerExample:
    """(1 − t(x))² + (1 + t(G(z)))², equation 9 of Mao et al. 2017 with its targets 0 and 1 read as −1 and 1.

    So the sign still says which. Its optimum is t = (p − q)/(p + q), where its mean is 2 − Δ(p, q), with the
    triangular discrimination Δ = ∫ (p − q)²/(p + q).
    """
    return (1 - real_logits) ** 2 + (1 + fake_logits) ** 2


def least_squares_generator_loss(fake_logits: PerExample) -> PerExample:
    """(1 − t(G(z)))², equation 9 of Mao et al. 2017: generated images ought to be given the target of real ones.

    Against the optimal discriminator it descends 8 KL(p ‖ m) − Δ(p, q). (The paper's χ² is of both players' sums of
    squares under equation 8, whose generator has the target 0: its own slope there is that of 4 KL(p ‖ m) − Δ(p, q),
    which vanishes to second order at q = p.)
    """
    return (1 - fake_logits) ** 2


def wasserstein_discriminator_loss(real_logits: PerExample, fake_logits: PerExample) -> PerExample:
    """−t(x) + t(G(z)), equation 2 of Arjovsky et al. 2017.

    Among critics whose slope is 1 at most its least mean is −W(p, q): the Wasserstein-1 distance. Without a bound on
    the slope there is none.
    """
    return fake_logits - real_logits


def wasserstein_generator_loss(fake_logits: PerExample) -> PerExample:
    """−t(G(z)), theorem 3 of Arjovsky et al. 2017.

    Against the optimal critic it descends W(p, q).
    """
    return -fake_logits


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


def boundary_seeking_generator_loss(fake_logits: PerExample) -> PerExample:
    """½ (log D(G(z)) − log(1 − D(G(z))))² = t²/2, equation 10 of Hjelm et al. 2018, for continuous images.

    It pulls every image to where the discriminator cannot decide, from either side. Against the optimal one it
    descends ½ E_q[log² p/q] − KL(q ‖ p), which is no divergence: its slope ½ log² p/q never changes its sign.
    """
    return fake_logits**2 / 2


def relativistic_discriminator_loss(real_logits: PerExample, fake_logits: PerExample) -> PerExample:
    """−log σ(t(x) − t(G(z))), section 4.1 of Jolicoeur-Martineau 2019: is the real image the more real of a pair?

    Its optimum is t = log p/q and any constant, where its mean is log 2 − JS(p⊗q, q⊗p): of pairs in this order and in
    the other.
    """
    return softplus(fake_logits - real_logits)


def relativistic_generator_loss(real_logits: PerExample, fake_logits: PerExample) -> PerExample:
    """−log σ(t(G(z)) − t(x)), section 4.1 of Jolicoeur-Martineau 2019.

    Against the optimal discriminator it descends KL(q ‖ p) − JS(p⊗q, q⊗p).
    """
    return softplus(real_logits - fake_logits)


def feature_matching_loss(
    real_features: Float[Tensor, "batch features"], fake_features: Float[Tensor, "batch features"]
) -> Float[Tensor, ""]:
    """‖E f(x) − E f(G(z))‖², section 3.1 of Salimans et al. 2016, with the batches' means and over their number.

    A squared distance of means: it is 0 for every q whose mean features are those of p.
    """
    return (real_features.mean(dim=0) - fake_features.mean(dim=0)).square().mean()
