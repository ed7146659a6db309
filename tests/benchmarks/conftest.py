from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.kernel_samples import Subject
from tvm_prune.board import load_board
from tvm_prune.channels import find_channels, width_limits
from tvm_prune.compilation import Compilation
from tvm_prune.frontend import load
from tvm_prune.progress import Silent
from tvm_prune.search import Search
from tvm_prune.session import open_session
from tvm_prune.settings import Settings

EXAMPLE = Path(__file__).parents[2] / "examples" / "fashion_resnet8.onnx"


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """The example network, its kernels neither tuned nor measured."""
    folder = tmp_path_factory.mktemp("example")
    model = load(EXAMPLE)
    channels = find_channels(model.module)
    scores = [np.random.default_rng(0).random(group.width) for group in channels.groups]
    with open_session(load_board("host"), folder) as session:
        compilation = Compilation(model, channels, scores, width_limits(channels), session.target)
        yield Subject(
            name="example",
            search=Search(session, compilation, Settings(cache=folder), Silent(), folder),
            measurements=0,
        )
