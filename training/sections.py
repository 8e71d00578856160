"""What the sections of a run's configuration are made of, and the section of learning from few labels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """Frozen; refuses unknown keys and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ViewsConfig(Section):
    """How far a picture may be changed that keeps its class."""

    shift_pixels: Annotated[float, Field(ge=0)] = 2.0  # a view is shifted by up to this,
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 20.0  # turned by up to this,
    shear: Share = 0.25  # slanted by up to this, in heights,
    stretch: Share = 0.1  # stretched by up to this share of its size,
    erased: Share = 0.0  # and loses a square of up to this share of its side; all 0: it is the picture itself


class FewLabelsConfig(ViewsConfig):
    """Learning from few labels (Kingma et al. 2014); `data.labelled_images` says from how many."""

    kind: Literal["m1", "m2", "m1_m2"] = "m1_m2"  # q(y|x) on a VAE's codes; the class as a latent; both in one stack
    classifier_channels: Widths = (32, 64, 64)  # of q(y|x), at each halving of the side; m1: it reads codes instead
    classifier_hidden: PositiveInt = 128  # width of the layer before its logits
    label_weight: PositiveFloat = 1.0  # α: what log q(y|x) of a labelled picture counts beside a picture's bound
    labelled_bound_weight: Annotated[float, Field(ge=0)] = 0.1  # their mean bound's, beside the unlabelled ones'
    labelled_batch: PositiveInt = 40  # labelled pictures in a step, beside optimiser.batch_size unlabelled ones
    heed_epochs: Annotated[float, Field(ge=0)] = 1.0  # until then the bound does not move q(y|x): it knows too little
    heed_share: Annotated[float, Field(ge=0, le=1)] = 1.0  # of the bound's gradient that then reaches q(y|x)
    agreement_epochs: Annotated[float, Field(ge=0)] = 0.4  # until then views need not agree, afterwards with weight
    agreement_weight: Annotated[float, Field(ge=0)] = 0.0  # this: with what the averaged q(y|x) says of the picture
    agreement_confidence: Share = 0.9  # it speaks where its largest probability is at least this
