"""Read the Hugging Face files next to a network: config.json and preprocessor_config.json."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError

MAX_JSON_BYTES = 8 * 2**20
PREPROCESSOR = "preprocessor_config.json"
MODEL_CARD = "README.md"
LARGEST_UNIT = 1.5  # means and deviations of pixels in 0..1 are below it, those of pixels in 0..255 above

MOST_LISTED = 8  # entries that a warning names
NOT_APPLIED = (
    PREPROCESSOR + " has entries that are not applied to photographs: {}; if they change pixels, the masks are worse"
    " than the network's own"
)
# Entries of a preprocessor_config.json that are applied, or looked at with those that are.
_APPLIED = ("do_resize", "size", "do_center_crop", "crop_size", "do_rescale", "rescale_factor", "rescale_offset",
    "offset", "do_normalize", "image_mean", "image_std", "include_top", "do_flip_channel_order", "do_pad", "pad_size",
)  # fmt: skip
# Entries that change no pixel of a photograph in colour, or only which filter resizes it.
_WITHOUT_EFFECT = ("image_processor_type", "feature_extractor_type", "processor_class", "auto_map",
    "model_input_names", "transformers_version", "resample", "do_convert_rgb", "num_channels", "data_format",
    "input_data_format", "return_tensors", "device", "disable_grouping", "default_to_square", "image_seq_length",
    "return_mask", "pad_and_return_pixel_mask", "do_reduce_labels", "reduce_labels", "num_labels", "ignore_index",
    "do_convert_annotations", "format", "threshold", "mask_threshold", "mask_size", "mask_pad_size", "masks_path",
    "return_segmentation_masks", "return_semantic_masks", "class_info_file", "num_text", "repo_path", "metadata",
    "task_seq_length", "max_seq_length", "max_size",
)  # fmt: skip
# Entries by which sides are rounded or padded to multiples: a size of such multiples stays as it is.
_MULTIPLES = ("size_divisor", "size_divisibility", "pad_size_divisor", "ensure_multiple_of")

_LICENCE = re.compile(r"^(license|license_name):[ \t]*[\"']?([\w.+ -]{1,100}?)[\"']?[ \t]*\r?$", re.M)

Triple = tuple[float, float, float]
Size = tuple[int, int]  # height, width in pixels


@dataclass(frozen=True)
class Preprocessor:
    """What a preprocessor_config.json says about how photographs are prepared. None: it does not say.

    Attributes:
        scale: multiplies the 0..255 pixel.
        mean, std: per channel, in the units of `pixel * scale`.
        color: `bgr` where the order of the channels is reversed.
        size: (height, width) of the network's input in pixels.
        resize: how a photograph of another shape is brought to that size, one of `preprocessing.RESIZES`.
        size_problem: why the file's size is not one fixed input size; empty where it is, or where there is none.
        ignored: entries that photographs are not prepared by, such as `do_grayscale = true`.
    """

    scale: float
    mean: Triple | None
    std: Triple | None
    color: str | None = None
    size: Size | None = None
    resize: str | None = None
    size_problem: str = ""
    ignored: tuple[str, ...] = ()

    @property
    def doubts(self) -> tuple[str, ...]:
        """What a user has to know about entries that are not applied."""
        more = len(self.ignored) - MOST_LISTED
        shown = [*self.ignored[:MOST_LISTED], *([f"and {more} more"] if more > 0 else [])]
        return (NOT_APPLIED.format(", ".join(shown)),) if shown else ()

    @property
    def why_no_size(self) -> str:
        """The size's problem as a sentence; empty where there is none."""
        return f"{PREPROCESSOR} gives no fixed input size: {self.size_problem}." if self.size_problem else ""


def read_json(file: Path) -> dict[str, Any] | None:
    """A JSON object, or None where there is no such file. Raises CheckpointError where it cannot be read."""
    if not file.is_file():
        return None
    if file.stat().st_size > MAX_JSON_BYTES:
        raise CheckpointError(f"{file.name} has more than {MAX_JSON_BYTES / 2**20:.0f} MiB.", code="too-large")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or error}.", code="unreadable") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not JSON: {error}.", code="bad-config") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{file} holds a JSON {type(data).__name__}; expected an object.", code="bad-config")
    return data


def labels_of(config: Mapping[str, Any]) -> dict[int, str]:
    """A config.json's `id2label` with whole numbers as keys; empty where it is missing or malformed."""
    table = config.get("id2label")
    if not isinstance(table, Mapping):
        return {}
    return {int(key): str(value) for key, value in table.items() if str(key).isdigit()}


def licence_of(folder: Path) -> str:
    """The licence in the front matter of a model card, README.md; empty where there is none.

    https://huggingface.co/docs/hub/model-cards: `license: other` has its name in `license_name`.
    """
    card = folder / MODEL_CARD
    try:
        if not card.is_file() or card.stat().st_size > MAX_JSON_BYTES:
            return ""
        text = card.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    matter = re.match(r"---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", text, re.M | re.S)
    if matter is None:
        return ""
    found: dict[str, str] = dict(_LICENCE.findall(matter[1]))
    licence = found.get("license", "")
    return found.get("license_name", licence) if licence == "other" else licence


def read_preprocessor(folder: Path) -> Preprocessor | None:
    """Read a folder's preprocessor_config.json; None where there is none.

    https://huggingface.co/docs/transformers/main_classes/image_processor: `do_resize`, then `do_rescale` by
    `rescale_factor`, then `do_normalize` by `image_mean` and `image_std`. Older files leave the switches out.
    EfficientNet's (`rescale_offset`) and ViViT's (`offset`) subtract 1 after rescaling, and EfficientNet's divides by
    `image_std` once more with `include_top`: models/efficientnet/image_processing_efficientnet.py (Apache-2.0).

    Raises:
        CheckpointError: it is not JSON, or with every value in it that cannot be used.
    """
    data = read_json(folder / PREPROCESSOR)
    if data is None:
        return None
    reader = _Reader(data)
    rescaled = reader.switch("do_rescale", default=True)
    scale = reader.number("rescale_factor", 1 / 255) if rescaled else 1.0
    offsets = [reader.switch(key, default=False) for key in ("rescale_offset", "offset")]
    again = reader.switch("include_top", default=False)
    flipped = reader.switch("do_flip_channel_order", default=False)
    mean, std = reader.three_numbers("image_mean"), reader.three_numbers("image_std")
    # MobileViT's processor flips the channels and has no normalisation at all.
    normalised = reader.switch("do_normalize", default=mean is not None or "do_flip_channel_order" not in data)
    size, resize, size_problem = _size(reader)
    reader.require_sound()
    ignored = _ignored(data, size, size_problem)
    second = std if again else None  # what pixels are divided by after all
    if not normalised:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    elif mean is None or std is None:
        mean = std = None
        ignored += _named(data, ("rescale_factor",)) if scale != 1 / 255 else ()
    elif scale == 1 / 255 and max(mean) > LARGEST_UNIT:  # in units of 0..255
        mean, std = _divided(mean, 255), _divided(std, 255)
        second = None if second is None else std
    if mean is None or std is None or (again and second is None):
        ignored += _named(data, ("rescale_offset", "offset", "include_top"))
    else:
        mean = (mean[0] + 1, mean[1] + 1, mean[2] + 1) if rescaled and any(offsets) else mean
        std = std if second is None else (std[0] * second[0], std[1] * second[1], std[2] * second[2])
    return Preprocessor(scale, mean, std, "bgr" if flipped else None, size, resize, size_problem, ignored)


def _ignored(data: Mapping[str, Any], size: Size | None, size_problem: str) -> tuple[str, ...]:
    """The entries that are set and not applied."""
    unknown = [key for key in data if key not in (*_APPLIED, *_WITHOUT_EFFECT, *_MULTIPLES) and key[:1] != "_"]
    steps = [key for key in unknown if data[key] not in (None, False)]
    steps += [key for key in _MULTIPLES if _moves_sides(data.get(key), size)]
    if data.get("do_pad") is not False and data.get("pad_size") is not None and _sides(data["pad_size"]) != size:
        steps.append("pad_size")
    if data.get("do_center_crop") and not size_problem and None in (size, _sides(data.get("crop_size"))):
        steps.append("do_center_crop")
    return _named(data, steps)


def _moves_sides(multiple: Any, size: Size | None) -> bool:
    """Whether a size is not of a multiple. An unknown one is of the network, which takes what it takes."""
    return _is_side(multiple) and size is not None and any(side % multiple for side in size)


def _named(data: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, ...]:
    """Entries as the file has them, without those that are not set."""
    return tuple(f"{key} = {json.dumps(data[key])[:60]}" for key in keys if data.get(key) not in (None, False))


def _divided(values: Triple, by: float) -> Triple:
    return values[0] / by, values[1] / by, values[2] / by


class _Reader:
    """Takes values out of a JSON object and collects what is wrong with them."""

    def __init__(self, data: Mapping[str, Any]):
        self.data = data
        self.problems: list[str] = []

    def switch(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self.data.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(key, "expected true or false")
        return bool(value)

    def number(self, key: str, default: float) -> float:
        """A number above 0."""
        value = self.data.get(key)
        if value is None:
            return default
        if not _is_number(value) or not value > 0:
            self.refuse(key, "expected a number above 0")
            return default
        return float(value)

    def three_numbers(self, key: str) -> Triple | None:
        """One number per channel, or one for all of them."""
        value = self.data.get(key)
        if value is None:
            return None
        values = value if isinstance(value, list) else [value] * 3
        if len(values) != 3 or not all(map(_is_number, values)) or (key == "image_std" and min(values) <= 0):
            self.refuse(key, "expected three numbers" + (" above 0" if key == "image_std" else ""))
            return None
        return float(values[0]), float(values[1]), float(values[2])

    def refuse(self, key: str, reason: str) -> None:
        """Note a value that cannot be used."""
        self.problems.append(f"{key} = {json.dumps(self.data[key])}: {reason}")

    def require_sound(self) -> None:
        """Raise CheckpointError if anything was refused."""
        if self.problems:
            count = f"{len(self.problems)} value{'s' if len(self.problems) > 1 else ''}"
            raise CheckpointError(
                f"{PREPROCESSOR} has {count} that cannot be used.", code="bad-config", context=self.problems
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _size(reader: _Reader) -> tuple[Size | None, str | None, str]:
    """The input size, how to resize to it, and why it is not one fixed size."""
    size = reader.data.get("size")
    cropped = reader.switch("do_center_crop", default=False)
    if size is None or not reader.switch("do_resize", default=True):
        return None, None, ""
    crop = _sides(reader.data.get("crop_size")) if cropped else None
    shortest = size.get("shortest_edge") if isinstance(size, Mapping) else (size if crop is not None else None)
    if isinstance(size, Mapping) and "height" not in size and not _is_side(shortest):
        return None, None, f"it resizes by {', '.join(map(str, size))}, which gives no fixed size"
    if _is_side(shortest):
        if crop == (shortest, shortest):
            return crop, "fill", ""
        after = f", then crops {crop[0]}x{crop[1]}" if crop else ""
        return None, None, f"it scales the shortest edge to {shortest} pixels{after or ' and keeps the aspect ratio'}"
    sides = _sides(size)
    if sides is None:
        reader.refuse("size", "expected a height and a width in pixels")
    elif crop is not None and crop != sides:
        return None, None, f"it scales to {sides[0]}x{sides[1]}, then crops {crop[0]}x{crop[1]}"
    return sides, None if sides is None else "stretch", ""


def _sides(size: Any) -> Size | None:
    """(height, width) of `512`, `[512, 512]` or `{"height": 512, "width": 512}`; None for anything else."""
    if isinstance(size, Mapping):
        size = [size.get("height"), size.get("width")]
    values = size if isinstance(size, list) else [size, size]
    return (values[0], values[1]) if len(values) == 2 and all(map(_is_side, values)) else None


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 16384
