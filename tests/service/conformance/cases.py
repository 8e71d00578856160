"""Every case, in the order of the documentation."""

from __future__ import annotations

from tests.service.conformance import descriptions, errors, inference, repository
from tests.service.conformance.client import Case

CASES: tuple[Case, ...] = (*descriptions.CASES, *inference.CASES, *errors.CASES, *repository.CASES)


def said(case: Case) -> str:
    """What a case is about, in its own words."""
    return " ".join((case.__doc__ or "").split())
