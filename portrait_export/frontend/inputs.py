"""Turn the inputs and initializers of an ONNX graph into features, placeholders and initial values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping
from typing import TYPE_CHECKING

import numpy as np

from ..artifacts import ArrayFeature, Feature, ImageFeature
from ..errors import LoweringError
from ..preprocessing import GRAY, SHOWS, Picture
from .emitter import Emitter
from .graph import DEFAULT_DOMAINS, all_nodes, dense_initializers, tensor_type
from .names import identifier
from .refusals import Unsupported
from .values import Tensor, Var, feature_types

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, ValueInfoProto

    from ..preprocessing import PortraitSpec

DEPTH_INPUT = (
    "A depth map of the photograph, relative inverse depth in 0..1, larger is nearer: as it was in training, for"
    " MiDaS v2.1 small its numbers divided by 1000."
)


def input_features(graph: GraphProto, spec: PortraitSpec | None, *, target: str, source: str) -> tuple[Feature, ...]:
    """The inputs that an app passes: all graph inputs that are not initializers.

    Args:
        spec: how pixels become the input `image`; None keeps every input a plain tensor.
        target: deployment target, such as `iOS17`.
        source: what to call the model in messages.
    Raises:
        LoweringError: with every input that Core ML does not support.
    """
    known = {tensor.name for tensor in graph.initializer}
    features, problems = [], []
    for value in graph.input:
        if value.name in known:
            continue
        try:
            features.append(_input_feature(value, spec, feature_types(target)))
        except Unsupported as error:
            problems.append(f"{value.name}: {error}")
    if problems:
        raise LoweringError(
            f"Core ML does not support {len(problems)} of the inputs of {source}.",
            code="unsupported-onnx-input",
            context=problems,
            hint="give a fixed size with `size=HxW`; inputs must be float32, float16, int32, int64 or bool tensors,"
            " or int8 for `target=iOS26`.",
        )
    return tuple(features)


def _input_feature(value: ValueInfoProto, spec: PortraitSpec | None, types: Mapping[str, str]) -> Feature:
    shape, dtype = tensor_type(value, types=types)
    picture = _picture(spec, value.name)
    if spec is not None and picture is not None:
        wanted = (1, picture.channels, spec.height, spec.width)
        if shape != wanted:
            raise Unsupported(f"its shape is {shape}; the spec requires {wanted}")
        return _image_feature(picture, spec.height, spec.width)
    mil_type = types[dtype]
    reads_depth = spec is not None and value.name == "depth" and "depth" in spec.inputs
    return ArrayFeature(
        name=identifier(value.name),
        shape=shape or (1,),
        dtype="int32" if mil_type == "bool" else mil_type,
        description=DEPTH_INPUT if reads_depth else "",
    )


def _picture(spec: PortraitSpec | None, name: str) -> Picture | None:
    """What an input shows; None for one that is no picture."""
    pictures = () if spec is None else spec.all_pictures
    return next((picture for picture in pictures if picture.name == name), None)


def _image_feature(picture: Picture, height: int, width: int) -> ImageFeature:
    """An image input. One channel has one std, which its scale and bias take in: (p·s − m)/d = p·s/d − m/d."""
    gray = picture.color == GRAY
    divisor = picture.std[0] if gray else 1.0
    return ImageFeature(
        name=picture.name,
        height=height,
        width=width,
        color="grayscale" if gray else picture.color,
        scale=picture.scale / divisor,
        bias=tuple(-mean / divisor for mean in picture.mean),
        description=f"{SHOWS[picture.shows]}, {width}×{height} pixels.",
    )


def placeholder(feature: Feature, emitter: Emitter) -> object:
    """The placeholder that declares an input of a MIL function."""
    channels = len(feature.bias) if isinstance(feature, ImageFeature) else 0
    shape = (1, channels, feature.height, feature.width) if isinstance(feature, ImageFeature) else feature.shape
    mil_type = "fp32" if isinstance(feature, ImageFeature) else feature.dtype
    return emitter.builder.placeholder(shape=shape, dtype=getattr(emitter.types, mil_type))


def initial_values(
    graph: GraphProto, variables: Mapping[str, Var], emitter: Emitter, *, used: Collection[str]
) -> dict[str, Tensor]:
    """Initializers as arrays, inputs as Vars of the shape and type that the graph declares.

    Args:
        variables: the MIL function's inputs.
        used: names that nodes or outputs read; other initializers are omitted.
    """
    from onnx import numpy_helper

    scope: dict[str, Tensor] = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name in used
    }
    scope.update(dense_initializers(graph))
    for value in graph.input:
        if value.name in scope or identifier(value.name) not in variables:
            continue
        shape, dtype = tensor_type(value, types=feature_types(emitter.target))
        var = variables[identifier(value.name)]
        if dtype == "bool":
            var = emitter.emit("cast", f"{identifier(value.name)}_bool", x=var, dtype="bool")
        if shape == () and value.name in used:
            var = emitter.emit("squeeze", f"{identifier(value.name)}_scalar", x=var, axes=[0])
        scope[value.name] = var
    return scope


def fold_std(
    nodes: list[NodeProto],
    scope: MutableMapping[str, Tensor],
    spec: PortraitSpec,
    emitter: Emitter,
    *,
    wanted: Collection[str],
) -> list[NodeProto]:
    """Divide by the std of each colour picture: in the first convolutions' weights, or by a separate multiplication.

    conv(x / s, W) = conv(x, W / s) with s per input channel. It holds at the borders too: a padded 0 equals 0 / s.

    Args:
        nodes: of the graph.
        scope: the values known so far; divided weights are added to it, or the image is replaced.
        wanted: the outputs; if a picture is one of them, weights are not changed.
    Returns:
        The nodes; the first convolutions may read other weights.
    """
    for picture in spec.all_pictures:
        if picture.name in scope and picture.color != GRAY and picture.std != (1.0, 1.0, 1.0):
            nodes = _fold_std_of(picture, nodes, scope, emitter, wanted=wanted)
    return nodes


def _fold_std_of(
    picture: Picture,
    nodes: list[NodeProto],
    scope: MutableMapping[str, Tensor],
    emitter: Emitter,
    *,
    wanted: Collection[str],
) -> list[NodeProto]:
    std, name = np.asarray(picture.std, np.float64), picture.name
    users = [node for node in all_nodes(nodes) if name in node.input]
    if users and name not in wanted and all(_folds_std(node, name, scope) for node in users):
        suffix = "_over_std" if name == "image" else f"_over_std_of_{name}"
        return [_with_std_in_weight(node, scope, std, suffix) if node in users else node for node in nodes]
    inverse = (1.0 / std).astype(np.float32).reshape(1, 3, 1, 1)
    scope[name] = emitter.emit("mul", f"{name}_over_std", x=scope[name], y=inverse)
    return nodes


def _folds_std(node: NodeProto, image: str, scope: Mapping[str, Tensor]) -> bool:
    """Whether a node is a convolution of the image with a constant weight."""
    inputs = list(node.input)
    return (
        node.op_type == "Conv"
        and node.domain in DEFAULT_DOMAINS
        and inputs[0] == image
        and inputs.count(image) == 1
        and isinstance(scope.get(inputs[1]), np.ndarray)
    )


def _with_std_in_weight(node: NodeProto, scope: MutableMapping[str, Tensor], std: np.ndarray, suffix: str) -> NodeProto:
    """A copy of the Conv whose weight (O, C/groups, kH, kW) is divided by its input channel's std."""
    weight = scope[node.input[1]]
    assert isinstance(weight, np.ndarray)
    per_group, outputs = weight.shape[1], weight.shape[0]
    groups = 3 // per_group
    group_of = np.arange(outputs) * groups // outputs
    channel = group_of[:, None] * per_group + np.arange(per_group)[None]  # (O, C/groups)
    scaled = weight.astype(np.float64) / std[channel].reshape(*channel.shape, *[1] * (weight.ndim - 2))
    copy = type(node)()
    copy.CopyFrom(node)
    copy.input[1] = f"{node.input[1]}{suffix}"
    scope[copy.input[1]] = scaled.astype(weight.dtype)
    return copy
