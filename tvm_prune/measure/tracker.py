"""Ask a TVM RPC tracker for servers, with time-outs on everything.

TVM's own client waits for ever, for a tracker that hangs as for a server that never becomes free,
and does not tell which server it was given.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from typing import Any

from tvm.rpc import base

from tvm_prune.errors import BoardError, MeasureError

_TIMEOUT = 10.0


@dataclass(frozen=True)
class Address:
    """Where something listens.

    Attributes:
        host: name or number.
        port: TCP port.
    """

    host: str
    port: int

    @property
    def name(self) -> str:
        """``HOST:PORT``."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Server(Address):
    """A server that a tracker gave us for one session.

    Attributes:
        matchkey: what it wants to hear.
    """

    matchkey: str


@dataclass(frozen=True)
class Tracker(Address):
    """A tracker, and the key of the servers that we want.

    Attributes:
        key: what the servers call themselves.
    """

    key: str

    @property
    def place(self) -> str:
        """Where servers are looked for; see :class:`~tvm_prune.measure.servers.Finder`."""
        return f"with the key '{self.key}' at the tracker {self.name}"

    @property
    def advice(self) -> str:
        """What to do where no server is left."""
        return (
            f"start the servers again (`python -m tvm.exec.rpc_server --tracker {self.name} "
            f"--key {self.key}` on the board)"
        )

    def close(self) -> None:
        """Nothing is held between questions."""

    def servers(self) -> list[str]:
        """Names of the servers that have the key, free or not.

        Raises:
            MeasureError: if the tracker does not answer.
        """
        infos = self._summary()["server_info"]
        ours = [info for info in infos if info["key"] == f"server:{self.key}"]
        return ["{}:{}".format(*info["addr"]) for info in ours]

    def free_servers(self) -> int:
        """Number of servers that have the key and that nobody uses.

        Raises:
            MeasureError: if the tracker does not answer.
        """
        return int(self._summary()["queue_info"].get(self.key, {}).get("free", 0))

    def request(self, patience: float) -> Server | None:
        """A server that nobody else uses, or None where none is free for `patience` seconds.

        Raises:
            MeasureError: if the tracker does not answer.
        """
        try:
            with self._connect() as connection:
                connection.settimeout(patience)
                code, given = _ask(connection, [base.TrackerCode.REQUEST, self.key, "", 1])
        except TimeoutError:
            return None
        except OSError as error:
            raise self._silent(error) from error
        if code != base.TrackerCode.SUCCESS:
            raise MeasureError(f"The tracker {self.name} refuses a request: {given}.")
        host, port, matchkey = given
        return Server(host, port, matchkey)

    def _summary(self) -> Any:
        try:
            with self._connect() as connection:
                return _ask(connection, [base.TrackerCode.SUMMARY])[1]
        except OSError as error:
            raise self._silent(error) from error

    def _connect(self) -> socket.socket:
        try:
            connection = socket.create_connection((self.host, self.port), timeout=_TIMEOUT)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(struct.pack("<i", base.RPC_TRACKER_MAGIC))
            [magic] = struct.unpack("<i", base.recvall(connection, 4))
        except TimeoutError as error:
            raise self._silent(error) from error
        if magic != base.RPC_TRACKER_MAGIC:
            connection.close()
            raise MeasureError(f"What answers at {self.name} is not a TVM RPC tracker.")
        return connection

    def _silent(self, error: OSError) -> MeasureError:
        return MeasureError(
            f"The tracker {self.name} does not answer ({error}); what was measured is kept. Start "
            "it with `python -m tvm.exec.rpc_tracker`, and run the same command to go on."
        )


def find_tracker(address: str | None, key: str) -> Tracker:
    """The tracker at an address, or the one that TVM's environment variables name.

    Args:
        address: ``HOST:PORT``; ``TVM_TRACKER_HOST`` and ``TVM_TRACKER_PORT`` where it is None.
        key: what the servers call themselves.

    Raises:
        BoardError: if there is no address, or it cannot be read.
    """
    if address is None:
        host, port = (os.environ.get(f"TVM_TRACKER_{part}", "") for part in ("HOST", "PORT"))
        if not host:
            raise BoardError(
                f"The board with the key '{key}' needs a tracker: give --tracker HOST:PORT, "
                "`tracker` in the [rpc] table of its file, or TVM_TRACKER_HOST and "
                "TVM_TRACKER_PORT in the environment."
            )
        address = f"{host}:{port}"
    host, _, text = address.rpartition(":")
    if not host or not text.isdigit() or not 0 < int(text) < 1 << 16:
        raise BoardError(
            f"Cannot read the tracker's address '{address}'; write HOST:PORT, for example "
            "192.0.2.10:9190."
        )
    return Tracker(host.strip("[]"), int(text), key)


def _ask(connection: socket.socket, question: list[Any]) -> tuple[int, Any]:
    """Ask at once, and have the answer at once.

    Messages come in two parts, the second of which waits until the first one is acknowledged:
    40 ms, more than many a kernel takes.
    """
    base.sendjson(connection, question)
    if hasattr(socket, "TCP_QUICKACK"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    code, answer = base.recvjson(connection)
    return code, answer
