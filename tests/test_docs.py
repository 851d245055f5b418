import doctest
import importlib
import pkgutil
import re
import shlex
from pathlib import Path

import pytest
import typer

import effpath
from effpath.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = [m.name for m in pkgutil.walk_packages(effpath.__path__, "effpath.")]


SCRIPT = """\
graph = effpath.capture(model, images[:1])
class_paths = effpath.build_class_paths(graph, train_loader)
adversarial = effpath.attack(model, clean, labels, "PGD").fooling
detector = effpath.Detector(graph, class_paths).fit(clean, adversarial).calibrate(held_out, fpr=0.05)
for verdict in detector.detect(new):
    if verdict.flagged:
        print(verdict.label, verdict.p_value, verdict.reasons[0])
"""


def blocks_of(page: Path) -> list[str]:
    """Python on a page, in order, what a comment hides included."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^(?:```python|<!-- prepare)\n(.*?)^(?:```|-->)", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_blocks_of_a_page_run(page, tmp_path, monkeypatch, capsys):
    if "effpath.attack" in page.read_text(encoding="utf-8"):
        pytest.importorskip("foolbox")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks_of(page):
        exec(compile(block, str(page), "exec"), names)
        if block == SCRIPT:
            said = capsys.readouterr().out.splitlines()
            flagged = [verdict for verdict in names["detector"].detect(names["new"]) if verdict.flagged]
            assert said == [f"{verdict.label} {verdict.p_value} {verdict.reasons[0]}" for verdict in flagged]
            assert 0 < len(flagged) < 0.15 * len(names["new"])


def test_the_script_of_the_readme_needs_five_lines_before_it():
    prepare, script = blocks_of(ROOT / "README.md")[:2]
    assert script == SCRIPT
    assert len(prepare.splitlines()) <= 5


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
    assert sorted(effpath.__all__) == sorted(set(effpath.__all__))


def test_a_script_needs_nothing_below_the_top_and_internals_are_not_there():
    verbs = {"capture", "extract", "build_class_paths", "attack", "load_model", "load_data"}
    files = {f"{verb}_{what}" for verb in ("load", "save") for what in ("class_paths", "detector")}
    assert verbs | files | {"Detector"} <= set(effpath.__all__)
    assert not {"RULES", "plan_for", "path_features"} & set(effpath.__all__)


FILES = [file for part in ("src", "tests", "studies", "benchmarks") for file in (ROOT / part).rglob("*.py")]
READERS_OWN = {"net.py", "path/to/file.py"}  # examples of files that a reader would write


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_python_files_that_a_page_names_exist_and_define_what_it_says(page):
    text = page.read_text(encoding="utf-8")
    for name, what in re.findall(r"`([\w/]+\.py)(?:: (\w+))?[`:]", text):
        found = [file for file in FILES if file.as_posix().endswith(f"/{name}")]
        assert found or name in READERS_OWN, name
        texts = [file.read_text(encoding="utf-8") for file in found]
        assert not what or any(re.search(rf"\b{what}\b", code) for code in texts), f"{name}: {what}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_headings_that_a_page_links_to_exist(page):
    text = page.read_text(encoding="utf-8")
    for link, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
        target = (page.parent / link).read_text(encoding="utf-8") if link else text
        headings = [heading.lower() for heading in re.findall(r"^#+ (.+)$", target, re.MULTILINE)]
        assert anchor in [re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in headings], anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_are_accepted(page):
    commands = typer.main.get_command(app).commands
    for line in commands_of(page):
        words = shlex.split(line, comments=True)
        if words[:1] == ["effpath"]:
            commands[words[1]].make_context(words[1], words[2:])  # parses, and runs nothing
        elif words[:2] == ["python", "-m"]:
            assert (ROOT / (words[2].replace(".", "/") + ".py")).is_file(), line
        elif words[:1] == ["python"] and words[1] != "-c":
            assert (ROOT / words[1]).is_file(), line


def commands_of(page):
    """Yield the lines of a page's blocks of shell commands, with continued lines joined."""
    fences = re.findall(r"^```\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for line in "\n".join(fences).replace("\\\n", " ").splitlines():
        if line.startswith(("effpath ", "python ")):
            yield line


def test_the_glossary_has_one_entry_per_term_and_every_name_in_it_is_in_the_code():
    rows = [line.split(" | ") for line in (ROOT / "docs" / "glossary.md").read_text("utf-8").splitlines()]
    rows = [row for row in rows if len(row) == 4 and row[0] != "| term"]
    terms = [term.strip() for row in rows for term in row[0].strip("| ").split(",")]
    assert len(terms) == len(set(terms))
    words = set(re.findall(r"\w+", "\n".join(file.read_text(encoding="utf-8") for file in FILES)))
    for row in rows:
        for name in re.findall(r"`([\w.]+)", row[3]):
            assert set(name.split(".")) <= words, name
