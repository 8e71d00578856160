"""The commands that measure samples.

`judge` makes the classifier that they are measured by, `evaluate --quality` measures a version, `compare` two.
"""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

from app.manifest import Metric
from training.config import ConfigError, DataConfig, RunConfig, read_config
from training.data.datasets import DataSplits, data_folder, load_splits, refuse_changed
from training.evaluation.comparison import Rival, compare
from training.evaluation.estimates import Subject
from training.evaluation.judge import COMMITTED, Judge, find_judge, kept_card, known_judge
from training.evaluation.modes import STACKED_SAMPLES, stacked_modes
from training.evaluation.published import PublishedGraphs, read_manifest, subset
from training.evaluation.quality import SAMPLES, Jury, Samples
from training.evaluation.realism import calibration_error
from training.evaluation.refinement import refined
from training.export.judge import write_judge
from training.gan_sections import GanConfig
from training.loops.judge_loop import JudgeConfig, train_judge

ALL = "all"
"""What `--images` takes beside a number."""


def add_judge_options(judge: argparse.ArgumentParser) -> None:
    """The options of `judge`."""
    judge.add_argument("experiment", type=Path, help="any TOML file of a run on the pictures; only [data] is read")
    judge.add_argument("--to", type=_card_file, metavar="FILE.json", help="where it goes (default: with the data sets)")


def _card_file(text: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}\.json", Path(text).name):
        raise argparse.ArgumentTypeError(f"{text} is no FILE.json of plain letters, digits, dots, dashes, underscores")
    return Path(text)


def add_images_option(command: argparse.ArgumentParser, which: str) -> None:
    """How many test images a command measures."""
    command.add_argument("--images", type=_number_or_all, metavar="N|all", help=which)


def _number_or_all(text: str) -> int | str:
    if text == ALL:
        return ALL
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def counted(images: int | str | None, data: DataSplits) -> int | None:
    """The number that `--images` stands for; None where it was not given."""
    return len(data.test) if isinstance(images, str) else images


def measured_on(config: RunConfig, images: int | str | None, data: DataSplits) -> RunConfig:
    """The configuration with as many test images as `--images` says; as it is where that was not given."""
    count = counted(images, data)
    if count is None:
        return config
    return config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"images": count})})


def add_quality_options(evaluate: argparse.ArgumentParser) -> None:
    """What `evaluate` has for samples."""
    evaluate.add_argument(
        "--quality",
        action="store_true",
        help="instead: how good its samples are: distances from test images, coverage, classes, copies",
    )
    evaluate.add_argument(
        "--refine",
        type=int,
        metavar="K",
        help="with --quality: of samples that the discriminator chose among K proposals, and how many it accepted",
    )
    _add_judge_file(evaluate)


def add_comparison_options(compare: argparse.ArgumentParser) -> None:
    """The options of `compare`."""
    for name in ("first", "second"):
        compare.add_argument(name, type=Path, metavar=name.upper(), help="a folder such as models/mnist_gan/1")
    compare.add_argument("--images", type=int, default=SAMPLES, help=f"samples of each at most (default: {SAMPLES:,})")
    compare.add_argument("--scored", type=int, default=500, help="test images scored by both, if they can (500)")
    compare.add_argument("--samples", type=int, default=200, metavar="K", help="importance samples an image (200)")
    _add_judge_file(compare)


def _add_judge_file(command: argparse.ArgumentParser) -> None:
    command.add_argument("--judge", type=Path, metavar="FILE.json", help="the judge (default: that of the data set)")


def make_judge(options: argparse.Namespace) -> int:
    """Train the classifier whose features samples of models are measured in, on an experiment's pictures and classes.

    The named sets have one that is committed with the code: numbers of another are not comparable with its numbers.
    """
    config = read_config(options.experiment).data
    data = load_splits(config.model_copy(update={"labelled_images": None}), options.data_dir)
    print(data.summary())
    began, settings = time.perf_counter(), JudgeConfig()
    net = train_judge(data, settings)
    card_file = options.to or kept_card(data, data_folder(options.data_dir))
    card = write_judge(net, data, settings, card_file)
    print(f"{100 * card.test_error:.2f} % of {card.test_images:,} test pictures wrong", end="; ")
    print(f"{time.perf_counter() - began:.0f} s\njudge {card.graph.sha256[:8]}: {card_file}")
    return 0


def quality(subject: Subject, options: argparse.Namespace) -> dict[str, Metric]:
    """How good a version's samples are, as they are or refined; of stacked MNIST, which of its classes they cover."""
    if subject.config.data.set == "stacked_mnist":
        judge = Judge.open(options.judge or COMMITTED / "mnist.json")
        train = subset(subject.data.train, options.images or STACKED_SAMPLES)
        return stacked_modes(judge, Samples.of(subject.graphs, subject.manifest, train).pictures, train)
    jury = _jury(subject.config, options)
    samples = Samples.of(subject.graphs, subject.manifest, jury.train)
    if options.refine is None:
        return jury.quality(samples)
    samples, acceptance = refined(subject.graphs, subject.manifest, samples, options.refine)
    return acceptance | jury.quality(samples)


def realism_again(subject: Subject) -> dict[str, Metric]:
    """How far the published calibration of realism is off, where there is one."""
    realism = subject.manifest.realism
    return calibration_error(subject.graphs, realism, subject.config, subject.data) if realism else {}


def quality_again(subject: Subject, options: argparse.Namespace) -> dict[str, Metric]:
    """The same, of a version whose card has it."""
    return quality(subject, options) if "frechet_distance" in subject.manifest.metrics else {}


def known_jury(config: DataConfig, data_dir: Path | None) -> Jury | None:
    """What samples of a run on these pictures are measured by at publication; None where there is no judge of them."""
    asked, data = _grey_data(config, data_dir)
    judge = known_judge(asked, data, data_folder(data_dir))
    return Jury.of(judge, data) if judge else None


def compare_versions(options: argparse.Namespace) -> int:
    """Which of two published versions of one data set draws better samples and, of densities, finds the data likelier.

    Intervals are bootstrap intervals, from resampled samples and test images.
    """
    subjects = [open_version(folder, options.data_dir) for folder in (options.first, options.second)]
    jury = _jury(subjects[0].config, options)
    rivals = [Rival.of(subject, jury) for subject in subjects]
    print(compare(rivals[0], rivals[1], jury, scored=options.scored, samples=options.samples))
    return 0


def open_version(folder: Path, data_dir: Path | None) -> Subject:
    """A published version with the data that it was trained on. Raises ConfigError where either is not what it was."""
    manifest, config = read_manifest(folder), read_config(folder / "run.toml")
    data = load_splits(config.data.model_copy(update={"labelled_images": None}), data_dir)
    refuse_changed(data, manifest.provenance.data_sha256)
    return Subject(manifest, PublishedGraphs.open(folder, manifest), config, data)


def watching_judge(config: RunConfig, data_dir: Path | None) -> Judge | None:
    """What looks at a GAN's samples while it trains, and chooses its weights where the run asks for that.

    Raises ConfigError where it is to choose and there is no judge, or where it would choose by labels that the run is
    not to know.
    """
    if not isinstance(config.model, GanConfig):
        return None
    selects = bool(config.model.selection.every_steps)
    if selects and config.data.labelled_images is not None:
        raise ConfigError(
            "model.selection: a judge has seen every label, and this run is told few: selection.every_steps = 0"
        )
    asked, data = _grey_data(config.data, data_dir)
    return (find_judge if selects else known_judge)(asked, data, data_folder(data_dir))


def _jury(config: RunConfig, options: argparse.Namespace) -> Jury:
    asked, data = _grey_data(config.data, options.data_dir)
    judge = Judge.open(options.judge) if options.judge else find_judge(asked, data, data_folder(options.data_dir))
    return Jury.of(judge, data, options.images or SAMPLES)


def _grey_data(config: DataConfig, data_dir: Path | None) -> tuple[DataConfig, DataSplits]:
    """A run's pictures with their labels and in grey levels, also where the run is tested on binary ones."""
    asked = config.model_copy(update={"labelled_images": None, "fixed_binary_test": False})
    return asked, load_splits(asked, data_dir)
