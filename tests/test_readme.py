"""The READMEs: their examples run, their links exist, and they stay short."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAX_LINES = {
    "README.md": 150,
    "jaxstyle/README.md": 200,
    "scripts/README.md": 200,
    "weights/README.md": 60,
}
TEXTS = {name: (ROOT / name).read_text() for name in MAX_LINES}
README = TEXTS["README.md"]


@pytest.mark.slow
def test_the_python_example_runs(tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    assert (tmp_path / "out.png").exists()
    assert names["many"].image.shape == (2, *names["result"].image.shape)


def test_every_command_line_parses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("run.toml").write_text("style_weight = 20\n")
    from jaxstyle.cli.commands import config_of, take_start_file
    from jaxstyle.cli.parser import make_parser

    lines = [
        line
        for text in TEXTS.values()
        for line in re.findall(r"^jaxstyle ([^#\n]*)", text, re.MULTILINE)
    ]
    assert len(lines) >= 16
    for line in lines:
        args = make_parser().parse_args(line.replace("'", "").split())
        take_start_file(args)
        assert "preset" not in args or config_of(args)


def test_every_script_that_is_named_exists():
    for name, text in TEXTS.items():
        for script in re.findall(r"python (scripts/\w+\.py)", text):
            assert (ROOT / script).exists(), (name, script)


def test_every_module_that_the_inner_readme_names_exists():
    package = ROOT / "jaxstyle"
    for path in re.findall(r"`((?:\w+/)*\w+\.py)`", TEXTS["jaxstyle/README.md"]):
        assert (package / path).exists() or (ROOT / path).exists(), path


@pytest.mark.parametrize("name", MAX_LINES)
def test_nothing_is_left_to_fill_in(name):
    assert not re.findall(r"@[A-Z]+@|TODO", TEXTS[name])


@pytest.mark.parametrize("name", MAX_LINES)
def test_linked_files_exist(name):
    for target in re.findall(r"\]\(([^)#]+)\)", TEXTS[name]):
        assert ((ROOT / name).parent / target).exists(), target


@pytest.mark.parametrize("name", MAX_LINES)
def test_it_is_short_enough_to_be_read(name):
    assert len(TEXTS[name].splitlines()) <= MAX_LINES[name]


def test_the_first_readme_has_at_most_8_kib():
    assert len(README.encode()) <= 8 * 1024
