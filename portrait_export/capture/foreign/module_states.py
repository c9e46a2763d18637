"""Find the values that a PyTorch module carries from one frame to the next."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...errors import CaptureError, UsageError, nearest
from ..onnx.check import relative_error
from .carried import SAME_START, are_counterparts
from .exporting import flatten

NOT_ZEROS = "starts from something other than zeros"


@dataclass(frozen=True)
class ModuleStates:
    """The carried values of a module.

    Attributes:
        pairs: argument → result, where a result may hold several tensors.
        start: zeros for each argument, in the structure of the result.
        taken: names that a carried input cannot have: those of the picture and of every tensor that is returned.
    """

    pairs: Mapping[str, str]
    start: Mapping[str, Any]
    taken: frozenset[str]

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        """Every carried tensor before the first frame, by name: `state`, or `state_0`, `state_1`, … of a tuple."""
        tensors = [flatten(value, key) for key, value in self.start.items()]
        return {self._free(name): tensor for each in tensors for name, tensor in each.items()}

    @property
    def flat_pairs(self) -> dict[str, str]:
        """The same pairs, tensor by tensor."""
        outputs = [name for key, value in self.start.items() for name in flatten(value, self.pairs[key])]
        return dict(zip(self.inputs, outputs, strict=True))

    def _free(self, name: str) -> str:
        return f"{name}_in" if name in self.taken else name


class Explicit(torch.nn.Module):
    """A recurrent module whose forward takes the picture and each carried tensor."""

    def __init__(self, net: torch.nn.Module, states: ModuleStates) -> None:
        super().__init__()
        self.net = net
        self._start = dict(states.start)

    def forward(self, image: torch.Tensor, *carried: torch.Tensor) -> Any:
        rest = list(carried)
        return self.net(image, **{name: _refilled(value, rest) for name, value in self._start.items()})


def find_states(net: torch.nn.Module, picture: torch.Tensor, carry: Sequence[tuple[str, str]]) -> ModuleStates | None:
    """The carried values of a module; None for one that carries none.

    Arguments after the picture, without a default or with None, are tried: they are carried if they take a result of
    the module, return it in the same shape, and zeros of that shape are the same start as none at all.

    Args:
        carry: the user's pairs of argument and result.
    Raises:
        UsageError: a pair names an argument or result that does not exist.
        CaptureError: pairs are open, or those of the user do not work.
    """
    arguments = _arguments(net)
    required = [each.name for each in arguments if each.required]
    names = [each.name for each in arguments if each.required or each.empty]
    for name, _ in carry:
        if name not in names:
            raise UsageError(f"The network's forward has no argument {name!r}.", hint=nearest(name, names, what="name"))
    names = [name for name, _ in carry] or names
    first = _first_run(net, picture, required, names) if names else None
    if first is None:
        return None
    results = _named(first)
    pairs = _told(carry, results) if carry else _paired(names, results)
    problem = _problem(net, picture, pairs, results) if pairs else ""
    if pairs and not problem:
        taken = frozenset(("image", *flatten(first)))
        states = ModuleStates(pairs, {name: _zeros(results[output]) for name, output in pairs.items()}, taken)
        _require_settled(states, told=bool(carry))
        return states
    if carry or required or problem == NOT_ZEROS:
        raise CaptureError(
            f"The network's forward takes {', '.join(names)} besides the picture, and"
            f" {problem or 'returns nothing that they could become'}.",
            code="which-carry",
            hint="name each pair with `carry=ARGUMENT=RESULT`; results of a tuple are output_0, output_1, … An"
            " argument that takes a picture is named with `image_input=NAME`; a module of your own can fill others.",
        )
    return None


def left_out(net: torch.nn.Module) -> list[str]:
    """Arguments of a module after the picture that are left at their defaults."""
    return [each.name for each in _arguments(net) if not each.required]


@dataclass(frozen=True)
class _Argument:
    """An argument of forward: its name, whether it must be given, and whether it is None where it is not."""

    name: str
    required: bool
    empty: bool


def _arguments(net: torch.nn.Module) -> list[_Argument]:
    """The arguments after the picture that can be given by name."""
    if isinstance(net, torch.jit.ScriptModule):
        method: Any = net.forward
        given = [each for each in method.schema.arguments if each.name != "self"][1:]
        return [
            _Argument(each.name, not each.has_default_value(), each.has_default_value() and each.default_value is None)
            for each in given
        ]
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = list(inspect.signature(net.forward).parameters.values())[1:]
    return [
        _Argument(each.name, each.default is each.empty, each.default is None)
        for each in parameters
        if each.kind in named
    ]


def _first_run(net: torch.nn.Module, picture: torch.Tensor, required: Sequence[str], names: Sequence[str]) -> Any:
    """What the module returns before anything is carried; None where it does not run so."""
    zeros = torch.zeros(1, 1, 1, 1)
    program = isinstance(net, torch.jit.ScriptModule)  # its arguments have types, and a run with others breaks the next
    for start in (zeros,) if program and required else (None, zeros):
        try:
            with torch.no_grad():
                return net(picture, **dict.fromkeys(required if start is None else {*required, *names}, start))
        except Exception:  # the user's own code raises anything; the caller runs it again and says what
            continue
    return None


def _named(result: Any) -> dict[str, Any]:
    """What a module returns, by name, as `flatten` names it."""
    if isinstance(result, Mapping):
        return {str(key): value for key, value in result.items()}
    if isinstance(result, (list, tuple)):
        return {f"output_{index}": value for index, value in enumerate(result)}
    return {"output": result}


def _told(carry: Sequence[tuple[str, str]], results: Mapping[str, Any]) -> dict[str, str]:
    for _, output in carry:
        if output not in results:
            hint = nearest(output, list(results), what="result")
            raise UsageError(f"The network returns no {output!r}.", hint=hint)
    return dict(carry)


def _paired(names: Sequence[str], results: Mapping[str, Any]) -> dict[str, str]:
    """The last results, in the order of the arguments; those of a dictionary by their names."""
    outputs = list(results)
    if outputs[0].startswith("output"):
        return dict(zip(names, outputs[-len(names) :], strict=True)) if len(outputs) > len(names) else {}
    found = {name: [output for output in outputs if output == name or are_counterparts(name, output)] for name in names}
    return (
        {name: several[0] for name, several in found.items()} if all(len(each) == 1 for each in found.values()) else {}
    )


def _problem(net: torch.nn.Module, picture: torch.Tensor, pairs: Mapping[str, str], results: Mapping[str, Any]) -> str:
    """Why results cannot be the next arguments; empty where they can."""
    zeros = {name: _zeros(results[output]) for name, output in pairs.items()}
    own = {name: results[output] for name, output in pairs.items()}
    try:
        with torch.no_grad():
            again, second = _named(net(picture, **zeros)), _named(net(picture, **own))
    except Exception as error:  # the user's own code raises anything
        return f"does not take its own results: {type(error).__name__}"
    if _shapes(second) != _shapes(results):
        return "returns other shapes when it takes its own results"
    one, two = flatten(results), flatten(again)
    if any(not relative_error(one[name].numpy(), two[name].numpy()) <= SAME_START for name in one):
        return NOT_ZEROS
    return ""


def _require_settled(states: ModuleStates, *, told: bool) -> None:
    """Raise CaptureError where two arguments could change places and nothing but their order says which is which."""
    shapes = {name: str(_shapes(value)) for name, value in states.start.items()}
    alike = [name for name in shapes if list(shapes.values()).count(shapes[name]) > 1]
    if told or not alike or not next(iter(states.pairs.values())).startswith("output"):
        return
    raise CaptureError(
        f"The network's arguments {', '.join(alike)} have one shape, so nothing but the order of its results says which"
        " becomes which.",
        code="which-carry",
        hint=f"name each pair, such as `carry={alike[0]}={states.pairs[alike[0]]}`.",
    )


# Structures of tensors


def _zeros(value: Any) -> Any:
    return _refilled(value, [torch.zeros_like(tensor) for tensor in flatten(value).values()])


def _refilled(value: Any, rest: list[torch.Tensor]) -> Any:
    """A structure like `value` with other tensors, which are taken from the front of a list."""
    if isinstance(value, torch.Tensor):
        return rest.pop(0)
    if isinstance(value, Mapping):
        return {key: _refilled(each, rest) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([_refilled(each, rest) for each in value])
    return value


def _shapes(value: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in flatten(value).items()}
