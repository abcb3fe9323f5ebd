"""The public list of losses, each as a function and as a `keras.losses.Loss`.

The last six of `LOSSES`, which take `num_classes`, and `MarginLoss(learn_beta=True)` have weights
of their own: `mdl_tf.training_model.MetricModel(embedder, loss)` trains and saves them.
`MetricLoss` is the base of all.
"""

from mdl_tf.losses.angular import AngularLoss, angular_loss
from mdl_tf.losses.base import MetricLoss
from mdl_tf.losses.circle import CircleLoss, circle_loss
from mdl_tf.losses.contrastive import ContrastiveLoss, contrastive_loss
from mdl_tf.losses.lifted_structure import (
    GeneralizedLiftedStructureLoss,
    LiftedStructureLoss,
    generalized_lifted_structure_loss,
    lifted_structure_loss,
)
from mdl_tf.losses.margin import MarginLoss, margin_loss
from mdl_tf.losses.margin_discriminate import MarginDiscriminateLoss, margin_discriminate_loss
from mdl_tf.losses.multi_similarity import MultiSimilarityLoss, multi_similarity_loss
from mdl_tf.losses.n_pairs import NPairsLoss, n_pairs_loss
from mdl_tf.losses.proxy import ProxyAnchorLoss, ProxyNCALoss, proxy_anchor_loss, proxy_nca_loss
from mdl_tf.losses.soft_triple import SoftTripleLoss, soft_triple_loss
from mdl_tf.losses.softmax import (
    ArcFaceLoss,
    CosFaceLoss,
    NormalizedSoftmaxLoss,
    arc_face_loss,
    cos_face_loss,
    normalized_softmax_loss,
)
from mdl_tf.losses.sup_con import SupConLoss, sup_con_loss
from mdl_tf.losses.triplet import TripletLoss, triplet_loss

# Names of losses on the command line and in `TrainConfig.loss`: those of the functions.
LOSSES = {
    "margin_discriminate": MarginDiscriminateLoss,
    "contrastive": ContrastiveLoss,
    "triplet": TripletLoss,
    "lifted_structure": LiftedStructureLoss,
    "generalized_lifted_structure": GeneralizedLiftedStructureLoss,
    "n_pairs": NPairsLoss,
    "angular": AngularLoss,
    "margin": MarginLoss,
    "multi_similarity": MultiSimilarityLoss,
    "circle": CircleLoss,
    "sup_con": SupConLoss,
    "normalized_softmax": NormalizedSoftmaxLoss,
    "proxy_nca": ProxyNCALoss,
    "proxy_anchor": ProxyAnchorLoss,
    "arc_face": ArcFaceLoss,
    "cos_face": CosFaceLoss,
    "soft_triple": SoftTripleLoss,
}

__all__ = [
    "AngularLoss",
    "ArcFaceLoss",
    "CircleLoss",
    "ContrastiveLoss",
    "CosFaceLoss",
    "GeneralizedLiftedStructureLoss",
    "LiftedStructureLoss",
    "MarginDiscriminateLoss",
    "MarginLoss",
    "MetricLoss",
    "MultiSimilarityLoss",
    "NPairsLoss",
    "NormalizedSoftmaxLoss",
    "ProxyAnchorLoss",
    "ProxyNCALoss",
    "SoftTripleLoss",
    "SupConLoss",
    "TripletLoss",
    "angular_loss",
    "arc_face_loss",
    "circle_loss",
    "contrastive_loss",
    "cos_face_loss",
    "generalized_lifted_structure_loss",
    "lifted_structure_loss",
    "margin_discriminate_loss",
    "margin_loss",
    "multi_similarity_loss",
    "n_pairs_loss",
    "normalized_softmax_loss",
    "proxy_anchor_loss",
    "proxy_nca_loss",
    "soft_triple_loss",
    "sup_con_loss",
    "triplet_loss",
]
