"""Kernels for 32-bit ARM boards compute what they should; there is no TVM runtime to serve them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import tvm_ffi
from support.matmul import matmul_kernel

from tvm_prune.board import load_board
from tvm_prune.measure.building import KernelBuilder
from tvm_prune.measurement import Artifact

HARNESS = Path(__file__).parent.parent / "support" / "run_kernel.c"
COMPILER = "arm-linux-gnueabihf-gcc"
SYSROOT = "/usr/arm-linux-gnueabihf"
SIZE = 24


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that calls kernels as TVM's runtime does."""
    program = tmp_path_factory.mktemp("harness") / "run_kernel"
    includes = [f"-I{path}" for path in tvm_ffi.libinfo.include_paths()]
    command = [COMPILER, "-O1", *includes, str(HARNESS), "-o", str(program), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return program


@pytest.mark.parametrize("name", ["stm32mp1"])
def test_a_kernel_for_a_32_bit_board_computes_the_same(
    name: str, harness: Path, tmp_path: Path
) -> None:
    board = load_board(name)
    target = board.tvm_target()
    builder = KernelBuilder(target, linker=board.linker, builders=1)
    try:
        [built] = builder.build([matmul_kernel(SIZE, target)])
        assert isinstance(built, Artifact), built
        library = tmp_path / "kernel.so"
        library.write_bytes(built.path.read_bytes())
    finally:
        builder.close()
    random = np.random.default_rng(0)
    left, right = (random.standard_normal((SIZE, SIZE), dtype="float32") for _ in range(2))
    for file, array in (("left", left), ("right", right)):
        array.tofile(tmp_path / file)
    emulated = ["qemu-arm", "-cpu", "cortex-a7", "-L", SYSROOT, str(harness), str(library)]
    ran = subprocess.run(
        [*emulated, str(SIZE), "left", "right", "product"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    product = np.fromfile(tmp_path / "product", dtype="float32").reshape(SIZE, SIZE)
    np.testing.assert_allclose(product, left @ right, rtol=1e-5, atol=1e-5)
