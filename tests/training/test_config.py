from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from training.config import AutoencoderConfig, ConfigError, RunConfig, VaeConfig, read_config
from training.gan_sections import GanConfig

EXPERIMENTS = sorted((Path(__file__).parents[2] / "training" / "experiments").glob("*.toml"))
MINIMAL: dict[str, Any] = {
    "name": "small",
    "title": "Small",
    "data": {"set": "digits", "size": 8},
    "model": {"family": "vae"},
}
LADDER: dict[str, Any] = {"family": "vae", "nets": "ladder", "objective": {"kl": "sampled"}}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_committed_experiment_is_a_run_of_its_file_name(path: Path, tmp_path: Path) -> None:
    config = read_config(path)
    assert config.name == path.stem
    assert config.summary
    assert _again(config, tmp_path) == config


def test_there_are_committed_experiments_of_every_family() -> None:
    assert {type(read_config(path).model) for path in EXPERIMENTS} == {AutoencoderConfig, VaeConfig, GanConfig}


def test_round_trip_through_toml_keeps_every_value(tmp_path: Path) -> None:
    config = RunConfig.model_validate(
        {
            **MINIMAL,
            "data": {"set": "folder", "folder": "some/pictures", "size": 16, "channels": 3, "background": [1, 2, 3]},
            "optimiser": {"clip_norm": 0, "betas": [0, 0.9], "discriminator_learning_rate": 1.5e-7},
            "summary": 'quotes " and \\ and ünïcode\nin two lines',
        }
    )
    assert _again(config, tmp_path) == config


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"sede": 1}, "sede: no such key, got '1'"),
        ({"data": {"set": "digits", "colour": True}}, "data.colour: no such key"),
        ({"model": {"family": "vae", "latent": 3}}, "model.latent: no such key, got '3'"),
        ({"model": {"family": "gan", "objective": {"sort": "hinge"}}}, "model.objective.sort: no such key"),
        ({"model": {}}, 'model: family = "autoencoder", "vae" or "gan" is needed'),
        ({"model": {"family": "flow"}}, "Input tag 'flow' found using 'family' does not match"),
        ({"model": {"family": "vae", "nets": "dense", "hidden": []}}, "model.hidden: "),
        (
            {"data": {"set": "imagenet"}},
            "data.set: Input should be 'mnist', 'fashion_mnist', 'digits', 'stacked_mnist', 'emoji' or 'folder'",
        ),
        ({"data": {"set": "folder"}}, 'data: data.folder belongs with data.set = "folder", and is needed there'),
        ({"data": {"set": "digits", "folder": "x"}}, "data: data.folder belongs with"),
        ({"model": {"family": "gan", "spectral_norm": True}}, "model: spectral_norm replaces"),
        ({"model": {"family": "gan", "penalty": {"r1": 1}}}, "each image alone, and batch norm mixes them"),
        (
            {"model": {"family": "gan", "objective": {"kind": "wasserstein"}}},
            "without bound on its slope",
        ),
        ({"model": {"family": "gan", "codes": 1}}, "codes are some of the latent_size numbers"),
        ({"model": {"family": "gan", "condition": "semi_supervised"}}, "data.labelled_images and model.few_labels"),
        ({"model": {"family": "gan", "discriminator_noise": 0.1}}, "discriminator_noise is between the layers"),
        (
            {
                "model": {
                    "family": "gan",
                    "discriminator_hidden": 8,
                    "nets": "dense",
                    "generator_batch_norm": False,
                    "discriminator_batch_norm": False,
                }
            },
            "discriminator_hidden goes",
        ),
        ({"model": {"family": "gan", "teaching": {}}}, "teaching is of a classifier with few labels or none"),
        ({"model": {"family": "gan", "nets": "dense"}}, "dense nets have no batch norm"),
        (
            {"model": {"family": "gan", "penalty": {"r1": -1}}},
            "model.penalty.r1: Input should be greater",
        ),
        (
            {"data": {"set": "digits", "labelled_images": 9}},
            "data.labelled_images and model.few_labels belong together",
        ),
        ({"model": {"family": "vae", "few_labels": {"kind": "m2"}}}, "few_labels of kind m2 need conditional = true"),
        ({"model": {"family": "vae", "few_labels": {}}}, 'few_labels of this kind need prior.kind = "mixture"'),
        ({"model": {"family": "vae", "few_labels": {"kind": "m1"}}}, 'objective.kl = "sampled", and warmup_epochs'),
        ({"model": {"family": "vae", "prior": {"kind": "flow"}}}, 'has no closed form: objective.kl = "sampled"'),
        ({"model": {"family": "vae", "posterior": {"kind": "flow"}}}, 'has no closed form: objective.kl = "sampled"'),
        (
            {"model": {"family": "vae", "objective": {"estimator": "doubly_reparameterised"}}},
            'model.objective: estimator = "doubly_reparameterised" needs kl = "sampled"',
        ),
        (
            {"model": {"family": "vae", "objective": {"kl": "sampled", "free_bits": 0.1}}},
            "model: free_bits need the KL of each dimension",
        ),
        (
            {"model": {"family": "vae", "posterior": {"kind": "full_covariance"}, "objective": {"free_bits": 0.1}}},
            'model: free_bits need the KL of each dimension: posterior.kind = "diagonal"',
        ),
        (
            {
                "model": {
                    "family": "vae",
                    "prior": {"kind": "vamp"},
                    "posterior": {"kind": "full_covariance"},
                    "objective": {"kl": "sampled"},
                }
            },
            'prior.kind = "vamp" is a mixture of posteriors',
        ),
        (
            {"model": {"family": "vae", "latent_size": 1, "prior": {"kind": "flow"}, "objective": {"kl": "sampled"}}},
            "a flow couples dimensions: latent_size must be 2 or more",
        ),
        (
            {
                "model": {
                    "family": "vae",
                    "objective": {
                        "kl": "sampled",
                        "estimator": "score_function",
                        "importance_weighted_share": 0.5,
                    },
                }
            },
            "the score-function estimator is of the ELBO",
        ),
        (
            {"model": LADDER | {"channels": [8]}},
            "channels, ladder.layers and ladder.latent_channels need a number for each side",
        ),
        ({"model": LADDER | {"ladder": {"layers": [1, 0]}}}, "the innermost side has the top layer"),
        ({"model": LADDER | {"conditional": True}}, "a ladder is told no class"),
        ({"model": {"family": "vae", "nets": "dense", "dropout": 0.1}}, "dropout is that of residual blocks"),
        ({"model": LADDER | {"prior": {"kind": "vamp"}}}, "a ladder has posteriors of its own"),
        ({"model": LADDER | {"objective": {"kl": "closed_form"}}}, "a ladder has no KL in closed form"),
        (
            {"model": LADDER | {"objective": {"kl": "sampled", "free_bits": 1, "estimator": "doubly_reparameterised"}}},
            'free_bits of layers need objective.estimator = "reparameterised"',
        ),
        (
            {"model": LADDER | {"latent_size": 16}},
            "run: model.latent_size must be 96: the layers have 32 + 64",
        ),
        ({"name": "../up"}, "name: String should match pattern"),
        ({"optimiser": {"learning_rate": float("inf")}}, "optimiser.learning_rate: Input should be a finite number"),
        ({"optimiser": {"betas": [0.9, 1.0]}}, "optimiser.betas.1: Input should be less than 1"),
    ],
)
def test_wrong_value_is_refused_by_the_name_that_it_has_in_the_file(
    tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    path = _write(tmp_path, {**MINIMAL, **change})
    with pytest.raises(ConfigError) as refusal:
        read_config(path)
    assert str(refusal.value).startswith(f"{path} is not a run:\n  ")
    assert complaint in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "last_line"),
    [
        ({"data": {"set": "folder"}}, '  data: data.folder belongs with data.set = "folder", and is needed there'),
        ({"model": LADDER | {"latent_size": 16}}, "  run: model.latent_size must be 96: the layers have 32 + 64"),
        ({"model": {"nets": "dense"}}, '  model: family = "autoencoder", "vae" or "gan" is needed'),
        ({"data": {"size": 8}}, "  data.set: Field required"),
        ({"modle": {"family": "gan"}}, "  modle: no such key"),
        ({"optimiser": 3}, "  optimiser: Input should be a valid dictionary or instance of OptimiserConfig, got '3'"),
        ({"data": {"set": "digits", "size": 7}}, "  data.size: Input should be greater than or equal to 8, got '7'"),
    ],
)
def test_complaint_quotes_a_value_but_no_whole_section(tmp_path: Path, change: dict[str, Any], last_line: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        read_config(_write(tmp_path, {**MINIMAL, **change}))
    assert str(refusal.value).splitlines()[1:] == [last_line]


def test_every_wrong_key_is_named_at_once(tmp_path: Path) -> None:
    path = _write(tmp_path, {**MINIMAL, "sede": 1, "optimiser": {"epoch": 2}})
    with pytest.raises(ConfigError, match=r"(?s)optimiser\.epoch: no such key.*sede: no such key"):
        read_config(path)


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("optimiser.epochs=3", "optimiser", "epochs", 3),
        ("optimiser.learning_rate = 2e-4", "optimiser", "learning_rate", 2e-4),
        ("optimiser.betas=[0.0, 0.9]", "optimiser", "betas", (0.0, 0.9)),
        ("data.binarise=true", "data", "binarise", True),
        ("model.nets=dense", "model", "nets", "dense"),
        ('model.likelihood="gaussian"', "model", "likelihood", "gaussian"),
    ],
)
def test_override_takes_toml_values_and_bare_words(
    tmp_path: Path, override: str, section: str, key: str, value: object
) -> None:
    config = read_config(_write(tmp_path, MINIMAL), [override])
    assert getattr(getattr(config, section), key) == value


def test_later_override_wins_and_top_level_values_can_be_set(tmp_path: Path) -> None:
    config = read_config(_write(tmp_path, MINIMAL), ["seed=1", "name=other", "seed=2"])
    assert (config.seed, config.name) == (2, "other")


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("optimiser.epochs", "--set wants section.key=value, got 'optimiser.epochs'"),
        ("title.more=1", "--set title.more=1: title is a value, not a section"),
        ("optimiser.epoch=1", "optimiser.epoch: no such key"),
        ("optimiser.epochs=none", "optimiser.epochs: Input should be a valid integer"),
    ],
)
def test_wrong_override_says_what_is_wrong(tmp_path: Path, override: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        read_config(_write(tmp_path, MINIMAL), [override])
    assert complaint in str(refusal.value)


def test_absent_file_and_text_that_is_not_toml_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*absent\.toml: No such file"):
        read_config(tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken\.toml is not TOML: "):
        read_config(broken)


def test_document_holds_every_default_so_that_a_run_says_how_to_repeat_it(tmp_path: Path) -> None:
    document = tomllib.loads(tomli_w.dumps(read_config(_write(tmp_path, MINIMAL)).as_toml_document()))
    assert document["optimiser"]["batch_size"] == 128
    assert document["model"]["objective"]["kl"] == "closed_form"


def _write(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / "experiment.toml"
    path.write_text(tomli_w.dumps(document), encoding="utf-8")
    return path


def _again(config: RunConfig, folder: Path) -> RunConfig:
    return read_config(_write(folder, config.as_toml_document()))
