"""Two tiny models, made without PyTorch, that are served like any other: the ground that the service's tests stand on.

`tiny_vae` is linear-Gaussian, so its densities are known in closed form; `tiny_gan` has a real transposed convolution.
The parts are small so that a test can break exactly one of them.
"""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from app.images.pixels import to_bytes
from app.images.png import encode_png
from app.manifest import (
    LABEL,
    Calibration,
    DType,
    GoldenCase,
    GraphRole,
    GraphSignature,
    ImageSpace,
    LatentSpace,
    Likelihood,
    Manifest,
    PixelRange,
    Provenance,
    Tensor,
)
from app.runtime.session import GraphSession, describe_graph, file_sha256
from tests.app.tiny_graphs import Shape, graph


@dataclass(frozen=True)
class TinyModel:
    """A model version before it is written: its graphs and the manifest's fields that do not follow from them."""

    name: str
    graphs: dict[GraphRole, onnx.ModelProto]
    fields: dict[str, Any]
    preview: bool = True


def write_tiny_models(root: Path) -> None:
    """Write `tiny_vae/1` and `tiny_gan/1` into the model repository `root`."""
    write_version(root, tiny_vae())
    write_version(root, tiny_gan())


def write_version(root: Path, model: TinyModel, version: int = 1) -> Path:
    """Write one version as publication does: into a hidden folder first, then renamed. Returns its folder."""
    folder = root / model.name / str(version)
    draft = root / model.name / f".{version}.draft"
    draft.mkdir(parents=True)
    for role, proto in model.graphs.items():
        onnx.save(proto, draft / f"{role}.onnx")
    manifest = tiny_manifest(draft, model, version)
    (draft / "manifest.json").write_text(manifest.model_dump_json(indent=2))
    (draft / "card.md").write_text(f"# {model.name}\n\nA model for tests.\n")
    if model.preview:
        (draft / "preview.png").write_bytes(preview_png(draft, manifest))
    return draft.rename(folder)


def edit_manifest(folder: Path, **changes: object) -> None:
    """Overwrite top-level fields of a written manifest, unvalidated."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def tiny_manifest(folder: Path, model: TinyModel, version: int) -> Manifest:
    """The manifest of the graphs that lie in `folder`, with golden outputs from running them."""
    signatures = [graph_signature(folder, role) for role in model.graphs]
    return Manifest(
        name=model.name,
        version=version,
        title=model.name.replace("_", " "),
        summary="A model for tests.",
        graphs=tuple(signatures),
        golden=tuple(golden_case(folder, signature) for signature in signatures),
        parity_error=dict.fromkeys(model.graphs, 0.0),
        provenance=PROVENANCE,
        **model.fields,
    )


def graph_signature(folder: Path, role: GraphRole) -> GraphSignature:
    """What the file `<role>.onnx` in `folder` really is."""
    path = folder / f"{role}.onnx"
    inputs, outputs = describe_graph(path)
    return GraphSignature(role=role, file=path.name, sha256=file_sha256(path), inputs=inputs, outputs=outputs)


def golden_case(folder: Path, signature: GraphSignature) -> GoldenCase:
    """Random inputs (two rows, labels 0 and 1) and what the graph answers to them."""
    generator = np.random.default_rng(7)
    feeds: dict[str, NDArray[Any]] = {
        spec.name: generator.standard_normal([size if isinstance(size, int) else 2 for size in spec.shape], np.float32)
        for spec in signature.inputs
        if spec.name != LABEL
    }
    feeds |= {spec.name: np.arange(2).astype(spec.dtype) for spec in signature.inputs if spec.name == LABEL}
    outputs = GraphSession.open(folder / signature.file, signature).run(feeds)
    return GoldenCase(
        role=signature.role,
        inputs={name: as_text(array) for name, array in feeds.items()},
        outputs={name: as_text(array) for name, array in outputs.items()},
        absolute_tolerance=1e-4,
        relative_tolerance=1e-5,
    )


def as_text(array: NDArray[Any]) -> Tensor:
    """An array as the manifest holds it: labels as int64, everything else as float32."""
    dtype: DType = "int64" if array.dtype.kind == "i" else "float32"
    little_endian = array.astype(np.dtype(dtype).newbyteorder("<"))
    return Tensor(dtype=dtype, shape=array.shape, base64=base64.b64encode(little_endian.tobytes()).decode())


def preview_png(folder: Path, manifest: Manifest) -> bytes:
    """The image of the latent of ones, of the first class."""
    signature = manifest.graph("latent_to_image")
    feeds: dict[str, NDArray[Any]] = {"latent": np.ones((1, manifest.latent.size), np.float32)}
    if signature.takes_label:
        feeds[LABEL] = np.zeros(1, np.int64)
    image = GraphSession.open(folder / signature.file, signature).run(feeds)["image"]
    return encode_png(to_bytes(image, manifest.image.pixel_range)[0])


# The linear-Gaussian VAE: z ~ N(0, I), x|z ~ N(W z + b, σ² I), with q(z|x) the exact posterior times `inflation`.


@dataclass(frozen=True)
class LinearGaussian:
    """Its parameters. The columns of W are orthogonal and of length `gain`, so the exact posterior is diagonal."""

    gain: float = 1.5
    sigma: float = 0.2
    inflation: float = 1.0

    @property
    def weights(self) -> NDArray[np.float64]:
        """W (64, 2): one slow wave down the picture and one across it."""
        wave = np.cos(np.pi * (np.arange(8) + 0.5) / 8)
        columns = np.stack([np.repeat(wave, 8), np.tile(wave, 8)], axis=1)
        return columns / np.linalg.norm(columns, axis=0) * self.gain

    @property
    def posterior_sigma(self) -> float:
        """The exact posterior's standard deviation, the same for every x and dimension."""
        return self.sigma / math.hypot(self.sigma, self.gain)

    def posterior_mean(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of flat images x (N, 64), as (N, 2)."""
        return (x - 0.5) @ self.weights / (self.sigma**2 + self.gain**2)

    def log_density(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """log p(x) = log N(x; b, W Wᵀ + σ² I) in nats, for flat images x (N, 64)."""
        covariance = self.weights @ self.weights.T + self.sigma**2 * np.eye(64)
        centred = x - 0.5
        mahalanobis = np.einsum("nd,nd->n", centred, np.linalg.solve(covariance, centred.T).T)
        log_determinant = np.linalg.slogdet(covariance)[1]
        return -0.5 * (mahalanobis + log_determinant + 64 * math.log(2 * math.pi))


def tiny_vae(name: str = "tiny_vae", parameters: LinearGaussian | None = None) -> TinyModel:
    """8×8 grey in [0, 1], two latent numbers, every role a VAE has."""
    exact = parameters or LinearGaussian()
    graphs: dict[GraphRole, onnx.ModelProto] = {
        "latent_to_image": linear_decoder(exact),
        "latent_gradient": linear_gradient(exact),
        "image_to_latent": linear_encoder(exact),
        "image_to_evidence": linear_evidence(exact),
        "latent_to_pixel_evidence": linear_pixel_evidence(exact),
    }
    return TinyModel(name, graphs, VAE_FIELDS)


def linear_decoder(exact: LinearGaussian) -> onnx.ModelProto:
    """latent (B,2) → image (B,1,8,8): W z + b."""
    constants = {"W": exact.weights.T, "b": np.full(64, 0.5), "shape": np.array([-1, 1, 8, 8])}
    nodes = [
        helper.make_node("MatMul", ["latent", "W"], ["offset"]),
        helper.make_node("Add", ["offset", "b"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["image"]),
    ]
    return graph(nodes, {"latent": ["batch", 2]}, {"image": ["batch", 1, 8, 8]}, constants)


def linear_gradient(exact: LinearGaussian) -> onnx.ModelProto:
    """latent (B,2), cotangent (B,1,8,8) → gradient (B,2): cotangent W, whatever the latent."""
    nodes = [
        helper.make_node("Reshape", ["cotangent", "flat_shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "W"], ["pulled"]),
        helper.make_node("Mul", ["latent", "zero"], ["zeros"]),
        helper.make_node("Add", ["pulled", "zeros"], ["gradient"]),
    ]
    constants = {"W": exact.weights, "flat_shape": np.array([-1, 64]), "zero": np.zeros(1)}
    inputs: dict[str, Shape] = {"latent": ["batch", 2], "cotangent": ["batch", 1, 8, 8]}
    return graph(nodes, inputs, {"gradient": ["batch", 2]}, constants)


def linear_encoder(exact: LinearGaussian) -> onnx.ModelProto:
    """image (B,1,8,8), noise (B,2) → latent, mean, scale (B,2)."""
    nodes = [
        *posterior_mean_nodes("mean"),
        helper.make_node("Mul", ["noise", "posterior_scale"], ["jitter"]),
        helper.make_node("Add", ["mean", "jitter"], ["latent"]),
        helper.make_node("Mul", ["mean", "zero"], ["zeros"]),
        helper.make_node("Add", ["zeros", "posterior_scale"], ["scale"]),
    ]
    inputs: dict[str, Shape] = {"image": ["batch", 1, 8, 8], "noise": ["batch", 2]}
    outputs: dict[str, Shape] = {"latent": ["batch", 2], "mean": ["batch", 2], "scale": ["batch", 2]}
    return graph(nodes, inputs, outputs, posterior_constants(exact) | {"zero": np.zeros(1)})


def linear_evidence(exact: LinearGaussian) -> onnx.ModelProto:
    """image (B,1,8,8), noise (B,K,2) → log_likelihood, log_prior, log_posterior (B,K) in nats."""
    scale = exact.posterior_sigma * exact.inflation
    constants = posterior_constants(exact) | {
        "W": exact.weights.T,
        "b": np.full(64, 0.5),
        "middle": np.array([1]),
        "last": np.array([-1]),
        "likelihood_slope": np.array([-0.5 / exact.sigma**2]),
        "half": np.array([-0.5]),
        "likelihood_constant": np.array([-32 * math.log(2 * math.pi * exact.sigma**2)]),
        "prior_constant": np.array([-math.log(2 * math.pi)]),
        "posterior_constant": np.array([-math.log(2 * math.pi) - 2 * math.log(scale)]),
    }
    nodes = [
        *posterior_mean_nodes("mean"),
        helper.make_node("Unsqueeze", ["mean", "middle"], ["means"]),
        helper.make_node("Mul", ["noise", "posterior_scale"], ["jitter"]),
        helper.make_node("Add", ["means", "jitter"], ["z"]),
        helper.make_node("MatMul", ["z", "W"], ["offset"]),
        helper.make_node("Add", ["offset", "b"], ["reconstruction"]),
        helper.make_node("Unsqueeze", ["flat", "middle"], ["x"]),
        helper.make_node("Sub", ["x", "reconstruction"], ["residual"]),
        *quadratic_nodes("residual", "likelihood_slope", "likelihood_constant", "log_likelihood"),
        *quadratic_nodes("z", "half", "prior_constant", "log_prior"),
        *quadratic_nodes("noise", "half", "posterior_constant", "log_posterior"),
    ]
    inputs: dict[str, Shape] = {"image": ["batch", 1, 8, 8], "noise": ["batch", "samples", 2]}
    terms = ("log_likelihood", "log_prior", "log_posterior")
    return graph(nodes, inputs, {term: ["batch", "samples"] for term in terms}, constants)


def linear_pixel_evidence(exact: LinearGaussian) -> onnx.ModelProto:
    """image (B,1,8,8), latent (B,2) → log_likelihood (B,8,8): log N(x; (W z + b), σ²) of each pixel."""
    constants = {"W": exact.weights.T, "b": np.full(64, 0.5), "shape": np.array([-1, 8, 8])}
    constants["slope"] = np.array([-0.5 / exact.sigma**2])
    constants["constant"] = np.array([-0.5 * math.log(2 * math.pi * exact.sigma**2)])
    nodes = [
        helper.make_node("MatMul", ["latent", "W"], ["offset"]),
        helper.make_node("Add", ["offset", "b"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["mean"]),
        helper.make_node("Reshape", ["image", "shape"], ["x"]),
        helper.make_node("Sub", ["x", "mean"], ["residual"]),
        helper.make_node("Mul", ["residual", "residual"], ["square"]),
        helper.make_node("Mul", ["square", "slope"], ["exponent"]),
        helper.make_node("Add", ["exponent", "constant"], ["log_likelihood"]),
    ]
    inputs: dict[str, Shape] = {"image": ["batch", 1, 8, 8], "latent": ["batch", 2]}
    return graph(nodes, inputs, {"log_likelihood": ["batch", 8, 8]}, constants)


def posterior_constants(exact: LinearGaussian) -> dict[str, NDArray[Any]]:
    """What `posterior_mean_nodes` reads, and the posterior's scale."""
    return {
        "flat_shape": np.array([-1, 64]),
        "centre": np.full(64, 0.5),
        "projection": exact.weights / (exact.sigma**2 + exact.gain**2),
        "posterior_scale": np.full(2, exact.posterior_sigma * exact.inflation),
    }


def posterior_mean_nodes(output: str) -> list[onnx.NodeProto]:
    """image → flat (B,64) → the posterior's mean (B,2)."""
    return [
        helper.make_node("Reshape", ["image", "flat_shape"], ["flat"]),
        helper.make_node("Sub", ["flat", "centre"], ["centred"]),
        helper.make_node("MatMul", ["centred", "projection"], [output]),
    ]


def quadratic_nodes(vector: str, slope: str, constant: str, output: str) -> list[onnx.NodeProto]:
    """slope · ‖vector‖² + constant, over the last axis."""
    return [
        helper.make_node("ReduceSumSquare", [vector, "last"], [f"{output}_norm"], keepdims=0),
        helper.make_node("Mul", [f"{output}_norm", slope], [f"{output}_scaled"]),
        helper.make_node("Add", [f"{output}_scaled", constant], [output]),
    ]


# The GAN: a linear layer, a transposed convolution and tanh; its discriminator a convolution and a linear layer.


def tiny_gan(name: str = "tiny_gan", seed: int = 0) -> TinyModel:
    """8×8 colour in [−1, 1], four latent numbers, a generator and a discriminator with random weights."""
    graphs: dict[GraphRole, onnx.ModelProto] = {
        "latent_to_image": convolutional_generator(seed),
        "image_to_realism": convolutional_discriminator(seed),
    }
    return TinyModel(name, graphs, GAN_FIELDS)


def convolutional_generator(seed: int) -> onnx.ModelProto:
    """latent (B,4) → image (B,3,8,8)."""
    generator = np.random.default_rng(seed)
    constants = {
        "V": generator.standard_normal((4, 8 * 4 * 4)) / 2,
        "shape": np.array([-1, 8, 4, 4]),
        "kernel": generator.standard_normal((8, 3, 4, 4)) / 4,
    }
    nodes = [
        helper.make_node("MatMul", ["latent", "V"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["features"]),
        helper.make_node("Relu", ["features"], ["positive"]),
        helper.make_node("ConvTranspose", ["positive", "kernel"], ["wide"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Tanh", ["wide"], ["image"]),
    ]
    return graph(nodes, {"latent": ["batch", 4]}, {"image": ["batch", 3, 8, 8]}, constants)


def convolutional_discriminator(seed: int) -> onnx.ModelProto:
    """image (B,3,8,8) → logit (B)."""
    generator = np.random.default_rng(seed + 1)
    constants = {
        "kernel": generator.standard_normal((8, 3, 4, 4)) / 7,
        "shape": np.array([-1, 8 * 4 * 4]),
        "v": generator.standard_normal((8 * 4 * 4, 1)) / 11,
        "last": np.array([-1]),
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["features"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("LeakyRelu", ["features"], ["active"], alpha=0.2),
        helper.make_node("Reshape", ["active", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "v"], ["column"]),
        helper.make_node("Squeeze", ["column", "last"], ["logit"]),
    ]
    return graph(nodes, {"image": ["batch", 3, 8, 8]}, {"logit": ["batch"]}, constants)


def with_graph(model: TinyModel, role: GraphRole, proto: onnx.ModelProto) -> TinyModel:
    """The same model with one graph replaced or added."""
    return replace(model, graphs=model.graphs | {role: proto})


def without_graphs(model: TinyModel, *roles: GraphRole) -> TinyModel:
    """The same model without some of its graphs."""
    return replace(model, graphs={role: proto for role, proto in model.graphs.items() if role not in roles})


PROVENANCE = Provenance(
    data_set="none",
    data_sha256="0" * 64,
    train_images=0,
    experiment="tests",
    seed=0,
    steps=0,
    train_seconds=0.0,
    hardware="none",
    commit="none",
    created="2026-01-01T00:00:00Z",
    libraries={},
)

VAE_FIELDS: dict[str, Any] = {
    "family": "vae",
    "image": ImageSpace(height=8, width=8, channels=1, pixel_range=PixelRange(low=0, high=1)),
    "latent": LatentSpace(size=2, prior="standard_normal", active_dimensions=(0, 1)),
    "likelihood": Likelihood(kind="gaussian", nats_of="density of pixels in [0, 1]", discrete=False),
    "calibration": Calibration(
        statistic="elbo_nats", values=tuple(float(value) for value in range(-100, 100, 2)), samples=16, split="none"
    ),
}

GAN_FIELDS: dict[str, Any] = {
    "family": "gan",
    "image": ImageSpace(height=8, width=8, channels=3, pixel_range=PixelRange(low=-1, high=1)),
    "latent": LatentSpace(size=4, prior="standard_normal"),
}
