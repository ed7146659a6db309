"""``python -m tvm_prune`` is ``tvm-prune``."""

from __future__ import annotations

import sys

from tvm_prune.cli import main

if __name__ == "__main__":
    sys.exit(main())
