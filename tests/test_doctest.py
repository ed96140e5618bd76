"""The examples in the docstrings run, and every public function has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import jaxstyle
from jaxstyle import losses

FINDER = doctest.DocTestFinder()


def package_modules():
    for module in pkgutil.walk_packages(jaxstyle.__path__, "jaxstyle."):
        if not module.name.endswith("__main__"):
            yield importlib.import_module(module.name)


def examples():
    """Doctests of all functions, classes and modules, by their qualified name."""
    found = {}
    for module in package_modules():
        values = {name: v for name, v in vars(module).items() if hasattr(v, "__doc__")}
        own = {n: v for n, v in values.items() if getattr(v, "__module__", "") == module.__name__}
        for name, value in {"": module, **own}.items():
            # `module=False`: the shape checker wraps functions, which then look foreign.
            recursive = inspect.isclass(value)
            finder = FINDER if recursive else doctest.DocTestFinder(recurse=False)
            names = dict(vars(module))
            for test in finder.find(value, f"{module.__name__}.{name}", module=False, globs=names):
                if test.examples:
                    found[test.name] = test
    return found


EXAMPLES = examples()
# These compile the network.
SLOW = ("jaxstyle.transfer.", "jaxstyle.objective.", "jaxstyle.metrics.score", "jaxstyle.vgg19.")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name.startswith(SLOW) else [])
        for name in EXAMPLES
    ],
)
def test_examples_run(name):
    runner = doctest.DocTestRunner(verbose=False)
    output = []
    runner.run(EXAMPLES[name], out=output.append)
    assert not runner.failures, "".join(output)


def test_every_public_function_has_an_example():
    public = {name: getattr(jaxstyle, name) for name in jaxstyle.__all__}
    public |= {name: value for name, value in vars(losses).items() if not name.startswith("_")}
    functions = {f"{v.__module__}.{v.__name__}" for v in public.values() if inspect.isroutine(v)}
    assert "jaxstyle.transfer.stylize" in functions
    assert functions - set(EXAMPLES) == set()
