"""Jobs that run one on every core."""

from __future__ import annotations

import math

import pytest

from benchmarks.one_a_core import one_a_core


def test_every_job_has_its_result() -> None:
    numbers = [9.0, 0.0, 4.0]
    assert dict(one_a_core(math.sqrt, numbers)) == {0: 3.0, 1: 0.0, 2: 2.0}


def test_a_job_that_raises_is_told() -> None:
    with pytest.raises(ValueError, match="math domain error"):
        list(one_a_core(math.sqrt, [-1.0]))
