"""What to do, as flags of `mdl-tf train`, each only where the run can use it."""

import json

from mdl_tf.checks import POOLINGS

_SOFT = 5  # a sharpness below which the hardest pairs hardly count more than others


class Advice:
    """Advice for a run.

    Args:
        config: the `TrainConfig` of the run.
        settings: those of its loss, a dict.
    """

    def __init__(self, config, settings):
        self._config, self._settings = config, settings
        self._network = config.backbone != "none"

    def lower_rate(self):
        rate = self._config.learning_rate
        return [f"Lower the learning rate, which is {rate:g}: --learning-rate {rate / 10:g}"]

    def other_rate(self):
        rate = self._config.learning_rate
        return [
            f"Try a learning rate ten times as low and as high as {rate:g}: "
            f"--learning-rate {rate / 10:g} and --learning-rate {rate * 10:g}"
        ]

    def softer(self):
        """More pairs in the loss than the hardest, whose pull is what makes networks collapse."""
        why = "so that more than the hardest pairs count"
        if self._settings.get("form") == "hardest":
            return [f"The smooth form, {why}: {self._with(form='smooth')}"]
        if self._settings.get("mining") == "hard":
            return [f"Semi-hard negatives, {why}: {self._with(mining='semi_hard')}"]
        sharpness = self._settings.get("sharpness")
        if sharpness is None or sharpness <= _SOFT:
            return []
        softer = self._with(sharpness=max(_SOFT, sharpness / 4))
        return [f"A softer sharpness than {sharpness:g}, {why}: {softer}"]

    def _with(self, **changed):
        arguments = json.dumps({**self._config.loss_args, **changed})
        return f"--loss-args '{arguments}'"

    def clip(self):
        if self._config.clip_norm is not None:
            return []
        return ["Clip the gradient, so that one batch cannot throw the network: --clip-norm 1"]

    def pooling(self):
        if not self._network:
            return []
        poolings = [name for name in POOLINGS if name != self._config.pooling]
        return [
            f"Another pooling than {self._config.pooling}: "
            + " or ".join(f"--pooling {name}" for name in poolings)
        ]

    def pretrained(self):
        config = self._config
        if not self._network or config.weights or config.start or config.backbone == "conv4":
            return []
        return [
            "Begin with published weights instead of random ones, if your network has some: "
            "--weights imagenet"
        ]

    def longer(self, run_folder=None):
        """More epochs: of this run where it can go on, else of a new one."""
        epochs = 2 * self._config.epochs
        can_go_on = self._config.schedule != "cosine" and not self._config.folds > 1
        if run_folder is not None and can_go_on:
            return [f"Go on: mdl-tf train --resume {run_folder} --epochs {epochs}"]
        return [f"Train longer: --epochs {epochs}"]

    def more_classes(self, available):
        """More classes in a batch, as far as there are any.

        Args:
            available: training classes.
        """
        now = self._config.classes_per_batch
        more = min(2 * now, available)
        if more <= now:
            return []
        return [f"More classes in a batch: --classes-per-batch {more}"]

    def more_images(self, smallest):
        """More images of a class in a batch.

        Args:
            smallest: images of the smallest training class.
        """
        more = 2 * self._config.images_per_class
        short = smallest < more and self._config.short_classes == "error"
        return [
            f"More images of each class in a batch: --images-per-class {more}"
            + f", with --short-classes drop for classes of fewer, such as one of {smallest}" * short
        ]

    def frozen(self):
        """The embedding layer alone, where there are features worth to be left as they are."""
        config = self._config
        if not self._network or config.frozen or not (config.weights or config.start):
            return []
        return [
            "Leave the network as it is and train its embedding layer alone, which takes a minute: "
            "--frozen, without flags of what then is not trained"
        ]

    def other_head(self):
        if self._config.head != "whitened":
            return []
        return ["Begin with the principal axes instead of a whitening: --head pca"]

    def better_than_the_start(self, available):
        """What may help where training is no better than what it began with.

        Args:
            available: training classes.
        """
        return [
            *self.lower_rate(),
            *self.frozen(),
            *self.more_classes(available),
            *self.softer(),
            "Let `mdl-tf compare` try learning rates, losses and their settings",
            *self.pretrained(),
        ]

    def against_overfitting(self):
        texts = []
        trains = self._network and not self._config.frozen
        if trains and self._config.augment in (None, "none", "center"):
            texts.append("Show each image differently every time: --augment crop, or modern")
        decay = self._config.weight_decay
        if decay is None and self._config.optimizer != "adamw":
            texts.append("Weight decay: --weight-decay 0.0001")
        if trains and self._config.weights and self._config.batch_norm == "train":
            texts.append("Leave the statistics of the pretrained network: --batch-norm frozen")
        if not self._config.patience:
            texts.append("End when it gets no better: --patience 3")
        return texts
