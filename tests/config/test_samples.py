"""Which samples are on this machine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.config import samples


@pytest.mark.parametrize("is_here", [True, False])
def test_samples_that_differ_in_the_language_only_are_shown_as_one_if_their_package_is_here(is_here, monkeypatch):
    def find_spec(name):
        if name == "plone.app.locales" and not is_here:
            raise ModuleNotFoundError("No module named 'plone'")  # as importlib does if the outer package is missing
        return SimpleNamespace(name=name)

    monkeypatch.setattr(samples.importlib.util, "find_spec", find_spec)
    found = samples.installed()
    assert "sample:rotten_tomatoes" in found
    assert [name for name in found if "plone" in name] == [
        f"sample:plone_LANG ({len(samples.LANGUAGES)} languages)"
    ] * is_here
