"""The training loop: steps, validations and checkpoints, reproducible from a seed."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from tiler.bounded_map import bounded_map
from tiler.errors import Interrupted, ModelError
from tiler.models.inference.devices import device_errors, float32_products, threads_of
from tiler.models.loading.weights import save_weights
from tiler.models.training.checkpoint import Checkpoint, pack, unpack, write_whole
from tiler.models.training.curves import write_csv, write_svg
from tiler.models.training.data import Slice
from tiler.models.training.freezing import hold_still
from tiler.models.training.listening import TrainingListener
from tiler.models.training.objectives import objective_of, supervised
from tiler.models.training.optimisation import MovingAverage, freeze_norm, make_optimiser, set_rate
from tiler.models.training.planning import share_of
from tiler.models.training.provenance import About, card_of
from tiler.models.training.record import Files, Record
from tiler.models.training.settings import Settings
from tiler.models.training.tiles import Tiles, TileSampler
from tiler.models.training.validation import require_validation, validate

ROW_EVERY = 10
"""Number of steps whose mean loss is a row of the learning curves."""

FEEDERS = 4
"""Number of threads that draw tiles for an accelerator: a step's tiles take about 30 ms of one core."""

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""The memory format in which convolutions are fast, by a tensor's number of axes."""


def laid_out(module: nn.Module) -> nn.Module:
    """Convert the kernels of a module's convolutions to that format."""
    for parameter in module.parameters():
        if parameter.ndim in CHANNELS_LAST:
            parameter.data = parameter.data.contiguous(memory_format=CHANNELS_LAST[parameter.ndim])
    return module


class Run:
    """One training run, from its first step or from a checkpoint.

    Parameters
    ----------
    settings
        Complete settings.
    module
        The network with its initial weights.
    sampler
        Draws the tiles.
    held_out
        Slices to validate on.
    about
        Licence and kind of data, for the card of the weights.
    files
        Files to write.
    listener
        Receives progress.
    checkpoint_seconds
        Time between two checkpoints.
    """

    def __init__(
        self, settings: Settings, module: nn.Module, sampler: TileSampler, held_out: list[Slice],
        *, about: About, files: Files, listener: TrainingListener, checkpoint_seconds: float,
    ) -> None:
        self.settings, self.sampler, self.held_out, self.about = settings, sampler, held_out, about
        self.files, self.listener, self.checkpoint_seconds = files, listener, checkpoint_seconds
        self.recipe = settings.recipe
        self.device = torch.device(settings.device)
        self.module = laid_out(module.to(self.device))
        self.objective = objective_of(self.recipe.loss)
        self.optimiser = make_optimiser(self.module, self.recipe, self.device)
        self.average = MovingAverage(self.module, self.recipe.average)
        self.step, self.record = 0, Record()

    def settle(self, steps: int, validate_every: int | None) -> None:
        """Fix the number of steps, before the first one."""
        every = validate_every or share_of(steps)
        self.settings = replace(self.settings, steps=steps, validate_every=every)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore the state of a checkpoint."""
        unpack(checkpoint.tensors, self.module, self.optimiser, self.average.state)
        self.step, self.record = checkpoint.step, Record(**checkpoint.record)

    def rehearse_validation(self) -> None:
        """Check before the first step that the engine can run this network.

        Raises
        ------
        PlanError
            If it does not.
        """
        candidate = self.files.candidate(self.step)
        self._write(candidate, self.average.state, torch.float32)
        try:
            require_validation(candidate, self.settings, self.held_out)
        finally:
            candidate.unlink()

    def finish(self, stop: threading.Event) -> None:
        """Train to the last step.

        Raises
        ------
        Interrupted
            If the run is asked to stop; it writes a checkpoint first.
        ModelError
            If the loss is no longer finite.
        SinkError
            If a checkpoint cannot be written.
        """
        self.listener.started(self.settings.steps, self.step)
        saved = clock = time.monotonic()
        with self.session():
            for tiles in self._tiles():
                self.advance(tiles)
                now = time.monotonic()
                self.record.seconds, clock = self.record.seconds + now - clock, now
                if self._book() or now - saved >= self.checkpoint_seconds or stop.is_set():
                    self.save()
                    saved = time.monotonic()
                if stop.is_set() and self.step < self.settings.steps:
                    raise Interrupted(f"stopped after {self.step} of {self.settings.steps} steps; the same command "
                                      "with `resume=True` continues")

    def _tiles(self) -> Iterator[Tiles]:
        """Tiles of the remaining steps, drawn ahead; several threads feed an accelerator."""
        workers = 1 if self.device.type == "cpu" else FEEDERS
        return bounded_map(self.sampler, range(self.step, self.settings.steps), workers=workers, depth=workers + 1)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Set threads, number formats and random state of torch for the run, and restore them afterwards."""
        dtype = torch.bfloat16 if self.recipe.precision == "bfloat16" else torch.float32
        devices = [self.device] if self.device.type == "cuda" else []
        with (
            torch.random.fork_rng(devices), float32_products(), threads_of(self.settings.threads),
            device_errors(self.device, dtype),
        ):
            yield

    def advance(self, tiles: Tiles) -> None:
        """One step of the optimiser."""
        loss = self.gradients(tiles)
        if not math.isfinite(loss):
            raise ModelError(f"the loss became {loss} in step {self.step + 1}: train with a lower learning_rate",
                             option="changes")
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.recipe.clip)
        set_rate(self.optimiser, self.recipe.rate(self.step, self.settings.steps))
        self.optimiser.step()
        self.average.update(self.module, self.step)
        self.step += 1
        self.record.losses.append(loss)
        self.listener.stepped(self.step, loss)

    def gradients(self, tiles: Tiles) -> float:
        """Compute the loss of one batch, and leave its gradients in the parameters."""
        # Dropout draws from torch's generator, which is seeded in each step and thus not stored in the checkpoint.
        torch.manual_seed(self.settings.seed * 1_000_003 + self.step)
        self.module.train()
        if self.recipe.freezes_norm(self.step, self.settings.steps):
            freeze_norm(self.module)
        hold_still(self.module, self.settings.freeze)
        images = torch.from_numpy(tiles.images).to(self.device)
        images = images.contiguous(memory_format=CHANNELS_LAST[images.ndim])
        classes = torch.from_numpy(tiles.classes).to(self.device, torch.int64)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            found = supervised(self.module, images)
        loss = self.objective.of(found, classes, torch.from_numpy(tiles.weights).to(self.device))
        self.optimiser.zero_grad()
        loss.backward()
        return loss.item()

    def _book(self) -> bool:
        """Update the learning curves, and validate if due; return whether a checkpoint is due too."""
        last = self.step == self.settings.steps
        due = bool(self.held_out) and (last or self.step % self.settings.validate_every == 0)
        if self.step % ROW_EVERY and not (due or last):
            return False
        row = {
            "step": self.step, "seconds": round(self.record.seconds, 1),
            "learning_rate": self.recipe.rate(self.step - 1, self.settings.steps),
            "loss": math.fsum(self.record.losses) / len(self.record.losses),
        }
        self.record.losses.clear()
        self.record.rows.append(row | (self._validate() if due else {}))
        if due or last:
            write_svg(self.record.rows, self.files.svg)
        return due or last

    def _validate(self) -> dict[str, float]:
        candidate = self.files.candidate(self.step)
        self._write(candidate, self.average.state, torch.float32)
        scores = validate(candidate, self.settings, self.held_out)
        best = self.record.improves(scores)
        if best:
            candidate.replace(self.files.best)
            self.record.best = {"step": self.step, **scores}
        else:
            candidate.unlink()
        self.listener.validated(self.step, scores, best)
        return scores

    def _write(self, path: Path, state: Mapping[str, torch.Tensor], dtype: torch.dtype,
               best: dict[str, float] | None = None) -> None:
        card = card_of(self.settings, len(self.sampler.slices), best, self.about.licence, self.about.trained_on)
        values = {name: value.detach().cpu() for name, value in state.items()}
        write_whole(path, lambda new: save_weights(new, values, card, dtype), "weights")

    def save(self) -> None:
        """Write a checkpoint and the learning curves so far."""
        tensors = pack(self.module, self.optimiser, self.average.state)
        Checkpoint(self.step, tensors, self.settings.to_json(), self.record.to_json()).save(self.files.checkpoint)
        write_csv(self.record.rows, self.files.csv)

    def conclude(self, dtype: torch.dtype) -> None:
        """Write the best weights, or without validation the last ones, as the result."""
        best = self.record.best
        state = load_file(self.files.best) if best is not None else self.average.state
        self._write(self.files.weights, state, dtype, best)
