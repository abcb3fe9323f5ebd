"""Calls that cannot be: a ValueError that names argument, rule and value, or the wrong name.

A table that anybody can extend: a row is the call as one types it, and what the message must hold.
The names in the calls are those of `NAMES`.
"""

import importlib
import signal

import numpy as np
import pytest

import mdl_tf
from mdl_tf import datasets

SECONDS = 20  # that one call may take, before it hangs

WINGS = (
    *("backbones", "batches", "callbacks", "compare", "config", "datasets", "embedding", "losses"),
    *("metrics", "optimizers", "recipes", "runs", "search"),
)
Y = np.array([0, 0, 1, 1])
NAMES = {
    **{wing: importlib.import_module(f"mdl_tf.{wing}") for wing in WINGS},
    **{"mdl_tf": mdl_tf, "np": np, "X": np.eye(4, dtype=np.float32), "Y": Y},
    "SET": datasets.ImageSet("four", Y, ("a", "b"), images=np.zeros((4, 8, 8, 3), np.uint8)),
}

# Settings of losses: what is no number, out of range, or no choice.
_SETTINGS = {
    "MarginDiscriminateLoss": ("margin", "sharpness", "distance", "form"),
    "ContrastiveLoss": ("positive_margin", "negative_margin", "squared", "average", "distance"),
    "TripletLoss": ("margin", "mining", "distance", "soft"),
    "LiftedStructureLoss": ("margin", "distance"),
    "GeneralizedLiftedStructureLoss": ("margin", "distance"),
    "NPairsLoss": ("l2",),
    "AngularLoss": ("alpha",),
    "MarginLoss": ("margin", "beta", "nu", "distance"),
    "MultiSimilarityLoss": ("alpha", "beta", "base", "mining_margin"),
    "CircleLoss": ("margin", "gamma"),
    "SupConLoss": ("temperature", "denominator"),
}
_PROXIES = {
    "NormalizedSoftmaxLoss": ("temperature",),
    "ProxyNCALoss": ("scale", "target_in_denominator"),
    "ProxyAnchorLoss": ("margin", "alpha"),
    "ArcFaceLoss": ("margin", "scale"),
    "CosFaceLoss": ("margin", "scale"),
    "SoftTripleLoss": ("centers_per_class", "scale", "gamma", "margin", "tau"),
}
CASES = [
    (f"losses.{name}({setting}={value})", f"`{setting}` must be ")
    for name, settings in _SETTINGS.items()
    for setting in settings
    for value in ("'x'", "[1]", "np.nan")
]
CASES += [
    (f"losses.{name}(3, {setting}={value})", f"`{setting}` must be ")
    for name, settings in _PROXIES.items()
    for setting in settings
    for value in ("'x'", "[1]")
]
CASES += [(f"losses.{name}()(Y[:0], X[:0])", "must be of at least one image") for name in _SETTINGS]
CASES += [
    (f"losses.{name}(){call}", "`sample_weight` must have shape `(B,)` or `(B, 1)`")
    for name in ("MarginDiscriminateLoss", "TripletLoss")
    for call in (
        *(f"(Y, X, sample_weight=np.ones({shape}))" for shape in ("(4, 2)", "(4, 4)", "(1, 4)")),
        *(f"(Y, X, sample_weight=np.ones({shape}))" for shape in ("3", "(3, 1)", "(4, 1, 1)")),
    )
]
CASES += [
    (f"losses.{name}({value})", "`num_classes` must be an integer")
    for name in _PROXIES
    for value in ("0", "2.0", "True", "2**24 + 1")
]
CASES += [
    (f"metrics.{name}({arguments})", message)
    for name in ("evaluate", "map_at_r", "r_precision", "recall_at_k", "strict_discrimination")
    for arguments, message in (
        ("X * np.nan, Y", "`embeddings` must be finite"),
        ("X[0], Y", "`embeddings` must have shape (N, D)"),
        ("X, Y[:3]", "`labels` must be as many as `embeddings`. Received: 3 and 4"),
        ("X, Y / 2", "`labels` must be integers"),
        ("X, np.arange(4)", "all alone in their class"),
        ("X, Y, gallery=X", "`gallery` and `gallery_labels` must be given together"),
        ("X, Y, gallery=X[:, :2], gallery_labels=Y", "must have the same D"),
    )
]
CASES += [
    ("metrics.evaluate(X, Y, ks=(0,))", "`ks` must be positive integers"),
    ("metrics.evaluate(X, Y, ks=3)", "`ks` must be positive integers"),
    ("metrics.evaluate(X, Y, ks='12')", "`ks` must be positive integers"),
    ("metrics.evaluate(X, Y, margin=-1)", "`margin` must be a number, at least 0"),
    ("metrics.evaluate(X, Y, margin=np.nan)", "`margin` must be a number, at least 0"),
    ("metrics.evaluate(X, Y, clustering=True, seed=-1)", "`seed` must be an integer, at least 0"),
    ("metrics.recall_at_k(X, Y, k=0)", "`k` must be an integer, at least 1. Received: k=0"),
    ("metrics.recall_at_k(X, Y, k=True)", "`k` must be an integer, at least 1. Received: k=True"),
    ("metrics.nearest_neighbors([], k=1)", "`queries` must have shape (N, D)"),
    ("metrics.nearest_neighbors([['a']], k=1)", "`queries` must be real numbers"),
    ("metrics.nearest_neighbors(X[:1], k=1)", "`k` must be an integer"),
    ("metrics.prepare(None)", "`gallery` must have shape (N, D)"),
    ("metrics.prepare(X + 1j)", "`gallery` must be real numbers"),
    ("metrics.prepare(X).neighbors(X, k=np.nan)", "`k` must be an integer"),
    ("metrics.sample_distances(X, Y, n_pairs=0.5)", "`n_pairs` must be an integer"),
    ("metrics.sample_distances(X, Y, seed=None)", "`seed` must be an integer"),
    ("metrics.cluster(X, 0)", "`n_clusters` must be an integer, at least 1"),
    ("metrics.cluster(X, 5)", "at most 4"),
    ("metrics.cluster(X * np.inf, 2)", "`embeddings` must be finite"),
    ("metrics.nmi([], [])", "must"),
    ("metrics.nmi(Y, Y[:2])", "`clusters` must be as many as `labels`"),
    ("metrics.pairwise_f1(Y, Y + 0.5)", "`clusters` must be integers"),
    ("batches.BalancedPlan(Y, 1, 2)", "`classes_per_batch` must be an integer, at least 2"),
    ("batches.BalancedPlan(Y, 3, 2)", "`classes_per_batch` must be"),
    ("batches.BalancedPlan(Y, 2, 3)", "`images_per_class` must be"),
    ("batches.BalancedPlan(Y, 2, 1)", "`images_per_class` must be an integer, at least"),
    ("batches.BalancedPlan(Y, 2, 2, seed=-1)", "`seed` must be an integer"),
    ("batches.BalancedPlan(Y, 2, 2, short_classes='skip')", "`short_classes` must be one of"),
    ("batches.balanced(SET, 2, 2, (8, 0))", "`image_size` must be"),
    ("batches.balanced(SET, 2, 2, 'large')", "`image_size` must be"),
    (
        "batches.balanced(SET, 2, 2, (8, 8), augment='turn')",
        "`augment` must be a function or one of",
    ),
    ("batches.balanced(SET, 2, 2, (8, 8), start_step=-1)", "`start_step` must be an integer"),
    ("batches.balanced(SET, 2, 2, (8, 8), cache='tape')", "`cache` must be one of"),
    ("batches.ordered(SET, 0, (8, 8))", "`batch_size` must be an integer, at least 1"),
    ("batches.ordered(SET, 2.0, (8, 8))", "`batch_size` must be an integer, at least 1"),
    ("datasets.ImageSet('x', Y, ('a',), images=SET.images)", "must"),
    ("datasets.ImageSet('x', Y, ('a', 'b'))", "must"),
    ("datasets.ImageSet('x', Y[:2], ('a', 'b'), images=SET.images)", "must"),
    ("datasets.load('nothing')", "nothing"),
    ("datasets.load('glyphs', validation=1)", "`validation` must be"),
    ("datasets.load('glyphs', validation=-0.1)", "`validation` must be"),
    ("datasets.load('glyphs', validation='x')", "`validation` must be"),
    ("datasets.load('glyphs', seed=-1)", "`seed` must be an integer, at least 0"),
    ("datasets.load('folder')", "data_dir"),
    ("datasets.load('folder', data_dir='nowhere')", "nowhere"),
    ("datasets.load('csv', data_dir='nowhere.csv')", "nowhere.csv"),
    ("datasets.load('npz', data_dir='nowhere.npz')", "nowhere.npz"),
    ("datasets.read('digits', on_corrupt='hide')", "`on_corrupt` must be one of"),
    ("callbacks.RetrievalMetrics((X, Y), ks=(0,))", "`ks` must be positive integers"),
    ("callbacks.RetrievalMetrics((X, Y), every=0)", "`every` must be an integer, at least 1"),
    ("callbacks.RetrievalMetrics((X, Y), every=1.5)", "`every` must be an integer, at least 1"),
    ("callbacks.RetrievalMetrics((X, Y), clustering_every=-1)", "`clustering_every` must be"),
    ("callbacks.RetrievalMetrics((X, Y), margin=-1)", "`margin` must be a number, at least 0"),
    ("embedding.embedding_model(backbones.Conv4(), embedding_dim=0)", "`embedding_dim` must be"),
    ("embedding.embedding_model(backbones.Conv4(), embedding_dim=1.5)", "`embedding_dim` must be"),
    ("embedding.embedding_model(backbones.Conv4(), pooling='none')", "`pooling` must be one of"),
    ("embedding.embedding_model(backbones.Conv4(), 512)", "`preprocess` must be a function"),
    ("embedding.embedding_model('resnet50')", "`backbone` must have one input"),
    ("embedding.embed('model.keras', X)", "`model` must be a Keras model"),
    ("embedding.fit_head(None, X, Y)", "`model` must end in"),
    ("embedding.concatenated(backbones.Conv4())", "`embedders` must be a list of models"),
    ("embedding.set_batch_norm(None, 'train')", "`model` must be a Keras model or layer"),
    ("batches.balanced('photos')", "`image_set` must be a set of images"),
    ("batches.ordered(datasets.load('digits'))", "`image_set` must be a set of images"),
    ("embedding.set_batch_norm(backbones.Conv4(), 'off')", "must be one of"),
    ("embedding.load_model('nowhere.keras')", "nowhere.keras"),
    ("mdl_tf.load_model('nowhere')", "nowhere"),
    ("backbones.build('nothing', (8, 8, 3))", "nothing"),
    ("optimizers.Adam(learning_rate_factors={'x': -1})", "`learning_rate_factors`"),
    ("optimizers.SGD(learning_rate_factors=3)", "`learning_rate_factors`"),
    ("recipes.load('nothing')", "nothing"),
    ("compare.parse('nothing')", "nothing"),
    ("compare.parse('')", "losses"),
    ("runs.Run.open('nowhere')", "nowhere"),
    ("search.Vectors.load('nowhere.npz')", "nowhere.npz"),
    ("search.nearest('nowhere', 'nowhere.npz', 'q.jpg')", "nowhere"),
    ("search.embed_images(3, 'photos')", "`run` must be"),
    ("config.TrainConfig(epochs=0)", "`epochs` must be an integer, at least 1. Received: epochs=0"),
    ("config.TrainConfig(epochs='3')", "`epochs` must be an integer, at least 1"),
    ("config.TrainConfig(epochs=True)", "`epochs` must be an integer, at least 1"),
    ("config.TrainConfig(learning_rate=float('nan'))", "`learning_rate` must be a number, above 0"),
    ("config.TrainConfig(loss=None)", "`loss` must be one of"),
    ("config.TrainConfig(loss_args=[])", "`loss_args` must be a JSON object"),
    ("config.TrainConfig(frozen='yes')", "`frozen` must be"),
    ("config.TrainConfig(l2_normalize=1)", "`l2_normalize` must be"),
    ("config.TrainConfig(backbone=3)", "`backbone` must be"),
    ("config.TrainConfig(data_dir=3)", "`data_dir` must be"),
    ("config.TrainConfig.from_dict([])", "must be a JSON object"),
    ("config.TrainConfig.from_dict({'epoch': 3})", "epoch"),
    ("config.TrainConfig.from_dict({'seed': 0.5})", "`seed` must be an integer"),
]


def test_there_are_many():
    assert len({call for call, _ in CASES}) == len(CASES) >= 150


@pytest.mark.parametrize(("call", "message"), CASES, ids=[call for call, _ in CASES])
def test_the_message(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def hangs(*_):
        pytest.fail(f"{call} took more than {SECONDS} s")

    earlier = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(SECONDS)
    try:
        with pytest.raises(ValueError) as error, np.errstate(all="ignore"):
            eval(call, dict(NAMES))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)
    assert message in str(error.value), error.value
    assert list(tmp_path.iterdir()) == []
