"""Hugging Face files next to a network: one reader for checkpoints and for networks of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from portrait_export.capture.huggingface import Preprocessor, labels_of, read_preprocessor
from portrait_export.errors import CheckpointError
from portrait_export.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Picture

ZERO, ONE = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
IMAGENET = {"image_mean": list(IMAGENET_MEAN), "image_std": list(IMAGENET_STD)}
BYTE = 1 / 255


def read(folder: Path, data: object) -> Preprocessor | None:
    (folder / "preprocessor_config.json").write_text(json.dumps(data))
    return read_preprocessor(folder)


# transformers' image_processing_*.py: what each file means to the processor that wrote it.
CASES: dict[str, tuple[dict[str, object], Preprocessor]] = {
    "segformer": (
        {**IMAGENET, "do_normalize": True, "do_resize": True, "size": 640, "reduce_labels": True},
        Preprocessor(BYTE, IMAGENET_MEAN, IMAGENET_STD, size=(640, 640), resize="stretch"),
    ),
    "height_and_width": (
        {**IMAGENET, "do_rescale": True, "rescale_factor": BYTE, "size": {"height": 384, "width": 512}},
        Preprocessor(BYTE, IMAGENET_MEAN, IMAGENET_STD, size=(384, 512), resize="stretch"),
    ),
    "scaled_to_plus_minus_one_without_normalisation": (
        {**IMAGENET, "do_normalize": False, "rescale_factor": 1 / 127.5},
        Preprocessor(1 / 127.5, ZERO, ONE),
    ),
    "no_rescaling": (
        {"do_rescale": False, "image_mean": [123.0, 116.0, 103.0], "image_std": [58.0, 57.0, 57.0]},
        Preprocessor(1.0, (123.0, 116.0, 103.0), (58.0, 57.0, 57.0)),
    ),
    "statistics_of_0_to_255": (
        {"image_mean": [127.5, 127.5, 127.5], "image_std": [255.0, 255.0, 255.0]},
        Preprocessor(BYTE, (0.5, 0.5, 0.5), ONE),
    ),
    "one_number_for_all_channels": (
        {"image_mean": 0.5, "image_std": 0.25},
        Preprocessor(BYTE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
    ),
    "mobilevit_flips_and_does_not_normalise": (
        {"do_flip_channel_order": True, "do_center_crop": True, "crop_size": 512, "size": {"shortest_edge": 512}},
        Preprocessor(BYTE, ZERO, ONE, color="bgr", size=(512, 512), resize="fill"),
    ),
    "shortest_edge": (
        {**IMAGENET, "size": {"shortest_edge": 512}},
        Preprocessor(
            BYTE, IMAGENET_MEAN, IMAGENET_STD,
            size_problem="it scales the shortest edge to 512 pixels and keeps the aspect ratio",
        ),
    ),
    "shortest_edge_then_a_smaller_crop": (
        {**IMAGENET, "size": {"shortest_edge": 544}, "do_center_crop": True, "crop_size": 512},
        Preprocessor(
            BYTE, IMAGENET_MEAN, IMAGENET_STD,
            size_problem="it scales the shortest edge to 544 pixels, then crops 512x512",
        ),
    ),
    "longest_edge": (
        {**IMAGENET, "size": {"longest_edge": 1024}},
        Preprocessor(
            BYTE, IMAGENET_MEAN, IMAGENET_STD, size_problem="it resizes by longest_edge, which gives no fixed size"
        ),
    ),
    "efficientnet_rescales_to_minus_one_to_one": (
        {"rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False, "include_top": False},
        Preprocessor(1 / 127.5, ONE, ONE),
    ),
    "efficientnet_normalises_what_it_has_rescaled": (
        {**IMAGENET, "rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": True},
        Preprocessor(1 / 127.5, tuple(1 + mean for mean in IMAGENET_MEAN), IMAGENET_STD),
    ),
    "efficientnet_divides_by_the_deviation_again": (
        {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.5], "include_top": True},
        Preprocessor(BYTE, (0.5, 0.4, 0.3), (0.25, 0.0625, 0.25)),
    ),
    "vivit_subtracts_one": (
        {"rescale_factor": 1 / 127.5, "offset": True, "do_normalize": False},
        Preprocessor(1 / 127.5, ONE, ONE),
    ),
    "no_offset_without_rescaling": (
        {"do_rescale": False, "rescale_offset": True, "do_normalize": False}, Preprocessor(1.0, ZERO, ONE),
    ),
    "an_offset_before_unknown_statistics": (
        {"rescale_factor": 0.5, "rescale_offset": True},
        Preprocessor(0.5, None, None, ignored=("rescale_factor = 0.5", "rescale_offset = true")),
    ),
    "steps_that_are_not_applied": (
        {
            **IMAGENET, "do_grayscale": True, "do_new_step": True, "do_thumbnail": False, "size": 500,
            "keep_aspect_ratio": True, "size_divisor": 32, "ensure_multiple_of": 10, "do_pad": True, "pad_size": 512,
        },
        Preprocessor(
            BYTE, IMAGENET_MEAN, IMAGENET_STD, size=(500, 500), resize="stretch",
            ignored=(
                "do_grayscale = true", "do_new_step = true", "keep_aspect_ratio = true", "size_divisor = 32",
                "pad_size = 512",
            ),
        ),
    ),
    "entries_without_effect": (
        {
            **IMAGENET, "do_reduce_labels": True, "do_convert_rgb": True, "resample": 2, "image_processor_type": "X",
            "do_pad": True, "size": 512, "pad_size": {"height": 512, "width": 512}, "_valid_processor_keys": ["images"],
        },
        Preprocessor(BYTE, IMAGENET_MEAN, IMAGENET_STD, size=(512, 512), resize="stretch"),
    ),
    "a_crop_without_resizing": (
        {**IMAGENET, "do_resize": False, "do_center_crop": True, "crop_size": 512},
        Preprocessor(BYTE, IMAGENET_MEAN, IMAGENET_STD, ignored=("do_center_crop = true",)),
    ),
    "no_resize": (
        {**IMAGENET, "do_resize": False, "size": {"shortest_edge": 512}},
        Preprocessor(BYTE, IMAGENET_MEAN, IMAGENET_STD),
    ),
    "statistics_left_out": ({"size": 512}, Preprocessor(BYTE, None, None, size=(512, 512), resize="stretch")),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_file_means_what_its_processor_does(name, tmp_path):
    data, expected = CASES[name]
    assert read(tmp_path, data) == expected


@pytest.mark.parametrize("values", [{}, {"include_top": True}, {"rescale_offset": True, "rescale_factor": 1 / 127.5}])
def test_numbers_are_those_of_transformers(values, tmp_path):
    from transformers.models.efficientnet.image_processing_pil_efficientnet import EfficientNetImageProcessorPil

    data = {"include_top": False, "do_resize": False, **IMAGENET, **values}
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    expected = EfficientNetImageProcessorPil(**data)(pixels, return_tensors="np")["pixel_values"]
    found = read(tmp_path, data)
    assert found is not None
    picture = Picture("image", "photo", "rgb", found.scale, found.mean, found.std)
    np.testing.assert_allclose(picture.normalise(pixels), expected, atol=1e-5)


def test_a_warning_names_some_of_many_entries(tmp_path):
    found = read(tmp_path, {**IMAGENET, **{f"do_{k}": True for k in range(10)}})
    assert found is not None
    [warning] = found.doubts
    assert "do_7 = true, and 2 more; if" in warning


def test_no_file_gives_no_settings(tmp_path):
    assert read_preprocessor(tmp_path) is None


def test_every_value_that_cannot_be_used_is_listed(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        read(
            tmp_path,
            {
                "do_rescale": "yes", "rescale_factor": -1, "image_mean": [0.5], "image_std": [1, 1, 0],
                "size": {"height": 0, "width": 64},
            },
        )  # fmt: skip
    assert caught.value.message == "preprocessor_config.json has 5 values that cannot be used."
    assert caught.value.context == (
        'do_rescale = "yes": expected true or false',
        "rescale_factor = -1: expected a number above 0",
        "image_mean = [0.5]: expected three numbers",
        "image_std = [1, 1, 0]: expected three numbers above 0",
        'size = {"height": 0, "width": 64}: expected a height and a width in pixels',
    )


@pytest.mark.parametrize("text", ["{", "[1]", '"text"'])
def test_a_damaged_file_is_refused(text, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json"):
        read_preprocessor(tmp_path)


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ({"id2label": {"0": "wall", "12": "person"}}, {0: "wall", 12: "person"}),
        ({"id2label": {"x": "wall"}}, {}),
        ({"id2label": ["wall"]}, {}),
        ({}, {}),
    ],
)
def test_labels_have_whole_numbers_as_keys(config, labels):
    assert labels_of(config) == labels
