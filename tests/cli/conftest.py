"""Fixtures of the command line's tests."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def _compilation_cache(tmp_path_factory):
    """Keep compiled programs out of the user's cache; all modules of a session share them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        yield
