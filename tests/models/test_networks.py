"""Test the networks against facts of the research system and an independent oracle."""

from __future__ import annotations

import itertools
import warnings

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from portrait_export.errors import UsageError
from portrait_export.models.config import EfficientNetFPNConfig, NetConfig, SegformerConfig, SernetConfig, SersegConfig
from portrait_export.models.initialise import randomize_
from portrait_export.models.registry import create_model, list_models, model_spec

from . import lite_oracle, oracle
from .support import EQUAL, REFERENCES, SMALL, inputs_of, meta_net, net_of, reference_keys, relative_error

SWITCHES = ("abg", "dbn", "afn", "dam", "upsample", "depth")
COMBINATIONS = [dict(zip(SWITCHES, values, strict=True)) for values in itertools.product((False, True), repeat=6)]


def _name(switches: dict[str, bool]) -> str:
    return "_".join(name for name, on in switches.items() if on) or "none"


@pytest.mark.parametrize("name", REFERENCES)
def test_keys_and_shapes_are_the_research_systems(name: str) -> None:
    keys, trainable = reference_keys(name)
    net = meta_net(REFERENCES[name])
    assert {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()} == keys
    assert sum(parameter.numel() for parameter in net.parameters()) == trainable


# name → parameters, state-dict keys, logits' shape at 512×512; the last three columns of facts measured there.
FACTS = {
    "lite0_fpn": (3_122_257, 430, (1, 1, 256, 256)),
    "segformer_b0": (3_714_401, 208, (1, 1, 128, 128)),
    "serseg_b0": (3_898_787, 222, (1, 1, 512, 512)),
    "serseg_b0_dam": (4_177_333, 294, (1, 1, 512, 512)),
    "serseg_b0_dam_depth": (4_187_475, 294, (1, 1, 512, 512)),
    "serseg_b0_afn": (7_050_739, 334, (1, 1, 128, 128)),
    "sernet_former": (9_234_710, 149, (1, 1, 512, 512)),
    # Not measured there: SegFormer-B0 plus two DbNs, four depth channels, and three wider projections.
    "serseg_b0_abg_dbn_depth": (3_884_455, 250, (1, 1, 128, 128)),
}


# As measured on the research system's code, rounded there to one decimal.
GMACS = {
    "segformer_b0": 7.8,
    "serseg_b0": 27.1,
    "serseg_b0_dam": 29.4,
    "serseg_b0_dam_depth": 29.5,
    "sernet_former": 56.7,
}


def test_every_registered_model_has_its_facts() -> None:
    assert set(list_models()) == set(FACTS)


@pytest.mark.parametrize("name", FACTS)
def test_parameters_keys_and_logits_at_512(name: str) -> None:
    parameters, keys, shape = FACTS[name]
    net = meta_net(model_spec(name).config).eval()
    inputs = [tensor.to("meta") for tensor in inputs_of(net.config, 512, 512)]
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert len(net.state_dict()) == keys
    with FlopCounterMode(display=False) as flops:
        assert tuple(net(*inputs).shape) == shape
    assert model_spec(name).params == parameters
    assert model_spec(name).gmacs == pytest.approx(flops.get_total_flops() / 2e9, abs=0.006)
    assert model_spec(name).gmacs == pytest.approx(GMACS.get(name, model_spec(name).gmacs), abs=0.06)


@pytest.mark.parametrize("switches", COMBINATIONS, ids=_name)
def test_every_combination_of_switches_equals_the_oracle(switches: dict[str, bool]) -> None:
    config = SersegConfig(**SMALL, upsample_width=8, **switches)
    net, inputs = net_of(config), inputs_of(config)
    with torch.no_grad():
        found = net(*inputs)
        expected = oracle.segformer_like(net.state_dict(), *inputs, abg=config.abg)
    assert tuple(found.shape) == (1, 1, *((64, 96) if config.upsample else (16, 24)))
    assert relative_error(found, expected) < EQUAL


@pytest.mark.parametrize("name", list_models())
def test_registered_models_equal_the_oracle_at_full_width(name: str) -> None:
    config = model_spec(name).config
    net, inputs = net_of(config, seed=3), inputs_of(config)
    with torch.no_grad():
        found = net(*inputs)
        if isinstance(config, EfficientNetFPNConfig):
            expected = lite_oracle.fpn(net.state_dict(), *inputs)
        elif isinstance(config, SernetConfig):
            expected = oracle.sernet(net.state_dict(), *inputs)
        else:
            expected = oracle.segformer_like(net.state_dict(), *inputs, abg=getattr(config, "abg", False))
    assert relative_error(found, expected) < EQUAL


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("eps_of_the_blocks", {"layer_norm_eps": 1e-1}),
        ("eps_of_the_embeddings", {"embed_norm_eps": 1e-1}),
        ("relu_behind_the_projections", {"projection_relu": True}),
    ],
)
def test_the_oracle_detects_a_wrong(part: str, changed: dict[str, float]) -> None:
    net = net_of(SegformerConfig(**SMALL))
    wrong = net_of(SegformerConfig(**SMALL, **changed))
    image = inputs_of(net.config)[0]
    with torch.no_grad():
        assert relative_error(wrong(image), oracle.segformer_like(net.state_dict(), image)) > EQUAL, part


def test_segformer_keeps_every_layer_norm_at_1e_5() -> None:
    for config in REFERENCES.values():
        norms = [module for module in meta_net(config).modules() if isinstance(module, (nn.LayerNorm, nn.BatchNorm2d))]
        assert norms
        assert {norm.eps for norm in norms} == {1e-5}


def test_lite0_fpn_keeps_its_size_limits() -> None:
    spec = model_spec("lite0_fpn")
    assert spec.params <= 5_000_000
    assert spec.gmacs <= 2.5


def test_dropout_and_stochastic_depth_work_in_training_only() -> None:
    config = SersegConfig(**SMALL, drop_path=0.5, head_dropout=0.5)
    net, (image,) = net_of(config), inputs_of(config, 32, 32, batch=2)
    with torch.no_grad():
        torch.testing.assert_close(net(image), net(image), rtol=0, atol=0)
        net.train()
        assert not torch.equal(net(image), net(image))


@pytest.mark.parametrize("name", ["lite0_fpn", "segformer_b0", "serseg_b0_dam_depth", "sernet_former"])
def test_every_used_parameter_gets_a_gradient(name: str) -> None:
    net = create_model(name)
    net(*inputs_of(net.config, 32, 32, batch=2)).square().mean().backward()
    without = [key for key, parameter in net.named_parameters() if parameter.grad is None]
    unused = {f"decode_head.dam.conv_{kind}.{what}" for kind in ("cam", "sam") for what in ("weight", "bias")}
    assert set(without) == (unused if "dam" in name else set())


@pytest.mark.parametrize(
    ("config", "height", "width", "words"),
    [
        (SersegConfig(depth=True), 64, 72, "64x72; both sides must be multiples of 16"),
        (SersegConfig(afn=True), 60, 64, "60x64; both sides must be multiples of 8"),
        (SernetConfig(), 40, 64, "40x64; both sides must be multiples of 16"),
    ],
)
def test_sizes_that_cannot_be_taken_are_refused(config: NetConfig, height: int, width: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        meta_net(config)(*[tensor.to("meta") for tensor in inputs_of(config, height, width)])


@pytest.mark.parametrize(
    ("config", "height", "width"),
    [
        (SegformerConfig(), 33, 47),
        (SersegConfig(upsample=False, dbn=True, dam=True), 50, 70),
        (SersegConfig(upsample=False, afn=True), 36, 52),
        (SersegConfig(afn=True), 40, 56),
        (SersegConfig(depth=True, afn=True), 48, 80),
        (SernetConfig(), 48, 80),
    ],
)
def test_odd_sizes_that_can_be_taken_work(config: NetConfig, height: int, width: int) -> None:
    net = meta_net(config).eval()
    logits = net(*[tensor.to("meta") for tensor in inputs_of(config, height, width)])
    assert logits.shape[:2] == (1, 1)


def test_a_depth_network_asks_for_depth_and_the_others_refuse_it() -> None:
    image, depth = inputs_of(SersegConfig(depth=True), 32, 32)
    with pytest.raises(UsageError, match="needs a depth map in addition to the image; none was given"):
        net_of(SersegConfig(**SMALL, depth=True))(image)
    with pytest.raises(UsageError, match="takes no depth map in addition to the image; one was given"):
        net_of(SersegConfig(**SMALL))(image, depth)
    with pytest.raises(UsageError, match=r"The depth map is \(1, 1, 16, 16\); expected \(1, 1, 32, 32\)"):
        net_of(SersegConfig(**SMALL, depth=True))(image, depth[:, :, :16, :16])


@pytest.mark.parametrize(
    "config", [SegformerConfig(num_labels=9), SersegConfig(num_labels=2), SernetConfig(num_labels=3)]
)
def test_several_labels_give_as_many_channels(config: NetConfig) -> None:
    net = meta_net(config).eval()
    assert net(inputs_of(config, 32, 32)[0].to("meta")).shape[1] == config.num_labels


def test_depth_pyramid_reads_the_centre_pixels() -> None:
    from portrait_export.models.serseg import depth_pyramid

    depth = torch.rand(2, 1, 32, 48, generator=torch.Generator().manual_seed(0))
    whole, *small = depth_pyramid(depth)
    assert whole is depth
    for ratio, level in zip((4, 8, 16), small, strict=True):
        torch.testing.assert_close(level, oracle.centre_samples(depth, ratio))


@pytest.mark.parametrize("name", list_models())
def test_tracing_depends_on_no_data(name: str) -> None:
    net = create_model(name).eval()
    inputs = inputs_of(net.config, 64, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("error", torch.jit.TracerWarning)
        traced = torch.jit.trace(net, inputs, check_trace=False)
    with torch.no_grad():
        torch.testing.assert_close(traced(*inputs), net(*inputs), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["segformer_b0", "serseg_b0_dam"])
def test_mixing_before_resizing_is_the_same_sum(name: str) -> None:
    head = randomize_(create_model(name)).double().decode_head
    generator = torch.Generator().manual_seed(0)
    widths = [linear.proj.in_features for linear in head.linear_c]
    maps = [
        torch.randn(2, width, 16 >> i, 24 >> i, generator=generator, dtype=torch.float64)
        for i, width in enumerate(widths)
    ]
    early, late = head.mix_then_resize(maps), head.resize_then_mix(maps)
    assert float((early - late).abs().max()) < 1e-10 * float(late.abs().max())
