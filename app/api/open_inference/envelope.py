"""The JSON that clients of the Open Inference Protocol send, as far as it means something here."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

MAX_ID = 256
"""Characters of a request's id, which is echoed."""
MAX_AXES = 8

Size = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    """Fields and parameters that are not known here mean nothing here: the protocol lets clients send their own."""

    model_config = ConfigDict(strict=True, extra="ignore")


class InputParameters(_Part):
    """Where an input's numbers are, when not in `data`."""

    binary_data_size: Size | None = None
    shared_memory_region: Any = None


class InputTensor(_Part):
    """One input."""

    name: str
    datatype: str
    shape: Annotated[list[Size], Field(max_length=MAX_AXES)]
    data: list[Any] | None = None
    parameters: InputParameters = InputParameters()


class OutputParameters(_Part):
    """How an output travels."""

    binary_data: bool | None = None
    classification: Any = None
    shared_memory_region: Any = None


class RequestedOutput(_Part):
    """One output that the caller wants."""

    name: str
    parameters: OutputParameters = OutputParameters()


class RequestParameters(_Part):
    """What holds for the whole request; `timeout` is in microseconds, 0 the service's own."""

    binary_data_output: bool = False
    timeout: Size = 0
    priority: Size = 0


class InferenceRequest(_Part):
    """The JSON of an inference request."""

    id: Annotated[str, Field(max_length=MAX_ID)] | None = None
    parameters: RequestParameters = RequestParameters()
    inputs: list[InputTensor]
    outputs: list[RequestedOutput] = []


class RepositoryParameters(_Part):
    """Of load and unload. A graph has no dependents, so unloading them too changes nothing."""

    model_config = ConfigDict(strict=True, extra="allow")

    unload_dependents: bool = False

    @property
    def overrides(self) -> list[str]:
        """What would replace the published files: `config`, and `file:<path>` with a file's content."""
        sent = self.__pydantic_extra__ or {}
        return [name for name in sent if name == "config" or name.startswith("file:")]


class RepositoryRequest(_Part):
    """The body of load and unload."""

    parameters: RepositoryParameters = RepositoryParameters()


class IndexRequest(_Part):
    """The body of the repository index; `ready` leaves out what is not served."""

    ready: bool = False
