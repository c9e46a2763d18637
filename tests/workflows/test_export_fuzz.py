"""Random networks never crash the export, and never give a wrong mask with all gates passed."""

from __future__ import annotations

import onnx
import pytest

from .export_fuzzing import FAULTS, PASSED, REFUSED, outcome
from .random_networks import network


@pytest.mark.parametrize("seed", [10002, 10007, 10005, 10013, 10021])
def test_a_random_network_gives_a_right_package_or_a_reason(seed, tmp_path, photos):
    found = outcome(seed, tmp_path, photos)
    assert found.kind not in FAULTS, found.reason
    assert found.kind in (PASSED, REFUSED)


def test_a_seed_gives_the_same_network():
    assert network(3).SerializeToString() == network(3).SerializeToString()


def test_the_networks_cover_ranks_and_types():
    ranks, types, operators = set(), set(), set()
    for seed in range(60):
        inferred = onnx.shape_inference.infer_shapes(network(seed), data_prop=True)
        operators |= {node.op_type for node in inferred.graph.node}
        for value in inferred.graph.value_info:
            types.add(value.type.tensor_type.elem_type)
            ranks.add(len(value.type.tensor_type.shape.dim))
    assert ranks >= set(range(1, 8))
    assert len(types) >= 10
    assert len(operators) >= 50
