"""One step of a GAN's training: what is drawn, what the discriminator sees, and each player's update."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from app.images.pixels import to_floats
from training.data.datasets import ImageSet
from training.gan.discriminator import Verdict
from training.gan.generator import Generator
from training.gan.objective import Game, feature_matching_loss
from training.gan.penalties import clip_weights, dragan_penalty, r1_penalty, r2_penalty, wgan_gp_penalty
from training.gan.views import add_instance_noise, augment, instance_noise_scale
from training.gan_sections import GanConfig
from training.loops.gan_training import PIXELS, GanTraining
from training.loops.schedule import Plan, learning_rate_factor, precision, set_learning_rate, step_generator, step_seed
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
    penalty: Tensor | None
    """In the steps that it is due at."""


@dataclass(frozen=True)
class GeneratorStep:
    """What one update of the generator saw before it: scalars, left on the device."""

    loss: Tensor
    gradient_norm: Tensor
    class_loss: Tensor | None
    code_loss: Tensor | None


def take_step(
    training: GanTraining, plan: Plan, played: Game, batch: ImageSet, known: ImageSet | None = None
) -> dict[str, Tensor]:
    """Update the discriminator on one batch and, when it is due, the generator; returns the numbers of both.

    `known` are the pictures whose labels are told, where they are few.
    """
    torch.manual_seed(step_seed(training.config.seed, training.step))  # noise between layers draws from this generator
    _set_learning_rates(training, plan)
    real = _real(training, batch)
    generator = step_generator(training.config.seed, training.step)
    draws = _StepDraws(training.settings, training.step / plan.total_steps, generator)
    told = None if known is None else _real(training, known.take(draws.labelled(len(known))))
    discriminator = _update_discriminator(training, played, draws, real, told)
    training.step += 1
    if training.discriminator_average is not None:
        training.discriminator_average.update(training.net.discriminator, training.step - 1)
    numbers = _named("discriminator", discriminator)
    if training.step % training.settings.objective.discriminator_steps == 0:
        updated = _update_generator(training, played, draws, real)
        training.average.update(training.net.generator, training.generator_steps - 1)
        numbers |= _named("generator", updated)
    return numbers


def _real(training: GanTraining, batch: ImageSet) -> _Batch:
    image = torch.from_numpy(to_floats(batch.pictures, PIXELS)).to(training.device)
    if batch.labels is None or training.settings.condition in ("none", "discovered"):
        return _Batch(image, None)
    return _Batch(image, torch.from_numpy(batch.labels).to(training.device))


def _set_learning_rates(training: GanTraining, plan: Plan) -> None:
    optimiser = training.config.optimiser
    factor = learning_rate_factor(optimiser, training.step, plan.total_steps)
    set_learning_rate(training.generator_optimiser, optimiser.learning_rate * factor)
    discriminators = optimiser.discriminator_learning_rate or optimiser.learning_rate
    set_learning_rate(training.discriminator_optimiser, discriminators * factor)


class _Batch(NamedTuple):
    """Images in [−1, 1] and, where the model may know it, the class of each."""

    image: Float[Tensor, "batch c h w"]
    label: Labels | None


@dataclass(frozen=True)
class _StepDraws:
    """What one step draws, all from one generator: latents, and how the discriminator sees images."""

    settings: GanConfig
    progress: float
    generator: torch.Generator

    def latent(self, batch: int, device: torch.device) -> Float[Tensor, "batch latent"]:
        """Fresh latents."""
        return torch.randn(batch, self.settings.latent_size, generator=self.generator).to(device)

    def classes(self, real: _Batch, generator: Generator) -> Labels | None:
        """The classes that images are generated of: those of the real ones, so that both kinds are as frequent.

        Where they are to be discovered, drawn evenly; None where the generator is told none.
        """
        if not generator.classes:
            return None
        if real.label is not None:
            return real.label
        drawn = torch.randint(generator.classes, (len(real.image),), generator=self.generator)
        return drawn.to(real.image.device)

    def labelled(self, count: int) -> Int64[np.ndarray, " few"]:
        """Which of the labelled pictures are looked at, drawn with replacement."""
        found: Int64[np.ndarray, " few"]
        found = torch.randint(count, (self.settings.labelled_batch,), generator=self.generator).numpy()
        return found

    def views(self, image: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
        """Images as they are shown: augmented and noisy where the configuration says so."""
        image = augment(image, self.settings.augment, self.generator)
        scale = instance_noise_scale(self.settings.instance_noise, self.progress, self.settings.instance_noise_share)
        return add_instance_noise(image, scale, self.generator) if scale > 0 else image


def _update_discriminator(
    training: GanTraining, played: Game, draws: _StepDraws, real: _Batch, told: _Batch | None
) -> DiscriminatorStep:
    """One step of Adam on the mean loss of as many real as generated images, and on all else that is due."""
    with torch.no_grad():
        fake = _generated(training, draws, real)
    real_image, fake_image = draws.views(real.image), draws.views(fake.image.float())
    # Two batches, not one of both: with batch norm each kind is normalised by its own statistics.
    with precision(training.config.optimiser, training.device):
        of_real = _verdict(training, real_image, real.label)
        of_fake = _verdict(training, fake_image, fake.label)
        of_told = None if told is None else _verdict(training, draws.views(told.image), None)
    loss = played.discriminator_loss(of_real.logit, of_fake.logit).mean()
    if told is None or of_told is None:
        classes = _class_loss(training, (of_real, real.label), (of_fake, fake.label))
    else:
        classes = _class_loss(training, (of_told, told.label))
    codes = _code_loss(training, of_fake, fake.latent)
    penalty = _penalty(training, draws, _Batch(real_image, real.label), fake_image)
    norm = _descend(
        training, training.discriminator_optimiser, training.net.discriminator, _total(loss, classes, codes, penalty)
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
        penalty=_kept(penalty),
    )


class _Generated(NamedTuple):
    """Generated images, the classes that they were to be of, and their latents."""

    image: Float[Tensor, "batch c h w"]
    label: Labels | None
    latent: Float[Tensor, "batch latent"]


def _generated(training: GanTraining, draws: _StepDraws, real: _Batch) -> _Generated:
    """As many images as there are real ones."""
    latent = draws.latent(len(real.image), training.device)
    label = draws.classes(real, training.net.generator)
    with precision(training.config.optimiser, training.device):
        return _Generated(training.net.generator(latent, label), label, latent)


def _verdict(training: GanTraining, image: Float[Tensor, "batch c h w"], label: Labels | None) -> Verdict:
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


def _penalty(
    training: GanTraining, draws: _StepDraws, real: _Batch, fake: Float[Tensor, "batch c h w"]
) -> Float[Tensor, ""] | None:
    """The weighted mean of the gradient penalties; None without, and between the steps that they are due at.

    In float32: half of their gradients' digits would be lost otherwise.
    """
    settings, image = training.settings.penalty, real.image
    if not settings.has_gradients or (training.step + 1) % settings.every:
        return None

    def critic(seen: Tensor) -> Tensor:
        return _verdict(training, seen, real.label).logit

    found = torch.zeros((), device=training.device)
    if settings.r1:
        found = found + settings.r1 * r1_penalty(critic, image).mean()
    if settings.r2:
        found = found + settings.r2 * r2_penalty(critic, fake).mean()
    if settings.wgan_gp:
        share = torch.rand(len(image), generator=draws.generator).to(training.device)
        found = found + settings.wgan_gp * wgan_gp_penalty(critic, image, fake, share).mean()
    if settings.dragan:
        noise = torch.randn(image.shape, generator=draws.generator).to(training.device)
        found = found + settings.dragan * dragan_penalty(critic, image, noise).mean()
    return settings.every * found


def _update_generator(training: GanTraining, played: Game, draws: _StepDraws, real: _Batch) -> GeneratorStep:
    """One step of Adam on the mean loss of freshly generated images, beside the real ones where it compares them."""
    fake = _generated(training, draws, real)
    matched = training.settings.objective.feature_matching
    with precision(training.config.optimiser, training.device):
        of_fake = of_real = _verdict(training, draws.views(fake.image), fake.label)
        if played.compares or matched:
            with torch.no_grad():
                of_real = _verdict(training, draws.views(real.image), real.label)
    if matched:
        loss = feature_matching_loss(of_real.features, of_fake.features)
    else:
        loss = played.generator_loss(of_real.logit, of_fake.logit).mean()
    # Few labels say nothing of what is generated: there the classes are the discriminator's alone.
    classes = _class_loss(training, (of_fake, fake.label))
    codes = _code_loss(training, of_fake, fake.latent)
    norm = _descend(training, training.generator_optimiser, training.net.generator, _total(loss, classes, codes))
    return GeneratorStep(loss.detach(), norm, _kept(classes), _kept(codes))


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
