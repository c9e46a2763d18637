"""Saved packages are read as coremltools wrote them; damaged or hostile ones are refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portrait_export.errors import PackageError
from portrait_export.mil.constants import Constant
from portrait_export.mil.program import Reference, read_program
from portrait_export.mil.types import ListType, StateType, TensorType
from tests.runtime.packages import block_of, edited, from_builder, from_torch, save, tools

SPECIFICATION = Path("Data/com.apple.CoreML/model.mlmodel")
WEIGHTS = Path("Data/com.apple.CoreML/weights/weight.bin")
KERNEL = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """image → conv → relu → 0-d sum; with metadata."""
    from portrait_export.mil import coreml

    ct, mb = tools(), coreml.builder()
    path = tmp_path_factory.mktemp("program") / "small.mlpackage"

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, 8, 6))], opset_version=ct.target.iOS17)
    def program(image):  # type: ignore[no-untyped-def]
        x = mb.conv(x=image, weight=KERNEL, name="first")
        return mb.relu(x=x, name="out"), mb.reduce_sum(x=x, keep_dims=False, name="total")

    with coreml.quiet():
        model = ct.convert(
            program,
            convert_to="mlprogram",
            inputs=[ct.ImageType(name="image", shape=(1, 3, 8, 6), color_layout="BGR")],
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
    model.author, model.license, model.version, model.short_description = "A. Author", "MIT", "1.2", "Small."
    model.user_defined_metadata["key"] = "value"
    model.input_description["image"] = "a photo"
    return save(model, path)


def test_features_and_metadata(package: Path) -> None:
    program = read_program(package)
    (image,) = program.inputs
    assert (image.name, image.kind, image.color, image.shape) == ("image", "image", "bgr", (8, 6))
    assert image.description == "a photo"
    out, total = program.outputs
    assert (out.name, out.kind, out.shape, out.dtype) == ("out", "array", (1, 4, 6, 4), "fp32")
    assert (total.name, total.shape) == ("total", ())
    meta = program.metadata
    assert (meta.author, meta.license, meta.version, meta.description) == ("A. Author", "MIT", "1.2", "Small.")
    assert meta.user_defined["key"] == "value"
    assert (program.spec_version, program.deployment_target) == (8, "iOS17")


def test_operations_in_order_with_their_inputs(package: Path) -> None:
    operations = [op for op in read_program(package).main.block.operations if op.type != "const"]
    assert [(op.type, op.name) for op in operations] == [("conv", "first"), ("relu", "out"), ("reduce_sum", "total")]
    conv = operations[0]
    assert conv.inputs["x"] == (Reference("image"),)
    assert conv.outputs == (("first", TensorType("fp32", (1, 4, 6, 4))),)


def test_constants_are_what_was_written(package: Path) -> None:
    constants = {owner.name: value for owner, key, value in read_program(package).constants() if key == "val"}
    weight = next(value for value in constants.values() if value.offset is not None)
    np.testing.assert_array_equal(weight.numpy(), KERNEL)
    assert weight.stored is not None
    assert (weight.stored.dtype, weight.size_bytes) == ("fp32", KERNEL.nbytes)
    assert constants["first_pad_type_0"].python() == "valid"
    assert constants["first_strides_0"].python() == [1, 1]


def test_a_bare_specification_file_is_read(package: Path) -> None:
    assert read_program(package / SPECIFICATION).main.block.operations


def test_flexible_shapes(tmp_path: Path) -> None:
    import torch

    ct = tools()
    sizes = ct.EnumeratedShapes([(1, 3, 8, 8), (1, 3, 16, 16)])
    ranged = ct.Shape((1, 2, ct.RangeDim(4, 64, default=8)))
    for name, shape in (("listed", sizes), ("ranged", ranged)):
        example = torch.zeros(1, 3, 8, 8) if name == "listed" else torch.zeros(1, 2, 8)
        from_torch(
            tmp_path / f"{name}.mlpackage",
            torch.nn.ReLU(),
            [example],
            inputs=[ct.TensorType(name="x", shape=shape)],
        )
    (listed,) = read_program(tmp_path / "listed.mlpackage").inputs
    assert set(listed.enumerated) == {(1, 3, 8, 8), (1, 3, 16, 16)}
    assert listed.allows((1, 3, 16, 16))
    assert not listed.allows((1, 3, 16, 8))
    (ranged_feature,) = read_program(tmp_path / "ranged.mlpackage").inputs
    assert ranged_feature.ranges == ((1, 1), (2, 2), (4, 64))
    assert [ranged_feature.allows((1, 2, n)) for n in (3, 4, 64, 65)] == [False, True, True, False]
    assert ranged_feature.allowed == "1 × 2 × 4..64"


def test_nested_blocks_and_lists(tmp_path: Path) -> None:
    from portrait_export.mil import coreml

    mb = coreml.builder()

    def build(x: Any) -> Any:
        total = mb.reduce_sum(x=x, keep_dims=False)
        chosen = mb.cond(
            pred=mb.greater(x=total, y=0.0), _true_fn=lambda: mb.add(x=x, y=1.0), _false_fn=lambda: mb.sub(x=x, y=1.0)
        )
        items = mb.list_write(ls=mb.make_list(init_length=2, elem_shape=(3,)), index=0, value=chosen)
        return mb.list_read(ls=items, index=0)

    program = read_program(from_builder(tmp_path / "nested.mlpackage", {"x": ((3,), np.float32)}, build))
    cond = next(op for op in program.main.block.operations if op.type == "cond")
    assert [[op.type for op in block.operations if op.type != "const"] for block in cond.blocks] == [["add"], ["sub"]]
    assert {"add", "sub"} <= {op.type for op in program.main.block.walk()}
    made = next(op for op in program.main.block.operations if op.type == "make_list")
    assert isinstance(made.outputs[0][1], ListType)


def test_states(tmp_path: Path) -> None:
    from portrait_export.mil import coreml

    ct, mb, types = tools(), coreml.builder(), coreml.types()
    specs = [mb.TensorSpec((2,), dtype=types.fp16), mb.StateTensorSpec((2,), dtype=types.fp16)]

    @mb.program(input_specs=specs, opset_version=ct.target.iOS18)
    def program(x, memory):  # type: ignore[no-untyped-def]
        return mb.coreml_update_state(state=memory, value=mb.add(x=mb.read_state(input=memory), y=x))

    with coreml.quiet():
        model = ct.convert(program, minimum_deployment_target=ct.target.iOS18, skip_model_load=True)
    main = read_program(save(model, tmp_path / "state.mlpackage")).main
    assert dict(main.inputs)["memory"] == StateType(TensorType("fp16", (2,)))
    assert [(state.name, state.kind, state.dtype) for state in main.states] == [("memory", "state", "fp16")]


def test_reading_loads_neither_torch_nor_the_whole_of_coremltools(package: Path) -> None:
    code = (
        "import sys; from portrait_export.mil.program import read_program;"
        f"p = read_program({str(package)!r}); [c.python() for _, _, c in p.constants()];"
        "print([m for m in ('torch', 'coremltools', 'coremltools.converters') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------------------------------------------------------------
# Refused


def _manifest(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(package: Path) -> None:
        path = package / "Manifest.json"
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))

    return apply


def _root(data: dict[str, Any]) -> dict[str, Any]:
    return data["itemInfoEntries"][data["rootModelIdentifier"]]  # type: ignore[no-any-return]


def _link_outside(package: Path) -> None:
    outside = package.parent / "outside.mlmodel"
    shutil.move(package / SPECIFICATION, outside)
    (package / SPECIFICATION).symlink_to(outside)


def _circle(path: Path) -> Callable[[Path], None]:
    def apply(package: Path) -> None:
        (package / path).unlink()
        (package / path).symlink_to(path.name)

    return apply


def _cut(path: Path, share: float) -> Callable[[Path], None]:
    def apply(package: Path) -> None:
        data = (package / path).read_bytes()
        (package / path).write_bytes(data[: int(len(data) * share)])

    return apply


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "no_manifest": (lambda p: (p / "Manifest.json").unlink(), "has no Manifest.json"),
    "manifest_is_not_json": (lambda p: (p / "Manifest.json").write_text("{"), "does not name the model file"),
    "manifest_is_a_list": (lambda p: (p / "Manifest.json").write_text("[]"), "does not name the model file"),
    "manifest_names_no_root": (_manifest(lambda d: d.pop("rootModelIdentifier")), "does not name the model file"),
    "manifest_path_is_a_number": (_manifest(lambda d: _root(d).update(path=3)), "does not name the model file"),
    "manifest_climbs_out": (_manifest(lambda d: _root(d).update(path="../../x")), "is not inside the package"),
    "manifest_is_absolute": (_manifest(lambda d: _root(d).update(path="/etc/passwd")), "is not inside the package"),
    "manifest_names_nothing": (_manifest(lambda d: _root(d).update(path="gone")), "does not contain the model that"),
    "manifest_names_a_surrogate": (
        _manifest(lambda d: _root(d).update(path="\ud800")),
        r"'\ud800', cannot be read: no",
    ),
    "manifest_names_a_nul": (_manifest(lambda d: _root(d).update(path="a\0b")), "is not inside the package"),
    "manifest_names_a_long_file": (
        _manifest(lambda d: _root(d).update(path="a" * 300)),
        "cannot be read: File name too",
    ),
    "model_links_in_a_circle": (_circle(SPECIFICATION), "cannot be read: its links lead in a circle"),
    "model_links_outside": (_link_outside, "is outside the package"),
    "model_missing": (lambda p: (p / SPECIFICATION).unlink(), "does not contain the model"),
    "model_truncated": (_cut(SPECIFICATION, 0.6), "is not a Core ML model"),
    "model_empty": (_cut(SPECIFICATION, 0), "contains a Core ML model of unknown kind"),
    "model_is_text": (lambda p: (p / SPECIFICATION).write_text("hello"), "is not a Core ML model"),
}


@pytest.mark.parametrize(("damage", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_package_is_one_clear_error(
    package: Path, tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    copy = tmp_path / "copy.mlpackage"
    shutil.copytree(package, copy)
    damage(copy)
    with pytest.raises(PackageError) as caught:
        read_program(copy)
    assert words in str(caught.value)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="There is no package at"):
        read_program(tmp_path / "none.mlpackage")


def _weight_constant(package: Path) -> Constant:
    return next(value for _, _, value in read_program(package).constants() if value.offset is not None)


BAD_CONSTANTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "weights_link_in_a_circle": (_circle(WEIGHTS), "cannot be read: its links lead in a circle"),
    "weights_missing": (lambda p: (p / WEIGHTS).unlink(), "does not contain the weight file of first_weight_0 (val)"),
    "weights_truncated": (_cut(WEIGHTS, 0.5), "is damaged at offset 64, which first_weight_0 (val) refers to"),
}


@pytest.mark.parametrize(("damage", "words"), BAD_CONSTANTS.values(), ids=BAD_CONSTANTS.keys())
def test_a_damaged_weight_file_names_the_constant(
    package: Path, tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    copy = tmp_path / "copy.mlpackage"
    shutil.copytree(package, copy)
    damage(copy)
    with pytest.raises(PackageError) as caught:
        _weight_constant(copy).numpy()
    assert words in str(caught.value)


def _blob_name(name: str) -> Callable[[Any], None]:
    def apply(message: Any) -> None:
        for operation in block_of(message).operations:
            if operation.type == "const" and operation.attributes["val"].WhichOneof("value") == "blobFileValue":
                operation.attributes["val"].blobFileValue.fileName = name

    return apply


@pytest.mark.parametrize("name", ["@model_path/../../../secret", "/etc/passwd", "", "@model_path/weights/\0"])
def test_weights_stay_inside_the_package(package: Path, tmp_path: Path, name: str) -> None:
    copy = edited(package, tmp_path / "copy.mlpackage", _blob_name(name))
    with pytest.raises(PackageError, match="is not inside the package"):
        _weight_constant(copy).numpy()


def _drop_type(message: Any) -> None:
    block_of(message).operations[0].outputs[0].ClearField("type")


def _other_opset(message: Any) -> None:
    message.mlProgram.functions["main"].opset = "CoreML99"


def _rank(message: Any) -> None:
    block_of(message).operations[-1].outputs[0].type.tensorType.rank = 7


def _side(value: int, *, height: bool = True) -> Callable[[Any], None]:
    return lambda m: setattr(m.description.input[0].type.imageType, "height" if height else "width", value)


def _array_side(value: int) -> Callable[[Any], None]:
    return lambda m: m.description.output[0].type.multiArrayType.shape.append(value)


def _listed_side(message: Any) -> None:
    message.description.input[0].type.imageType.enumeratedSizes.sizes.add(width=8, height=0)


SPEC_DAMAGE: dict[str, tuple[Callable[[Any], None], str]] = {
    "type_missing": (_drop_type, "a value has no type"),
    "opset_without_block": (_other_opset, "needs opset 'CoreML99'; the program has blocks for CoreML7"),
    "rank_contradicts_dimensions": (_rank, "a tensor of rank 7 has 0 dimensions"),
    "image_of_2_to_the_40": (_side(2**40), "image 'image' has sides 1099511627776×6, not within 1..2147483647"),
    "image_with_a_negative_side": (_side(-5, height=False), "image 'image' has sides 8×-5, not within 1.."),
    "image_without_pixels": (_side(0), "image 'image' has sides 0×6, not within 1.."),
    "listed_size_without_pixels": (_listed_side, "image 'image' has sides 0×8, not within 1.."),
    "array_with_a_negative_side": (_array_side(-32), "array 'out' has sides 1×4×6×4×-32, not within 0..2147483647"),
    "array_of_2_to_the_40": (_array_side(2**40), "array 'out' has sides 1×4×6×4×1099511627776, not within 0.."),
    "no_functions": (lambda m: m.mlProgram.ClearField("functions"), "a program without functions"),
}


@pytest.mark.parametrize(("change", "words"), SPEC_DAMAGE.values(), ids=SPEC_DAMAGE.keys())
def test_a_damaged_specification(package: Path, tmp_path: Path, change: Callable[[Any], None], words: str) -> None:
    copy = edited(package, tmp_path / "copy.mlpackage", change)
    with pytest.raises(PackageError) as caught:
        read_program(copy)
    assert words in str(caught.value)


OTHER_MODELS = ("neuralNetwork", "pipeline", "treeEnsembleRegressor")


@pytest.mark.parametrize("kind", OTHER_MODELS)
def test_other_kinds_of_models_are_not_ml_programs(tmp_path: Path, kind: str) -> None:
    from coremltools.proto import Model_pb2

    message = Model_pb2.Model(specificationVersion=4)
    getattr(message, kind).SetInParent()
    path = tmp_path / "old.mlmodel"
    path.write_bytes(message.SerializeToString())
    with pytest.raises(PackageError, match=f"contains a Core ML {kind}, which is not an ML Program") as caught:
        read_program(path)
    assert caught.value.code == "not-an-ml-program"


@pytest.mark.parametrize("version", [0, 5, 11, 99])
def test_an_unknown_specification_version_is_refused(tmp_path: Path, version: int) -> None:
    from coremltools.proto import Model_pb2

    message = Model_pb2.Model(specificationVersion=version)
    message.mlProgram.SetInParent()
    path = tmp_path / "new.mlmodel"
    path.write_bytes(message.SerializeToString())
    with pytest.raises(PackageError, match=f"has specification version {version}, whose operators are not") as caught:
        read_program(path)
    assert caught.value.code == "unknown-specification"
    assert "10 (iOS26)" in caught.value.hint


@pytest.mark.parametrize(("kind", "tool"), [("zip", "unzip "), ("gztar", "tar -xf ")])
def test_an_archive_of_a_package_is_told_to_be_unpacked(tmp_path: Path, kind: str, tool: str) -> None:
    (tmp_path / "in" / "m.mlpackage").mkdir(parents=True)
    (tmp_path / "in" / "m.mlpackage" / "Manifest.json").write_text("{}")
    made = Path(shutil.make_archive(str(tmp_path / "made"), kind, tmp_path / "in")).rename(tmp_path / "m.mlpackage")
    with pytest.raises(PackageError, match=r"m\.mlpackage is a \w+ archive; a \.mlpackage is a folder") as caught:
        read_program(made)
    assert caught.value.hint == f"unpack it first: {tool}{made}"


def test_a_compiled_model_is_named_as_one(tmp_path: Path) -> None:
    (tmp_path / "m.mlmodelc").mkdir()
    with pytest.raises(PackageError, match="is a compiled model"):
        read_program(tmp_path / "m.mlmodelc")
