"""What every command does with errors, Ctrl-C, a closed pipe, and a terminal that knows few letters."""

import builtins
import importlib
import io
import subprocess
import sys

import pytest

from effpath.cli import output
from effpath.errors import InputError
from effpath.files import cache

cli_main = importlib.import_module("effpath.cli.main")  # the package names the function so
HEAVY = {"torch", "numba", "sklearn", "scipy", "matplotlib", "safetensors", "PIL", "numpy"}
COMMANDS = (
    *(
        "check",
        "demo",
        "detect",
        "diff",
        "explain",
        "extract",
        "fit",
        "merge",
        "profile",
        "report",
        "rules",
        "score",
        "show",
        "slice",
        "store",
    ),
)


def ended(monkeypatch, capsys, error, *kept):
    """Return exit code and standard error of a command that finishes steps, in files, and then raises an error."""

    def failing():
        for file in kept:
            cache.note_step(file)
        raise error

    monkeypatch.setattr(cli_main, "app", failing)
    with pytest.raises(SystemExit) as leaving:
        cli_main.main()
    return leaving.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("expected images, got none"), "error: InputError: expected images, got none\n"),
        (MemoryError(), "error: not enough memory (no message); give a smaller --batch-size"),
        (RuntimeError("DefaultCPUAllocator: not enough memory"), "error: not enough memory"),
        (PermissionError(13, "Permission denied", "a.npy"), "Permission denied: 'a.npy'; check the path"),
        (ValueError("of another\nlibrary"), "error: unexpected ValueError: of another library; this is a defect"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(monkeypatch, capsys, error, said):
    code, err = ended(monkeypatch, capsys, error)
    assert code == 1
    assert said in err
    assert err.count("\n") == 1


def test_the_traceback_of_an_unexpected_error_can_be_asked_for(monkeypatch, capsys):
    monkeypatch.setenv("EFFPATH_TRACEBACK", "1")
    _, err = ended(monkeypatch, capsys, ValueError("deep down"))
    assert "Traceback" in err
    assert "in failing" in err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(130)])
def test_ctrl_c_is_130_and_says_what_was_kept(monkeypatch, capsys, tmp_path, error):
    assert ended(monkeypatch, capsys, error) == (130, "interrupted; there was no finished step to keep\n")
    kept, gone = tmp_path / "paths.partial", tmp_path / "moved.partial"
    kept.touch()
    code, said = ended(monkeypatch, capsys, error, kept, gone)
    assert (code, said) == (130, f"interrupted; the same command goes on from {kept}\n")
    assert "no finished step" in ended(monkeypatch, capsys, error)[1]  # another run: that step was none of its own


def test_letters_that_a_terminal_lacks_are_spelled_in_others():
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="ascii")
    output.show_every_letter(stream)
    stream.write("3×32×32 at θ ≥ 0.5 … 字\n")
    stream.flush()
    assert written.getvalue() == b"3x32x32 at theta >= 0.5 ... ?\n"


@pytest.fixture(scope="module")
def helped():
    """What one process printed, command by command: its help, and the heavy modules that were imported by then."""
    code = (
        "import sys; from effpath.cli import main\n"
        "for command in sys.argv[1:]:\n"
        "    sys.argv = ['effpath', *command.split(), '--help']\n"
        "    try: main()\n    except SystemExit as leaving: assert not leaving.code, (command, leaving.code)\n"
        f"    print('heavy:', sorted({HEAVY!r} & sys.modules.keys()), end='\\0')"
    )
    words = ["", *COMMANDS]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(words, done.stdout.split("\0")[:-1], strict=True))


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_imports_nothing_heavy(helped, command):
    assert f"Usage: effpath {command}" in helped[command]
    assert helped[command].splitlines()[-1] == "heavy: []"


@pytest.mark.parametrize("words", ["rules max", "check net.py:make --input-size 1,4,4"])
def test_a_command_writes_to_an_ascii_pipe(tmp_path, words):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    layers = nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 3)\n"
        "    return nn.Sequential(*layers).eval()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "effpath", *words.split()], cwd=tmp_path,
        capture_output=True, check=False, env={"PYTHONIOENCODING": "ascii", "PATH": "", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert done.stdout.isascii()


@pytest.mark.parametrize(
    ("leaving", "code", "said"),
    [("sys.exit(3)", 3, ""), ("sys.exit()", 0, ""), ("sys.exit('no')", 1, "no"), ("pass", 0, "")],
)
def test_a_process_ends_as_sys_exit_would_end_it(tmp_path, leaving, code, said):
    script = (
        "import atexit, sys; from effpath import __main__ as process\n"
        "atexit.register(print, 'tidied')\n"
        f"def main():\n    print('done')\n    {leaving}\n"
        "process.main = main; process.run()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (code, "done\ntidied\n", said)


def test_a_command_is_called_as_its_function_which_hides_no_builtin():
    for command in cli_main.app.registered_commands:
        assert command.name == command.callback.__name__.rstrip("_")
        assert not hasattr(builtins, command.callback.__name__)
