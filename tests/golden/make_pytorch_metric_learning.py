"""Write `pytorch_metric_learning.npz`: losses and gradients of pytorch-metric-learning (PML).

An independent implementation of the losses of `mdl_tf.losses`. Run it with any Python that has
torch and pytorch-metric-learning 2.9 (neither is ever a dependency of the package or its tests):

    python tests/golden/make_pytorch_metric_learning.py

Everything is computed in float64. The npz holds

- per batch `{batch}_labels` and `{batch}_embeddings`, and the weights `proxies` (C, D) and
  `centers` (C, K, D), of lengths other than one;
- `cases`, a JSON list of `{"loss", "batch", "settings", "weights", "unit", "value_key",
  "gradient_key", "weight_gradient_key", "setting_gradient_keys"}`: our function, our keyword
  settings, the weights it takes (or null), and the keys of PML's numbers. The value is the mean
  over the batch; gradients have the layout of our arguments. With `unit` the gradient is that of
  the loss of the embeddings divided by their lengths;
- the versions that made it.

PML divides embeddings by their length in every distance unless told otherwise. That changes no
value on unit vectors, but the gradient, so each row below says which of the two it is.

A row is here only for batches on which the two definitions agree. Where they differ in what they
average over, PML's own reducers or a list of pairs make up for it; where they differ in the
terms, there is no row, and `DIFFERENT` in `test_pytorch_metric_learning_golden.py` says so.
"""

import json
from pathlib import Path

import numpy as np
import pytorch_metric_learning
import torch
from pytorch_metric_learning import losses
from pytorch_metric_learning.distances import CosineSimilarity, DotProductSimilarity, LpDistance
from pytorch_metric_learning.miners import (
    BatchEasyHardMiner,
    BatchHardMiner,
    MultiSimilarityMiner,
)
from pytorch_metric_learning.reducers import (
    AvgNonZeroReducer,
    MeanReducer,
    PerAnchorReducer,
    SumReducer,
)
from pytorch_metric_learning.regularizers import LpRegularizer, SparseCentersRegularizer
from pytorch_metric_learning.utils.loss_and_miner_utils import get_all_pairs_indices

OUTPUT = Path(__file__).with_name("pytorch_metric_learning.npz")

DIM, CLASSES, CENTERS = 8, 7, 3
BETAS = [1.3, 0.9, 1.25, 1.0, 0.8, 1.15, 1.1]  # one per class
SHAPE = {"num_classes": CLASSES, "embedding_size": DIM}

# name: seed, images per class, spread of each class (tight and loose ones), whether the
# embeddings have length one. No batch has all classes, and `uneven` has an image alone in its.
BATCHES = {
    "balanced": (1, (3, 3, 3, 3, 3), (0.1, 0.25, 0.5, 0.8, 1.2), True),
    "pairs": (9, (2, 2, 2, 2, 2, 2), (0.1, 0.2, 0.4, 0.6, 0.9, 1.2), True),
    "uneven": (3, (4, 3, 2, 1), (0.8, 0.15, 0.5, 0.3), True),
    "long": (4, (2, 2, 2, 2, 2, 2), (0.1, 0.2, 0.4, 0.6, 0.9, 1.2), False),
}


def draw():
    """All inputs, by name."""
    result = {}
    for name, (seed, sizes, spreads, unit) in BATCHES.items():
        rng = np.random.Generator(np.random.PCG64(seed))
        # A common part brings the classes close enough for terms of both signs.
        centres = rng.normal(size=DIM) + rng.normal(size=(len(sizes), DIM))
        of = np.repeat(np.arange(len(sizes)), sizes)
        x = centres[of] + np.array(spreads)[of, None] * rng.normal(size=(len(of), DIM))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        if not unit:
            x *= rng.uniform(0.8, 3.0, size=(len(of), 1))
        order = rng.permutation(len(of))
        classes = rng.permutation(CLASSES)[: len(sizes)]
        result[f"{name}_labels"] = classes[of][order].astype(np.int64)
        result[f"{name}_embeddings"] = x[order]
    rng = np.random.Generator(np.random.PCG64(0))
    result["proxies"] = rng.normal(size=(CLASSES, DIM))
    result["centers"] = rng.normal(size=(CLASSES, CENTERS, DIM))
    return result


def euclidean(power=1):
    return LpDistance(normalize_embeddings=False, power=power)


def all_pairs(labels):
    return len(labels) * (len(labels) - 1)


def valid_anchors(labels):
    """Number of images that have a positive, and so (here) a negative."""
    return len(torch.unique(get_all_pairs_indices(labels)[0]))


def pairs_of_valid_anchors(_, labels):
    """All pairs but the negative ones of an image that is alone in its class.

    PML counts such an image in the losses that sum positives and negatives separately.
    """
    a1, p, a2, n = get_all_pairs_indices(labels)
    keep = torch.isin(a2, a1)
    return a1, p, a2[keep], n[keep]


def semi_hard(embeddings, labels):
    """Triplets of an anchor, its only positive, and the nearest negative that is farther away.

    PML leaves out anchors that have no such negative; we do not.
    """
    miner = BatchEasyHardMiner("hard", "semihard", distance=euclidean())
    indices = miner(embeddings, labels)
    if len(indices[0]) != len(get_all_pairs_indices(labels)[0]):
        raise RuntimeError("choose a batch where every positive pair has a semi-hard negative")
    return indices


def rows():
    """Our function, our settings, batches, PML's loss, and more keywords of `run`."""
    # PML does not square the hinge: `squared=True` has no row.
    plain = {"squared": False}
    yield (
        "contrastive_loss",
        {"positive_margin": 0.3, "negative_margin": 1.0, **plain},
        ("balanced", "uneven"),
        losses.ContrastiveLoss(pos_margin=0.3, neg_margin=1.0, distance=euclidean()),
    )
    yield (
        "contrastive_loss",
        {"negative_margin": 0.8, "distance": "squared_euclidean", **plain},
        ("uneven",),
        losses.ContrastiveLoss(pos_margin=0, neg_margin=0.8, distance=euclidean(power=2)),
    )
    # A similarity's margins are one minus those of the cosine distance.
    yield (
        "contrastive_loss",
        {"positive_margin": 0.1, "negative_margin": 0.6, "distance": "cosine", **plain},
        ("uneven", "long"),
        losses.ContrastiveLoss(pos_margin=0.9, neg_margin=0.4, distance=CosineSimilarity()),
    )
    yield (
        "contrastive_loss",
        {"positive_margin": 0.2, "negative_margin": 0.9, "average": "pairs", **plain},
        ("uneven",),
        losses.ContrastiveLoss(
            pos_margin=0.2, neg_margin=0.9, distance=euclidean(), reducer=SumReducer()
        ),
        {"divisor": all_pairs},
    )

    yield (
        "triplet_loss",
        {"mining": "all"},
        ("balanced", "uneven"),
        losses.TripletMarginLoss(margin=0.2, distance=euclidean(power=2)),
    )
    yield (
        "triplet_loss",
        {"mining": "all", "margin": 0.3, "distance": "euclidean"},
        ("uneven",),
        losses.TripletMarginLoss(margin=0.3, distance=euclidean()),
    )
    yield (
        "triplet_loss",
        {"mining": "hard"},
        ("balanced", "uneven"),
        losses.TripletMarginLoss(margin=0.2, distance=euclidean(power=2), reducer=MeanReducer()),
        {"miner": BatchHardMiner(distance=euclidean())},
    )
    yield (
        "triplet_loss",
        {"mining": "hard", "soft": True, "margin": 0.1, "distance": "euclidean"},
        ("uneven",),
        losses.TripletMarginLoss(
            margin=0.1, smooth_loss=True, distance=euclidean(), reducer=MeanReducer()
        ),
        {"miner": BatchHardMiner(distance=euclidean())},
    )
    # No other batch: PML takes one positive per anchor, we all.
    yield (
        "triplet_loss",
        {"mining": "semi_hard"},
        ("pairs",),
        losses.TripletMarginLoss(margin=0.2, distance=euclidean(power=2), reducer=MeanReducer()),
        {"miner": semi_hard},
    )

    yield (
        "lifted_structure_loss",
        {},
        ("balanced", "uneven"),
        losses.LiftedStructureLoss(neg_margin=1, pos_margin=0, distance=euclidean()),
    )
    yield (
        "lifted_structure_loss",
        {"margin": 0.5, "distance": "cosine"},
        ("uneven",),
        losses.LiftedStructureLoss(neg_margin=0.5, pos_margin=1, distance=CosineSimilarity()),
    )
    # Long vectors lie far enough apart for pairs, and anchors, without a loss.
    yield (
        "lifted_structure_loss",
        {"margin": 0.2, "distance": "squared_euclidean"},
        ("long",),
        losses.LiftedStructureLoss(neg_margin=0.2, pos_margin=0, distance=euclidean(power=2)),
    )

    yield (
        "generalized_lifted_structure_loss",
        {},
        ("balanced",),
        losses.GeneralizedLiftedStructureLoss(neg_margin=1, pos_margin=0, distance=euclidean()),
    )
    yield (
        "generalized_lifted_structure_loss",
        {"margin": 0.2, "distance": "squared_euclidean"},
        ("long",),
        losses.GeneralizedLiftedStructureLoss(
            neg_margin=0.2, pos_margin=0, distance=euclidean(power=2)
        ),
    )
    yield (
        "generalized_lifted_structure_loss",
        {"margin": 0.5, "distance": "squared_euclidean"},
        ("uneven",),
        losses.GeneralizedLiftedStructureLoss(
            neg_margin=0.5, pos_margin=0, distance=euclidean(power=2), reducer=SumReducer()
        ),
        {"miner": pairs_of_valid_anchors, "divisor": valid_anchors},
    )

    yield (
        "n_pairs_loss",
        {"l2": 0.0},
        ("pairs",),
        losses.NPairsLoss(distance=DotProductSimilarity(normalize_embeddings=False)),
    )
    # With two images per class, the mean over all images is that over both of each pair.
    yield (
        "n_pairs_loss",
        {"l2": 0.02},
        ("long",),
        losses.NPairsLoss(
            distance=DotProductSimilarity(normalize_embeddings=False),
            embedding_regularizer=LpRegularizer(power=2),
            embedding_reg_weight=0.02,
        ),
    )

    # PML divides anchors and positives by their length, but not the negatives.
    yield (
        "angular_loss",
        {"alpha": 45.0},
        ("balanced",),
        losses.AngularLoss(alpha=45),
        {"unit": True},
    )
    yield (
        "angular_loss",
        {"alpha": 36.0},
        ("uneven",),
        losses.AngularLoss(alpha=36),
        {"unit": True},
    )

    yield (
        "margin_loss",
        {},
        ("balanced",),
        losses.MarginLoss(margin=0.2, beta=1.2, nu=0, distance=euclidean()),
    )
    yield (
        "margin_loss",
        {"margin": 0.15, "beta": 0.9, "nu": 0.05},
        ("uneven",),
        losses.MarginLoss(margin=0.15, beta=0.9, nu=0.05, learn_beta=True, distance=euclidean()),
    )
    by_class = losses.MarginLoss(
        margin=0.2, nu=0, learn_beta=True, num_classes=CLASSES, distance=euclidean()
    )
    by_class.beta.data = torch.tensor(BETAS)
    yield ("margin_loss", {"margin": 0.2, "beta": BETAS}, ("uneven",), by_class)

    yield (
        "multi_similarity_loss",
        {},
        ("balanced", "long"),
        losses.MultiSimilarityLoss(alpha=2, beta=50, base=1.0),
        {"miner": MultiSimilarityMiner(epsilon=0.1)},
    )
    yield (
        "multi_similarity_loss",
        {"alpha": 3.0, "beta": 40.0, "base": 0.7, "mining_margin": 0.05},
        ("uneven",),
        losses.MultiSimilarityLoss(alpha=3, beta=40, base=0.7, reducer=SumReducer()),
        {"miner": MultiSimilarityMiner(epsilon=0.05), "divisor": valid_anchors},
    )
    yield (
        "multi_similarity_loss",
        {"base": 0.5, "mining_margin": None},
        ("uneven",),
        losses.MultiSimilarityLoss(alpha=2, beta=50, base=0.5, reducer=SumReducer()),
        {"miner": pairs_of_valid_anchors, "divisor": valid_anchors},
    )

    yield ("circle_loss", {}, ("balanced", "long"), losses.CircleLoss(m=0.4, gamma=80))
    yield (
        "circle_loss",
        {"margin": 0.25, "gamma": 16.0},
        ("uneven",),
        losses.CircleLoss(m=0.25, gamma=16),
    )

    yield ("sup_con_loss", {}, ("balanced", "uneven"), losses.SupConLoss(temperature=0.1))
    yield (
        "sup_con_loss",
        {"temperature": 0.3},
        ("long",),
        losses.SupConLoss(temperature=0.3),
    )
    # PML takes the mean over pairs; ours over anchors, the same if all have as many positives.
    yield (
        "sup_con_loss",
        {"temperature": 0.2, "denominator": "negatives"},
        ("balanced",),
        losses.NTXentLoss(temperature=0.2),
    )
    yield (
        "sup_con_loss",
        {"denominator": "negatives"},
        ("uneven",),
        losses.NTXentLoss(temperature=0.1, reducer=PerAnchorReducer(AvgNonZeroReducer())),
    )

    proxies = {"weights": "proxies"}
    yield (
        "normalized_softmax_loss",
        {},
        ("uneven",),
        losses.NormalizedSoftmaxLoss(temperature=0.05, **SHAPE),
        proxies,
    )
    yield (
        "normalized_softmax_loss",
        {"temperature": 0.2},
        ("long",),
        losses.NormalizedSoftmaxLoss(temperature=0.2, **SHAPE),
        proxies,
    )
    for scale, batch in ((9.0, "uneven"), (1.0, "long")):
        yield (
            "proxy_nca_loss",
            {"scale": scale, "target_in_denominator": True},
            (batch,),
            losses.ProxyNCALoss(softmax_scale=scale, **SHAPE),
            proxies,
        )
    yield (
        "proxy_anchor_loss",
        {},
        ("uneven",),
        losses.ProxyAnchorLoss(margin=0.1, alpha=32, **SHAPE),
        proxies,
    )
    yield (
        "proxy_anchor_loss",
        {"margin": 0.2, "alpha": 8.0},
        ("long",),
        losses.ProxyAnchorLoss(margin=0.2, alpha=8, **SHAPE),
        proxies,
    )
    # A wide margin takes some targets past 180 degrees. PML's margin is in degrees.
    for margin, scale, batch in ((0.5, 64.0, "uneven"), (1.5, 16.0, "long")):
        yield (
            "arc_face_loss",
            {"margin": margin, "scale": scale},
            (batch,),
            losses.ArcFaceLoss(margin=np.degrees(margin), scale=scale, **SHAPE),
            proxies,
        )
    for margin, scale, batch in ((0.35, 64.0, "uneven"), (0.2, 16.0, "long")):
        yield (
            "cos_face_loss",
            {"margin": margin, "scale": scale},
            (batch,),
            losses.CosFaceLoss(margin=margin, scale=scale, **SHAPE),
            proxies,
        )

    centers = {"weights": "centers"}
    yield (
        "soft_triple_loss",
        {},
        ("uneven",),
        losses.SoftTripleLoss(
            centers_per_class=CENTERS,
            la=20,
            gamma=0.1,
            margin=0.01,
            weight_regularizer=SparseCentersRegularizer(CLASSES, CENTERS),
            weight_reg_weight=0.2,
            **SHAPE,
        ),
        centers,
    )
    yield (
        "soft_triple_loss",
        {"scale": 8.0, "gamma": 0.3, "margin": 0.1, "tau": 0.0},
        ("long",),
        losses.SoftTripleLoss(centers_per_class=CENTERS, la=8, gamma=0.3, margin=0.1, **SHAPE),
        centers,
    )


def set_weights(loss, array):
    """Give PML's loss our weights, in the same order.

    Returns:
        The parameter, and the function from its gradient to the shape of ours.
    """
    flat = torch.tensor(array).reshape(-1, DIM)  # (C, D) or (C K, D), the centres of a class
    for name in ("proxies", "W", "fc"):  # in turn
        parameter = getattr(loss, name, None)
        if parameter is not None:
            break
    transposed = name != "proxies"
    parameter.data = (flat.T if transposed else flat).clone()
    return parameter, lambda g: (g.T if transposed else g).reshape(array.shape)


def run(loss, inputs, batch, *, weights=None, miner=None, divisor=None, unit=False):
    """Value, gradient, gradient of the weights or None, gradient of a beta per class or None."""
    labels = torch.tensor(inputs[f"{batch}_labels"])
    embeddings = torch.tensor(inputs[f"{batch}_embeddings"], requires_grad=True)
    wanted = [embeddings]
    if weights is not None:
        parameter, ours = set_weights(loss, inputs[weights])
        wanted.append(parameter)
    by_class = isinstance(loss, losses.MarginLoss) and len(loss.beta) > 1
    if by_class:
        wanted.append(loss.beta)
    x = torch.nn.functional.normalize(embeddings) if unit else embeddings
    value = loss(x, labels, None if miner is None else miner(x, labels)).squeeze()
    if divisor is not None:
        value = value / divisor(labels)
    if value.dtype != torch.float64:
        raise RuntimeError(f"{type(loss).__name__} computed in {value.dtype}")
    gradients = torch.autograd.grad(value, wanted)
    if not all(torch.isfinite(g).all() and g.abs().max() > 0 for g in gradients):
        raise RuntimeError(f"{type(loss).__name__} has an empty gradient on {batch}")
    return (
        value.detach().numpy(),
        gradients[0].numpy(),
        ours(gradients[1]).numpy() if weights is not None else None,
        gradients[1].numpy() if by_class else None,
    )


def compute():
    """All arrays of the file."""
    inputs = draw()
    result, cases = dict(inputs), []
    for name, settings, batches, loss, *more in rows():
        options = more[0] if more else {}
        for batch in batches:
            key = f"{len(cases):02d}"
            value, gradient, weight_gradient, beta_gradient = run(loss, inputs, batch, **options)
            case = {
                "loss": name,
                "batch": batch,
                "settings": settings,
                "weights": options.get("weights"),
                "unit": options.get("unit", False),
                "value_key": f"{key}_value",
                "gradient_key": f"{key}_gradient",
                "weight_gradient_key": None,
                "setting_gradient_keys": {},
            }
            result[case["value_key"]] = value
            result[case["gradient_key"]] = gradient
            if weight_gradient is not None:
                case["weight_gradient_key"] = f"{key}_weight_gradient"
                result[case["weight_gradient_key"]] = weight_gradient
            if beta_gradient is not None:
                case["setting_gradient_keys"] = {"beta": f"{key}_beta_gradient"}
                result[f"{key}_beta_gradient"] = beta_gradient
            cases.append(case)
    result["cases"] = np.array(json.dumps(cases))
    result["pytorch_metric_learning_version"] = np.array(pytorch_metric_learning.__version__)
    result["torch_version"] = np.array(torch.__version__)
    result["numpy_version"] = np.array(np.__version__)
    return result, cases


def main():
    torch.set_num_threads(1)
    # PML makes a few constants of the default type (beta of the margin loss): 1.2 is not 1.2 then.
    torch.set_default_dtype(torch.float64)
    result, cases = compute()
    np.savez_compressed(OUTPUT, **result)
    for case in cases:
        value = float(result[case["value_key"]])
        print(f"{case['loss']:34} {case['batch']:9} {value:22.17g} {case['settings']}")
    print(f"{OUTPUT.name}: {OUTPUT.stat().st_size} bytes, {len(cases)} cases")


if __name__ == "__main__":
    main()
