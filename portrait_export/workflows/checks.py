"""Check everything about a request that can be known before the work starts."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from ..errors import UsageError, nearest
from .requests import CoreAIRequest, CoreMLRequest, ParityRequest

PACKAGE_SUFFIXES = (".mlpackage", ".mlmodelc", ".mlmodel", ".aimodel")
_NAME = re.compile(r"[\w][\w.+ -]{0,99}")


def check_request(request: CoreMLRequest | CoreAIRequest) -> None:
    """Raise PortraitError if an export cannot end well: its output, its name, its photographs or its bars.

    Every photograph is opened once.
    """
    if request.out is not None:
        check_folder(request.out)
    if request.name is not None and (not _NAME.fullmatch(request.name) or request.name.endswith((".", " "))):
        raise UsageError(
            f"`name={request.name!r}` cannot be the name of files.",
            hint="use letters, digits, `.`, `_`, `-` and `+`; the suffixes are added.",
        )
    for argument in ("author", "license"):
        text = getattr(request, argument)
        if text is not None and any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
            raise UsageError(f"`{argument}={text!r}` has control characters.")
    if request.parity is not None:
        check_photos(request.parity)


def check_photos(request: ParityRequest) -> None:
    """Raise PortraitError if the bar is out of range, or the photographs or the baseline cannot be used."""
    from ..calibration.dataset import KINDS, usable_items
    from ..verify.baseline import read_baseline
    from ..verify.gates import thresholds_for

    thresholds_for("fp16", min_iou=request.min_iou)
    unknown = [kind for kind in request.kinds if kind not in KINDS]
    if unknown:
        raise UsageError(
            f"There is no kind of photograph {unknown[0]!r}.", hint=nearest(unknown[0], KINDS, what="kind")
        )
    if request.kinds and request.data is not None:
        raise UsageError("`kinds=` chooses among the bundled photographs; with `data=` yours are compared.")
    if request.tolerance is not None and request.baseline is None:
        raise UsageError(
            "`tolerance=` is for the comparison with an earlier one, and `baseline=` is not given.",
            hint="pass the earlier parity.json as `baseline=`, or leave out `tolerance=`.",
        )
    if request.baseline is not None:
        read_baseline(request.baseline)
    if request.data is not None:
        usable_items(request.data)


def check_folder(out: Path) -> None:
    """Refuse a folder that is called like a package, or lies in one."""
    for part in (out, *out.parents):
        if part.suffix.lower() in PACKAGE_SUFFIXES:
            inside = "" if part == out else f" in the package {part}"
            raise UsageError(
                f"`out=` is the folder for the package and its reports; {out} is{inside or ' the name of a package'}.",
                hint=f"pass `out={part.parent if inside else part.with_suffix('')}` and `name={part.stem}`.",
            )
