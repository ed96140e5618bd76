"""The compiled programs of earlier runs, kept on the disk."""

import os
from pathlib import Path

import jax

# The cache of compiled programs is cut to this size, oldest entries first.
_CACHE_BYTES = 2**30


def use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, unless JAX was told of another.

    A second run of the same size then starts sooner. `JAX_COMPILATION_CACHE_DIR` moves
    the folder, `JAX_ENABLE_COMPILATION_CACHE=false` turns it off.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base) / "jaxstyle"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return  # No home, no cache: only slower.
    jax.config.update("jax_compilation_cache_dir", str(folder))
    ours = {
        "jax_compilation_cache_max_size": _CACHE_BYTES,
        "jax_persistent_cache_min_compile_time_secs": 0.1,
    }
    for name, value in ours.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)
