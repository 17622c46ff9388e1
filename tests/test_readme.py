"""What the README says is true: its Python runs, and what it names is there."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from nearfar import cli

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", TEXT, re.S)
SHELL = "".join(re.findall(r"```sh\n(.*?)```", TEXT, re.S)).splitlines()


@pytest.mark.parametrize("code", CODE, ids=lambda code: code.split("\n")[0])
def test_python_runs(code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    if "history" in names:
        loss = names["history"]["loss"]
        assert len(loss) == 50 and loss[-1] < loss[0]
        assert names["v"].shape == (355, 128)
        assert "kNN" in capsys.readouterr().out
    else:
        assert names["d_query"].shape == names["query"].shape
        assert names["d_z"].shape == (2, 256, 128)


def test_there_is_python():
    assert len(CODE) == 2


def test_paths_of_the_map_exist():
    block = re.search(r"## The map\n\n(.*?)\n\n", TEXT, re.S).group(1)
    paths = [line.split()[0] for line in block.split("\n")]
    assert len(paths) > 10
    assert not [path for path in paths if not (ROOT / path).exists()]
    folders = {path.name for path in (ROOT / "csrc").iterdir() if path.is_dir()}
    assert folders == {Path(path).name for path in paths if re.fullmatch(r"csrc/\w+/", path)}


def test_files_exist():
    """Links, and what looks like a file of the tree."""
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    files = re.findall(r"`((?:csrc|python|tests)/[\w/.]+)`", TEXT)
    assert links and files
    assert not [path for path in links + files if not (ROOT / path).exists()]


def test_promises_name_tests():
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", TEXT)
    assert len(named) > 8
    for file, test in named:
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(), (file, test)


def test_commands_have_the_options():
    commands = [shlex.split(line, comments=True)[1:] for line in SHELL if line.startswith("nearfar ")]
    assert len(commands) >= 4
    for arguments in commands:
        cli._parser().parse_args(arguments)


def test_extras_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.findall(r"'\.\[(\w+)\]'", TEXT)
    assert named and set(named) <= set(extras)


def test_switches_exist():
    sources = "".join(path.read_text() for path in [ROOT / "setup.py", *(ROOT / "csrc/core").glob("*.c")])
    switches = re.findall(r"^\| `(NEARFAR_\w+)", TEXT, re.M)
    assert len(switches) == 5
    assert not [name for name in switches if name not in sources]
