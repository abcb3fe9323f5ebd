"""Which layers learn: their flags as data, all but one frozen, and put back as they were.

Keras hands the flag of a layer on to everything inside it, so that freezing a network and thawing
it again would thaw what its owner had frozen for good.
"""


def flags(model):
    """What learns in a model, as JSON can keep it.

    Args:
        model: a built `keras.Model`.

    Returns:
        A list with a row for every layer at any depth: name, whether it learns, and whether each of
        the weights that it can train does. The order is the same after saving and loading.
    """
    return [
        [layer.name, layer.trainable, [w.trainable for w in layer._trainable_variables]]
        for layer in model._flatten_layers()
    ]


def put_back(model, kept):
    """Let learn what did when `flags` looked, and nothing else. Compile afterwards.

    Args:
        model: the model, or one of the same layers that was loaded since.
        kept: what `flags` returned.

    Raises:
        ValueError: if the model has other layers.
    """
    layers = model._flatten_layers()
    weights = [layer._trainable_variables for layer in layers]
    if [len(row[2]) for row in kept] != [len(each) for each in weights]:
        raise ValueError(
            "`kept` must be what `flags` returned for this model. "
            f"Received: {len(kept)} layers for a model of {len(layers)}"
        )
    # A flag goes on to everything inside, so what holds others comes before them.
    order = sorted(range(len(layers)), key=lambda i: -len(layers[i]._flatten_layers()))
    for i in order:
        layers[i].trainable = kept[i][1]
    for row, each in zip(kept, weights, strict=True):
        for weight, learns in zip(each, row[2], strict=True):
            weight.trainable = learns


def freeze_all_but(model, name):
    """Freeze every layer of a model but one; batch normalisation then uses running statistics.

    Args:
        model: a `keras.Model`.
        name: of the layer, directly in the model, that stays as it is.
    """
    for layer in model.layers:
        if layer.name != name:
            # One by one: a layer whose flag is the same already hands nothing on.
            for part in layer._flatten_layers():
                part.trainable = False
                for weight in part._trainable_variables:
                    weight.trainable = False
