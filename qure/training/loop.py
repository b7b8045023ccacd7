"""The training loop: epochs of batches, minings, held-out queries, checkpoints; resumes anywhere with the same result.

Nothing random is stored: the data order is a function of (seed, epoch), a drawn negative of (seed, mining, query),
dropout of (seed, step). A checkpoint therefore holds weights, optimizer and counts alone, and what lies between the
last checkpoint and a kill is done again exactly.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from qure.config import TrainingSettings
from qure.errors import StageFailed
from qure.features.store import FeatureStore
from qure.models.model import QureModel
from qure.models.precision import PrecisionPolicy
from qure.models.threads import deterministic_algorithms
from qure.negatives.schedule import is_mining_epoch
from qure.negatives.statistics import findings as mining_findings
from qure.progress import progress_bar
from qure.training.batches import BatchNumbers, EpochNegatives, ahead, batch_numbers, epoch_negatives, read_batch
from qure.training.checkpoint import Checkpoint, Checkpoints
from qure.training.data import Integers, TrainingData
from qure.training.distributed import Processes
from qure.training.encoding import TrainingEncoder, evaluating, recall
from qure.training.graph import GraphStep, uses_graph
from qure.training.mining import Mined, mine_all, mining_digest, read_mining, warm_up
from qure.training.optimisation import (
    learning_rate,
    make_optimizer,
    optimizer_step,
    prepare_temperature,
    set_learning_rate,
    steps_taken,
)
from qure.training.order import epoch_batches, micro_batches
from qure.training.reporting import RECALL, Observer, epoch_findings, epoch_line, epoch_record
from qure.training.speed import Speed
from qure.training.state import Learner
from qure.training.step import Batch, TripletLoss

logger = logging.getLogger(__name__)

#: Steps between two readings of the losses from the device; reading makes a GPU wait.
WINDOW = 20


@dataclass
class Trainer:
    """One training run.

    Attributes:
        model: to train; its temperature is set as the settings say.
        data: triplets to train on.
        held_out: triplets that judge every epoch; None: train on all, the last epoch's weights are the result.
        features: of every image in both.
        settings: the recipe.
        group: the processes that train together.
        checkpoints: where to go on from and where to leave checkpoints; used by rank 0 alone.
        observer: told what happens, on rank 0 alone.
        plots: draw what each mining found.
        batch_dropout: dropout masks are drawn for the whole batch, so that they do not depend on how many processes
            share it; False: torch draws them itself, in its fused attention too. None: False for one process on a GPU.
    """

    model: QureModel
    data: TrainingData
    held_out: TrainingData | None
    features: FeatureStore
    settings: TrainingSettings
    group: Processes
    checkpoints: Checkpoints
    observer: Observer | None = None
    plots: bool = True
    batch_dropout: bool | None = None
    learner: Learner = field(init=False)

    def __post_init__(self) -> None:
        prepare_temperature(self.model, self.settings)
        self._policy = PrecisionPolicy.of(self.settings.precision, self.group.device)
        self._encoder = TrainingEncoder(self.model, self.features, self._policy, self.group)
        optimizer = make_optimizer(self.model, self.settings)
        self.learner = Learner(self.model, optimizer, self._policy.scaler())
        if self.batch_dropout is None:
            self.batch_dropout = self.group.world > 1 or self.group.device.type != "cuda"
        own_dropout = not self.batch_dropout
        loss = TripletLoss(self.model, self.settings, self._policy, self.group, own_dropout=own_dropout)
        self._loss = _data_parallel(loss, self.group)
        graph = uses_graph(self.settings, self.group) and not self.batch_dropout
        self._graph = GraphStep(self._optimise, self.features, self.group.device) if graph else None

    def run(self) -> Learner:
        """Trains from the last checkpoint, or from the start, to the end.

        Returns:
            the learner, its model with the weights to keep: the best epoch's by the held-out queries where there
            are any, else the last epoch's (as published).

        Raises:
            StageFailed: the loss is no longer finite.
        """
        with _reproducible(self.group.device):
            self._resume()
            state = self.learner.state
            mined = self._mining_in_force()
            while state.epoch < self.settings.epochs and not state.stopped:
                if state.batch == 0:
                    mined = self._begin_epoch(mined)
                self._train_epoch(mined)
                self._end_epoch(mined)
            if self.learner.best:
                self.learner.set_weights(self.learner.best)
        self.model.eval()
        return self.learner

    # -- epochs

    def _begin_epoch(self, mined: Mined | None) -> Mined | None:
        """Mines where the schedule says so."""
        state, settings = self.learner.state, self.settings
        if mined is None or not is_mining_epoch(state.epoch, settings.epochs, settings.negatives.definitions):
            return mined
        folder = self.mining_folder(state.epoch)
        with evaluating(self.model):
            title = f"before epoch {state.epoch + 1}" if self.plots else None
            mined = mine_all(self._encoder, self.data, settings, self.group, folder, title)
        assert mined.statistics is not None
        digest = self.group.share(mining_digest(folder) if self.group.main else None)
        state.mining = {"epoch": state.epoch, "digest": digest}
        if self.group.main and self.observer is not None:
            self.observer.mined(state.epoch, mined.statistics, folder)
        for text in mining_findings(mined.statistics):
            self._found("negatives", text)
        return mined

    def _train_epoch(self, mined: Mined | None) -> None:
        settings, state, every = self.settings, self.learner.state, self.settings.checkpoint_every_steps
        set_learning_rate(self.learner.optimizer, learning_rate(settings, state.epoch))
        negatives = epoch_negatives(mined.sets if mined else None, settings, state.epoch, len(self.data))
        batches = self._batches(state.epoch)
        self.model.train()
        speed = Speed(len(batches) - state.batch, self._steps_in(state.epoch + 1, settings.epochs))
        self._speed = speed
        window: list[tuple[int, Tensor]] = []
        with self._progress(len(batches)) as advance:
            for rows, step in self._read_ahead(batches[state.batch :], negatives):
                window.append((len(rows), step()))
                state.batch += 1
                state.step += 1
                speed.step(len(rows) * (2 + negatives.drawn.shape[1]))
                due = every is not None and state.step % every == 0
                if len(window) == WINDOW or due or state.batch == len(batches):
                    self._count(window)
                advance(f"loss {state.loss:.4f}, pairs won {state.pair_accuracy:.3f}, {speed}")
                if due and state.batch < len(batches):
                    self._save()

    def _end_epoch(self, mined: Mined | None) -> None:
        state, settings = self.learner.state, self.settings
        record = epoch_record(
            state,
            mined,
            temperature=float(self.model.temperature.detach()),
            learning_rate=learning_rate(settings, state.epoch),
            steps_taken=steps_taken(self.learner.optimizer),
        )
        if self.held_out is not None:
            with evaluating(self.model):
                record[RECALL] = recall(self._encoder, self.held_out)
            self._keep_best(record)
        state.history.append(record)
        for kind, text in epoch_findings(record, learned_temperature=settings.temperature == "learned"):
            self._found(kind, text)
        if self.group.main:
            logger.info("epoch %d of %d: %s", state.epoch + 1, settings.epochs, epoch_line(record, self._speed))
            if self.observer is not None:
                self.observer.epoch_done(record, self._speed.metrics())
        state.next_epoch()
        self._save()

    def _keep_best(self, record: dict[str, Any]) -> None:
        """Keeps the best weights by the held-out queries, and stops when they have long been beaten."""
        state, patience = self.learner.state, self.settings.early_stop_patience
        if state.best is None or record[RECALL] > state.best["recall"]:
            state.best = {"epoch": state.epoch, "recall": record[RECALL]}
            self.learner.best = self.learner.weights()
        elif patience is not None and state.epoch - state.best["epoch"] >= patience:
            state.stopped = True
            logger.info("early stop: no better held-out recall for %d epochs", patience)

    # -- steps

    def _optimise(self, parts: list[Batch], share: float | Tensor) -> Tensor:
        """One optimizer step over a batch, in parts, whose losses count `share` each.

        Nothing in it waits for the device, and where torch draws the dropout itself nothing in it but launches work:
        it can be captured.

        Returns:
            (3,) this process's loss sum, pairs won, pairs.
        """
        counts = []
        for number, part in enumerate(parts):
            with self._collecting(last=number == len(parts) - 1):
                if self.batch_dropout:
                    self._seed(number)
                outcome = self._loss(part)
                self.learner.scaler.scale(outcome.loss * share).backward()
            counts.append(outcome.counts)
        optimizer_step(self.learner.optimizer, self.learner.scaler, self.model, self.settings.gradient_clipping)
        return torch.stack(counts).sum(dim=0)

    def _read_ahead(
        self, batches: list[Integers], negatives: EpochNegatives
    ) -> Iterator[tuple[Integers, Callable[[], Tensor]]]:
        """The batches' rows, each with its step; numbers and features are read in another thread, one step ahead."""

        def read(rows: Integers) -> tuple[Integers, Callable[[], Tensor]]:
            parts = self._parts(rows, negatives)
            # Gradients are averaged over the processes; the loss is a mean over the whole batch's rows.
            share = self.group.world / len(rows)
            if self._graph is not None:
                return rows, partial(self._step, partial(self._graph, self._graph.prepare(parts), share))
            batch = [read_batch(part, self.features, self.group.device) for part in parts]
            return rows, partial(self._step, partial(self._optimise, batch, share))

        return ahead(read, batches)

    def _parts(self, rows: Integers, negatives: EpochNegatives) -> list[BatchNumbers]:
        """The parts that a batch is computed in; where torch draws the dropout itself all of one length.

        There a graph asks for it, and masks depend on shapes, so that both engines need it to drop the same units.
        """
        steps, length = self.settings.accumulation_steps, None
        if not self.batch_dropout:
            length = -(-self.settings.batch_size // steps)
        parts = [
            batch_numbers(part, self.data, negatives, self.settings, self.group, length=length)
            for part in micro_batches(rows, steps)
        ]
        if length is not None:
            parts += [replace(parts[-1], weights=torch.zeros(length))] * (steps - len(parts))
        return parts

    def _step(self, run: Callable[[], Tensor]) -> Tensor:
        if not self.batch_dropout:
            self._seed(0)
        return run()

    def _seed(self, part: int) -> None:
        torch.manual_seed(step_seed(self.settings.seed, self.learner.state.step, part))

    def _collecting(self, *, last: bool) -> contextlib.AbstractContextManager[Any]:
        """Gradients travel between processes with the last part of a batch alone."""
        if isinstance(self._loss, DistributedDataParallel) and not last:
            return self._loss.no_sync()
        return contextlib.nullcontext()

    def _count(self, window: list[tuple[int, Tensor]]) -> None:
        """Brings the counts of the last steps from the device into the state."""
        counts = self.group.sum(torch.stack([one for _, one in window])).cpu()
        if not bool(torch.isfinite(counts).all()):
            raise StageFailed(
                f"the loss is not finite near step {self.learner.state.step}. "
                "Lower learning_rate, set gradient_clipping, or use precision bf16 or fp32"
            )
        for (rows, _), (loss, won, pairs) in zip(window, counts.tolist(), strict=True):
            self.learner.state.add_step(rows, (loss, won, pairs))
        window.clear()

    def _batches(self, epoch: int) -> list[Integers]:
        return epoch_batches(
            self.data.categories,
            batch_size=self.settings.batch_size,
            seed=self.settings.seed,
            epoch=epoch,
            one_category=self.settings.one_category_batches,
        )

    def _steps_in(self, first: int, stop: int) -> int:
        return len(self._batches(0)) * (stop - first)

    # -- checkpoints

    def _resume(self) -> None:
        found = self.checkpoints.load() if self.group.main else None
        state = self.group.share(found.state if found else None)
        if state is None:
            return
        tensors = self.group.share_tensors(found.tensors if found else None)
        self.learner.restore(Checkpoint(tensors, state))
        logger.info("going on at epoch %d, step %d", self.learner.state.epoch + 1, self.learner.state.step)

    def _mining_in_force(self) -> Mined | None:
        """The sets that the run stands on; None for the contrastive loss."""
        if self.settings.loss == "contrastive":
            return None
        mining = self.learner.state.mining
        if mining is None:
            return warm_up(self.data)
        return read_mining(self.group, self.mining_folder(mining["epoch"]), mining["digest"])

    def _save(self) -> None:
        if self.group.main:
            self.checkpoints.save(self.learner.state.step, self.learner.checkpoint())

    def mining_folder(self, epoch: int) -> Path:
        """Where the mining before a 0-based epoch is kept."""
        return self.checkpoints.folder / "minings" / f"{epoch:04d}"

    # -- telling

    def _found(self, kind: str, text: str) -> None:
        epoch = self.learner.state.epoch
        self.learner.state.findings.append(f"epoch {epoch + 1}: {text}")
        if self.group.main:
            logger.warning("epoch %d: %s", epoch + 1, text)
            if self.observer is not None:
                self.observer.found(epoch, kind, text)

    @contextlib.contextmanager
    def _progress(self, batches: int) -> Iterator[Any]:
        """A bar for one epoch; yields a function that moves it on by a batch and shows a note."""
        state = self.learner.state
        if not self.group.main:
            yield lambda note: None
            return
        with progress_bar() as bar:
            title = f"epoch {state.epoch + 1}/{self.settings.epochs}"
            task = bar.add_task(title, total=batches, completed=state.batch, note="")
            yield lambda note: bar.update(task, advance=1, note=note)


def step_seed(seed: int, step: int, part: int) -> int:
    """Seed of the dropout of one part of one step, the same on every process.

    >>> step_seed(0, 1, 0) == step_seed(0, 1, 0) != step_seed(0, 2, 0)
    True
    """
    return int(np.random.SeedSequence((seed, step, part)).generate_state(1, np.uint64)[0])


def _data_parallel(loss: TripletLoss, group: Processes) -> torch.nn.Module:
    if group.world == 1:
        return loss
    own = [group.device] if group.device.type == "cuda" else None
    return DistributedDataParallel(loss, device_ids=own, forward_sync_buffers=False)


@contextlib.contextmanager
def _reproducible(device: torch.device) -> Iterator[None]:
    """On the CPU only operations that always give the same bits; the caller's random state is left as it was.

    On a GPU the same holds but for the atomic additions of the embedding's gradient: forbidding them would cost
    speed, so a resumed GPU run equals the uninterrupted one to rounding.
    """
    devices = [device] if device.type == "cuda" else []
    same_bits = deterministic_algorithms() if device.type == "cpu" else contextlib.nullcontext()
    with torch.random.fork_rng(devices=devices), same_bits:
        yield
