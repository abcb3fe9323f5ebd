"""One recipe: settings, how they came about, and the published figures to hold a run against."""

import dataclasses
import os

from mdl_tf.config import TrainConfig
from mdl_tf.config.rules import ONLY_WITH
from mdl_tf.files import STAND_IN
from mdl_tf.recipes import check

# What makes a recipe small: every stage is run, and nothing is learned.
_SMOKE = {"weights": None, "image_size": 64, "epochs": 2, "steps_per_epoch": 2}
_SMOKE_CLASSES = 4
# Where the data lie is no change of a recipe.
_PLACES = ("data_dir",)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A published set-up.

    Args:
        name: of the recipe, such as `"cub200-2017"`.
        title: what it is, in a few words.
        source: whose set-up it is.
        settings: a dict of fields of `TrainConfig`; the others have their defaults.
        hours: dicts of `hardware`, `hours` (of training with all settings as they are) and `basis`,
            how they were found.
        protocol: dicts of `kind` and `text`: `"taken"` from a `source`, read in it if `verified`,
            else from memory; `"assumed"`, where the source says nothing; `"differs"` from the
            source; `"not run"`.
        published: rows: dicts of `method`, `backbone`, `embedding_dim`, `source`, perhaps `kind`
            (`"separated"` or `"concatenated"`, of the networks of a cross-validation), metrics as
            fractions under the names that `metrics.evaluate` has for them, and `verified`: whether
            they were read in the source (else they are from memory), as one bool or as a dict with
            one for each metric.

    Raises:
        ConfigError: if a part is not as described, or a setting is refused by `TrainConfig`.
    """

    name: str
    title: str
    source: str
    settings: dict
    hours: list
    protocol: list
    published: list

    def __post_init__(self):
        check.contents(self)
        self.config()

    @classmethod
    def from_dict(cls, name, content):
        """A recipe from what its JSON file holds.

        Raises:
            ConfigError: for a key that is missing or unknown, and as at construction.
        """
        fields = {field.name for field in dataclasses.fields(cls)} - {"name"}
        check.keys(content, fields, set(), f"recipe {name}")
        return cls(name=name, **content)

    def config(self, **changes):
        """The settings of a run.

        Args:
            **changes: fields of `TrainConfig` that are to differ from the recipe.

        Returns:
            A `TrainConfig`.

        Raises:
            ConfigError: as `TrainConfig`.
        """
        return TrainConfig.from_dict({**self._still_used(changes), **changes})

    def smoke(self, data_dir, **changes):
        """The settings of a run that takes every step of the recipe on very little, in minutes.

        Random weights, images of 64 pixels, 2 epochs of 2 batches, at most 4 classes in each; all
        else as in the recipe. Its figures mean nothing.

        Args:
            data_dir: of a stand-in of the data set (`mdl_tf.datasets.stand_ins.write`).
            **changes: fields of `TrainConfig` that are to differ from that.

        Returns:
            A `TrainConfig`.

        Raises:
            ConfigError: as `TrainConfig`.
        """
        classes = min(_SMOKE_CLASSES, self.config().classes_per_batch)
        small = {**_SMOKE, "classes_per_batch": classes, "data_dir": data_dir and str(data_dir)}
        return self.config(**{**small, **changes})

    def rows(self, config):
        """The published rows that a run may be held against: equal data, network and size.

        A separated row is of networks of `embedding_dim` numbers, a concatenated one of the `folds`
        times as many of all networks together.

        Args:
            config: the `TrainConfig` of the run.

        Returns:
            A list of dicts of `published`; empty if there is none, and `why_no_rows` says why.
        """
        if self._no_real_data(config):
            return []
        sizes = {"separated": config.embedding_dim, None: config.embedding_dim}
        if config.folds > 1 and not config.fold:
            sizes["concatenated"] = config.folds * config.embedding_dim
        return [
            dict(row)
            for row in self.published
            if row["backbone"] == config.backbone
            and row["embedding_dim"] == sizes.get(row.get("kind"))
        ]

    def why_no_rows(self, config):
        """A sentence that says why no published row may be held against a run; empty if one may.

        Args:
            config: the `TrainConfig` of the run.
        """
        if self.rows(config):
            return ""
        unreal = self._no_real_data(config)
        if unreal:
            return f"No published figure is beside these: {unreal}."
        networks = ", ".join(sorted({row["backbone"] for row in self.published}))
        sizes = sorted({(row["embedding_dim"], row.get("kind", "")) for row in self.published})
        sizes = " or ".join(f"{size} {kind}".rstrip() for size, kind in sizes)
        return (
            "No published figure is beside these: figures are compared at equal network and size "
            f"only, and those of {self.name} are of {networks} with {sizes} dimensions; this run "
            f"has {config.backbone} with {config.embedding_dim}."
        )

    def changed(self, config):
        """What a run has otherwise than the recipe: a dict from field to [recipe's, run's].

        Where its data are is not in it.

        Args:
            config: the `TrainConfig` of the run.
        """
        recipe, run = self.config().to_dict(), config.to_dict()
        return {
            name: [recipe[name], run[name]]
            for name in recipe
            if recipe[name] != run[name] and name not in _PLACES
        }

    def hours_of(self, config):
        """`hours` for a run, by the images that it trains on.

        Args:
            config: the `TrainConfig` of the run.

        Returns:
            A list of dicts as `hours`; empty for another network or image size, of which nothing is
            known.
        """
        recipe = self.config()
        if (config.backbone, config.image_size) != (recipe.backbone, recipe.image_size):
            return []
        share = _images(config) / _images(recipe)
        return [{**entry, "hours": round(entry["hours"] * share, 1)} for entry in self.hours]

    def record(self, config, smoke=False):
        """What a run folder keeps of its recipe, for `recipe.json`.

        Args:
            config: the `TrainConfig` of the run.
            smoke: whether it is a run of `smoke`. Defaults to `False`.

        Returns:
            A dict of `name`, `title`, `source`, `smoke`, `changed`, `published` (the rows that it
            may be held against) and `why_none` (empty if there are rows).
        """
        return {
            "name": self.name,
            "title": self.title,
            "source": self.source,
            "smoke": smoke,
            "changed": self.changed(config),
            "published": self.rows(config),
            "why_none": self.why_no_rows(config),
        }

    def _still_used(self, changes):
        """The settings without those that the changes leave without use, which are refused."""
        settings = dict(self.settings)
        for name, choice, values in ONLY_WITH:
            if choice in changes and changes[choice] not in values:
                settings.pop(name, None)
        if changes.get("folds") not in (None, 1):
            settings.pop("validation", None)
        if changes.get("folds") == 1 and changes.get("validation") == 0:
            settings.pop("patience", None)
            settings.pop("monitor", None)
        return settings

    def _no_real_data(self, config):
        """Why a run's data are not those of the published rows; empty if they are."""
        own = self.settings["dataset"]
        if config.dataset != own:
            return f"those of {self.name} are of {own}, and this run is of {config.dataset}"
        if config.data_dir and os.path.exists(os.path.join(config.data_dir, STAND_IN)):
            return f"this run is of a generated stand-in of {own}"
        if config.weights is None and self.settings.get("weights"):
            weights = self.settings["weights"]
            return (
                f"those of {self.name} begin with {weights} weights, and this run with random ones"
            )
        if config.crop_to_box != self.config().crop_to_box:
            return f"those of {self.name} are of whole images, and this run cuts them to boxes"
        return ""


def _images(config):
    """Images that a run trains on, each as often as it is in a batch."""
    networks = 1 if config.fold else config.folds
    batch = config.classes_per_batch * config.images_per_class
    return networks * config.epochs * config.steps_per_epoch * batch
