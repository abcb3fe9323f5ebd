"""Write `torch_files.npz`: small files of PyTorch and what they hold, for `test_torch_file.py`.

Every case is saved in both forms of `torch.save` and with the pickle protocols 2 to 5. What a file
holds is what `torch.load` reads from it, not what was put in.

Run it with any Python that has torch and NumPy (torch is never a dependency of the package):

    python tests/golden/make_torch_files.py

Per file the npz holds `file_CASE_FORM_PROTOCOL`, its bytes. Per case it holds `tree_CASE`, JSON of
the value (a kind and its content; of an array type, shape and where it begins in `numbers_CASE`),
and `numbers_CASE`, the bytes of its arrays one after the other. `torch_version` says which PyTorch
it was.
"""

import collections
import io
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

OUTPUT = Path(__file__).with_name("torch_files.npz")
FORMS = {"zip": True, "legacy": False}
PROTOCOLS = (2, 3, 4, 5)


def dtypes():
    """Each type of element, with its extremes."""
    floats = [0.0, -0.0, 1.5, -2.25, 65504.0, 6e-8, float("inf"), float("-inf"), float("nan")]
    tensors = {}
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        tensors[str(dtype)] = torch.tensor([*floats, 1 / 3], dtype=dtype)
    for dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        bounds = torch.iinfo(dtype)
        tensors[str(dtype)] = torch.tensor([[bounds.min, 1, 2], [3, 100, bounds.max]], dtype=dtype)
    tensors["torch.bool"] = torch.tensor([True, False, True])
    return tensors


def views():
    """Tensors that are not their storage from the first to the last element."""
    base = torch.arange(24.0).reshape(2, 3, 4)
    return {
        "base": base,
        "slice": base[1:, 1:, 1:3],
        "steps": base.flatten()[1::5],
        "transposed": base.permute(2, 0, 1),
        "row": base[1, 2],
        "element": base[1, 1, 1],
        "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 5),
        "repeated": torch.tensor(7, dtype=torch.int16).expand(3, 2),
        "diagonal": torch.arange(9, dtype=torch.bfloat16).reshape(3, 3).diagonal(),
        "channels_last": torch.arange(24.0)
        .reshape(1, 2, 3, 4)
        .to(memory_format=torch.channels_last),
        "scalar": torch.tensor(-3.5, dtype=torch.float64),
        "empty": torch.empty(0, 3),
        "empty_slice": base[:, 3:],
        "unit_sizes": base[:1, :1, 3:],
    }


def containers():
    """What training scripts save beside weights."""
    weight = nn.Parameter(torch.arange(6.0).reshape(2, 3))
    return {
        "epoch": 12,
        "steps": -(2**40),
        "huge": 2**100,
        "loss": 0.1,
        "name": "Gerät 識別 é",
        "empty_text": "",
        "long_text": "x" * 300,
        "raw": b"\x00\xff\x80",
        "no_bytes": b"",
        "best": None,
        "flags": [True, False, []],
        "size": (1,),
        "sizes": (224, 224),
        "three": (1, 2.0, "3"),
        "four": (1, 2, 3, ()),
        "state_dict": collections.OrderedDict([("z", weight), ("a", weight.detach()[0])]),
        "empty": {},
        "empty_ordered": collections.OrderedDict(),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}, 1: {}}, "lr": 1e-3},
        "list": [weight.data, [torch.ones(2, dtype=torch.int8)], {"deep": (torch.zeros(1),)}],
    }


def module():
    """A state dict as modules give it, with the versions of its modules as an attribute."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    network[1].num_batches_tracked.fill_(7)
    state = network.state_dict()
    if not state._metadata or state["1.num_batches_tracked"].ndim:
        raise RuntimeError("the state dict is not what it was in PyTorch 2.13")
    return state


CASES = {"dtypes": dtypes, "views": views, "containers": containers, "module": module}


def tree(value, numbers):
    """A value as JSON can hold it; the bytes of its tensors are appended to `numbers`."""
    if isinstance(value, torch.Tensor):
        wide = value.float() if value.dtype == torch.bfloat16 else value
        array, start = wide.detach().numpy(), len(numbers)
        numbers += array.tobytes()
        return ["array", [array.dtype.str, array.shape, start]]
    if isinstance(value, dict):
        return ["dict", [[key, tree(item, numbers)] for key, item in value.items()]]
    if isinstance(value, list | tuple):
        return [type(value).__name__, [tree(item, numbers) for item in value]]
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    return ["value", value]


def save(value, is_zip, protocol):
    """The bytes of a file."""
    file = io.BytesIO()
    torch.save(value, file, pickle_protocol=protocol, _use_new_zipfile_serialization=is_zip)
    return file.getvalue()


def main():
    result = {"torch_version": np.array(torch.__version__)}
    for case, make in CASES.items():
        found = set()
        for form, is_zip in FORMS.items():
            for protocol in PROTOCOLS:
                data, numbers = save(make(), is_zip, protocol), bytearray()
                value = torch.load(io.BytesIO(data), weights_only=False)
                found.add((json.dumps(tree(value, numbers)), bytes(numbers)))
                result[f"file_{case}_{form}_{protocol}"] = np.frombuffer(data, np.uint8)
        # In every form and protocol PyTorch finds the same.
        ((text, numbers),) = found
        result[f"tree_{case}"] = np.array(text)
        result[f"numbers_{case}"] = np.frombuffer(numbers, np.uint8)
    np.savez_compressed(OUTPUT, **result)
    print(f"{OUTPUT}: {OUTPUT.stat().st_size} bytes, torch {torch.__version__}")


if __name__ == "__main__":
    main()
