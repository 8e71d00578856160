"""Open an ONNX graph, hold it to its signature, run it. The only import of onnxruntime.

A graph is loaded from the very bytes that were hashed and looked through (`operators.py`), and so are the weights that
it shares with others of its version. So what runs is what the manifest names, and nothing that a stranger's graph could
harm with; onnxruntime itself opens no file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Self, cast

import numpy.typing as npt

from app.errors import ModelRejected
from app.manifest import DType, GraphSignature, TensorSpec
from app.runtime.operators import check_operators
from app.runtime.weights import Weights

# The official builds write a device id into the home folder and report each model loaded (its name, its hashes) to
# their maker, unless told otherwise before the import. Whoever wants that sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

RUNTIME = f"onnxruntime {ort.__version__}"
"""What runs the graphs; golden tolerances and published numbers refer to it."""

Array = npt.NDArray[Any]

# One arena for all graphs of the process: each session's own would hold the largest run that it ever saw.
ort.create_and_register_allocator(
    ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT),
    ort.OrtArenaCfg({"arena_extend_strategy": 1}),  # as much as is asked for, so that it can be given back in parts
)

_DTYPES: dict[str, DType] = {"tensor(float)": "float32", "tensor(int64)": "int64"}
_LOG_FATAL_ONLY = 4
_OUT_OF_MEMORY = ("Failed to allocate memory", "bad_alloc", "bad allocation")
"""How onnxruntime says it, with its arena and without: it has no exception for it."""


class Interruption:
    """Ends the runs that were begun with it, from any thread, between two of their operators; no more can begin."""

    def __init__(self) -> None:
        self.options = ort.RunOptions()

    @property
    def requested(self) -> bool:
        """Whether `request` was called."""
        return bool(self.options.terminate)

    def request(self) -> None:
        """End them."""
        self.options.terminate = True


class GraphSession:
    """One open graph, or one that is opened when it is first run. `run` blocks and may be called from any thread."""

    def __init__(
        self,
        session: ort.InferenceSession | None,
        signature: GraphSignature,
        open_late: Callable[[], GraphSession] | None = None,
    ) -> None:
        self._session = session
        self._open_late = open_late
        self._opening = Lock()
        self._output_names = [spec.name for spec in signature.outputs]
        self.signature = signature

    @classmethod
    def open(cls, path: Path, signature: GraphSignature, *, threads: int = 1, weights: Weights | None = None) -> Self:
        """Open `path` after checking its sha256 and its tensors' names, types and shapes against `signature`.

        `weights` are what the graphs of its version share; the session keeps a copy of what it needs of them.
        Raises ModelRejected, with a reason that names the file but never its folder.
        """
        session = _open(_checked(path, signature, weights), path.name, threads, weights)
        _hold_to(path.name, "input", _specs(session.get_inputs(), path.name), signature.inputs)
        _hold_to(path.name, "output", _specs(session.get_outputs(), path.name), signature.outputs)
        return cls(session, signature)

    @classmethod
    def later(
        cls,
        path: Path,
        signature: GraphSignature,
        open_session: Callable[[], GraphSession],
        *,
        weights: Weights | None = None,
    ) -> Self:
        """A graph that `open_session` opens at its first run; until then it costs no memory.

        Of `weights`, which `open_session` reads anew, nothing is kept. Raises ModelRejected where the file is not the
        one that the manifest names. The first run raises what `open_session` does.
        """
        _checked(path, signature, weights)
        return cls(None, signature, open_session)

    def run(self, feeds: Mapping[str, Array], interruption: Interruption | None = None) -> dict[str, Array]:
        """The graph's outputs by name for inputs by name. Blocks.

        Raises MemoryError where there is not enough memory for these inputs, and what onnxruntime raises for anything
        else that is wrong with them or for a run that was interrupted.
        """
        session = self._session or self._opened()
        try:
            outputs = session.run(self._output_names, dict(feeds), interruption and interruption.options)
        except Exception as error:  # onnxruntime's exceptions share no base
            if any(words in str(error) for words in _OUT_OF_MEMORY):
                raise MemoryError(f"{self.signature.file} ran out of memory") from error
            raise
        return dict(zip(self._output_names, cast("Sequence[Array]", outputs), strict=True))

    def close(self) -> None:
        """Let go of the graph and its memory; a run in another thread finishes first."""
        with self._opening:
            self._session = self._open_late = None

    def _opened(self) -> ort.InferenceSession:
        with self._opening:
            if self._session is None and self._open_late is not None:
                self._session, self._open_late = self._open_late()._session, None
            if self._session is None:
                raise RuntimeError(f"{self.signature.file} is closed")
            return self._session


def describe_graph(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The inputs and outputs of the graph in `path`, as a manifest states them; it holds all its weights.

    Raises ModelRejected.
    """
    data = _read(path)
    check_operators(data, path.name)
    session = _open(data, path.name, threads=1, weights=None)
    return _specs(session.get_inputs(), path.name), _specs(session.get_outputs(), path.name)


def file_sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checked(path: Path, signature: GraphSignature, weights: Weights | None) -> bytes:
    """The file, if it is the one that the signature names and holds nothing that could harm."""
    data = _read(path)
    if (digest := hashlib.sha256(data).hexdigest()) != signature.sha256:
        raise ModelRejected(f"{path.name}: sha256 is {digest[:12]}…, the manifest says {signature.sha256[:12]}…")
    check_operators(data, path.name, weights)
    return data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelRejected(f"{path.name} cannot be read: {error.strerror}") from error


def _open(data: bytes, name: str, threads: int, weights: Weights | None) -> ort.InferenceSession:
    options = _options(threads)
    try:
        if weights is not None:  # copied where they are needed while the session is made, and not looked at afterwards
            options.add_external_initializers_from_files_in_memory([weights.file], [weights.data], [len(weights.data)])
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except (
        Exception
    ) as error:  # onnxruntime's exceptions share no base; their text may hold paths, so only the kind leaves
        raise ModelRejected(f"{name} is not a graph that {RUNTIME} can open ({type(error).__name__})") from error


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.enable_mem_pattern = False  # one pattern would be kept for every batch size ever seen
    options.use_deterministic_compute = True
    options.log_severity_level = _LOG_FATAL_ONLY
    options.add_session_config_entry("session.load_model_format", "ONNX")  # the other format is not looked through
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the cores to others
    return options


def _specs(nodes: Sequence[ort.NodeArg], name: str) -> tuple[TensorSpec, ...]:
    return tuple(_spec(node, name) for node in nodes)


def _spec(node: ort.NodeArg, name: str) -> TensorSpec:
    if node.type not in _DTYPES:
        raise ModelRejected(f"{name}: {node.name} is a {node.type}; only {', '.join(_DTYPES)} are served")
    shape = tuple(size if isinstance(size, int) else size or "?" for size in node.shape)
    return TensorSpec(name=node.name, dtype=_DTYPES[node.type], shape=shape)


def _hold_to(name: str, kind: str, found: Sequence[TensorSpec], promised: Sequence[TensorSpec]) -> None:
    """Names, types and sizes must agree; what a varying dimension is called is free."""
    if [_essence(spec) for spec in found] != [_essence(spec) for spec in promised]:
        raise ModelRejected(f"{name}: its {kind}s are {_text(found)}, the manifest says {_text(promised)}")


def _essence(spec: TensorSpec) -> tuple[str, str, tuple[int | None, ...]]:
    return spec.name, spec.dtype, tuple(size if isinstance(size, int) else None for size in spec.shape)


def _text(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.dtype}[{','.join(map(str, spec.shape))}]" for spec in specs) or "none"
