"""What a machine has for this project, and what is missing: the first thing to ask when something does not work."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from training.config import ConfigError, DataConfig
from training.data.datasets import DataError, data_folder, load_splits
from training.evaluation.published import PublishedGraphs, read_manifest
from training.loops.provenance import hardware

LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy", "pillow", "fastapi", "pydantic")
DATA_SETS = ("digits", "mnist", "fashion_mnist")


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    what: str
    detail: str
    well: bool = True

    def __str__(self) -> str:
        return f"{'ok  ' if self.well else 'MEND'}  {self.what}: {self.detail}"


def examine(models_dir: Path, data_dir: Path | None) -> list[Finding]:
    """Libraries, device, data sets and published models. Nothing is downloaded: absent data is named, not fetched."""
    return [
        _python(),
        *map(_library, LIBRARIES),
        _device(),
        *(_data_set(name, data_dir) for name in DATA_SETS),
        *_models(models_dir),
    ]


def _python() -> Finding:
    return Finding("python", platform.python_version())


def _library(name: str) -> Finding:
    try:
        return Finding(name, version(name))
    except PackageNotFoundError:
        return Finding(name, "not installed: pip install '.[train]'", well=False)


def _device() -> Finding:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bfloat16 = "fast" if device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported() else "slow"
    return Finding("device", f"{hardware(device)}; bfloat16 is {bfloat16} here")


def _data_set(name: str, data_dir: Path | None) -> Finding:
    if name != "digits" and not (data_folder(data_dir) / name).is_dir():
        return Finding(f"data {name}", f"not in {data_folder(data_dir)} yet; downloaded when first trained on")
    try:
        return Finding(f"data {name}", load_splits(DataConfig.model_validate({"set": name}), data_dir).summary())
    except DataError as error:
        return Finding(f"data {name}", str(error), well=False)


def _models(models_dir: Path) -> list[Finding]:
    folders = sorted(path.parent for path in models_dir.glob("*/*/manifest.json") if path.parent.name.isdecimal())
    return [_model(folder) for folder in folders] or [Finding("models", f"none in {models_dir}")]


def _model(folder: Path) -> Finding:
    try:
        graphs = PublishedGraphs.open(folder, read_manifest(folder))
    except ConfigError as error:
        return Finding(f"model {folder}", str(error), well=False)
    return Finding(f"model {folder}", ", ".join(graphs.sessions))
