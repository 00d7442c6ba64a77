"""Facts about which precision is chosen, by what a device says of itself."""

import os
import subprocess
import sys

import pytest
import torch

from behemoth_models.precision import autocast, multiplies_bfloat16, peak_rate, resolve_precision


@pytest.mark.parametrize(
    ("onednn", "capability", "avx512_bf16", "amx", "expected"),
    [
        (False, "AVX2", False, False, False),
        (True, "AVX512", True, False, True),
        (True, "AVX512", False, True, True),
        (True, "AVX512", False, False, False),  # where oneDNN converts to float32 and back
        (False, "AVX512", True, True, False),  # where ONEDNN_MAX_CPU_ISA forbids it
        (True, "SVE256", False, False, True),  # ARM: oneDNN asks the processor itself
    ],
)
def test_a_cpu_multiplies_bfloat16_where_onednn_and_the_processor_say_so(
    monkeypatch, onednn, capability, avx512_bf16, amx, expected
):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert multiplies_bfloat16("cpu") is expected
    assert resolve_precision("auto", "cpu") == ("bf16" if expected else "fp32")
    assert autocast("auto", "cpu")._enabled is expected


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_cuda_card_multiplies_bfloat16_from_capability_8(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert multiplies_bfloat16("cuda:0") is expected


def test_other_devices_and_what_is_named_outright():
    assert resolve_precision("auto", "mps") == "fp32"
    assert (resolve_precision("fp32", "cpu"), resolve_precision("bf16", "mps")) == ("fp32", "bf16")
    with pytest.raises(ValueError, match="precision must be one of auto, bf16, fp32, got 'fp16'"):
        resolve_precision("fp16", "cpu")


@pytest.mark.slow
def test_a_processor_held_to_avx2_has_no_bfloat16():
    limits = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    code = "from behemoth_models.precision import resolve_precision as r; print(r('auto', 'cpu'))"
    found = subprocess.run([sys.executable, "-c", code], env={**os.environ, **limits}, capture_output=True, text=True)
    assert found.stdout == "fp32\n", found.stderr


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("a card of the future", None),
    ],
)
def test_peak_rate_goes_by_the_narrowest_name(card, expected):
    assert peak_rate(card) == expected
