"""`python -m mdl_tf.cli`."""

import sys

from mdl_tf.cli import main

if __name__ == "__main__":
    sys.exit(main())
