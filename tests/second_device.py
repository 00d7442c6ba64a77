"""A second device for tests, `card`: its tensors lie beside those of the CPU, and torch refuses to mix the two.

Operations are done by the CPU's kernels, so that results are the CPU's to the last bit; but whatever a GPU refuses for
where its operands are is refused here as well: an operation on tensors of two devices, an index on another device than
what it looks up, numpy() without cpu(); and, as by MPS, float64. Importing this module registers the device for the
whole process, so it is imported in processes of their own only. It stands on torch's experimental support for devices
written in Python.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "card"
# Kernels that only look at the shape of what they are given, and are the same for every device.
VIEWS = {"aten::as_strided", "aten::view", "aten::_reshape_alias", "aten::unfold", "aten::alias", "aten::set_"}
INDEXED = {"aten::index", "aten::_index_put_impl_"}  # which take indices of the CPU on any device
_AS_ON_CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
_MANY = 3000  # storages that are known, from which on those that are gone are looked for
_memory: dict[int, tuple[StorageWeakRef, torch.UntypedStorage]] = {}
operations: set[str] = set()  # all that have run


class _Backend(_DummyBackendModule):
    """What torch asks a device about."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def set_device(self, device: Any) -> None:
        pass


_setup_privateuseone_for_python_backend(NAME, _Backend())
CARD, CPU = torch.device(NAME, 0), torch.device("cpu")


def on_card(value: Any) -> bool:
    """Whether it is a tensor of the second device."""
    return isinstance(value, torch.Tensor) and value.device.type == NAME


def to_card(raw: torch.Tensor) -> torch.Tensor:
    """A tensor of the second device over the memory of one of the CPU's. Raises: TypeError for float64."""
    if raw.dtype == torch.float64:
        raise TypeError("the device has no float64")
    held = raw.untyped_storage()
    storage = torch._C._construct_storage_from_data_pointer(held.data_ptr(), CARD, held.nbytes())
    if len(_memory) > _MANY:
        for key in [key for key, (reference, _) in _memory.items() if reference.expired()]:
            del _memory[key]
    _memory[storage._cdata] = StorageWeakRef(storage), held
    found: torch.Tensor = torch._C._acc.create_empty_tensor((0,), raw.dtype)
    return found.set_(storage, raw.storage_offset(), raw.size(), raw.stride())


def to_cpu(value: Any) -> Any:
    """The same memory as a tensor of the CPU; lists of tensors too, and anything else as it is."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(to_cpu, value))
    if not on_card(value):
        return value
    held = value.untyped_storage()
    storage = torch._C._construct_storage_from_data_pointer(held.data_ptr(), CPU, held.nbytes())
    return torch.empty(0, dtype=value.dtype).set_(storage, value.storage_offset(), value.size(), value.stride())


def _tensors(values: Any) -> list[torch.Tensor]:
    found = []
    for value in values:
        found += _tensors(value) if isinstance(value, (list, tuple)) else [value] * isinstance(value, torch.Tensor)
    return found


def _refuse_two_devices(name: str, args: Any, tensors: list[torch.Tensor]) -> None:
    """Raises: RuntimeError for tensors of both devices, but for what every GPU allows: single numbers, CPU indices."""
    if all(on_card(tensor) or not tensor.dim() for tensor in tensors) or not any(map(on_card, tensors)):
        return
    others = [args[0], *args[2:3]]
    if name in INDEXED and all(on_card(other) or not other.dim() for other in others):
        return
    raise RuntimeError(f"{name}: tensors on two devices: {[(str(x.device), tuple(x.shape)) for x in tensors]}")


def _run(op: Any, *args: Any, **kwargs: Any) -> Any:
    """Any operation on the second device."""
    name, schema = op._schema.name, op._schema
    operations.add(name)
    if name in VIEWS:
        return op.redispatch(_AS_ON_CPU, *args, **kwargs)
    if name == "aten::_copy_from":  # the one that is there to go from one device to the other
        to_cpu(args[1]).copy_(to_cpu(args[0]))
        return args[1]
    _refuse_two_devices(name, args, _tensors([*args, *kwargs.values()]))
    given = {key: "cpu" if key == "device" else to_cpu(value) for key, value in kwargs.items()}
    outputs = [argument.name for argument in schema.arguments if argument.is_out]
    empty = [key for key in outputs if not kwargs[key].numel()]
    given |= {key: torch.empty(0, dtype=kwargs[key].dtype) for key in empty}
    found = op(*map(to_cpu, args), **given)
    for key in empty:
        filled = to_card(given[key])
        kwargs[key].set_(filled.untyped_storage(), filled.storage_offset(), filled.size(), filled.stride())
    written = [arg for argument, arg in zip(schema.arguments, args, strict=False) if _is_written(argument)]
    if any(map(_is_written, schema.returns)):
        changed = [*written, *(kwargs[key] for key in outputs)]
        return changed[0] if len(schema.returns) == 1 else tuple(changed)
    if isinstance(found, (list, tuple)):
        return type(found)(to_card(one) if isinstance(one, torch.Tensor) else one for one in found)
    return to_card(found) if isinstance(found, torch.Tensor) else found


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


def _clone(storage: torch.UntypedStorage) -> torch.UntypedStorage:
    """A storage's copy, which deepcopy() asks for."""
    if storage.device.type != NAME:
        return _plain_clone(storage)
    held = torch._C._construct_storage_from_data_pointer(storage.data_ptr(), CPU, storage.nbytes())
    return to_card(torch.empty(0, dtype=torch.uint8).set_(held).clone()).untyped_storage()


_library = torch.library.Library("_", "IMPL")
_library.fallback(_run, "PrivateUse1")
_plain_clone = torch.UntypedStorage.clone
torch.UntypedStorage.clone = _clone  # type: ignore[method-assign]
