"""The model repository: a folder of `<name>/<version>/`, watched, its versions loaded, replaced and let go.

Publication is a rename, so a folder with a version's name is whole. A version that must not be served is remembered
with its reason and never stops the others; it is tried again when its files change. A version that was removed or
replaced lives, with its memory, until the last request that holds it has its answer.
"""

from __future__ import annotations

import asyncio
import difflib
import logging
import re
import weakref
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from app.errors import LoadRefused, ModelNotFound, ModelRejected, ModelUnavailable, shorten
from app.manifest import NAME_PATTERN, Manifest
from app.runtime.machine import release_memory
from app.runtime.model import GenerativeModel
from app.runtime.plan import Planner
from app.runtime.version import Version, open_version, read_manifest
from app.telemetry import Metrics

logger = logging.getLogger(__name__)

_NAME = re.compile(NAME_PATTERN.replace("$", r"\Z"))
_VERSION = re.compile(r"[1-9][0-9]{0,8}\Z")

UNLOADED = "unloaded"
"""The reason why an unloaded version is not served."""

Key = tuple[str, int]
Fingerprint = tuple[tuple[str, int, int, int], ...]
EarlyVersions = Future[dict[Key, tuple[Fingerprint, Version]]]
"""Name, size, modification time in ns and inode of every file in a version's folder."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the catalogue. `version` is the one that its bare name means, `versions` all that are ready.

    `reason` says why the newest version is not served, also where an older one stands in for it.
    """

    name: str
    version: int
    versions: tuple[int, ...]
    status: Literal["ready", "failed"]
    model: GenerativeModel | None
    reason: str | None
    manifest: Manifest | None


@dataclass(frozen=True, slots=True)
class Published:
    """One version of one model: served where it has a model; `reason` says why the files on disk are not."""

    name: str
    version: int
    model: GenerativeModel | None
    reason: str | None
    manifest: Manifest | None


@dataclass(frozen=True, slots=True)
class _Slot:
    """One version as last seen on disk: its model, or why there is none, or both where bad files replaced good ones."""

    fingerprint: Fingerprint
    model: GenerativeModel | None
    reason: str | None
    manifest: Manifest | None


class ModelRepository:
    """The versions under `root`, kept up to date every `poll_interval_s` between `open` and `close`."""

    def __init__(
        self,
        root: Path,
        *,
        planner: Planner,
        queue_rows: int,
        poll_interval_s: float,
        metrics: Metrics | None = None,
        early: EarlyVersions | None = None,
    ) -> None:
        """`early` are versions that somebody opens already; they are taken where the files are still the same."""
        self._root = root
        self._planner = planner
        self._queue_rows = queue_rows
        self._poll_interval_s = poll_interval_s
        self._metrics = metrics
        self._early = early
        self._slots: dict[Key, _Slot] = {}
        self._unloaded: set[str] = set()
        self._leaving: list[weakref.ref[GenerativeModel]] = []
        self._refreshing = asyncio.Lock()
        self._poller: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Load what is published and watch for more."""
        await self.refresh()
        self._early = None
        self._poller = asyncio.create_task(self._poll(), name="model repository")

    async def refresh(self) -> None:
        """One scan: load new and changed versions, let go of removed ones."""
        async with self._refreshing:
            found = await asyncio.to_thread(scan, self._root)
            for key in sorted(found.keys() - self._unchanged(found)):
                await self._load(key, found[key])
            for key in self._slots.keys() - found.keys():
                self._let_go(self._slots.pop(key).model)
                logger.info("model %s@%d was removed", *key)

    async def close(self) -> None:
        """Stop watching, finish what the models were asked, close them."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.wait([self._poller])
        async with self._refreshing:
            models = [slot.model for slot in self._slots.values() if slot.model]
            self._slots.clear()
        await asyncio.gather(*(model.close() for model in models))

    async def unload(self, name: str) -> None:
        """Serve no version of a model until `load`; returns when what it had been asked is answered.

        Raises ModelNotFound.
        """
        async with self._refreshing:
            if not (slots := self._versions(name)):
                raise ModelNotFound(self._not_found(name))
            self._unloaded.add(name)
            for version, slot in slots.items():
                self._slots[name, version] = replace(slot, model=None, reason=UNLOADED)
                self._let_go(slot.model)
            logger.info("model %s was unloaded", name)
        await asyncio.gather(*(slot.model.drain() for slot in slots.values() if slot.model))
        del slots, slot
        await self._release_memory()

    async def load(self, name: str) -> None:
        """Serve a model that was unloaded, was just published, or failed before, as it lies on disk now.

        Raises ModelNotFound, and LoadRefused where a version must not be served; the others are.
        """
        async with self._refreshing:
            self._unloaded.discard(name)
            for version, slot in self._versions(name).items():
                if slot.model is None:
                    self._slots[name, version] = replace(slot, fingerprint=())  # so that the scan takes it for new
        await self.refresh()
        if not self._versions(name):
            raise ModelNotFound(self._not_found(name))
        if reason := self._entry(name).reason:
            raise LoadRefused(f"{name}: {reason}")

    @property
    def ready(self) -> bool:
        """Whether any model is being served."""
        return any(slot.model for slot in self._slots.values())

    def get(self, ref: str) -> GenerativeModel:
        """The model for `name` (its newest ready version) or `name@version`.

        Raises ModelNotFound, with up to three near names, and ModelUnavailable where the files are there but bad.
        """
        name, at, version = ref.partition("@")
        newest, found = 0, None
        for (owner, number), slot in self._slots.items():  # one pass: every request comes by here
            if owner == name and slot.model and number > newest and (not at or str(number) == version):
                newest, found = number, slot.model
        if found is None:
            raise self._missing(ref)
        return found

    def entries(self) -> list[Entry]:
        """The catalogue, by name."""
        return [self._entry(name) for name in sorted({name for name, _ in self._slots})]

    def published(self) -> list[Published]:
        """Every version of every model, by name and version."""
        slots = sorted(self._slots.items(), key=lambda item: item[0])
        return [Published(*key, slot.model, slot.reason, slot.manifest) for key, slot in slots]

    def _versions(self, name: str) -> dict[int, _Slot]:
        """The versions of a model, ascending."""
        return {version: self._slots[owner, version] for owner, version in sorted(self._slots) if owner == name}

    def _entry(self, name: str) -> Entry:
        slots = self._versions(name)
        ready = {version: slot.model for version, slot in slots.items() if slot.model}
        refused = [f"version {version}: {slot.reason}" for version, slot in slots.items() if slot.reason]
        version = max(ready or slots)
        model = ready.get(version)
        return Entry(
            name=name,
            version=version,
            versions=tuple(ready),
            status="ready" if model else "failed",
            model=model,
            reason=refused[-1] if refused else None,
            manifest=model.manifest if model else slots[version].manifest,
        )

    def _missing(self, ref: str) -> ModelNotFound | ModelUnavailable:
        """Why `get` finds no model."""
        name, at, version = ref.partition("@")
        slots = {number: slot for number, slot in self._versions(name).items() if not at or str(number) == version}
        if not slots:
            return ModelNotFound(self._not_found(ref))
        if name in self._unloaded:
            return ModelUnavailable(f"{shorten(ref)} was unloaded by an administrator")
        return ModelUnavailable(f"{shorten(ref)} failed to load: {slots[max(slots)].reason}")

    def _not_found(self, ref: str) -> str:
        name = ref.partition("@")[0]
        if versions := self._versions(name):
            return f"{name} has no version {shorten(ref[len(name) + 1 :])}; it has {', '.join(map(str, versions))}"
        near = difflib.get_close_matches(name[:64], {owner for owner, _ in self._slots}, n=3)
        return f"there is no model {shorten(ref)}" + (f"; did you mean {' or '.join(near)}?" if near else "")

    def _unchanged(self, found: dict[Key, Fingerprint]) -> set[Key]:
        return {key for key, slot in self._slots.items() if found.get(key) == slot.fingerprint}

    async def _load(self, key: Key, fingerprint: Fingerprint) -> None:
        """Open a new or changed version. Where good files were replaced by bad ones, the model in memory stays."""
        before = self._slots.get(key)
        if key[0] in self._unloaded:
            self._slots[key] = _Slot(fingerprint, None, UNLOADED, before.manifest if before else None)
            return
        slot = await asyncio.to_thread(self._attempt, key, fingerprint)
        if slot.model is None:
            logger.warning("model %s@%d is not served: %s", *key, slot.reason)
            self._slots[key] = replace(slot, model=before.model) if before else slot
            return
        plans = {role: str(plan) for role, plan in slot.model.plans.items()}
        logger.info("model %s@%d is ready", *key, extra={"fields": plans})
        self._slots[key] = slot
        self._let_go(before.model if before else None)

    def _attempt(self, key: Key, fingerprint: Fingerprint) -> _Slot:
        folder, manifest = self._root / key[0] / str(key[1]), None
        try:
            if (version := self._opened_early(key, fingerprint)) is None:
                manifest = read_manifest(folder)
                version = open_version(folder, manifest, self._planner)
        except ModelRejected as error:
            return _Slot(fingerprint, None, error.detail, manifest)
        model = GenerativeModel(version, queue_rows=self._queue_rows, metrics=self._metrics)
        return _Slot(fingerprint, model, None, version.manifest)

    def _opened_early(self, key: Key, fingerprint: Fingerprint) -> Version | None:
        if self._early is None or self._early.exception() is not None:  # either waits until it is done
            return None
        found = self._early.result().get(key)
        return found[1] if found and found[0] == fingerprint else None

    def _let_go(self, model: GenerativeModel | None) -> None:
        """Remember a model that is served no more, until the last request that holds it has ended."""
        if model is not None:
            self._leaving.append(weakref.ref(model))

    async def _release_memory(self) -> None:
        """Give back to the system what models held that have gone since the last time."""
        staying = [model for model in self._leaving if model() is not None]
        gone, self._leaving = len(self._leaving) - len(staying), staying
        if gone:
            await asyncio.to_thread(release_memory)
            logger.info("the memory of %d models was given back", gone)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_interval_s)
            try:
                await self.refresh()
                await self._release_memory()
            except Exception:  # a watcher that died would hide every later publication
                logger.exception("a scan of the model repository failed; the next one tries again")


def scan(root: Path) -> dict[Key, Fingerprint]:
    """Every version under `root` by the names of folders alone; drafts, hidden folders and strays have none."""
    return {
        (model.name, int(version.name)): _fingerprint(version)
        for model in _folders(root, _NAME)
        for version in _folders(model, _VERSION)
    }


def _folders(parent: Path, pattern: re.Pattern[str]) -> list[Path]:
    try:
        return [child for child in parent.iterdir() if pattern.match(child.name) and child.is_dir()]
    except OSError:  # absent, unreadable, or gone since it was listed
        return []


def _fingerprint(folder: Path) -> Fingerprint:
    try:
        stats = [(file.name, file.stat()) for file in sorted(folder.iterdir()) if file.is_file()]
    except OSError:
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in stats)
