"""Rename a checkpoint's tensors, from any known naming, to this package's names.

Each naming is a row of LAYOUTS: how to recognize it, its renamings, and what it implies about the network.
The names on our side are those of transformers' 4.x SegFormer and of the research system.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import CheckpointError

State = dict[str, Tensor]

# Entries of a training checkpoint that hold the network, in the order in which they are tried: averaged weights last.
WRAPPER_ENTRIES = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params", "ema",
    "state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "params_ema",
)  # fmt: skip
# Other entries are looked into where these hold nothing that fits, but for what a trainer keeps for itself.
TRAINERS_OWN = re.compile(r"optim|sched|scaler|rng")
MOST_PREFIXES = 6  # before the names of a network, such as `_orig_mod.module.model.`
MOST_NESTED = 4  # entries inside one another, such as `state.model.ema.module`
# First parts of a key that only say where a network was kept.
WRAPPER_PREFIXES = ("module", "model", "_orig_mod", "net", "network", "_forward_module")
MOST_LISTED = 12  # tensors that an error names
BATCH_NORM_EPS = 1e-5  # of every BatchNorm in mmseg's and the authors' heads


@dataclass(frozen=True)
class Layout:
    """One way of naming tensors.

    Attributes:
        name: for provenance.
        sign: a pattern; a checkpoint with a key that matches it is in this layout.
        renames: (pattern, replacement), each applied to every key, in order.
        convert: changes to the renamed tensors that go beyond names.
        config: fields of SegformerConfig that this layout's code fixes and no config.json contains.
    """

    name: str
    sign: str
    renames: tuple[tuple[str, str], ...]
    convert: Callable[[State], State] = field(default=lambda state: state)
    config: tuple[tuple[str, Any], ...] = ()


class Place(NamedTuple):
    """Where in a checkpoint a network's tensors are.

    Attributes:
        path: the names of the entries that lead to them, such as `ema`, `module`; empty: at the top.
        prefix: how all their keys begin there, such as `model.`.
    """

    path: tuple[str, ...] = ()
    prefix: str = ""

    def __str__(self) -> str:
        """Such as `entry 'ema.module', keys 'model.…'`; without a prefix that only says where a network was kept."""
        unusual = set(self.prefix.split(".")) - {*WRAPPER_PREFIXES, ""}
        parts = [f"entry {'.'.join(self.path)!r}"] if self.path else []
        return ", ".join([*parts, *([f"keys {self.prefix + '…'!r}"] if unusual else [])])


TOP = Place()


@dataclass(frozen=True)
class Canonical:
    """A checkpoint under our names.

    Attributes:
        tensors: key → tensor.
        layout: the naming that it had.
        config: fields of SegformerConfig that follow from the layout.
        extras: other tensors in the same file, such as a wrapper's `mean` and `std`.
        place: where in the file they were.
        others: where other weights for the same network are.
    """

    tensors: State
    layout: str
    config: dict[str, Any]
    extras: State
    place: Place = TOP
    others: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Entry:
    """The tensors in one place of a checkpoint, under the keys that they have there.

    Attributes:
        known: whether the entries on its path have usual names.
        others: where other weights for the same network are.
    """

    place: Place
    tensors: State
    known: bool = True
    others: tuple[Place, ...] = ()


def canonical(checkpoint: Mapping[str, Any], *, source: str = "the checkpoint") -> Canonical:
    """Rename the tensors of a loaded checkpoint, wrapped or not, to our names.

    Raises:
        CheckpointError: it holds no tensors, or two keys become the same.
    """
    chosen = chosen_entry(checkpoint, source=source)
    tensors, extras = _unwrapped(chosen.tensors, source)
    layout = detect(tensors)
    renamed = rename(tensors, layout.renames, source=source)
    converted = _squeeze_linears(layout.convert(_split_projections(renamed)))
    return Canonical(converted, layout.name, dict(layout.config), extras, chosen.place, chosen.others)


def unwrap(checkpoint: Mapping[str, Any], *, source: str = "the checkpoint") -> tuple[State, State]:
    """The network's tensors without wrappers' prefixes, and the wrapper's other tensors."""
    return _unwrapped(chosen_entry(checkpoint, source=source).tensors, source)


def _unwrapped(tensors: State, source: str) -> tuple[State, State]:
    stripped = {key: _strip(key) for key in tensors}
    wrapped = {key for key, short in stripped.items() if short != key}
    # Inside a wrapper the network's keys all carry its prefix; those without one belong to the wrapper.
    extras = {key: value for key, value in tensors.items() if wrapped and key not in wrapped}
    return _collect([(stripped[key], tensors[key]) for key in tensors if key not in extras], source), extras


def chosen_entry(checkpoint: Mapping[str, Any], *, source: str = "the checkpoint") -> Entry:
    """The entry of a checkpoint that holds the network: the first with a usual name, else the only one.

    Raises CheckpointError where there is none, or several without a usual name.
    """
    entries = _entries_of(checkpoint, source)
    chosen = entries[0]
    if not chosen.known and len(entries) > 1:
        raise CheckpointError(
            f"{source} holds several dictionaries of tensors, and none has a usual name.",
            code="no-weights",
            context=[f"{'.'.join(entry.place.path)}: {len(entry.tensors)} tensors" for entry in entries],
            hint="save the one of the network alone: `torch.save(checkpoint[ENTRY], FILE)`.",
        )
    _require_plain(chosen.tensors, source)
    state, extras = _unwrapped(chosen.tensors, source)
    within = _by_first_part(replace(chosen, tensors=extras))
    beside = [replace(entry, tensors={_strip(k): value for k, value in entry.tensors.items()}) for entry in entries[1:]]
    return replace(chosen, others=_of_other_weights(state, [*within, *beside]))


def entry_for(
    checkpoint: Mapping[str, Any], wanted: Mapping[str, tuple[int, ...]], *, source: str = "the checkpoint"
) -> Entry:
    """The tensors for a network whose own names are known: only as many prefixes are removed as needed to meet them.

    They are the first that have all of the network's tensors, else the likeliest.

    Args:
        wanted: the shapes of the network's tensors by name.
    """
    entries = _entries_of(checkpoint, source)
    meeting = [found for entry in entries for found in _meeting(entry, set(wanted))]
    fitting = [entry for entry in meeting if _fits(entry.tensors, wanted)]
    chosen = (fitting or meeting or entries)[0]
    _require_plain(chosen.tensors, source)
    return replace(chosen, others=_of_other_weights(chosen.tensors, fitting[1:]))


def _meeting(entry: Entry, names: Set[str]) -> Iterator[Entry]:
    """An entry, or those of its tensors with one prefix, whose keys meet some names without that prefix."""
    if names & set(entry.tensors):
        yield entry
        return
    for part in _by_first_part(entry) if entry.place.prefix.count(".") < MOST_PREFIXES else ():
        yield from _meeting(part, names)


def _by_first_part(entry: Entry) -> list[Entry]:
    """The tensors of an entry by the first part of their keys, without it; usual prefixes first."""
    parts: dict[str, State] = {}
    for key, tensor in entry.tensors.items():
        first, dot, rest = key.partition(".")
        if dot:
            parts.setdefault(first, {})[rest] = tensor
    order = sorted(parts, key=lambda first: first not in WRAPPER_PREFIXES)
    path, prefix = entry.place
    return [replace(entry, place=Place(path, f"{prefix}{first}."), tensors=parts[first]) for first in order]


def _entries_of(checkpoint: Mapping[str, Any], source: str) -> list[Entry]:
    """Every dictionary of tensors in a checkpoint, those with usual names first, then what is at the top."""
    found = sorted(_nested(checkpoint, True, (), set()), key=lambda entry: not entry.known)
    # A network has matrices. Vectors alone are a trainer's, such as the weights of a loss.
    found = [entry for entry in found if any(tensor.dim() > 1 for tensor in entry.tensors.values())] or found
    if not found:
        names = ", ".join(sorted(str(key) for key in list(checkpoint)[:8])) or "nothing"
        raise CheckpointError(f"{source} holds no tensors of a network; its entries are: {names}.", code="no-weights")
    return found


def _nested(state: Mapping[Any, Any], known: bool, path: tuple[str, ...], seen: set[int]) -> Iterator[Entry]:
    """The dictionaries of tensors in one entry, the innermost with a usual name first.

    Args:
        known: whether all names on the path are usual ones.
        seen: what has been looked into; a pickle's dictionary may hold itself.
    """
    seen.add(id(state))
    inner = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Mapping)}
    inner = {key: value for key, value in inner.items() if len(path) < MOST_NESTED and id(value) not in seen}
    for key in WRAPPER_ENTRIES:
        if key in inner:
            yield from _nested(inner[key], known, (*path, key), seen)
    tensors = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if tensors:
        yield Entry(Place(path), tensors, known)
    for key, value in inner.items():
        if key not in WRAPPER_ENTRIES and not TRAINERS_OWN.search(key.lower()) and id(value) not in seen:
            yield from _nested(value, False, (*path, key), seen)


def _fits(state: State, wanted: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a state has a network's tensors, but for counters that nothing reads at inference."""
    return all(
        tuple(state[name].shape) == tuple(shape) if name in state else is_counter(name)
        for name, shape in wanted.items()
    )


def _of_other_weights(state: State, entries: Sequence[Entry]) -> tuple[Place, ...]:
    """Where the same tensors are with other numbers."""
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    return tuple(
        entry.place
        for entry in entries
        if _fits(entry.tensors, shapes)
        and not all(_same(entry.tensors[key], state[key]) for key in state if key in entry.tensors)
    )


def _same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and not (_odd_form(one) or _odd_form(other)) and torch.equal(one, other)


def _require_plain(tensors: State, source: str) -> None:
    """Raise CheckpointError for tensors that are no arrays of numbers in memory."""
    odd = {key: form for key, tensor in tensors.items() if (form := _odd_form(tensor))}
    if odd:
        more = len(odd) - MOST_LISTED
        lines = [f"{key}: {form}" for key, form in list(odd.items())[:MOST_LISTED]]
        raise CheckpointError(
            f"{len(odd)} of the {len(tensors)} tensors of {source} are not plain arrays of numbers.",
            code="odd-tensors",
            context=[*lines, *([f"and {more} more"] if more > 0 else [])],
            hint="save dense tensors on the CPU: `tensor.to_dense()` of sparse ones, `tensor.dequantize()` of quantized"
            " ones; those on the `meta` device hold no numbers at all.",
        )


def _odd_form(tensor: Tensor) -> str:
    """What keeps a tensor from being a plain array; empty if nothing does."""
    if tensor.is_meta:
        return "on the `meta` device, without numbers"
    if tensor.is_quantized:
        return f"quantized, {tensor.dtype}".replace("torch.", "")
    if tensor.is_nested or tensor.layout is not torch.strided:
        return "nested" if tensor.is_nested else f"{tensor.layout}".replace("torch.", "")
    return ""


def is_counter(name: str) -> bool:
    """Whether a tensor counts the batches of a batch norm's training, which `load_state_dict` does without."""
    return name.rpartition(".")[2] == "num_batches_tracked"


def detect(tensors: Mapping[str, Any]) -> Layout:
    """The layout of a checkpoint's keys; the last row of LAYOUTS accepts every checkpoint."""
    return next(layout for layout in LAYOUTS if any(re.search(layout.sign, key) for key in tensors))


def rename(state: State, renames: tuple[tuple[str, str], ...], *, source: str = "the checkpoint") -> State:
    """Apply patterns to every key, in order. Raises CheckpointError if two keys become the same."""
    pairs = []
    for key, tensor in state.items():
        for pattern, replacement in renames:
            key = re.sub(pattern, replacement, key)
        pairs.append((key, tensor))
    return _collect(pairs, source)


def with_backbone(state: State, name: str) -> State:
    """The same tensors with the encoder under `segformer` or `sersegformer`, as the network has it."""
    return {re.sub(r"^(ser)?segformer\.", f"{name}.", key): tensor for key, tensor in state.items()}


def _strip(key: str) -> str:
    while "." in key and key.partition(".")[0] in WRAPPER_PREFIXES:
        key = key.partition(".")[2]
    return key


def _collect(pairs: list[tuple[str, Tensor]], source: str) -> State:
    result: State = {}
    twice = []
    for key, tensor in pairs:
        if key in result:
            twice.append(key)
        result[key] = tensor
    if twice:
        raise CheckpointError(
            f"{source} holds {len(twice)} tensors twice, under names that mean the same.", context=sorted(twice)[:20]
        )
    return result


# A projection may come as one matrix of query, key and value (rows in this order), of key and value, or separately.
_FUSED = {
    "in_proj": ("query", "key", "value"),
    "kv": ("key", "value"),
    "q": ("query",),
    "k": ("key",),
    "v": ("value",),
}
_PROJECTION = re.compile(
    r"^(?P<block>.*\.attention\.)(?:attn\.)?(?P<kind>in_proj|kv|q|k|v)(?:_proj)?[._](?P<what>weight|bias)$"
)


def _split_projections(state: State) -> State:
    """[q; k; v] or [k; v] stacked along rows → separate matrices, under `attention.self`."""
    result: State = {}
    for key, tensor in state.items():
        match = _PROJECTION.match(key)
        if match is None:
            result[key] = tensor
            continue
        names = _FUSED[match["kind"]]
        if tensor.shape[:1].numel() % len(names):
            raise CheckpointError(f"{key} has shape {list(tensor.shape)}; its rows do not split into {len(names)}.")
        for name, part in zip(names, tensor.chunk(len(names), dim=0), strict=True):
            result[f"{match['block']}self.{name}.{match['what']}"] = part
    return result


_LINEAR = re.compile(r"(mlp\.dense[12]|linear_c\.\d\.proj|decode_head\.classifier|decoder\.cls_head)\.weight$")


def _squeeze_linears(state: State) -> State:
    """The weight [D, C, 1, 1] of a 1×1 convolution → [D, C] where we have a Linear."""
    return {
        key: tensor[:, :, 0, 0] if _LINEAR.search(key) and tensor.shape[2:] == (1, 1) else tensor
        for key, tensor in state.items()
    }


def _convert_mmseg(state: State) -> State:
    """mmseg's head: fold each projection's BatchNorm, and reverse the order of the stages in the fusion.

    y = (Wx − m)·g/√(v+ε) + β   ⇒   W' = W·g/√(v+ε);  b' = β − m·g/√(v+ε)     (+ b·g/√(v+ε) if there is a bias)

    mmseg concatenates stages 0, 1, 2, 3, we 3, 2, 1, 0: the fusion's input channels are swapped in four blocks.
    """
    result = {key: tensor for key, tensor in state.items() if not key.startswith("decode_head.convs.")}
    for i in range(4):
        weight = state.get(f"decode_head.convs.{i}.conv.weight")
        if weight is None:
            continue
        norm = {
            name: state.get(f"decode_head.convs.{i}.bn.{name}")
            for name in ("weight", "bias", "running_mean", "running_var")
        }
        bias = state.get(f"decode_head.convs.{i}.conv.bias", torch.zeros(weight.shape[0]))
        gain, shift = _affine(norm, weight.shape[0])
        result[f"decode_head.linear_c.{i}.proj.weight"] = weight * gain.reshape(-1, *[1] * (weight.dim() - 1))
        result[f"decode_head.linear_c.{i}.proj.bias"] = bias * gain + shift
    fuse = result.get("decode_head.linear_fuse.weight")
    if fuse is not None and fuse.dim() == 4 and fuse.shape[1] % 4 == 0:
        result["decode_head.linear_fuse.weight"] = torch.cat(fuse.chunk(4, dim=1)[::-1], dim=1)
    return result


def _affine(norm: Mapping[str, Tensor | None], channels: int) -> tuple[Tensor, Tensor]:
    """A BatchNorm at inference as (gain, shift); the identity where there is none."""
    weight, bias, mean, var = (norm[name] for name in ("weight", "bias", "running_mean", "running_var"))
    if weight is None or bias is None or mean is None or var is None:
        return torch.ones(channels), torch.zeros(channels)
    gain = weight.double() / torch.sqrt(var.double() + BATCH_NORM_EPS)
    return gain.float(), (bias.double() - mean.double() * gain).float()


def _convert_authors(state: State) -> State:
    """The authors' head inherits an unused `conv_seg`; its classifier is `linear_pred`."""
    has_classifier = "decode_head.classifier.weight" in state
    unused = {
        key for key in state if key.startswith("head.") or (has_classifier and key.startswith("decode_head.conv_seg."))
    }
    return {key: tensor for key, tensor in state.items() if key not in unused}


def _shift(pattern: str, to: str) -> tuple[tuple[str, str], ...]:
    """Four renames that turn stage numbers 1..4 into 0..3."""
    return tuple((pattern.replace("#", str(i + 1)), to.replace("#", str(i))) for i in range(4))


_ENCODER = "segformer.encoder"
_IN_BLOCK = (
    # Only after `block.i.j`: the reduction's norm must not be mistaken for the block's.
    (r"(\.block\.\d+\.\d+)\.norm1\.", r"\1.layer_norm_1."),
    (r"(\.block\.\d+\.\d+)\.norm2\.", r"\1.layer_norm_2."),
    (r"(\.block\.\d+\.\d+)\.attn\.sr\.", r"\1.attention.self.sr."),
    (r"(\.block\.\d+\.\d+)\.attn\.norm\.", r"\1.attention.self.layer_norm."),
    (r"(\.block\.\d+\.\d+)\.attn\.(?:attn\.)?(?:out_proj|proj)\.", r"\1.attention.output.dense."),
    (r"(\.block\.\d+\.\d+)\.attn\.", r"\1.attention."),
    (r"\.mlp\.fc([12])\.", r".mlp.dense\1."),
)

LAYOUTS = (
    Layout(
        # https://github.com/open-mmlab/mmsegmentation, models/backbones/mit.py and decode_heads/segformer_head.py:
        # every LayerNorm has eps 1e-6; each projection is a ConvModule (convolution, BatchNorm, ReLU).
        name="mmseg",
        sign=r"^(backbone\.)?layers\.\d\.(0\.projection|1\.\d+\.attn)\.",
        renames=(
            (r"^(?:backbone\.)?layers\.(\d)\.0\.projection\.", rf"{_ENCODER}.patch_embeddings.\1.proj."),
            (r"^(?:backbone\.)?layers\.(\d)\.0\.norm\.", rf"{_ENCODER}.patch_embeddings.\1.layer_norm."),
            (r"^(?:backbone\.)?layers\.(\d)\.1\.(\d+)\.", rf"{_ENCODER}.block.\1.\2."),
            (r"^(?:backbone\.)?layers\.(\d)\.2\.", rf"{_ENCODER}.layer_norm.\1."),
            (r"\.ffn\.layers\.0\.", ".mlp.dense1."),
            (r"\.ffn\.layers\.1\.", ".mlp.dwconv.dwconv."),
            (r"\.ffn\.layers\.4\.", ".mlp.dense2."),
            *_IN_BLOCK,
            (r"^decode_head\.fusion_conv\.conv\.", "decode_head.linear_fuse."),
            (r"^decode_head\.fusion_conv\.bn\.", "decode_head.batch_norm."),
            (r"^decode_head\.conv_seg\.", "decode_head.classifier."),
        ),
        convert=_convert_mmseg,
        config=(("layer_norm_eps", 1e-6), ("embed_norm_eps", 1e-6), ("projection_relu", True)),
    ),
    Layout(
        # https://github.com/NVlabs/SegFormer, mmseg/models/backbones/mix_transformer.py: eps 1e-6 is handed to the
        # blocks' and stages' norms only; patch embeddings and reductions keep PyTorch's 1e-5.
        name="authors",
        sign=r"^(backbone\.)?(patch_embed\d\.proj|block\d\.\d+\.attn)\.",
        renames=(
            *_shift(r"^(?:backbone\.)?patch_embed#\.proj\.", f"{_ENCODER}.patch_embeddings.#.proj."),
            *_shift(r"^(?:backbone\.)?patch_embed#\.norm\.", f"{_ENCODER}.patch_embeddings.#.layer_norm."),
            *_shift(r"^(?:backbone\.)?block#\.", f"{_ENCODER}.block.#."),
            *_shift(r"^(?:backbone\.)?norm#\.", f"{_ENCODER}.layer_norm.#."),
            *_IN_BLOCK,
            *_shift(r"^decode_head\.linear_c#\.", "decode_head.linear_c.#."),
            (r"^decode_head\.linear_fuse\.conv\.", "decode_head.linear_fuse."),
            (r"^decode_head\.linear_fuse\.bn\.", "decode_head.batch_norm."),
            (r"^decode_head\.linear_pred\.", "decode_head.classifier."),
        ),
        convert=_convert_authors,
        config=(("layer_norm_eps", 1e-6),),
    ),
    Layout(
        # transformers 5.x in memory, and what saves a module's state dict from there.
        name="transformers-5",
        sign=r"(^|\.)stages\.\d\.patch_embeddings\.",
        renames=(
            (r"^(?:(?:ser)?segformer\.)?stages\.(\d)\.patch_embeddings\.", rf"{_ENCODER}.patch_embeddings.\1."),
            (r"^(?:(?:ser)?segformer\.)?stages\.(\d)\.blocks\.(\d+)\.", rf"{_ENCODER}.block.\1.\2."),
            (r"^(?:(?:ser)?segformer\.)?stages\.(\d)\.layer_norm\.", rf"{_ENCODER}.layer_norm.\1."),
            (r"\.layernorm_before\.", ".layer_norm_1."),
            (r"\.layernorm_after\.", ".layer_norm_2."),
            (r"\.attention\.o_proj\.", ".attention.output.dense."),
            (r"\.attention\.sequence_reduction\.sequence_reduction\.", ".attention.self.sr."),
            (r"\.attention\.sequence_reduction\.layer_norm\.", ".attention.self.layer_norm."),
            (r"\.mlp\.fc([12])\.", r".mlp.dense\1."),
            (r"^decode_head\.linear_projections\.", "decode_head.linear_c."),
        ),
    ),
    Layout(
        # The research system before it numbered its upsampling blocks from 1.
        name="research-old",
        sign=r"^decode_head\.upsample\.[01]\.",
        renames=(
            (r"^decode_head\.upsample\.0\.", "decode_head.upsample1."),
            (r"^decode_head\.upsample\.1\.", "decode_head.upsample2."),
        ),
    ),
    Layout(
        # transformers 4.x, the research system, and this package.
        name="transformers-4",
        sign=r"",
        renames=((r"^encoder\.(patch_embeddings|block|layer_norm)\.", rf"{_ENCODER}.\1."),),
    ),
)
