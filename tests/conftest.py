"""Shapes checked at run time, types never promoted unseen, the weights read once."""

from pathlib import Path

import numpy as np
import pytest
from jaxtyping import install_import_hook

# Before the first import of jaxstyle, so that every annotation of a shape is checked.
hook = install_import_hook("jaxstyle", "typecheck.check")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

IMAGES = Path(__file__).parent / "images"
GOLDEN = Path(__file__).parent / "golden"
# The first step goes by the gradient's sign, on every level of a pyramid. Where that is a matter of
# rounding, a whole region differs by twice the step: one so short is not told apart below.
SHORT_STEP = 0.002


def assert_same_picture(image, expected, atol=2e-3):
    """Equal but for rounding, in all but five values of a thousand.

    Adam's first step goes by the gradient's sign: a value whose gradient is within
    rounding of 0 may go the other way.
    """
    assert np.shape(image) == np.shape(expected)
    differs = np.abs(np.asarray(image, np.float64) - np.asarray(expected, np.float64)) > atol
    assert differs.mean() < 5e-3


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
    """Drop compiled programs: in one process they would use up Linux's 65 530 memory maps."""
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True)
def _strict_types():
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def random():
    return np.random.default_rng(0)
