"""What a classifier learns beside the game: from labelled pictures in views, and from views that must agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.images.pixels import to_floats
from training.config import DataConfig, RunConfig
from training.data.datasets import DataSplits, load_splits
from training.gan.discriminator import ConvolutionalDiscriminator
from training.loops.gan_loop import train_gan
from training.loops.gan_shown import StepDraws
from training.loops.gan_teaching import agreement_loss, must_agree, said_of, views_of
from training.loops.gan_training import PIXELS, GanTraining
from training.loops.run_folder import RunFolder
from training.loops.schedule import step_generator

CPU = torch.device("cpu")
STILL = {"shift_pixels": 0.0, "rotation_degrees": 0.0, "shear": 0.0, "stretch": 0.0}
VIEWS = {"shift_pixels": 0.5, "rotation_degrees": 10.0, "shear": 0.1}

FEW_LABELS = {
    "condition": "semi_supervised",
    "labelled_batch": 20,
    "objective": {"kind": "non_saturating", "feature_matching": True},
}
DISCOVERED = {"condition": "discovered", "discovered_classes": 3, "objective": {"kind": "hinge"}}


@pytest.fixture(scope="module")
def digits() -> DataSplits:
    return load_splits(DataConfig(set="digits", size=8, labelled_images=50))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _training(teaching: dict[str, Any] | None) -> GanTraining:
    return GanTraining.start(_config(teaching), CPU, classes=10)


def _draws(training: GanTraining, progress: float = 0.5) -> StepDraws:
    return StepDraws(training.settings, progress, step_generator(0, 0))


def _images(digits: DataSplits, count: int) -> torch.Tensor:
    return torch.from_numpy(to_floats(digits.train.pictures[:count], PIXELS))


def test_views_are_of_the_same_pixels_and_bring_in_black(digits: DataSplits) -> None:
    image = _images(digits, 40)
    still, moving = (_training(views) for views in (STILL, VIEWS))
    torch.testing.assert_close(views_of(still, image, _draws(still)), image, atol=1e-6, rtol=0)
    view = views_of(moving, image, _draws(moving))
    assert not torch.allclose(view, image, atol=0.1)
    assert float(view.min()) >= -1 - 1e-6
    assert float(view.max()) <= 1 + 1e-6
    black = torch.full((3, 1, 8, 8), -1.0)
    torch.testing.assert_close(views_of(moving, black, _draws(moving)), black)


def test_without_teaching_pictures_are_seen_as_in_the_game(digits: DataSplits) -> None:
    plain = _training(None)
    image = _images(digits, 4)
    assert torch.equal(views_of(plain, image, _draws(plain)), image)
    assert not must_agree(plain, _draws(plain, 1.0))


def test_views_must_agree_from_the_set_share_of_the_run_on() -> None:
    training = _training({"agreement_start": 0.25})
    assert not must_agree(training, _draws(training, 0.24))
    assert must_agree(training, _draws(training, 0.25))
    unasked = _training({"agreement_weight": 0.0})
    assert not must_agree(unasked, _draws(unasked, 1.0))


def test_agreement_is_with_the_averaged_classifier_and_moves_the_other_alone(digits: DataSplits) -> None:
    training = _training({"agreement_weight": 2.0, "agreement_confidence": 0.0})
    image = _images(digits, 12)
    teacher, student = training.published_discriminator, training.net.discriminator
    for parameter in teacher.parameters():
        parameter.mul_(1.5)
    said = student.verdict(image)
    loss = agreement_loss(training, said_of(training, image, said), said)
    told = torch.softmax(teacher.verdict(image).class_logits, dim=1).argmax(dim=1)
    assert said.class_logits is not None
    wanted = -2 * torch.log_softmax(said.class_logits, dim=1)[torch.arange(12), told].mean()
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert student.to_class is not None
    assert student.to_class.weight.grad is not None


def test_nothing_is_agreed_on_where_the_averaged_classifier_is_unsure(digits: DataSplits) -> None:
    training = _training({"agreement_confidence": 0.9})  # fresh nets are sure of nothing
    image = _images(digits, 12)
    said = training.net.discriminator.verdict(image)
    loss = agreement_loss(training, said_of(training, image, said), said)
    assert float(loss.detach()) == 0


def test_a_run_learns_from_few_labels_and_says_when_views_began_to_agree(digits: DataSplits, tmp_path: Path) -> None:
    config = _config(VIEWS | {"agreement_start": 0.5}, epochs=20)
    model = train_gan(config, digits, RunFolder(tmp_path), device=CPU, resume=False, progress=False)
    image = torch.from_numpy(to_floats(digits.test.pictures, PIXELS))
    with torch.no_grad():
        class_logits = model.discriminator.verdict(image).class_logits
    assert class_logits is not None
    assert np.mean(class_logits.argmax(dim=1).numpy() == digits.test.labels) > 0.75  # guessing has 0.1
    recorded = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in recorded if "discriminator_agreement_loss" in line]
    players = [line["step"] for line in recorded if "generator_loss" in line]
    assert steps
    assert steps == [step for step in players if step > players[-1] / 2]


def test_where_classes_are_discovered_views_agree_with_what_the_same_net_says(digits: DataSplits) -> None:
    training = GanTraining.start(_config({"agreement_confidence": 0.0}, condition=DISCOVERED), CPU, classes=10)
    image = _images(digits, 12)
    of_image = training.net.discriminator.verdict(image)
    said = said_of(training, image, of_image)
    assert of_image.class_logits is not None
    assert not said.requires_grad
    torch.testing.assert_close(said, of_image.class_logits.detach())
    assert training.net.discriminator.training  # asking it did not take it out of training
    of_views = training.net.discriminator.verdict(image.flip(0))
    agreement_loss(training, said, of_views).backward()
    assert training.net.discriminator.to_class is not None
    assert training.net.discriminator.to_class.weight.grad is not None


def test_classes_to_discover_are_evened_out_over_as_many() -> None:
    teaching = {"even_classes": True}
    training = GanTraining.start(_config(teaching, condition=DISCOVERED), CPU, classes=10)
    assert training.even_classes is not None
    assert training.even_classes.shares.shape == (3,)


def test_discovered_classes_have_to_be_found_in_views(tmp_path: Path) -> None:
    """What a view loses cannot be what a class is: two runs of one seed, one of whose views are black pictures."""
    unlabelled, last = load_splits(DataConfig(set="digits", size=8)), {}
    for name, views in (("still", STILL), ("gone", STILL | {"shift_pixels": 1000.0})):
        config = _config(views | {"agreement_weight": 0.0}, epochs=20, condition=DISCOVERED)
        (tmp_path / name).mkdir()
        train_gan(config, unlabelled, RunFolder(tmp_path / name), device=CPU, resume=False, progress=False)
        recorded = [json.loads(line) for line in (tmp_path / name / "journal.jsonl").read_text().splitlines()]
        last[name] = [line["generator_class_loss"] for line in recorded if "generator_class_loss" in line][-1]
    assert last["still"] < 0.2
    assert last["gone"] > 0.9  # guessing one of three has log 3


def test_hidden_layer_stands_before_the_logits() -> None:
    discriminator = ConvolutionalDiscriminator(8, 1, 4, hidden=7)
    verdict = discriminator.verdict(torch.rand(3, 1, 8, 8))
    assert (verdict.features.shape, verdict.logit.shape) == ((3, 7), (3,))


def _config(teaching: dict[str, Any] | None, *, epochs: int = 1, condition: dict[str, Any] = FEW_LABELS) -> RunConfig:
    model = {
        "family": "gan",
        "latent_size": 6,
        "generator_channels": 4,
        "discriminator_channels": 8,
        "discriminator_hidden": 32,
        "generator_batch_norm": True,
        "discriminator_batch_norm": False,
        **condition,
        **({} if teaching is None else {"teaching": teaching}),
    }
    return RunConfig.model_validate(
        {
            "name": "tiny_taught_gan",
            "title": "A tiny GAN that is taught",
            "seed": 3,
            "data": {"set": "digits", "size": 8} | ({"labelled_images": 50} if condition is FEW_LABELS else {}),
            "model": model,
            "optimiser": {
                "epochs": epochs,
                "batch_size": 64,
                "learning_rate": 3e-3,
                "betas": (0.5, 0.9),
                "average_decay": 0.9,
            },
        }
    )
