"""Graphs that share weights: the same answers, and nothing is read but what the manifest names."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from app.errors import ModelRejected
from app.manifest import GraphSignature, WeightsFile
from app.runtime.operators import check_operators
from app.runtime.plan import Planner
from app.runtime.repository import ModelRepository
from app.runtime.session import GraphSession
from app.runtime.tuning import ByHand
from app.runtime.version import open_version, read_manifest
from app.runtime.weights import Weights, read_weights
from tests.app.tiny_models import LinearGaussian, graph_signature, linear_decoder, tiny_vae, write_version
from tests.app.tiny_weights import WEIGHTS, move_weights, name_weights, place, write_shared

LATENTS = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)
Change = Callable[[onnx.ModelProto], None]


@pytest.fixture
def signature(tmp_path: Path) -> GraphSignature:
    """Of the decoder as one file."""
    onnx.save(linear_decoder(LinearGaussian()), tmp_path / "latent_to_image.onnx")
    return graph_signature(tmp_path, "latent_to_image")


def opened(
    folder: Path, signature: GraphSignature, proto: onnx.ModelProto, content: bytes | None
) -> NDArray[np.float32]:
    """What `proto` answers, as the file that the manifest names, beside weights of this content."""
    data = proto.SerializeToString()
    (folder / signature.file).write_bytes(data)
    signature = signature.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
    weights = None if content is None else Weights(WEIGHTS, hashlib.sha256(content).hexdigest(), content)
    return GraphSession.open(folder / signature.file, signature, weights=weights).run({"latent": LATENTS})["image"]


def shared_decoder() -> tuple[onnx.ModelProto, bytes]:
    proto = linear_decoder(LinearGaussian())
    content = move_weights(proto)
    name_weights(proto, content)
    return proto, content


def test_answers_are_those_of_a_graph_that_holds_its_weights(tmp_path: Path, signature: GraphSignature) -> None:
    alone = opened(tmp_path, signature, linear_decoder(LinearGaussian()), None)
    proto, content = shared_decoder()
    assert not any(tensor.raw_data for tensor in proto.graph.initializer if tensor.data_type == TensorProto.FLOAT)
    assert opened(tmp_path, signature, proto, content).tobytes() == alone.tobytes()


def test_onnxruntime_alone_opens_the_graph_from_where_it_lies(tmp_path: Path, signature: GraphSignature) -> None:
    proto, content = shared_decoder()
    images = opened(tmp_path, signature, proto, content)
    (tmp_path / WEIGHTS).write_bytes(content)
    session = onnxruntime.InferenceSession(tmp_path / signature.file, providers=["CPUExecutionProvider"])
    assert session.run(["image"], {"latent": LATENTS})[0].tobytes() == images.tobytes()


def test_open_graph_needs_the_weights_no_more(tmp_path: Path, signature: GraphSignature) -> None:
    proto, content = shared_decoder()
    images = opened(tmp_path, signature, proto, content)
    buffer = bytearray(content)
    data = (tmp_path / signature.file).read_bytes()
    found = signature.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})
    weights = Weights(WEIGHTS, hashlib.sha256(content).hexdigest(), buffer)  # type: ignore[arg-type]
    session = GraphSession.open(tmp_path / signature.file, found, weights=weights)
    buffer[:] = b"\xff" * len(buffer)
    assert session.run({"latent": LATENTS})["image"].tobytes() == images.tobytes()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists what is mapped")
def test_no_file_is_mapped_that_could_be_cut_under_an_open_graph(tmp_path: Path) -> None:
    folder = write_shared(tmp_path, tiny_vae())
    version = open_version(folder, read_manifest(folder), planner())
    assert version.sessions["latent_to_image"].run({"latent": LATENTS})
    assert str(folder) not in Path("/proc/self/maps").read_text()


def test_graph_that_shares_nothing_opens_beside_weights(tmp_path: Path, signature: GraphSignature) -> None:
    proto = linear_decoder(LinearGaussian())
    assert opened(tmp_path, signature, proto, b"of others").shape == (5, 1, 8, 8)


def test_file_in_the_working_directory_is_not_read(
    tmp_path: Path, signature: GraphSignature, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    proto, content = shared_decoder()
    (tmp_path / WEIGHTS).write_bytes(b"\xff" * len(content))
    assert np.isfinite(opened(tmp_path, signature, proto, content)).all()


SIZE = 4 * 2 * 64  # bytes of the first weight
PLACES: dict[str, dict[str, object]] = {
    "in the folder above": {"location": "../secret", "offset": 0, "length": SIZE},
    "at an absolute path": {"location": "/etc/secret", "offset": 0, "length": SIZE},
    "in another file": {"location": "secret", "offset": 0, "length": SIZE},
    "by a longer path": {"location": f"./{WEIGHTS}", "offset": 0, "length": SIZE},
    "in the process's memory": {"location": "*/_ORT_MEM_ADDR_/*", "offset": 4096, "length": SIZE},
    "nowhere": {"location": "", "offset": 0, "length": SIZE},
    "behind a null": {"location": f"{WEIGHTS}\0secret", "offset": 0, "length": SIZE},
    "beyond the end": {"location": WEIGHTS, "offset": 10**6, "length": SIZE},
    "across the end": {"location": WEIGHTS, "offset": SIZE, "length": SIZE},
    "before the beginning": {"location": WEIGHTS, "offset": -SIZE, "length": SIZE},
    "where offsets overflow": {"location": WEIGHTS, "offset": 2**64 - SIZE, "length": SIZE},
    "in more than there is": {"location": WEIGHTS, "offset": 0, "length": 2**62},
    "in fewer bytes than it has": {"location": WEIGHTS, "offset": 0, "length": 4},
    "in more bytes than it has": {"location": WEIGHTS, "offset": 0, "length": SIZE + 4},
    "in no bytes": {"location": WEIGHTS, "offset": 0, "length": 0},
    "of no stated length": {"location": WEIGHTS, "offset": 0},
    "of no stated offset": {"location": WEIGHTS, "length": SIZE},
    "in digits of another script": {"location": WEIGHTS, "offset": "٠", "length": SIZE},
    "in words": {"location": WEIGHTS, "offset": "0x0", "length": SIZE},
    "by an unknown key": {"location": WEIGHTS, "offset": 0, "length": SIZE, "basepath": "/secret"},
    "without saying": {},
}


@pytest.mark.parametrize("stated", PLACES.values(), ids=PLACES)
def test_weights_elsewhere_are_refused(tmp_path: Path, signature: GraphSignature, stated: dict[str, object]) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "secret").write_bytes(bytes(SIZE))
    (tmp_path / "model" / "secret").write_bytes(bytes(SIZE))
    proto, content = shared_decoder()
    place(proto.graph.initializer[0], **stated)
    with pytest.raises(ModelRejected) as refusal:
        opened(tmp_path / "model", signature, proto, content)
    assert not any(word in refusal.value.detail for word in ("secret", "/", "ORT_MEM", "\0", "٠"))
    assert refusal.value.detail.startswith("latent_to_image.onnx")


def stated_twice(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].external_data.add(key="location", value="secret")


def constant() -> onnx.TensorProto:
    """The first weight, where it lies in the file."""
    value = onnx.TensorProto(dims=[2, 64], data_type=TensorProto.FLOAT)
    place(value, location=WEIGHTS, offset=0, length=SIZE)
    return value


def in_a_constant(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(helper.make_node("Constant", [], ["c"], value=constant()))


def in_a_list_of_constants(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].attribute.append(helper.make_attribute("values", [constant()]))


def in_sparse_weights(proto: onnx.ModelProto) -> None:
    place(proto.graph.sparse_initializer.add().values, location=WEIGHTS, offset=0, length=SIZE)


def in_a_graph_inside_a_node(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].attribute.append(helper.make_attribute("body", proto.graph))


def in_a_function(proto: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["c"], value=constant())
    proto.functions.append(helper.make_function("", "MatMul", ["a"], ["b"], [node], [helper.make_opsetid("", 18)]))


def made_with_others(proto: onnx.ModelProto) -> None:
    proto.metadata_props[0].value = "0" * 64


def made_with_nothing(proto: onnx.ModelProto) -> None:
    del proto.metadata_props[:]


def made_with_two(proto: onnx.ModelProto) -> None:
    proto.metadata_props.add(key="weights_sha256", value="0" * 64)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (stated_twice, "by other keys than length, location, offset, once each"),
        (in_a_constant, "constants in other files"),
        (in_a_list_of_constants, "constants in other files"),
        (in_sparse_weights, "sparse weights"),
        (in_a_graph_inside_a_node, "inside a node"),
        (in_a_function, "functions of its own"),
        (made_with_others, f"made with other weights than those of {WEIGHTS}"),
        (made_with_nothing, f"made with other weights than those of {WEIGHTS}"),
        (made_with_two, f"made with other weights than those of {WEIGHTS}"),
    ],
)
def test_weights_otherwise_are_refused(tmp_path: Path, signature: GraphSignature, change: Change, reason: str) -> None:
    proto, content = shared_decoder()
    change(proto)
    with pytest.raises(ModelRejected, match=reason):
        opened(tmp_path, signature, proto, content)


@given(st.data())
def test_graph_with_a_flipped_bit_raises_nothing_else(data: st.DataObject) -> None:
    proto, content = shared_decoder()
    spoilt = bytearray(proto.SerializeToString())
    spoilt[data.draw(st.integers(0, len(spoilt) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(ModelRejected):
        check_operators(bytes(spoilt), "g.onnx", Weights(WEIGHTS, hashlib.sha256(content).hexdigest(), content))


def test_graph_of_a_version_without_weights_may_not_read_any(tmp_path: Path, signature: GraphSignature) -> None:
    proto, content = shared_decoder()
    (tmp_path / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelRejected, match="weights in other files, and its version lists none"):
        opened(tmp_path, signature, proto, None)


@pytest.mark.parametrize(("damage", "reason"), [("flip", "its sha256 is not the manifest's"), ("remove", "cannot be")])
def test_file_that_is_not_the_listed_one_is_refused(tmp_path: Path, damage: str, reason: str) -> None:
    path = tmp_path / WEIGHTS
    path.write_bytes(b"as published")
    listed = WeightsFile(file=WEIGHTS, sha256=hashlib.sha256(b"as published").hexdigest())
    assert read_weights(tmp_path, listed) == Weights(WEIGHTS, listed.sha256, b"as published")
    flip(path) if damage == "flip" else path.unlink()
    with pytest.raises(ModelRejected, match=reason) as refusal:
        read_weights(tmp_path, listed)
    assert str(tmp_path) not in refusal.value.detail


def flip(path: Path) -> None:
    """One bit of one byte in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def planner() -> Planner:
    return Planner(ByHand(threads=1, lanes=1, max_batch_rows=16), cores=1, cache_dir=None)


def test_version_answers_as_one_that_shares_nothing_late_graphs_too(tmp_path: Path) -> None:
    folders = write_version(tmp_path / "alone", tiny_vae()), write_shared(tmp_path / "shared", tiny_vae())
    alone, shared = (open_version(folder, read_manifest(folder), planner()).sessions for folder in folders)
    assert alone.keys() == shared.keys()
    for role, feeds in {
        "latent_to_image": {"latent": LATENTS},
        "latent_gradient": {"latent": LATENTS, "cotangent": np.ones((5, 1, 8, 8), np.float32)},
    }.items():
        wanted, found = alone[role].run(feeds), shared[role].run(feeds)
        assert {name: array.tobytes() for name, array in found.items()} == {
            name: array.tobytes() for name, array in wanted.items()
        }


def test_late_graph_reads_the_weights_anew_and_checks_them(tmp_path: Path) -> None:
    folder = write_shared(tmp_path, tiny_vae())
    sessions = open_version(folder, read_manifest(folder), planner()).sessions
    flip(folder / WEIGHTS)
    assert sessions["latent_to_image"].run({"latent": LATENTS})["image"].shape == (5, 1, 8, 8)
    with pytest.raises(ModelRejected, match="its sha256 is not the manifest's"):
        sessions["latent_gradient"].run({"latent": LATENTS, "cotangent": np.ones((5, 1, 8, 8), np.float32)})


def test_weights_that_change_on_disk_are_refused_and_the_model_in_memory_serves_on(tmp_path: Path) -> None:
    folder = write_shared(tmp_path, tiny_vae())
    good = (folder / WEIGHTS).read_bytes()

    async def scene(repository: ModelRepository) -> None:
        served = repository.get("tiny_vae")
        flip(folder / WEIGHTS)
        await repository.refresh()
        assert repository.entries()[0].reason == f"version 1: {WEIGHTS}: its sha256 is not the manifest's"
        assert repository.get("tiny_vae") is served
        (folder / WEIGHTS).write_bytes(good)
        await repository.refresh()
        assert repository.entries()[0].reason is None
        assert repository.get("tiny_vae") is not served

    async def performance() -> None:
        repository = ModelRepository(tmp_path, planner=planner(), queue_rows=64, poll_interval_s=3600)
        await repository.open()
        await asyncio.wait_for(scene(repository), timeout=30)
        await repository.close()

    asyncio.run(performance())
