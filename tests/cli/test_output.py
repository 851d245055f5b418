import json
import re
from pathlib import Path

import numpy as np
import pytest

from cli_run import run
from effpath.cli.output import check_files, deliver, print_json, print_table
from effpath.errors import OptionError, StoreError
from guard_files import NETWORK, write_network

NAMES = ["dir[a]/cat [1].png", "[bold]no markup[/bold]", "a :smile: [/] name of " + 90 * "x"]


def test_json_holds_null_for_every_number_that_json_does_not_know(capsys):
    values = {
        "a": [1.5, float("-inf")],
        "b": {"c": (float("nan"), np.float64("inf"))},
        "d": ["NaN", None, True, 3],
    }
    print_json(values)
    text = capsys.readouterr().out
    found = json.loads(text, parse_constant=pytest.fail)
    assert found == {"a": [1.5, None], "b": {"c": [None, None]}, "d": ["NaN", None, True, 3]}


def test_a_table_into_a_pipe_is_one_whole_line_a_row(capsys):
    print_table(["image", "class"], [[name, str(i)] for i, name in enumerate(NAMES)])
    lines = capsys.readouterr().out.splitlines()
    assert [re.split("  +", line) for line in lines] == [
        ["image", "class"], *([name, str(i)] for i, name in enumerate(NAMES))
    ]  # fmt: skip


def test_a_table_on_a_terminal_of_80_columns_keeps_every_letter_of_a_name(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    print_table(["image", "class"], [[name, "7"] for name in NAMES])
    out = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, out.splitlines())) <= 80
    cells = "".join(re.sub(r"[\s…]", "", line.split("│")[1]) for line in out.splitlines() if "│" in line)
    assert cells == "".join(name.replace(" ", "") for name in NAMES)


@pytest.mark.parametrize("command", ["extract", "score", "detect"])
def test_file_names_with_brackets_are_printed_whole(command, tmp_path, monkeypatch, capsys):
    from digits_net import data
    from guard_files import write_guard

    monkeypatch.chdir(tmp_path)
    write_network(tmp_path)
    write_guard(tmp_path)
    np.save("a [b] [bold]c.npy", data().test_images[:1].numpy())
    own = ["guard.safetensors"] * (command != "extract")
    arguments = [NETWORK[0], *own, "a [b] [bold]c.npy", *NETWORK[1:]]
    code, out, _ = run(monkeypatch, capsys, command, *arguments, *["-o", "p.npz"] * (command == "extract"))
    assert code == 0
    assert "a [b] [bold]c.npy[0]" in out


def test_what_was_found_is_written_and_printed_in_words_with_its_files_or_as_json(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    files = [Path("a.html"), Path("a.png")]
    for as_json in (False, True):
        how = {"page": lambda: "<p>", "figure": lambda file: file.write_bytes(b"drawn"), "as_json": as_json}
        deliver({"n": 1}, lambda: print("in words"), files, **how)
    assert Path("a.html").read_text("utf-8") == "<p>"
    assert Path("a.png").read_bytes() == b"drawn"
    assert capsys.readouterr().out == 'in words\npage: a.html\nfigure: a.png\n{\n "n": 1\n}\n'


def test_files_that_cannot_be_written_are_refused_before_the_work(tmp_path):
    check_files([tmp_path / "a.html", tmp_path / "a.svg"], (".html", ".svg"))
    with pytest.raises(OptionError, match=r"expected --output as \.html or \.svg, got a\.png"):
        check_files([Path("a.png")], (".html", ".svg"))
    with pytest.raises(OptionError, match=r"expected --output as an \.html file, got a\.png"):
        check_files([Path("a.png")])
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(StoreError, match="expected a file, got the folder"):
        check_files([tmp_path / "folder.html"])
