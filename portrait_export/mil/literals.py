"""Give the small constants of a program short names: they took a third of a specification.

A literal is a parameter such as strides, axes or a mode. coremltools calls it by its operation and parameter,
`decode_head_fuse_Conv_output_0_conv_strides_0`, three times over, and nobody looks it up by that name. Values that
operations compute and weights keep theirs, which `blame` and `audit` report and Xcode and Netron show; without them
another 95 kB of segformer_b0 would be saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

SHORT = "c"  # before the number of a literal


def shorten_literals(spec: Any) -> None:
    """Rename the literals of every function to `c0`, `c1`, `c2`, … in the order of the operations.

    Args:
        spec: the Core ML `Model` protobuf, which is changed.
    """
    for name in sorted(spec.mlProgram.functions):
        function = spec.mlProgram.functions[name]
        for opset in sorted(function.block_specializations):
            _shorten(function.block_specializations[opset], {value.name for value in function.inputs})


def _shorten(block: Any, inputs: set[str]) -> None:
    blocks = list(_walk(block))
    operations = [operation for each in blocks for operation in each.operations]
    returned = {name for each in blocks for name in each.outputs}
    literals = [op.outputs[0].name for op in operations if _is_literal(op) and op.outputs[0].name not in returned]
    taken = inputs | {value.name for op in operations for value in op.outputs}
    taken |= {value.name for each in blocks for value in each.inputs}
    taken -= set(literals)
    free = (name for number in count() if (name := f"{SHORT}{number}") not in taken)
    short = dict(zip(literals, free, strict=False))
    for operation in operations:
        _rename(operation, short)


def _walk(block: Any) -> Iterator[Any]:
    yield block
    for operation in block.operations:
        for inner in operation.blocks:
            yield from _walk(inner)


def _is_literal(operation: Any) -> bool:
    return (
        operation.type == "const"
        and len(operation.outputs) == 1
        and operation.attributes["val"].WhichOneof("value") == "immediateValue"
    )


def _rename(operation: Any, short: dict[str, str]) -> None:
    for argument in operation.inputs.values():
        for binding in argument.arguments:
            if binding.WhichOneof("binding") == "name" and binding.name in short:
                binding.name = short[binding.name]
    for value in operation.outputs:
        if value.name in short:
            value.name = short[value.name]
            operation.attributes["name"].immediateValue.tensor.strings.values[:] = [value.name]
