from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training.export import invariance
from training.export.graphs import Graph
from training.export.invariance import check_invariance
from training.export.parity import ParityError
from training.export.to_onnx import write_graph


def check(module: nn.Module, folder: Path) -> None:
    graph = Graph("latent_to_image", module.requires_grad_(False), {"latent": ("batch", 6)}, ("image",))
    signature = write_graph(graph, folder)
    check_invariance(graph, folder / signature.file, signature)


class Sociable(nn.Module):
    """Its rows see each other."""

    def forward(self, latent: Tensor) -> Tensor:
        return torch.tanh(latent - latent.mean(dim=0))


class Narrow(nn.Module):
    """Rows of ten are not a whole number of vectors, and the logarithm treats the rest differently."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(6, 10)

    def forward(self, latent: Tensor) -> Tensor:
        return torch.log(self.wide(latent).square() + 0.1)


class Padded(Narrow):
    """The same, mended as the refusal says."""

    def forward(self, latent: Tensor) -> Tensor:
        positive = self.wide(latent).square() + 0.1
        return torch.log(nn.functional.pad(positive, (0, 6), value=1.0))[:, :10]


@pytest.mark.parametrize("module", [nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 12), nn.Tanh()), Padded()])
def test_graph_whose_rows_are_their_own_passes(tmp_path: Path, module: nn.Module) -> None:
    check(module, tmp_path)


@pytest.mark.parametrize(("module", "operator"), [(Sociable(), "Sub|ReduceMean"), (Narrow(), "Log")])
def test_graph_whose_rows_depend_on_their_company_is_refused(tmp_path: Path, module: nn.Module, operator: str) -> None:
    with pytest.raises(ParityError, match=rf"latent_to_image: rows .* from ({operator}) \(.*\) on\. It must not"):
        check(module, tmp_path)


def test_every_size_that_is_served_is_tried_and_every_row() -> None:
    parts = list(invariance._parts())
    assert {part.stop - part.start for part in parts} == set(range(1, 65))
    assert {part.start for part in parts if part.stop - part.start == 1} == set(range(64))
    assert all(0 <= part.start < part.stop <= 64 for part in parts)
    assert len({part.start for part in parts if part.stop - part.start > 1}) > 10
