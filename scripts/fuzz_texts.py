"""Hostile values, job files and records for `fuzz.py`."""

import json
import string
from random import Random
from typing import Any

NUMBERS = ("0", "-1", "1", "3", "16", "4096", "1e9", "1e400", "-1e400", "nan", "inf", "0x10", "1_0",
           "9" * 30, "9" * 5000, "2147483648", "0.1", ".5", "1/0", "²", "٣", "")  # fmt: skip
TEXTS = ("", " ", "relu4_1", "relu9_9", "relu1_1=nan", "relu1_1=", "=1", ",", "relu1_1,relu1_1",
         "gram:relu1_1", "a:b:c", "pool5=1e400", "adam", "noise", "none", "true", "no", "-", "--",
         "\0", "\x1b[2J", "a\nb", "x" * 300, "x" * 5000, "é", "\ud800", "😀", "%s%n", "{}", "{0}",
         "../up.png", "/etc/passwd", "a.png", "a/b.jpg", ".png", "a.PNG", "CON.png", "~", "$HOME",
         "*", "**/*", "[", "[a-", "?", "photo.png", "style.png", "missing.png", "*.png",
         "photo.png;style.png", ";")  # fmt: skip
TEMPLATES = ("{content}_{style}.png", "{index}.png", "{index:>999999999}.png", "{index:08}.png",
             "{content.__class__}.png", "{content[0]}.png", "{0}.png", "{}.png", "{", "}", "{{}}",
             "{size:.999999999f}.png", "{seed!r}.png", "{content:{size}}.png", "../{index}.png",
             "{content}.{ext}", "{index:99999999999999999999}.png", "{index:c}.png", "x" * 400,
             "{style}/{index}.webp", "a\0b.png", "contact_sheet.png", "{folder}/{content}.png",
             "{index:x>50}.png", "{seed:,}.png", "{content!z}.png", "/{index}.png", "")  # fmt: skip


FITTING = {"content": "photo.png", "style": "photo.png;style.png", "mask": "photo.png",
            "output": "a.png", "preset": "classic", "init": "photo.png", "optimizer": "lbfgs",
            "content_layers": "relu4_1", "style_layers": "relu1_1=2,gram:relu2_1"}  # fmt: skip
"""Good values of columns; the others take 1."""


def damage_bytes(random: Random, data: bytes) -> bytes:
    """Return bytes with one to four changes: flips, cuts, copies, insertions."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(changed) + 1)
        end = min(len(changed), at + random.choice((1, 2, 4, 16, 64, 1024)))
        kind = random.randrange(7)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            changed[at:end] = bytes([random.choice((0, 255, 10, 34, 44, 123))]) * (end - at)
        elif kind == 2:
            changed[at:end] = random.randbytes(end - at)
        elif kind == 3:
            del changed[at:end]
        elif kind == 4:
            changed[at:at] = changed[at:end] * random.choice((1, 2, 100))
        elif kind == 5:
            del changed[at:]
        else:
            changed[at:at] = random.randbytes(random.randrange(1, 9))
    return bytes(changed)


def hostile(random: Random) -> str:
    """Return a text that a user, a program or an attacker might give as any value."""
    if random.random() < 0.1:
        return "".join(random.choices(string.printable, k=random.randrange(1, 30)))
    return random.choice(random.choice((NUMBERS, TEXTS)))


def write_csv(random: Random, rows: list[dict[str, str]]) -> str:
    """Return a job file in CSV."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if random.random() < 0.2:
        names.append(random.choice((*names, "content", "")))
    quote = random.choice(('"', '"', '"', "'", ""))
    lines = [names, *([row.get(name, "") for name in names] for row in rows)]
    if random.random() < 0.2:
        lines.insert(random.randrange(len(lines) + 1), [""] * random.randrange(9))
    cells = [",".join(f"{quote}{cell}{quote}" for cell in line) for line in lines]
    end = random.choice(("\n", "\n", "\r\n", "\r"))
    return random.choice(("", "", "\ufeff")) + end.join(cells)


def write_toml(random: Random, rows: list[dict[str, str]]) -> str:
    """Return a job file in TOML."""
    parts = []
    for row in rows:
        parts.append(random.choice((*["[[job]]"] * 9, "[job]", "[defaults]", "")))
        parts += [f"{_toml_key(k)} = {_toml_value(random, v)}" for k, v in row.items()]
    if random.random() < 0.1:
        parts.append(f"job = {_toml_value(random, 'x')}")
    return "\n".join(parts)


def _toml_key(key: str) -> str:
    return key if key.isidentifier() else json.dumps(key)


def _toml_value(random: Random, text: str) -> str:
    """Return a value of any type of TOML; mostly the text."""
    if random.random() < 0.9:
        return json.dumps(text)
    deep = random.choice((2, 50, 5000))
    return random.choice(
        ("1", "-1", "9" * 40, "1e999", "nan", "true", "[]", "{}", "[1, 'a', []]", "1979-05-27",
         "07:32:00", "[" * deep + "]" * deep, "{a = " * deep + "1" + "}" * deep, "0xff",
         '["photo.png", 3]', "[[1]]", f"[{json.dumps(text)}]", '""', "'''\n'''")
    )  # fmt: skip


def json_value(random: Random) -> Any:
    """Return a value that a record of a ledger may hold."""
    deep: Any = 1
    for _ in range(random.choice((2, 900))):
        deep = [deep]
    return random.choice(
        (None, True, 0, -1, 10**400, 1e308, float("nan"), float("inf"), "", "done", "failed", "x",
         "<script>alert(1)</script>", "\x1b[2J", "\ud800", "../../x.png", "/etc/passwd", "a\0b",
         "x" * 5000, [], {}, [None], {"a": None}, {"a": {"b": 1}}, [1, "a"], ["nan"], deep,
         [1e308, -1e308], [0.0], [-1.0, 5.0], {"</style>": 1.0}, {"": 1}, [10**400], [True])
    )  # fmt: skip


def damage_record(random: Random, origin: dict[str, Any]) -> str:
    """Return a record of provenance in JSON, with up to two hostile entries, or damaged."""
    record = json.loads(json.dumps(origin))
    record["command"] = random.choice(("stylize", "preview", "texture", "reconstruct", "layers"))
    for _ in range(random.choice((0, 1, 1, 2))):
        table = random.choice((record, record.get("config"), record.get("inputs")))
        if isinstance(table, dict):
            name = random.choice((*table, "tile", "reconstructions", hostile(random)))
            values = (json_value(random), hostile(random), [json_value(random)])
            table[name] = random.choice(values)
    text = json.dumps(record)
    if random.random() < 0.3:
        text = damage_bytes(random, text.encode()).decode("latin-1")
    return text
