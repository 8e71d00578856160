"""The settings: their names are the contract's, and a misspelt one is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import PREFIX, Settings

CONTRACT = {
    "host",
    "port",
    "workers",
    "models_dir",
    "api_keys_file",
    "admin_keys_file",
    "cors_origins",
    "max_body_bytes",
    "max_image_pixels",
    "max_images",
    "max_sample_images",
    "queue_rows",
    "deadline_s",
    "log_format",
}


def test_settings_have_the_names_of_the_contract() -> None:
    assert set(Settings.model_fields) >= CONTRACT


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PORT": "9001",
        "MODELS_DIR": "/srv/m",
        "CORS_ORIGINS": "https://a.example, https://b.example",
    }.items():
        monkeypatch.setenv(PREFIX + name, value)
    settings = Settings()
    assert (settings.port, settings.models_dir) == (9001, Path("/srv/m"))
    assert settings.cors_origins == ("https://a.example", "https://b.example")


def test_settings_take_an_empty_variable_for_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSERVE_API_KEYS_FILE", "")
    assert Settings().api_keys_file is None


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("LATENTSERVE_PROT", "LATENTSERVE_PORT"),
        ("LATENTSERVE_MODEL_DIR", "LATENTSERVE_MODELS_DIR"),
        ("latentserve_x", ""),
    ],
)
def test_settings_refuse_an_unknown_variable_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, name: str, nearest: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ValidationError, match=f"{name} is not a setting; the nearest is {nearest}"):
        Settings()


def test_settings_ignore_the_variable_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Settings()
    monkeypatch.setenv("LATENTSERVE_DATA_DIR", "/anywhere")
    assert Settings() == before


@pytest.mark.parametrize(
    "wrong", [{"port": 70000}, {"workers": 0}, {"deadline_s": float("nan")}, {"log_format": "xml"}, {"colour": "red"}]
)
def test_settings_refuse_values_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1


def test_settings_refuse_a_queue_that_the_largest_request_never_fits() -> None:
    with pytest.raises(ValidationError, match="queue_rows"):
        Settings(max_images=256, queue_rows=511)
