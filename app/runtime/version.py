"""A model version's folder, read and checked: what the service holds of it in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from app.calibration import OutlierCalibration
from app.density.outliers import OutlierDetector
from app.errors import ModelRejected, shorten
from app.manifest import GraphRole, Manifest, MapFile, OutlierFile
from app.runtime.golden import verify_golden
from app.runtime.plan import Planner
from app.runtime.roles import check_roles
from app.runtime.session import GraphSession
from app.runtime.tuning import Plan

MANIFEST_FILE = "manifest.json"
MEASURING_S = 0.8
"""What measuring the graphs of a version may take, all together."""


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

    Raises ModelRejected.
    """
    check_roles(manifest)
    plans = {graph.role: plan for graph in manifest.graphs if (plan := planner.known(graph.sha256))}
    sessions: dict[GraphRole, GraphSession] = {}
    for graph in manifest.graphs:
        threads = plans[graph.role].threads if graph.role in plans else planner.plain_threads
        sessions[graph.role] = GraphSession.open(folder / graph.file, graph, threads=threads)
    for case in manifest.golden:
        verify_golden(sessions[case.role], case)
    for role in [role for role in sessions if role not in plans]:
        sessions[role], plans[role] = _planned(folder, sessions[role], planner, MEASURING_S / len(sessions))
    return Version(
        folder=folder,
        manifest=manifest,
        sessions=sessions,
        plans=plans,
        card=(_optional(folder / "card.md") or b"").decode(errors="replace"),
        preview_png=_optional(folder / "preview.png"),
        map_json=None if manifest.map is None else _listed(folder, manifest.map),
        outliers=None if manifest.outliers is None else _detector(folder, manifest.outliers),
    )


def _planned(folder: Path, session: GraphSession, planner: Planner, budget_s: float) -> tuple[GraphSession, Plan]:
    """Measure a graph; the session that its plan asks for, and the plan."""

    def reopened(threads: int) -> GraphSession:
        return GraphSession.open(folder / session.signature.file, session.signature, threads=threads)

    plan = planner.measured(session, reopened, budget_s)
    return session if plan.threads == planner.plain_threads else reopened(plan.threads), plan


def _detector(folder: Path, listed: OutlierFile) -> OutlierDetector:
    try:
        return OutlierDetector(OutlierCalibration.model_validate_json(_listed(folder, listed)))
    except ValidationError as error:
        raise ModelRejected(f"{listed.file}: {_first_complaint(error)}") from error
    except ValueError as error:
        raise ModelRejected(f"{listed.file}: {error}") from error


def _listed(folder: Path, listed: MapFile | OutlierFile) -> bytes:
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
