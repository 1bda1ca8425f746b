"""The cache of downloads is in the user's cache folder."""

import sys
from pathlib import Path

import pytest

from connectome.fetch.bossdb.cache import default_cache_folder


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other folders")
@pytest.mark.parametrize(
    ("variable", "folder"),
    [(None, Path("/home/ada/.cache/connectome")), ("/scratch", Path("/scratch/connectome"))],
)
def test_the_cache_is_where_linux_keeps_caches(variable, folder, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if variable:
        monkeypatch.setenv("XDG_CACHE_HOME", variable)
    assert default_cache_folder() == folder


@pytest.mark.skipif(sys.platform != "darwin", reason="other systems have other folders")
def test_the_cache_is_where_macos_keeps_caches():
    assert default_cache_folder() == Path.home() / "Library" / "Caches" / "connectome"
