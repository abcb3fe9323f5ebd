"""Files that PyTorch wrote for Inception-BN, put together again without PyTorch.

Each is 45 MB, nearly all of it the weights of the recipe in `he_weights.py`. Stored are the file
with the bytes of those weights cut out, where they were, and the SHA-256 of the complete file; so
what `write` leaves is, byte for byte, what PyTorch wrote. `make_bn_inception_files.py` cut them.
"""

import functools
import hashlib
import importlib.util
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent
# The stream as `bn_inception-52deb4733.pth` is; the zip of today; the stream with the batch norms
# of shape [1, C], as in the files before it.
KINDS = ("legacy", "zip", "legacy_1c")

_spec = importlib.util.spec_from_file_location("he_weights", GOLDEN / "he_weights.py")
he_weights = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(he_weights)


@functools.cache
def weights():
    """The recipe's arrays by name, in the order and with the shapes of the state dict."""
    with np.load(GOLDEN / "inception_bn.npz") as golden:
        names, shapes = golden["weight_names"], golden["weight_shapes"]
    return {
        str(name): he_weights.weights(str(name), shape[shape > 0])
        for name, shape in zip(names, shapes, strict=True)
    }


def write(kind, path):
    """Write one of the files; `kind` is one of `KINDS`.

    Raises `RuntimeError` if the file is not the one that PyTorch wrote: NumPy's streams of random
    numbers have changed, or its normal ones are rounded otherwise on this machine.
    """
    with np.load(GOLDEN / "bn_inception_files.npz") as golden:
        skeleton = golden[f"skeleton_{kind}"].tobytes()
        cuts = zip(golden[f"cuts_{kind}"].tolist(), golden[f"names_{kind}"].tolist(), strict=True)
        expected = str(golden[f"sha256_{kind}"])
    arrays, digest, done = weights(), hashlib.sha256(), 0
    with open(path, "wb") as file:
        # A cut is a position in the skeleton, between its bytes.
        for cut, name in [*cuts, (len(skeleton), None)]:
            parts = [skeleton[done:cut], b"" if name is None else arrays[name]]
            done = cut
            for part in parts:
                file.write(part)
                digest.update(part)
    if digest.hexdigest() != expected:
        raise RuntimeError(f"{kind} has sha256 {digest.hexdigest()}, PyTorch's has {expected}")
