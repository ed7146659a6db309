import subprocess
import sys

SCRIPT = """
import sys
import tvm_prune
assert "tvm.s_tir.tensor_intrin" not in sys.modules, "imported before it is needed"
from tvm_prune.tuning.context import provide_cpu_intrinsics
provide_cpu_intrinsics()
provide_cpu_intrinsics()
import tvm.s_tir.tensor_intrin
from tvm.s_tir import TensorIntrin
loaded = {name for name in sys.modules if name.startswith("tvm.s_tir.tensor_intrin.")}
assert "tvm.s_tir.tensor_intrin.cuda" not in loaded, loaded
assert TensorIntrin.get("dot_16x4_vnni") is not None
from tvm.s_tir.tensor_intrin.metal import get_simdgroup_intrin_group
print("fine")
"""


def test_cpu_intrinsics_are_registered_without_importing_the_cuda_ones() -> None:
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
        check=False,
    )
    assert finished.stdout.strip() == "fine", finished.stderr
