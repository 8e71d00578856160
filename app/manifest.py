"""The contract between the workshop that writes a model version and the service that reads it.

A model version is a folder `<name>/<version>/` with `manifest.json`, one ONNX file per graph and, where graphs share
weights, one file of these. This module is the only definition of that manifest: `training` writes through it, the
service reads through it, and `models/manifest.schema.json` is generated from it (`python -m app.manifest`).

It imports the standard library and pydantic only, so that anyone may copy or import it alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MANIFEST_FORMAT = 1
"""Raised when a reader of the old format would misread the new one; additions do not raise it."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$"
"""What a model name looks like; anything else never touches the disk."""

GraphRole = Literal[
    "noise_to_latent",
    "latent_to_noise",
    "latent_to_prior",
    "latent_to_image",
    "latent_gradient",
    "latent_to_evidence",
    "image_to_latent",
    "image_to_evidence",
    "latent_to_pixel_evidence",
    "image_to_realism",
    "image_to_class",
]
Family = Literal["autoencoder", "vae", "gan"]
PriorKind = Literal["none", "standard_normal", "mixture", "vamp", "flow", "hierarchical"]
NOISE_PRIORS: frozenset[PriorKind] = frozenset({"none", "standard_normal"})
"""Those that need no graph: there is nothing to draw, or the noise is the latent."""
LikelihoodKind = Literal["bernoulli", "continuous_bernoulli", "gaussian", "logistic_mixture", "categorical"]
ObservationRule = Literal["threshold", "unit_interval"]
DType = Literal["float32", "int64"]
OutlierStatistic = Literal[
    "elbo_nats",
    "reconstruction_nats",
    "kl_nats",
    "inference_gap_nats",
    "log_prior_nats",
    "complexity_nats",
    "code_norm",
]
LABEL = "label"
"""The extra input of a conditional graph."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""A plain file name: no separators, so it cannot leave the version's folder."""
ClassName = Annotated[str, Field(min_length=1, max_length=64)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class TensorSpec(_Part):
    """One input or output of a graph. A dimension is a number, or a name where it varies (`batch`, `samples`)."""

    name: str
    dtype: DType
    shape: tuple[int | str, ...]


class GraphSignature(_Part):
    """One graph file, what it maps, and the checksum that it must have."""

    role: GraphRole
    file: FileName
    sha256: Sha256
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def takes_label(self) -> bool:
        """Whether an input is `label`: int64 (batch,), the index of each row's class."""
        return any(tensor.name == LABEL for tensor in self.inputs)


class PixelRange(_Part):
    """The interval that `image` tensors live in: 0 … 255 of a picture maps linearly onto low … high."""

    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low} … {self.high}")
        return self


class ImageSpace(_Part):
    """The pictures a model reads and writes.

    `observation` says how a picture becomes the x that the encoder reads and the density scores:
    `unit_interval` maps 8 bits linearly onto the pixel range; `threshold` does so and then sends every pixel from
    `threshold` (in [0, 1]) up to the high end and the others to the low end.
    """

    height: Annotated[int, Field(ge=1, le=1024)]
    width: Annotated[int, Field(ge=1, le=1024)]
    channels: Literal[1, 3]
    pixel_range: PixelRange
    observation: ObservationRule = "unit_interval"
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    background: tuple[int, int, int] = (0, 0, 0)
    """The 8-bit colour that transparent pictures are laid on."""


class LatentSpace(_Part):
    """z: how many numbers, how they are distributed before any image is seen, and which of them matter."""

    size: Annotated[int, Field(ge=1, le=65536)]
    prior: PriorKind
    selectors: Annotated[int, Field(ge=0)] = 0
    """How many leading numbers of a latent's noise only select a component of the prior: temperature and truncation
    leave them alone."""
    layers: tuple[int, ...] = ()
    """Of a hierarchical prior: how many of the numbers each layer has, in their order, the top layer first."""
    active_dimensions: tuple[int, ...] = ()
    """Most informative first (by mean KL to the prior on held-out images); empty when not measured."""


class Likelihood(_Part):
    """p(x|z), and what one nat of it is a nat of."""

    kind: LikelihoodKind
    nats_of: str
    """In words: "probability of a binary image", "density of pixels in [0, 1]"."""
    discrete: bool
    """True when x is a probability mass, so that bits per dimension are defined."""
    scale: Annotated[float, Field(gt=0)] | None = None
    """σ of pixels in [0, 1], where it is one number that was chosen beside the model."""
    assumption: str | None = None
    """What had to be assumed for there to be a density, where the model alone has none: scores state it."""


class Tensor(_Part):
    """An array as text: little-endian bytes in C order, base64."""

    dtype: DType
    shape: tuple[int, ...]
    base64: str


class GoldenCase(_Part):
    """Inputs and what the published graph answered to them; a server that loads the graph must answer the same."""

    role: GraphRole
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    absolute_tolerance: Annotated[float, Field(gt=0)]
    relative_tolerance: Annotated[float, Field(ge=0)]


class Calibration(_Part):
    """A statistic of held-out images, sorted ascending: what percentiles and p-values refer to."""

    statistic: Literal["elbo_nats"]
    values: tuple[float, ...]
    samples: Annotated[int, Field(ge=1)]
    """Importance samples an image that the statistic was taken over."""
    split: str

    @model_validator(mode="after")
    def _sorted(self) -> Self:
        if not self.values or list(self.values) != sorted(self.values):
            raise ValueError("calibration values must be sorted ascending, and there must be some")
        return self


class OutlierFile(_Part):
    """An `OutlierCalibration` (`app.calibration`), in a JSON file of its own because it is large."""

    file: FileName
    sha256: Sha256


class RealismCalibration(_Part):
    """What a discriminator's logit is worth: P(real | logit) = sigmoid(slope · logit + intercept) (Platt 1999).

    Of held-out pictures and as many samples, so that the argument of the sigmoid is the log ratio of their densities.
    """

    slope: float
    intercept: float
    images: Annotated[int, Field(ge=1)]
    """Of each kind."""
    split: str


class Metric(_Part):
    """One measured number with its protocol. A number without a protocol is a rumour."""

    value: float
    standard_error: float | None = None
    unit: str
    protocol: str


class WeightsFile(_Part):
    """Weights of several graphs: ONNX's external data. A graph that reads it has this `sha256` in its metadata, as
    `weights_sha256`, so that its own sha256 pins both."""

    file: FileName
    sha256: Sha256


class Provenance(_Part):
    """Where a version comes from: enough to train it again."""

    data_set: str
    data_sha256: Sha256
    train_images: int
    experiment: str
    seed: int
    steps: int
    train_seconds: float
    hardware: str
    commit: str
    created: str
    """UTC, ISO 8601."""
    libraries: dict[str, str]


class MapFile(_Part):
    """Encoded held-out images as 2-D points, in a JSON file of their own because it is large."""

    file: FileName
    sha256: Sha256


class DirectionsFile(_Part):
    """Named `Directions` (`app.directions`) of the latent space, in a JSON file of their own."""

    file: FileName
    sha256: Sha256


class Manifest(_Part):
    """One model version, whole."""

    format: Literal[1] = 1
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    version: Annotated[int, Field(ge=1)]
    title: str
    summary: str
    family: Family
    image: ImageSpace
    latent: LatentSpace
    classes: tuple[ClassName, ...] = ()
    """By index: what `label` inputs choose from, and what `image_to_class` tells apart."""
    class_probabilities: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()
    """p(y) of each class; empty where all are equally likely."""
    likelihood: Likelihood | None = None
    graphs: tuple[GraphSignature, ...]
    weights: WeightsFile | None = None
    golden: tuple[GoldenCase, ...]
    parity_error: dict[GraphRole, float]
    """Largest absolute difference between PyTorch and ONNX seen at publication, by graph."""
    metrics: dict[str, Metric] = {}
    calibration: Calibration | None = None
    outliers: OutlierFile | None = None
    realism: RealismCalibration | None = None
    map: MapFile | None = None
    directions: DirectionsFile | None = None
    provenance: Provenance

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        roles = [graph.role for graph in self.graphs]
        if not roles:
            raise ValueError("a model version needs at least one graph")
        if len(set(roles)) != len(roles):
            raise ValueError(f"each role may appear once, got {roles}")
        if unknown := {case.role for case in self.golden} - set(roles):
            raise ValueError(f"golden cases for graphs that are not listed: {sorted(unknown)}")
        if missing := set(roles) - {case.role for case in self.golden}:
            raise ValueError(f"graphs without a golden case: {sorted(missing)}")
        for role in ("image_to_evidence", "latent_to_evidence"):
            if role in roles and self.likelihood is None:
                raise ValueError(f"a model with {role} must state its likelihood")
        if self.latent.prior not in NOISE_PRIORS and "noise_to_latent" not in roles:
            raise ValueError(f"a {self.latent.prior} prior needs noise_to_latent: its latents are not its noise")
        if self.realism is not None and "image_to_realism" not in roles:
            raise ValueError("a calibration of realism needs image_to_realism")
        if "latent_to_noise" in roles and "noise_to_latent" not in roles:
            raise ValueError("latent_to_noise is the inverse of noise_to_latent, which is missing")
        if self.latent.selectors and self.latent.selectors >= self.noise_size:
            raise ValueError(f"{self.latent.selectors} selectors leave nothing of {self.noise_size} numbers of noise")
        return self

    @model_validator(mode="after")
    def _classes_where_needed(self) -> Self:
        needing = sorted(graph.role for graph in self.graphs if graph.takes_label or graph.role == "image_to_class")
        if needing and not self.classes:
            raise ValueError(f"classes must be named for {', '.join(needing)}")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("two classes have the same name")
        if given := self.class_probabilities:
            if len(given) != len(self.classes):
                raise ValueError(f"{len(given)} class probabilities for {len(self.classes)} classes")
            if not math.isclose(math.fsum(given), 1, abs_tol=1e-6):
                raise ValueError(f"class probabilities must sum to 1, not to {math.fsum(given):.6g}")
        return self

    @property
    def prior_of_labels(self) -> tuple[float, ...]:
        """p(y) by index: as stated, or uniform; empty without classes."""
        return self.class_probabilities or (1 / max(1, len(self.classes)),) * len(self.classes)

    @property
    def conditional_roles(self) -> frozenset[GraphRole]:
        """The roles whose graphs take a label."""
        return frozenset(graph.role for graph in self.graphs if graph.takes_label)

    @property
    def roles(self) -> frozenset[GraphRole]:
        """The roles that this version has graphs for."""
        return frozenset(graph.role for graph in self.graphs)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What a client may ask of this version, derived from its graphs and prior."""
        found = capabilities(self.roles, self.latent.prior, self.conditional_roles)
        refines = self.realism is not None and {"sample", "realism"} <= set(found)
        return (*found, "refine") if refines else found

    @property
    def noise_size(self) -> int:
        """How many numbers of noise are behind one latent: those of `noise_to_latent`, or the latent is its noise."""
        if "noise_to_latent" not in self.roles:
            return self.latent.size
        sizes = [tensor.shape[-1] for tensor in self.graph("noise_to_latent").inputs if tensor.shape]
        return sizes[0] if sizes and isinstance(sizes[0], int) else 0

    @property
    def components(self) -> int:
        """How many components the prior's density is stated by (`latent_to_prior`); 0 where it is not a mixture."""
        if "latent_to_prior" not in self.roles:
            return 0
        outputs = {tensor.name: tensor.shape[-1] for tensor in self.graph("latent_to_prior").outputs}
        return int(outputs.get("component", 0))

    def graph(self, role: GraphRole) -> GraphSignature:
        """The signature of one role; KeyError when this version has no such graph."""
        for graph in self.graphs:
            if graph.role == role:
                return graph
        raise KeyError(role)


def capabilities(
    roles: Collection[GraphRole], prior: PriorKind, conditional: Collection[GraphRole] = ()
) -> tuple[str, ...]:
    """Capabilities in the order that the API lists them. No capability is ever declared: all follow from the graphs.

    A density p(x|y) classifies as a classifier does: by Bayes' rule. Where there is no encoder, a generator's gradient
    leads to latents, from draws of the prior.
    """
    have = frozenset(roles)
    decodes = "latent_to_image" in have
    encodes = "image_to_latent" in have or ({"latent_to_image", "latent_gradient"} <= have and prior != "none")
    offered = {
        "sample": decodes and prior != "none",
        "decode": decodes,
        "encode": encodes,
        "reconstruct": decodes and encodes,
        "interpolate": decodes,
        "arithmetic": decodes,
        "traverse": decodes,
        "score": "image_to_evidence" in have,
        "pixel_evidence": {"image_to_latent", "image_to_evidence", "latent_to_pixel_evidence"} <= have,
        "realism": "image_to_realism" in have,
        "classify": "image_to_class" in have or "image_to_evidence" in conditional,
    }
    return tuple(name for name, yes in offered.items() if yes)


def json_schema() -> str:
    """The manifest's JSON Schema as committed in `models/manifest.schema.json`."""
    return json.dumps(Manifest.model_json_schema(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(json_schema())
