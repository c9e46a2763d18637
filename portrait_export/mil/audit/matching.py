"""Find the original of each stored weight.

Weights are compared by their values, then by their names.

Conversion renames, transposes and reshapes weights. Compression keeps their direction: the cosine between a 2-bit
palette and its original is above 0.8 where 0 is that of unrelated weights.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .compare import relative_error
from .originals import Original, base_names

RESEMBLES = 0.5  # cosine
FEW = 16  # values that resemble others by chance
SMALL = 256  # elements: directions of so few resemble others by chance, if there are many
OUTLYING = 8.0  # times the median size: values beyond are cut when weights are compared again
MOSTLY = 0.75  # of a small constant's values that are not 0: where so many are a candidate's, it is damaged
HALF_ROUNDING = 2.0**-10  # relative
SURE = 0.02  # relative error: no other candidate is tried


@dataclass(frozen=True)
class Stored:
    """A decoded weight of the package, to be matched.

    Attributes:
        weight: whether a layer reads it as its weight, which is a network's own.
    """

    name: str
    values: np.ndarray
    compressed: bool
    weight: bool = False

    @property
    def small(self) -> bool:
        """Whether it is too small for its direction to tell it from others."""
        return self.values.size <= SMALL and not self.compressed


@dataclass(frozen=True)
class Matches:
    """The originals of weights. Implements `Originals`.

    Attributes:
        found: the original of each weight, or the reason why there is none, by the weight's name.
        elements: of the weights that resemble their original, or have its name.
    """

    found: Mapping[str, Original | str]
    elements: int

    def __call__(self, name: str, decoded: np.ndarray) -> Original | str:
        original = self.found.get(name, "it is damaged")
        if isinstance(original, Original) and original.values.shape != decoded.shape:
            return "another function has a weight of this name"
        return original


@dataclass(frozen=True)
class Candidate:
    """A network's own weight, and its direction as a vector of length 1 in the same shape (zeros if it has none)."""

    title: str
    values: np.ndarray
    direction: np.ndarray

    def arranged(self, shape: tuple[int, ...]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Its values and direction in another shape."""
        return zip(arrangements(self.values, shape), arrangements(self.direction, shape), strict=True)


def match(stored: Sequence[Stored], candidates: Mapping[str, np.ndarray]) -> Matches:
    """Pair stored weights with a network's own.

    A weight that resembles no candidate gets the one of its own name, or the nearest of its shape that no other weight
    resembles, if a layer reads it or it is compressed: it is damaged. Another constant may be no weight of the network.

    Args:
        candidates: by title, floats.
    """
    counts = {weight.values.size for weight in stored}
    by_count: dict[int, list[Candidate]] = {count: [] for count in counts}
    for title, values in candidates.items():
        if values.size in counts:
            by_count[values.size].append(Candidate(title, values, direction_of(values)))
    fitting = {weight.name: by_count[weight.values.size] for weight in stored}
    alike = {weight.name: _alike(weight, fitting[weight.name]) for weight in stored}
    claimed = {original.title: original for original in alike.values() if original is not None}
    found = {
        weight.name: alike[weight.name] or _by_elimination(weight, fitting[weight.name], claimed) for weight in stored
    }
    known = [weight for weight in stored if alike[weight.name] is not None or _named(weight, fitting[weight.name])]
    return Matches(found, sum(weight.values.size for weight in known if not weight.small))


def _alike(weight: Stored, candidates: Sequence[Candidate]) -> Original | None:
    """The candidate that a weight resembles; None if there is none."""
    if weight.small:
        return _mostly_equal(weight, candidates)
    return _resembling(weight, candidates) or _resembling_but_for_outliers(weight, candidates)


def _mostly_equal(weight: Stored, candidates: Sequence[Candidate]) -> Original | None:
    """The candidate that shares most values with a small constant; None if there is none.

    Norms are folded into most of them, and tuning changes them: then there is none.
    """
    found = weight.values.astype(np.float64)
    best, most = None, MOSTLY
    for candidate in candidates:
        for values, _ in candidate.arranged(found.shape):
            used = (found != 0) | (values != 0)
            equal = np.abs(found - values) <= HALF_ROUNDING * np.abs(values)
            share = float(equal[used].mean()) if used.sum() >= FEW // 2 else 0.0
            if share > most or (share == most and same_name(weight.name, candidate.title)):
                best, most = Original(values, candidate.title), share
    return best


def _named(weight: Stored, candidates: Sequence[Candidate]) -> bool:
    return any(same_name(weight.name, candidate.title) for candidate in candidates)


def _resembling(weight: Stored, candidates: Sequence[Candidate]) -> Original | None:
    """The nearest of the candidates that point in its direction, in the weight's own shape; None if there is none.

    A weight and its half have the same direction: attention's 1/√d may be folded into queries or keys.
    """
    direction = direction_of(weight.values)
    best, least = None, math.inf
    for candidate in sorted(candidates, key=lambda candidate: not same_name(weight.name, candidate.title)):
        for values, other in candidate.arranged(weight.values.shape):
            if abs(cosine(direction, other)) <= RESEMBLES and (direction.any() or other.any()):
                continue
            error = relative_error(weight.values.astype(np.float64), values.astype(np.float64))
            if error < least or best is None:
                best, least = Original(values, candidate.title), error
        if least < SURE:
            break
    return best


def _resembling_but_for_outliers(weight: Stored, candidates: Sequence[Candidate]) -> Original | None:
    """As `_resembling`, where large values count as much as others: a damaged one hides the direction of all."""
    direction = direction_of(_cut(weight.values))
    pairs = [
        (abs(cosine(direction, direction_of(_cut(values)))), Original(values, candidate.title))
        for candidate in candidates
        for values, _ in candidate.arranged(weight.values.shape)
    ]
    nearest, original = max(pairs, key=lambda pair: pair[0], default=(0.0, None))
    return original if nearest > RESEMBLES else None


def _cut(values: np.ndarray) -> np.ndarray:
    """Values with the outlying ones cut to the largest of the others; what is not finite counts as zero."""
    wide = np.where(np.isfinite(values), values, 0).astype(np.float64)
    used = np.abs(wide[wide != 0])
    limit = OUTLYING * float(np.median(used)) if used.size else 0.0
    return wide.clip(-limit, limit)


def _by_elimination(weight: Stored, candidates: Sequence[Candidate], claimed: Mapping[str, Original]) -> Original | str:
    fitting = [candidate for candidate in candidates if any(candidate.arranged(weight.values.shape))]
    own = weight.compressed or weight.weight
    named = [c for c in fitting if same_name(weight.name, c.title)] if own or not weight.small else []
    free = [candidate for candidate in fitting if _free(candidate, claimed)] if own and not named else []
    chosen = named or free
    if not chosen:
        return f"no weight of the network {'resembles it' if fitting else 'has its shape'}"
    direction = direction_of(weight.values)
    pairs = [
        (abs(cosine(direction, other)), index, values)
        for index, candidate in enumerate(chosen)
        for values, other in candidate.arranged(weight.values.shape)
    ]
    _, index, values = max(pairs, key=lambda pair: pair[0])
    return Original(values, chosen[index].title)


def _free(candidate: Candidate, claimed: Mapping[str, Original]) -> bool:
    """Whether no stored weight resembles a candidate, or another form of it: without its norm, or divided by 255."""
    if candidate.title in claimed:
        return False
    others = (original.values for original in claimed.values() if original.values.size == candidate.values.size)
    return not any(
        abs(cosine(candidate.direction, direction_of(values))) > RESEMBLES
        for other in others
        for values in arrangements(other, candidate.values.shape)
    )


def arrangements(values: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """A weight in a shape of as many elements: with or without sides of 1, transposed, or flattened.

    Conversion turns linear layers into 1×1 convolutions, and products with a constant into linear layers.
    """
    squeezed, wanted = [tuple(side for side in sides if side != 1) for sides in (values.shape, shape)]
    if squeezed == wanted or len(squeezed) != len(wanted):
        yield values.reshape(shape)
    if len(squeezed) == len(wanted):
        dense = values.reshape(squeezed)
        for order in itertools.permutations(range(len(squeezed))):
            if order != tuple(range(len(squeezed))) and tuple(squeezed[axis] for axis in order) == wanted:
                yield dense.transpose(order).reshape(shape)
    elif len(wanted) == 2 and squeezed and squeezed[0] == wanted[1]:
        yield values.reshape(squeezed[0], -1).T.reshape(shape)


def direction_of(values: np.ndarray) -> np.ndarray:
    """A weight over its length, in float32, whatever its scale; what is not finite counts as zero."""
    wide = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    wide /= float(np.abs(wide).max(initial=0)) or 1.0
    length = math.sqrt(float((wide**2).sum())) or 1.0
    return (wide / length).astype(np.float32)


def cosine(stored: np.ndarray, original: np.ndarray) -> float:
    """The cosine of the angle between two directions; of a pruned weight's, between the parts that were kept."""
    found, wanted = stored.ravel(), original.ravel()
    kept = found != 0
    if FEW <= int(kept.sum()) < found.size:
        found, wanted = found[kept], wanted[kept]
        wanted = wanted / (float(np.linalg.norm(wanted)) or 1.0)
    return float(found @ wanted)


def same_name(name: str, title: str) -> bool:
    """Whether a weight's name is a candidate's as Core ML can write it: letters, digits and underscores."""
    plain = re.sub(r"\W", "_", title)
    return plain in base_names(name)
