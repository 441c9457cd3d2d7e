"""An edited mask as 3D Slicer and others write it: taken on the same lattice, and refused where in doubt."""

import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from volumetry.domain import Grid, Tissue
from volumetry.remeasure import read_edited_mask
from volumetry.remeasure.lattice import EditedMaskError

GRID = Grid((6, 7, 8), (2.5, 0.8, 0.7), origin_lps_mm=(-31.0, 12.5, 100.25))
LUNG, GLASS, SOLID = (slice(1, 5), slice(1, 6), slice(2, 7)), (slice(2, 4), slice(2, 4), slice(2, 5)), (3, 4, 6)
SLICER = {
    "Segment0_ID": "a", "Segment0_Name": "left lung", "Segment0_LabelValue": "1", "Segment0_Layer": "0",
    "Segment1_ID": "b", "Segment1_Name": "GGO", "Segment1_LabelValue": "2", "Segment1_Layer": "0",
    "Segment2_ID": "c", "Segment2_Name": "consolidation", "Segment2_LabelValue": "3", "Segment2_Layer": "0",
}  # fmt: skip
"""What 3D Slicer 5 writes for three segments in one layer."""


@pytest.fixture
def labels():
    drawn = np.zeros(GRID.shape_kji, np.uint8)
    drawn[LUNG], drawn[GLASS], drawn[SOLID] = Tissue.AERATED, Tissue.GROUND_GLASS, Tissue.SOLID
    return drawn


def image_of(values_kji, **metadata):
    """By SimpleITK, which is how other programs write NRRD and MetaImage."""
    image = sitk.GetImageFromArray(values_kji)
    image.SetSpacing(GRID.spacing_kji_mm[::-1])
    image.SetOrigin(GRID.origin_lps_mm)
    for key, value in metadata.items():
        image.SetMetaData(key, value)
    return image


def written(image, path, *, compressed=True):
    sitk.WriteImage(image, str(path), useCompression=compressed)
    return path


@pytest.mark.parametrize("name", ["mask.nrrd", "mask.mha", "mask.nhdr", "mask.mhd"])
@pytest.mark.parametrize("compressed", [True, False])
def test_labels_come_back_from_nrrd_and_metaimage(labels, tmp_path, name, compressed):
    path = written(image_of(labels.astype(np.int16)), tmp_path / name, compressed=compressed)
    assert np.array_equal(read_edited_mask(path, GRID), labels)


@pytest.mark.parametrize("axes", ["RAS", "SAL", "PIR"])
def test_axes_in_another_order_and_a_cropped_part_are_put_right(labels, tmp_path, axes):
    turned = sitk.DICOMOrient(image_of(labels), axes)
    assert np.array_equal(read_edited_mask(written(turned, tmp_path / "turned.seg.nrrd"), GRID), labels)
    part = sitk.DICOMOrient(image_of(labels)[2:7, 1:6, 1:5], axes)  # all of the lung, and nothing beside it
    assert np.array_equal(read_edited_mask(written(part, tmp_path / "part.mha"), GRID), labels)


def test_a_cropped_nifti_is_put_where_it_lies(labels, tmp_path):
    affine = GRID.affine_ras.copy()
    affine[:3, 3] = (GRID.affine_ras @ [2, 1, 1, 1])[:3]
    nib.save(nib.Nifti1Image(labels[1:5, 1:6, 2:7].T, affine), tmp_path / "part.nii.gz")
    assert np.array_equal(read_edited_mask(tmp_path / "part.nii.gz", GRID), labels)


def test_segments_of_slicer_are_known_by_name_whatever_their_value(labels, tmp_path):
    other = np.choose(labels, [0, 7, 3, 1]).astype(np.uint8)
    values = {"Segment0_LabelValue": "7", "Segment1_LabelValue": "3", "Segment2_LabelValue": "1"}
    path = written(image_of(other, **(SLICER | values)), tmp_path / "mask.seg.nrrd")
    assert np.array_equal(read_edited_mask(path, GRID), labels)


def test_segments_that_are_only_numbered_are_known_by_their_value(labels, tmp_path):
    numbered = {f"Segment{n}_Name": f"Segment_{n + 1}" for n in range(3)}
    path = written(image_of(labels, **(SLICER | numbered)), tmp_path / "mask.seg.nrrd")
    assert np.array_equal(read_edited_mask(path, GRID), labels)


@pytest.mark.parametrize("stated", [True, False])
def test_segments_that_overlap_lie_in_layers_and_lesion_goes_before_lung(labels, tmp_path, stated):
    """As Slicer writes them: the first axis counts the layers. Older files do not state layer and value."""
    layers = np.stack([labels > 0, labels == Tissue.GROUND_GLASS, labels == Tissue.SOLID], axis=-1).astype(
        np.uint8
    )
    keys = dict(SLICER)
    for n in range(3):
        keys |= {f"Segment{n}_LabelValue": "1", f"Segment{n}_Layer": str(n)}
    if not stated:
        keys = {key: value for key, value in keys.items() if key.endswith(("_ID", "_Name"))}
    k, j, i = GRID.shape_kji
    dz, dy, dx = GRID.spacing_kji_mm
    header = [
        "NRRD0004", "type: unsigned char", "dimension: 4", "space: left-posterior-superior",
        f"sizes: 3 {i} {j} {k}", f"space directions: none ({dx},0,0) (0,{dy},0) (0,0,{dz})",
        "kinds: list domain domain domain", "encoding: gzip", "space origin: (-31,12.5,100.25)",
        *(f"{key}:={value}" for key, value in keys.items()), "", "",
    ]  # fmt: skip
    path = tmp_path / "layers.seg.nrrd"
    path.write_bytes("\n".join(header).encode() + gzip.compress(layers.tobytes()))
    assert np.array_equal(read_edited_mask(path, GRID), labels)


@pytest.mark.parametrize("name", ["lung tumour", "non-solid", "vessels", "Segment_6", "lung nodule 2", ""])
def test_a_segment_of_which_the_tissue_is_not_sure_is_refused(labels, tmp_path, name):
    path = written(image_of(labels, **(SLICER | {"Segment1_Name": name})), tmp_path / "mask.seg.nrrd")
    with pytest.raises(EditedMaskError, match=r"segment 1 \(label value 2\) is none of") as stop:
        read_edited_mask(path, GRID)
    assert "Name the segments" in stop.value.hint
    assert name not in stop.value.message or not name


def test_an_empty_segment_of_any_name_does_no_harm_and_an_undescribed_value_does(labels, tmp_path):
    more = {"Segment3_ID": "d", "Segment3_Name": "airways", "Segment3_LabelValue": "9", "Segment3_Layer": "0"}
    path = written(image_of(labels, **(SLICER | more)), tmp_path / "mask.seg.nrrd")
    assert np.array_equal(read_edited_mask(path, GRID), labels)
    labels[0, 0, 0] = 5
    with pytest.raises(EditedMaskError, match="none of its segments describes"):
        read_edited_mask(written(image_of(labels, **SLICER), path), GRID)


@pytest.mark.parametrize("name", ["mask.nrrd", "mask.nii.gz"])
def test_a_mask_without_lung_is_said_to_have_none(labels, tmp_path, name):
    labels[labels == Tissue.AERATED] = 0
    with pytest.raises(EditedMaskError, match="lesion and no lung") as stop:
        read_edited_mask(written(image_of(labels), tmp_path / name), GRID)
    assert "add them" in stop.value.hint


@pytest.mark.parametrize("change", ["shifted", "half a voxel", "larger", "spacing"])
def test_another_lattice_is_refused(labels, tmp_path, change):
    image = image_of(np.pad(labels, 1) if change == "larger" else labels)
    x, y, z = GRID.origin_lps_mm
    match change:
        case "shifted":
            image.SetOrigin((x + 0.7, y, z))
        case "half a voxel":
            image = image[1:, :, :]
            image.SetOrigin((x + 1.5 * 0.7, y, z))
        case "larger":
            image.SetOrigin((x - 0.7, y - 0.8, z - 2.5))
        case "spacing":
            image = image[1:6, :, :]
            image.SetSpacing((0.75, 0.8, 2.5))
    with pytest.raises(EditedMaskError, match="another grid"):
        read_edited_mask(written(image, tmp_path / "mask.nrrd"), GRID)


def test_no_more_is_unpacked_than_the_grid_holds(labels, tmp_path):
    """A header that announces more than the scan has, more data than the header announces, and less."""
    path = written(image_of(labels), tmp_path / "mask.nrrd")
    head, _, _ = path.read_bytes().partition(b"\n\n")
    bomb = gzip.compress(labels.tobytes() + bytes(50_000_000))
    path.write_bytes(head + b"\n\n" + bomb)
    assert np.array_equal(read_edited_mask(path, GRID), labels)
    path.write_bytes(head.replace(b"sizes: 8 7 6", b"sizes: 30000 30000 30000") + b"\n\n" + bomb)
    with pytest.raises(EditedMaskError, match="another grid"):
        read_edited_mask(path, GRID)
    path.write_bytes(head + b"\n\n" + gzip.compress(labels.tobytes()[:-1]))
    with pytest.raises(EditedMaskError, match="less than its header announces"):
        read_edited_mask(path, GRID)
    path.write_bytes(b"NRRD0004\n" + b"# " + bytes([65]) * 200_000)
    with pytest.raises(EditedMaskError, match="not a readable NRRD"):
        read_edited_mask(path, GRID)


@pytest.mark.parametrize("place", [108, None])
def test_a_nifti_whose_header_inflates_without_end_is_refused(labels, tmp_path, place):
    """NIfTI-1 states its first voxel as float32 at byte 108, NIfTI-2 as int64 at byte 168."""
    kind, form, place = (nib.Nifti1Image, "<f4", 108) if place else (nib.Nifti2Image, "<i8", 168)
    content = bytearray(kind(labels.T, GRID.affine_ras).to_bytes())
    content[place : place + np.dtype(form).itemsize] = np.array(2**30, form).tobytes()
    path = tmp_path / "mask.nii.gz"
    path.write_bytes(gzip.compress(bytes(content) + bytes(1000)))
    with pytest.raises(EditedMaskError, match="larger than that of any mask"):
        read_edited_mask(path, GRID)


def test_a_data_file_elsewhere_is_not_followed(labels, tmp_path):
    (tmp_path / "in").mkdir()
    path = written(image_of(labels), tmp_path / "in" / "mask.mhd", compressed=False)
    (tmp_path / "in" / "mask.raw").rename(tmp_path / "mask.raw")
    (tmp_path / "in" / "mask.raw").symlink_to(tmp_path / "mask.raw")
    with pytest.raises(EditedMaskError, match="not beside"):
        read_edited_mask(path, GRID)
    path.write_text(path.read_text().replace("mask.raw", "../mask.raw"))
    with pytest.raises(EditedMaskError, match="outside its own folder"):
        read_edited_mask(path, GRID)
