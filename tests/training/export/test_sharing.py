"""Every weight of a version once: the same numbers, in fewer bytes."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data

from app.manifest import GraphRole, GraphSignature, LatentSpace, Manifest
from app.runtime.session import GraphSession, file_sha256
from app.runtime.tuning import example_feeds
from app.runtime.weights import read_weights
from tests.app.tiny_models import GAN_FIELDS, TinyModel, graph, write_version
from training.__main__ import main
from training.config import ConfigError
from training.evaluation.published import PublishedGraphs, read_manifest
from training.export.sharing import ALIGNMENT, SMALLEST_SHARED, WEIGHTS_FILE, share, share_weights
from training.export.to_onnx import write_graph
from training.export.trained import TrainedRun
from training.export.trimming import trim

Exported = tuple[Path, tuple[GraphSignature, ...]]
"""A folder and the signatures of the graphs in it."""

LATENT, PIXELS = 32, 3 * 8 * 8


@pytest.fixture(scope="module")
def alone(vae_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The tiny VAE's graphs as they are exported, each with its own weights."""
    folder = tmp_path_factory.mktemp("alone")
    return folder, tuple(write_graph(each, folder) for each in TrainedRun.load(vae_run).graphs())


@pytest.fixture
def shared(alone: Exported, tmp_path: Path) -> Path:
    """A copy of them that a test makes share."""
    folder = tmp_path / "shared"
    shutil.copytree(alone[0], folder)
    return folder


def test_tensors_are_the_exported_ones(alone: Exported, shared: Path) -> None:
    share_weights(alone[1], shared)
    for signature in alone[1]:
        wanted, found = (onnx.load(folder / signature.file).graph for folder in (alone[0], shared))
        assert [(t.name, t.data_type, tuple(t.dims)) for t in found.initializer] == [
            (t.name, t.data_type, tuple(t.dims)) for t in wanted.initializer
        ]
        for one, other in zip(found.initializer, wanted.initializer, strict=True):
            np.testing.assert_array_equal(numpy_helper.to_array(one), numpy_helper.to_array(other))
        assert list(found.node) == list(wanted.node)


def test_every_large_weight_stands_once_and_nothing_else_in_the_file(alone: Exported, shared: Path) -> None:
    repeated = Counter(large_weights(alone[0]))
    graphs, weights = share_weights(alone[1], shared)
    assert weights is not None
    assert max(repeated.values()) > 1
    assert sorted(large_weights(shared)) == sorted(repeated)
    assert dead_bytes(shared) == 0
    assert file_sha256(shared / weights.file) == weights.sha256
    assert [graph.sha256 for graph in graphs] == [file_sha256(shared / graph.file) for graph in graphs]


def test_answers_are_bit_for_bit_those_of_the_exported_graphs_and_of_onnxruntime_alone(
    alone: Exported, shared: Path
) -> None:
    graphs, listed = share_weights(alone[1], shared)
    weights = read_weights(shared, listed)
    for before, after in zip(alone[1], graphs, strict=True):
        feeds = example_feeds(before, 7)
        wanted = GraphSession.open(alone[0] / before.file, before).run(feeds)
        found = GraphSession.open(shared / after.file, after, weights=weights).run(feeds)
        bare = onnxruntime.InferenceSession(shared / after.file, providers=["CPUExecutionProvider"])
        for name, array in wanted.items():
            assert found[name].tobytes() == array.tobytes(), (before.role, name)
            assert bare.run([name], feeds)[0].tobytes() == array.tobytes(), (before.role, name)


def test_sharing_again_changes_no_byte(alone: Exported, shared: Path) -> None:
    once = share_weights(alone[1], shared)
    files = {path.name: path.read_bytes() for path in shared.iterdir()}
    assert share_weights(once[0], shared) == once
    assert {path.name: path.read_bytes() for path in shared.iterdir()} == files


def test_graphs_that_repeat_nothing_keep_their_bytes(alone: Exported, shared: Path) -> None:
    single = alone[1][:1]
    (shared / WEIGHTS_FILE).write_bytes(b"of an earlier export")
    assert share_weights(single, shared) == (single, None)
    assert not (shared / WEIGHTS_FILE).exists()


# A version of three graphs: A, 24 kB, stands in all of them, B, 8 kB, in the generator and in its gradient.


@pytest.fixture
def version(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    first, second = generator.standard_normal((LATENT, PIXELS)), generator.standard_normal((LATENT, 64))
    shapes = {"latent": ["batch", LATENT], "cotangent": ["batch", 3, 8, 8], "image": ["batch", 3, 8, 8]}
    constants = {"A": first, "B": second, "flat": np.array([-1, PIXELS]), "shape": np.array([-1, 3, 8, 8])}
    constants["axes"] = np.array([1])
    node = helper.make_node
    decode = [
        node("MatMul", ["latent", "B"], ["b"]),
        node("ReduceSum", ["b", "axes"], ["shift"]),
        node("MatMul", ["latent", "A"], ["a"]),
        node("Add", ["a", "shift"], ["pixels"]),
    ]
    adjoint = [
        *decode[:2],
        node("Reshape", ["cotangent", "flat"], ["row"]),
        node("Gemm", ["row", "A"], ["pulled"], transB=1),
        node("Add", ["pulled", "shift"], ["gradient"]),
    ]
    judge = [
        node("Reshape", ["image", "flat"], ["row"]),
        node("Gemm", ["row", "A"], ["seen"], transB=1),
        node("ReduceSum", ["seen", "axes"], ["logit"], keepdims=0),
    ]
    without_b = {name: value for name, value in constants.items() if name != "B"}
    graphs: dict[GraphRole, onnx.ModelProto] = {
        "latent_to_image": graph(
            [*decode, node("Reshape", ["pixels", "shape"], ["image"])],
            {"latent": shapes["latent"]},
            {"image": shapes["image"]},
            constants,
        ),
        "latent_gradient": graph(
            adjoint,
            {name: shapes[name] for name in ("latent", "cotangent")},
            {"gradient": shapes["latent"]},
            constants,
        ),
        "image_to_realism": graph(judge, {"image": shapes["image"]}, {"logit": ["batch"]}, without_b),
    }
    latent = LatentSpace(size=LATENT, prior="standard_normal")
    return write_version(tmp_path / "models", TinyModel("three", graphs, GAN_FIELDS | {"latent": latent}))


def test_share_makes_the_next_version_whose_files_alone_differ(
    version: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["share", str(version), "--models-dir", str(version.parents[1])]) == 0
    folder = version.parent / "2"
    assert capsys.readouterr().out.startswith(f"{folder}: 0.0")
    old, new = read_manifest(version), read_manifest(folder)
    differing = {name for name in Manifest.model_fields if getattr(old, name) != getattr(new, name)}
    assert differing == {"version", "graphs", "weights"}
    assert [graph.model_copy(update={"sha256": ""}) for graph in new.graphs] == [
        graph.model_copy(update={"sha256": ""}) for graph in old.graphs
    ]
    assert (folder / WEIGHTS_FILE).stat().st_size == 4 * LATENT * (PIXELS + 64)
    assert "stand once, in `weights.bin`" in (folder / "card.md").read_text(encoding="utf-8")
    latents = np.random.default_rng(0).standard_normal((64, LATENT)).astype(np.float32)
    assert means(folder, latents).tobytes() == means(version, latents).tobytes()


@pytest.mark.parametrize("left_out", [None, "latent_gradient"])
def test_trimming_leaves_only_what_is_still_shared(version: Path, left_out: GraphRole | None) -> None:
    models = version.parents[1]
    folder = share(version, models)
    if left_out:
        folder = trim(folder, models, without=[left_out])
    manifest = read_manifest(folder)
    assert manifest.weights is not None
    assert (folder / WEIGHTS_FILE).stat().st_size == 4 * LATENT * (PIXELS if left_out else PIXELS + 64)
    assert dead_bytes(folder) == 0
    assert all(file_sha256(folder / graph.file) == graph.sha256 for graph in manifest.graphs)
    latents = np.random.default_rng(0).standard_normal((9, LATENT)).astype(np.float32)
    assert means(folder, latents).tobytes() == means(version, latents).tobytes()


def test_version_that_repeats_nothing_is_refused(
    version: Path, models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = share(version, version.parents[1])
    for folder in (shared, models_dir / "tiny_gan" / "1"):
        assert main(["share", str(folder), "--models-dir", str(tmp_path / "next")]) == 1
        assert capsys.readouterr().err == f"{folder} would not be smaller: it repeats no weights\n"
        assert list((tmp_path / "next").iterdir()) == []


@pytest.mark.parametrize("damaged", ["latent_to_image.onnx", WEIGHTS_FILE])
@pytest.mark.parametrize("command", ["share", "trim"])
def test_damaged_version_gets_no_new_checksums(version: Path, damaged: str, command: str) -> None:
    models = version.parents[1]
    folder = share(version, models)
    with (folder / damaged).open("r+b") as file:
        file.seek(-70, 2)
        byte = file.read(1)
        file.seek(-70, 2)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(ConfigError, match=f"must not be served: {damaged}"):
        share(folder, models) if command == "share" else trim(folder, models, without=["latent_gradient"])
    assert sorted(path.name for path in version.parent.iterdir()) == ["1", "2"]


def test_graph_that_would_answer_otherwise_is_not_published(
    version: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def misplaced(tensor: onnx.TensorProto, location: str, *, offset: int, length: int) -> None:
        set_external_data(tensor, location, offset=0, length=length)  # so that B reads what A begins with

    monkeypatch.setattr("training.export.sharing.set_external_data", misplaced)
    assert main(["share", str(version), "--models-dir", str(version.parents[1])]) == 1
    assert "image is off its golden output by up to " in capsys.readouterr().err
    assert [path.name for path in version.parents[1].rglob("*") if path.is_dir()] == ["three", "1"]


def test_shared_file_of_another_name_is_replaced(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = version.parents[1]
    with monkeypatch.context() as other:
        other.setattr("training.export.sharing.WEIGHTS_FILE", "other.bin")
        folder = share(version, models)
    assert (folder / "other.bin").exists()
    folder = trim(folder, models, without=["latent_gradient"])
    assert [path.name for path in folder.glob("*.bin")] == [WEIGHTS_FILE]
    assert PublishedGraphs.open(folder, read_manifest(folder)).sessions.keys() == {
        "latent_to_image",
        "image_to_realism",
    }


def means(folder: Path, latents: NDArray[np.float32]) -> NDArray[np.float32]:
    return PublishedGraphs.open(folder, read_manifest(folder)).means(latents)


def large_weights(folder: Path) -> Iterator[bytes]:
    """The bytes of every weight of some size that stands in a graph's file or in the shared one."""
    ranges = set()
    for path in folder.glob("*.onnx"):
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            if tensor.data_location == TensorProto.EXTERNAL:
                ranges.add(where(tensor))
            elif len(tensor.raw_data) >= SMALLEST_SHARED:
                yield tensor.raw_data
    for start, length in ranges:
        yield (folder / WEIGHTS_FILE).read_bytes()[start : start + length]


def where(tensor: onnx.TensorProto) -> tuple[int, int]:
    stated = {entry.key: entry.value for entry in tensor.external_data}
    assert stated["location"] == WEIGHTS_FILE
    return int(stated["offset"]), int(stated["length"])


def dead_bytes(folder: Path) -> int:
    """Bytes of the shared file that no graph reads, but for what aligns the next weight; weights do not overlap."""
    ranges = {
        where(tensor)
        for path in folder.glob("*.onnx")
        for tensor in onnx.load(path, load_external_data=False).graph.initializer
        if tensor.data_location == TensorProto.EXTERNAL
    }
    end = 0
    for start, length in sorted(ranges):
        assert start == -(-end // ALIGNMENT) * ALIGNMENT
        end = start + length
    return (folder / WEIGHTS_FILE).stat().st_size - -(-end // ALIGNMENT) * ALIGNMENT
