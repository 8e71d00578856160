from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import onnx.defs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from app.errors import ModelRejected
from app.runtime.operators import OPERATORS, check_operators
from app.runtime.session import describe_graph
from tests.app.tiny_models import LinearGaussian, graph, linear_decoder, tiny_gan, tiny_vae

STANDARD = {schema.name: schema for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
GRAPHS = [proto for model in (tiny_vae(), tiny_gan()) for proto in model.graphs.values()]


def decoder() -> onnx.ModelProto:
    return linear_decoder(LinearGaussian())


def refusal_of(proto: onnx.ModelProto) -> str:
    with pytest.raises(ModelRejected) as refusal:
        check_operators(proto.SerializeToString(), "g.onnx")
    return refusal.value.detail


def test_every_allowed_operator_is_a_standard_one_without_branches_or_noise() -> None:
    assert STANDARD.keys() >= OPERATORS
    for name in OPERATORS:
        kinds = {attribute.type for attribute in STANDARD[name].attributes.values()}
        assert not kinds & {onnx.defs.OpSchema.AttrType.GRAPH, onnx.defs.OpSchema.AttrType.GRAPHS}, name
        assert "seed" not in STANDARD[name].attributes, name


@pytest.mark.parametrize("proto", GRAPHS, ids=lambda proto: proto.graph.output[0].name)
def test_plain_graphs_are_let_through(proto: onnx.ModelProto) -> None:
    check_operators(proto.SerializeToString(), "g.onnx")


@pytest.mark.parametrize(
    "operator",
    ["If", "Loop", "Scan", "RandomNormalLike", "Bernoulli", "Dropout", "ImageDecoder", "SequenceMap", "Nope"],
)
def test_other_operators_are_refused_by_name(operator: str) -> None:
    proto = decoder()
    proto.graph.node[0].op_type = operator
    assert refusal_of(proto) == f"g.onnx: the operator {operator} is not served"


def test_custom_domains_are_refused() -> None:
    proto = decoder()
    proto.graph.node[1].domain = "com.evil"
    assert "com.evil" in refusal_of(proto)


def test_an_operator_named_twice_is_checked_twice() -> None:
    # Of a field that stands twice, the last counts; a reader that stops at the first would be fooled.
    node = helper.make_node("Relu", ["x"], ["y"]).SerializeToString()
    doubled = node + helper.make_node("Loop", [], []).SerializeToString()
    assert onnx.NodeProto.FromString(doubled).op_type == "Loop"
    body = b"\x0a" + bytes([len(doubled)]) + doubled
    with pytest.raises(ModelRejected, match="Loop"):
        check_operators(b"\x3a" + bytes([len(body)]) + body, "g.onnx")


def test_functions_of_their_own_are_refused() -> None:
    proto = decoder()
    opset = [helper.make_opsetid("", 18)]
    proto.functions.append(helper.make_function("", "MatMul", ["a"], ["b"], [], opset))
    assert "functions" in refusal_of(proto)


def test_graphs_inside_nodes_are_refused() -> None:
    proto = decoder()
    proto.graph.node[0].attribute.append(helper.make_attribute("body", proto.graph))
    assert "inside a node" in refusal_of(proto)


def external(tensor: onnx.TensorProto) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights")


def in_the_weights(proto: onnx.ModelProto) -> None:
    external(proto.graph.initializer[0])


def in_a_constant(proto: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["c"], value=onnx.TensorProto(dims=[1], data_type=TensorProto.FLOAT))
    external(node.attribute[0].t)
    proto.graph.node.append(node)


@pytest.mark.parametrize("place", [in_the_weights, in_a_constant])
def test_weights_in_other_files_are_refused(place: Callable[[onnx.ModelProto], None]) -> None:
    proto = decoder()
    place(proto)
    assert "other files" in refusal_of(proto)


def test_weights_in_the_working_directory_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The runtime itself would: it takes the working directory for the folder of a graph that has none.
    monkeypatch.chdir(tmp_path)
    proto = decoder()
    in_the_weights(proto)
    proto.graph.initializer[0].ClearField("raw_data")
    Path("weights").write_bytes(np.zeros(128, np.float32).tobytes())
    onnx.save(proto, "g.onnx")
    with pytest.raises(ModelRejected, match="other files"):
        describe_graph(Path("g.onnx"))


def test_sparse_weights_are_refused() -> None:
    proto = decoder()
    proto.graph.sparse_initializer.add()
    assert "sparse" in refusal_of(proto)


@given(st.binary(max_size=64))
def test_bytes_that_are_no_graph_raise_nothing_else(data: bytes) -> None:
    with suppress(ModelRejected):
        check_operators(data, "g.onnx")


@given(st.data())
def test_graphs_with_a_flipped_bit_raise_nothing_else(data: st.DataObject) -> None:
    spoilt = bytearray(SMALL)
    spoilt[data.draw(st.integers(0, len(spoilt) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(ModelRejected):
        check_operators(bytes(spoilt), "g.onnx")


@pytest.mark.parametrize("kept", [0.2, 0.4, 0.6, 0.8])
def test_truncated_graphs_are_refused(kept: float) -> None:
    with pytest.raises(ModelRejected, match="is not an ONNX file"):
        check_operators(SMALL[: int(kept * len(SMALL))], "g.onnx")


SMALL = graph(
    [helper.make_node("Relu", ["latent"], ["image"])], {"latent": ["batch", 2]}, {"image": ["batch", 2]}, {}
).SerializeToString()
