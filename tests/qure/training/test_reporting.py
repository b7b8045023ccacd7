"""Records and findings of an epoch."""

import pytest

from qure.training.reporting import epoch_findings, epoch_line, epoch_record
from qure.training.speed import Speed
from qure.training.state import RunState


def record(**changes: float) -> dict[str, float]:
    return {"pair_accuracy": 0.9, "temperature": 0.05, "loss": 0.4, **changes}


@pytest.mark.parametrize(
    ("changes", "learned", "kinds"),
    [
        ({}, True, []),
        ({"pair_accuracy": 0.995}, True, []),
        ({"pair_accuracy": 0.9951}, True, ["pair_accuracy"]),
        ({"temperature": 0.01}, True, []),
        ({"temperature": 0.0099}, True, ["temperature"]),
        ({"temperature": 0.0099}, False, []),
        ({"temperature": 0.001, "pair_accuracy": 1.0}, True, ["pair_accuracy", "temperature"]),
    ],
)
def test_findings(changes: dict[str, float], learned: bool, kinds: list[str]) -> None:
    found = epoch_findings(record(**changes), learned_temperature=learned)
    assert [kind for kind, _ in found] == kinds
    assert all("stopped learning" in text for _, text in found)


def test_record_takes_means_over_rows_and_pairs() -> None:
    state = RunState(epoch=2)
    state.add_step(4, (8.0, 3.0, 4.0))
    state.add_step(1, (1.0, 1.0, 6.0))
    state.step = 2
    made = epoch_record(state, None, temperature=0.07, learning_rate=1e-3, steps_taken=1)
    assert (made["loss"], made["pair_accuracy"], made["pairs_per_query"]) == (9 / 5, 0.4, 2.0)
    assert (made["left_out_steps"], made["triplets"], made["mining"]) == (1, 5, None)
    assert state.losses == [2.0, 1.0]
    assert state.accuracies == [0.75, 1 / 6]
    state.next_epoch()
    assert (state.epoch, state.batch, state.triplets, state.sums) == (3, 0, 0, [0.0, 0.0, 0.0])
    assert len(state.losses) == 2


def test_line_for_the_log() -> None:
    line = epoch_line({**record(), "held_out_recall_at_10": 0.25}, Speed(1, 0))
    assert line.startswith("loss 0.4000, pairs won 0.9000, temperature 0.0500, held-out recall@10 0.2500, 0 images/s")


def test_speed_counts_images_and_estimates_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([100.0, 102.0, 102.0])
    monkeypatch.setattr("qure.training.speed.time.monotonic", lambda: next(now))
    speed = Speed(10, 30)
    for _ in range(4):
        speed.step(96)
    assert speed.metrics() == {"images_per_second": 192.0, "epoch_seconds": 2.0}
    assert str(speed) == "192 images/s, 18 s of training left"
