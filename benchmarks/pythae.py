"""Our training of a VAE against pythae's: `python -m benchmarks.pythae`.

The same net, the same pictures, the same epochs and batches, on the same threads, one after the other in alternating
rounds. pythae is trained by its own trainer, in an environment of its own, with a constant learning rate of 1e-3, on
the pictures binarised once, as it has no other way; our recipe (`mnist_vae.toml`, fitted to the short run) draws them
anew at every visit. Both are then measured by one function: the importance-weighted bound on the same binarised test
pictures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness.environments import CONSTRAINTS, environment, versions
from benchmarks.harness.models import ROOT, SCRATCH
from benchmarks.harness.options import parser
from benchmarks.harness.report import Bar, bars, circumstances, publish, table
from training.config import RunConfig, VaeConfig, read_config
from training.data.binarise import binarise
from training.data.datasets import load_splits
from training.data.splits import DataSplits
from training.evaluation.bounds import Average
from training.export.trained import TrainedRun
from training.nets.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from training.probability import bernoulli, gaussian
from training.vae.model import Evidence

EXPERIMENT = ROOT / "training" / "experiments" / "mnist_vae.toml"
EPOCHS = 4
THREADS = 1
TEST_IMAGES = 1000
SAMPLES = 200
AT_ONCE = 20
OUR_LEARNING_RATE = 3e-3
"""At first; it falls to zero. That of the whole recipe, 1e-3, is for 30 epochs and has not come far after four."""

Weigh = Callable[[Tensor, Tensor], Evidence]
"""The log terms of images (B,1,28,28) at noise (B,K,D)."""


@dataclass(frozen=True)
class Trained:
    """One round of one trainer."""

    images_per_s: float
    nats: Average
    """The negative importance-weighted bound."""


def main() -> int:
    """Measure and print."""
    options = parser(__doc__, rounds=2)
    options.add_argument("--data-dir", type=Path, help="where data sets are kept")
    chosen = options.parse_args()
    epochs, rounds = (1, 1) if chosen.quick else (EPOCHS, chosen.rounds)
    changes = _shortened(epochs)
    config = read_config(EXPERIMENT, changes)
    data = load_splits(config.data, chosen.data_dir)
    python = environment("pythae", ["--constraint", str(CONSTRAINTS), "torch", "jaxtyping", "pythae"]) / "python"
    ours, theirs = [], []
    for number in range(rounds):
        ours.append(_ours(config, data, [*changes, f"seed={number}"], chosen.data_dir))
        theirs.append(_pythaes(read_config(EXPERIMENT), data, epochs, number, python))
    publish("pythae", _report(ours, theirs, epochs, versions(python.parent, ["pythae", "torch"])), chosen.markdown)
    return 0


def _shortened(epochs: int) -> list[str]:
    """Our recipe for so few epochs: faster, and the warm-up of the KL takes the share of the run that it has there."""
    whole = read_config(EXPERIMENT)
    assert isinstance(whole.model, VaeConfig)  # noqa: S101  for the type checker
    warmup = whole.model.objective.warmup_epochs * epochs / whole.optimiser.epochs
    return [
        f"optimiser.epochs={epochs}",
        f"optimiser.learning_rate={OUR_LEARNING_RATE}",
        f"model.objective.warmup_epochs={warmup}",
    ]


def _ours(config: RunConfig, data: DataSplits, changes: list[str], data_dir: Path | None) -> Trained:
    runs = SCRATCH / "pythae" / "ours"
    command = [sys.executable, "-m", "training", "train", str(EXPERIMENT), "--no-progress", "--device", "cpu"]
    command += ["--threads", str(THREADS), "--runs-dir", str(runs)]
    command += [part for change in changes for part in ("--set", change)]
    if data_dir is not None:
        command += ["--data-dir", str(data_dir)]
    folder = runs / config.name
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    run = TrainedRun.load(folder)
    images = config.optimiser.epochs * len(data.train)
    return Trained(images / run.train_seconds, _nats(run.model.evidence, config, data))  # type: ignore[union-attr]


def _pythaes(config: RunConfig, data: DataSplits, epochs: int, seed: int, python: Path) -> Trained:
    folder = SCRATCH / "pythae" / "theirs"
    folder.mkdir(parents=True, exist_ok=True)
    pictures = binarise(data.train.pictures, seed=seed).transpose(0, 3, 1, 2) // 255
    np.save(folder / "pictures.npy", pictures)
    model = config.model
    assert isinstance(model, VaeConfig)  # noqa: S101  for the type checker
    recipe = {
        "channels": model.channels,
        "residual_blocks": model.residual_blocks,
        "latent_size": model.latent_size,
        "epochs": epochs,
        "batch_size": config.optimiser.batch_size,
        "learning_rate": config.optimiser.learning_rate,
        "threads": THREADS,
        "seed": seed,
        "pictures": str(folder / "pictures.npy"),
        "output": str(folder),
        "weights": str(folder / "nets.pt"),
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    script = ROOT / "benchmarks" / "trainers" / "pythae_vae.py"
    ran = subprocess.run(
        [str(python), str(script), str(folder / "recipe.json")],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(THREADS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    seconds = json.loads(ran.stdout.strip().splitlines()[-1])["seconds"]
    return Trained(epochs * len(pictures) / seconds, _nats(_weighing(model, folder / "nets.pt"), config, data))


def _weighing(model: VaeConfig, weights: Path) -> Weigh:
    """The log terms of the nets that pythae trained."""
    shape = (1, 28, 28)
    nets: dict[str, nn.Module] = {
        "encoder": ConvolutionalEncoder(shape, model.channels, model.residual_blocks, 2 * model.latent_size),
        "decoder": ConvolutionalDecoder(shape, model.channels, model.residual_blocks, model.latent_size),
    }
    for name, state in torch.load(weights, weights_only=True).items():
        nets[name].load_state_dict(state)

    def weigh(image: Tensor, noise: Tensor) -> Evidence:
        mean, log_variance = nets["encoder"](image).chunk(2, dim=1)
        mean, scale = mean[:, None], (0.5 * log_variance).exp()[:, None]
        latent = mean + scale * noise
        logits = nets["decoder"](latent.flatten(0, 1)).unflatten(0, noise.shape[:2])
        return Evidence(
            bernoulli.log_mass(image[:, None].expand_as(logits), logits).flatten(2).sum(-1),
            gaussian.standard_log_density(latent),
            gaussian.log_density_of_draw(noise, scale),
        )

    return weigh


@torch.inference_mode()
def _nats(weigh: Weigh, config: RunConfig, data: DataSplits) -> Average:
    """minus the importance-weighted bound on the same test pictures and noise for everybody."""
    chosen = np.linspace(0, len(data.test) - 1, min(TEST_IMAGES, len(data.test))).astype(int)
    pictures = binarise(data.test.pictures[chosen], seed=0).transpose(0, 3, 1, 2) // 255
    generator = torch.Generator().manual_seed(0)
    found: list[float] = []
    for part in torch.from_numpy(pictures.astype(np.float32)).split(AT_ONCE):
        noise = torch.randn(len(part), SAMPLES, config.model.latent_size, generator=generator)
        weights = weigh(part, noise).log_weights()
        found += (np.log(SAMPLES) - weights.double().logsumexp(dim=1)).tolist()
    return Average.of(found)


def _report(ours: list[Trained], theirs: list[Trained], epochs: int, installed: str) -> str:
    speeds = [median(trained.images_per_s for trained in side) for side in (ours, theirs)]
    nats = [median(trained.nats.mean for trained in side) for side in (ours, theirs)]
    errors = [max(trained.nats.standard_error for trained in side) for side in (ours, theirs)]
    rows = [
        [name, f"{speed:,.0f}", f"{value:.2f} ± {error:.2f}"]
        for name, speed, value, error in zip(("LatentServe", "pythae"), speeds, nats, errors, strict=True)
    ]
    kept = [
        Bar("images a second / pythae's", speeds[0] / speeds[1], 1.4, at_least=True),
        Bar("nats below pythae's", nats[1] - nats[0], 0.0, at_least=True, unit="nats"),
    ]
    return "\n\n".join(
        [
            circumstances("torch"),
            f"{installed}. `mnist_vae.toml`, {epochs} epochs, {THREADS} thread, medians of {len(ours)} rounds; nats of "
            f"{TEST_IMAGES:,} test pictures binarised once, K = {SAMPLES}.",
            table(["", "images/s", "negative log-likelihood, nats ≤"], rows),
            bars(kept),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
