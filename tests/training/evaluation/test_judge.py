from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.tiny_runs import TINY_VAE, write_experiment
from training.__main__ import main
from training.config import ConfigError, DataConfig
from training.data.digits import load_scikit_digits
from training.data.splits import DataSplits
from training.evaluation.judge import COMMITTED, Judge, JudgeCard, committed_card, find_judge, kept_card
from training.export.judge import write_judge
from training.loops.judge_loop import JudgeConfig, error_share, train_judge

QUICK = JudgeConfig(channels=(8, 16), features=16, least_steps=150, least_epochs=1, batch_size=64)


@pytest.fixture(scope="module")
def digits() -> DataSplits:
    return load_scikit_digits(DataConfig(set="digits", size=8))


@pytest.mark.parametrize(
    ("name", "classes", "shape"),
    [
        ("mnist", 10, (1, 28, 28)),
        ("fashion_mnist", 10, (1, 28, 28)),
        ("digits", 10, (1, 8, 8)),
        ("emoji", 25, (3, 64, 64)),
    ],
)
def test_committed_judges_are_what_their_cards_say(name: str, classes: int, shape: tuple[int, int, int]) -> None:
    judge = Judge.open(COMMITTED / f"{name}.json")
    assert judge.card.name == name
    assert len(judge.card.classes) == classes
    assert judge.card.graph.inputs[0].shape[1:] == shape
    assert (COMMITTED / f"{name}.onnx").stat().st_size < 700_000
    defaults = json.loads(json.dumps(JudgeConfig().__dict__))
    assert json.loads((COMMITTED / f"{name}.json").read_text())["settings"] == defaults


def test_committed_judge_of_mnist_is_a_good_one() -> None:
    assert JudgeCard.model_validate_json((COMMITTED / "mnist.json").read_bytes()).test_error < 0.01


def test_committed_judge_of_digits_errs_as_stated_and_its_features_are_of_mean_square_one(digits: DataSplits) -> None:
    judge = Judge.open(COMMITTED / "digits.json")
    assert judge.card.data_sha256 == digits.sha256
    found = np.mean(judge.look_at(digits.test.pictures).classes != digits.test.labels)
    assert found == pytest.approx(judge.card.test_error, abs=1e-6)
    assert np.square(judge.look_at(digits.train.pictures).features).mean() == pytest.approx(1, rel=1e-3)


def test_judge_learns_and_is_the_same_every_time_and_as_a_graph(digits: DataSplits, tmp_path: Path) -> None:
    net, again = train_judge(digits, QUICK), train_judge(digits, QUICK)
    for one, other in zip(net.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert error_share(net, digits.test) < 0.5
    card = write_judge(net, digits, QUICK, tmp_path / "judge.json")
    judge = Judge.open(tmp_path / "judge.json")
    assert judge.code == card.graph.sha256[:8]
    assert judge.look_at(digits.test.pictures).features.shape == (270, 16)
    found = np.mean(judge.look_at(digits.test.pictures).classes != digits.test.labels)
    assert found == pytest.approx(card.test_error, abs=1e-6)
    assert "16 features of the classifier of digits" in judge.features_in_words


def test_judge_of_another_graph_is_refused(tmp_path: Path) -> None:
    for suffix in (".json", ".onnx"):
        shutil.copy(COMMITTED / f"digits{suffix}", tmp_path)
    with (tmp_path / "digits.onnx").open("ab") as graph:
        graph.write(b"\0")
    with pytest.raises(ConfigError, match=r"digits.json is not a judge: digits.onnx: sha256 is "):
        Judge.open(tmp_path / "digits.json")


def test_judge_is_the_committed_one_or_the_one_made_for_the_data(digits: DataSplits, tmp_path: Path) -> None:
    own_size, larger = DataConfig(set="digits", size=8), DataConfig(set="digits", size=12)
    assert find_judge(own_size, digits, tmp_path).code == Judge.open(COMMITTED / "digits.json").code
    assert committed_card(larger) is None
    resized = load_scikit_digits(larger)
    with pytest.raises(ConfigError, match="there is no judge of digits at this size"):
        find_judge(larger, resized, tmp_path)
    write_judge(train_judge(resized, QUICK), resized, QUICK, kept_card(resized, tmp_path))
    assert find_judge(larger, resized, tmp_path).card.data_sha256 == resized.sha256


def test_judge_of_emoji_is_of_those_with_skin_tones() -> None:
    emoji = DataConfig(set="emoji", size=64, channels=3, leave_out_classes=(0,))
    assert committed_card(emoji) == COMMITTED / "emoji.json"
    assert committed_card(emoji.model_copy(update={"leave_out_classes": ()})) is None
    assert committed_card(emoji.model_copy(update={"size": 32})) is None


def test_judge_needs_classes(digits: DataSplits) -> None:
    unlabelled = DataSplits("faces", digits.train, digits.validation, digits.test, None, digits.sha256)
    with pytest.raises(ConfigError, match="a judge is a classifier, and faces has no classes"):
        train_judge(unlabelled, QUICK)


def test_judge_is_made_by_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.measuring.JudgeConfig", lambda: QUICK)
    experiment = write_experiment(tmp_path, TINY_VAE)
    assert main(["judge", str(experiment), "--data-dir", str(tmp_path)]) == 0
    (card_file,) = (tmp_path / "judges").glob("*.json")
    assert f"judge {Judge.open(card_file).code}: {card_file}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["judge", str(experiment), "--to", "my judge.json"])
    assert "my judge.json is no FILE.json of plain letters" in capsys.readouterr().err


def test_judge_of_a_folder_with_any_name_is_kept_and_found(digits: DataSplits, tmp_path: Path) -> None:
    mine, asked = replace(digits, name="Bär & Söhne"), DataConfig(set="folder", folder=tmp_path, size=8)
    write_judge(train_judge(mine, QUICK), mine, QUICK, kept_card(mine, tmp_path))
    assert find_judge(asked, mine, tmp_path).in_words.startswith("the classifier of Bär & Söhne (")
