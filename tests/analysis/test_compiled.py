import pytest

from jaxstyle import StyleConfig
from jaxstyle.analysis.compiled import compile_step, count_flops, predict_seconds, read_cost
from jaxstyle.analysis.devices import DEVICES, describe_device

# A step in a loop of unknown length, with a loop of three rounds inside.
PROGRAM = """HloModule jit_step

%fused (p: f32[100]) -> f32[100] {
  %p = f32[100]{0} parameter(0)
  ROOT %n = f32[100]{0} negate(%p)
}

%inner (s: (f32[100])) -> (f32[100]) {
  %s = (f32[100]{0}) parameter(0)
  %g = f32[100]{0} get-tuple-element(%s), index=0
  %f = f32[100]{0} fusion(%g), kind=kLoop, calls=%fused
  ROOT %t = (f32[100]{0}) tuple(%f)
}

%body (s: (f32[100])) -> (f32[100]) {
  %b = (f32[100]{0}) parameter(0)
  %w = (f32[100]{0}) while(%b), condition=%c, body=%inner, backend_config={"known_trip_count":{"n":"3"}}
  %x = bf16[8,64]{1,0:T(8,128)(2,1)} custom-call(%w), custom_call_target="conv"
  %o = f32[1024,1024]{1,0:T(8,128)S(1)} fusion(%x), kind=kLoop, calls=%fused
  %k = f32[1024,1024]{0,1:T(8,128)} copy(%o)
  %a = f32[8]{0} all-reduce(%x), to_apply=%fused
  ROOT %r = (f32[100]{0}) tuple(%a)
}

ENTRY %main (a: f32[100]) -> f32[100] {
  %a = f32[100]{0} parameter(0)
  %before = f32[100]{0} copy(%a)
  %loop = (f32[100]{0}) while(%before), condition=%c, body=%body
  ROOT %out = f32[100]{0} get-tuple-element(%loop), index=0
}
"""


def test_only_the_step_counts_and_inner_loops_count_every_round():
    cost = read_cost(PROGRAM)
    # Three fusions, the call, the fusion, the copy, the reduction.
    assert cost.kernels == 3 + 4
    assert cost.collectives == 1


def test_bytes_include_the_padding_of_tiles_but_no_memory_on_the_chip():
    padded = 8 * 128 * 2
    reads_and_writes = 3 * 800 + (400 + padded) + padded + 4 * 1024**2 + (padded + 32)
    assert read_cost(PROGRAM).bytes == reads_and_writes


def test_of_a_slice_and_of_a_transfer_to_the_chip_only_what_arrives_counts():
    program = """
%fused (p: f32[1000], q: f32[1000]) -> f32[10] {
  %p = f32[1000]{0} parameter(0)
  %q = f32[1000]{0} parameter(1)
  %s = f32[10]{0} slice(%p), slice={[0:10]}
  %r = f32[10]{0} slice(%q), slice={[0:10]}
  %whole = f32[1000]{0} negate(%q)
  ROOT %n = f32[10]{0} negate(%s)
}

ENTRY %main (a: f32[1000], b: f32[1000]) -> f32[10] {
  %a = f32[1000]{0} parameter(0)
  %b = f32[1000]{0} parameter(1)
  %start = ((f32[1000]{0}), f32[20]{0:S(1)}, s32[]) slice-start(%a), slice={[0:20]}
  ROOT %f = f32[10]{0} fusion(%a, %b), kind=kLoop, calls=%fused
}
"""
    assert read_cost(program).bytes == 4 * (20 + 10 + 1000 + 10)


def test_copies_count_if_they_are_large():
    assert read_cost(PROGRAM).large_copies == 1
    assert read_cost(PROGRAM.replace("1024,1024", "512,512")).large_copies == 0


def test_flops_of_the_convolutions():
    config = StyleConfig(content_layers=(), style_layers=("relu2_1",))
    multiplications = 9 * (3 * 64 + 64 * 64) * 32 * 32 + 9 * 64 * 128 * 16 * 16
    assert count_flops(config, (32, 32)) == 4 * multiplications


def test_prediction_is_the_slowest_of_computing_moving_and_launching():
    cost = read_cost(PROGRAM)
    assert predict_seconds(cost, 197e12, "v5e", "bfloat16") == 1
    assert predict_seconds(cost._replace(bytes=int(819e9)), 1, "v5e", "bfloat16") == 1
    assert predict_seconds(cost._replace(bytes=0, kernels=10**6), 1, "h100", "float32") == 3


def test_unknown_device_and_dtype_name_what_there_is():
    with pytest.raises(ValueError, match=r"'b200'; choose one of v5e, v6e, h100, a100, t4"):
        describe_device("b200")
    with pytest.raises(ValueError, match="t4 has no bfloat16; choose one of float32"):
        compile_step({}, StyleConfig(dtype="bfloat16"), (32, 32), "t4")


@pytest.mark.parametrize("name", DEVICES)
def test_a_missing_compiler_is_an_error_that_says_what_to_install(monkeypatch, name):
    def fail(*args, **options):
        raise RuntimeError("no plugin")

    monkeypatch.setattr("jax.experimental.topologies.get_topology_desc", fail)
    monkeypatch.setattr("jax._src.xla_bridge.discover_pjrt_plugins", lambda: None)
    with pytest.raises(ValueError, match=r"pip install 'jaxstyle\[(tpu|cuda)\]'. \(no plugin\)"):
        describe_device(name)
