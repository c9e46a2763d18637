"""Test packages with several input sizes: the arguments, the package, and its masks at every size."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from portrait_export.artifacts import Frame
from portrait_export.errors import UsageError
from portrait_export.inputs.sizes import MAX_SIZES, closest, labels, listed_sizes, require_listed, require_sizes

SIZES = ((64, 96), (96, 64), (64, 64))
TEXT = "64x96,96x64,64x64"
PSNR_DB = 60.0  # of fp32 packages against the user's own file; the lowest of these is 120
PSNR_INT8_DB = 20.0  # random weights: the bar of verify.gates is 25


class Net(nn.Module):
    """A small portrait net of what is used today: strides, attention over tokens, global context, a resized head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish())
        self.down = nn.Conv2d(8, 8, 3, 4, 1)
        self.query, self.key = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.head = nn.Conv2d(16, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        high = self.stem(x)
        low = self.down(high)
        query, key = (layer(low).flatten(2) for layer in (self.query, self.key))
        attended = ((query.transpose(1, 2) @ key).softmax(-1) @ low.flatten(2).transpose(1, 2)).transpose(1, 2)
        low = attended.reshape(low.shape) * F.adaptive_avg_pool2d(low, 1).sigmoid()
        joined = torch.cat([high, F.interpolate(low, size=high.shape[2:], mode="bilinear")], 1)
        return F.interpolate(self.head(joined), size=x.shape[2:], mode="bilinear")


class Plain(nn.Module):
    """Convolutions alone; their input is pooled over windows that follow from its width where `windows` is true."""

    def __init__(self, windows: bool = False):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.ReLU(), nn.Conv2d(4, 1, 1))
        self.windows = windows

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(x, 1 + 2 * (int(x.shape[3]) // 32), 1, int(x.shape[3]) // 32) if self.windows else x
        return self.body(x)


def write(net: nn.Module, path: Path, *, dynamic: bool = True) -> Path:
    buffer, open_sides = io.BytesIO(), {2: "height", 3: "width"}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net.eval(),
            (torch.rand(1, 3, *SIZES[0]),),
            buffer,
            dynamo=False,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": open_sides, "y": open_sides} if dynamic else None,
        )
    onnx.save(onnx.load_from_string(buffer.getvalue()), path)
    return path


def seeded(build: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return build().eval()


def gates(record: dict) -> dict[str, float]:
    return {gate["name"]: gate["value"] for gate in record["gates"]}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "net.toml").write_text('activation = "logits"\n')  # its weights are random, and its values all positive
    return write(seeded(Net), folder / "net.onnx")


@pytest.fixture(scope="module")
def exported(own: Path, photos: Path) -> tuple[Path, dict]:
    """The output folder of the net at three sizes, fp32, and what export.json says. Do not write into it."""
    out = own.parent / "out"
    command = ["coreml", "--onnx", own, "--sizes", TEXT, "--scale", "1/255", "--precision", "fp32", "--data", photos]
    subprocess.run([sys.executable, "-m", "portrait_export", *map(str, command), "-o", str(out), "-q"], check=True)
    return out, json.loads((out / "export.json").read_text())


# ---- what is asked for


CLOSEST = {
    "shape_before_area": ([(256, 256), (512, 512), (512, 384)], (4000, 3000), (512, 384)),
    "landscape": ([(256, 256), (384, 512), (512, 384)], (600, 800), (384, 512)),
    "smallest_that_covers": ([(512, 512), (256, 256)], (200, 200), (256, 256)),
    "largest_where_none_covers": ([(256, 256), (512, 512)], (600, 600), (512, 512)),
    "next_that_covers": ([(256, 256), (512, 512), (1024, 1024)], (300, 300), (512, 512)),
    "one_size": ([(64, 64)], (1000, 10), (64, 64)),
}


@pytest.mark.parametrize("name", CLOSEST)
def test_the_size_that_suits_a_photo(name):
    sizes, photo, expected = CLOSEST[name]
    assert closest(sizes, photo) == expected


def test_sizes_in_words():
    assert labels([(64, 32)]) == "64x32"
    assert labels([(64, 32), (32, 64), (8, 8)], last=" or ") == "64x32, 32x64 or 8x8"


def test_a_size_that_is_not_listed_is_refused():
    require_listed((64, 64), SIZES, name="a.mlpackage")
    with pytest.raises(UsageError, match=r"a.mlpackage takes 64x96, 96x64 or 64x64; found `size=\(32, 32\)`\."):
        require_listed((32, 32), SIZES, name="a.mlpackage")


def test_a_single_size_without_a_list_is_accepted():
    require_sizes((), size=(64, 64))
    require_sizes(SIZES, size=None)


REFUSED = {
    "one": (["--sizes", "64x64"], "--sizes lists only one size, 64x64."),
    "twice": (["--sizes", "64x64,96x96,64x64"], "--sizes lists 64x64 more than once."),
    "with_size": (
        ["--sizes", "64x64,96x96", "--size", "64x64"],
        "--size 64x64 and --sizes 64x64,96x96 cannot be used together.",
    ),
    "too_many": (
        ["--sizes", ",".join(f"{32 * n}x64" for n in range(1, MAX_SIZES + 2))],
        f"--sizes lists {MAX_SIZES + 1} sizes; the limit is {MAX_SIZES}.",
    ),
    "no_number": (["--sizes", "64x64,abc"], "'abc' is not a size; use height x width in pixels, such as 512x512."),
    "a_comma_too_many": (["--sizes", "64x64,"], "'' is not a size"),
    "too_large": (["--sizes", "64x64,9999x64"], "'9999x64' is out of range"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unusable_lists_are_refused(name, cli, tmp_path):
    arguments, words = REFUSED[name]
    ran = cli("coreml", "-m", "segformer_b0", "--random-weights", *arguments, "-o", tmp_path / "out")
    assert ran.code == 2
    assert words in ran.err
    assert not (tmp_path / "out").exists()


def test_every_size_that_the_network_does_not_take_is_named(cli, tmp_path):
    ran = cli("coreml", "-m", "sernet_former", "--random-weights", "--sizes", "64x64,70x64,64x90", "-o", tmp_path / "o")
    assert ran.code == 2
    assert "The network cannot be loaded at 2 of 3 sizes." in ran.err
    assert "70x64: This network takes sides that are multiples of 16 pixels; found 70x64." in ran.err
    assert "hint: 70x64: the nearest size is 64x64.; 64x90: the nearest size is 64x96." in ran.err


def test_a_problem_of_every_size_is_reported_once(cli, tmp_path):
    ran = cli("coreml", "--onnx", tmp_path / "none.onnx", "--sizes", "64x64,96x96", "-o", tmp_path / "o")
    assert ran.code == 2
    assert ran.err.count("There is no ONNX file at") == 1


def test_depth_models_need_a_target_that_lists_two_inputs(cli, tmp_path):
    ran = cli("coreml", "-m", "serseg_b0_dam_depth", "--random-weights", "--sizes", "64x64,96x96", "-o", tmp_path / "o")
    assert ran.code == 2
    assert "serseg_b0_dam_depth takes image and depth, and the target is iOS17." in ran.err


# ---- what is made


def test_rules_that_do_not_apply_at_every_size_are_skipped_at_all_of_them(monkeypatch):
    """The work itself is not done here: a rule fires as often as the table says."""
    from portrait_export.capture.simplify import RULES
    from portrait_export.cli.render import Silence
    from portrait_export.utils.stages import Stages
    from portrait_export.workflows import steps

    class Report:
        def __init__(self, counts: dict[str, int]):
            self.counts = lambda: counts

    fires = {"small": {"gelu": 4, "identity": 1}, "large": {"gelu": 4, "identity": 2, "conv-chain": 1}}
    asked: list[tuple[str, set[str]]] = []

    def simplified(_, model, *, prefix, without):
        asked.append((model, set(without)))
        return f"{model} done", Report({rule: n for rule, n in fires[model].items() if rule not in without})

    monkeypatch.setattr(steps, "simplify", simplified)
    found = steps.simplify_alike(Stages(Silence()), ["small", "large"], ["a: ", "b: "])
    one_size = {rule.name for rule in RULES if rule.one_size}
    assert found == ["small done", "large done"]
    assert asked[:2] == [("small", one_size), ("large", one_size)]
    assert asked[2:] == [(name, one_size | {"identity", "conv-chain"}) for name in ("small", "large")]
    assert "conv-after-resize" in one_size


def test_parity_is_gated_at_every_size(exported):
    _, record = exported
    found = gates(record)
    for size in TEXT.split(","):
        assert found[f"logits_psnr_db@{size}"] >= PSNR_DB
        assert found[f"mean_mask_iou@{size}"] == 1
    assert record["passed"]


def test_everything_written_says_the_sizes(exported, cli):
    out, record = exported
    assert record["sizes"] == [list(size) for size in SIZES]
    unify = next(stage for stage in record["stages"] if stage["name"] == "unify")
    assert unify["summary"].startswith("one program for 64x96, 96x64 and 64x64, ")
    assert [line.split(":")[0] for line in record["warnings"] if "https://github.com/apple" in line] == [
        "Neural Engine"
    ]
    assert "64x96 or 96x64 or 64x64" in cli("inspect", out / "net.mlpackage").out
    facts = json.loads(cli("inspect", out / "net.mlpackage", "--lint", "--json").out)
    (image,) = facts["inputs"]
    assert (image["shape"], image["enumerated"]) == (list(SIZES[0]), [list(size) for size in SIZES])
    assert image["description"] == "A photograph, 96×64 or 64×96 or 64×64 pixels."
    assert facts["metadata"]["portrait_export.sizes"] == TEXT
    assert "64x96, 96x64 or 64x64" in facts["metadata"]["description"]
    assert "listed-shapes" in {advice["code"] for advice in facts["lint"]["advice"]}


def test_the_report_counts_each_size_by_itself(exported):
    report = json.loads((exported[0] / "parity.json").read_text())
    assert list(report["sizes"]) == TEXT.split(",")
    assert {part["images"] for part in report["sizes"].values()} == {2}
    assert {image["name"] for image in report["images"]} == {
        f"{name}, {size}" for name in ("noise", "portrait") for size in TEXT.split(",")
    }


def test_the_same_sizes_give_the_same_bytes(own, exported, tmp_path):
    command = ["coreml", "--onnx", own, "--sizes", TEXT, "--scale", "1/255", "--precision", "fp32", "--no-parity"]
    subprocess.run(
        [sys.executable, "-m", "portrait_export", *map(str, command), "-o", str(tmp_path / "o"), "-q"], check=True
    )
    again = json.loads((tmp_path / "o" / "export.json").read_text())
    assert again["package"]["sha256"] == exported[1]["package"]["sha256"]


def test_parity_checks_every_size_or_the_one_asked_for(own, exported, cli, photos, tmp_path):
    arguments = ["parity", exported[0] / "net.mlpackage", "--onnx", own, "--scale", "1/255", "--data", photos]
    ran = cli(*arguments, "--out", tmp_path / "all.json")
    assert ran.code == 0, ran.err
    assert ran.err.count("✓ parity") == 3
    assert list(json.loads((tmp_path / "all.json").read_text())["sizes"]) == TEXT.split(",")
    one = cli(*arguments, "--size", "96x64", "--out", tmp_path / "one.json")
    assert one.code == 0, one.err
    assert [image["name"] for image in json.loads((tmp_path / "one.json").read_text())["images"]] == [
        "noise",
        "portrait",
    ]
    other = cli(*arguments, "--size", "32x32")
    assert other.code == 2
    assert "net.mlpackage takes 64x96, 96x64 or 64x64; found --size 32x32." in other.err


def test_other_preprocessing_fails_at_every_size(own, exported, cli, photos):
    ran = cli("parity", exported[0] / "net.mlpackage", "--onnx", own, "--mean", "0", "--std", "0.5", "--data", photos)
    assert ran.code == 1
    assert ran.out.count("✗  logits PSNR") == 3


def test_segment_takes_the_size_that_suits_the_photo(exported, cli, photos, tmp_path):
    from PIL import Image

    from portrait_export.imaging.photo import open_photo
    from portrait_export.imaging.placement import mask_back, to_frame
    from portrait_export.runtime.runner import PackageRunner

    package = exported[0] / "net.mlpackage"
    photo = photos / "portrait.png"  # 96 rows, 80 columns: nearest in shape to 64x64
    for arguments, size in (([], (64, 64)), (["--size", "96x64"], (96, 64))):
        out = tmp_path / f"{size}.png"
        ran = cli("segment", photo, "--package", package, *arguments, "--no-refine", "-o", out)
        assert ran.code == 0, ran.err
        runner = PackageRunner(package)
        assert runner.spec is not None
        frame, placement = to_frame(open_photo(photo), runner.spec.with_size(*size))
        expected = mask_back(runner.run([frame])[0].probability, placement)
        np.testing.assert_array_equal(np.asarray(Image.open(out)), np.round(expected * 255))
    refused = cli("segment", photo, "--package", package, "--size", "32x32", "-o", tmp_path / "no.png")
    assert refused.code == 2
    assert "takes 64x96, 96x64 or 64x64; found --size 32x32." in refused.err


def test_a_file_of_one_size_is_run_at_others_with_a_warning(cli, photos, tmp_path):
    from PIL import Image

    from portrait_export import runtime

    file = write(seeded(Plain), tmp_path / "fixed.onnx", dynamic=False)
    ran = cli(
        *["coreml", "--onnx", file, "--sizes", "96x64,64x96", "--scale", "1/255", "--precision", "fp32"],
        *["--activation", "logits"],
        *["--output", "multiarray", "--data", photos, "-o", tmp_path / "o", "--json"],
    )
    assert ran.code == 0, ran.err
    record = json.loads(ran.out)
    assert gates(record)["logits_psnr_db@96x64"] >= PSNR_DB
    outputs = runtime.load(tmp_path / "o" / "fixed.mlpackage").predict({"image": Image.new("RGB", (64, 96))})
    assert (outputs["mask"].shape, outputs["classes"].shape) == ((1, 1, 96, 64), (96, 64))
    assert sum("the file declares 64x96 alone" in line for line in record["warnings"]) == 1


def test_a_file_that_keeps_its_size_inside_is_refused(cli, tmp_path):
    file = write(seeded(Net), tmp_path / "baked.onnx", dynamic=False)
    ran = cli("coreml", "--onnx", file, "--sizes", "64x96,96x64", "--scale", "1/255", "-o", tmp_path / "o")
    assert ran.code == 2
    assert "96x64: The file is fixed at 64x96, and what is in it does not work at 96x64:" in ran.err
    assert "export the network again with open (dynamic) height and width" in ran.err


def test_what_fixes_the_size_is_named_and_nothing_is_left(cli, tmp_path):
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
    code += "from tests.inputs.test_sizes import Plain\ndef build():\n    return Plain(windows=True)\n"
    (tmp_path / "own.py").write_text(code)
    ran = cli(
        *["coreml", "--torch", f"{tmp_path / 'own.py'}:build", "--sizes", "64x64,64x96", "--scale", "1/255"],
        *["-o", tmp_path / "o"],
    )
    assert ran.code == 2
    assert "error: size-dependent" in ran.err
    assert "One package cannot accept 64x64, 64x96: own has operations that depend on the input size." in ran.err
    assert "its pad changes with the size" in ran.err
    assert list(tmp_path.glob("o/*.mlpackage")) == []


@pytest.mark.parametrize(
    "by", [torch.jit.script, lambda net: torch.jit.trace(net, torch.rand(1, 3, *SIZES[0]))], ids=["scripted", "traced"]
)
def test_a_torchscript_program_is_run_at_every_size(cli, photos, tmp_path, by):
    torch.jit.save(by(seeded(Plain)), tmp_path / "own.pt")
    ran = cli(
        *["coreml", "--torchscript", tmp_path / "own.pt", "--sizes", "64x96,96x64", "--scale", "1/255"],
        *["--activation", "logits"],
        *["--output", "logits", "--precision", "fp32", "--data", photos, "-o", tmp_path / "o", "--json"],
    )
    assert ran.code == 0, ran.err
    found = gates(json.loads(ran.out))
    assert min(found["logits_psnr_db@64x96"], found["logits_psnr_db@96x64"]) >= PSNR_DB


def test_a_trace_that_keeps_its_size_inside_is_refused(cli, tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Flatten(), nn.Unflatten(1, (1, *SIZES[0])))
    torch.jit.save(torch.jit.trace(net, torch.rand(1, 3, *SIZES[0])), tmp_path / "own.pt")
    ran = cli("coreml", "--torchscript", tmp_path / "own.pt", "--sizes", "64x96,64x64", "-o", tmp_path / "o")
    assert ran.code == 2
    assert "The network cannot be loaded at 1 of 2 sizes." in ran.err
    assert "64x64: The network failed on a (1, 3, 64, 64) picture: RuntimeError: " in ran.err
    assert "TorchScript interpreter" not in ran.err
    assert "trace it at this size, or use torch.jit.script" in ran.err
    assert not (tmp_path / "o").exists()


def test_torch_code_without_a_seed_has_the_same_weights_at_every_size(cli, photos, tmp_path):
    code = "import torch\ndef build():\n    return torch.nn.Conv2d(3, 1, 3, padding=1)\n"
    (tmp_path / "own.py").write_text(code)
    ran = cli(
        *["coreml", "--torch", f"{tmp_path / 'own.py'}:build", "--sizes", "64x64,64x96", "--scale", "1/255"],
        *["--output", "logits", "--precision", "fp32", "--data", photos, "-o", tmp_path / "o", "--json"],
    )
    assert ran.code == 0, ran.err
    assert gates(json.loads(ran.out))["logits_psnr_db@64x96"] >= PSNR_DB


def test_a_registered_model_is_right_at_every_size_in_int8(tmp_path):
    """Square sizes, where height and width cannot be told apart by their numbers."""
    from portrait_export.capture.runners import TorchRunner
    from portrait_export.cli.render import Silence
    from portrait_export.inputs.sizes import load_sizes
    from portrait_export.inputs.sources import ModelSource
    from portrait_export.mil.program import read_program
    from portrait_export.runtime.runner import PackageRunner
    from portrait_export.workflows.export import export_coreml
    from portrait_export.workflows.requests import CoreMLRequest

    from ..workflows.test_export import psnr_db, smooth_frame

    sizes = ((64, 64), (96, 96))
    source = ModelSource(model="segformer_b0", random_weights=True)
    request = CoreMLRequest(source=source, sizes=sizes, recipe="int8", out=tmp_path, parity=None)
    export = export_coreml(request, Silence())
    assert export.passed
    assert listed_sizes(read_program(export.package.path).inputs) == sizes
    image = np.tile(smooth_frame(depth=False).image, (2, 2, 1))
    runner = PackageRunner(export.package.path)
    for model in load_sizes(source, sizes):
        side = model.spec.height
        frame = Frame(np.ascontiguousarray(image[:side, :side]))
        [expected] = TorchRunner(model.module, model.spec).run([frame])
        [found] = runner.run([frame])
        assert found.probability.shape == (side, side)
        assert psnr_db(expected.logits, found.logits) >= PSNR_INT8_DB
