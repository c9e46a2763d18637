"""One network lowered at several input sizes in; one program that takes every one of these sizes out.

The programs of one network differ in nothing but constants that speak of sizes. The first is copied, operation by
operation, with open sides of its inputs; where a constant differs between the sizes, `resizable` has the form of the
operation that computes it. Weights stand in the result once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..artifacts import Feature, ImageFeature, Lowered
from ..errors import LoweringError, UsageError
from ..mil import coreml
from .context import Unsupported
from .dimensions import Dimensions, Side, varies
from .refusals import Problem, problem_lines
from .resizable import FORMS, Resizable

CODE = "size-dependent"
SEVERAL_INPUTS = "iOS18"  # the first target whose programs may list the shapes of more than one input
REFUSALS = (ValueError, TypeError, AssertionError, IndexError, NotImplementedError, AttributeError)  # of the builder
HINT = "export a package for each size with --size."


def unify(programs: Sequence[Lowered], *, sizes: Sequence[tuple[int, int]], source: str = "the model") -> Lowered:
    """Make one program of several.

    Args:
        programs: the same network, lowered for the same target at each of the sizes.
        sizes: (height, width) of their images, the default one first.
        source: what to call the model in messages.
    Returns:
        The program, whose inputs list their sizes.
    Raises:
        LoweringError: with every operation that cannot be expressed for all sizes.
        UsageError: the target does not allow for as many inputs with listed sizes.
    """
    return _Unification(programs, [f"{height}x{width}" for height, width in sizes], source).run()


def require_target(listed: Sequence[str], *, target: str, source: str) -> None:
    """Raise UsageError where a target does not allow for as many inputs with several sizes as these."""
    if len(listed) > 1 and target != SEVERAL_INPUTS:
        raise UsageError(
            f"Core ML lists the sizes of one input before {SEVERAL_INPUTS}; {source} takes {' and '.join(listed)},"
            f" and the target is {target}.",
            hint=f"take --target {SEVERAL_INPUTS}, or {HINT}",
        )


class _Unification:
    """One run of `unify`."""

    def __init__(self, programs: Sequence[Lowered], labels: list[str], source: str):
        self.programs = programs
        self.first = programs[0]
        self.labels = labels
        self.source = source
        self.functions = [lowered.program.functions["main"] for lowered in programs]
        self.builder = coreml.builder()
        self.taken: set[str] = set()
        self.values: dict[int, Any] = {}  # id of a Var of the first program → its counterpart
        self.partners: dict[int, Any] = {}  # id of a Var of any program → that of the first program
        self.sides: dict[int, tuple[Side, ...]] = {}  # id of a Var of the first program → its sides
        self.dimensions = Dimensions(self._emit)
        self.problems: list[Problem] = []

    def run(self) -> Lowered:
        """Copy inputs, operations and outputs, in this order."""
        inputs = tuple(self._features("inputs"))
        require_target([f.name for f in inputs if f.listed], target=self.first.target, source=self.source)
        steps = [[op for op in function.operations if op.op_type != "const"] for function in self.functions]
        self._check_structure(steps)
        mil = coreml.mil()
        program = mil.Program()
        placeholders = {name: self._placeholder(name) for name in self.functions[0].inputs}
        self.taken.update(var.name for op in self.functions[0].operations for var in op.outputs)
        with mil.Function(placeholders, opset_version=coreml.target(self.first.target)) as function:
            for name, var in function.inputs.items():
                self._pair(name, var)
            for ops in zip(*steps, strict=True):
                self._copy(ops)
            self._raise_problems()
            function.set_outputs([self._value(var) for var in self._outputs()])
        program.add_function("main", function)
        return Lowered(
            program=program, inputs=inputs, outputs=tuple(self._features("outputs")), target=self.first.target
        )

    # inputs and outputs

    def _outputs(self) -> list[Any]:
        """The outputs of the first program, which must be those of the others."""
        try:
            return [self._partner(group) for group in zip(*(f.outputs for f in self.functions), strict=True)]
        except Unsupported as error:
            raise self._refusal("returns other values at other sizes", []) from error

    def _features(self, kind: str) -> list[Feature]:
        return [_merged(features) for features in zip(*(getattr(p, kind) for p in self.programs), strict=True)]

    def _placeholder(self, name: str) -> Any:
        variables = [function.inputs[name] for function in self.functions]
        sides = _sides(variables)
        shape = [coreml.mil().get_new_symbol() if varies(side) else side[0] for side in sides]
        return self.builder.placeholder(shape=shape, dtype=variables[0].dtype)

    def _pair(self, name: str, var: Any) -> None:
        self._remember([function.inputs[name] for function in self.functions], var)

    def _remember(self, group: Sequence[Any], var: Any) -> None:
        """One value: its Var in each program, and its counterpart."""
        self.partners.update((id(old), group[0]) for old in group)
        self.values[id(group[0])] = var
        self.sides[id(group[0])] = _sides(group)
        self.dimensions.note(var, self.sides[id(group[0])])

    def _partner(self, group: Sequence[Any]) -> Any:
        """The Var of the first program that a value's Vars in all programs are. Raises Unsupported if they are not."""
        if any(_is_const(var) for var in group):
            same = all(_is_const(var) for var in group)
        else:
            same = len({id(self.partners[id(var)]) for var in group}) == 1
        if not same:
            raise Unsupported("it takes another value at another size")
        return group[0]

    # operations

    def _check_structure(self, steps: Sequence[Sequence[Any]]) -> None:
        """Raise LoweringError where the programs do not do the same."""
        for label, others in zip(self.labels[1:], steps[1:], strict=True):
            for mine, theirs in zip(steps[0], others, strict=False):
                if mine.op_type != theirs.op_type:
                    found = f"{self.labels[0]}: {mine.op_type} {mine.name}", f"{label}: {theirs.op_type} {theirs.name}"
                    raise self._refusal("does other operations at other sizes", list(found))
            if len(steps[0]) != len(others):
                counts = f"{self.labels[0]}: {len(steps[0])} operations", f"{label}: {len(others)} operations"
                raise self._refusal("does other operations at other sizes", list(counts))

    def _copy(self, ops: Sequence[Any]) -> None:
        """Copy one operation. One that cannot be expressed is noted, and copied as it is at the first size."""
        first = ops[0]
        variables = list(zip(*(op.outputs for op in ops), strict=True))
        try:
            results = self._results(ops, [_sides(group) for group in variables])
        except Unsupported as error:
            self.problems.append(Problem(first.op_type, first.name, str(error)))
            results = self._stand_ins(first)
        for new, group in zip(results, variables, strict=True):
            new.name = group[0].name
            self._remember(group, new)

    def _results(self, ops: Sequence[Any], sides: Sequence[tuple[Side, ...]]) -> list[Any]:
        first = ops[0]
        if first.blocks:
            raise Unsupported("it has branches or a body of its own")
        names = [set(_inputs(op)) for op in ops]
        if any(given != names[0] for given in names):
            raise Unsupported("it takes other inputs at other sizes")
        groups = {name: [op.inputs[name] for op in ops] for name in _inputs(first)}
        fixed = {name: type(first).input_spec.input_types[name].const for name in groups}
        changing = {
            name: [var.val for var in group]
            for name, group in groups.items()
            if not isinstance(group[0], (list, tuple)) and _differ(group) and (fixed[name] or not _uniform(group))
        }
        inputs = {name: self._joint_input(first, group) for name, group in groups.items() if name not in changing}
        if not changing:
            return self._as_before(first, inputs)
        if first.op_type not in FORMS:
            raise Unsupported(f"its {', '.join(changing)} {'changes' if len(changing) == 1 else 'change'}")
        op = Resizable(
            name=first.name,
            inputs=inputs,
            changing=changing,
            x=self.sides[id(first.x)] if "x" in first.inputs else (),
            out=sides[0],
            dimensions=self.dimensions,
            emit=self._emit_named(first.name),
            target=self.first.target,
        )
        return [FORMS[first.op_type](op)]

    def _as_before(self, op: Any, inputs: Mapping[str, Any]) -> list[Any]:
        result = self._write(op.op_type, op.name, inputs)
        return list(result) if isinstance(result, (list, tuple)) else [result]

    def _stand_ins(self, op: Any) -> list[Any]:
        """What a refused operation gives at the first size, so that those after it are looked at, too."""
        values = {
            name: [self._value(var) for var in value] if isinstance(value, (list, tuple)) else self._value(value)
            for name, value in _inputs(op).items()
        }
        try:
            return self._as_before(op, values)
        except Unsupported:
            self._raise_problems()
            raise

    def _joint_input(self, op: Any, group: Sequence[Any]) -> Any:
        """An input that no form of the operation needs to compute: the same at every size, or filled with one value."""
        if isinstance(group[0], (list, tuple)):
            return [self._joint_input(op, parts) for parts in zip(*group, strict=True)]
        if not _differ(group):
            return self._value(self._partner(group))
        if not _uniform(group):
            raise Unsupported("one of its constants changes")
        name = f"{op.name}_filled"
        shape = self.dimensions.vector(_sides(group), f"{name}_shape")
        return self._emit("fill", name, shape=shape, value=group[0].val.reshape(-1)[0])

    def _value(self, var: Any) -> Any:
        """The counterpart of a Var of the first program; constants are copied when they are first used."""
        if id(var) not in self.values:
            self.values[id(var)] = self.builder.const(val=var.val, name=var.name)
        return self.values[id(var)]

    def _emit(self, op: str, name: str, **inputs: Any) -> Any:
        """One further MIL operation under a name that nothing has yet."""
        free, count = name, 1
        while free in self.taken:
            count += 1
            free = f"{name}_{count}"
        self.taken.add(free)
        return self._write(op, free, inputs)

    def _write(self, op: str, name: str, inputs: Mapping[str, Any]) -> Any:
        try:
            return getattr(self.builder, op)(name=name, **inputs)
        except REFUSALS as error:
            words = " ".join(str(error).split())[:160] or type(error).__name__
            raise Unsupported(f"MIL's {op} refuses it: {words}") from error

    def _emit_named(self, own: str) -> Any:
        """`_emit` for the form of an operation, whose result keeps the operation's own name."""

        def emit(op: str, name: str, **inputs: Any) -> Any:
            return self._write(op, own, inputs) if name == own else self._emit(op, name, **inputs)

        return emit

    # refusals

    def _raise_problems(self) -> None:
        if self.problems:
            raise self._refusal("has operations that fix the input's size", problem_lines(self.problems))

    def _refusal(self, what: str, context: list[str]) -> LoweringError:
        return LoweringError(
            f"One package cannot take {', '.join(self.labels)}: {self.source} {what}.",
            code=CODE,
            context=context,
            hint=HINT,
        )


def _merged(features: Sequence[Feature]) -> Feature:
    """One input or output at several sizes: the first's, with all shapes where they differ."""
    first = features[0]
    if len(set(features)) == 1:
        return first
    if isinstance(first, ImageFeature):
        sizes = tuple((f.height, f.width) for f in features if isinstance(f, ImageFeature))
        return replace(first, sizes=sizes, description=_one_of([f.description for f in features]))
    return replace(first, shapes=tuple(f.shape for f in features if not isinstance(f, ImageFeature)))


def _one_of(texts: Sequence[str]) -> str:
    """Descriptions that differ in their numbers as one: `64×64 pixels.`, `96×64 pixels.` → `64×64 or 96×64 pixels.`"""
    words = [text.split(" ") for text in texts]
    if len({len(row) for row in words}) > 1:
        return texts[0]
    return " ".join(" or ".join(dict.fromkeys(column)) for column in zip(*words, strict=True))


def _sides(variables: Sequence[Any]) -> tuple[Side, ...]:
    """The sides of one value, which has a Var in each program."""
    return tuple(zip(*(tuple(int(side) for side in var.shape) for var in variables), strict=True))


def _inputs(op: Any) -> dict[str, Any]:
    return {name: value for name, value in op.inputs.items() if value is not None}


def _is_const(var: Any) -> bool:
    return var.op is not None and var.op.op_type == "const"


def _differ(group: Sequence[Any]) -> bool:
    """Whether one input is a constant in all programs, and not the same one."""
    if not all(map(_is_const, group)):
        return False
    first, *others = (np.asarray(var.val) for var in group)
    return any(
        (other.dtype, other.shape) != (first.dtype, first.shape) or other.tobytes() != first.tobytes()
        for other in others
    )


def _uniform(group: Sequence[Any]) -> bool:
    """Whether constants hold one number in as many dimensions at each size."""
    values = [np.asarray(var.val) for var in group]
    if len({value.ndim for value in values}) > 1 or values[0].ndim == 0:
        return False
    return len({number for value in values for number in np.unique(value).tolist()}) == 1
