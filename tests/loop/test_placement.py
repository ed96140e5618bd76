"""Rows of an image over devices: what the devices exchange, and the results of one device."""

import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest
from conftest import IMAGES, assert_same_picture, with_devices
from exchanges import exchanged_sizes

from jaxstyle import StyleConfig
from jaxstyle.io.images import read_shape
from jaxstyle.pyramid import levels, round_rows


def run_on(devices, code, *arguments):
    env = {**with_devices(devices), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, env=env)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


EXCHANGED = """
import re, sys
import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from jaxstyle import StyleConfig, load_weights
from jaxstyle.analysis.cost import lower_step
mesh = jax.make_mesh((8,), ("rows",), (AxisType.Auto,))
config = StyleConfig(size=512, conv="direct")
sharding = NamedSharding(mesh, P("rows"))
lowered, _ = lower_step(load_weights(), config, (512, 512), sharding=sharding)
print(lowered.compile().as_text())
"""


@pytest.mark.slow
def test_devices_exchange_the_rows_at_their_borders_and_no_maps():
    text = run_on(8, EXCHANGED)
    permuted, gathered = exchanged_sizes(text)
    assert permuted
    # The optimizer gathers a level of its pyramid, half the size of the image. The smallest map,
    # relu5_1, is larger.
    assert max(gathered) <= 512 * 256 * 3 < 32 * 32 * 512


EQUAL = """
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from jaxstyle import StyleConfig, load_weights, stylize, stylize_batch
params = load_weights()
random = np.random.default_rng(0)
contents = random.random((2, 64, 48, 3)).astype(np.float32)
style = random.random((32, 32, 3)).astype(np.float32)
masks = np.stack([contents[0, ..., 0], 1 - contents[0, ..., 0]])
config = StyleConfig(size=64, min_size=32, steps=(3, 2), content_layers=("relu2_1",),
                     style_layers=("relu1_1",), learning_rate=0.002, laplacian_weight=1, style_loss="gram")
rows = NamedSharding(jax.make_mesh((2,), ("rows",), (AxisType.Explicit,)), P("rows"))
both = NamedSharding(jax.make_mesh((2, 2), ("batch", "rows"), (AxisType.Auto,) * 2),
                     P("batch", "rows"))
states = []
whole = stylize(params, contents[0], [style, 1 - style], config, masks=masks)
split = stylize(params, contents[0], [style, 1 - style], config, masks=masks, sharding=rows,
                callback=lambda progress: states.append(progress.state))
for image in (states[-1].image, states[-1].optimizer.iterate):
    assert image.addressable_shards[0].data.shape == (32, 48, 3), image.sharding
pairs = [(whole, split)]
pairs += [(stylize_batch(params, contents, style, config),
           stylize_batch(params, contents, style, config, sharding=both))]
for one, many in pairs:
    np.testing.assert_allclose(many.trace.loss[..., 0], one.trace.loss[..., 0], rtol=1e-5)
    assert (abs(np.asarray(many.image) - np.asarray(one.image)) > 2e-3).mean() < 5e-3
"""


@pytest.mark.slow
def test_rows_over_devices_give_the_result_of_one_device():
    run_on(4, EQUAL)


PROCESSES = """
import sys
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from jaxstyle import StyleConfig, load_weights, stylize, stylize_batch
address, index, output = sys.argv[1], int(sys.argv[2]), sys.argv[3]
if address:
    jax.distributed.initialize(address, 2, index, initialization_timeout=60)
params = load_weights()
random = np.random.default_rng(0)
contents = random.random((2, 64, 48, 3)).astype(np.float32)
style = random.random((32, 32, 3)).astype(np.float32)
config = StyleConfig(size=64, min_size=32, steps=(3, 2), content_layers=("relu2_1",), color="luminance",
                     style_layers=("relu1_1",), learning_rate=0.002, style_loss="gram")

def over(name, kind):
    if not address:
        return None
    return NamedSharding(jax.make_mesh((2,), (name,), (kind,)), P(name))

# The second process stops both.
stop = lambda progress: index == 1 and progress.step >= 4
single = stylize(params, contents[0], style, config, callback=stop, sharding=over("rows", AxisType.Auto))
batch = stylize_batch(params, contents, style, config, sharding=over("batch", AxisType.Explicit))
np.savez(output, *map(np.asarray, (single.image, single.trace.loss, batch.image, batch.trace.loss)))
"""


@pytest.mark.slow
def test_two_processes_give_the_results_of_one_to_both(tmp_path):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    runs = [("", "1", "one.npz"), (address, "0", "first.npz"), (address, "1", "second.npz")]
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESSES, *run], env=env, cwd=tmp_path)
        for run in runs
    ]
    try:
        assert [process.wait(timeout=300) for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            process.kill()
    one, first, second = (np.load(tmp_path / name) for *_, name in runs)
    for name in one.files:
        np.testing.assert_array_equal(first[name], second[name])
        assert_same_picture(first[name], one[name])


COMMAND = """
import sys
from jaxstyle.analysis import memory
from jaxstyle.cli import main
free = int(sys.argv[1])
memory.available_bytes = lambda: free
sys.exit(main([*sys.argv[2:], "--size", "96", "--steps", "2", "--style-layers", "relu1_1",
               "--content-layers", "relu2_1", "--verbose"]))
"""


@pytest.mark.slow
def test_command_splits_what_is_too_large_for_a_device(tmp_path):
    images = [IMAGES / "chelsea.jpg", IMAGES / "coffee.jpg"]
    losses = []
    # A step on 96x64 pixels takes 145 MB by the estimate.
    for free, message in ((10**9, ""), (12 * 10**7, "rows over 2"), (10**6, "in tiles of 16")):
        output = tmp_path / f"{free}.png"
        text = run_on(2, COMMAND, free, "stylize", *images, "-o", output)
        assert message in text
        assert message or ("rows over" not in text and "tiles" not in text)
        losses.append(float(re.search(r"loss ([\d.]+\d)", text)[1]))
        assert read_shape(output) == (64, 96)
    # The last digit that is printed may be rounded the other way.
    assert max(losses) - min(losses) < 0.015


def test_heights_are_rounded_to_what_every_layer_can_split():
    assert round_rows((2160, 3840), 1) == (2160, 3840)
    assert round_rows((2160, 3840), 8) == (2176, 3840)
    assert round_rows((200, 320), 8) == (200, 320)
    config = StyleConfig(size=1280, min_size=320, steps=(1,))
    assert [size for size, _ in levels((1000, 1280), config, 4)] == [
        (256, 320),
        (512, 640),
        (1024, 1280),
    ]


def test_too_few_rows_for_the_devices_are_an_error():
    with pytest.raises(ValueError, match="splits 200 rows over 8 devices"):
        levels((200, 320), StyleConfig(size=320), 8)
