"""A trained judge as files: its graph, and its card beside it."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

from app.runtime.session import GraphSession
from training.data.splits import DataSplits
from training.evaluation.judge import JudgeCard
from training.export.graphs import Graph
from training.export.parity import check_parity
from training.export.storage import round_weights
from training.export.to_onnx import write_graph
from training.loops.judge_loop import JudgeConfig, error_share
from training.nets.classifier import FeatureClassifier


def write_judge(net: FeatureClassifier, data: DataSplits, config: JudgeConfig, card_file: Path) -> JudgeCard:
    """Export a trained judge, held to PyTorch, to `<card_file without suffix>.onnx`, and write its card.

    Its weights are rounded to half precision first; the stated error is of the rounded ones. Raises ParityError.
    """
    round_weights(net)
    card_file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=card_file.parent, prefix=".") as folder:
        graph = judge_graph(net, data)
        signature = write_graph(graph, Path(folder))
        written = Path(folder) / signature.file
        check_parity(graph, GraphSession.open(written, signature))
        signature = signature.model_copy(update={"file": card_file.with_suffix(".onnx").name})
        card = JudgeCard(
            name=data.name,
            data_sha256=data.sha256,
            classes=data.classes or (),
            graph=signature,
            test_error=round(error_share(net, data.test), 6),
            test_images=len(data.test),
            settings=dataclasses.asdict(config),
            libraries={name: version(name) for name in ("torch", "onnx", "numpy")},
        )
        shutil.move(written, card_file.with_suffix(".onnx"))
    card_file.write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return card


def judge_graph(net: FeatureClassifier, data: DataSplits) -> Graph:
    """The judge as one deterministic graph."""
    _, side, _, channels = data.train.pictures.shape
    shape = {"image": ("batch", channels, side, side)}
    return Graph("image_to_class", net, shape, ("logits", "features"))
