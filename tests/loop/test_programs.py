"""Statistics of a style image at the size of a level."""

import jax
import numpy as np
import pytest

from jaxstyle import StyleConfig
from jaxstyle.loop.programs import compute_style_statistics
from jaxstyle.objective import compute_style_statistics as statistics_of
from jaxstyle.pyramid import resize


@pytest.mark.parametrize(("shape", "edges"), [((40, 60), (20, 30)), ((16, 24), (16, 24))])
def test_edges_of_an_enlarged_style_image_are_those_of_the_image(params, shape, edges):
    style = jax.random.uniform(jax.random.key(0), (20, 30, 3))
    terms = ("relu1_1", "gram:relu2_1", "relu3_1", "gram:relu1_1")
    spec = StyleConfig(style_layers=terms).spec
    found = compute_style_statistics(params, style, spec=spec, shape=shape)
    assert set(found) == set(spec.style_layers)
    at_edges, resized = (
        statistics_of(params, resize(style, size), spec) for size in (edges, shape)
    )
    for term in spec.style_layers:
        expected = resized if term == "relu3_1" else at_edges
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max()),
            found[term],
            expected[term],
        )
