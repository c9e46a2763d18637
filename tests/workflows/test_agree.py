"""Agreement with Core ML, with stand-ins for Core ML: our runtime itself, and one with planted errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portrait_export.errors import PackageError, UsageError
from portrait_export.mil import coreml, mac
from portrait_export.mil.one_operation import save_operation
from portrait_export.runtime import MLModel
from portrait_export.runtime.agreement import compare
from portrait_export.runtime.cases import WITHOUT_CASE, cases
from portrait_export.runtime.registry import kernels
from portrait_export.utils.stages import SilentObserver
from portrait_export.workflows import agreement_report
from portrait_export.workflows.agree import UNITS, Agreement, AgreeRequest, check_agreement

SOME = ("gelu", "reduce_argmax", "concat", "softmax", "conv", "split", "logical_and", "cast", "non_zero", "tanh")


class StandIn:
    """Our runtime behind Core ML's interface."""

    def describe(self) -> Mapping[str, str]:
        return {"engine": "a stand-in"}

    def open(self, package: Path, unit: str) -> Any:
        return MLModel(package)

    def devices(self, package: Path, unit: str) -> tuple[str, ...]:
        return ("CPU",) if unit == "CPU_ONLY" else ("CPU", "NeuralEngine")


Results = dict[str, Any]


class Planted(StandIn):
    """The stand-in with errors: operator → units on which it is wrong, and how its outputs change."""

    def __init__(self, errors: Mapping[str, tuple[tuple[str, ...], Callable[[Results], Results]]]):
        self.errors = errors

    def open(self, package: Path, unit: str) -> Any:
        model = MLModel(package)
        kinds = {op.type for op in model._program.function.block.operations}
        changes = [change for op, (units, change) in self.errors.items() if op in kinds and unit in units]
        return Changed(model, changes)

    def devices(self, package: Path, unit: str) -> tuple[str, ...]:
        raise RuntimeError("MLComputePlan is only available on macOS >= 14.4")


class Changed:
    """A model whose outputs are changed."""

    def __init__(self, model: MLModel, changes: list[Callable[[Results], Results]]):
        self.model, self.changes = model, changes

    def predict(self, data: dict[str, Any]) -> Results:
        outputs = self.model.predict(data)
        for change in self.changes:
            outputs = change(outputs)
        return outputs


def each(change: Callable[[np.ndarray], Any]) -> Callable[[Results], Results]:
    return lambda outputs: {name: change(value) for name, value in outputs.items()}


def one_nan(value: np.ndarray) -> np.ndarray:
    value = value.copy()
    value.flat[-1] = np.nan
    return value


def refusing(outputs: Results) -> Results:
    raise RuntimeError("Failed to build the model execution plan.\nmore lines")


ERRORS: dict[str, tuple[tuple[str, ...], Callable[[Results], Results]]] = {
    "gelu": (("CPU_AND_NE",), each(lambda y: y + np.float32(0.05))),
    "reduce_argmax": (UNITS, each(lambda y: y + 1)),
    "concat": (("CPU_ONLY",), each(lambda y: y[:-1])),
    "softmax": (("CPU_AND_GPU",), each(one_nan)),
    "conv": (("CPU_AND_NE",), refusing),
    "split": (("CPU_ONLY",), lambda outputs: {name: outputs[name] for name in sorted(outputs)[:1]}),
    "logical_and": (("CPU_ONLY",), each(lambda y: y.astype(np.float32))),
}


def check(engine: StandIn, *operators: str, packages: tuple[Path, ...] = ()) -> Agreement:
    return check_agreement(AgreeRequest(operators=operators, packages=packages), SilentObserver(), engine)


def test_the_runtime_agrees_with_itself() -> None:
    found = check(StandIn(), *SOME)
    assert found.passed
    assert {row.subject for row in found.operations} == set(SOME)
    assert {row.verdict for row in found.operations} == {"equal"}
    assert {(row.precision, row.unit) for row in found.operations} == {(p, u) for p in ("fp32", "fp16") for u in UNITS}
    assert found.operations[0].devices == ("CPU",)


def test_planted_errors_are_found_where_they_are_and_nowhere_else() -> None:
    found = check(Planted(ERRORS), *SOME)
    apart = {(row.subject, row.unit) for row in found.operations if not row.agrees}
    assert apart == {(op, unit) for op, (units, _) in ERRORS.items() for unit in units}
    assert not found.passed
    wrong = {row.subject: row for row in found.operations if not row.agrees and row.precision == "fp32"}
    assert wrong["gelu"].of_scale == pytest.approx(0.05, rel=0.5)
    assert wrong["reduce_argmax"].largest == 1
    assert "shapes" in wrong["concat"].reason
    assert "and nan at element" in wrong["softmax"].reason
    assert (wrong["conv"].verdict, wrong["conv"].reason) == ("refused", "Failed to build the model execution plan.")
    assert "outputs" in wrong["split"].reason
    assert "types" in wrong["logical_and"].reason


def test_a_difference_within_the_tolerance_is_close() -> None:
    small = each(lambda y: y * np.float32(1 + 1e-6))
    found = check(Planted({"tanh": (UNITS, small)}), "tanh")
    assert found.passed
    assert "close" in {row.verdict for row in found.operations}
    assert all(row.of_scale <= 2e-6 for row in found.operations)


def test_packages_are_compared_by_their_masks(small_export: Path) -> None:
    package = small_export / "segformer_b0.mlpackage"
    request = AgreeRequest(operators=("tanh",), packages=(package,), photos=2)
    found = check_agreement(request, SilentObserver(), StandIn())
    assert [(row.subject, row.verdict, row.iou) for row in found.packages] == [("segformer_b0", "equal", 1.0)] * 6
    inverted = each(lambda mask: 255 - np.asarray(mask))
    broken = check_agreement(request, SilentObserver(), Planted({"conv": (("CPU_AND_NE",), inverted)}))
    assert {row.unit: row.verdict for row in broken.packages} == {
        "CPU_ONLY": "equal",
        "CPU_AND_GPU": "equal",
        "CPU_AND_NE": "differs",
    }


def test_the_report_names_what_differs(tmp_path: Path) -> None:
    found = check(Planted(ERRORS), "gelu", "tanh")
    data, page = agreement_report.write(found, tmp_path)
    stored = json.loads(data.read_text())
    assert stored["passed"] is False
    assert len(stored["operations"]) == len(found.operations)
    text = page.read_text()
    assert "not everything agrees" in text
    assert "| gelu | gelu\\_exact | fp32 | CPU\\_AND\\_NE |  | differs |" in text
    assert "| tanh | 2 | equal | equal | equal |" in text
    assert "| random\\_normal |" in text


def test_the_command_writes_both_files_and_fails_if_something_differs(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["agree", "-o", str(tmp_path / "out"), "--op", "gelu", "--no-packages"]
    monkeypatch.setattr(mac, "CoreMLEngine", StandIn)
    assert cli(*words).code == 0
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"agreement.json", "agreement.md"}
    monkeypatch.setattr(mac, "CoreMLEngine", lambda: Planted(ERRORS))
    ran = cli(*words)
    assert ran.code == 1
    assert "CPU_AND_NE" in ran.out


def test_it_needs_a_mac(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(PackageError, match="runs on macOS only; this is linux"):
        mac.CoreMLEngine().describe()
    ran = cli("agree", "-o", str(tmp_path / "out"))
    assert ran.code == 2
    assert not (tmp_path / "out").exists()


def test_core_ml_is_opened_by_its_own_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole Apple side: Core ML itself is not run here."""
    opened = []
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(coreml, "load_on_mac", lambda package, unit: opened.append((package, unit)) or "model")
    rows = [mac.DevicePlacement("a", "conv", "NeuralEngine", None), mac.DevicePlacement("b", "add", "CPU", None)]
    rows += [rows[0], mac.DevicePlacement("c", "mul", "", None)]
    monkeypatch.setattr(mac, "compute_plan", lambda package, unit: rows)
    engine = mac.CoreMLEngine()
    assert engine.describe()["engine"] == "Core ML"
    assert engine.open(Path("a.mlpackage"), "CPU_AND_NE") == "model"
    assert engine.devices(Path("a.mlpackage"), "CPU_AND_NE") == ("CPU", "NeuralEngine")
    assert opened == [(Path("a.mlpackage"), "CPU_AND_NE")]


WRONG: dict[str, tuple[AgreeRequest, str]] = {
    "operator": (AgreeRequest(operators=("gellu",)), "did you mean `gelu`"),
    "operator_without_case": (AgreeRequest(operators=("random_normal",)), "has no case"),
    "unit": (AgreeRequest(units=("CPU_AND_TPU",)), "no compute units"),
}


@pytest.mark.parametrize(("request_", "words"), WRONG.values(), ids=WRONG.keys())
def test_wrong_requests(request_: AgreeRequest, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_agreement(request_, SilentObserver(), StandIn())
    assert words in str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# The cases


def test_every_kernel_has_a_case_or_a_reason() -> None:
    with_case = {case.op for case in cases()}
    assert set(kernels()) - with_case == set(WITHOUT_CASE)
    assert with_case <= set(kernels())


NOT_FOR_CORE_ML = {"abs_empty", "exp_empty", "relu_empty", "square_empty"}


def test_case_names_are_unique() -> None:
    names = [case.name for case in cases()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("operator", sorted({case.op for case in cases()}))
def test_every_case_is_written_and_runs(operator: str, tmp_path: Path) -> None:
    """As it is, without a pass of coremltools that might remove the operation."""
    for case in cases():
        if case.op != operator:
            continue
        path = tmp_path / f"{case.name}.mlpackage"
        if case.name in NOT_FOR_CORE_ML:
            with pytest.raises(PackageError, match="no arrays without elements"):
                save_operation(case.op, case.inputs, path, precision="fp16", target=case.target)
            continue
        given = save_operation(case.op, case.inputs, path, precision="fp16", target=case.target)
        model = MLModel(path)
        assert operator in {op.type for op in model._program.function.block.operations}
        assert model.predict(given)


DISTANCES: dict[str, tuple[Any, Any, str, float | None]] = {
    "the_same": ([1.0, 2.0], [1.0, 2.0], "equal", 0.0),
    "nan_in_both": ([np.nan, np.inf], [np.nan, np.inf], "equal", 0.0),
    "another_infinity": ([np.inf, 1], [-np.inf, 1], "differs", None),
    "nan_in_one": ([np.nan, 1.0], [1.0, 1.0], "differs", None),
    "close_to_a_large_value": ([1000.0], [1001.0], "close", 1.0),
    "far_from_a_small_value": ([0.0], [0.5], "differs", 0.5),
    "integers_are_never_close": ([1000], [1001], "differs", 1.0),
}


@pytest.mark.parametrize(("ours", "theirs", "verdict", "largest"), DISTANCES.values(), ids=DISTANCES.keys())
def test_comparisons(ours: Any, theirs: Any, verdict: str, largest: float | None) -> None:
    found = compare({"y": np.asarray(ours)}, {"y": np.asarray(theirs)}, tolerance=0.01)
    assert (found.verdict, found.largest) == (verdict, largest)
