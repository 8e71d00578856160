"""Receipts: what a PNG says of how it was made, as a wire type."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, RootModel, Tag

from app.api.payloads import Body, Coordinate, Label, Seed
from app.api.sample import Temperature, Truncation
from app.manifest import NAME_PATTERN, Sha256
from app.runtime.session import RUNTIME


class SeedOrigin(Body):
    """What made an image that was sampled."""

    seed: Seed
    index: int = Field(ge=0, lt=2**31)
    temperature: Temperature
    truncation: Truncation | None
    label: Label | None = Field(None, description="Of conditional models, whoever chose it.")


class LatentOrigin(Body):
    """What made an image that was decoded."""

    latent: list[Coordinate] = Field(min_length=1)
    label: Label | None = Field(None, description="Of conditional models.")


class Maker(Body):
    """Who made it."""

    model: str = Field(pattern=NAME_PATTERN)
    version: int = Field(ge=1)
    graph_sha256: Sha256
    noise_to_latent_sha256: Sha256 | None = Field(
        None, description="Of the graph that makes latents of a seed's noise, where the prior has one."
    )
    runtime: str = Field(max_length=64)
    operation: Literal["sample", "decode", "reconstruct", "interpolate", "arithmetic", "traverse"]


def _kind_of(value: Any) -> str | None:  # noqa: ANN401  anything that JSON can hold
    names = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return next((f"<{kind}>" for kind in ("seed", "latent", "images") if kind in names), None)


_KIND = Discriminator(
    _kind_of,
    custom_error_type="receipt_kind",
    custom_error_message="What made an image is either a seed or a latent, that of a sheet is images",
)
Origin = Annotated[Annotated[SeedOrigin, Tag("<seed>")] | Annotated[LatentOrigin, Tag("<latent>")], _KIND]


class SampleReceipt(Maker, SeedOrigin):
    """Of one sampled image."""


class LatentReceipt(Maker, LatentOrigin):
    """Of one image by its latent."""


class SheetReceipt(Maker):
    """Of a contact sheet."""

    columns: int = Field(ge=1, le=256)
    images: list[Origin] = Field(min_length=2)


class Receipt(
    RootModel[
        Annotated[
            Annotated[SampleReceipt, Tag("<seed>")]
            | Annotated[LatentReceipt, Tag("<latent>")]
            | Annotated[SheetReceipt, Tag("<images>")],
            _KIND,
        ]
    ]
):
    """What made a picture, as its PNG carries it."""

    @property
    def origins(self) -> list[SeedOrigin | LatentOrigin]:
        """Of each image."""
        return self.root.images if isinstance(self.root, SheetReceipt) else [self.root]

    @property
    def columns(self) -> int | None:
        """Of the sheet, where it is one."""
        return self.root.columns if isinstance(self.root, SheetReceipt) else None


_MAKER = {"model": "tiny_vae", "version": 1, "graph_sha256": "0" * 64, "runtime": RUNTIME, "operation": "sample"}
_SAMPLE = {"seed": 7, "index": 0, "temperature": 1.0, "truncation": None}
EXAMPLES: dict[str, dict[str, Any]] = {
    "A sample": _MAKER | _SAMPLE,
    "A decoded latent": _MAKER | {"operation": "decode", "latent": [0.25, -1.5]},
    "A sheet of two samples": _MAKER | {"columns": 2, "images": [_SAMPLE, _SAMPLE | {"index": 1}]},
}
