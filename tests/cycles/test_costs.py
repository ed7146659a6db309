"""Estimated cycles: what blocks of machine code cost on LLVM's models of ARM processors."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from assembly import A53, A72, M4, M7, assembled, costs, total

from tvm_prune.cycles import Processor, instruction_costs, write_table
from tvm_prune.errors import BoardError

FMUL_LATENCY, FMUL_PIPES = 5, 2
"""Of a Cortex-A72, which LLVM schedules as a Cortex-A57; its optimisation guide says the same."""

CHAIN = "\n".join(["fmul s0, s0, s1"] * 4)
FREE = "\n".join(f"fmul s{number}, s8, s9" for number in range(4))


def test_a_chain_of_multiplications_costs_their_latency_and_free_ones_their_pipes(
    tmp_path: Path,
) -> None:
    assert total(CHAIN, A72, tmp_path) == 4 * FMUL_LATENCY
    assert total(FREE, A72, tmp_path) == 4 / FMUL_PIPES


@pytest.mark.parametrize(
    ("processor", "slow", "fast"),
    [
        (A53, CHAIN, FREE),
        (M7, *("\n".join(f"vmul.f32 s{n * k}, s{n * k}, s9" for n in range(4)) for k in (0, 1))),
        (M4, "ldr r0, [r0]\n" * 4, "mov r0, r1\n" * 4),
    ],
    ids=["A53", "M7", "M4"],
)
def test_equal_numbers_of_instructions_differ_in_cycles(
    processor: Processor, slow: str, fast: str, tmp_path: Path
) -> None:
    assert total(slow, processor, tmp_path) > 1.5 * total(fast, processor, tmp_path)


def test_a_loop_costs_its_body_as_often_as_it_runs(tmp_path: Path) -> None:
    told = costs(f"mov w0, #100\n1:\n{CHAIN}\nsubs w0, w0, #1\nb.ne 1b\nret", A72, tmp_path)
    before, body, after = 1, 6, 1
    assert len(told.addresses) == before + body + after
    once = told.cycles([1, *[0] * body, 1])
    hundred = told.cycles([1, *[100] * body, 1])
    assert hundred - once == 100 * 4 * FMUL_LATENCY


def test_the_cost_of_a_block_is_spread_evenly_and_exactly(tmp_path: Path) -> None:
    told = costs("\n".join(["fmul s0, s0, s1"] * 3 + ["nop"] * 4), A72, tmp_path)
    assert told.thousandths.sum() == 3 * FMUL_LATENCY * 1000
    assert told.thousandths.max() - told.thousandths.min() <= 1


def test_a_call_costs_a_jump_and_ends_its_block(tmp_path: Path) -> None:
    called = costs(f"bl f\n{CHAIN}", A72, tmp_path)
    jumped = costs(f"b f\n{CHAIN}", A72, tmp_path)
    assert called.thousandths.tolist() == jumped.thousandths.tolist()
    assert called.thousandths[0] == 1000
    assert called.thousandths[1:].sum() == 4 * FMUL_LATENCY * 1000


def test_what_the_model_does_not_know_takes_one_cycle(tmp_path: Path) -> None:
    assert total(f"{CHAIN}\nudf #0", A72, tmp_path) == 4 * FMUL_LATENCY + 1
    assert total("udf #0", A72, tmp_path) == 1


def test_constants_between_instructions_are_no_code(tmp_path: Path) -> None:
    told = costs("vldr s0, 1f\nbx lr\n.align 2\n1: .word 0xbf00bf00\n.thumb\nnop", M4, tmp_path)
    assert 8 not in told.addresses
    assert {0, 4, 12} <= set(told.addresses.tolist())


def test_conditional_instructions_of_thumb_stay_together(tmp_path: Path) -> None:
    told = costs("cmp r0, #0\nitt ne\naddne r0, r0, r1\nbxne lr\nmov r0, r1\nbx lr", M7, tmp_path)
    assert len(told.addresses) == 6
    assert told.cycles([1] * 6) >= 2


@pytest.mark.parametrize(("processor", "size"), [(A72, 4), (M7, 2)], ids=["A72", "M7"])
def test_a_table_has_the_cost_of_the_instruction_at_each_place_of_the_file(
    processor: Processor, size: int, tmp_path: Path
) -> None:
    code = assembled("nop\nnop\nnop", processor, tmp_path)
    told = instruction_costs(code, processor)
    write_table(told, code, tmp_path / "table")
    content = (tmp_path / "table").read_bytes()
    magic, name, begin, entries = struct.unpack_from("<8s56sQQ", content)
    assert (magic, name.rstrip(b"\0").decode()) == (b"cycles01", processor.cpu)
    assert begin == int(told.addresses[0])
    table = np.frombuffer(content[80:], dtype="<u4")
    assert len(table) == entries == size + 1
    assert table[:: size // 2].tolist() == told.thousandths.tolist()


def test_places_in_a_library_are_offsets_in_its_file(tmp_path: Path) -> None:
    library = Path("/usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1")
    told = instruction_costs(library, A72)
    write_table(told, library, tmp_path / "table")
    begin = struct.unpack_from("<64xQ", (tmp_path / "table").read_bytes())[0]
    code = library.read_bytes()[begin : begin + 4]
    assert code != b"\0" * 4
    assert begin <= int(told.addresses[0])


def test_a_processor_without_a_model_is_refused(tmp_path: Path) -> None:
    code = assembled("nop", A72, tmp_path)
    with pytest.raises(BoardError, match=r"no model of the processor 'cortex-a999'.*instructions"):
        instruction_costs(code, Processor("aarch64-linux-gnu", "cortex-a999"))


def test_missing_tools_are_told_with_their_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = assembled("nop", A72, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BoardError, match=r"llvm-objdump is not installed: `apt-get install llvm`"):
        instruction_costs(code, A72)


def test_tools_with_a_version_in_their_names_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = assembled(FREE, A72, tmp_path)
    for name in ("llvm-mca", "llvm-objdump"):
        for version in ("9", "14"):
            (tmp_path / f"{name}-{version}").symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path))
    told = instruction_costs(code, A72)
    assert told.thousandths.sum() == 2000
