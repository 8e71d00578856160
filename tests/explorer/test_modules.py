"""The explorer's pure modules, run in the browser, against the service's own mathematics or a second derivation."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from playwright.sync_api import Browser, BrowserContext

from app.images.png import encode_png
from app.latent.interpolation import PathKind, walk
from tests.explorer.visitor import Visitor

SIZE = 8
FOUND = np.random.default_rng(0).standard_normal((4, SIZE)).astype(np.float32)


@pytest.fixture(scope="module")
def lab(browser: Browser, context: BrowserContext, address: str) -> Iterator[Visitor]:
    """A page to run modules in."""
    visitor = Visitor(browser, context, address)
    visitor.page = context.new_page()
    visitor.page.goto(f"{address}/docs")
    yield visitor
    visitor.page.close()


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_mixed_latents_are_those_of_the_service_s_walk(lab: Visitor, path: PathKind) -> None:
    script = """({ mix }, [a, b, path]) => Array.from({ length: 9 },
      (_, step) => Array.from(mix(Float32Array.from(a), Float32Array.from(b), step / 8, path)))"""
    pairs = [(FOUND[0], FOUND[1]), (FOUND[2], 2 * FOUND[2]), (FOUND[3], np.zeros(SIZE, np.float32))]
    for a, b in pairs:
        found = lab.runs("places.js", script, [a.tolist(), b.tolist(), path])
        np.testing.assert_allclose(found, walk(np.stack([a, b]), 9, path=path), atol=1e-6)


def test_square_s_corners_are_its_places_and_its_middle_their_mean(lab: Visitor) -> None:
    script = """({ inSquare, place }, rows) => {
      const corners = rows.map((row, index) => place(row, index));
      const at = (x, y) => inSquare(corners, x, y, "linear");
      const labels = [at(0, 0), at(1, 0), at(0, 1), at(1, 1)].map(({ label }) => label);
      return { labels, middle: Array.from(at(0.5, 0.5).latent) };
    }"""
    found = lab.runs("places.js", script, FOUND.tolist())
    assert found["labels"] == [0, 1, 2, 3]
    np.testing.assert_allclose(found["middle"], FOUND.mean(axis=0), atol=1e-6)


def test_children_keep_the_prior_and_what_is_locked(lab: Visitor) -> None:
    script = """({ child, normal }, count) => {
      let at = Float32Array.from([0, 0, 5]);
      return Array.from({ length: count }, () => Array.from((at = child(at, 0.6, new Set([2]), () => normal()))));
    }"""
    found = np.array(lab.runs("places.js", script, 20_000))[20:]
    assert (found[:, 2] == 5).all()
    # A chain of children is an autoregression with coefficient √(1−0.36): its law is N(0, 1).
    np.testing.assert_allclose(found[:, :2].mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(found[:, :2].std(axis=0), 1, atol=0.06)


@settings(max_examples=20, deadline=None)
@given(steps=st.lists(st.sampled_from(["commit", "preview", "undo", "redo"]), max_size=30))
def test_history_goes_back_and_forth_as_a_list_and_a_cursor(lab: Visitor, steps: list[str]) -> None:
    script = """({ History }, steps) => {
      const history = new History({ value: 0 });
      steps.forEach((step, index) => {
        if (step === "commit" || step === "preview") history[step]({ value: index + 1 });
        else history[step]();
      });
      return [history.state.value, history.canUndo, history.canRedo];
    }"""
    committed, cursor, shown = [0], 0, 0
    for number, step in enumerate(steps, start=1):
        match step:
            case "preview":
                shown = number
                continue
            case "commit":
                committed, cursor = [*committed[: cursor + 1], number], cursor + 1
            case "undo" if cursor > 0:
                cursor -= 1
            case "redo" if cursor + 1 < len(committed):
                cursor += 1
            case _:
                continue
        shown = committed[cursor]
    assert lab.runs("history.js", script, steps) == [shown, cursor > 0, cursor + 1 < len(committed)]


ROUND_TRIP = """async ({ read, restore, write }, { rows, values }) => {
  const { INITIAL } = await import("/explorer/session.js");
  const { place } = await import("/explorer/places.js");
  const origin = { seed: values.seed, temperature: values.temperature, truncation: null, label: null };
  const grid = rows.map((row, index) => place(row, null, { origin: { ...origin, index } }));
  const [a, b, c, d] = [grid[2], place(rows[0].map((value) => value / 3)), grid[2], grid[3]];
  const terms = [{ weight: -0.5, places: [a, b] }, { weight: 2, places: [], direction: "smile/ü" }];
  const state = { ...INITIAL, ...values, grid, a, b, c, d, film: [b, a], terms };
  const address = write("tiny@1", state, INITIAL);
  const usual = { ...INITIAL, grid, a: grid[0], b: grid[1], c: grid[2], d: grid[3] };
  const found = { ...usual, ...restore(read(`#${address}`), grid, rows[0].length) };
  const numbers = (_, value) => (value instanceof Float32Array ? Array.from(value) : value);
  const plain = (value) => JSON.parse(JSON.stringify(value, numbers));
  return { model: read(address).model, expected: plain(state), found: plain(found) };
}"""


@pytest.mark.parametrize(
    "values",
    [
        {"seed": 7, "count": 4, "temperature": 1, "t": 0.25, "tool": "film", "steps": 5, "loop": False},
        {"seed": 2**53 - 1, "count": 4, "temperature": 0.7, "t": 0, "via": "square", "x": 0.1, "locked": [1, 3]},
    ],
)
def test_address_brings_the_state_back(lab: Visitor, values: dict[str, Any]) -> None:
    found = lab.runs("address.js", ROUND_TRIP, {"rows": FOUND.tolist(), "values": values})
    assert found["model"] == "tiny@1"
    assert found["found"] == found["expected"]


HOSTILE = [
    "", "#", "model", "a=i99&b=zAAAA&c=z!!&d=i", "seed=-1&count=0&t=nan&temperature=1e9&x=Infinity", "label=1.5",
    "terms=*&film=...", "terms=1*z*~&film=z~", "via=elsewhere&path=__proto__&tool=<b>", "locked=-1.99.x", "a=%E0%A4%A",
]  # fmt: skip


def test_address_that_makes_no_sense_says_nothing(lab: Visitor) -> None:
    script = """({ read, restore }, hashes) => hashes.map((hash) => restore(read(hash), [], 8))"""
    for said, found in zip(HOSTILE, lab.runs("address.js", script, HOSTILE), strict=True):
        assert found.keys() <= {"tool", "locked"}, said


def test_receipt_is_read_from_the_service_s_png_and_from_no_damaged_one(lab: Visitor) -> None:
    receipt = {"model": "tiny", "version": 1, "seed": 7, "index": 3, "temperature": 1.0, "truncation": None}
    png = encode_png(np.zeros((4, 4, 1), np.uint8), json.dumps(receipt))
    script = """({ readReceipt }, files) => files.map((text) => {
      const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
      return readReceipt(bytes.buffer);
    })"""
    cut = [png[:length] for length in range(len(png))]
    whole, *damaged = lab.runs("receipts.js", script, [base64.b64encode(file).decode() for file in (png, *cut)])
    assert whole == receipt
    assert all(found in (None, receipt) for found in damaged)


def test_receipt_of_a_sheet_brings_its_sampling_back(lab: Visitor) -> None:
    origin = {"seed": 7, "temperature": 0.5, "truncation": 2.0}
    sheet = {"model": "tiny", "version": 1, "columns": 2, "images": [origin | {"index": index} for index in range(5)]}
    found = lab.runs("receipts.js", "({ restoring }, receipt) => restoring(receipt)", sheet)
    assert found["sampling"] == origin | {"count": 5, "label": None}
    assert (found["model"], found["index"]) == ("tiny@1", None)


def rgba(grey: np.ndarray[Any, np.dtype[np.uint8]]) -> dict[str, Any]:
    """A grey picture as the page reads it."""
    opaque = np.full_like(grey, 255)
    data = np.stack([grey, grey, grey, opaque], axis=-1)
    return {"data": data.ravel().tolist(), "width": grey.shape[1], "height": grey.shape[0]}


SPACE = {"width": 28, "height": 28, "channels": 1, "background": [0, 0, 0]}
PREPARE = """({ prepared, suggested }, [picture, space, treatment]) => {
  const chosen = treatment ?? suggested(picture, space);
  return { chosen, data: Array.from(prepared(picture, space, chosen).data) };
}"""


def test_picture_is_averaged_as_pillow_s_box_filter_does(lab: Visitor) -> None:
    grey = np.random.default_rng(1).integers(0, 256, (60, 84), dtype=np.uint8)
    found = lab.runs("preparation.js", PREPARE, [rgba(grey), SPACE, {"invert": False, "cutOut": False}])
    expected = np.asarray(Image.fromarray(grey).resize((28, 20), Image.Resampling.BOX), np.int64)
    picture = np.array(found["data"]).reshape(28, 28)
    assert np.abs(picture[4:24] - expected).max() <= 1
    assert not picture[:4].any()
    assert not picture[24:].any()


def test_dark_ink_on_paper_is_noticed_turned_and_cut_out(lab: Visitor) -> None:
    rng = np.random.default_rng(2)
    photo = rng.normal(200, 4, (150, 200))
    photo[20:110, 120:150] = 60  # a stroke, far from the middle
    found = lab.runs("preparation.js", PREPARE, [rgba(photo.clip(0, 255).astype(np.uint8)), SPACE, None])
    picture = np.array(found["data"]).reshape(28, 28)
    assert found["chosen"] == {"invert": True, "cutOut": True}
    rows, columns = np.nonzero(picture > 128)
    assert 19 <= np.ptp(rows) + 1 <= 21  # as tall as MNIST's ink, and in the middle
    assert abs(rows.mean() - 13.5) < 1
    assert abs(columns.mean() - 13.5) < 1
    assert picture[:3].max() < 30


@pytest.mark.parametrize(
    ("grey", "expected"),
    [
        (np.full((28, 28), 250, np.uint8), {"invert": False, "cutOut": False}),  # already of the model's size
        (np.random.default_rng(3).integers(0, 256, (90, 90), dtype=np.uint8), {"cutOut": False}),  # a scene
    ],
)
def test_other_pictures_are_left_as_they_are(lab: Visitor, grey: Any, expected: dict[str, bool]) -> None:
    assert lab.runs("preparation.js", PREPARE, [rgba(grey), SPACE, None])["chosen"].items() >= expected.items()


@pytest.mark.parametrize(
    ("score", "word"),
    [
        ({"percentile": 48.0, "outlier": {"p_value": 0.49, "statistic": "elbo_nats"}}, "typical"),
        ({"percentile": 4.0, "outlier": {"p_value": 0.04, "statistic": "elbo_nats"}}, "unusual"),
        ({"percentile": 0.0, "outlier": {"p_value": 0.001, "statistic": "something_new"}}, "outlier"),
        ({"percentile": None, "outlier": None}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_verdict_follows_the_p_value_and_says_it(lab: Visitor, score: dict[str, Any], word: str) -> None:
    found = lab.runs("verdict.js", "({ verdict }, score) => verdict(score)", score)
    assert found["word"] == word
    assert ("p = " in found["sentence"]) == bool(score.get("outlier"))


@pytest.mark.parametrize(("reconstruction", "kl"), [(-60.0, 25.0), (694.0, 34.0), (10.0, 40.0)])
def test_elbo_s_bars_add_up(lab: Visitor, reconstruction: float, kl: float) -> None:
    score = {"reconstruction_nats": reconstruction, "kl_nats": kl, "elbo_nats": reconstruction - kl}
    first, second, third = lab.runs("verdict.js", "({ elboBars }, score) => elboBars(score)", score)
    ends = [0.0, reconstruction, reconstruction - kl]
    width = max(ends) - min(ends)
    lengths = [(bar["to"] - bar["from"]) * width for bar in (first, second, third)]
    assert lengths == pytest.approx([abs(reconstruction), kl, abs(reconstruction - kl)])
    assert all(0 <= bar["from"] <= bar["to"] <= 1 + 1e-12 for bar in (first, second, third))


def test_latest_wish_wins_and_the_older_is_aborted(lab: Visitor) -> None:
    script = """({ Live }) => new Promise((resolve) => {
      const seen = [];
      const live = new Live((error) => seen.push(error.message), 0);
      const never = (signal) => new Promise((_, reject) => signal.addEventListener("abort", () => {
        seen.push("aborted");
        reject(signal.reason);
      }));
      live.wish(never, () => seen.push("one"));
      live.wish(() => Promise.resolve("two"), (answer) => seen.push(answer));
      live.wish(() => Promise.resolve("three"), (answer) => resolve([...seen, answer]));
    })"""
    assert lab.runs("live.js", script) == ["aborted", "three"]


def test_python_literals_are_python_s(lab: Visitor) -> None:
    value = {"a": [None, True, False, -1.5, 'it\'s "so" – é'], "b": {"c": []}}
    script = "({ pythonLiteral }, value) => pythonLiteral(value)"
    assert eval(lab.runs("snippets.js", script, value), {"__builtins__": {}}) == value  # noqa: S307  our own text


def test_animation_has_as_many_frames_as_the_film_promises(lab: Visitor) -> None:
    script = "({ frameCount }, [points, steps, loop]) => frameCount(points, steps, loop)"
    for points, steps, loop in [(2, 2, False), (2, 16, True), (5, 7, False), (5, 7, True)]:
        latents = np.zeros((points, SIZE), np.float32)
        assert lab.runs("film.js", script, [points, steps, loop]) == len(walk(latents, steps, path="linear", loop=loop))
    assert lab.runs("film.js", script, [1, 16, True]) == 0
