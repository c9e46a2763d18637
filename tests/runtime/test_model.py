"""Test CoreMLProgram: predict, images, states, functions, flexible shapes, tracing, hooks and errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from portrait_export.artifacts import Frame, Runner
from portrait_export.errors import ExecutionError, PackageError
from portrait_export.mil import coreml
from portrait_export.runtime import MLModel, load
from portrait_export.runtime.model import State
from portrait_export.runtime.runner import PackageRunner
from portrait_export.utils.quiet import quiet
from tests.runtime.packages import accumulator, block_of, edited, from_builder, from_torch, save, tools

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (8, 6, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model")


@pytest.fixture(scope="module")
def chain(folder: Path) -> Path:
    """x (2, 3) → doubled = 2x → shifted = doubled + 1 → out = relu."""
    mb = coreml.builder()

    def build(x: Any) -> Any:
        doubled = mb.mul(x=x, y=np.float32(2), name="doubled")
        return mb.relu(x=mb.add(x=doubled, y=np.float32(1), name="shifted"), name="out")

    return from_builder(folder / "chain.mlpackage", {"x": ((2, 3), np.float32)}, build)


X = np.array([[1, -2, 0.5], [-0.25, 3, -1]], np.float32)


# ---------------------------------------------------------------------------------------------------------------------
# Values


@pytest.mark.parametrize(
    "given",
    [X, torch.from_numpy(X), X.astype(np.float64), X.tolist(), X.astype(np.float16), np.asfortranarray(X)],
    ids=["numpy", "torch", "double", "lists", "half", "fortran"],
)
def test_predict_takes_arrays_of_any_kind(chain: Path, given: Any) -> None:
    outputs = load(chain).predict({"x": given})
    assert list(outputs) == ["out"]
    assert outputs["out"].dtype == np.float32
    np.testing.assert_allclose(outputs["out"], np.maximum(2 * X + 1, 0))


def test_predict_takes_a_list_of_inputs(chain: Path) -> None:
    one, two = load(chain).predict([{"x": X}, {"x": -X}])
    np.testing.assert_allclose(one["out"], np.maximum(2 * X + 1, 0))
    np.testing.assert_allclose(two["out"], np.maximum(-2 * X + 1, 0))


def test_predict_changes_nothing_that_it_is_given(chain: Path) -> None:
    given = X.copy()
    program = load(chain)
    first = program.predict({"x": given})["out"]
    first[:] = 99
    np.testing.assert_array_equal(given, X)
    np.testing.assert_allclose(program.predict({"x": given})["out"], np.maximum(2 * X + 1, 0))


def test_trace_gives_every_value_by_name(chain: Path) -> None:
    values = load(chain).trace({"x": X})
    assert list(values) == ["doubled", "shifted", "out"]
    np.testing.assert_allclose(values["shifted"], 2 * X + 1)


def test_trace_of_one_name_stops_there(chain: Path) -> None:
    program, seen = load(chain), []
    assert list(program.trace({"x": X}, ["doubled"])) == ["doubled"]
    with pytest.raises(ExecutionError):  # a hook that breaks the last step shows that it was not reached
        program.predict({"x": X}, hook=lambda name, value: seen.append(name) or (value[:1] if name == "out" else 1 / 0))
    assert seen == ["doubled"]


def test_trace_gives_constants_and_inputs_when_asked(chain: Path) -> None:
    values = load(chain).trace({"x": X}, ["x", "doubled_y_0"])
    np.testing.assert_array_equal(values["x"], X)
    assert values["doubled_y_0"] == 2


def test_trace_of_an_unknown_name_suggests_the_nearest(chain: Path) -> None:
    with pytest.raises(ExecutionError, match="no value named 'shiftd'") as caught:
        load(chain).trace({"x": X}, ["shiftd"])
    assert "did you mean `shifted`" in str(caught.value)


def test_a_hook_replaces_a_value(chain: Path) -> None:
    hooked = load(chain).predict({"x": X}, hook=lambda name, v: torch.zeros_like(v) if name == "doubled" else None)
    np.testing.assert_array_equal(hooked["out"], np.ones_like(X))


def test_scalars_come_out_with_one_dimension(folder: Path) -> None:
    mb = coreml.builder()
    build = lambda x: mb.reduce_sum(x=x, keep_dims=False, name="out")  # noqa: E731
    package = from_builder(folder / "scalar.mlpackage", {"x": ((2, 3), np.float32)}, build)
    assert load(package).predict({"x": X})["out"].tolist() == [X.sum()]


# ---------------------------------------------------------------------------------------------------------------------
# Arithmetic

ROUNDING = {
    # 2049 is halfway between 2048 and 2050, the nearest values in half precision; ties round to even.
    "as_typed_fp32": ("FLOAT32", "as_typed", 2049.0),
    "fp16_rounds_fp32_programs": ("FLOAT32", "fp16", 2048.0),
    "fp32_keeps_fp16_programs_exact": ("FLOAT16", "fp32", 2049.0),
    "as_typed_fp16": ("FLOAT16", "as_typed", 2048.0),
    "fp16_fp16": ("FLOAT16", "fp16", 2048.0),
}


@pytest.mark.parametrize(("precision", "arithmetic", "expected"), ROUNDING.values(), ids=ROUNDING.keys())
def test_half_precision_rounds_each_result(folder: Path, precision: str, arithmetic: str, expected: float) -> None:
    mb = coreml.builder()
    package = folder / f"add-{precision}.mlpackage"
    if not package.exists():
        from_builder(package, {"x": ((1,), np.float32)}, lambda x: mb.add(x=x, y=np.float32(1)), precision=precision)
    (value,) = load(package, arithmetic=arithmetic).predict({"x": np.array([2048.0])}).values()
    assert value.tolist() == [expected]


def test_half_precision_overflows_to_infinity(folder: Path) -> None:
    mb = coreml.builder()
    package = from_builder(
        folder / "overflow.mlpackage", {"x": ((2,), np.float32)}, lambda x: mb.mul(x=x, y=x), precision="FLOAT16"
    )
    given = {"x": np.array([255.9, 256.0])}
    (half,), (full,) = load(package).predict(given).values(), load(package, arithmetic="fp32").predict(given).values()
    assert np.isfinite(half).tolist() == [True, False]
    assert np.isfinite(full).all()


def test_half_precision_accumulates_in_float32(folder: Path) -> None:
    """4096 ones sum to 4096 exactly; a running sum in half would stop growing at 2048."""
    mb = coreml.builder()
    build = lambda x: mb.matmul(x=x, y=np.ones((4096, 1), np.float32))  # noqa: E731
    package = from_builder(folder / "sum.mlpackage", {"x": ((1, 4096), np.float32)}, build, precision="FLOAT16")
    (value,) = load(package, arithmetic="fp16").predict({"x": np.ones((1, 4096))}).values()
    assert value.item() == 4096


def test_weights_are_used_as_stored(folder: Path) -> None:
    mb = coreml.builder()
    package = from_builder(
        folder / "third.mlpackage",
        {"x": ((1,), np.float32)},
        lambda x: mb.mul(x=x, y=np.float32(1 / 3)),
        precision="FLOAT16",
    )
    (value,) = load(package, arithmetic="fp32").predict({"x": np.array([3.0])}).values()
    assert value.item() == 3 * float(np.float16(1 / 3))


# ---------------------------------------------------------------------------------------------------------------------
# Images


def _image_package(path: Path, color: str, output: str = "array", target: str = "iOS17") -> Path:
    """The image itself as a float array, or as an image again."""
    ct, mb = tools(), coreml.builder()
    layout = ct.colorlayout[{"grayscale_fp16": "GRAYSCALE_FLOAT16"}.get(color, color.upper())]
    channels = 3 if color in ("rgb", "bgr") else 1

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, channels, 8, 6))], opset_version=getattr(ct.target, target))
    def program(image):  # type: ignore[no-untyped-def]
        return mb.mul(x=image, y=np.float32(1.5 if output == "image" else 1), name="out")

    if output == "image":
        program.functions["main"].set_output_types([ct.ImageType(name="out", color_layout=layout)])
    with quiet():
        model = ct.convert(
            program,
            inputs=[ct.ImageType(name="image", shape=(1, channels, 8, 6), color_layout=layout)],
            convert_to="mlprogram",
            minimum_deployment_target=getattr(ct.target, target),
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
    return save(model, path)


CHANNELS_FIRST = PHOTO.transpose(2, 0, 1)[None].astype(np.float32)
GRAY = np.array(Image.fromarray(PHOTO).convert("L"), np.float32)[None, None]
IMAGES: dict[str, tuple[str, Image.Image, np.ndarray]] = {
    "rgb": ("rgb", Image.fromarray(PHOTO), CHANNELS_FIRST),
    "bgr": ("bgr", Image.fromarray(PHOTO), CHANNELS_FIRST[:, ::-1]),
    "rgba_drops_alpha": ("rgb", Image.fromarray(PHOTO).convert("RGBA"), CHANNELS_FIRST),
    "gray_into_rgb": ("rgb", Image.fromarray(PHOTO).convert("L"), np.repeat(GRAY, 3, 1)),
    "grayscale": ("grayscale", Image.fromarray(PHOTO).convert("L"), GRAY),
    "rgb_into_grayscale": ("grayscale", Image.fromarray(PHOTO), GRAY),
    "grayscale_fp16": (
        "grayscale_fp16",
        Image.fromarray(np.linspace(0, 1, 48, dtype=np.float32).reshape(8, 6)),
        np.linspace(0, 1, 48, dtype=np.float32).reshape(1, 1, 8, 6).astype(np.float16).astype(np.float32),
    ),
}


@pytest.mark.parametrize(("color", "picture", "expected"), IMAGES.values(), ids=IMAGES.keys())
def test_image_inputs(folder: Path, color: str, picture: Image.Image, expected: np.ndarray) -> None:
    package = folder / f"image-{color}.mlpackage"
    if not package.exists():
        _image_package(package, color)
    np.testing.assert_array_equal(load(package).predict({"image": picture})["out"], expected)


@pytest.mark.parametrize(("color", "mode"), [("rgb", "RGBA"), ("bgr", "RGBA"), ("grayscale", "L")])
def test_image_outputs_clamp_and_round(folder: Path, color: str, mode: str) -> None:
    package = _image_package(folder / f"output-{color}.mlpackage", color, output="image")
    out = load(package).predict({"image": Image.fromarray(PHOTO)})["out"]
    assert (out.mode, out.size) == (mode, (6, 8))
    shown = np.asarray(out.convert("RGB")) if mode == "RGBA" else np.asarray(out)
    source = PHOTO.astype(np.float32) if mode == "RGBA" else GRAY[0, 0]
    np.testing.assert_array_equal(shown, np.rint(np.clip(source * 1.5, 0, 255)))


WRONG_IMAGES: dict[str, tuple[Any, str]] = {
    "another_size": (
        Image.fromarray(PHOTO).resize((8, 6)),
        "takes images of 8×6 pixels (height × width); this one has 6×8",
    ),
    "an_array": (PHOTO, "is an image (rgb, 8×6 high × wide); found ndarray"),
    "cmyk": (Image.fromarray(PHOTO).convert("CMYK"), "PIL mode 'CMYK' is not supported"),
    "16_bit": (Image.fromarray(np.zeros((8, 6), np.uint16)), "PIL mode 'I;16' is not supported"),
}


@pytest.mark.parametrize(("picture", "words"), WRONG_IMAGES.values(), ids=WRONG_IMAGES.keys())
def test_wrong_images_are_refused(folder: Path, picture: Any, words: str) -> None:
    package = folder / "image-rgb.mlpackage"
    if not package.exists():
        _image_package(package, "rgb")
    with pytest.raises(ExecutionError) as caught:
        load(package).predict({"image": picture})
    assert words in str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# Inputs that do not fit

WRONG_INPUTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "missing": ({}, ("missing input 'x'",)),
    "unknown": ({"x": X, "y": X}, ("unknown input 'y'",)),
    "both_at_once": ({"y": X}, ("unknown input 'y'", "missing input 'x' (an array of 2×3, fp32)")),
    "another_shape": ({"x": X.T}, ("takes an array of 2×3, fp32; found shape [3, 2]",)),
    "another_rank": ({"x": X[None]}, ("found shape [1, 2, 3]",)),
    "text": ({"x": "abc"}, ("takes numbers; found str",)),
    "ragged": ({"x": [[1, 2], [3]]}, ("is not an array",)),
}


@pytest.mark.parametrize(("given", "words"), WRONG_INPUTS.values(), ids=WRONG_INPUTS.keys())
def test_wrong_inputs_are_named_all_at_once(chain: Path, given: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(ExecutionError) as caught:
        load(chain).predict(given)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"arithmetic": "fp61"}, "There is no arithmetic mode 'fp61'"),
        ({"function": "mian"}, "has no function 'mian'"),
        ({"device": "toaster"}, "Device 'toaster' is not available"),
    ],
)
def test_wrong_choices(chain: Path, options: dict[str, str], words: str) -> None:
    with pytest.raises(ExecutionError, match=words):
        load(chain, **options)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------------------
# Flexible shapes, optional inputs, functions, states, labels, control flow


def test_ranged_shapes(folder: Path) -> None:
    ct = tools()
    shape = ct.Shape((1, 2, ct.RangeDim(4, 64, default=8)))
    module = torch.nn.Conv1d(2, 3, 3)
    package = from_torch(
        folder / "ranged.mlpackage",
        module,
        [torch.zeros(1, 2, 8)],
        inputs=[ct.TensorType("x", shape)],
        precision="FLOAT32",
    )
    program = load(package)
    for length in (4, 8, 63):
        x = torch.randn(1, 2, length, generator=torch.Generator().manual_seed(length))
        (ours,) = program.predict({"x": x}).values()
        np.testing.assert_allclose(ours, module(x).detach().numpy(), atol=1e-5)
    with pytest.raises(ExecutionError, match=r"takes an array of 1 × 2 × 4\.\.64"):
        program.predict({"x": torch.zeros(1, 2, 65)})


def test_optional_inputs_take_their_default(folder: Path) -> None:
    ct = tools()
    inputs = [
        ct.TensorType("x", (2, 3), dtype=np.float32),
        ct.TensorType("y", (2, 3), dtype=np.float32, default_value=np.full((2, 3), 4, np.float32)),
    ]

    class Sum(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x + y

    package = from_torch(
        folder / "optional.mlpackage",
        Sum(),
        [torch.zeros(2, 3)] * 2,
        names=["x", "y"],
        inputs=inputs,
        precision="FLOAT32",
    )
    (default,) = load(package).predict({"x": X}).values()
    (given,) = load(package).predict({"x": X, "y": X}).values()
    np.testing.assert_array_equal(default, X + 4)
    np.testing.assert_array_equal(given, X + X)


def _features(change: Callable[[Any], None]) -> Callable[[Any], None]:
    return lambda message: change(message.description)


def _added(features: Any, name: str = "") -> None:
    """Describe one once more, as another array."""
    features.add().CopyFrom(features[0])
    features[-1].name = name or features[0].name
    features[-1].type.multiArrayType.shape.append(7)


OTHER_FEATURES: dict[str, tuple[Callable[[Any], None], str]] = {
    "output_renamed": (
        _features(lambda d: setattr(d.output[0], "name", "zz")),
        "output 'zz' is described; the program",
    ),
    "output_added": (_features(lambda d: _added(d.output, "more")), "output 'more' is described; the program has out"),
    "output_twice": (_features(lambda d: _added(d.output)), "output 'out' is described twice"),
    "no_output": (_features(lambda d: d.ClearField("output")), "no output is described"),
    "input_renamed": (
        _features(lambda d: setattr(d.input[0], "name", "zz")),
        "input 'zz' is described; the program has x",
    ),
    "input_added": (_features(lambda d: _added(d.input, "more")), "input 'more' is described; the program has x"),
    "input_twice": (_features(lambda d: _added(d.input)), "input 'x' is described twice"),
}


@pytest.mark.parametrize("opener", [load, MLModel])
@pytest.mark.parametrize("name", OTHER_FEATURES)
def test_features_that_the_program_does_not_have_are_refused(
    chain: Path, tmp_path: Path, name: str, opener: Any
) -> None:
    change, words = OTHER_FEATURES[name]
    package = edited(chain, tmp_path / "other.mlpackage", change)
    with pytest.raises(PackageError, match="describes other inputs or outputs than function 'main' has") as caught:
        opener(package)
    assert [words in line for line in caught.value.context] == [True]


@pytest.mark.parametrize(("color", "channels"), [("RGB", 3), ("BGR", 3), ("G", 1)])
@pytest.mark.parametrize("opener", [load, MLModel])
def test_an_optional_image_that_is_left_out_is_black(tmp_path: Path, color: str, channels: int, opener: Any) -> None:
    ct, shape = tools(), (1, channels, 4, 6)
    package = from_torch(
        tmp_path / "image.mlpackage",
        PlusOne(),
        [torch.zeros(shape)],
        inputs=[ct.ImageType("x", shape, scale=0.5, color_layout=color)],
        precision="FLOAT32",
    )
    optional = edited(
        package, tmp_path / "optional.mlpackage", lambda m: setattr(m.description.input[0].type, "isOptional", True)
    )
    (found,) = opener(optional).predict({}).values()
    np.testing.assert_array_equal(found, np.ones(shape, np.float32))


class PlusOne(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


def test_an_optional_input_larger_than_memory_is_refused(chain: Path, tmp_path: Path) -> None:
    def change(message: Any) -> None:
        message.description.input[0].type.isOptional = True
        message.description.input[0].type.multiArrayType.shape[:] = [2**30, 3]

    with pytest.raises(ExecutionError, match="would have 3,221,225,472 elements"):
        load(edited(chain, tmp_path / "large.mlpackage", change)).predict({})


def test_several_functions(folder: Path) -> None:
    ct, mb = tools(), coreml.builder()
    for name, factor in (("double", 2.0), ("triple", 3.0)):
        from_builder(
            folder / f"{name}.mlpackage",
            {"x": ((2, 3), np.float32)},
            lambda x, f=factor: mb.mul(x=x, y=np.float32(f), name="out"),
            target="iOS18",
        )
    description = ct.utils.MultiFunctionDescriptor()
    for name in ("double", "triple"):
        description.add_function(str(folder / f"{name}.mlpackage"), src_function_name="main", target_function_name=name)
    description.default_function_name = "triple"
    with quiet():
        ct.utils.save_multifunction(description, str(folder / "several.mlpackage"))
    for choice, factor in ((None, 3), ("double", 2), ("triple", 3)):
        out = load(folder / "several.mlpackage", function=choice).predict({"x": X})["out"]
        np.testing.assert_allclose(out, factor * X)


@pytest.fixture(scope="module", name="accumulating")
def accumulator_package(folder: Path) -> Path:
    return accumulator(folder / "state.mlpackage")


def test_states_live_between_calls(accumulating: Path) -> None:
    running = load(accumulating)
    state = running.make_state()
    totals = [running.predict({"x": np.array([1.0, n])}, state)["total"].tolist() for n in (1, 2, 3)]
    assert totals == [[1, 1], [2, 3], [3, 6]]
    assert state.read_state("memory").tolist() == [3, 6]
    state.write_state("memory", np.array([10, 20]))
    assert running.predict({"x": np.zeros(2)}, state)["total"].tolist() == [10, 20]


STATE_MISUSES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no_state": (lambda running: running.predict({"x": np.ones(2)}), "states are: memory. Found: no `state`"),
    "no_state_for_trace": (lambda running: running.trace({"x": np.ones(2)}), "pass state=program.make_state()"),
    "state_of_another_program": (lambda running: running.predict({"x": np.ones(2)}, State()), "memory. Found: none."),
    "read_unknown": (lambda running: running.make_state().read_state("memori"), "did you mean `memory`?"),
    "write_unknown": (lambda running: running.make_state().write_state("x", np.ones(2)), "There is no state 'x'"),
    "write_another_shape": (
        lambda running: running.make_state().write_state("memory", np.ones(3)),
        "State 'memory' has shape [2]; found [3]",
    ),
}


@pytest.mark.parametrize(("misuse", "words"), STATE_MISUSES.values(), ids=STATE_MISUSES.keys())
def test_misused_states_are_refused(accumulating: Path, misuse: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(ExecutionError) as caught:
        misuse(load(accumulating))
    assert words in str(caught.value)


def test_a_program_without_states_takes_none(chain: Path, accumulating: Path) -> None:
    running = load(chain)
    np.testing.assert_allclose(running.predict({"x": X}, running.make_state())["out"], np.maximum(2 * X + 1, 0))
    with pytest.raises(ExecutionError, match=r"states are: none\. Found: memory"):
        running.predict({"x": X}, load(accumulating).make_state())
    with pytest.raises(ExecutionError, match="the program has no states"):
        running.make_state().read_state("memory")


LABELS: dict[str, list[Any]] = {"strings": ["cat", "dog", "person", "tree"], "integers": [10, 20, 30, 40]}


@pytest.mark.parametrize("target", ["iOS15", "iOS16", "iOS17", "iOS18", "iOS26"])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
def test_class_labels(tmp_path: Path, labels: list[Any], target: str) -> None:
    ct = tools()
    x = torch.tensor([[0.0, 1.0, 4.0, -2.0]])
    package = from_torch(
        tmp_path / "labels.mlpackage",
        torch.nn.Softmax(-1),
        [x],
        target=target,
        precision="FLOAT32",
        classifier_config=ct.ClassifierConfig(labels),
    )
    outputs = load(package).predict({"x0": x})
    assert (type(outputs["classLabel"]), outputs["classLabel"]) == (type(labels[2]), labels[2])
    expected = dict(zip(labels, torch.softmax(x, -1)[0].tolist(), strict=True))
    assert outputs["classLabel_probs"] == pytest.approx(expected, abs=1e-6)
    assert [type(label) for label in outputs["classLabel_probs"]] == [type(label) for label in labels]


def test_int8_inputs_and_outputs(folder: Path) -> None:
    """iOS26: int8 in, (x − 3) / 2 as int8 steps of a quarter out."""
    mb = coreml.builder()

    def build(x: Any) -> Any:
        real = mb.dequantize(input=x, scale=np.float32(0.5), zero_point=np.int8(3))
        return mb.quantize(input=real, scale=np.float32(0.25), output_dtype="int8", name="out")

    package = from_builder(folder / "int8.mlpackage", {"x": ((6,), np.int8)}, build, target="iOS26")
    program = load(package)
    assert (program.program.spec_version, program.program.deployment_target) == (10, "iOS26")
    assert (program.inputs[0].dtype, program.outputs[0].dtype) == ("int8", "int8")
    out = program.predict({"x": np.array([-128, 0, 1, 2, 3, 127], np.int8)})["out"]
    assert (out.dtype, out.tolist()) == (np.int8, [-128, -6, -4, -2, 0, 127])


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("layer", ["lstm", "lstm_bidirectional"])
def test_packed_sequences(tmp_path: Path, layer: str, batch_first: bool) -> None:
    """coremltools takes the sequence lengths for torch's batch sizes, and so makes an initial state of seven rows."""
    two = layer == "lstm_bidirectional"
    lengths = torch.tensor([7, 7, 7] if two else [7, 4, 2], dtype=torch.int32)  # backwards, padding comes first

    class Packed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.LSTM(4, 5, batch_first=batch_first, bidirectional=two)

        def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            packed = pack_padded_sequence(x, lengths, batch_first=batch_first)
            return pad_packed_sequence(self.layer(packed)[0], batch_first=batch_first)[0]

    torch.manual_seed(0)
    module, x = Packed().eval(), torch.randn((3, 7, 4) if batch_first else (7, 3, 4))
    program = load(from_torch(tmp_path / "packed.mlpackage", module, [x, lengths], precision="FLOAT32"))
    (ours,) = program.predict({"x0": x, "x1": lengths}).values()
    np.testing.assert_allclose(ours, module(x, lengths).detach().numpy(), atol=1e-5)


def test_branches_and_loops(folder: Path) -> None:
    mb = coreml.builder()

    def build(x: Any) -> Any:
        """Halve x until its sum is below 1; then negate it if its first element is positive."""
        small = mb.while_loop(
            _cond=lambda v: mb.greater_equal(x=mb.reduce_sum(x=v, keep_dims=False), y=1.0),
            _body=lambda v: mb.mul(x=v, y=0.5),
            loop_vars=(x,),
        )
        positive = mb.greater(x=mb.reduce_max(x=small, keep_dims=False), y=0.0)
        return mb.cond(
            pred=positive, _true_fn=lambda: mb.mul(x=small, y=-1.0), _false_fn=lambda: mb.add(x=small, y=0.0)
        )

    program = load(from_builder(folder / "flow.mlpackage", {"x": ((2,), np.float32)}, build))
    for given, expected in (([4.0, 8.0], [-0.25, -0.5]), ([-1.0, -2.0], [-1.0, -2.0]), ([0.5, 0.25], [-0.5, -0.25])):
        (ours,) = program.predict({"x": np.array(given)}).values()
        assert ours.tolist() == expected


def test_an_endless_loop_ends_in_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mb = coreml.builder()

    def build(x: Any) -> Any:
        return mb.while_loop(
            _cond=lambda v: mb.greater(x=mb.reduce_sum(x=v, keep_dims=False), y=-1.0),
            _body=lambda v: mb.mul(x=v, y=1.0),
            loop_vars=(x,),
        )

    monkeypatch.setattr("portrait_export.runtime.limits.MAX_ITERATIONS", 50)
    package = from_builder(folder / "endless.mlpackage", {"x": ((2,), np.float32)}, build)
    with pytest.raises(ExecutionError, match="did not end within 50 iterations"):
        load(package).predict({"x": np.ones(2)})


# ---------------------------------------------------------------------------------------------------------------------
# Programs that cannot run


def _retype(kind: str) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        for operation in block_of(message).operations:
            if operation.type in ("mul", "relu"):
                operation.type = f"{kind}_{operation.type}"

    return change


def _cycle(message: Any) -> None:
    operations = {op.outputs[0].name: op for op in block_of(message).operations}
    operations["doubled"].inputs["x"].arguments[0].name = "out"


def _undefined(message: Any) -> None:
    block_of(message).operations[-1].inputs["x"].arguments[0].name = "nowhere"


def _twice(message: Any) -> None:
    block_of(message).operations[-1].outputs[0].name = "doubled"


def _huge(message: Any) -> None:
    block_of(message).operations[-1].outputs[0].type.tensorType.dimensions[0].constant.size = 2**30


def _other_shape(message: Any) -> None:
    block_of(message).operations[-1].outputs[0].type.tensorType.dimensions[0].constant.size = 7


def _without_x(message: Any) -> None:
    del block_of(message).operations[-1].inputs["x"]


def _surplus(message: Any) -> None:
    block_of(message).operations[-1].inputs["flavour"].arguments.add().name = "doubled"


UNRUNNABLE: dict[str, tuple[Callable[[Any], None], tuple[str, ...]]] = {
    "all_missing_operators_at_once": (_retype("my"), ("2 operator types have no kernel", "my_mul  1", "my_relu  1")),
    "cycle": (_cycle, ("mul 'doubled'", "takes 'out', which is computed later (a cycle?)")),
    "undefined": (_undefined, ("relu 'out'", "takes 'nowhere', which does not exist")),
    "defined_twice": (_twice, ("defines 'doubled' twice",)),
    "absurd_size": (_huge, ("'out' is declared as tensor<fp32, [1073741824, 3]>", "at most")),
    "shape_not_as_declared": (
        _other_shape,
        ("relu 'out'", "has shape [2, 3]; [7, 3] is declared", "input x: float32 [2, 3]"),
    ),
    "missing_parameter": (_without_x, ("relu 'out' has missing or unknown inputs", "missing: x")),
    "unknown_parameter": (_surplus, ("relu 'out' has missing or unknown inputs", "unknown: flavour")),
}


@pytest.mark.parametrize(("change", "words"), UNRUNNABLE.values(), ids=UNRUNNABLE.keys())
def test_what_cannot_run_says_what_and_where(
    chain: Path, tmp_path: Path, change: Callable[[Any], None], words: tuple[str, ...]
) -> None:
    copy = edited(chain, tmp_path / "copy.mlpackage", change)
    with pytest.raises(ExecutionError) as caught:
        load(copy).predict({"x": X})
    assert all(word in str(caught.value) for word in words), str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# The plan


def test_dead_values_are_let_go(chain: Path) -> None:
    plan = load(chain).plan
    dead = [slot for instruction in plan.block.instructions for slot in instruction.dead]
    names = {result.slot: result.name for instruction in plan.block.instructions for result in instruction.results}
    assert sorted(names[slot] for slot in dead if slot in names) == ["doubled", "shifted"]


def test_the_runtime_imports_no_converter(chain: Path) -> None:
    code = (
        "import sys; from portrait_export.runtime import load; import numpy as np;"
        f"load({str(chain)!r}).predict({{'x': np.zeros((2, 3))}});"
        "print([m for m in sys.modules if m in ('coremltools', 'onnx', 'portrait_export.frontend')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------------------------------------------------------------
# The runner


@pytest.mark.parametrize("output", ["mask", "multiarray", "logits"])
def test_the_runner_reads_probability_and_logits(folder: Path, output: str) -> None:
    ct, mb = tools(), coreml.builder()
    weight = RNG.standard_normal((1, 3, 1, 1)).astype(np.float32) / 100

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, 8, 6))], opset_version=ct.target.iOS17)
    def program(image):  # type: ignore[no-untyped-def]
        logits = mb.conv(x=image, weight=weight, strides=[2, 2], name="logits")
        full = mb.resize_bilinear(x=logits, target_size_height=8, target_size_width=6, sampling_mode="UNALIGN_CORNERS")
        mask = mb.sigmoid(x=full, name="mask_value" if output == "mask" else "mask")
        if output == "mask":
            return mb.round(x=mb.mul(x=mask, y=np.float32(255)), name="mask")
        return logits if output == "logits" else mask

    if output == "mask":
        kind = ct.ImageType(name="mask", color_layout=ct.colorlayout.GRAYSCALE)
        program.functions["main"].set_output_types([kind])
    with quiet():
        model = ct.convert(
            program,
            convert_to="mlprogram",
            inputs=[ct.ImageType(name="image", shape=(1, 3, 8, 6))],
            minimum_deployment_target=ct.target.iOS17,
            skip_model_load=True,
        )
    runner = PackageRunner(save(model, folder / f"runner-{output}.mlpackage"), arithmetic="fp32")
    assert isinstance(runner, Runner)
    (prediction,) = runner.run([Frame(PHOTO)])
    image = torch.from_numpy(CHANNELS_FIRST)
    logits = torch.nn.functional.conv2d(image, torch.from_numpy(weight.astype(np.float16).astype(np.float32)), stride=2)
    full = torch.nn.functional.interpolate(logits, (8, 6), mode="bilinear", align_corners=False).sigmoid()[0, 0].numpy()
    assert prediction.logits is not None
    np.testing.assert_allclose(prediction.logits, logits[0, 0].numpy(), atol=1e-4)
    expected = np.rint(full * 255) / 255 if output == "mask" else full
    np.testing.assert_allclose(prediction.probability, expected, atol=1e-5)
    assert prediction.probability.shape == (8, 6)


def test_a_first_prediction_does_not_import_sympy(folder: Path) -> None:
    """torch imports it in unexpected places: 30 MB, and part of a second of every command."""
    mb = coreml.builder()

    def build(x: Any) -> Any:
        y = mb.relu(x=mb.conv(x=x, weight=np.ones((8, 3, 3, 3), np.float32), pad_type="same"))
        y = mb.softmax(x=mb.add(x=mb.mul(x=y, y=np.ones((1, 8, 1, 1), np.float32)), y=y), axis=1)
        y = mb.resize_bilinear(x=y, target_size_height=9, target_size_width=9, sampling_mode="UNALIGN_CORNERS")
        y = mb.layer_norm(x=mb.matmul(x=y, y=np.ones((1, 1, 9, 9), np.float32)), axes=[-1])
        return mb.select(cond=mb.greater(x=y, y=0.0), a=y, b=0.0)

    package = from_builder(folder / "plain.mlpackage", {"x": ((1, 3, 6, 6), np.float32)}, build)
    code = (
        "import sys, numpy as np\n"
        "from portrait_export.runtime import load\n"
        f"program = load({str(package)!r})\n"
        "before = 'sympy' in sys.modules\n"
        "program.predict({'x': np.ones((1, 3, 6, 6), np.float32)})\n"
        "print(before, 'sympy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
