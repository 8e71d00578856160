"""Where a run keeps its things."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tomli_w
from numpy.typing import NDArray
from PIL import Image

from app.images.pixels import contact_sheet
from app.images.png import encode_png
from app.images.raster import encode_animation
from training.config import RunConfig

FRAME_MS = 400


@dataclass(frozen=True)
class RunFolder:
    """One folder a run: the configuration, the journal, the checkpoint, and pictures."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The whole configuration, defaults included."""
        return self.path / "run.toml"

    @property
    def checkpoint(self) -> Path:
        """The last checkpoint."""
        return self.path / "checkpoint.pt"

    @property
    def best_file(self) -> Path:
        """The weights of a GAN whose samples came nearest to held-out images."""
        return self.path / "best.pt"

    @property
    def density_file(self) -> Path:
        """The density that was fitted to an autoencoder's codes."""
        return self.path / "density.pt"

    @property
    def encoder_file(self) -> Path:
        """The encoder that was fitted to a generator."""
        return self.path / "encoder.pt"

    @property
    def provenance_file(self) -> Path:
        """Where the run comes from."""
        return self.path / "provenance.json"

    def create(self, config: RunConfig) -> None:
        """Make the folder and write the configuration into it; what belongs to a model that was here before goes."""
        self.path.mkdir(parents=True, exist_ok=True)
        for left in (self.density_file, self.encoder_file, self.best_file):
            left.unlink(missing_ok=True)
        self.config_file.write_text(tomli_w.dumps(config.as_toml_document()), encoding="utf-8")

    def save_picture(self, name: str, picture: NDArray[np.uint8]) -> None:
        """Write one picture (H, W, C) as `<name>.png`."""
        path = self.path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(picture))

    def save_animation(self, name: str) -> None:
        """Write the pictures in the folder `name`, by their names, as one animation beside it: `<name>.webp`.

        They are read back: a run that was interrupted has drawn some of them in another process.
        """
        frames = [np.asarray(Image.open(path)) for path in sorted((self.path / name).glob("*.png"))]
        pictures = np.stack([frame.reshape(*frame.shape[:2], -1) for frame in frames])
        (self.path / f"{name}.webp").write_bytes(encode_animation(pictures, "webp", frame_ms=FRAME_MS))

    def save_grid(self, name: str, pictures: NDArray[np.uint8], columns: int | None = None) -> None:
        """Write pictures (N, H, W, C) as one contact sheet, about square unless `columns` are given."""
        self.save_picture(name, contact_sheet(pictures, columns))
