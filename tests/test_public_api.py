"""The public names exist, and importing the package imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

import portrait_export


@pytest.mark.parametrize("name", portrait_export.__all__)
def test_every_public_name_can_be_imported(name):
    assert getattr(portrait_export, name).__doc__
    assert name in dir(portrait_export)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = portrait_export.nothing


def test_importing_the_package_is_free():
    script = "import sys, portrait_export; print(sorted({'torch', 'numpy', 'coremltools', 'click'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_load_and_predict_as_one_would_with_coremltools(small_export, photos):
    import numpy as np
    from PIL import Image

    model = portrait_export.load(small_export / "segformer_b0.mlpackage")
    with Image.open(photos / "portrait.png") as photo:
        outputs = model.predict({"image": photo.resize((64, 64))})
    assert list(outputs) == ["mask"]
    assert (outputs["mask"].mode, outputs["mask"].size) == ("L", (64, 64))
    assert np.asarray(outputs["mask"]).std() > 0
