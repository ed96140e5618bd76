"""Text files with limits; TOML is also tested with job files."""

from pathlib import Path

import pytest

from jaxstyle.io.texts import parse_json, read_text

PATH = Path("a.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "a.json is not valid JSON"),
        ("[" * 100_000, "a.json: its values are nested too deeply"),
        ("9" * 5000, "a.json is not valid JSON: Exceeds the limit"),
    ],
)
def test_json_that_cannot_be_parsed_is_an_error_that_names_the_file(text, message):
    with pytest.raises(ValueError, match=message):
        parse_json(PATH, text)


def test_a_file_beyond_the_limit_is_not_read(tmp_path):
    (tmp_path / "a.json").write_bytes(bytes(2**20 + 1))
    with pytest.raises(ValueError, match=r"has more than 1 MiB; it is no report\."):
        read_text(tmp_path / "a.json", 2**20, "it is no report")
