"""Errors: a status that is not 200, and a sentence that the client can read."""

from __future__ import annotations

import numpy as np
from tritonclient.http import InferInput
from tritonclient.utils import InferenceServerException

from tests.service.conformance.client import Caller, Case, Target, arrays, inputs, outputs, refusal, understood


def nan_in_json(caller: Caller, target: Target) -> None:
    """NaN and Infinity as JSON literals are answered, or refused with a reason"""
    for value in (np.nan, np.inf):
        feeds = arrays()
        feeds["noise"][1, 0] = value
        try:
            caller.infer(target.model, inputs(feeds, binary=False), outputs=outputs(mean=False))
        except InferenceServerException as error:
            understood(error)


def unknown_model(caller: Caller, target: Target) -> None:
    """an unknown model or version: 404 with a sentence"""
    assert refusal(caller.infer, "no_such_model", inputs(arrays())).status() == "404"
    assert refusal(caller.infer, target.model, inputs(arrays()), model_version="99").status() == "404"
    assert refusal(caller.get_model_metadata, "no_such_model").status() == "404"
    refusal(caller.get_model_config, "no_such_model")
    refusal(caller.get_inference_statistics, "no_such_model")


def unknown_tensors(caller: Caller, target: Target) -> None:
    """an unknown, missing or repeated input, an unknown output: 400 with a sentence"""
    feeds = arrays()
    for wrong in (
        {"picture": feeds["image"], "noise": feeds["noise"]},
        {"image": feeds["image"]},
    ):
        assert refusal(caller.infer, target.model, inputs(wrong)).status() == "400"
    assert refusal(caller.infer, target.model, inputs(feeds) + inputs({"noise": feeds["noise"]})).status() == "400"
    assert refusal(caller.infer, target.model, inputs(feeds), outputs=outputs(logits=True)).status() == "400"


def wrong_tensors(caller: Caller, target: Target) -> None:
    """a wrong shape, datatype or number of rows: 400 with a sentence"""
    feeds = arrays()
    flat = inputs(feeds | {"noise": feeds["noise"].reshape(4)})
    uneven = inputs(feeds | {"noise": feeds["noise"][:1]})
    doubles = inputs(feeds)
    doubles[1] = InferInput("noise", [2, 2], "FP64").set_data_from_numpy(feeds["noise"].astype(np.float64))
    for wrong in (flat, uneven, doubles):
        assert refusal(caller.infer, target.model, wrong).status() == "400"


def unoffered_extensions(caller: Caller, target: Target) -> None:
    """calls of extensions that are not listed (shared memory, trace, log settings): an error with a sentence"""
    listed = set(caller.get_server_metadata()["extensions"])
    calls = {
        "system_shared_memory": caller.get_system_shared_memory_status,
        "cuda_shared_memory": caller.get_cuda_shared_memory_status,
        "trace": caller.get_trace_settings,
        "logging": caller.get_log_settings,
    }
    for extension, call in calls.items():
        if extension not in listed:
            refusal(call)


CASES: tuple[Case, ...] = (
    nan_in_json,
    unknown_model,
    unknown_tensors,
    wrong_tensors,
    unoffered_extensions,
)
