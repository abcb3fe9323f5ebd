"""`mdl-tf evaluate`: metrics of a run's best model."""

import argparse
import json
import sys
from pathlib import Path

from mdl_tf.cli.common import absolute, add_on_corrupt
from mdl_tf.config import ConfigError, TrainConfig
from mdl_tf.progress import quiet


def add_to(commands):
    """Add the command to a parser's commands."""
    evaluate = commands.add_parser(
        "evaluate",
        help="measure the best model of a run on any data set",
        description="Retrieval and clustering metrics of the best model of a run, on the test "
        "classes of its own data set or on another one.",
    )
    evaluate.add_argument(
        "run", metavar="RUN", help="run folder; or a .keras file of an embedder, with --dataset"
    )
    evaluate.add_argument("--dataset", help="data set (`mdl-tf datasets`) [that of the run]")
    evaluate.add_argument("--data-dir", help="folder or file of the data")
    evaluate.add_argument(
        "--crop-to-box", action="store_true", help="cut images of another data set to its boxes"
    )
    add_on_corrupt(evaluate)
    evaluate.add_argument(
        "--split",
        choices=("train", "validation", "test", "all"),
        help="which classes [test; all with --dataset folder, csv or npz]",
    )
    evaluate.add_argument(
        "--clustering",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="NMI and F1, by k-means with as many clusters as classes [as in the run]",
    )
    evaluate.add_argument(
        "--verification",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="how well a distance tells pairs of one class from pairs of two: equal error rate, "
        "true accept rates, and what the thresholds of the run give here [as in the run]",
    )
    evaluate.add_argument(
        "--model-output", metavar="NAME", help="which output, of a model with several"
    )
    evaluate.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _open(args):
    """The run that is meant; of a `.keras` file that is of no run its path."""
    from mdl_tf.runs import Run
    from mdl_tf.runs.folder import find_run

    path = Path(args.run).expanduser()
    if path.suffix != ".keras" or path.is_dir():
        return Run.open(args.run)
    folder = find_run(path)
    if folder is not None:
        return Run.open(folder)
    if args.dataset is None:
        raise ConfigError(
            "`dataset` must say what a .keras file is measured on, such as --dataset folder "
            f"--data-dir PHOTOS; a run knows its data. Received: {args.run} alone"
        )
    return path


def run(args):
    """Run the command."""
    if args.dataset is not None:
        TrainConfig.check("dataset", args.dataset)
    run = _open(args)
    with quiet():
        from mdl_tf.metrics import columns
        from mdl_tf.metrics.calibration import describe_trial
        from mdl_tf.runs.evaluate import evaluate_file, evaluate_run

    measured = (evaluate_file if isinstance(run, Path) else evaluate_run)(
        run,
        dataset=args.dataset,
        data_dir=absolute(args.data_dir),
        split=args.split,
        crop_to_box=args.crop_to_box,
        on_corrupt=args.on_corrupt,
        clustering=args.clustering,
        verification=args.verification,
        output=args.model_output,
        # Standard output holds nothing but the JSON.
        stream=sys.stderr if args.json else None,
    )
    if args.json:
        print(json.dumps(measured, indent=2))
    else:
        print(
            f"{measured['dataset']} {measured['split']}: {measured['images']:,} images of "
            f"{measured['classes']:,} classes"
        )
        name = run.stem if isinstance(run, Path) else run.folder.name
        print(columns.table({name: measured}))
        if measured.get("thresholds"):
            print(describe_trial(measured["thresholds"]))
    return 0
