"""The processes that train together, and what they exchange."""

import contextlib
import io
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..paddle_internals import keeps_statistics, norms, statistics
from ..system import environment, stopping
from . import heartbeat, rendezvous

if TYPE_CHECKING:
    from paddle import nn


class Request(NamedTuple):
    """What a process asks all for, between two steps."""

    save: bool = False                             # write the last checkpoint
    signal: int = 0                                # save and leave, for this signal of `stopping.NUMBERS`


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
            rendezvous.meet(self.rank, self.size)
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

    def parallel(self, model: "nn.Layer", *, changing: bool = False) -> "nn.Layer":
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

    def any(self, own: bool) -> bool:
        """Return whether it is so in any process."""
        return bool(self.sum(np.array([float(own)]))[0])

    def sum_and_agree(self, values: np.ndarray, request: Request) -> tuple[np.ndarray, Request]:
        """Return (`sum` of float64 values (N,), what any process asks for: of several signals the first of NUMBERS).

        It is one exchange, as each costs time in every step.
        """
        if self.size == 1:
            return values, request
        asked = [request.save, *(number == request.signal for number in stopping.NUMBERS)]
        numbers = self.sum(np.array([*values, *asked], np.float64))
        save, *signals = numbers[len(values):]
        came = [int(number) for number, count in zip(stopping.NUMBERS, signals, strict=True) if count]
        return numbers[:len(values)], Request(bool(save), came[0] if came else 0)

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

    def average_statistics(self, model: "nn.Layer") -> None:
        """Make BN's running statistics, which each process keeps of its own images, their mean over the processes.

        Those that are frozen stay as they are, to the last bit.
        """
        if self.size > 1:
            import paddle
            import paddle.distributed as dist
            for buffer in (buffer for _, norm in norms(model) if not keeps_statistics(norm) for buffer in statistics(norm)):
                with paddle.no_grad():
                    dist.all_reduce(buffer)
                    buffer.scale_(1 / self.size)
