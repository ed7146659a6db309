"""Executors by address: where kernels are built when it is not on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager

from tvm_prune.errors import BoardError

_CONNECT_TIMEOUT = 20.0


@contextmanager
def open_executor(address: str | None) -> Iterator[Executor | None]:
    """The executor at an address, closed at the end of the block; None for this machine's own.

    Args:
        address: ``dask://HOST:PORT``, the scheduler of a Dask cluster whose workers have
            tvm_prune installed; or None.

    Raises:
        BoardError: if the scheme is unknown, or nothing answers at the address.
    """
    if address is None:
        yield None
        return
    scheme, separator, place = address.partition("://")
    if not separator or scheme not in EXECUTORS or not place:
        allowed = ", ".join(f"{name}://HOST:PORT" for name in EXECUTORS)
        raise BoardError(
            f"There is no executor '{address}'; allowed: {allowed}. Without --executor, kernels "
            "are built by processes of this machine."
        )
    with EXECUTORS[scheme](place) as executor:
        yield executor


@contextmanager
def _dask(place: str) -> Iterator[Executor]:
    """Dask's executor; the cluster belongs to its owner and goes on."""
    try:
        from distributed import Client
    except ImportError as error:
        raise BoardError(
            "An executor dask://HOST:PORT needs Dask: pip install 'tvm-prune[dask]'."
        ) from error
    try:
        client = Client(f"tcp://{place}", timeout=_CONNECT_TIMEOUT)
    except (OSError, ValueError) as error:
        raise BoardError(
            f"No Dask scheduler answers at {place} ({error}); start one with `dask scheduler`, "
            f"and workers with `dask worker {place}`."
        ) from error
    with client:
        yield client.get_executor(pure=False)


EXECUTORS: Mapping[str, Callable[[str], AbstractContextManager[Executor]]] = {"dask": _dask}
"""How to open an executor, by the scheme of its address."""
