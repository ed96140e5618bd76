"""Guards what a step does on a TPU; needs the compiler: pip install -e '.[test,tpu]'."""

import importlib.util

import pytest

import jaxstyle
from jaxstyle import StyleConfig
from jaxstyle.analysis.forecast import measure_compiled

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="needs '.[tpu]'"),
]


def test_the_step_of_a_tpu_has_no_more_kernels_bytes_and_memory_than_recorded():
    config = StyleConfig(dtype="bfloat16")
    step = measure_compiled(jaxstyle.load_weights(), config, (128, 128), "v5e", batch=8)
    # Ten percent above jax 0.10.2 with libtpu 0.0.42.1: 547 kernels, 751 MB, 439 MiB.
    assert step.kernels <= 600
    assert step.bytes <= 830e6
    assert step.temporaries <= 483 << 20
    assert step.large_copies <= 4
    assert step.collectives == 0
