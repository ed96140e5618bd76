"""Jobs from folders, globs and job files."""

import os
from pathlib import Path

import pytest

import jaxstyle.batch.jobs
from jaxstyle.batch.find import find_images, find_skipped, search_root
from jaxstyle.batch.jobs import (
    Defaults,
    check_jobs,
    pair_jobs,
    read_job_file,
)
from jaxstyle.batch.ledger import Ledger, Shard
from jaxstyle.batch.names import output_name
from jaxstyle.config import StyleConfig
from jaxstyle.errors import ImageReadError, WriteError
from jaxstyle.presets import PRESETS

DEFAULTS = Defaults("default", {})


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jpg", "a.PNG", "notes.txt", ".hidden.jpg", "deep/c.webp"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def names(paths):
    return [path.name for path in paths]


def test_folder_gives_its_own_images_sorted(folder):
    assert names(find_images(str(folder))) == ["a.PNG", "b.jpg"]


def test_only_a_double_star_searches_subfolders(folder):
    assert names(find_images(f"{folder}/*.jpg")) == ["b.jpg"]
    assert names(find_images(f"{folder}/**/*")) == ["a.PNG", "b.jpg", "c.webp"]


def test_glob_may_be_relative(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert names(find_images("deep/*")) == ["c.webp"]


def test_existing_file_is_not_read_as_a_glob(folder):
    path = folder / "odd[1].jpg"
    path.write_bytes(b"x")
    assert find_images(str(path)) == [path]


def test_search_ends_in_a_loop_of_links(folder):
    (folder / "deep" / "loop").symlink_to(folder)
    (folder / "self.jpg").symlink_to(folder / "self.jpg")
    assert names(find_images(f"{folder}/**/*.webp")) == ["c.webp"]
    assert "self.jpg" in names(find_images(str(folder)))


def test_results_are_not_content_images(folder):
    (folder / "out").mkdir()
    (folder / "out" / "b_style.png").write_bytes(b"x")
    ledger = Ledger(folder / "out", Shard())
    ledger.append({"output": "b_style.png"})
    (folder / "link.png").symlink_to(folder / "out" / "b_style.png")
    images = find_images(f"{folder}/**/*", keep=ledger.remove_outputs)
    assert names(images) == ["a.PNG", "b.jpg", "c.webp"]
    with pytest.raises(ImageReadError, match="contains only results of this batch"):
        find_images(str(folder / "out"), keep=ledger.remove_outputs)


@pytest.mark.parametrize("source", ["missing", "missing/*.jpg", "empty"])
def test_source_without_images_is_an_error(tmp_path, source):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageReadError, match=r"does not exist|contains no images"):
        find_images(str(tmp_path / source))


def test_files_that_a_search_leaves_out_are_found(folder):
    for name in ("notes.txt", "photo.psd", ".hidden", "contact_sheet.txt", "jobs.jsonl"):
        (folder / name).write_bytes(b"x")
    everything = [path.name for path in folder.iterdir() if path.is_file()]
    left_out = ["notes.txt", "photo.psd"]
    assert set(left_out) < set(everything)
    assert [p.name for p in find_skipped(str(folder))][-2:] == left_out
    assert [p.name for p in find_skipped(f"{folder}/*")][-2:] == left_out
    (folder / "photo").write_bytes(b"")
    assert find_skipped(str(folder / "photo")) == []
    assert find_skipped(f"{folder}/*.jpg") == find_skipped(str(folder / "b.jpg")) == []


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".mpo", ".heic", ".JPX", ".apng", ".jp2"])
def test_a_search_finds_every_format_that_is_read(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(b"x")
    assert names(find_images(str(tmp_path))) == [f"a{suffix}"]


@pytest.mark.parametrize("name", ["jobs.csv", "jobs.toml"])
def test_a_pipe_is_no_job_file(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ImageReadError, match="not a regular file"):
        read_job_file(tmp_path / name, DEFAULTS)


def test_cross_pairing_combines_every_content_with_every_style(folder):
    contents = find_images(str(folder))
    jobs = pair_jobs(contents, contents, DEFAULTS)
    assert [job.output for job in jobs] == ["a_a.png", "a_b.png", "b_a.png", "b_b.png"]


def test_each_pairing_combines_images_in_order(folder):
    contents = find_images(str(folder))
    jobs = pair_jobs(
        contents, contents[::-1], DEFAULTS, pairing="each", template="{style}/{index}.jpg"
    )
    assert [job.output for job in jobs] == ["b/1.jpg", "a/2.jpg"]
    with pytest.raises(ValueError, match="2 content images and 1 style images"):
        pair_jobs(contents, contents[:1], DEFAULTS, pairing="each")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{nonsense}.png", "its fields must be among"),
        ("{content", "its fields must be among"),
        ("{content.parent}.png", "its fields must be among"),
        ("../{content}.png", "is not a file inside the output folder"),
        ("/tmp/{content}.png", "is not a file inside the output folder"),
        ("a/../../{content}.png", "is not a file inside the output folder"),
        ("{content}.exe", r"must end in \.png"),
        ("contact_sheet_{index}.png", "is reserved"),
        ("{index:>999999999}.png", "its fields must be among"),
        ("{content:0100}.png", "its fields must be among"),
        ("{index:{size}}.png", "its fields must be among"),
        ("{content.__class__}.png", "its fields must be among"),
        ("{content[0]}.png", "its fields must be among"),
        ("{content!r}.png", "its fields must be among"),
        ("{0}.png", "its fields must be among"),
        ("{}.png", "its fields must be among"),
        ("{index:.3}.png", "its fields must be among"),
        ("{folder}/../{content}.png", "is not a file inside the output folder"),
    ],
)
def test_invalid_output_name_is_an_error(tmp_path, template, message):
    with pytest.raises(ValueError, match=message):
        output_name(template, tmp_path / "a.jpg", [tmp_path / "s.jpg"], 1, StyleConfig())


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{index:04}.png", "0007.png"),
        ("{content:.3}_{style:>3}.png", "abc_  s.png"),
        ("{folder}/{content}.png", "x/y/abcd.png"),
        ("{folder}_{{{seed}}}.png", "x/y_{0}.png"),
    ],
)
def test_fields_have_widths_and_lengths(template, expected):
    content = Path("in/x/y/abcd.jpg")
    arguments = template, content, [Path("s.png")], 7, StyleConfig()
    assert output_name(*arguments, root=Path("in")) == expected


@pytest.mark.parametrize(
    ("content", "root", "expected"),
    [
        ("in/a.jpg", "in", "a.png"),
        ("a.jpg", ".", "a.png"),
        ("a.jpg", None, "a.png"),
        ("in/x/../y/a.jpg", "in", "y/a.png"),
        ("../other/a.jpg", ".", "other/a.png"),
        ("../../a.jpg", ".", "a.png"),
    ],
)
def test_folder_of_a_content_image_stays_inside_the_output_folder(content, root, expected):
    arguments = "{folder}/{content}.png", Path(content), [], 1, StyleConfig()
    assert output_name(*arguments, root=root and Path(root)) == expected


def test_content_named_like_the_parent_folder_stays_inside():
    with pytest.raises(ValueError, match="is not a file inside the output folder"):
        output_name("{content}/a.png", Path("in/.."), [], 1, StyleConfig())


def test_folder_of_an_absolute_path_stays_inside_the_output_folder(tmp_path):
    content = tmp_path / "far" / "a.jpg"
    name = output_name("{folder}/{content}.png", content, [], 1, StyleConfig(), root=Path())
    assert name == f"{content.with_suffix('.png').relative_to(content.anchor).as_posix()}"


def test_folder_field_separates_images_of_one_name(folder):
    (folder / "deep" / "b.jpg").write_bytes(b"x")
    source = f"{folder}/**/*"
    contents = find_images(source)
    with pytest.raises(ValueError, match=r"use another `--name`, for example '\{folder\}/"):
        check_jobs(pair_jobs(contents, contents[1:2], DEFAULTS), folder / "out")
    template = "{folder}/{content}.png"
    jobs = pair_jobs(contents, contents[1:2], DEFAULTS, template=template, root=search_root(source))
    check_jobs(jobs, folder / "out")
    assert [job.output for job in jobs] == ["a.png", "b.png", "deep/b.png", "deep/c.png"]
    # A new image and another spelling of the search change no name.
    (folder / "a0.jpg").write_bytes(b"x")
    source = f"{folder}/**/*.*"
    jobs = pair_jobs(
        find_images(source), contents[1:2], DEFAULTS, template=template, root=search_root(source)
    )
    assert {"a.png", "b.png", "deep/b.png", "deep/c.png"} < {job.output for job in jobs}


def test_folder_of_a_job_file_is_that_of_its_content_images(tmp_path):
    job_file = write(tmp_path / "jobs.csv", "content,style\nx/a.jpg,s.jpg\na.jpg,s.jpg\n")
    jobs = read_job_file(job_file, DEFAULTS, "{folder}/{content}.png")
    assert [job.output for job in jobs] == ["x/a.png", "a.png"]


@pytest.mark.parametrize(
    "name", ["x" * 252 + ".png", "y/" + "é" * 130 + ".png", "x" * 300 + "/y.png"]
)
def test_name_that_is_too_long_is_an_error_before_any_work(folder, name):
    jobs = pair_jobs([folder / "b.jpg"], [folder / "b.jpg"], DEFAULTS, template=name)
    with pytest.raises(WriteError, match=r"bytes, the file system allows \d+; use a shorter one"):
        check_jobs(jobs, folder / "missing" / "out")


def test_output_below_another_output_is_an_error(folder):
    job_file = write(
        folder / "jobs.csv", "content,style,output\nb.jpg,b.jpg,x.png\nb.jpg,b.jpg,X.png/y.png\n"
    )
    with pytest.raises(ValueError, match=r"'X.png/y.png' needs a folder where 'x.png' is a file"):
        check_jobs(read_job_file(job_file, DEFAULTS), folder / "out")


@pytest.mark.parametrize("source", ["x" * 300, "x" * 5000, "a/" + "x" * 300 + "/*.jpg"])
def test_source_with_a_name_that_is_too_long_is_an_error(source):
    with pytest.raises(ImageReadError, match=r"does not exist|contains no images"):
        find_images(source)
    assert isinstance(search_root(source), Path)


def test_input_with_a_name_that_is_too_long_is_an_error(tmp_path):
    job_file = write(tmp_path / "jobs.csv", f"content,style,output\n{'x' * 300}.jpg,s.jpg,o.png\n")
    with pytest.raises(ImageReadError, match="does not exist"):
        check_jobs(read_job_file(job_file, DEFAULTS), tmp_path / "out")


def write(path, text):
    path.write_text(text)
    return path


def test_csv_row_sets_any_field_of_its_job(tmp_path):
    job_file = write(
        tmp_path / "jobs.csv",
        "content,style,output,mask,preset,steps,style_layers,clamp,init\n"
        'a.jpg,s.jpg,one.png,,,"5,3","relu1_1=4,relu2_1",no,noise\n'
        "\n"
        "a.jpg,s.jpg; t.jpg,,m.png;n.png,classic,,,,start.png\n",
    )
    one, two = read_job_file(job_file, Defaults("default", {"size": 64}))
    assert one.output == "one.png"
    assert one.config.steps == (5, 3)
    assert one.config.style_layers == (("relu1_1", 4.0), ("relu2_1", 1.0))
    assert one.config.clamp is False
    assert (one.config.init, one.start) == ("noise", None)
    assert two.styles == (tmp_path / "s.jpg", tmp_path / "t.jpg")
    assert two.masks == (tmp_path / "m.png", tmp_path / "n.png")
    assert two.start == tmp_path / "start.png"
    assert two.output == "a_s+t.png"
    assert two.config.optimizer == PRESETS["classic"].optimizer
    assert one.config.size == two.config.size == 64


def test_toml_file_has_types_and_defaults(tmp_path):
    job_file = write(
        tmp_path / "jobs.toml",
        '[defaults]\nstyle = "s.jpg"\nsize = 32\n'
        '[[job]]\ncontent = "a.jpg"\nstyle_layers = {relu1_1 = 2}\nclamp = false\n'
        '[[job]]\ncontent = "b.jpg"\nstyle = ["s.jpg", "t.jpg"]\nsize = 48\n',
    )
    one, two = read_job_file(job_file, DEFAULTS)
    assert one.config == StyleConfig(size=32, style_layers={"relu1_1": 2}, clamp=False)
    assert (two.config.size, len(two.styles)) == (48, 2)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_empty_rows_are_ignored_in_every_kind_of_text(tmp_path, end, mark):
    lines = [",,", "content,style,", "", " , ,", "a.jpg,s.jpg,,,", ",,,,,", "b.jpg,s.jpg"]
    job_file = tmp_path / "jobs.csv"
    job_file.write_bytes(end.join([mark + lines[0], *lines[1:]]).encode())
    jobs = read_job_file(job_file, DEFAULTS, "{index}.png")
    assert [job.output for job in jobs] == ["1.png", "2.png"]


def test_size_of_a_job_file_is_limited(tmp_path, monkeypatch):
    job_file = write(tmp_path / "jobs.csv", "content,style\na.jpg,s.jpg\na.jpg,s.jpg\n")
    monkeypatch.setattr(jaxstyle.batch.jobs, "_MAX_JOBS", 1)
    with pytest.raises(ValueError, match="has more than 1 jobs; split it"):
        read_job_file(job_file, DEFAULTS)
    with job_file.open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match="has more than 256 MiB; split it"):
        read_job_file(job_file, DEFAULTS)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("j.csv", "content,styel\na,b\n", "line 2: unknown column 'styel'; did you mean 'style'"),
        ("j.csv", "content,style\na.jpg,\n", "line 2: `style` is missing"),
        ("j.csv", "content,style,size\na,b,big\n", "line 2: `size` is 'big'"),
        ("j.csv", "content,style,size\na,b,3\n", "line 2: `size` is 3; it must be at least 16"),
        ("j.csv", "content,style\na,b,c\n", "line 2: more cells than the header"),
        ("j.csv", "content,style,preset\na,b,c\n", "line 2: `preset` is 'c'"),
        (
            "j.csv",
            "content,style,output\na,b,../c.png\n",
            "line 2: .* is not a file inside the output folder",
        ),
        ("j.csv", "content,style,mask\na,b,c;d\n", "line 2: 2 masks for 1 styles"),
        ("j.csv", "content,style,optimizer\na,b,sgd\n", "(?s)line 2: .*optimizer"),
        ("j.csv", "content,style\n", "contains no jobs"),
        ("j.csv", "", "contains no jobs"),
        ("j.csv", "content,style, content\na,b,c\n", "line 1: column 'content' occurs twice"),
        ("j.csv", "content,style\na\0,b\n", "line 2: it contains a NUL character"),
        ("j.csv", 'content,style\na,"b\n', "line 2: unexpected end of data"),
        ("j.csv", "content,style\na, ;\n", "line 2: `style` is missing"),
        ("j.csv", f"content,style\n{'a' * 200_000},b\n", "line 2: field larger than field limit"),
        ("j.toml", "defaults = 3\n", r"line 1: 'defaults' .* must contain only \[\[job\]\]"),
        ("j.toml", "\n\n[jobs]\n", r"line 3: 'jobs' .* must contain only \[\[job\]\]"),
        ("j.toml", "[job]\n", r"line 1: 'job' .* must contain only \[\[job\]\]"),
        ("j.toml", f"a = {'[' * 9000}\n", "nested too deeply"),
        ("j.toml", f"a = {'{a=' * 9000}\n", "nested too deeply"),
        ("j.toml", f"a = {'9' * 9000}\n", "j.toml: Exceeds the limit"),
        ("j.toml", f"\n{'a.' * 101}a = 1\n", "line 2: it has more than 100 dots"),
        ("j.toml", f"x = {['a.png'] * 101}\n", r"line 1: 'x' .* must contain only \[\[job\]\]"),
        ("j.toml", "x = 1\nx = 2\n", "j.toml: .*line 2"),
        ("j.toml", '[[job]]\ncontent="a\\u0000"\nstyle="b"\n', "job 1: a file name contains"),
        ("j.toml", '[[job]]\ncontent="a"\nstyle=["b\\u0000"]\n', "job 1: a file name contains"),
        ("j.toml", '[[job]]\ncontent="a"\nstyle="b"\npreset=[]\n', "job 1: `preset` is .*text"),
        (
            "j.toml",
            '[[job]]\ncontent="a"\nstyle="b"\nstyle_layers=3\n',
            "job 1: `style_layers` is 3",
        ),
        ("j.toml", "job = 3\n", r"must contain only \[\[job\]\]"),
        ("j.toml", "[[job]\n", "j.toml: "),
        ("j.toml", "job = [3]\n", r"job 1: it is 3; write it as a \[\[job\]\] table"),
        (
            "j.toml",
            '[[job]]\ncontent="a"\nstyle=4\n',
            "job 1: `style` is 4; it must be a file name",
        ),
        (
            "j.toml",
            '[[job]]\ncontent=["a"]\nstyle="b"\n',
            "job 1: `content` is .*; it must be text",
        ),
        ("j.toml", '[[job]]\ncontent="a"\nstyle="b"\nsize=[1]\n', "job 1: "),
        ("j.toml", '[[job]]\ncontent="a"\nstyle="b"\nclamp="maybe"\n', "job 1: `clamp` is 'maybe'"),
        ("j.toml", '[[job]]\ncontent="a"\nstyle="b"\nclamp=3\n', "(?s)job 1: .*clamp"),
        ("j.toml", '[[job]]\ncontent="a"\nstyle="b"\nsteps=["x"]\n', "job 1: "),
    ],
)
def test_job_file_error_names_the_line(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        read_job_file(write(tmp_path / name, text), DEFAULTS)


def test_job_file_that_is_not_text_or_missing_is_an_error(tmp_path):
    path = tmp_path / "jobs.csv"
    path.write_bytes(b"content,style\n\xff\xfe,b\n")
    with pytest.raises(ValueError, match="is not UTF-8"):
        read_job_file(path, DEFAULTS)
    with pytest.raises(ImageReadError, match="cannot read"):
        read_job_file(tmp_path / "missing.csv", DEFAULTS)


def test_start_of_a_job_overrides_that_of_the_flags(tmp_path):
    job_file = write(
        tmp_path / "jobs.csv", "content,style,init,\na.jpg,s.jpg,noise,\na.jpg,s.jpg,,\n"
    )
    start = tmp_path / "start.png"
    jobs = read_job_file(job_file, Defaults("default", {}, start))
    assert [(job.config.init, job.start) for job in jobs] == [("noise", None), ("content", start)]


def test_two_jobs_with_the_same_output_are_an_error(folder):
    (folder / "b.png").write_bytes(b"x")
    jobs = pair_jobs(find_images(str(folder)), [folder / "b.jpg"], DEFAULTS)
    with pytest.raises(ValueError, match=r"would both be 'b_b.png'; use another `--name`"):
        check_jobs(jobs, folder / "out")


def test_output_that_is_an_input_is_an_error(folder):
    jobs = pair_jobs([folder / "b.jpg"], [folder / "b.jpg"], DEFAULTS, template="{content}.jpg")
    with pytest.raises(ValueError, match="would overwrite an input"):
        check_jobs(jobs, folder)


def test_links_and_parent_folders_are_resolved(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(b"x")
    (tmp_path / "link").symlink_to(photos)
    (photos / "loop.jpg").symlink_to(photos / "loop.jpg")
    ledger = Ledger(photos, Shard())
    ledger.append({"output": "a.jpg"}, {"output": "loop.jpg"})
    for source in (tmp_path / "link", photos / ".." / "photos"):
        images = find_images(str(source))
        assert names(images) == ["a.jpg", "loop.jpg"]
        with pytest.raises(ValueError, match="would overwrite an input"):
            check_jobs(pair_jobs(images, images[:1], DEFAULTS, template="{content}.jpg"), photos)
        with pytest.raises(ImageReadError, match="contains only results of this batch"):
            find_images(str(source), keep=ledger.remove_outputs)


def test_names_that_resemble_files_of_the_batch_are_allowed(tmp_path):
    assert output_name(
        "{content}.png", tmp_path / "jobsite.jpg", [tmp_path / "s.jpg"], 1, StyleConfig()
    )


def test_missing_inputs_are_an_error(tmp_path):
    job_file = write(tmp_path / "jobs.csv", "content,style\na.jpg,s.jpg\nb.jpg,s.jpg\n")
    with pytest.raises(ImageReadError, match=r"a.jpg does not exist \(and 2 more\)"):
        check_jobs(read_job_file(job_file, DEFAULTS), tmp_path / "out")


def test_file_names_that_are_not_utf8_are_preserved(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / name).write_bytes(b"x")
    (image,) = find_images(str(tmp_path))
    (job,) = pair_jobs([image], [image], DEFAULTS)
    assert os.fsencode(job.output) == b"caf\xe9_caf\xe9.png"
