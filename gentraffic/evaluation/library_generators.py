"""Generators of other libraries as rows of benchmarks/paper.py: weeks without a map, trained within a budget.

tsgm 0.1 (Apache-2.0; Keras over torch) and deepecho 0.8, which holds SDV's PAR (Business Source License 1.1: read it
before other use), pin old packages, so: `pip install --no-deps tsgm keras deepecho`, and what they then miss. TimeGAN
is in tsgm too, but takes 26 core-seconds for a joint step of 32 weeks by hour: some 20 steps in ten minutes, no row.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]
INSTALL = "pip install --no-deps tsgm keras deepecho, and what they miss"


@dataclass(frozen=True)
class Trained:
    """draw: so many weeks (n, hours) between 0 and 1; weights: how many numbers were learned, in how many steps."""

    draw: Callable[[int], Floats]
    weights: int
    steps: int


def beta_vae(x: NDArray[np.float32], epochs: int, batch: int) -> Trained:
    """The convolutional beta-VAE of tsgm, Adam at its defaults. x: (n, hours, 1) between 0 and 1."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras
    import tsgm

    keras.utils.set_random_seed(0)
    parts = tsgm.models.zoo["vae_conv5"](x.shape[1], 1, 16)
    model = tsgm.models.cvae.BetaVAE(parts.encoder, parts.decoder)
    model.compile(optimizer=keras.optimizers.Adam())
    model.fit(x, epochs=epochs, batch_size=batch, verbose=0)

    def draw(n: int) -> Floats:
        return np.asarray(model.generate(n).detach().numpy()[..., 0], dtype=float)

    return Trained(draw, model.count_params(), epochs * -(-len(x) // batch))


def par(x: NDArray[np.float32], epochs: int, batch: int) -> Trained:
    """PAR of SDV at its defaults: a GRU of 32 units that draws hour after hour. It takes all weeks at once, so `batch`
    is not used. x: (n, hours, 1) between 0 and 1."""
    from deepecho import PARModel

    torch.manual_seed(0)
    model = PARModel(epochs=epochs, cuda=False, verbose=False)
    hours = x.shape[1]
    sequences = [{"context": [], "data": [week[:, 0].tolist()]} for week in x]
    model.fit_sequences(sequences, [], ["continuous"])
    weights = sum(p.numel() for p in model._model.parameters())

    def draw(n: int) -> Floats:
        return np.array([model.sample_sequence([], hours)[0] for _ in range(n)], dtype=float)

    return Trained(draw, weights, epochs)


LIBRARIES: dict[str, Callable[[NDArray[np.float32], int, int], Trained]] = {
    "beta-VAE of tsgm": beta_vae,
    "PAR of SDV": par,
}


def library_weeks(name: str, past: Floats, count: int, budget_s: float, batch: int) -> tuple[Floats, dict[str, Any]]:
    """Weeks (count, hours) of mean 1 that a library draws after `budget_s` core-seconds, and what is to be told of it.

    past: (n, hours), the training cells; each is divided by its mean, and all are scaled to 0 .. 1 together.
    """
    fit = LIBRARIES[name]
    shape = past / past.mean(axis=1, keepdims=True)
    low, high = shape.min(), shape.max()
    x = ((shape - low) / (high - low)).astype(np.float32)[..., None]

    def timed(epochs: int) -> tuple[Trained, float]:
        began = time.process_time()
        return fit(x, epochs, batch), time.process_time() - began

    try:
        timed(1)  # what is done once in a process
    except ImportError as e:
        raise SystemExit(f"{name} needs {e.name}: {INSTALL}") from None
    one, three = timed(1)[1], timed(3)[1]
    per_epoch = max((three - one) / 2, 1e-3)  # without the building
    epochs = max(1, round((budget_s - (one - per_epoch)) / per_epoch))
    trained, seconds = timed(epochs)
    began = time.process_time()
    drawn = low + (high - low) * trained.draw(count)
    told = {
        "steps": trained.steps, "weights": trained.weights, "fit_cpu_s": round(seconds, 1),
        "draw_cpu_s": (time.process_time() - began) / count, "solver": "", "solver_steps": 1,
    }  # fmt: skip
    return drawn / np.maximum(drawn.mean(axis=1, keepdims=True), 1e-9), told
