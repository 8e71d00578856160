from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from app.errors import ModelRejected, Overloaded
from app.manifest import GraphSignature, TensorSpec
from app.runtime.batcher import Batcher
from app.runtime.session import RUNTIME, GraphSession, Interruption, describe_graph, file_sha256
from tests.app.tiny_models import (
    LinearGaussian,
    convolutional_generator,
    graph,
    graph_signature,
    linear_decoder,
    linear_encoder,
)


@pytest.fixture
def decoder(tmp_path: Path) -> Path:
    path = tmp_path / "latent_to_image.onnx"
    onnx.save(linear_decoder(LinearGaussian()), path)
    return path


def signature_of(path: Path) -> GraphSignature:
    return graph_signature(path.parent, "latent_to_image")


def test_graph_is_described_with_its_dimension_names(decoder: Path) -> None:
    inputs, outputs = describe_graph(decoder)
    assert inputs == (TensorSpec(name="latent", dtype="float32", shape=("batch", 2)),)
    assert outputs == (TensorSpec(name="image", dtype="float32", shape=("batch", 1, 8, 8)),)
    assert RUNTIME.startswith("onnxruntime 1.")


def test_session_computes_what_the_graph_says(decoder: Path) -> None:
    latents = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)
    images = GraphSession.open(decoder, signature_of(decoder)).run({"latent": latents})["image"]
    np.testing.assert_allclose(images.reshape(5, 64), latents @ LinearGaussian().weights.T + 0.5, atol=1e-6)


def test_runtime_leaves_no_device_id_at_home_and_reports_to_nobody(tmp_path: Path) -> None:
    suppressing = {"CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS"}
    environment = {name: value for name, value in os.environ.items() if name not in suppressing}
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", "import app.runtime.session"], env=environment | home, check=True)
    assert list(tmp_path.iterdir()) == []


def test_closed_session_does_not_run(decoder: Path) -> None:
    session = GraphSession.open(decoder, signature_of(decoder))
    session.close()
    with pytest.raises(RuntimeError, match="closed"):
        session.run({"latent": np.zeros((1, 2), np.float32)})


def test_late_graph_is_opened_once_at_its_first_run_and_never_after_its_end(decoder: Path) -> None:
    opened: list[GraphSession] = []

    def open_session() -> GraphSession:
        opened.append(GraphSession.open(decoder, signature_of(decoder)))
        return opened[-1]

    late, unused = (GraphSession.later(decoder, signature_of(decoder), open_session) for _ in range(2))
    assert not opened
    latents = np.ones((3, 2), np.float32)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: late.run({"latent": latents})["image"], range(8)))
    assert len(opened) == 1
    assert all(np.array_equal(answer, opened[0].run({"latent": latents})["image"]) for answer in answers)
    for session in (late, unused):
        session.close()
        with pytest.raises(RuntimeError, match="is closed"):
            session.run({"latent": latents})
    assert len(opened) == 1


def test_late_graph_of_another_checksum_is_rejected_at_once(decoder: Path) -> None:
    other = signature_of(decoder).model_copy(update={"sha256": "0" * 64})
    with pytest.raises(ModelRejected, match="sha256"):
        GraphSession.later(decoder, other, lambda: GraphSession.open(decoder, other))


def test_other_checksum_is_rejected(decoder: Path) -> None:
    signature = signature_of(decoder).model_copy(update={"sha256": "0" * 64})
    with pytest.raises(ModelRejected, match="sha256"):
        GraphSession.open(decoder, signature)


@pytest.mark.parametrize(
    "promised",
    [
        (TensorSpec(name="z", dtype="float32", shape=("batch", 2)),),
        (TensorSpec(name="latent", dtype="int64", shape=("batch", 2)),),
        (TensorSpec(name="latent", dtype="float32", shape=("batch", 3)),),
        (TensorSpec(name="latent", dtype="float32", shape=(1, 2)),),
        (TensorSpec(name="latent", dtype="float32", shape=("batch", "size")),),
        (),
    ],
)
def test_graph_that_differs_from_its_signature_is_rejected(decoder: Path, promised: tuple[TensorSpec, ...]) -> None:
    signature = signature_of(decoder).model_copy(update={"inputs": promised})
    with pytest.raises(ModelRejected, match="the manifest says"):
        GraphSession.open(decoder, signature)


def test_names_of_varying_dimensions_are_free(decoder: Path) -> None:
    renamed = (TensorSpec(name="latent", dtype="float32", shape=("N", 2)),)
    session = GraphSession.open(decoder, signature_of(decoder).model_copy(update={"inputs": renamed}))
    assert session.signature.inputs == renamed


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"\0" * 999])
def test_damaged_file_is_rejected_without_naming_its_folder(decoder: Path, damage: Callable[[bytes], bytes]) -> None:
    signature = signature_of(decoder)
    decoder.write_bytes(damage(decoder.read_bytes()))
    with pytest.raises(ModelRejected) as refusal:
        GraphSession.open(decoder, signature.model_copy(update={"sha256": file_sha256(decoder)}))
    assert str(decoder.parent) not in refusal.value.detail
    assert "latent_to_image.onnx" in refusal.value.detail


def test_missing_file_is_rejected(decoder: Path) -> None:
    signature = signature_of(decoder)
    decoder.unlink()
    with pytest.raises(ModelRejected, match=r"latent_to_image\.onnx cannot be read"):
        GraphSession.open(decoder, signature)


def test_weights_in_another_file_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "latent_to_image.onnx"
    onnx.save(linear_decoder(LinearGaussian()), path, save_as_external_data=True, size_threshold=0, location="weights")
    with pytest.raises(ModelRejected):
        describe_graph(path)


def test_tensors_of_other_types_are_rejected(tmp_path: Path) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)]
    info = helper.make_tensor_value_info
    body = helper.make_graph(nodes, "t", [info("x", TensorProto.DOUBLE, ["n"])], [info("y", TensorProto.FLOAT, ["n"])])
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "g.onnx")
    with pytest.raises(ModelRejected, match=r"tensor\(double\)"):
        describe_graph(tmp_path / "g.onnx")


# Sample i of a seed is the same bytes at any count: rows of these graphs must not see their batch, to the last bit.


def deep_decoder() -> onnx.ModelProto:
    """A decoder of real size: two linear layers, two transposed convolutions, a convolution."""
    generator = np.random.default_rng(0)

    def weights(*shape: int) -> NDArray[np.float64]:
        return generator.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))

    constants = {
        "W1": weights(33, 257),
        "W2": weights(257, 32 * 49),
        "shape": np.array([-1, 32, 7, 7]),
        "K1": weights(32, 16, 4, 4),
        "K2": weights(16, 8, 4, 4),
        "K3": weights(3, 8, 3, 3),
    }
    up = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("MatMul", ["latent", "W1"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "W2"], ["c"]),
        helper.make_node("Reshape", ["c", "shape"], ["d"]),
        helper.make_node("ConvTranspose", ["d", "K1"], ["e"], **up),
        helper.make_node("Relu", ["e"], ["f"]),
        helper.make_node("ConvTranspose", ["f", "K2"], ["g"], **up),
        helper.make_node("Conv", ["g", "K3"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["h"], ["image"]),
    ]
    return graph(nodes, {"latent": ["batch", 33]}, {"image": ["batch", 3, 28, 28]}, constants)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "proto", [deep_decoder(), convolutional_generator(0), linear_decoder(LinearGaussian())], ids=["deep", "gan", "vae"]
)
def test_rows_do_not_depend_on_their_batch(tmp_path: Path, proto: onnx.ModelProto, threads: int) -> None:
    path = tmp_path / "latent_to_image.onnx"
    onnx.save(proto, path)
    session = GraphSession.open(path, signature_of(path), threads=threads)
    size = session.signature.inputs[0].shape[1]
    latents = np.random.default_rng(0).standard_normal((40, size)).astype(np.float32)
    together = session.run({"latent": latents})["image"]
    for start, count in [(0, 1), (39, 1), (7, 2), (5, 3), (1, 16), (3, 33)]:
        alone = session.run({"latent": latents[start : start + count]})["image"]
        np.testing.assert_array_equal(alone, together[start : start + count])


def test_encoder_and_its_optional_outputs_are_described(tmp_path: Path) -> None:
    onnx.save(linear_encoder(LinearGaussian()), tmp_path / "image_to_latent.onnx")
    _, outputs = describe_graph(tmp_path / "image_to_latent.onnx")
    assert [spec.name for spec in outputs] == ["latent", "mean", "scale"]
    assert numpy_helper.to_array(linear_decoder(LinearGaussian()).graph.initializer[1])[0] == 0.5


# A graph whose memory grows with its input: latent → image = latent + the sum of 2^max(latent) zeros.


def growing_graph() -> onnx.ModelProto:
    constants = {"two": np.array([2.0]), "nothing": np.zeros(1), "flat": np.array([-1])}
    nodes = [
        helper.make_node("ReduceMax", ["latent"], ["largest"], keepdims=1),
        helper.make_node("Reshape", ["largest", "flat"], ["exponent"]),
        helper.make_node("Pow", ["two", "exponent"], ["length"]),
        helper.make_node("Cast", ["length"], ["size"], to=TensorProto.INT64),
        helper.make_node("Expand", ["nothing", "size"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["zero"], keepdims=1),
        helper.make_node("Add", ["latent", "zero"], ["image"]),
    ]
    return graph(nodes, {"latent": ["batch", 1]}, {"image": ["batch", 1]}, constants)


@pytest.fixture
def growing(tmp_path: Path) -> GraphSession:
    path = tmp_path / "latent_to_image.onnx"
    onnx.save(growing_graph(), path)
    return GraphSession.open(path, signature_of(path))


def test_run_that_needs_more_memory_than_there_is_says_so_and_the_next_works(growing: GraphSession) -> None:
    large = {"latent": np.full((1, 1), 55, np.float32)}  # 2⁵⁵ numbers: more than any address space holds
    with pytest.raises(MemoryError, match=r"latent_to_image\.onnx"):
        growing.run(large)
    small = {"latent": np.full((1, 1), 3, np.float32)}
    assert growing.run(small)["image"] == 3


def test_request_that_needs_more_memory_than_there_is_is_refused_alone(growing: GraphSession) -> None:
    async def scene() -> None:
        queue = Batcher(growing.run, max_batch_rows=8, queue_rows=32, name="test")
        exponents = [3, 55, 4]
        answers = await asyncio.gather(
            *(queue.submit({"latent": np.full((1, 1), exponent, np.float32)}) for exponent in exponents),
            return_exceptions=True,
        )
        assert isinstance(answers[1], Overloaded)
        assert answers[1].retry_after_s
        for index in (0, 2):
            assert not isinstance(answers[index], BaseException)
        assert (await queue.submit({"latent": np.full((1, 1), 5, np.float32)})).outputs["image"] == 5
        await queue.close()

    asyncio.run(scene())


def test_other_faults_of_a_run_are_not_about_memory(growing: GraphSession) -> None:
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        growing.run({"latent": np.zeros((1, 2), np.float32)})


def test_interrupted_run_ends_and_no_other_begins_with_it(decoder: Path) -> None:
    session, interruption = GraphSession.open(decoder, signature_of(decoder)), Interruption()
    feeds = {"latent": np.zeros((1, 2), np.float32)}
    session.run(feeds, interruption)
    interruption.request()
    assert interruption.requested
    with pytest.raises(Exception, match="terminate"):
        session.run(feeds, interruption)
    session.run(feeds)


def test_interruption_ends_a_run_that_is_going_on(tmp_path: Path) -> None:
    path = tmp_path / "latent_to_image.onnx"
    onnx.save(deep_decoder(), path)
    session, interruption = GraphSession.open(path, signature_of(path)), Interruption()
    feeds = {"latent": np.zeros((4096, 33), np.float32)}  # a second or more, all in all
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(session.run, feeds, interruption)
        while not run.running():
            pass
        interruption.request()
        assert "terminate" in str(run.exception(timeout=30))
