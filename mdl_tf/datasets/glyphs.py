"""Glyphs: some 2,060 characters in 12 to 16 typefaces, drawn on the spot, so nothing is downloaded.

Truly fine-grained (u with diaeresis, circumflex or grave accent), yet quick to train on. The faces
are the DejaVu and STIX fonts that matplotlib ships.
"""

import hashlib
import unicodedata
from pathlib import Path

import numpy as np

from mdl_tf.datasets.cache import cached_arrays
from mdl_tf.datasets.image_set import ImageSet, first_for_training
from mdl_tf.files import data_folder

FRAME = 32  # pixels
SIZES = (20, 28)  # pixels of the typeface
MAX_ROTATION = 15  # degrees
MAX_SHIFT = 2  # pixels
TRAIN_CLASSES = 1000
SEED = 2018

DEJAVU = tuple(
    f"DejaVu{family}.ttf"
    for family in (
        "Sans",
        "Sans-Bold",
        "Sans-Oblique",
        "Sans-BoldOblique",
        "SansMono",
        "SansMono-Bold",
        "SansMono-Oblique",
        "SansMono-BoldOblique",
        "Serif",
        "Serif-Bold",
        "Serif-Italic",
        "Serif-BoldItalic",
    )
)
STIX = ("STIXGeneral.ttf", "STIXGeneralBol.ttf", "STIXGeneralItalic.ttf", "STIXGeneralBolIta.ttf")
JUDGE_OF_LOOK_ALIKES = "DejaVuSansMono-Bold.ttf"

# Raise when the drawing changes, so that no stale cache is read.
_VERSION = 1


def fonts_folder():
    """The folder of the fonts that matplotlib ships."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def characters(fonts=None):
    """The characters that are classes, in the order of their code points.

    Letters, numbers and symbols (Unicode categories L, N, S) that all 12 DejaVu faces hold; of
    characters that look the same in DejaVu Sans Mono Bold (Latin A, Greek Alpha, Cyrillic A) only
    the first stays.

    Args:
        fonts: folder of the font files. Defaults to `fonts_folder()`.

    Returns:
        A list of one-character strings.
    """
    from fontTools.ttLib import TTFont
    from PIL import Image, ImageDraw, ImageFont

    fonts = Path(fonts or fonts_folder())
    shared = None
    for face in DEJAVU:
        with TTFont(fonts / face) as font:
            covered = set(font.getBestCmap())
        shared = covered if shared is None else shared & covered

    judge = ImageFont.truetype(str(fonts / JUDGE_OF_LOOK_ALIKES), 48)
    seen, kept = set(), []
    for code in sorted(shared):
        character = chr(code)
        if unicodedata.category(character)[0] not in "LNS":
            continue
        picture = Image.new("L", (96, 96))
        ImageDraw.Draw(picture).text((24, 12), character, font=judge, fill=255)
        look = picture.tobytes()
        if any(look) and look not in seen:
            seen.add(look)
            kept.append(character)
    return kept


def _draw(character, font, angle, shift):
    from PIL import Image, ImageDraw

    # Drawn on a larger canvas and cut afterwards: rotation must not clip.
    canvas = Image.new("L", (3 * FRAME, 3 * FRAME))
    left, top, right, bottom = font.getbbox(character)
    centre = 1.5 * FRAME
    position = (centre - (left + right) / 2, centre - (top + bottom) / 2)
    ImageDraw.Draw(canvas).text(position, character, font=font, fill=255)
    canvas = canvas.rotate(angle, Image.Resampling.BILINEAR)
    x, y = FRAME + shift[0], FRAME + shift[1]
    return np.asarray(canvas.crop((x, y, x + FRAME, y + FRAME)))


def class_order(count):
    """The order of classes from which the first are for training: a fixed shuffle.

    In the order of code points the split would be one of scripts. The order of names in the data
    sets of the papers says nothing about appearance, and neither does this one.
    """
    return np.random.default_rng(SEED).permutation(count)


def render(seed=SEED, limit=None, progress=None):
    """Draw every character once in every face that holds it.

    Args:
        seed: of sizes, rotations and shifts. Defaults to `2018`.
        limit: number of classes, for a quick look. Defaults to all.
        progress: a function of (classes drawn, classes), called now and then. Defaults to `None`.

    Returns:
        images `(N, 32, 32)` uint8, white on black; labels `(N,)` int64; names, a list of strings.
    """
    from fontTools.ttLib import TTFont
    from PIL import ImageFont

    folder = fonts_folder()
    faces = [face for face in (*DEJAVU, *STIX) if (folder / face).exists()]
    covered, fonts = {}, {}
    for face in faces:
        with TTFont(folder / face) as font:
            covered[face] = set(font.getBestCmap())
        for size in range(SIZES[0], SIZES[1] + 1):
            fonts[face, size] = ImageFont.truetype(str(folder / face), size)

    names = characters(folder)[:limit]
    images, labels = [], []
    for label, character in enumerate(names):
        # A generator per class: adding a face or a class leaves the other pictures as they are.
        rng = np.random.default_rng([seed, ord(character)])
        for face in faces:
            if ord(character) not in covered[face]:
                continue
            size = int(rng.integers(SIZES[0], SIZES[1] + 1))
            angle = float(rng.uniform(-MAX_ROTATION, MAX_ROTATION))
            shift = rng.integers(-MAX_SHIFT, MAX_SHIFT + 1, 2).tolist()
            images.append(_draw(character, fonts[face, size], angle, shift))
            labels.append(label)
        if progress and (label % 50 == 49 or label == len(names) - 1):
            progress(label + 1, len(names))
    return np.stack(images), np.asarray(labels, np.int64), names


def fingerprint():
    """Changes with whatever changes the pictures: the drawing, its seed, Pillow, the fonts."""
    import PIL

    folder = fonts_folder()
    digest = hashlib.sha256(f"{_VERSION} {SEED} {PIL.__version__}".encode())
    for face in (*DEJAVU, *STIX):
        path = folder / face
        digest.update(face.encode() + (path.read_bytes() if path.exists() else b""))
    return digest.hexdigest()[:12]


def read(data_dir=None, progress=None):
    """The glyphs, drawn at the first call and then found in a file.

    Args:
        data_dir: folder of that file. Defaults to `$MDL_TF_HOME` or `~/.cache/mdl_tf`.
        progress: a function of (characters done, characters). Defaults to `None`.

    Returns:
        A `Collection`.
    """

    def draw():
        images, labels, names = render(progress=progress)
        return {"images": images, "labels": labels, "names": np.asarray(names)}

    stored = cached_arrays(data_folder(data_dir) / f"glyphs-{fingerprint()}.npz", draw)
    names = tuple(str(name) for name in stored["names"])
    images = ImageSet("glyphs", stored["labels"], names, images=stored["images"])
    images = images.classes(class_order(len(names)), "glyphs")
    return first_for_training(images, TRAIN_CLASSES)
