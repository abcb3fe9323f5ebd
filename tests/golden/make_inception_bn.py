"""Write `inception_bn.npz`: numbers of a PyTorch Inception-BN for the test of the Keras one.

The network is the Caffe layout of the published weights (`bn_inception-52deb4733.pth`): 69
convolutions with bias, each followed by batch normalisation (eps 1e-5) and ReLU; explicit zero
padding, also in front of stride 2; max pooling 3x3/2 without padding that rounds the size up;
average pooling that counts the padding (always a ninth); a max pooling in block 5b; in blocks 3c
and 4e the stride sits in the last 3x3 of each branch and the pool is passed through.

The weights are random (`he_weights.py`), so nothing is downloaded and nothing large is stored.

Run it with any Python that has torch and NumPy (torch is never a dependency of the package):

    python tests/golden/make_inception_bn.py

The npz holds, per input size, for each of the 12 block outputs the values at 256 positions (given
by the recipe, indices into NHWC) and (mean, standard deviation, largest magnitude), the feature,
at 224 the first 256 logits, and one pass with batch statistics: the feature and the running
statistics after it, as PyTorch has them (momentum 0.1, *unbiased* variance in the running
update). `torch_version` says which PyTorch made the file.
"""

from pathlib import Path

import he_weights
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

OUTPUT = Path(__file__).with_name("inception_bn.npz")

# block: 1x1, (3x3 reduce, 3x3), (double 3x3 reduce, first and second 3x3), pool projection.
# None: no such branch; those two blocks halve the map.
BLOCKS = {
    "3a": (64, (64, 64), (64, 96), 32),
    "3b": (64, (64, 96), (64, 96), 64),
    "3c": (None, (128, 160), (64, 96), None),
    "4a": (224, (64, 96), (96, 128), 128),
    "4b": (192, (96, 128), (96, 128), 128),
    "4c": (160, (128, 160), (128, 160), 128),
    "4d": (96, (128, 192), (160, 192), 128),
    "4e": (None, (128, 192), (192, 256), None),
    "5a": (352, (192, 320), (160, 224), 128),
    "5b": (352, (192, 320), (192, 224), 128),
}


class InceptionBN(nn.Module):
    """Inception-BN; sub-modules have the names of the published state dict."""

    def __init__(self, classes=1000):
        super().__init__()
        self._add("conv1_7x7_s2", 3, 64, 7, stride=2)
        self._add("conv2_3x3_reduce", 64, 64, 1)
        self._add("conv2_3x3", 64, 192, 3)
        width = 192
        for block, (one, (reduce, three), (double_reduce, double), proj) in BLOCKS.items():
            name = f"inception_{block}_"
            stride = 2 if one is None else 1
            if one is not None:
                self._add(name + "1x1", width, one, 1)
            self._add(name + "3x3_reduce", width, reduce, 1)
            self._add(name + "3x3", reduce, three, 3, stride=stride)
            self._add(name + "double_3x3_reduce", width, double_reduce, 1)
            self._add(name + "double_3x3_1", double_reduce, double, 3)
            self._add(name + "double_3x3_2", double, double, 3, stride=stride)
            if proj is not None:
                self._add(name + "pool_proj", width, proj, 1)
            width = (one or 0) + three + double + (proj or width)
        self.last_linear = nn.Linear(width, classes)

    def _add(self, name, inputs, outputs, kernel, stride=1):
        conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=True)
        self.add_module(name, conv)
        self.add_module(name + "_bn", nn.BatchNorm2d(outputs, eps=1e-5, momentum=0.1))

    def _unit(self, name, x):
        return F.relu(getattr(self, name + "_bn")(getattr(self, name)(x)))

    @staticmethod
    def _halve(x):
        return F.max_pool2d(x, 3, stride=2, padding=0, ceil_mode=True)

    def _pool(self, block, x):
        if block == "5b":
            return F.max_pool2d(x, 3, stride=1, padding=1)
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=True)

    def _block(self, block, x):
        one, _, _, proj = BLOCKS[block]

        def unit(part, y):
            return self._unit(f"inception_{block}_{part}", y)

        branches = []
        if one is not None:
            branches.append(unit("1x1", x))
        branches.append(unit("3x3", unit("3x3_reduce", x)))
        double = unit("double_3x3_1", unit("double_3x3_reduce", x))
        branches.append(unit("double_3x3_2", double))
        if proj is None:
            branches.append(self._halve(x))
        else:
            branches.append(unit("pool_proj", self._pool(block, x)))
        return torch.cat(branches, dim=1)

    def forward(self, x):
        """All block outputs by name, the feature and the logits."""
        outputs = {}
        x = outputs["pool1_3x3_s2"] = self._halve(self._unit("conv1_7x7_s2", x))
        x = self._unit("conv2_3x3", self._unit("conv2_3x3_reduce", x))
        x = outputs["pool2_3x3_s2"] = self._halve(x)
        for block in BLOCKS:
            x = outputs[f"inception_{block}_output"] = self._block(block, x)
        feature = x.mean(dim=(2, 3))
        return outputs, feature, self.last_linear(feature)


def build():
    """The network with the weights of the recipe, and the (name, array) pairs that went in."""
    model = InceptionBN()
    state = {}
    for name, tensor in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            state[name] = torch.from_numpy(he_weights.weights(name, tensor.shape))
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or not all(name.endswith("num_batches_tracked") for name in missing):
        raise RuntimeError(f"state dict: missing {missing}, unexpected {unexpected}")
    return model, state


def to_torch(images):
    """NHWC array to NCHW tensor."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def nhwc(tensor):
    """NCHW tensor to NHWC array."""
    return np.ascontiguousarray(tensor.detach().numpy().transpose(0, 2, 3, 1))


def record(case, outputs):
    """Sampled values (12, 256) and statistics (12, 3) of the block outputs."""
    if tuple(outputs) != he_weights.TENSORS:
        raise RuntimeError(f"block outputs differ from the recipe's: {tuple(outputs)}")
    values, stats = [], []
    for name, tensor in outputs.items():
        array = nhwc(tensor)
        values.append(array.ravel()[he_weights.positions(f"{case}:{name}", array.shape)])
        wide = array.astype(np.float64)
        stats.append((wide.mean(), wide.std(), np.abs(wide).max()))
    return np.array(values, dtype=np.float32), np.array(stats, dtype=np.float32)


def check_size(model):
    """The published network has these many parts; a slip in the table would show here."""
    kinds = [type(m).__name__ for m in model.modules()]
    total = sum(p.numel() for p in model.parameters())
    found = (kinds.count("Conv2d"), kinds.count("BatchNorm2d"), total)
    if found != (69, 69, 11_295_240):
        raise RuntimeError(f"convolutions, batch norms and parameters are {found}")


def compute():
    """All arrays of the file."""
    model, state = build()
    check_size(model)
    result = {
        "torch_version": np.array(torch.__version__),
        "numpy_version": np.array(np.__version__),
        "tensors": np.array(he_weights.TENSORS),
        "weight_names": np.array(list(state)),
        "weight_shapes": np.array([tuple(t.shape) + (0,) * (4 - t.ndim) for t in state.values()]),
        "weight_digests": np.array([he_weights.digest(t.numpy()) for t in state.values()]),
    }
    model.eval()
    with torch.no_grad():
        for case, shape in he_weights.CASES.items():
            images = he_weights.images(case, *shape)
            outputs, feature, logits = model(to_torch(images))
            result[f"images_digest_{case}"] = np.array(he_weights.digest(images))
            result[f"values_{case}"], result[f"stats_{case}"] = record(case, outputs)
            result[f"shapes_{case}"] = np.array([nhwc(t).shape for t in outputs.values()])
            result[f"feature_{case}"] = feature.numpy()
            if case == "224":
                result["logits_224"] = logits.numpy()[:, : he_weights.LOGITS]

        model.train()
        images = he_weights.images("train", *he_weights.TRAIN_CASE)
        outputs, feature, _ = model(to_torch(images))
        result["images_digest_train"] = np.array(he_weights.digest(images))
        result["values_train"], result["stats_train"] = record("train", outputs)
        result["shapes_train"] = np.array([nhwc(t).shape for t in outputs.values()])
        result["feature_train"] = feature.numpy()
        for name in he_weights.TRAIN_BNS:
            bn = getattr(model, name)
            result[f"{name}_running_mean"] = bn.running_mean.numpy()
            result[f"{name}_running_var"] = bn.running_var.numpy()
    return result


def main():
    torch.set_num_threads(1)
    result = compute()
    np.savez_compressed(OUTPUT, **result)
    print(f"{OUTPUT}: {OUTPUT.stat().st_size} bytes, torch {torch.__version__}")
    for case in [*he_weights.CASES, "train"]:
        for name, (mean, std, top) in zip(he_weights.TENSORS, result[f"stats_{case}"], strict=True):
            print(f"{case:7} {name:22} mean {mean:9.4f} std {std:9.4f} max {top:9.4f}")


if __name__ == "__main__":
    main()
