"""Hugging Face files next to a network: one reader for checkpoints and for networks of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from portrait_export.capture.huggingface import Preprocessor, labels_of, read_preprocessor
from portrait_export.errors import CheckpointError
from portrait_export.preprocessing import IMAGENET_MEAN, IMAGENET_STD

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
