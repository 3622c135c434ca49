"""Which part of memcalc may import which, read from the source; and what a run imports, asked of the process."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import memcalc

PACKAGE = Path(memcalc.__file__).resolve().parent
#: Rooms of the house by module; packages are rooms of their own.
ROOMS = {
    **dict.fromkeys(("_version", "errors", "units"), "ground"),
    **dict.fromkeys(
        ("noun", "model", "chip", "engine", "workload", "precision", "sizes", "measurement", "figures"),
        "nouns",
    ),
    **dict.fromkeys(("accuracy", "api", "resolve", "trials"), "library"),
    **{name: name for name in ("core", "readers", "studies", "render", "cli")},
}
#: What each room may import besides itself. Readers stand beside the core, and the library above both.
BELOW = {
    "ground": set(),
    "nouns": {"ground"},
    "core": {"ground", "nouns"},
    "readers": {"ground", "nouns"},
    "studies": {"ground", "nouns", "core"},
    "library": {"ground", "nouns", "core", "readers", "studies"},
    "render": {"ground", "nouns", "core", "studies", "library"},
    "cli": {"ground", "nouns", "core", "readers", "studies", "library", "render"},
}
#: The catalogue lists what the readers read.
MORE = {"memcalc.studies.catalogue": {"readers"}}
#: The package itself fetches its names from the library when they are first asked for; running it runs the command.
TOP = {"memcalc": {"memcalc.api", "memcalc.errors", "memcalc._version"}, "memcalc.__main__": {"memcalc.cli"}}
PURE = ("ground", "nouns", "core", "studies")
#: Modules with which code reaches out of its arguments: files, environment, clock, chance, messages.
OUTSIDE = {
    "os", "sys", "io", "logging", "time", "datetime", "random", "secrets", "pathlib", "subprocess", "socket", "tempfile",
    "shutil", "glob", "warnings", "threading", "multiprocessing", "urllib", "importlib", "locale", "platform", "signal",
}  # fmt: skip
#: Their one importer.
ONLY_IN = {
    "rich": "memcalc.render.tables",
    "pydantic": "memcalc.readers.user_files",
    "huggingface_hub": "memcalc.readers.hub",
    "tomli_w": "memcalc.readers.preset_files",
}
#: Modules are fetched by name where they must wait until they are wanted.
FETCHERS = {"memcalc", "memcalc.cli.app", "memcalc.readers.architectures"}


def name_of(file: Path) -> str:
    """The name of a module by its file."""
    parts = ("memcalc", *file.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {name_of(file): file.read_text(encoding="utf-8") for file in sorted(PACKAGE.rglob("*.py"))}
MODULES = set(SOURCES)


def imported(source: str) -> set[str]:
    """The modules that a source imports anywhere: at the top, in functions, for type checks alone."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else str(node.module))
    return found


def called(source: str) -> set[str]:
    """The plain names that a source calls."""
    return {
        node.func.id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def room(module: str) -> str:
    return ROOMS[module.split(".")[1]]


def violations(module: str, source: str) -> list[str]:
    """What a module imports or calls that it must not."""
    found = []
    modules = imported(source)
    own = {name for name in modules if name.split(".")[0] == "memcalc"}
    if module in TOP:
        found += [
            f"{module} imports {name}" for name in own - TOP[module] if not name.startswith("memcalc.cli.")
        ]
    else:
        here = room(module)
        allowed = BELOW[here] | {here} | MORE.get(module, set())
        # Of the package itself only its version could be meant, and that has a module of its own.
        found += [f"{module} imports {n}" for n in own if n == "memcalc" or room(n) not in allowed]
        if here in PURE:
            outside = {name for name in modules - own if name.split(".")[0] not in sys.stdlib_module_names}
            outside |= {name for name in modules if name.split(".")[0] in OUTSIDE}
            found += [f"{module} imports {name}" for name in outside]
            found += [
                f"{module} calls {name}"
                for name in called(source) & {"open", "print", "input", "exec", "eval"}
            ]
    for package, place in ONLY_IN.items():
        if module != place and any(name.split(".")[0] == package for name in modules):
            found.append(f"{module} imports {package}")
    if module not in FETCHERS and called(source) & {"import_module", "__import__"}:
        found.append(f"{module} fetches modules by name")
    return sorted(found)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_run_downwards(module):
    assert violations(module, SOURCES[module]) == []


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("memcalc.core.timing", "from memcalc.studies import compare", "imports memcalc.studies.compare"),
        (
            "memcalc.core.timing",
            "def f():\n    from memcalc.readers.presets import names",
            "memcalc.readers.presets",
        ),
        ("memcalc.core.timing", "from memcalc import api", "imports memcalc.api"),
        ("memcalc.core.timing", "import memcalc", "imports memcalc"),
        ("memcalc.core.timing", "import os.path", "imports os.path"),
        ("memcalc.core.timing", "if TYPE_CHECKING:\n    import typer", "imports typer"),
        ("memcalc.core.timing", "def f(x):\n    print(x)", "calls print"),
        ("memcalc.core.timing", "import numpy", "imports numpy"),
        ("memcalc.readers.presets", "from memcalc.core.report import Report", "imports memcalc.core.report"),
        ("memcalc.readers.presets", "import pydantic", "imports pydantic"),
        ("memcalc.studies.compare", "from memcalc.render import words", "imports memcalc.render.words"),
        ("memcalc.studies.compare", "from memcalc.readers import presets", "imports memcalc.readers.presets"),
        ("memcalc.chip", "from memcalc.core import cost", "imports memcalc.core.cost"),
        ("memcalc.units", "from memcalc.model import Model", "imports memcalc.model"),
        ("memcalc.render.words", "from rich.text import Text", "imports rich"),
        ("memcalc.render.words", "from memcalc.readers import presets", "imports memcalc.readers.presets"),
        ("memcalc.api", "from memcalc.render import show", "imports memcalc.render"),
        ("memcalc.cli.fit", "__import__('rich')", "fetches modules by name"),
    ],
)
def test_a_wrong_import_is_found(module, source, found):
    assert any(found in text for text in violations(module, source))


def test_a_right_import_is_not():
    for module, source in (
        ("memcalc.studies.catalogue", "from memcalc.readers import presets"),
        ("memcalc.render.tables", "from rich.table import Table\nfrom memcalc.studies.compare import best"),
        ("memcalc.cli.fit", "from memcalc import api\nimport typer"),
        ("memcalc.core.timing", "from math import ceil\nfrom memcalc.core.report import Report"),
    ):
        assert violations(module, source) == []


def test_no_module_imports_itself_in_a_circle():
    below = {name: imported(source) & MODULES for name, source in SOURCES.items()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for inner in below[name]:
                visit(inner, (*above, name))
            done.add(name)

    for name in MODULES:
        visit(name, ())


DRIVER = """
import sys
before = set(sys.modules)
if sys.argv[1:]:
    from memcalc.cli import main
    try:
        main()
    except SystemExit as end:
        assert end.code in (0, None), end.code
else:
    import memcalc
print(*sorted(set(sys.modules) - before), file=sys.stderr)
"""


def loaded(*words: str) -> set[str]:
    """The modules that a run of the command imports, beyond those of the interpreter; of no words `import memcalc`."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *words],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.splitlines()[-1].split())


FIT = ("fit", "llama-3.1-8b", "--chip", "h100-sxm")
SLOW = {"rich", "pydantic", "importlib.metadata", "importlib.resources"}


def test_importing_the_package_imports_none_of_it():
    assert {name for name in loaded() if name.startswith("memcalc")} == {
        "memcalc",
        "memcalc._version",
    }


def test_the_version_costs_nothing():
    for flag in ("--version", "-V"):
        modules = loaded(flag)
        assert {name for name in modules if name.startswith("memcalc")} == {
            "memcalc",
            "memcalc._version",
            "memcalc.cli",
        }
        assert not modules & {"typer", "typing", "dataclasses", "re", "inspect", "tomllib", "argparse"}


@pytest.mark.parametrize("words", [(*FIT, "--json"), (*FIT, "--format", "csv")])
def test_fit_as_json_imports_nothing_that_draws_or_checks(words):
    modules = loaded(*words)
    assert not modules & SLOW
    assert "typer" in modules
    # Nor what other commands and user files need.
    unwanted = {"memcalc.cli.compare", "memcalc.cli.presets", "memcalc.studies.compare", "memcalc.studies.catalogue",
                "memcalc.readers.user_files", "memcalc.render.tables", "memcalc.sizes", "tomli_w"}  # fmt: skip
    assert not modules & unwanted


def test_a_table_imports_rich_and_no_pydantic():
    modules = loaded(*FIT)
    assert {"rich.console", "rich.table", "memcalc.render.tables"} <= modules
    assert not modules & (SLOW - {"rich"})


def test_compare_as_json_imports_nothing_that_draws_or_checks():
    assert not loaded("compare", "llama-3.1-8b", "--chip", "h100-sxm,wse-3", "--json") & SLOW


def test_presets_are_listed_without_either():
    for words in (("list", "chips"), ("show", "chip", "h100-sxm")):
        assert not loaded("presets", *words) & SLOW


def test_a_file_of_the_user_brings_pydantic(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'name = "mine"\n[memory.hbm]\ncapacity_bytes = "80GB"\nbandwidth_bytes_per_s = "3TB/s"\nhome = true\n'
    )
    assert "pydantic" in loaded("fit", "llama-3.1-8b", "--chip", str(file), "--json")
