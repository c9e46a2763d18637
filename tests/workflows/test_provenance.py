"""Test what is said of a package and a network with other weights."""

from __future__ import annotations

import pytest

from portrait_export.inputs.sources import ModelSource, load_model
from portrait_export.workflows.provenance import made_from_others, provenance_of


def entries(sha256: str, origin: str = "shipped, net.safetensors", model: str = "net") -> dict[str, str]:
    return {"weights_sha256": sha256, "weights": origin, "model": model}


OTHERS = {
    "the_same": (entries("a"), entries("a"), ""),
    "unknown_in_the_package": ({}, entries("a"), ""),
    "unknown_in_the_network": (entries("a"), {}, ""),
    "other_weights_of_one_model": (entries("a"), entries("b", "checkpoint mine"), "sha256 a…"),
    "another_model": (entries("a", model="lite"), entries("b"), "of lite, sha256 a…"),
    "other_files": (entries("a", "file one.onnx"), entries("b", "file two.onnx"), "sha256 a…"),
    "the_hash_of_a_file_and_that_of_tensors": (entries("a", "file net.onnx"), entries("b"), ""),
}


@pytest.mark.parametrize(("stored", "given", "weights"), OTHERS.values(), ids=OTHERS)
def test_other_weights_are_named(stored, given, weights):
    metadata = {f"portrait_export.{key}": value for key, value in stored.items()}
    said = made_from_others("net", given, "net.mlpackage", metadata)
    words = (
        f"net.mlpackage was made from other weights ({weights}) than net has (b…): what differs need not come from the"
        " export."
    )
    assert said == (words if weights else "")


def test_an_exported_onnx_file_has_the_weights_that_it_was_made_from(small_export):
    from portrait_export.capture.foreign.options import ForeignOptions
    from portrait_export.inputs.saved import read_saved

    file = small_export / "segformer_b0.onnx"
    found = provenance_of(load_model(ModelSource(foreign=ForeignOptions(onnx=file))))
    stored = read_saved(file.with_suffix(".mlpackage")).metadata
    assert found["weights"] == "random, seed 0"
    assert found["weights_sha256"] == stored["portrait_export.weights_sha256"]
