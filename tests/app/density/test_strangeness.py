from __future__ import annotations

import numpy as np
import pytest

from app.density.bounds import bounds
from app.density.complexity import code_length_nats
from app.density.strangeness import strangeness
from app.manifest import ImageSpace, PixelRange

SPACE = ImageSpace(height=4, width=4, channels=1, pixel_range=PixelRange(low=0, high=1))
PICTURES = np.arange(48, dtype=np.uint8).reshape(3, 4, 4, 1)
TERMS = np.random.default_rng(0).normal(-5, 2, (3, 3, 6))
"""Log likelihood, log prior and log posterior of six draws, of three pictures."""


def test_statistics_are_those_of_the_log_terms() -> None:
    found = strangeness(
        [bounds(*terms) for terms in TERMS], PICTURES, SPACE, code_norms=np.array([1.0, 4, 2]), typical_code_norm=3.0
    )
    likelihood, prior, posterior = TERMS.transpose(1, 0, 2)
    log_weights = likelihood + prior - posterior
    bound = np.log(np.exp(log_weights).mean(axis=1))
    expected = {
        "elbo_nats": -log_weights.mean(axis=1),
        "reconstruction_nats": -likelihood.mean(axis=1),
        "kl_nats": (posterior - prior).mean(axis=1),
        "inference_gap_nats": bound - log_weights.mean(axis=1),
        "log_prior_nats": -prior.mean(axis=1),
        "complexity_nats": -bound - code_length_nats(PICTURES, SPACE),
        "code_norm": [2, 1, 1],
    }
    assert list(found) == list(expected)
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-12)


@pytest.mark.parametrize("without", [{"code_norms": None}, {"typical_code_norm": None}])
def test_code_norm_takes_no_part_where_there_are_no_codes(without: dict[str, None]) -> None:
    options = {"code_norms": np.ones(3), "typical_code_norm": 1.0} | without
    found = strangeness([bounds(*terms) for terms in TERMS], PICTURES, SPACE, **options)
    assert "code_norm" not in found
