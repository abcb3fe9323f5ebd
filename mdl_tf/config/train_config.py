"""TrainConfig: an experiment as one frozen object, to and from JSON. Loads nothing heavy."""

import dataclasses
import json

from mdl_tf import __version__, checks
from mdl_tf.config import rules, versions
from mdl_tf.config.setting import ConfigError, check, setting
from mdl_tf.datasets.table import DATASETS, TFDS_PREFIX
from mdl_tf.losses import LOSSES
from mdl_tf.metrics import table
from mdl_tf.reading import read_json


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
        "error", "files that cannot be used: stop, or leave them out", choices=checks.ON_CORRUPT
    )
    duplicates: str = setting(
        "keep",
        "identical images: keep them, and say so; or drop: one of each within a class stays, none "
        "where classes differ, and not the copy that is trained on of one in the test",
        choices=checks.DUPLICATES,
        before="keep",
    )
    cache: str = setting(
        "none",
        "decode and resize every image up front, and keep it in memory or on disk",
        choices=checks.CACHES,
    )
    split_by: str = setting(
        "names",
        "classes for the test, where the data do not say: the second half by names, or a random "
        "half",
        choices=checks.SPLITS,
        before="names",
    )
    split_seed: int = setting(
        0, "seed of the random half; that of the run does not change it", least=0, before=0
    )
    validation: float = setting(
        0.1, "share of the training classes held out for validation", least=0, below=1
    )
    folds: int = setting(
        1,
        "number of cross-validation folds, one network each; reports their mean and their "
        "concatenated embeddings",
        least=1,
    )
    fold: int = setting(0, "train the network of this fold only, from 1; 0: all", least=0)
    backbone: str = setting(
        "inception_bn",
        "network: inception_bn, efficientnet_lite0 (or 1, 2) or conv4; one of keras.applications, "
        "such as resnet50; "
        "keras_hub:PRESET; module:function of your own; none: train the embedding layer only, on "
        "features (npz)",
    )
    weights: str | None = setting(
        None,
        "initial weights of the network: imagenet (published ones), a weight file, or random",
        optional=True,
    )
    start: str | None = setting(
        None,
        "run folder whose model this run begins with; none of its training classes may be "
        "validation or test here",
        optional=True,
    )
    frozen: bool = setting(
        False,
        "leave the network as it is: its features are computed once, and the embedding layer is "
        "trained on them",
        before=False,
    )
    image_size: int | None = setting(
        None,
        "height and width of the network's input, in pixels; default: 64, and with pretrained "
        "weights the network's own",
        least=16,
        optional=True,
    )
    embedding_dim: int | None = setting(
        None,
        "size of an embedding; default: 64, and on features or with pretrained weights 512, or "
        "as many as there are features if those are fewer",
        least=1,
        optional=True,
    )
    head: str = setting(
        "auto",
        "how the embedding layer begins: whitened: within-class whitening of the features of the "
        "training classes, of unit length; pca: their principal axes; random; kept: as in the run "
        "of --start; auto: kept with --start, whitened on features and pretrained weights, else "
        "random",
        choices=checks.STARTS,
        before="random",
    )
    shrinkage: float | None = setting(
        None,
        "of the whitening, about 0.1 to 10; default: chosen by training classes held out of it",
        above=0,
        optional=True,
    )
    batch_norm: str | None = setting(
        None,
        "batch normalisation: train; frozen: running statistics, nothing of it is trained; "
        "statistics: running statistics, scale and shift are trained; synchronized: train with the "
        "statistics of all devices; default: train, synchronized with --devices, and statistics "
        "with pretrained weights",
        choices=checks.BATCH_NORMS,
        optional=True,
    )
    pooling: str = setting(
        "avg",
        "pooling of feature maps: average, maximum, or their sum",
        choices=checks.POOLINGS,
    )
    l2_normalize: bool = setting(True, "scale embeddings to unit length")
    loss: str = setting("margin_discriminate", "loss", choices=LOSSES)
    loss_args: dict = setting({}, "arguments of the loss as JSON, such as '{\"margin\": 0.1}'")
    classes_per_batch: int | None = setting(
        None,
        "P, classes in a batch; default: 32, or as many as there are and as memory allows",
        least=2,
        optional=True,
    )
    images_per_class: int | None = setting(
        None,
        "K, images of each class in a batch; default: 4, fewer where most classes have fewer, up "
        "to 8 where there are few classes",
        least=2,
        optional=True,
    )
    micro_batch: int | None = setting(
        None,
        "images whose activations are kept at a time: a large batch in the memory of a small one, "
        "and a second forward pass; needs batch_norm statistics or frozen; default: the whole "
        "batch",
        least=1,
        optional=True,
    )
    memory: int = setting(
        0,
        "embeddings of earlier batches that images are compared with, too (cross-batch memory); "
        "0: none",
        least=0,
        before=0,
    )
    memory_start: int = setting(
        100, "batches during which the memory is filled and not used", least=0, before=100
    )
    short_classes: str | None = setting(
        None,
        "classes with fewer than K images; default: error, and repeat where K is left open",
        choices=checks.SHORT_CLASSES,
        optional=True,
    )
    augment: str | None = setting(
        None,
        "what is seen of an image: none: all of it, stretched; flip: that or its mirror image; "
        "center: the window in the middle of 256 pixels; crop: one at random, and flip; paper: "
        "the same, stretched; modern: one of random size; default: none, with pretrained weights "
        "crop, and center if they stay as they are",
        choices=checks.AUGMENTATIONS,
        optional=True,
    )
    epochs: int = setting(8, "epochs, each followed by validation", least=1)
    steps_per_epoch: int = setting(45, "batches in an epoch", least=1)
    warm_up_epochs: int = setting(
        0,
        "first epochs, in which the network is frozen and only the embedding layer and the loss "
        "learn; patience counts from their end",
        least=0,
    )
    optimizer: str = setting("adam", "optimizer", choices=checks.OPTIMIZERS)
    momentum: float = setting(0.9, "momentum of sgd and rmsprop", least=0, below=1)
    weight_decay: float | None = setting(
        None,
        "decoupled weight decay of all weights, times the learning rate; default: 0.004 with "
        "adamw, else none",
        least=0,
        optional=True,
    )
    clip_norm: float | None = setting(
        None,
        "maximum global norm of the gradient",
        above=0,
        optional=True,
    )
    learning_rate: float | None = setting(
        None,
        "highest learning rate; default: 0.003; 0.001 for an embedding layer alone; with "
        "pretrained weights 0.0003",
        above=0,
        optional=True,
    )
    learning_rate_factors: dict | None = setting(
        None,
        "learning-rate factors of layers or weights by name, as JSON, such as "
        "'{\"proxies\": 10}' or '{\"embedding\": 10}'; default: none, {}, and with pretrained "
        "weights that are trained '{\"embedding\": 3}'",
        optional=True,
    )
    schedule: str = setting(
        "cosine",
        "learning-rate schedule: constant; step: falls every decay_epochs; cosine: falls along a "
        "cosine after a short linear rise",
        choices=checks.SCHEDULES,
    )
    decay_epochs: int = setting(10, "epochs between two steps of schedule step", least=1)
    decay_factor: float = setting(
        0.5, "factor on the learning rate at each step of schedule step", above=0, below=1
    )
    monitor: str = setting(
        "map_at_r",
        "validation metric that selects the best epoch",
        choices=table.monitored,
    )
    patience: int = setting(
        0, "stop after this many epochs without a better monitor; 0: never", least=0
    )
    refit: bool = setting(
        False,
        "when the best epoch is known, train once more on training and validation classes "
        "together, for as many steps",
        before=False,
    )
    policy: str = setting("float32", "Keras dtype policy", choices=checks.POLICIES)
    jit: bool = setting(False, "compile with XLA")
    devices: str | None = setting(
        None,
        "devices that share each batch: all GPUs of this machine, or how many; without a GPU so "
        "many parts of the CPU, to try it out; with a cluster in TF_CONFIG those of each worker; "
        "default: one, and with a cluster all",
        optional=True,
    )
    clustering: bool = setting(True, "report NMI and F1 of k-means clusters")
    verification: bool = setting(
        False,
        "report how well a distance tells pairs of one class from pairs of two: equal error rate, "
        "true accept rates",
        before=False,
    )
    tensorboard: bool = setting(True, "write TensorBoard logs into the run folder")
    repeatable: bool = setting(
        False, "give the same history for the same seed on a CPU, bit by bit; slower"
    )
    seed: int = setting(
        0, "seed of weights, batches, augmentation and k-means", least=0, below=2**32
    )

    def __post_init__(self):
        object.__setattr__(self, "devices", rules.spell_devices(self.devices))
        for field in dataclasses.fields(self):
            value = check(field, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        object.__setattr__(self, "weights", rules.spell_weights(self.weights))
        rules.check_together(self)
        rules.refuse_unused(self)

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
        versions.refuse_newer(settings.get("version"))
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
        try:
            settings = cls._read(path)
            if isinstance(settings, dict):
                fields = {field.name for field in dataclasses.fields(cls)}
                versions.refuse_incomplete(settings, fields)
            return cls.from_kept(settings)
        except ConfigError as error:
            raise ConfigError(
                f"{path} must be what a run wrote there: restore it from a copy. {error}"
            ) from error

    @staticmethod
    def _read(path):
        try:
            return read_json(path)
        except (FileNotFoundError, ValueError) as error:
            why = "is not there" if isinstance(error, FileNotFoundError) else error
            raise ConfigError(
                f"`config` must be a readable file of JSON. Received: {path}, which {why}"
            ) from error
