"""What teaches a discriminator that is a classifier, beside the game: views of known class, and views that agree."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from training.gan.discriminator import Verdict
from training.loops.gan_shown import StepDraws
from training.loops.gan_training import GanTraining
from training.nets.views import class_views
from training.probability.agreement import agreement

Images = Float[Tensor, "batch c h w"]
Logits = Float[Tensor, "batch classes"]


def views_of(training: GanTraining, image: Images, draws: StepDraws) -> Images:
    """Images in [−1, 1] as the classifier looks at them when it is taught: views, where the configuration says so."""
    if training.settings.teaching is None:
        return draws.views(image)
    unit = class_views((image + 1) / 2, training.settings.teaching, draws.generator)  # outside of which is black
    return 2 * unit - 1


def must_agree(training: GanTraining, draws: StepDraws) -> bool:
    """Whether views are held to what the classifier says of the picture."""
    teaching = training.settings.teaching
    return teaching is not None and teaching.agreement_weight > 0 and draws.progress >= teaching.agreement_start


def said_of(training: GanTraining, image: Images, of_image: Verdict) -> Logits:
    """The logits that views of images are held to: the averaged classifier's, or its own where none is averaged."""
    if training.discriminator_average is None:
        said = of_image.class_logits
    else:
        with torch.no_grad():
            said = training.published_discriminator.eval().verdict(image).class_logits
    assert said is not None  # a classifier has them
    return said.detach().float()


def agreement_loss(training: GanTraining, said: Logits, of_views: Verdict) -> Float[Tensor, ""]:
    """Minus the mean log probability, at views of real images, of what is surely said of the images themselves."""
    teaching = training.settings.teaching
    assert teaching is not None  # or nothing must agree
    assert of_views.class_logits is not None
    told = torch.softmax(said, dim=1)
    if training.even_classes is not None:
        told = training.even_classes.turned(told)
    agreed = agreement(of_views.class_logits, told, teaching.agreement_confidence)
    return -teaching.agreement_weight * agreed.mean()
