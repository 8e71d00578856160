"""The JavaScript client, the snippets and the Python example do what they say."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from app.images.receipts import read_receipt
from tests.explorer.visitor import Visitor

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "walk.py"

CLIENT = """async ({ LatentServe, Problem }) => {
  const service = new LatentServe();
  const names = (await service.models()).map(({ name }) => name);
  const { seed, images } = await service.sample("tiny_vae", { count: 2, seed: 7 });
  const latents = images.map(({ latent }) => latent);
  const [first] = await service.decode("tiny_vae", latents);
  const [encoded] = await service.encode("tiny_vae", first);
  const back = await service.reconstruct("tiny_vae", first);
  const score = await service.score("tiny_vae", first, { samples: 8, seed: 1 });
  const judged = await service.realism("tiny_gan", (await service.decode("tiny_gan", [[0, 0, 0, 0]]))[0]);
  const walk = await service.interpolate("tiny_vae", latents.map((latent) => ({ latent })), { steps: 5 });
  const gif = await service.interpolate("tiny_vae", [{ seed: 1 }, { seed: 2 }], { steps: 4, format: "gif" });
  const sum = await service.arithmetic("tiny_vae", [{ weight: 2, point: { latent: latents[0] } }]);
  const png = await service.decodePng("tiny_vae", [latents[0]]);
  const again = await service.replay(png);
  const same = new Uint8Array(await png.arrayBuffer()).join() === new Uint8Array(await again.arrayBuffer()).join();
  const refused = await service.sample("nothing").catch((error) => error);
  const stopped = await service.sample("tiny_vae", { signal: AbortSignal.abort() }).catch((error) => error.name);
  return {
    names, seed, latents, shape: [first.height, first.width, first.channels, first.data.length], mean: encoded.mean,
    mse: back.mse, elbo: score.elbo_nats, logit: judged.logit, frames: walk.images.length, gif: gif.type,
    doubled: sum.latent, same, stopped,
    refused: [refused instanceof Problem, refused.status, refused.code, typeof refused.requestId, refused.title],
  };
}"""


def test_client_does_every_operation(visit: Visitor) -> None:
    visit.expected = "404"
    visit.opens()
    found = visit.runs("latentserve.js", CLIENT)
    assert {"tiny_vae", "tiny_gan", "mnist_vae"} <= set(found["names"])
    assert found["shape"][3] == found["shape"][0] * found["shape"][1] * found["shape"][2]
    assert len(found["mean"]) == len(found["latents"][0])
    assert found["doubled"] == pytest.approx([2 * value for value in found["latents"][0]], rel=1e-6)
    assert (found["seed"], found["frames"], found["gif"], found["same"]) == (7, 5, "image/gif", True)
    assert found["refused"] == [True, 404, "model-not-found", "string", "No such model"]
    assert found["stopped"] == "AbortError"
    assert found["mse"] >= 0
    assert isinstance(found["elbo"], float)
    assert isinstance(found["logit"], float)


def test_decoded_pixels_are_those_of_the_png(visit: Visitor) -> None:
    visit.opens()
    script = """async ({ LatentServe }) => {
      const service = new LatentServe();
      const { images } = await service.sample("mnist_vae", { count: 3, seed: 3 });
      const decoded = await service.decode("mnist_vae", images.map(({ latent }) => latent));
      const { pixelsOf } = await import("/explorer/paint.js");
      const drawn = await Promise.all(images.map(({ png }) => pixelsOf(`data:image/png;base64,${png}`, 1)));
      return decoded.map(({ data }, index) => data.join() === drawn[index].data.join());
    }"""
    assert visit.runs("latentserve.js", script) == [True, True, True]


def test_readme_s_javascript_runs(visit: Visitor) -> None:
    visit.opens()
    (block,) = re.findall(r"^```js\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    body = re.sub(r"import (.*) from (.*);", r"const \1 = await import(\2);", block)
    body = body.replace("http://127.0.0.1:8000", visit.address)
    assert visit.page.evaluate(f"async () => {{ {body}\nreturn gif.type; }}") == "image/gif"


SNIPPETS = [
    "These samples",
    "The picture on the stage",
    "The way from A to B",
    "The film",
    "The sum",
    "Scoring a picture",
]


def snippets(visit: Visitor, language: str) -> dict[str, str]:
    """Every snippet that the page shows in one language."""
    page = visit.opens("#model=mnist_vae@4&count=4&t=0.5&film=i2.i3&terms=1*i0.-1*i1")
    page.get_by_text("Copy as curl, Python or fetch").click()
    page.get_by_label("Language").select_option(language)
    found = {}
    for what in SNIPPETS:
        page.get_by_label("What", exact=True).select_option(what)
        found[what] = page.locator(".code pre").inner_text()
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the picture that the scoring snippets send."""
    Image.new("L", (28, 28)).save(tmp_path / "picture.png")
    return tmp_path


def images_saved(place: Path) -> dict[str, str | None]:
    """Name and format of what was saved."""
    found = {}
    for path in sorted(place.iterdir()):
        with Image.open(path) as image:
            found[path.name] = image.format
    return found


SAVED = {"film.gif": "GIF", "picture.png": "PNG", "sum.png": "PNG", "walk.gif": "GIF"}


def test_curl_snippets_run(visit: Visitor, place: Path) -> None:
    for what, text in snippets(visit, "curl").items():
        done = subprocess.run(["bash", "-c", text], cwd=place, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (what, text, done.stderr)
    assert images_saved(place) == SAVED


def test_python_snippets_run(visit: Visitor, place: Path) -> None:
    program = "\n".join(snippets(visit, "Python").values())
    done = subprocess.run([sys.executable, "-c", program], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (program, done.stderr)
    assert images_saved(place) == SAVED


def test_fetch_snippets_run_in_the_page(visit: Visitor) -> None:
    found = snippets(visit, "fetch")
    visit.tool("Your picture")
    for what, text in found.items():
        if what == "Scoring a picture":
            assert "files[0]" in text  # which needs somebody to pick one
            continue
        result = visit.page.evaluate(
            f"async () => {{ {text}\nreturn result instanceof Blob ? result.type : result.model; }}"
        )
        assert result in {"mnist_vae", "image/png", "image/gif"}, what


def test_snippet_is_copied(visit: Visitor) -> None:
    page = visit.opens(permissions=["clipboard-read", "clipboard-write"])
    page.get_by_text("Copy as curl, Python or fetch").click()
    page.get_by_role("button", name="Copy", exact=True).click()
    visit.says("Copied.")
    assert page.evaluate("navigator.clipboard.readText()").startswith("curl ")


def test_png_of_a_sample_carries_its_seed(visit: Visitor) -> None:
    page = visit.opens()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save PNG").click()
    receipt = read_receipt(saved.value.path().read_bytes())
    assert receipt is not None
    assert re.search(r'"seed":7,"index":0', receipt)


def test_python_example_is_short_and_walks(address: str, tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    assert len(text.splitlines()) <= 30
    done = subprocess.run(
        [sys.executable, EXAMPLE, address, "mnist_vae"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with Image.open(io.BytesIO((tmp_path / "walk.gif").read_bytes())) as walk:
        assert getattr(walk, "n_frames", 1) > 10
    assert "nats" in done.stdout
    assert shlex.split(done.stdout)  # it says something that a person can read
