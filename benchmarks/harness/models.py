"""What is measured: a published 28-pixel decoder, and generators of the DCGAN paper's form written here.

A generator written here has random weights: what a graph costs does not depend on what it learnt.
"""

from __future__ import annotations

import base64
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from app.images.pixels import to_bytes
from app.manifest import (
    GoldenCase,
    GraphSignature,
    ImageSpace,
    LatentSpace,
    Manifest,
    PixelRange,
    Provenance,
    Tensor,
)
from app.runtime.session import GraphSession, describe_graph, file_sha256
from app.runtime.weights import read_weights

ROOT = Path(__file__).resolve().parents[2]
SCRATCH = ROOT / ".bench"
PUBLISHED = ROOT / "models"
PREFERRED = ("mnist_vae", "mnist_gan")
"""Published decoders of 28×28 pixels, the first that there is being measured."""

Latents = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Model:
    """One version in a model repository."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """As addresses have it."""
        return self.manifest.name

    @property
    def signature(self) -> GraphSignature:
        """Of latent_to_image."""
        return self.manifest.graph("latent_to_image")

    @property
    def graph(self) -> Path:
        """The file of latent_to_image; weights that it shares lie beside it, where onnxruntime finds them."""
        return self.folder / self.signature.file

    @property
    def image_bytes(self) -> int:
        """Bytes of one picture."""
        space = self.manifest.image
        return space.height * space.width * space.channels

    def latents(self, count: int) -> Latents:
        """The same standard normal latents (count, D) whenever asked, with as few digits as JSON keeps."""
        drawn = np.random.default_rng(count).standard_normal((count, self.manifest.latent.size))
        return np.round(drawn, 4).astype(np.float32)

    def pictures(self, latents: Latents) -> Pictures:
        """What bare onnxruntime makes of latents: (N, H·W·C)."""
        weights = read_weights(self.folder, self.manifest.weights)
        session = GraphSession.open(self.graph, self.signature, weights=weights)
        images = session.run({"latent": latents})["image"]
        return to_bytes(images, self.manifest.image.pixel_range).reshape(len(latents), -1)


@dataclass(frozen=True)
class Generator:
    """The DCGAN paper's generator: a projection to the smallest side, then every doubling halves the channels."""

    name: str
    size: int
    channels: int
    latent: int
    width: int
    """Channels at the smallest side."""
    smallest: int

    def named(self, name: str) -> Generator:
        """The same under another name."""
        return replace(self, name=name)

    @property
    def widths(self) -> list[int]:
        """Channels at every side but the last, widest first."""
        doublings = (self.size // self.smallest).bit_length() - 1
        return [self.width >> level for level in range(doublings)]


GREY_28 = Generator("decoder_28", size=28, channels=1, latent=64, width=128, smallest=7)
"""0.54 million parameters: what `mnist_gan` is, for trees without published models."""
COLOUR_64 = Generator("dcgan_64", size=64, channels=3, latent=100, width=512, smallest=4)
"""3.6 million parameters: the paper's."""


def repository(name: str) -> Path:
    """An empty model repository of that name under the scratch folder."""
    folder = SCRATCH / "models" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def published() -> list[Model]:
    """The newest version of every model in `models/`, in the order of their names."""
    models = []
    for folder in sorted(path for path in PUBLISHED.iterdir() if path.is_dir()):
        versions = sorted((int(path.name) for path in folder.iterdir() if path.name.isdigit()), reverse=True)
        models += [read_model(folder / str(version)) for version in versions[:1]]
    return models


def small_decoder(root: Path) -> Model:
    """The 28-pixel decoder that is measured, alone in `root`: a published one, or one written here."""
    by_name = {model.name: model for model in published()}
    for name in PREFERRED:
        if name in by_name:
            return copied(by_name[name], root)
    return written(GREY_28, root)


def copied(model: Model, root: Path) -> Model:
    """`model` in the repository `root`."""
    folder = root / model.name / model.folder.name
    shutil.copytree(model.folder, folder)
    return Model(folder, model.manifest)


def written(generator: Generator, root: Path) -> Model:
    """`generator` as version 1 in the repository `root`."""
    folder = root / generator.name / "1"
    folder.mkdir(parents=True)
    graph = folder / "latent_to_image.onnx"
    onnx.save(_graph(generator), graph)
    inputs, outputs = describe_graph(graph)
    signature = GraphSignature(
        role="latent_to_image", file=graph.name, sha256=file_sha256(graph), inputs=inputs, outputs=outputs
    )
    manifest = _manifest(generator, signature, _golden(graph, signature, generator.latent))
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    (folder / "card.md").write_text(f"# {generator.name}\n\nRandom weights, for measuring.\n")
    return Model(folder, manifest)


def read_model(folder: Path) -> Model:
    """The version in `folder`."""
    return Model(folder, Manifest.model_validate_json((folder / "manifest.json").read_bytes()))


def _graph(generator: Generator) -> onnx.ModelProto:
    widths, side = generator.widths, generator.smallest
    random = np.random.default_rng(0)
    constants: dict[str, npt.NDArray[Any]] = {
        "projection": random.standard_normal((generator.latent, widths[0] * side * side)) / np.sqrt(generator.latent),
        "shape": np.array([-1, widths[0], side, side]),
    }
    nodes = [
        helper.make_node("MatMul", ["latent", "projection"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["wide_0"]),
    ]
    for level, (wide, narrow) in enumerate(zip(widths, [*widths[1:], generator.channels], strict=True)):
        # Of a 4×4 kernel of stride 2, four taps meet in a pixel; with √2 for the Relu the signal keeps its size.
        constants[f"kernel_{level}"] = random.standard_normal((wide, narrow, 4, 4)) * np.sqrt(2 / (4 * wide))
        nodes += [
            helper.make_node("Relu", [f"wide_{level}"], [f"positive_{level}"]),
            helper.make_node(
                "ConvTranspose",
                [f"positive_{level}", f"kernel_{level}"],
                [f"wide_{level + 1}"],
                strides=[2, 2],
                pads=[1, 1, 1, 1],
            ),
        ]
    nodes.append(helper.make_node("Tanh", [f"wide_{len(widths)}"], ["image"]))
    return _checked(nodes, constants, generator)


def _checked(
    nodes: list[onnx.NodeProto], constants: dict[str, npt.NDArray[Any]], generator: Generator
) -> onnx.ModelProto:
    initializers = [
        numpy_helper.from_array(value if value.dtype == np.int64 else value.astype(np.float32), name)
        for name, value in constants.items()
    ]
    shapes: dict[str, list[str | int | None]] = {
        "latent": ["batch", generator.latent],
        "image": ["batch", generator.channels, generator.size, generator.size],
    }
    latent, image = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    body = helper.make_graph(nodes, generator.name, [latent], [image], initializers)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def _golden(graph: Path, signature: GraphSignature, size: int) -> GoldenCase:
    latents = np.random.default_rng(1).standard_normal((2, size), np.float32)
    images = GraphSession.open(graph, signature).run({"latent": latents})["image"]
    return GoldenCase(
        role="latent_to_image",
        inputs={"latent": _tensor(latents)},
        outputs={"image": _tensor(images)},
        absolute_tolerance=1e-4,
        relative_tolerance=1e-5,
    )


def _tensor(array: npt.NDArray[np.float32]) -> Tensor:
    return Tensor(dtype="float32", shape=array.shape, base64=base64.b64encode(array.tobytes()).decode())


def _manifest(generator: Generator, signature: GraphSignature, golden: GoldenCase) -> Manifest:
    channels: Any = generator.channels
    return Manifest(
        name=generator.name,
        version=1,
        title=generator.name,
        summary="Random weights, for measuring.",
        family="gan",
        image=ImageSpace(
            height=generator.size, width=generator.size, channels=channels, pixel_range=PixelRange(low=-1, high=1)
        ),
        latent=LatentSpace(size=generator.latent, prior="standard_normal"),
        graphs=(signature,),
        golden=(golden,),
        parity_error={},
        provenance=_NOWHERE,
    )


_NOWHERE = Provenance(
    data_set="none",
    data_sha256="0" * 64,
    train_images=0,
    experiment="benchmarks",
    seed=0,
    steps=0,
    train_seconds=0.0,
    hardware="none",
    commit="none",
    created="2026-01-01T00:00:00Z",
    libraries={},
)
