"""Compare, diagnose and score packages and models from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..artifacts import ARITHMETICS, RUNTIMES
from ..utils.stages import Observer, SilentObserver
from .arguments import NetworkOptions, Size, StrPath, names_of, path_of, paths_of, require_known, source_of
from .checked import checked

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..training.evaluate import Evaluation
    from ..verify.parity import ParityReport
    from ..workflows.audit import AuditResult
    from ..workflows.blame import BlameResult


@checked
def check_parity(
    package: StrPath,
    model: str | None = None,
    *,
    checkpoint: StrPath | None = None,
    onnx: StrPath | None = None,
    torch: str | None = None,
    torchscript: StrPath | None = None,
    random_weights: bool = False,
    size: Size | None = None,
    data: StrPath | None = None,
    kinds: Sequence[str] = (),
    min_iou: float | None = None,
    runtime: str = "portrait",
    arithmetic: str = "as_typed",
    baseline: StrPath | None = None,
    tolerance: float | None = None,
    observer: Observer | None = None,
    **network: Unpack[NetworkOptions],
) -> ParityReport:
    """Compare a saved package's masks with those of the model it was made from.

        report = pe.check_parity("serseg_b0.mlpackage", "serseg_b0", data="my_photos")
        print(report.passed, report.summary.iou_mean, report.worst(5))

    Args:
        package: the .mlpackage.
        model, checkpoint, onnx, torch, torchscript, random_weights, network: the model, as for `export`.
        size: (height, width) in pixels; by default every size of the package is compared.
        data: a folder of photos, or one with images/ and masks/; by default the bundled calibration set.
        kinds: as for `export`.
        min_iou: gate on this mean mask IoU, 0..1, instead of the recipe's.
        runtime: what runs the package: `portrait` (our runtime) or `coreml` (Core ML itself, macOS only).
        arithmetic: of our runtime: `as_typed` (as the package declares), `fp16` (every result rounded) or `fp32`.
        baseline: an earlier parity.json; also gate on how much the masks have got worse since.
        tolerance: by how much the mean mask IoU may fall below the baseline's, by default 0.001; one mask by ten times
            as much.
        observer: receives the progress; by default nothing does.
    Returns:
        The frozen report: `passed`, `gates`, `images` (a score per photo), `summary`, `notes`, `to_json()`,
        `to_junit()`.
    Raises:
        PortraitError: something cannot be read or run. A failed gate does not raise: see `passed`.
    """
    from ..workflows.parity import check_parity as run
    from ..workflows.requests import ParityRequest

    require_known("runtime", runtime, RUNTIMES)
    require_known("arithmetic", arithmetic, ARITHMETICS)
    source = source_of(
        model=model,
        checkpoint=checkpoint,
        random_weights=random_weights,
        size=size,
        onnx=onnx,
        torch=torch,
        torchscript=torchscript,
        network=network,
    )
    request = ParityRequest(
        data=path_of(data),
        kinds=names_of(kinds),
        min_iou=min_iou,
        runtime=runtime,
        arithmetic=arithmetic,
        baseline=path_of(baseline),
        tolerance=tolerance,
    )
    return run(source, Path(package), request, observer or SilentObserver())


@checked
def find_blame(
    package: StrPath,
    model: str | None = None,
    *,
    checkpoint: StrPath | None = None,
    random_weights: bool = False,
    onnx: StrPath | None = None,
    images: StrPath | Sequence[StrPath] = (),
    isolate: bool = True,
    arithmetic: str = "as_typed",
    bar_db: float | None = None,
    observer: Observer | None = None,
) -> BlameResult:
    """Find the operation that makes a package differ from the model it was made from.

    Args:
        package: the .mlpackage.
        model, checkpoint, random_weights: the model, as for `export`.
        onnx: an ONNX file to compare with instead.
        images: photos to compare on; by default three of the calibration set.
        isolate: also run each operation on the reference's inputs, to separate inherited error from its own.
        arithmetic: as for `check_parity`.
        bar_db: SNR in dB, 0 to 200, below which an operation is bad; by default what its stored types allow.
        observer: receives the progress; by default nothing does.
    Returns:
        The frozen report: `passed`, `found` (operation by operation, `found.first` is the first bad one), `links` (the
        models before the package), `to_json()`.
    Raises:
        PortraitError: something cannot be read or run, or the two share no value. A bad operation does not raise.
    """
    from ..inputs.sources import require_network
    from ..workflows.blame import BlameRequest
    from ..workflows.blame import find_blame as run

    require_known("arithmetic", arithmetic, ARITHMETICS)
    source = source_of(model=model, checkpoint=checkpoint, random_weights=random_weights)
    if onnx is None:
        require_network(source, "onnx")
    request = BlameRequest(Path(package), source, path_of(onnx), paths_of(images), isolate, arithmetic, bar_db)
    return run(request, observer or SilentObserver())


@checked
def audit(
    package: StrPath,
    against: StrPath | None = None,
    *,
    checkpoint: StrPath | None = None,
    onnx: StrPath | None = None,
    random_weights: bool = False,
    stored_as: Sequence[str] = (),
    observer: Observer | None = None,
) -> AuditResult:
    """List how a package from anywhere stores its weights, and find those that cannot be right.

        result = pe.audit("serseg_b0.mlpackage", "serseg_b0", stored_as=["int8"])
        print(result.passed, result.audit.problems, result.audit.by_dtype())

    Args:
        package: the .mlpackage.
        against: what its weights should be: a registered model, an .onnx file or an uncompressed .mlpackage.
        checkpoint: weights of a registered model instead of the bundled ones.
        onnx: an ONNX file, as `against` may be.
        random_weights: compare with the model's random weights.
        stored_as: the types that large weights may be stored in, such as `int4`; the first must occur.
        observer: receives the progress; by default nothing does.
    Returns:
        The frozen result: `passed`, `audit` (`weights`, `problems`, `storage`: what every byte is for), `compared`,
        `to_json()`.
    Raises:
        PortraitError: something cannot be read, or the package does not have the network's weights. A fault does not
            raise.
    """
    from ..workflows.audit import AuditRequest, audit_package

    request = AuditRequest(
        package=Path(package),
        against=None if against is None else str(against),
        checkpoint=path_of(checkpoint),
        onnx=path_of(onnx),
        random_weights=random_weights,
        stored_as=names_of(stored_as),
    )
    return audit_package(request, observer or SilentObserver())


@checked
def evaluate(
    model: str | None = None,
    *,
    package: StrPath | None = None,
    checkpoint: StrPath | None = None,
    onnx: StrPath | None = None,
    torch: str | None = None,
    torchscript: StrPath | None = None,
    random_weights: bool = False,
    size: Size | None = None,
    data: StrPath | None = None,
    split: str | None = None,
    observer: Observer | None = None,
    **network: Unpack[NetworkOptions],
) -> Evaluation:
    """Score a model or a package against ground-truth masks.

        scores = pe.evaluate(package="serseg_b0.mlpackage", data="my_photos")
        print(scores.iou_mean, scores.boundary_f_mean, scores.worst(5))

    Args:
        model, checkpoint, onnx, torch, torchscript, random_weights, size, network: the model, as for `export`.
        package: a .mlpackage instead of a model; `size` is then one of its sizes.
        data: a folder with images/ and masks/; by default the bundled calibration set.
        split: use only this split of the data.
        observer: receives the progress; by default nothing does.
    Returns:
        The frozen scores, IoU and boundary F in 0..1, per photo and over all.
    Raises:
        PortraitError: nothing or several things to evaluate; photos, masks or depth maps that cannot be used.
    """
    from ..workflows.evaluate import EvaluateRequest, evaluate_masks

    source = source_of(
        model=model,
        checkpoint=checkpoint,
        random_weights=random_weights,
        size=size,
        onnx=onnx,
        torch=torch,
        torchscript=torchscript,
        network=network,
    )
    request = EvaluateRequest(source=source, package=path_of(package), data=path_of(data), split=split)
    return evaluate_masks(request, observer or SilentObserver()).scores
