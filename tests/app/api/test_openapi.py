"""The OpenAPI document: complete, and true: every example in it is posted, every answer held to its schema."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import TypeAdapter

from app.api.arithmetic import ArithmeticAnswer
from app.api.catalogue import ModelDescription, ModelList
from app.api.classify import ClassifyAnswer
from app.api.decode import DecodeAnswer
from app.api.encode import EncodeAnswer, ReconstructAnswer
from app.api.problems import Problem, problem_kinds
from app.api.sample import SampleAnswer
from app.api.score import RealismAnswer, ScoreAnswer
from app.api.walk import InterpolateAnswer, TraverseAnswer

ANSWERS: dict[str, type] = {
    "sample": SampleAnswer,
    "decode": DecodeAnswer,
    "interpolate": InterpolateAnswer,
    "traverse": TraverseAnswer,
    "arithmetic": ArithmeticAnswer,
    "encode": EncodeAnswer,
    "reconstruct": ReconstructAnswer,
    "score": ScoreAnswer,
    "realism": RealismAnswer,
    "classify": ClassifyAnswer,
    "list_models": ModelList,
    "describe_model": ModelDescription,
}


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, op) for path, found in document["paths"].items() for method, op in found.items()]


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    """The served document."""
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def test_every_example_is_answered_as_its_schema_says(client: TestClient, document: dict[str, Any]) -> None:
    posted = set()
    for path, method, operation in operations(document):
        if method != "post" or not path.startswith("/v1/models/"):
            continue
        name = operation["operationId"]
        for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
            response = client.post(path.format(model=_model_for(name, example["value"])), json=example["value"])
            assert response.status_code == 200, (name, response.text)
            _hold_to(ANSWERS[name], response.json())
            posted.add(name)
    assert posted == ANSWERS.keys() - {"list_models", "describe_model"}


def _model_for(operation: str, body: dict[str, Any]) -> str:
    if operation == "classify" or body.keys() & {"label", "every_label"}:
        return "tiny_labelled"
    return "tiny_gan" if operation == "realism" else "tiny_vae"


def _hold_to(kind: type, body: Any) -> None:
    """Every field is there, and there are no others."""
    adapter = TypeAdapter(kind)
    assert adapter.dump_python(adapter.validate_python(body), mode="json", exclude_unset=True) == body


def test_every_list_is_answered_as_its_schema_says(client: TestClient) -> None:
    _hold_to(ModelList, client.get("/v1/models").json())
    _hold_to(ModelDescription, client.get("/v1/models/tiny_vae").json())


def test_every_operation_has_a_name_a_summary_and_a_tag(document: dict[str, Any]) -> None:
    found = operations(document)
    assert len({op["operationId"] for _, _, op in found}) == len(found)
    for _, _, operation in found:
        assert operation["operationId"].replace("_", "").isalnum()
        assert operation["summary"]
        assert operation["tags"]


def test_every_operation_on_models_declares_its_problems(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        refusals = {status: r for status, r in operation["responses"].items() if status >= "4"}
        if path.startswith("/v2") or path == "/v1/images/generations":
            continue
        if path.startswith("/v1/models/{model}"):
            assert {"401", "404", "406", "422", "503"} <= refusals.keys()
        if method == "post":
            assert {"400", "409", "413", "415", "504"} <= refusals.keys()
        for response in refusals.values():
            for media_type, media in response["content"].items():
                assert media_type == "application/problem+json"
                for example in media["examples"].values():
                    Problem.model_validate(example["value"])


def test_pictures_are_declared_as_they_travel(document: dict[str, Any]) -> None:
    interpolate = document["paths"]["/v1/models/{model}/interpolate"]["post"]["responses"]["200"]["content"]
    assert {
        "application/json",
        "image/png",
        "image/webp",
        "image/gif",
        "image/apng",
        "application/x-npy",
    } <= interpolate.keys()
    encode = document["paths"]["/v1/models/{model}/encode"]["post"]["requestBody"]["content"]
    assert {"application/json", "image/png", "multipart/form-data", "application/x-npy"} <= encode.keys()


@pytest.mark.parametrize(("path", "method"), [("sample", "post"), ("sample.png", "get")])
def test_headers_of_samples_are_declared(document: dict[str, Any], path: str, method: str) -> None:
    done = document["paths"][f"/v1/models/{{model}}/{path}"][method]["responses"]["200"]
    assert done["headers"].keys() == {"X-Seed", "X-Acceptance"}
    assert all(header["description"] and header["schema"] for header in done["headers"].values())


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert {ref.removeprefix("#/components/schemas/") for ref in _references(document)} <= schemas.keys()
    assert "HTTPValidationError" not in schemas


def _references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(_references(value) for value in node.values()))
    return set().union(*(_references(value) for value in node)) if isinstance(node, list) else set()


@pytest.mark.parametrize("code", sorted(problem_kinds()))
def test_every_problem_has_an_address_that_explains_it(client: TestClient, code: str) -> None:
    row = client.get(f"/problems/{code}").json()
    assert row["code"] == code
    assert row["explanation"]
    page = client.get(f"/problems/{code}", headers={"Accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")
