"""What the agent tells of its board is kept with each measurement: of the board, not of its client.

The board's system files are the test's own: QEMU's user mode looks for files in a folder first.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import tvm
from support.emulated import COUNTS, KERNEL, LINKER, target
from support.rpc_servers import Boards, boards
from tvm.target import Target

from tvm_prune.agent import cached_agent
from tvm_prune.latency.steady import Reference, SteadyRunner
from tvm_prune.machine import conditions
from tvm_prune.measure import Repeats, RpcMeasurer
from tvm_prune.measure.terms import SessionTerms
from tvm_prune.measurement import Artifact, Measurement

SYSROOT = Path("/usr/aarch64-linux-gnu")
LAST = max(os.sched_getaffinity(0))
SYSTEM_FILES = {
    "sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq": "1500000",
    "sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor": "ondemand",
    "sys/class/thermal/thermal_zone0/temp": "71500",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50005",
}


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boards]:
    """A tracker, and an agent on a board that is warm and throttled, and tells the time."""
    folder = tmp_path_factory.mktemp("board")
    root = folder / "root"
    root.mkdir()
    (root / "lib").symlink_to(SYSROOT / "lib")
    for name, text in SYSTEM_FILES.items():
        file = root / name.format(core=LAST)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    with boards(folder, 0) as started:
        command = ["setpriv", "--pdeathsig", "KILL", "--", "qemu-aarch64", "-cpu", "cortex-a72"]
        command += ["-L", str(root), str(cached_agent("aarch64")), "--key", started.key]
        command += ["--tracker", started.tracker.name, "--work", str(folder / "work")]
        agent = subprocess.Popen([*command, "--port", "9300-9899"], stdout=subprocess.DEVNULL)
        try:
            started.wait_for(1)
            yield started
        finally:
            agent.terminate()
            agent.wait()


@pytest.fixture
def measurer(tracked: Boards) -> Iterator[RpcMeasurer]:
    opened = RpcMeasurer(
        Target(target()),
        tracked.tracker,
        terms=SessionTerms(cores=(LAST,)),
        linker=LINKER,
        builders=1,
        repeats=Repeats(samples=2, seconds=0.0),
    )
    yield opened
    opened.close()


def built(measurer: RpcMeasurer) -> Artifact:
    text = KERNEL.format(statement=COUNTS.format(dtype="float32"), dtype="float32")
    [artifact] = measurer.build([tvm.script.from_source(text)])
    assert isinstance(artifact, Artifact), artifact
    return artifact


def test_a_measurement_has_the_conditions_of_the_board_and_of_the_core_it_ran_on(
    measurer: RpcMeasurer,
) -> None:
    [measured] = measurer.run([built(measurer)])
    assert isinstance(measured, Measurement), measured
    assert measured.unit == "seconds"
    assert len(measured.samples) == 2
    told = measured.conditions
    assert (told.frequency_hz, told.governor) == (1.5e9, "ondemand")
    assert (told.temperature_c, told.throttled) == (71.5, "50005")
    assert told.load_average is not None
    assert told != conditions()


def test_the_reference_kernel_runs_on_the_board_as_well(measurer: RpcMeasurer) -> None:
    artifact = built(measurer)
    [alone] = SteadyRunner(measurer).run([artifact])
    assert isinstance(alone, Measurement), alone
    slow = Reference(artifact, 0.5 * alone.median)
    [measured] = SteadyRunner(measurer, [slow]).run([artifact])
    assert isinstance(measured, Measurement), measured
    assert measured.conditions.temperature_c == 71.5
    assert measured.median < alone.median
