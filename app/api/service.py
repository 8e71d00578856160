"""What a route is given: the model it was asked for, the limits, and the moment by which it must answer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Path, Request

from app.errors import CapabilityNotOffered, FieldError, InvalidInput, shorten
from app.manifest import ImageSpace
from app.runtime.model import GenerativeModel
from app.runtime.repository import ModelRepository

NO_PRIOR = (
    ": an autoencoder is not yet a generative model, nothing says how its codes are distributed and so which to draw "
    "(python -m training fit-density fits a density to them)"
)
"""Why a model that can decode cannot sample."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for."""

    images: int
    sample_images: int
    image_pixels: int
    body_bytes: int

    def most_images(self, space: ImageSpace) -> int:
        """How many images of one size an answer may hold."""
        return min(self.images, self.image_pixels // (space.height * space.width))

    def check_images(self, count: int, model: GenerativeModel, pointer: str) -> None:
        """Raise InvalidInput when `count` images of `model` are more than one answer may hold."""
        if count > self.images:
            detail = f"at most {self.images} images a request, this is {count}"
            raise InvalidInput(detail, errors=[FieldError(pointer, detail, limit=self.images)])
        space = model.manifest.image
        if count * space.height * space.width > self.image_pixels:
            most = self.image_pixels // (space.height * space.width)
            detail = f"at most {most} images of {space.height}×{space.width} pixels a request, this is {count}"
            raise InvalidInput(detail, errors=[FieldError(pointer, detail, limit=most)])

    def check_draws(self, draws: int, images: int) -> None:
        """Raise InvalidInput when draws × images is over the limit on images."""
        if draws * images > self.images:
            most = self.images // images
            detail = f"draws × images is at most {self.images}: at most {most} draws for {images} images"
            raise InvalidInput(detail, errors=[FieldError("/draws", detail, limit=most)])

    def check_samples(self, samples: int, images: int, pointer: str = "/samples") -> None:
        """Raise InvalidInput when importance samples × images is over the limit."""
        if samples * images > self.sample_images:
            most = self.sample_images // images
            detail = f"samples × images is at most {self.sample_images}: at most {most} samples for {images} images"
            raise InvalidInput(detail, errors=[FieldError(pointer, detail, limit=most)])


class Service:
    """One running application: its models, its limits, and whether it is draining."""

    def __init__(
        self, repository: ModelRepository, limits: Limits, *, deadline_s: float, public: bool, alone: bool
    ) -> None:
        self.repository = repository
        self.limits = limits
        self.deadline_s = deadline_s
        self.public = public
        """No API key is asked for, so shared caches may keep what never changes."""
        self.alone = alone
        """There is no other worker process with models of its own."""
        self.draining = False

    @property
    def ready(self) -> bool:
        """New requests are welcome."""
        return self.repository.ready and not self.draining


async def service_of(request: Request) -> Service:
    """The application's service."""
    service: Service = request.app.state.service
    return service


def offering(capability: str) -> Callable[[str, Service], Awaitable[GenerativeModel]]:
    """A dependency: the model of the address, which must offer `capability`; see `find_model`."""

    async def served_model(model: ModelAddress, service: ServiceOf) -> GenerativeModel:
        return find_model(service.repository, model, capability)

    return served_model


def find_model(repository: ModelRepository, ref: str, capability: str) -> GenerativeModel:
    """The model `ref`, which must offer `capability`.

    Raises:
        ModelNotFound, ModelUnavailable: there is no such model, or it is not loaded.
        CapabilityNotOffered: it cannot do that.
    """
    found = repository.get(ref)
    check_offers(found, capability)
    return found


def check_offers(model: GenerativeModel, capability: str) -> None:
    """Raise CapabilityNotOffered, with what it can do, where a model cannot do this."""
    if capability not in model.capabilities:
        raise not_offered(model, capability)


def not_offered(model: GenerativeModel, capability: str) -> CapabilityNotOffered:
    """The refusal of what `model` cannot do: why, where its prior says so, and what it can do."""
    offers = ", ".join(model.capabilities) or "nothing"
    why = NO_PRIOR if capability == "sample" and "decode" in model.capabilities else ""
    detail = f"{model.ref} does not offer {capability}{why}; it offers {offers}"
    return CapabilityNotOffered(detail, capabilities=model.capabilities)


async def deadline_of(
    service: ServiceOf,
    x_timeout_ms: Annotated[str | None, Header(description="Answer within this many milliseconds, or 504.")] = None,
) -> float:
    """The `time.monotonic()` by which this request must be answered.

    Raises:
        InvalidInput: `X-Timeout-Ms` is not a positive number of milliseconds.
    """
    allowed_s = service.deadline_s
    if x_timeout_ms is not None:
        if not (
            x_timeout_ms.isascii() and x_timeout_ms.isdigit() and len(x_timeout_ms) <= 12 and int(x_timeout_ms) > 0
        ):
            detail = f"a whole number of milliseconds above 0, got {shorten(x_timeout_ms)}"
            raise InvalidInput(f"X-Timeout-Ms: {detail}", errors=[FieldError("/header/x-timeout-ms", detail)])
        allowed_s = min(allowed_s, int(x_timeout_ms) / 1000)
    return time.monotonic() + allowed_s


ServiceOf = Annotated[Service, Depends(service_of)]
Deadline = Annotated[float, Depends(deadline_of)]
ModelAddress = Annotated[
    str, Path(description="`name` (its newest ready version) or `name@version`", examples=["tiny_vae", "tiny_vae@1"])
]
