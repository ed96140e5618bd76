"""Tests of imports, of names, and of docstrings."""

import ast
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jaxstyle

PACKAGE = Path(jaxstyle.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
# Packages that only modules from floor 4 on may import.
IO = {"PIL", "h5py", "rich", "argparse", "os", "sys", "pathlib"}
ARRAYS = {"jax", "flax", "optax", "numpy", "jaxtyping"}


def read_floors():
    """Floor of every module, from the table in `jaxstyle/README.md`."""
    rows = re.findall(r"^\| (\d) \| ([^|]*) \|", (PACKAGE / "README.md").read_text(), re.MULTILINE)
    return {name: int(floor) for floor, names in rows for name in re.findall(r"`(\w+)`", names)}


FLOORS = read_floors()


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


def test_every_module_has_a_floor():
    assert {name_of(path) for path in MODULES} - {"__init__"} == set(FLOORS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_import_runs_upwards(path):
    if name_of(path) == "__init__":
        return
    imported = {m.split(".")[1] for m in imports(path) if m.startswith("jaxstyle.")} & set(FLOORS)
    assert {name for name in imported if FLOORS[name] > FLOORS[name_of(path)]} == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_floors_touch_only_what_they_may(path):
    floor = FLOORS.get(name_of(path), 0)
    touched = {name.split(".")[0] for name in imports(path)}
    if floor < 4 and path.name != "__init__.py":
        assert not touched & IO
        calls = (
            node.func
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
        )
        assert not {call.id for call in calls if isinstance(call, ast.Name)} & {"open", "print"}
    if floor == 0:
        assert not touched & ARRAYS


def test_the_parser_does_not_import_jax():
    for name in ("__init__", "__main__", "arguments", "parser", "flags"):
        touched = {name.split(".")[0] for name in imports(PACKAGE / "cli" / f"{name}.py")}
        assert not touched & ARRAYS, name


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
    modules = {name for _, name, _ in pkgutil.iter_modules(jaxstyle.__path__)}
    assert modules - {"cli"} == set(jaxstyle._SUBMODULES)
    assert all(inspect.ismodule(getattr(jaxstyle, name)) for name in jaxstyle._SUBMODULES)
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
    assert len(path.read_text().splitlines()) <= 500
