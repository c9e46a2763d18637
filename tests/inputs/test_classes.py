"""Test which classes of a checkpoint are the person, and where that is stated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from portrait_export.api.arguments import source_of
from portrait_export.errors import UsageError
from portrait_export.inputs.sources import ModelSource, load_model
from portrait_export.models.config import SegformerConfig
from portrait_export.models.config_json import config_to_json
from tests.models.support import SMALL, net_of


def checkpoint(folder: Path, labels: list[str]) -> Path:
    config = SegformerConfig(**SMALL, num_labels=len(labels))
    folder.mkdir(exist_ok=True)
    save_file(net_of(config).state_dict(), folder / "model.safetensors")
    described = {**config_to_json(config), "id2label": {str(k): label for k, label in enumerate(labels)}}
    (folder / "config.json").write_text(json.dumps(described))
    return folder


def numbered(count: int) -> list[str]:
    return [f"LABEL_{k}" for k in range(count)]


# Labels, the user's choice → what the load line and the metadata say.
CHOSEN = {
    "by_name": (["wall", "person", "rider", "car"], None, "classes 1 (person), 2 (rider) of 4"),
    "a_dog_is_not_the_person": (["background", "human", "dog"], None, "class 1 (human) of 3"),
    "two_without_names": (numbered(2), None, "class 1 (LABEL_1) of 2"),
    "by_the_user": (numbered(4), (2,), "class 2 (LABEL_2) of 4"),
    "by_the_user_against_the_names": (["background", "person", "dog"], (2, 1), "classes 1 (person), 2 (dog) of 3"),
}


@pytest.mark.parametrize("name", CHOSEN)
def test_the_persons_classes_are_stated(name: str, tmp_path: Path) -> None:
    labels, asked, said = CHOSEN[name]
    model = load_model(ModelSource(checkpoint=checkpoint(tmp_path / "net", labels), person_class=asked))
    assert model.summary == f"person: {said}"
    assert model.provenance["person_classes"] == said


def test_the_users_choice_is_what_the_network_returns(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "net", numbered(4))
    model = load_model(ModelSource(checkpoint=folder, person_class=(1, 3), size=(64, 64)))
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, every = model.module(image), model.module.net(image)  # type: ignore[attr-defined]
    torch.testing.assert_close(torch.sigmoid(found), torch.softmax(every, 1)[:, [1, 3]].sum(1, keepdim=True))


REFUSED = {
    "names_that_tell_nothing": (numbered(150), None, "has 150 classes, and their names do not tell which of them"),
    "other_names": (["background", "cat", "dog"], None, "has 3 classes, and their names do not tell"),
    "a_class_too_far": (numbered(3), (3,), "`person_class=` is 3; the checkpoint has 3 classes, counted from 0"),
    "every_class": (numbered(2), (0, 1), "`person_class=` is 0, 1; the checkpoint has 2 classes"),
    "one_class": (numbered(1), (0,), "the checkpoint has a single class"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unclear_classes_are_refused(name: str, tmp_path: Path) -> None:
    labels, asked, message = REFUSED[name]
    with pytest.raises(UsageError, match=message):
        load_model(ModelSource(checkpoint=checkpoint(tmp_path / "net", labels), person_class=asked))


def test_names_of_another_number_of_classes_tell_nothing(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "net", numbered(4))
    described = json.loads((folder / "config.json").read_text())
    described |= {"num_labels": 4, "id2label": {"0": "background", "1": "person"}}
    (folder / "config.json").write_text(json.dumps(described))
    with pytest.raises(UsageError, match="has 4 classes without names that tell which"):
        load_model(ModelSource(checkpoint=folder))


def test_the_refusal_names_some_classes_and_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_model(ModelSource(checkpoint=checkpoint(tmp_path / "net", numbered(150))))
    assert caught.value.context[0] == "0: LABEL_0"
    assert caught.value.context[-1] == "and 138 more"
    assert "`person_class=1`" in caught.value.hint


def test_a_registered_model_has_no_classes_to_choose_from() -> None:
    with pytest.raises(UsageError, match="registered models have one class"):
        load_model(ModelSource(model="segformer_b0", random_weights=True, person_class=(1,)))


def test_the_python_api_passes_the_classes_of_a_checkpoint() -> None:
    source = source_of(checkpoint="folder", network={"person_class": "1-2"})
    assert (source.person_class, source.foreign) == ((1, 2), None)


def test_the_command_line_states_the_classes_in_the_load_line_the_record_and_the_package(cli, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "net", numbered(4))
    out = tmp_path / "out"
    arguments = ("coreml", "--checkpoint", folder, "--size", "64x64", "--no-parity", "-o", out)
    ran = cli(*arguments)
    assert ran.code == 2
    assert "--person-class 1 or --person-class 1-8" in ran.err
    ran = cli(*arguments, "--person-class", "2")
    assert ran.code == 0, ran.err
    said = "class 2 (LABEL_2) of 4"
    assert f"person: {said}" in ran.err
    assert json.loads((out / "export.json").read_text())["provenance"]["person_classes"] == said
    [package] = out.glob("*.mlpackage")
    assert said in cli("inspect", package, "--json").out
