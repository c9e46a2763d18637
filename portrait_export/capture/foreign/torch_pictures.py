"""Find the arguments of a PyTorch module that take pictures."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch

from ...errors import CaptureError, UsageError, nearest
from .pictures import shown_by_name, split_choice

SINGLE = "image"  # what the input of a module with one is called in its ONNX
COLOUR_FIRST, GRAY_FIRST = (3, 1), (1, 3)  # channels, in the order in which they are tried


def picture_choices(net: torch.nn.Module, named: Sequence[str]) -> tuple[tuple[str, ...], list[tuple[int, ...]]]:
    """The names of the pictures in forward's order, and the channels of each that may be right, likelier ones first.

    Args:
        named: the user's choices, each `NAME` or `NAME=SHOWS`, NAME being an argument of forward.
    Raises:
        UsageError: forward has no such argument.
        CaptureError: forward needs several arguments, and not all of them are named.
    """
    required, takes = _arguments(net)
    shows = dict(map(split_choice, named))
    if len(required) <= 1 and len(shows) <= 1:
        name, kind = next(iter(shows.items()), (SINGLE, ""))
        return (name,), [(4,)] if kind not in ("", "photo") else [(count,) for count in COLOUR_FIRST]
    for name in shows:
        if takes and name not in takes:
            raise UsageError(
                f"The network's forward has no argument {name!r}.", hint=nearest(name, takes, what="argument")
            )
    names = tuple(name for name in takes if name in shows) or tuple(shows)
    if [name for name in required if name not in shows] or names != takes[: len(names)]:
        raise CaptureError(
            f"The network's forward takes {len(required)} arguments, and not each of them is named as a picture.",
            code="which-pictures",
            context=[f"{name}{'' if name in shows else ': not named'}" for name in takes],
            hint="name each with what it shows, the photograph first: "
            + " ".join(f"`image_input={name}{_kind(name)}`" for name in required)
            + "; one of another kind needs a module around the network that fills it.",
        )
    tried = []
    for name in names:
        kind = shows[name] or shown_by_name(name)
        tried.append(GRAY_FIRST if kind in ("trimap", "mask") else COLOUR_FIRST)
    return names, list(product(*tried))


def _kind(name: str) -> str:
    kind = shown_by_name(name)
    return f"={kind}" if kind else ""


def _arguments(net: torch.nn.Module) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of forward's arguments without a default, and of all positional ones; empty where they are not stated."""
    if isinstance(net, torch.jit.ScriptModule):
        method: Any = net.forward
        given = [argument for argument in method.schema.arguments if argument.name != "self"]
        required = tuple(argument.name for argument in given if not argument.has_default_value())
        return required, tuple(argument.name for argument in given)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = [each for each in inspect.signature(net.forward).parameters.values() if each.kind in kinds]
    return tuple(each.name for each in found if each.default is each.empty), tuple(each.name for each in found)


def examples(channels: Sequence[int], size: tuple[int, int]) -> tuple[torch.Tensor, ...]:
    """Seeded pictures (1, C, H, W): smooth structure plus noise, about zero mean and unit variance."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for count in channels:
        coarse = torch.randn(1, count, 4, 4, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
        made.append(smooth + 0.25 * torch.randn(1, count, *size, generator=generator))
    return tuple(made)
