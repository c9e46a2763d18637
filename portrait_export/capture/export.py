"""Export a PyTorch module to a checked ONNX model with outputs `logits` and `mask`."""

from __future__ import annotations

import contextlib
import inspect
import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..artifacts import DEFAULT_OPSET
from ..errors import CaptureError, first_line
from ..preprocessing import METADATA_PREFIX, SPEC_KEY, PortraitSpec
from ..utils.quiet import quiet
from ..utils.version import __version__
from .onnx.load import MAX_PROTOBUF_BYTES

if TYPE_CHECKING:
    import onnx
    import torch

OPSETS = range(13, 21)  # what the TorchScript exporter of every supported torch writes
OUTPUTS = ("logits", "mask")


def export_onnx(
    module: torch.nn.Module,
    *,
    spec: PortraitSpec,
    opset: int = DEFAULT_OPSET,
    metadata: Mapping[str, str] | None = None,
    check: bool = True,
) -> onnx.ModelProto:
    """Trace a network at the spec's size and export it.

    The TorchScript exporter is used: it gives the same bytes for the same weights, names nodes after the module path,
    and needs no further package (the exporter of `torch.export` needs onnxscript).

    Args:
        module: takes the spec's inputs, normalised, in order; returns (1, 1, h, w) logits about `spec.positive`.
        spec: the preprocessing; stored in the model as `portrait_export.spec`.
        opset: ONNX opset, 13..20.
        metadata: further `metadata_props`, stored as `portrait_export.<key>`.
        check: compare with PyTorch under ONNX Runtime before returning.
    Returns:
        A model with static shapes, float32: inputs `image` (1, 3, H, W) and perhaps `depth` (1, 1, H, W); outputs
        `logits` (1, 1, h, w), about the person, and `mask` (1, 1, H, W), P(person). The same input gives the same
        bytes.
    Raises:
        CaptureError: tracing or exporting failed, the model is larger than 2 GB, or its numbers differ from PyTorch's.
    """
    import onnx

    from .deployment import Deployment
    from .onnx.check import check_against_module, check_model

    if opset not in OPSETS:
        raise CaptureError(
            f"Opset {opset} cannot be exported; the opsets are {OPSETS[0]}..{OPSETS[-1]}.", code="bad-opset"
        )
    _refuse_too_large(module)
    deployment = Deployment(module, spec=spec)
    with quiet_tracing(), _evaluation(deployment):
        inputs = example_inputs(spec)
        model = onnx.load_from_string(_trace(deployment, inputs, spec, opset))
        tidy(model)
        set_metadata(model, {"spec": spec.to_json(), **(metadata or {})})
        check_model(model)
        if check:
            check_against_module(model, deployment, inputs)
    return model


def example_inputs(spec: PortraitSpec) -> tuple[torch.Tensor, ...]:
    """One seeded set of inputs in the spec's order: smooth structure plus noise, about zero mean and unit variance."""
    import torch

    generator = torch.Generator().manual_seed(0)
    size = (spec.height, spec.width)
    inputs = []
    for name in spec.inputs:
        channels = 3 if name == "image" else 1
        coarse = torch.randn(1, channels, 4, 4, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
        inputs.append(smooth + 0.25 * torch.randn(1, channels, *size, generator=generator))
    return tuple(inputs)


def set_metadata(model: onnx.ModelProto, entries: Mapping[str, str]) -> None:
    """Add `portrait_export.<key>` entries to a model's metadata, keeping all of them sorted by key."""
    known = {prop.key: prop.value for prop in model.metadata_props}
    known.update({METADATA_PREFIX + key: str(value) for key, value in entries.items()})
    del model.metadata_props[:]
    for key in sorted(known):
        model.metadata_props.add(key=key, value=known[key])


def spec_of(model: onnx.ModelProto) -> PortraitSpec | None:
    """The PortraitSpec that an exported model carries, or None for a model from elsewhere."""
    for prop in model.metadata_props:
        if prop.key == SPEC_KEY:
            return PortraitSpec.from_json(prop.value)
    return None


def tidy(model: onnx.ModelProto) -> None:
    """Make a fresh export portable and reproducible, in place.

    Removes source locations and exporter versions, shortens names to the network's own module path, and drops weights
    that no node reads.
    """
    model.producer_name, model.producer_version = "portrait-export", __version__
    model.doc_string = ""
    model.domain = ""
    graph = model.graph
    graph.name, graph.doc_string = "portrait", ""
    names = _shortened_names(graph)
    for node in graph.node:
        node.doc_string = ""
        if "metadata_props" in node.DESCRIPTOR.fields_by_name:
            node.ClearField("metadata_props")
        node.name = names.get(node.name, node.name)
        _rename(node.input, names)
        _rename(node.output, names)
    for value in (*graph.initializer, *graph.value_info, *graph.input, *graph.output):
        value.name = names.get(value.name, value.name)
        value.doc_string = ""
    _drop_unused_weights(graph)


def _rename(values: Any, names: Mapping[str, str]) -> None:
    for index, name in enumerate(values):
        values[index] = names.get(name, name)


def _shortened_names(graph: onnx.GraphProto) -> dict[str, str]:
    """Old name to new: without the wrapper's `net` prefix, wherever that stays unique."""
    from .deployment import NET

    taken = {name for node in graph.node for name in (node.name, *node.output)}
    taken |= {value.name for value in (*graph.initializer, *graph.input)}
    names: dict[str, str] = {}
    for name in sorted(taken):
        for prefix, replacement in ((f"/{NET}/", "/"), (f"{NET}.", "")):
            if name.startswith(prefix):
                short = replacement + name[len(prefix) :]
                if short not in taken:
                    names[name] = short
    return names


def _drop_unused_weights(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    if len(kept) != len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(kept)


def _refuse_too_large(module: torch.nn.Module) -> None:
    size = sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())
    if size > MAX_PROTOBUF_BYTES:
        raise CaptureError(
            f"The network's weights are {size / 2**30:.1f} GiB; an ONNX file in one piece holds at most 2 GiB.",
            code="model-too-large",
            hint="portrait networks for phones are a thousand times smaller: is this the right checkpoint?",
        )


def _trace(deployment: Any, inputs: tuple[torch.Tensor, ...], spec: PortraitSpec, opset: int) -> bytes:
    """Run the exporter. All operators without ONNX form are reported at once."""
    import torch

    buffer: Any = io.BytesIO()  # the TorchScript exporter takes it; the annotation is the other exporter's
    options: dict[str, Any] = {
        "opset_version": opset,
        "input_names": list(spec.inputs),
        "output_names": list(OUTPUTS),
        "do_constant_folding": True,
        "verbose": False,
    }
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    try:
        with torch.no_grad():
            torch.onnx.export(deployment, inputs, buffer, **options)
    except CaptureError:
        raise
    except Exception as error:  # the exporter and the network's own code raise anything
        name = type(deployment.net).__name__
        raise CaptureError(
            f"{name} could not be traced and exported to ONNX opset {opset} at {spec.height}x{spec.width}:"
            f" {type(error).__name__}: {first_line(error)}",
            context=[f"no ONNX form: {operator}" for operator in _unconvertible(deployment, inputs, opset)],
            hint="sizes must divide as the network needs them; data-dependent Python code cannot be traced",
        ) from error
    return buffer.getvalue()


def _unconvertible(deployment: Any, inputs: tuple[torch.Tensor, ...], opset: int) -> list[str]:
    """Names of the torch operators that the exporter has no ONNX form for; empty where that cannot be found out."""
    try:
        from torch.onnx.utils import unconvertible_ops

        return sorted(set(unconvertible_ops(deployment, inputs, opset_version=opset)[1]))
    except Exception:  # only adds detail to an error that is being raised
        return []


@contextlib.contextmanager
def _evaluation(module: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode for the duration, every submodule's own mode restored after."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for child, training in modes:
            child.training = training


@contextlib.contextmanager
def quiet_tracing() -> Iterator[None]:
    """Silence tracing: what it warns of (baked-in Python values) is wanted, as shapes are static.

    Nor does the exporter print the whole graph with the error that it raises.
    """
    import torch

    # The exporter switches its own log on and leaves it on; without the function there is nothing to silence.
    log = getattr(torch._C, "_jit_onnx_log", None)
    if log is not None:
        torch._C._jit_onnx_log = lambda *parts: None
    try:
        with quiet(prints=True):
            yield
    finally:
        if log is not None:
            torch._C._jit_onnx_log = log
