"""From a finished run to a model version that a running service picks up: staged beside, checked, then renamed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import tomli_w

from app.manifest import DirectionsFile, GraphRole, GraphSignature, Manifest, MapFile, Metric, OutlierFile, Provenance
from app.runtime.session import GraphSession
from app.runtime.weights import read_weights
from training.data.splits import DataSplits
from training.evaluation.direction_search import find_directions
from training.evaluation.outliers import calibrate_outliers
from training.evaluation.published import PublishedGraphs, active_dimensions, calibration, measure
from training.evaluation.quality import Jury, Samples
from training.evaluation.realism import calibrate_realism, calibration_error
from training.export.first_layer import first_layer
from training.export.golden import golden_case
from training.export.graphs import Graph
from training.export.invariance import SAMPLING_ROLES, check_invariance
from training.export.latent_points import latent_points
from training.export.parity import check_parity
from training.export.pictures import write_pictures
from training.export.sharing import share_weights
from training.export.to_onnx import write_graph
from training.export.trained import TrainedRun
from training.export.versions import add_version, staging

MAP_FILE = "map.json"
OUTLIERS_FILE = "outliers.json"
DIRECTIONS_FILE = "directions.json"


def export_graphs(run: TrainedRun, folder: Path) -> tuple[Manifest, PublishedGraphs]:
    """Write the graphs; return them open, with a manifest that lacks measurements. Raises ParityError on a mismatch."""
    graphs = run.graphs()
    signatures, shared = share_weights([write_graph(graph, folder) for graph in graphs], folder)
    weights = read_weights(folder, shared)  # from here on everything is of what is published
    for graph, signature in zip(graphs, signatures, strict=True):
        if graph.role in SAMPLING_ROLES:
            check_invariance(graph, folder / signature.file, signature, weights)
    sessions: dict[GraphRole, GraphSession] = {
        signature.role: GraphSession.open(folder / signature.file, signature, weights=weights)
        for signature in signatures
    }
    manifest = _manifest(run, graphs, signatures, sessions).model_copy(update={"weights": shared})
    return manifest, PublishedGraphs(manifest.image, sessions, manifest.prior_of_labels)


def publish(run: TrainedRun, data: DataSplits, models_dir: Path, jury: Jury | None = None) -> Path:
    """Export, check, measure and describe a run, then make it the next version of its name; returns its folder.

    Where there is a jury and the model can sample, its samples are judged. The version appears whole, by one rename, or
    not at all.
    """
    with staging(models_dir) as staged:
        manifest, graphs = export_graphs(run, staged)
        manifest = _measured(manifest, graphs, run, data, staged)
        manifest = manifest.model_copy(update={"metrics": manifest.metrics | _judged(manifest, graphs, run, jury)})
        _configure(run, staged)
        write_pictures(manifest, graphs, data, staged)
        return add_version(manifest, staged, models_dir)


def _manifest(
    run: TrainedRun,
    graphs: Sequence[Graph],
    signatures: Sequence[GraphSignature],
    sessions: dict[GraphRole, GraphSession],
) -> Manifest:
    config, source = run.config, run.provenance
    labelled = any(graph.classes for graph in graphs)
    return Manifest(
        name=config.name,
        version=1,
        title=config.title,
        summary=config.summary,
        family=config.model.family,
        image=run.image_space,
        latent=run.latent_space,
        classes=run.classes if labelled else (),
        class_probabilities=run.class_probabilities if labelled else (),
        likelihood=run.likelihood,
        graphs=tuple(signatures),
        golden=tuple(golden_case(graph, sessions[graph.role]) for graph in graphs),
        parity_error={graph.role: check_parity(graph, sessions[graph.role]) for graph in graphs},
        provenance=Provenance(
            data_set=source.data_set,
            data_sha256=source.data_sha256,
            train_images=source.train_images,
            experiment=source.experiment,
            seed=config.seed,
            steps=run.steps,
            train_seconds=round(run.train_seconds, 1),
            hardware=source.hardware,
            commit=source.commit,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            libraries={**source.libraries, **{name: version(name) for name in ("onnx", "onnxruntime")}},
        ),
    )


def _measured(manifest: Manifest, graphs: PublishedGraphs, run: TrainedRun, data: DataSplits, staged: Path) -> Manifest:
    """The manifest with its metrics and, where the model can encode and score, its map and calibration."""
    metrics = measure(graphs, run.config, data)
    updates: dict[str, object] = {}
    if "image_to_evidence" in manifest.roles:
        updates["calibration"] = calibration(graphs, run.config, data)
        if tails := calibrate_outliers(graphs, run.config, data):
            sha256 = _write(staged / OUTLIERS_FILE, tails.model_dump_json().encode())
            updates["outliers"] = OutlierFile(file=OUTLIERS_FILE, sha256=sha256)
    if "image_to_latent" in manifest.roles:
        points = latent_points(graphs, data, run.config.evaluation.map_points)
        updates["map"] = MapFile(file=MAP_FILE, sha256=_write(staged / MAP_FILE, points))
        active = active_dimensions(graphs, data)
        updates["latent"] = manifest.latent.model_copy(update={"active_dimensions": active})
    if "image_to_realism" in manifest.roles:
        updates["realism"] = realism = calibrate_realism(graphs, run.config, data)
        metrics |= calibration_error(graphs, realism, run.config, data)
    if found := find_directions(graphs, manifest, data, first_layer(manifest, staged)):
        sha256 = _write(staged / DIRECTIONS_FILE, found.model_dump_json().encode())
        updates["directions"] = DirectionsFile(file=DIRECTIONS_FILE, sha256=sha256)
    return manifest.model_copy(update={**updates, "metrics": metrics})


def _judged(manifest: Manifest, graphs: PublishedGraphs, run: TrainedRun, jury: Jury | None) -> dict[str, Metric]:
    """What samples are worth, where there is a jury and the model can sample, and why its weights were chosen."""
    found = {"kernel_distance_at_selection": run.selected.metric(run.steps)} if run.selected else {}
    if jury and "sample" in manifest.capabilities:
        found |= jury.quality(Samples.of(graphs, manifest, jury.train))
    return found


def _write(path: Path, content: bytes) -> str:
    """Write a file; the sha256 that the manifest lists it with."""
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _configure(run: TrainedRun, staged: Path) -> None:
    """Write what a version was made by: its run, and what was fitted afterwards."""
    (staged / "run.toml").write_text(tomli_w.dumps(run.config.as_toml_document()), encoding="utf-8")
    if run.density is not None:
        (staged / "density.toml").write_text(tomli_w.dumps(run.density.as_toml_document()), encoding="utf-8")
    if run.encoder is not None:
        (staged / "encoder.toml").write_text(tomli_w.dumps(run.encoder.as_toml_document()), encoding="utf-8")
