"""The figures of a finished training."""

from __future__ import annotations

from memo_ray.training.checkpoints import Epoch, History
from memo_ray.training.facts import facts_of


def test_facts_add_up_over_epochs() -> None:
    history = History(
        2,
        [
            Epoch([2.0, 1.0], 1.6, 90, 100, 40, 0, 3.0, 0.5),
            Epoch([0.5, 0.25], 0.4, 90, 100, 40, 1, 2.0, 0.25),
        ],
        resumed_from=[1],
        start_seconds=4.0,
    )
    facts = facts_of(history)
    assert facts["loss_by_epoch"] == [1.6, 0.4]
    assert facts["final_loss"] == 0.4
    assert facts["loss_by_step"] == [2.0, 1.0, 0.5, 0.25]
    assert (facts["steps"], facts["tokens"], facts["answer_tokens"]) == (4, 180, 80)
    assert (facts["pad_share"], facts["tokens_per_second"], facts["seconds_per_step"]) == (0.1, 36.0, 1.25)
    assert (facts["training_seconds"], facts["saving_seconds"], facts["starting_seconds"]) == (5.0, 0.75, 4.0)
    assert (facts["skipped_steps"], facts["workers"], facts["resumed_from"]) == (1, 2, [1])
