"""A CUDA device that isn't there, to test on any machine what runs on a GPU.

Its tensors compute on the CPU, refuse to meet the CPU's as CUDA's do, and count how often the host waits for
them. It knows nothing of speed, memory and streams, and rounds as the CPU does."""

import contextlib
from collections import Counter
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch.optim.optimizer import _foreach_supported_types
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data._utils import pin_memory

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
INSIDE = torch.device("meta", 1) # what PyTorch's C++ is told: on "cuda", backward() would ask for a driver
HAPPENED = Counter() # "waits", and each by its name; "uploads"; "seeded"; "cudnn off"

# The host waits to hear the result, or how large it is.
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive",
         "equal", "allclose", "bincount", "repeat_interleave", "_linalg_svd", "_linalg_eigh"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
NUMBERS = {"fill_", "masked_fill", "masked_fill_"} | INDEXING # these take one (0-dim) that is on the CPU
# What autocast("cuda") computes in 16 bits, and what in 32.
HALF = {F.linear, F.conv2d, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm}
FULL = {F.layer_norm, F.softmax, torch.softmax, torch.Tensor.softmax, F.cross_entropy}


class CudaTensor(torch.Tensor):
    "Says that it is on cuda:0; its numbers are in `host`, on the CPU."
    device, is_cuda, is_cpu, is_meta = CUDA, True, False, False

    @staticmethod
    def __new__(cls, host):
        with torch.inference_mode(False): # or PyTorch could make no views of it
            self = torch.Tensor._make_wrapper_subclass(
                cls, host.size(), strides=host.stride(), storage_offset=host.storage_offset(),
                dtype=host.dtype, device=INSIDE)
        self.host = host
        return self

    def __tensor_flatten__(self): return ["host"], None # where there is one, `Module.to` swaps the parameters

    @staticmethod
    def __tensor_unflatten__(inner, _, size, stride): return CudaTensor(inner["host"])

    @property
    def data(self): return self.detach()

    @data.setter
    def data(self, other):
        with torch._C.DisableTorchFunctionSubclass(): torch.Tensor.data.__set__(self, other)
        self.host = other.host

    def to(self, *args, copy=False, **kwargs):
        device, dtype, non_blocking, layout = torch._C._nn._parse_to(*args, **kwargs)
        device = INSIDE if device in (None, CUDA, torch.device("cuda")) else device # it is there already
        with torch._C.DisableTorchFunctionSubclass():
            return super().to(device, dtype or self.dtype, non_blocking, copy,
                              memory_format=layout or torch.preserve_format)

    def numpy(self, *_, **__):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    __array__ = numpy
    def cuda(self, *_, **__): return self
    def get_device(self): return 0
    def tolist(self): return self.cpu().tolist()
    def __repr__(self, **_): return repr(self.cpu())
    def __format__(self, spec): return format(self.cpu(), spec)

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        args, kwargs = tuple(args), kwargs or {}
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__): # lists become tensors, on the CPU
            as_tensor = lambda x: torch.as_tensor(x) if isinstance(x, (list, range, np.ndarray)) else x
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            args = args[0], tuple(map(as_tensor, index)), *args[2:]
        if torch.is_autocast_enabled("cuda") and func in HALF | FULL:
            dtype = torch.get_autocast_dtype("cuda") if func in HALF else torch.float32
            cast = lambda x: x.to(dtype) if isinstance(x, CudaTensor) and x.is_floating_point() else x
            args, kwargs = _each(cast, args), _each(cast, kwargs)
        with torch._C.DisableTorchFunctionSubclass(): return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None): return _run(func, args, kwargs or {})


_foreach_supported_types.append(CudaTensor) # Adam updates all parameters in one call, as on CUDA


class _Dispatch(TorchDispatchMode):
    "Sees every operation, also those that make a tensor on `device='cuda'` out of nothing."
    def __torch_dispatch__(self, func, types, args=(), kwargs=None): return _run(func, args, kwargs or {})


def _each(f, x):
    if isinstance(x, dict): return {name: _each(f, y) for name, y in x.items()}
    return type(x)(_each(f, y) for y in x) if isinstance(x, (list, tuple)) else f(x)


def _run(func, args, kwargs):
    "One operation, on either device."
    name, given = func.overloadpacket.__name__, []
    _each(given.append, [args, kwargs])
    ours = {id(x.host): x for x in given if isinstance(x, CudaTensor)}
    device = next((x for x in given if isinstance(x, torch.device)), None)
    target = CUDA if device == INSIDE or (ours and device is None) else device or CPU
    if name == "is_pinned": return False
    if name == "_pin_memory": return args[0].clone()
    if not ours and target.type != "cuda": return func(*args, **kwargs)
    if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
        with _Dispatch(): return func.decompose(*args, **kwargs) # in inference mode this is left to us
    if name == "_fused_sdp_choice": return 0 # attention in plain operations
    if name not in ("copy_", "_to_copy"): _refuse(func, name, args, given, target)
    _count(name, args, kwargs, target)
    if device is not None: kwargs = {**kwargs, "device": CPU}
    host = lambda x: x.host if isinstance(x, CudaTensor) else x
    found = func(*_each(host, args), **_each(host, kwargs))
    if name == "copy_": return args[0]
    if target.type == "cpu": return found
    old_or_new = lambda x: ours[id(x)] if id(x) in ours else CudaTensor(x) # old: what was changed in place
    return _each(lambda x: old_or_new(x) if isinstance(x, torch.Tensor) else x, found)


def _refuse(func, name, args, given, target):
    "Raise what CUDA raises where tensors of both devices meet, or the CPU's generator fills a CUDA tensor."
    others = [x for x in given if isinstance(x, torch.Tensor) and not isinstance(x, CudaTensor)]
    generators = {x.device.type for x in given if isinstance(x, torch.Generator)}
    if target.type == "cuda" and "cpu" in generators:
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    if name in INDEXING:
        if not isinstance(args[0], CudaTensor):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor")
        others = [x for x in others if all(x is not i for i in args[1])] # indices may be on the CPU
    numbers = torch.Tag.pointwise in func.tags or name in NUMBERS
    if any(x.ndim or not numbers for x in others):
        raise RuntimeError(f"Expected all tensors to be on the same device, not on cuda:0 and cpu ({name})")


def _count(name, args, kwargs, target):
    "Note what the host waits for: results, and copies to the device unless they are `non_blocking`."
    ours, waits, uploads = [isinstance(x, CudaTensor) for x in args[:2]], name in WAITS, False
    if name == "_to_copy":
        waits, uploads = target.type == "cpu", not ours[0] and not kwargs.get("non_blocking")
    if name == "copy_": waits, uploads = ours == [False, True], ours == [True, False]
    if name in INDEXING:
        indices = [x for x in args[1] if x is not None]
        fills = name != "index" and args[2].numel() == 1 # then it is a masked_fill
        waits = not fills and any(x.dtype in (torch.bool, torch.uint8) for x in indices)
        uploads = any(not isinstance(x, CudaTensor) for x in indices)
    HAPPENED.update(["waits", name] * waits + ["uploads"] * uploads)
    HAPPENED.update(["cudnn off"] * (name == "convolution" and not torch.backends.cudnn.enabled))


def _stand_ins() -> dict:
    "What torch.cuda answers."
    seeded = lambda *_: HAPPENED.update(["seeded"])
    card = SimpleNamespace(name="no GPU", total_memory=2**36, major=8, minor=0)
    return dict(
        is_available=lambda: True, is_initialized=lambda: True, _lazy_init=lambda: None,
        device_count=lambda: 1, current_device=lambda: 0, set_device=lambda *_: None,
        get_device_name=lambda *_: card.name,
        get_device_properties=lambda *_: card, get_device_capability=lambda *_: (card.major, card.minor),
        is_bf16_supported=lambda *_: True, mem_get_info=lambda *_: (card.total_memory, card.total_memory),
        empty_cache=lambda: None, synchronize=lambda *_: HAPPENED.update(["waits"]),
        manual_seed=seeded, manual_seed_all=seeded, get_rng_state=lambda *_: torch.zeros(16).byte(),
        set_rng_state=lambda *_: HAPPENED.subtract(["seeded"]))


@contextlib.contextmanager
def fake_cuda():
    "Within it, `device='cuda'` is this device. Gives `HAPPENED`, emptied, to count with."
    HAPPENED.clear()
    torch._C._ensureCUDADeviceGuardSet() # as FakeTensorMode does, where there is no driver
    with contextlib.ExitStack() as stack:
        replace = lambda *what: stack.enter_context(mock.patch.object(*what))
        for name, answer in _stand_ins().items(): replace(torch.cuda, name, answer)
        replace(pin_memory, "pin_memory", lambda data, device=None: data) # DataLoader's
        stack.callback(torch._C._set_only_lift_cpu_tensors, torch._C._only_lift_cpu_tensors())
        torch._C._set_only_lift_cpu_tensors(True) # torch.tensor(…, device="cuda") begins on the CPU
        stack.enter_context(_Dispatch())
        yield HAPPENED
