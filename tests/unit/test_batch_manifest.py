"""The scan list as a CSV."""

import pytest

from volumetry.batch import list_scans, read_manifest
from volumetry.errors import UsageError


def _manifest(tmp_path, text):
    path = tmp_path / "scans.csv"
    path.write_text(text, "utf-8")
    return path


def test_ids_and_keys_are_the_users_and_paths_are_beside_the_manifest(tmp_path):
    text = "scan_id,path,subject,visit,site\nS01-w0,in/doe jane,S01,baseline,007\n"
    (scan,) = list_scans(_manifest(tmp_path, "\ufeff" + text))
    assert (scan.scan_id, scan.subject, scan.visit, scan.site) == ("S01-w0", "S01", "baseline", "007")
    assert scan.path == tmp_path / "in" / "doe jane"


def test_subject_visit_and_site_may_be_left_out(tmp_path):
    (scan,) = read_manifest(_manifest(tmp_path, "path,scan_id\n/data/x,a\n"))
    assert (scan.scan_id, str(scan.path), scan.site) == ("a", "/data/x", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scan_id,subject\na,b\n", "needs the columns"),
        ("scan_id,path,name\na,b,c\n", "none of"),
        ("scan_id,path\n", "no scan"),
        ("scan_id,path\n../a,b\n", "line 2"),
        ("scan_id,path\na,b\nA,c\n", "line 3.*line 2"),
        ("scan_id,path\na\n", "line 2"),
        ("scan_id,path\na,b,c\n", "line 2"),
        ("scan_id,path\na,\n", "line 2: path"),
        ('scan_id,path\n"a,b\n', "cannot be read"),
    ],
)
def test_a_wrong_manifest_is_refused_by_line(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        read_manifest(_manifest(tmp_path, text))


def test_a_list_that_is_neither_folder_nor_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="neither"):
        list_scans(tmp_path / "nothing")
