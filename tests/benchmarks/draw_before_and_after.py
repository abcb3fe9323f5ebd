"""Test queries with their nearest images before and after a training, as one picture: the README's.

    python tests/benchmarks/draw_before_and_after.py RUN [--output notebooks/before_and_after.png]

RUN is a run folder that `mdl-tf train` wrote, of a data set of images. Before training: the same
network with the weights that the run's seed gave it. The queries are drawn at random, of distinct
test classes; another `--seed` draws others. A neighbour of the query's class has a blue frame, one
of another class an orange frame and a cross.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import matplotlib
from PIL import Image, ImageDraw, ImageFont

import mdl_tf
from mdl_tf import batches, datasets, metrics
from mdl_tf.embedding import embed
from mdl_tf.pictures import NeighborMosaic, plots
from mdl_tf.runs import Run
from mdl_tf.runs.network import build_model

OUTPUT = Path(__file__).resolve().parents[2] / "notebooks" / "before_and_after.png"
MARGIN, HEAD, APART = 12, 58, 28  # pixels around, above, and between before and after
INK = plots.LINE


def embed_test(run):
    """The test set of a run, and its embeddings before and after training."""
    config = run.config
    collection = datasets.read(
        config.dataset, data_dir=config.data_dir, crop_to_box=config.crop_to_box
    )
    test = collection.split(**config.split)[2]
    keras.utils.set_random_seed(config.own_seed)
    both = []
    for model in (build_model(config), mdl_tf.load_model(run.model, compile=False)):
        stream = batches.ordered(test, 64, model.input_shape[1:3], config.augment)
        both.append(embed(model, stream)[0])
    return test, both


def draw(test, both, titles, queries, neighbors, seed):
    """The picture, a PIL image: queries, their neighbours before, their neighbours after."""
    mosaic = NeighborMosaic(test, queries, neighbors, seed)
    top, left = mosaic.place(0, 1)
    bottom, right = mosaic.place(len(mosaic.queries), neighbors + 1)
    blocks = [mosaic.draw(embeddings)[top:bottom] for embeddings in both]
    width, height = right - left, bottom - top
    size = (left + 2 * width + APART + MARGIN, HEAD + height + MARGIN)
    picture = Image.new("RGB", size, "white")
    pen, columns = ImageDraw.Draw(picture), (left, left + width + APART)
    # Names and queries are the same in both.
    picture.paste(Image.fromarray(blocks[0][:, :left]), (0, HEAD))
    pen.text((mosaic.place(0, 0)[1], HEAD - 18), "query", INK, font(13))
    for x, block, (title, score) in zip(columns, blocks, titles, strict=True):
        picture.paste(Image.fromarray(block[:, left:right]), (x, HEAD))
        pen.text((x, 8), title, INK, font(17, bold=True))
        pen.text((x, HEAD - 18), score, INK, font(13))
    draw_key(pen, size[0] - MARGIN, 8)
    x = columns[1] - APART // 2 - 2
    pen.line((x, 10, x, size[1] - MARGIN), fill="#cccccc", width=2)
    return picture


def draw_key(pen, right, y):
    """What the frames mean, up to the pixel column `right`."""
    x = right - 226
    for text, colour, wide in (
        ("same class", plots.POSITIVE, 108),
        ("another class", plots.NEGATIVE, 0),
    ):
        pen.rectangle((x, y + 2, x + 14, y + 16), outline=colour, width=3)
        if colour == plots.NEGATIVE:
            pen.line((x + 4, y + 6, x + 10, y + 12), fill=colour, width=2)
            pen.line((x + 4, y + 12, x + 10, y + 6), fill=colour, width=2)
        pen.text((x + 21, y + 1), text, INK, font(13))
        x += wide


def font(size, bold=False):
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / f"DejaVuSans{'-Bold' * bold}.ttf"), size)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", help="a run folder")
    parser.add_argument("--output", default=OUTPUT)
    parser.add_argument("--queries", type=int, default=8)
    parser.add_argument("--neighbors", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the draw of the queries")
    args = parser.parse_args()
    test, both = embed_test(Run.open(args.run))
    recalls = [metrics.recall_at_k(embeddings, test.labels) for embeddings in both]
    titles = [
        (f"{word} training", f"nearest first; Recall@1 of all test images {recall:.3f}")
        for word, recall in zip(("before", "after"), recalls, strict=True)
    ]
    picture = draw(test, both, titles, args.queries, args.neighbors, args.seed)
    picture = picture.quantize(64, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    picture.save(args.output, optimize=True)
    print(f"{args.output}: {picture.size}, {os.path.getsize(args.output) / 1000:.0f} kB, {recalls}")


if __name__ == "__main__":
    main()
