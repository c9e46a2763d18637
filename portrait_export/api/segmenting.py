"""Open saved packages and segment photos from Python."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..artifacts import ARITHMETICS
from ..errors import UsageError
from .arguments import Size, StrPath, path_of, require_known, source_of
from .checked import checked, shown

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from ..artifacts import Runner
    from ..imaging.photo import Photo
    from ..inputs.runners import OpenRunner
    from ..preprocessing import PortraitSpec
    from ..runtime.model import CoreMLProgram


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A photo and its mask, at the photo's own resolution, upright.

    Attributes:
        pixels: (H, W, 3) uint8, sRGB: the photo.
        probability: (H, W) float32 in 0..1: P(person).
        threshold: pixels with at least this P(person) are person.
        notes: what was ignored while reading the photo, and that a recurrent network took it as a first frame.
    """

    pixels: np.ndarray
    probability: np.ndarray
    threshold: float = 0.5
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> Size:
        """(height, width) in pixels."""
        return int(self.probability.shape[0]), int(self.probability.shape[1])

    @property
    def person(self) -> np.ndarray:
        """(H, W) bool: the pixels that are person."""
        return self.probability >= self.threshold

    def mask(self) -> Image.Image:
        """Return the mask as an 8-bit grayscale image, 255 = person."""
        from ..imaging.compose import mask_picture

        return _image(mask_picture(self.probability))

    def cutout(self) -> Image.Image:
        """Return the person on a transparent background, RGBA with straight alpha."""
        from ..imaging.compose import cut_out

        return _image(cut_out(self._photo(), self.probability))

    def replace_background(self, background: str | StrPath | Image.Image | np.ndarray = "white") -> Image.Image:
        """Return the person on another background, RGB.

        Args:
            background: a CSS colour, or a picture (path, PIL image or (H, W, 3) uint8), scaled to cover the photo.
        """
        from ..imaging import compose

        is_color = isinstance(background, str) and not Path(background).exists()
        chosen = (
            compose.parse_color(str(background)) if is_color else _open(background, "A background is a CSS colour or")
        )
        return _image(compose.replace_background(self._photo(), self.probability, chosen))

    @checked
    def blur_background(self, sigma: float | None = None) -> Image.Image:
        """Return the person in front of the blurred background, RGB.

        Args:
            sigma: of the Gaussian blur, in pixels, 0 or more; by default 2 % of the photo's diagonal.
        """
        from ..imaging.compose import blur_background

        return _image(blur_background(self._photo(), self.probability, sigma))

    def _photo(self) -> Photo:
        from ..imaging.photo import Photo

        return Photo(self.pixels)


@dataclass(frozen=True, eq=False)
class Package:
    """A saved segmentation package, ready to run on any platform. `load` opens one.

    Attributes:
        path: the .mlpackage.
        spec: how photos are prepared for it.
        sizes: its input sizes as (height, width), the default first.
        program: the ML Program itself, with `predict` and `trace` over the package's own inputs, as in `load_program`.
    """

    path: Path
    spec: PortraitSpec
    sizes: tuple[Size, ...]
    program: CoreMLProgram = field(repr=False)
    _opened: OpenRunner[Runner] = field(repr=False)

    @property
    def metadata(self) -> Mapping[str, str]:
        """The user-defined metadata of the package."""
        return self.program.metadata.user_defined

    @checked
    def predict(
        self,
        image: StrPath | Image.Image | np.ndarray,
        *,
        depth: StrPath | np.ndarray | None = None,
        pictures: Mapping[str, StrPath | Image.Image | np.ndarray] | None = None,
        refine: bool = True,
    ) -> Segmentation:
        """Segment a photo of any size, at the input size that suits it best.

        Args:
            image: a picture file, a PIL image, or an (H, W, 3) uint8 sRGB array.
            depth: for depth models: a grayscale picture file, or an (h, w) float array in 0..1, larger is nearer.
            pictures: what the model takes besides the photo, by input's name, such as `{"bgr": "empty_room.jpg"}`.
            refine: sharpen the mask along the photo's edges; False keeps the network's own.
        Raises:
            PhotoError: the image or the depth map cannot be used.
            UsageError: a missing or unexpected depth map or further picture.
        """
        return _segment(self._opened, image, depth, pictures, refine=refine)

    @checked
    def predict_sequence(
        self,
        images: Iterable[StrPath | Image.Image | np.ndarray],
        *,
        pictures: Mapping[str, StrPath | Image.Image | np.ndarray] | None = None,
        refine: bool = True,
    ) -> Iterator[Segmentation]:
        """Segment photos as the frames of one film, with a recurrent network: each takes what the one before left.

            for frame in package.predict_sequence(sorted(Path("frames").glob("*.png"))):
                frame.cutout().save(...)

        Args:
            images: in their order, each as for `predict`. One is read when the one before it has been used.
            pictures, refine: as for `predict`.
        Raises:
            UsageError: the package carries nothing from frame to frame.
            PortraitError: as `predict`, with the frame.
        """
        from ..workflows.segment import require_recurrent

        require_recurrent(self._opened, "`predict_sequence`")
        return self._frames(images, pictures, refine=refine)

    def _frames(
        self,
        images: Iterable[StrPath | Image.Image | np.ndarray],
        pictures: Mapping[str, StrPath | Image.Image | np.ndarray] | None,
        *,
        refine: bool,
    ) -> Iterator[Segmentation]:
        carried = None
        for image in [images] if isinstance(images, (str, os.PathLike)) else images:
            frame, carried = _segment_frame(self._opened, image, None, pictures, refine=refine, carried=carried)
            yield frame


@checked
def load(path: StrPath, *, arithmetic: str = "as_typed", device: str = "cpu") -> Package:
    """Open a saved segmentation package.

        package = pe.load("serseg_b0.mlpackage")
        mask = package.predict("me.jpg").mask()

    Args:
        path: a .mlpackage with one image input, from this or another tool.
        arithmetic: `as_typed` (as the package declares), `fp16` (every result rounded) or `fp32`.
        device: a torch device: `cpu`, `cuda` or `mps`.
    Raises:
        PackageError: the package cannot be read.
        ExecutionError: it contains operators that the runtime lacks; all of them are named.
        UsageError: it does not segment images.
    """
    from ..inputs.runners import open_package

    require_known("arithmetic", arithmetic, ARITHMETICS)
    opened = open_package(Path(path), arithmetic=arithmetic, device=device)
    return Package(Path(path), opened.spec, opened.sizes, opened.runner.program, opened)


@checked
def load_program(
    path: StrPath, *, arithmetic: str = "as_typed", function: str | None = None, device: str = "cpu"
) -> CoreMLProgram:
    """Open any saved ML Program and run it as coremltools' `MLModel` does, on any platform.

        program = pe.load_program("other.mlpackage")
        outputs = program.predict({"image": picture})     # name → PIL image or numpy array
        values = program.trace({"image": picture})        # every intermediate value by name

    Args:
        path: a .mlpackage, or an .mlmodel with an ML Program.
        arithmetic, device: as for `load`.
        function: of a multi-function package; by default its default one.
    Raises:
        PackageError: the package cannot be read.
        ExecutionError: it contains operators that the runtime lacks, or has no such function.
    """
    from ..runtime import load as run

    return run(Path(path), arithmetic=arithmetic, function=function, device=device)


@checked
def segment(
    image: StrPath | Image.Image | np.ndarray,
    package: Package | StrPath | None = None,
    *,
    model: str | None = None,
    checkpoint: StrPath | None = None,
    random_weights: bool = False,
    size: Size | None = None,
    depth: StrPath | np.ndarray | None = None,
    pictures: Mapping[str, StrPath | Image.Image | np.ndarray] | None = None,
    refine: bool = True,
) -> Segmentation:
    """Segment one photo with a package or a model.

        pe.segment("me.jpg", "serseg_b0.mlpackage").cutout().save("me.png")
        pe.segment("me.jpg", model="serseg_b0").blur_background().save("me.jpg")

    A path or a model is loaded in every call: for many photos, `load` the package once.

    Args:
        image: a picture file, a PIL image, or an (H, W, 3) uint8 sRGB array.
        package: a package, or its path.
        model, checkpoint, random_weights: a model instead, as for `export`.
        size: input (height, width) in pixels: the model's, or one of the package's.
        depth: for depth models: a grayscale picture file, or an (h, w) float array in 0..1, larger is nearer.
        pictures: what the model takes besides the photo, by input's name, such as `{"bgr": "empty_room.jpg"}`.
        refine: sharpen the mask along the photo's edges; False keeps the network's own.
    Raises:
        PortraitError: the photo, the depth map, the package or the model cannot be used.
    """
    from ..workflows.segment import open_model_or_package

    if isinstance(package, Package):
        if model or checkpoint or random_weights or size:
            raise UsageError(
                "An open package cannot be used with `model=`, `checkpoint=`, `random_weights=` or `size=`."
            )
        return package.predict(image, depth=depth, pictures=pictures, refine=refine)
    source = source_of(model=model, checkpoint=checkpoint, random_weights=random_weights, size=size)
    return _segment(open_model_or_package(source, path_of(package)), image, depth, pictures, refine=refine)


def _segment(
    opened: OpenRunner[Runner],
    image: StrPath | Image.Image | np.ndarray,
    depth: StrPath | np.ndarray | None,
    pictures: Mapping[str, StrPath | Image.Image | np.ndarray] | None,
    *,
    refine: bool,
) -> Segmentation:
    """Segment a photo; a note says so where a recurrent network takes it as a first frame."""
    found, _ = _segment_frame(opened, image, depth, pictures, refine=refine, carried=None)
    if not opened.carried:
        return found
    note = f"{opened.first_frame_note}: `Package.predict_sequence` takes the frames of a film."
    return replace(found, notes=(*found.notes, note))


def _segment_frame(
    opened: OpenRunner[Runner],
    image: StrPath | Image.Image | np.ndarray,
    depth: StrPath | np.ndarray | None,
    pictures: Mapping[str, StrPath | Image.Image | np.ndarray] | None,
    *,
    refine: bool,
    carried: Mapping[str, np.ndarray] | None,
) -> tuple[Segmentation, Mapping[str, np.ndarray]]:
    """Segment a photo with what the frame before it left, and return what it leaves."""
    import numpy as np

    from ..imaging.photo import open_depth
    from ..workflows.segment import segment_photo

    photo = _open(image)
    values = depth if depth is None or isinstance(depth, np.ndarray) else open_depth(_path(depth, "A depth map"))
    further = {name: _open(picture).pixels for name, picture in _by_name(pictures).items()}
    probability, left = segment_photo(opened, photo, values, pictures=further, refine=refine, carried=carried)
    return Segmentation(photo.pixels, probability, opened.spec.threshold, photo.notes), left


def _open(image: StrPath | Image.Image | np.ndarray, what: str = "An image is") -> Photo:
    """Return a picture file, PIL image or array as a Photo.

    Raises:
        UsageError: it is something else; `what` begins the message.
    """
    import numpy as np
    from PIL import Image

    from ..imaging.photo import Photo, open_photo, photo_of

    if isinstance(image, Image.Image):
        return photo_of(image)
    if isinstance(image, np.ndarray):
        return Photo(image)
    if isinstance(image, (str, os.PathLike)):
        return open_photo(image)
    raise UsageError(
        f"{what} the path of a picture, a PIL image or an (H, W, 3) uint8 array; found {shown(image)}.",
        hint="open the bytes of a file with PIL.Image.open(io.BytesIO(…))." if isinstance(image, bytes) else "",
    )


def _path(value: StrPath, what: str) -> StrPath:
    """Return a path. Raises UsageError for anything else."""
    if not isinstance(value, (str, os.PathLike)):
        raise UsageError(f"{what} is the path of a picture or an array; found {shown(value)}.")
    return value


def _by_name(
    pictures: Mapping[str, StrPath | Image.Image | np.ndarray] | None,
) -> Mapping[str, StrPath | Image.Image | np.ndarray]:
    """Return pictures by input's name. Raises UsageError for anything but a mapping."""
    if pictures is not None and not isinstance(pictures, Mapping):
        raise UsageError(
            f'`pictures=` maps inputs to pictures, such as {{"bgr": "empty_room.jpg"}}; found {shown(pictures)}.'
        )
    return pictures or {}


def _image(pixels: np.ndarray) -> Image.Image:
    from PIL import Image

    return Image.fromarray(pixels)
