from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Services that tests start keep what they measure away from the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATENTSERVE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield
