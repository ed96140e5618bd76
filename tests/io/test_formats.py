"""The table of formats, and the sentence about it."""

from PIL import Image

from jaxstyle.io.formats import FORMATS, READ_FORMATS, READ_SUFFIXES, describe_formats


def test_what_is_written_is_read():
    assert set(FORMATS) <= set(READ_SUFFIXES)


def test_no_suffix_is_named_twice():
    assert len(set(READ_SUFFIXES)) == len(READ_SUFFIXES)


def test_pillow_knows_every_format_without_an_extra():
    Image.init()
    assert {f.decoder for f in READ_FORMATS if not f.package} <= set(Image.OPEN)


def test_no_format_runs_programs_or_scripts():
    assert not {f.decoder for f in READ_FORMATS} & {"EPS", "PDF", "WMF", "SPIDER", "MSP", "FITS"}


def test_the_sentence_names_every_format():
    read, _, written = describe_formats().partition(";")
    assert all(format.name in read for format in READ_FORMATS)
    assert all(suffix in written for suffix in FORMATS)
