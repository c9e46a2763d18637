"""Load the network that a user points at.

That is a model's name, a checkpoint, random weights, or a network of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from ..artifacts import DEFAULT_OPSET
from ..errors import UsageError
from ..preprocessing import PortraitSpec

if TYPE_CHECKING:
    import onnx

    from ..artifacts import Carried, Runner
    from ..capture.foreign.options import ForeignOptions
    from ..capture.registered import RegisteredNetwork

Size = tuple[int, int]  # height, width in pixels
Self = TypeVar("Self", bound="LoadedModel")


@dataclass(frozen=True)
class ModelSource:
    """Which network with which weights.

    Attributes:
        model: a registered name; may be omitted if the checkpoint determines the network.
        checkpoint: a file or folder with weights to use instead of the bundled ones.
        random_weights: use well-scaled random weights, seed 0, even where trained ones are bundled.
        size: (height, width) in pixels; None uses the model's own.
        foreign: a network of the user's own instead of a registered one.
        person_class: the classes of a checkpoint that are the person, counted from 0; None: as its labels tell.
    """

    model: str | None = None
    checkpoint: Path | None = None
    random_weights: bool = False
    size: Size | None = None
    foreign: ForeignOptions | None = None
    person_class: tuple[int, ...] | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the network is read from."""
        files = [self.checkpoint, None if self.foreign is None else self.foreign.file]
        return tuple(file for file in files if file is not None)

    @property
    def plain_onnx(self) -> Path | None:
        """The user's own ONNX file, if nothing else is given."""
        foreign = self.foreign
        if foreign is None or foreign.onnx is None:
            return None
        return foreign.onnx if self == ModelSource(foreign=type(foreign)(onnx=foreign.onnx)) else None


class LoadedModel(Protocol):
    """A network with its weights at one input size, wherever it came from, ready to export and to run."""

    @property
    def name(self) -> str:
        """What files made from it are called."""

    @property
    def spec(self) -> PortraitSpec:
        """How a photograph becomes its input, and its output a mask."""

    @property
    def trained(self) -> bool:
        """False for random weights, whose masks mean nothing."""

    @property
    def author(self) -> str:
        """Of the weights; empty where it is not known."""

    @property
    def licence(self) -> str:
        """Of the weights; empty where it is not known."""

    @property
    def paper(self) -> str:
        """Where the network comes from; empty where it is not known."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of bundled photographs for which its weights are good enough; empty: all."""

    @property
    def provenance(self) -> Mapping[str, str]:
        """Where the weights came from, for metadata and reports."""

    @property
    def parameters(self) -> int:
        """Number of parameters."""

    @property
    def reference_name(self) -> str:
        """What reports call the network when it runs as it came, such as `PyTorch`."""

    @property
    def summary(self) -> str:
        """What was found out about it, in one line; empty where nothing had to be."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Everything that was found out about it."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was only guessed, or looks wrong."""

    @property
    def quantized(self) -> bool:
        """Whether it stores its weights as 8-bit integers already."""

    @property
    def kept_outputs(self) -> tuple[str, ...]:
        """Outputs of `to_onnx` that a package returns in addition to the mask."""

    @property
    def carried(self) -> tuple[Carried, ...]:
        """What `to_onnx` takes and returns from frame to frame; empty unless the network is recurrent."""

    def with_output(self: Self, output: str) -> Self:
        """The same network for a package that returns something else, one of `preprocessing.OUTPUTS`.

        Raises:
            UsageError: the network cannot return that.
        """

    def open_runner(self, name: str = "") -> Runner:
        """The network as it came, as a Runner.

        Args:
            name: what reports call it; by default `reference_name`.
        """

    def to_onnx(self, *, opset: int = DEFAULT_OPSET) -> onnx.ModelProto:
        """A model with input `image`, perhaps `depth`, and outputs `mask` and `logits`, checked against the network.

        Args:
            opset: of a network that is traced; an ONNX file keeps its own.
        Raises:
            CaptureError: it cannot be exported, or the numbers differ.
        """


def load_model(source: ModelSource) -> LoadedModel:
    """Build the network and load its weights, at the source's size.

    Raises:
        UsageError: no network, or options that cannot be used together, or a size that the
            network does not take.
        CheckpointError: the weights cannot be read or do not fit, or none are bundled with the model.
        CaptureError: a network of the user's own cannot be read or run, or its input or mask is not found.
    """
    return model_loader(source)(source.size)


def model_loader(source: ModelSource, *, any_size: bool = False) -> Callable[[Size | None], LoadedModel]:
    """A function that gives the network at a size (None: its own). Registered networks are read once, here.

    Args:
        any_size: run a file of the user's own that fixes one size at others.
    """
    _require_utf8_names(source)
    require_network(source, "onnx", "torch", "torchscript")
    if source.foreign is None:
        return load_registered(source).at_size
    if source.model is not None or source.random_weights:
        flag = "`model=`" if source.model is not None else "`random_weights=True`"
        raise UsageError(
            f"{flag} is about registered models; `onnx=`, `torch=` and `torchscript=` bring a network of yours."
        )
    from ..capture.foreign.load import load_foreign

    foreign = replace(source.foreign, any_size=any_size or source.foreign.any_size)
    return lambda size: load_foreign(replace(foreign, size=size or foreign.size), source.checkpoint)


def require_network(source: ModelSource, *others: str) -> None:
    """Raise UsageError if a source names no network.

    Args:
        others: the arguments, besides `model` and `checkpoint`, that could have named one where it was asked for.
    """
    if source.model is None and source.checkpoint is None and source.foreign is None:
        *ways, last = (f"`{name}=`" for name in ("model", "checkpoint", *others))
        raise UsageError(
            f"Which model? None of {', '.join(ways)} and {last} is given.",
            hint="try `model=serseg_b0`; `portrait-export models` lists them all.",
        )


def load_registered(source: ModelSource) -> RegisteredNetwork:
    """A registered network at its own size, whatever the source's. Raises as `load_model`."""
    if source.checkpoint is not None and source.random_weights:
        raise UsageError("`checkpoint=` and `random_weights=True` cannot be used together.")
    if source.checkpoint is not None:
        return _from_checkpoint(source.checkpoint, source.model, source.person_class)
    if source.person_class is not None:
        raise UsageError("`person_class=` is for a checkpoint or a network of yours; registered models have one class.")
    assert source.model is not None
    return _from_catalogue(source.model, random_weights=source.random_weights)


def _require_utf8_names(source: ModelSource) -> None:
    """Raise UsageError for a file whose name cannot be stored in a package as its provenance."""
    for file in source.files:
        if file.name != file.name.encode(errors="ignore").decode():
            raise UsageError(f"The name of the file {file} is not UTF-8.", hint="give the file another name.")


def _from_catalogue(name: str, *, random_weights: bool) -> RegisteredNetwork:
    from ..capture.registered import RegisteredNetwork
    from ..models.registry import create_model, load_shipped, model_spec
    from ..models.weights_io import weights_sha256

    spec = model_spec(name)
    if random_weights:
        module, origin = create_model(name, seed=0).eval(), "random, seed 0"
    else:
        module, origin = load_shipped(name), f"bundled, {spec.weights}"
    return RegisteredNetwork(
        name=spec.name,
        module=module,
        spec=spec.portrait_spec(),
        trained=not random_weights,
        author="portrait-export",
        licence=spec.licence,
        paper=spec.paper,
        provenance={"model": spec.name, "weights": origin, "weights_sha256": weights_sha256(module)},
        size_multiple=spec.config.size_multiple,
        kinds=() if random_weights else spec.kinds,
    )


def _from_checkpoint(checkpoint: Path, model: str | None, person_class: Sequence[int] | None) -> RegisteredNetwork:
    from ..capture.checkpoint import load_checkpoint
    from ..capture.checkpoint.metadata import describe_classes
    from ..capture.registered import RegisteredNetwork
    from ..models.weights_io import weights_sha256

    loaded = load_checkpoint(checkpoint, model)
    module = loaded.person_module(person_class)
    person = loaded.person_classes(person_class)
    classes = describe_classes(person, loaded.config.num_labels, loaded.provenance["id2label"]) if person else ""
    return RegisteredNetwork(
        name=loaded.spec.name,
        module=module,
        spec=loaded.spec.portrait_spec(),
        trained=True,
        author="",
        licence=loaded.provenance["licence"],
        paper=loaded.spec.paper,
        provenance={
            "model": loaded.spec.name,
            "weights": loaded.provenance["origin"],
            "checkpoint_sha256": loaded.provenance["sha256"],
            "weights_sha256": weights_sha256(module),
            **({"person_classes": classes} if classes else {}),
        },
        summary=f"person: {classes}" if classes else "",
        size_multiple=loaded.config.size_multiple,
        size_problem=loaded.size_problem,
        warnings=loaded.warnings,
    )
