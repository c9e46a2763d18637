"""Read the parity bundle that a device wrote.

It holds the frames that the device's network saw and the masks that it gave.

A bundle is a folder with a list, `bundle.json`, and two PNG files for each photograph: the frame (sRGB, at the
network's input size) and the mask (8-bit gray, 255 = person, of the same size). It comes from elsewhere, so nothing in
it is trusted: every fault is reported at once, and no path leads out of the folder.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, overload

from ..artifacts import Frame, LabelledFrame, Prediction
from ..errors import DataError, ExecutionError, PortraitError
from ..imaging.photo import open_mask, open_photo
from ..preprocessing import PortraitSpec
from ..utils.inside import is_inside

if TYPE_CHECKING:
    import numpy as np

    from .frames import Frames
    from .sources import Size

LIST = "bundle.json"
FORMAT = 1
MAX_LIST_BYTES = 16 * 2**20
MAX_FRAMES = 10_000
MAX_PIXELS = 4096 * 4096  # of a frame; no network is exported for larger ones
MAX_MS = 10**9  # of a time: eleven days
LONGEST_BITS = 128  # of a whole number that an error prints
LISTED = 20  # faults that an error names
HINT = "write the bundle again with the app or `portrait-demo bundle`."


@dataclass(frozen=True)
class Entry:
    """One photograph of a bundle.

    Attributes:
        name: the photograph's file name without suffix.
        frame, mask: existing files inside the bundle.
        network_ms: how long the network took on the device.
        size: (H, W) of both pictures.
    """

    name: str
    frame: Path
    mask: Path
    network_ms: float
    size: Size = (0, 0)

    def open_frame(self) -> np.ndarray:
        """Return the frame, (H, W, 3) uint8."""
        return open_photo(self.frame, max_pixels=MAX_PIXELS).pixels

    def open_mask(self) -> np.ndarray:
        """Return P(person), (H, W) float32 in 0..1."""
        return open_mask(self.mask, max_pixels=MAX_PIXELS)


@dataclass(frozen=True)
class DeviceBundle:
    """A bundle whose every file was opened once.

    Attributes:
        folder: where it is.
        device, system, compute_units: what computed the masks, such as `iPhone16,1`.
        package_sha256: hash of the package that ran.
        spec: the package's PortraitSpec.
        warm_up_ms: how long the network's first run took.
        entries: one for each photograph.
    """

    folder: Path
    device: str
    system: str
    compute_units: str
    package_sha256: str
    spec: PortraitSpec
    warm_up_ms: float
    entries: tuple[Entry, ...]

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The sizes of the frames, in the order in which they are first seen."""
        return tuple(dict.fromkeys(entry.size for entry in self.entries))

    @property
    def timings(self) -> str:
        """The device's latencies in a sentence."""
        median = statistics.median(entry.network_ms for entry in self.entries)
        return f"On the device the network took {median:.1f} ms (median), {self.warm_up_ms:.1f} ms the first time."

    def require_package(self, name: str, sha256: str) -> None:
        """Raise DataError unless the masks are those of the package with this hash."""
        if self.package_sha256 != sha256:
            raise DataError(
                f"{self.folder} holds the masks of another package than {name}.",
                code="bad-bundle",
                context=(f"the bundle's package has sha256 {self.package_sha256}", f"{name} has sha256 {sha256}"),
                hint="give the package that was in the app, or place this one with `portrait-export demo`.",
            )


class DeviceRunner:
    """Answers the frames of a bundle with the masks that the device gave. Implements `artifacts.Runner`."""

    def __init__(self, bundle: DeviceBundle):
        self.name = f"{bundle.device} ({bundle.system}, {bundle.compute_units})"
        self._entries = {entry.name: entry for entry in bundle.entries}

    def run(self, frames: Sequence[Frame]) -> list[Prediction]:
        """Return the mask of each frame, by the frame's name. Raises ExecutionError for a name without a mask."""
        missing = [frame.name for frame in frames if frame.name not in self._entries]
        if missing:
            raise ExecutionError(f"The bundle has no mask of {', '.join(missing)}.")
        return [Prediction(probability=self._entries[frame.name].open_mask()) for frame in frames]


class DeviceFrames(Sequence[LabelledFrame]):
    """The frames of a bundle at one size, with the drawn mask and kind of photographs that have the same name.

    Args:
        entries: those of the size.
        photographs: where drawn masks and kinds come from, placed by the toolkit at the same size.
    """

    def __init__(self, entries: Sequence[Entry], photographs: Frames):
        self.entries = tuple(entries)
        self.differences: dict[str, int] = {}
        self._photographs = photographs
        self._places = {item.name: index for index, item in enumerate(photographs.items)}

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> LabelledFrame: ...

    @overload
    def __getitem__(self, index: slice) -> DeviceFrames: ...

    def __getitem__(self, index: int | slice) -> LabelledFrame | DeviceFrames:
        if isinstance(index, slice):
            return DeviceFrames(self.entries[index], self._photographs)
        entry = self.entries[index]
        frame = Frame(entry.open_frame(), name=entry.name)
        if entry.name not in self._places:
            return LabelledFrame(frame)
        known = self._photographs[self._places[entry.name]]
        difference = abs(known.frame.image.astype(int) - frame.image.astype(int))
        self.differences[entry.name] = int(difference.max())
        return replace(known, frame=frame)

    def of_kinds(self, kinds: Sequence[str]) -> DeviceFrames:
        """Without the photographs that are known to be of other kinds. Raises DataError if none is left."""
        known = {item.name: item.kind for item in self._photographs.items}
        kept = [entry for entry in self.entries if known.get(entry.name, "") in ("", *kinds)]
        if not kept:
            raise DataError(
                f"None of the {len(self)} photographs in the bundle can be compared: they are not of kind"
                f" {', '.join(kinds)}.",
                code="bad-bundle",
                context=[f"{entry.name}: {known[entry.name]}" for entry in self.entries[:LISTED]],
                hint="write the bundle again with photographs of that kind, or name other kinds with `kinds=`.",
            )
        return DeviceFrames(kept, self._photographs)

    @property
    def note(self) -> str:
        """How far the device's frames are from the toolkit's, once they were looked at; empty if none is known."""
        if not self.differences:
            return ""
        worst = max(self.differences, key=lambda name: self.differences[name])
        most = self.differences[worst]
        equal = sum(value == 0 for value in self.differences.values())
        at = f"; the largest difference is {most} of 255, on {worst}" if most else ""
        return f"{equal} of {len(self.differences)} frames equal the toolkit's own to the last bit{at}."


def open_bundle(folder: Path) -> DeviceBundle:
    """Read a bundle and open every file of it once.

    Raises:
        DataError: everything that is wrong with it.
    """
    reader = _Reader(folder)
    values = reader.values()
    device = reader.table(values, "device")
    bundle = DeviceBundle(
        folder=folder,
        device=reader.text(device, "model"),
        system=reader.text(device, "system"),
        compute_units=reader.text(values, "compute_units"),
        package_sha256=reader.text(values, "package_sha256"),
        spec=reader.spec(values),
        warm_up_ms=reader.milliseconds(values, "warm_up_ms", LIST),
        entries=reader.entries(values),
    )
    reader.finish()
    return bundle


@dataclass
class _Reader:
    """Takes values out of a bundle's list and collects everything that is wrong with them."""

    folder: Path
    faults: list[str] = field(default_factory=list)

    def finish(self) -> None:
        if self.faults:
            more = len(self.faults) - LISTED
            context = (*self.faults[:LISTED], *([f"… and {more} more"] if more > 0 else []))
            raise _bad(self.folder, f"{len(self.faults)} faults", context)

    def values(self) -> dict[str, Any]:
        path = self.folder / LIST
        try:
            if not path.is_file():
                raise _bad(self.folder, f"it has no {LIST}")
            size = path.stat().st_size
            if size > MAX_LIST_BYTES:
                raise _bad(self.folder, f"{LIST} has {size:,} bytes; at most {MAX_LIST_BYTES:,} are read")
            values = json.loads(path.read_bytes())
        except OSError as error:
            raise _bad(self.folder, f"{LIST} cannot be read: {error.strerror or error}") from error
        except (ValueError, RecursionError) as error:
            raise _bad(self.folder, f"{LIST} is not JSON: {type(error).__name__}") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            found = values.get("format") if isinstance(values, dict) else type(values).__name__
            raise _bad(self.folder, f"{LIST} must be an object of format {FORMAT}; found {str(found)[:40]}")
        return values

    def table(self, values: dict[str, Any], key: str) -> dict[str, Any]:
        value = values.get(key)
        if isinstance(value, dict):
            return value
        self.faults.append(f"{key} must be an object; found {_shown(value)}")
        return {}

    def text(self, values: dict[str, Any], key: str, where: str = LIST) -> str:
        value = values.get(key)
        if isinstance(value, str) and 0 < len(value) <= 255 and value.isprintable():
            return value
        self.faults.append(f"{where}: {key} must be a text of 1 to 255 printable characters; found {_shown(value)}")
        return ""

    def milliseconds(self, values: dict[str, Any], key: str, where: str) -> float:
        value = values.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_MS:
            return float(value)
        self.faults.append(f"{where}: {key} must be milliseconds, 0 to {MAX_MS:,}; found {_shown(value)}")
        return 0.0

    def spec(self, values: dict[str, Any]) -> PortraitSpec:
        value = values.get("spec")
        try:
            if not isinstance(value, str):
                raise DataError(f"it must be JSON in a string; found {_shown(value)}")
            spec = PortraitSpec.from_json(value)
            if "depth" in spec.inputs:
                raise DataError("it reads depth maps, which a bundle does not hold")
            return spec
        except (PortraitError, RecursionError) as error:
            self.faults.append(f"spec: {getattr(error, 'message', 'it is nested too deeply')}")
            return PortraitSpec()

    def entries(self, values: dict[str, Any]) -> tuple[Entry, ...]:
        rows = values.get("frames")
        if not isinstance(rows, list) or not 0 < len(rows) <= MAX_FRAMES:
            found = f"{len(rows):,}" if isinstance(rows, list) else _shown(rows)
            self.faults.append(f"frames must be a list of 1 to {MAX_FRAMES:,} entries; found {found}")
            return ()
        found_entries = [self.entry(row, f"frames[{index}]") for index, row in enumerate(rows)]
        entries = tuple(entry for entry in found_entries if entry is not None)
        names = [entry.name for entry in entries]
        self.faults.extend(f"the name {name} is listed twice" for name in dict.fromkeys(names) if names.count(name) > 1)
        return entries

    def entry(self, row: Any, where: str) -> Entry | None:
        if not isinstance(row, dict):
            self.faults.append(f"{where} must be an object; found {_shown(row)}")
            return None
        before = len(self.faults)
        name, network_ms = self.text(row, "name", where), self.milliseconds(row, "network_ms", where)
        frame, mask = (self.file(self.text(row, key, where), where) for key in ("frame", "mask"))
        if len(self.faults) > before or frame is None or mask is None:
            return None
        return self.opened(Entry(name, frame, mask, network_ms))

    def file(self, relative: str, where: str) -> Path | None:
        if not relative:
            return None
        parts = PurePosixPath(relative)
        path = self.folder.joinpath(*parts.parts)
        try:
            if parts.is_absolute() or ".." in parts.parts or not is_inside(path, self.folder):
                self.faults.append(f"{where}: {relative} leads out of the bundle")
                return None
            exists = path.is_file()
        except OSError as error:
            self.faults.append(f"{where}: {relative} cannot be read: {error.strerror}")
            return None
        if not exists:
            self.faults.append(f"{where}: there is no file {relative}")
            return None
        return path

    def opened(self, entry: Entry) -> Entry | None:
        try:
            frame, mask = entry.open_frame(), entry.open_mask()
        except PortraitError as error:
            self.faults.append(error.message)
            return None
        if frame.shape[:2] != mask.shape:
            sizes = [f"{shape[0]}x{shape[1]}" for shape in (mask.shape, frame.shape)]
            self.faults.append(f"{entry.name}: the mask has {sizes[0]} pixels, the frame {sizes[1]}")
            return None
        return replace(entry, size=(mask.shape[0], mask.shape[1]))


def _shown(value: Any) -> str:
    """A value in a few characters. Containers are not formatted: they may be deep."""
    if isinstance(value, dict | list):
        return f"{type(value).__name__} of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > LONGEST_BITS:
        return f"a number of {value.bit_length()} bits"  # Python refuses to print those of more than 4300 digits
    return "nothing" if value is None else repr(value)[:60]


def _bad(folder: Path, reason: str, context: tuple[str, ...] = ()) -> DataError:
    return DataError(
        f"{folder} is not a usable parity bundle: {reason}.", code="bad-bundle", context=context, hint=HINT
    )
