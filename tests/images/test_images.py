"""One image: files as people see them, boxes, sizes, augmentations; what is broken is found."""

import contextlib
import io
import os
import resource
import socket
import struct
import threading
import zlib

import numpy as np
import pytest
import tensorflow as tf
from helpers.images import BROKEN
from PIL import Image

from mdl_tf.images import file as image_file
from mdl_tf.images import views


def scene(height=40, width=60):
    """Smooth, and different in every corner and channel."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([4 * x, 6 * y, 255 - 2 * (x + y)], axis=-1).clip(0, 255).astype(np.uint8)


def png_of_16_bits(pixels):
    height, width, _ = pixels.shape
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(kind, data):
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def written(folder):
    """File name: (pixels that a person sees, whether TensorFlow alone would show them)."""
    seen = scene()
    picture = Image.fromarray(seen)
    grey = picture.convert("L")
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees to the right
    half = np.dstack([seen, np.full(seen.shape[:2], 255, np.uint8)])
    half[:, :30, 3] = 0
    on_white = np.where(half[..., 3:] == 0, 255, seen)
    opaque = np.dstack([seen, np.full(seen.shape[:2], 255, np.uint8)])
    palette = picture.convert("P")
    files = {
        "rgb.jpg": (picture, seen, True),
        "grey.jpg": (grey, np.asarray(grey.convert("RGB")), True),
        "rgb.png": (picture, seen, True),
        "grey.png": (grey, np.asarray(grey.convert("RGB")), True),
        "opaque.png": (Image.fromarray(opaque), seen, True),
        "palette.png": (palette, np.asarray(palette.convert("RGB")), True),
        "one bit.png": (
            picture.convert("1"),
            np.asarray(picture.convert("1").convert("RGB")),
            True,
        ),
        "cmyk.jpg": (picture.convert("CMYK"), seen, False),
        "16 bits grey.png": (
            # What 8 bits leave out must not change the number.
            Image.fromarray(np.asarray(grey).astype(np.uint16) * 257),
            np.asarray(grey.convert("RGB")),
            False,
        ),
        "transparent.png": (Image.fromarray(half), on_white, False),
        "turned é.jpg": (picture, np.rot90(seen, -1), False),
        "picture.webp": (picture, seen, False),
        "picture.bmp": (picture, seen, False),
        "picture.tif": (picture, seen, False),
    }
    for name, (image, _, _) in files.items():
        options = {"quality": 95} if name.endswith((".jpg", ".webp")) else {}
        exif = {"exif": turned} if name.startswith("turned") else {}
        image.save(folder / name, **options, **exif)
    (folder / "16 bits.png").write_bytes(png_of_16_bits(seen.astype(np.uint16) * 257))
    mirrored = Image.Exif()
    mirrored[0x0112] = 2
    picture.save(folder / "mirrored.png", exif=mirrored)
    Image.fromarray((seen[..., 0] / 255).astype(np.float32)).save(folder / "numbers.tif")
    found = {name: (seen, quick) for name, (_, seen, quick) in files.items()}
    found["mirrored.png"] = seen[:, ::-1], False
    found["numbers.tif"] = np.repeat(seen[..., :1], 3, axis=2), False
    return {**found, "16 bits.png": (seen, True)}


def test_files_come_out_as_people_see_them(tmp_path):
    for name, (seen, quick) in written(tmp_path).items():
        path = str(tmp_path / name)
        examined = image_file.examine(path)
        assert examined.problem == "", name
        assert examined.slow is not quick, name
        assert (examined.height, examined.width) == seen.shape[:2], name
        # JPEG and WebP lose something, JPEG most where colours change; a wrong picture is far off.
        allowed = 12 if name.endswith((".jpg", ".webp")) else 0
        shown = views.decode(path, tf.constant(examined.slow)).numpy()
        assert shown.shape == seen.shape, name
        assert np.abs(shown.astype(int) - seen).max() <= allowed, name
        read = image_file.read(path)
        assert np.abs(read.astype(int) - seen).max() <= allowed, name


def test_turned_and_transparent_files_need_the_slow_way(tmp_path):
    """The other side of the test above: TensorFlow alone shows these wrong."""
    files = written(tmp_path)
    for name in ("turned é.jpg", "transparent.png"):
        quickly = views.decode(str(tmp_path / name)).numpy()
        seen = files[name][0]
        assert quickly.shape != seen.shape or np.abs(quickly.astype(int) - seen).max() > 50


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_found(tmp_path, name):
    make, reason = BROKEN[name]
    (tmp_path / name).write_bytes(make())
    assert image_file.examine(tmp_path / name).problem.startswith(reason)


def test_the_header_of_a_truncated_file_looks_good(tmp_path):
    path = tmp_path / "truncated.jpg"
    path.write_bytes(BROKEN["truncated.jpg"][0]())
    with Image.open(path) as image:
        assert image.size == (64, 64)


def test_tiny_files_are_all_right(tmp_path):
    Image.new("RGB", (1, 3)).save(tmp_path / "tiny.jpg")
    assert image_file.examine(tmp_path / "tiny.jpg").problem == ""


def test_kinds_without_a_way_to_rgb_are_found(tmp_path, monkeypatch):
    Image.new("LAB", (9, 9)).save(tmp_path / "lab.tif")

    def no_way(*_):
        raise ValueError("conversion from LAB to RGB not supported")

    monkeypatch.setattr(Image.Image, "convert", no_way)
    problem = image_file.examine(tmp_path / "lab.tif").problem
    assert problem == "is damaged: conversion from LAB to RGB not supported"


def test_files_that_cannot_be_opened(tmp_path):
    assert image_file.examine(tmp_path / "nowhere.jpg").problem == "is not there"
    assert image_file.examine(tmp_path).problem == "cannot be read: Is a directory"


def in_time(function, *arguments):
    """What a function returns; an error if it waits for something that never comes."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*arguments)), daemon=True)
    thread.start()
    thread.join(20)
    assert results, f"{function.__name__}{arguments} hangs or fails"
    return results[0]


def make_pipe(path):
    os.mkfifo(path)


def make_socket(path):
    # A socket's path must be short.
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(path.parent):
        server.bind(path.name)


def make_sparse(path, size=3 << 30):
    with open(path, "wb") as file:
        file.truncate(size)


def make_large_image_file(path):
    """A header that is good, and more bytes than any photograph has."""
    Image.new("RGB", (5, 5)).save(path, "BMP")
    os.truncate(path, 3 << 30)


NO_FILE = "cannot be read: it is a pipe, a socket or a device, and no file"


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (make_pipe, NO_FILE),
        (make_socket, NO_FILE),
        (lambda path: path.symlink_to("/dev/zero"), NO_FILE),
        (lambda path: path.symlink_to("/dev/tty"), NO_FILE),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
        (lambda path: path.symlink_to("gone"), "is not there"),
        (make_sparse, "is too large: 3.2 GB, and at most 1.1 are read"),
        (make_large_image_file, "is too large: 3.2 GB, and at most 1.1 are read"),
        (lambda path: make_sparse(path, 900 << 20), "is no image file: cannot identify"),
    ],
)
def test_what_is_no_photograph_is_not_waited_for_and_not_read_whole(tmp_path, make, problem):
    path = tmp_path / "x.jpg"
    make(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert in_time(image_file.examine, path).problem.startswith(problem)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000, "kilobytes"


@pytest.mark.parametrize("name", ["caf\udce9.png", "a\0.png"])
def test_a_name_that_tensorflow_cannot_open(tmp_path, name):
    if "\0" not in name:
        Image.new("RGB", (5, 5)).save(tmp_path / name)
    problem = image_file.examine(tmp_path / name).problem
    assert problem == "has a name that TensorFlow cannot open: not in UTF-8, or with a NUL"


def test_a_pipe_is_not_read_where_nothing_was_examined(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    for read in (image_file.read, image_file.thumbnail):
        with pytest.raises(OSError, match="it is a pipe"):
            read(tmp_path / "x.jpg")


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError("no words")])
def test_a_file_that_may_not_be_read(tmp_path, monkeypatch, error):
    Image.new("RGB", (5, 5)).save(tmp_path / "x.png")

    def refuse(*_):
        raise error

    monkeypatch.setattr(image_file.os, "open", refuse)
    problem = image_file.examine(tmp_path / "x.png").problem
    assert problem == f"cannot be read: {error.strerror or error}"


def mutants(count=250):
    """JPEG files with one byte changed, some of them near the end, where Pillow sees little."""
    buffer = io.BytesIO()
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    noise.resize((24, 24), Image.BICUBIC).save(buffer, "JPEG")
    whole = buffer.getvalue()
    pixels = whole.index(b"\xff\xda")
    yield whole
    yield whole[:-2]
    yield whole[:-1]
    yield whole[:-2] + b"\0\xd9"
    for i in range(count):
        first = pixels if i % 2 else 2
        place, value = rng.integers(first, len(whole)), (0xFF, 0x87, 0, rng.integers(256))[i % 4]
        yield whole[:place] + bytes([int(value)]) + whole[place + 1 :]


def test_whatever_the_check_lets_through_is_decoded(tmp_path):
    paths, slow, refused = [], [], 0
    for i, content in enumerate(mutants()):
        path = tmp_path / f"{i}.jpg"
        path.write_bytes(content)
        examined = image_file.examine(path)
        if examined.problem:
            refused += 1
            continue
        paths.append(str(path))
        slow.append(examined.slow)
    assert refused > 30
    stream = tf.data.Dataset.from_tensor_slices((paths, slow)).map(views.decode)
    assert sum(1 for _ in stream) == len(paths) > 100
    # Also where nobody knows which of them TensorFlow refuses; and there are some, so that this
    # can fail.
    stream = tf.data.Dataset.from_tensor_slices(paths).map(views.decode)
    assert sum(1 for _ in stream) == len(paths)
    with pytest.raises(tf.errors.InvalidArgumentError):
        for _ in tf.data.Dataset.from_tensor_slices(paths).map(views._decode_quickly):
            pass


@pytest.mark.parametrize("code", [0x01, 0xE0, 0xFE])
def test_a_jpeg_that_is_damaged_in_the_middle_is_found(tmp_path, code):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    content = bytearray(buffer.getvalue())
    content[-300:-298] = bytes([0xFF, code])
    (tmp_path / "x.jpg").write_bytes(content)
    with Image.open(tmp_path / "x.jpg") as image:
        image.load()  # Pillow says nothing, and shows a part of it in grey
    problem = image_file.examine(tmp_path / "x.jpg").problem
    assert problem == f"is damaged: marker 0x{code:02X} in the middle of its pixels"


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
def test_a_whole_jpeg_takes_the_quick_way(tmp_path, options):
    thumbnail = Image.Exif()
    thumbnail[0x010E] = "\xff\xda\xff\xc1 in the head, \xff\xd9"
    Image.fromarray(scene()).save(tmp_path / "x.jpg", comment=b"\xff\xda\xff\xc1", **options)
    with open(tmp_path / "x.jpg", "ab") as file:
        file.write(b"\0 what some cameras add")
    assert image_file.examine(tmp_path / "x.jpg")[:2] == ("", False)


@pytest.mark.parametrize("slow", [False, True])
def test_an_error_on_the_way_names_the_file(tmp_path, slow):
    path = str(tmp_path / "gone later.jpg")
    stream = tf.data.Dataset.from_tensors((path, slow)).map(views.decode)
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        next(iter(stream))
    message = image_file.find_message(str(raised.value))
    assert message == (
        f"Image files must be readable as long as they are used. Received: {path}, which is not "
        "there"
    )
    Image.fromarray(scene()).save(path)
    assert next(iter(stream)).shape == scene().shape


def test_the_digest_is_of_the_content(tmp_path):
    a, b, c = (tmp_path / name for name in ("a.png", "b.png", "c.png"))
    Image.fromarray(scene()).save(a)
    b.write_bytes(a.read_bytes())
    Image.fromarray(scene() // 2).save(c)
    digests = [image_file.examine(path).digest for path in (a, b, c)]
    assert digests[0] == digests[1] != digests[2]
    assert len(digests[0]) == 32


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10, 5, 30, 25), (slice(5, 25), slice(10, 30))),
        ((9.6, 5.4, 30.2, 24.7), (slice(5, 25), slice(10, 30))),  # to the nearest pixel
        ((-7, -3, 30, 999), (slice(0, 40), slice(0, 30))),  # beyond the rim
        ((70, 50, 80, 60), (slice(39, 40), slice(59, 60))),  # outside: one pixel at least
        ((np.nan,) * 4, (slice(None), slice(None))),
    ],
)
def test_boxes(box, expected):
    cut = views.cut_out(tf.constant(scene()), tf.constant(box, tf.float32)).numpy()
    np.testing.assert_array_equal(cut, scene()[expected])


def test_shrinking_averages_instead_of_sampling():
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    small = views.resize(board[..., None].repeat(3, axis=2).astype(np.float32), (8, 8)).numpy()
    assert small.dtype == np.uint8
    np.testing.assert_allclose(small, 127.5, atol=12)


@pytest.mark.parametrize("size", [(80, 120), (80, 30), (20, 30), (40, 60), (41, 60)])
def test_a_quicker_way_to_enlarge_is_the_same(size):
    expected = tf.image.resize(scene(), size, antialias=True).numpy()
    np.testing.assert_allclose(views.resize(scene(), size).numpy(), expected, atol=0.51)


def test_resizing_stretches_or_covers():
    assert views.resize(scene(), (16, 16)).shape == (16, 16, 3)
    assert views.resize(scene(), (16, 16), keep_aspect=True).shape == (16, 24, 3)
    assert views.resize(scene(60, 40), (16, 16), keep_aspect=True).shape == (24, 16, 3)
    assert views.resize(scene(), (20, 10), keep_aspect=True).shape == (20, 30, 3)
    assert views.resize(scene(2, 60), (4, 4), keep_aspect=True).shape == (4, 32, 3), "a strip"
    # A rim of 41.5 pixels must not become a canvas smaller than the window that is cut from it.
    assert views.resize(scene(7, 9), (5, 5), keep_aspect=True).shape == (5, 6, 3)


@pytest.mark.parametrize(
    ("size", "canvas"), [((227, 227), (256, 256)), ((224, 224), (256, 256)), ((64, 56), (73, 64))]
)
def test_the_papers_cut_windows_from_256_pixels(size, canvas):
    for augment in ("center", "crop", "paper", "modern"):
        assert views.view(augment, size).canvas == canvas
    assert views.view("flip", size).canvas == size


def windows(augment, picture, count=300):
    """What training sees of a picture whose first two channels are the column and the row."""
    view = views.view(augment, (16, 16))

    @tf.function
    def one(seed):
        return view.train(tf.constant(picture), seed)

    return [one(tf.constant([3, i], tf.int64)).numpy() for i in range(count)]


def coordinates(height, width):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x, y, np.zeros_like(x)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("augment", ["paper", "crop"])
def test_every_window_is_cut_equally_often_and_half_are_mirrored(augment):
    corners, mirrored = np.zeros((3, 3), int), 0
    for window in windows(augment, coordinates(18, 18)):
        columns, rows = window[0, :, 0].astype(int), window[:, 0, 1].astype(int)
        is_mirrored = columns[0] > columns[-1]
        columns = columns[::-1] if is_mirrored else columns
        np.testing.assert_array_equal(np.diff(columns), 1)
        np.testing.assert_array_equal(np.diff(rows), 1)
        corners[rows[0], columns[0]] += 1
        mirrored += is_mirrored
    assert corners.min() > 15, "nine places, 33 each"
    assert 120 < mirrored < 180


def test_the_mirror_does_not_depend_on_the_place():
    places = {True: [], False: []}
    for window in windows("paper", coordinates(18, 18)):
        columns = window[0, :, 0].astype(int)
        places[bool(columns[0] > columns[-1])].append(columns.min())
    assert all(set(found) == {0, 1, 2} for found in places.values())


def test_modern_windows_have_a_sixth_to_all_of_the_area():
    areas, ratios, mirrored = [], [], 0
    for window in windows("modern", coordinates(100, 120)):
        columns, rows = window[8, :, 0].astype(float), window[:, 8, 1].astype(float)
        # The ends are half a sixteenth away from the rim of the window.
        width, height = (abs(v[-1] - v[0]) * 16 / 15 for v in (columns, rows))
        areas.append(width * height / 12_000)
        ratios.append(width / height)
        mirrored += columns[0] > columns[-1]
    assert 0.13 < min(areas) < 0.25
    assert 0.85 < max(areas) < 1.05
    assert np.percentile(areas, 25) < 0.45, "not only large ones"
    assert 0.66 < min(ratios) < 0.85
    assert 1.15 < max(ratios) < 1.45
    assert 120 < mirrored < 180


def test_paper_alone_stretches():
    kept = {a: views.view(a, (16, 16)).keep_aspect for a in ("center", "crop", "paper", "modern")}
    assert kept == {"center": True, "crop": True, "paper": False, "modern": True}


def test_center_sees_the_middle_in_training_too():
    picture = coordinates(18, 24)
    middle = views.view("center", (16, 16)).test(tf.constant(picture)).numpy()
    for window in windows("center", picture, 5):
        np.testing.assert_array_equal(window, middle)


def test_in_test_the_window_is_in_the_middle():
    for augment in ("center", "crop", "paper", "modern"):
        seen = views.view(augment, (16, 16)).test(tf.constant(coordinates(18, 24))).numpy()
        np.testing.assert_array_equal(seen[..., 0], np.tile(np.arange(4, 20), (16, 1)))
        np.testing.assert_array_equal(seen[:, 0, 1], np.arange(1, 17))


def test_the_same_seed_gives_the_same_window():
    for augment in ("crop", "paper", "modern", "flip"):
        picture = coordinates(18, 18)[: 16 if augment == "flip" else 18]
        picture = picture[:, : 16 if augment == "flip" else 18]
        first, again = windows(augment, picture, 20), windows(augment, picture, 20)
        np.testing.assert_array_equal(first, again)
        assert len({window.tobytes() for window in first}) > 1
