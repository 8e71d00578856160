from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from training.autoencoder.code import RectifiedCode, TopCode, active_numbers, keep_largest
from training.autoencoder.model import Autoencoder
from training.autoencoder.objective import bernoulli_cross_entropy, reconstruction_terms, squared_error
from training.config import AutoencoderConfig, DataConfig, SparsityConfig

DATA = DataConfig(set="digits", size=8)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("active", [1, 3, 9])
def test_largest_numbers_stay_in_their_places(active: int) -> None:
    features = torch.randn(50, 9)
    found, wanted = keep_largest(features, active).numpy(), np.zeros((50, 9), np.float32)
    for row, numbers in enumerate(features.numpy()):
        places = np.argsort(numbers)[-active:]
        wanted[row, places] = numbers[places]
    np.testing.assert_array_equal(found, wanted)


def test_gradients_reach_the_numbers_that_are_kept_and_no_others() -> None:
    features = torch.tensor([[1.0, -2.0, 5.0, 3.0]], requires_grad=True)
    keep_largest(features, 2).square().sum().backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    assert features.grad.tolist() == [[0.0, 0.0, 10.0, 6.0]]


def test_warmup_keeps_all_numbers_at_first_and_falls_to_the_few() -> None:
    config = SparsityConfig(kind="top_k", active=10, warmup_epochs=4)
    found = [active_numbers(config, 50, epoch) for epoch in (0, 1, 2, 3.5, 4, 100)]
    assert found == [50, 40, 30, 15, 10, 10]
    assert active_numbers(config.model_copy(update={"warmup_epochs": 0.0}), 50, 0) == 10


def test_training_may_keep_more_than_the_trained_code_does() -> None:
    code, features = TopCode(2), torch.randn(4, 6)
    assert code(features).count_nonzero(dim=1).tolist() == [2] * 4
    assert torch.equal(code(features, 6), features)


def test_l1_penalty_is_the_weighted_sum_of_magnitudes() -> None:
    net = _autoencoder(nets="linear", sparsity={"kind": "l1", "weight": 0.7})
    image = torch.rand(5, 1, 8, 8)
    terms = reconstruction_terms(net, image, image, kind="squared_error")
    code = net.encode(image)
    assert isinstance(net.code, RectifiedCode)
    assert (code >= 0).all()
    torch.testing.assert_close(terms.penalty, 0.7 * torch.linalg.vector_norm(code, ord=1, dim=1))
    torch.testing.assert_close(terms.loss, squared_error(image, net(image)) + terms.penalty)


def test_decoder_of_an_l1_code_has_columns_of_length_one() -> None:
    """Otherwise halving the code and doubling the decoder would halve the penalty and change nothing else."""
    net = _autoencoder(nets="linear", sparsity={"kind": "l1"})
    weight = net.decoder.get_submodule("head").weight
    assert isinstance(weight, torch.Tensor)
    torch.testing.assert_close(torch.linalg.vector_norm(weight, dim=0), torch.ones(6))


def test_errors_are_those_of_pytorch_summed_over_an_image() -> None:
    image, output = torch.rand(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    squares = nn.functional.mse_loss(output, image, reduction="none").sum(dim=(1, 2, 3))
    torch.testing.assert_close(squared_error(image, output), squares)
    crossed = nn.functional.binary_cross_entropy_with_logits(output, image, reduction="none").sum(dim=(1, 2, 3))
    torch.testing.assert_close(bernoulli_cross_entropy(image, output), crossed)


def test_denoising_error_is_of_the_clean_image_from_the_code_of_the_spoilt_one() -> None:
    net = _autoencoder(reconstruction="bernoulli_cross_entropy")
    clean, spoilt = torch.rand(4, 1, 8, 8), torch.rand(4, 1, 8, 8)
    terms = reconstruction_terms(net, clean, spoilt, kind="bernoulli_cross_entropy")
    picture = net(spoilt)
    wanted = nn.functional.binary_cross_entropy(picture, clean, reduction="none").sum(dim=(1, 2, 3))
    torch.testing.assert_close(terms.loss, wanted)


def test_codes_cannot_be_drawn_without_a_density() -> None:
    with pytest.raises(TypeError, match="no density was fitted"):
        _autoencoder().from_noise(torch.zeros(1, 6))


def _autoencoder(**settings: object) -> Autoencoder:
    document = {"family": "autoencoder", "nets": "dense", "hidden": [12], "latent_size": 6, **settings}
    return Autoencoder.from_config(AutoencoderConfig.model_validate(document), DATA)
