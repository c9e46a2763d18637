"""Tell whether a saved model is a Core ML package or a Core AI asset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..preprocessing import METADATA_PREFIX, SPEC_KEY, PortraitSpec
from .sizes import Size, listed_sizes

if TYPE_CHECKING:
    from ..mil.features import Feature
    from ..mil.program import Program


@dataclass(frozen=True)
class SavedModel:
    """A saved model on disk.

    Attributes:
        path: a .mlpackage or .aimodel folder.
        metadata: the exporter's entries.
        target: the oldest system that runs it.
        sizes: every input size that it lists; empty if it has one fixed size.
        core_ai: whether it is a Core AI asset.
        inputs, outputs: of a package, as an app sees them.
    """

    path: Path
    metadata: Mapping[str, str]
    target: str
    sizes: tuple[Size, ...] = ()
    core_ai: bool = False
    inputs: tuple[Feature, ...] = ()
    outputs: tuple[Feature, ...] = ()

    @classmethod
    def of_program(cls, path: Path, program: Program) -> SavedModel:
        """A package whose program has been read."""
        return cls(
            path,
            program.metadata.user_defined,
            program.deployment_target,
            listed_sizes(program.inputs),
            inputs=program.inputs,
            outputs=program.outputs,
        )

    @property
    def spec(self) -> PortraitSpec | None:
        """The preprocessing that it states; None for a model of another tool."""
        text = self.metadata.get(SPEC_KEY)
        return None if text is None else PortraitSpec.from_json(text, source=self.path.name)

    @property
    def precision(self) -> str:
        """The arithmetic that it declares."""
        return self.metadata.get(f"{METADATA_PREFIX}precision", "fp16")

    @property
    def rounding(self) -> str:
        """How its weights were rounded; empty if none is compressed, or if it is not known."""
        return self.metadata.get(f"{METADATA_PREFIX}rounding", "")

    @property
    def recipe(self) -> str:
        """The recipe that it was made with; empty if it is not known."""
        return self.metadata.get(f"{METADATA_PREFIX}recipe", "")


def read_saved(path: Path) -> SavedModel:
    """Read a saved model's metadata. Raises PackageError if it is damaged."""
    from ..coreai.asset import TARGET, is_asset, read_asset

    if is_asset(path):
        return SavedModel(path, read_asset(path).metadata.user_defined, TARGET, core_ai=True)
    from ..mil.program import read_program

    return SavedModel.of_program(path, read_program(path))
