"""Test that a graph's own normalisation is noticed behind whatever keeps pixels affine, and that doubt is reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from portrait_export.artifacts import Frame
from portrait_export.capture.foreign.load import load_foreign
from portrait_export.capture.foreign.normalisation import ASSUMED
from portrait_export.capture.foreign.options import ForeignOptions
from portrait_export.capture.onnx.check import run_once
from portrait_export.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from tests.capture.foreign.guesses import guesses

SIDE = 32
node = helper.make_node
MEAN, STD = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
Prepare = Callable[[np.ndarray], np.ndarray]


def picture() -> np.ndarray:
    """(H, W, 3) uint8: blocks of colour, so that a swapped channel shows."""
    coarse = np.random.default_rng(5).integers(0, 256, (SIDE // 4, SIDE // 4, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((4, 4, 1), np.uint8))


def bytes_of(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32)


def unit(image: np.ndarray) -> np.ndarray:
    return bytes_of(image) / np.float32(255)


def signed(image: np.ndarray) -> np.ndarray:
    return 2 * unit(image) - 1


def imagenet(image: np.ndarray) -> np.ndarray:
    return ((unit(image) - MEAN) / STD).astype(np.float32)


def bgr(prepare: Prepare) -> Prepare:
    return lambda image: prepare(image[..., ::-1])


def row(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


@dataclass(frozen=True)
class Case:
    """Operators from `x` to `normal`, and how the author prepares a photograph (H, W, 3) for `x`."""

    nodes: list[onnx.NodeProto]
    prepare: Prepare
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    words: str = "the graph already normalises its input ("
    shape: tuple[int, ...] = (1, 3, SIDE, SIDE)
    dtype: int = TensorProto.FLOAT
    size: int = SIDE  # of `normal`
    opset: int = 17


def shifted(source: str = "x", result: str = "normal", *, unit_of: float = 255.0) -> Case:
    """ImageNet's normalisation of RGB."""
    constants = {"m": row(*(MEAN * unit_of)), "s": row(*(STD * unit_of))}
    return Case([node("Sub", [source, "m"], ["t"]), node("Div", ["t", "s"], [result])], bytes_of, constants)


def normalised_after(*before: onnx.NodeProto, prepare: Prepare = bytes_of, unit_of: float = 255.0, **more: Any) -> Case:
    """Some operators from `x` to `v`, then ImageNet's normalisation."""
    rest = shifted("v", unit_of=unit_of)
    constants = {**rest.constants, **more.pop("constants", {})}
    return Case([*before, *rest.nodes], prepare, constants, **more)


IMAGENET = row(*MEAN), row(*STD)
CLIP = row(0.48145466, 0.4578275, 0.40821073), row(0.26862954, 0.26130258, 0.27577711)


def clip(image: np.ndarray) -> np.ndarray:
    mean, std = (each.reshape(3) for each in CLIP)
    return ((unit(image) - mean) / std).astype(np.float32)


def undone(
    first: tuple[np.ndarray, ...],
    second: tuple[np.ndarray, ...],
    prepare: Prepare,
    words: str = "which expects pixels in ImageNet's normalisation (",
) -> Case:
    """A normalisation of pixels in 0..1 undone, and another in its place."""
    nodes = [node("Mul", ["x", "s"], ["a"]), node("Add", ["a", "m"], ["u"]), node("Sub", ["u", "m2"], ["b"])]
    constants = dict(zip(("m", "s", "m2", "s2"), (*first, *second), strict=True))
    return Case([*nodes, node("Div", ["b", "s2"], ["normal"])], prepare, constants, words)


ints = {"back": np.array([2, 1, 0], np.int64), "one": np.array([1], np.int64), "zero": np.array([0], np.int64),
        "two": np.array([2], np.int64), "three": np.array([3], np.int64), "far": np.array([-(2**31)], np.int64),
        "minus": np.array([-1], np.int64)}  # fmt: skip
numbers = {"c255": np.float32(255).reshape(()), "half": np.float32(0.5).reshape(1), "c2": np.float32(2).reshape(()),
           "c1": np.float32(1).reshape(())}  # fmt: skip
BN_BYTES = {"g": row(1, 1, 1), "b": row(0, 0, 0), "bm": row(*MEAN * 255), "bv": row(*(STD * 255) ** 2)}
DIAGONAL = {"k": np.diag(1 / STD / 255).astype(np.float32), "o": (-MEAN / STD).astype(np.float32)}
FLIPPED = {"m": row(*MEAN[::-1] * 255), "s": row(*STD[::-1] * 255)}  # behind a flip: BGR
REST = [node("Sub", ["v", "m"], ["t"]), node("Div", ["t", "s"], ["normal"])]


def batch_norm(source: str = "x", result: str = "normal") -> onnx.NodeProto:
    return node("BatchNormalization", [source, "g", "b", "bm", "bv"], [result])


def flat(constants: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array.reshape(-1) for name, array in constants.items()}


NOTICED = {
    "flip_by_gather": Case([node("Gather", ["x", "back"], ["v"], axis=1), *REST], bytes_of, FLIPPED),
    "flip_of_bgr": normalised_after(node("Gather", ["x", "back"], ["v"], axis=1), prepare=bgr(bytes_of)),
    "flip_by_slice": Case([node("Slice", ["x", "minus", "far", "one", "minus"], ["v"]), *REST], bytes_of, FLIPPED),
    "flip_by_split": Case(
        [node("Split", ["x"], ["r", "g_", "b_"], axis=1), node("Concat", ["b_", "g_", "r"], ["v"], axis=1), *REST],
        bytes_of, FLIPPED,
    ),
    "flip_by_stacked_channels": Case(
        [
            *(node("Gather", ["x", f"i{k}"], [f"plane{k}"], axis=1) for k in range(3)),
            *(node("Unsqueeze", [f"plane{k}", "one"], [f"channel{k}"]) for k in range(3)),
            node("Concat", ["channel2", "channel1", "channel0"], ["v"], axis=1), *REST,
        ],
        bytes_of, {**FLIPPED, **{f"i{k}": np.array(k, np.int64) for k in range(3)}},
    ),
    "flip_after_the_arithmetic": Case(
        [*shifted(result="v").nodes, node("Gather", ["v", "back"], ["normal"], axis=1)], bytes_of, shifted().constants,
    ),
    "batch_norm_of_bytes": Case([batch_norm()], bytes_of, flat(BN_BYTES)),
    "batch_norm_of_0_to_1": Case(
        [batch_norm()], unit, flat({**BN_BYTES, "bm": row(*MEAN), "bv": row(*STD**2), "g": row(1.1, 0.9, 1)}),
    ),
    "batch_norm_behind_a_division": Case(
        [node("Div", ["x", "c255"], ["v"]), batch_norm("v")], bytes_of,
        flat({**BN_BYTES, "bm": row(*MEAN), "bv": row(*STD**2)}),
    ),
    "batch_norm_of_minus_one_to_one": Case(
        [batch_norm()], signed, flat({**BN_BYTES, "bm": row(*2 * MEAN - 1), "bv": row(*(2 * STD) ** 2)}),
        words="which expects pixels in -1..1 (`scale=1/255`, `mean=(0.5, 0.5, 0.5)`, `std=(0.5, 0.5, 0.5)`)",
    ),
    "padded": normalised_after(
        node("Pad", ["x", "pads"], ["v"]), size=SIDE + 4,
        constants={"pads": np.array([0, 0, 2, 2, 0, 0, 2, 2], np.int64)},
    ),
    "resized": normalised_after(
        node("Resize", ["x", "", "scales"], ["v"], mode="linear"), size=SIDE // 2,
        constants={"scales": np.array([1, 1, 0.5, 0.5], np.float32)},
    ),
    "pooled": normalised_after(
        node("AveragePool", ["x"], ["v"], kernel_shape=[2, 2], strides=[2, 2]), size=SIDE // 2,
    ),
    "cast": normalised_after(node("Cast", ["x"], ["v"], to=TensorProto.FLOAT), dtype=TensorProto.DOUBLE),
    "channels_last": normalised_after(
        node("Transpose", ["x"], ["v"], perm=[0, 3, 1, 2]), shape=(1, SIDE, SIDE, 3),
    ),
    "channels_last_normalised_before_the_transpose": Case(
        [
            node("Sub", ["x", "m"], ["t"]), node("Div", ["t", "s"], ["d"]),
            node("Transpose", ["d"], ["normal"], perm=[0, 3, 1, 2]),
        ],
        bytes_of, flat(shifted().constants), shape=(1, SIDE, SIDE, 3),
    ),
    "without_a_batch": normalised_after(node("Unsqueeze", ["x", "zero"], ["v"]), shape=(3, SIDE, SIDE)),
    "convolution_of_each_channel": Case(
        [node("Conv", ["x", "k", "o"], ["normal"], group=3)], bytes_of,
        {"k": (1 / STD / 255).reshape(3, 1, 1, 1).astype(np.float32), "o": (-MEAN / STD).astype(np.float32)},
    ),
    "convolution_that_flips": Case(
        [node("Conv", ["x", "k", "o"], ["normal"])], bgr(bytes_of),
        {
            "k": (np.eye(3)[::-1] / STD[:, None] / 255).reshape(3, 3, 1, 1).astype(np.float32),
            "o": (-MEAN / STD).astype(np.float32),
        },
    ),
    "matrix_with_a_diagonal_of_channels_last": Case(
        [
            node("MatMul", ["x", "k"], ["t"]), node("Add", ["t", "o"], ["d"]),
            node("Transpose", ["d"], ["normal"], perm=[0, 3, 1, 2]),
        ],
        bytes_of, DIAGONAL, shape=(1, SIDE, SIDE, 3),
    ),
    "matrix_that_flips_rows_of_pixels": Case(
        [
            node("Reshape", ["x", "rows"], ["r"]), node("MatMul", ["flip", "r"], ["d"]),
            node("Reshape", ["d", "map"], ["v"]), *REST,
        ],
        bytes_of,
        {
            **FLIPPED, "flip": np.eye(3, dtype=np.float32)[::-1].copy(), "rows": np.array([1, 3, -1], np.int64),
            "map": np.array([1, 3, SIDE, SIDE], np.int64),
        },
    ),
    "gemm_of_a_list_of_pixels": Case(
        [
            node("Reshape", ["x", "list"], ["t"]), node("Gemm", ["t", "k", "o"], ["d"], transB=1),
            node("Reshape", ["d", "map"], ["v"]), node("Transpose", ["v"], ["normal"], perm=[0, 3, 1, 2]),
        ],
        bytes_of,
        {**DIAGONAL, "list": np.array([-1, 3], np.int64), "map": np.array([1, SIDE, SIDE, 3], np.int64)},
        shape=(1, SIDE, SIDE, 3),
    ),
    "a_diagonal_by_einsum": Case(
        [node("Einsum", ["x", "k"], ["t"], equation="nhwc,cd->ndhw"), node("Sub", ["t", "o"], ["normal"])],
        bytes_of, {"k": DIAGONAL["k"], "o": row(*(MEAN / STD))}, shape=(1, SIDE, SIDE, 3),
    ),
    "a_factor_by_einsum": Case(
        [node("Einsum", ["k", "x"], ["t"], equation="c,nchw->nchw"), node("Sub", ["t", "o"], ["normal"])],
        bytes_of, {"k": np.diag(DIAGONAL["k"]).copy(), "o": row(*(MEAN / STD))},
    ),
    "space_to_depth": Case(
        [
            node("SpaceToDepth", ["x"], ["v"], blocksize=2), node("Sub", ["v", "m"], ["t"]),
            node("Div", ["t", "s"], ["d"]), node("DepthToSpace", ["d"], ["normal"], blocksize=2),
        ],
        bytes_of, {"m": row(*np.tile(MEAN * 255, 4)), "s": row(*np.tile(STD * 255, 4))},
    ),
    "pixels_unshuffled_by_reshape": Case(
        [
            node("Reshape", ["x", "blocks"], ["b_"]), node("Transpose", ["b_"], ["p_"], perm=[0, 1, 3, 5, 2, 4]),
            node("Reshape", ["p_", "deep"], ["v"]), node("Sub", ["v", "m"], ["t"]), node("Div", ["t", "s"], ["d"]),
            node("DepthToSpace", ["d"], ["normal"], blocksize=2, mode="CRD"),
        ],
        bytes_of,
        {
            "blocks": np.array([1, 3, SIDE // 2, 2, SIDE // 2, 2], np.int64),
            "deep": np.array([1, 12, SIDE // 2, SIDE // 2], np.int64),
            "m": row(*np.repeat(MEAN * 255, 4)), "s": row(*np.repeat(STD * 255, 4)),
        },
    ),
    "patches_of_channels_last": Case(
        [
            node("Reshape", ["x", "blocks"], ["b_"]), node("Transpose", ["b_"], ["p_"], perm=[0, 1, 3, 2, 4, 5]),
            node("Reshape", ["p_", "deep"], ["v"]), node("Sub", ["v", "m"], ["t"]), node("Div", ["t", "s"], ["d"]),
            node("Transpose", ["d"], ["e"], perm=[0, 3, 1, 2]),
            node("DepthToSpace", ["e"], ["normal"], blocksize=2),
        ],
        bytes_of,
        {
            "blocks": np.array([1, SIDE // 2, 2, SIDE // 2, 2, 3], np.int64),
            "deep": np.array([1, SIDE // 2, SIDE // 2, 12], np.int64),
            "m": np.tile(MEAN * 255, 4).astype(np.float32), "s": np.tile(STD * 255, 4).astype(np.float32),
        },
        shape=(1, SIDE, SIDE, 3),
    ),
    "clipped": normalised_after(node("Clip", ["x", "lowest", "c255"], ["v"]), constants={"lowest": np.float32(0)}),
    "numbers_as_large_as_the_picture": Case(
        shifted().nodes, bytes_of,
        {name: np.broadcast_to(array, (1, 3, SIDE, SIDE)).copy() for name, array in shifted().constants.items()},
    ),
    "constants_that_are_computed": Case(
        [node("Reciprocal", ["s"], ["r"]), node("Sub", ["x", "m"], ["t"]), node("Mul", ["t", "r"], ["normal"])],
        bytes_of, shifted().constants, words="(Sub, Mul: (x - (123.7, 116.3, 103.5)) / (58.4, 57.12, 57.38))",
    ),
    "padded_by_what_its_size_lacks": normalised_after(
        node("Shape", ["x"], ["n"]), node("Slice", ["n", "two", "four", "zero"], ["sides"]),
        node("Mod", ["sides", "five"], ["more"]), node("Concat", ["nothing", "more"], ["pads"], axis=0),
        node("Pad", ["x", "pads"], ["v"], mode="reflect"), size=SIDE + 2,
        constants={
            "four": np.array([4], np.int64), "five": np.array([5], np.int64), "nothing": np.zeros(6, np.int64),
        },
    ),
    "read_for_its_size_too": normalised_after(
        node("Shape", ["x"], ["n"]), node("Reshape", ["x", "n"], ["v"]),
    ),
    "divided_by_255": Case([node("Div", ["x", "c255"], ["normal"])], bytes_of),
    "back_to_0_to_1_from_minus_one_to_one": Case(
        [node("Add", ["x", "c1"], ["t"]), node("Div", ["t", "c2"], ["normal"])], signed,
        words="which expects pixels in -1..1 (`scale=1/255`, `mean=(0.5, 0.5, 0.5)`, `std=(0.5, 0.5, 0.5)`)",
    ),
    "back_to_pixels_from_imagenet": Case(
        [node("Mul", ["x", "s"], ["t"]), node("Add", ["t", "m"], ["normal"])], imagenet, shifted(unit_of=1).constants,
        words="which expects pixels in ImageNet's normalisation (`scale=1/255`, `mean=(0.485, 0.456, 0.406)`,",
    ),
    "imagenets_before_efficientnet_lites": undone(IMAGENET, (row(127 / 255), row(128 / 255)), imagenet),
    "imagenets_before_clips": undone(IMAGENET, CLIP, imagenet),
    "imagenets_before_less_the_means_in_0_to_255": undone(IMAGENET, (row(*MEAN), row(1 / 255)), imagenet),
    "clips_before_imagenets": undone(CLIP, IMAGENET, clip, words="which expects pixels in CLIP's normalisation ("),
    "clips_undone": undone(CLIP, (row(0), row(1)), clip, words="which expects pixels in CLIP's normalisation ("),
    "minus_one_to_one_before_clips": undone(
        (row(0.5), row(0.5)), CLIP, signed, words="which expects pixels in -1..1 (`scale=1/255`",
    ),
    "imagenets_of_bgr_undone": undone(
        tuple(each[:, ::-1] for each in IMAGENET), (row(0), row(1)), lambda image: imagenet(image)[..., ::-1],
        words="which expects pixels in ImageNet's normalisation of BGR (`scale=1/255`, `mean=(0.406, 0.456, 0.485)`",
    ),
}  # fmt: skip


def network(case: Case) -> onnx.ModelProto:
    """`x` → a convolution of `normal` → `alpha`."""
    generator = np.random.default_rng(3)
    constants = {**ints, **numbers, **case.constants, "kernel": generator.normal(0, 1, (1, 3, 3, 3)).astype(np.float32)}
    read = {name for each in case.nodes for name in each.input} | {"kernel"}
    stored = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items() if name in read]
    graph = helper.make_graph(
        [
            *case.nodes,
            node("Conv", ["normal", "kernel"], ["c"], pads=[1, 1, 1, 1]),
            node("Sigmoid", ["c"], ["alpha"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", case.dtype, case.shape)],
        [helper.make_tensor_value_info("alpha", TensorProto.FLOAT, [1, 1, case.size, case.size])],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", case.opset)], ir_version=8)


def load(case: Case, folder: Path, **settings: Any) -> Any:
    onnx.save(network(case), folder / "net.onnx")
    return load_foreign(ForeignOptions(onnx=folder / "net.onnx", **settings))


def feed(case: Case, prepared: np.ndarray) -> np.ndarray:
    """A prepared photograph (H, W, 3) in the layout and type of `x`."""
    first = case.shape.index(3) < case.shape.index(SIDE)
    array = prepared.transpose(2, 0, 1) if first else prepared
    return np.ascontiguousarray(array.reshape(case.shape)).astype(helper.tensor_dtype_to_np_dtype(case.dtype))


@pytest.mark.parametrize("name", NOTICED)
def test_the_graphs_own_normalisation_is_noticed(name, tmp_path):
    case = NOTICED[name]
    found = load(case, tmp_path)
    warning, *others = guesses(found)
    assert case.words in warning
    assert ["neither a whole part" in line for line in others] == [True] * name.startswith("padded")
    expected = run_once(network(case), {"x": feed(case, case.prepare(picture()))})["alpha"]
    assert np.ptp(expected) > 0.2, "a flat mask would prove nothing"
    call = found.original.open({}, ("alpha",), keep_memory=False)
    mask = call({"x": found.image.arrange(found.spec.normalise(Frame(picture())))})["alpha"]
    np.testing.assert_allclose(mask, expected, atol=1e-4)


def identity(**more: Any) -> Case:
    return Case([node("Identity", ["x"], ["normal"])], imagenet, **more)


NOT_NORMALISING = {
    "nothing": identity(),
    "a_mean_picture": Case(
        [node("Sub", ["x", "picture"], ["normal"])], bytes_of,
        {"picture": np.random.default_rng(0).uniform(0, 255, (1, 3, SIDE, SIDE)).astype(np.float32)},
    ),
    "a_convolution_that_mixes_channels": Case(
        [node("Conv", ["x", "k"], ["normal"])], imagenet,
        {"k": np.random.default_rng(0).normal(size=(3, 3, 1, 1)).astype(np.float32)},
    ),
    "an_untrained_batch_norm": Case(
        [batch_norm()], imagenet, flat({**BN_BYTES, "bm": row(0, 0, 0), "bv": row(1, 1, 1)}),
    ),
    "a_batch_norm_of_normalised_pixels": Case(
        [batch_norm()], imagenet, flat({**BN_BYTES, "bm": row(0.1, -0.1, 0.2), "bv": row(1.1, 0.9, 1)}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_NORMALISING)
def test_the_networks_own_layers_are_no_normalisation(name, tmp_path):
    found = load(NOT_NORMALISING[name], tmp_path)
    assert guesses(found) == (ASSUMED,)
    assert (found.spec.mean, found.spec.std, found.spec.scale) == (IMAGENET_MEAN, IMAGENET_STD, 1 / 255)


def test_a_branch_that_reads_plain_pixels_does_not_hide_the_other(tmp_path):
    """A guided filter reads the picture itself beside the normalised one."""
    case = normalised_after(node("Identity", ["x"], ["v"]))
    nodes = [node("GlobalAveragePool", ["x"], ["average"]), *case.nodes[:-1]]
    nodes += [node("Div", ["t", "s"], ["d"]), node("Mul", ["average", "tiny"], ["a"]), node("Tanh", ["a"], ["h"])]
    nodes += [node("Add", ["d", "h"], ["normal"])]
    found = load(Case(nodes, bytes_of, {**case.constants, "tiny": np.float32(1e-3)}), tmp_path)
    assert (found.spec.scale, found.spec.mean) == (1.0, (0, 0, 0))


AMBIGUOUS = {
    "a_factor_of_two": (
        Case([node("Mul", ["x", "c2"], ["normal"])], unit),
        (
            "the graph starts with Mul: (x - 0) / 0.5, which suits pixels in 0..1 (`scale=1/255`) or -1..1"
            " (`scale=1/255`, `mean=(0.5, 0.5, 0.5)`, `std=(0.5, 0.5, 0.5)`): 0..1 is taken"
        ),
    ),
    "a_batch_norm_that_may_be_a_layer": (
        Case([batch_norm()], imagenet, flat({**BN_BYTES, "bm": row(2, 2, 2), "bv": row(9, 9, 9)})),
        (
            "the graph starts with BatchNormalization on its input (trained on 2 ± 3), which may be a normalisation"
            " of its own (`scale=1/255` gives it pixels in 0..1, `scale=1` in 0..255) or the network's first layer,"
            " behind ImageNet's normalisation (`scale=1/255`, `mean=(0.485, 0.456, 0.406)`,"
            " `std=(0.229, 0.224, 0.225)`)"
        ),
    ),
    "a_weighted_sum_of_channels": (
        Case([node("Mul", ["x", "luma"], ["normal"])], imagenet, {"luma": row(0.299, 0.587, 0.114)}),
        (
            "the graph starts with Mul: (x - 0) / (3.344, 1.704, 8.772), which may be a normalisation of its own"
            " (`scale=1/255` gives it pixels in 0..1, `scale=1` in 0..255) or the network's first layer, behind"
            " ImageNet's normalisation (`scale=1/255`, `mean=(0.485, 0.456, 0.406)`, `std=(0.229, 0.224, 0.225)`)"
        ),
    ),
    "a_divisor_and_an_offset_of_nothing_known": (
        Case([node("Sub", ["x", "c1"], ["t"]), node("Div", ["t", "four"], ["normal"])], imagenet, {"four": row(4)}),
        (
            "the graph starts with Sub, Div: (x - 1) / 4, which may be a normalisation of its own (`scale=1/255` gives"
            " it pixels in 0..1, `scale=1` in 0..255) or the network's first layer, behind ImageNet's normalisation"
            " (`scale=1/255`, `mean=(0.485, 0.456, 0.406)`, `std=(0.229, 0.224, 0.225)`)"
        ),
    ),
    "a_flip_alone": (
        Case([node("Gather", ["x", "back"], ["normal"], axis=1)], imagenet),
        (
            "the graph reverses the channels of its input (Gather): either it takes RGB, for layers trained on BGR"
            " (`color=rgb`, which is assumed), or BGR for layers trained on RGB (`color=bgr`)"
        ),
    ),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_doubt_names_both_readings_and_the_options(name, tmp_path):
    case, words = AMBIGUOUS[name]
    assert words in load(case, tmp_path).warnings


def test_two_normalised_branches_are_both_named(tmp_path):
    first, other = shifted(result="d"), node("Div", ["x", "c255"], ["q"])
    nodes = [*first.nodes, other, node("Tanh", ["d"], ["h"]), node("Tanh", ["q"], ["k_"])]
    nodes += [node("Add", ["h", "k_"], ["normal"])]
    [warning] = guesses(load(Case(nodes, bytes_of, first.constants), tmp_path))
    assert "other layers read Div: (x - 0) / 255" in warning


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_the_means_tell_the_order_of_channels(color, tmp_path):
    case = NOTICED["flip_by_gather" if color == "rgb" else "flip_of_bgr"]
    found = load(case, tmp_path)
    assert found.spec.color == color
    assert f"{color.upper()} (by the order of the means in the graph) photographs" in " ".join(found.notes)
    contrary = load(case, tmp_path, color="bgr" if color == "rgb" else "rgb")
    assert any(f"ImageNet's in the order {color.upper()}" in line for line in contrary.warnings)


def test_numbers_that_are_undone_tell_the_order_of_channels(tmp_path):
    assert load(NOTICED["imagenets_of_bgr_undone"], tmp_path).spec.color == "bgr"
    assert "RGB (by the order" in " ".join(load(NOTICED["imagenets_before_clips"], tmp_path).notes)


def test_given_numbers_that_suit_the_graph_are_not_doubted(tmp_path):
    assert guesses(load(AMBIGUOUS["a_divisor_and_an_offset_of_nothing_known"][0], tmp_path, scale=0.1)) == ()
    signs = NOTICED["back_to_0_to_1_from_minus_one_to_one"]
    halves = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    assert guesses(load(signs, tmp_path, **halves)) == ()
    [warning] = guesses(load(signs, tmp_path, scale=1 / 255))
    assert "looks made for pixels in -1..1; scale is 0.00392157" in warning
    [warning] = guesses(load(NOTICED["batch_norm_of_bytes"], tmp_path, mean=IMAGENET_MEAN, std=IMAGENET_STD))
    assert warning.endswith("normalising twice is probably wrong")


RANGES = [
    pytest.param(1 / 255, 0, np.uint8, "0..1", id="unit"),
    pytest.param(1.0, 0, np.uint8, "0..255", id="bytes"),
    pytest.param(0.94, 2, np.uint8, "0..255", id="bytes_that_were_not_all_seen"),
    pytest.param(2 / 255, 127, np.uint8, "-1..1", id="signed"),
    pytest.param(4.75 / 255, 114, np.uint8, "ImageNet's normalisation", id="imagenet"),
    pytest.param(2.64 / 127, 0, np.int8, "ImageNet's normalisation", id="imagenet_symmetric"),
    pytest.param(1 / 127, 0, np.int8, "-1..1", id="symmetric"),
    pytest.param(255 / 127, 0, np.int8, "0..255", id="bytes_symmetric"),
]


def quantized(scale: float, zero: int, dtype: Any) -> onnx.ModelProto:
    """A network whose first operators store its input as 8-bit integers."""
    arrays = {"scale": np.float32(scale), "zero": dtype(zero), "w": np.full((1, 3, 1, 1), 0.5, np.float32)}
    nodes = [
        node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        node("Conv", ["d", "w"], ["z"]),
        node("Sigmoid", ["z"], ["y"]),
    ]
    shapes = {"x": [1, 3, SIDE, SIDE], "y": [1, 1, SIDE, SIDE]}
    inputs, outputs = ([helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name])] for name in "xy")
    stored = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "quantized", inputs, outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(("scale", "zero", "dtype", "name"), RANGES)
def test_the_range_of_a_quantized_input_tells_its_pixels(scale, zero, dtype, name, tmp_path):
    onnx.save(quantized(scale, zero, dtype), tmp_path / "net.onnx")
    found = load_foreign(ForeignOptions(onnx=tmp_path / "net.onnx"))
    [warning] = [line for line in found.warnings if "stores its input as 8-bit integers" in line]
    assert f": {name} is taken" in warning
    assert ("pixels in -1..1 (" in warning) == (name == "-1..1")
    assert (" or 0..1 (" in warning) == (name == "-1..1")
    pixels = found.spec.normalise(Frame(picture()))
    low, high = (np.iinfo(dtype).min - zero) * scale, (np.iinfo(dtype).max - zero) * scale
    assert low - 0.1 * (high - low) <= pixels.min()
    assert pixels.max() <= high + 0.1 * (high - low)


def test_an_unusual_range_tells_nothing(tmp_path):
    onnx.save(quantized(30 / 255, 0, np.uint8), tmp_path / "net.onnx")
    assert ASSUMED in load_foreign(ForeignOptions(onnx=tmp_path / "net.onnx")).warnings
