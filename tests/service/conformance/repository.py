"""Statistics, and loading and unloading."""

from __future__ import annotations

import json

from tritonclient.utils import InferenceServerException

from tests.service.conformance.client import Caller, Case, Target, infer, refusal, understood


def statistics(caller: Caller, target: Target) -> None:
    """`get_inference_statistics` of a model, counting rows, requests, runs and failures"""
    (before,) = caller.get_inference_statistics(target.model)["model_stats"]
    infer(caller, target, rows=3)
    (after,) = caller.get_inference_statistics(target.model, target.version)["model_stats"]
    assert (after["name"], after["version"]) == (target.model, target.version)
    assert after["inference_count"] == before["inference_count"] + 3
    assert after["execution_count"] == before["execution_count"] + 1
    assert after["inference_stats"]["success"]["count"] == before["inference_stats"]["success"]["count"] + 1
    assert after["inference_stats"]["compute_infer"]["ns"] > before["inference_stats"]["compute_infer"]["ns"]
    assert any(batch["batch_size"] == 3 for batch in after["batch_stats"])
    assert after["last_inference"] > 1.7e12


def all_statistics(caller: Caller, target: Target) -> None:
    """`get_inference_statistics` of all models"""
    infer(caller, target)
    assert target.model in {found["name"] for found in caller.get_inference_statistics()["model_stats"]}


def repository_index(caller: Caller, target: Target) -> None:
    """`get_model_repository_index`: a list with names, versions and states"""
    found = {(entry["name"], entry["version"]): entry for entry in caller.get_model_repository_index()}
    assert found[target.model, target.version]["state"] == "READY"


def unload_and_load(caller: Caller, target: Target) -> None:
    """`unload_model`, then `load_model`: ready follows, and so does the index"""
    caller.unload_model(target.model, headers=dict(target.admin))
    try:
        assert caller.is_model_ready(target.model) is False
        refusal(infer, caller, target)
        states = {entry["name"]: entry["state"] for entry in caller.get_model_repository_index()}
        assert states.get(target.model, "UNAVAILABLE") == "UNAVAILABLE"
    finally:
        caller.load_model(target.model, headers=dict(target.admin))
    assert caller.is_model_ready(target.model) is True
    infer(caller, target)


def unload_dependents(caller: Caller, target: Target) -> None:
    """`unload_model` with `unload_dependents`"""
    caller.unload_model(target.model, headers=dict(target.admin), unload_dependents=True)
    caller.load_model(target.model, headers=dict(target.admin))
    infer(caller, target)


def load_unknown(caller: Caller, target: Target) -> None:
    """`load_model` and `unload_model` of an unknown model: an error with a sentence"""
    refusal(caller.load_model, "no_such_model", headers=dict(target.admin))
    refusal(caller.unload_model, "no_such_model", headers=dict(target.admin))


def load_with_override(caller: Caller, target: Target) -> None:
    """`load_model` with a configuration or files of the call's own: done, or refused with a reason"""
    for override in ({"config": json.dumps({"max_batch_size": 1})}, {"config": "{}", "files": {"file:1/x.onnx": b"x"}}):
        try:
            caller.load_model(target.model, headers=dict(target.admin), **override)
        except InferenceServerException as error:
            understood(error)
    assert caller.is_model_ready(target.model) is True


CASES: tuple[Case, ...] = (
    statistics,
    all_statistics,
    repository_index,
    unload_and_load,
    unload_dependents,
    load_unknown,
    load_with_override,
)
