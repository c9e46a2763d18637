"""Estimate relative inverse depth with a MiDaS file, a PyTorch checkpoint or ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CaptureError, CheckpointError
from ..preprocessing import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

# Estimates one photograph: (H, W, 3) uint8, sRGB → (H, W) float32, relative inverse depth, larger is nearer.
DepthEstimator = Callable[["np.ndarray"], "np.ndarray"]
LONGEST_SIDE = 256  # pixels, of what MiDaS small was trained on
WHERE = "midas_v21_small_256.pt of release v2_1 of github.com/isl-org/MiDaS (MIT)"


def estimator_from_checkpoint(path: Path) -> DepthEstimator:
    """MiDaS v2.1 small with the weights of a file, which are read as tensors only.

    Raises:
        CheckpointError: missing, damaged, unsafe, or of another network; every key that does not fit, at once.
    """
    import torch

    from ..models.initialise import empty_net
    from ..models.midas import MidasSmall
    from ..models.remap import unwrap
    from ..models.weights_io import load_into
    from .checkpoint.locate import locate
    from .checkpoint.tensors import read_tensors

    (file, *others), _, label = locate(path)
    if others:
        raise CheckpointError(f"{label} is in {len(others) + 1} parts; MiDaS small is one file.", hint=f"take {WHERE}.")
    tensors, _ = unwrap(read_tensors(file), source=label)
    net = empty_net(lambda _: MidasSmall(), None)
    try:
        net = load_into(net, tensors, source=label).eval()
    except CheckpointError as error:
        hint = f"MiDaS v2.1 small is read, {WHERE}; its other networks are not."
        fitting = error.code != "checkpoint-mismatch"
        raise CheckpointError(
            error.message, code=error.code, context=error.context, hint=error.hint if fitting else hint
        ) from error

    def estimate(photo: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            image = normalised(resized(photo, input_size(photo.shape[0], photo.shape[1])))
            return resized_back(net(image)[0], photo)

    return estimate


def estimator_from_onnx(path: Path) -> DepthEstimator:
    """Any ONNX network that maps one photograph to one map of inverse depth, such as MiDaS' own `model-small.onnx`.

    Pixels are normalised by ImageNet's mean and std, unless the graph starts with a normalisation of its own.

    Raises:
        CaptureError: it cannot be read or run, takes no photograph, or gives no single map.
    """
    import torch

    from .foreign.interface import find_image_input
    from .foreign.leading import IMAGENET, leading_arithmetic
    from .onnx.check import make_session, run_session
    from .onnx.graph import Graph
    from .onnx.load import load_onnx

    model = load_onnx(path)
    given = find_image_input(model, name=None, size=None, fixed={})
    leading = leading_arithmetic(Graph(model), given)
    numbers = (leading.numbers if leading is not None else None) or IMAGENET
    session = make_session(model)
    takes_any = bool({"height", "width"} & set(given.dynamic))

    def estimate(photo: np.ndarray) -> np.ndarray:
        size = input_size(photo.shape[0], photo.shape[1]) if takes_any else (given.height, given.width)
        pixels = normalised(resized(photo, size) * (255 * numbers.scale), numbers.mean, numbers.std)
        outputs = run_session(session, {given.name: given.arrange(pixels.numpy())})
        return resized_back(torch.from_numpy(_single_map(outputs, path)), photo)

    return estimate


def _single_map(outputs: dict[str, np.ndarray], path: Path) -> np.ndarray:
    """The only output as (h, w) float32."""
    import numpy as np

    arrays = list(outputs.values())
    if len(arrays) == 1 and (sides := [n for n in arrays[0].shape if n != 1]) and len(sides) == 2:
        return np.ascontiguousarray(arrays[0].reshape(sides), np.float32)
    shapes = [f"{name}: {'x'.join(map(str, array.shape))}" for name, array in outputs.items()]
    raise CaptureError(f"{path.name} does not give one map of depth.", code="no-depth", context=shapes)


def input_size(height: int, width: int) -> tuple[int, int]:
    """What MiDaS makes of a photograph's size: its longer side LONGEST_SIDE, both sides rounded to multiples of 32.

    Halves go to the even multiple, as in NumPy: 144 pixels become 128.

    >>> input_size(1080, 1920), input_size(600, 400), input_size(10, 900)
    ((128, 256), (256, 160), (32, 256))
    """
    from ..models.midas import SIZE_MULTIPLE

    scale = LONGEST_SIDE / max(height, width)
    rows, columns = (max(1, round(side * scale / SIZE_MULTIPLE)) * SIZE_MULTIPLE for side in (height, width))
    return rows, columns


def resized(photo: np.ndarray, size: tuple[int, int]) -> Tensor:
    """(H, W, 3) uint8 → (1, 3, h, w) float32 in 0..1, bicubic (a = −0.75) without antialiasing.

    That is what OpenCV's INTER_CUBIC does, on which the published depth models were trained: a smoother reduction
    would give another depth.
    """
    import torch

    pixels = torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255
    return _bicubic(pixels, size)


def normalised(pixels: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> Tensor:
    """(1, 3, h, w) → (pixels - mean) / std, per channel."""
    shift, spread = (pixels.new_tensor(values).reshape(1, 3, 1, 1) for values in (mean, std))
    return (pixels - shift) / spread


def resized_back(depth: Tensor, photo: np.ndarray) -> np.ndarray:
    """(h, w) → (H, W) float32 at the photograph's size, bicubic."""
    found: np.ndarray = _bicubic(depth[None, None], (photo.shape[0], photo.shape[1]))[0, 0].numpy()
    return found


def _bicubic(x: Any, size: tuple[int, int]) -> Tensor:
    import torch

    return torch.nn.functional.interpolate(x, size=size, mode="bicubic", align_corners=False)
