"""What holds the house together: which module may know which, and how names are written."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import jaxstyle

PACKAGE = Path(jaxstyle.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
# Modules that touch files, the terminal or the process.
EDGE = {
    *("files", "images", "sources", "weights", "convert", "cache", "checkpoint"),
    *(
        "job",
        "batch",
        "provenance",
        "signals",
        "forecast",
        "grid",
        "study_command",
        "flags",
        "commands",
        "cli",
        "parser",
    ),
}
IO = {"PIL", "h5py", "rich", "argparse", "os", "sys", "pathlib"}


def imports(path):
    """Top-level modules, and modules of the package, that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "jaxstyle":
                found |= {f"jaxstyle.{alias.name}" for alias in node.names}
    return found


def name_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_the_core_knows_nothing_of_files_and_terminals(path):
    if name_of(path) in EDGE or path.name == "__init__.py":
        return
    found = imports(path)
    assert not {name.split(".")[0] for name in found} & IO
    assert not found & {f"jaxstyle.{name}" for name in EDGE}


def test_options_errors_and_config_do_not_know_jax():
    for name in ("options", "errors", "config", "spec", "presets", "flags", "parser", "cli"):
        found = {name.split(".")[0] for name in imports(PACKAGE / f"{name}.py")}
        assert not found & {"jax", "flax", "optax", "numpy", "jaxtyping"}, name


def test_flax_is_known_to_the_network_alone():
    for path in MODULES:
        assert (path.stem == "vgg19") == any(m.startswith("flax") for m in imports(path))


def test_no_file_of_the_package_unpickles():
    for path in MODULES:
        assert not imports(path) & {"pickle", "torch", "dill", "cloudpickle"}


def test_importing_the_package_loads_nothing_heavy():
    code = "import jaxstyle, sys; print(*{'jax', 'PIL', 'h5py'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == ""


def test_importing_the_core_loads_no_file_formats():
    code = (
        "import sys; from jaxstyle import stylize, features, gram_matrix;"
        "print(*{'PIL', 'h5py', 'torch'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == ""


def test_type_checkers_see_the_names_that_are_there():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        node.names[0].name: node.module.removeprefix("jaxstyle.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    }
    assert seen == jaxstyle._HOMES
    assert set(dir(jaxstyle)) >= set(seen)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        jaxstyle.nonsense  # noqa: B018


@pytest.mark.parametrize("name", sorted(jaxstyle._HOMES))
def test_public_functions_are_documented_with_their_arguments(name):
    value = getattr(jaxstyle, name)
    if not inspect.isroutine(value):
        return
    doc = inspect.getdoc(value) or ""
    assert doc.splitlines()[0].endswith(".")
    parameters = list(inspect.signature(value).parameters)
    if "Args:" in doc:
        missing = [p for p in parameters if f"\n  {p}: " not in doc]
        assert not missing
    else:
        # Short ones name their arguments in the text.
        assert len(parameters) <= 3


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= 300
