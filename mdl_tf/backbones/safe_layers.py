"""What a saved model may be made of: nothing that runs code or opens files while it is loaded.

Keras's safe mode refuses most of it, and has been got round several times (CVE-2025-1550, -8747,
-9906, CVE-2026-1462, -12481). So it is looked for here too, in the JSON, before anything is built.
"""

# Layers that hold code, or load it or other files from where their settings say.
REFUSED = {
    "Lambda": "which runs code of the file",
    "__lambda__": "which is code in the file",
    "TFSMLayer": "which loads another model from a path",
    "TorchModuleWrapper": "which unpickles what is in the file",
    "JaxLayer": "which runs code of the file",
    "FlaxLayer": "which runs code of the file",
}
# Settings of a layer that may name a file to read.
_FILES = {"vocabulary", "vocabulary_path", "merges", "filepath", "file_path", "path", "proto"}
# Modules whose functions load, fetch or write something; no network is made of them.
_MODULES = (
    *("keras.utils", "keras.src.utils", "keras.saving", "keras.src.saving", "keras.config"),
    *("keras.src.backend.config", "keras.datasets", "keras.src.datasets", "keras.export"),
    *("keras.src.export", "keras.models", "keras.preprocessing", "keras.src.legacy"),
)


def refuse_unsafe(config):
    """Refuse the config of a model with a part that runs code or opens other files.

    Args:
        config: what Keras has serialised, of dicts and lists.

    Raises:
        ValueError: for such a part, with a text that completes "the model ...".
    """
    parts = [config]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            if isinstance(part.get("class_name"), str):
                _refuse(part)
            parts.extend(part.values())
        elif isinstance(part, list | tuple):
            parts.extend(part)


def _refuse(part):
    module = str(part.get("module") or "")
    for name in (part["class_name"], str(part.get("registered_name") or "")):
        last = name.rpartition(">")[2].rpartition(".")[2]
        if last in REFUSED:
            raise ValueError(f"has a {last}, {REFUSED[last]}")
    if any(f"{module}.".startswith(f"{refused}.") for refused in _MODULES):
        raise ValueError(f"has {part['class_name']!r} of {module}, which makes no network")
    inner = part.get("config")
    if isinstance(inner, dict):
        for key in _FILES & inner.keys():
            if isinstance(inner[key], str) and inner[key]:
                raise ValueError(
                    f"has a {part['class_name']} that reads another file, {key}={inner[key]!r}"
                )
