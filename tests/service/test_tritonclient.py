"""The unmodified `tritonclient.http`, sync and asyncio, against the service as a process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.tiny_models import write_tiny_models
from tests.service.conformance.cases import CASES, said
from tests.service.conformance.client import FLAVOURS, Caller, Case, Flavour, Target, refusal
from tests.service.conformance.graph import encode
from tests.service.conformance.table import rows_of
from tests.service.test_process import Process


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


@pytest.fixture(scope="module", params=FLAVOURS)
def caller(request: pytest.FixtureRequest, target: Target) -> Iterator[Caller]:
    """A client of each flavour."""
    flavour: Flavour = request.param
    found = Caller(flavour, target.address)
    yield found
    found.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_case_passes(caller: Caller, target: Target, case: Case) -> None:
    case(caller, target)


def test_loading_and_unloading_need_an_administrator(caller: Caller, target: Target) -> None:
    assert refusal(caller.unload_model, target.model).status() == "403"
    assert refusal(caller.load_model, target.model).status() == "403"
    assert caller.is_model_ready(target.model) is True


PAGE = Path(__file__).parents[2] / "docs" / "open-inference-protocol.md"


def test_documentation_lists_every_case_as_passing() -> None:
    assert [row[:2] for row in rows_of(PAGE.read_text())] == [[said(case), "yes"] for case in CASES]


def test_example_of_the_documentation_runs(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    example = PAGE.read_text().split("```python\n")[1].split("```")[0]
    exec(example.replace("localhost:8000", target.address).replace("mnist_vae", "tiny_vae"), {})  # noqa: S102
    assert capsys.readouterr().out == "(4, 1, 8, 8)\n"
