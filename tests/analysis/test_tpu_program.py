"""Guards what a step does on a TPU; needs the compiler: pip install -e '.[test,tpu]'."""

import importlib.util

import numpy as np
import pytest
from exchanges import exchanged_sizes
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxstyle
from jaxstyle import StyleConfig
from jaxstyle.analysis.cost import lower_step
from jaxstyle.analysis.devices import describe_devices
from jaxstyle.analysis.forecast import measure_compiled

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="needs '.[tpu]'"),
]


def test_the_step_of_a_tpu_has_no_more_kernels_bytes_and_memory_than_recorded():
    # The size that is recorded: other forms of pooling are better at 128 pixels, and worse here.
    config = StyleConfig(dtype="bfloat16")
    step = measure_compiled(jaxstyle.load_weights(), config, (512, 512), "v5e", batch=8)
    # With jax 0.10.2 and libtpu 0.0.42.1: 590 kernels, 2.47 GB, 2.58 GiB, 7 copies.
    assert step.kernels <= 620
    assert step.bytes <= 8 * 2.55e9
    assert step.temporaries <= 2.7 * 2**30
    assert step.large_copies <= 10
    assert step.collectives == 0


@pytest.mark.parametrize("topology", ["2x2", "2x4"])
def test_tpus_exchange_the_rows_at_their_borders_and_no_maps(topology):
    devices = describe_devices("v5e", topology)
    sharding = NamedSharding(Mesh(np.array(devices), ("rows",)), PartitionSpec("rows"))
    config = StyleConfig(size=512, dtype="bfloat16", style_layers="relu5_1")
    lowered, _ = lower_step(jaxstyle.load_weights(), config, (512, 512), sharding=sharding)
    permuted, gathered = exchanged_sizes(lowered.compile().as_text())
    assert permuted
    # The optimizer gathers a level of its pyramid; the smallest map, relu5_1, is larger.
    assert max(gathered) <= 512 * 256 * 3 < 32 * 32 * 512
