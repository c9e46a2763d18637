"""Export models to Core ML packages, Core AI assets and ONNX files from Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..artifacts import ACTIVATIONS, AUTO, PRECISIONS, ROUNDINGS
from ..utils.stages import Observer, SilentObserver
from .arguments import NetworkOptions, Size, StrPath, names_of, path_of, patterns_of, require_known, size_of, source_of
from .checked import checked

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..workflows.requests import CoreAIExport, CoreMLExport, OnnxExport


@checked
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
    activations: str | None = None,
    asymmetric: bool = False,
    tune: bool = False,
    output: str = "mask",
    target: str = "iOS17",
    precision: str = "fp16",
    keep_fp32: Sequence[str] = (),
    states: bool = False,
    out: StrPath | None = None,
    name: str | None = None,
    author: str | None = None,
    license: str | None = None,
    parity: bool = True,
    data: StrPath | None = None,
    kinds: Sequence[str] = (),
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
        checkpoint: weights to use instead of the bundled ones: a Hugging Face folder, .safetensors, .bin, .pth, .pt or
            .ckpt.
        onnx: a network of your own in ONNX.
        torch: a network of your own in PyTorch, `file.py:factory`. RUNS that file; `checkpoint` is its weights.
        torchscript: a network of your own in TorchScript. RUNS the program in the file.
        random_weights: use random weights (seed 0), to measure size and shapes only.
        size: input (height, width) in pixels; by default the model's own.
        sizes: 2 to 8 input sizes for one package, the default first; instead of `size`.
        quantize: how weights are stored, `none` or a recipe such as `int8`, see `portrait-export recipes`; or the path
            of a TOML file of rules.
        rounding: of weights, `nearest` or `gptq` (error-compensated); by default `gptq`, but `nearest` for `int8`,
            which needs no photographs.
        activations: how ranges of 8-bit activations are chosen, `minmax`, `percentile` or `mse` (the default).
        asymmetric: whether the ranges of 8-bit activations may have different ends.
        tune: improve tables, scales, biases and norms after rounding, so that the masks of photographs of the
            calibration set are closer to the float network's; minutes.
        output: what the package returns: `mask` (8-bit grayscale image), `multiarray` (P(person), float) or `logits`.
        target: the oldest iOS that must run the package: `iOS16`, `iOS17`, `iOS18` or `iOS26`.
        precision: the arithmetic that the package declares: `fp16`, `fp32`, or `auto`, which is fp16 with the
            operations in float32 that the gates need.
        keep_fp32: operator types (`softmax`) and names of values, with `*` for any characters, that stay in float32 in
            a half-precision package.
        states: keep what a recurrent network carries from frame to frame in Core ML states (iOS18, half precision); by
            default it is inputs and outputs.
        out: output folder; by default build/NAME-RECIPE.
        name: what the package and its ONNX file are called; by default the model's name.
        author: of the weights, for the metadata; by default empty for weights of your own.
        license: of the weights, for the metadata; by default, for weights of your own, what their model card states.
        parity: whether to compare masks; False refuses `data`, `kinds` and `min_iou`, which say how.
        data: a folder of photos to compare on, or one with images/ and masks/; by default the bundled calibration set.
        kinds: of the bundled photos, `portrait`, `everyday`, `empty`, or several; by default those that the weights are
            good enough for.
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
    from ..workflows.requests import CoreMLRequest, comparison

    require_known("output", output, OUTPUTS)
    if rounding is not None:
        require_known("rounding", rounding, ROUNDINGS)
    if activations is not None:
        require_known("activations", activations, ACTIVATIONS)
    require_known("target", target, TARGETS)
    require_known("precision", precision, (*PRECISIONS, AUTO))
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
        activations=activations,
        asymmetric=asymmetric,
        tune=tune,
        output=output,
        target=target,
        precision=precision,
        keep_fp32=patterns_of(keep_fp32),
        states=states,
        out=path_of(out),
        name=name,
        author=author,
        license=license,
        parity=comparison(parity=parity, data=path_of(data), kinds=names_of(kinds), min_iou=min_iou, max_mb=max_mb),
        force=force,
        sizes=tuple(map(size_of, sizes)),
    )
    return export_coreml(request, observer or SilentObserver())


@checked
def export_coreai(
    model: str | None = None,
    *,
    checkpoint: StrPath | None = None,
    onnx: StrPath | None = None,
    torch: str | None = None,
    torchscript: StrPath | None = None,
    random_weights: bool = False,
    size: Size | None = None,
    quantize: str = "none",
    output: str = "mask",
    precision: str = "fp16",
    out: StrPath | None = None,
    name: str | None = None,
    author: str | None = None,
    license: str | None = None,
    parity: bool = True,
    data: StrPath | None = None,
    kinds: Sequence[str] = (),
    min_iou: float | None = None,
    force: bool = False,
    observer: Observer | None = None,
    **network: Unpack[NetworkOptions],
) -> CoreAIExport:
    """Export a model to a Core AI asset, run it with Apple's runtime, and compare its masks with the model's.

    It needs the extra `coreai`, Python 3.11 or later and, on Linux, x86-64 with glibc 2.34 or later.

        export = pe.export_coreai("serseg_b0", quantize="int8", out="build")
        print(export.package.path, export.passed)

    Args:
        model, checkpoint, onnx, torch, torchscript, random_weights, size, network: as for `export`.
        quantize: how weights are stored, `none`, `int8`, or another recipe that assets can hold, such as `palette4`.
        output: what the asset returns: `mask` (8 bits), `multiarray` (P(person) and classes) or `logits` alone.
        precision: the arithmetic of the asset: `fp16` or `fp32`.
        out: output folder; by default build/NAME-RECIPE-coreai.
        name, author, license: as for `export`.
        parity: whether to run the asset and compare masks; False refuses `data`, `kinds` and `min_iou`, which say how.
        data: a folder of photos to compare on; by default 4 of the bundled ones, because Apple's runtime is slow.
        kinds: as for `export`.
        min_iou: gate on this mean mask IoU, 0..1, instead of the recipe's.
        force: replace an existing asset.
        observer: receives the progress; by default nothing does.
    Returns:
        The frozen result: `package` (path, sha256, size_bytes), `folder`, `audit`, `parity`, `stages`, `record` (the
        content of export.json) and `passed`.
    Raises:
        PortraitError: Core AI is not installed, or the export could not be made. A failed gate does not raise: see
            `passed`.
    """
    from ..preprocessing import OUTPUTS
    from ..workflows.export_coreai import export_coreai as run
    from ..workflows.requests import CoreAIRequest, comparison

    require_known("output", output, OUTPUTS)
    request = CoreAIRequest(
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
        output=output,
        precision=precision,
        out=path_of(out),
        name=name,
        author=author,
        license=license,
        parity=comparison(parity=parity, data=path_of(data), kinds=names_of(kinds), min_iou=min_iou),
        force=force,
    )
    return run(request, observer or SilentObserver())


@checked
def export_onnx(
    model: str | None = None,
    *,
    checkpoint: StrPath | None = None,
    onnx: StrPath | None = None,
    torch: str | None = None,
    torchscript: StrPath | None = None,
    random_weights: bool = False,
    size: Size | None = None,
    opset: int | None = None,
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
        opset: ONNX opset of a traced model, 13 to 20; by default 17. An ONNX file keeps its own.
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
