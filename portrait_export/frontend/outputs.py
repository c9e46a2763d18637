"""Turn the values of ONNX outputs into the outputs of a program."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..artifacts import ArrayFeature, Feature, ImageFeature
from ..errors import LoweringError
from .emitter import Emitter
from .names import identifier
from .refusals import CODE, Unsupported
from .values import (
    MAX_RANK,
    MaybeValue,
    OverRank,
    TensorSequence,
    Unknown,
    Var,
    check_shape,
    feature_types,
    narrow,
    shape_of,
)

if TYPE_CHECKING:
    from ..preprocessing import PortraitSpec


class Outputs:
    """Converts the ONNX outputs of one program.

    Args:
        emitter: of the program.
        spec: how to convert the output `mask`; None keeps every output a plain tensor.
        finish: whether to make the image and the classes that the spec asks for; else outputs stay as they are.
        named: ids of the Vars that already have an ONNX name.
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

    def all(self, names: Sequence[str], scope: Mapping[str, MaybeValue]) -> list[tuple[Var, Feature]]:
        """The Var and feature of each output, and of the class map if the spec asks for it."""
        finished = [self._one(name, scope[name]) for name in names]
        if self.spec is not None and self.finish and self.spec.output == "multiarray":
            finished.append(self._class_map(finished[0][0], self.spec))
        return finished

    def _one(self, name: str, value: MaybeValue) -> tuple[Var, Feature]:
        """An ONNX output as the app reads it."""
        if self.spec is not None and self.finish and name == "mask" and self.spec.output == "mask":
            return self._mask_image(self.tensor(name, value))
        clean = identifier(name)
        var = self._supported(self.tensor(name, value), clean)
        if var.name != clean:
            if id(var) in self.named or var.op is None or var.op.op_type == "const":
                var = self.emitter.emit("identity", f"{clean}_identity", x=var)
            self._take_output_name(var, clean)
        dtype = feature_types(self.emitter.target).get(self.emitter.np_type(var).name)
        if dtype is None:
            raise LoweringError(f"The output {name!r} of {self.source} is {self.emitter.np_type(var).name}.", code=CODE)
        text = "P(person) of each pixel, 0..1." if self.spec is not None and name == "mask" else ""
        if self.spec is not None and name == "logits":
            text = "The person's logits at the network's own resolution."
        return var, ArrayFeature(name=clean, shape=shape_of(var), dtype=dtype, description=text)

    def tensor(self, name: str, value: MaybeValue) -> Var:
        """An output's value as a Var. Raises LoweringError for a value that Core ML cannot return."""
        assert value is not None
        assert not isinstance(value, Unknown)
        if isinstance(value, TensorSequence):
            raise LoweringError(f"The output {name!r} of {self.source} is a sequence.", code=CODE)
        if isinstance(value, OverRank):
            raise LoweringError(
                f"The output {name!r} of {self.source} has rank {len(value.shape)};"
                f" Core ML supports at most {MAX_RANK}.",
                code=CODE,
            )
        if not isinstance(value, np.ndarray | np.generic):
            return value
        try:
            constant = narrow(np.asarray(value))
            check_shape(constant.shape)
        except Unsupported as error:
            raise LoweringError(f"The output {name!r} of {self.source} is {error}.", code=CODE) from error
        plain = constant.astype(np.int32) if constant.dtype == bool else constant
        return self.emitter.emit("const", f"{identifier(name)}_const", val=plain)

    def _supported(self, var: Var, clean: str) -> Var:
        """Convert bool to int32 and a scalar to a vector of one element, as Core ML has neither as an output."""
        if self.emitter.np_type(var) == np.bool_:
            var = self.emitter.emit("cast", f"{clean}_int32", x=var, dtype="int32")
        if len(var.shape) == 0:
            var = self.emitter.emit("expand_dims", f"{clean}_vector", x=var, axes=[0])
        return var

    def _take_output_name(self, var: Var, clean: str) -> None:
        """Give an output its name, even if another value has it."""
        self.emitter.names.taken.discard(clean)
        self.emitter.rename(var, clean)

    def _mask_image(self, probability: Var) -> tuple[Var, Feature]:
        """P(person) as an 8-bit image: round(255 · P)."""
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

    def _class_map(self, probability: Var, spec: PortraitSpec) -> tuple[Var, Feature]:
        """The class of each pixel, (H, W), as in Apple's DeepLabV3, so that Xcode's segmentation preview shows it."""
        emit = self.emitter.emit
        person = emit("greater_equal", "classes_person", x=probability, y=np.float32(spec.threshold))
        numbers = emit("cast", "classes_int32", x=person, dtype="int32")
        var = emit("squeeze", "classes_map", x=numbers, axes=[0, 1])
        self._take_output_name(var, "classes")
        text = f"1 where P(person) is at least {spec.threshold:g}, else 0."
        return var, ArrayFeature(name="classes", shape=shape_of(var), dtype="int32", description=text)
