"""`python -m training COMMAND`: `--help` lists the commands, from `train` and `publish` to `doctor`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import tomli_w
import torch

from app.density.annealing import Annealing
from training.config import (
    AutoencoderConfig,
    ConfigError,
    RunConfig,
    VaeConfig,
    read_config,
)
from training.data.datasets import DataError, load_splits, refuse_changed
from training.doctor import examine
from training.evaluation.arithmetic_report import arithmetic_report
from training.evaluation.detection import INSIDE_SEED, OUTSIDE_SEED, judge, read_calibration
from training.evaluation.estimates import Asked
from training.evaluation.examples import compare as compare_examples
from training.evaluation.inversion import inversion
from training.evaluation.judge import Judge
from training.evaluation.outlier_report import draw, report
from training.evaluation.probes import probe_report
from training.evaluation.published import PublishedGraphs, measure, read_manifest
from training.evaluation.strange_sets import LEFT_OUT, MADE, NAMED, strange_set, uploads
from training.evaluation.synthesis import read_examples, synthesise
from training.export.parity import ParityError
from training.export.publish import export_graphs, publish
from training.export.trained import TrainedRun, model_summary
from training.fitting import add_density_options, add_encoder_options, density_of_run, encoder_of_run, finished
from training.gan_sections import GanConfig
from training.loops.autoencoder_loop import train_autoencoder
from training.loops.few_labels_loop import train_few_labels
from training.loops.gan_loop import train_gan
from training.loops.provenance import RunProvenance
from training.loops.run_folder import RunFolder
from training.loops.vae_loop import train_vae
from training.measuring import (
    add_comparison_options,
    add_images_option,
    add_judge_options,
    add_quality_options,
    compare_versions,
    counted,
    known_jury,
    make_judge,
    measured_on,
    open_version,
    quality,
    quality_again,
    realism_again,
    watching_judge,
)
from training.naming import add_naming_options, name_directions
from training.nets.adjoint import NoAdjoint
from training.trimming import add_share_options, add_trim_options, share_version, trim_version


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, or 1 with the reason on standard error."""
    options = _parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        status: int = options.run(options)
    except (ConfigError, DataError, NoAdjoint, ParityError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; an interrupted training goes on with --resume", file=sys.stderr)
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="Train, publish and evaluate models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = _command(commands, "train", _train, "train an experiment into a run folder")
    _add_experiment_options(train)
    fit = _command(
        commands, "fit-density", density_of_run, "make an autoencoder generative: fit a density to its codes"
    )
    add_density_options(fit)
    encoder = _command(commands, "fit-encoder", encoder_of_run, "give a GAN an encoder, and scores with it")
    add_encoder_options(encoder)
    publish = _command(
        commands, "publish", _publish, "export a trained run, check and measure it, and let it be served"
    )
    publish.add_argument(
        "run_folder", type=Path, metavar="RUN", help="the folder of a finished run, such as runs/mnist_vae"
    )
    publish.add_argument(
        "--models-dir", type=Path, default=Path("models"), help="the model repository (default: models)"
    )
    add_images_option(publish, "test images that the card's numbers are of (default: the experiment's)")
    export = _command(commands, "export", _export, "write a trained run's ONNX graphs, checked against PyTorch")
    export.add_argument("run_folder", type=Path, metavar="RUN", help="the folder of a run, finished or not")
    export.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where the graphs go")
    trimmed = _command(commands, "trim", trim_version, "make a published version smaller, by what it can do without")
    add_trim_options(trimmed)
    add_share_options(_command(commands, "share", share_version, "make a published version smaller: every weight once"))
    named = _command(commands, "directions", name_directions, "give a published version named directions")
    add_naming_options(named)
    evaluate = _command(commands, "evaluate", _evaluate, "measure a published version again, from its files alone")
    _add_evaluation_options(evaluate)
    synthesise = _command(commands, "synthesise", _synthesise, "write a labelled image folder from a conditional model")
    _add_synthesis_options(synthesise)
    outliers = _command(commands, "outliers", _outliers, "measure whether a published version notices other pictures")
    outliers.add_argument("version_folder", type=Path, metavar="VERSION", help="a folder such as models/mnist_vae/4")
    outliers.add_argument(
        "--against",
        nargs="+",
        default=MADE,
        metavar="SET",
        help=f"{', '.join((*NAMED, *MADE, LEFT_OUT))}, or a folder of pictures (default: {' '.join(MADE)})",
    )
    outliers.add_argument("--images", type=int, default=2000, help="test images at most (default: 2000)")
    outliers.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="draw histograms and sheets of pictures there"
    )
    compare = _command(commands, "compare", compare_versions, "say which of two published versions samples better")
    add_comparison_options(compare)
    judge = _command(commands, "judge", make_judge, "train the classifier that samples of a data set are measured by")
    add_judge_options(judge)
    doctor = _command(commands, "doctor", _doctor, "say what this machine has: libraries, device, data sets, models")
    doctor.add_argument(
        "--models-dir", type=Path, default=Path("models"), help="the model repository (default: models)"
    )
    for command in (train, fit, encoder, publish, named, evaluate, outliers, synthesise, compare, judge, doctor):
        command.add_argument(
            "--data-dir", type=Path, help="where data sets are kept (default: $LATENTSERVE_DATA_DIR, or data)"
        )
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=summary, description=run.__doc__)
    command.set_defaults(run=run)
    command.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's choice)")
    return command


def _add_evaluation_options(evaluate: argparse.ArgumentParser) -> None:
    evaluate.add_argument("version_folder", type=Path, metavar="VERSION", help="a folder such as models/mnist_vae/4")
    evaluate.add_argument("--samples", type=_positive, metavar="K", help="instead: the importance-weighted bound of K")
    evaluate.add_argument(
        "--ais",
        type=_chains_and_temperatures,
        nargs="?",
        const=Annealing(),
        metavar="CHAINSxTEMPERATURES",
        help="instead: log p(x) by annealed importance sampling (16x500 where only --ais is said)",
    )
    evaluate.add_argument(
        "--bdmc",
        type=_chains_and_temperatures,
        nargs="?",
        const=Annealing(),
        metavar="CHAINSxTEMPERATURES",
        help="instead: bounds from both sides on images that the model draws itself (bidirectional Monte Carlo)",
    )
    evaluate.add_argument("--leapfrog-steps", type=_positive, default=10, help="of a trajectory (default: 10)")
    evaluate.add_argument(
        "--probe",
        action="store_true",
        help="instead: how well a linear classifier does on its codes, on as many principal components and on pixels, "
        "with 100, 1,000 and all labels",
    )
    evaluate.add_argument(
        "--arithmetic",
        action="store_true",
        help="instead: how often a − b + c of pictures with attributes is the right picture, in latents and in pixels",
    )
    evaluate.add_argument(
        "--inversion",
        action="store_true",
        help="instead: how well pictures are found in latent space: own samples recovered, the error on test images",
    )
    add_quality_options(evaluate)
    add_images_option(evaluate, "test images that are measured, or simulated ones (default: as many as of the card)")


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _chains_and_temperatures(text: str) -> Annealing:
    """`16x500` or `16×500`."""
    chains, _, temperatures = text.replace("×", "x").partition("x")
    return Annealing(chains=int(chains), temperatures=int(temperatures))


def _add_experiment_options(train: argparse.ArgumentParser) -> None:
    train.add_argument("experiment", type=Path, help="a TOML file, such as training/experiments/mnist_vae.toml")
    train.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="section.key=value",
        help="override one value; repeatable",
    )
    train.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where run folders are kept (default: runs)")
    train.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    train.add_argument("--dry-run", action="store_true", help="show configuration, data and model size; train nothing")
    train.add_argument("--resume", action="store_true", help="go on from the run folder's last checkpoint")
    train.add_argument("--no-progress", dest="progress", action="store_false", help="no progress bar")


def _add_synthesis_options(synthesise: argparse.ArgumentParser) -> None:
    synthesise.add_argument("version_folder", type=Path, metavar="VERSION", help="such as models/mnist_m1_m2_100/3")
    synthesise.add_argument("--count", type=int, required=True, help="pictures in all; the classes take turns")
    synthesise.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="new or empty; a subfolder a class"
    )
    synthesise.add_argument("--seed", type=int, default=0, help="the service samples the same pictures with it")
    synthesise.add_argument(
        "--compare",
        action="store_true",
        help="then train a small classifier on them and one on as many real pictures, and test both on real ones",
    )


def _train(options: argparse.Namespace) -> int:
    """Train an experiment. The run folder is <runs-dir>/<name>; an interrupted run goes on with --resume."""
    config, device = read_config(options.experiment, options.overrides), _device(options.device)
    run = RunFolder(options.runs_dir / config.name)
    if not options.dry_run:
        _claim(run, config, resume=options.resume)
    print(tomli_w.dumps(config.as_toml_document()))
    data = load_splits(config.data, options.data_dir)
    print(data.summary())
    print(model_summary(config, len(data.classes or ())))
    loop = _loop(config, watching_judge(config, options.data_dir))
    if options.dry_run:
        return 0
    if options.resume:
        refuse_changed(data, RunProvenance.load(run.provenance_file).data_sha256)
    else:
        RunProvenance.of(options.experiment, data, device).save(run.provenance_file)
    loop(config, data, run, device=device, resume=options.resume, progress=options.progress)
    print(f"trained: {run.path}\nto serve it: python -m training publish {run.path}")
    return 0


def _loop(config: RunConfig, judge: Judge | None) -> Callable[..., object]:
    """The loop that trains this kind of model."""
    match config.model:
        case AutoencoderConfig():
            return train_autoencoder
        case GanConfig():
            return partial(train_gan, judge=judge)
        case VaeConfig(few_labels=None):
            return train_vae
        case VaeConfig():
            return train_few_labels


def _publish(options: argparse.Namespace) -> int:
    """Export a trained run to ONNX, hold it to PyTorch, measure it on test images, and make it the next version."""
    run, data = finished(options)
    run = replace(run, config=measured_on(run.config, options.images, data))
    folder = publish(run, data, options.models_dir, known_jury(run.config.data, options.data_dir))
    print((folder / "card.md").read_text(encoding="utf-8"))
    print(f"published: {folder}")
    return 0


def _export(options: argparse.Namespace) -> int:
    """Write a run's graphs and check them against PyTorch, without measuring or publishing."""
    run = TrainedRun.load(options.run_folder)
    options.to.mkdir(parents=True, exist_ok=True)
    manifest, _ = export_graphs(run, options.to)
    for graph in manifest.graphs:
        print(f"{options.to / graph.file}: PyTorch and ONNX differ by at most {manifest.parity_error[graph.role]:.1e}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    """Measure a published version from its files alone: the card's numbers again, or other estimates of log p(x)."""
    subject = open_version(options.version_folder, options.data_dir)
    graphs, data = subject.graphs, subject.data
    options.images = counted(options.images, data)
    asked, config = _asked(options), measured_on(subject.config, options.images, data)
    if options.probe:
        print(probe_report(graphs, data))
        return 0
    if options.arithmetic:
        print(arithmetic_report(graphs, data))
        return 0
    if options.refine is not None and not options.quality:
        raise ConfigError("--refine says of which samples --quality speaks: give both")
    if options.quality:
        found = quality(subject, options)
    elif options.inversion:
        found = inversion(graphs, subject.manifest, data, config.evaluation.images)
    elif asked:
        found = subject.estimates(asked)
    else:
        found = measure(graphs, config, data) | realism_again(subject) | quality_again(subject, options)
    for name, metric in found.items():
        published = subject.manifest.metrics.get(name)
        otherwise = ", measured otherwise" if published and published.protocol != metric.protocol else ""
        beside = f" (published: {published.value:g}{otherwise})" if published else ""
        error = "" if metric.standard_error is None else f" ± {metric.standard_error:.2g}"
        print(f"{name}: {metric.value:g}{error} {metric.unit}{beside}; {metric.protocol}")
    return 0


def _asked(options: argparse.Namespace) -> Asked:
    ais, bdmc = (how and replace(how, leapfrog_steps=options.leapfrog_steps) for how in (options.ais, options.bdmc))
    return Asked(images=options.images, samples=options.samples, annealing=ais, sandwich=bdmc)


def _outliers(options: argparse.Namespace) -> int:
    """Score test images and other pictures with a published version's files, and say which it tells apart."""
    folder: Path = options.version_folder
    manifest, config = read_manifest(folder), read_config(folder / "run.toml")
    data = load_splits(config.data, options.data_dir)
    refuse_changed(data, manifest.provenance.data_sha256)
    calibration, graphs = read_calibration(folder, manifest), PublishedGraphs.open(folder, manifest)
    inside = uploads(config.data, data, options.images, options.data_dir)
    strange = {name: strange_set(name, inside, config.data, options.data_dir) for name in options.against}
    judged = judge(graphs, calibration, inside, seed=INSIDE_SEED)
    others = {name: judge(graphs, calibration, images, seed=OUTSIDE_SEED) for name, images in strange.items()}
    print(report(judged, others, calibration, data.name))
    for path in draw(options.pictures, inside, judged, others) if options.pictures else ():
        print(f"drawn: {path}")
    return 0


def _synthesise(options: argparse.Namespace) -> int:
    """Write pictures that a conditional model draws as class subfolders of PNGs, which data.set = "folder" reads."""
    folder: Path = options.version_folder
    manifest, config = read_manifest(folder), read_config(folder / "run.toml")
    graphs = PublishedGraphs.open(folder, manifest)
    written = synthesise(graphs, manifest, options.out, count=options.count, seed=options.seed)
    print(f"{options.out}: " + ", ".join(f"{count} of {name}" for name, count in written.items()))
    if options.compare:
        data = load_splits(config.data.model_copy(update={"labelled_images": None}), options.data_dir)
        refuse_changed(data, manifest.provenance.data_sha256)
        print(compare_examples(read_examples(options.out, manifest), data, seed=options.seed))
    return 0


def _doctor(options: argparse.Namespace) -> int:
    """Say what this machine has, and what is missing; the exit status is 1 when something needs mending."""
    findings = examine(options.models_dir, options.data_dir)
    for finding in findings:
        print(finding)
    return 0 if all(finding.well for finding in findings) else 1


def _claim(run: RunFolder, config: RunConfig, *, resume: bool) -> None:
    """Refuse to train over a run that exists, or to resume one that does not or was configured otherwise."""
    if resume:
        if not run.checkpoint.exists():
            raise ConfigError(f"nothing to resume: {run.path} has no checkpoint")
        if read_config(run.config_file) != config:
            raise ConfigError(f"{run.config_file} differs from this experiment; resume with the configuration it has")
    elif run.checkpoint.exists():
        raise ConfigError(f"{run.path} holds a run already: --resume it, or choose another --runs-dir or --set name=…")
    else:
        run.create(config)


def _device(name: str) -> torch.device:
    has_cuda = torch.cuda.is_available()
    if name == "auto":
        name = "cuda" if has_cuda else "cpu"
    kind = name.partition(":")[0]
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not has_cuda):
        raise ConfigError(f"--device {name}: there is {'cpu and cuda' if has_cuda else 'only cpu'} here")
    return torch.device(name)


if __name__ == "__main__":
    sys.exit(main())
