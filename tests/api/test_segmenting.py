"""Packages opened from Python segment files, PIL images and arrays to the same typed result."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

import portrait_export as pe


@pytest.fixture(scope="module")
def path(small_export):
    return small_export / "segformer_b0.mlpackage"


@pytest.fixture(scope="module")
def package(path):
    return pe.load(path)


def test_a_package_reports_its_spec_sizes_and_metadata(package, path):
    assert (package.path, package.sizes) == (path, ((64, 64),))
    assert (package.spec.height, package.spec.width, package.spec.output) == (64, 64, "mask")
    assert package.metadata["portrait_export.recipe"] == "int8"


def test_files_images_and_arrays_give_the_same_mask_at_the_photos_size(package, photos):
    file = photos / "portrait.png"
    with Image.open(file) as image:
        by_image = package.predict(image)
        by_array = package.predict(np.array(image))
    by_path = package.predict(file)
    assert (by_path.size, by_path.probability.shape, by_path.probability.dtype) == ((96, 80), (96, 80), np.float32)
    assert 0 <= by_path.probability.min() < by_path.probability.max() <= 1
    assert np.array_equal(by_path.probability, by_image.probability)
    assert np.array_equal(by_path.probability, by_array.probability)
    assert np.array_equal(pe.segment(file, package).probability, by_path.probability)
    assert np.array_equal(pe.segment(str(file), package.path).probability, by_path.probability)


def test_refinement_can_be_switched_off(package, photos):
    from portrait_export.imaging.photo import open_photo
    from portrait_export.imaging.placement import mask_back, to_frame
    from portrait_export.runtime.runner import PackageRunner

    file = photos / "portrait.png"
    own = pe.segment(file, package, refine=False).probability
    frame, placement = to_frame(open_photo(file), package.spec)
    assert np.array_equal(own, mask_back(PackageRunner(package.path).run([frame])[0].probability, placement))
    assert not np.array_equal(own, package.predict(file).probability)


def test_a_rotated_pil_image_is_segmented_upright(package, photos, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(photos / "portrait.png") as image:
        image.save(tmp_path / "turned.jpg", exif=exif)
    with Image.open(tmp_path / "turned.jpg") as turned:
        assert package.predict(turned).size == (80, 96)


def test_a_segmentation_makes_pictures(package, photos):
    found = package.predict(photos / "portrait.png")
    assert found.person.dtype == bool
    assert np.array_equal(found.person, found.probability >= package.spec.threshold)
    mask = found.mask()
    assert (mask.mode, mask.size) == ("L", (80, 96))
    assert np.array_equal(np.asarray(mask), np.round(found.probability * 255).astype(np.uint8))
    assert found.cutout().mode == "RGBA"
    assert np.array_equal(np.asarray(found.cutout())[..., 3], np.asarray(mask))
    assert found.blur_background(3).mode == "RGB"
    white, picture = found.replace_background(), found.replace_background(photos / "noise.png")
    assert (white.size, picture.size) == ((80, 96), (80, 96))
    assert not np.array_equal(np.asarray(white), np.asarray(picture))


def test_a_model_segments_without_a_package(photos):
    found = pe.segment(photos / "noise.png", model="segformer_b0", random_weights=True, size=(64, 64))
    assert found.size == (70, 90)


def test_any_program_runs_as_with_coremltools(path, photos):
    program = pe.load_program(path)
    with Image.open(photos / "portrait.png") as photo:
        outputs = program.predict({"image": photo.resize((64, 64))})
    assert list(outputs) == ["mask"]
    assert (outputs["mask"].mode, outputs["mask"].size) == ("L", (64, 64))
    assert np.asarray(outputs["mask"]).std() > 0


def test_a_package_is_wanted(photos):
    with pytest.raises(pe.UsageError, match=r"None of `model=`, `checkpoint=` and `package=` is given"):
        pe.segment(photos / "noise.png")


REFUSED = {
    "package_and_model": ({"model": "serseg_b0"}, "An open package cannot be used with `model=`"),
    "depth": ({"depth": np.zeros((4, 4), np.float32)}, "does not take a depth map"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_arguments_are_refused(package, photos, name):
    arguments, message = REFUSED[name]
    with pytest.raises(pe.UsageError, match=message):
        pe.segment(photos / "noise.png", package, **arguments)


def test_unusable_images_are_refused(package, tmp_path):
    with pytest.raises(pe.PortraitError, match=r"uint8 \(H, W, 3\)"):
        package.predict(np.zeros((4, 4), np.uint8))
    with pytest.raises(pe.PortraitError, match="Cannot read the picture"):
        package.predict(tmp_path / "missing.jpg")
    Image.new("RGB", (64, 64)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:60])
    with pytest.raises(pe.PortraitError, match="cannot be decoded"):
        package.predict(Image.open(tmp_path / "cut.png"))


NO_IMAGES = {
    "nothing": (None, "found None"),
    "bytes": (b"x" * 5000, r"found an object of type bytes\.\nhint: open the bytes .* with PIL"),
    "a_list": (["a.png"], r"found \['a.png'\]"),
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_what_is_no_image_is_refused(package, photos, name):
    value, message = NO_IMAGES[name]
    with pytest.raises(pe.UsageError) as caught:
        package.predict(value)
    assert re.search(f"An image is the path of a picture, a PIL image or .*{message}", str(caught.value), re.DOTALL)
    found = package.predict(photos / "noise.png")
    with pytest.raises(pe.UsageError, match="A background is a CSS colour or the path of a picture, a PIL image or"):
        found.replace_background(value)


def test_what_is_no_depth_map_or_mapping_of_pictures_is_refused(package, photos):
    with pytest.raises(pe.UsageError, match="A depth map is the path of a picture or an array; found 3"):
        package.predict(photos / "noise.png", depth=3)
    with pytest.raises(pe.UsageError, match=r"`pictures=` maps inputs to pictures, .* found 'x.png'"):
        package.predict(photos / "noise.png", pictures="x.png")


def test_an_unknown_arithmetic_suggests_the_nearest(path):
    with pytest.raises(pe.UsageError, match="did you mean `fp16`"):
        pe.load(path, arithmetic="fp61")
