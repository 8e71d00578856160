"""What a server tells of itself and of its graphs."""

from __future__ import annotations

from tests.service.conformance.client import OUTPUTS, Caller, Case, Target


def server_live(caller: Caller, _target: Target) -> None:
    """`is_server_live`"""
    assert caller.is_server_live() is True


def server_ready(caller: Caller, _target: Target) -> None:
    """`is_server_ready`"""
    assert caller.is_server_ready() is True


def model_ready(caller: Caller, target: Target) -> None:
    """`is_model_ready`, with and without a version"""
    assert caller.is_model_ready(target.model) is True
    assert caller.is_model_ready(target.model, target.version) is True


def unknown_model_is_not_ready(caller: Caller, target: Target) -> None:
    """`is_model_ready` is false for unknown models and versions"""
    assert caller.is_model_ready("no_such_model") is False
    assert caller.is_model_ready(target.model, "99") is False


def server_metadata(caller: Caller, _target: Target) -> None:
    """`get_server_metadata`: name, version, extensions"""
    found = caller.get_server_metadata()
    assert isinstance(found["name"], str)
    assert isinstance(found["version"], str)
    assert isinstance(found["extensions"], list)


def extensions(caller: Caller, _target: Target) -> None:
    """the extensions name binary tensors, repository, configuration, statistics, schedule policy and parameters"""
    assert {
        "binary_tensor_data",
        "model_repository",
        "model_repository(unload_dependents)",
        "model_configuration",
        "statistics",
        "schedule_policy",
        "parameters",
    } <= set(caller.get_server_metadata()["extensions"])


def model_metadata(caller: Caller, target: Target) -> None:
    """`get_model_metadata`: versions as text, datatypes, −1 for the batch"""
    for options in ({}, {"model_version": target.version}):
        found = caller.get_model_metadata(target.model, **options)
        assert found["name"] == target.model
        assert target.version in found["versions"]
        assert found["platform"]
        shapes = {tensor["name"]: (tensor["datatype"], tensor["shape"]) for tensor in found["inputs"]}
        assert shapes == {"image": ("FP32", [-1, 1, 8, 8]), "noise": ("FP32", [-1, 2])}
        assert [tensor["name"] for tensor in found["outputs"]] == list(OUTPUTS)


def model_configuration(caller: Caller, target: Target) -> None:
    """`get_model_config`: largest batch, inputs and outputs without the batch"""
    for options in ({}, {"model_version": target.version}):
        found = caller.get_model_config(target.model, **options)
        assert found["name"] == target.model
        assert found["max_batch_size"] >= 1
        assert found["input"][1] == {"name": "noise", "data_type": "TYPE_FP32", "dims": [2]}
        assert [tensor["name"] for tensor in found["output"]] == list(OUTPUTS)


CASES: tuple[Case, ...] = (
    server_live,
    server_ready,
    model_ready,
    unknown_model_is_not_ready,
    server_metadata,
    extensions,
    model_metadata,
    model_configuration,
)
