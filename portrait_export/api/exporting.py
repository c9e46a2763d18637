"""Export models to Core ML packages and ONNX files from Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..artifacts import DEFAULT_OPSET, PRECISIONS, ROUNDINGS
from ..utils.stages import Observer, SilentObserver
from .arguments import NetworkOptions, Size, StrPath, path_of, require_known, size_of, source_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..workflows.requests import CoreMLExport, OnnxExport


def export(
    model: str | None = None,
    *,
    checkpoint: StrPath | None = None,
    onnx: StrPath | None = None,
    torch: str | None = None,
    torchscript: StrPath | None = None,
    random_weights: bool = False,
    size: Size | None = None,
    sizes: Sequence[Size] = (),
    quantize: str = "none",
    rounding: str | None = None,
    output: str = "mask",
    target: str = "iOS17",
    precision: str = "fp16",
    out: StrPath | None = None,
    parity: bool = True,
    data: StrPath | None = None,
    min_iou: float | None = None,
    max_mb: float | None = None,
    force: bool = False,
    observer: Observer | None = None,
    **network: Unpack[NetworkOptions],
) -> CoreMLExport:
    """Export a model to a Core ML package, run the saved package, and compare its masks with the model's.

    The output folder gets the package, the simplified ONNX file, export.json, parity.json, report.html and pictures
    of the images with the worst masks.

        export = pe.export("serseg_b0", quantize="int8", out="build")
        export = pe.export(onnx="modnet.onnx", mean=0.5, std=0.5)
        print(export.package.path, export.package.size_bytes, export.passed)

    Args:
        model: a registered model, see `list_models`. May be left out if the checkpoint tells which model it is.
        checkpoint: weights to use instead of the bundled ones: a Hugging Face folder, .safetensors, .bin, .pth, .ckpt.
        onnx: a network of your own in ONNX.
        torch: a network of your own in PyTorch, `file.py:factory`. RUNS that file; `checkpoint` is its weights.
        torchscript: a network of your own in TorchScript. RUNS the program in the file.
        random_weights: use random weights (seed 0), to measure size and shapes only.
        size: input (height, width) in pixels; by default the model's own.
        sizes: 2 to 8 input sizes for one package, the default first; instead of `size`.
        quantize: how weights are stored, `none` or a recipe such as `int8`, see `portrait-export recipes`; or the path
            of a TOML file of rules.
        rounding: of weights, `nearest` or `gptq` (error-compensated); by default gptq below 8 bits.
        output: what the package returns: `mask` (8-bit grayscale image), `multiarray` (P(person), float) or `logits`.
        target: the oldest iOS that must run the package: `iOS16`, `iOS17`, `iOS18` or `iOS26`.
        precision: the arithmetic that the package declares, `fp16` or `fp32`.
        out: output folder; by default build/MODEL-RECIPE.
        parity: whether to compare masks.
        data: a folder of photos to compare on, or one with images/ and masks/; by default the bundled calibration set.
        min_iou: gate on this mean mask IoU, 0..1, instead of the recipe's. With `quantize="mixed"` alone, the smallest
            package that reaches it is made.
        max_mb: with `quantize="mixed"`, the package has the best masks within this size in MB.
        force: replace an existing package.
        observer: receives the progress; by default nothing does.
        network: how to read a network of your own, see `NetworkOptions`.
    Returns:
        The frozen result: `package` (path, sha256, size_bytes), `folder`, `onnx`, `report`, `sizes`, `audit`, `gates`,
        `parity`, `stages`, `record` (the content of export.json) and `passed`.
    Raises:
        PortraitError: the export could not be made. A failed gate does not raise: see `passed`.
    """
    from ..mil.coreml import TARGETS
    from ..preprocessing import OUTPUTS
    from ..workflows.export import export_coreml
    from ..workflows.requests import CoreMLRequest, ParityRequest

    require_known("output", output, OUTPUTS)
    if rounding is not None:
        require_known("rounding", rounding, ROUNDINGS)
    require_known("target", target, TARGETS)
    require_known("precision", precision, PRECISIONS)
    request = CoreMLRequest(
        source=source_of(
            model=model,
            checkpoint=checkpoint,
            random_weights=random_weights,
            size=size,
            onnx=onnx,
            torch=torch,
            torchscript=torchscript,
            network=network,
        ),
        recipe=quantize,
        max_mb=max_mb,
        rounding=rounding,
        output=output,
        target=target,
        precision=precision,
        out=path_of(out),
        parity=ParityRequest(data=path_of(data), min_iou=min_iou, max_mb=max_mb) if parity else None,
        force=force,
        sizes=tuple(map(size_of, sizes)),
    )
    return export_coreml(request, observer or SilentObserver())


def export_onnx(
    model: str | None = None,
    *,
    checkpoint: StrPath | None = None,
    onnx: StrPath | None = None,
    torch: str | None = None,
    torchscript: StrPath | None = None,
    random_weights: bool = False,
    size: Size | None = None,
    opset: int = DEFAULT_OPSET,
    out: StrPath | None = None,
    force: bool = False,
    observer: Observer | None = None,
    **network: Unpack[NetworkOptions],
) -> OnnxExport:
    """Export a model to an ONNX file, checked with ONNX Runtime and simplified.

    Its inputs are `image` (1, 3, H, W), normalised RGB, and `depth` (1, 1, H, W) for depth models; its outputs `mask`
    (1, 1, H, W), P(person), and `logits` (1, 1, h, w) at the network's own resolution.

    Args:
        model, checkpoint, onnx, torch, torchscript, random_weights, size, network: as for `export`.
        opset: ONNX opset of a traced model, 13 to 20.
        out: output file; by default build/MODEL/MODEL.onnx.
        force: replace an existing file.
        observer: receives the progress; by default nothing does.
    Returns:
        The frozen result: `path`, `model`, `stages` and `size_bytes`.
    Raises:
        PortraitError: the export could not be made.
    """
    from ..workflows.export import export_onnx as run
    from ..workflows.requests import OnnxRequest

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
    request = OnnxRequest(source=source, out=path_of(out), opset=opset, force=force)
    return run(request, observer or SilentObserver())
