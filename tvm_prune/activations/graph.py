"""Parts of an ONNX graph as sessions of their own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

import onnx
import onnxruntime

from tvm_prune.model import Array


class Graph:
    """An ONNX model whose parts can be run, with other parameter values than its own.

    Args:
        model: an ONNX model whose nodes are in program order and whose tensors have known shapes,
            as :func:`tvm_prune.to_onnx.to_onnx` writes it.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.inputs = [value.name for value in model.graph.input]
        self.outputs = [value.name for value in model.graph.output]
        self.tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self.made_at = {
            name: index for index, node in enumerate(self.nodes) for name in node.output
        }
        self._types = {
            value.name: value
            for values in (model.graph.input, model.graph.value_info, model.graph.output)
            for value in values
        }

    @cached_property
    def _last_read(self) -> Mapping[str, int]:
        """The last node that reads each tensor; what the model returns is read at the end."""
        reads = {name: index for index, node in enumerate(self.nodes) for name in node.input}
        return {**reads, **dict.fromkeys(self.outputs, len(self.nodes))}

    @cached_property
    def _varying(self) -> set[str]:
        """Tensors that depend on the inputs."""
        found = set(self.inputs)
        for node in self.nodes:
            if not found.isdisjoint(node.input):
                found.update(name for name in node.output if name)
        return found

    def live(self, position: int) -> list[str]:
        """Tensors computed before a node, or given, that it or a later one reads."""
        made = [*self.inputs, *(n for node in self.nodes[:position] for n in node.output)]
        return [
            name
            for name in made
            if name in self._varying and self._last_read.get(name, -1) >= position
        ]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor whose type the model tells."""
        if name in self.tensors:
            return tuple(self.tensors[name].dims)
        return tuple(d.dim_value for d in self._types[name].type.tensor_type.shape.dim)

    def varies(self, name: str) -> bool:
        """Whether a tensor depends on the inputs."""
        return name in self._varying

    def knows(self, name: str) -> bool:
        """Whether the model tells the type of a tensor."""
        return name in self._types

    def session(
        self,
        wanted: Sequence[str],
        given: Collection[str],
        values: Mapping[str, Array],
        fed: Collection[str] = (),
    ) -> onnxruntime.InferenceSession:
        """A session that computes some tensors from others.

        Args:
            wanted: tensors to compute.
            given: tensors that are fed to it; what they depend on is not computed.
            values: parameters in place of the model's own.
            fed: parameters that are fed to it as well.
        """
        nodes, needed = self._cone(wanted, given)
        part = onnx.ModelProto()
        part.ir_version = self.model.ir_version
        part.opset_import.extend(self.model.opset_import)
        part.graph.name = "part"
        part.graph.node.extend(nodes)
        for name in sorted(needed):
            if name in fed:
                tensor = self.tensors[name]
                part.graph.input.append(
                    onnx.helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims))
                )
            elif name in self.tensors:
                part.graph.initializer.append(self._tensor(name, values))
        part.graph.input.extend(self._types[name] for name in given if name in needed)
        part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(
            part.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def _tensor(self, name: str, values: Mapping[str, Array]) -> onnx.TensorProto:
        if name not in values:
            return self.tensors[name]
        return onnx.numpy_helper.from_array(values[name], name)

    def _cone(
        self, wanted: Sequence[str], given: Collection[str]
    ) -> tuple[list[onnx.NodeProto], set[str]]:
        """Nodes that compute some tensors from others, and every tensor that they read."""
        open_names, chosen, needed = list(wanted), set(), set(wanted)
        while open_names:
            name = open_names.pop()
            index = self.made_at.get(name)
            if name in given or index is None or index in chosen:
                continue
            chosen.add(index)
            inputs = [read for read in self.nodes[index].input if read]
            needed.update(inputs)
            open_names += inputs
        return [self.nodes[index] for index in sorted(chosen)], needed
