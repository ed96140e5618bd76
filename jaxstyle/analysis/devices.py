"""Accelerators that programs can be compiled for on a machine that has none.

Peaks are those that the manufacturers publish, for dense matrices.
"""

import os
from typing import Any, NamedTuple

from jax.experimental import topologies

from jaxstyle.options import suggest


class Device(NamedTuple):
    """A kind of accelerator.

    Attributes:
      kind: what JAX calls it, `jax.Device.device_kind`.
      platform: `tpu` or `cuda`.
      memory: memory in bytes that programs can use.
      bandwidth: bytes per second between memory and chip.
      flops: floating-point operations per second of matrix products, for each dtype of features
        and JAX's default precision: one pass of bfloat16 on TPUs, TF32 on GPUs that have it.
      slowdown: factor on the time of float32 products, for each precision above the default: the
        passes of bfloat16 on TPUs, float32 instead of TF32 on GPUs.
      launch_seconds: time between the launches of two kernels.
      target: what the compiler needs to know: a TPU's topology, or a GPU's properties.
    """

    kind: str
    platform: str
    memory: int
    bandwidth: float
    flops: dict[str, float]
    slowdown: dict[str, float]
    launch_seconds: float
    target: str | dict[str, Any]


def _gpu(capability: str, cores: int, units: int, gigahertz: float, **other: int) -> dict[str, Any]:
    return {"capability": capability, "cores": cores, "units": units, "ghz": gigahertz, **other}


# The passes of bfloat16 that add up to more precise products.
_PASSES = {"high": 3.0, "highest": 6.0}
DEVICES = {
    "v5e": Device(
        "TPU v5 lite",
        "tpu",
        int(15.75 * 2**30),
        819e9,
        {"bfloat16": 197e12, "float32": 197e12},
        _PASSES,
        0.0,
        "v5e:2x2",
    ),
    "v6e": Device(
        "TPU v6 lite",
        "tpu",
        int(31.25 * 2**30),
        1640e9,
        {"bfloat16": 918e12, "float32": 918e12},
        _PASSES,
        0.0,
        "v6e:2x2",
    ),
    "h100": Device(
        "NVIDIA H100 80GB HBM3",
        "cuda",
        80 << 30,
        3352e9,
        {"bfloat16": 989e12, "float32": 494e12},
        {"high": 1.0, "highest": 7.4},
        3e-6,
        _gpu("9.0", 132, 128, 1.98, shared=233472, optin=232448, threads=2048, cache=50 << 20),
    ),
    "a100": Device(
        "NVIDIA A100-SXM4-80GB",
        "cuda",
        80 << 30,
        2039e9,
        {"bfloat16": 312e12, "float32": 156e12},
        {"high": 1.0, "highest": 8.0},
        3e-6,
        _gpu("8.0", 108, 64, 1.41, shared=167936, optin=166912, threads=2048, cache=40 << 20),
    ),
    "t4": Device(
        "Tesla T4",
        "cuda",
        15 << 30,
        320e9,
        {"float32": 8.1e12},
        {"high": 1.0, "highest": 1.0},
        4e-6,
        _gpu("7.5", 40, 64, 1.59, shared=65536, optin=65536, threads=1024, cache=4 << 20),
    ),
}
"""Accelerators by name. A T4 has no bfloat16 and no TF32."""

_GPU_TARGET = """
gpu_device_info {{
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  threads_per_block_limit: 1024  threads_per_warp: 32
  threads_per_core_limit: {threads}  core_count: {cores}  fpus_per_core: {units}
  shared_memory_per_block: 49152  shared_memory_per_core: {shared}
  shared_memory_per_block_optin: {optin}
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
  memory_bandwidth: {bandwidth}  l2_cache_size: {cache}  clock_rate_ghz: {ghz}
  device_memory_size: {memory}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 28 patch: 1 }}
runtime_version {{ major: 13 }}
"""
COMPILER_OPTIONS: dict[str, dict[str, Any]] = {
    "tpu": {},
    # Without a device nothing can be timed to choose among algorithms, and XLA's Triton products
    # refuse the products of conv1_1 then.
    "cuda": {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False},
}
"""Options for compiling for a device that is not there, by platform."""


def check_device(name: str, dtype: str = "float32") -> None:
    """Check that a device is known and has a dtype.

    Args:
      name: a name from `DEVICES`.
      dtype: dtype of the features.

    Raises:
      ValueError: If not; the message lists what there is.

    Example:
      >>> from jaxstyle.analysis.devices import check_device
      >>> check_device("t4", "bfloat16")
      Traceback (most recent call last):
      ...
      ValueError: t4 has no bfloat16; choose one of float32.
    """
    if name not in DEVICES:
        hint = suggest(name, DEVICES, f"choose one of {', '.join(DEVICES)}.")
        raise ValueError(f"there is no device {name!r}; {hint}")
    if dtype not in DEVICES[name].flops:
        choice = ", ".join(sorted(DEVICES[name].flops))
        raise ValueError(f"{name} has no {dtype}; choose one of {choice}.")


def find_device(kind: str) -> str | None:
    """Return the name of a device that is here, or `None` if it is not in `DEVICES`.

    Args:
      kind: `jax.Device.device_kind`.

    Example:
      >>> from jaxstyle.analysis.devices import find_device
      >>> find_device("Tesla T4")
      't4'
    """
    return next((name for name, device in DEVICES.items() if device.kind == kind), None)


def describe_device(name: str) -> Any:
    """Return a `jax.Device` to compile for, which cannot run anything.

    Args:
      name: a name from `DEVICES`.

    Raises:
      ValueError: If there is no device of this name, or the compiler for it is not installed.
    """
    return describe_devices(name)[0]


def describe_devices(name: str, topology: str | None = None) -> list[Any]:
    """Return devices of one slice to compile for, which cannot run anything.

    Args:
      name: a name from `DEVICES`.
      topology: shape of a slice of TPUs, such as `2x4`; by default the smallest there is.

    Raises:
      ValueError: If there is no device of this name, or the compiler for it is not installed.
    """
    check_device(name)
    device = DEVICES[name]
    try:
        if device.platform == "tpu":
            smallest = str(device.target)
            shape = topology or smallest.partition(":")[2]
            return _describe_tpu(name, f"{smallest.partition(':')[0]}:{shape}")
        return [_describe_gpu(device)]
    except (RuntimeError, NotImplementedError, ImportError) as error:
        raise ValueError(
            f"the compiler for {name} is missing; pip install 'jaxstyle[{device.platform}]'. "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from error


def _describe_tpu(name: str, topology: str) -> list[Any]:
    # Without these, libtpu asks a server of the data center where it is.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", {"v5e": "v5litepod-4"}.get(name, f"{name}-4"))
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    # Nothing is run, so another process may use the TPU, or compile too.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices


def _describe_gpu(device: Device) -> Any:
    # Finds the plugin although JAX_PLATFORMS is cpu; there is no public function for this.
    from jax._src import xla_bridge

    if not xla_bridge.is_known_platform("cuda"):
        xla_bridge.discover_pjrt_plugins()
    target: Any = device.target
    major, minor = target["capability"].split(".")
    numbers = {"memory": device.memory, "bandwidth": int(device.bandwidth)}
    config = _GPU_TARGET.format(major=major, minor=minor, **target, **numbers)
    topology = topologies.get_topology_desc(
        platform="cuda", topology_name="", target_config=config, topology="1x1x1"
    )
    return topology.devices[0]
