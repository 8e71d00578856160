"""`evaluate --arithmetic`: how often sums of latents are right, beside chance and the same sums of pixels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int64

from training.config import ConfigError
from training.data.splits import DataSplits
from training.evaluation.arithmetic import (
    EXEMPLARS,
    ROUNDS,
    Exemplars,
    Gallery,
    accuracy,
    chance,
    draw_trials,
    outcomes,
    ratio,
)
from training.evaluation.published import PublishedGraphs

KINDS: tuple[Exemplars, ...] = ("pairs", "independent")
PROTOCOL = (
    "a − b + c (Radford et al. 2016, section 6.3.2): c is the motif of a test picture with another value of what "
    f"changes, a and b are means of {EXEMPLARS} exemplars with the wanted value and with c's, of other motifs; c and "
    "the exemplars are training pictures. Pairs: a and b show the same motifs; independent: they do not. Right: of all "
    "pictures, c and the exemplars included, the one asked for is nearest to the answer in pixels. "
    f"{ROUNDS} draws a test picture; 95 % bootstrap intervals over test pictures. c alone: no sum, but c decoded, by a "
    "conditional model in the class that is asked for. Decoded alone: the test picture itself, encoded and decoded."
)


def arithmetic_report(graphs: PublishedGraphs, data: DataSplits) -> str:
    """The shares of right answers as Markdown, with their protocol. ConfigError where it cannot be measured."""
    if not {"image_to_latent", "latent_to_image"} <= graphs.sessions.keys():
        raise ConfigError("arithmetic of pictures needs an encoder; a GAN gets one by `python -m training fit-encoder`")
    gallery = Gallery.of(data)
    lines = [
        "| changed | exemplars | trials | chance | latents | pixels | times | c alone | decoded alone |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    codes = graphs.posterior(gallery.images.pictures, gallery.images.labels)["mean"]
    for changed in gallery.changes:
        lines += [_row(graphs, gallery, codes, changed, exemplars) for exemplars in KINDS]
    return "\n".join(lines) + f"\n\n{PROTOCOL}"


def _row(
    graphs: PublishedGraphs,
    gallery: Gallery,
    codes: Float32[np.ndarray, "n d"],
    changed: tuple[int, ...],
    exemplars: Exemplars,
) -> str:
    def decode(latents: Float32[np.ndarray, "m d"], pictures: Int64[np.ndarray, " m"]) -> Float32[np.ndarray, "m p"]:
        labels = None if gallery.images.labels is None else gallery.images.labels[pictures]
        return graphs.decode(latents, labels).reshape(len(latents), -1).astype(np.float32) / 255

    trials = draw_trials(gallery, changed, exemplars=exemplars)
    found = outcomes(gallery, trials, codes, decode)
    shares = {name: accuracy(trials, outcome) for name, outcome in found.items()}
    cells = (
        " and ".join(gallery.names[place] for place in changed),
        exemplars,
        f"{len(trials.target):,}",
        f"{100 * chance(gallery, trials):.2f} %",
        *(
            f"{100 * shares[name].estimate:.1f} [{100 * shares[name].low:.1f}, {100 * shares[name].high:.1f}] %"
            for name in ("latent", "pixels")
        ),
        str(ratio(trials, found["latent"], found["pixels"])),
        *(f"{100 * shares[name].estimate:.1f} %" for name in ("query", "reconstruction")),
    )
    return f"| {' | '.join(cells)} |"
