"""A TOML file becomes a dataclass, or one error with everything that is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from portrait_export.errors import UsageError
from portrait_export.utils.toml import MAX_BYTES, read_toml, setting


@dataclass(frozen=True)
class Phase:
    steps: int = 1000
    size: int = 256


@dataclass(frozen=True)
class Optimizer:
    lr: float = 1e-3
    shares: tuple[float, ...] = (0.5,)


def even(value: object) -> int:
    if not isinstance(value, int) or value % 2:
        raise ValueError("expected an even number")
    return value


@dataclass(frozen=True)
class Config:
    model: str = "tiny"
    teacher: str | None = None
    deterministic: bool = False
    pairs: int = setting(even, 0)
    phases: tuple[Phase, ...] = (Phase(),)
    optimizer: Optimizer = field(default_factory=Optimizer)


SETTINGS = ("model", "teacher", "deterministic", "pairs", "phases", "optimizer")


def read(text: str, folder: Path) -> Config:
    file = folder / "config.toml"
    file.write_text(text)
    return read_toml(file, Config)


def test_nothing_set_is_every_default(tmp_path):
    assert read("", tmp_path) == Config()


def test_tables_lists_of_tables_and_readers(tmp_path):
    config = read(
        'model = "b0"\nteacher = "b5"\ndeterministic = true\npairs = 4\n'
        "[optimizer]\nlr = 1\nshares = [1, 0.25]\n[[phases]]\nsteps = 5\n[[phases]]\nsize = 64\n",
        tmp_path,
    )
    assert config == Config(
        "b0", "b5", True, 4, (Phase(steps=5), Phase(size=64)), Optimizer(lr=1.0, shares=(1.0, 0.25))
    )
    assert type(config.optimizer.lr) is float


def test_one_value_is_a_list_of_one(tmp_path):
    assert read("phases = {steps = 3}\noptimizer = {shares = 2}\n", tmp_path) == Config(
        phases=(Phase(steps=3),), optimizer=Optimizer(shares=(2.0,))
    )


def test_every_problem_is_listed_with_its_path_in_the_order_of_the_file(tmp_path):
    with pytest.raises(UsageError) as caught:
        read(
            'modle = "x"\npairs = 3\ndeterministic = 1\nteacher = false\n'
            '[optimizer]\nlr = "fast"\nshares = [1, true, "a"]\nmomentum = 0.9\n'
            "[[phases]]\nsteps = 2.5\n[[phases]]\nsteps = true\nsizes = 3\n",
            tmp_path,
        )
    assert caught.value.message == "config.toml has 11 settings that cannot be used."
    assert caught.value.context == (
        f"modle: not a setting; did you mean `model`? The settings are: {', '.join(sorted(SETTINGS))}.",
        "pairs = 3: expected an even number",
        "deterministic = 1: expected true or false",
        "teacher = False: expected text",
        "optimizer.lr = 'fast': expected a number",
        "optimizer.shares[1] = True: expected a number",
        "optimizer.shares[2] = 'a': expected a number",
        "optimizer.momentum: not a setting; The settings are: lr, shares.",
        "phases[0].steps = 2.5: expected a whole number",
        "phases[1].steps = True: expected a whole number",
        "phases[1].sizes: not a setting; did you mean `size`? The settings are: size, steps.",
    )


@pytest.mark.parametrize("text", ["optimizer = 3", "optimizer = [1]", "phases = [3]"])
def test_a_value_where_a_table_belongs(text, tmp_path):
    with pytest.raises(UsageError) as caught:
        read(text, tmp_path)
    [line] = caught.value.context
    assert line.endswith("expected a table")


def test_what_is_not_toml_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"config\.toml is not TOML"):
        read("model = [", tmp_path)
    (tmp_path / "config.toml").write_bytes(b"model = '\xff'")
    with pytest.raises(UsageError, match=r"config\.toml is not TOML"):
        read_toml(tmp_path / "config.toml", Config)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_toml(tmp_path / "none.toml", Config)
    with pytest.raises(UsageError, match=r"config\.toml has 65,537 bytes; at most 65,536 are read"):
        read("#" * (MAX_BYTES + 1), tmp_path)
