"""Write `efficientnet_lite.npz`: numbers of the PyTorch EfficientNet-Lite for the test of ours.

The network is that of the package `efficientnet-lite-pytorch` 0.1.0, with random weights by the
recipe in `lite_weights.py`. It is built without an image size, so that it pads by the size of each
map as it comes; at the size of its training it also runs as it is published, with the padding of
that size, and must give the same.

Run it with any Python that has torch, NumPy and that package (never a dependency of this one):

    pip install torch numpy efficientnet-lite-pytorch
    python tests/golden/make_efficientnet_lite.py

The npz holds, per network and size, for the stem, each block and the head the values at 64
positions (given by the recipe, indices into NHWC) and (mean, standard deviation, largest
magnitude), the feature, and the first logits; and of one pass with batch statistics, without the
original's stochastic depth, the feature and the running statistics of two layers after it, as
PyTorch has them (*unbiased* variance in the running update).
"""

from pathlib import Path

import he_weights
import lite_weights as recipe
import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet

OUTPUT = Path(__file__).with_name("efficientnet_lite.npz")


def build(network, **settings):
    """The network of the package with the weights of the recipe, and those weights."""
    published = network.replace("efficientnet_lite", "efficientnet-lite")
    model = EfficientNet.from_name(published, **settings)
    state = {
        name: torch.from_numpy(recipe.weights(network, name, tensor.shape))
        for name, tensor in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or not all(name.endswith("num_batches_tracked") for name in missing):
        raise RuntimeError(f"state dict: missing {missing}, unexpected {unexpected}")
    return model, state


def run(model, network, shape):
    """Outputs of stem, blocks and head in NHWC, the feature, the logits."""
    pixels = recipe.images(network, shape)
    x = torch.from_numpy(np.ascontiguousarray(((pixels - 127) / 128).transpose(0, 3, 1, 2)))
    outputs = []
    x = model._swish(model._bn0(model._conv_stem(x)))
    outputs.append(x)
    for block in model._blocks:
        x = block(x)
        outputs.append(x)
    x = model._swish(model._bn1(model._conv_head(x)))
    outputs.append(x)
    feature = x.mean(dim=(2, 3))
    logits = model._fc(feature)
    maps = [np.ascontiguousarray(each.detach().numpy().transpose(0, 2, 3, 1)) for each in outputs]
    return maps, feature.detach().numpy(), logits.detach().numpy()


def record(case, maps):
    """Sampled values, statistics and shapes of the outputs."""
    values, stats = [], []
    for number, array in enumerate(maps):
        values.append(array.ravel()[recipe.positions(f"{case}:{number}", array.shape)])
        wide = array.astype(np.float64)
        stats.append((wide.mean(), wide.std(), np.abs(wide).max()))
    return {
        f"values_{case}": np.array(values, dtype=np.float32),
        f"stats_{case}": np.array(stats, dtype=np.float32),
        f"shapes_{case}": np.array([array.shape for array in maps], dtype=np.int16),
    }


def compute():
    """All arrays of the file."""
    result = {"torch_version": np.array(torch.__version__)}
    for network, shapes in recipe.CASES.items():
        model, state = build(network, image_size=None)
        fixed, _ = build(network)
        result[f"weight_names_{network}"] = np.array(list(state))
        result[f"weight_digests_{network}"] = np.array(
            [he_weights.digest(tensor.numpy()) for tensor in state.values()]
        )
        with torch.no_grad():
            for shape in shapes:
                case = recipe.case_name(network, shape)
                maps, feature, logits = run(model.eval(), network, shape)
                result.update(record(case, maps))
                result[f"feature_{case}"] = feature
                result[f"logits_{case}"] = logits[:, : recipe.LOGITS]
                if shape == shapes[0]:
                    published = fixed.eval()(
                        torch.from_numpy((recipe.images(network, shape) - 127) / 128).permute(
                            0, 3, 1, 2
                        )
                    )
                    np.testing.assert_allclose(published.numpy(), logits, rtol=1e-4, atol=1e-4)
    network, shape = recipe.TRAIN_CASE
    model, _ = build(network, image_size=None, drop_connect_rate=0.0)
    with torch.no_grad():
        _, feature, _ = run(model.train(), network, shape)
    result["feature_train"] = feature
    for name in ("_bn0", "_bn1"):
        norm = getattr(model, name)
        result[f"train{name}_mean"] = norm.running_mean.numpy()
        result[f"train{name}_variance"] = norm.running_var.numpy()
    return result


def main():
    torch.set_num_threads(1)
    result = compute()
    np.savez_compressed(OUTPUT, **result)
    print(f"{OUTPUT}: {OUTPUT.stat().st_size} bytes, torch {torch.__version__}")
    for name, stats in result.items():
        if name.startswith("stats_"):
            print(name, " ".join(f"{mean:.2f}/{top:.1f}" for mean, _, top in stats))


if __name__ == "__main__":
    main()
