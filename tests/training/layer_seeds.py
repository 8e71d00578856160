"""What layers that draw by themselves draw from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook


@contextmanager
def seeds_of_layers(kind: type[nn.Module]) -> Iterator[set[int]]:
    """The seeds that the global generator was given last whenever such a layer was trained."""
    found: set[int] = set()

    def look(layer: nn.Module, _: object, __: object) -> None:
        if isinstance(layer, kind) and layer.training:
            found.add(torch.initial_seed())

    hook = register_module_forward_hook(look)
    try:
        yield found
    finally:
        hook.remove()
