"""Where the arrays of a run are: images, and the rows of an image, over devices."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding
from jaxtyping import PyTree

from jaxstyle.objective import Previous, Targets


class Placement(NamedTuple):
    """Places arrays on the devices of a mesh.

    With rows over devices, the compiler exchanges the rows that a convolution sees beyond those of
    its device, and adds up the statistics. All other arrays are on every device.

    The devices may belong to several processes, which must then make the same calls in the same
    order, with equal arguments.

    Attributes:
      sharding: sharding of images `[h, w, 3]`, or `[n, h, w, 3]` with `batched`, over the images,
        the rows, or both, or one device; `None` for JAX's default.
      batched: whether all arrays have a leading axis of images.
    """

    sharding: Sharding | None
    batched: bool

    @property
    def rows(self) -> int:
        """Number of devices that the rows of an image are split over."""
        if not isinstance(self.sharding, NamedSharding):
            return 1
        return split_count(self.sharding, int(self.batched))

    @property
    def spans_processes(self) -> bool:
        """Whether some of the devices belong to other processes."""
        return self.sharding is not None and not self.sharding.is_fully_addressable

    @property
    def of_one(self) -> "Placement":
        """The placement of a single image of a batch: on all devices, or split by its rows."""
        if not isinstance(self.sharding, NamedSharding):
            return self
        spec = PartitionSpec(*self.sharding.spec[int(self.batched) :])
        return Placement(NamedSharding(self.sharding.mesh, spec), False)

    def replicate(self, tree: PyTree) -> PyTree:
        """Place arrays, such as the weights, on every device."""
        return jax.tree.map(lambda leaf: _place(leaf, self._with_spec()), tree)

    def make_readable(self, tree: PyTree) -> PyTree:
        """Return arrays of the devices that this process can read."""
        return self.replicate(tree) if self.spans_processes else tree

    def agree(self, *values: float) -> Sequence[float]:
        """Return the largest of each value over the processes."""
        if not isinstance(self.sharding, NamedSharding) or not self.spans_processes:
            return values
        mesh, own = self.sharding.mesh, np.asarray([values], np.float32)
        by_device = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        of_all = jax.make_array_from_callback((mesh.size, len(values)), by_device, lambda _: own)
        return np.asarray(self.replicate(of_all)).max(axis=0).tolist()

    def put(self, tree: PyTree) -> PyTree:
        """Place arrays that are no images by their leading axis of images, if there is one."""
        return self._put_rows(tree, None)

    def put_images(self, tree: PyTree) -> PyTree:
        """Place images or maps `[..., h, w, c]`, and other arrays of fewer axes."""
        return self._put_rows(tree, -3)

    def put_targets(self, targets: Targets) -> Targets:
        """Place the maps and masks of the targets by their rows."""
        windows = targets.windows
        if windows is not None:
            # There is one row of windows less at each border, so they cannot be split evenly.
            windows = type(windows)(self.put_images(windows.image), self.put(windows.inverse))
        return dataclasses.replace(
            targets,
            content=self.put_images(targets.content),
            style=self.put(targets.style),
            masks=self._put_rows(targets.masks, -2),
            shares=self.put(targets.shares),
            windows=windows,
            previous=self._put_previous(targets.previous),
        )

    def _put_previous(self, previous: Previous | None) -> Previous | None:
        if previous is None:
            return None
        return Previous(self.put_images(previous.image), self._put_rows(previous.weight, -2))

    def _put_rows(self, tree: PyTree, axis: int | None) -> PyTree:
        if not isinstance(self.sharding, NamedSharding):
            return self.replicate(tree)
        spec, lead = self.sharding.spec, int(self.batched)
        rows = spec[lead] if self.rows > 1 else None

        def put(leaf: Any) -> Any:
            if not hasattr(leaf, "ndim"):
                return leaf
            entries = [*spec[:lead], *[None] * (leaf.ndim - lead)]
            if axis is not None and leaf.ndim >= lead - axis and leaf.shape[axis] % self.rows == 0:
                entries[axis] = rows
            return _place(leaf, self._with_spec(*entries))

        return jax.tree.map(put, tree)

    def _with_spec(self, *spec: Any) -> Sharding | None:
        if isinstance(self.sharding, NamedSharding):
            return NamedSharding(self.sharding.mesh, PartitionSpec(*spec))
        return self.sharding


def _place(leaf: Any, sharding: Sharding | None) -> Any:
    if sharding is None or not hasattr(leaf, "ndim"):
        return leaf
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    # Over several processes, `device_put` places no keys and no arrays of one process that are
    # committed to a device. A program places keys by itself.
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    if not getattr(leaf, "is_fully_addressable", True):
        return jax.device_put(leaf, sharding)
    data = np.asarray(leaf, jax.dtypes.canonicalize_dtype(leaf.dtype))
    return jax.make_array_from_callback(data.shape, sharding, lambda index: data[index])


def rows_sharding(count: int) -> NamedSharding | None:
    """Return a sharding of the rows of one image over devices; `None` for one device.

    Args:
      count: number of devices: local ones, or those of all processes.
    """
    if count == 1:
        return None
    devices = jax.local_devices() if count <= jax.local_device_count() else jax.devices()
    mesh = Mesh(np.array(devices[:count]), ("rows",))
    return NamedSharding(mesh, PartitionSpec("rows"))


def split_count(sharding: NamedSharding, axis: int) -> int:
    """Return how many parts an axis of an array with this sharding is split into."""
    entry = sharding.spec[axis] if axis < len(sharding.spec) else None
    names: Sequence[str] = (entry,) if isinstance(entry, str) else entry or ()
    count = 1
    for name in names:
        count *= sharding.mesh.shape[name]
    return count
