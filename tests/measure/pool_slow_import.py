"""A module that takes a while to import, and says when it was."""

import os
import time
from pathlib import Path

time.sleep(0.3)
Path(os.environ["STARTED"]).touch()
