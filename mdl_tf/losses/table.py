"""The losses by name: a loss is one file and one row here. Loads neither TensorFlow nor Keras."""

import pkgutil
from collections.abc import Mapping

# From the name in `TrainConfig` and on the command line to the class. The function beside the class
# is called `<name>_loss`.
ROWS = {
    "margin_discriminate": "mdl_tf.losses.margin_discriminate:MarginDiscriminateLoss",
    "contrastive": "mdl_tf.losses.contrastive:ContrastiveLoss",
    "triplet": "mdl_tf.losses.triplet:TripletLoss",
    "lifted_structure": "mdl_tf.losses.lifted_structure:LiftedStructureLoss",
    "generalized_lifted_structure": "mdl_tf.losses.lifted_structure:GeneralizedLiftedStructureLoss",
    "n_pairs": "mdl_tf.losses.n_pairs:NPairsLoss",
    "angular": "mdl_tf.losses.angular:AngularLoss",
    "margin": "mdl_tf.losses.margin:MarginLoss",
    "multi_similarity": "mdl_tf.losses.multi_similarity:MultiSimilarityLoss",
    "circle": "mdl_tf.losses.circle:CircleLoss",
    "sup_con": "mdl_tf.losses.sup_con:SupConLoss",
    "normalized_softmax": "mdl_tf.losses.softmax:NormalizedSoftmaxLoss",
    "proxy_nca": "mdl_tf.losses.proxy:ProxyNCALoss",
    "proxy_anchor": "mdl_tf.losses.proxy:ProxyAnchorLoss",
    "arc_face": "mdl_tf.losses.softmax:ArcFaceLoss",
    "cos_face": "mdl_tf.losses.softmax:CosFaceLoss",
    "soft_triple": "mdl_tf.losses.soft_triple:SoftTripleLoss",
}
# What the search, the doctor and the training ask of the class of a row.
FACTS = ("search_space", "positives", "gap")


class LossTable(Mapping):
    """Loss classes by name, read-only; a class is imported when it is looked up."""

    def __getitem__(self, name):
        loss = pkgutil.resolve_name(ROWS[name])
        missing = [fact for fact in FACTS if getattr(loss, fact, None) is None]
        if missing:
            raise TypeError(
                f"{loss.__name__}, the loss {name!r}, must state {', '.join(FACTS)}; see "
                f"`MetricLoss`. Missing: {', '.join(missing)}"
            )
        if not hasattr(loss.function, "check"):
            raise TypeError(
                f"The function of {loss.__name__}, the loss {name!r}, must be decorated with "
                "`mdl_tf.losses.guard.guard`."
            )
        return loss

    def __contains__(self, name):
        # That of `Mapping` would import the class.
        return name in ROWS

    def __iter__(self):
        return iter(ROWS)

    def __len__(self):
        return len(ROWS)

    def __repr__(self):
        return f"LossTable({', '.join(ROWS)})"


LOSSES = LossTable()


def locate_public_names():
    """Where the public names of `mdl_tf.losses` are.

    Returns:
        A dict from each name to `module:name`.
    """
    places = {
        "AnchorsThatCount": "mdl_tf.losses.anchors:AnchorsThatCount",
        "LOSSES": "mdl_tf.losses.table:LOSSES",
        "MetricLoss": "mdl_tf.losses.base:MetricLoss",
        "MetricModel": "mdl_tf.losses.metric_model:MetricModel",
        "WeightedSum": "mdl_tf.losses.weighted_sum:WeightedSum",
    }
    for name, place in ROWS.items():
        module, _, class_name = place.partition(":")
        places[class_name] = place
        places[f"{name}_loss"] = f"{module}:{name}_loss"
    return places
