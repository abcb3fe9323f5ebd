"""The data sets of the papers: what they are, where they come from, how much there is of them."""

from typing import NamedTuple

import numpy as np

from mdl_tf.datasets.papers.fetch import File
from mdl_tf.datasets.table import DATASETS


class Official(NamedTuple):
    """A data set of the papers: what it is, where it comes from, how much there is of it.

    `files` are what `download` fetches, and `others` what does instead but has to be fetched by
    hand, about which `by_hand` says more; `contents` are files of the archives whose checksums are
    known.
    """

    page: str
    terms: str
    files: tuple
    counts: dict
    others: tuple = ()
    contents: tuple = ()
    by_hand: str = ""


def _counts_of(train_classes, train_images, test_classes, **test):
    return {
        "training classes": train_classes,
        "training images": train_images,
        "test classes": test_classes,
        **{f"{kind} images": count for kind, count in test.items()},
    }


_CARS_ANNOS = File("cars_annos.mat", md5="b407c6086d669747186bd1d764ff9dbc")

OFFICIAL = {
    "cub200": Official(
        page="https://data.caltech.edu/records/65de6-vp158",
        terms="research use",
        files=(
            File(
                "CUB_200_2011.tgz",
                (
                    "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                    "https://data.caltech.edu/api/records/65de6-vp158/files/CUB_200_2011.tgz/content",
                ),
                1_150_585_339,
                "0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
                "97eceeb196236b17998738112f37df78",
            ),
        ),
        counts=_counts_of(100, 5_864, 100, test=5_924),
    ),
    "cars196": Official(
        page="https://github.com/pytorch/vision/issues/7545",
        terms="research use",
        files=(File("CARS196.zip", ("http://ftp.cs.stanford.edu/cs/cvgl/CARS196.zip",)),),
        counts=_counts_of(98, 8_054, 98, test=8_131),
        others=(
            File("car_ims.tgz", md5="d5c8f0aa497503f355e17dc7886c3f14"),
            _CARS_ANNOS,
            File(
                "cars_train.tgz",
                (),
                979_269_282,
                "512b227b30e2f0a8aab9e09485786ab4479582073a144998da74d64b801fd288",
                "065e5b463ae28d29e77c1b4b166cfe61",
            ),
            File(
                "cars_test.tgz",
                (),
                977_350_468,
                "bffea656d6f425cba3c91c6d83336e4c5f86c6cffd8975b0f375d3a10da8e243",
                "4ce7ebf6a94d07f1952d94dd34c4d501",
            ),
            File(
                "car_devkit.tgz",
                ("https://github.com/pytorch/vision/files/11644847/car_devkit.tgz",),
                330_960,
                "b97deb463af7d58b6bfaa18b2a4de9829f0f79e8ce663dfa9261bf7810e9accd",
                "c3b158d763b6e2245038c8ad08e45376",
            ),
            File(
                "cars_test_annos_withlabels.mat",
                (),
                185_758,
                "790f75be8ea34eeded134cc559332baf23e30e91367e9ddca97d26ed9b895f05",
                "b0a2b23655a3edd16d84508592a98d10",
            ),
        ),
        contents=(
            _CARS_ANNOS,
            File("car_ims/000001.jpg", md5="2d44a28f071aeaac9c0802fddcde452e"),
            File("car_ims/016185.jpg", md5="bab296d5e4b2290d024920bf4dc23d07"),
        ),
        by_hand="Of these the first two, or the other four, are a whole set, also extracted; so "
        "are the copies on Kaggle: jessicali9530/stanford-cars-dataset (add car_devkit.tgz and "
        "cars_test_annos_withlabels.mat) and jutrera/stanford-car-dataset-by-classes-folder "
        "(extract it).",
    ),
    "sop": Official(
        page="https://cvgl.stanford.edu/projects/lifted_struct/",
        terms="research use",
        files=(
            File(
                "Stanford_Online_Products.zip",
                (
                    "http://ftp.cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip",
                    "https://drive.usercontent.google.com/download"
                    "?id=1TclrpQOF_ullUP99wk_gjGN8pKvtErG8&confirm=t",
                ),
                3_083_860_082,
                "b04fa78210e69fab050ce73939550e1cd0f96890bdd98ec9fee732c3b756ef48",
                "7f73d41a2f44250d4779881525aea32e",
            ),
        ),
        counts=_counts_of(11_318, 59_551, 11_316, test=60_502),
    ),
    "inshop": Official(
        page="http://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html",
        terms="research use",
        files=(File("img.zip"), File("list_eval_partition.txt")),
        counts=_counts_of(3_997, 25_882, 3_985, query=14_218, gallery=12_612),
        by_hand="Both are in the folder of Google Drive that the page links to, "
        "https://drive.google.com/drive/folders/0B7EVK8r0v71pVDZFQXRsMDZCX1E, "
        "which no program can fetch.",
    ),
}


def check_counts(name, collection, where, argument="data_dir", stand_in=None):
    """Refuse a data set that has not as many classes and images as there should be.

    Args:
        name: a key of `OFFICIAL`.
        collection: a `Collection`.
        where: what was read, for the error.
        argument: what the error is about. Defaults to `"data_dir"`.
        stand_in: the counts of a stand-in of it, if it is one. Defaults to `None`, the real one.

    Raises:
        ValueError: if a count differs, with both.
    """
    row = OFFICIAL[name]
    received = _counts(collection)
    expected = row.counts if stand_in is None else stand_in
    wrong = [what for what, count in expected.items() if received[what] != count]
    if wrong:
        of_what = (
            f"{name} ({DATASETS[name].what})" if stand_in is None else f"the stand-in of {name}"
        )
        raise ValueError(
            f"`{argument}` must hold all of {of_what}: "
            f"{', '.join(f'{expected[what]:,} {what}' for what in wrong)}. Received: "
            f"{', '.join(f'{received[what]:,} {what}' for what in wrong)}, in {where}"
        )


def _counts(collection):
    images = collection.images
    is_test_class = np.equal(np.asarray(collection.sides, str), "test")
    is_test = is_test_class[images.labels]
    is_query = np.ones(len(images), bool) if images.queries is None else images.queries
    return {
        "training classes": int(np.sum(~is_test_class)),
        "training images": int(np.sum(~is_test)),
        "test classes": int(np.sum(is_test_class)),
        "test images": int(np.sum(is_test)),
        "query images": int(np.sum(is_test & is_query)),
        "gallery images": int(np.sum(is_test & ~is_query)),
    }
