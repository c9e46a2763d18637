"""Decide how photographs are prepared for a foreign network, and report every reason to doubt it."""

from __future__ import annotations

from dataclasses import replace

from ...errors import UsageError
from ...preprocessing import GRAY, SHOWS, Picture, PortraitSpec
from ..huggingface import LARGEST_UNIT, PREPROCESSOR, Preprocessor
from .finding import Finding
from .interface import ImageInput
from .leading import BYTES, IMAGENET, NAMES, UNCLEAR, UNIT, Leading, Numbers, short
from .options import NORMALISING, PictureSettings, Settings
from .pictures import Part
from .stored_range import pixels_within

ASSUMED = (
    "no preprocessing was given, so ImageNet's is assumed: RGB, pixel/255, mean 0.485,0.456,0.406,"
    " std 0.229,0.224,0.225; a wrong guess gives wrong masks on the phone. Set `mean=`, `std=` and `scale=`,"
    " or write a TOML file"
)

ASSUMED_GRAY = (
    "nothing tells how the gray picture {name!r} is normalised, so pixel/255 is assumed: 0..1; a wrong guess gives"
    " wrong masks on the phone. Set `mean={name}=M`, `std={name}=S` and `scale={name}=F`"
)


def decide(
    options: Settings,
    image: ImageInput,
    leading: Leading | None,
    preprocessor: Preprocessor | None,
    *,
    toml: str,
    stored: tuple[float, float] | None = None,
) -> Finding[PortraitSpec]:
    """How photographs are prepared.

    Args:
        leading: arithmetic on pixels in the graph itself.
        preprocessor: what a preprocessor_config.json next to the network says.
        toml: name of the file that some options come from, empty where there is none.
        stored: the range of numbers that a quantized graph keeps of its input.
    """
    if image.channels == 1:
        numbers = _gray_numbers(options, image, leading, toml, name=image.name)
        ignored = ("`color=` is ignored: the network takes a gray picture",) if options.color else ()
        color = Finding(GRAY, ("gray: the luma of the photograph;",), ignored)
    else:
        numbers = _numbers(options, image, leading, preprocessor, toml)
        if numbers.warnings[:1] == (ASSUMED,) and stored is not None:
            numbers = _by_range(*stored) or numbers
        color = _color(options, leading, preprocessor)
    scale, mean, std = _narrowed(numbers.value, gray=image.channels == 1)
    resize = options.resize or (preprocessor.resize if preprocessor is not None else None)
    spec = PortraitSpec(
        height=image.height,
        width=image.width,
        color=color.value,
        scale=scale,
        mean=mean,
        std=std,
        resize=resize or "stretch",
        positive=options.positive or "person",
        threshold=options.threshold or 0.5,
    )
    note = f"{color.notes[0]} photographs are brought to {image.height}x{image.width} by `{spec.resize}`"
    doubts = preprocessor.doubts if preprocessor is not None else ()
    return Finding(spec, (*numbers.notes, note), (*numbers.warnings, *color.warnings, *doubts))


def decide_picture(
    settings: PictureSettings,
    options: Settings,
    part: Part,
    image: ImageInput,
    leading: Leading | None,
    spec: PortraitSpec,
    *,
    photo: Leading | None,
    toml: str,
) -> Finding[Picture]:
    """How a further picture is prepared.

    Its own settings decide, else the graph's arithmetic on it; else a colour picture is prepared as the photograph is,
    and a gray one is brought to 0..1.

    Args:
        settings: its own.
        options: of the network; those for all colour pictures count where its own say nothing.
        leading: arithmetic on this picture in the graph itself.
        spec: how the photograph is prepared.
        photo: arithmetic on the photograph.
    """
    own = replace(options, mean=settings.mean, std=settings.std, scale=settings.scale, color=settings.color)
    if part.gray:
        name = part.name if len(part.channels) < image.channels else image.name
        ignored = ("`color=` is ignored: the picture is gray",) if own.color else ()
        numbers, color = _gray_numbers(own, image, leading, toml, name=name), Finding(GRAY, (), ignored)
    else:
        own = replace(own, **{key: getattr(options, key) for key in NORMALISING if getattr(own, key) is None})
        numbers = _colour_numbers(own, image, leading, spec, photo, toml)
        told = own.color or (leading is not None and leading.color)
        color = _color(own, leading, None) if told else Finding(_order(spec))
    value = Picture(part.name, part.shows, color.value, *_narrowed(numbers.value, gray=part.gray))
    where = f", channel {part.channels[0] + 1}" if len(part.channels) < image.channels else ""
    how = ", ".join((value.color.upper() if value.color != GRAY else GRAY, *numbers.notes))
    note = f"input {image.name!r}{where} shows: {SHOWS[part.shows]}; {how}, {numbers.value}"
    warnings = tuple(f"{image.name}{where}: {text}" for text in (*numbers.warnings, *color.warnings))
    return Finding(value, (note.replace("`", ""),), warnings)


def _colour_numbers(
    own: Settings, image: ImageInput, leading: Leading | None, spec: PortraitSpec, photo: Leading | None, toml: str
) -> Finding[Numbers]:
    """The numbers of a further picture in colour."""
    told = own.normalises or image.whole or (leading is not None and leading.numbers is not None)
    if told or spec.color == GRAY:
        return _numbers(own, image, leading, None, toml)
    numbers = Numbers(spec.scale, spec.mean, spec.std)
    if leading is not None and leading.normalises:
        return Finding(numbers, ("as the photograph",), (_doubt(leading),))
    if photo is not None and photo.normalises:
        doubt = (
            f"the graph normalises the photograph itself ({photo}), and not this picture, which gets {numbers} as the"
            f" photograph does; if that is wrong, set `mean={image.name}=M`, `std={image.name}=S` and"
            f" `scale={image.name}=F`"
        )
        return Finding(numbers, ("as the photograph",), (doubt,))
    return Finding(numbers, ("as the photograph",))


def _order(spec: PortraitSpec) -> str:
    return "rgb" if spec.color == GRAY else spec.color


def _gray_numbers(
    options: Settings, image: ImageInput, leading: Leading | None, toml: str, *, name: str
) -> Finding[Numbers]:
    """The numbers of a picture of one channel; 0..1 where nothing tells them. Raises UsageError for three different.

    Args:
        name: by which options name the picture.
    """
    for setting in ("mean", "std"):
        if len(set(getattr(options, setting) or (0,))) > 1:
            raise UsageError(
                f"`{setting}=` gives three numbers, and {name!r} takes a gray picture.",
                hint=f"one number is needed, such as `{setting}={name}=0.5`.",
            )
    normalises = leading is not None and leading.normalises
    if not (options.normalises or image.whole or (leading is not None and leading.numbers is not None)):
        doubts = (_doubt(leading),) if leading is not None and normalises else ()
        return Finding(UNIT, (), (ASSUMED_GRAY.format(name=name), *doubts))
    return _numbers(options, image, leading, None, toml)


def _narrowed(numbers: Numbers, *, gray: bool) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    """Scale, mean and std for as many channels as a picture has."""
    return (numbers.scale, numbers.mean[:1], numbers.std[:1]) if gray else (numbers.scale, numbers.mean, numbers.std)


def _color(options: Settings, leading: Leading | None, preprocessor: Preprocessor | None) -> Finding[str]:
    """The order of the input's channels, with one note that says it."""
    said = options.color or (preprocessor.color if preprocessor is not None else None)
    shown = leading.color if leading is not None else ""
    if said:
        doubt = (
            f"the means in the graph ({leading}) are ImageNet's in the order {shown.upper()}, and {said.upper()} is"
            " specified (`color=`)"
        )
        return Finding(said, (said.upper(),), (doubt,) * bool(shown and shown != said))
    if shown:
        return Finding(shown, (f"{shown.upper()} (by the order of the means in the graph)",))
    doubt = (
        f"the graph reverses the channels of its input ({leading.nodes}): either it takes RGB, for layers trained on"
        " BGR (`color=rgb`, which is assumed), or BGR for layers trained on RGB (`color=bgr`)"
        if leading is not None and leading.reverses
        else ""
    )
    return Finding("rgb", ("RGB (assumed)",), (doubt,) * bool(doubt))


def _whole_numbers(options: Settings, image: ImageInput) -> Finding[Numbers]:
    """Of an integer input: pixels as they are, or less 128 in INT8, as TensorFlow Lite quantizes them."""
    kind = image.dtype.lower()
    doubts = ["`mean=`, `std=` and `scale=` are ignored: the input takes whole numbers"] if options.normalises else []
    if image.dtype == "INT8":
        doubts.append(f"the input {image.name!r} is {kind}: pixels less 128, -128..127, are assumed")
        return Finding(Numbers(1.0, (128.0, 128.0, 128.0)), (f"{kind}: pixels less 128",), tuple(doubts))
    if image.dtype != "UINT8":
        doubts.append(f"the input {image.name!r} is {kind}: pixels of 0..255 are assumed")
    return Finding(BYTES, ("the input takes bytes, so pixels go in as they are",), tuple(doubts))


def _numbers(
    options: Settings, image: ImageInput, leading: Leading | None, preprocessor: Preprocessor | None, toml: str
) -> Finding[Numbers]:
    """From the options, else an integer input, else the graph's own arithmetic, else a file, else ImageNet's."""
    if image.whole:
        return _whole_numbers(options, image)
    normalising = leading if leading is not None and leading.normalises else None
    if options.normalises:
        return _given(options, normalising, toml)
    if normalising is not None and normalising.numbers is not None:
        return _found(normalising, normalising.numbers)
    doubts = () if normalising is None else (_doubt(normalising),)
    if preprocessor is not None and preprocessor.mean is not None and preprocessor.std is not None:
        numbers = Numbers(preprocessor.scale, preprocessor.mean, preprocessor.std)
        return Finding(numbers, (f"mean and std from {PREPROCESSOR}",), () if _suits(normalising, numbers) else doubts)
    return Finding(IMAGENET, (), (ASSUMED, *(() if normalising and normalising.takes == (IMAGENET,) else doubts)))


def _by_range(low: float, high: float) -> Finding[Numbers] | None:
    """The pixels that fill the range which a quantized graph keeps; None where no usual ones do."""
    fitting = pixels_within(low, high)
    if not fitting:
        return None
    readings = " or ".join(f"{NAMES[each]} ({each})" for each in fitting)
    warning = (
        f"no preprocessing was given; the graph stores its input as 8-bit integers of {low:.4g}..{high:.4g}, which"
        f" suits pixels in {readings}: {NAMES[fitting[0]]} is taken; set `mean=`, `std=` and `scale=` if that is wrong"
    )
    return Finding(fitting[0], (), (warning,))


def _found(leading: Leading, numbers: Numbers) -> Finding[Numbers]:
    """The pixels that the graph's own arithmetic is made for, with both readings where it suits several."""
    others = "".join(f"; other layers read {other}" for other in leading.others)
    if len(leading.takes) > 1:
        readings = " or ".join(f"{NAMES[each]} ({each})" for each in leading.takes)
        warning = f"the graph starts with {leading}, which suits pixels in {readings}: {NAMES[numbers]} is taken"
    elif numbers.plain:
        warning = (
            f"the graph already normalises its input ({leading}), so pixels go in as {NAMES[numbers]}, without mean and"
            " std; set `mean=`, `std=` and `scale=` if that is wrong"
        )
    else:
        warning = (
            f"the graph starts with {leading}, which expects pixels in {NAMES[numbers]} ({numbers}); set `mean=`,"
            " `std=` and `scale=` if that is wrong"
        )
    return Finding(numbers, (), (warning + others,))


def _doubt(leading: Leading) -> str:
    """Both readings of numbers that do not tell what they are."""
    trained = f"{leading.nodes} on its input (trained on {short(leading.mean)} ± {short(leading.std)})"
    return (
        f"the graph starts with {trained if leading.trained else leading}, which may be a normalisation of its own"
        f" ({UNIT} gives it pixels in 0..1, {BYTES} in 0..255) or the network's first layer, behind {NAMES[IMAGENET]}"
        f" ({IMAGENET})"
    )


def _suits(leading: Leading | None, numbers: Numbers) -> bool:
    """Whether the graph's own arithmetic is made for pixels prepared so."""
    return leading is None or leading.takes == UNCLEAR or any(_same(numbers, each) for each in leading.takes)


def _same(one: Numbers, other: Numbers) -> bool:
    """Whether both make the same of a pixel, but for rounding: gain and offset, whatever the units of mean and std."""
    (gain, offset), (other_gain, other_offset) = (_affine(each) for each in (one, other))
    pairs = zip((*gain, *offset), (*other_gain, *other_offset), strict=True)
    return all(abs(a - b) <= 1e-2 * max(abs(a), abs(b)) for a, b in pairs)


def _affine(numbers: Numbers) -> tuple[list[float], list[float]]:
    return [numbers.scale / each for each in numbers.std], [
        mean / std for mean, std in zip(numbers.mean, numbers.std, strict=True)
    ]


def _given(options: Settings, leading: Leading | None, toml: str) -> Finding[Numbers]:
    """The numbers in the options, and what looks wrong with them."""
    plain = Numbers(1.0)
    mean, std, scale = options.mean or plain.mean, options.std or plain.std, options.scale
    warnings = []
    if scale is None:
        scale = 1.0 if max(map(abs, (*mean, *std))) > LARGEST_UNIT else 1 / 255
        if scale == 1.0:
            warnings.append("mean and std are in units of 0..255, so `scale=` is taken as 1")
    elif options.mean is not None and max(map(abs, mean)) > 255 * scale * LARGEST_UNIT:
        warnings.append(f"mean {short(mean)} is outside of pixel * scale, which is 0..{255 * scale:g}: wrong units?")
    given = Numbers(scale, mean, std)
    if leading is not None and not _suits(leading, given):
        warnings.append(_contradiction(leading, given))
    note = f"preprocessing from {toml}" if toml else "preprocessing as specified"
    return Finding(given, (note,), tuple(warnings))


def _contradiction(leading: Leading, given: Numbers) -> str:
    """Why given numbers look wrong before the graph's own arithmetic."""
    if leading.takes[0].plain and not given.plain:
        return (
            f"the graph already normalises its input ({leading}), and mean {short(given.mean)}, std {short(given.std)}"
            " are applied before it: normalising twice is probably wrong"
        )
    made_for = " or ".join(NAMES[each] for each in leading.takes)
    more = "" if given.plain else f", mean {short(given.mean)}, std {short(given.std)}"
    return (
        f"the graph starts with {leading}, which looks made for pixels in {made_for}; scale is {given.scale:.6g}{more}"
    )
