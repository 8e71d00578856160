"""Where a run comes from: written once when it starts, so that its model can say so later."""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Self

import torch

from training.data.datasets import DataSplits

LIBRARIES = ("torch", "numpy", "pillow")


@dataclass(frozen=True)
class RunProvenance:
    """The facts of a run that its configuration does not hold."""

    experiment: str
    data_set: str
    data_sha256: str
    train_images: int
    hardware: str
    commit: str
    libraries: dict[str, str]
    classes: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()
    """Training images of each class."""

    @classmethod
    def of(cls, experiment: Path, data: DataSplits, device: torch.device) -> Self:
        """The facts of a run that starts now, on this machine."""
        libraries = {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
        return cls(
            experiment=experiment.name,
            data_set=data.name,
            data_sha256=data.sha256,
            train_images=len(data.train),
            hardware=hardware(device),
            commit=_commit(),
            libraries=libraries,
            classes=data.classes or (),
            class_counts=data.class_counts(),
        )

    @property
    def class_probabilities(self) -> tuple[float, ...]:
        """p(y): how often each class is among the training images; one without any counts as if it had one."""
        counts = [max(1, count) for count in self.class_counts]
        return tuple(count / sum(counts) for count in counts)

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        facts = json.loads(path.read_text(encoding="utf-8"))
        lists = {name: tuple(value) for name, value in facts.items() if isinstance(value, list)}
        return cls(**facts | lists)


def hardware(device: torch.device) -> str:
    """The device in words, with the number of threads where it is a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' if threads > 1 else ''} of {_processor()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names and names[0] else f"a {platform.machine()} CPU"


def _commit() -> str:
    """The commit of the code that runs, `unknown` outside a checkout; `+changes` where the tree differs from it."""
    here = Path(__file__).parent
    try:
        ask = ["git", "describe", "--always", "--abbrev=12", "--dirty=+changes", "--exclude=*"]
        return subprocess.run(ask, cwd=here, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 (fixed arguments)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
