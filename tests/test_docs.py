import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import effpath

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = [m.name for m in pkgutil.walk_packages(effpath.__path__, "effpath.")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    if "effpath.attacks" in page.read_text(encoding="utf-8"):
        pytest.importorskip("foolbox")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
    if page.name == "README.md":
        assert len(blocks[1].strip().splitlines()) == 5
        assert len(names["verdicts"]) == 419


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_run(module):
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_every_public_name_exists_and_is_documented():
    for name in effpath.__all__:
        assert (getattr(effpath, name).__doc__ or "").strip(), name
    assert sorted(effpath.__all__, key=str.lower) == sorted(set(effpath.__all__), key=str.lower)


def test_a_script_needs_nothing_below_the_top_and_internals_are_not_there():
    verbs = {"capture", "extract", "build_class_paths", "attack", "load_model", "load_data"}
    files = {f"{verb}_{what}" for verb in ("load", "save") for what in ("class_paths", "detector")}
    assert verbs | files | {"Detector"} <= set(effpath.__all__)
    assert not {"RULES", "plan_for", "path_features"} & set(effpath.__all__)
