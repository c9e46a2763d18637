"""Test that a TOML file becomes a configuration, or every problem in it is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from portrait_export.errors import UsageError
from portrait_export.training.config import Phase, TrainConfig, find_config, read_config


def written(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text)
    return path


def test_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert read_config(written(tmp_path, "")) == TrainConfig()


def test_tables_fill_their_dataclasses(tmp_path: Path) -> None:
    text = """
    model = "serseg_b0"
    seed = 3
    [[phases]]
    steps = 10
    size = 128
    [[phases]]
    steps = 5
    batch = 2
    [optimizer]
    lr = 1
    [augment]
    flip = 0
    """
    config = read_config(written(tmp_path, text))
    assert config.phases == (Phase(10, 128, 16), Phase(5, 256, 2))
    assert config.optimizer.lr == 1.0
    assert config.augment.flip == 0.0
    assert config.steps == 15
    assert [config.phase_at(step).size for step in (0, 9, 10, 14, 99)] == [128, 128, 256, 256, 256]


def test_phases_with_turns_alternate_until_each_has_had_its_steps(tmp_path: Path) -> None:
    text = """
    phases = [
        {steps = 3, size = 32},
        {steps = 5, size = 64, turn = 2},
        {steps = 2, size = 96, turn = 1},
        {steps = 2, size = 128},
    ]
    """
    config = read_config(written(tmp_path, text))
    sizes = [32, 32, 32, 64, 64, 96, 64, 64, 96, 64, 128, 128]
    assert [config.phase_at(step).size for step in range(config.steps)] == sizes
    assert config.phase_at(99).size == 128


def test_phases_of_the_encoder_alone_take_turns_among_themselves(tmp_path: Path) -> None:
    text = """
    phases = [
        {steps = 2, size = 32, turn = 1, encoder_only = true},
        {steps = 2, size = 64, turn = 1, encoder_only = true},
        {steps = 2, size = 96, turn = 1},
        {steps = 1, size = 128, turn = 1},
    ]
    """
    config = read_config(written(tmp_path, text))
    phases = [config.phase_at(step) for step in range(config.steps)]
    assert [phase.size for phase in phases] == [32, 64, 32, 64, 96, 128, 96]
    assert [phase.encoder_only for phase in phases] == 4 * [True] + 3 * [False]


def test_all_problems_come_in_one_error(tmp_path: Path) -> None:
    text = """
    modle = "serseg_b0"
    seed = "three"
    deterministic = 1
    loss = 4
    [augment]
    flop = 0.5
    [[phases]]
    stepz = 3
    """
    with pytest.raises(UsageError, match="6 settings that cannot be used") as caught:
        read_config(written(tmp_path, text))
    assert [line.partition(";")[0] for line in caught.value.context] == [
        "modle: not a setting",
        "seed = 'three': expected a whole number",
        "deterministic = 1: expected true or false",
        "loss = 4: expected a table",
        "augment.flop: not a setting",
        "phases[0].stepz: not a setting",
    ]
    assert "did you mean `flip`?" in caught.value.context[4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('precision = "fp8"', "precision = 'fp8'; it may be auto, 32-true, bf16-mixed, 16-mixed"),
        ("phases = []", "phases is empty"),
        ("[[phases]]\nsize = 100", "phases[0].size = 100; it must be a multiple of 32: 32, 64, 96, …"),
        ("[[phases]]\nsize = 0", "phases[0].size = 0; it must be a multiple of 32"),
        ("[[phases]]\nsteps = 0", "phases[0].steps = 0; it must be positive"),
        ("[[phases]]\n[[phases]]\nbatch = 0", "has 1 setting that cannot be used.\n  phases[1].batch = 0; it must be"),
        ("workers = -1", "workers = -1; it must not be negative"),
        ("[optimizer]\nwarmup = -1", "optimizer.warmup = -1; it must not be negative"),
        ("[augment]\nrotate = -5", "augment.rotate = -5.0; it must not be negative"),
        ("[[phases]]\nturn = -1", "phases[0].turn = -1; it must not be negative"),
        ("[loss]\nbce = 0\ndice = 0", "nothing would be learnt"),
        ("[loss]\ndistill = 0.5", "loss.distill needs a teacher"),
        ("[loss]\nfeatures = 0.5", "loss.features needs a teacher"),
        ("[[phases]]\ngraft = 0.5", "graft needs loss.features"),
        ("[[phases]]\nencoder_only = true", "the last one has encoder_only"),
        (
            "[[phases]]\nturn = 1\n[[phases]]\nturn = 1\nsteps = 2000\nencoder_only = true",
            "the last one has encoder_only",
        ),
        ("[[phases]]\ngraft = 1.5", "phases[0].graft = 1.5; it must be in 0..1"),
        ("[augment]\nblend = 0.5", "augment.blend needs loss.distill or loss.features"),
        ("[augment]\nblend = 0.5\n[loss]\ncritic = 0.1", "a blend has no mask that the critic could be shown"),
        ("[loss]\ncrf = -1", "loss.crf = -1.0; it must not be negative"),
        ("[augment]\nreplace = 2", "augment.replace = 2.0; it must be in 0..1"),
        ("[augment]\nscale = 0.5", "augment.scale = 0.5; it must be at least 1"),
        ("every = 0", "every = 0; it must be positive"),
        ("[[sources]]\nweight = 0", "sources: no weight is above 0"),
        ("[[sources]]\nweight = -1\n[[sources]]", "sources[0].weight = -1.0; it must not be negative"),
        ("[composite]\npeople = [0, 0]", "one must be above 0"),
        ("[composite]\nsmallest = 0.5\nlargest = 0.2", "they must rise"),
        ("[composite]\nshare = 1.5", "composite.share = 1.5; it must be in 0..1"),
    ],
)
def test_impossible_values_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_config(written(tmp_path, text))
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [b"model = ", b"\xff\xfe", None], ids=["not_toml", "not_utf8", "no_file"])
def test_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "run.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match="is not TOML" if content else "cannot be read"):
        read_config(path)


CONFIGS = sorted((Path(__file__).parents[2] / "portrait_export/training/configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_are_valid(path: Path) -> None:
    from portrait_export.models.registry import list_models

    assert read_config(path).model in list_models()


def test_reject_list_reads_as_an_exclude_file_and_holds_the_calibration_set_out() -> None:
    import json

    listed = json.loads((CONFIGS[0].parents[1] / "rejected.json").read_text())
    assert all(reason for reason in listed["names"].values())
    assert sum("calibration" in reason for reason in listed["names"].values()) >= 32
    assert not set(listed["names"]) & set(listed["validation"])
    assert len(listed["validation"]) == 60


def test_shipped_configurations_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_config(find_config(Path("smoke"))).out == "runs/smoke"
    assert find_config(Path("mine.toml")) == Path("mine.toml")
    (tmp_path / "smoke").touch()
    assert find_config(Path("smoke")) == Path("smoke")  # a file of one's own comes first
    with pytest.raises(UsageError, match="There is no file smok, and no configuration of that name") as caught:
        find_config(Path("smok"))
    assert caught.value.hint.startswith("did you mean `smoke`? The configurations are: continue, ")
