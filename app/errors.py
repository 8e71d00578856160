"""Every error the service answers with, as one tree. Each class owns its HTTP status and its stable code.

LatentServeError
├── RequestError                     the caller can mend it
│   ├── MalformedJson            400
│   ├── Unauthorized             401
│   ├── Forbidden                403
│   ├── NotFound                 404
│   ├── ModelNotFound            404
│   ├── MapNotFound              404
│   ├── MethodNotAllowed         405
│   ├── NotAcceptable            406
│   ├── BodyStalled              408
│   ├── CapabilityNotOffered     409
│   ├── LoadRefused              409
│   ├── ReceiptNotReproducible   409
│   ├── PayloadTooLarge          413
│   ├── ImageTooLarge            413
│   ├── UnsupportedMediaType     415
│   ├── UnsupportedImage         415
│   ├── InvalidInput             422
│   │   ├── EmptyImage           422
│   │   └── CorruptImage         422
│   └── HeadersTooLarge          431
├── ServiceError                     the service or its load
│   ├── NotSupported             501
│   ├── ModelUnavailable         503
│   ├── Overloaded               503
│   ├── ShuttingDown             503
│   ├── DeadlineExceeded         504
│   └── ModelOutputInvalid       500
└── ModelRejected                    a version that must not be served (never leaves the repository)

The message is what a person reads; it quotes at most 64 characters of what was sent (`shorten`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field: a JSON pointer (RFC 6901), what is wrong, and the limit or item index where one applies."""

    pointer: str
    detail: str
    limit: float | None = None
    index: int | None = None


class LatentServeError(Exception):
    """Root of the tree."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "The service failed"

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = (), retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s


class RequestError(LatentServeError):
    """The caller can mend it."""

    status, code, title = 400, "bad-request", "The request is wrong"


class MalformedJson(RequestError):
    """The body is not JSON, is nested too deeply, or repeats a key."""

    status, code, title = 400, "malformed-json", "The body is not well-formed JSON"


class Unauthorized(RequestError):
    """The call needs an API key as `Authorization: Bearer`, and none or an unknown one came."""

    status, code, title = 401, "unauthorized", "An API key is needed"


class Forbidden(RequestError):
    """The call is an administrator's: it needs a key of the admin keys file. Where that file is not set, nobody may."""

    status, code, title = 403, "forbidden", "An admin key is needed"


class NotFound(RequestError):
    """Nothing lives at this address."""

    status, code, title = 404, "not-found", "Nothing lives at this address"


class ModelNotFound(RequestError):
    """No such model or version is published here."""

    status, code, title = 404, "model-not-found", "No such model"


class MapNotFound(RequestError):
    """The model was published without a latent map."""

    status, code, title = 404, "map-not-found", "This model has no latent map"


class MethodNotAllowed(RequestError):
    """The address exists but does not take this method; `Allow` lists those it takes."""

    status, code, title = 405, "method-not-allowed", "This address does not take that method"


class NotAcceptable(RequestError):
    """None of the media types that the caller accepts can be made."""

    status, code, title = 406, "not-acceptable", "None of the accepted media types can be made"


class BodyStalled(RequestError):
    """The caller stopped sending its body half-way."""

    status, code, title = 408, "body-stalled", "The body did not arrive in time"


class CapabilityNotOffered(RequestError):
    """The model exists but cannot do this; `capabilities` is what it can do."""

    status, code, title = 409, "capability-not-offered", "This model cannot do that"

    def __init__(self, detail: str, *, capabilities: Sequence[str]) -> None:
        super().__init__(detail)
        self.capabilities = tuple(capabilities)


class LoadRefused(RequestError):
    """The model was to be loaded anew and a version of it must not be served; what was served before still is."""

    status, code, title = 409, "load-refused", "The model cannot be loaded as it is published"


class ReceiptNotReproducible(RequestError):
    """The receipt's bytes cannot be made here any more; `errors` points at each part of the receipt that changed."""

    status, code, title = 409, "receipt-not-reproducible", "What the receipt names is not here any more"


class PayloadTooLarge(RequestError):
    """The body is over the cap."""

    status, code, title = 413, "payload-too-large", "The body is too large"


class ImageTooLarge(RequestError):
    """A picture has more pixels than are decoded here."""

    status, code, title = 413, "image-too-large", "The picture is too large"


class UnsupportedMediaType(RequestError):
    """The body's Content-Type or Content-Encoding is not read here; `accepted` is what is."""

    status, code, title = 415, "unsupported-media-type", "The content type is not supported"

    def __init__(self, detail: str, *, accepted: Sequence[str] = ()) -> None:
        super().__init__(detail)
        self.accepted = tuple(accepted)


class UnsupportedImage(RequestError):
    """The bytes are not a PNG, JPEG or WebP picture, or not of the type they claim."""

    status, code, title = 415, "unsupported-image", "The picture's format is not supported"


class InvalidInput(RequestError):
    """The request is well-formed but its values are not accepted."""

    status, code, title = 422, "invalid-input", "A value is not accepted"


class EmptyImage(InvalidInput):
    """A picture of no bytes, or no picture at all."""

    status, code, title = 422, "empty-image", "There is no picture"


class CorruptImage(InvalidInput):
    """The picture's header is fine but its data cannot be decoded."""

    status, code, title = 422, "corrupt-image", "The picture cannot be decoded"


class HeadersTooLarge(RequestError):
    """The request has too many headers, or too long ones."""

    status, code, title = 431, "headers-too-large", "The headers are too large"


class ServiceError(LatentServeError):
    """The service or its load; the same request may work later."""


class NotSupported(ServiceError):
    """The protocol knows this call, but this service, as it is set up, does not offer it."""

    status, code, title = 501, "not-supported", "This service does not offer that"


class ModelUnavailable(ServiceError):
    """The model is published but failed to load, or was unloaded by an administrator."""

    status, code, title = 503, "model-unavailable", "The model is not loaded"


class Overloaded(ServiceError):
    """The model's queue has no room for these rows."""

    status, code, title = 503, "overloaded", "The queue is full"


class ShuttingDown(ServiceError):
    """The service is draining and takes no new work."""

    status, code, title = 503, "shutting-down", "The service is shutting down"


class DeadlineExceeded(ServiceError):
    """The deadline passed before an answer was ready."""

    status, code, title = 504, "deadline-exceeded", "The deadline passed"


class ModelOutputInvalid(ServiceError):
    """A graph answered with a value that is not finite."""

    status, code, title = 500, "model-output-invalid", "The model answered with a value that is not finite"


class ModelRejected(LatentServeError):
    """A version on disk must not be served: wrong checksum, signature, operator or golden output."""


def shorten(value: object, limit: int = 64) -> str:
    """`value` as text of at most `limit` characters, safe to quote in an answer."""
    text = str(value)
    printable = "".join(character if character.isprintable() else "?" for character in text[: limit + 1])
    return printable if len(printable) <= limit else printable[: limit - 1] + "…"
