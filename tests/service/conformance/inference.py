"""Inference: bytes and JSON, compression, ids, parameters, many at once."""

from __future__ import annotations

import json

import numpy as np

from tests.service.conformance.client import (
    OUTPUTS,
    Caller,
    Case,
    Target,
    arrays,
    infer,
    inputs,
    names,
    outputs,
    refusal,
)


def binary_both_ways(caller: Caller, target: Target) -> None:
    """`infer`, bytes both ways (the client's default)"""
    assert names(infer(caller, target)) == list(OUTPUTS)


def json_both_ways(caller: Caller, target: Target) -> None:
    """`infer`, JSON both ways"""
    asked = outputs(latent=False, mean=False, scale=False)
    result = infer(caller, target, binary=False, outputs=asked)
    assert all("data" in output for output in result.get_response()["outputs"])


def mixed_inputs(caller: Caller, target: Target) -> None:
    """`infer`, one input as bytes and one as JSON, in either order"""
    infer(caller, target, binary={"image": True, "noise": False})
    infer(caller, target, binary={"image": False, "noise": True})


def mixed_outputs(caller: Caller, target: Target) -> None:
    """`infer`, some outputs as bytes and some as JSON"""
    result = infer(caller, target, outputs=outputs(latent=True, mean=False, scale=True))
    assert ["data" in output for output in result.get_response()["outputs"]] == [False, True, False]


def wanted_outputs(caller: Caller, target: Target) -> None:
    """`infer` answers the outputs that are asked for and no others"""
    assert set(names(infer(caller, target, outputs=outputs(scale=True, mean=True)))) == {"scale", "mean"}


def inputs_in_any_order(caller: Caller, target: Target) -> None:
    """`infer`, inputs in another order than the graph's"""
    feeds = arrays()
    result = caller.infer(target.model, inputs({"noise": feeds["noise"], "image": feeds["image"]}))
    np.testing.assert_allclose(result.as_numpy("latent"), target.expected(**feeds)["latent"], rtol=1e-4, atol=1e-5)


def batches(caller: Caller, target: Target) -> None:
    """`infer`, 1 to 64 rows"""
    for rows in (1, 7, 64):
        infer(caller, target, rows=rows)


def pinned_version(caller: Caller, target: Target) -> None:
    """`infer` at a version, which the answer states"""
    answer = infer(caller, target, model_version=target.version).get_response()
    assert (answer["model_name"], answer["model_version"]) == (target.model, target.version)


def request_id(caller: Caller, target: Target) -> None:
    """the request's id comes back"""
    assert infer(caller, target, request_id="my-request-1").get_response()["id"] == "my-request-1"


def custom_parameters(caller: Caller, target: Target) -> None:
    """parameters of the caller's own do no harm"""
    infer(caller, target, parameters={"mine": 7, "text": "x", "flag": True, "share": 0.5})


def schedule(caller: Caller, target: Target) -> None:
    """`priority` and `timeout` are accepted"""
    infer(caller, target, priority=1, timeout=10_000_000)


def timeout_is_kept(caller: Caller, target: Target) -> None:
    """a `timeout` of a microsecond is an error"""
    refusal(infer, caller, target, timeout=1)


def gzip_request(caller: Caller, target: Target) -> None:
    """request compressed with gzip"""
    infer(caller, target, request_compression_algorithm="gzip")


def deflate_request(caller: Caller, target: Target) -> None:
    """request compressed with deflate"""
    infer(caller, target, request_compression_algorithm="deflate")


def gzip_answer(caller: Caller, target: Target) -> None:
    """answer compressed with gzip, bytes and JSON"""
    infer(caller, target, response_compression_algorithm="gzip")
    infer(caller, target, response_compression_algorithm="gzip", outputs=outputs(latent=False))


def deflate_answer(caller: Caller, target: Target) -> None:
    """answer compressed with deflate, bytes and JSON"""
    infer(caller, target, response_compression_algorithm="deflate")
    infer(caller, target, response_compression_algorithm="deflate", outputs=outputs(latent=False))


def compression_both_ways(caller: Caller, target: Target) -> None:
    """compression both ways, JSON in the request"""
    infer(caller, target, binary=False, request_compression_algorithm="gzip", response_compression_algorithm="deflate")


def many_at_once(caller: Caller, target: Target) -> None:
    """`async_infer`, 32 requests at once, each with its own answer"""
    feeds = [arrays(rows=1 + index % 3, seed=index) for index in range(32)]
    calls = [{"model_name": target.model, "inputs": inputs(feed), "request_id": str(i)} for i, feed in enumerate(feeds)]
    for index, (result, feed) in enumerate(zip(caller.together(calls), feeds, strict=True)):
        assert result.get_response()["id"] == str(index)
        np.testing.assert_allclose(result.as_numpy("mean"), target.expected(**feed)["mean"], rtol=1e-4, atol=1e-5)


def headers_and_queries(caller: Caller, target: Target) -> None:
    """headers and query parameters of the caller's own do no harm"""
    infer(caller, target, headers={"X-Request-ID": "abc"}, query_params={"note": "x"})


def bodies_made_elsewhere(caller: Caller, target: Target) -> None:
    """`generate_request_body` and `parse_response_body` agree with the server's layout"""
    body, length = caller.generate_request_body(inputs(arrays()))
    assert json.loads(body[:length])["inputs"][0]["name"] == "image"
    output = {"name": "x", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}
    head = json.dumps({"outputs": [output]})
    parsed = caller.parse_response_body(head.encode() + np.float32([1]).tobytes(), header_length=len(head))
    np.testing.assert_array_equal(parsed.as_numpy("x"), [1])
    infer(caller, target)


CASES: tuple[Case, ...] = (
    binary_both_ways,
    json_both_ways,
    mixed_inputs,
    mixed_outputs,
    wanted_outputs,
    inputs_in_any_order,
    batches,
    pinned_version,
    request_id,
    custom_parameters,
    schedule,
    timeout_is_kept,
    gzip_request,
    deflate_request,
    gzip_answer,
    deflate_answer,
    compression_both_ways,
    many_at_once,
    headers_and_queries,
    bodies_made_elsewhere,
)
