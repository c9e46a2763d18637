"""Any ML Program and files for its inputs in; its outputs as files out. For packages that are not ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, nearest
from ..utils.files import refuse_existing, written_whole

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
    """One output: what it is, its range (None where it has no finite number), and the file, if one was written."""

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    low: float | None
    high: float | None
    file: Path | None


def predict_files(request: PredictRequest) -> list[Output]:
    """Run a package once.

    Raises:
        UsageError: an input that the package does not have, or that stands twice.
        PortraitError: a file that cannot be read, or a package that cannot be run.
    """
    from ..runtime import load

    model = load(request.package, arithmetic=request.arithmetic, function=request.function, device=request.device)
    features = {feature.name: feature for feature in model.inputs}
    for name in request.inputs:
        if name not in features:
            hint = nearest(name, list(features), what="input")
            raise UsageError(f"{request.package.name} has no input {name!r}.", hint=hint)
    targets = {f.name: _target(f, request) for f in model.outputs}
    values = model.predict({name: _read(features[name], path) for name, path in request.inputs.items()})
    return [_write(feature, values[feature.name], targets[feature.name], request) for feature in model.outputs]


def _target(feature: Feature, request: PredictRequest) -> Path | None:
    if request.out is None:
        return None
    path = request.out / f"{feature.name}{'.png' if feature.kind == 'image' else '.npy'}"
    if path.parent != request.out:
        raise UsageError(f"The output {feature.name!r} has no name that a file can have; leave out `-o`.")
    refuse_existing(path, force=request.force)
    return path


def _read(feature: Feature, path: Path) -> Any:
    if feature.kind == "image":
        return _picture(feature, path)
    import numpy as np

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

    picture = Image.fromarray(open_photo(path).pixels)
    if feature.allows((picture.height, picture.width)):
        return picture
    sizes = listed_sizes([feature]) or ((feature.shape[0], feature.shape[1]),)
    height, width = closest(sizes, (picture.height, picture.width))
    return picture.resize((width, height), Image.Resampling.BILINEAR)


def _write(feature: Feature, value: Any, path: Path | None, request: PredictRequest) -> Output:
    import numpy as np

    array = np.asarray(value)
    if path is not None:
        with written_whole(path, force=request.force) as partial:
            if feature.kind == "image":
                value.save(partial)
            else:
                np.save(partial, array, allow_pickle=False)
    low, high = _range(array)
    return Output(feature.name, feature.kind, tuple(array.shape), str(array.dtype), low, high, path)


def _range(array: np.ndarray) -> tuple[float | None, float | None]:
    import numpy as np

    if array.dtype.kind not in "fiub":
        return None, None
    finite = array[np.isfinite(array)]
    return (float(finite.min()), float(finite.max())) if finite.size else (None, None)
