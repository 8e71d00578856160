"""Every weight of a version once: what stands in its graphs more than once goes into one file that they refer to.

A density holds the encoder and the decoder, an adjoint the decoder again. The file is ONNX's own external data, so that
any reader of ONNX opens the graphs from where they lie; what they compute is the same to the last bit.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import onnx
from onnx.external_data_helper import set_external_data

from app.errors import ModelRejected
from app.manifest import GoldenCase, GraphSignature, Manifest, WeightsFile
from app.runtime.golden import as_array, verify_golden
from app.runtime.session import GraphSession, file_sha256
from app.runtime.weights import WEIGHTS_SHA256
from training.config import ConfigError
from training.evaluation.published import PublishedGraphs, read_manifest
from training.export.parity import ParityError
from training.export.versions import add_version, staging

WEIGHTS_FILE = "weights.bin"
SMALLEST_SHARED = 4096
"""Bytes of a tensor below which a reference saves next to nothing."""
ALIGNMENT = 64
"""Bytes: a cache line, for readers that map the file."""


def share_weights(
    graphs: Sequence[GraphSignature], folder: Path
) -> tuple[tuple[GraphSignature, ...], WeightsFile | None]:
    """Move weights that stand more than once in these graphs of `folder` into one file; the file is None without any.

    Returns the signatures of the graphs as they lie there afterwards. What they shared before is laid out anew, and a
    graph that shares nothing keeps its bytes.
    """
    models = {graph.file: onnx.load(folder / graph.file) for graph in graphs}
    places = _places(models.values())
    content = b"".join(weight.ljust(_aligned(len(weight)), b"\0") for weight in places)
    sha256 = hashlib.sha256(content).hexdigest()
    for file, model in models.items():
        shared_before, shares = _forget(model), _refer(model, places, sha256)
        if shared_before or shares:
            (folder / file).write_bytes(model.SerializeToString())
    (folder / WEIGHTS_FILE).unlink(missing_ok=True)
    if places:
        (folder / WEIGHTS_FILE).write_bytes(content)
    renewed = tuple(graph.model_copy(update={"sha256": file_sha256(folder / graph.file)}) for graph in graphs)
    return renewed, WeightsFile(file=WEIGHTS_FILE, sha256=sha256) if places else None


def shared_again(manifest: Manifest, version: Path, staged: Path) -> Manifest:
    """`share_weights` for graphs of a published version that were copied to `staged`: the manifest of what lies there.

    Every golden case is answered by both, to the same bits. Raises ConfigError where a graph of the version must not be
    served, ParityError where an answer differs.
    """
    before = PublishedGraphs.open(version, manifest)  # a damaged file gets no new checksum
    graphs, weights = share_weights(manifest.graphs, staged)
    if manifest.weights and manifest.weights.file != WEIGHTS_FILE:
        (staged / manifest.weights.file).unlink()
    shared = manifest.model_copy(update={"graphs": graphs, "weights": weights})
    after = PublishedGraphs.open(staged, shared)
    for case in manifest.golden:
        _hold_to(case, before.sessions[case.role], after.sessions[case.role])
    return shared


def share(version: Path, models_dir: Path) -> Path:
    """Make the next version of a published one, with every weight once; returns its folder, the old one stays.

    Its numbers stay. Raises ConfigError where nothing would be saved, and what `shared_again` raises.
    """
    manifest = read_manifest(version)
    with staging(models_dir) as staged:
        for path in version.iterdir():
            shutil.copyfile(path, staged / path.name)
        shared = shared_again(manifest, version, staged)
        if _bytes(shared, staged) >= _bytes(manifest, version):
            raise ConfigError(f"{version} would not be smaller: it repeats no weights")
        return add_version(shared, staged, models_dir)


def _places(models: Iterable[onnx.ModelProto]) -> dict[bytes, int]:
    """Where each weight begins that stands more than once, in the order in which they are met."""
    found = Counter(tensor.raw_data for model in models for tensor in model.graph.initializer)
    places, end = {}, 0
    for weight, times in found.items():
        if times > 1 and len(weight) >= SMALLEST_SHARED:
            places[weight] = end
            end += _aligned(len(weight))
    return places


def _aligned(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT


def _forget(model: onnx.ModelProto) -> bool:
    """Drop what a graph says of weights that it shared; whether it did. They were loaded with it."""
    entries = [entry for entry in model.metadata_props if entry.key == WEIGHTS_SHA256]
    for entry in entries:
        model.metadata_props.remove(entry)
    return bool(entries)


def _refer(model: onnx.ModelProto, places: Mapping[bytes, int], sha256: str) -> bool:
    """Let a graph read from the file what it holds that is there, and name the file's sha256; whether anything is."""
    shared = [tensor for tensor in model.graph.initializer if tensor.raw_data in places]
    for tensor in shared:
        weight = tensor.raw_data
        set_external_data(tensor, WEIGHTS_FILE, offset=places[weight], length=len(weight))
        tensor.ClearField("raw_data")
    if shared:
        model.metadata_props.add(key=WEIGHTS_SHA256, value=sha256)
    return bool(shared)


def _bytes(manifest: Manifest, folder: Path) -> int:
    """Of its graphs and of what they share."""
    files = [graph.file for graph in manifest.graphs] + ([manifest.weights.file] if manifest.weights else [])
    return sum((folder / file).stat().st_size for file in files)


def _hold_to(case: GoldenCase, before: GraphSession, after: GraphSession) -> None:
    """The golden answers as the service checks them, and the same bits as before."""
    try:
        verify_golden(after, case)
    except ModelRejected as error:
        raise ParityError(error.detail) from error
    feeds = {name: as_array(tensor) for name, tensor in case.inputs.items()}
    wanted, found = before.run(feeds), after.run(feeds)
    if changed := [name for name, array in wanted.items() if array.tobytes() != found[name].tobytes()]:
        raise ParityError(f"{case.role}: {', '.join(changed)} is no longer the same to the last bit")
