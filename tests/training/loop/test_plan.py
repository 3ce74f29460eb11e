"""The plan: a learning rate that depends on the step alone, and refusals."""

import pytest

from muqrt.errors import UsageError
from muqrt.training.loop.plan import TrainingPlan


def test_the_rate_rises_then_falls_to_zero() -> None:
    plan = TrainingPlan(steps=100, learning_rate=1.0, warmup_steps=10)
    rates = [plan.learning_rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[99] < 1e-3


def test_a_warm_up_longer_than_the_run_is_all_there_is() -> None:
    plan = TrainingPlan(steps=4, learning_rate=1.0, warmup_steps=8)
    assert plan.learning_rate_at(3) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"batch_size": 0}, {"crop_seconds": 0.0}, {"learning_rate": -1.0}],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        TrainingPlan(**{"steps": 1, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("decay", [0.0, 1.0, 2.0])
def test_an_ema_decay_lies_between_zero_and_one(decay: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        TrainingPlan(steps=1, ema_decay=decay)
