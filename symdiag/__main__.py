"""``python -m symdiag`` (and ``torchrun -m symdiag``)."""

import sys

from symdiag.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
