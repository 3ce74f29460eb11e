"""A batch in shards, one thread each, that give the gradient of the whole batch.

An operator on several threads ends when the last of them has been given a core, and a step has some
thousand operators: on a machine with other work most of the time is waiting. Threads that share
nothing but the statistics of batch norms meet a few dozen times in a step.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

Figures = dict[str, Tensor]
_here = threading.local()


class _Table:
    """Where the shards of one step meet."""

    def __init__(self, shards: int) -> None:
        self.barrier = threading.Barrier(shards)
        self.given: list[Tensor | None] = [None] * shards


@dataclass(frozen=True)
class _Seat:
    """A shard's place at the table."""

    table: _Table
    index: int

    def gathered(self, own: Tensor) -> Tensor:
        """Every shard's tensor, (shards, ...), the same for each of them."""
        self.table.given[self.index] = own
        self.table.barrier.wait()
        every = torch.stack([each for each in self.table.given if each is not None])
        self.table.barrier.wait()  # nobody lays down the next before all have taken this
        return every


class Shards:
    """Threads, each with a share of the batch and one core.

    Args:
        count: of threads.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))

    def run(
        self,
        loss_of: Callable[..., tuple[Tensor, Figures]],
        inputs: Sequence[Tensor | None],
        parameters: Sequence[nn.Parameter],
    ) -> tuple[Tensor, Figures]:
        """The sum of the shards' losses, whose backward pass has been done, and of their figures.

        The same inputs give the same bits, however the threads take turns.

        Args:
            loss_of: of a shard's inputs; it may draw no random numbers.
            inputs: (batch, ...) each, divided along the batch, or None.
            parameters: the trained ones that the loss depends on.
        """
        device = "cpu"
        precision = (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
        learning = torch.is_grad_enabled()
        parts = [[None] * self.count if x is None else x.tensor_split(self.count) for x in inputs]
        table = _Table(self.count)

        def work(index: int) -> tuple[Tensor, Figures, Sequence[Tensor]]:
            _here.seat = _Seat(table, index)
            try:
                with torch.set_grad_enabled(learning):
                    with torch.autocast(device, precision[1], enabled=precision[0]):
                        loss, figures = loss_of(*(part[index] for part in parts))
                    gradients = torch.autograd.grad(loss, parameters) if learning else ()
                return loss.detach(), figures, gradients
            except BaseException:
                table.barrier.abort()
                raise
            finally:
                _here.seat = None

        losses, figures, gradients = zip(*_results(self._pool, work, self.count), strict=True)
        total = torch.stack(losses).sum()
        summed = {name: torch.stack([each[name] for each in figures]).sum(0) for name in figures[0]}
        if not learning:
            return total, summed
        for others in gradients[1:]:
            torch._foreach_add_(gradients[0], others)
        return _WithGradients.apply(total, gradients[0], *parameters), summed


def share_batch_norms(module: nn.Module) -> None:
    """Let the batch norms of a module, in place, see all shards of a batch."""
    for each in module.modules():
        if isinstance(each, _BatchNorm):
            each.__class__ = _SHARED.get(type(each), type(each))


def _results(pool: ThreadPoolExecutor, work: Callable[[int], Any], count: int) -> list[Any]:
    waiting = [pool.submit(work, index) for index in range(count)]
    errors = [each.exception() for each in waiting]
    # The others' barriers broke because of the one that failed.
    failed = [e for e in errors if e and not isinstance(e, threading.BrokenBarrierError)]
    if failed:
        raise failed[0]
    return [each.result() for each in waiting]


class _WithGradients(torch.autograd.Function):
    """A loss whose gradients are known."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: Sequence[Tensor], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *torch._foreach_mul(ctx.gradients, gradient)


class _Normalise(torch.autograd.Function):
    """Batch norm by the statistics of all shards."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: _BatchNorm, seat: _Seat
    ) -> Tensor:
        assert norm.running_mean is not None and norm.running_var is not None
        assert norm.momentum is not None and norm.num_batches_tracked is not None
        # With float32 statistics beside it a bfloat16 input is summed in float32.
        ignored = torch.zeros_like(norm.running_mean), torch.zeros_like(norm.running_var)
        own_mean, own_variance = torch.batch_norm_update_stats(x, *ignored, 1.0)
        own_count = torch.full_like(own_mean, x.numel() // x.shape[1])
        every = seat.gathered(torch.stack([own_mean, own_variance, own_count]))
        means, variances, counts = every.unbind(1)
        count = counts.sum(0)
        mean = (means * counts).sum(0) / count
        variance = ((variances + (means - mean).square()) * counts).sum(0) / count
        if seat.index == 0:
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(variance * count / (count - 1), norm.momentum)
            norm.num_batches_tracked.add_(1)
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps, ctx.seat = norm.eps, seat
        y: Tensor = torch.native_batch_norm(x, weight, bias, mean, variance, False, 0.0, norm.eps)[
            0
        ]
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        statistics = (mean, variance)
        # Of a norm by given statistics, and the sums that the true one needs.
        to_x, to_weight, to_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, *statistics, None, None, False, ctx.eps, [True, True, True]
        )
        all_weight, all_bias = ctx.seat.gathered(torch.stack([to_weight, to_bias])).sum(0)
        # What flows through the statistics: weight * deviation^-1 * (all_bias + x^ * all_weight) /
        # count for the normalised x^, which is itself a norm by given statistics.
        scale = -weight * torch.rsqrt(variance + ctx.eps) / count
        through = torch.native_batch_norm(
            x, scale * all_weight, scale * all_bias, *statistics, False, 0.0, ctx.eps
        )[0]
        return to_x.add_(through), to_weight, to_bias, None, None


class _Shared(_BatchNorm):
    """A batch norm that, in a shard, is of the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        seat = getattr(_here, "seat", None)
        if seat is None or not self.training:
            return super().forward(x)
        y: Tensor = _Normalise.apply(x, self.weight, self.bias, self, seat)
        return y


class _SharedBatchNorm1d(_Shared, nn.BatchNorm1d):
    pass


class _SharedBatchNorm2d(_Shared, nn.BatchNorm2d):
    pass


_SHARED: dict[type, type] = {
    nn.BatchNorm1d: _SharedBatchNorm1d,
    nn.BatchNorm2d: _SharedBatchNorm2d,
}
