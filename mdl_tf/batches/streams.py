"""Many images: balanced P x K training batches, and every image once, in order, for evaluation."""

import tensorflow as tf

from mdl_tf.batches.plan import BalancedPlan
from mdl_tf.checks import CACHES, check_integer
from mdl_tf.distribute.workers import check_alike
from mdl_tf.images import cache as image_cache
from mdl_tf.images import views


def balanced(
    image_set,
    classes_per_batch=32,
    images_per_class=4,
    image_size=(64, 64),
    augment=None,
    seed=0,
    start_step=0,
    *,
    short_classes="error",
    cache="none",
    cache_dir=None,
    progress=None,
    strategy=None,
    numbered=False,
):
    """An endless stream of P x K batches, decoded and augmented in parallel.

    A pure function of the seed and the step: the same seed gives the same batches, and a stream
    from `start_step` continues another exactly, whatever `cache` is. Cut it with
    `fit(..., steps_per_epoch=S)`.

    Args:
        image_set: an `ImageSet`.
        classes_per_batch: P distinct classes in a batch, at least 2. Defaults to `32`.
        images_per_class: K images of each, at least 2. Defaults to `4`.
        image_size: `(H, W)`; not used for features. Defaults to `(64, 64)`.
        augment: `None`, `"none"`, `"flip"`, `"paper"`, `"modern"` (`images.view` says what each
            does), or a function of an image `(H, W, 3)` in 0..255 and a seed `(2,)` in TensorFlow
            operations. Defaults to `None`.
        seed: of the plan and the augmentation. Defaults to `0`.
        start_step: number of the first batch. Defaults to `0`.
        short_classes: what to do with classes of fewer than K images: `"error"`, `"drop"` them, or
            `"repeat"` their images within a batch. Defaults to `"error"`.
        cache: `"ram"` or `"disk"`: all images are decoded and resized at once and kept, in memory
            or in files that the next run finds; `"none"`: decoded anew each time. Defaults to
            `"none"`.
        cache_dir: folder of these files. Defaults to `decoded` in `$MDL_TF_HOME` or
            `~/.cache/mdl_tf`.
        progress: a function of (images done, images), called while they are decoded. Defaults to
            `None`.
        strategy: the `tf.distribute.Strategy` of a model that several replicas train: each gets its
            rows of the same batches, in order, and each worker decodes its own rows alone. Defaults
            to `None`: whole batches, which Keras shares out among the devices of one machine.
        numbered: whether labels come as `{"labels": ..., "images": ...}`, with the index of each
            image in the set beside them, for `MetricModel(memory=...)`. Defaults to `False`.

    Returns:
        A `tf.data.Dataset` of images `(P * K, H, W, 3)` float32 RGB in 0..255, or features
        `(P * K, F)`, and labels `(P * K,)` int64, class by class. With a `strategy` of several
        replicas a `tf.distribute.DistributedDataset` of their shares.

    Raises:
        ValueError: if an argument is not one of the above, the set has too few or short classes,
            what is to be cached does not fit, a batch cannot be divided by the replicas, or workers
            have different data or settings.
    """
    start_step = check_integer("start_step", start_step, least=0)
    _check_image_set(image_set)
    plan = BalancedPlan(
        image_set.labels,
        classes_per_batch,
        images_per_class,
        seed=seed,
        short_classes=short_classes,
    )
    size = plan.batch_size
    replicas = 1 if strategy is None else strategy.num_replicas_in_sync
    if size % replicas:
        raise ValueError(
            "`classes_per_batch` times `images_per_class` must be divisible by the replicas of the "
            f"`strategy`, which take equal shares. Received: {classes_per_batch} classes of "
            f"{images_per_class} images, {replicas} replicas"
        )
    if replicas > 1:
        settings = (classes_per_batch, images_per_class, image_size, str(augment), seed, start_step)
        check_alike(strategy, image_set.labels, image_set.class_names, settings)
    # Where tf.data works; a GPU would hand every image back and forth.
    with tf.device("CPU"):
        load, view = _loader(image_set, image_size, augment, cache, cache_dir, progress)
        labels = tf.constant(image_set.labels, tf.int64)

    def rows_of(step, first, rows):
        batch = tf.numpy_function(plan.batch, [step], tf.int64, stateful=False)
        batch = tf.ensure_shape(batch, (size,))
        # The number of an image in the whole stream: its seed.
        numbers = step * size + tf.range(size, dtype=tf.int64)
        mine = slice(first, first + rows)
        return tf.data.Dataset.from_tensor_slices((batch[mine], numbers[mine]))

    def example(i, number):
        image = load(i)
        if view is not None:
            image = view.train(image, tf.stack([seed, number]))
            image = tf.ensure_shape(image, (*_pair(image_size), 3))
        return image, ({"labels": labels[i], "images": i} if numbered else labels[i])

    def make_stream(first, rows, share):
        """Rows `first` to `first + rows` of every batch, in batches of a share of them."""
        stream = tf.data.Dataset.counter(start=start_step)
        stream = stream.flat_map(lambda step: rows_of(step, first, rows))
        stream = stream.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        stream = _batched(stream, share, drop_remainder=True)
        # tf.data does not see it; whoever reads a set to its end must.
        return stream.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))

    def make_share(worker):
        """What one worker reads: its replicas take turns."""
        rows = size // worker.num_input_pipelines
        return make_stream(worker.input_pipeline_id * rows, rows, size // replicas)

    if replicas == 1:
        stream = make_stream(0, size, size)
    else:
        stream = strategy.distribute_datasets_from_function(make_share)
    stream.is_balanced = True  # nobody has to look whether its anchors count
    return stream


def ordered(
    image_set,
    batch_size=64,
    image_size=(64, 64),
    augment=None,
    *,
    cache="none",
    cache_dir=None,
    progress=None,
):
    """Every image exactly once, in the order of the set; the last batch may be short.

    Args:
        image_set: an `ImageSet`.
        batch_size: images in a batch, at least 1. Defaults to `64`.
        image_size: `(H, W)`; not used for features. Defaults to `(64, 64)`.
        augment: the augmentation of training, of which only what belongs to the test is done: for
            `"paper"` and `"modern"` the window in the middle. Defaults to `None`.
        cache: `"none"`, `"ram"` or `"disk"`, as in `balanced`. Defaults to `"none"`.
        cache_dir: as in `balanced`.
        progress: as in `balanced`.

    Returns:
        A `tf.data.Dataset` of images `(B, H, W, 3)` float32 RGB in 0..255, or features `(B, F)`,
        and labels `(B,)` int64.

    Raises:
        ValueError: if an argument is not one of the above, or what is to be cached does not fit.
    """
    batch_size = check_integer("batch_size", batch_size, least=1)
    _check_image_set(image_set)
    with tf.device("CPU"):
        load, view = _loader(image_set, image_size, augment, cache, cache_dir, progress)
        labels = tf.constant(image_set.labels, tf.int64)

    def example(i):
        return load(i) if view is None else view.test(load(i)), labels[i]

    stream = tf.data.Dataset.range(len(image_set))
    stream = stream.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return _batched(stream, batch_size)


def _check_image_set(image_set):
    # By what it has: the sets themselves are none of this wing's business.
    if not (hasattr(image_set, "labels") and hasattr(image_set, "features")):
        raise ValueError(
            "`image_set` must be a set of images, such as `datasets.load('glyphs').train`. "
            f"Received: image_set={type(image_set).__name__}"
        )


def _batched(stream, size, **options):
    """float32 batches. Pixels stay bytes as long as they can: the copies of a batch cost most."""
    stream = stream.batch(size, **options)
    stream = stream.map(
        lambda x, y: (tf.cast(x, tf.float32), y),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return stream.prefetch(tf.data.AUTOTUNE)


def _loader(image_set, image_size, augment, cache, cache_dir, progress):
    """A function from an index to a canvas image, uint8, and the view; features have no view."""
    if cache not in CACHES:
        raise ValueError(f"`cache` must be one of {CACHES}. Received: cache={cache!r}")
    if image_set.features is not None:
        if augment not in (None, "none"):
            raise ValueError(
                "`augment` must be None for features, which are no images. "
                f"Received: augment={augment!r}"
            )
        features = tf.constant(image_set.features, tf.float32)
        return lambda i: features[i], None
    view = views.view(augment, _pair(image_size))
    load = _decoder(image_set, view)
    if cache == "none":
        return load, view

    def decoded(indices):
        stream = tf.data.Dataset.from_tensor_slices(indices)
        stream = stream.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return stream.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()

    return image_cache.cached(image_set, view, decoded, cache, cache_dir, progress), view


def _decoder(image_set, view):
    """A function from an index to a canvas image, decoded from its file or taken from memory."""
    if image_set.paths is None:
        pixels = tf.constant(image_set.images)

        def decode(i):
            return pixels[i]
    else:
        paths = tf.constant(image_set.paths)
        any_slow = image_set.slow is not None and image_set.slow.any()
        slow = tf.constant(image_set.slow) if any_slow else None

        def decode(i):
            return views.decode(paths[i], slow[i] if any_slow else None)

    if image_set.boxes is None:
        return lambda i: views.resize(decode(i), view.canvas, view.keep_aspect)
    boxes = tf.constant(image_set.boxes, tf.float32)
    return lambda i: views.resize(views.cut_out(decode(i), boxes[i]), view.canvas, view.keep_aspect)


def _pair(image_size):
    try:
        height, width = (check_integer("image_size", side, least=1) for side in image_size)
    except (TypeError, ValueError):
        raise ValueError(
            f"`image_size` must be two positive integers, (H, W). Received: image_size={image_size}"
        ) from None
    return height, width
