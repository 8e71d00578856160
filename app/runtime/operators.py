"""What a graph file asks for, read from its bytes before the runtime sees them.

A graph is served only when it is a plain one: every node a standard operator that computes tensors from tensors, the
same at every run, and every weight inside the file or at a stated place in the one file of weights that the graphs of
its version share. Then loading it reads nothing else, and running it draws no noise, loops over nothing and calls no
code but the runtime's own.

The file is a protocol buffer (onnx.proto, `ModelProto`); only what is needed of its wire format is read here:
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator

from app.errors import ModelRejected, shorten
from app.runtime.weights import WEIGHTS_SHA256, Weights

OPERATORS = frozenset(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization BitShift
    BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu CenterCropPad Clip Col2Im Concat Constant
    ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh CumSum DFT DepthToSpace DequantizeLinear Det Div
    DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu
    Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid
    HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual
    Log LogSoftmax LpNormalization LpPool MatMul MatMulInteger Max MaxPool Mean MeanVarianceNormalization Min Mish Mod
    Mul Neg Not OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear RMSNormalization RNN Range Reciprocal
    ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
    Relu Reshape Resize ReverseSequence RotaryEmbedding Round ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign
    Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu
    Tile TopK Transpose Trilu Unsqueeze Where Xor
    """.split()  # noqa: SIM905  a hundred and thirty quoted names read worse
)
"""The standard operators that are served. Missing on purpose: random ones, control flow, sequences and optionals, text,
encoded pictures, losses, and those whose output has as many rows as its values decide."""

STANDARD_DOMAINS = frozenset({"", "ai.onnx"})

# Field numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_METADATA, _MODEL_FUNCTIONS = 7, 14, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE_INITIALIZER = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSORS = frozenset({5, 10})
_ATTRIBUTE_OTHERS = frozenset({6, 11, 22, 23})
"""Graphs and sparse tensors."""
_TENSOR_EXTERNAL_DATA = 13
_ENTRY_KEY, _ENTRY_VALUE = 1, 2

_PLACE = ["length", "location", "offset"]
_MOST_DIGITS = 18
"""Of an offset or a length: any such number fits into 64 bits."""


def check_operators(data: bytes, name: str, weights: Weights | None = None) -> None:
    """Refuse the graph file `name` unless it is plain; `weights` are those that its version's graphs share.

    Raises ModelRejected, naming what is refused.
    """
    try:
        _check_model(memoryview(data), weights)
    except _Refused as refusal:
        raise ModelRejected(f"{name}: {refusal}") from None
    except (IndexError, UnicodeDecodeError):
        raise ModelRejected(f"{name} is not an ONNX file") from None


class _Refused(Exception):
    """Why a graph is not plain."""


def _check_model(model: memoryview, weights: Weights | None) -> None:
    made_with, shares = [], False
    for number, value in _fields(model):
        if number == _MODEL_FUNCTIONS:
            raise _Refused("it defines functions of its own; inline them")
        if number == _MODEL_GRAPH:
            shares |= _check_graph(value, weights)
        if number == _MODEL_METADATA:
            key, text = _entry(value)
            made_with += [text] * (key == WEIGHTS_SHA256)
    if shares and weights and made_with != [weights.sha256]:
        raise _Refused(f"it was made with other weights than those of {weights.file}")


def _check_graph(graph: memoryview, weights: Weights | None) -> bool:
    """Whether it reads shared weights."""
    shares = False
    for number, value in _fields(graph):
        if number == _GRAPH_NODE:
            _check_node(value)
        elif number == _GRAPH_INITIALIZER:
            shares |= _check_weight(value, weights)
        elif number == _GRAPH_SPARSE_INITIALIZER:
            raise _Refused("it has sparse weights")
    return shares


def _check_node(node: memoryview) -> None:
    for number, value in _fields(node):
        if number == _NODE_OPERATOR and (operator := str(value, "utf-8")) not in OPERATORS:
            raise _Refused(f"the operator {shorten(operator)} is not served")
        if number == _NODE_DOMAIN and (domain := str(value, "utf-8")) not in STANDARD_DOMAINS:
            raise _Refused(f"operators of the domain {shorten(domain)} are not served")
        if number == _NODE_ATTRIBUTE:
            _check_attribute(value)


def _check_attribute(attribute: memoryview) -> None:
    for number, value in _fields(attribute):
        if number in _ATTRIBUTE_TENSORS:
            if _external(value):
                raise _Refused("it keeps constants in other files")
        elif number in _ATTRIBUTE_OTHERS:
            raise _Refused("it has a graph or a sparse tensor inside a node")


def _check_weight(tensor: memoryview, weights: Weights | None) -> bool:
    """Whether it lies in the shared weights. In another file it would be read from wherever its path leads."""
    if not (place := _external(tensor)):
        return False
    if weights is None:
        raise _Refused("it keeps weights in other files, and its version lists none")
    if sorted(key for key, _ in place) != _PLACE:
        raise _Refused(f"it states places of weights by other keys than {', '.join(_PLACE)}, once each")
    stated = dict(place)
    if stated["location"] != weights.file:
        raise _Refused(f"it keeps weights in other files than {weights.file}")
    offset, length = _number(stated["offset"]), _number(stated["length"])
    if length == 0 or offset + length > len(weights.data):
        raise _Refused(f"it reads weights from where {weights.file} has none")
    return True


def _external(tensor: memoryview) -> list[tuple[str, str]]:
    """Where it says that its numbers are, by key; nothing where it holds them itself."""
    return [_entry(value) for number, value in _fields(tensor) if number == _TENSOR_EXTERNAL_DATA]


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise _Refused("it states places of weights that are no numbers from 0 on")
    return int(text)


def _entry(message: memoryview) -> tuple[str, str]:
    """Key and value of a `StringStringEntryProto`: of a field that stands twice, the last counts."""
    fields = {number: str(value, "utf-8") for number, value in _fields(message)}
    return fields.get(_ENTRY_KEY, ""), fields.get(_ENTRY_VALUE, "")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The number and bytes of every length-delimited field; numbers are passed over.

    Raises IndexError where the message ends too early, and for wire types that ONNX has no use for.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        match tag & 7:
            case 0:
                _, at = _varint(message, at)
            case 1:
                at += 8
            case 2:
                length, start = _varint(message, at)
                at = start + length
                yield tag >> 3, message[start:at]
            case 5:
                at += 4
            case _:
                raise IndexError
    if at > len(message):
        raise IndexError


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number at `at`, and where the next field begins."""
    number = shift = 0
    while True:
        byte = message[at]
        at, number, shift = at + 1, number | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            return number, at
        if shift >= 70:
            raise IndexError
