"""Our training of a VAE against pythae's: `python -m benchmarks.pythae`.

The same net, the same pictures, the same epochs and batches, on the same threads, one after the other in alternating
turns. pythae is trained by its own trainer, in an environment of its own, with a constant learning rate, on pictures
binarised once, as it has no other way; our recipe (`mnist_vae.toml`, fitted to the short run) draws them anew at every
visit, and its rate falls to zero. Each is trained at the same two learning rates, and counts with the better of them.
Both are measured by one function: the importance-weighted bound on the same binarised test pictures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
import tomli_w
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
LEARNING_RATES = (1e-3, 3e-3)
"""That of the whole recipe, which is for 30 epochs, and one that comes further in a few."""

Weigh = Callable[[Tensor, Tensor], Evidence]
"""The log terms of images (B,1,28,28) at noise (B,K,D)."""


@dataclass(frozen=True)
class Trained:
    """One training of one side."""

    learning_rate: float
    images_per_s: float
    nats: Average
    """The negative importance-weighted bound."""


def main() -> int:
    """Measure and print."""
    options = parser(__doc__, rounds=1)
    options.add_argument("--data-dir", type=Path, help="where data sets are kept")
    chosen = options.parse_args()
    epochs, rounds, rates = (1, 1, LEARNING_RATES[:1]) if chosen.quick else (EPOCHS, chosen.rounds, LEARNING_RATES)
    changes = _shortened(epochs)
    config = read_config(EXPERIMENT, changes)
    data = load_splits(config.data, chosen.data_dir)
    python = environment("pythae", ["--constraint", str(CONSTRAINTS), "torch", "jaxtyping", "pythae"]) / "python"
    ours, theirs = [], []
    for seed, rate in product(range(rounds), rates):
        trial = read_config(EXPERIMENT, [*changes, f"seed={seed}", f"optimiser.learning_rate={rate}"])
        ours.append(_ours(trial, data, chosen.data_dir))
        theirs.append(_pythaes(trial, data, python))
    publish("pythae", report(ours, theirs, epochs, versions(python.parent, ["pythae", "torch"])), chosen.markdown)
    return 0


def _shortened(epochs: int) -> list[str]:
    """Our recipe for so few epochs: the warm-up of the KL takes the share of the run that it has there."""
    whole = read_config(EXPERIMENT)
    assert isinstance(whole.model, VaeConfig)  # noqa: S101  for the type checker
    warmup = whole.model.objective.warmup_epochs * epochs / whole.optimiser.epochs
    return [f"optimiser.epochs={epochs}", f"model.objective.warmup_epochs={warmup}"]


def _ours(config: RunConfig, data: DataSplits, data_dir: Path | None) -> Trained:
    runs = SCRATCH / "pythae" / "ours"
    runs.mkdir(parents=True, exist_ok=True)
    experiment = runs / "experiment.toml"
    experiment.write_text(tomli_w.dumps(config.as_toml_document()), encoding="utf-8")
    command = [sys.executable, "-m", "training", "train", str(experiment), "--no-progress", "--device", "cpu"]
    command += ["--threads", str(THREADS), "--runs-dir", str(runs)]
    if data_dir is not None:
        command += ["--data-dir", str(data_dir)]
    folder = runs / config.name
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    run = TrainedRun.load(folder)
    images = config.optimiser.epochs * len(data.train)
    nats = _nats(run.model.evidence, config, data)  # type: ignore[union-attr]
    return Trained(config.optimiser.learning_rate, images / run.train_seconds, nats)


def _pythaes(config: RunConfig, data: DataSplits, python: Path) -> Trained:
    folder = SCRATCH / "pythae" / "theirs"
    folder.mkdir(parents=True, exist_ok=True)
    pictures = binarise(data.train.pictures, seed=config.seed).transpose(0, 3, 1, 2) // 255
    np.save(folder / "pictures.npy", pictures)
    model = config.model
    assert isinstance(model, VaeConfig)  # noqa: S101  for the type checker
    recipe = {
        "channels": model.channels,
        "residual_blocks": model.residual_blocks,
        "latent_size": model.latent_size,
        "epochs": config.optimiser.epochs,
        "batch_size": config.optimiser.batch_size,
        "learning_rate": config.optimiser.learning_rate,
        "threads": THREADS,
        "seed": config.seed,
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
    images, nats = config.optimiser.epochs * len(pictures), _nats(_weighing(model, folder / "nets.pt"), config, data)
    return Trained(config.optimiser.learning_rate, images / seconds, nats)


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


def best(side: Sequence[Trained]) -> Average:
    """What a side's better learning rate reached: the least of the medians over its rounds, with the larger error."""
    rates = {trained.learning_rate for trained in side}
    found = [[trained.nats for trained in side if trained.learning_rate == rate] for rate in rates]
    return min(map(_median, found), key=lambda nats: nats.mean)


def _median(nats: Sequence[Average]) -> Average:
    return Average(median(one.mean for one in nats), max(one.standard_error for one in nats))


def report(ours: Sequence[Trained], theirs: Sequence[Trained], epochs: int, installed: str) -> str:
    """Both sides at every learning rate, and the bars."""
    sides = {"LatentServe": ours, "pythae": theirs}
    rates = sorted({trained.learning_rate for trained in ours})
    speeds = {name: median(trained.images_per_s for trained in side) for name, side in sides.items()}
    rows = [[name, f"{speeds[name]:,.0f}", *(_at(side, rate) for rate in rates)] for name, side in sides.items()]
    kept = [
        Bar("images a second / pythae's", speeds["LatentServe"] / speeds["pythae"], 1.4, at_least=True),
        Bar("nats below pythae's", best(theirs).mean - best(ours).mean, 0.0, at_least=True, unit="nats"),
    ]
    return "\n\n".join(
        [
            circumstances("torch"),
            f"{installed}. `mnist_vae.toml`, {epochs} epochs, {THREADS} thread; images a second are the median of "
            f"{len(ours)} trainings. Negative log-likelihood: at most so many nats, of {TEST_IMAGES:,} test pictures "
            f"binarised once, K = {SAMPLES}. The last bar is of the better learning rate of each.",
            table(["", "images/s", *(f"nats at {rate:g}" for rate in rates)], rows),
            bars(kept),
        ]
    )


def _at(side: Sequence[Trained], rate: float) -> str:
    nats = _median([trained.nats for trained in side if trained.learning_rate == rate])
    return f"{nats.mean:.2f} ± {nats.standard_error:.2f}"


if __name__ == "__main__":
    sys.exit(main())
