"""Stacks in local files: all formats give the same voxels; bad files give useful errors."""

import json
import zipfile

import h5py
import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from connectome.core.errors import DataError, UsageError
from connectome.io.stacks import LABELS, open_stack

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 256, (12, 31, 47), dtype=np.uint8)
ORIGIN, SHAPE = (3, 5, 7), (6, 20, 30)
PART = STACK[3:9, 5:25, 7:37]


def write_sections(folder, stack, name="s{}.tif"):
    folder.mkdir()
    for z, section in enumerate(stack):
        iio.imwrite(folder / name.format(z), section)  # s10 comes after s9, not after s1
    return folder


def write_npz(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


def write_h5(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, data in datasets.items():
            file[name.replace("__", "/")] = data
    return path


WRITERS = {
    "npy": lambda d, s: np.save(d / "a.npy", s) or d / "a.npy",
    "npy in Fortran order": lambda d, s: np.save(d / "f.npy", np.asfortranarray(s)) or d / "f.npy",
    "npz": lambda d, s: write_npz(d / "a.npz", raw=s, labels=s.astype("i4")),
    "npz with key": lambda d, s: f"{write_npz(d / 'k.npz', one=s, two=s + 1)}:one",
    "npz with one EM array": lambda d, s: write_npz(d / "o.npz", x=s, y=s.astype("i4"), z=s[0]),
    "tiff": lambda d, s: tifffile.imwrite(d / "a.tif", s) or d / "a.tif",
    "compressed tiff": lambda d, s: (
        tifffile.imwrite(d / "c.tiff", s, compression="zlib") or d / "c.tiff"
    ),
    "imagej tiff": lambda d, s: tifffile.imwrite(d / "i.tif", s, imagej=True) or d / "i.tif",
    "one-page imagej tiff": lambda d, s: (
        tifffile.imwrite(d / "t.tif", s, truncate=True) or d / "t.tif"
    ),
    "folder of tiff": lambda d, s: write_sections(d / "tif", s),
    "folder of png": lambda d, s: write_sections(d / "png", s, "s{}.PNG"),
    "hdf5": lambda d, s: f"{write_h5(d / 'a.h5', volumes__raw=s, other=s)}:/volumes/raw",
    "hdf5 without slash": lambda d, s: f"{write_h5(d / 'b.hdf5', raw=s)}:raw",
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2"])
@pytest.mark.parametrize("file_format", WRITERS)
def test_a_box_of_every_format_is_read_as_written(tmp_path, file_format, dtype):
    stack = STACK.astype(dtype)
    found = open_stack(str(WRITERS[file_format](tmp_path, stack)))
    finished = []
    got = found.read(ORIGIN, SHAPE, finished.append)
    assert found.shape == STACK.shape
    np.testing.assert_array_equal(got, PART)
    assert got.dtype == np.dtype(dtype).newbyteorder("=")
    assert sum(finished) == 6


def test_the_uri_names_the_array_that_is_read(tmp_path):
    assert open_stack(str(WRITERS["npz"](tmp_path, STACK))).uri.endswith("a.npz:raw")


def test_labels_are_read_from_the_array_of_that_name(tmp_path):
    path = write_npz(tmp_path / "a.npz", raw=STACK, labels=STACK.astype("i8") + 7, more=STACK)
    np.testing.assert_array_equal(open_stack(str(path), LABELS).read(ORIGIN, SHAPE), PART + 7.0)


def test_the_array_is_a_copy(tmp_path):
    got = open_stack(str(WRITERS["npy"](tmp_path, STACK))).read(ORIGIN, SHAPE)
    got[:] = 0
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), STACK)


# --- voxel sizes --------------------------------------------------------------------------------


def imagej(**meta):
    return {"imagej": True, "resolution": (125, 250), "metadata": {"axes": "ZYX", **meta}}


def ome(**meta):
    return {"ome": True, "metadata": {"axes": "ZYX", **meta}}


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, None),
        ({"resolution": (300, 300), "resolutionunit": "INCH"}, None),  # printing, not tissue
        (imagej(spacing=0.03, unit="um"), (30, 4, 8)),
        (imagej(spacing=0.03, unit="\\u00B5m"), (30, 4, 8)),
        (imagej(spacing=30, unit="nm"), (30, 0.004, 0.008)),
        (imagej(unit="um"), None),
        (imagej(spacing=3), None),
        (imagej(spacing=3, unit="pixel"), None),
        (
            ome(
                PhysicalSizeX=8,
                PhysicalSizeXUnit="nm",
                PhysicalSizeY=0.004,
                PhysicalSizeZ=0.03,
                PhysicalSizeZUnit="µm",
            ),
            (30, 4, 8),
        ),
        (ome(PhysicalSizeX=8, PhysicalSizeY=8), None),
    ],
)
def test_the_voxel_size_of_a_tiff_is_used_only_if_it_is_complete(tmp_path, options, size):
    tifffile.imwrite(tmp_path / "a.tif", STACK, **options)
    found = open_stack(str(tmp_path / "a.tif")).voxel_size
    assert found == (None if size is None else pytest.approx(size))


def test_voxel_sizes_of_npy_npz_and_hdf5(tmp_path):
    np.save(tmp_path / "a.npy", STACK)
    assert open_stack(str(tmp_path / "a.npy")).voxel_size is None
    (tmp_path / "a.json").write_text(json.dumps({"voxel_size_nm": [30, 4, 8]}))
    assert open_stack(str(tmp_path / "a.npy")).voxel_size == (30, 4, 8)
    npz = write_npz(tmp_path / "a.npz", raw=STACK, voxel_size_nm_zyx=np.array([30.0, 4, 8]))
    assert open_stack(str(npz)).voxel_size == (30, 4, 8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = STACK
        file["raw"].attrs["resolution"] = [30.0, 4, 8]
    assert open_stack(f"{tmp_path}/a.h5:/raw").voxel_size == (30, 4, 8)


# --- errors ------------------------------------------------------------------------


@pytest.mark.parametrize("uri", ["notes.txt", "stack", "x.zarr", "a/b.mrc"])
def test_an_unknown_format_is_a_usage_error_that_lists_the_supported_ones(uri):
    with pytest.raises(UsageError, match=r"file|stack\.npz"):
        open_stack(uri)


def test_a_forgotten_scheme_is_suggested():
    with pytest.raises(UsageError, match="try: bossdb://mulcahy2022/1h_L1/em"):
        open_stack("mulcahy2022/1h_L1/em")


def test_a_missing_file_is_a_data_error_that_suggests_a_similar_name(tmp_path):
    np.save(tmp_path / "worm.npy", STACK)
    with pytest.raises(DataError, match=r"there is no (?s:.*)try: .*/worm\.npy"):
        open_stack(str(tmp_path / "wrom.npy"))
    with pytest.raises(DataError, match="there is no"):
        open_stack(str(tmp_path / "nowhere" / "wrom.npy"))


def test_the_error_for_a_file_without_an_array_does_not_explain_pickles(tmp_path):
    np.save(tmp_path / "pickle.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("x")
    for name, reason in (("pickle.npy", "Python objects"), ("text.npy", "a pickle or no array")):
        with pytest.raises(DataError, match=rf"{reason}(?s:.*)try: ") as error:
            open_stack(str(tmp_path / name))
        assert "allow_pickle" not in str(error.value)


def test_hdf5_without_a_dataset_lists_the_datasets(tmp_path):
    path = write_h5(tmp_path / "a.h5", volumes__raw=STACK, volumes__ids=STACK[0], flat=[1, 2])
    for uri in (path, f"{path}:/nothing"):
        with pytest.raises(UsageError, match=r"/volumes/raw \(12, 31, 47\) uint8") as error:
            open_stack(str(uri))
        assert "ids" not in error.value.consequence
        assert error.value.remedy == f"{path}:/volumes/raw"


def test_npz_with_several_candidates_lists_them(tmp_path):
    path = write_npz(tmp_path / "a.npz", one=STACK, two=STACK, plane=STACK[0])
    for uri in (path, f"{path}:three"):
        with pytest.raises(UsageError, match=r"one \(12, 31, 47\) uint8, two") as error:
            open_stack(str(uri))
        assert "plane" not in str(error.value)


ODD_ARRAYS = {
    "one section": (STACK[0], "2 dimensions"),
    "four axes": (STACK[None], "4 dimensions"),
    "colour section": (np.zeros((20, 20, 3), "u1"), "colours"),
    "colour stack": (np.zeros((5, 20, 20, 4), "u1"), "colours"),
    "bool": (STACK > 9, "type bool"),
    "complex": (STACK * 1j, "type complex"),
    "labels": (STACK.astype("i4"), "type int32"),
    "empty": (STACK[:0], "empty"),
}


@pytest.mark.parametrize("odd", ODD_ARRAYS)
@pytest.mark.parametrize("file_format", ["npy", "npz", "hdf5"])
def test_an_array_that_is_not_an_em_stack_is_a_data_error(tmp_path, file_format, odd):
    array, message = ODD_ARRAYS[odd]
    uri = WRITERS[file_format](tmp_path, np.empty((2, 2, 2), "u1"))
    if file_format == "npy":
        np.save(uri, array)
    elif file_format == "npz":
        write_npz(uri, raw=array)
    else:
        write_h5(tmp_path / "a.h5", volumes__raw=array)
    # numpy cannot map an empty file, and raises an error of its own.
    with pytest.raises(DataError, match=f"{message}|empty"):
        open_stack(str(uri))


def test_pickled_arrays_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[["x", 1]]], object), allow_pickle=True)
    write_npz(tmp_path / "a.npz", raw=np.array([[["x", 1, 2, 3, 4]]], object))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataError):
            open_stack(str(tmp_path / name))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"photometric": "rgb"}, "colours"),
        ({"imagej": True, "metadata": {"axes": "CYX"}}, "channels"),
    ],
)
def test_a_colour_tiff_is_a_data_error(tmp_path, options, message):
    colour = np.zeros((3, 30, 40) if "imagej" in options else (30, 40, 3), "u1")
    tifffile.imwrite(tmp_path / "a.tif", colour, **options)
    with pytest.raises(DataError, match=message):
        open_stack(str(tmp_path / "a.tif"))


def test_a_tiff_whose_pages_differ_is_a_data_error_with_their_shapes(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(STACK[0])
        tif.write(STACK[0, :20])
    with pytest.raises(DataError, match=r"\(31, 47\), \(20, 47\)"):
        open_stack(str(tmp_path / "a.tif"))


@pytest.mark.parametrize("file_format", WRITERS)
@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_a_damaged_file_is_a_data_error_that_names_it(tmp_path, file_format, damage):
    uri = str(WRITERS[file_format](tmp_path, STACK))
    path = next(p for p in sorted(tmp_path.rglob("*.*")) if p.is_file())
    whole = path.read_bytes()
    content = {"truncated": whole[: len(whole) // 2], "garbage": b"\x07garbage" * 99, "empty": b""}
    path.write_bytes(content[damage])
    with pytest.raises(DataError) as error:
        open_stack(uri).read((0, 0, 0), STACK.shape)
    assert path.name.split(".")[0] in str(error.value) or str(path.parent) in str(error.value)


def test_a_damaged_member_of_an_npz_is_noticed_by_its_checksum(tmp_path):
    np.savez(tmp_path / "a.npz", raw=STACK)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match="CRC"):
        open_stack(str(tmp_path / "a.npz")).read((0, 0, 0), STACK.shape)


def test_other_files_in_an_npz_are_ignored(tmp_path):
    path = write_npz(tmp_path / "a.npz", raw=STACK)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "hello")
    assert open_stack(str(path)).shape == STACK.shape


# --- folders ------------------------------------------------------------------------------------


def test_a_folder_without_sections_is_a_data_error(tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(DataError, match="no TIFF or PNG"):
        open_stack(str(tmp_path))


@pytest.mark.parametrize("odd", [STACK[0, :20], STACK[0].astype("u2")])
def test_a_section_of_another_shape_or_type_is_named(tmp_path, odd):
    folder = write_sections(tmp_path / "s", STACK)
    tifffile.imwrite(folder / "s7.tif", odd)
    with pytest.raises(DataError, match=r"s7\.tif is .* but s0\.tif is"):
        open_stack(str(folder))


@pytest.mark.parametrize("section", [np.zeros((20, 20, 3), "u1"), np.zeros((20, 20, 4), "u1")])
def test_a_folder_of_colour_sections_is_a_data_error(tmp_path, section):
    with pytest.raises(DataError, match="colours"):
        open_stack(str(write_sections(tmp_path / "s", [section] * 3, "s{}.png")))


def test_hidden_and_other_files_in_a_folder_are_ignored(tmp_path):
    folder = write_sections(tmp_path / "s", STACK)
    (folder / "._s0.tif").write_bytes(b"resource fork")
    (folder / "Thumbs.db").write_bytes(b"thumbnails")
    np.testing.assert_array_equal(open_stack(str(folder)).read(ORIGIN, SHAPE), PART)


@pytest.mark.parametrize(
    "content", ["[30, 8, 8]", '{"voxel_size_nm": [8, 8]}', '{"voxel_size_nm": 8}']
)
def test_a_sidecar_without_three_lengths_gives_no_voxel_size(tmp_path, content):
    np.save(tmp_path / "em.npy", np.zeros((3, 20, 20), np.uint8))
    (tmp_path / "em.json").write_text(content)
    try:
        assert open_stack(str(tmp_path / "em.npy")).voxel_size is None
    except DataError as error:
        assert "three positive lengths" in str(error)
