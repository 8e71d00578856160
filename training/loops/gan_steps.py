"""One step of a GAN's training: each player's update."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from training.data.datasets import ImageSet
from training.gan.discriminator import Seen, Verdict
from training.gan.objective import Game, feature_matching_loss
from training.gan.penalties import clip_weights, dragan_penalty, r1_penalty, r2_penalty, wgan_gp_penalty
from training.loops.gan_shown import Batch, Shown, StepDraws, generated, real_batch, shown
from training.loops.gan_teaching import agreement_loss, must_agree, said_of, views_of
from training.loops.gan_training import GanTraining
from training.loops.schedule import (
    Plan,
    learning_rate_factor,
    precision,
    seed_layers,
    set_learning_rate,
    step_generator,
)
from training.nets.labels import Labels


@dataclass(frozen=True)
class DiscriminatorStep:
    """What one update of the discriminator saw before it: scalars, left on the device."""

    loss: Tensor
    real_accuracy: Tensor
    fake_accuracy: Tensor
    pair_accuracy: Tensor
    """How often the real image of a pair has the higher logit: says something also where 0 is no boundary."""
    gradient_norm: Tensor
    class_loss: Tensor | None
    """Of a classifier that shares its features."""
    code_loss: Tensor | None
    """Of the latent's codes."""
    agreement_loss: Tensor | None
    """Of views of real images, once they must agree."""
    penalty: Tensor | None
    """In the steps that it is due at."""


@dataclass(frozen=True)
class GeneratorStep:
    """What one update of the generator saw before it: scalars, left on the device."""

    loss: Tensor
    gradient_norm: Tensor
    class_loss: Tensor | None = None
    code_loss: Tensor | None = None
    reconstruction_error: Tensor | None = None
    """Σ (x − G(E(x)))² of an image's pixels in [0, 1], where there is an encoder."""


def take_step(
    training: GanTraining, plan: Plan, played: Game, batch: ImageSet, known: ImageSet | None = None
) -> dict[str, Tensor]:
    """Update the discriminator on one batch and, when it is due, the generator; returns the numbers of both.

    `known` are the pictures whose labels are told, where they are few.
    """
    seed_layers(training.config.seed, training.step)
    _set_learning_rates(training, plan)
    real = real_batch(training, batch)
    generator = step_generator(training.config.seed, training.step)
    draws = StepDraws(training.settings, training.step / plan.total_steps, generator)
    told = None if known is None else real_batch(training, known.take(draws.labelled(len(known))))
    discriminator = _update_discriminator(training, played, draws, real, told)
    training.step += 1
    if training.discriminator_average is not None:
        training.discriminator_average.update(training.net.discriminator, training.step - 1)
    numbers = _named("discriminator", discriminator)
    if training.step % training.settings.objective.discriminator_steps == 0:
        update = _update_generator if training.net.encoder is None else _update_generator_and_encoder
        updated = update(training, played, draws, real)
        training.average_drawing()
        numbers |= _named("generator", updated)
    return numbers


def _set_learning_rates(training: GanTraining, plan: Plan) -> None:
    optimiser = training.config.optimiser
    factor = learning_rate_factor(optimiser, training.step, plan.total_steps)
    set_learning_rate(training.generator_optimiser, optimiser.learning_rate * factor)
    discriminators = optimiser.discriminator_learning_rate or optimiser.learning_rate
    set_learning_rate(training.discriminator_optimiser, discriminators * factor)


def _update_discriminator(
    training: GanTraining, played: Game, draws: StepDraws, real: Batch, told: Batch | None
) -> DiscriminatorStep:
    """One step of Adam on the mean loss of as many real as generated images, and on all else that is due."""
    with torch.no_grad():
        seen = shown(training, draws, real)
    # Two batches, not one of both: with batch norm each kind is normalised by its own statistics.
    with precision(training.config.optimiser, training.device):
        of_real = _verdict(training, seen.real, seen.real_label)
        of_fake = _verdict(training, seen.fake, seen.fake_label)
        known = _of_known_class(training, draws, seen, told) or [(of_real, seen.real_label), (of_fake, seen.fake_label)]
        agreed = _agreed(training, draws, real, of_real)
    loss = played.discriminator_loss(of_real.logit, of_fake.logit).mean()
    classes = _class_loss(training, *known)
    codes = _code_loss(training, of_fake, seen.latent)
    penalty = _penalty(training, draws, seen)
    norm = _descend(
        training,
        training.discriminator_optimiser,
        training.net.discriminator,
        _total(loss, classes, codes, agreed, penalty),
    )
    if (bound := training.settings.penalty.clip_weights) is not None:
        clip_weights(training.net.discriminator, bound)
    return DiscriminatorStep(
        loss.detach(),
        real_accuracy=_share(of_real.logit > 0),
        fake_accuracy=_share(of_fake.logit < 0),
        pair_accuracy=_share(of_real.logit > of_fake.logit),
        gradient_norm=norm,
        class_loss=_kept(classes),
        code_loss=_kept(codes),
        agreement_loss=_kept(agreed),
        penalty=_kept(penalty),
    )


def _of_known_class(
    training: GanTraining, draws: StepDraws, seen: Shown, told: Batch | None
) -> list[tuple[Verdict, Labels | None]]:
    """What is said of the views that a classifier learns from, beside their classes; none where it has the game's own.

    They are of the pictures whose labels are told, or of generated ones where classes are discovered.
    """
    if told is not None:
        return [(_verdict(training, views_of(training, told.image, draws), None), told.label)]
    if training.settings.teaching is None:
        return []
    return [(_verdict(training, views_of(training, seen.fake, draws), None), seen.fake_label)]


def _agreed(training: GanTraining, draws: StepDraws, real: Batch, of_real: Verdict) -> Float[Tensor, ""] | None:
    """The loss of views of real images once they must agree with what is said of the images; None before."""
    if not must_agree(training, draws):
        return None
    of_views = _verdict(training, views_of(training, real.image, draws), None)
    return agreement_loss(training, said_of(training, real.image, of_real), of_views)


def _verdict(training: GanTraining, image: Seen, label: Labels | None) -> Verdict:
    """What the discriminator says, in float32, told the class if it is to be."""
    discriminator = training.net.discriminator
    said = discriminator.verdict(image, label if discriminator.is_told else None)
    return Verdict(said.logit.float(), said.features.float(), _as_float(said.class_logits), _as_float(said.codes))


def _class_loss(training: GanTraining, *judged: tuple[Verdict, Labels | None]) -> Float[Tensor, ""] | None:
    """The classifier's weighted cross-entropy, added up over batches of known classes; None without.

    L_C of Odena et al. 2017, equation 3, which both players lower; of generated images alone, where the classes are to
    be discovered, the bound on their mutual information of Chen et al. 2016, equation 5. From logits: a softmax before
    the cross-entropy would flatten it.
    """
    found = [
        cross_entropy(verdict.class_logits, label)
        for verdict, label in judged
        if verdict.class_logits is not None and label is not None
    ]
    return training.settings.class_weight * torch.stack(found).sum() if found else None


def _code_loss(
    training: GanTraining, verdict: Verdict, latent: Float[Tensor, "batch latent"]
) -> Float[Tensor, ""] | None:
    """Half the squared error of the latent's codes: −log of a Gaussian of scale 1 around the guess."""
    if verdict.codes is None:
        return None
    error = verdict.codes - latent[:, : training.settings.codes]
    return training.settings.code_weight * error.square().sum(dim=1).mean() / 2


def _penalty(training: GanTraining, draws: StepDraws, seen: Shown) -> Float[Tensor, ""] | None:
    """The weighted mean of the gradient penalties; None without, and between the steps that they are due at.

    Slopes are found in the run's precision, and squared and added up in float32.
    """
    settings, real = training.settings.penalty, seen.real
    if not settings.has_gradients or (training.step + 1) % settings.every:
        return None

    def critic(image: Tensor) -> Tensor:
        return _verdict(training, image, seen.real_label).logit

    found = torch.zeros((), device=training.device)
    with precision(training.config.optimiser, training.device):
        if settings.r1:
            found = found + settings.r1 * r1_penalty(critic, real).mean()
        if settings.r2:
            found = found + settings.r2 * r2_penalty(critic, seen.fake).mean()
        if settings.wgan_gp:
            share = torch.rand(len(real), generator=draws.generator).to(training.device)
            found = found + settings.wgan_gp * wgan_gp_penalty(critic, real, seen.fake, share).mean()
        if settings.dragan:
            noise = torch.randn(real.shape, generator=draws.generator).to(training.device)
            found = found + settings.dragan * dragan_penalty(critic, real, noise).mean()
    return settings.every * found


def _update_generator(training: GanTraining, played: Game, draws: StepDraws, real: Batch) -> GeneratorStep:
    """One step of Adam on the mean loss of freshly generated images, beside the real ones where it compares them."""
    fake = generated(training, draws, real)
    matched = training.settings.objective.feature_matching
    with precision(training.config.optimiser, training.device):
        of_fake = of_real = _verdict(training, draws.views(fake.image), fake.label)
        named = of_fake
        if training.settings.condition == "discovered" and training.settings.teaching is not None:
            named = _verdict(training, views_of(training, fake.image.float(), draws), None)
        if played.compares or matched:
            with torch.no_grad():
                of_real = _verdict(training, draws.views(real.image), real.label)
    if matched:
        loss = feature_matching_loss(of_real.features, of_fake.features)
    else:
        loss = played.generator_loss(of_real.logit, of_fake.logit).mean()
    # Few labels say nothing of what is generated: there the classes are the discriminator's alone.
    classes = _class_loss(training, (named, fake.label))
    codes = _code_loss(training, of_fake, fake.latent)
    norm = _descend(training, training.generator_optimiser, training.net.generator, _total(loss, classes, codes))
    return GeneratorStep(loss.detach(), norm, _kept(classes), _kept(codes))


def _update_generator_and_encoder(training: GanTraining, played: Game, draws: StepDraws, real: Batch) -> GeneratorStep:
    """One step of Adam for both, on the adversarial loss of whichever of them made what is judged.

    Of a BiGAN both did: where its pairs change places and the logit its sign, the encoder is to the game what the
    generator is (Donahue et al. 2017, equation 3 and section 3.4), so each lowers a generator's loss of its own. Of an
    adversarial autoencoder the encoder did, and the generator only reconstructs (Makhzani et al. 2016, section 2; its
    two phases are one step here).
    """
    seen = shown(training, draws, real)
    with precision(training.config.optimiser, training.device):
        of_real, of_fake = (_verdict(training, rows, None).logit for rows in (seen.real, seen.fake))
    loss = played.generator_loss(of_real, of_fake).mean()
    if training.settings.inference.kind == "bidirectional":
        loss = loss + played.generator_loss(-of_fake, -of_real).mean()
    error = _reconstruction_error(training, real, seen)
    paid = loss + training.settings.inference.reconstruction_weight * error
    norm = _descend(training, training.generator_optimiser, training.net.drawing, paid)
    return GeneratorStep(loss.detach(), norm, reconstruction_error=error.detach())


def _reconstruction_error(training: GanTraining, real: Batch, seen: Shown) -> Float[Tensor, ""]:
    """The batch's mean squared error, summed over the pixels in [0, 1].

    Where it weighs nothing it is only looked at: without gradients, the generator answering as outside training.
    """
    assert seen.code is not None  # whoever has an encoder has codes
    # A batch norm's running statistics are of all that the generator learns from: of codes, too, where it pays for them
    # (that of an adversarial autoencoder learns from nothing else). What is only measured must not move them.
    learns = training.settings.inference.reconstruction_weight > 0
    generator = training.net.generator.train(learns)
    with torch.set_grad_enabled(learns):
        with precision(training.config.optimiser, training.device):
            again = generator(seen.code)
        error: Tensor = ((again.float() - real.image) / 2).square()
    generator.train()
    return error.flatten(start_dim=1).sum(dim=1).mean()


def _total(loss: Tensor, *more: Tensor | None) -> Tensor:
    return sum((term for term in more if term is not None), loss)


def _descend(training: GanTraining, optimiser: torch.optim.Adam, player: nn.Module, loss: Tensor) -> Tensor:
    """Move one player alone down its loss; returns the norm of its whole gradient before clipping."""
    parameters = list(player.parameters())
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss, inputs=parameters)  # the other player's gradients would be computed for nothing
    norm = nn.utils.clip_grad_norm_(parameters, training.config.optimiser.clip_norm or inf)
    optimiser.step()
    return norm


def _as_float(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.float()


def _kept(number: Tensor | None) -> Tensor | None:
    return None if number is None else number.detach()


def _share(condition: Tensor) -> Tensor:
    return condition.float().mean()


def _named(player: str, numbers: DiscriminatorStep | GeneratorStep) -> dict[str, Tensor]:
    return {f"{player}_{name}": value for name, value in vars(numbers).items() if value is not None}
