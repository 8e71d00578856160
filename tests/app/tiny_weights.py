"""Tiny models whose graphs share their weights: what publication does to large ones, written here a second time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import onnx
from onnx import TensorProto

from app.runtime.session import file_sha256
from tests.app.tiny_models import TinyModel, edit_manifest, write_version

WEIGHTS = "weights.bin"


def write_shared(root: Path, model: TinyModel, version: int = 1) -> Path:
    """Write one version whose graphs have all their weights in one file. Returns its folder."""
    folder = write_version(root, model, version)
    share(folder)
    return folder


def share(folder: Path) -> None:
    """Move every weight of a written version into one file, each content once."""
    graphs = json.loads((folder / "manifest.json").read_text())["graphs"]
    protos, content = {graph["file"]: onnx.load(folder / graph["file"]) for graph in graphs}, b""
    for proto in protos.values():
        content = move_weights(proto, content)
    weights = {"file": WEIGHTS, "sha256": hashlib.sha256(content).hexdigest()}
    (folder / WEIGHTS).write_bytes(content)
    for graph in graphs:
        name_weights(protos[graph["file"]], content)
        (folder / graph["file"]).write_bytes(protos[graph["file"]].SerializeToString())
        graph["sha256"] = file_sha256(folder / graph["file"])
    edit_manifest(folder, graphs=graphs, weights=weights)


def move_weights(proto: onnx.ModelProto, content: bytes = b"") -> bytes:
    """Let a graph read its float weights from a file that begins with `content`; returns the file's content."""
    for tensor in proto.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            content += b"" if tensor.raw_data in content else tensor.raw_data
            place(tensor, location=WEIGHTS, offset=content.index(tensor.raw_data), length=len(tensor.raw_data))
            tensor.ClearField("raw_data")
    return content


def place(tensor: onnx.TensorProto, **stated: object) -> None:
    """State where a tensor's numbers are, in place of what was stated before."""
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in stated.items():
        tensor.external_data.add(key=key, value=str(value))


def name_weights(proto: onnx.ModelProto, content: bytes) -> None:
    """Let a graph name the weights that it was made with."""
    proto.metadata_props.add(key="weights_sha256", value=hashlib.sha256(content).hexdigest())
