"""Build small recurrent matting networks with random weights, and their ONNX files."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from .nets import bilinear, conv, seeded

SIDE = 64


class ConvGru(nn.Module):
    """A gated recurrent unit whose products are convolutions. Its first state may be zeros of any shape."""

    def __init__(self, width: int):
        super().__init__()
        self.gates = nn.Sequential(nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.Sigmoid())
        self.candidate = nn.Sequential(nn.Conv2d(2 * width, width, 3, padding=1), nn.Tanh())

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        state = state.expand_as(x)
        reset, update = self.gates(torch.cat([x, state], 1)).chunk(2, dim=1)
        return (1 - update) * state + update * self.candidate(torch.cat([x, reset * state], 1))


class Rvm(nn.Module):
    """RobustVideoMatting's shape: an encoder to 1/16, a decoder with a ConvGRU at each of its four scales."""

    def __init__(self, width: int = 4):
        super().__init__()
        widths = (3, width, width, 2 * width, 2 * width)
        self.encoder = nn.ModuleList(conv(a, b, 2) for a, b in pairwise(widths))
        self.grus = nn.ModuleList(ConvGru(width // 2) for _ in range(4))
        self.mixes = nn.ModuleList(
            conv(b + (width if step else 0), width) for step, b in enumerate(reversed(widths[1:]))
        )
        self.out = nn.Conv2d(width + 3, 4, 3, padding=1)

    def forward(self, src: Tensor, r1: Tensor, r2: Tensor, r3: Tensor, r4: Tensor) -> tuple[Tensor, ...]:
        maps = [src]
        for stage in self.encoder:
            maps.append(stage(maps[-1]))
        x, states = None, []
        for step, (skip, state) in enumerate(zip(reversed(maps[1:]), (r4, r3, r2, r1), strict=True)):
            joined = skip if x is None else torch.cat([skip, bilinear(x, skip.shape[-2:])], 1)
            passing, kept = self.mixes[step](joined).chunk(2, dim=1)
            states.append(self.grus[step](kept, state))
            x = torch.cat([passing, states[-1]], 1)
        assert x is not None
        last = self.out(torch.cat([bilinear(x, src.shape[-2:]), src], 1))
        return (last[:, :3] + src).clamp(0, 1), last[:, 3:].sigmoid(), *reversed(states)


class Memory(nn.Module):
    """A mask from a picture and two states of one shape, of which each has another meaning."""

    def __init__(self, width: int = 4):
        super().__init__()
        self.encode, self.first, self.second = conv(3, width, 2), ConvGru(width), ConvGru(width)
        self.head = nn.Conv2d(2 * width, 1, 3, padding=1)

    def forward(self, image: Tensor, h0: Tensor, h1: Tensor) -> tuple[Tensor, ...]:
        x = self.encode(image)
        h0 = self.first(x, h0)
        h1 = self.second(h0, h1)
        return bilinear(self.head(torch.cat([h0, h1], 1)), image.shape[-2:]).sigmoid(), h0, h1


class OptionalRvm(Rvm):
    """The same as its authors' module takes it: states are None with the first frame, and a number has a default."""

    def forward(self, src, r1=None, r2=None, r3=None, r4=None, downsample_ratio: float = 1.0):  # type: ignore[no-untyped-def,override]
        start = torch.zeros(1, 1, 1, 1)
        return list(super().forward(src, *(start if each is None else each for each in (r1, r2, r3, r4))))


class NestedMemory(Memory):
    """The same with its states in nested tuples, and its results in a dictionary."""

    def forward(self, image, state=None):  # type: ignore[no-untyped-def,override]
        start = torch.zeros(1, 1, 1, 1)
        first, (second,) = (start, (start,)) if state is None else state
        matte, h0, h1 = super().forward(image, first, second)
        return {"matte": matte, "state": (h0, (h1,))}


def rvm() -> nn.Module:
    return decided(seeded(Rvm), "out", 20.0, 8.5)


def memory() -> nn.Module:
    return decided(seeded(Memory), "head", 80.0, 7.0)


def wide() -> nn.Module:
    """Wide enough for every recipe to round its weights."""
    return decided(seeded(lambda: Memory(32)), "head", 20.0, 3.0)


def decided(net: nn.Module, head: str, gain: float, shift: float) -> nn.Module:
    """A network whose states stay for some frames, and whose mask depends on them and is rarely undecided."""
    for module in net.modules():
        if isinstance(module, ConvGru):
            module.gates[0].bias.data -= 1
    layer = getattr(net, head)
    layer.weight.data *= gain
    layer.bias.data = layer.bias.data * gain + shift
    return net


def written(
    net: nn.Module, inputs: Sequence[str], outputs: Sequence[str], path: Path, *, open_sides: bool = True
) -> Path:
    """The ONNX file of a network whose first input is the picture and whose others are states.

    Args:
        open_sides: declare every side but the picture's channels as open, as RobustVideoMatting's files do.
    """
    picture = torch.zeros(1, 3, SIDE, SIDE)
    states = [torch.zeros(1, 1, 1, 1) for _ in inputs[1:]]
    if not open_sides:
        with torch.no_grad():
            states = list(net(picture, *states)[-len(states) :])
    axes = {inputs[0]: {0: "batch", 2: "height", 3: "width"}}
    axes |= {name: {0: "batch", 1: f"{name}_c", 2: f"{name}_h", 3: f"{name}_w"} for name in inputs[1:]}
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (picture, *states), buffer, dynamo=False, opset_version=17, input_names=list(inputs),
            output_names=list(outputs), dynamic_axes=axes if open_sides else None,
        )  # fmt: skip
    onnx.save(onnx.load_from_string(buffer.getvalue()), path)
    return path


RVM_INPUTS, RVM_OUTPUTS = ("src", "r1i", "r2i", "r3i", "r4i"), ("fgr", "pha", "r1o", "r2o", "r3o", "r4o")


def rvm_file(path: Path, *, open_sides: bool = True) -> Path:
    return written(rvm(), RVM_INPUTS, RVM_OUTPUTS, path, open_sides=open_sides)


def memory_file(path: Path, names: Sequence[str] = ("h0", "h1"), results: Sequence[str] = ("h0_out", "h1_out")) -> Path:
    return written(memory(), ("image", *names), ("matte", *results), path, open_sides=False)


def wide_file(path: Path) -> Path:
    return written(wide(), ("image", "h0", "h1"), ("matte", "h0_out", "h1_out"), path, open_sides=False)


def shrinking_rvm_file(path: Path) -> Path:
    """The same with RobustVideoMatting's fifth input: the ratio by which its graph shrinks the picture first."""
    model = onnx.load(rvm_file(path))
    graph = model.graph
    for node in graph.node:
        node.input[:] = ["small" if name == "src" else name for name in node.input]
        node.output[:] = [f"{name}_small" if name in ("fgr", "pha") else name for name in node.output]
    ones = onnx.numpy_helper.from_array(np.ones(2, np.float32), "ones")
    bounds = [onnx.numpy_helper.from_array(np.array([number], np.int64), f"at_{number}") for number in (0, 2, 4)]
    graph.initializer.extend([ones, *bounds])
    node = onnx.helper.make_node
    before = [
        node("Concat", ["ones", "downsample_ratio", "downsample_ratio"], ["scales"], axis=0),
        node("Resize", ["src", "", "scales"], ["small"], mode="linear", coordinate_transformation_mode="half_pixel"),
        node("Shape", ["src"], ["whole"]),
        node("Slice", ["whole", "at_2", "at_4"], ["sides"]),
    ]
    after = []
    for name in ("fgr", "pha"):
        after += [
            node("Shape", [f"{name}_small"], [f"{name}_shape"]),
            node("Slice", [f"{name}_shape", "at_0", "at_2"], [f"{name}_channels"]),
            node("Concat", [f"{name}_channels", "sides"], [f"{name}_size"], axis=0),
            node("Resize", [f"{name}_small", "", "", f"{name}_size"], [name], mode="linear"),
        ]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.input.append(onnx.helper.make_tensor_value_info("downsample_ratio", onnx.TensorProto.FLOAT, [1]))
    del graph.value_info[:]
    opened = [
        onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, [None] * 4) for value in graph.output
    ]
    del graph.output[:]
    graph.output.extend(opened)
    onnx.save(model, path)
    return path
