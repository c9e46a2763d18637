"""Run any ML Program on input files, and write its outputs as files."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, nearest
from ..utils.files import refuse_existing, refuse_replacing, written_whole
from ..utils.lfs import refuse_pointer
from ..utils.plain import plain_data

if TYPE_CHECKING:
    import numpy as np

    from ..mil.features import Feature

MAX_ARRAY_BYTES = 2**31  # of one .npy file


@dataclass(frozen=True)
class PredictRequest:
    """What `predict_files` is asked for.

    Attributes:
        package: a .mlpackage, ours or not.
        inputs: input's name → file: a picture for images, .npy for arrays.
        out: folder for the outputs; None writes nothing.
        function: of a multi-function package; None is its default one.
        arithmetic: `as_typed`, `fp32` or `fp16`.
        device: a torch device.
    """

    package: Path
    inputs: Mapping[str, Path] = field(default_factory=dict)
    out: Path | None = None
    function: str | None = None
    arithmetic: str = "as_typed"
    device: str = "cpu"
    force: bool = False


@dataclass(frozen=True)
class Output:
    """One output of a run.

    Attributes:
        kind: `image`, `array`, `dictionary` (probabilities by label), `string` or `int64` (a label), or `double`.
        shape: of an image, array or dictionary; empty for a single value.
        low, high: the smallest and largest finite number; None if there is none.
        value: of a classifier's outputs: the label, or {label: probability}. None for images and arrays.
        file: the file that was written, or None.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    low: float | None
    high: float | None
    value: Any
    file: Path | None


def predict_files(request: PredictRequest) -> list[Output]:
    """Run a package once, with its states at zero, and write all of its outputs or none.

    Raises:
        UsageError: for an input that the package does not have, or an output file that already exists.
        PortraitError: for a file that cannot be read or written, or a package that cannot be run.
    """
    from ..runtime import load

    model = load(request.package, arithmetic=request.arithmetic, function=request.function, device=request.device)
    features = {feature.name: feature for feature in model.inputs}
    for name in request.inputs:
        if name not in features:
            hint = nearest(name, list(features), what="input")
            raise UsageError(f"{request.package.name} has no input {name!r}.", hint=hint)
    targets = {feature.name: _target(feature, request) for feature in model.outputs}
    refuse_replacing(filter(None, targets.values()), request.inputs.values())
    inputs = {name: _read(features[name], path) for name, path in request.inputs.items()}
    values = model.predict(inputs, model.make_state())
    _write(
        {path: _encoded(values[name], path.suffix) for name, path in targets.items() if path is not None}, request.force
    )
    return [_output(feature, values[feature.name], targets[feature.name]) for feature in model.outputs]


def _target(feature: Feature, request: PredictRequest) -> Path | None:
    if request.out is None:
        return None
    path = request.out / f"{feature.name}{_suffix(feature)}"
    if path.parent != request.out:
        raise UsageError(f"The output {feature.name!r} has no name that a file can have; leave out `-o`.")
    refuse_existing(path, force=request.force)
    return path


def _suffix(feature: Feature) -> str:
    """The file type of an output. PNG has no 16-bit floats."""
    if feature.kind == "image" and feature.color != "grayscale_fp16":
        return ".png"
    return ".npy" if feature.kind in ("image", "array") else ".json"


def _read(feature: Feature, path: Path) -> Any:
    if feature.kind == "image":
        return _picture(feature, path)
    import numpy as np

    refuse_pointer(path, UsageError)
    try:
        if path.stat().st_size > MAX_ARRAY_BYTES:
            raise UsageError(f"{path} has {path.stat().st_size:,} bytes; at most {MAX_ARRAY_BYTES:,} are read.")
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(
            f"Input {feature.name!r} is an array; {path} is no .npy file that can be read: {error}",
            hint="write one with numpy.save; pickled objects are not read.",
        ) from error


def _picture(feature: Feature, path: Path) -> Any:
    """The photo, upright, stretched to the input's size: this is what Vision's `scaleFill` does before Core ML.

    Of several sizes the one that suits the photo is taken.
    """
    from PIL import Image

    from ..imaging.photo import open_photo
    from ..inputs.sizes import closest, listed_sizes
    from ..runtime.limits import claim

    picture = Image.fromarray(open_photo(path).pixels)
    if feature.allows((picture.height, picture.width)):
        return picture
    sizes = listed_sizes([feature]) or ((feature.shape[0], feature.shape[1]),)
    height, width = closest(sizes, (picture.height, picture.width))
    claim((height, width, 3))
    return picture.resize((width, height), Image.Resampling.BILINEAR)


def _encoded(value: Any, suffix: str) -> bytes:
    """The bytes of an output's file."""
    import numpy as np

    buffer = io.BytesIO()
    if suffix == ".png":
        value.save(buffer, "PNG")
    elif suffix == ".npy":
        np.save(buffer, np.asarray(value), allow_pickle=False)
    else:
        buffer.write((json.dumps(plain_data(value), indent=2, ensure_ascii=False) + "\n").encode())
    return buffer.getvalue()


def _write(files: Mapping[Path, bytes], force: bool) -> None:
    """Write all files, or none if one of them cannot be written."""
    with contextlib.ExitStack() as stack:
        for path, data in files.items():
            stack.enter_context(written_whole(path, force=force)).write_bytes(data)


def _output(feature: Feature, value: Any, file: Path | None) -> Output:
    import numpy as np

    if feature.kind in ("image", "array"):
        array, shown = np.asarray(value), None
    else:
        array, shown = np.asarray(list(value.values()) if isinstance(value, dict) else value), value
    dtype = feature.kind if array.dtype.kind == "U" else str(array.dtype)
    low, high = _range(array) if array.ndim else (None, None)
    return Output(feature.name, feature.kind, tuple(array.shape), dtype, low, high, shown, file)


def _range(array: np.ndarray) -> tuple[float | None, float | None]:
    import numpy as np

    if array.dtype.kind not in "fiub":
        return None, None
    finite = array[np.isfinite(array)]
    return (float(finite.min()), float(finite.max())) if finite.size else (None, None)
