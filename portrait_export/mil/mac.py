"""Run packages with Core ML itself, and show where it would run each operation.

This needs macOS, so tests on Linux do not cover it.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifacts import Frame, Prediction
from ..errors import PackageError
from . import coreml
from .program import read_program


class CoreMLRunner:
    """Segments frames with Core ML. Raises PackageError off a Mac.

    Args:
        package: a package with output `mask` (image or MultiArray).
        compute_units: ALL, CPU_ONLY, CPU_AND_GPU or CPU_AND_NE.
    """

    def __init__(self, package: Path, compute_units: str = "ALL"):
        self.name = f"Core ML ({compute_units})"
        self._model = coreml.load_on_mac(package, compute_units)
        self._images = {
            feature.name: feature.color for feature in read_program(package).inputs if feature.kind == "image"
        }

    def run(self, frames: Sequence[Frame]) -> list[Prediction]:
        """Segment each frame, in order."""
        return [self._predict(frame) for frame in frames]

    def _predict(self, frame: Frame) -> Prediction:
        import numpy as np
        from PIL import Image

        inputs: dict[str, Any] = {}
        for name, color in self._images.items():
            if name != "image" and len(self._images) > 1 and name not in frame.pictures:
                raise PackageError(f"The package takes a picture {name!r}; frame {frame.name!r} has none.")
            picture = Image.fromarray(frame.pictures.get(name, frame.image))
            inputs[name] = picture.convert("L") if color == "grayscale" else picture
        if frame.depth is not None:
            inputs["depth"] = frame.depth[None, None]
        outputs = self._model.predict(inputs)
        if "mask" not in outputs:
            raise PackageError(
                f"This package returns {sorted(outputs)}; Core ML can only be compared on an output `mask`."
            )
        mask = outputs["mask"]
        if isinstance(mask, Image.Image):
            return Prediction(probability=np.asarray(mask, np.float32) / 255)
        return Prediction(probability=np.asarray(mask, np.float32).reshape(frame.image.shape[:2]))


@dataclass(frozen=True)
class DevicePlacement:
    """Where Core ML would run one operation.

    Attributes:
        name, type: of the operation; its first output's name, and an operator such as `ios17.conv`.
        device: `CPU`, `GPU`, `NeuralEngine`, or empty if Core ML reports none.
        cost: Core ML's estimate, as a share of the whole program; None if it gives none.
    """

    name: str
    type: str
    device: str
    cost: float | None


def compute_plan(package: Path, compute_units: str = "ALL") -> list[DevicePlacement]:
    """Core ML's own plan for a package on this Mac: coremltools' MLComputePlan. Raises PackageError off a Mac."""
    if sys.platform != "darwin":
        raise PackageError(
            f"Core ML plans on macOS only; this is {sys.platform}.",
            code="needs-macos",
            hint="`portrait-export inspect FILE --lint` gives documented advice on any platform.",
        )
    model = coreml.load_on_mac(package, compute_units)
    ct = coreml.coremltools()
    units = ct.ComputeUnit[compute_units]
    plan = ct.models.compute_plan.MLComputePlan.load_from_path(model.get_compiled_model_path(), units)
    return device_placements(plan)


def device_placements(plan: Any) -> list[DevicePlacement]:
    """The rows of a plan in the order of the program, without constants."""
    rows = []
    for operation in plan.model_structure.program.functions["main"].block.operations:
        if operation.operator_name.rpartition(".")[2] == "const":
            continue
        usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
        cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
        device = "" if usage is None else type(usage.preferred_compute_device).__name__
        rows.append(
            DevicePlacement(
                name=operation.outputs[0].name if operation.outputs else "",
                type=operation.operator_name,
                device=device.removeprefix("ML").removesuffix("ComputeDevice"),
                cost=None if cost is None else cost.weight,
            )
        )
    return rows


class CoreMLEngine:
    """Core ML as an engine of `portrait-export agree`. Its methods raise PackageError off a Mac."""

    def describe(self) -> dict[str, str]:
        """The machine and its software."""
        if sys.platform != "darwin":
            raise PackageError(
                f"Core ML itself runs on macOS only; this is {sys.platform}.",
                code="needs-macos",
                hint="run this command on a Mac; `portrait-export parity` needs none.",
            )
        return {
            "engine": "Core ML",
            "macos": platform.mac_ver()[0],
            "machine": platform.machine(),
            "coremltools": coreml.REQUIRED_VERSION,
        }

    def open(self, package: Path, unit: str) -> Any:
        """The package, ready to `predict` on these compute units."""
        return coreml.load_on_mac(package, unit)

    def devices(self, package: Path, unit: str) -> tuple[str, ...]:
        """The devices that Core ML plans for the package's operations, each once, sorted."""
        return tuple(sorted({row.device for row in compute_plan(package, unit) if row.device}))
