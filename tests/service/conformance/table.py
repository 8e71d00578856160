"""The conformance table of the documentation."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from tests.service.conformance.client import FLAVOURS, Flavour

START, END = "<!-- conformance: start -->\n", "<!-- conformance: end -->\n"

Results = Mapping[str, Mapping[Flavour, bool]]
"""Whether each case passes, by what it says and the client's flavour."""


def table(servers: Mapping[str, Results], *, client: str) -> str:
    """Rows of cases, a column a server, with what was used to find out."""
    first = next(iter(servers.values()))
    head = ["what the client does", *servers]
    rows = [[said, *(_cell(results[said]) for results in servers.values())] for said in first]
    total = ["**passed, of both**", *(_total(results) for results in servers.values())]
    lines = [head, ["---"] * len(head), *rows, total]
    today = datetime.datetime.now(datetime.UTC).date()
    note = f"With the unmodified {client}, sync and asyncio, on {today}; one graph, the same in every server.\n\n"
    return note + "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cell(passed: Mapping[Flavour, bool]) -> str:
    if all(passed.values()):
        return "yes"
    return next((f"{flavour} only" for flavour in FLAVOURS if passed[flavour]), "no")


def _total(results: Results) -> str:
    outcomes = [passed for flavours in results.values() for passed in flavours.values()]
    return f"{sum(outcomes)} of {len(outcomes)}"


def in_page(page: str, text: str) -> str:
    """`page` with the table between its marks replaced."""
    before, after = page.split(START, maxsplit=1)[0], page.split(END)[1]
    return f"{before}{START}\n{text}\n{END}{after}"


def rows_of(page: str) -> list[list[str]]:
    """The cells of the table in `page`, without its head and its total."""
    lines = page.split(START)[1].split(END, maxsplit=1)[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")][2:-1]
