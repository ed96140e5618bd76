"""Scripts of shell completion: bash accepts them, and completes what is typed."""

import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest
from cli.quick import run

from jaxstyle.cli.completion import SHELLS

needs_shtab = pytest.mark.skipif(find_spec("shtab") is None, reason="needs shtab")
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

# Completes the command lines that follow the path of the script, one per argument.
BASH = r"""
source "$1" || exit 1
for line in "${@:2}"; do
  read -ra COMP_WORDS <<< "$line"
  [[ $line == *" " ]] && COMP_WORDS+=("")
  COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
  _shtab_jaxstyle
  echo "${COMPREPLY[@]}"
done
"""
COMPLETIONS = {
    "jaxstyle styl": "stylize",
    "jaxstyle weights v": "verify",
    "jaxstyle stylize --style-w": "--style-weight",
    "jaxstyle stylize a b --preset p": "photographic painterly",
    "jaxstyle stylize a b --no-cl": "--no-clamp",
    "jaxstyle stylize pho": "photo.jpg",
    "jaxstyle stylize photo.jpg pai": "painting.jpg",
    "jaxstyle stylize a b -o c --mask pho": "photo.jpg",
    "jaxstyle batch pho": "photo.jpg",
    "jaxstyle batch a b -o out": "outputs",
    "jaxstyle stylize a b --style-layers relu1_1,relu2_": "relu1_1,relu2_1 relu1_1,relu2_2",
    "jaxstyle reconstruct a --layers pool5": "pool5",
    "jaxstyle stylize a b --init noi": "noise",
    "jaxstyle stylize a b --init pai": "painting.jpg",
    "jaxstyle texture a --init sta": "statistics",
    "jaxstyle completion ": "bash zsh fish",
}


@needs_shtab
@needs_bash
def test_bash_completes_commands_options_choices_layers_and_files(tmp_path):
    for name in ("photo.jpg", "painting.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "outputs").mkdir()
    script = tmp_path / "jaxstyle.bash"
    script.write_text(run("completion", "bash").out)
    subprocess.run(["bash", "-n", script], check=True)
    command = ["bash", "-c", BASH, "bash", script, *COMPLETIONS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert dict(zip(COMPLETIONS, done.stdout.splitlines(), strict=True)) == COMPLETIONS
    assert done.stderr == ""


@needs_shtab
@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_names_every_command(shell):
    result = run("completion", shell)
    assert (result.code, result.err) == (0, "")
    assert all(command in result.out for command in ("stylize", "rerun", "verify", "relu3_1"))


def test_without_shtab_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    result = run("completion", "bash")
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert "needs shtab; pip install 'jaxstyle[completion]'" in result.err
