"""Write `bn_inception_files.npz`: what `file_skeletons.py` needs to make three files of PyTorch.

The network of `make_inception_bn.py` with the weights of `he_weights.py`, saved as

    legacy       the stream, as the published `bn_inception-52deb4733.pth`: no num_batches_tracked
    zip          the zip with all of the state dict, as PyTorch writes it today
    legacy_1c    the stream with batch norms of shape [1, C], as in the older published files

Run it with any Python that has torch and NumPy (torch is never a dependency of the package):

    python tests/golden/make_bn_inception_files.py

Per kind the npz holds `skeleton_KIND` (the bytes of the file without those of the weights),
`cuts_KIND` and `names_KIND` (where in the skeleton the weights of which name belong) and
`sha256_KIND` of the complete file. The features that PyTorch computes with these weights are in
`inception_bn.npz`.
"""

import collections
import hashlib
import io
from pathlib import Path

import make_inception_bn
import numpy as np
import torch

OUTPUT = Path(__file__).with_name("bn_inception_files.npz")


def objects():
    """By kind: what is saved, and whether as a zip."""
    model, _ = make_inception_bn.build()
    whole, published = model.state_dict(), model.state_dict()
    for name in [name for name in published if name.endswith("num_batches_tracked")]:
        del published[name]
    if len(published) != 416 or "last_linear.weight" not in published:
        raise RuntimeError(f"the state dict has {len(published)} tensors: {list(published)}")
    older = collections.OrderedDict(
        (name, tensor.unsqueeze(0) if "_bn." in name else tensor)
        for name, tensor in published.items()
    )
    return {"legacy": (published, False), "zip": (whole, True), "legacy_1c": (older, False)}


def cut(data, state):
    """The file without the weights, and (position in it, name) for each of them."""
    places = []
    for name, tensor in state.items():
        if not name.endswith("num_batches_tracked"):
            content = tensor.numpy().tobytes()
            start = data.find(content)
            if start < 0 or data.find(content, start + 1) >= 0:
                raise RuntimeError(f"{name} is not in the file exactly once")
            places.append((start, len(content), name))
    skeleton, cuts, done = b"", [], 0
    for start, length, name in sorted(places):
        skeleton += data[done:start]
        cuts.append((len(skeleton), name))
        done = start + length
    return skeleton + data[done:], cuts


def main():
    result = {"torch_version": np.array(torch.__version__)}
    for kind, (state, is_zip) in objects().items():
        file = io.BytesIO()
        torch.save(state, file, _use_new_zipfile_serialization=is_zip)
        data = file.getvalue()
        skeleton, cuts = cut(data, state)
        result[f"skeleton_{kind}"] = np.frombuffer(skeleton, np.uint8)
        result[f"cuts_{kind}"] = np.array([place for place, _ in cuts])
        result[f"names_{kind}"] = np.array([name for _, name in cuts])
        result[f"sha256_{kind}"] = np.array(hashlib.sha256(data).hexdigest())
        print(f"{kind}: {len(data)} bytes, skeleton {len(skeleton)}, {len(cuts)} weights")
    np.savez_compressed(OUTPUT, **result)
    print(f"{OUTPUT}: {OUTPUT.stat().st_size} bytes, torch {torch.__version__}")


if __name__ == "__main__":
    main()
