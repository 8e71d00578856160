"""README and CONTRIBUTING are executed: commands run in order against a real service, tables are complete."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.api.application import create_application
from app.manifest import Manifest
from app.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ADDRESS = "http://127.0.0.1:8000"
NOT_RUN_HERE = re.compile(r"^(docker|(LATENTSERVE_\w+=\S+ )?make (?!train))")
"""The container, and commands that install or serve: the checks of a change run those themselves."""

PICTURES = {"digits.png": (224, 224), "one.png": (28, 28), "other.png": (28, 28), "decoded.png": (28, 28)} | {
    "walk.gif": (28, 28),
    "sum.png": (28, 28),
    "axes.png": (252, 56),
    "again.png": (28, 28),
    "mine.png": (128, 128),
}
"""What the README's commands leave behind, and its size."""

SHELL = """
set -euo pipefail
# A failed call fails the script; a model that was published a moment ago may take another to appear.
curl() { command curl --fail-with-body --retry 30 --retry-all-errors --retry-max-time 300 "$@"; }
"""


def blocks(*languages: str) -> list[str]:
    """The README's fenced blocks in these languages, in order."""
    return [text for language, text in BLOCK.findall(README) if language in languages]


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a newcomer has typed all of the README's commands, except those that install."""
    place = tmp_path_factory.mktemp("newcomer")
    for name in ("app", "training"):
        (place / name).symlink_to(ROOT / name)
    (place / ".venv").symlink_to(sys.prefix)
    shutil.copytree(ROOT / "models", place / "models", ignore=shutil.ignore_patterns(".*"))
    write_pictures(place / "my_pictures")
    (experiment,) = blocks("toml")
    (place / "my_pictures.toml").write_text(experiment)
    with serving(place) as address:
        run_shell(place, "\n".join(as_typed_here(block, address) for block in blocks("bash")))
    return place


def as_typed_here(block: str, address: str) -> str:
    """A block's commands at this address, training for one epoch only, without what is not run here."""
    if NOT_RUN_HERE.match(block):
        return ""
    quick = r".venv/bin/python -m training train \1 --set optimiser.epochs=1 --no-progress --threads 1"
    return re.sub(r"^make train EXPERIMENT=(\S+)$", quick, block, flags=re.MULTILINE).replace(ADDRESS, address)


def run_shell(place: Path, script: str) -> None:
    """Run a script of the README's commands; its output is shown when it fails."""
    done = subprocess.run(["bash", "-c", SHELL + script], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@contextmanager
def serving(place: Path) -> Iterator[str]:
    """The address of a service over `place/models`."""
    port = free_port()
    variables = {"PORT": str(port), "MODELS_POLL_S": "0.1", "LOG_FORMAT": "json"}
    environment = os.environ | {f"{PREFIX}{name}": value for name, value in variables.items()}
    address = f"http://127.0.0.1:{port}"
    with (place / "service.log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "app"], cwd=place, env=environment, stdout=log, stderr=log)
        try:
            run_shell(place, f"curl --silent --output /dev/null {address}/readyz")
            yield address
        finally:
            process.terminate()
            process.wait(30)


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def write_pictures(folder: Path) -> None:
    """Forty colour JPEGs of odd sizes."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(40):
        height, width = generator.integers(20, 90, 2)
        small = generator.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        Image.fromarray(small).resize((int(width), int(height))).save(folder / f"{number}.jpg")


def test_readme_s_commands_leave_the_pictures_that_they_promise(followed: Path) -> None:
    sizes = {}
    for path in (*followed.glob("*.png"), *followed.glob("*.gif")):
        with Image.open(path) as picture:
            sizes[path.name] = picture.size
    assert sizes == PICTURES


def test_readme_s_walk_is_an_animation_there_and_back(followed: Path) -> None:
    with Image.open(followed / "walk.gif") as walk:
        assert getattr(walk, "n_frames", 1) == 2 * (24 - 1)


def test_readme_s_training_commands_publish(followed: Path) -> None:
    for name in ("my_pictures", "digits_vae"):
        assert json.loads((followed / "models" / name / "1" / "manifest.json").read_text())["name"] == name


def test_readme_s_key_file_opens_the_service(followed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.api.keys import KeyFile  # noqa: PLC0415  beside what it reads

    assert KeyFile(followed / "keys.txt").holder("a long random key") == "alice"


def test_readme_s_python_runs(followed: Path) -> None:
    (example,) = blocks("python")
    subprocess.run([sys.executable, "-c", example], cwd=followed, check=True)


def test_every_call_is_in_the_readme() -> None:
    paths = create_application(Settings(models_dir=ROOT / "models")).openapi()["paths"]
    missing = [
        call
        for path, operations in paths.items()
        if not path.startswith("/v2")  # one row: the protocol says the rest
        for call in (f"{method.upper()} {path.replace('/v1/models/{model}/', '…/')}" for method in operations)
        if f"`{call}`" not in README
    ]
    assert missing == []


def test_every_setting_is_in_the_readme_with_its_default() -> None:
    rows = dict(re.findall(rf"^\| `({PREFIX}\w+)` \| (\S+) \|", README, re.MULTILINE))
    assert rows == {PREFIX + name.upper(): shown(field.default) for name, field in Settings.model_fields.items()}


def shown(default: object) -> str:
    """A default as the README writes it."""
    return "–" if default is None or default == () else f"`{default}`"


def test_every_committed_model_is_in_the_readme_with_its_numbers() -> None:
    table = re.search(r"<!-- models -->\n[^\n]*\n[^\n]*\n(.*?)<!-- /models -->", README, re.DOTALL)
    assert table is not None
    expected = "".join(map(model_row, newest_manifests()))
    assert table.group(1) == expected, f"the rows should be:\n{expected}"


def newest_manifests() -> list[Manifest]:
    """The newest version of every committed model."""
    newest: dict[str, Manifest] = {}
    for path in (ROOT / "models").glob("[!.]*/[0-9]*/manifest.json"):
        manifest = Manifest.model_validate_json(path.read_bytes())
        if manifest.name not in newest or manifest.version > newest[manifest.name].version:
            newest[manifest.name] = manifest
    return [newest[name] for name in sorted(newest)]


def model_row(manifest: Manifest) -> str:
    """Its row of the README's table."""
    card = f"[`{manifest.name}`](models/{manifest.name}/{manifest.version}/card.md)"
    bound = manifest.metrics.get("negative_log_likelihood_nats")
    number = f"{bound.value:.2f} ± {bound.standard_error:.2f}, of the {likelihood(manifest)}" if bound else "no density"
    return f"| {card} | {manifest.title} | {manifest.latent.size} | {number} |\n"


def likelihood(manifest: Manifest) -> str:
    """What its nats are nats of; a GAN's density had to be assumed."""
    assert manifest.likelihood is not None
    return f"{'assumed ' if manifest.likelihood.assumption else ''}{manifest.likelihood.nats_of}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_files(document: str) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / document).read_text())
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_exist(document: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)\b(?= *[`A-Z#\n])", (ROOT / document).read_text()))
    assert named <= targets


def test_help_lists_every_target_that_is_for_people() -> None:
    listed = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert set(re.findall(r"^  make (\w+)", listed, re.MULTILINE)) == set(phony.group(1).split())
