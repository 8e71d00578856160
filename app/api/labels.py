"""Labels: classes by name or by index, as they come with a request, for the graphs of conditional models.

A text is the name of a class or else an index in decimal digits; a number is an index. In an address or a form several
labels are separated by commas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.api.payloads import MAX_LABELS, LabelOptions
from app.errors import FieldError, InvalidInput, shorten
from app.manifest import GraphRole
from app.runtime.model import GenerativeModel

Indices = NDArray[np.int64]

SAMPLING: tuple[GraphRole, ...] = ("noise_to_latent", "latent_to_image")
"""What a sample goes through."""
DECODING: tuple[GraphRole, ...] = ("latent_to_image",)
"""What a latent goes through."""
WALKING: tuple[GraphRole, ...] = ("noise_to_latent", "image_to_latent", "latent_to_image")
"""What a Point and the image there may go through."""
LISTED_CLASSES = 20
"""Names of classes that a refusal lists at most."""


def given_labels(address: LabelOptions, body: Mapping[str, Any]) -> int | str | list[int | str] | None:
    """The label of the address or of the body (or a form's); raises InvalidInput where both have one."""
    if address.label is not None and body.get("label") is not None:
        raise InvalidInput("label is given both in the address and in the body")
    return body.get("label") if address.label is None else address.label


def resolve_labels(
    given: int | str | Sequence[int | str] | None,
    model: GenerativeModel,
    count: int,
    roles: Sequence[GraphRole],
    *,
    pointer: str = "/label",
    spare: bool = False,
) -> Indices | None:
    """The classes (`count`,) of as many images; None where none of the graphs that they go through takes a label.

    With `spare` a label is then accepted all the same, and changes nothing, where another graph of the model takes one:
    of some models only the prior is conditional.

    Raises:
        InvalidInput: there must be labels and are none, or the other way round; one is no class of the model; there
            are neither one nor `count`.
    """
    takes = model.takes_label(*roles)
    if given is None:
        if takes:
            raise _refused(f"{model.ref} is conditional and needs a label: {_listed(model)}", pointer)
        return None
    if not takes and not (spare and model.manifest.conditional_roles):
        raise _refused(f"{model.ref} takes no label here: nothing that this goes through is conditional", pointer)
    found = _one_each(given, model, count, pointer)
    return found if takes else None


def _one_each(given: int | str | Sequence[int | str], model: GenerativeModel, count: int, pointer: str) -> Indices:
    indices = _indices(given, model, pointer)
    if len(indices) not in (1, count):
        detail = f"one label, or one for each of {count} images, not {len(indices)}"
        raise InvalidInput(detail, errors=[FieldError(pointer, detail, limit=count)])
    return np.resize(np.array(indices, np.int64), count)


def check_every_label(given: object, model: GenerativeModel) -> None:
    """Raise InvalidInput unless `model` scores under labels and no single one was asked for."""
    if not model.takes_label("image_to_evidence"):
        raise _refused(f"the density of {model.ref} is not conditional: it has no labels", "/every_label")
    if given is not None:
        raise _refused("either a label or every label", "/every_label")


def one_label(
    given: int | str | None, model: GenerativeModel, roles: Sequence[GraphRole], *, pointer: str = "/label"
) -> int | None:
    """The class of everything in a request; None, and what is raised, as in `resolve_labels`."""
    found = resolve_labels(given, model, 1, roles, pointer=pointer)
    return None if found is None else int(found[0])


def repeated(label: int | None, count: int) -> Indices | None:
    """One label for all of `count` images."""
    return None if label is None else np.full(count, label, np.int64)


def label_notes(labels: Indices | None, count: int) -> list[dict[str, int]]:
    """What JSON says of each image's label: the index of its class, or nothing where there are no labels."""
    return [{} for _ in range(count)] if labels is None else [{"label": int(label)} for label in labels]


def class_index(label: int | str, model: GenerativeModel, pointer: str) -> int:
    """The index of a class; raises InvalidInput where the model has no such class."""
    classes = model.manifest.classes
    if isinstance(label, str) and label in classes:
        return classes.index(label)
    if isinstance(label, str) and label.isascii() and label.isdigit() and len(label) < 10:
        label = int(label)
    if isinstance(label, int) and 0 <= label < len(classes):
        return label
    raise _refused(f"{shorten(label)} is no class of {model.ref}: {_listed(model)}", pointer)


def _indices(given: int | str | Sequence[int | str], model: GenerativeModel, pointer: str) -> list[int]:
    if isinstance(given, str) and given not in model.manifest.classes and "," in given:
        given = given.split(",", MAX_LABELS)
    if isinstance(given, int | str):
        return [class_index(given, model, pointer)]
    return [class_index(label, model, f"{pointer}/{index}") for index, label in enumerate(given)]


def _listed(model: GenerativeModel) -> str:
    classes = model.manifest.classes
    names = ", ".join(shorten(name) for name in classes[:LISTED_CLASSES])
    more = ", …" if len(classes) > LISTED_CLASSES else ""
    return f"one of {names}{more}, or an index from 0 to {len(classes) - 1}"


def _refused(detail: str, pointer: str) -> InvalidInput:
    return InvalidInput(f"{pointer}: {detail}", errors=[FieldError(pointer, detail)])
