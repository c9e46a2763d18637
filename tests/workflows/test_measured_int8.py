"""int8 with `--rounding gptq` is fitted to photographs: its package says so, and is judged on others."""

from __future__ import annotations

import json

from portrait_export.mil.program import read_program
from portrait_export.preprocessing import METADATA_PREFIX

NETWORK = ["-m", "segformer_b0", "--random-weights"]
HALF_OF_THE_PORTRAITS = 16


def test_it_is_judged_on_the_other_half_and_its_values_are_no_faults(cli, tmp_path):
    words = ["--size", "64x64", "--kinds", "portrait", "--quantize", "int8", "--rounding", "gptq"]
    cli("coreml", *NETWORK, *words, "-o", tmp_path / "out")
    package = tmp_path / "out/segformer_b0.mlpackage"
    assert read_program(package).metadata.user_defined[f"{METADATA_PREFIX}rounding"] == "gptq"
    reports = [
        json.loads((tmp_path / "out/parity.json").read_text()),
        json.loads(cli("parity", package, *NETWORK, "--kinds", "portrait", "--json").out),
    ]
    assert [report["summary"]["images"] for report in reports] == 2 * [HALF_OF_THE_PORTRAITS]
    audited = cli("audit", package, "--against", "segformer_b0", "--random-weights")
    assert "nothing is wrong" in audited.out
