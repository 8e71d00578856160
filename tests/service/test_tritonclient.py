"""The unmodified `tritonclient.http`, sync and asyncio, against the service as a process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.app.tiny_models import LinearGaussian, write_tiny_models
from tests.service.conformance.cases import CASES
from tests.service.conformance.client import Caller, Case, Flavour, Floats, Target
from tests.service.test_process import Process


def encode(image: Floats, noise: Floats) -> dict[str, Floats]:
    """What `tiny_vae.image_to_latent` computes, from its closed form."""
    exact = LinearGaussian()
    mean = exact.posterior_mean(image.reshape(-1, 64).astype(np.float64))
    scale = np.full_like(mean, exact.posterior_sigma)
    found = {"latent": mean + scale * noise, "mean": mean, "scale": scale}
    return {name: array.astype(np.float32) for name, array in found.items()}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A service with an administrator."""
    root = tmp_path_factory.mktemp("repository")
    write_tiny_models(root)
    keys: Path = tmp_path_factory.mktemp("keys") / "admins"
    keys.write_text(f"root:{hashlib.sha256(b't0p').hexdigest()}\n")
    with Process(root, ADMIN_KEYS_FILE=str(keys)) as process:
        address = process.address.removeprefix("http://")
        yield Target(address, "tiny_vae.image_to_latent", "1", encode, {"Authorization": "Bearer t0p"})


@pytest.fixture(scope="module", params=["sync", "asyncio"])
def caller(request: pytest.FixtureRequest, target: Target) -> Iterator[Caller]:
    """A client of each flavour."""
    flavour: Flavour = request.param
    found = Caller(flavour, target.address)
    yield found
    found.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_case_passes(caller: Caller, target: Target, case: Case) -> None:
    case(caller, target)
