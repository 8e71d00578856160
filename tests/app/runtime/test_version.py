from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from pydantic import BaseModel

from app.errors import ModelRejected
from app.manifest import ImageSpace, LatentSpace, PixelRange
from app.runtime.plan import Planner
from app.runtime.session import file_sha256
from app.runtime.tuning import ByHand
from app.runtime.version import open_version, read_manifest
from tests.app.tiny_labelled import tiny_labelled
from tests.app.tiny_models import TinyModel, edit_manifest, graph, tiny_gan, tiny_vae, with_graph, write_version

PLANNER = Planner(ByHand(threads=1, lanes=1, max_batch_rows=16), cores=1, cache_dir=None)


OUTLIERS = json.dumps(
    {
        "tails": [{"statistic": "kl_nats", "knots": [0, 1, 2, 3, 4, 5], "mean_excess": 1}],
        "values": {"dtype": "float32", "shape": [2, 2], "base64": "AAAAAAAAgD8AAAAAAACAPw=="},
        "typical_code_norm": None,
        "samples": 4,
        "seed": 0,
        "split": "none",
    }
)


def open_folder(folder: Path) -> None:
    open_version(folder, read_manifest(folder), PLANNER)


def tampered(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest in place."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_version_is_read_whole(tmp_path: Path) -> None:
    folder = write_version(tmp_path, tiny_vae())
    version = open_version(folder, read_manifest(folder), PLANNER)
    assert version.card.startswith("# tiny_vae")
    assert version.preview_png == (folder / "preview.png").read_bytes()
    assert version.map_json is None
    assert version.outliers is None
    assert version.sessions.keys() == version.manifest.roles


def test_card_and_preview_are_optional(tmp_path: Path) -> None:
    folder = write_version(tmp_path, replace(tiny_vae(), preview=False))
    (folder / "card.md").unlink()
    version = open_version(folder, read_manifest(folder), PLANNER)
    assert (version.card, version.preview_png) == ("", None)


def test_map_is_held_to_its_checksum(tmp_path: Path) -> None:
    folder = write_version(tmp_path, tiny_vae())
    (folder / "map.json").write_bytes(b'{"points":[]}')
    edit_manifest(folder, map={"file": "map.json", "sha256": file_sha256(folder / "map.json")})
    assert open_version(folder, read_manifest(folder), PLANNER).map_json == b'{"points":[]}'
    (folder / "map.json").write_bytes(b"other")
    with pytest.raises(ModelRejected, match=r"map\.json"):
        open_folder(folder)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"tails": []}', "tails|values"),
        (OUTLIERS.replace("AAAAAAAAgD8AAAAAAACAPw==", "AAAAAAAAgD8="), "reshape"),
        (OUTLIERS.replace("AAAAAAAAgD8AAAAAAACAPw==", "AACAPwAAAAAAAIA/AAAAAA=="), "sorted"),
    ],
)
def test_outlier_calibration_must_be_one(tmp_path: Path, content: str, reason: str) -> None:
    folder = write_version(tmp_path, tiny_vae())
    for text in (OUTLIERS, content):
        (folder / "outliers.json").write_text(text)
        edit_manifest(folder, outliers={"file": "outliers.json", "sha256": file_sha256(folder / "outliers.json")})
        if text == OUTLIERS:
            open_folder(folder)
    with pytest.raises(ModelRejected, match=rf"outliers\.json: .*({reason})"):
        open_folder(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "\xff", "[" * 100_000, '{"format":1}', '{"format":2}'], ids=range(8)
)
def test_manifest_that_does_not_parse_is_rejected(tmp_path: Path, text: str) -> None:
    folder = write_version(tmp_path, tiny_vae())
    (folder / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(ModelRejected, match=r"manifest\.json"):
        open_folder(folder)


def test_missing_manifest_is_rejected_without_its_folder(tmp_path: Path) -> None:
    folder = write_version(tmp_path, tiny_vae())
    (folder / "manifest.json").unlink()
    with pytest.raises(ModelRejected) as refusal:
        open_folder(folder)
    assert str(tmp_path) not in refusal.value.detail


def test_manifest_of_another_place_is_rejected(tmp_path: Path) -> None:
    folder = write_version(tmp_path, tiny_vae())
    shutil.copytree(folder, tmp_path / "tiny_vae" / "2")
    with pytest.raises(ModelRejected, match=r"tiny_vae@1.*tiny_vae/2"):
        open_folder(tmp_path / "tiny_vae" / "2")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("latent", LatentSpace(size=3, prior="standard_normal")),
        ("image", ImageSpace(height=9, width=8, channels=1, pixel_range=PixelRange(low=0, high=1))),
        ("image", ImageSpace(height=8, width=8, channels=3, pixel_range=PixelRange(low=0, high=1))),
    ],
)
def test_graphs_must_fit_the_manifests_sizes(tmp_path: Path, field: str, value: BaseModel) -> None:
    folder = write_version(tmp_path, tiny_vae())
    edit_manifest(folder, **{field: value.model_dump(mode="json")})
    with pytest.raises(ModelRejected, match="cannot have"):
        open_folder(folder)


def renamed_output() -> TinyModel:
    nodes = [helper.make_node("Identity", ["latent"], ["picture"])]
    proto = graph(nodes, {"latent": ["batch", 4]}, {"picture": ["batch", 4]}, {})
    return replace(with_graph(tiny_gan(), "latent_to_image", proto), preview=False)


def extra_input() -> TinyModel:
    constants = {"shape": np.array([-1, 3, 8, 8]), "wide": np.ones((4, 192))}
    nodes = [
        helper.make_node("Add", ["latent", "more"], ["sum"]),
        helper.make_node("MatMul", ["sum", "wide"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["image"]),
    ]
    inputs = {"latent": ["batch", 4], "more": ["batch", 4]}
    return replace(
        with_graph(tiny_gan(), "latent_to_image", graph(nodes, inputs, {"image": ["batch", 3, 8, 8]}, constants)),
        preview=False,
    )


def float_label() -> TinyModel:
    """A conditional model whose label is a number with a fraction."""
    model = tiny_labelled()
    proto = model.graphs["latent_to_image"]
    told = next(tensor for tensor in proto.graph.input if tensor.name == "label")
    told.type.tensor_type.elem_type = TensorProto.FLOAT
    gather = next(node for node in proto.graph.node if node.op_type == "Gather")
    cast = helper.make_node("Cast", ["label"], ["index"], to=TensorProto.INT64)
    gather.input[1] = "index"
    proto.graph.node.insert(0, cast)
    return replace(model, graphs={"latent_to_image": proto}, preview=False)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (renamed_output(), "needs the outputs"),
        (extra_input(), "cannot have the input more"),
        (float_label(), "cannot have the input label float32"),
    ],
)
def test_graphs_must_fit_their_role(tmp_path: Path, model: TinyModel, reason: str) -> None:
    folder = write_version(tmp_path, model)
    with pytest.raises(ModelRejected, match=reason):
        open_folder(folder)


def change_golden(key: str, change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: change(next(iter(manifest["golden"][0][key].values())))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (change_golden("inputs", lambda tensor: tensor.update(base64="AAAAAAAAAAAAAAAAAAAAAA==")), "off its golden"),
        (change_golden("inputs", lambda tensor: tensor.update(shape=[1, 4])), "do not run"),
        (change_golden("inputs", lambda tensor: tensor.update(base64="????")), "not base64"),
        (change_golden("inputs", lambda tensor: tensor.update(shape=[10**12])), "not base64"),
        (lambda manifest: manifest["golden"][0].update(outputs={"other": {**ZERO}}), "golden output other"),
        (lambda manifest: manifest["golden"][0].update(inputs={"other": {**ZERO}}), "do not run"),
    ],
)
def test_golden_outputs_must_be_reproduced(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    folder = write_version(tmp_path, tiny_vae())
    tampered(folder, change)
    with pytest.raises(ModelRejected, match=reason):
        open_folder(folder)


def test_late_graph_must_reproduce_its_golden_outputs_before_it_answers_anybody(tmp_path: Path) -> None:
    folder = write_version(tmp_path, tiny_vae())

    def spoil(manifest: dict[str, Any]) -> None:
        (case,) = [case for case in manifest["golden"] if case["role"] == "latent_gradient"]
        case["outputs"]["gradient"]["base64"] = base64.b64encode(np.full((2, 2), 9, "<f4").tobytes()).decode()

    tampered(folder, spoil)
    met = open_version(folder, read_manifest(folder), PLANNER)
    feeds = {"latent": np.zeros((1, 2), np.float32), "cotangent": np.zeros((1, 1, 8, 8), np.float32)}
    with pytest.raises(ModelRejected, match="off its golden"):
        met.sessions["latent_gradient"].run(feeds)
    with pytest.raises(ModelRejected, match="off its golden"):  # where it must be measured, it is opened at once
        open_version(folder, read_manifest(folder), Planner(ByHand(), cores=1, cache_dir=None))


ZERO = {"dtype": "float32", "shape": [1], "base64": "AAAAAA=="}
