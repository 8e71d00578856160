"""The frozen classifier that generated pictures are judged by: one ONNX graph and a few words about it.

Distances between pictures are distances between what some network makes of them, and mean nothing without its name. A
judge is known by the sha256 of its graph: numbers of the same judge may be compared, others may not, not even those of
a judge that was trained again on another machine. That is why the judges of the named data sets are files beside this
module and not trained where they are needed; those of other pictures are made once and kept with the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from pydantic import BaseModel, ConfigDict, ValidationError

from app.errors import ModelRejected
from app.images.pixels import to_floats
from app.manifest import GraphSignature, PixelRange
from app.runtime.session import GraphSession
from training.config import ConfigError, DataConfig
from training.data.splits import DataSplits

Pictures = UInt8[np.ndarray, "n h w c"]
Features = Float32[np.ndarray, "n features"]

PIXELS = PixelRange(low=0.0, high=1.0)
COMMITTED = Path(__file__).parent / "judges"
AT_ONCE = 500


class JudgeCard(BaseModel):
    """What a judge is, in a JSON file beside its graph."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    """Of the pictures that it was trained on."""
    data_sha256: str
    classes: tuple[str, ...]
    graph: GraphSignature
    """image (B, C, S, S) in [0, 1] to logits (B, classes) and features (B, F), whose mean square is 1 on training
    pictures."""
    test_error: float
    """The share of test pictures that it takes for another class."""
    test_images: int
    settings: dict[str, int | float | tuple[int, ...]]
    """How it was trained."""
    libraries: dict[str, str]


@dataclass(frozen=True)
class Seen:
    """What a judge makes of pictures."""

    features: Features
    classes: Int64[np.ndarray, " n"]
    """The class of the largest logit."""


@dataclass(frozen=True)
class Judge:
    """An open judge."""

    card: JudgeCard
    session: GraphSession

    @classmethod
    def open(cls, card_file: Path) -> Self:
        """Open the judge that this JSON file describes. Raises ConfigError where file or graph is not what it was."""
        try:
            card = JudgeCard.model_validate_json(card_file.read_bytes())
            return cls(card, GraphSession.open(card_file.parent / card.graph.file, card.graph))
        except (OSError, ValidationError, ModelRejected) as error:
            said = error.detail if isinstance(error, ModelRejected) else error
            raise ConfigError(f"{card_file} is not a judge: {said}") from error

    @property
    def code(self) -> str:
        """The first eight digits of the graph's sha256: what numbers of this judge are called by."""
        return self.card.graph.sha256[:8]

    @property
    def in_words(self) -> str:
        """What it is a classifier of, its hash and its error, for protocols."""
        return f"the classifier of {self.card.name} ({self.code}, {100 * self.card.test_error:.2f} % test error)"

    @property
    def features_in_words(self) -> str:
        """What its distances are distances of, for protocols."""
        return f"{self.card.graph.outputs[1].shape[-1]} features of {self.in_words}"

    def look_at(self, pictures: Pictures) -> Seen:
        """The features and the class of each picture."""
        starts = range(0, len(pictures), AT_ONCE)
        runs = [self.session.run({"image": to_floats(pictures[i : i + AT_ONCE], PIXELS)}) for i in starts]
        logits, features = (np.concatenate([run[name] for run in runs]) for name in ("logits", "features"))
        return Seen(features, logits.argmax(axis=1))


def find_judge(config: DataConfig, data: DataSplits, data_dir: Path) -> Judge:
    """`known_judge`. Raises ConfigError, with the command that makes one, where there is none."""
    if judge := known_judge(config, data, data_dir):
        return judge
    raise ConfigError(
        f"there is no judge of {data.name} at this size. It takes about a minute to make one from any experiment on "
        "these pictures, if they have classes: python -m training judge EXPERIMENT"
    )


def known_judge(config: DataConfig, data: DataSplits, data_dir: Path) -> Judge | None:
    """The judge of a run's pictures: the committed one of a named set at its size, or the one made for this data."""
    for card_file in (committed_card(config), kept_card(data, data_dir)):
        if card_file is not None and card_file.exists():
            return Judge.open(card_file)
    return None


def committed_card(config: DataConfig) -> Path | None:
    """Where the judge of a named set lies, committed: of pictures of its side and channels, and of no others.

    That of emoji is of those that have skin tones.
    """
    own = {"mnist": (28, 1), "fashion_mnist": (28, 1), "digits": (8, 1), "emoji": (64, 3)}.get(config.set)
    if (config.size, config.channels) != own or (config.set == "emoji" and config.leave_out_classes != (0,)):
        return None
    return COMMITTED / f"{config.set}.json"


def kept_card(data: DataSplits, data_dir: Path) -> Path:
    """Where a judge that was made for this very data is kept: with the data sets."""
    return data_dir / "judges" / f"{data.sha256[:16]}.json"
