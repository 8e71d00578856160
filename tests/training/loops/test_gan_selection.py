"""A GAN whose weights are chosen by held-out images: from the loop, over a kill, to the card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from app.images.pixels import to_bytes
from app.latent.noise import standard_normal
from tests.training.tiny_runs import TINY_GAN, TINY_VAE, publish, train, train_arguments, write_experiment
from training.__main__ import main
from training.config import ConfigError, RunConfig
from training.data.datasets import load_splits
from training.evaluation.judge import COMMITTED, Judge
from training.evaluation.kernel_distance import kernel_distance
from training.evaluation.published import read_manifest, subset
from training.export.trained import TrainedRun
from training.loops.gan_training import PIXELS, GanTraining
from training.loops.selection import FIRST_INDEX, Selected
from training.measuring import watching_judge

SELECTING = TINY_GAN | {"model": TINY_GAN["model"] | {"selection": {"every_steps": 20, "images": 100}}}
STEPS = 76  # four epochs of nineteen


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("selecting"), SELECTING)


def looks(run: Path) -> dict[tuple[int, bool], float]:
    """The distance at each step that samples were looked at, of the averaged weights and of the others."""
    records = [json.loads(line) for line in (run / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
    names = {True: "kernel_distance", False: "raw_kernel_distance"}
    found = [record for record in records if "kernel_distance" in record]
    return {(record["step"], averaged): record[name] for record in found for averaged, name in names.items()}


def test_samples_are_looked_at_every_so_many_steps_and_at_the_end_and_the_best_are_kept(run: Path) -> None:
    found = looks(run)
    assert list(found) == [(step, averaged) for step in (20, 40, 60, STEPS) for averaged in (True, False)]
    kept = Selected.load(run / "best.pt")
    assert ((kept.step, kept.averaged), kept.distance.mean) == min(found.items(), key=lambda item: item[1])


def test_kept_weights_are_exported(run: Path) -> None:
    kept, loaded = Selected.load(run / "best.pt"), TrainedRun.load(run)
    assert loaded.selected is not None
    for name, weight in loaded.model.state_dict().items():
        assert torch.equal(weight, kept.weights[name]), name


def test_averaged_weights_and_those_of_the_step_are_told_apart(run: Path) -> None:
    """Both are those of the run's end, as its checkpoint has them."""
    data = load_splits(RunConfig.model_validate(SELECTING).data, None)
    training = GanTraining.start(RunConfig.model_validate(SELECTING), torch.device("cpu"))
    training.restore(torch.load(run / "checkpoint.pt", weights_only=True))
    judge = Judge.open(COMMITTED / "digits.json")
    real = judge.look_at(subset(data.validation, 100).pictures).features
    found = looks(run)
    for averaged, generator in ((True, training.average.average), (False, training.net.generator)):
        noise = torch.from_numpy(
            standard_normal(RunConfig.model_validate(SELECTING).seed, range(FIRST_INDEX, FIRST_INDEX + 100), 6)
        )
        with torch.no_grad():
            drawn = to_bytes(generator.eval()(noise).numpy(), PIXELS)
        wanted = kernel_distance(judge.look_at(drawn).features, real).mean
        assert found[STEPS, averaged] == pytest.approx(wanted, rel=1e-4, abs=1e-7)
        kept = training.weights_to_publish(averaged=averaged)
        for name, weight in generator.state_dict().items():
            assert torch.equal(kept[f"generator.{name}"], weight)


def test_card_says_why_these_weights(run: Path, tmp_path: Path) -> None:
    folder, kept = publish(run, tmp_path / "models"), Selected.load(run / "best.pt")
    metric = read_manifest(folder).metrics["kernel_distance_at_selection"]
    assert metric.value == pytest.approx(1000 * kept.distance.mean, abs=1e-5)
    assert (
        f"{'averaged' if kept.averaged else 'unaveraged'} weights at step {kept.step} of {STEPS}, " in metric.protocol
    )
    assert f"| kernel distance at selection | {metric.value:.4g} ± " in (folder / "card.md").read_text(encoding="utf-8")


def test_looking_at_samples_changes_nothing_that_is_trained(run: Path, gan_run: Path) -> None:
    looked, plain = (torch.load(path / "checkpoint.pt", weights_only=True)["net"] for path in (run, gan_run))
    for name, weight in plain.items():
        assert torch.equal(weight, looked[name]), name


def test_run_that_starts_again_forgets_what_was_kept(run: Path, tmp_path: Path) -> None:
    again = train(tmp_path, SELECTING)
    assert looks(again) == looks(run)
    (again / "checkpoint.pt").unlink()
    experiment = write_experiment(tmp_path, TINY_GAN)
    assert main(train_arguments(experiment, tmp_path / "runs")) == 0
    assert not (again / "best.pt").exists()
    assert TrainedRun.load(again).selected is None


def test_pictures_without_a_judge_and_runs_of_few_labels_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = write_experiment(tmp_path, SELECTING)
    larger = train_arguments(experiment, tmp_path, "--dry-run", "--set", "data.size=12", "--data-dir", str(tmp_path))
    assert main(larger) == 1
    assert "there is no judge of digits at this size" in capsys.readouterr().err
    config = RunConfig.model_validate(SELECTING)
    few = config.model_copy(update={"data": config.data.model_copy(update={"labelled_images": 10})})
    with pytest.raises(ConfigError, match="a judge has seen every label, and this run is told few"):
        watching_judge(few, tmp_path)


def test_judge_only_watches_where_nothing_is_selected(run: Path, gan_run: Path, tmp_path: Path) -> None:
    judge = watching_judge(RunConfig.model_validate(TINY_GAN), tmp_path)
    assert judge is not None
    assert watching_judge(RunConfig.model_validate(TINY_VAE), tmp_path) is None
    assert looks(gan_run) == {}
    assert not (gan_run / "best.pt").exists()
    for path in (run, gan_run):
        assert any("classes" in json.loads(line) for line in (path / "journal.jsonl").read_text().splitlines())
