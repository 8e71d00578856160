"""What each graph role takes and gives, for the sizes of one model: checked when a version is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors import ModelRejected
from app.manifest import LABEL, GraphRole, GraphSignature, Manifest, TensorSpec

Shape = tuple[int | None, ...]
"""None where the size varies: the batch, and the samples of `image_to_evidence`."""
Tensors = dict[str, Shape]


def check_roles(manifest: Manifest) -> None:
    """Hold every graph's signature to its role and to the manifest's image and latent sizes. Raises ModelRejected."""
    for graph in manifest.graphs:
        inputs, outputs, optional = _expected(graph.role, manifest)
        _check(graph, "input", graph.inputs, inputs, {LABEL: (None,)})
        _check(graph, "output", graph.outputs, outputs, optional)


def _expected(role: GraphRole, manifest: Manifest) -> tuple[Tensors, Tensors, Tensors]:
    """Inputs, outputs, and outputs that may be missing."""
    image: Shape = (None, manifest.image.channels, manifest.image.height, manifest.image.width)
    latent: Shape = (None, manifest.latent.size)
    match role:
        case "noise_to_latent":
            return {"noise": (None, manifest.noise_size)}, {"latent": latent}, {}
        case "latent_to_image":
            return {"latent": latent}, {"image": image}, {}
        case "image_to_latent":
            return {"image": image, "noise": latent}, {"latent": latent}, {"mean": latent, "scale": latent}
        case "image_to_evidence":
            terms = dict.fromkeys(("log_likelihood", "log_prior", "log_posterior"), (None, None))
            return {"image": image, "noise": (None, None, manifest.latent.size)}, {**terms}, {}
        case "image_to_realism":
            return {"image": image}, {"logit": (None,)}, {}
        case "image_to_class":
            return {"image": image}, {"logits": (None, len(manifest.classes))}, {}


def _check(graph: GraphSignature, kind: str, specs: Sequence[TensorSpec], required: Tensors, optional: Tensors) -> None:
    """Every required tensor is there, nothing unknown is, and shapes are those of the role. Labels are int64."""
    names = {spec.name for spec in specs}
    if missing := required.keys() - names:
        raise ModelRejected(f"{graph.file}: as {graph.role} it needs the {kind}s {sorted(missing)}")
    for spec in specs:
        shape = required.get(spec.name, optional.get(spec.name))
        dtype = "int64" if spec.name == LABEL else "float32"
        if shape is None or spec.dtype != dtype or shape != _sizes(spec):
            raise ModelRejected(
                f"{graph.file}: as {graph.role} it cannot have the {kind} {spec.name} {spec.dtype}{list(spec.shape)}"
            )


def _sizes(spec: TensorSpec) -> Shape:
    return tuple(size if isinstance(size, int) else None for size in spec.shape)
