"""The agent, on an emulated board: it outlives whatever its sessions do."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from support.emulated import (
    ABORTS,
    COUNTS,
    ENDLESS,
    KEY,
    cost,
    kernel,
    session,
    session_folders,
)
from support.rpc_servers import boards

from tvm_prune.agent import ARCHITECTURES, build_agent, cached_agent
from tvm_prune.emulator import EmulatedBoard
from tvm_prune.errors import BoardError


@pytest.fixture(scope="module")
def running():
    started = EmulatedBoard("cortex-a72", KEY)
    yield started
    started.close()


@pytest.fixture(scope="module")
def fine(tmp_path_factory) -> Path:
    return kernel(COUNTS, tmp_path_factory.mktemp("fine"))


@pytest.fixture
def board(running: EmulatedBoard, fine: Path):
    """Whatever a test does to it: it serves the next session, and nothing is left over."""
    yield running
    gc.collect()
    with session(running) as next_session:
        assert cost(next_session, fine) > 64 / 4
    wait_until(lambda: not session_folders(running))


def wait_until(condition, patience: float = 60.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_what_is_built_is_all_that_a_board_needs(tmp_path: Path) -> None:
    agent = build_agent("aarch64", tmp_path / "agent")
    header = agent.read_bytes()[:20]
    assert header[:4] == b"\x7fELF"
    assert int.from_bytes(header[18:20], "little") == 183  # EM_AARCH64
    assert os.access(agent, os.X_OK)
    names = {path.name for path in agent.parent.iterdir()}
    assert {"libtvm_ffi.so", "libtvm_runtime.so", "libtvm_runtime_extra.so"} < names
    assert "tvm-prune-agent.service" in names
    assert "libtvm_compiler.so" not in names


@pytest.mark.parametrize("name", ["aarch46", "armv7", "mips"])
def test_an_architecture_without_wheels_is_refused_with_the_ones_there_are(name: str) -> None:
    told = f"'{name}'.*{next(iter(ARCHITECTURES))}.*32-bit ARM, build TVM .* from .*rpc_server"
    with pytest.raises(BoardError, match=told):
        cached_agent(name)


def test_a_missing_compiler_is_told_with_the_package_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BoardError, match="apt-get install g\\+\\+-aarch64-linux-gnu"):
        cached_agent("aarch64", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--key is missing"),
        (("--key", "a b"), "letters, digits"),
        (("--key", "a", "--tracker", "nowhere"), "write HOST:PORT"),
        (("--key", "a", "--port", "9-1"), "write a port or a range"),
        (("--keys", "a"), "no option '--keys'"),
        (("--key",), "needs a value"),
    ],
)
def test_wrong_usage_is_one_sentence(arguments: tuple[str, ...], words: str) -> None:
    command = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", str(cached_agent("aarch64"))]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_agent_listens_at_the_loopback_address_only(board: EmulatedBoard) -> None:
    listening = Path("/proc/net/tcp").read_text().splitlines()
    [entry] = [line.split() for line in listening if f":{board.port:04X} 00000000" in line]
    assert entry[1] == f"0100007F:{board.port:04X}"


def test_a_client_with_a_wrong_key_is_refused(board: EmulatedBoard) -> None:
    with pytest.raises(RuntimeError, match=r"(?i)mismatch|key"), session(board, "another"):
        pass


def test_clients_that_say_nothing_or_nonsense_delay_others_for_seconds_only(
    board: EmulatedBoard, fine: Path
) -> None:
    with (
        socket.create_connection(("127.0.0.1", board.port)),
        socket.create_connection(("127.0.0.1", board.port)) as babbling,
    ):
        babbling.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
        with session(board) as patient:
            assert cost(patient, fine) > 64 / 4


@pytest.mark.parametrize("name", ["../evil.so", "/evil.so", "..", ".", ""])
def test_uploads_stay_in_the_folder_of_their_session(
    name: str, board: EmulatedBoard, fine: Path
) -> None:
    with session(board) as ours, pytest.raises(Exception, match="no plain file name"):
        ours.get_function("tvm.rpc.server.upload")(name, bytearray(b"evil"))


def test_a_library_for_another_processor_is_refused_by_name(
    board: EmulatedBoard, fine: Path
) -> None:
    with session(board) as ours:
        ours.upload("/bin/sh", "kernel.so")
        with pytest.raises(Exception, match="built for x86_64, but this board is aarch64"):
            ours.load_module("kernel.so")


def test_a_kernel_that_aborts_ends_its_session_with_the_reason(
    board: EmulatedBoard, fine: Path, tmp_path: Path
) -> None:
    aborting = kernel(ABORTS, tmp_path)
    with session(board) as ours, pytest.raises(Exception, match="Aborted"):
        cost(ours, aborting)


def test_an_instruction_that_the_processor_lacks_is_told_with_what_it_has(
    board: EmulatedBoard, fine: Path, tmp_path: Path
) -> None:
    halves = kernel(COUNTS, tmp_path, dtype="float16", cpu="cortex-a76", features=["+fullfp16"])
    with session(board) as ours, pytest.raises(Exception, match=r"illegal instruction.*asimd"):
        cost(ours, halves, dtype="float16")
    newer = EmulatedBoard("cortex-a76", KEY)
    try:
        with session(newer) as ours:
            assert cost(ours, halves, dtype="float16") > 0
    finally:
        newer.close()


def test_a_kernel_that_hangs_ends_soon_after_its_client(
    board: EmulatedBoard, fine: Path, tmp_path: Path
) -> None:
    endless = kernel(ENDLESS, tmp_path)
    process = os.fork()
    if process == 0:
        with session(board) as ours:
            cost(ours, endless)
        os._exit(0)
    wait_until(lambda: session_folders(board))
    time.sleep(1)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


def test_it_registers_again_when_the_tracker_comes_back(tmp_path: Path) -> None:
    with boards(tmp_path, 0) as tracked:
        board = EmulatedBoard("cortex-a72", tracked.key, tracked.tracker.name)
        try:
            tracked.wait_for(1)
            offer = tracked.tracker.request(10)
            assert offer is not None
            assert offer.port == board.port
            tracked.restart_tracker()
            tracked.wait_for(1)
            offer = tracked.tracker.request(10)
            assert offer is not None
            with session(board, offer.matchkey) as ours:
                described = ours.get_function("tvm_prune.agent.describe")()
                assert '"machine": "aarch64"' in described
            assert tracked.tracker.request(30) is not None
        finally:
            board.close()


def test_what_killed_sessions_left_is_deleted_and_their_processes_are_gone(
    fine: Path, tmp_path: Path
) -> None:
    command = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", str(cached_agent("aarch64"))]
    command += ["--key", KEY, "--port", "9297", "--work", str(tmp_path / "work")]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert "listening" in first.stdout.readline()
    with socket.create_connection(("127.0.0.1", 9297)) as connection:
        greeting = f"client:{KEY}".encode()
        connection.sendall(
            (0xFF271).to_bytes(4, "little") + len(greeting).to_bytes(4, "little") + greeting
        )
        assert "session begins" in first.stdout.readline()
        first.kill()
        first.wait()
        assert connection.makefile("rb").read() is not None  # until the session's process is gone
    [left] = (tmp_path / "work").iterdir()
    second = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert second.stdout is not None
    assert "listening" in second.stdout.readline()
    second.terminate()
    assert second.wait() == 0
    assert not left.exists()
