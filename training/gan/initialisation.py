"""How the weights of a DCGAN start."""

from __future__ import annotations

from torch import nn

STANDARD_DEVIATION = 0.02


def initialise(net: nn.Module) -> None:
    """Draw every linear and convolutional weight from N(0, 0.02²), in place (Radford et al. 2016, section 4).

    Biases start at zero; batch norms keep their unit gain and zero shift.
    """
    for layer in net.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, std=STANDARD_DEVIATION)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
