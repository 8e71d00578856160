"""The two nets and the model that holds them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from training.config import ConfigError, DataConfig
from training.gan.discriminator import Conditioning, ConvolutionalDiscriminator, DenseDiscriminator, Discriminator
from training.gan.generator import ConvolutionalGenerator, DenseGenerator, Generator
from training.gan.model import GenerativeAdversarialNetwork
from training.gan_sections import Condition, GanConfig

every_size = pytest.mark.parametrize("size", [8, 16, 28, 32, 64])
every_channel_count = pytest.mark.parametrize("channels", [1, 3])


@every_size
@every_channel_count
@pytest.mark.parametrize("batch_norm", [False, True])
def test_generator_draws_images_of_the_asked_shape_within_the_pixel_range(
    size: int, channels: int, batch_norm: bool
) -> None:
    generator = ConvolutionalGenerator(size, channels, latent_size=5, channels=4, batch_norm=batch_norm)
    image = generator(100 * torch.randn(3, 5))
    assert image.shape == (3, channels, size, size)
    assert image.abs().max() <= 1


@every_size
@every_channel_count
@pytest.mark.parametrize(("batch_norm", "spectral_norm"), [(False, False), (True, False), (False, True)])
def test_discriminator_gives_one_logit_an_image(
    size: int, channels: int, batch_norm: bool, spectral_norm: bool
) -> None:
    discriminator = ConvolutionalDiscriminator(size, channels, 4, batch_norm=batch_norm, spectral_norm=spectral_norm)
    assert discriminator(torch.rand(3, channels, size, size)).shape == (3,)


def test_weights_start_as_in_the_paper() -> None:
    generator = ConvolutionalGenerator(28, 1, latent_size=64, channels=32)
    weights = [layer.weight for layer in _weighted(generator)]
    drawn = torch.cat([weight.flatten() for weight in weights])
    assert drawn.std().item() == pytest.approx(0.02, rel=0.02)
    assert drawn.mean().item() == pytest.approx(0, abs=2e-4)


def test_generator_without_batch_norm_answers_each_latent_alone() -> None:
    generator = ConvolutionalGenerator(8, 1, latent_size=5, channels=4, batch_norm=False)
    latents = torch.randn(6, 5)
    torch.testing.assert_close(generator(latents)[2:3], generator(latents[2:3]))


def test_spectral_norm_brings_every_layers_largest_singular_value_to_one() -> None:
    torch.manual_seed(0)
    discriminator = ConvolutionalDiscriminator(16, 3, 8, spectral_norm=True)
    # Each forward pass in training refines the estimate by one power iteration; singular values may lie close together.
    for _ in range(300):
        discriminator(torch.rand(2, 3, 16, 16))
    discriminator.eval()
    for layer in _weighted(discriminator):
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
        torch.testing.assert_close(largest, torch.ones(()), rtol=0.02, atol=0)


def test_discriminator_with_spectral_norm_leaves_no_layer_out() -> None:
    bounded = ConvolutionalDiscriminator(16, 1, 4, spectral_norm=True)
    (projecting, _) = _discriminators("projection", spectral_norm=True)
    for net in (bounded, projecting):
        assert all(nn.utils.parametrize.is_parametrized(layer, "weight") for layer in _weighted(net))


def test_model_from_config_takes_sizes_from_the_data() -> None:
    config = GanConfig(family="gan", latent_size=6, generator_channels=4, discriminator_channels=4)
    model = GenerativeAdversarialNetwork.from_config(config, DataConfig(set="digits", size=16, channels=3))
    image: Tensor = model.generator(torch.randn(2, 6))
    assert image.shape == (2, 3, 16, 16)
    assert model.discriminator(image).shape == (2,)


CLASSES, SHAPE = 3, (2, 8, 8)
LATENT, LABEL = torch.randn(4, 5), torch.tensor([0, 2, 1, 2])
IMAGE = torch.rand(4, *SHAPE)
CONDITIONS: tuple[Condition, ...] = ("concatenation", "projection", "auxiliary")


def _generators(classes: int) -> list[Generator]:
    return [
        ConvolutionalGenerator(8, 2, 5, 4, classes=classes),
        DenseGenerator(SHAPE, 5, [12, 10], classes=classes),
    ]


def _discriminators(kind: Condition, *, spectral_norm: bool = False) -> list[Discriminator]:
    conditioning = Conditioning(kind, CLASSES)
    return [
        ConvolutionalDiscriminator(8, 2, 4, conditioning=conditioning, spectral_norm=spectral_norm),
        DenseDiscriminator(SHAPE, [12, 10], conditioning=conditioning, spectral_norm=spectral_norm),
    ]


def test_dense_nets_map_latents_to_images_and_images_to_logits() -> None:
    image = DenseGenerator(SHAPE, 5, [12, 10])(100 * LATENT)
    assert image.shape == (4, *SHAPE)
    assert 0.9 < image.abs().max() <= 1
    discriminator = DenseDiscriminator(SHAPE, [12, 10])
    assert discriminator(IMAGE).shape == (4,)
    layers = [
        (layer.in_features, layer.out_features) for layer in _weighted(discriminator) if isinstance(layer, nn.Linear)
    ]
    assert sorted(layers) == sorted([(128, 12), (12, 10), (10, 1)])


def test_generator_draws_each_class_differently_and_the_same_class_alike() -> None:
    for generator in _generators(CLASSES):
        generator.eval()
        same = generator(LATENT[:1].expand(4, -1), LABEL)
        assert not torch.allclose(same[0], same[1], rtol=0, atol=1e-6)
        torch.testing.assert_close(same[1], same[3])


@pytest.mark.parametrize("kind", ["concatenation", "projection"])
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_discriminator_that_is_told_the_class_judges_by_it(kind: Condition, spectral_norm: bool) -> None:
    for discriminator in _discriminators(kind, spectral_norm=spectral_norm):
        torch.manual_seed(0)
        if discriminator.label_picture is not None:  # blank at first
            nn.init.normal_(discriminator.label_picture.pictures)
        discriminator.eval()
        logit = discriminator(IMAGE[:1].expand(4, -1, -1, -1), LABEL)
        assert (logit[0] - logit[1]).abs() > 1e-6
        torch.testing.assert_close(logit[1], logit[3])


def test_projection_adds_the_product_of_features_and_the_class_s_vector() -> None:
    for discriminator in _discriminators("projection"):
        assert discriminator.label_vector is not None
        vector, layer = discriminator.label_vector.weight, discriminator.to_logit[1]
        assert isinstance(layer, nn.Linear)
        features = discriminator.features(IMAGE, LABEL)
        wanted = [layer(row)[0] + vector[label] @ row for row, label in zip(features, LABEL, strict=True)]
        torch.testing.assert_close(discriminator(IMAGE, LABEL), torch.stack(wanted))


def test_auxiliary_classifier_finds_out_the_class_untold() -> None:
    for discriminator in _discriminators("auxiliary"):
        class_logits = discriminator.verdict(IMAGE).class_logits
        assert class_logits is not None
        assert class_logits.shape == (4, CLASSES)
        with pytest.raises(ValueError, match="takes no labels"):
            discriminator(IMAGE, LABEL)


def test_discovering_discriminator_guesses_classes_and_codes() -> None:
    conditioning = Conditioning("discovered", CLASSES, codes=2)
    verdict = ConvolutionalDiscriminator(8, 2, 4, conditioning=conditioning).verdict(IMAGE)
    assert verdict.class_logits is not None
    assert verdict.codes is not None
    assert (verdict.class_logits.shape, verdict.codes.shape) == ((4, CLASSES), (4, 2))


def test_semi_supervised_logit_is_that_of_any_class_against_one_more_at_zero() -> None:
    for discriminator in _discriminators("semi_supervised"):
        verdict = discriminator.verdict(IMAGE)
        assert verdict.class_logits is not None
        every = torch.softmax(torch.cat([verdict.class_logits, torch.zeros(4, 1)], dim=1), dim=1)
        torch.testing.assert_close(torch.sigmoid(verdict.logit), 1 - every[:, -1])
        assert all(name.split(".")[0] != "to_logit" for name in discriminator.state_dict())


def test_noise_between_layers_is_there_in_training_alone() -> None:
    net = DenseDiscriminator(SHAPE, [12, 10], noise=0.5)
    assert not torch.equal(net(IMAGE), net(IMAGE))
    net.eval()
    torch.testing.assert_close(net(IMAGE), net(IMAGE), rtol=0, atol=0)


def test_nets_ask_for_the_labels_that_they_need() -> None:
    for net in [*_generators(CLASSES), *_generators(0)]:
        with pytest.raises(ValueError, match="labels"):
            net(LATENT, None if net.classes else LABEL)
    for discriminator in _discriminators("projection"):
        with pytest.raises(ValueError, match="needs labels"):
            discriminator(IMAGE)


@pytest.mark.parametrize("kind", CONDITIONS)
def test_conditional_model_needs_classes(kind: Condition) -> None:
    config = GanConfig(family="gan", condition=kind)
    with pytest.raises(ConfigError, match="two classes or more"):
        GenerativeAdversarialNetwork.from_config(config, DataConfig(set="digits", size=8), classes=1)


def _weighted(net: nn.Module) -> list[nn.Module]:
    return [
        layer for layer in net.modules() if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding)
    ]
