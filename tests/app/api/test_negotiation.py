"""What `Accept` and `?format=` choose, against RFC 9110; and how numbers are written."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.api.negotiation import MEDIA_TYPES, STILLS, WALKS, choose, dump_arrays
from app.errors import NotAcceptable


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "json"),
        ("", "json"),
        ("*/*", "json"),
        ("image/png", "png"),
        ("IMAGE/PNG", "png"),
        ("*/*;q=0.1, image/webp", "webp"),
        ("image/*", "png"),
        ("image/*;q=0.5, image/png;q=0, application/json;q=0.1", "webp"),
        ("application/json;q=0.5, image/png;q=0.50", "json"),
        ("image/webp;q=0.9, image/png ; q=1.0", "png"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "json"),
        ('image/png;profile="a"', "png"),
        ("image/png;;;,,=", "json"),
        ("nonsense", "json"),
        ("\x00\xff", "json"),
    ],
)
def test_accept_chooses_the_best_that_is_offered(accept: str | None, chosen: str) -> None:
    assert choose(accept, None, STILLS) == chosen


@pytest.mark.parametrize("accept", ["text/html", "image/gif", "*/*;q=0", "application/json;q=0"])
def test_accept_of_nothing_offered_is_refused_with_the_list(accept: str) -> None:
    with pytest.raises(NotAcceptable, match=r"application/json \(format=json\), image/png"):
        choose(accept, None, STILLS)


def test_format_beats_accept() -> None:
    assert choose("image/png", "npy", STILLS) == "npy"
    with pytest.raises(NotAcceptable):
        choose("image/png", "gif", STILLS)


@given(st.text(max_size=60))
def test_accept_of_any_text_chooses_or_refuses(accept: str) -> None:
    with contextlib.suppress(NotAcceptable):
        assert choose(accept, None, WALKS) in WALKS


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_numbers_give_the_same_float32_back(values: list[float]) -> None:
    array = np.array(values, np.float32)
    np.testing.assert_array_equal(np.array(json.loads(dump_arrays({"x": array}))["x"], np.float32), array)


def test_numbers_are_written_with_the_fewest_digits() -> None:
    numbers = np.array([0.1, 1e-7, 16777216], np.float32)
    assert dump_arrays({"x": numbers}) == b'{"x":[0.1,1e-7,16777216.0]}'


@pytest.mark.parametrize("form", STILLS)
def test_every_form_holds_the_same_pictures(client: TestClient, form: str) -> None:
    address = "/v1/models/tiny_gan/sample"
    response = client.post(address, json={"seed": 7, "count": 1}, headers={"Accept": MEDIA_TYPES[form]})  # type: ignore[index]
    assert response.status_code == 200
    assert response.headers["content-type"] == MEDIA_TYPES[form]  # type: ignore[index]
    assert "Accept" in response.headers["vary"]
    expected = np.load(io.BytesIO(client.post(f"{address}?format=npy", json={"seed": 7}).content))[0]
    np.testing.assert_array_equal(_picture(form, response.content, response.json if form == "json" else None), expected)


def _picture(form: str, content: bytes, json: Any) -> np.ndarray[Any, Any]:
    match form:
        case "npy":
            array: np.ndarray[Any, Any] = np.load(io.BytesIO(content))[0]
            return array
        case "raw":
            return np.frombuffer(content, np.uint8).reshape(8, 8, 3)
        case "json":
            content = base64.b64decode(json()["images"][0]["png"])
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)
