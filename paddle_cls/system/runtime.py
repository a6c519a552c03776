"""What the computation runs on: device, threads, seeds and mixed precision."""

import contextlib
import ctypes
import importlib.metadata
import math
import os
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from . import cache, environment, stopping

if TYPE_CHECKING:
    import paddle
    from paddle import amp, nn

CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")         # microseconds of computing, and in how many


def prepare() -> None:
    """Set what the math libraries read when Paddle is loaded; call it before that. What the user has set stays.

    Raises UserError where Paddle would crash.
    """
    environment.widen_stack()
    cache.settle()
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # more threads slow Paddle's CPU training down; processes speed it up
    os.environ.setdefault("FLAGS_cudnn_exhaustive_search", "1")      # a GPU tries out its convolution algorithms, once a shape
    if _vendor() == "AuthenticAMD":                # Paddle's MKL takes AVX2 on AMD only when told to
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
    warnings.filterwarnings("ignore", module=r"(paddle|PIL)\.")                   # of no use to a user
    if sys.platform == "linux":
        _keep_memory()


def load_paddle() -> None:
    """Load Paddle without its handler of SIGTERM."""
    if "paddle" not in sys.modules:
        main = threading.current_thread() is threading.main_thread()   # Python lets no other thread say how signals are answered
        with stopping.handlers_kept() if main else contextlib.nullcontext():
            import paddle  # noqa: F401


def _keep_memory() -> None:
    """Let glibc keep freed memory for the next tensor, instead of returning each large block to Linux.

    A training step takes and frees all its activations; getting them back a page at a time took a seventh of the step of
    resnet_small at 224 pixels. All threads take from one arena, as only that one keeps large pieces: the thread that reads
    ahead spent a seventh of its time in Linux otherwise. Another C library may have no mallopt, or refuse: then it stays
    as it is.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt, trim, mmap, arenas = ctypes.CDLL(None).mallopt, -1, -3, -8            # M_TRIM_THRESHOLD, ... of malloc.h
        mallopt(arenas, 1)
        mallopt(mmap, 1 << 30) or mallopt(mmap, 32 << 20)              # older ones take no more than 32 MB
        mallopt(trim, 2**31 - 1)


def cores() -> int:
    """Return the physical cores that this process may use, in a container at most those that it is given the time of."""
    import psutil
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed, _processors_given() or allowed))


def _processors_given() -> int | None:
    """Return the limit of a container, `docker run --cpus`; None: there is none. With more threads it would only stand still."""
    try:
        time, _, period = CPU_LIMIT.read_text(encoding="ascii").partition(" ")
        return math.ceil(int(time) / int(period))
    except (OSError, ValueError):                  # another system; "max 100000"
        return None


def _vendor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line.split(":")[1].strip() for line in file if line.startswith("vendor_id")), "")
    except OSError:
        return ""


def choose_processes(wanted: int | None, device: str, batch_size: int) -> tuple[int, str]:
    """Return (how many processes should train on this machine, why). wanted: None to choose.

    Raises UserError where a process would get no image of a batch, or where there are over two processes a processor.
    """
    if wanted is not None:
        if wanted > batch_size:
            raise UserError(f"--nproc {wanted}: more processes than the {batch_size} images of a batch (--batch-size)")
        if wanted > 2 * (os.cpu_count() or 1):     # each takes hundreds of MB: the machine would stand still
            raise UserError(f"--nproc {wanted}: this machine has {os.cpu_count()} processors; --nproc auto takes one process "
                            f"a core")
        return wanted, "as --nproc says"
    if device != "cpu" and _gpu_driver():
        return 1, "a GPU is at hand"
    count = min(cores(), batch_size)
    return count, "one per physical core (Paddle trains on one CPU core a process); --nproc 1 uses one"


def _gpu_driver() -> bool:
    return os.path.exists("/proc/driver/nvidia/version") or os.name == "nt"


def set_device(name: str) -> str:
    """Compute on "cpu", "gpu", or ("auto") a GPU if there is one; return "cpu" or "gpu". Raises UserError."""
    load_paddle()
    import paddle
    device = device_for(name)
    paddle.set_device(device)
    return device.partition(":")[0]


@contextlib.contextmanager
def on_device(device: str | None) -> Iterator[None]:
    """Compute on a device that `device_for` names inside the block, and on the one of before after it. None: as it is."""
    import paddle
    before = paddle.get_device()
    if device in (None, before):
        yield
        return
    paddle.set_device(device)
    try:
        yield
    finally:
        paddle.set_device(before)


def version_of(*names: str) -> str:
    """Return the version of the first of these distributions that is installed, without loading it; "" where none is."""
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return ""


def device_for(name: str) -> str:
    """Return Paddle's name, "cpu" or "gpu:0", of "cpu", "gpu", or ("auto") a GPU if there is one. Raises UserError.

    Paddle is not loaded for "cpu", and for "auto" only where a GPU may be.
    """
    may_have_one = "paddle" in sys.modules or (_gpu_driver() and version_of("paddlepaddle-gpu"))
    if name == "cpu" or (name == "auto" and not may_have_one):
        return "cpu"
    load_paddle()
    import paddle
    gpu = paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if name == "gpu" and not gpu:
        reason = "no GPU is visible" if paddle.device.is_compiled_with_cuda() else "this Paddle is built for the CPU only"
        raise UserError(f"--device gpu: {reason}; install requirements-gpu.txt on a machine with an NVIDIA GPU, or use "
                        f"--device cpu")
    return f"gpu:{os.environ.get('FLAGS_selected_gpus', '0').split(',')[0]}" if gpu and name != "cpu" else "cpu"


def copier(device: str) -> Callable[[np.ndarray], "paddle.Tensor"]:
    """Return the function that makes a tensor on "cpu" or "gpu" of an array.

    To a GPU it copies from page-locked memory and does not wait for the copy; that memory is kept until the copy is done.
    """
    import paddle
    if device == "cpu":
        return paddle.to_tensor
    under_way: deque = deque()                     # (event, page-locked tensor), the oldest copy first

    def copy(array: np.ndarray) -> "paddle.Tensor":
        locked = paddle.to_tensor(array, place=paddle.CUDAPinnedPlace())
        tensor = locked.cuda(blocking=False)
        event = paddle.device.cuda.Event()
        event.record()
        under_way.append((event, locked))
        while under_way[0][0].query() and len(under_way) > 1:
            under_way.popleft()
        return tensor
    return copy


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Seed Paddle's generator (dropout) for one optimizer step, so that a resumed run draws what an unbroken one would."""
    import paddle
    paddle.seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0]))


def mixed_precision(dtype: str | None, device: str) -> tuple[Callable[[], AbstractContextManager], "amp.GradScaler | None"]:
    """Return (a context maker for the forward pass, a loss scaler or None) for "bfloat16", "float16" or None.

    float16 needs loss scaling, bfloat16 does not. Raises UserError on a CPU, where Paddle's auto_cast stays in float32
    without a word.
    """
    if dtype is None:
        return contextlib.nullcontext, None
    if device == "cpu":
        raise UserError(f"--amp {dtype}: Paddle computes in float32 on a CPU whatever --amp says; leave out --amp")
    import paddle
    if dtype == "float16":                         # for which Paddle brings convolutions into NHWC, where they are faster
        paddle.incubate.autotune.set_config({"layout": {"enable": True}})
    scaler = paddle.amp.GradScaler(init_loss_scaling=2.0**15) if dtype == "float16" else None
    return lambda: paddle.amp.auto_cast(dtype=dtype), scaler


@contextlib.contextmanager
def evaluating(model: "nn.Layer") -> Iterator[None]:
    """Put `model` into evaluation mode inside the block, without gradients, and back into its mode after it."""
    import paddle
    was = model.training
    model.eval()
    try:
        with paddle.no_grad():
            yield
    finally:
        if was:
            model.train()
