"""Jobs from folders, globs and job files."""

import os

import pytest

from jaxstyle.batch.jobs import (
    Defaults,
    check_jobs,
    find_images,
    find_skipped,
    output_name,
    pair_jobs,
    read_job_file,
)
from jaxstyle.config import StyleConfig
from jaxstyle.errors import ImageReadError
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
    results = {os.path.realpath(folder / "out" / "b_style.png")}
    images = find_images(f"{folder}/**/*", results=results)
    assert names(images) == ["a.PNG", "b.jpg", "c.webp"]
    with pytest.raises(ImageReadError, match="contains only results of this batch"):
        find_images(str(folder / "out"), results=results)


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
    ],
)
def test_invalid_output_name_is_an_error(tmp_path, template, message):
    with pytest.raises(ValueError, match=message):
        output_name(template, tmp_path / "a.jpg", [tmp_path / "s.jpg"], 1, StyleConfig())


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


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("j.csv", "content,stile\na,b\n", "line 2: unknown column 'stile'; did you mean 'style'"),
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
    for source in (tmp_path / "link", photos / ".." / "photos"):
        images = find_images(str(source))
        assert names(images) == ["a.jpg", "loop.jpg"]
        with pytest.raises(ValueError, match="would overwrite an input"):
            check_jobs(pair_jobs(images, images[:1], DEFAULTS, template="{content}.jpg"), photos)
        with pytest.raises(ImageReadError, match="contains only results of this batch"):
            find_images(str(source), results={str(photos / "a.jpg"), str(photos / "loop.jpg")})


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
