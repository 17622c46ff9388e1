"""The rules of the source tree: which folder may know which, and what C code may call."""

import fnmatch
import re
import subprocess
from pathlib import Path

import nearfar._core
import pytest

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
SOURCES = sorted([*CSRC.rglob("*.c"), *CSRC.rglob("*.h")])
NAMES = [str(path.relative_to(CSRC)) for path in SOURCES]

OPERATIONS = {"transforms", "nn", "losses", "optim", "measure"}
# From a folder to those that its files may include from, besides itself and the public header.
MAY_INCLUDE = {
    "": set(),
    "kernels": set(),
    "core": {"kernels"},
    **{folder: {"core", "kernels"} for folder in OPERATIONS},
    "binding": {"core", "kernels", *OPERATIONS},
}
TOP_LEVEL = {"README.md", "LICENSE", "pyproject.toml", "setup.py", "csrc", "python", "tests"}
TOP_LEVEL_HIDDEN = {".ci", ".clang-format", ".gitignore", ".gitattributes", ".git"}


def folder_of(path):
    parts = path.relative_to(CSRC).parts
    return parts[0] if len(parts) > 1 else ""


def code_of(path):
    """The text without comments and without what is in strings."""
    text = re.sub(r"/\*.*?\*/", " ", path.read_text(), flags=re.S)
    text = re.sub(r"//[^\n]*", " ", text)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', re.sub(r'(#\s*include\s*)"([^"]*)"', r"\1<\2>", text))


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_includes_point_one_way(path):
    folder = folder_of(path)
    assert folder in MAY_INCLUDE, f"csrc/{folder} is not a folder of the design"
    for name in re.findall(r'#\s*include\s*"([^"]+)"', path.read_text()):
        target = (path.parent / name).resolve()
        assert target.exists(), f"includes {name}, which does not exist"
        other = folder_of(target)
        assert other in {folder, ""} | MAY_INCLUDE[folder], f"csrc/{folder} must not include from csrc/{other}"


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_only_the_binding_knows_python(path):
    if folder_of(path) != "binding":
        assert not re.search(r"Python\.h|numpy/|\bPy[A-Z]\w*\s*\(", code_of(path))


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_only_memory_c_allocates(path):
    if path.relative_to(CSRC).as_posix() != "core/memory.c":
        calls = re.findall(
            r"(?<![\w.>])(malloc|calloc|realloc|free|posix_memalign|aligned_alloc|mmap|alloca|strdup|memalign)\s*\(",
            code_of(path),
        )
        assert not calls


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_nothing_ends_the_process_or_prints(path):
    pattern = (
        r"(?<![\w.>])(exit|_exit|_Exit|quick_exit|abort|assert|printf|fprintf|vprintf|puts|fputs|putchar|perror)\s*\("
    )
    assert not re.findall(pattern, code_of(path))
    assert not re.search(r"<assert\.h>|\bstdout\b|\bstderr\b", code_of(path))


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_kernels_use_no_libm_and_check_nothing(path):
    if folder_of(path) == "kernels":
        assert not re.search(r"<(math|stdlib|stdio)\.h>|\bnf_fail\b|\bnf_alloc\b", code_of(path))


def test_files_that_texts_name_exist():
    texts = [
        *SOURCES,
        ROOT / "README.md",
        *(ROOT / "python").rglob("*.py"),
        *(ROOT / "tests").rglob("*.py"),
        *(ROOT / "tests").rglob("*.c"),
    ]
    named = {(path, name) for path in texts for name in re.findall(r"\btests/[\w/]+\.(?:py|c)\b", path.read_text())}
    assert len(named) > 5
    missing = [f"{path} names {name}" for path, name in named if not (ROOT / name).exists()]
    assert not missing


def test_every_kernel_is_in_the_tables():
    """A kernel in a list exists in a file, and the other way round; the table itself follows from the lists."""
    lists = code_of(CSRC / "kernels" / "kernels.h").replace("\\\n", " ")
    single = set(re.findall(r"\bK\(\s*[\w ]+?\*?\s*,\s*(\w+)\s*,\s*\(", lists)) - {"suffix"}
    real = set(re.findall(r"\bK\(\s*suffix\s*,\s*[\w ]+?\*?\s*,\s*(\w+)\s*,", lists))
    defined_single, defined_real = {}, {}
    for path in sorted((CSRC / "kernels").glob("*.c")):
        if path.name == "table.c":
            continue
        code = code_of(path)
        for found, into in [
            (re.findall(r"\bNF_KERNEL\((\w+)\)\s*\(", code), defined_single),
            (re.findall(r"\bNF_REAL_KERNEL\((\w+)\)\s*\(", code), defined_real),
        ]:
            for name in found:
                into.setdefault(name, set()).add(path.name)
    assert single
    assert real
    assert single - real == set(defined_single)
    assert real == set(defined_real)
    setup = (ROOT / "setup.py").read_text()
    [listed] = re.findall(r"REAL_KERNELS = \[(.*?)\]", setup, flags=re.S)
    in_setup = {f"{name}.c" for name in re.findall(r'"(\w+)"', listed)}
    assert in_setup == set().union(*defined_real.values())


def test_the_module_exports_one_name():
    text = subprocess.check_output(["nm", "-D", "--defined-only", nearfar._core.__file__], text=True)
    names = {line.split()[-1] for line in text.splitlines()}
    assert {name for name in names if not name.startswith(("__asan", "__ubsan", "_init", "_fini"))} == {"PyInit__core"}


def test_top_level_holds_only_what_belongs_there():
    ignored = [line.strip().rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line.strip()]
    for entry in ROOT.iterdir():
        if entry.name not in TOP_LEVEL | TOP_LEVEL_HIDDEN:
            assert any(fnmatch.fnmatch(entry.name, pattern) for pattern in ignored), entry.name
    for name in TOP_LEVEL:
        assert (ROOT / name).exists()


def test_headers_are_guarded():
    for path in SOURCES:
        if path.suffix == ".h" and not path.name.startswith("vector_"):  # those are parts of vector.h
            assert re.search(r"#ifndef (NF_\w+|NEARFAR_H)\n#define \1\n", path.read_text()), path
