"""NIfTI, NRRD and MetaImage: as another library reads them, or refused with the reason; no path is followed."""

import gzip
import itertools
import struct
import zipfile
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scan_series import SLICES, SPACING_KJI_MM, chest_hu, codes_of, findings_of, series, write

from volumetry.codes import Outcome
from volumetry.config import load_config
from volumetry.domain import ScanRefusedError
from volumetry.errors import OutputError
from volumetry.scan import inspect_folder, read_scan, source_headers

HU = chest_hu()
ORIGIN_LPS_MM = (-22.0, -21.0, -80.0)
ORIENTATIONS = ("LPS", "RAS", "LAS", "LPI", "RAI", "PSR", "SLA", "ASL", "IRP")


def chest_image(hu=HU):
    """The small chest as an ITK image, axial, feet to head."""
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing([float(mm) for mm in SPACING_KJI_MM[::-1]])
    image.SetOrigin(ORIGIN_LPS_MM)
    return image


def oblique(image, degrees=6.0):
    turn = np.deg2rad(degrees)
    c, s = np.cos(turn), np.sin(turn)
    image.SetDirection([1, 0, 0, 0, c, -s, 0, s, c])
    return image


def nifti(path, hu_kji=HU, affine=None, sform=1, qform=0, **fields):
    """A NIfTI written by nibabel, its header then edited."""
    if affine is None:
        k, j, i = SPACING_KJI_MM
        affine = np.diag([-i, -j, k, 1.0])
        affine[:3, 3] = (22.0, 21.0, -80.0)
    image = nib.Nifti1Image(np.asarray(hu_kji).T, affine)
    image.set_sform(affine, code=sform)
    image.set_qform(affine, code=qform)
    for name, value in fields.items():
        image.header[name] = value
    data = image.to_bytes()
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return path


def refusal(path, config, code):
    with pytest.raises(ScanRefusedError) as stop:
        read_scan(path, config)
    assert stop.value.code == code, codes_of(stop.value)
    return stop.value.message


def same_as_itk(scan, image):
    np.testing.assert_array_equal(scan.hu_kji, sitk.GetArrayFromImage(image))
    k, j, i = scan.grid.spacing_kji_mm
    np.testing.assert_allclose((i, j, k), image.GetSpacing(), atol=1e-5)
    np.testing.assert_allclose(scan.grid.origin_lps_mm, image.GetOrigin(), atol=1e-4)
    direction = np.asarray(image.GetDirection()).reshape(3, 3).T[::-1]
    np.testing.assert_allclose(scan.grid.direction_lps, direction, atol=1e-6)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_every_orientation_is_read_as_itk_reads_it(suffix, orientation, tmp_path, config):
    path = tmp_path / f"ct{suffix}"
    sitk.WriteImage(sitk.DICOMOrient(chest_image(), orientation), str(path), useCompression=orientation != "RAS")
    scan = read_scan(path, config)
    same_as_itk(scan, sitk.ReadImage(str(path)))
    assert {f.code for f in scan.findings} == {"NO_HEADER"}
    if suffix.startswith(".nii"):
        other = nib.load(path)
        np.testing.assert_array_equal(scan.hu_kji, np.asarray(other.dataobj).T)
        np.testing.assert_allclose(scan.grid.affine_ras, other.affine, atol=1e-4)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".nhdr", ".mhd"])
@pytest.mark.parametrize("orientation", ["LPS", "PSR"])
def test_an_oblique_volume_is_read_as_itk_reads_it(suffix, orientation, tmp_path, config):
    path = tmp_path / f"ct{suffix}"
    image = sitk.DICOMOrient(chest_image(), orientation)
    turned = sitk.GetImageFromArray(sitk.GetArrayFromImage(image))
    turned.SetSpacing(image.GetSpacing())
    c, s = np.cos(0.1), np.sin(0.1)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.asarray(image.GetDirection()).reshape(3, 3)
    turned.SetDirection(turn.ravel().tolist())
    turned.SetOrigin((3.5, -7.25, 11.125))
    sitk.WriteImage(turned, str(path), useCompression=suffix != ".mhd")
    scan = read_scan(path, config)
    same_as_itk(scan, sitk.ReadImage(str(path)))
    assert "OBLIQUE" in {f.code for f in scan.findings}


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_type_and_byte_order_gives_the_same_hu(kind, order, tmp_path, config):
    header = nib.Nifti1Header(endianness=order)
    k, j, i = SPACING_KJI_MM
    affine = np.diag([-i, -j, k, 1.0])
    affine[:3, 3] = (22.0, 21.0, -80.0)
    header.set_data_dtype(np.dtype(kind).newbyteorder(order))
    nib.Nifti1Image(HU.T.astype(kind), affine, header).to_filename(tmp_path / "ct.nii")
    np.testing.assert_array_equal(read_scan(tmp_path / "ct.nii", config).hu_kji, HU)


def test_scaled_integers_are_what_nibabel_makes_of_them(tmp_path, config):
    path = nifti(tmp_path / "ct.nii", (HU + 1024).astype(np.uint16))
    data = bytearray(path.read_bytes())
    struct.pack_into("<ff", data, 112, 1.0, -1024.0)  # scl_slope, scl_inter
    path.write_bytes(data)
    np.testing.assert_allclose(read_scan(path, config).hu_kji, nib.load(path).get_fdata().T)
    np.testing.assert_array_equal(read_scan(path, config).hu_kji, HU)


@pytest.mark.parametrize(("unit", "per_mm"), [(1, 1e-3), (2, 1.0), (3, 1e3), (0, 1.0)])
def test_units_are_scaled_as_itk_scales_them(unit, per_mm, tmp_path, config):
    k, j, i = SPACING_KJI_MM
    affine = np.diag([-i, -j, k, 1.0]) * per_mm
    affine[3, 3] = 1.0
    affine[:3, 3] = np.array([22.0, 21.0, -80.0]) * per_mm
    path = nifti(tmp_path / "ct.nii", affine=affine, xyzt_units=unit)
    scan = read_scan(path, config)
    np.testing.assert_allclose(scan.grid.spacing_kji_mm, SPACING_KJI_MM, rtol=1e-6)
    if unit:
        np.testing.assert_allclose(
            scan.grid.spacing_kji_mm[::-1], sitk.ReadImage(str(path)).GetSpacing(), rtol=1e-6
        )
    else:
        assert "no unit" in scan.findings[-1].message


def test_packing_and_place_change_no_digest(tmp_path, config):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain, packed = nifti(tmp_path / "a" / "x.nii"), nifti(tmp_path / "b" / "other name.nii.gz")
    scans = [read_scan(path, config) for path in (plain, packed, tmp_path / "a")]
    assert len({scan.input_sha256 for scan in scans}) == 1
    assert len({scan.pixels_sha256 for scan in scans}) == 1
    other = HU.copy()
    other[30, 20, 20] += 1
    assert read_scan(nifti(tmp_path / "c.nii", other), config).input_sha256 != scans[0].input_sha256


def test_the_trial_profile_refuses_a_volume_unless_the_charter_allows_it(tmp_path):
    path = nifti(tmp_path / "ct.nii.gz")
    trial = load_config(overrides={"profile": "trial"})
    assert "DICOM header" in refusal(path, trial, "NO_HEADER")
    allowed = load_config(overrides={"profile": "trial", "charter": {"volumes": True}})
    (note,) = (f for f in read_scan(path, allowed).findings if f.code == "NO_HEADER")
    assert note.outcome is Outcome.NOTE
    strict = load_config(overrides={"charter": {"volumes": True}, "outcomes": {"NO_HEADER": "refuse"}})
    refusal(path, strict, "NO_HEADER")


def test_no_dicom_object_can_refer_to_a_volume_and_it_says_so(tmp_path, config):
    with pytest.raises(OutputError, match="no DICOM header") as stop:
        source_headers(nifti(tmp_path / "ct.nii.gz"), config, ("SOPInstanceUID",))
    assert (stop.value.exit_code, stop.value.code) == (7, "NO_HEADER")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_a_mask_is_told_from_a_ct(dtype, tmp_path, config):
    message = refusal(nifti(tmp_path / "m.nii.gz", (HU < -700).astype(dtype)), config, "HU_IMPLAUSIBLE")
    few = refusal(
        nifti(tmp_path / "f.nii.gz", np.where(HU < -700, -1000, 40).astype(np.int16)), config, "HU_IMPLAUSIBLE"
    )
    assert "2 different values" in few
    assert "mask" in message
    assert "give the CT" in message


@pytest.mark.parametrize(
    "other",
    [HU.astype(np.float32) / 1000, (HU + 1024).astype(np.int16), np.clip(HU // 16 + 64, 0, 255).astype(np.uint8)],
    ids=["thousandths", "shifted", "8-bit"],
)
def test_what_is_not_in_hu_is_refused_by_the_gate_of_dicom(other, tmp_path, config):
    refusal(nifti(tmp_path / "ct.nii.gz", other), config, "HU_IMPLAUSIBLE")


def test_a_volume_stored_in_steps_of_the_whole_scale_is_read_and_a_window_in_steps_is_not(tmp_path, config):
    """Steps of 8 HU move no mean density by more than 4; a window burnt in loses what lies beside it."""
    hu = HU.astype(np.int32)
    hu[:, 30:34, 20:36] = np.linspace(300, 1900, SLICES * 4 * 16).reshape(SLICES, 4, 16)  # a spine
    stepped = (hu // 8 * 8).astype(np.int16)
    scan = read_scan(nifti(tmp_path / "stepped.nii.gz", stepped), config)
    np.testing.assert_array_equal(scan.hu_kji, stepped)
    window = np.clip(stepped, -800, 240)
    refusal(nifti(tmp_path / "window.nii.gz", window), config, "HU_IMPLAUSIBLE")
    coarse = (hu // 20 * 20).astype(np.int16)
    refusal(nifti(tmp_path / "coarse.nii.gz", coarse), config, "HU_IMPLAUSIBLE")


def test_what_is_no_one_number_for_each_voxel_is_refused(tmp_path, config):
    holes = HU.astype(np.float32)
    holes[3, 4, 5] = np.nan
    assert "1 voxels" in refusal(nifti(tmp_path / "nan.nii", holes), config, "NOT_CT_NUMBERS")
    refusal(nifti(tmp_path / "complex.nii", HU.astype(np.complex64)), config, "NOT_CT_NUMBERS")
    refusal(nifti(tmp_path / "huge.nii", np.where(HU > 60, 1e300, HU)), config, "NOT_CT_NUMBERS")
    colours = sitk.Compose([chest_image()] * 3)
    for name in ("rgb.mha", "rgb.nrrd", "rgb.nii"):
        sitk.WriteImage(colours, str(tmp_path / name))
        with pytest.raises(ScanRefusedError) as stop:
            read_scan(tmp_path / name, config)
        assert stop.value.code in {"NOT_CT_NUMBERS", "BAD_VOLUME"}, name


def test_four_dimensions_are_refused_and_a_fourth_of_one_is_not(tmp_path, config):
    k, j, i = SPACING_KJI_MM
    affine = np.diag([-i, -j, k, 1.0])
    affine[2, 3] = -80.0
    for count, name in ((1, "one.nii"), (2, "two.nii")):
        data = np.stack([HU.T] * count, axis=3)
        nib.Nifti1Image(data, affine).to_filename(tmp_path / name)
    np.testing.assert_array_equal(read_scan(tmp_path / "one.nii", config).hu_kji, HU)
    assert "4 dimensions" in refusal(tmp_path / "two.nii", config, "BAD_VOLUME")


def bad_affine(change):
    k, j, i = SPACING_KJI_MM
    affine = np.diag([-i, -j, k, 1.0])
    affine[:3, 3] = (22.0, 21.0, -80.0)
    change(affine)
    return affine


@pytest.mark.parametrize(
    ("affine", "says"),
    [
        (bad_affine(lambda a: a.__setitem__((0, 2), 0.3)), "sheared"),
        (np.eye(4), "identity"),
        (np.diag([-1.0, -1.0, 1.0, 1.0]), "identity"),
    ],
    ids=["sheared", "identity", "identity as ITK writes it"],
)
def test_an_affine_that_places_no_voxel_is_refused(affine, says, tmp_path, config):
    assert says in refusal(nifti(tmp_path / "ct.nii", affine=affine), config, "BAD_VOLUME_GEOMETRY")


def _edited(path, offset, packed, *values):
    data = bytearray(path.read_bytes())
    struct.pack_into(packed, data, offset, *values)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ((252, "<hh", 0, 0), "sform_code are 0"),
        ((280, "<4f", 0.0, 0.0, 0.0, 0.0), "voxel sizes"),
        ((280, "<f", float("nan")), "not finite"),
        ((80, "<f", 3.0), "pixdim"),
        ((123, "<B", 5), "no unit of length"),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(edit, says, tmp_path, config):
    offset, packed, *values = edit
    path = _edited(nifti(tmp_path / "ct.nii"), offset, packed, *values)
    assert says in refusal(path, config, "BAD_VOLUME_GEOMETRY")


def test_two_forms_that_contradict_are_refused_and_a_small_motion_is_told(tmp_path, config):
    path = nifti(tmp_path / "ct.nii")
    affine = nib.load(path).affine
    for name, other, code in (
        ("moved", affine + np.array([[0, 0, 0, 5.0]] + [[0] * 4] * 3), None),
        ("mirrored", np.diag([-1.0, 1, 1, 1]) @ affine, "BAD_VOLUME_GEOMETRY"),
    ):
        image = nib.Nifti1Image(HU.T, affine)
        image.set_sform(affine, code=1)
        image.set_qform(other, code=1)
        image.to_filename(tmp_path / f"{name}.nii")
        if code is None:
            assert "5.0 mm apart" in read_scan(tmp_path / f"{name}.nii", config).findings[-1].message
        else:
            assert "contradict" in refusal(tmp_path / f"{name}.nii", config, code)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("dims", "code"),
    [
        ((56, 48, 63), "BAD_VOLUME"),
        ((56, 48, 61), "BAD_VOLUME"),
        ((2000, 2000, 2000), "TOO_LARGE"),
        ((32767, 32767, 32767), "TOO_LARGE"),
        ((56, 48, -62), "BAD_VOLUME"),
        ((56, 48, 0), "BAD_VOLUME"),
        ((1, 48, 62), None),
    ],
)
def test_lying_dimensions_are_refused_before_memory_is_taken(dims, code, suffix, tmp_path, config):
    path = _edited(nifti(tmp_path / "ct.nii"), 42, "<3h", *dims)
    if suffix == ".nii.gz":
        (tmp_path / "ct.nii.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    with pytest.raises(ScanRefusedError) as stop:
        read_scan(tmp_path / f"ct{suffix}", config)
    assert code is None or code in codes_of(stop.value)


def test_a_bomb_of_zeros_is_inflated_no_further_than_its_header_announces(tmp_path, config):
    head = nifti(tmp_path / "ct.nii").read_bytes()[:352]
    squeezed = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = (
        squeezed.compress(head) + b"".join(squeezed.compress(bytes(2**24)) for _ in range(16)) + squeezed.flush()
    )
    (tmp_path / "bomb.nii.gz").write_bytes(packed)
    assert "more slices" in refusal(tmp_path / "bomb.nii.gz", config, "BAD_VOLUME")


@pytest.mark.parametrize("share", [0.002, 0.3, 0.999])
@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nrrd", "ct.mha", "ct.nii"])
def test_a_file_cut_short_is_refused(name, share, tmp_path, config):
    path = tmp_path / name
    sitk.WriteImage(chest_image(), str(path), useCompression=True)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ScanRefusedError) as stop:
        read_scan(path, config)
    assert {"BAD_VOLUME", "TRUNCATED_FILE", "EMPTY_INPUT", "MALFORMED", "UNREADABLE_FILES"} & set(
        codes_of(stop.value)
    )


def test_damaged_compressed_numbers_are_refused(tmp_path, config):
    path = nifti(tmp_path / "ct.nii.gz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(ScanRefusedError) as stop:
        read_scan(path, config)
    assert {"MALFORMED", "TRUNCATED_FILE"} & set(codes_of(stop.value))


def detached(tmp_path, suffix, named):
    """A header of ours that names its data file as it likes, and a raw file beside it."""
    HU.tofile(tmp_path / "ct.raw")
    header = tmp_path / f"ct{suffix}"
    k, j, i = SPACING_KJI_MM
    if suffix == ".nhdr":
        header.write_text(
            "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 56 48 62\n"
            f"space directions: ({i},0,0) (0,{j},0) (0,0,{k})\nkinds: domain domain domain\nendian: little\n"
            f"encoding: raw\nspace origin: (-22,-21,-80)\ndata file: {named}\n"
        )
    else:
        header.write_text(
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
            f"TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = -22 -21 -80\nElementSpacing = {i} {j} {k}\n"
            f"DimSize = 56 48 62\nElementType = MET_SHORT\nElementDataFile = {named}\n"
        )
    return header


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_detached_data_inside_the_folder_are_read(suffix, tmp_path, config):
    header = detached(tmp_path, suffix, "ct.raw")
    for given in (header, tmp_path):
        same_as_itk(read_scan(given, config), sitk.ReadImage(str(header)))


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
@pytest.mark.parametrize(
    "named",
    [
        "/etc/passwd",
        "../ct.raw",
        "sub/../../ct.raw",
        "http://127.0.0.1/ct.raw",
        "..\\ct.raw",
        "LIST",
        "ct%03d.raw 1 9 1",
        "absent.raw",
        "link.raw",
        "folder",
    ],
)
def test_data_elsewhere_are_never_followed(suffix, named, tmp_path, config):
    inside = tmp_path / "scan"
    inside.mkdir()
    HU.tofile(tmp_path / "ct.raw")
    header = detached(inside, suffix, named)
    (inside / "link.raw").symlink_to(tmp_path / "ct.raw")
    (inside / "folder").mkdir()
    for given in (header, inside):
        with pytest.raises(ScanRefusedError) as stop:
            read_scan(given, config)
        assert stop.value.code == "BAD_VOLUME"
        assert named not in stop.value.message or named in ("folder", "LIST")


@pytest.mark.parametrize(
    ("suffix", "line", "code"),
    [
        (".nhdr", "type: short", "BAD_VOLUME"),
        (".nhdr", "endian: little", "BAD_VOLUME"),
        (".nhdr", "space: left-posterior-superior", "BAD_VOLUME_GEOMETRY"),
        (".nhdr", "space origin: (-22,-21,-80)", "BAD_VOLUME_GEOMETRY"),
        (".nhdr", "sizes: 56 48 62", "BAD_VOLUME"),
        (".mhd", "TransformMatrix = 1 0 0 0 1 0 0 0 1", "BAD_VOLUME_GEOMETRY"),
        (".mhd", "Offset = -22 -21 -80", "BAD_VOLUME_GEOMETRY"),
        (".mhd", "ElementType = MET_SHORT", "BAD_VOLUME"),
        (".mhd", "DimSize = 56 48 62", "BAD_VOLUME"),
    ],
)
def test_what_a_text_header_must_say_is_not_guessed(suffix, line, code, tmp_path, config):
    header = detached(tmp_path, suffix, "ct.raw")
    text = header.read_text()
    assert line in text
    header.write_text(text.replace(f"{line}\n", ""))
    refusal(header, config, code)
    header.write_text(text.replace(f"{line}\n", f"{line}\n{line}\n"))
    assert "twice" in refusal(header, config, "BAD_VOLUME")


def test_headers_that_are_noise_end_in_a_code(tmp_path, config):
    whole = {name: tmp_path / f"whole{name}" for name in (".nii", ".nrrd", ".mha")}
    for path in whole.values():
        sitk.WriteImage(chest_image(), str(path))
    dice = np.random.default_rng(5)
    for (suffix, path), n in itertools.product(whole.items(), range(12)):
        data = bytearray(path.read_bytes())
        for _ in range(4):
            data[int(dice.integers(4, 340))] = int(dice.integers(256))
        changed = tmp_path / f"changed{n}{suffix}"
        changed.write_bytes(data)
        inspect_folder(changed, config)  # whatever it says, it says it with a verdict and not with a traceback
        changed.unlink()


def test_beside_dicom_a_volume_is_junk_and_alone_it_is_measured(tmp_path, config):
    write(tmp_path / "s", series())
    nifti(tmp_path / "s" / "ct.nii.gz")
    found = findings_of(tmp_path / "s", config)
    assert set(found) == {"JUNK_FILES_SKIPPED"}
    (tmp_path / "v").mkdir()
    nifti(tmp_path / "v" / "ct.nii.gz")
    nifti(tmp_path / "v" / "mask.nii.gz", (HU < -700).astype(np.uint8))
    assert inspect_folder(tmp_path / "v", config, pixels=True).verdict == "measurable"
    nifti(tmp_path / "v" / "other.nii.gz", chest_hu(1))
    assert inspect_folder(tmp_path / "v", config).verdict == "AMBIGUOUS_VOLUMES"


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_header_and_data_in_an_archive_find_each_other(suffix, tmp_path, config):
    header = detached(tmp_path, suffix, "ct.raw")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(header, f"Müller/{header.name}")
        archive.write(tmp_path / "ct.raw", "Müller/ct.raw")
    same_as_itk(read_scan(tmp_path / "a.zip", config), sitk.ReadImage(str(header)))


def test_a_volume_never_takes_the_place_of_dicom_that_cannot_be_read(tmp_path, config):
    write(tmp_path / "s", series()[:30])
    for path in (tmp_path / "s").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    nifti(tmp_path / "s" / "ct.nii.gz")
    refusal(tmp_path / "s", config, "TRUNCATED_FILE")


def test_nothing_is_left_on_the_disk(tmp_path, config, monkeypatch):
    private = tmp_path / "private"
    private.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(private))
    read_scan(nifti(tmp_path / "ct.nii.gz"), config)
    with pytest.raises(ScanRefusedError):
        read_scan(nifti(tmp_path / "nan.nii.gz", np.where(HU > 60, np.nan, HU)), config)
    assert list(private.iterdir()) == []


@pytest.mark.real_data
def test_a_real_volume_is_placed_as_nibabel_places_it(shared: Path, config):
    path = sorted((shared / "data" / "lungs").glob("*.nii*"))[0]
    found = inspect_folder(path, config, pixels=True)
    (stack,) = found.stacks
    other = nib.load(path)
    assert stack.grid is not None
    assert sorted(stack.grid.shape_kji) == sorted(other.shape)
    assert stack.grid.voxel_ml == pytest.approx(abs(np.linalg.det(other.affine[:3, :3])) / 1000, rel=1e-5)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32])
def test_a_mask_of_any_type_on_the_grid_of_a_ct_is_set_aside(dtype, tmp_path, config):
    alone = read_scan(nifti(tmp_path / "ct.nii.gz"), config)
    nifti(tmp_path / "a-labels.nii.gz", (3 * (HU < -700) + (HU > 20)).astype(dtype))
    scan = read_scan(tmp_path, config)
    assert scan.pixels_sha256 == alone.pixels_sha256
    (note,) = [f for f in scan.findings if f.code == "JUNK_FILES_SKIPPED"]
    assert "1 volume on the CT's own grid with the values of a mask" in note.message


@pytest.mark.parametrize("other", ["second CT", "mask elsewhere", "negative values", "many values", "fractions"])
def test_what_may_be_a_second_ct_stays_ambiguous(other, tmp_path, config):
    nifti(tmp_path / "a.nii.gz")
    labels = (HU < -700).astype(np.float32)
    hu_kji, affine = {
        "second CT": (chest_hu(1), None),
        "mask elsewhere": (labels, np.diag([-0.8, -0.9, 2.5, 1.0])),
        "negative values": (labels - 1000, None),
        "many values": (np.clip(HU + 1100, 0, 400).astype(np.int16), None),
        "fractions": (labels / 2, None),
    }[other]
    nifti(tmp_path / "b.nii.gz", hu_kji, affine)
    refusal(tmp_path, config, "AMBIGUOUS_VOLUMES")


@pytest.mark.parametrize("flipped", [False, True])
def test_an_end_slice_that_resampling_left_half_empty_is_flagged_and_not_counted(flipped, tmp_path, config):
    hu = HU.copy()
    end = 0 if flipped else SLICES - 1
    hu[end, : hu.shape[1] * 2 // 3] = -1024
    scan = read_scan(nifti(tmp_path / "ct.nii.gz", hu), config)
    (flag,) = [f for f in scan.findings if f.outcome is Outcome.FLAG]
    assert (flag.code, flag.value) == ("SEAM", 1)
    z_mm = -80.0 + SPACING_KJI_MM[0] * end
    assert f"slice {end} of {SLICES} counted from 0, z {z_mm:.1f} mm" in flag.message
    assert f"{100 / SLICES:.1f} % of the volume's height" in flag.message
    assert np.flatnonzero(scan.no_data_kji.all(axis=(1, 2))).tolist() == [end]
    assert not scan.no_data_kji[np.arange(SLICES) != end].any()
    np.testing.assert_array_equal(scan.hu_kji[np.arange(SLICES) != end], HU[np.arange(SLICES) != end])


def test_an_odd_slice_inside_a_volume_or_at_the_end_of_a_series_refuses(tmp_path, config):
    inside, end = HU.copy(), HU.copy()
    inside[30, :30], end[-1, :30] = -1024, -1024
    refusal(nifti(tmp_path / "ct.nii.gz", inside), config, "HU_IMPLAUSIBLE")
    refusal(write(tmp_path / "series", series(end)), config, "HU_IMPLAUSIBLE")
