"""Sessions run on the cores that a board file names, and so do TVM's threads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import tvm
from support.emulated import KEY, kernel, session
from support.rpc_servers import boards
from tvm import rpc

from tvm_prune.emulator import EmulatedBoard
from tvm_prune.errors import MeasureError
from tvm_prune.measure.facts import describe_server
from tvm_prune.measure.terms import SessionTerms

OURS = sorted(os.sched_getaffinity(0))
LAST = OURS[-1]
ABSENT = 1000
SPREADS = "for i in T.parallel(64):\n                result[i] = T.float32(1)"


@pytest.fixture(scope="module")
def board() -> Iterator[EmulatedBoard]:
    started = EmulatedBoard("cortex-a72", KEY)
    yield started
    started.close()


def allowed(process: int) -> list[set[int]]:
    """The cores that the kernel allows to each thread of a process."""
    threads = Path(f"/proc/{process}/task").iterdir()
    return [set(psutil.Process(int(thread.name)).cpu_affinity()) for thread in threads]


def session_process(board: EmulatedBoard) -> int:
    [process] = psutil.Process(board.process.pid).children()
    return process.pid


def test_a_session_runs_on_the_cores_that_were_named(board: EmulatedBoard) -> None:
    with session(board) as ours:
        SessionTerms("instructions", cores=(LAST,)).begin(ours)
        assert describe_server(ours)["cores"] == 1
        assert {LAST} in allowed(session_process(board))
    with session(board) as following:
        assert describe_server(following)["cores"] == len(OURS)


def test_tvms_threads_are_as_many_and_share_the_cores(board: EmulatedBoard, tmp_path: Path) -> None:
    library = kernel(SPREADS, tmp_path)
    with session(board) as ours:
        SessionTerms("instructions", cores=tuple(OURS)).begin(ours)
        before = allowed(session_process(board))
        ours.upload(str(library), library.name)
        tensor = tvm.runtime.tensor(np.zeros(64, "float32"), ours.cpu())
        ours.load_module(library.name)["main"](tensor)
        after = allowed(session_process(board))
        assert tensor.numpy().tolist() == [1.0] * 64
    assert len(after) == len(before) + len(OURS) - 1
    assert all(cores == set(OURS) for cores in after)


@pytest.mark.parametrize("cores", [(ABSENT,), (LAST, ABSENT)])
def test_cores_that_are_not_there_are_told_with_those_that_are(
    board: EmulatedBoard, cores: tuple[int, ...]
) -> None:
    with session(board) as ours:
        there = ",".join(map(str, OURS))
        with pytest.raises(
            Exception, match=rf"cannot use the cores .*{ABSENT}; .* may use {there}"
        ):
            SessionTerms("instructions", cores=cores).begin(ours)


def test_tvms_own_server_chooses_no_cores_and_its_user_is_told_what_does(tmp_path: Path) -> None:
    with boards(tmp_path, 1) as started:
        server = started.tracker.request(60)
        connection = rpc.connect(server.host, server.port, server.matchkey)
        with pytest.raises(MeasureError, match=re.escape("TVM_NUM_THREADS=2 taskset -c 4,5")):
            SessionTerms(cores=(4, 5)).begin(connection)
        del connection
