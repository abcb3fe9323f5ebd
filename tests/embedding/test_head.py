"""An embedding layer that begins from the data, against a slow oracle in float64."""

import keras
import numpy as np
import pytest

from mdl_tf import backbones, batches
from mdl_tf.datasets import ImageSet
from mdl_tf.embedding import embed, embedding_model, fit_head, whitening
from mdl_tf.embedding.parts import embedding_layer, feature_model, head_model
from mdl_tf.losses import NormalizedSoftmaxLoss, SoftTripleLoss
from mdl_tf.losses.metric_model import MetricModel
from mdl_tf.metrics import map_at_r


def of_classes(classes=6, each=20, size=8, seed=0):
    """Features whose classes differ along few axes, and images of a class along others."""
    rng = np.random.default_rng(seed)
    spread = np.diag(np.linspace(0.2, 3, size)) @ np.linalg.qr(rng.normal(size=(size, size)))[0]
    labels = np.repeat(np.arange(classes), each)
    means = rng.normal(size=(classes, size))
    features = means[labels] + rng.normal(size=(len(labels), size)) @ spread + 5
    return features.astype(np.float32), labels


def model_of(size, embedding_dim, **options):
    return embedding_model(backbones.Features(size), embedding_dim=embedding_dim, **options)


def slow_whitening(features, labels, shrinkage, embedding_dim):
    """The formula, image by image; embeddings up to the sign of each axis."""
    x = features.astype(np.float64)
    n, size = x.shape
    mean = sum(x) / n
    within = np.zeros((size, size))
    for i in range(n):
        own = [x[j] for j in range(n) if labels[j] == labels[i]]
        deviation = x[i] - sum(own) / len(own)
        within += np.outer(deviation, deviation) / n
    regular = within + shrinkage * sum(within[k, k] for k in range(size)) / size * np.eye(size)
    # R^(-1/2) by Newton's iteration for the root of the inverse, and not by eigenvalues.
    root, inverse = regular / np.trace(regular), np.eye(size)
    for _ in range(60):
        root, inverse = (root + np.linalg.inv(inverse)) / 2, (inverse + np.linalg.inv(root)) / 2
    whitened = (x - mean) @ (inverse / np.sqrt(np.trace(regular)))
    _, _, axes = np.linalg.svd(whitened, full_matrices=False)
    embeddings = whitened @ axes[:embedding_dim].T
    return embeddings / np.sqrt((embeddings**2).sum(axis=1).mean())


def without_signs(embeddings):
    return embeddings * np.sign(
        embeddings[np.abs(embeddings).argmax(axis=0), range(len(embeddings[0]))]
    )


@pytest.mark.parametrize("shrinkage", [0.1, 3.0])
@pytest.mark.parametrize("embedding_dim", [3, 8])
def test_the_whitening_is_its_formula(shrinkage, embedding_dim):
    features, labels = of_classes()
    model = model_of(8, embedding_dim, l2_normalize=False)
    head = fit_head(model, features, labels, shrinkage=shrinkage)
    assert (head.kind, head.shrinkage, head.scores) == ("whitened", shrinkage, {})
    embeddings, _ = embed(model, features)
    expected = slow_whitening(features, labels, shrinkage, embedding_dim)
    np.testing.assert_allclose(without_signs(embeddings), without_signs(expected), atol=2e-4)


def test_whitening_helps_where_images_of_a_class_differ_along_some_axes():
    features, labels = of_classes(each=40)
    model = model_of(8, 8)
    fit_head(model, features[labels < 4], labels[labels < 4], shrinkage=0.1)
    test = labels >= 4
    embeddings, _ = embed(model, features[test])
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert map_at_r(embeddings, labels[test]) > 1.1 * map_at_r(unit[test], labels[test])


def test_principal_axes_are_those_of_scikit_learn():
    from sklearn.decomposition import PCA

    features, labels = of_classes()
    model = model_of(8, 3, l2_normalize=False)
    head = fit_head(model, features, labels, head="pca")
    assert (head.kind, head.shrinkage) == ("pca", None)
    expected = PCA(3).fit_transform(features.astype(np.float64))
    expected /= np.sqrt((expected**2).sum(axis=1).mean())
    embeddings, _ = embed(model, features)
    np.testing.assert_allclose(without_signs(embeddings), without_signs(expected), atol=2e-4)


@pytest.mark.parametrize("each", [2, 3])
def test_fewer_images_than_numbers_keep_what_no_image_tells(each):
    features, labels = of_classes(classes=5, each=each, size=40)
    whole = model_of(40, 40, l2_normalize=False)
    fit_head(whole, features, labels, shrinkage=1.0)
    kernel = embedding_layer(whole).kernel.numpy().astype(np.float64)
    # The map of the formula has this product with itself, whatever the rotation.
    deviations = features.astype(np.float64)
    for label in range(5):
        deviations[labels == label] -= deviations[labels == label].mean(axis=0)
    within = deviations.T @ deviations / len(features)
    regular = within + np.trace(within) / 40 * np.eye(40)
    product = np.linalg.inv(regular)
    ratio = np.trace(kernel @ kernel.T) / np.trace(product)
    np.testing.assert_allclose(kernel @ kernel.T, ratio * product, atol=1e-4 * ratio)
    # Some of it: the axes that the images tell come first, the others are the same each time.
    few, again = model_of(40, 20), model_of(40, 20)
    fit_head(few, features, labels, shrinkage=1.0)
    fit_head(again, features, labels, shrinkage=1.0)
    assert np.array_equal(embedding_layer(few).kernel, embedding_layer(again).kernel)
    rank = len(features) - 1
    np.testing.assert_allclose(
        embedding_layer(few).kernel.numpy()[:, :rank], kernel[:, :rank], atol=1e-5
    )
    assert np.linalg.matrix_rank(embedding_layer(few).kernel.numpy()) == 20


def test_the_shrinkage_is_what_halves_of_the_classes_say():
    features, labels = of_classes(classes=9, each=12)
    chosen, scores = whitening.choose_shrinkage(features, labels, seed=3)
    assert tuple(scores) == whitening.SHRINKAGES
    order = np.random.default_rng(3).permutation(9)
    for shrinkage, score in scores.items():
        expected = []
        for held_out in (order[1::2], order[::2]):
            test = np.isin(labels, held_out)
            model = model_of(8, 8)
            fit_head(model, features[~test], labels[~test], shrinkage=shrinkage)
            expected.append(map_at_r(embed(model, features[test])[0], labels[test]))
        assert score == pytest.approx(np.mean(expected), abs=2e-3)
    best = max(scores.values())
    assert chosen == min(s for s, score in scores.items() if score >= 0.99 * best)
    head = fit_head(model_of(8, 4), features, labels, seed=3)
    assert (head.shrinkage, head.scores) == (chosen, scores)
    # Where a whitening does much, or harm, something else than the first or the last is chosen.
    assert len({round(score, 4) for score in scores.values()}) > 1


def test_three_classes_have_nothing_to_choose_by():
    features, labels = of_classes(classes=3)
    head = fit_head(model_of(8, 4), features, labels)
    assert (head.shrinkage, head.scores) == (whitening.SHRINKAGE, {})


def test_one_image_of_each_class_gives_principal_axes():
    features, labels = of_classes(classes=12, each=1)
    head = fit_head(model_of(8, 4), features, labels)
    assert (head.kind, head.shrinkage) == ("pca", None)


def test_a_large_set_is_measured_in_blocks(monkeypatch):
    features, labels = of_classes(each=31)
    whole = whitening.measure_scatter(features, labels)
    monkeypatch.setattr(whitening, "_BLOCK", 7)
    for name, part in whitening.measure_scatter(features, labels)._asdict().items():
        if name != "within_axes" and part is not None:
            np.testing.assert_allclose(part, getattr(whole, name), rtol=1e-9)


def test_no_more_images_are_measured_than_needed(monkeypatch):
    monkeypatch.setattr(whitening, "_MOST", 25)
    labels = np.repeat(np.arange(6), 10)
    assert np.unique(labels[whitening._up_to(labels, np.array([4, 1, 5]), 25)]).tolist() == [1, 4]
    features, labels = of_classes(each=10)
    assert len(whitening.choose_shrinkage(features, labels)[1]) == 5


def network(embedding_dim=6, **options):
    keras.utils.set_random_seed(1)
    backbone, preprocess = backbones.build("conv4", (16, 16, 3))
    return embedding_model(backbone, preprocess, embedding_dim=embedding_dim, **options)


def pictures(classes=5, each=4):
    rng = np.random.default_rng(2)
    labels = np.repeat(np.arange(classes), each)
    base = rng.integers(0, 255, size=(classes, 16, 16, 3))[labels]
    images = np.clip(base + rng.normal(0, 30, size=base.shape), 0, 255).astype(np.uint8)
    return ImageSet("pictures", labels, tuple("abcde"[:classes]), images=images)


@pytest.mark.parametrize("normalize_features", [False, True])
def test_batches_of_images_arrays_and_features_give_the_same(normalize_features):
    image_set = pictures()
    options = {"normalize_features": normalize_features}
    models = [network(**options) for _ in range(3)]
    stream = batches.ordered(image_set, 7, image_size=(16, 16))
    first = fit_head(models[0], stream)
    fit_head(models[1], image_set.images.astype(np.float32), image_set.labels)
    features, _ = embed(feature_model(models[2]), stream)
    assert features.shape == first.features.shape
    fit_head(models[2], features, image_set.labels)
    if normalize_features:
        np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    expected, _ = embed(models[0], stream)
    for model in models[1:]:
        np.testing.assert_allclose(embed(model, stream)[0], expected, atol=1e-4)
    # The head alone gives the same of the features.
    np.testing.assert_allclose(embed(head_model(models[0]), features)[0], expected, atol=1e-5)


def test_a_copy_of_the_head_has_weights_of_its_own():
    model = network()
    before = embedding_layer(model).get_weights()
    copy = head_model(model)
    embedding_layer(copy).set_weights([weight + 1 for weight in before])
    for old, new in zip(before, embedding_layer(model).get_weights(), strict=True):
        assert np.array_equal(old, new)


NAN = np.full((4, 8), np.nan, np.float32)
SOME = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)


@pytest.mark.parametrize(
    ("features", "labels", "options", "message"),
    [
        (NAN, [0, 0, 1, 1], {}, "finite features. Received: 4 of 4 with NaN"),
        (SOME, [0, 0, 0, 0], {}, "two classes or more. Received: 1"),
        (np.ones((4, 8), np.float32), [0, 0, 1, 1], {}, "differ. Received: 4 equal ones"),
        (
            SOME,
            [0, 0, 1],
            {},
            "3 features of 8 numbers, one for each label. Received: shape (4, 8)",
        ),
        (SOME, [0.0, 0.0, 1.0, 1.0], {}, "`labels` must be integers. Received: float64"),
        (SOME, None, {}, "`labels` must be given"),
        (SOME, [0, 0, 1, 1], {"head": "lda"}, "`head` must be"),
        (SOME, [0, 0, 1, 1], {"shrinkage": 0}, "`shrinkage` must be"),
        (SOME, [0, 0, 1, 1], {"shrinkage": np.nan}, "`shrinkage` must be"),
        (SOME, [0, 0, 1, 1], {"seed": -1}, "`seed` must be"),
    ],
)
def test_what_cannot_be_is_told_in_one_line_and_changes_nothing(features, labels, options, message):
    model = model_of(8, 4)
    before = embedding_layer(model).get_weights()
    labels = None if labels is None else np.array(labels)
    with pytest.raises(ValueError) as error:
        fit_head(model, features, labels, **options)
    assert message in str(error.value) and "\n" not in str(error.value)
    for old, new in zip(before, embedding_layer(model).get_weights(), strict=True):
        assert np.array_equal(old, new)


def test_more_embeddings_than_features_are_refused():
    with pytest.raises(ValueError, match="at most the number of features, 8.*embedding_dim=9"):
        fit_head(model_of(8, 9), SOME, np.array([0, 0, 1, 1]))


@pytest.mark.parametrize(
    "last",
    [
        keras.layers.Dense(3, activation="relu"),
        keras.layers.Dense(3, use_bias=False),
        keras.layers.Dropout(0.5),
    ],
)
def test_another_end_of_a_model_is_refused(last):
    model = keras.Sequential([keras.Input((8,)), last])
    with pytest.raises(ValueError, match="`model` must end in a Dense layer without activation"):
        fit_head(model, SOME, np.array([0, 0, 1, 1]))


def test_proxies_begin_at_the_means_of_their_classes():
    features, labels = of_classes(classes=4)
    embedder = model_of(8, 5)
    fit_head(embedder, features, labels)
    embeddings, _ = embed(embedder, features)
    model = MetricModel(embedder, NormalizedSoftmaxLoss(num_classes=6))
    before = model.loss_weights.variables_by_name["proxies"].numpy()
    model.begin_at(embeddings, labels)
    proxies = model.loss_weights.variables_by_name["proxies"].numpy()
    for label in range(4):
        mean = embeddings[labels == label].mean(axis=0)
        np.testing.assert_allclose(proxies[label], mean / np.linalg.norm(mean), atol=1e-5)
    # Classes without images have random ones.
    assert proxies.shape == before.shape and np.isfinite(proxies).all()


def test_several_centers_of_a_class_are_means_of_its_parts():
    features, labels = of_classes(classes=3, each=7)
    loss = SoftTripleLoss(num_classes=3, centers_per_class=3)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    centers = loss.first_weights(unit, labels, seed=1)["centers"]
    assert centers.shape == (3, 3, 8)
    for label in range(3):
        mean = unit[labels == label].mean(axis=0)
        near = centers[label].mean(axis=0)
        assert near @ mean / np.linalg.norm(near) / np.linalg.norm(mean) > 0.99
        assert len(np.unique(centers[label].round(4), axis=0)) == 3
    alone = SoftTripleLoss(num_classes=2, centers_per_class=4).first_weights(
        unit[:1].repeat(2, axis=0), np.array([0, 1])
    )["centers"]
    assert len(np.unique(alone[0], axis=0)) == 4
