"""How long it takes to look into every file of a data set: for the first time, and again.

The files are JPEGs of 64 x 64 pixels, some 3 kB each, 50,000 of them in 500 folders, in a temporary
folder. They have been written just now, so that the disk is not measured.

    python tests/benchmarks/benchmark_check.py [--files 50000]
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import machine
from PIL import Image

from mdl_tf import datasets

CLASSES = 500


def write(folder, files):
    """Noise of several scales, a file each."""
    rng = np.random.default_rng(0)
    for c in range(CLASSES):
        (folder / f"{c:03d}").mkdir(parents=True)
        for i in range(files // CLASSES):
            small = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
            small.resize((64, 64), Image.BILINEAR).save(folder / f"{c:03d}" / f"{i}.jpg")


def main():
    """Prints the machine and the seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=50_000)
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["MDL_TF_HOME"] = f"{temporary}/home"
        write(Path(temporary) / "photos", args.files)
        for what in ("for the first time", "again"):
            wall, processor = time.perf_counter(), time.process_time()
            images = datasets.read("folder", data_dir=f"{temporary}/photos").images
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            print(f"{len(images):,} files {what}: {wall:.1f} s, {processor:.1f} s of one core")


if __name__ == "__main__":
    main()
