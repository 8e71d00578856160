"""The unmodified `tritonclient.http`, sync or asyncio, and the graph that cases call with it.

A case is a function of a `Caller` and of a `Target`: a graph with the inputs image (B,1,8,8) and noise (B,2) and the
outputs latent, mean and scale (B,2). It raises when the server fails it; its docstring is its row in the documentation.
"""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tritonclient.http as sync_client
import tritonclient.http.aio as aio_client
from numpy.typing import NDArray
from tritonclient.http import InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

Flavour = Literal["sync", "asyncio"]
FLAVOURS: tuple[Flavour, ...] = ("sync", "asyncio")
Floats = NDArray[np.float32]
OUTPUTS = ("latent", "mean", "scale")


@dataclass(frozen=True)
class Target:
    """Where the graph is served, what it is called, what it computes, and the headers of an administrator."""

    address: str
    model: str
    version: str
    expected: Callable[[Floats, Floats], dict[str, Floats]]
    admin: dict[str, str]


class Caller:
    """One client of either flavour; every method answers when the call is done."""

    def __init__(self, flavour: Flavour, address: str) -> None:
        self.flavour = flavour
        self._loop = asyncio.new_event_loop()
        self._client = self._loop.run_until_complete(self._connect(address))

    async def _connect(self, address: str) -> Any:
        client = sync_client if self.flavour == "sync" else aio_client
        return client.InferenceServerClient(address)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*args: Any, **options: Any) -> Any:
            found = method(*args, **options)
            return self._answer(found) if asyncio.iscoroutine(found) else found

        return call

    def _answer(self, call: Coroutine[Any, Any, Any]) -> Any:
        answer = self._loop.run_until_complete(call)
        if isinstance(answer, bool):
            # The library leaves the answers to its yes-or-no calls unread; collected later, they would be another
            # test's warning.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                gc.collect()
        return answer

    def together(self, calls: Sequence[dict[str, Any]]) -> list[Any]:
        """Several inferences at once."""
        if self.flavour == "sync":
            return [started.get_result() for started in [self._client.async_infer(**call) for call in calls]]

        async def gathered() -> list[Any]:
            return list(await asyncio.gather(*(self._client.infer(**call) for call in calls)))

        return self._loop.run_until_complete(gathered())

    def close(self) -> None:
        """Disconnect."""
        closing = self._client.close()
        if closing is not None:
            self._loop.run_until_complete(closing)
        self._loop.run_until_complete(asyncio.sleep(0))  # lets aiohttp's transports say goodbye
        self._loop.close()


Case = Callable[[Caller, Target], None]


def arrays(rows: int = 2, seed: int = 7) -> dict[str, Floats]:
    """Inputs of so many rows."""
    generator = np.random.default_rng(seed)
    return {
        "image": generator.random((rows, 1, 8, 8), np.float32),
        "noise": generator.standard_normal((rows, 2)).astype(np.float32),
    }


def inputs(feeds: dict[str, Floats], *, binary: bool | dict[str, bool] = True) -> list[InferInput]:
    """Inputs as the client sends them."""
    found = []
    for name, array in feeds.items():
        tensor = InferInput(name, list(array.shape), "FP32")
        tensor.set_data_from_numpy(array, binary_data=binary if isinstance(binary, bool) else binary[name])
        found.append(tensor)
    return found


def outputs(**binary: bool) -> list[InferRequestedOutput]:
    """Outputs to ask for, and whether as bytes."""
    return [InferRequestedOutput(name, binary_data=as_bytes) for name, as_bytes in binary.items()]


def infer(
    caller: Caller, target: Target, *, rows: int = 2, binary: bool | dict[str, bool] = True, **options: Any
) -> Any:
    """Infer, hold what came back to what the graph computes, and hand it on."""
    feeds = arrays(rows)
    result = caller.infer(target.model, inputs(feeds, binary=binary), **options)
    expected = target.expected(**feeds)
    for output in result.get_response()["outputs"]:
        np.testing.assert_allclose(result.as_numpy(output["name"]), expected[output["name"]], rtol=1e-4, atol=1e-5)
    return result


def names(result: Any) -> list[str]:
    """The outputs of an answer, in order."""
    return [output["name"] for output in result.get_response()["outputs"]]


def refusal(call: Callable[..., Any], *args: Any, **options: Any) -> InferenceServerException:
    """The error that a call ends in: readable, with a status that is an error's, understood by the client."""
    try:
        call(*args, **options)
    except InferenceServerException as error:
        return understood(error)
    raise AssertionError("the call was answered as if nothing were wrong")


def understood(error: InferenceServerException) -> InferenceServerException:
    """The same error, if the client could read it."""
    assert isinstance(error.message(), str)
    assert error.message()
    assert "exception occurred in the client" not in str(error)
    assert error.status() is not None
    return error
