"""`score` on a version whose outlier detection is calibrated, over HTTP, against counting by hand."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from scipy import stats

from app.api.application import create_application
from app.calibration import OutlierCalibration, OutlierTail
from app.images.png import encode_png
from app.manifest import OutlierStatistic
from app.runtime.session import file_sha256
from app.settings import Settings
from tests.app.tiny_models import LinearGaussian, as_text, edit_manifest, tiny_vae, write_version

SAMPLES = 16
STATISTICS: tuple[OutlierStatistic, ...] = ("elbo_nats", "code_norm")
TYPICAL = 1.0
ELBOS = np.linspace(-150, 100, 39)
NORMS = np.linspace(0, 2, 39)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service of `tiny_vae`, whose ELBO is exactly log p(x), calibrated on ELBOS and NORMS."""
    root = tmp_path_factory.mktemp("models")
    folder = write_version(root, tiny_vae())
    (folder / "outliers.json").write_text(calibration().model_dump_json())
    edit_manifest(folder, outliers={"file": "outliers.json", "sha256": file_sha256(folder / "outliers.json")})
    with TestClient(create_application(Settings(models_dir=root))) as found:
        yield found


def calibration() -> OutlierCalibration:
    rows = np.stack([ELBOS, NORMS, np.linspace(0, 4, 39)])
    tails = (tail("elbo_nats", -100, -50), tail("code_norm", 0, 1))
    return OutlierCalibration(
        tails=tails,
        values=as_text(rows.astype(np.float32)),
        typical_code_norm=TYPICAL,
        samples=SAMPLES,
        seed=0,
        split="",
    )


def tail(statistic: OutlierStatistic, low: float, high: float) -> OutlierTail:
    knots = tuple(float(knot) for knot in np.linspace(low, high, 6))
    return OutlierTail(statistic=statistic, knots=knots, mean_excess=(high - low) / 2)


def pictures(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(4).integers(100, 156, (count, 8, 8, 1), dtype=np.uint8)


def score(client: TestClient, batch: NDArray[np.uint8], **options: float) -> list[dict[str, Any]]:
    images = [base64.b64encode(encode_png(picture)).decode() for picture in batch]
    response = client.post("/v1/models/tiny_vae/score", json={"images": images, "seed": 5, **options})
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["scores"]
    return found


def test_p_values_count_the_calibrated_pictures_that_are_as_strange(client: TestClient) -> None:
    batch, exact = pictures(4), LinearGaussian()
    flat = batch.reshape(4, 64) / 255.0
    distances = np.abs(np.linalg.norm(exact.posterior_mean(flat), axis=1) - TYPICAL)
    for found, density, distance in zip(score(client, batch), exact.log_density(flat), distances, strict=True):
        expected = {"elbo_nats": -density, "code_norm": distance}
        for (name, values), row in zip(expected.items(), (ELBOS, NORMS), strict=True):
            assert found["outlier"]["p_values"][name] == pytest.approx((1 + (row >= values).sum()) / 40)


def test_statistic_named_is_the_one_furthest_out(client: TestClient) -> None:
    checkers = np.indices((8, 8)).sum(axis=0) % 2 * np.uint8(255)  # no slow wave at all, and far from every mean
    (found,) = score(client, checkers[None, :, :, None].astype(np.uint8))
    assert found["outlier"]["statistic"] == "elbo_nats"
    assert found["outlier"]["p_value"] == 1 / 40


def test_q_values_are_of_the_pictures_of_the_request(client: TestClient) -> None:
    found = [each["outlier"] for each in score(client, pictures(6), fdr=0.5)]
    p_values = [outlier["p_value"] for outlier in found]
    q_values = [outlier["q_value"] for outlier in found]
    np.testing.assert_allclose(q_values, stats.false_discovery_control(p_values))
    assert [outlier["outlier"] for outlier in found] == [q_value <= 0.5 for q_value in q_values]


@pytest.mark.parametrize("samples", [1, 5, 16, 40])
def test_verdict_is_from_the_calibration_s_samples_whatever_was_asked(client: TestClient, samples: int) -> None:
    batch = pictures(3)
    asked, calibrated = score(client, batch, samples=samples), score(client, batch, samples=SAMPLES)
    assert [each["outlier"] for each in asked] == [each["outlier"] for each in calibrated]
    assert (asked[0]["standard_error_nats"] is None) == (samples == 1)


@pytest.mark.parametrize("fdr", [0, 1, -0.1, "much"])
def test_level_of_false_discoveries_is_a_share(client: TestClient, fdr: object) -> None:
    response = client.post("/v1/models/tiny_vae/score", json={"images": [], "fdr": fdr})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "/fdr"
