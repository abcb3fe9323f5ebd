"""Images without TensorFlow: the same pixels as on the way that trains."""

import io

import numpy as np
import pytest
from PIL import Image

from mdl_tf import batches
from mdl_tf.datasets.usable import check_files
from mdl_tf.images import plain, views

AUGMENTS = (None, "flip", "center", "crop", "paper", "modern")


def photograph(rng, height, width):
    """Smooth colours with some noise, as a photograph has them."""
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.BICUBIC)).astype(int)
    return (smooth + rng.integers(-9, 10, smooth.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Image files of every kind that one decoder could show otherwise than the other."""
    folder, rng = tmp_path_factory.mktemp("kinds"), np.random.default_rng(0)
    turned = Image.Exif()
    turned[0x0112] = 6

    def save(name, height, width, mode="RGB", **options):
        Image.fromarray(photograph(rng, height, width)).convert(mode).save(folder / name, **options)

    save("odd.jpg", 301, 77, quality=90)
    save("subsampled.jpg", 120, 333, quality=75, subsampling=2)
    save("progressive.jpg", 65, 129, progressive=True)
    save("small.jpg", 9, 5)
    save("grey.jpg", 100, 81, "L")
    save("turned.jpg", 90, 200, exif=turned)
    save("strip.png", 3, 400)
    save("palette.png", 70, 50, "P")
    save("grey.png", 64, 64, "L")
    save("turned.webp", 60, 41, exif=turned)
    save("plain.gif", 33, 44)
    see_through = Image.fromarray(photograph(rng, 50, 60)).convert("RGBA")
    see_through.putalpha(Image.fromarray(rng.integers(0, 256, (50, 60), np.uint8)))
    see_through.save(folder / "alpha.png")
    Image.fromarray(rng.integers(0, 65536, (40, 30), np.uint16)).save(folder / "deep.png")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("augment", AUGMENTS)
def test_files_give_the_pixels_of_the_training_path(files, augment):
    stream = batches.ordered(check_files(files), 64, (48, 40), augment)
    [(expected, _)] = stream.as_numpy_iterator()
    seen = np.stack([plain.see(path, (48, 40), augment) for path in files]).astype(float)
    differences = np.abs(seen - expected)
    assert differences.max() <= 1
    assert (differences > 0).mean() < 1e-3  # rounded to the number beside it


def test_bytes_are_the_file(files):
    for path in files:
        seen = plain.see(path.read_bytes(), (20, 20))
        np.testing.assert_array_equal(seen, plain.see(path, (20, 20)))


@pytest.mark.parametrize("augment", AUGMENTS)
def test_any_size_to_any_size(augment):
    rng = np.random.default_rng(1)
    wrong = total = 0
    for height, width, size in rng.integers(1, 260, (8, 3)).tolist():
        view = views.view(augment, (size, size))
        pixels = photograph(rng, height, width)
        expected = view.test(views.resize(pixels, view.canvas, view.keep_aspect)).numpy()
        seen = plain.see(pixels, (size, size), augment)
        differences = np.abs(seen.astype(int) - expected)
        assert differences.max() <= 1
        wrong, total = wrong + (differences > 0).sum(), total + differences.size
    assert wrong < 1e-3 * total


def test_what_is_of_the_size_already_stays():
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9), np.uint8)
    np.testing.assert_array_equal(plain.see(pixels, (7, 9))[..., 1], pixels)


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4), np.uint8)]
)
def test_what_is_no_image_is_refused(pixels):
    with pytest.raises(ValueError, match="Pixels must be uint8"):
        plain.see(pixels, (8, 8))


def test_bytes_that_are_no_image():
    with pytest.raises(OSError):
        plain.see(io.BytesIO(b"text").getvalue(), (8, 8))
