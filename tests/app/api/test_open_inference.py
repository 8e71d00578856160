"""`/v2` below the client: layouts, limits, hostile bodies and the form of every error."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.app.tiny_models import LinearGaussian

DECODER = "/v2/models/tiny_vae.latent_to_image"
EVIDENCE = "/v2/models/tiny_vae.image_to_evidence"
LENGTH = "Inference-Header-Content-Length"
BYTES = {"name": "latent", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
"""The decoder's input where it follows the JSON."""


def latent(data: Any = None, shape: Any = (1, 2), **changes: Any) -> dict[str, Any]:
    """The decoder's input as JSON."""
    values = {"data": [0.5, -1.0] if data is None else data, "shape": list(shape)}
    return {"name": "latent", "datatype": "FP32"} | values | changes


def message(*inputs: dict[str, Any], **others: Any) -> bytes:
    return json.dumps({"inputs": list(inputs or (latent(),))} | others).encode()


def infer(client: TestClient, body: bytes, graph: str = DECODER, **headers: str) -> Any:
    """The answer to a body that is sent as the sync client does: without a Content-Type."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(f"{graph}/infer", content=body, headers=named)


def error_of(response: Any) -> str:
    """The sentence of an error, which has nothing beside."""
    assert response.headers["content-type"] == "application/json"
    assert response.json().keys() == {"error"}
    found: str = response.json()["error"]
    assert found
    assert "Traceback" not in found
    return found


def decoded(latents: Any) -> np.ndarray[Any, Any]:
    """What the decoder's graph computes, from its closed form."""
    return np.asarray(latents, np.float64).reshape(-1, 2) @ LinearGaussian().weights.T + 0.5


def test_openapi_document_shows_the_protocol(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    infer_of_version = paths["/v2/models/{model}/versions/{version}/infer"]["post"]
    assert {parameter["name"] for parameter in infer_of_version["parameters"]} >= {"model", "version"}
    for example in infer_of_version["requestBody"]["content"]["application/json"]["examples"].values():
        assert infer(client, json.dumps(example["value"]).encode()).status_code == 200
    for path, operations in paths.items():
        for operation in operations.values() if path.startswith("/v2") else ():
            for status, answer in operation["responses"].items():
                assert status < "4" or set(answer["content"]) <= {"application/json"}


@pytest.mark.parametrize("data", [[0.5, -1, 0, 2], [[0.5, -1], [0, 2]], [[[0.5], [-1]], [[0], [2]]]])
def test_numbers_may_be_flat_or_nested(client: TestClient, data: Any) -> None:
    (output,) = infer(client, message(latent(data, (2, 2)))).json()["outputs"]
    assert output["shape"] == [2, 1, 8, 8]
    np.testing.assert_allclose(np.reshape(output["data"], (2, 64)), decoded([0.5, -1, 0, 2]), rtol=1e-5)


def test_bytes_alone_are_rows_of_the_only_input(client: TestClient) -> None:
    latents = np.random.default_rng(7).standard_normal((3, 2)).astype("<f4")
    response = infer(client, latents.tobytes(), Inference_Header_Content_Length="0")
    images = np.frombuffer(response.content[int(response.headers[LENGTH]) :], "<f4")
    np.testing.assert_allclose(images.reshape(3, 64), decoded(latents), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pad", range(4))
def test_bytes_may_lie_anywhere(client: TestClient, pad: int) -> None:
    head = message(BYTES) + b" " * pad
    tail = np.array([0.5, -1], "<f4").tobytes()
    response = infer(client, head + tail, Inference_Header_Content_Length=str(len(head)))
    np.testing.assert_allclose(response.json()["outputs"][0]["data"], decoded([0.5, -1])[0], rtol=1e-5)


def test_same_batcher_serves_both_protocols(client: TestClient) -> None:
    sampled = client.post("/v1/models/tiny_vae/sample", json={"seed": 7, "count": 4}).json()["images"]
    numbers = [image["latent"] for image in sampled]
    images = infer(client, message(latent(numbers, (4, 2)))).json()["outputs"][0]["data"]
    stats = client.get(f"{DECODER}/stats").json()["model_stats"][0]
    np.testing.assert_allclose(np.reshape(images, (4, 64)), decoded(numbers), rtol=1e-4, atol=1e-5)
    assert stats["inference_stats"]["success"]["count"] >= 2


@pytest.mark.parametrize("samples", [1, 16, 17, 50])
def test_evidence_takes_any_number_of_samples(client: TestClient, samples: int) -> None:
    generator = np.random.default_rng(samples)
    image, noise = generator.random((2, 1, 8, 8)), generator.standard_normal((2, samples, 2))
    inputs = [
        {"name": name, "datatype": "FP32", "shape": array.shape, "data": array.tolist()}
        for name, array in (("image", image), ("noise", noise))
    ]
    found = {
        output["name"]: np.reshape(output["data"], output["shape"])
        for output in infer(client, message(*inputs), EVIDENCE).json()["outputs"]
    }
    # The posterior of the linear-Gaussian model is exact, so every single weight is log p(x).
    weights = found["log_likelihood"] + found["log_prior"] - found["log_posterior"]
    exact = LinearGaussian().log_density(image.reshape(2, 64))
    np.testing.assert_allclose(weights, np.repeat(exact[:, None], samples, axis=1), rtol=1e-4)


@pytest.mark.parametrize(("samples", "rows"), [(4097, 1), (2049, 2)])
def test_importance_samples_over_the_limit_are_refused(client: TestClient, samples: int, rows: int) -> None:
    inputs = [
        {"name": "image", "datatype": "FP32", "shape": [rows, 1, 8, 8], "data": [0.5] * rows * 64},
        {"name": "noise", "datatype": "FP32", "shape": [rows, samples, 2], "data": [0.5] * rows * samples * 2},
    ]
    response = infer(client, message(*inputs), EVIDENCE)
    assert (response.status_code, "at most 4096" in error_of(response)) == (400, True)


WRONG_MESSAGES: dict[str, bytes] = {
    "empty": b"",
    "truncated": message()[:-1],
    "text": b"not json",
    "array": b"[]",
    "no inputs": b"{}",
    "empty inputs": b'{"inputs":[]}',
    "nested": b"[" * 100_000,
    "nested data": b'{"inputs":[{"name":"latent","datatype":"FP32","shape":[1,2],"data":' + b"[" * 5000,
    "surrogate": b'{"id":"\\ud800","inputs":[]}',
    "long integer": b'{"inputs":[{"name":"latent","datatype":"FP32","shape":[1,2],"data":[' + b"9" * 5000 + b",0]}]}",
    "NaN": b'{"inputs":[{"name":"latent","datatype":"FP32","shape":[1,2],"data":[NaN,0]}]}',
    "Infinity": b'{"inputs":[{"name":"latent","datatype":"FP32","shape":[1,2],"data":[0,-Infinity]}]}',
    "1e400": b'{"inputs":[{"name":"latent","datatype":"FP32","shape":[1,2],"data":[1e400,0]}]}',
    "far out": message(latent([1e4, 0])),
    "null": message(latent([None, 0])),
    "words": message(latent(["0.5", "0"])),
    "truths": message(latent([True, False])),
    "ragged": message(latent([[0.5], [1.0, 2.0]])),
    "too few numbers": message(latent([0.5])),
    "too many numbers": message(latent([0.5] * 4)),
    "no numbers": message(latent([], (0, 2))),
    "negative shape": message(latent(shape=(-1, 2))),
    "huge shape": message(latent(shape=(10**30, 2))),
    "deep shape": message(latent(shape=[1] * 500)),
    "fractional shape": message(latent(shape=(1.0, 2))),
    "shape of text": message(latent(shape="12")),
    "wrong width": message(latent([0.5] * 3, (1, 3))),
    "missing axis": message(latent(shape=(2,))),
    "wrong datatype": message(latent(datatype="FP64")),
    "unknown datatype": message(latent(datatype="FP33")),
    "bytes datatype": message(latent(["x", "y"], datatype="BYTES")),
    "unknown input": message(latent(name="noise")),
    "second input": message(latent(), latent(name="x")),
    "twice": message(latent(), latent()),
    "neither data nor bytes": message({"name": "latent", "datatype": "FP32", "shape": [1, 2]}),
    "both data and bytes": message(latent(parameters={"binary_data_size": 0})),
    "missing bytes": message(BYTES),
    "negative bytes": message(latent(data=None, parameters={"binary_data_size": -8})),
    "shared memory": message(latent(parameters={"shared_memory_region": "r", "shared_memory_byte_size": 8})),
    "unknown output": message(outputs=[{"name": "logits"}]),
    "output twice": message(outputs=[{"name": "image"}, {"name": "image"}]),
    "classification": message(outputs=[{"name": "image", "parameters": {"classification": 3}}]),
    "output in shared memory": message(outputs=[{"name": "image", "parameters": {"shared_memory_region": "r"}}]),
    "binary as text": message(parameters={"binary_data_output": "yes"}),
    "negative timeout": message(parameters={"timeout": -1}),
    "timeout as text": message(parameters={"timeout": "1"}),
    "long id": message(id="x" * 1000),
    "id as a number": message(id=7),
}


@pytest.mark.parametrize("name", WRONG_MESSAGES)
def test_wrong_message_is_refused_in_a_sentence(client: TestClient, name: str) -> None:
    response = infer(client, WRONG_MESSAGES[name])
    assert response.status_code == 400, response.text
    assert len(error_of(response)) < 400


@pytest.mark.parametrize("length", ["-1", "1.5", "x", "", "999999", "9" * 40, "²"])
def test_wrong_json_length_is_refused(client: TestClient, length: str) -> None:
    response = client.post(f"{DECODER}/infer", content=message(), headers={LENGTH.encode(): length.encode()})
    assert response.status_code == 400
    assert LENGTH in error_of(response)


@pytest.mark.parametrize("tail", [b"", b"\0" * 7, b"\0" * 9, b"\0" * 16, np.array([np.nan, 0], "<f4").tobytes()])
def test_wrong_bytes_are_refused(client: TestClient, tail: bytes) -> None:
    head = message(BYTES)
    response = infer(client, head + tail, Inference_Header_Content_Length=str(len(head)))
    assert response.status_code == 400
    error_of(response)


@pytest.mark.parametrize("body", [b"", b"\0" * 7, b"\0" * 8 * 257])
def test_wrong_bytes_alone_are_refused(client: TestClient, body: bytes) -> None:
    assert infer(client, body, Inference_Header_Content_Length="0").status_code == 400


def test_bytes_alone_do_not_tell_several_inputs_apart(client: TestClient) -> None:
    response = infer(client, b"\0" * 8, "/v2/models/tiny_vae.image_to_latent", Inference_Header_Content_Length="0")
    assert (response.status_code, "apart" in error_of(response)) == (400, True)


@settings(max_examples=150, deadline=None)
@given(noise=st.binary(max_size=40), start=st.integers(0, 120), length=st.integers(0, 200))
def test_any_bytes_are_answered_or_refused(client: TestClient, noise: bytes, start: int, length: int) -> None:
    whole = message(latent(), parameters={"binary_data_output": True})
    body = whole[:start] + noise + whole[start:]
    response = infer(client, body, Inference_Header_Content_Length=str(length))
    assert response.status_code in (200, 400)


# Compression


@pytest.mark.parametrize(("coding", "squeeze"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_request_is_read(client: TestClient, coding: str, squeeze: Any) -> None:
    plain = infer(client, message())
    assert infer(client, squeeze(message()), Content_Encoding=coding).content == plain.content


@pytest.mark.parametrize(("coding", "expand"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
@pytest.mark.parametrize("as_bytes", [True, False])
def test_answer_is_compressed_where_that_is_asked_for(
    client: TestClient, coding: str, expand: Any, as_bytes: bool
) -> None:
    body = message(parameters={"binary_data_output": as_bytes})
    plain = infer(client, body, Accept_Encoding="identity")
    with client.stream("POST", f"{DECODER}/infer", content=body, headers={"Accept-Encoding": coding}) as response:
        squeezed = b"".join(response.iter_raw())
    assert response.headers["content-encoding"] == coding
    assert response.headers.get(LENGTH) == plain.headers.get(LENGTH)
    assert expand(squeezed) == plain.content


def test_answer_is_plain_where_a_library_names_all_it_knows(client: TestClient) -> None:
    assert "content-encoding" not in infer(client, message(), Accept_Encoding="gzip, deflate, br").headers


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("gzip", b"not gzip", 400),
        ("deflate", b"not deflate", 400),
        ("gzip", gzip.compress(message(), mtime=0)[:-9], 400),
        ("gzip", gzip.compress(message(), mtime=0) + b"more", 400),
        ("gzip", b"", 400),
        ("gzip", gzip.compress(b"\0" * 2**25), 413),
        ("deflate", zlib.compress(b" " * 2**25), 413),
        ("br", message(), 415),
        ("gzip, gzip", gzip.compress(gzip.compress(message(), mtime=0), mtime=0), 415),
    ],
)
def test_bad_compression_is_refused(client: TestClient, coding: str, body: bytes, status: int) -> None:
    response = infer(client, body, Content_Encoding=coding)
    assert response.status_code == status
    error_of(response)


def test_compression_stays_refused_elsewhere(client: TestClient) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    response = client.post("/v1/models/tiny_vae/sample", content=gzip.compress(b"{}"), headers=headers)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported-media-type")


# Errors outside inference


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [
        ("GET", "/v2/nowhere", 404),
        ("GET", "/v2/models/tiny_vae.latent_to_image/", 404),
        ("GET", "/v2/models/tiny_vae", 404),
        ("GET", "/v2/models/tiny_vae.image_to_realism", 404),
        ("GET", "/v2/models/tiny_vae.latent_to_image/versions/01", 404),
        ("GET", "/v2/models/tiny_vae.latent_to_image/versions/1@1", 404),
        ("GET", "/v2/models/..%2f..%2fetc/versions/%00/config", 404),
        ("GET", "/v2/models/" + "x" * 10_000, 404),
        ("POST", "/v2/models/nope.latent_to_image/infer", 404),
        ("GET", "/v2/models/tiny_vae.latent_to_image/infer", 405),
        ("DELETE", "/v2", 405),
        ("TRACE", "/v2", 405),
        ("GET", "/v2/repository/index", 405),
        ("GET", "/v2/systemsharedmemory/status", 404),
        ("POST", "/v2/trace/setting", 404),
        ("POST", "/v2/repository/models/tiny_vae.latent_to_image/load", 403),
        ("POST", "/v2/repository/models/tiny_vae.latent_to_image/unload", 403),
    ],
)
def test_every_error_is_a_sentence(client: TestClient, method: str, address: str, status: int) -> None:
    response = client.request(method, address)
    assert response.status_code == status, response.text
    assert len(error_of(response)) < 400


def test_body_over_the_cap_is_a_sentence(client: TestClient) -> None:
    response = infer(client, b" " * (2**24 + 1))
    assert response.status_code == 413
    error_of(response)


def test_timeout_of_the_header_holds_too(client: TestClient) -> None:
    assert infer(client, message(), X_Timeout_Ms="x").status_code == 400
    assert infer(client, message(), X_Timeout_Ms="10000").status_code == 200
