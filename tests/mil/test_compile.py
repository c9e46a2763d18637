"""Lowered programs become Core ML specifications with the requested features and types."""

from __future__ import annotations

import pytest

from portrait_export.errors import PackageError
from portrait_export.mil import coreml
from portrait_export.mil.compile import compile_program
from portrait_export.mil.package import save_package
from portrait_export.mil.program import Metadata, read_program

from .programs import two_convolutions

SPEC_VERSIONS = {"iOS16": 7, "iOS17": 8, "iOS18": 9, "iOS26": 10}


@pytest.mark.parametrize("target", SPEC_VERSIONS)
def test_the_target_decides_the_specification_version(target):
    assert compile_program(two_convolutions(target)).spec.specificationVersion == SPEC_VERSIONS[target]


def test_images_in_and_out():
    description = compile_program(two_convolutions()).spec.description
    assert [f.name for f in description.input] == ["image"]
    assert description.input[0].type.imageType.colorSpace == description.input[0].type.imageType.RGB
    assert description.output[0].type.imageType.colorSpace == description.output[0].type.imageType.GRAYSCALE


@pytest.mark.parametrize(("precision", "dtype"), [("fp16", "fp16"), ("fp32", "fp32")])
def test_precision_decides_the_type_of_the_arithmetic(precision, dtype, tmp_path):
    lowered = two_convolutions(output="logits")
    path = tmp_path / "a.mlpackage"
    save_package(compile_program(lowered, precision=precision), lowered, path, metadata=Metadata())
    convs = [op for op in read_program(path).main.block.operations if op.type == "conv"]
    assert {op.outputs[0][1].dtype for op in convs} == {dtype}


def test_an_array_output_keeps_its_name_and_float32():
    output = compile_program(two_convolutions(output="logits")).spec.description.output[0]
    assert (output.name, output.type.multiArrayType.dataType) == ("logits", output.type.multiArrayType.FLOAT32)


def test_an_unknown_precision_names_the_nearest():
    with pytest.raises(PackageError, match="did you mean `fp16`"):
        compile_program(two_convolutions(), precision="f16")


def test_the_weights_before_compression_are_kept_for_the_audit():
    originals = compile_program(two_convolutions()).originals
    assert sorted(value.shape for value in originals.values()) == [(1, 128, 3, 3), (128, 3, 3, 3)]


def test_a_program_that_the_passes_leave_inconsistent_is_refused():
    program = two_convolutions().program
    with pytest.raises(Exception, match="should be consumed by op"), coreml.validated_at_the_end(program):
        leave_a_reader_out(program)
        program.validate()  # as coremltools does after each pass
    with pytest.raises(Exception, match="should be consumed by op"):
        program.validate()


def test_an_error_of_a_pass_is_not_hidden_by_the_validation_after_it():
    program = two_convolutions().program
    with pytest.raises(ZeroDivisionError), coreml.validated_at_the_end(program):
        leave_a_reader_out(program)
        raise ZeroDivisionError


def leave_a_reader_out(program):
    """Let a value not know of an operation that reads it."""
    first = program.functions["main"].find_ops(op_type="conv")[0].outputs[0]
    first.remove_child_op(first.child_ops[0])
