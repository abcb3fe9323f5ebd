"""`mdl-tf doctor`: what may be wrong with a run."""

import sys

from mdl_tf.progress import quiet


def add_to(commands):
    """Add the command to a parser's commands."""
    doctor = commands.add_parser(
        "doctor",
        help="say what may be wrong with a run, and what to do",
        description="Looks at the history, batches, embeddings and labels of a run, on its "
        "training and validation classes, never on those of the test. Each finding is ok, worth a "
        "look, or wrong, by rules of thumb. Writes a report, tables and pictures into RUN/doctor.",
    )
    doctor.add_argument("run", metavar="RUN", help="run folder; of a run with folds one of them")
    doctor.add_argument("--json", action="store_true", help="print JSON instead of text")


def run(args):
    """Run the command."""
    from mdl_tf.runs import Run

    run = Run.open(args.run)
    # A message about the config need not wait for TensorFlow.
    run.config  # noqa: B018
    with quiet():
        from mdl_tf import doctor

    # Standard output holds nothing but the JSON.
    diagnosis = doctor.diagnose(run, stream=sys.stderr if args.json else None)
    if args.json:
        print(diagnosis.to_json())
    else:
        print(f"\n{diagnosis}\n\nFiles: " + ", ".join(str(path) for path in diagnosis.files))
    return 0
