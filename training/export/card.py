"""The model card: what a version is, what it was trained on, what was measured, and what it cannot do."""

from __future__ import annotations

from app.manifest import Manifest
from training.export.storage import SMALLEST_HALVED

VAE = (
    "Samples are softer than the data: a decoder that averages over what the latent leaves open blurs it.",
    "The scores are bounds on log p(x) of this model. A picture unlike the training data can score high: "
    "flat and simple pictures often do.",
)
DISCRIMINATOR = (
    "The discriminator tells its own generator's samples from data, and its calibrated probability is of a mixture "
    "of both. It is no measure of quality, and means nothing for other pictures."
)
JOINT_ENCODER = (
    "The encoder learned beside the generator in a game of latents. There is no density here: pictures can be encoded "
    "and reconstructed, not scored, and reconstructions are as near as the table says."
)
BARE_AUTOENCODER = (
    "It is not a generative model: nothing says how its codes are distributed, so it cannot be sampled from.",
)
FITTED_AUTOENCODER = (
    "It was trained to reconstruct. The density that it samples from was fitted to its codes afterwards "
    "(`density.toml`): where that is wrong, samples are unlike any picture.",
    "There is no density of pictures here: it cannot score.",
)
NO_ENCODER = "There is no encoder and no density here: the model cannot encode, reconstruct or score a picture."
SEARCHED = (
    "There is no encoder and no density here: a picture's latent is searched for by the generator's gradient, and what "
    "it cannot generate is met only as nearly as the answer says; pictures cannot be scored."
)
FITTED_ENCODER = (
    "A GAN has neither an encoder nor a density. The encoder was fitted to the finished generator (`encoder.toml`), "
    "and scores are of the assumption that is stated above: they compare pictures under this model, and models only "
    "where these assume the same."
)
CLASSES_LIMIT = (
    "It knows no classes but its own: p(y|x) shares all probability among them, also for a picture of none of them."
)
LISTED_CLASSES = 20


def write_card(manifest: Manifest) -> str:
    """The card as Markdown, from the manifest alone: it cannot say what the manifest does not."""
    parts = [
        f"# {manifest.title}",
        manifest.summary,
        _preview(manifest),
        "## What it is",
        _table(_facts(manifest)),
        _latent_space(manifest),
        "## What was measured",
        "From the published ONNX graphs, with the code that serves them.",
        _metrics(manifest),
        "## How it was trained",
        _table(_training(manifest)),
        "`run.toml` beside this card is the whole configuration.",
        "## What it cannot do",
        "\n".join(f"- {limit}" for limit in _limits(manifest)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _preview(manifest: Manifest) -> str:
    if "sample" in manifest.capabilities:
        return "![samples](preview.png)"
    return "![test pictures, each followed by its reconstruction](preview.png)"


def _latent_space(manifest: Manifest) -> str:
    if "image_to_latent" not in manifest.roles:
        return ""
    beside = (
        "alone: there is no prior" if manifest.latent.prior == "none" else "(blue) beside samples of the prior (grey)"
    )
    return (
        "## What its latent space looks like\n\n"
        "Codes of test pictures on their first two principal components, by class:\n\n"
        "![map of the latent space](latent_map.png)\n\n"
        f"The codes {beside}; on the right the dimensions that vary most:\n\n"
        "![aggregate posterior](aggregate_posterior.png)"
    )


def _limits(manifest: Manifest) -> tuple[str, ...]:
    if manifest.family != "autoencoder":
        family = VAE if manifest.family == "vae" else ()
        judge = (DISCRIMINATOR,) if "image_to_realism" in manifest.roles else ()
        know = (CLASSES_LIMIT,) if "classify" in manifest.capabilities else ()
        return (*_missing(manifest), *family, *judge, *know)
    return BARE_AUTOENCODER if manifest.latent.prior == "none" else FITTED_AUTOENCODER


def _missing(manifest: Manifest) -> tuple[str, ...]:
    """Of what a generator lacks, or was given afterwards."""
    if manifest.likelihood and manifest.likelihood.assumption:
        return (FITTED_ENCODER,)
    if "image_to_latent" in manifest.roles:
        return (JOINT_ENCODER,) if manifest.family == "gan" else ()
    return (SEARCHED,) if "encode" in manifest.capabilities else (NO_ENCODER,)


def _facts(manifest: Manifest) -> dict[str, str]:
    image, likelihood = manifest.image, manifest.likelihood
    return {
        "name, version": f"`{manifest.name}@{manifest.version}`",
        "family": manifest.family,
        "capabilities": ", ".join(manifest.capabilities),
        "pictures": f"{image.height}×{image.width}, {image.channels} channel{'s' if image.channels > 1 else ''}",
        "pictures are read as": _observation(manifest),
        "latent": f"{manifest.latent.size} numbers, prior {manifest.latent.prior.replace('_', ' ')}",
        **({"classes": _classes(manifest)} if manifest.classes else {}),
        **({"likelihood": f"{likelihood.kind}; nats of {likelihood.nats_of}"} if likelihood else {}),
        **({"assumption": likelihood.assumption} if likelihood and likelihood.assumption else {}),
    }


def _classes(manifest: Manifest) -> str:
    names = ", ".join(manifest.classes[:LISTED_CLASSES]) + (", …" if len(manifest.classes) > LISTED_CLASSES else "")
    told = [graph.role for graph in manifest.graphs if graph.takes_label]
    return f"{len(manifest.classes)}: {names}" + (f"; the label is an input of {', '.join(told)}" if told else "")


def _observation(manifest: Manifest) -> str:
    image = manifest.image
    if image.observation == "threshold":
        return f"binary: white from a grey of {image.threshold:g} up, else black"
    return f"grey levels in [{image.pixel_range.low:g}, {image.pixel_range.high:g}]"


def _training(manifest: Manifest) -> dict[str, str]:
    source = manifest.provenance
    return {
        "data": f"{source.data_set}, {source.train_images:,} training images, sha256 `{source.data_sha256[:16]}…`",
        "experiment": f"`{source.experiment}`, seed {source.seed}",
        "length": f"{source.steps:,} steps, {source.train_seconds / 60:.1f} minutes",
        "hardware": source.hardware,
        "code": f"commit `{source.commit}`",
        "weights": f"large matrices and kernels ({SMALLEST_HALVED:,} numbers or more) rounded to half precision before "
        f"all that is measured here{_shared(manifest)}",
        "libraries": ", ".join(f"{name} {version}" for name, version in source.libraries.items()),
        "PyTorch against ONNX": ", ".join(f"{role} {error:.1e}" for role, error in manifest.parity_error.items()),
    }


def _shared(manifest: Manifest) -> str:
    """Whoever copies a graph alone would miss them."""
    return f"; those of more than one graph stand once, in `{manifest.weights.file}`" if manifest.weights else ""


def _metrics(manifest: Manifest) -> str:
    rows = ["| | value | of | protocol |", "| --- | --- | --- | --- |"]
    for name, metric in manifest.metrics.items():
        error = "" if metric.standard_error is None else f" ± {metric.standard_error:.2g}"
        cells = (name.replace("_", " "), f"{metric.value:.4g}{error}", metric.unit, metric.protocol)
        rows.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join(rows)


def _table(rows: dict[str, str]) -> str:
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {_cell(value)} |" for name, value in rows.items())])


def _cell(text: str) -> str:
    """Within a table p(x|y) must not end a cell."""
    return text.replace("|", r"\|")
