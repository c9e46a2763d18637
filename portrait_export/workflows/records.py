"""Build the records of an export: the package's metadata and export.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..inputs.sizes import Size, labels, size_of
from ..inputs.sources import LoadedModel
from ..preprocessing import LOGITS_KEY, METADATA_PREFIX, SPEC_KEY, PortraitSpec
from ..utils.files import write_json
from ..utils.plain import plain_data
from ..utils.version import __version__
from ..utils.wording import in_texts, in_words
from .recurrent import metadata_of
from .requests import CoreAIExport, CoreAIRequest, CoreMLExport, CoreMLRequest

if TYPE_CHECKING:
    from ..mil.package import SavedPackage
    from ..mil.program import Metadata
    from ..quantize.recipe import Recipe

EXPORT_FILE = "export.json"
MAX_RECORD_BYTES = 64 * 2**20


def package_metadata(
    model: LoadedModel,
    recipe: Recipe,
    request: CoreMLRequest,
    sizes: Sequence[Size],
    logits: str,
    kept: Mapping[str, str],
) -> Metadata:
    """Return the metadata that Xcode and apps show, with our full spec and provenance.

    Args:
        model: the network at the package's default size.
        sizes: every input size of the package.
        logits: the name of the package's value that parity compares with the model's logits; empty if there is none.
        kept: the operations kept in float32, name → type.
    """
    from ..mil.program import Metadata

    return Metadata(
        author=model.author if request.author is None else request.author,
        license=model.licence if request.license is None else request.license,
        version=__version__,
        description=_description(model, _stored_dtype(model, recipe, request), sizes),
        user_defined={
            SPEC_KEY: model.spec.to_json(),
            f"{METADATA_PREFIX}recipe": recipe.name,
            f"{METADATA_PREFIX}precision": request.precision,
            **_rounding(recipe, request.rounding),
            **_activations(recipe, request),
            f"{METADATA_PREFIX}trained": str(model.trained).lower(),
            f"{METADATA_PREFIX}paper": model.paper,
            **({f"{METADATA_PREFIX}sizes": labels(sizes, last=",").replace(" ", "")} if len(sizes) > 1 else {}),
            **({LOGITS_KEY: logits} if logits else {}),
            **metadata_of(model, states=request.states),
            **({f"{METADATA_PREFIX}keep_fp32": " ".join(kept)} if kept else {}),
            **{f"{METADATA_PREFIX}{key}": value for key, value in model.provenance.items()},
            **{f"{METADATA_PREFIX}version.{name}": version for name, version in tool_versions().items()},
            **_preview(model.spec),
        },
    )


def asset_metadata(model: LoadedModel, recipe: Recipe, request: CoreAIRequest) -> Metadata:
    """Return the metadata of a Core AI asset: the same entries as a package's."""
    from ..mil.program import Metadata

    return Metadata(
        author=model.author if request.author is None else request.author,
        license=model.licence if request.license is None else request.license,
        version=__version__,
        description=_description(model, recipe.dtype or request.precision, [size_of(model)]),
        user_defined={
            SPEC_KEY: model.spec.to_json(),
            f"{METADATA_PREFIX}recipe": recipe.name,
            f"{METADATA_PREFIX}precision": request.precision,
            **_rounding(recipe),
            f"{METADATA_PREFIX}trained": str(model.trained).lower(),
            f"{METADATA_PREFIX}paper": model.paper,
            **{f"{METADATA_PREFIX}{key}": value for key, value in model.provenance.items()},
            **{f"{METADATA_PREFIX}version.{name}": version for name, version in asset_tool_versions().items()},
        },
    )


def facts_of(recipe: Recipe, precision: str, target: str, rounding: str | None = None) -> dict[str, str]:
    """Return what `compare_masks` has to know of a package; `rounding` is None for the recipe's own."""
    return {
        "recipe": recipe.name,
        "rounding": recipe.rounded_by(rounding),
        "precision": precision,
        "target": target,
    }


def _rounding(recipe: Recipe, chosen: str | None = None) -> dict[str, str]:
    """Return the entry that says how weights were rounded; none for recipes that compress none."""
    rounding = recipe.rounded_by(chosen)
    return {f"{METADATA_PREFIX}rounding": rounding} if rounding else {}


def _activations(recipe: Recipe, request: CoreMLRequest) -> dict[str, str]:
    """Return the entry that says how ranges of activations were chosen; none for recipes of weights alone."""
    if not recipe.activations:
        return {}
    side = "asymmetric" if request.asymmetric else "symmetric"
    return {f"{METADATA_PREFIX}activations": f"{request.activations or recipe.activations}, {side}"}


def _stored_dtype(model: LoadedModel, recipe: Recipe, request: CoreMLRequest) -> str:
    """The type of most stored weights; that of the network's own if they are integers and no recipe replaces them."""
    return recipe.dtype or ("int8" if model.quantized else request.precision)


def _description(model: LoadedModel, dtype: str, sizes: Sequence[Size]) -> str:
    warning = "" if model.trained else " RANDOM WEIGHTS: the mask means nothing."
    return f"Person segmentation, {model.name}, {labels(sizes, last=' or ')}, {dtype} weights.{warning}"


def _preview(spec: PortraitSpec) -> dict[str, str]:
    """Return the entries of Xcode's image-segmenter preview, which reads MultiArray outputs only.

    https://apple.github.io/coremltools/docs-guides/source/xcode-model-preview-types.html
    """
    labels = {"labels": ["background", "person"], "colors": ["#000000", "#FFFFFF"]}
    entries = {f"{METADATA_PREFIX}classes": json.dumps(labels["labels"])}
    if spec.output == "multiarray":
        entries["com.apple.coreml.model.preview.type"] = "imageSegmenter"
        entries["com.apple.coreml.model.preview.params"] = json.dumps(labels)
    return entries


def tool_versions() -> dict[str, str]:
    """Return the versions of the libraries that make a package, by name.

    Without the label of a local build, such as `+cpu` or `+cu130`, so that the same release writes the same bytes.
    """
    from importlib.metadata import version

    names = ("torch", "onnx", "onnxsim", "onnxruntime", "coremltools", "numpy")
    return {"portrait-export": __version__, **{name: version(name).partition("+")[0] for name in names}}


def asset_tool_versions() -> dict[str, str]:
    """Return the versions of the libraries that make a Core AI asset, by name."""
    from ..coreai.installed import VERSIONS

    return {name: version for name, version in tool_versions().items() if name != "coremltools"} | VERSIONS


def begin_record(
    folder: Path,
    model: LoadedModel,
    recipe: Recipe,
    request: CoreMLRequest | CoreAIRequest,
    package: SavedPackage | None = None,
) -> None:
    """Write an export.json that says that the export has not finished, and remove reports about an earlier one.

    It stays if the run fails or is interrupted, and then the next run may replace the files (`is_unfinished`).

    Args:
        package: None while it is not written.
    """
    from ..verify.report import REPORT_FILES

    for name in REPORT_FILES:
        (folder / name).unlink(missing_ok=True)
    record = {
        "finished": False,
        "name": request.name,
        "model": model.name,
        "recipe": recipe.name,
        "precision": request.precision,
        "target": request.target,
        "package": None if package is None else _package(package),
        "passed": False,
    }
    write_json(folder / EXPORT_FILE, record)


def is_unfinished(folder: Path, name: str) -> bool:
    """Whether a folder holds what a failed or interrupted export of this name has left."""
    file = folder / EXPORT_FILE
    try:
        if file.stat().st_size > MAX_RECORD_BYTES:
            return False
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(record, dict) and record.get("finished") is False and record.get("name") == name


def _package(package: SavedPackage) -> dict[str, Any]:
    return {"file": package.path.name, "sha256": package.sha256, "size_bytes": package.size_bytes}


def export_record(export: CoreMLExport, request: CoreMLRequest) -> dict[str, Any]:
    """Return the content of export.json. A gate's NaN is null, and then its `passed` is false."""
    keep = None if export.mixed is None else {"patterns": list(request.keep_fp32), **export.mixed.to_json()}
    return _record(export, request, sizes=export.sizes, keep_fp32=keep, versions=tool_versions())


def asset_record(export: CoreAIExport, request: CoreAIRequest) -> dict[str, Any]:
    """Return the content of export.json for a Core AI asset: the same keys as for a package."""
    return _record(export, request, sizes=(size_of(export.model),), keep_fp32=None, versions=asset_tool_versions())


def _record(
    export: CoreMLExport | CoreAIExport,
    request: CoreMLRequest | CoreAIRequest,
    *,
    sizes: Sequence[Size],
    keep_fp32: dict[str, Any] | None,
    versions: dict[str, str],
) -> dict[str, Any]:
    record: dict[str, Any] = {
        "finished": True,
        "name": export.package.path.stem,
        "model": export.model.name,
        "trained": export.model.trained,
        "parameters": export.model.parameters,
        "spec": export.model.spec.to_dict(),
        "sizes": [list(size) for size in sizes],
        "recipe": export.recipe.name,
        "precision": request.precision,
        "keep_fp32": keep_fp32,
        "target": request.target,
        "package": _package(export.package),
        "audit": export.audit.to_json(),
        "gates": [] if export.parity is None else [plain_data(asdict(gate)) for gate in export.parity.gates],
        "parity": None if export.parity is None else "parity.json",
        "passed": export.passed,
        "warnings": [line for s in export.stages for line in s.warnings],
        "stages": [
            {"name": s.name, "seconds": round(s.seconds, 3), "summary": s.summary, **s.facts} for s in export.stages
        ],
        "provenance": dict(export.model.provenance),
        "versions": versions,
    }
    worded: dict[str, Any] = in_texts(record, in_words)
    return worded
