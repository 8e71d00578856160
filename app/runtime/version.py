"""A model version's folder, read and checked: what the service holds of it in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from app.calibration import OutlierCalibration
from app.density.outliers import OutlierDetector
from app.directions import Directions
from app.errors import ModelRejected, shorten
from app.manifest import DirectionsFile, GraphRole, GraphSignature, Manifest, MapFile, OutlierFile
from app.runtime.golden import verify_golden
from app.runtime.plan import Planner
from app.runtime.roles import check_roles
from app.runtime.session import GraphSession
from app.runtime.tuning import Plan
from app.runtime.weights import Weights, read_weights

MANIFEST_FILE = "manifest.json"
MEASURING_S = 0.8
"""What measuring the graphs of a version may take, all together."""
LATE_ROLES: frozenset[GraphRole] = frozenset({"latent_gradient", "latent_to_evidence"})
"""Opened when they are first run: few ask for them, and they take as much memory as all others of their version."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version, open and proven."""

    folder: Path
    manifest: Manifest
    sessions: dict[GraphRole, GraphSession]
    plans: dict[GraphRole, Plan]
    card: str
    preview_png: bytes | None
    map_json: bytes | None
    outliers: OutlierDetector | None
    directions: Directions | None = None


def read_manifest(folder: Path) -> Manifest:
    """The manifest in `folder`, which lies at `<name>/<version>`. Raises ModelRejected."""
    data = _required(folder / MANIFEST_FILE)
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise ModelRejected(f"{MANIFEST_FILE}: {_first_complaint(error)}") from error
    if (manifest.name, str(manifest.version)) != (folder.parent.name, folder.name):
        found = f"{manifest.name}@{manifest.version}"
        raise ModelRejected(f"{MANIFEST_FILE}: it is of {found}, but lies at {folder.parent.name}/{folder.name}")
    return manifest


def open_version(folder: Path, manifest: Manifest, planner: Planner) -> Version:
    """Open every graph, with its checksum, operators, signature and golden cases verified, and plan how it is run.

    Of late roles that were met before only the file is looked at now; the rest is verified when they are opened.
    Raises ModelRejected.
    """
    check_roles(manifest)
    weights = read_weights(folder, manifest.weights)
    ready = {graph.role: _ready(folder, manifest, graph, planner, weights) for graph in manifest.graphs}
    return Version(
        folder=folder,
        manifest=manifest,
        sessions={role: session for role, (session, _) in ready.items()},
        plans={role: plan for role, (_, plan) in ready.items()},
        card=(_optional(folder / "card.md") or b"").decode(errors="replace"),
        preview_png=_optional(folder / "preview.png"),
        map_json=None if manifest.map is None else _listed(folder, manifest.map),
        outliers=None if manifest.outliers is None else _detector(folder, manifest.outliers),
        directions=_directions(folder, manifest),
    )


def _ready(
    folder: Path, manifest: Manifest, graph: GraphSignature, planner: Planner, weights: Weights | None
) -> tuple[GraphSession, Plan]:
    """A graph as its plan wants it, and the plan: known from before, or measured now."""
    opened = partial(_proven, folder, manifest, graph, weights)
    plan, session = planner.known(graph.sha256), None
    if plan is None:
        session = opened(planner.plain_threads)
        plan = planner.measured(session, opened, MEASURING_S / len(manifest.graphs))
    if graph.role in LATE_ROLES:
        reopened = partial(_reopened, folder, manifest, graph, plan.threads)
        return GraphSession.later(folder / graph.file, graph, reopened, weights=weights), plan
    if session is None or plan.threads != planner.plain_threads:
        session = opened(plan.threads)
    return session, plan


def _reopened(folder: Path, manifest: Manifest, graph: GraphSignature, threads: int) -> GraphSession:
    """The same when the others have been open for long, and what they share is no longer in memory."""
    return _proven(folder, manifest, graph, read_weights(folder, manifest.weights), threads)


def _proven(
    folder: Path, manifest: Manifest, graph: GraphSignature, weights: Weights | None, threads: int
) -> GraphSession:
    """A graph that is open on so many threads, and answers its golden cases as it should."""
    session = GraphSession.open(folder / graph.file, graph, threads=threads, weights=weights)
    for case in manifest.golden:
        if case.role == graph.role:
            verify_golden(session, case)
    return session


def _detector(folder: Path, listed: OutlierFile) -> OutlierDetector:
    try:
        return OutlierDetector(OutlierCalibration.model_validate_json(_listed(folder, listed)))
    except ValidationError as error:
        raise ModelRejected(f"{listed.file}: {_first_complaint(error)}") from error
    except ValueError as error:
        raise ModelRejected(f"{listed.file}: {error}") from error


def _directions(folder: Path, manifest: Manifest) -> Directions | None:
    if (listed := manifest.directions) is None:
        return None
    try:
        found = Directions.model_validate_json(_listed(folder, listed))
    except ValidationError as error:
        raise ModelRejected(f"{listed.file}: {_first_complaint(error)}") from error
    if found.latent_size != manifest.latent.size:
        raise ModelRejected(
            f"{listed.file}: vectors of {found.latent_size} numbers, a latent has {manifest.latent.size}"
        )
    return found


def _listed(folder: Path, listed: MapFile | OutlierFile | DirectionsFile) -> bytes:
    data = _required(folder / listed.file)
    if hashlib.sha256(data).hexdigest() != listed.sha256:
        raise ModelRejected(f"{listed.file}: its sha256 is not the manifest's")
    return data


def _required(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelRejected(f"{path.name} cannot be read: {error.strerror}") from error


def _optional(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _first_complaint(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return shorten(f"{where}: {first['msg']}" if where else first["msg"], 200)
