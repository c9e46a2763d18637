"""Build small packages with coremltools for the tests that read and run them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from portrait_export.mil import coreml


def tools() -> Any:
    """coremltools, quiet."""
    return coreml.coremltools()


def save(model: Any, path: Path) -> Path:
    """Write an MLModel to disk."""
    model.save(str(path))
    return path


def from_builder(
    path: Path,
    inputs: Mapping[str, tuple[tuple[int, ...], type]],
    build: Callable[..., Any],
    *,
    target: str = "iOS17",
    precision: str = "FLOAT32",
    **options: Any,
) -> Path:
    """A package of a MIL program.

    Args:
        inputs: name → (shape, numpy type).
        build: takes the inputs as keyword arguments, returns the outputs.
    """
    ct, mb, types = tools(), coreml.builder(), coreml.types()
    specs = [
        mb.TensorSpec(shape=shape, dtype=types.numpy_type_to_builtin_type(dtype)) for shape, dtype in inputs.values()
    ]
    names = ", ".join(inputs)
    scope: dict[str, Any] = {"build": build}
    exec(f"def program({names}):\n    return build({', '.join(f'{n}={n}' for n in inputs)})", scope)  # named inputs
    with coreml.quiet():
        program = mb.program(input_specs=specs, opset_version=getattr(ct.target, target))(scope["program"])
        model = ct.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=getattr(ct.target, target),
            compute_precision=getattr(ct.precision, precision),
            skip_model_load=True,
            **options,
        )
    return save(model, path)


def accumulator(path: Path) -> Path:
    """A package with a state: total = memory + x; memory = total; both of two float16 numbers."""
    ct, mb, types = tools(), coreml.builder(), coreml.types()
    specs = [mb.TensorSpec((2,), dtype=types.fp16), mb.StateTensorSpec((2,), dtype=types.fp16)]

    @mb.program(input_specs=specs, opset_version=ct.target.iOS18)
    def program(x, memory):  # type: ignore[no-untyped-def]
        total = mb.add(x=mb.read_state(input=memory), y=x)
        return mb.identity(x=mb.coreml_update_state(state=memory, value=total), name="total")

    with coreml.quiet():
        model = ct.convert(program, minimum_deployment_target=ct.target.iOS18, skip_model_load=True)
    return save(model, path)


def from_torch(
    path: Path,
    module: Any,
    examples: Iterable[Any],
    *,
    names: Iterable[str] | None = None,
    target: str = "iOS17",
    precision: str = "FLOAT16",
    inputs: list[Any] | None = None,
    **options: Any,
) -> Path:
    """A package of a traced torch module, by coremltools' own torch frontend."""
    import torch

    ct, examples = tools(), list(examples)
    names = list(names or (f"x{i}" for i in range(len(examples))))
    if inputs is None:
        inputs = [
            ct.TensorType(name=name, shape=tuple(x.shape), dtype=np.dtype(str(x.dtype).removeprefix("torch.")).type)
            for name, x in zip(names, examples, strict=True)
        ]
    with coreml.quiet(), torch.no_grad():
        traced = torch.jit.trace(module.eval(), tuple(examples), check_trace=False)
        model = ct.convert(
            traced,
            inputs=inputs,
            convert_to="mlprogram",
            minimum_deployment_target=getattr(ct.target, target),
            compute_precision=getattr(ct.precision, precision),
            skip_model_load=True,
            **options,
        )
    return save(model, path)


def edited(package: Path, copy: Path, change: Callable[[Any], None]) -> Path:
    """A copy of a package whose specification was changed."""
    shutil.copytree(package, copy)
    file = copy / "Data" / "com.apple.CoreML" / "model.mlmodel"
    message = coreml.spec_message(file.read_bytes())
    change(message)
    file.write_bytes(message.SerializeToString())
    return copy


def block_of(message: Any, function: str = "main") -> Any:
    """The block of a specification's function, to be changed."""
    found = message.mlProgram.functions[function]
    return found.block_specializations[found.opset]
