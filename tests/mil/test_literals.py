"""Small constants get short names; everything that anyone looks up keeps its own, and the program computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from portrait_export.artifacts import ArrayFeature, Lowered
from portrait_export.mil import coreml
from portrait_export.mil.compile import compile_program
from portrait_export.mil.literals import shorten_literals
from portrait_export.mil.package import save_package
from portrait_export.mil.program import Metadata, Program, read_program
from portrait_export.runtime import load

X = np.array([0.5, -2.0, 3.0], np.float32)
NAME = "/model/decoder/a_name_as_long_as_those_of_ONNX"


def branching() -> Lowered:
    """Branches with constants of their own, a value that is already called c0, a weight, and a returned constant."""
    mb, ct = coreml.builder(), coreml.coremltools()

    @mb.program(input_specs=[mb.TensorSpec(shape=(3,))], opset_version=ct.target.iOS17)
    def program(x: Any) -> Any:
        total = mb.reduce_sum(x=x, axes=[0], keep_dims=False, name=f"{NAME}_total")
        chosen = mb.cond(
            pred=mb.greater(x=total, y=0.0, name=f"{NAME}_positive"),
            _true_fn=lambda: mb.add(x=x, y=1.0, name=f"{NAME}_more"),
            _false_fn=lambda: mb.sub(x=x, y=1.0, name=f"{NAME}_less"),
            name=f"{NAME}_cond",
        )
        taken = mb.mul(x=chosen, y=2.0, name="c0")
        weight = np.linspace(-1, 1, 48, dtype=np.float32).reshape(16, 3)
        return mb.linear(x=mb.expand_dims(x=taken, axes=[0], name=f"{NAME}_row"), weight=weight, name="y")

    return Lowered(program, (ArrayFeature("x", (3,)),), (ArrayFeature("y", (1, 16)),), "iOS17")


def saved(path: Path, monkeypatch: Any, *, long: bool = False) -> Path:
    lowered = branching()
    with monkeypatch.context() as context:
        if long:
            context.setattr("portrait_export.mil.compile.shorten_literals", lambda spec: None)
        compiled = compile_program(lowered, precision="fp32")
    save_package(compiled, lowered, path, metadata=Metadata("", "", "1", "", {}))
    return path


def names(program: Program, *, literals: bool) -> list[str]:
    operations = list(program.main.block.walk())
    weights = {owner.name for owner, _, value in program.constants() if value.offset is not None}
    return [
        op.outputs[0][0] for op in operations if (op.type == "const" and op.outputs[0][0] not in weights) == literals
    ]


def test_only_literals_are_renamed_and_no_name_is_used_twice(tmp_path, monkeypatch):
    short = read_program(saved(tmp_path / "short.mlpackage", monkeypatch))
    long = read_program(saved(tmp_path / "long.mlpackage", monkeypatch, long=True))
    assert names(short, literals=False) == names(long, literals=False)
    assert "c0" in names(short, literals=False)
    assert any(name.startswith("_model_decoder") for name in names(long, literals=True))
    found = names(short, literals=True)
    assert sorted(found, key=lambda name: int(name[1:])) == [f"c{number}" for number in range(1, len(found) + 1)]
    assert all(op.name == op.outputs[0][0] for op in short.main.block.walk())


def test_the_program_computes_the_same(tmp_path, monkeypatch):
    short = saved(tmp_path / "short.mlpackage", monkeypatch)
    long = saved(tmp_path / "long.mlpackage", monkeypatch, long=True)
    for sign in (1, -1):
        values = [load(package).predict({"x": sign * X})["y"] for package in (short, long)]
        assert np.array_equal(*values)


def test_renaming_again_changes_nothing(monkeypatch):
    spec = compile_program(branching(), precision="fp32").spec
    before = spec.SerializeToString(deterministic=True)
    shorten_literals(spec)
    assert spec.SerializeToString(deterministic=True) == before


def test_coremltools_reads_the_program(tmp_path, monkeypatch):
    ct = coreml.coremltools()
    from coremltools.converters.mil.frontend.milproto.load import load as load_mil

    model = ct.models.MLModel(str(saved(tmp_path / "short.mlpackage", monkeypatch)), skip_model_load=True)
    program = load_mil(model.get_spec(), model.get_spec().specificationVersion, model.weights_dir)
    assert [output.name for output in program.functions["main"].outputs] == ["y"]
