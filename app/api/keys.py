"""API keys: a file of names and digests, read again when it changes."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63}):([0-9a-f]{64})")

logger = logging.getLogger(__name__)


@dataclass
class KeyFile:
    """Lines `name:sha256hex`; empty lines and `#` comments are skipped. The keys themselves are stored nowhere.

    The first reading raises OSError or ValueError; later ones keep the keys known before and log the reason, so that
    an editor's half-written file neither opens nor closes the service.
    """

    path: Path
    _names: dict[str, str] = field(init=False, repr=False)
    _seen: tuple[int, int, int] = field(init=False)

    def __post_init__(self) -> None:
        self._seen = self._fingerprint()
        self._names = parse_keys(self.path.read_text(encoding="utf-8"))

    def holder(self, key: str) -> str | None:
        """The name of the holder of `key`, or None. Takes as long for a near miss as for a far one."""
        self._reread()
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        matches = [name for known, name in self._names.items() if hmac.compare_digest(known, digest)]
        return matches[0] if matches else None

    def _reread(self) -> None:
        try:
            if (found := self._fingerprint()) != self._seen:
                self._seen = found
                self._names = parse_keys(self.path.read_text(encoding="utf-8"))
                logger.info("read %d keys again", len(self._names))
        except (OSError, ValueError) as error:
            logger.warning("the keys file cannot be read, the keys known before stay: %s", error)

    def _fingerprint(self) -> tuple[int, int, int]:
        stat = self.path.stat()
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


def parse_keys(text: str) -> dict[str, str]:
    """Names by digest; ValueError names the first line that is neither a key nor a comment, never its content."""
    names = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not (content := line.strip()) or content.startswith("#"):
            continue
        found = _LINE.fullmatch(content)
        if found is None:
            raise ValueError(f"line {number} is not name:sha256hex")
        names[found[2]] = found[1]
    return names
