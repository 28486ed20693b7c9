"""An ONNX graph under construction whose initializers are the parameters of a torch model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript import GraphBuilder, OpBuilder
from torch import nn

Value = ir.Value
Step = Callable[..., tuple[Value, Value]]

BOOL, FLOAT, INT32, INT64 = ir.DataType.BOOL, ir.DataType.FLOAT, ir.DataType.INT32, ir.DataType.INT64


class Graph:
    """The graph of a model in float32. Its nodes are added through `op`, as in `graph.op.Add(a, 1.0)`.

    Args:
        model: the model; each of its parameters becomes an initializer of the same name when it is first used.
        opset: the version of the ONNX operators, 18 or later: the reductions take their axes as an input.
    """

    def __init__(self, model: nn.Module, opset: int):
        graph = ir.Graph([], [], nodes=[], opset_imports={"": opset}, name=type(model).__name__)
        self._builder = GraphBuilder(graph)
        # A matrix that two modules share is listed once, so it also becomes a single initializer.
        self._names = {id(parameter): name for name, parameter in model.named_parameters()}
        self._initializers: dict[str, Value] = {}

    @property
    def op(self) -> OpBuilder:
        return self._builder.op

    @contextlib.contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Put `name`, as in the state dict, in front of the names of the nodes that are added inside."""
        self._builder.push_module(name)
        try:
            yield
        finally:
            self._builder.pop_module()

    def input(self, name: str, dtype: ir.DataType, *shape: str | int) -> Value:
        return self._builder.input(name, dtype, shape)

    @property
    def inputs(self) -> list[Value]:
        return list(self._builder.graph.inputs)

    def output(self, name: str, value: Value, *shape: str | int) -> None:
        value.shape = ir.Shape(shape)
        self._builder.add_output(value, name)

    def scan(self, step: Step, state: Value, *values: Value) -> Value:
        """Run `step` over the first axis of the `values` (T, ...), T at least 1.

        Args:
            step: from the builder, the state and each of the values at a position: the state after it, and what to
                return for it.
            state: what the first step starts from.

        Returns:
            What the steps returned, stacked: (T, ...).
        """
        names = ["before", *(f"value{number}" for number in range(len(values)))]
        given = [ir.val(name, dtype=like.dtype) for name, like in zip(names, (state, *values), strict=True)]
        body = self._builder.subgraph(step, given, [ir.Value(name=name) for name in ("after", "returned")], name="step")
        stacked = self.op.Scan(state, *values, body=body, num_scan_inputs=len(values), _outputs=2)[1]
        stacked.dtype = body.outputs[1].dtype
        return stacked

    def constant(self, name: str, values: torch.Tensor) -> Value:
        """An initializer with `values`, floating-point numbers in float32."""
        if name not in self._initializers:
            values = values.detach().cpu()
            array = values.float().numpy() if values.is_floating_point() else values.numpy()
            tensor = ir.tensor(np.ascontiguousarray(array), name=name)
            self._initializers[name] = self._builder.initializer(tensor, name, qualify=False)
        return self._initializers[name]

    def name_of(self, parameter: torch.Tensor) -> str:
        """The name of `parameter` in the state dict."""
        return self._names[id(parameter)]

    def weight(self, parameter: torch.Tensor) -> Value:
        """The initializer of `parameter`."""
        return self.constant(self.name_of(parameter), parameter)

    def linear(self, rows: Value, module: nn.Linear) -> Value:
        """`module` on `rows` (N, W). The operator transposes the weight itself, so that the head of a language model
        can share the embedding matrix."""
        inputs = [rows, self.weight(module.weight)]
        if module.bias is not None:
            inputs.append(self.weight(module.bias))
        return self.op.Gemm(*inputs, transB=1)

    def finish(self) -> onnx.ModelProto:
        """The model, checked, without nodes and optional outputs that nothing reads."""
        opset = self._builder.graph.opset_imports[""]
        version = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])
        model = ir.Model(self._builder.graph, ir_version=version, producer_name="finetune-pipeline")
        RemoveUnusedNodesPass()(model)
        proto = ir.to_proto(model)
        # The shapes of values follow from those of inputs and weights, and the quantization of ONNX Runtime before 1.24
        # transposes weights without correcting theirs.
        del proto.graph.value_info[:]
        onnx.checker.check_model(proto, full_check=True)
        return proto
