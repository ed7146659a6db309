"""Firmware that measures a C model: its sources, its compilation, and the memory it takes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tvm_prune.board import Board, firmware_sources
from tvm_prune.errors import BoardError, MeasureError

LINKER_SCRIPT = "linker.ld"
_STREAMS = {"qemu": "stream_semihosting.c", "serial": "stream_uart.c"}
_COMPILE = ("-O2", "-std=c11", "-Wall", "-ffunction-sections", "-fdata-sections")
_LINK = ("-nostartfiles", "--specs=nano.specs", "-Wl,--gc-sections")
_TIMEOUT = 300.0
_PROFILE = "-DMODEL_PROFILE"
_MAIN = "main.c"
_TELLING = ("undefined reference", "overflowed", "error: ")
"""Words in the line of a compiler's or linker's complaint that says most."""
_FLASH = (".vectors", ".text", ".ARM.exidx", ".data")
_RAM = (".data", ".bss", ".stack")
_FIRMWARE_RAM = 12 * 1024
"""Bytes for the stack, its guard and the firmware's own variables."""


def arena_room(board: Board, asked: int | None = None) -> int:
    """Bytes that a model's arena may take.

    Args:
        board: the board.
        asked: what somebody wants it to be; by default, what is left of the board's RAM when its
            firmware has what it needs.
    """
    if asked is not None:
        return asked
    return max(0, (board.ram or 0) - _FIRMWARE_RAM)


def firmware_files(board: Board) -> dict[str, bytes]:
    """Everything that the firmware of a board consists of besides the model, by file name.

    Raises:
        BoardError: if the board is no microcontroller.
    """
    if board.folder is None:
        raise BoardError(f"The board '{board.name}' is no microcontroller; it has no firmware.")
    common = firmware_sources()
    own_stream = _STREAMS[board.connection]
    files = {
        path.name: path.read_bytes()
        for path in [*sorted(common.glob("*.[ch]")), *sorted(board.folder.glob("*.[ch]"))]
        if path.name == own_stream or path.name not in _STREAMS.values()
    }
    scripts = [board.folder / "memory.ld", common / "sections.ld"]
    files[LINKER_SCRIPT] = b"\n".join(path.read_bytes() for path in scripts)
    return files


@dataclass(frozen=True)
class Memory:
    """What a firmware takes.

    Attributes:
        flash: bytes of code, constants, weights and initial values.
        ram: bytes of variables, arena and stack.
    """

    flash: int
    ram: int


@dataclass(frozen=True)
class FirmwareBuilder:
    """Links models with the firmware of one board; its parts are compiled once.

    Several processes may build in the same folder.

    Attributes:
        board: a microcontroller.
        folder: where the parts go that all models share.
    """

    board: Board
    folder: Path

    def build(self, model: Mapping[str, bytes], folder: Path, *, profile: bool = False) -> Path:
        """Compile and link a C model.

        Args:
            model: files of the model by name, ``model.c`` and ``model.h`` among them.
            folder: where these files and the firmware go; created where it is missing.
            profile: whether the firmware tells the cost of every kernel.

        Returns:
            The firmware, an ELF file.

        Raises:
            MeasureError: if the compiler or the linker refuses it.
            BoardError: if the compiler is not installed.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in model.items():
            (folder / name).write_bytes(content)
        options = (*_COMPILE, *((_PROFILE,) if profile else ()))
        sources = [name for name in sorted(model) if name.endswith((".c", ".S", ".o"))]
        harness = [*self._common(), self._main(model["model.h"], options)]
        script = str(self._sources / LINKER_SCRIPT)
        elf = folder / "firmware.elf"
        arguments = [*sources, *map(str, harness), "-T", script, *_LINK, "-lm", "-o", elf.name]
        self._compile([*options, "-I.", *arguments], folder)
        return elf

    def memory(self, elf: Path) -> Memory:
        """What a firmware takes, from the sizes of its sections."""
        lines = _called([self._tool("size"), "-A", str(elf)], elf.parent).splitlines()
        sizes = {
            words[0]: int(words[1])
            for words in map(str.split, lines)
            if len(words) == 3 and words[0].startswith(".")
        }
        flash, ram = (sum(sizes.get(name, 0) for name in names) for names in (_FLASH, _RAM))
        return Memory(flash, ram)

    def function_at(self, elf: Path, address: int) -> str:
        """Name of the function that an address of the code lies in."""
        lines = _called([self._tool("addr2line"), "-f", "-e", str(elf), hex(address)], elf.parent)
        return lines.splitlines()[0] if lines else "??"

    def address_of(self, elf: Path, function: str) -> int:
        """Address of a function.

        Raises:
            MeasureError: if the firmware has none of that name.
        """
        for line in _called([self._tool("nm"), str(elf)], elf.parent).splitlines():
            words = line.split()
            if len(words) == 3 and words[2] == function:
                return int(words[0], 16) & ~1
        raise MeasureError(f"{elf.name} has no function '{function}'")

    @property
    def _sources(self) -> Path:
        path = self.folder / "firmware"
        if not (path / LINKER_SCRIPT).is_file():  # the last one to be written
            path.mkdir(parents=True, exist_ok=True)
            for name, content in firmware_files(self.board).items():
                _write_whole(path / name, content)
        return path

    def _common(self) -> list[Path]:
        """Objects that do not depend on the model."""
        sources = [path for path in sorted(self._sources.glob("*.c")) if path.name != _MAIN]
        return [self._object(path, path.with_suffix(".o"), _COMPILE) for path in sources]

    def _main(self, header: bytes, options: Sequence[str]) -> Path:
        """The object that depends on the model, by a few definitions of its header."""
        used = [line for line in header.splitlines() if b"MODEL_ARENA" not in line]
        used = [line for line in used if b"MODEL_WEIGHTS" not in line]
        text = b"\n".join([*used, *map(str.encode, options)])
        place = self.folder / f"main-{hashlib.sha256(text).hexdigest()[:16]}"
        place.mkdir(parents=True, exist_ok=True)
        _write_whole(place / "model.h", header)
        include = (*options, f"-I{place}", f"-I{self._sources}")
        return self._object(self._sources / _MAIN, place / "main.o", include)

    def _object(self, source: Path, target: Path, options: Sequence[str]) -> Path:
        if not target.exists():
            unfinished = target.with_suffix(f".{_own()}.o")
            self._compile([*options, "-c", str(source), "-o", str(unfinished)], target.parent)
            unfinished.replace(target)
        return target

    def _compile(self, arguments: Sequence[str], folder: Path) -> None:
        _called([str(self.board.compiler), *self.board.flags, *arguments], folder)

    def _tool(self, name: str) -> str:
        return str(self.board.compiler).removesuffix("gcc") + name


def _own() -> str:
    """Part of a file name that no other thread or process uses."""
    return f"{os.getpid()}-{threading.get_ident()}"


def _write_whole(path: Path, content: bytes) -> None:
    """Another process never sees a part of the file."""
    unfinished = path.with_name(f"{path.name}.{_own()}")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _called(command: Sequence[str], folder: Path) -> str:
    """Output of a tool of the compiler's."""
    try:
        result = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_TIMEOUT
        )
    except FileNotFoundError as error:
        raise BoardError(f"{command[0]} is not installed: {how_to_install(command[0])}.") from error
    except subprocess.TimeoutExpired as error:
        raise MeasureError(f"{command[0]} took longer than {_TIMEOUT:.0f} s") from error
    if result.returncode != 0:
        lines = result.stderr.splitlines() or [f"failed with status {result.returncode}"]
        telling = [line for line in lines if any(word in line for word in _TELLING)]
        raise MeasureError(f"{command[0]}: {(telling or lines)[0].strip()}")
    return result.stdout


def has_c_library(compiler: str) -> bool:
    """Whether a compiler that is installed finds newlib, whose mathematical functions are used."""
    found = _called([compiler, "-print-file-name=nano.specs"], Path.cwd()).strip()
    return Path(found).is_absolute()


def how_to_install(program: str) -> str:
    """The command that installs a program that boards need."""
    package = _PACKAGES.get(program.rpartition("/")[2])
    return f"apt-get install {package}" if package else f"install it, or put {program} on the PATH"


_PACKAGES: Mapping[str, str] = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "arm-none-eabi-size": "binutils-arm-none-eabi",
    "arm-none-eabi-addr2line": "binutils-arm-none-eabi",
    "arm-none-eabi-nm": "binutils-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
    "openocd": "openocd",
    "st-flash": "stlink-tools",
    "pyocd": "python3-pyocd",
}
"""Debian packages of the programs."""
