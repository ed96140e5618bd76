"""The checker of annotations in tests."""

from beartype import BeartypeConf, beartype

# As PEP 484 has it, an int is a float.
_check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(function):
    """Check the annotations of all but `StyleConfig`, whose numbers may be traced."""
    is_config = function.__qualname__ == "StyleConfig.__init__"
    return function if is_config else _check(function)
