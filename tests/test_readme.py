"""The README's own words, run."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_the_python_example_runs(tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    assert (tmp_path / "out.png").exists()
    assert names["many"].image.shape == (2, *names["result"].image.shape)


def test_every_command_line_of_the_readme_parses():
    from jaxstyle.cli.commands import _start_file, config_of
    from jaxstyle.cli.parser import make_parser

    lines = re.findall(r"^jaxstyle ([^#\n]*)", README, re.MULTILINE)
    assert len(lines) >= 8
    for line in lines:
        args = make_parser().parse_args(line.split())
        _start_file(args)
        assert "output" not in args or config_of(args)


def test_nothing_is_left_to_fill_in():
    assert not re.findall(r"@[A-Z]+@|TODO", README)


def test_linked_files_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
