"""Estimate what each way to store each weight costs: bytes, and error of the masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ..mil.encoded import EncodedWeight
from ..mil.weights import ALIGNMENT, METADATA_BYTES
from .apply import supports
from .assignment import Assignment, Storage
from .encode import encode_weight, output_error, sensitive
from .knapsack import Choice, Option
from .layers import Weights
from .recipes import RECIPES

NONE = "none"
NOT_WORTH_IT = "compressed, it would harm the masks more than its bytes are worth"
# Without palette4-vector: of segformer_b0 it made 2.19 MB with a mask IoU of .9985, palette4 2.18 MB with .9988.
CANDIDATES = ("palette2", "palette3", "palette4", "int4-block32", "palette6", "int8", NONE)
SAFE_CANDIDATES = ("palette4", "palette6", "int8", NONE)  # of layers that few bits harm most, which have no Hessians
DECODER_BYTES = 150  # that a decoding operation adds to the specification, about
IN_THE_SPECIFICATION = 10  # elements of arrays that need no blob of their own


class Encoder:
    """Encodes weights on demand, each form once."""

    def __init__(self, weights: Weights, hessians: Mapping[str, np.ndarray], *, ios18: bool):
        self.weights = weights
        self.hessians = hessians
        self._ios18 = ios18
        self._done: dict[tuple[str, str], EncodedWeight | str] = {}

    def __call__(self, name: str, recipe: str) -> EncodedWeight | str:
        """A weight in exactly the form of a recipe, or the reason why that form does not suit it."""
        key = name, recipe
        if key not in self._done:
            storage = Storage.of(RECIPES[recipe])
            self._done[key] = encode_weight(self.weights, name, storage, self.hessians.get(name), ios18=self._ios18)
        return self._done[key]

    def change(self, name: str, recipe: str) -> np.ndarray:
        """What a recipe adds to the values of a weight, float32 in one dimension; it must suit the weight."""
        encoded = self(name, recipe)
        assert isinstance(encoded, EncodedWeight)
        return (encoded.decoded.astype(np.float32) - self.weights.constants[name].numpy().astype(np.float32)).ravel()

    def candidates(
        self, target: str, *, measured: bool, on_weight: Callable[[int, int], None] = lambda done, total: None
    ) -> dict[str, list[str]]:
        """The recipes to choose from for each weight, without those that do not suit it.

        Args:
            target: the deployment target, which must support them.
            measured: whether gradients measure their effect; if not, sensitive layers keep at least 8 bits.
            on_weight: called with the number of weights that are done, and of all.
        """
        found = {}
        for done, (name, layer) in enumerate(self.weights.layers.items()):
            on_weight(done, len(self.weights.layers))
            names = (SAFE_CANDIDATES if measured else SAFE_CANDIDATES[2:]) if sensitive(layer) else CANDIDATES
            usable = [one for one in names if supports(target, RECIPES[one])]
            found[name] = [one for one in usable if one == NONE or not isinstance(self(name, one), str)]
        return found

    def size_bytes(self, name: str, recipe: str) -> int:
        """Bytes that a weight takes in the package, about."""
        if recipe == NONE:
            return _blob(self.weights.constants[name].numpy().nbytes)
        encoded = self(name, recipe)
        assert isinstance(encoded, EncodedWeight)
        return _decoder_bytes(encoded)

    def assignment(self, choice: Choice) -> Assignment:
        """How a choice stores each weight."""
        stored = {name: Storage.of(RECIPES[one.name]) for name, one in choice.items() if one.name != NONE}
        left = {name: NOT_WORTH_IT for name, one in choice.items() if one.name == NONE}
        return Assignment(stored, {**self.weights.left, **left})

    def share_of_output(self, name: str, recipe: str) -> float:
        """The share of a layer's output energy that a recipe changes; of the weight's own where none was measured."""
        encoded = self(name, recipe)
        assert isinstance(encoded, EncodedWeight)
        hessian = self.hessians.get(name)
        if hessian is not None:
            return output_error(self.weights, name, encoded, hessian)
        weight = self.weights.constants[name].numpy().astype(np.float64)
        energy = float((weight**2).sum())
        return float((self.change(name, recipe).astype(np.float64) ** 2).sum()) / energy if energy else 0.0


def options_of(
    encoder: Encoder, candidates: Mapping[str, list[str]], errors: Mapping[str, Mapping[str, float]]
) -> dict[str, list[Option]]:
    """The knapsack's options for each weight."""
    return {
        name: [Option(one, encoder.size_bytes(name, one), errors[name].get(one, 0.0)) for one in names]
        for name, names in candidates.items()
    }


def compensable(weights: Weights) -> list[str]:
    """The weights whose rounding can be compensated, for which their layers' inputs are measured."""
    return [name for name, layer in weights.layers.items() if not sensitive(layer)]


def _decoder_bytes(encoded: EncodedWeight) -> int:
    """Bytes of an operation that decodes a weight, of its constants, and of operations that decode those."""
    total = DECODER_BYTES
    for part in encoded.parts.values():
        if isinstance(part, EncodedWeight):
            total += _decoder_bytes(part)
        elif part.values.size >= IN_THE_SPECIFICATION:
            total += _blob(part.size_bytes)
    return total


def _blob(size_bytes: int) -> int:
    return METADATA_BYTES + size_bytes + -size_bytes % ALIGNMENT
