"""The explorer's files, as the front page loads them.

Files change only with a release, so the page names them under a digest of them all, where browsers may keep them for
ever; without the digest they are asked for again each time, which is what a page elsewhere that imports the JavaScript
client wants.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "explorer"
PAGE = "index.html"

MEDIA_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Explorer:
    """The page and the files that it loads, by name."""

    page: bytes
    files: Mapping[str, tuple[bytes, str]]
    """Content and media type."""
    digest: str

    @classmethod
    def read(cls, folder: Path = FOLDER) -> Explorer:
        """Everything in `folder`; the page's own addresses lead to where the digest is."""
        paths = sorted(path for path in folder.iterdir() if path.suffix in MEDIA_TYPES)
        files = {path.name: (path.read_bytes(), MEDIA_TYPES[path.suffix]) for path in paths}
        sums = [hashlib.sha256(name.encode() + b"\0" + content).digest() for name, (content, _) in files.items()]
        digest = hashlib.sha256(b"".join(sums)).hexdigest()[:16]
        modules = "".join(
            f'<link rel="modulepreload" href="explorer/{name}">\n' for name in files if name.endswith(".js")
        )
        page = (folder / PAGE).read_text().replace("</head>", f"{modules}</head>")
        return cls(page.replace('"explorer/', f'"explorer/{digest}/').encode(), files, digest)
