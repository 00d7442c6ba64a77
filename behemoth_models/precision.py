"""Which precision a device multiplies matrices in best. It goes by what the device is and never by timing."""

from __future__ import annotations

import torch

from behemoth_data.settings import check_known

PRECISIONS = ("auto", "bf16", "fp32")
PRECISION_HELP = (
    "auto: bf16 where the device multiplies bfloat16 natively, else fp32; bf16: matrix products in bfloat16; fp32: "
    "float32 throughout"
)

# Products in bfloat16 a second, without sparsity, by a part of the card's name, the narrowest first. Source: NVIDIA's
# data sheets.
_PEAKS = {
    "B200": 2250e12,
    "GH200": 989e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
}


def peak_rate(card: str) -> float | None:
    """The bfloat16 operations a second that the maker of a card with this name promises; None: not known here."""
    return next((peak for name, peak in _PEAKS.items() if name in card), None)


def multiplies_bfloat16(device: torch.device | str) -> bool:
    """Whether the device has units for products in bfloat16.

    CUDA from capability 8.0 on, and CPUs that both oneDNN and the processor say it of: oneDNN alone also says so of
    AVX-512 without bfloat16 instructions, where it converts and multiplies in float32. No other kind of device.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    capability = torch.backends.cpu.get_cpu_capability()
    x86 = capability == "DEFAULT" or capability.startswith("AVX")
    return not x86 or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def resolve_precision(precision: str, device: torch.device | str) -> str:
    """The precision, or what auto stands for on this device: bf16 or fp32. Raises: ValueError for an unknown one."""
    check_known("precision", precision, PRECISIONS)
    if precision != "auto":
        return precision
    return "bf16" if multiplies_bfloat16(device) else "fp32"


def autocast(precision: str, device: torch.device | str) -> torch.autocast:
    """A context in which a model's forward pass on this device has this precision."""
    device = torch.device(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=resolve_precision(precision, device) == "bf16")
