"""Test that checkpoints of every naming give the logits of the network that wrote them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from portrait_export.errors import CheckpointError
from portrait_export.models.config import SegformerConfig, SersegConfig
from portrait_export.models.initialise import randomize_
from portrait_export.models.remap import canonical, chosen_entry, entry_for
from portrait_export.models.weights_io import load_encoder, load_into

from .foreign import MmsegSegformer, authors_names
from .support import EQUAL, SMALL, inputs_of, net_of, relative_error

CONFIG = SegformerConfig(**SMALL)
IMAGE = inputs_of(CONFIG)[0]


def load(checkpoint: dict[str, Any], config: SegformerConfig = CONFIG) -> nn.Module:
    found = canonical(checkpoint)
    return load_into(net_of(config.with_overrides(**found.config), seed=99), found.tensors, source="test").eval()


def logits(net: nn.Module) -> Tensor:
    with torch.no_grad():
        return net(IMAGE)


def mmseg_net(num_classes: int = 1) -> MmsegSegformer:
    torch_net = MmsegSegformer(
        widths=SMALL["hidden_sizes"], depths=SMALL["depths"], channels=SMALL["decoder_width"], num_classes=num_classes
    )
    with torch.no_grad():  # randomize_ does not know MultiheadAttention
        for i, parameter in enumerate(torch_net.parameters()):
            generator = torch.Generator().manual_seed(i)
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2 + (parameter.dim() == 1) * 0.3)
        for name, buffer in torch_net.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.copy_(torch.rand(buffer.shape, generator=torch.Generator().manual_seed(len(name))) + 0.2)
    return torch_net.eval()


def separate(state: dict[str, Tensor], *, kinds: tuple[str, ...]) -> dict[str, Tensor]:
    """mmseg's fused in_proj taken apart into separate matrices of the given names."""
    result = {}
    for key, tensor in state.items():
        if ".attn.attn.in_proj_" not in key:
            result[key.replace("attn.attn.out_proj", "attn.proj")] = tensor
            continue
        block, what = key.split(".attn.attn.in_proj_")
        width = tensor.shape[0] // 3
        sizes = [width, 2 * width] if len(kinds) == 2 else [width] * 3
        for kind, part in zip(kinds, tensor.split(sizes), strict=True):
            result[f"{block}.attn.{kind}.{what}"] = part
    return result


MMSEG_SPELLINGS = {
    "fused_in_proj": lambda state: state,
    "separate_q_and_kv": lambda state: separate(state, kinds=("q", "kv")),
    "separate_q_k_v": lambda state: separate(state, kinds=("q", "k", "v")),
    "in_a_trainer_with_module_prefix": lambda state: {
        "meta": {"epoch": 3},
        "state_dict": {f"module.{key}": tensor for key, tensor in state.items()},
    },
}


@pytest.mark.parametrize("spelling", MMSEG_SPELLINGS)
def test_mmseg_checkpoint_gives_mmsegs_logits(spelling: str) -> None:
    theirs = mmseg_net()
    ours = load(MMSEG_SPELLINGS[spelling](theirs.state_dict()))
    assert canonical(theirs.state_dict()).layout == "mmseg"
    assert relative_error(logits(ours), logits(theirs)) < EQUAL


def test_mmseg_projections_without_batch_norm_keep_their_bias() -> None:
    theirs = mmseg_net()
    for conv in theirs.decode_head.convs:
        conv.conv.bias = nn.Parameter(torch.randn(conv.conv.out_channels, generator=torch.Generator().manual_seed(5)))
        conv.bn = nn.Identity()
    assert relative_error(logits(load(theirs.state_dict())), logits(theirs)) < EQUAL


@pytest.mark.parametrize("mistake", ["order_of_the_stages", "relu", "eps"])
def test_mmseg_oracle_detects_a_wrong(mistake: str) -> None:
    theirs = mmseg_net()
    found = canonical(theirs.state_dict())
    config = CONFIG.with_overrides(**found.config)
    if mistake == "order_of_the_stages":
        fuse = found.tensors["decode_head.linear_fuse.weight"]
        found.tensors["decode_head.linear_fuse.weight"] = torch.cat(fuse.chunk(4, dim=1)[::-1], dim=1)
    elif mistake == "relu":
        config = config.with_overrides(projection_relu=False)
    else:
        config = config.with_overrides(layer_norm_eps=1e-2, embed_norm_eps=1e-2)
    wrong = load_into(net_of(config), found.tensors, source="test")
    assert relative_error(logits(wrong), logits(theirs)) > EQUAL


def test_authors_checkpoint_keeps_its_numbers_and_its_mixed_eps() -> None:
    reference = net_of(CONFIG.with_overrides(layer_norm_eps=1e-6))
    checkpoint = authors_names(reference.state_dict())
    ours = load(checkpoint)
    torch.testing.assert_close(logits(ours), logits(reference), rtol=0, atol=0)
    eps = {name.split(".")[-2] if "embed" in name or "self" in name else "block": module.eps
           for name, module in ours.named_modules() if isinstance(module, nn.LayerNorm)}  # fmt: skip
    assert eps == {"0": 1e-5, "1": 1e-5, "2": 1e-5, "3": 1e-5, "self": 1e-5, "block": 1e-6}


def transformers5_names(state: dict[str, Tensor], root: str) -> dict[str, Tensor]:
    """Our names → those that transformers 5 has in memory, as the research notes list them."""
    result = {}
    for key, tensor in state.items():
        parts = key.split(".")
        if parts[0] == "decode_head":
            result[key.replace("decode_head.linear_c.", "decode_head.linear_projections.")] = tensor
            continue
        kind, stage, rest = parts[2], parts[3], ".".join(parts[4:])
        if kind == "patch_embeddings":
            result[f"{root}.stages.{stage}.patch_embeddings.{rest}"] = tensor
        elif kind == "layer_norm":
            result[f"{root}.stages.{stage}.layer_norm.{rest}"] = tensor
        else:
            for ours, theirs in (
                ("layer_norm_1", "layernorm_before"),
                ("layer_norm_2", "layernorm_after"),
                ("attention.self.query", "attention.q_proj"),
                ("attention.self.key", "attention.k_proj"),
                ("attention.self.value", "attention.v_proj"),
                ("attention.self.sr", "attention.sequence_reduction.sequence_reduction"),
                ("attention.self.layer_norm", "attention.sequence_reduction.layer_norm"),
                ("attention.output.dense", "attention.o_proj"),
                ("mlp.dense", "mlp.fc"),
            ):
                rest = rest.replace(ours, theirs)
            result[f"{root}.stages.{stage}.blocks.{rest}"] = tensor
    return result


def convolution_classifier(state: dict[str, Tensor]) -> dict[str, Tensor]:
    key = "decode_head.classifier.weight"
    return {**state, key: state[key][:, :, None, None]}


WRAPPERS = {
    "bare": lambda state: state,
    "state_dict_entry": lambda state: {"epoch": 1, "state_dict": state},
    "model_entry": lambda state: {"model": state, "optimizer": {"lr": 0.1}},
    "model_state_dict_entry": lambda state: {"model_state_dict": state, "loss": 0.3},
    "entry_in_an_entry": lambda state: {"model": {"state_dict": state}},
    "module_prefix": lambda state: {f"module.{key}": tensor for key, tensor in state.items()},
    "lightning_model_prefix": lambda state: {"state_dict": {f"model.{key}": tensor for key, tensor in state.items()}},
    "net_prefix": lambda state: {f"net.{key}": tensor for key, tensor in state.items()},
    "compiled_prefix": lambda state: {f"_orig_mod.{key}": tensor for key, tensor in state.items()},
    "compiled_inside_parallel": lambda state: {f"module._orig_mod.{key}": tensor for key, tensor in state.items()},
    "classifier_as_convolution": convolution_classifier,
    "transformers_5": lambda state: transformers5_names(state, "segformer"),
    "bare_encoder_prefix": lambda state: {key.replace("segformer.encoder", "encoder"): t for key, t in state.items()},
    "half_precision": lambda state: {k: t.half() if t.is_floating_point() else t for k, t in state.items()},
    "no_batch_counter": lambda state: {k: t for k, t in state.items() if not k.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapped_checkpoints_load(wrapper: str) -> None:
    reference = net_of(CONFIG)
    loaded = load(WRAPPERS[wrapper](reference.state_dict()))
    tolerance = 5e-3 if wrapper == "half_precision" else 0.0  # half has 11 bits; measured 1.7e-3
    assert relative_error(logits(loaded), logits(reference)) <= tolerance


def test_deployment_wrapper_gives_its_mean_and_std() -> None:
    state = {f"model.{key}": tensor for key, tensor in net_of(CONFIG).state_dict().items()}
    found = canonical({**state, "mean": torch.tensor([0.5, 0.4, 0.3]), "std": torch.ones(3)})
    assert sorted(found.extras) == ["mean", "std"]
    load_into(net_of(CONFIG, seed=1), found.tensors, source="test")


def test_older_upsample_names_become_the_new_ones() -> None:
    config = SersegConfig(**SMALL, upsample_width=8)
    reference = net_of(config)
    old = {
        key.replace("upsample1", "upsample.0").replace("upsample2", "upsample.1"): tensor
        for key, tensor in reference.state_dict().items()
    }
    assert set(old) != set(reference.state_dict())
    torch.testing.assert_close(logits(load(old, config)), logits(reference), rtol=0, atol=0)


def test_half_renamed_upsample_names_load_too() -> None:
    # The research system's script renames only the first block.
    config = SersegConfig(**SMALL, upsample_width=8)
    reference = net_of(config)
    half = {key.replace("upsample2", "upsample.1"): tensor for key, tensor in reference.state_dict().items()}
    torch.testing.assert_close(logits(load(half, config)), logits(reference), rtol=0, atol=0)


def test_transformers_5_names_of_a_serseg() -> None:
    state = transformers5_names(net_of(SersegConfig(**SMALL)).state_dict(), "sersegformer")
    assert canonical(state).layout == "transformers-5"


@pytest.mark.parametrize(
    "checkpoint", [{}, {"epoch": 3, "note": "no tensors"}, {"state_dict": {}}, {"model": {"a": 1}}]
)
def test_checkpoint_without_tensors_is_refused(checkpoint: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="holds no tensors of a network"):
        canonical(checkpoint)


def test_two_names_for_one_tensor_are_refused() -> None:
    state = net_of(CONFIG).state_dict()
    twice = {**{f"model.{key}": t for key, t in state.items()}, **{f"module.{key}": t for key, t in state.items()}}
    with pytest.raises(CheckpointError, match="tensors twice"):
        canonical(twice)


def test_everything_that_does_not_fit_is_reported_at_once() -> None:
    state = dict(net_of(CONFIG).state_dict())
    del state["segformer.encoder.layer_norm.0.weight"]
    state["decode_head.batch_norm.weight"] = torch.ones(7)
    state["decode_head.classifier.weight"] = torch.ones(9, 24)
    state["decode_head.classifier.bias"] = torch.ones(9)
    state["decode_head.extra"] = torch.ones(2, 3)
    with pytest.raises(CheckpointError) as caught:
        load_into(net_of(CONFIG), state, source="mine.pth")
    text = str(caught.value)
    assert "mine.pth does not fit the network: 1 keys missing, 1 unexpected, 3 mis-shaped." in text
    assert "different number of classes: the checkpoint has 9, the network 1" in text
    assert "missing: segformer.encoder.layer_norm.0.weight [8]" in text
    assert "unexpected: decode_head.extra [2, 3]" in text
    assert "mis-shaped: decode_head.batch_norm.weight: [7] in the checkpoint, [24] here" in text


def test_a_failed_load_leaves_the_network_alone() -> None:
    net = net_of(CONFIG)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    state = dict(net_of(CONFIG, seed=5).state_dict())
    state["decode_head.classifier.bias"] = torch.tensor([float("nan")])
    with pytest.raises(CheckpointError, match="NaN or infinite weights in 1 tensors") as caught:
        load_into(net, state, source="mine.pth")
    assert caught.value.context == ("not finite: decode_head.classifier.bias: 1 of 1 values",)
    assert all(torch.equal(before[key], tensor) for key, tensor in net.state_dict().items())


def test_integer_weights_are_refused() -> None:
    state = dict(net_of(CONFIG).state_dict())
    state["decode_head.linear_fuse.weight"] = state["decode_head.linear_fuse.weight"].to(torch.int8)
    with pytest.raises(CheckpointError, match=r"not floating point: decode_head.linear_fuse.weight: torch.int8"):
        load_into(net_of(CONFIG), state, source="mine.pth")


def test_encoder_only_is_reported_and_load_encoder_accepts_it() -> None:
    reference = net_of(CONFIG, seed=4)
    encoder = {key: t for key, t in reference.state_dict().items() if key.startswith("segformer.")}
    with pytest.raises(CheckpointError, match="it holds only the encoder") as caught:
        load_into(net_of(CONFIG), encoder, source="mit_b0.pth")
    assert any("decode_head.linear_fuse.weight" in line for line in caught.value.context)
    serseg = load_encoder(net_of(SersegConfig(**SMALL)), encoder, source="mit_b0.pth")
    loaded = serseg.state_dict()
    assert all(torch.equal(t, loaded[key.replace("segformer.", "sersegformer.")]) for key, t in encoder.items())


def test_load_encoder_takes_the_authors_pretrained_names() -> None:
    state = authors_names(net_of(CONFIG, seed=4).state_dict())
    encoder = {key.removeprefix("backbone."): t for key, t in state.items() if key.startswith("backbone.")}
    encoder["head.weight"], encoder["head.bias"] = torch.zeros(1000, 64), torch.zeros(1000)
    found = canonical(encoder)
    net = load_encoder(net_of(CONFIG, seed=1), found.tensors, source="mit_b0.pth")
    key = "segformer.encoder.block.1.1.attention.self.value.weight"
    assert torch.equal(net.state_dict()[key], net_of(CONFIG, seed=4).state_dict()[key])


def test_load_encoder_names_what_is_missing() -> None:
    with pytest.raises(CheckpointError, match="does not fit the network: 130 keys missing"):
        load_encoder(net_of(CONFIG), {}, source="empty.pth")


def test_randomize_leaves_no_trivial_tensor() -> None:
    for key, tensor in randomize_(net_of(CONFIG), seed=2).state_dict().items():
        if not key.endswith("num_batches_tracked") and tensor.numel() > 1:
            assert tensor.std() > 0, key


def test_load_encoder_starts_the_depth_channel_at_zero() -> None:
    rgb = net_of(SersegConfig(**SMALL, upsample=False))
    depth = load_encoder(net_of(SersegConfig(**SMALL, upsample=False, depth=True)), rgb.state_dict(), source="rgb.pth")
    image, levels = IMAGE, [torch.randn(1, 1, 64 // r, 96 // r) for r in (1, 4, 8, 16)]
    with torch.no_grad():
        with_depth, without = depth.sersegformer(image, levels), rgb.sersegformer(image)
    for found, expected in zip(with_depth, without, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("checkpoint", "names"),
    [
        ({"network": {"a.weight": 1}}, {"a.weight"}),
        ({"state_dict": {"module.model.a.weight": 1}}, {"a.weight"}),
        ({"state_dict": {"module.model.a.weight": 1}}, {"model.a.weight"}),
        ({"ema": {"_orig_mod.net.a.weight": 1, "decay": 1}}, {"net.a.weight"}),
        ({"model.a.weight": 1, "b.weight": 1}, {"b.weight", "model.a.weight"}),
    ],
)
def test_only_the_prefixes_that_the_network_lacks_are_removed(checkpoint, names):
    def filled(data: Any) -> Any:
        return {key: filled(value) for key, value in data.items()} if isinstance(data, dict) else torch.zeros(1)

    wanted = dict.fromkeys(names, (1,))
    assert set(entry_for(filled(checkpoint), wanted).tensors) == names


STATE, OTHER, HEAD = ({"a.weight": torch.full((2, 3), value)} for value in (1.0, 2.0, 3.0))
COUNTED = {**STATE, "n.num_batches_tracked": torch.tensor(1)}
# A checkpoint → the entry that is used, and those with other weights for the same network.
ENTRIES: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "at_the_top": (STATE, "", []),
    "raw_and_averaged": ({"state_dict": STATE, "state_dict_ema": OTHER}, "state_dict", ["state_dict_ema"]),
    "raw_before_averaged_in_any_order": ({"ema": OTHER, "params": STATE}, "params", ["ema"]),
    "averaged_in_a_module": (
        {"model": STATE, "ema": {"module": OTHER, "updates": 10}}, "model", ["ema.module"],
    ),
    "averaged_under_a_prefix": (
        {"model": STATE, "model_ema": {f"module.{key}": tensor for key, tensor in OTHER.items()}},
        "model", ["model_ema"],
    ),
    "averaged_without_counters": ({"model": COUNTED, "ema": OTHER}, "model", ["ema"]),
    "the_same_weights_twice": ({"model": STATE, "ema": dict(STATE)}, "model", []),
    "averaged_alone": ({"model_ema": STATE, "epoch": 3}, "model_ema", []),
    "averaged_alone_by_another_name": ({"ema_state_dict": STATE}, "ema_state_dict", []),
    "an_unknown_name": ({"generator": STATE, "optimizer": {"state": HEAD}, "epoch": 3}, "generator", []),
    "an_unknown_name_within_others": ({"callbacks": {"ema": {"weights": STATE}}}, "callbacks.ema.weights", []),
    "an_unknown_name_beside_vectors": ({"best": STATE, "loss": {"weight": torch.ones(3)}}, "best", []),
    "another_unknown_name_with_such_weights": ({"model": STATE, "swa": OTHER}, "model", ["swa"]),
    "of_another_network": ({"model": STATE, "teacher": {"b.weight": torch.ones(4, 4)}}, "model", []),
}  # fmt: skip


@pytest.mark.parametrize("name", ENTRIES)
def test_the_entry_that_is_used_and_those_with_other_weights_are_named(name: str) -> None:
    checkpoint, used, others = ENTRIES[name]
    wanted = {"a.weight": (2, 3), **({"n.num_batches_tracked": ()} if "counters" in name else {})}
    for entry in (chosen_entry(checkpoint), entry_for(checkpoint, wanted)):
        assert ".".join(entry.place.path) == used
        assert [".".join(other.path) for other in entry.others] == others
        torch.testing.assert_close(entry.tensors["a.weight"], STATE["a.weight"])


def test_the_entry_that_fits_a_known_network_is_used() -> None:
    checkpoint = {"model": {"b.weight": torch.ones(2, 2)}, "discriminator": OTHER, "generator": STATE}
    entry = entry_for(checkpoint, {"a.weight": (2, 3)})
    assert (str(entry.place), list(map(str, entry.others))) == ("entry 'discriminator'", ["entry 'generator'"])


@pytest.mark.parametrize(
    ("prefixes", "used", "others"),
    [
        (("model.", "ema_model."), "entry 'state_dict'", ["entry 'state_dict', keys 'ema_model.…'"]),
        (("ema_model.", "model."), "entry 'state_dict'", ["entry 'state_dict', keys 'ema_model.…'"]),
    ],
)
def test_weights_under_another_prefix_are_named(prefixes: tuple[str, str], used: str, others: list[str]) -> None:
    """Trainers such as Lightning's keep both networks in one dictionary."""
    numbers = {"model.": STATE, "ema_model.": OTHER}
    state = {f"{prefix}{key}": tensor for prefix in prefixes for key, tensor in numbers[prefix].items()}
    for entry in (chosen_entry({"state_dict": state}), entry_for({"state_dict": state}, {"a.weight": (2, 3)})):
        assert (str(entry.place), list(map(str, entry.others))) == (used, others)
        assert any(torch.equal(tensor, STATE["a.weight"]) for tensor in entry.tensors.values())


def test_an_unknown_prefix_is_removed_for_a_known_network() -> None:
    entry = entry_for({"student.body.a.weight": STATE["a.weight"], "epoch": 3}, {"a.weight": (2, 3)})
    assert (str(entry.place), list(entry.tensors)) == ("keys 'student.body.…'", ["a.weight"])


def test_a_key_of_thousands_of_parts_is_looked_at_no_further() -> None:
    entry = entry_for({"a." * 5000 + "weight": STATE["a.weight"]}, {"b.weight": (2, 3)})
    assert len(entry.tensors) == 1


def test_several_unknown_entries_are_named() -> None:
    with pytest.raises(CheckpointError) as caught:
        canonical({"generator": STATE, "critic": OTHER})
    assert caught.value.message == "the checkpoint holds several dictionaries of tensors, and none has a usual name."
    assert caught.value.context == ("generator: 1 tensors", "critic: 1 tensors")


def test_a_dictionary_that_holds_itself_is_looked_into_once() -> None:
    checkpoint: dict[str, Any] = {"best": STATE}
    checkpoint |= {f"again{k}": checkpoint for k in range(100)}
    assert chosen_entry(checkpoint).place.path == ("best",)
