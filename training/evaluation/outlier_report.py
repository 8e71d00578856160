"""What `python -m training outliers` prints and draws."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from app.calibration import OutlierCalibration
from app.images.pixels import contact_sheet
from app.images.png import encode_png
from training.data.splits import ImageSet
from training.evaluation.detection import COMBINED, LEVEL, Judged, auroc, detection_table, in_words, uniformity

SHOWN = 48
"""Pictures on a sheet."""
BINS = 60
WIDTH, HEIGHT, MARGIN = 560, 70, 26


def report(inside: Judged, outside: Mapping[str, Judged], calibration: OutlierCalibration, name: str) -> str:
    """The table, and every result in words, failures first."""
    calibrated = calibration.values.shape[1]
    areas = {other: auroc(inside.scores[COMBINED], judged.scores[COMBINED]) for other, judged in outside.items()}
    worst_first = sorted(areas, key=lambda other: areas[other])
    lines = [
        detection_table(inside, outside),
        "",
        f"{len(inside.p_values):,} test images of {name}; calibrated on {calibration.split}, K = {calibration.samples}",
        f"of these {inside.found:.1%} have p ≤ {LEVEL}; p-values are uniform: Kolmogorov-Smirnov p = "
        f"{uniformity(inside.p_values, calibrated):.3f}",
        *(in_words(other, areas[other], outside[other].found) for other in worst_first),
    ]
    return "\n".join(lines)


def draw(folder: Path, inside: ImageSet, judged: Judged, outside: Mapping[str, Judged]) -> list[Path]:
    """Write the histograms of every statistic against every set, and the most and least typical test images."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.argsort(judged.scores[COMBINED], kind="stable")
    drawn = {
        "most_typical.png": encode_png(contact_sheet(inside.pictures[order[:SHOWN]], columns=12)),
        "least_typical.png": encode_png(contact_sheet(inside.pictures[order[::-1][:SHOWN]], columns=12)),
    } | {
        f"{Path(name).name}.svg": histograms(judged, other, Path(name).name).encode() for name, other in outside.items()
    }
    for name, content in drawn.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in drawn]


def histograms(inside: Judged, outside: Judged, name: str) -> str:
    """An SVG with a row a statistic: test images blue, the others orange, each with an area of its own size."""
    rows = [
        _row(place, score, inside.scores[score], outside.scores[score]) for place, score in enumerate(inside.scores)
    ]
    height = MARGIN + len(rows) * (HEIGHT + MARGIN)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
        f'<text x="8" y="17">test images (blue) against {name.replace("_", " ")} (orange), larger = stranger</text>'
        f"{''.join(rows)}</svg>\n"
    )


def _row(place: int, score: str, inside: Float[np.ndarray, " n"], outside: Float[np.ndarray, " m"]) -> str:
    top = MARGIN + place * (HEIGHT + MARGIN)
    both = np.concatenate([inside, outside])
    low, high = np.quantile(both, [0.002, 0.998])
    edges = np.linspace(low, max(high, low + 1e-9), BINS + 1)
    shares = [np.histogram(np.clip(values, low, high), edges)[0] / len(values) for values in (inside, outside)]
    scale = HEIGHT / max(float(share.max()) for share in shares)
    label = f"{score.removesuffix('_nats').replace('_', ' ')}: AUROC {auroc(inside, outside):.4f}"
    return (
        f'<text x="{WIDTH - 8}" y="{top + 14}" text-anchor="end">{label}</text>'
        f'<text x="8" y="{top + HEIGHT + 13}" fill="#666">{low:.4g}</text>'
        f'<text x="{WIDTH - 8}" y="{top + HEIGHT + 13}" fill="#666" text-anchor="end">{high:.4g}</text>'
        + "".join(
            _outline(share * scale, top + HEIGHT, colour)
            for share, colour in zip(shares, ("#1f77b4", "#ff7f0e"), strict=True)
        )
    )


def _outline(heights: Float[np.ndarray, " bins"], floor: int, colour: str) -> str:
    step = WIDTH / BINS
    corners = [
        f"{i * step:.1f},{floor - tall:.1f} {(i + 1) * step:.1f},{floor - tall:.1f}" for i, tall in enumerate(heights)
    ]
    points = f"0,{floor} {' '.join(corners)} {WIDTH},{floor}"
    return f'<polygon points="{points}" fill="{colour}" fill-opacity="0.45" stroke="{colour}"/>'
