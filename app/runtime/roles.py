"""What each graph role takes and gives, for the sizes of one model: checked when a version is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors import ModelRejected
from app.manifest import LABEL, GraphRole, GraphSignature, Manifest, TensorSpec

Shape = tuple[int | None, ...]
"""None where the size varies: the batch, and the samples of `image_to_evidence`; ANY where the graph fixes it."""
ANY = -1
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
    noise: Shape = (None, manifest.noise_size)
    terms: Tensors = dict.fromkeys(("log_likelihood", "log_prior", "log_posterior"), (None, None))
    expected: dict[GraphRole, tuple[Tensors, Tensors, Tensors]] = {
        "noise_to_latent": ({"noise": noise}, {"latent": latent}, {}),
        "latent_to_noise": ({"latent": latent}, {"noise": noise}, {}),
        "latent_to_prior": ({"latent": latent}, {"log_prior": (None,)}, {"component": (None, ANY)}),
        "latent_to_image": ({"latent": latent}, {"image": image}, {}),
        "latent_gradient": ({"latent": latent, "cotangent": image}, {"gradient": latent}, {}),
        "latent_to_evidence": (
            {"image": image, "latent": latent},
            {
                "log_likelihood": (None,),
                "log_prior": (None,),
                "likelihood_gradient": latent,
                "prior_gradient": latent,
            },
            {},
        ),
        "image_to_latent": (
            {"image": image, "noise": latent},
            {"latent": latent},
            {"mean": latent, "scale": latent},
        ),
        "image_to_evidence": ({"image": image, "noise": (None, None, manifest.latent.size)}, terms, {}),
        "latent_to_pixel_evidence": (
            {"image": image, "latent": latent},
            {"log_likelihood": (None, *image[2:])},
            {},
        ),
        "image_to_realism": ({"image": image}, {"logit": (None,)}, {}),
        "image_to_class": ({"image": image}, {"logits": (None, len(manifest.classes))}, {}),
    }
    return expected[role]


def _check(graph: GraphSignature, kind: str, specs: Sequence[TensorSpec], required: Tensors, optional: Tensors) -> None:
    """Every required tensor is there, nothing unknown is, and shapes are those of the role. Labels are int64."""
    names = {spec.name for spec in specs}
    if missing := required.keys() - names:
        raise ModelRejected(f"{graph.file}: as {graph.role} it needs the {kind}s {sorted(missing)}")
    for spec in specs:
        shape = required.get(spec.name, optional.get(spec.name))
        dtype = "int64" if spec.name == LABEL else "float32"
        if shape is None or spec.dtype != dtype or not _fits(_sizes(spec), shape):
            raise ModelRejected(
                f"{graph.file}: as {graph.role} it cannot have the {kind} {spec.name} {spec.dtype}{list(spec.shape)}"
            )


def _fits(found: Shape, promised: Shape) -> bool:
    return len(found) == len(promised) and all(
        size is not None if wanted == ANY else size == wanted for size, wanted in zip(found, promised, strict=True)
    )


def _sizes(spec: TensorSpec) -> Shape:
    return tuple(size if isinstance(size, int) else None for size in spec.shape)
