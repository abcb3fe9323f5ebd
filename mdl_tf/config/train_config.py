"""TrainConfig: an experiment as one frozen object, to and from JSON. Loads nothing heavy."""

import dataclasses
import json
from pathlib import Path

from mdl_tf import __version__
from mdl_tf.config import versions
from mdl_tf.config.setting import ConfigError, check, setting
from mdl_tf.losses import LOSSES
from mdl_tf.metrics import table

# Those of `mdl_tf.datasets.DATASETS`; anything that begins with the prefix is one, too.
DATASETS = ("cars196", "csv", "cub200", "digits", "folder", "glyphs", "inshop", "npz", "sop")
TFDS_PREFIX = "tfds:"
# What `data_dir` must be for anybody's own data, which are nowhere by default.
DATA_DIRS = {
    "csv": "the CSV file",
    "folder": "the folder of images",
    "npz": "the .npz file",
}
# What features alone cannot have, and why.
_NEEDS_A_NETWORK = {
    "augment": "which sees no images",
    "weights": "which has none",
    "batch_norm": "which has none",
    "warm_up_epochs": "where nothing could be frozen",
}
# Settings that are used only with some values of another.
ONLY_WITH = (
    ("momentum", "optimizer", ("rmsprop", "sgd")),
    ("decay_epochs", "schedule", ("step",)),
    ("decay_factor", "schedule", ("step",)),
)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """All settings of a training run; each is a flag of `mdl-tf train` and a key of `config.json`.

    Raises:
        ConfigError: at construction, for a value that is not allowed.
    """

    dataset: str = setting(
        "glyphs", "what to train on (`mdl-tf datasets`)", choices=DATASETS, prefix=TFDS_PREFIX
    )
    data_dir: str | None = setting(
        None, "folder or file of the data; else where drawn images are cached", optional=True
    )
    crop_to_box: bool = setting(False, "cut images to the data set's bounding boxes")
    on_corrupt: str = setting(
        "error", "files that cannot be used: stop, or leave out", choices=("error", "skip")
    )
    cache: str = setting(
        "none",
        "keep images decoded and resized, in memory or on disk",
        choices=("none", "ram", "disk"),
    )
    validation: float = setting(
        0.1, "share of the training classes held out for validation", least=0, below=1
    )
    folds: int = setting(
        1,
        "with 2 or more: cross-validation; so many networks, each with another part of the "
        "training classes for validation, reported separated and with their embeddings "
        "concatenated",
        least=1,
    )
    fold: int = setting(0, "train this network of the folds alone, from 1; 0: all", least=0)
    backbone: str = setting(
        "inception_bn",
        "network: inception_bn or conv4; one of keras.applications, such as resnet50; "
        "keras_hub:PRESET, of KerasHub; module:function of your own; none: train the embedding "
        "layer alone on features (npz)",
    )
    weights: str | None = setting(
        None,
        "weights of the network to begin with: imagenet (published ones), a weight file of it, or "
        "random",
        optional=True,
    )
    image_size: int = setting(64, "height and width that the network sees", least=16)
    embedding_dim: int = setting(64, "numbers in an embedding", least=1)
    batch_norm: str = setting(
        "train",
        "batch normalisation of the network: trained; frozen, with its running statistics; or with "
        "running statistics that stay as they are, while scale and shift are trained",
        choices=("train", "frozen", "statistics"),
    )
    pooling: str = setting(
        "avg",
        "how maps become features: mean, maximum, or the sum of both",
        choices=("avg", "max", "both"),
    )
    l2_normalize: bool = setting(True, "scale embeddings to unit length")
    loss: str = setting("margin_discriminate", "loss", choices=LOSSES)
    loss_args: dict = setting({}, "settings of the loss as JSON, such as '{\"margin\": 0.1}'")
    classes_per_batch: int = setting(32, "P, classes in a batch", least=2)
    images_per_class: int = setting(4, "K, images of each class in a batch", least=2)
    short_classes: str = setting(
        "error", "classes with fewer than K images", choices=("error", "drop", "repeat")
    )
    augment: str = setting(
        "none",
        "augmentation: of the paper (crop of 256, mirror) or of today's losses (resized crop, "
        "mirror)",
        choices=("none", "flip", "paper", "modern"),
    )
    epochs: int = setting(8, "rounds of training, each followed by validation", least=1)
    steps_per_epoch: int = setting(45, "batches in an epoch", least=1)
    warm_up_epochs: int = setting(
        0,
        "epochs at the start in which the embedding layer and the loss learn and the network is "
        "frozen; patience counts from their end",
        least=0,
    )
    optimizer: str = setting("adam", "optimizer", choices=("adam", "adamw", "rmsprop", "sgd"))
    momentum: float = setting(0.9, "momentum of sgd and rmsprop", least=0, below=1)
    weight_decay: float | None = setting(
        None,
        "share of all weights, times the learning rate, that is taken off at each step, apart from "
        "the gradient (decoupled); default: 0.004 with adamw, else none",
        least=0,
        optional=True,
    )
    clip_norm: float | None = setting(
        None,
        "largest norm of the gradient of all weights together; a larger one is scaled down to it",
        above=0,
        optional=True,
    )
    learning_rate: float = setting(3e-3, "highest learning rate", above=0)
    learning_rate_factors: dict = setting(
        {},
        "factors on it for layers or weights by name, as JSON, such as '{\"proxies\": 10}' or "
        "'{\"embedding\": 10}'",
    )
    schedule: str = setting(
        "cosine",
        "learning rate over the run: constant; falling by steps; or along a cosine, after a short "
        "rise",
        choices=("constant", "step", "cosine"),
    )
    decay_epochs: int = setting(10, "epochs from one step of schedule step to the next", least=1)
    decay_factor: float = setting(
        0.5, "what the learning rate is multiplied by at each of them", above=0, below=1
    )
    monitor: str = setting(
        "recall_at_1",
        "metric of the validation classes that tells the best epoch",
        choices=table.monitored,
    )
    patience: int = setting(
        0, "stop after so many epochs without a better value of the monitor; 0: never", least=0
    )
    policy: str = setting(
        "float32", "Keras precision", choices=("float32", "mixed_bfloat16", "mixed_float16")
    )
    jit: bool = setting(False, "compile with XLA")
    clustering: bool = setting(True, "NMI and F1 of k-means in the final report")
    tensorboard: bool = setting(True, "write TensorBoard logs into the run folder")
    repeatable: bool = setting(
        False, "same seed, same history on a CPU to the last bit, also of inception_bn; slower"
    )
    seed: int = setting(0, "of weights, batches, augmentation and k-means", least=0, below=2**32)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = check(field, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        self._spell_weights()
        if self.dataset in DATA_DIRS and self.data_dir is None:
            raise ConfigError(
                f"`data_dir` must name {DATA_DIRS[self.dataset]} when dataset={self.dataset!r}."
            )
        if self.backbone == "inception_bn" and self.image_size < 32:
            raise ConfigError(
                "`image_size` must be at least 32 with backbone='inception_bn'. "
                f"Received: image_size={self.image_size}"
            )
        if self.fold > self.folds or (self.fold and self.folds == 1):
            raise ConfigError(
                "`fold` must be one of the `folds`, of which there are at least two. "
                f"Received: fold={self.fold}, folds={self.folds}"
            )
        if self.warm_up_epochs >= self.epochs:
            raise ConfigError(
                "`warm_up_epochs` must be below `epochs`, or the network never learns. "
                f"Received: warm_up_epochs={self.warm_up_epochs}, epochs={self.epochs}"
            )
        self._refuse_unused()

    def _spell_weights(self):
        """What is no file has one spelling: `None` for random weights, and `"imagenet"`."""
        name = str(self.weights).lower()
        if name in ("random", "imagenet"):
            object.__setattr__(self, "weights", None if name == "random" else name)

    def _is_set(self, name):
        """Whether a field has another value than it has by default.

        Neither today nor in 0.1.0: a run keeps every value, and is no less a run when a default
        has changed since.
        """
        field = next(field for field in dataclasses.fields(self) if field.name == name)
        first = versions.first_defaults()["settings"].get(name, field.default)
        return getattr(self, name) not in (field.default, first)

    def _refuse_unused(self):
        """Settings that would be ignored, which nobody notices."""
        default = {field.name: field.default for field in dataclasses.fields(self)}
        for name, why in _NEEDS_A_NETWORK.items():
            if self.backbone == "none" and self._is_set(name):
                raise ConfigError(
                    f"`{name}` must be {default[name]} with backbone='none', {why}. "
                    f"Received: {name}={getattr(self, name)!r}"
                )
        for name in ("patience", "monitor"):
            if self._is_set(name) and not self.validation and self.folds == 1:
                raise ConfigError(
                    f"`{name}` needs validation classes. "
                    f"Received: {name}={getattr(self, name)!r}, validation=0"
                )
        if self.folds > 1 and self._is_set("validation"):
            raise ConfigError(
                "`validation` must be left out with `folds`, of which each is the validation "
                f"classes once. Received: validation={self.validation}, folds={self.folds}"
            )
        for name, choice, values in ONLY_WITH:
            chosen = getattr(self, choice)
            if chosen not in values and self._is_set(name):
                raise ConfigError(
                    f"`{name}` is used by {choice} {' and '.join(values)} only; else leave it out. "
                    f"Received: {name}={getattr(self, name)!r}, {choice}={chosen!r}"
                )

    @classmethod
    def check(cls, name, value):
        """The value of one field, as its type.

        Raises:
            ConfigError: if it is not allowed.
        """
        return check(next(f for f in dataclasses.fields(cls) if f.name == name), value)

    @property
    def split(self):
        """How the classes are shared out, as arguments of `Collection.split`."""
        return {"validation": self.validation, "folds": self.folds, "fold": self.fold}

    @property
    def own_seed(self):
        """The seed of this network: that of the run, and for a fold its number less one more."""
        return (self.seed + max(0, self.fold - 1)) % 2**32

    @property
    def cross_validated(self):
        """Whether this is a run of several folds, and not one of them."""
        return self.folds > 1 and not self.fold

    def to_dict(self):
        return dataclasses.asdict(self)

    def to_json(self):
        """As a `config.json`: all fields, and the version that wrote them."""
        return json.dumps(self.to_kept(), indent=2, ensure_ascii=False) + "\n"

    def to_kept(self):
        """A dict of all fields and the `version` that wrote them, for `from_kept`."""
        return {"version": __version__, **self.to_dict()}

    @classmethod
    def from_kept(cls, settings):
        """A config from what `to_kept` gave, in this version or an earlier one.

        What is missing has the value that it had in the version that wrote it, never today's
        default.

        Args:
            settings: a dict.

        Raises:
            ConfigError: as `from_dict`.
        """
        if not isinstance(settings, dict):
            raise ConfigError(f"A config must be a JSON object. Received: {settings!r}")
        first = versions.first_defaults()["settings"]
        later = {
            field.name: field.metadata["before"]
            for field in dataclasses.fields(cls)
            if field.name not in first
        }
        return cls.from_dict(versions.complete(settings, later))

    @classmethod
    def from_dict(cls, settings):
        """A config from a dict of some or all fields.

        Raises:
            ConfigError: for an unknown key, listing the known ones, or an impossible value.
        """
        if not isinstance(settings, dict):
            raise ConfigError(f"A config must be a JSON object. Received: {settings!r}")
        known = [field.name for field in dataclasses.fields(cls)]
        for key in settings:
            if key not in known:
                raise ConfigError(f"Unknown field `{key}`. Known fields: {', '.join(known)}")
        return cls(**settings)

    @classmethod
    def from_json(cls, path):
        """A config from a JSON file: a run's `config.json`, or some fields that a user wrote down.

        The `config.json` of a run of an earlier version means what it meant then. What is missing
        in a file of a user's own has today's defaults.

        Args:
            path: of the file.

        Raises:
            ConfigError: if the file is missing or no JSON, and as `from_dict`.
        """
        settings = cls._read(path)
        if isinstance(settings, dict) and ("version" in settings or versions.is_of_first(settings)):
            return cls.from_kept(settings)
        return cls.from_dict(settings)

    @classmethod
    def from_run(cls, path):
        """The config of a run, from its `config.json`.

        Args:
            path: of the file.

        Raises:
            ConfigError: if the file is missing or no JSON, and as `from_kept`.
        """
        return cls.from_kept(cls._read(path))

    @staticmethod
    def _read(path):
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"`config` must be a readable file. Received: {error}") from error
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"`config` must be JSON. Received: {path}, {error}") from error
