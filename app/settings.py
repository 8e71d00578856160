"""Every knob an operator may turn, read from environment variables `LATENTSERVE_<NAME>`.

Only `python -m app` and the application factory see this class; everything below receives plain values.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "LATENTSERVE_"

Auto = Literal["auto"]

FOREIGN_NAMES = frozenset({"DATA_DIR"})
"""Variables with our prefix that belong to training."""


class Settings(BaseSettings):
    """The service's settings. A variable with our prefix that is no setting stops the start."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", allow_inf_nan=False
    )

    host: str = "127.0.0.1"
    """Where to listen: this machine only, unless told otherwise (0.0.0.0 in the container)."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """0 lets the system choose."""
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes; each loads every model, so memory grows with it. One process already uses several cores by graph."""
    models_dir: Path = Path("models")
    models_poll_s: Annotated[float, Field(gt=0, le=3600)] = 5.0
    """How often the models folder is looked at for new versions."""

    api_keys_file: Path | None = None
    """Lines `name:sha256hex`; without it `/v1` is open."""
    admin_keys_file: Path | None = None
    """Same form; its keys also open everything that API keys open."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated origins whose pages may call the API."""

    max_body_bytes: Annotated[int, Field(ge=1024)] = 16 * 2**20
    max_image_pixels: Annotated[int, Field(ge=64)] = 16 * 2**20
    """Of one picture sent, read from its header; and of all the pictures of one answer together."""
    max_images: Annotated[int, Field(ge=1)] = 256
    """Images that one request may send or ask for."""
    max_sample_images: Annotated[int, Field(ge=1)] = 4096
    """Importance samples × images of one request."""
    queue_rows: Annotated[int, Field(ge=1)] = 1024
    """Rows that may wait for one graph: four of the largest requests."""
    max_batch_rows: Annotated[int, Field(ge=1, le=64)] | Auto = "auto"
    """Rows of one graph run: up to 64, as far as publication holds graphs to the same bytes in any company.

    `auto`, here and below, measures each graph once, a second at most for all of a model when it is loaded.
    """
    graph_threads: Annotated[int, Field(ge=1, le=256)] | Auto = "auto"
    """Threads inside one graph run; small graphs lose more by splitting than they gain."""
    graph_lanes: Annotated[int, Field(ge=1, le=64)] | Auto = "auto"
    """Runs of one graph at a time; those of convolutions gain from one a core."""
    cache_dir: Path | None = None
    """Where measurements are kept for the next start; None: the user's cache folder, or one for temporary files."""
    deadline_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """The longest that a request may take; `X-Timeout-Ms` may lower it."""
    shutdown_grace_s: Annotated[int, Field(ge=0)] = 35
    """How long requests in flight may go on after SIGTERM: a deadline and a little more."""
    watchdog_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """A process whose event loop stands still this long ends, to be replaced."""
    log_format: Literal["human", "json"] | None = None
    """None: `human` on a terminal, `json` elsewhere."""

    access_log: Literal["all", "errors"] = "errors"
    """Which requests have a line in the log: `errors` are those refused or failed. Metrics count all."""

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(origin.strip() for origin in value.split(",") if origin.strip())
        return value

    @model_validator(mode="after")
    def _room_for_the_largest_request(self) -> Settings:
        if self.queue_rows < 2 * self.max_images:
            raise ValueError("queue_rows must be at least twice max_images, or the largest request never fits")
        return self

    @model_validator(mode="after")
    def _no_unknown_variables(self) -> Settings:
        refuse_unknown_variables(os.environ)
        return self


def refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    """Raise ValueError, naming the nearest setting, when a variable with our prefix is no setting."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    ignored = {PREFIX + name for name in FOREIGN_NAMES}
    for name in sorted(environment):
        # Settings are read whatever their case, so that is how they are looked for here.
        if not name.upper().startswith(PREFIX) or name.upper() in known | ignored:
            continue
        near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.0)
        raise ValueError(f"{name} is not a setting; the nearest is {near[0]}")
