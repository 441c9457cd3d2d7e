"""The mutators themselves: each does something, says nothing, and can be repeated."""

import os
import re
import shutil
import stat

import numpy as np
import pytest
from damage import DAMAGES, LEGAL
from damage.edits import slices
from damage.kinds import Damage

from volumetry.codes import CATALOGUE, Outcome
from volumetry.phantom import PhantomSpec, make_phantom, write_series

_ALL = {**DAMAGES, **LEGAL}
_CHANGE_NO_BYTES = {"slice_not_readable", "folder_not_readable", "syntax_ExplicitVRLittleEndian"}
_SLOW = {"deflate_bomb"}
_OPEN_NAMES = {
    "links",
    "fifo",
    "odd_names",
    "nested_folders",
    "junk_files",
    "dicomdir",
    "only_text",
    "zip_archive",
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "base"
    spec = PhantomSpec((64, 64, 64), (2.5, 0.9, 0.9), scale_lps=(0.13, 0.18, 0.6), vessels=False)
    write_series(make_phantom(spec), folder)
    return folder


def _tree(folder):
    """Everything below a folder: content of files, kind of the rest."""
    return {
        os.fsencode(path.relative_to(folder)): path.read_bytes()
        if stat.S_ISREG(path.lstat().st_mode) and os.access(path, os.R_OK)
        else stat.S_IFMT(path.lstat().st_mode)
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("name", [name for name in _ALL if name not in _SLOW])
def test_damage_acts_and_repeats(name, base, tmp_path):
    trees = []
    for run in "ab":
        folder = tmp_path / run
        shutil.copytree(base, folder)
        _ALL[name].apply(folder, np.random.default_rng(5))
        trees.append(_tree(folder))
    if name != "zip_archive":  # an archive states when its members were written
        assert trees[0] == trees[1]
    assert (trees[0] == _tree(base)) == (name in _CHANGE_NO_BYTES - {"folder_not_readable"})
    if name not in _OPEN_NAMES | {"deep_folders", "folder_not_readable"}:
        assert all(re.fullmatch(rb"\d{4}\.dcm", path) for path in trees[0])
    assert "_" not in name or not any(
        name.encode() in content for content in trees[0].values() if isinstance(content, bytes)
    )


@pytest.mark.parametrize("name", [name for name in _ALL if name not in _SLOW])
def test_damage_leaves_alone_what_it_cannot_read(name, tmp_path):
    """An empty folder, and one without any CT image."""
    (tmp_path / "empty").mkdir()
    _ALL[name].apply(tmp_path / "empty", np.random.default_rng(5))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "note").write_text("no image")
    _ALL[name].apply(tmp_path / "other", np.random.default_rng(5))


def test_expectations_follow_the_catalogue():
    """What refuses, refuses under every profile; what is flagged is so, or worse, where scans are compared."""
    for damage in DAMAGES.values():
        code = CATALOGUE[str(damage.expect)]
        if damage.outcome is Outcome.REFUSE:
            assert code.outcome is Outcome.REFUSE, damage.name
        else:
            assert damage.outcome is Outcome.FLAG, damage.name
            assert code.trial_outcome in (Outcome.FLAG, Outcome.REFUSE), damage.name
        assert damage.what
    for quirk in LEGAL.values():
        assert quirk.outcome is not Outcome.REFUSE, quirk.name


def test_unknown_code_is_refused():
    with pytest.raises(ValueError, match="not in the catalogue"):
        Damage("x", "NO_SUCH_CODE", Outcome.REFUSE, "x", lambda folder, rng: None)


def test_slices_are_found_by_position_whatever_their_names(base, tmp_path):
    shutil.copytree(base, tmp_path / "scan")
    LEGAL["named_at_random"].apply(tmp_path / "scan", np.random.default_rng(1))
    heights = [float(ds.ImagePositionPatient[2]) for _, ds in slices(tmp_path / "scan")]
    assert heights == sorted(heights)
    assert len(heights) == 64


def test_bomb_is_small_on_disk_and_never_opened(base, tmp_path):
    shutil.copytree(base, tmp_path / "scan")
    DAMAGES["deflate_bomb"].apply(tmp_path / "scan", np.random.default_rng(1))
    added = {p.name for p in (tmp_path / "scan").iterdir()} - {p.name for p in base.iterdir()}
    (bomb,) = (tmp_path / "scan" / name for name in added)
    assert bomb.stat().st_size < 2e6
    assert len(slices(tmp_path / "scan")) == 64
