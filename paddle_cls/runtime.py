"""What the computation runs on: device, threads, seeds, mixed precision, and the processes of one training."""

import contextlib
import ctypes
import io
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np

from . import cache, environment, heartbeat, meeting, stopping
from .errors import UserError


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
    """Load Paddle, whose answer to SIGTERM is not to be ours."""
    if "paddle" not in sys.modules:
        with stopping.kept():
            import paddle  # noqa: F401


def _keep_memory() -> None:
    """Have glibc keep the memory that is freed, for the next tensor, instead of handing each large one back to Linux.

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
    """Return the physical cores that this process may use."""
    import psutil
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


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
    gpu = paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if name == "gpu" and not gpu:
        reason = "no GPU is visible" if paddle.device.is_compiled_with_cuda() else "this Paddle is built for the CPU only"
        raise UserError(f"--device gpu: {reason}; install requirements-gpu.txt on a machine with an NVIDIA GPU, or use "
                        f"--device cpu")
    chosen = "gpu" if gpu and name != "cpu" else "cpu"
    paddle.set_device(f"gpu:{os.environ.get('FLAGS_selected_gpus', '0').split(',')[0]}" if chosen == "gpu" else "cpu")
    return chosen


def copier(device: str) -> Callable:
    """Return the function that makes a tensor on "cpu" or "gpu" of an array.

    To a GPU it copies from page-locked memory and does not wait for the copy; that memory is kept until the copy is done.
    """
    import paddle
    if device == "cpu":
        return paddle.to_tensor
    under_way: deque = deque()                     # (event, page-locked tensor), the oldest copy first

    def copy(array: np.ndarray):
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


class World:
    """The processes that train together; alone, everything here is free and does nothing."""

    def __init__(self) -> None:
        """Raises UserError where Paddle's variables make no sense."""
        self.rank, self.size = environment.rank_and_size()

    def join(self, device: str) -> None:
        """Meet the other processes (NCCL between GPUs, gloo on CPUs). Raises UserError where they do not come."""
        if self.size > 1:
            environment.check_places(self.rank, self.size)
            if device == "cpu":
                os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"
            import paddle.distributed as dist
            meeting.meet(self.rank, self.size)
            with contextlib.redirect_stderr(io.StringIO()), stopping.by_default():     # it lists its own flags there
                dist.init_parallel_env()

    @contextlib.contextmanager
    def first(self) -> Iterator[None]:
        """Let the first process do the block before the others, which then find what it has downloaded, however late."""
        def exchange(done: bool) -> bool:
            return bool(self.sum(np.array([done]))[0])
        if self.size > 1 and self.rank == 0:
            with heartbeat.lead(exchange):
                yield
            return
        if self.size > 1:
            heartbeat.follow(exchange)
        yield

    def parallel(self, model, *, changing: bool = False):
        """Return `model` such that its gradients are averaged over the processes.

        changing: some of the weights that are trainable now will be frozen in some steps.
        """
        if self.size == 1:
            return model
        import paddle
        return paddle.DataParallel(model, find_unused_parameters=changing)

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Return the sum over the processes of float64 `values` of one shape."""
        if self.size == 1:
            return values
        import paddle
        import paddle.distributed as dist
        tensor = paddle.to_tensor(np.asarray(values, np.float64))
        dist.all_reduce(tensor)
        return tensor.numpy()

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Return the rows of all processes, one process after the other; they may differ in number."""
        if self.size == 1:
            return values
        import paddle
        import paddle.distributed as dist
        counts = np.zeros(self.size)
        counts[self.rank] = len(values)
        counts = self.sum(counts).astype(int)
        padded = np.zeros((counts.max(), *values.shape[1:]), values.dtype)
        padded[:len(values)] = values
        parts: list = []
        dist.all_gather(parts, paddle.to_tensor(padded))
        return np.concatenate([part.numpy()[:count] for part, count in zip(parts, counts, strict=True)])

    def average_statistics(self, model) -> None:
        """Make BN's running statistics, which each process keeps of its own images, their mean over the processes.

        Those that are frozen stay as they are, to the last bit.
        """
        if self.size > 1:
            import paddle
            import paddle.distributed as dist
            for layer in model.sublayers():
                if hasattr(layer, "_use_global_stats") and not layer._use_global_stats:
                    for buffer in (layer._mean, layer._variance):
                        with paddle.no_grad():
                            dist.all_reduce(buffer)
                            buffer.scale_(1 / self.size)


def mixed_precision(dtype: str | None, device: str):
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
def evaluating(model) -> Iterator[None]:
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
