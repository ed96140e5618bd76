"""Shared fixtures; shapes are checked at run time, and dtypes are never promoted implicitly."""

import os
from pathlib import Path

# Most of the time is compilation. Without LLVM's optimizations it is half; the programs are the
# same up to rounding. `XLA_FLAGS= pytest` tests optimized ones.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
# As in the commands: threads of LAPACK wait in a loop, which takes cores from other workers.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
from jaxtyping import install_import_hook

# Before the first import of jaxstyle, so that the hook covers all its modules.
hook = install_import_hook("jaxstyle", "typecheck.check")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

# For all threads: a run compiles in a second one.
jax.config.update("jax_numpy_dtype_promotion", "strict")

IMAGES = Path(__file__).parent / "images"
GOLDEN = Path(__file__).parent / "golden"
# Adam's first step on each level moves by the gradient's sign. If rounding decides the sign, a
# region differs by twice the step; this learning rate keeps that within a test's tolerance.
SHORT_STEP = 0.002


def assert_same_picture(image, expected, atol=2e-3):
    """Assert that two images differ by more than `atol` in less than 0.5 % of their values.

    Adam's first step moves by the gradient's sign, which rounding decides where the gradient
    is close to 0.
    """
    assert np.shape(image) == np.shape(expected)
    differs = np.abs(np.asarray(image, np.float64) - np.asarray(expected, np.float64)) > atol
    assert differs.mean() < 5e-3


def with_devices(number):
    """Return the environment of a process with `number` devices on the CPU."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={number}"
    return {**os.environ, "XLA_FLAGS": flags}


def arrays(random, *shapes):
    return [jnp.asarray(random.normal(size=shape), jnp.float32) for shape in shapes]


@pytest.fixture(scope="session")
def params():
    from jaxstyle import load_weights

    return load_weights()


@pytest.fixture(scope="session")
def content():
    from jaxstyle import read_image

    return read_image(IMAGES / "chelsea.jpg", 48)


@pytest.fixture(scope="session")
def style():
    from jaxstyle import read_image

    return read_image(IMAGES / "cafe_terrace.jpg", 40)


@pytest.fixture(scope="module", autouse=True)
def _few_programs():
    """Drop compiled programs, which would exceed Linux's limit of 65 530 memory maps."""
    yield
    jax.clear_caches()


@pytest.fixture
def random():
    return np.random.default_rng(0)
