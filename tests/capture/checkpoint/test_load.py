"""Load checkpoints from disk: every published form, and everything that can be wrong with one."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import random
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from portrait_export.capture.checkpoint import load_checkpoint, locate, pickles
from portrait_export.capture.huggingface import NOT_APPLIED
from portrait_export.errors import CheckpointError, UsageError
from portrait_export.inputs.sources import ModelSource, load_registered
from portrait_export.models.config import NetConfig, SegformerConfig, SernetConfig, SersegConfig
from portrait_export.models.config_json import config_to_json
from portrait_export.models.person import PersonLogit
from portrait_export.models.registry import create_model, list_models, model_spec
from portrait_export.models.weights_io import save_folder
from tests.models.support import SMALL, inputs_of, net_of

SEGFORMER = SegformerConfig(**SMALL)
SERSEG = SersegConfig(**SMALL, upsample_width=8, abg=True, dbn=True, dam=True)
STATE = net_of(SEGFORMER).state_dict()
DESCRIBED = config_to_json(SEGFORMER)


def logits(net: nn.Module, config: NetConfig = SEGFORMER) -> Tensor:
    with torch.no_grad():
        return net(*inputs_of(config, 64, 64))


EXPECTED = logits(net_of(SEGFORMER))


def write_config(folder: Path, data: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(data))


def safetensors_folder(folder: Path) -> Path:
    save_file(STATE, folder / "model.safetensors")
    write_config(folder, DESCRIBED)
    return folder


def pickle_folder(folder: Path) -> Path:
    torch.save(STATE, folder / "pytorch_model.bin")
    write_config(folder, DESCRIBED)
    return folder


def one_odd_name(folder: Path) -> Path:
    torch.save({"state_dict": STATE, "epoch": 4}, folder / "best_iou.ckpt")
    write_config(folder, DESCRIBED)
    return folder


def sharded(folder: Path, suffix: str, save: Callable[[dict[str, Tensor], Path], None], index: str) -> Path:
    keys = sorted(STATE)
    shards = {f"part-{i}{suffix}": keys[i::3] for i in range(3)}
    for name, part in shards.items():
        save({key: STATE[key] for key in part}, folder / name)
    weight_map = {key: name for name, part in shards.items() for key in part}
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    write_config(folder, DESCRIBED)
    return folder


def file_of(name: str, save: Callable[[Any, Path], None], wrap: Callable[[Any], Any] = lambda s: s) -> Any:
    def build(folder: Path) -> Path:
        save(wrap(STATE), folder / name)
        write_config(folder, DESCRIBED)
        return folder / name

    return build


def legacy_save(data: Any, path: Path) -> None:
    torch.save(data, path, _use_new_zipfile_serialization=False)


FORMS: dict[str, Callable[[Path], Path]] = {
    "folder_safetensors": safetensors_folder,
    "folder_pickle": pickle_folder,
    "folder_with_one_odd_name": one_odd_name,
    "folder_sharded_safetensors": lambda f: sharded(f, ".safetensors", save_file, "model.safetensors.index.json"),
    "folder_sharded_pickle": lambda f: sharded(f, ".bin", torch.save, "pytorch_model.bin.index.json"),
    "file_safetensors": file_of("weights.safetensors", save_file),
    "file_safetensors_under_a_pickle_name": file_of("weights.pth", save_file),
    "file_pth": file_of("weights.pth", torch.save),
    "file_pt_before_zip": file_of("weights.pt", legacy_save),
    "file_ckpt_of_a_trainer": file_of(
        "last.ckpt", torch.save, lambda s: {"state_dict": {f"model.{k}": t for k, t in s.items()}, "global_step": 9}
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_form_loads(form: str, tmp_path: Path) -> None:
    loaded = load_checkpoint(FORMS[form](tmp_path))
    assert not loaded.module.training
    assert loaded.config == SEGFORMER
    assert torch.equal(logits(loaded.module), EXPECTED)


def test_provenance_says_where_it_came_from(tmp_path: Path) -> None:
    import hashlib

    provenance = load_checkpoint(safetensors_folder(tmp_path)).provenance
    sha256 = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    assert provenance["sha256"] == sha256
    assert provenance["checkpoint"] == tmp_path.name
    assert provenance["files"] == ["model.safetensors"]
    assert (provenance["format"], provenance["layout"], provenance["config_json"]) == (
        "safetensors",
        "transformers-4",
        True,
    )
    json.dumps(provenance)


def test_the_entry_that_was_used_is_told_and_another_that_fits(tmp_path: Path) -> None:
    averaged = {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in STATE.items()}
    torch.save({"state_dict": STATE, "state_dict_ema": averaged, "optimizer": {}}, tmp_path / "last.pth")
    write_config(tmp_path, DESCRIBED)
    network = load_registered(ModelSource(checkpoint=tmp_path / "last.pth"))
    assert network.provenance["weights"] == "checkpoint last.pth, entry 'state_dict'"
    (warning,) = network.warnings
    assert warning == (
        "last.pth holds several sets of weights: those of entry 'state_dict' are used, and entry"
        " 'state_dict_ema' has others, such as averaged ones (EMA); to use these, save them alone:"
        " `torch.save(torch.load(FILE, weights_only=True)['state_dict_ema'], NEW_FILE)`"
    )


def test_config_json_decides_the_switches_over_the_model(tmp_path: Path) -> None:
    save_file(net_of(SERSEG).state_dict(), tmp_path / "model.safetensors")
    write_config(tmp_path, config_to_json(SERSEG))
    loaded = load_checkpoint(tmp_path, "serseg_b0")
    assert loaded.config == SERSEG
    assert loaded.spec.name == "serseg_b0"
    assert torch.equal(logits(loaded.module), logits(net_of(SERSEG)))


def test_research_folder_with_depth(tmp_path: Path) -> None:
    config = SersegConfig(abg=True, dbn=True, dam=True, depth=True)
    torch.save(net_of(config).state_dict(), tmp_path / "pytorch_model.bin")
    switches = dict.fromkeys(["abg", "dbn", "dam", "upsample", "add_depth_channel"], True)
    write_config(tmp_path, {"model_type": "sersegformer", "num_labels": 1, "layer_norm_eps": 1e-6, **switches})
    loaded = load_checkpoint(tmp_path)
    assert loaded.config == config
    assert loaded.spec.name == "serseg_b0_dam_depth"
    assert loaded.spec.inputs == ("image", "depth")
    assert torch.equal(logits(loaded.module, config), logits(net_of(config), config))


def test_model_decides_where_there_is_no_config_json(tmp_path: Path) -> None:
    config = model_spec("serseg_b0_abg_dbn_depth").config
    torch.save({"model": net_of(config).state_dict()}, tmp_path / "best.pth")
    loaded = load_checkpoint(tmp_path / "best.pth", "serseg_b0_abg_dbn_depth")
    assert torch.equal(logits(loaded.module, config), logits(net_of(config), config))


@pytest.mark.parametrize("config", [SernetConfig(num_labels=2), SegformerConfig(num_labels=3)])
def test_shapes_decide_where_nothing_else_does(config: NetConfig, tmp_path: Path) -> None:
    torch.save(net_of(config).state_dict(), tmp_path / "best.pth")
    assert load_checkpoint(tmp_path / "best.pth").config == config


def test_labels_come_from_the_weights_if_config_json_has_none(tmp_path: Path) -> None:
    config = SegformerConfig(num_labels=4)
    save_file(net_of(config).state_dict(), tmp_path / "model.safetensors")
    write_config(tmp_path, {"model_type": "segformer"})
    assert load_checkpoint(tmp_path).config == config


# --- what the checkpoint says about its use ---------------------------------------------------------------------------


def test_positive_class_from_config_json(tmp_path: Path) -> None:
    safetensors_folder(tmp_path)
    write_config(tmp_path, {**DESCRIBED, "positive": "background"})
    loaded = load_checkpoint(tmp_path)
    assert loaded.provenance["positive"] == "background"
    assert loaded.spec.portrait_spec().positive == "background"


def test_positive_class_from_the_model_card(tmp_path: Path) -> None:
    safetensors_folder(tmp_path)
    write_config(tmp_path, {key: value for key, value in DESCRIBED.items() if key != "positive"})
    (tmp_path / "README.md").write_text("---\nlicense: mit\npositive: background\n---\n# A model\n")
    assert load_checkpoint(tmp_path).spec.positive == "background"


def test_unknown_positive_class_is_refused(tmp_path: Path) -> None:
    safetensors_folder(tmp_path)
    write_config(tmp_path, {**DESCRIBED, "positive": "cat"})
    with pytest.raises(CheckpointError, match="set to 'cat'; it can be person or background"):
        load_checkpoint(tmp_path)


def test_mean_and_std_from_the_preprocessor(tmp_path: Path) -> None:
    safetensors_folder(tmp_path)
    stored = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25], "size": 512}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stored))
    spec = load_checkpoint(tmp_path).spec
    assert (spec.mean, spec.std) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def test_the_preprocessor_of_minus_one_to_one_is_not_imagenets(tmp_path: Path) -> None:
    """do_normalize=false makes image_mean and image_std irrelevant, though transformers writes them nevertheless."""
    safetensors_folder(tmp_path)
    stored = {"do_normalize": False, "rescale_factor": 1 / 127.5, "image_mean": [0.485, 0.456, 0.406]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**stored, "image_std": [0.229, 0.224, 0.225]}))
    spec = load_checkpoint(tmp_path).spec.portrait_spec()
    assert (spec.scale, spec.mean, spec.std) == (1 / 127.5, (0, 0, 0), (1, 1, 1))


def test_the_preprocessor_decides_size_and_channel_order(tmp_path: Path) -> None:
    safetensors_folder(tmp_path)
    stored = {"size": {"height": 384, "width": 640}, "do_flip_channel_order": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stored))
    loaded = load_checkpoint(tmp_path)
    spec = loaded.spec.portrait_spec()
    assert (spec.height, spec.width, spec.color, spec.resize) == (384, 640, "bgr", "stretch")
    assert loaded.size_problem == ""


def test_a_preprocessor_without_a_fixed_size_is_reported(tmp_path: Path) -> None:
    safetensors_folder(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"shortest_edge": 512}}')
    assert load_checkpoint(tmp_path).size_problem == (
        "preprocessor_config.json gives no fixed input size: it scales the shortest edge to 512 pixels and keeps the"
        " aspect ratio."
    )


def test_pixels_are_rescaled_to_minus_one_to_one_and_what_is_not_applied_is_told(tmp_path: Path) -> None:
    safetensors_folder(tmp_path)
    stored = {"rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False, "do_crop_margin": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stored))
    loaded = load_registered(ModelSource(checkpoint=tmp_path))
    assert (loaded.spec.scale, loaded.spec.mean, loaded.spec.std) == (1 / 127.5, (1, 1, 1), (1, 1, 1))
    assert loaded.warnings == (NOT_APPLIED.format("do_crop_margin = true"),)


@pytest.mark.parametrize("scale", [1.0, 255.0], ids=["of_0_to_1", "of_0_to_255"])
def test_mean_and_std_from_the_deployment_wrapper(scale: float, tmp_path: Path) -> None:
    wrapped = {f"model.{key}": tensor for key, tensor in STATE.items()}
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.save({**wrapped, "mean": mean * scale, "std": std * scale}, tmp_path / "deployed.pth")
    write_config(tmp_path, DESCRIBED)
    loaded = load_checkpoint(tmp_path / "deployed.pth")
    assert (loaded.spec.mean, loaded.spec.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert loaded.provenance["ignored"] == ["mean", "std"]
    assert torch.equal(logits(loaded.module), EXPECTED)


@pytest.mark.parametrize(
    ("labels", "person"),
    [
        (["background", "person", "skin", "lips"], [1, 2, 3]),
        (["background", "person"], [1]),
        (["background", "chair", "person", "cat"], [2]),
    ],
)
def test_several_classes_become_the_persons_logit(labels: list[str], person: list[int], tmp_path: Path) -> None:
    config = SEGFORMER.with_overrides(num_labels=len(labels))
    save_file(net_of(config).state_dict(), tmp_path / "model.safetensors")
    write_config(tmp_path, {**config_to_json(config), "id2label": {str(i): name for i, name in enumerate(labels)}})
    loaded = load_checkpoint(tmp_path, "segformer_b0")
    assert loaded.provenance["person"] == person
    wrapped = loaded.person_module()
    assert isinstance(wrapped, PersonLogit)
    expected = torch.softmax(logits(loaded.module), dim=1)[:, person].sum(1, keepdim=True)
    torch.testing.assert_close(torch.sigmoid(logits(wrapped)), expected, rtol=0, atol=1e-6)
    assert loaded.spec.positive == "person"


def test_one_class_is_already_the_persons_logit(tmp_path: Path) -> None:
    loaded = load_checkpoint(safetensors_folder(tmp_path))
    assert loaded.person_module() is loaded.module


# --- what does not fit ------------------------------------------------------------------------------------------------


def test_another_number_of_classes_is_reported_as_such(tmp_path: Path) -> None:
    torch.save(net_of(SegformerConfig(num_labels=9)).state_dict(), tmp_path / "nine.pth")
    with pytest.raises(CheckpointError, match="different number of classes: the checkpoint has 9, the network 1"):
        load_checkpoint(tmp_path / "nine.pth", "segformer_b0")


def test_another_architecture_is_reported_as_such(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "segformer.pth")
    with pytest.raises(CheckpointError, match="is a SegFormer checkpoint; model `serseg_b0` is a SERSeg") as caught:
        load_checkpoint(tmp_path / "segformer.pth", "serseg_b0")
    assert caught.value.hint == "models of the checkpoint's architecture: segformer_b0."


def test_unknown_architecture_lists_all_keys_that_do_not_fit(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.ones(3), "fc.bias": torch.ones(2)}, tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match="207 keys missing, 2 unexpected") as caught:
        load_checkpoint(tmp_path / "resnet.pth", "segformer_b0")
    assert "checkpoint of another architecture" in caught.value.hint
    with pytest.raises(CheckpointError, match=r"has no known architecture; its keys begin with conv1\.weight"):
        load_checkpoint(tmp_path / "resnet.pth")


def test_serseg_without_config_or_model_cannot_be_identified(tmp_path: Path) -> None:
    torch.save(net_of(SERSEG).state_dict(), tmp_path / "serseg.pth")
    with pytest.raises(CheckpointError, match="do not show whether it has attention-boosting gates") as caught:
        load_checkpoint(tmp_path / "serseg.pth")
    assert "put its config.json next to it" in caught.value.hint


def test_unknown_model_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no model `segformer_bo`"):
        load_checkpoint(safetensors_folder(tmp_path), "segformer_bo")


def test_nan_weights_are_named(tmp_path: Path) -> None:
    state = {key: tensor.clone() for key, tensor in STATE.items()}
    state["decode_head.linear_fuse.weight"][0, 0] = float("inf")
    save_file(state, tmp_path / "model.safetensors")
    write_config(tmp_path, DESCRIBED)
    with pytest.raises(CheckpointError, match=r"decode_head\.linear_fuse\.weight: 1 of 2304 values"):
        load_checkpoint(tmp_path)


# --- damage and malice ------------------------------------------------------------------------------------------------


class Hostile:
    """Unpickling it would create a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def hostile_zip(folder: Path) -> Path:
    torch.save({"state_dict": STATE, "extra": Hostile(folder / "executed")}, folder / "bad.pth")
    return folder / "bad.pth"


def hostile_plain_pickle(folder: Path) -> Path:
    (folder / "bad.pth").write_bytes(pickle.dumps(Hostile(folder / "executed"), protocol=2))
    return folder / "bad.pth"


def hostile_newer_pickle(folder: Path) -> Path:
    (folder / "bad.ckpt").write_bytes(pickle.dumps({"a": Hostile(folder / "executed")}, protocol=5))
    return folder / "bad.ckpt"


def hostile_legacy(folder: Path) -> Path:
    legacy_save({"state_dict": STATE, "extra": Hostile(folder / "executed")}, folder / "bad.bin")
    return folder / "bad.bin"


@pytest.mark.parametrize("build", [hostile_zip, hostile_plain_pickle, hostile_newer_pickle, hostile_legacy])
@pytest.mark.parametrize("model", [None, "segformer_b0"])
def test_hostile_pickle_is_refused_and_not_executed(build: Any, model: str | None, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="was refused, and nothing in it was executed") as caught:
        load_checkpoint(build(tmp_path), model)
    assert caught.value.code == "unsafe-pickle"
    assert "mkdir" in caught.value.message
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("build", [hostile_zip, hostile_plain_pickle, hostile_newer_pickle, hostile_legacy])
def test_what_a_pickle_would_call_is_read_without_calling(build: Any, tmp_path: Path) -> None:
    assert pickles._called(build(tmp_path)) == [f"{os.mkdir.__module__}.mkdir"]
    assert not (tmp_path / "executed").exists()


def test_whole_module_pickle_is_refused(tmp_path: Path) -> None:
    torch.save(net_of(SEGFORMER), tmp_path / "module.pt")
    with pytest.raises(CheckpointError, match=r"would have to run `portrait_export\.models\.segformer\.Segformer`"):
        load_checkpoint(tmp_path / "module.pt")


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def torchscript(folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is out of date is why people still send such files
        torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(str(folder / "scripted.pt"))
    return folder / "scripted.pt"


def written(name: str, data: bytes) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return build


def saved(name: str, data: Any) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        torch.save(data, folder / name)
        return folder / name

    return build


def with_file(name: str, text: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (safetensors_folder(folder) / name).write_text(text)
        return folder

    return build


def index_of(weight_map: Any) -> Callable[[Path], Path]:
    return lambda f: written("model.safetensors.index.json", json.dumps({"weight_map": weight_map}).encode())(f).parent


def other_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "photos.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    return folder / "photos.pth"


def one_bit(path: Path) -> Path:
    """One bit of the largest tensor's bytes flipped, as a bad disk or download does."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        entry = max(archive.infolist(), key=lambda each: each.file_size)
    data[entry.header_offset + entry.file_size // 2 + 500] ^= 64
    path.write_bytes(data)
    return path


def odd(change: Callable[[Tensor], Tensor]) -> Callable[[Path], Path]:
    """A checkpoint with another form of its matrices."""
    return saved("odd.pth", {key: change(value) if value.ndim == 2 else value for key, value in STATE.items()})


def quantized(value: Tensor) -> Tensor:
    return torch.quantize_per_tensor(value.float(), 0.1, 0, torch.qint8)


DAMAGED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda f: f / "nothing.pth", "There is no checkpoint at"),
    "name_too_long": (lambda f: f / ("x" * 5000), "There is no checkpoint at|cannot be read"),
    "device": (lambda f: Path(os.devnull), "which is neither a file nor a folder"),
    "empty_file": (written("empty.pth", b""), "empty.pth is empty"),
    "empty_folder": (lambda f: f, "holds no weight files; expected one of model.safetensors"),
    "folder_of_other_things": (lambda f: written("notes.txt", b"x")(f).parent, "found: notes.txt"),
    "several_odd_names": (
        lambda f: [saved("a.pth", STATE)(f), saved("b.pth", STATE)(f)][0].parent,
        "holds several weight files",
    ),
    "random_bytes": (written("noise.pth", bytes(range(256)) * 8), "noise.pth is not a"),
    "text": (written("page.bin", b"<!DOCTYPE html><html>404</html>"), "page.bin is not a"),
    "git_lfs_pointer": (
        written("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
        "is a Git LFS pointer, not the file",
    ),
    "safetensors_cut_in_its_header": (
        lambda f: cut(safetensors_folder(f) / "model.safetensors", 0.01),
        "is not a whole safetensors file",
    ),
    "safetensors_cut_in_its_data": (
        lambda f: cut(safetensors_folder(f) / "model.safetensors", 0.9),
        "is not a whole safetensors file",
    ),
    "zip_cut": (lambda f: cut(pickle_folder(f) / "pytorch_model.bin", 0.9), "pytorch_model.bin is not a"),
    "zip_cut_early": (lambda f: cut(pickle_folder(f) / "pytorch_model.bin", 0.1), "pytorch_model.bin is not a"),
    "zip_with_one_bit_flipped": (lambda f: one_bit(pickle_folder(f) / "pytorch_model.bin"), "do not have the checksum"),
    "sparse": (odd(lambda value: value.to_sparse()), "not plain arrays of numbers|sparse_coo"),
    "sparse_rows": (odd(lambda value: value.to_sparse_csr()), "not plain arrays of numbers|sparse_csr"),
    "without_numbers": (odd(lambda value: value.to("meta")), "on the `meta` device, without numbers"),
    "quantized": (odd(quantized), "quantized, qint8"),
    "legacy_cut": (lambda f: cut(file_of("old.pt", legacy_save)(f), 0.7), "old.pt is not a"),
    "zip_of_something_else": (other_zip, "photos.pth is not a"),
    "torchscript": (torchscript, "is a TorchScript program, not a checkpoint"),
    "a_tensor": (saved("tensor.pt", torch.ones(3)), "holds a Tensor; expected a dictionary of tensors"),
    "a_list": (saved("list.pt", [torch.ones(3)]), "holds a list; expected a dictionary of tensors"),
    "no_tensors": (saved("log.ckpt", {"epoch": 3, "lr": 0.1}), "holds no tensors of a network"),
    "config_not_json": (with_file("config.json", "{"), "is not JSON"),
    "config_not_an_object": (with_file("config.json", "[1]"), "holds a JSON list; expected an object"),
    "config_of_another_model": (with_file("config.json", '{"model_type": "unet"}'), "is about `unet`"),
    "config_too_deep": (with_file("config.json", "[" * 100_000), "is not JSON"),
    "person_classes_malformed": (
        with_file("config.json", json.dumps({**DESCRIBED, "person_classes": "1"})),
        "person_classes is '1'; expected a list of class numbers",
    ),
    "index_without_map": (index_of(None), "has no `weight_map`"),
    "index_out_of_the_folder": (index_of({"a": "../../secret.bin"}), "outside the folder: ../../secret.bin"),
    "index_of_missing_shards": (index_of({"a": "x.safetensors", "b": "y.safetensors"}), "missing: y.safetensors"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_checkpoint_is_one_clear_error(name: str, tmp_path: Path) -> None:
    build, words = DAMAGED[name]
    path = build(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert any(choice in str(caught.value) for choice in words.split("|"))


@pytest.mark.parametrize("form", ["file_safetensors", "file_pth", "file_pt_before_zip"])
def test_random_damage_never_ends_in_another_error(form: str, tmp_path: Path) -> None:
    path = FORMS[form](tmp_path)
    whole, chance = path.read_bytes(), random.Random(form)
    for _ in range(40):
        data = bytearray(whole)
        region = chance.choice([range(3000), range(len(data) - 8000, len(data)), range(len(data))])
        for _ in range(chance.randint(1, 12)):
            data[chance.choice(region)] ^= 1 << chance.randrange(8)
        path.write_bytes(data[: chance.choice([len(data), chance.randrange(1, len(data))])])
        with contextlib.suppress(CheckpointError):
            load_checkpoint(path)


def test_a_checkpoint_saved_without_checksums_loads(tmp_path: Path) -> None:
    computed = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        path = saved("plain.pth", STATE)(tmp_path)
    finally:
        torch.serialization.set_crc32_options(computed)
    torch.testing.assert_close(dict(load_checkpoint(path).module.state_dict()), dict(STATE))


def test_too_large_is_refused_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locate, "MAX_BYTES", 10_000)
    with pytest.raises(CheckpointError, match="at most 0 GiB are read"):
        load_checkpoint(safetensors_folder(tmp_path))


def test_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"0" * 2_000_000)
    monkeypatch.setattr(pickles, "MAX_BYTES", 1_000_000)
    with pytest.raises(CheckpointError, match=r"bomb\.pth unpacks to more than"):
        load_checkpoint(tmp_path / "bomb.pth")


def test_unreadable_file_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file_of("weights.pth", torch.save)(tmp_path)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CheckpointError, match="cannot be read: Permission denied"):
        load_checkpoint(path)


@pytest.mark.parametrize("half", [False, True])
def test_a_folder_of_our_own_reads_back(half: bool, tmp_path: Path) -> None:
    net = net_of(SERSEG)
    path = save_folder(net, tmp_path / "run", positive="background", half=half)
    loaded = load_checkpoint(path.parent)
    assert loaded.config == SERSEG
    assert loaded.spec.positive == "background"
    assert sorted(file.name for file in path.parent.iterdir()) == ["config.json", "model.safetensors"]
    expected = {key: t.half().float() if half and t.is_floating_point() else t for key, t in net.state_dict().items()}
    assert all(torch.equal(expected[key], tensor) for key, tensor in loaded.module.state_dict().items())


def test_keys_in_two_shards_are_refused(tmp_path: Path) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        save_file({"x": torch.ones(1)}, tmp_path / name)
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="1 keys are in more than one shard"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("version", "refused"),
    [("2.4.1", True), ("2.5.1+cpu", True), ("2.9.1", True), ("2.10.0", False), ("2.13.0+cpu", False)],
)
def test_pickles_are_refused_where_torch_reads_them_unsafely(version, refused):
    if refused:
        with pytest.raises(CheckpointError, match="CVE-2025-32434"):
            pickles._check_unpickler(Path("a.bin"), version)
    else:
        pickles._check_unpickler(Path("a.bin"), version)


@pytest.mark.parametrize("name", list_models())
def test_folder_of_every_registered_model_loads_without_its_name(tmp_path: Path, name: str) -> None:
    net = create_model(name, seed=4).eval()
    save_folder(net, tmp_path / "run")
    loaded = load_checkpoint(tmp_path / "run")
    assert loaded.spec.name == name
    assert loaded.spec.portrait_spec() == model_spec(name).portrait_spec()
    inputs = inputs_of(net.config, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.person_module()(*inputs), net(*inputs))


def test_weights_alone_identify_the_mobile_network(tmp_path: Path) -> None:
    path = save_folder(create_model("lite0_fpn", seed=4), tmp_path / "run")
    (tmp_path / "run/config.json").unlink()
    assert load_checkpoint(path).spec.name == "lite0_fpn"
