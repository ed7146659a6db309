"""Programs that are missing or fail are told in one sentence."""

from __future__ import annotations

import sys

import pytest

from tvm_prune.errors import BoardError
from tvm_prune.toolchain import PACKAGES, missing, require, run


@pytest.mark.parametrize("program", PACKAGES)
def test_a_missing_program_is_told_with_its_package(
    program: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert f"apt-get install {PACKAGES[program]}" in missing(program)
    with pytest.raises(
        BoardError, match=f"Cannot do this: .*{PACKAGES[program]}".replace("+", ".")
    ):
        require(program, "do this")


def test_a_program_of_ones_own_is_told_without_a_package() -> None:
    assert missing("my-own-gcc") == "my-own-gcc is not installed: install it, or name another"


def test_what_is_installed_is_found() -> None:
    assert missing(sys.executable) == ""
    assert require(sys.executable, "run") == sys.executable


def test_the_first_complaint_of_a_program_that_fails_is_told() -> None:
    script = "import sys; print('a\\nb: error: no such thing\\nc', file=sys.stderr); sys.exit(1)"
    with pytest.raises(BoardError, match=r"Cannot compile: .* says 'b: error: no such thing'"):
        run([sys.executable, "-c", script], "compile")
    run([sys.executable, "-c", ""], "do nothing")
