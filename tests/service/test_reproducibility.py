"""Image i of a seed is the same bytes at any count, alone or in a crowd, on one thread or two, in any worker."""

from __future__ import annotations

import random
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from app.manifest import ImageSpace, LatentSpace, PixelRange
from tests.app.runtime.test_session import deep_decoder
from tests.app.tiny_models import tiny_gan, with_graph, without_graphs, write_version
from tests.service.test_process import Process

SEED = 11
COUNTS = range(1, 65)
IMAGES = 2 * sum(COUNTS)
"""That each arrangement answers: every count once alone, and once in the crowd."""
ARRANGEMENTS = [(threads, workers) for threads in (1, 2) for workers in (1, 4)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder of 28×28 colour pixels, large enough for the runtime to share a run among threads."""
    root = tmp_path_factory.mktemp("models")
    image = ImageSpace(height=28, width=28, channels=3, pixel_range=PixelRange(low=0, high=1))
    plain = without_graphs(tiny_gan("deep"), "image_to_realism")
    fields = plain.fields | {"image": image, "latent": LatentSpace(size=33, prior="standard_normal")}
    write_version(root, replace(with_graph(plain, "latent_to_image", deep_decoder()), fields=fields))
    return root


@pytest.fixture(scope="module")
def pictures(models: Path) -> list[str]:
    """The PNGs of the seed's first 64 images, each asked for by itself; what every answer is compared with."""
    with Process(models, GRAPH_THREADS="1", GRAPH_LANES="1", MAX_BATCH_ROWS="1") as process:
        return draw(process.address, 64)


def draw(address: str, count: int, client: httpx2.Client | None = None) -> list[str]:
    """The PNGs, as base64, of the seed's first images."""
    post = (client or httpx2).post
    answer = post(f"{address}/v1/models/deep/sample", json={"seed": SEED, "count": count}, timeout=50)
    assert answer.status_code == 200, answer.text
    return [image["png"] for image in answer.json()["images"]]


def differing(address: str, counts: Iterable[int], clients: int, pictures: list[str]) -> list[int]:
    """The counts for which any byte is another; each client has connections of its own."""
    with httpx2.Client(limits=httpx2.Limits(max_connections=clients)) as client, ThreadPoolExecutor(clients) as pool:
        answers = pool.map(lambda count: (count, draw(address, count, client)), counts)
        return [count for count, found in answers if found != pictures[:count]]


@pytest.mark.parametrize(("threads", "workers"), ARRANGEMENTS, ids=str)
def test_bytes_do_not_depend_on_count_crowd_threads_or_worker(
    models: Path, pictures: list[str], threads: int, workers: int
) -> None:
    with Process(models, GRAPH_THREADS=str(threads), WORKERS=str(workers), QUEUE_ROWS="4096") as process:
        for _ in range(workers if workers > 1 else 0):  # a single process says it before its address
            process.wait_for("Application startup complete")
        assert differing(process.address, COUNTS, 1, pictures) == []
        shuffled = random.Random(threads).sample(COUNTS, len(COUNTS))
        assert differing(process.address, shuffled, 64, pictures) == []


def test_that_was_ten_thousand_images_and_they_are_not_alike(pictures: list[str]) -> None:
    assert len(ARRANGEMENTS) * IMAGES >= 10_000
    assert len(set(pictures)) == 64
