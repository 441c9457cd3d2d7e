"""`check` in odd surroundings: the same numbers, nothing taken from the current folder, no word to the network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from faults.conftest import finished, numbers_of, require_root

from volumetry.cli import main
from volumetry.segment.weights import find_model

TRAPS = (
    "dl", "numpy", "pydicom", "json", "torch", "monai", "SimpleITK", "typer", "sitecustomize", "usercustomize",
    "pylibjpeg",
    "openjpeg", "rle", "jpeg_ls", "gdcm", "secrets", "resource", "zlib_ng", "volumetry",
)  # fmt: skip


def _traps(folder: Path) -> Path:
    folder.mkdir()
    for name in TRAPS:
        (folder / f"{name}.py").write_text("import os; os.write(2, b'TRAPPED'); os._exit(99)", "utf-8")
    return folder


def test_modules_in_the_current_folder_are_not_imported(small_scan, tmp_path):
    """Through the installed command, as a user starts it; the decoding child has its own empty folder."""
    command = [str(Path(sys.executable).with_name("volumetry")), "inspect", str(small_scan)]
    done = subprocess.run(command, cwd=_traps(tmp_path / "here"), capture_output=True, text=True)  # noqa: S603  our own program
    assert done.returncode == 0, done.stderr
    assert "TRAPPED" not in done.stdout + done.stderr


def test_modules_beside_the_scan_are_not_imported(start, small_scan, reference, tmp_path):
    scan = _traps(tmp_path / "scan")
    for path in small_scan.iterdir():
        os.link(path, scan / path.name)
    ended = finished(start("check", scan, "--out", tmp_path / "out", "--scan-id", "small", cwd=scan))
    assert ended[0] == 0, ended[2]
    assert "TRAPPED" not in ended[1] + ended[2]
    assert numbers_of(tmp_path / "out")["volumes_ml"] == reference["volumes_ml"]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("no environment at all", None),
        (
            "C, no PATH, no home",
            {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PATH": "", "HOME": "/nonexistent"},
        ),
        ("Turkish, one thread", {"LC_ALL": "tr_TR.UTF-8", "OMP_NUM_THREADS": "1"}),
        ("nonsense", {"LC_ALL": "xx_XX.nonsense", "TZ": "Pacific/Apia", "TERM": "", "COLUMNS": "1"}),
    ],
)
def test_numbers_do_not_depend_on_the_environment(start, small_scan, reference, tmp_path, name, changes):
    kept = ("PYTHONPATH", "VOLUMETRY_PATIENT_SALT")  # where the program lies, and the secret behind the digest
    where_it_lies = {name: os.environ[name] for name in kept if name in os.environ}
    environment = where_it_lies if changes is None else {**os.environ, **changes}
    ended = finished(start("check", small_scan, "--out", tmp_path / "out", env=environment))
    assert ended[0] == 0, ended[2]
    assert numbers_of(tmp_path / "out") == reference


def test_a_home_that_cannot_be_written(start, small_scan, reference, tmp_path):
    """Libraries keep caches there. Root writes everywhere, so the home is a file instead of a folder."""
    home = tmp_path / "home"
    home.write_text("")
    environment = {
        **os.environ,
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "c"),
        "MPLCONFIGDIR": str(home / "m"),
    }
    ended = finished(start("check", small_scan, "--out", tmp_path / "out", env=environment))
    assert ended[0] == 0, ended[2]
    assert numbers_of(tmp_path / "out") == reference


def test_a_current_folder_that_is_gone(start, small_scan, reference, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    ended = finished(
        start("check", small_scan, "--out", tmp_path / "out", cwd=gone, preexec_fn=lambda: os.rmdir(gone))
    )
    assert ended[0] == 0, ended[2]
    assert numbers_of(tmp_path / "out") == reference


def test_without_a_network_it_gives_the_same(start, small_scan, reference, tmp_path):
    require_root("the network is taken away with unshare")
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-n", "true"], capture_output=True).returncode != 0:  # noqa: S603  a fixed call
        pytest.skip("this system does not let us take the network away")
    ended = finished(start("check", small_scan, "--out", tmp_path / "out", before=[unshare, "-n"]))
    assert ended[0] == 0, ended[2]
    assert numbers_of(tmp_path / "out") == reference


def test_it_does_not_try_to_reach_anything(small_scan, stand_in, tmp_path):
    """Every attempt to connect or to look up a name is an audit event of the interpreter."""
    script = tmp_path / "audited.py"
    script.write_text(
        "import sys\n"
        "def hook(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.gethostbyname', 'socket.sendto'):\n"
        "        sys.stderr.write('NETWORK ' + event + '\\n')\n"
        "sys.addaudithook(hook)\n" + stand_in.read_text("utf-8"),
        "utf-8",
    )
    command = [sys.executable, str(script), "check", str(small_scan), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603  our own script
    assert done.returncode == 0, done.stderr
    assert "NETWORK" not in done.stderr


@pytest.mark.parametrize("name", ["model.safetensors", "probe_input.safetensors", "probe_output.safetensors"])
def test_one_flipped_bit_in_the_shipped_model_ends_in_exit_five_and_no_row(name, small_scan, tmp_path, capsys):
    source = find_model("default")
    model = tmp_path / source.name
    shutil.copytree(source, model)
    data = bytearray((model / name).read_bytes())
    data[len(data) // 2] ^= 1
    (model / name).write_bytes(data)
    settings = tmp_path / "settings.toml"
    settings.write_text(f"[segment]\nmodel = '{model}'\n", "utf-8")
    with pytest.raises(SystemExit) as end:
        main(["check", str(small_scan), "--out", str(tmp_path / "out"), "--config", str(settings)])
    assert end.value.code == 5
    assert name in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []
