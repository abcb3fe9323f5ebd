"""What was asked of a comparison, and what became of the values that were left open. Light.

A folder keeps all values, as they were when it began. Who types the same command again leaves the
same ones open and means this comparison, even if a later version has other defaults.
"""

from mdl_tf.config import TrainConfig, versions


def find_left_open(asked, settled):
    """What was asked for where something else came of it.

    Args:
        asked: a `TrainConfig` with open values.
        settled: the same one without any.

    Returns:
        A dict from fields to values of `asked`.
    """
    settled = settled.to_dict()
    return {name: value for name, value in asked.to_dict().items() if value != settled[name]}


def read_left_open(kept):
    """The same of a comparison that is kept.

    Args:
        kept: what `Folder.keep` wrote, in this version or an earlier one.

    Returns:
        A dict. Of version 0.1.0, which wrote nothing about it: today's default of each field that
        had its default then.
    """
    if "asked" in kept:
        return kept["asked"]
    if "version" in kept["config"]:
        return {}
    first, today = versions.first_defaults()["settings"], TrainConfig().to_dict()
    settled = TrainConfig.from_kept(kept["config"]).to_dict()
    return {
        name: value
        for name, value in today.items()
        if name != "loss_args" and settled[name] == first.get(name, settled[name])
    }


def find_changes(kept, asked):
    """What keeps a comparison that is kept from being one that is asked for.

    Args:
        kept: what `Folder.keep` wrote.
        asked: the `TrainConfig` that is asked for.

    Returns:
        A list of `name=value`, with the values that are kept; empty if it is the same.
    """
    settled = {**TrainConfig.from_kept(kept["config"]).to_dict(), "loss_args": {}}
    left_open = {**settled, **read_left_open(kept)}
    return [
        f"{name}={settled[name]!r}"
        for name, value in asked.to_dict().items()
        if value not in (settled[name], left_open[name])
    ]
