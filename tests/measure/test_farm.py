"""Builds on a Dask cluster: jobs may fail, crash and hang there, and workers may die."""

from __future__ import annotations

import ctypes
import math
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import dask
import pytest
from distributed import Client, LocalCluster
from pool_jobs import kill_parent
from small_kernels import DOES_NOT_COMPILE, FINE, module

from tvm_prune.errors import BoardError
from tvm_prune.measure import LocalMeasurer, Repeats, executors, open_executor
from tvm_prune.measure.farm import Farm, Lost
from tvm_prune.measure.pool import Failed
from tvm_prune.measurement import Artifact, Failure, Measurement

IMPORTED = (
    "[n for n in ('torch', 'tvm.s_tir.tensor_intrin.cuda') if n in __import__('sys').modules]"
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as started,
    ):
        yield started


@pytest.fixture(scope="module")
def executor(cluster: LocalCluster) -> Iterator[Executor | None]:
    with open_executor(cluster.scheduler_address.replace("tcp://", "dask://")) as opened:
        yield opened


def test_kernels_are_built_by_the_cluster_and_run_here(executor, target) -> None:
    measurer = LocalMeasurer(target, executor=executor, repeats=Repeats(samples=2))
    statements = (FINE, DOES_NOT_COMPILE, FINE, FINE)
    fine, failed, *others = measurer.build([module(statement) for statement in statements])
    assert isinstance(failed, Failure)
    assert failed.stage == "build"
    assert "possible type mismatch: llvm.sqrt" in failed.cause
    artifacts = [each for each in (fine, *others) if isinstance(each, Artifact)]
    assert len(artifacts) == 3
    assert all(isinstance(outcome, Measurement) for outcome in measurer.run(artifacts))
    measurer.close()


def test_workers_import_neither_torch_nor_gpu_intrinsics(executor, cluster) -> None:
    assert Farm(executor, timeout=60).map(math.sqrt, [(4,), (9,)] * 2) == [2, 3] * 2
    with Client(cluster.scheduler_address) as client:
        assert list(client.run(eval, IMPORTED).values()) == [[], []]


def test_a_job_that_raises_crashes_or_hangs_fails_alone(executor) -> None:
    farm = Farm(executor, timeout=3)
    assert farm.map(math.sqrt, [(-1,), (4,)]) == [Failed("ValueError: math domain error"), 2]
    [crashed] = farm.map(ctypes.string_at, [(0,)])
    assert isinstance(crashed, Failed)
    assert not isinstance(crashed, Lost)
    assert "SIGSEGV" in crashed.cause
    assert farm.map(time.sleep, [(3600,), (0,)]) == [Failed("timed out after 3 s"), None]


def test_a_job_that_kills_its_worker_fails_alone_and_the_worker_is_replaced(executor) -> None:
    farm = Farm(executor, timeout=60)
    [killed] = farm.map(kill_parent, [()])
    assert isinstance(killed, Failed)
    assert not isinstance(killed, Lost)
    assert "killed its workers" in killed.cause
    assert farm.map(math.sqrt, [(4,)] * 4) == [2] * 4


def test_any_executor_will_do() -> None:
    with ThreadPoolExecutor(1) as threads:
        farm = Farm(threads, timeout=60)
        failed, fine = farm.map(math.sqrt, [(-1,), (4,)])
    assert failed == Failed("ValueError: math domain error")
    assert fine == 2


def test_an_executor_that_is_closed_loses_its_jobs() -> None:
    threads = ThreadPoolExecutor(1)
    threads.shutdown()
    [lost, _] = Farm(threads, timeout=60).map(math.sqrt, [(4,), (9,)])
    assert isinstance(lost, Lost)


class Odd(Executor):
    """An executor whose jobs all end, or do not end, in the same way."""

    def __init__(self, end: Callable[[Future[Any]], object]) -> None:
        self._end = end

    def submit(self, *_arguments: Any, **_options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._end(future)
        return future


@pytest.mark.parametrize(
    ("end", "cause"),
    [
        (lambda future: None, "do not answer"),
        (lambda future: future.cancel(), "do not answer"),
        (lambda future: future.set_exception(OSError("no route")), "OSError: no route"),
        (
            lambda future: future.set_exception(ModuleNotFoundError("No module 'tvm_prune'")),
            "lack tvm_prune",
        ),
    ],
)
def test_what_goes_wrong_in_an_executor_is_no_fault_of_the_job(end, cause) -> None:
    [lost] = Farm(Odd(end), timeout=1, patience=0.1).map(math.sqrt, [(4,)])
    assert isinstance(lost, Lost)
    assert cause in lost.cause


def test_kernels_are_lost_with_the_executor(target) -> None:
    threads = ThreadPoolExecutor(1)
    threads.shutdown()
    measurer = LocalMeasurer(target, executor=threads)
    [lost] = measurer.build([module(FINE)])
    measurer.close()
    assert isinstance(lost, Failure)
    assert lost.is_lost


@pytest.mark.parametrize("address", ["ray://host:1", "host:8786", "dask://", "dask"])
def test_an_unknown_kind_of_executor_is_told_with_the_known_ones(address: str) -> None:
    with pytest.raises(BoardError, match="dask://HOST:PORT") as caught, open_executor(address):
        pass
    assert f"'{address}'" in str(caught.value)


def test_a_scheduler_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_CONNECT_TIMEOUT", 1.0)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{closed.getsockname()[1]}"
        with (
            pytest.raises(BoardError, match=f"answers at {place}.*dask scheduler"),
            open_executor(f"dask://{place}"),
        ):
            pass
