"""Activations in 8 bits on networks at the edge of what can be; calibration in bounded memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from portrait_export.artifacts import ArrayFeature, Frame, LabelledFrame, Lowered
from portrait_export.errors import QuantizeError
from portrait_export.mil import coreml
from portrait_export.mil.activations import activation_problems, rounded_values
from portrait_export.mil.compile import compile_program
from portrait_export.mil.encoded import Activations
from portrait_export.mil.package import save_package
from portrait_export.mil.program import Metadata, Program, read_program
from portrait_export.preprocessing import LOGITS_KEY, SPEC_KEY, PortraitSpec
from portrait_export.runtime import load
from portrait_export.utils.stages import RunningStage, SilentObserver, Stages
from portrait_export.verify.gates import Gate, Thresholds
from portrait_export.workflows.activations import round_activations
from portrait_export.workflows.spare import share_lost

from ..mil.programs import IMAGE, LOGITS, SIDE, weights

MORE_THAN = 1.2  # times the memory of 5 photographs, for 500
Build = Callable[..., object]


def frames(count: int = 3) -> list[LabelledFrame]:
    generator = np.random.default_rng(0)
    return [
        LabelledFrame(Frame(generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8), name=f"p{i}"))
        for i in range(count)
    ]


def network(build: Build) -> Lowered:
    """image → build → logits."""
    mb, ct = coreml.builder(), coreml.coremltools()

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, SIDE, SIDE))], opset_version=ct.target.iOS17)
    def program(image):
        hidden = build(mb, mb.conv(x=image, weight=weights(0, 8, 3, 1, 1), name="first"))
        wide = mb.conv(x=hidden, weight=weights(1, 8, 8, 1, 1), name="second")
        scaled = mb.mul(x=mb.relu(x=wide, name="relu"), y=np.float32(0.5), name="scaled")
        return mb.conv(x=scaled, weight=weights(2, 1, 8, 1, 1), name="logits")

    return Lowered(program, (IMAGE,), (LOGITS,), "iOS17")


def rounded(build: Build, folder: Path, **asked) -> tuple[Program, Activations, Program]:
    """The program before and after, and what was decided."""
    lowered = network(build)
    compiled = compile_program(lowered)
    save_package(compiled, lowered, folder / "before.mlpackage", metadata=Metadata())
    choice = {"method": "mse", "asymmetric": False, "metadata": Metadata(), **asked}
    method, metadata = choice.pop("method"), choice.pop("metadata")
    after, activations = round_activations(
        Stages(SilentObserver()), compiled, lowered, frames(), method, metadata, **choice
    )
    save_package(after, lowered, folder / "after.mlpackage", metadata=Metadata())
    return read_program(folder / "before.mlpackage"), activations, read_program(folder / "after.mlpackage")


def logits(program: Program, frame: LabelledFrame) -> np.ndarray:
    from PIL import Image

    return load(program.path).predict({"image": Image.fromarray(frame.frame.image)})["logits"]


NETWORKS: dict[str, Build] = {
    "plain": lambda mb, x: x,
    "constant": lambda mb, x: mb.add(x=mb.mul(x=x, y=np.float32(0)), y=np.float32(2.75), name="hidden"),
    "zeros": lambda mb, x: mb.mul(x=x, y=np.float32(0), name="hidden"),
    "negative only": lambda mb, x: mb.add(x=x, y=np.float32(-9), name="hidden"),
    "large": lambda mb, x: mb.mul(x=x, y=np.float32(60), name="hidden"),
}


def huge(mb: object, x: object) -> object:
    """Values of thousands, whose zero point would overflow in coremltools' passes."""
    return mb.mul(x=x, y=np.float32(3000), name="hidden")  # type: ignore[attr-defined]


@pytest.mark.parametrize("asymmetric", [False, True], ids=["symmetric", "asymmetric"])
@pytest.mark.parametrize("method", ["minmax", "mse"])
@pytest.mark.parametrize("name", NETWORKS)
def test_results_stay_close(name, method, asymmetric, tmp_path):
    before, activations, after = rounded(NETWORKS[name], tmp_path, method=method, asymmetric=asymmetric)
    assert activation_problems(after, activations) == ()
    assert len(rounded_values(after)) >= 1
    for frame in frames():
        expected, found = logits(before, frame), logits(after, frame)
        assert np.isfinite(found).all()
        assert np.abs(found - expected).max() <= 0.06 * max(np.abs(expected).max(), 1e-3)


def test_huge_values_have_symmetric_grids_and_no_asymmetric_ones(tmp_path):
    before, _, after = rounded(huge, tmp_path, method="minmax")
    assert max(value.scales[0] for value in rounded_values(after)) > 10
    expected = logits(before, frames()[0])
    assert np.abs(logits(after, frames()[0]) - expected).max() < 0.06 * np.abs(expected).max()
    (tmp_path / "asymmetric").mkdir()
    with pytest.raises(QuantizeError, match=r"No operation can read 8-bit activations: .*8 bits would keep its result"):
        rounded(huge, tmp_path / "asymmetric", method="minmax", asymmetric=True)


def test_a_value_that_only_clip_reads_has_a_range_within_its_ends(tmp_path):
    """As after a ReLU6: a range of the value before it would spend nearly all codes on what is clipped."""
    before, activations, _ = rounded(
        lambda mb, x: mb.clip(
            x=mb.conv(x=x, weight=50 * weights(5, 8, 8, 1, 1), name="wide"), alpha=0.0, beta=6.0, name="hidden"
        ),
        tmp_path,
        method="minmax",
    )
    name = next(name for name in activations.grids if name.startswith("wide"))
    assert activations.grids[name].scale == pytest.approx(6 / 255, rel=1e-3)
    assert "clip" in {op.type for op in before.main.block.walk()}


def test_what_is_never_negative_is_unsigned_and_everything_else_has_the_zero_point_0(tmp_path):
    _, activations, after = rounded(NETWORKS["plain"], tmp_path)
    assert activation_problems(after, activations) == ()
    stored = {value.name: (value.dtype, value.zero_points) for value in rounded_values(after)}
    positive = {name for name in stored if name.startswith(("relu", "scaled"))}
    assert positive
    assert {stored[name] for name in positive} == {("uint8", (0,))}
    assert {stored[name] for name in stored.keys() - positive} == {("int8", (0,))}


def one_far_outlier(mb: object, x: object) -> object:
    """One element of 2048 is 30,000; the others are of size 1, and round to zero in a range with it."""
    far = np.zeros((1, 8, SIDE, SIDE), np.float32)
    far[0, 0, 0, 0] = 30_000
    return mb.add(x=x, y=far, name="hidden")  # type: ignore[attr-defined]


def test_a_layer_that_an_outlier_would_harm_keeps_half_precision_with_the_reason(tmp_path):
    _, activations, after = rounded(one_far_outlier, tmp_path)
    assert activations.left["second_cast_fp16"] == "8 bits would keep its input to 0.0 dB"
    assert "hidden_cast_fp16" not in {value.name for value in rounded_values(after)}
    assert "first_cast_fp16" in activations.layers


WITH_LOGITS = Metadata(user_defined={LOGITS_KEY: "logits"})


def test_operations_whose_values_move_the_masks_most_keep_half_precision(tmp_path):
    """As many as the gates ask for, and the masks are better for it."""
    results = {}
    for name, thresholds in {"free": Thresholds(mean_iou=0.9), "asked": Thresholds(mean_iou=0.995)}.items():
        (tmp_path / name).mkdir()
        results[name] = rounded(wider, tmp_path / name, metadata=WITH_LOGITS, thresholds=thresholds)
    (before, free, loose), (_, asked, after) = results["free"], results["asked"]
    assert 0 < len(asked.layers) < len(free.layers)
    newly = asked.left.keys() - free.left.keys()
    assert newly == set(free.layers) - set(asked.layers)
    assert all(re.fullmatch(r"8 bits of \S+ would make \d+\.\d % of the masks' error", asked.left[n]) for n in newly)
    assert activation_problems(after, asked) == ()

    def moved(program: Program) -> float:
        pairs = [(logits(before, frame), logits(program, frame)) for frame in frames()]
        return float(np.mean([np.square(1 / (1 + np.exp(-a)) - 1 / (1 + np.exp(-b))).mean() for a, b in pairs]))

    assert moved(after) < 0.5 * moved(loose)


def test_masks_are_compared_at_the_networks_own_threshold(tmp_path):
    """From 0.5 on the masks move too much; from 0.999999 on no pixel is person, so nothing can move."""
    left = {}
    for threshold in (0.5, 0.999999):
        spec = PortraitSpec(height=SIDE, width=SIDE, threshold=threshold).to_json()
        metadata = Metadata(user_defined={**WITH_LOGITS.user_defined, SPEC_KEY: spec})
        (folder := tmp_path / str(threshold)).mkdir()
        _, found, _ = rounded(wider, folder, metadata=metadata, thresholds=Thresholds(mean_iou=0.993))
        left[threshold] = [reason for reason in found.left.values() if "of the masks' error" in reason]
    assert left[0.5]
    assert not left[0.999999]


def wider(mb: object, x: object) -> object:
    """Four more layers, the first of which has values of very different sizes."""
    for index, scale in enumerate((6.0, 1.0, 1.0, 1.0)):
        y = mb.conv(x=x, weight=scale * weights(10 + index, 8, 8, 1, 1), name=f"more{index}")  # type: ignore[attr-defined]
        x = mb.tanh(x=y, name=f"tanh{index}")  # type: ignore[attr-defined]
    return x


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (Metadata(), r"lose 4\.\d+ times what the gates of the masks allow, and which .* \(it has no logits\)"),
        (WITH_LOGITS, "without the worst of them none are left"),
    ],
    ids=["no_logits", "nothing_left"],
)
def test_where_nothing_helps_the_values_alone_decide_with_a_warning(tmp_path, metadata, said):
    stage = RunningStage("trials", SilentObserver())
    _, free, _ = rounded(NETWORKS["plain"], tmp_path)
    (tmp_path / "strict").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stages, "stage", lambda self, name: nullcontext(stage))
        strict = Thresholds(mean_iou=0.999)
        _, found, _ = rounded(NETWORKS["plain"], tmp_path / "strict", metadata=metadata, thresholds=strict)
    assert found.layers == free.layers
    assert len(stage.warnings) == 1
    assert re.search(said, stage.warnings[0])


@pytest.mark.parametrize(
    ("value", "threshold", "better", "share"),
    [
        (0.99, 0.98, "at_least", 0.5),
        (0.9, 1.0, "at_least", 1e5),
        (0.002, 0.001, "at_most", 2.0),
        (0.0, 0.0, "at_most", 0.0),
        (float("nan"), 0.5, "at_least", 0.0),
    ],
)
def test_a_loss_is_counted_in_what_its_gate_allows(value, threshold, better, share):
    gate = Gate("mean_mask_iou", "mean mask IoU", value, threshold, better, passed=False, where="")
    assert share_lost(gate) == pytest.approx(share)


def test_nan_is_refused_with_the_value_and_the_photograph(tmp_path):
    with pytest.raises(QuantizeError, match=r"The value hidden\S* has \d+ elements that are NaN .* photograph p0"):
        rounded(lambda mb, x: mb.sqrt(x=x, name="hidden"), tmp_path)


def test_control_flow_is_refused(tmp_path):
    def branch(mb, x):
        positive = mb.greater(x=mb.reduce_mean(x=x, axes=[0, 1, 2, 3], keep_dims=False), y=np.float32(0))
        return mb.cond(pred=positive, _true_fn=lambda: mb.relu(x=x), _false_fn=lambda: mb.abs(x=x), name="hidden")

    with pytest.raises(QuantizeError, match=r"a program with control flow \(cond\) cannot be quantized"):
        rounded(branch, tmp_path)


def test_values_that_are_rounded_already_are_refused(tmp_path):
    def quantized(mb, x):
        scale = np.float32(0.1)
        return mb.dequantize(input=mb.quantize(input=x, scale=scale, output_dtype="int8", name="q"), scale=scale)

    with pytest.raises(QuantizeError, match="already has 2 operations that quantize values, the first is q"):
        rounded(quantized, tmp_path)


def test_a_program_without_layers_is_refused(tmp_path):
    mb, ct = coreml.builder(), coreml.coremltools()

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, SIDE, SIDE))], opset_version=ct.target.iOS17)
    def program(image):
        return mb.reduce_mean(x=image, axes=[1], keep_dims=True, name="logits")

    lowered = Lowered(program, (IMAGE,), (ArrayFeature("logits", (1, 1, SIDE, SIDE)),), "iOS17")
    with pytest.raises(QuantizeError, match=r"No operation can read 8-bit activations"):
        round_activations(
            Stages(SilentObserver()),
            compile_program(lowered),
            lowered,
            frames(),
            "mse",
            Metadata(),
            asymmetric=False,
        )


def test_the_ratio_of_a_value_is_that_of_the_rounded_package(tmp_path):
    from PIL import Image

    _, activations, after = rounded(NETWORKS["plain"], tmp_path)
    program, exact, found = load(after.path), [], []
    quantize = next(op for op in after.main.block.walk() if op.type == "quantize")
    dequantize = next(op for op in after.main.block.walk() if op.type == "dequantize")
    read = next(quantize.references)
    for frame in frames():
        picture = Image.fromarray(frame.frame.image)
        values = program.trace({"image": picture}, names=[read, dequantize.outputs[0][0]])
        exact.append(values[read].astype(np.float64).ravel())
        found.append(values[dequantize.outputs[0][0]].astype(np.float64).ravel())
    numbers, errors = np.concatenate(exact), np.concatenate(found) - np.concatenate(exact)
    bulk = np.argsort(np.abs(numbers))[: int(numbers.size * 0.999)]
    ratios = [10 * np.log10((numbers[part] ** 2).sum() / (errors[part] ** 2).sum()) for part in (slice(None), bulk)]
    assert activations.snr_db[read] == pytest.approx(min(ratios), abs=0.05)


def test_networks_of_the_users_own_and_several_sizes(cli, photos, tmp_path):
    from ..cli.test_foreign import Net, seeded, write

    torch = pytest.importorskip("torch")
    own = write(seeded(Net), torch.rand(1, 3, 64, 64), tmp_path / "own.onnx", ["features", "out"])
    words = ["coreml", "--quantize", "w8a8", "--data", photos, "--json"]
    ran = cli(*words, "--onnx", own, "--mean", "0.5", "--std", "0.25", "-o", tmp_path / "own")
    assert ran.code in (0, 1), ran.err
    audit = json.loads(ran.out)["audit"]
    assert audit["problems"] == []
    assert all(value["dtype"] in ("int8", "uint8") for value in audit["activations"])
    assert {w["dtype"] for w in audit["weights"] if w["used_by"] == ["conv"]} == {"int8"}


PROGRAM = """
import resource, sys
from pathlib import Path
from tests.workflows.test_activations import calibrated
calibrated(Path(sys.argv[1]), int(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def calibrated(package: Path, count: int) -> None:
    """Measure the ranges of every value of a package that the passes read, on `count` photographs."""
    from portrait_export.quantize.activation_layers import find_candidates
    from portrait_export.utils.stages import RunningStage
    from portrait_export.workflows.activations import measure

    names = find_candidates(read_program(package).main).values
    photographs = Repeated(count)
    ranges = measure(RunningStage("calibrate", SilentObserver()), package, photographs, names)  # type: ignore[arg-type]
    assert ranges.counts.keys() == names
    assert ranges.counts[min(names)].sum() % count == 0


class Repeated:
    """Photographs that are made on access, as `Frames` opens them."""

    def __init__(self, count: int):
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> LabelledFrame:
        pixels = np.random.default_rng(index).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        return LabelledFrame(Frame(pixels, name=str(index)))


def wide_network() -> Lowered:
    """Each photograph's values take 2 MB, which would be 1 GB if those of 500 were kept."""
    mb, ct = coreml.builder(), coreml.coremltools()

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, 64, 64))], opset_version=ct.target.iOS17)
    def program(image):
        hidden = mb.relu(x=mb.conv(x=image, weight=weights(0, 32, 3, 1, 1), name="first"), name="relu")
        wide = mb.conv(x=hidden, weight=weights(1, 32, 32, 1, 1), name="second")
        return mb.conv(x=wide, weight=weights(2, 1, 32, 1, 1), name="logits")

    image = replace(IMAGE, height=64, width=64)
    return Lowered(program, (image,), (ArrayFeature("logits", (1, 1, 64, 64)),), "iOS17")


def test_memory_does_not_grow_with_the_number_of_photographs(tmp_path):
    lowered, package = wide_network(), tmp_path / "wide.mlpackage"
    save_package(compile_program(lowered), lowered, package, metadata=Metadata())

    def peak(count: int) -> int:
        words = [sys.executable, "-c", PROGRAM, str(package), str(count)]
        root = Path(__file__).parents[2]
        return int(subprocess.run(words, cwd=root, check=True, capture_output=True, text=True).stdout.split()[-1])

    few, many = peak(5), peak(500)
    assert many <= MORE_THAN * few, f"{few / 1024:.0f} MB for 5 photographs, {many / 1024:.0f} MB for 500"
