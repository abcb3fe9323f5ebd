"""The table of `tests/losses/test_loss_contract.py`: a new loss is a new row here."""

from helpers import loss_oracles, oracles
from mdl_tf.losses import LOSSES

CLASSES = {"num_classes": 12}  # of which the batch has four
# Where the batch leaves a loss over anchors with positives and negatives nothing to average.
NOTHING = {"no positives", "one class", "one image"}
# row: name of the loss, settings, and the degenerate batches that give 0.
ROWS = {
    "margin_discriminate": ("margin_discriminate", {}, NOTHING),
    "margin_discriminate-hinge": (
        "margin_discriminate",
        {"form": "hinge", "distance": "squared_euclidean", "margin": 0.3},
        NOTHING,
    ),
    "margin_discriminate-hardest": (
        "margin_discriminate",
        {"form": "hardest", "distance": "cosine", "sharpness": 5.0},
        NOTHING,
    ),
    "contrastive": ("contrastive", {"negative_margin": 1.3}, {"one image"}),
    "triplet": ("triplet", {}, NOTHING),
    "triplet-all": ("triplet", {"mining": "all", "distance": "euclidean"}, NOTHING),
    "triplet-hard": ("triplet", {"mining": "hard", "soft": True}, NOTHING),
    "lifted_structure": ("lifted_structure", {}, NOTHING),
    "generalized_lifted_structure": ("generalized_lifted_structure", {}, NOTHING),
    "n_pairs": ("n_pairs", {"l2": 0.1}, NOTHING),
    "angular": ("angular", {}, NOTHING),
    "margin": ("margin", {}, NOTHING),
    "margin-learned": ("margin", {"learn_beta": True, "nu": 0.1}, NOTHING),
    "margin-by-class": ("margin", {"learn_beta": True, **CLASSES}, NOTHING),
    "multi_similarity": ("multi_similarity", {"mining_margin": 0.3}, NOTHING),
    "circle": ("circle", {}, NOTHING),
    "sup_con": ("sup_con", {}, NOTHING),
    "sup_con-nt_xent": ("sup_con", {"denominator": "negatives"}, NOTHING),
    "normalized_softmax": ("normalized_softmax", CLASSES, set()),
    "proxy_nca": ("proxy_nca", CLASSES, set()),
    "proxy_anchor": ("proxy_anchor", CLASSES, set()),
    "arc_face": ("arc_face", CLASSES, set()),
    "cos_face": ("cos_face", CLASSES, set()),
    "soft_triple": ("soft_triple", {**CLASSES, "centers_per_class": 3}, set()),
}


def find_untested():
    """What the table of losses has and the tests have not: `name: what is missing`."""
    rows = {name for name, _, _ in ROWS.values()}
    missing = [f"{name}: a row" for name in LOSSES if name not in rows]
    return missing + [
        f"{name}: an oracle"
        for name in LOSSES
        if not (hasattr(loss_oracles, name) or hasattr(oracles, name))
    ]
