"""`jaxstyle weights`; `convert` is tested with the Keras reader."""

import shutil

from jaxstyle.cli import main
from jaxstyle.io.weights import weights_path


def test_info_and_verify_print_on_stdout(capsys):
    assert main(["weights", "info"]) == 0
    assert "20,024,396 weights in 17 layers" in capsys.readouterr().out
    assert main(["weights", "verify"]) == 0
    assert "checksum of the file" in capsys.readouterr().out


def test_verify_rejects_a_file_with_another_checksum_than_listed(tmp_path, capsys):
    shutil.copy(weights_path(), tmp_path / "vgg19.h5")
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  vgg19.h5\n")
    assert main(["weights", "verify", str(tmp_path / "vgg19.h5")]) == 4
    assert "is not the file that" in capsys.readouterr().err
