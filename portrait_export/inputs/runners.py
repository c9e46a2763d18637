"""Open what segments photos, a saved package or a network, as a Runner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from ..artifacts import Frame, Prediction, Runner
from ..errors import UsageError
from ..preprocessing import PortraitSpec
from .sizes import Size, listed_sizes, require_listed, size_of
from .sources import ModelSource, load_model

if TYPE_CHECKING:
    from ..coreai.runner import CoreAIRunner
    from ..mil.features import Feature
    from ..runtime.runner import PackageRunner

R = TypeVar("R", bound=Runner, covariant=True)


@dataclass(frozen=True)
class OpenRunner(Generic[R]):
    """A Runner, and what it takes to prepare photos for it.

    Attributes:
        runner: of type R, which tells a package's runner from others.
        spec: how a photo becomes a frame, at the default size.
        sizes: the (height, width) that frames may have, the default first.
        notes, warnings: what was found out about the network; what was only guessed.
        carried: names of the values that it carries from frame to frame; empty unless it is recurrent.
    """

    runner: R
    spec: PortraitSpec
    sizes: tuple[Size, ...]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    carried: tuple[str, ...] = ()

    @property
    def first_frame_note(self) -> str:
        """That photos which are run one by one are the first frames of films; empty unless the network is recurrent."""
        if not self.carried:
            return ""
        names = ", ".join(self.carried)
        return f"{self.runner.name} carries {names} from frame to frame, and each photo is run as a first frame"


def open_runner(source: ModelSource, package: Path | None = None) -> OpenRunner[Runner]:
    """Open a saved package, or else the network that the source describes.

    An ONNX file that this project wrote is run as it is, if the source says nothing else about it: it carries its spec.

    Args:
        package: a .mlpackage or .aimodel; `source.size` then is one of the sizes that it lists.
    Raises:
        PortraitError: it cannot be read, or does not take the source's size, or has no classes to choose from.
    """
    if package is not None:
        if source.person_class is not None:
            raise UsageError(
                "`person_class=` is for a checkpoint or a network of yours; a package already gives the person's mask.",
                hint="leave out `person_class=`, or export the network again with it.",
            )
        from ..coreai.asset import is_asset

        opener = open_asset if is_asset(package) else open_package
        return opener(package, size=source.size)
    exported = _exported_onnx(source)
    if exported is not None:
        return exported
    model = load_model(source)
    carried = tuple(value.name for value in model.carried)
    runner = model.open_runner(model.name)
    return OpenRunner(runner, model.spec, (size_of(model),), model.notes, model.warnings, carried)


def open_package(
    path: Path, *, size: Size | None = None, arithmetic: str = "as_typed", device: str = "cpu"
) -> OpenRunner[PackageRunner]:
    """Open a saved package, of this project or of another tool; `size` limits it to one of the sizes that it lists.

    Args:
        arithmetic, device: as for `PackageRunner`.
    """
    from ..runtime.runner import PackageRunner

    saved = PackageRunner(path, arithmetic=arithmetic, device=device)
    spec = saved.spec or _spec_of_inputs(saved.program.inputs, path)
    sizes = listed_sizes(saved.program.inputs) or ((spec.height, spec.width),)
    if size is not None:
        require_listed(size, sizes, name=path.name)
        sizes = (size,)
    carried = tuple(place.name for place in saved.carried)
    return OpenRunner(saved, spec.with_size(*sizes[0]), sizes, carried=carried)


def open_asset(path: Path, *, size: Size | None = None) -> OpenRunner[CoreAIRunner]:
    """Open a Core AI asset of this project, to be run by Apple's runtime; `size` must be its own."""
    from ..coreai.runner import CoreAIRunner

    saved = CoreAIRunner(path)
    own = (saved.spec.height, saved.spec.width)
    if size is not None:
        require_listed(size, (own,), name=path.name)
    return OpenRunner(saved, saved.spec, (own,))


def _spec_of_inputs(inputs: Sequence[Feature], package: Path) -> PortraitSpec:
    """The spec of a package from another tool: the size of its only image input. It normalises pixels itself."""
    images = [feature for feature in inputs if feature.kind == "image"]
    if len(images) != 1 or len(inputs) != 1:
        found = ", ".join(f"{feature.name} ({feature.kind})" for feature in inputs)
        raise UsageError(f"{package.name} takes {found}; segmenting needs a package with one image input.")
    height, width = images[0].shape[-2:]
    return PortraitSpec(height=height, width=width)


def _exported_onnx(source: ModelSource) -> OpenRunner[Runner] | None:
    """The ONNX file of a source that gives nothing but its path, if this project wrote it."""
    file = source.plain_onnx
    if file is None:
        return None
    from ..capture.export import spec_of
    from ..capture.onnx.load import load_onnx
    from ..capture.runners import OnnxRunner

    model = load_onnx(file)
    spec = spec_of(model)
    if spec is None:
        return None
    runner = OnnxRunner(model, spec, name=file.name)
    return OpenRunner(runner, spec, ((spec.height, spec.width),), carried=runner.carried)


class RememberingRunner:
    """Keeps a runner's predictions, so that it runs once for several comparisons. Implements `artifacts.Runner`."""

    def __init__(self, runner: Runner):
        self.name = runner.name
        self._runner = runner
        self._kept: dict[str, Prediction] = {}

    def run(self, frames: Sequence[Frame]) -> list[Prediction]:
        """The predictions of frames, which their names tell apart."""
        for frame in frames:
            if frame.name not in self._kept:
                self._kept[frame.name] = self._runner.run([frame])[0]
        return [self._kept[frame.name] for frame in frames]
