"""A device that there is not: tensors with real values that say they lie on "cuda", and complain as those would.

    with pretending():
        model.to("cuda")(x.to("cuda"))

Inside, what is asked to be made on "cuda" or moved there is a `Pretend`: it computes on the CPU, with the CPU's bits,
and raises where a GPU would raise: an operation on tensors of two devices, `.numpy()` of one that is not on the CPU,
and random numbers for the device from a generator of the CPU. A tensor of the CPU may be read by none of the
operations, but for scalars, indices and `copy_`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

CUDA = torch.device("cuda", 0)
GETTERS = {Tensor.device.__get__: CUDA, Tensor.is_cuda.__get__: True, Tensor.is_cpu.__get__: False}
MIXED = {Tensor.copy_, Tensor.__getitem__, Tensor.index_select, torch.index_select, Tensor.__setitem__}
PLAIN_RESULT = {Tensor.item, Tensor.tolist, Tensor.__repr__, Tensor.__bool__, Tensor.__float__, Tensor.__int__}
CONVOLUTIONS = {torch.conv1d, torch.conv2d, torch.conv3d, torch.conv_transpose1d, torch.conv_transpose2d}


class Pretend(Tensor):
    """A tensor on the device that there is not."""


def is_there(value: Any) -> bool:
    """Whether a device argument names the pretended one."""
    return isinstance(value, str | torch.device) and torch.device(value).type == "cuda"


def lies_there(tensor: Tensor) -> bool:
    """Whether a tensor is on the pretended device."""
    return isinstance(tensor, Pretend) or bool(vars(tensor).get("pretended"))


def _there(tensor: Tensor) -> Tensor:
    """A result, on the device. A sparse one, of which torch makes no subclass, is only marked."""
    if tensor.layout == torch.strided:
        return tensor if isinstance(tensor, Pretend) else tensor.as_subclass(Pretend)
    tensor.pretended = True  # type: ignore[attr-defined]
    return tensor


class _Pretending(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in GETTERS:
            return GETTERS[func] if lies_there(args[0]) else func(*args)
        if func in (Tensor.cpu, Tensor.cuda, Tensor.to):
            return _moved(func, args, kwargs)
        if func in (Tensor.numpy, Tensor.__array__) and isinstance(args[0], Pretend):
            raise TypeError("can't convert cuda:0 device type tensor to numpy: use Tensor.cpu() first")
        if func is torch._has_compatible_shallow_copy_type:  # so that a module that is moved gets new parameters
            return False
        there = is_there(kwargs.get("device"))
        if there:
            kwargs["device"] = "cpu"
            if kwargs.get("generator") is not None:
                raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        if func is Tensor.backward or func is torch.autograd.backward:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        if func is Tensor.grad.__set__:
            with torch._C.DisableTorchFunctionSubclass():
                return func(args[0], None if args[1] is None else args[1].as_subclass(Tensor))
        there = there or _check_devices(func, args, kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            if func in CONVOLUTIONS:  # their kernels choose another way for subclasses
                args, kwargs = _plain(args), _plain(kwargs)
            found = func(*args, **kwargs)
        if not there or func in PLAIN_RESULT:
            return found
        return tree_map_only(Tensor, _there, found)


def _moved(func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """`.to`, `.cpu`, `.cuda`: where a tensor lies afterwards is what they ask for, else where it was."""
    tensor, *rest = args
    asked = [a for a in (*rest, kwargs.get("device")) if isinstance(a, str | torch.device)]
    others = [a for a in (*rest, kwargs.get("other")) if isinstance(a, Tensor)]
    there = isinstance(tensor, Pretend)
    if func is Tensor.to and asked:
        there = is_there(asked[0])
    elif func is Tensor.to and others:
        there = isinstance(others[0], Pretend)
    elif func is not Tensor.to:
        there = func is Tensor.cuda
    kept = {k: v for k, v in kwargs.items() if k not in ("device", "non_blocking")}
    kept = _plain({k: v for k, v in kept.items() if k != "other"})
    moves = there != isinstance(tensor, Pretend)
    types = [a for a in rest if isinstance(a, torch.dtype)] + [o.dtype for o in others]
    with torch._C.DisableTorchFunctionSubclass():
        out = tensor.as_subclass(Tensor)
        if types or kept.get("dtype") is not None:
            kept.setdefault("dtype", types[0] if types else None)
            out = out.to(**kept)
        out = out.clone() if moves and out.data_ptr() == tensor.data_ptr() else out
        if not moves and out.dtype == tensor.dtype:
            return tensor
        return out.as_subclass(Pretend) if there else out


def _plain(values: Any) -> Any:
    return tree_map_only(Pretend, lambda t: t.as_subclass(Tensor), values)


def _check_devices(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether the result lies on the device. Raises RuntimeError for tensors of two devices."""
    tensors = [v for v in tree_flatten((args, kwargs))[0] if isinstance(v, Tensor)]
    there = [lies_there(t) for t in tensors]
    if not any(there):
        return False
    if func in MIXED:  # the first says where: an index or a source of the CPU is read
        if not there[0] and func is not Tensor.copy_:
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        return there[0]
    for tensor, here in zip(tensors, there, strict=True):
        if not here and tensor.dim():
            name = getattr(func, "__name__", str(func))
            raise RuntimeError(f"Expected all tensors to be on the same device, but {name} found cuda:0 and cpu")
    return True


@contextmanager
def pretending() -> Iterator[None]:
    """Within it, "cuda" is there."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with _Pretending():
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)


def on_cpu(value: Any) -> Any:
    """The same values, without pretence."""
    leaves, spec = tree_flatten(value)
    return tree_unflatten([v.as_subclass(Tensor) if isinstance(v, Pretend) else v for v in leaves], spec)
