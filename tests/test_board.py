"""Board files: the shipped ones load, and what is wrong with one's own is told."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import pytest
import tvm

from tvm_prune import board as board_module
from tvm_prune.board import FIELDS, TABLES, Board, board_names, load_board
from tvm_prune.connections import CONNECTIONS
from tvm_prune.errors import BoardError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent

VALID = """
name = "mine"
description = "a board of my own"
connection = "local"
flash = 1048576
ram = 262144

[target]
kind = "llvm"
num-cores = 3

[measure]
clock = "seconds"
repeats = 7
"""


BEHIND_A_TRACKER = """
name = "pi"
description = "a board behind a tracker"
connection = "rpc"

[target]
kind = "llvm"
mtriple = "aarch64-linux-gnu"
num-cores = 4

[rpc]
key = "pi"
tracker = "192.0.2.10:9190"

[toolchain]
linker = "aarch64-linux-gnu-g++"
"""


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", board_names())
def test_every_shipped_board_loads_and_its_target_is_one_tvm_knows(name: str) -> None:
    board = load_board(name)
    assert board.name == name
    assert board.tvm_target().kind.name == board.target["kind"]


def test_the_host_board_is_this_machine() -> None:
    host = load_board("host")
    assert host.connection == "local"
    assert host.target["num-cores"] == len(os.sched_getaffinity(0))
    assert host.target["mcpu"] == tvm.target.codegen.llvm_get_system_cpu()
    assert "detect" not in host.target


def test_a_board_of_ones_own_is_read_by_path(tmp_path: Path) -> None:
    board = load_board(written(tmp_path, VALID))
    assert board == Board(
        name="mine",
        description="a board of my own",
        connection="local",
        target={"kind": "llvm", "num-cores": 3},
        clock="seconds",
        repeats=7,
        flash=1048576,
        ram=262144,
    )


def test_what_a_target_says_itself_is_not_detected(tmp_path: Path) -> None:
    board = load_board(written(tmp_path, VALID.replace("num-cores", "detect = true\nnum-cores")))
    assert board.target["num-cores"] == 3
    assert board.target["mcpu"] == load_board("host").target["mcpu"]


def test_an_unknown_board_names_the_nearest_and_all_others() -> None:
    with pytest.raises(BoardError, match="Did you mean 'host'") as caught:
        load_board("hots")
    for name in board_names():
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("flash =", "flahs =", ["`flahs`", "Did you mean `flash`", *FIELDS]),
        ("repeats = 7", "repeat = 7", ["`measure.repeat`", *TABLES["measure"]]),
        ("flash = 1048576", 'flash = "1 MB"', ["`flash`", "str", "'1 MB'", "int"]),
        ("flash = 1048576", "flash = true", ["`flash`", "bool", "int"]),
        ("repeats = 7", "cooldown = -1.0", ["`measure.cooldown` = -1", "negative"]),
        ("repeats = 7", "cores = [0]", ["`measure.cores` = [0]", "rpc, qemu-user"]),
        ("repeats = 7", "cores = [1, 1]", ["`measure.cores` = [1, 1]", "different cores"]),
        ("repeats = 7", 'cores = ["a"]', ["`measure.cores` = ['a']", "[4, 5]"]),
        ("repeats = 7", "repeats = 7.5", ["`measure.repeats`", "float", "int"]),
        ('name = "mine"', "name = 5", ["`name`", "int", "str"]),
        ('description = "a board of my own"', "", ["lacks `description`"]),
        ('connection = "local"', "", ["lacks `connection`"]),
        ('"local"', '"telepathy"', ["`connection`", "'telepathy'", *CONNECTIONS]),
        ('name = "mine"', "name = ", ["not valid TOML", "line 2"]),
        ("[target]", "[traget]", ["`traget`", "Did you mean `target`"]),
    ],
)
def test_a_malformed_board_file_is_refused_with_what_is_allowed(
    old: str, new: str, said: list[str], tmp_path: Path
) -> None:
    assert VALID.count(old) == 1
    path = written(tmp_path, VALID.replace(old, new))
    with pytest.raises(BoardError) as caught:
        load_board(path)
    for words in [path, *said]:
        assert words in str(caught.value)


@pytest.mark.parametrize("key", ["name", "description", "connection", "target"])
def test_required_keys_are_required(key: str) -> None:
    assert FIELDS[key][1]


def test_a_missing_board_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.toml"
    with pytest.raises(BoardError, match=r"nowhere\.toml: No such file"):
        load_board(str(path))


def test_a_binary_board_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BoardError, match="not valid TOML"):
        load_board(str(path))


@pytest.mark.parametrize("target", ['kind = "abacus"', 'kind = "llvm"\nabacus = 1'])
def test_a_target_that_tvm_refuses_is_told_with_the_board(target: str, tmp_path: Path) -> None:
    board = load_board(written(tmp_path, VALID.replace('kind = "llvm"', target)))
    with pytest.raises(BoardError, match=r"Board 'mine': TVM refuses its target.*abacus"):
        board.tvm_target()


@pytest.mark.parametrize(
    "change",
    [
        {"target": {"kind": "llvm", "num-cores": 4}},
        {"target": {"kind": "llvm", "num-cores": 3, "mcpu": "skylake"}},
        {"clock": "cycles"},
    ],
)
def test_the_fingerprint_changes_with_what_measurements_depend_on(
    change: dict[str, object], tmp_path: Path
) -> None:
    board = load_board(written(tmp_path, VALID))
    assert dataclasses.replace(board, **change).fingerprint != board.fingerprint


def test_the_fingerprint_does_not_depend_on_what_a_board_is_called(tmp_path: Path) -> None:
    board = load_board(written(tmp_path, VALID))
    renamed = dataclasses.replace(board, name="yours", description="the same")
    assert renamed.fingerprint == board.fingerprint == load_board(
        written(tmp_path, VALID)
    ).fingerprint  # fmt: skip


@pytest.mark.parametrize(
    ("fact", "value"), [("cpu_name", "another CPU"), ("core_count", 1024), ("governor", "another")]
)
def test_measurements_of_different_machines_are_kept_apart(
    fact: str, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = load_board(written(tmp_path, VALID))
    here = board.fingerprint
    monkeypatch.setattr(board_module, fact, lambda: value)
    assert board.fingerprint != here


def test_a_machine_that_does_not_tell_its_governor_has_an_unknown_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = load_board(written(tmp_path, VALID))
    monkeypatch.setattr(board_module, "governor", lambda: None)
    silent = board.fingerprint
    monkeypatch.setattr(board_module, "governor", lambda: "unknown")
    assert board.fingerprint == silent


def test_a_board_behind_a_tracker_is_read(tmp_path: Path) -> None:
    board = load_board(written(tmp_path, BEHIND_A_TRACKER))
    assert (board.connection, board.key, board.tracker) == ("rpc", "pi", "192.0.2.10:9190")
    assert board.linker == "aarch64-linux-gnu-g++"


def test_a_board_behind_a_tracker_does_not_depend_on_this_machine_but_on_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = load_board(written(tmp_path, BEHIND_A_TRACKER))
    here = board.fingerprint
    monkeypatch.setattr(board_module, "cpu_name", lambda: "another CPU")
    monkeypatch.setattr(board_module, "governor", lambda: "another")
    assert board.fingerprint == here
    assert dataclasses.replace(board, tracker="192.0.2.11:9190").fingerprint == here
    assert dataclasses.replace(board, key="another").fingerprint != here


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('key = "pi"', "", ["`connection` = 'rpc'", "`rpc.key` = None"]),
        ('connection = "rpc"', 'connection = "local"', ["'local'", "`rpc.key` = 'pi'"]),
        ("[rpc]", "[measure]\ncores = [4, 5]\n[rpc]", ["`target.num-cores` = 4", "[4, 5]"]),
        ("tracker =", "traker =", ["`rpc.traker`", "Did you mean `rpc.tracker`"]),
        ("linker =", "linkers =", ["`toolchain.linkers`", "linker"]),
    ],
)
def test_a_malformed_connection_is_refused(
    old: str, new: str, said: list[str], tmp_path: Path
) -> None:
    with pytest.raises(BoardError) as caught:
        load_board(written(tmp_path, BEHIND_A_TRACKER.replace(old, new)))
    for words in said:
        assert words in str(caught.value)


EMULATED = """
name = "emulated"
description = "a board under QEMU"
connection = "qemu-user"

[target]
kind = "llvm"
mtriple = "aarch64-linux-gnu"
num-cores = 1

[emulator]
cpu = "cortex-a53"
boards = 3

[rpc]
key = "emulated"

[measure]
repeats = 1
"""


def test_a_board_may_name_the_cores_to_measure_on(tmp_path: Path) -> None:
    text = BEHIND_A_TRACKER.replace("num-cores = 4", "num-cores = 2")
    pinned = text + "\n[measure]\ncores = [4, 5]\ncooldown = 2\n"
    board, other = (load_board(written(tmp_path, each)) for each in (pinned, text))
    assert (board.cores, board.cooldown) == ((4, 5), 2.0)
    assert board.fingerprint != other.fingerprint


def test_an_emulated_board_counts_instructions(tmp_path: Path) -> None:
    board = load_board(written(tmp_path, EMULATED))
    assert (board.connection, board.clock) == ("qemu-user", "instructions")
    assert (board.emulated_cpu, board.boards) == ("cortex-a53", 3)
    other = dataclasses.replace(board, emulated_cpu="cortex-a72")
    assert other.fingerprint != board.fingerprint
    assert dataclasses.replace(board, boards=1).fingerprint == board.fingerprint


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("repeats = 1", 'clock = "seconds"', ["emulated", "says nothing", "instructions"]),
        ("repeats = 1", 'clock = "cycles"', ["'cycles'", "allowed: instructions"]),
        ('cpu = "cortex-a53"', "", ["`emulator.cpu` = None", "qemu-user"]),
        ("boards = 3", "boards = 0", ["`emulator.boards` = 0", "at least 1"]),
        ('key = "emulated"', "", ["`rpc.key` = None", "qemu-user"]),
    ],
)
def test_an_emulated_board_that_makes_no_sense_is_refused(
    old: str, new: str, said: list[str], tmp_path: Path
) -> None:
    with pytest.raises(BoardError) as caught:
        load_board(written(tmp_path, EMULATED.replace(old, new)))
    for words in said:
        assert words in str(caught.value)


def test_a_target_may_be_a_tag_of_tvms(tmp_path: Path) -> None:
    tag = VALID.replace('kind = "llvm"', 'tag = "arm/stm32mp1"')
    target = load_board(written(tmp_path, tag)).target
    assert target["mcpu"] == "cortex-a7"
    assert target["num-cores"] == 3
    assert "tag" not in target
    assert load_board(written(tmp_path, tag)).tvm_target().kind.name == "llvm"


def test_a_tag_that_tvm_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match=r"no target tag 'arm/abacus'"):
        load_board(written(tmp_path, VALID.replace('kind = "llvm"', 'tag = "arm/abacus"')))


def test_board_files_are_found_in_a_checkout() -> None:
    files = [path.stem for path in (ROOT / "targets").glob("*.toml")]
    folders = [path.parent.name for path in (ROOT / "targets").glob("*/board.toml")]
    assert board_names() == sorted(files + folders)
    assert {"host", "mps2-an500"} <= set(board_names())


def test_board_files_are_found_in_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    package = tmp_path / "tvm_prune"
    (tmp_path / included["targets"]).mkdir(parents=True)
    (tmp_path / included["targets"] / "mine.toml").write_text(VALID, encoding="utf-8")
    monkeypatch.setattr(board_module, "PACKAGE", package)
    assert board_names() == ["mine"]
    assert load_board("mine").repeats == 7
