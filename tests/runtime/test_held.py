"""A changed value has the effect that a whole run with it has."""

from __future__ import annotations

import numpy as np
import torch

from portrait_export.runtime.runner import PackageRunner


def test_a_change_is_followed_as_a_whole_run_follows_it(small_export):
    from portrait_export.artifacts import Frame

    runner = PackageRunner(small_export / "segformer_b0.mlpackage", arithmetic="fp32")
    frame = Frame(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    run = runner.program.held(runner.inputs_of(frame))
    wanted = runner.logits_name
    before = run.value(wanted)
    for name in run.names[:: len(run.names) // 7]:
        changed = run.value(name) * 1.01
        if changed.dtype != torch.float32:
            continue
        seen = {}

        def hook(at, value, name=name, changed=changed, seen=seen):
            seen[at] = changed if at == name else value
            return changed if at == name else None

        runner.program.predict(runner.inputs_of(frame), hook=hook)
        assert torch.equal(run.after(name, changed, wanted), seen[wanted]), name
    assert torch.equal(run.value(wanted), before)


def test_a_value_that_the_wanted_one_does_not_depend_on_changes_nothing(small_export):
    from portrait_export.artifacts import Frame

    runner = PackageRunner(small_export / "segformer_b0.mlpackage")
    run = runner.program.held(runner.inputs_of(Frame(np.zeros((64, 64, 3), np.uint8))))
    first, last = run.names[0], run.names[-1]
    assert run.after(last, run.value(last) + 1, first) is run.value(first)
