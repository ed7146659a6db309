"""The shape of the package: imports point down, files and functions stay small."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tvm_prune"
ROOT = PACKAGE.parent

LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "__init__ __main__",
        "cli",
        "acquisition board_commands pareto retraining sparsifying depth",
        "pipeline workflow",
        "iteration delivery",
        "finalists",
        "deployment installation",
        "search result sweep_result",
        "learning whole_models memory",
        "compilation firmware_build firmware_run scoring session verification board_check "
        "reachability console arguments",
        "planner transform measure export report recover frontend torch sensitivity",
        "latency importance accuracy_arguments board_arguments mcu",
        "tuning emulator",
        "channels operations to_onnx agent activations cycles board_choice",
        "model plan board budget measurement settings progress toolchain manifest",
        "connections microcontroller target",
        "errors interrupts machine units",
    )
)
"""From high to low; a module may import its own part and the layers below."""

SAME_LEVEL = {("frontend", "transform"), ("report", "transform"), ("recover", "transform")}
"""Imports inside one layer, from left to right."""

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 45

FILES = sorted(PACKAGE.rglob("*.py"))
IDS = [str(path.relative_to(PACKAGE)) for path in FILES]
each_file = pytest.mark.parametrize("path", FILES, ids=IDS)


def part_of(path: Path) -> str:
    """Top-level module or folder of the package that a file belongs to."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def layer_of(part: str) -> int:
    found = [index for index, names in enumerate(LAYERS) if part in names]
    assert found, f"'{part}' has no layer; give it one in LAYERS"
    return found[0]


def imported_parts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and part of the package of every import, absolute or relative."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = absolute_names(node, path)
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            if top == "tvm_prune" and rest:
                yield node.lineno, rest.split(".")[0]


def absolute_names(node: ast.ImportFrom, path: Path) -> list[str]:
    """Dotted names an import-from statement may mean."""
    module = node.module or ""
    if node.level:
        package = ("tvm_prune", *path.relative_to(PACKAGE).parent.parts)
        package = package[: len(package) - node.level + 1]
        module = ".".join([*package, *([module] if module else [])])
    if module == "tvm_prune":  # from tvm_prune import transform
        return [f"{module}.{alias.name}" for alias in node.names if not alias.name.startswith("__")]
    return [module]


@each_file
def test_imports_point_down(path: Path) -> None:
    part = part_of(path)
    for line, other in imported_parts(path):
        allowed = other == part or (part, other) in SAME_LEVEL or layer_of(part) < layer_of(other)
        assert allowed, f"{path.relative_to(ROOT)}:{line}: '{part}' may not import '{other}'"


def test_the_check_sees_absolute_and_relative_imports(tmp_path: Path) -> None:
    statements = (
        "from ..errors import ModelError\nfrom tvm_prune import plan\nimport tvm_prune.board\n"
    )
    path = PACKAGE / "channels" / "imaginary.py"
    nodes = ast.parse(statements).body
    names = [
        absolute_names(node, path) if isinstance(node, ast.ImportFrom) else [node.names[0].name]
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert names == [["tvm_prune.errors"], ["tvm_prune.plan"], ["tvm_prune.board"]]


@each_file
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES


@each_file
def test_functions_are_short(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert lines <= MAX_FUNCTION_LINES, f"{node.name} has {lines} lines"


def test_importing_the_package_stays_light() -> None:
    heavy = ("torch", "matplotlib", "pandas", "tvm.s_tir.tensor_intrin.cuda")
    code = (  # TVM itself imports torch where it is installed
        "import sys, tvm; own = set(sys.modules); import tvm_prune; "
        f"print([m for m in {heavy!r} if m in sys.modules and m not in own])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "[]"


MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|Users|work|mnt|opt/venv|tmp)/[\w.-]+")
TEXT_FILES = {".py", ".toml", ".md", ".yml", ".yaml", ".ini", ".cfg", ".sh", ".c", ".h", ".ld"}


def test_no_file_mentions_a_machine() -> None:
    folders = ("tvm_prune", "tests", "docs", "examples", "benchmarks", "scripts", "targets")
    files = [path for name in folders for path in (ROOT / name).rglob("*")]
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in [*files, *ROOT.glob("*.*")]
        if path.suffix in TEXT_FILES and path.is_file()
        for match in MACHINE_PATH.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not found
