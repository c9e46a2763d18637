"""The values of ONNX outputs in; a program's outputs as an app gets them out: arrays, the mask picture, its classes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..artifacts import ArrayFeature, Feature, ImageFeature
from ..errors import LoweringError
from .context import (
    MAX_RANK,
    MIL_TYPES,
    Emitter,
    TensorSequence,
    Unsupported,
    View,
    check_shape,
    identifier,
    narrow,
    shape_of,
)
from .refusals import CODE

if TYPE_CHECKING:
    from ..preprocessing import PortraitSpec


class Outputs:
    """Finishes one output after the other.

    Args:
        emitter: of the program.
        spec: what becomes of the output `mask`; None keeps every output a plain tensor.
        finish: make the picture and the classes that the spec asks for; else outputs stay as they are.
        named: ids of the Vars that carry an ONNX name already.
        source: what to call the model in messages.
    """

    def __init__(
        self, emitter: Emitter, spec: PortraitSpec | None, *, finish: bool, named: Collection[int], source: str
    ):
        self.emitter = emitter
        self.spec = spec
        self.finish = finish
        self.named = named
        self.source = source

    def all(self, names: Sequence[str], scope: Mapping[str, Any]) -> list[tuple[Any, Feature]]:
        """The Var and feature of each output, and of the classes where they are asked for."""
        finished = [self._one(name, scope[name]) for name in names]
        if self.spec is not None and self.finish and self.spec.output == "multiarray":
            finished.append(self._class_map(finished[0][0], self.spec))
        return finished

    def _one(self, name: str, value: Any) -> tuple[Any, Feature]:
        """An ONNX output as the app gets it."""
        if self.spec is not None and self.finish and name == "mask" and self.spec.output == "mask":
            return self._mask_image(value)
        var, emit, clean = value, self.emitter.emit, identifier(name)
        if isinstance(var, TensorSequence):
            raise LoweringError(f"The output {name!r} of {self.source} is a sequence.", code=CODE)
        if isinstance(var, View):
            raise LoweringError(
                f"The output {name!r} of {self.source} has rank {len(var.shape)}; Core ML stops at {MAX_RANK}.",
                code=CODE,
            )
        if isinstance(var, np.ndarray | np.generic):
            try:
                constant = narrow(np.asarray(var))
                check_shape(constant.shape)
            except Unsupported as error:
                raise LoweringError(f"The output {name!r} of {self.source} is {error}.", code=CODE) from error
            var = emit("const", f"{clean}_const", val=constant.astype(np.int32) if constant.dtype == bool else constant)
        if self.emitter.np_type(var) == np.bool_:
            var = emit("cast", f"{clean}_int32", x=var, dtype="int32")
        if len(var.shape) == 0:
            var = emit("expand_dims", f"{clean}_vector", x=var, axes=[0])
        if var.name != clean:
            if id(var) in self.named or var.op is None or var.op.op_type == "const":
                var = emit("identity", f"{clean}_identity", x=var)
            self._take_output_name(var, clean)
        dtype = MIL_TYPES.get(self.emitter.np_type(var).name)
        if dtype is None:
            raise LoweringError(f"The output {name!r} of {self.source} is {self.emitter.np_type(var).name}.", code=CODE)
        text = "P(person) of each pixel, 0..1." if self.spec is not None and name == "mask" else ""
        if self.spec is not None and name == "logits":
            text = "The person's logits at the network's own resolution."
        return var, ArrayFeature(name=clean, shape=shape_of(var), dtype=dtype, description=text)

    def _take_output_name(self, var: Any, clean: str) -> None:
        """Name an output as the app knows it, whoever carried that name before."""
        self.emitter.taken.discard(clean)
        self.emitter.rename(var, clean)

    def _mask_image(self, probability: Any) -> tuple[Any, Feature]:
        """P(person) as an 8-bit picture: round(255 · P)."""
        assert self.spec is not None
        shape = shape_of(probability)
        if shape != (1, 1, self.spec.height, self.spec.width):
            raise LoweringError(
                f"The output 'mask' is {shape}; an image output needs (1, 1, {self.spec.height}, {self.spec.width})."
            )
        self.emitter.rename(probability, "probability")
        scaled = self.emitter.emit("mul", "mask_scaled", x=probability, y=np.float32(255))
        var = self.emitter.emit("round", "mask_round", x=scaled)
        self._take_output_name(var, "mask")
        return var, ImageFeature(
            name="mask",
            height=self.spec.height,
            width=self.spec.width,
            color="grayscale",
            description="The person: 255 where certain, 0 where there is none.",
        )

    def _class_map(self, probability: Any, spec: PortraitSpec) -> tuple[Any, Feature]:
        """The class of each pixel, (H, W), as Apple's DeepLabV3 gives it: what Xcode's segmentation preview draws."""
        emit = self.emitter.emit
        person = emit("greater_equal", "classes_person", x=probability, y=np.float32(spec.threshold))
        numbers = emit("cast", "classes_int32", x=person, dtype="int32")
        var = emit("squeeze", "classes_map", x=numbers, axes=[0, 1])
        self._take_output_name(var, "classes")
        text = f"1 where P(person) is at least {spec.threshold:g}, else 0."
        return var, ArrayFeature(name="classes", shape=shape_of(var), dtype="int32", description=text)
