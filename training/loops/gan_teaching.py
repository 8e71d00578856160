"""What teaches a discriminator that is a classifier, beside the game: labelled pictures, and views that must agree."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from training.gan.discriminator import Verdict
from training.loops.gan_shown import Batch, StepDraws
from training.loops.gan_training import GanTraining
from training.nets.views import class_views
from training.probability.agreement import agreement

Images = Float[Tensor, "batch c h w"]


def views_of(training: GanTraining, image: Images, draws: StepDraws) -> Images:
    """Images in [−1, 1] as the classifier looks at them when it is taught: views, where the configuration says so."""
    if training.settings.teaching is None:
        return draws.views(image)
    unit = class_views((image + 1) / 2, training.settings.teaching, draws.generator)  # outside of which is black
    return 2 * unit - 1


def must_agree(training: GanTraining, draws: StepDraws) -> bool:
    """Whether views are held to what the averaged classifier says of the picture."""
    teaching = training.settings.teaching
    return teaching is not None and teaching.agreement_weight > 0 and draws.progress >= teaching.agreement_start


def agreement_loss(training: GanTraining, real: Batch, of_views: Verdict) -> Float[Tensor, ""]:
    """Minus the mean log probability, at views of real images, of what the averaged classifier is sure of."""
    teaching, teacher = training.settings.teaching, training.published_discriminator
    assert teaching is not None  # or nothing must agree
    with torch.no_grad():
        averaged = teacher.eval().verdict(real.image).class_logits
    assert averaged is not None
    assert of_views.class_logits is not None  # a classifier has them
    told = torch.softmax(averaged.float(), dim=1)
    if training.even_classes is not None:
        told = training.even_classes.turned(told)
    agreed = agreement(of_views.class_logits, told, teaching.agreement_confidence)
    return -teaching.agreement_weight * agreed.mean()
