"""2D images of every kind that data sets hold, and of every kind that must be refused with one sentence."""

from __future__ import annotations

import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from organcam.data.formats.dicom_header import is_whole
from organcam.data.grey import WHITE
from organcam.data.images import Picture, as_one_slice, grey_limits, read_image, read_image_size, to_stored_image
from organcam.errors import DataError

GREY = np.arange(24 * 20, dtype=np.uint8).reshape(24, 20)
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


def test_grey_of_8_and_16_bits_keeps_its_values(tmp_path):
    eight = read_image(saved(tmp_path / "a.png", Image.fromarray(GREY)))
    np.testing.assert_array_equal(eight.array, GREY[None])
    assert (eight.depth, eight.shape, eight.spacing) == ((0.0, 255.0), (1, 24, 20), (1.0, 1.0))
    deep = GREY.astype(np.uint16) * 200
    sixteen = read_image(saved(tmp_path / "b.png", Image.fromarray(deep)))
    np.testing.assert_array_equal(sixteen.array, deep[None])
    assert sixteen.depth == (0.0, 65535.0)
    bits = read_image(saved(tmp_path / "c.png", Image.fromarray(GREY > 100)))
    assert set(np.unique(bits.array)) == {0, 255}


def test_grey_that_is_written_in_colours_is_grey(tmp_path):
    """Some files of ChestX-ray14 are RGBA."""
    layers = np.stack([GREY, GREY, GREY, np.full_like(GREY, 255)], axis=-1)
    np.testing.assert_array_equal(read_image(saved(tmp_path / "a.png", Image.fromarray(layers))).array, GREY[None])
    palette = Image.fromarray(GREY).convert("P")
    np.testing.assert_array_equal(read_image(saved(tmp_path / "b.png", palette)).array, GREY[None])


def test_colours_transparency_palettes_and_cmyk(tmp_path):
    np.testing.assert_array_equal(
        read_image(saved(tmp_path / "a.png", Image.fromarray(COLOUR))).array, np.moveaxis(COLOUR, -1, 0)
    )
    clear = np.concatenate([COLOUR, np.zeros((24, 20, 1), np.uint8)], axis=-1)
    clear[:12, :, 3] = 255
    shown = read_image(saved(tmp_path / "b.png", Image.fromarray(clear))).array
    np.testing.assert_array_equal(shown[:, :12], np.moveaxis(COLOUR, -1, 0)[:, :12])
    assert not shown[:, 12:].any()
    mapped = Image.fromarray(np.full((24, 20), 7, np.uint8))
    mapped.putpalette([0] * 21 + [10, 20, 30])
    assert read_image(saved(tmp_path / "c.png", mapped)).array[:, 0, 0].tolist() == [10, 20, 30]
    print_ = Image.fromarray(np.full((24, 20, 3), (200, 100, 50), np.uint8)).convert("CMYK")
    found = read_image(saved(tmp_path / "d.jpg", print_, quality=100)).array
    np.testing.assert_allclose(found[:, 5, 5], (200, 100, 50), atol=4)


def test_a_radiograph_is_rescaled_and_its_low_values_are_dark(tmp_path, image_sets: SimpleNamespace):
    pixels = (np.arange(24 * 20).reshape(24, 20) * 8) % 4096
    image_sets.write_dicom(tmp_path / "a.dicom", pixels)
    plain = read_image(tmp_path / "a.dicom")
    np.testing.assert_array_equal(plain.array, pixels[None])
    assert (plain.depth, plain.spacing) == ((0.0, 4095.0), (0.2, 0.3))
    image_sets.write_dicom(tmp_path / "b.dcm", 4095 - pixels, "MONOCHROME1")
    np.testing.assert_array_equal(read_image(tmp_path / "b.dcm").array, pixels[None])
    image_sets.write_dicom(tmp_path / "c.dcm", pixels, RescaleSlope="2", RescaleIntercept="-10")
    scaled = read_image(tmp_path / "c.dcm")
    np.testing.assert_array_equal(scaled.array, 2 * pixels[None] - 10)
    assert scaled.depth == (-10.0, 8180.0)
    image_sets.write_dicom(tmp_path / "d.dcm", 4095 - pixels, "MONOCHROME1", RescaleSlope="0.5", RescaleIntercept="1")
    np.testing.assert_allclose(read_image(tmp_path / "d.dcm").array, 0.5 * pixels[None] + 1)


@pytest.mark.parametrize("bits", [8, 10, 15, 16])
def test_inversion_is_within_the_bits_that_are_stored(tmp_path, image_sets, bits):
    pixels = np.random.default_rng(bits).integers(0, 2**bits, (24, 20))
    image_sets.write_dicom(tmp_path / "a.dcm", pixels, "MONOCHROME1", bits)
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm").array[0], 2**bits - 1 - pixels)


def test_what_is_no_single_grey_radiograph_is_refused_without_the_patients_name(tmp_path, image_sets):
    pixels = np.zeros((24, 20), np.uint16)
    image_sets.write_dicom(tmp_path / "a.dcm", np.zeros((48, 20)), NumberOfFrames="2", Rows=24)
    image_sets.write_dicom(
        tmp_path / "b.dcm", np.zeros((24, 60)), "RGB", 8, Columns=20, SamplesPerPixel=3, PlanarConfiguration=0
    )
    image_sets.write_dicom(tmp_path / "c.dcm", pixels)
    (tmp_path / "c.dcm").write_bytes((tmp_path / "c.dcm").read_bytes()[:-300])
    (tmp_path / "d.dcm").write_bytes(b"no DICOM at all" * 40)
    for name, said in (("a", "2 frames"), ("b", "no image of grey"), ("c", "cut short"), ("d", "no readable DICOM")):
        with pytest.raises(DataError, match=said) as caught:
            read_image(tmp_path / f"{name}.dcm")
        assert f"{name}.dcm" in str(caught.value)
        assert "ecret" not in str(caught.value)


@pytest.mark.parametrize("ending", ["png", "jpg"])
@pytest.mark.parametrize("kept", [0, 5, 40, 0.5, 0.9])
def test_files_cut_short_are_refused(tmp_path, ending, kept):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    path = saved(tmp_path / f"a.{ending}", Image.fromarray(noise))
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    with pytest.raises(DataError, match=f"a.{ending}"):
        read_image(path)


def test_a_flipped_bit_in_a_png_is_found(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    path = saved(tmp_path / "a.png", Image.fromarray(noise), compress_level=0)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="a.png"):
        read_image(path)


@pytest.mark.parametrize("size", [(30_000, 30_000), (12_000, 12_000), (65_535, 2_049)])
def test_sizes_are_looked_at_before_memory_is_taken(tmp_path, size):
    (tmp_path / "a.png").write_bytes(png_header(*size))
    with pytest.raises(DataError, match="declares .*more"):
        read_image_size(tmp_path / "a.png")


def test_small_strange_and_missing_files(tmp_path):
    saved(tmp_path / "a.png", Image.fromarray(np.zeros((1, 1), np.uint8)))
    (tmp_path / "b.png").write_bytes(b"GIF89a" + bytes(100))
    (tmp_path / "c.tif").write_bytes(b"II*\0")
    refused = {
        "a.png": "1 x 1 pixels; at least 8",
        "b.png": "is no PNG",
        "c.tif": "Legal: .png",
        "d.png": "no such file",
    }
    for name, said in refused.items():
        with pytest.raises(DataError, match=said):
            read_image(tmp_path / name)
    saved(tmp_path / "e.png", Image.fromarray(np.zeros((40, 40), np.uint8)))
    with pytest.raises(DataError, match="declares 40 x 40 pixels, more than 1,000"):
        read_image(tmp_path / "e.png", max_pixels=1000)


def picture(pixels: np.ndarray, depth: float = 255.0) -> Picture:
    return Picture(pixels, (1.0, 1.0), (0.0, depth))


def test_black_and_white_by_depth_percentile_or_values():
    pixels = np.full((1, 100, 100), 50, np.uint16)
    pixels[0, :2] = 1000  # a label in the corner
    pixels[0, 2:60] = 150
    one = picture(pixels, 4095.0)
    assert grey_limits(one, "depth") == (0.0, 4095.0)
    assert grey_limits(one, "percentile") == (50.0, 1000.0)
    pixels[0, :2] = 150
    assert grey_limits(one, "percentile") == (50.0, 150.0)
    assert grey_limits(one, (10.0, 20.0)) == (10.0, 20.0)
    with pytest.raises(DataError, match="all its pixels have the value 7"):
        grey_limits(picture(np.full((1, 9, 9), 7, np.uint8)), "percentile")


def test_values_of_8_bits_are_stored_exactly_and_lie_where_they_lay():
    stored = to_stored_image(picture(GREY[None]), (1, 24, 20), (0.0, 255.0))
    np.testing.assert_array_equal(stored.array, GREY[None].astype(np.int16) * (WHITE // 255))
    assert stored.array.dtype == np.int16
    np.testing.assert_allclose(stored.affine, picture(GREY[None]).affine)


def test_a_resized_image_keeps_its_outer_edges_and_its_mean():
    ramp = np.broadcast_to(np.linspace(0, 255, 60), (1, 40, 60)).astype(np.uint8)
    source = picture(ramp)
    stored = to_stored_image(source, (1, 10, 20), (0.0, 255.0))
    for voxel, size in (([0, -0.5, -0.5, 1], (40, 60)), ([0, 9.5, 19.5, 1], (40, 60))):
        place = np.linalg.inv(source.affine) @ stored.affine @ voxel
        expected = [-0.5, -0.5] if voxel[1] < 0 else [size[0] - 0.5, size[1] - 0.5]
        np.testing.assert_allclose(place[1:3], expected)
    assert stored.array.mean() == pytest.approx(ramp.mean() * 128, rel=0.01)
    assert (np.diff(stored.array[0, 5].astype(int)) > 0).all()


def test_channels_lie_within_the_images_one_slice():
    source = picture(np.moveaxis(COLOUR, -1, 0))
    stored = to_stored_image(source, (3, 24, 20), (0.0, 255.0))
    np.testing.assert_array_equal(stored.array[2], (255 - GREY).astype(np.int16) * 128)
    places = [(np.linalg.inv(source.affine) @ stored.affine @ [channel, 0, 0, 1])[0] for channel in range(3)]
    np.testing.assert_allclose(places, [-1 / 3, 0, 1 / 3], atol=1e-9)
    grey = to_stored_image(source, (1, 24, 20), (0.0, 255.0)).array
    np.testing.assert_allclose(grey[0] / 128, COLOUR @ [0.299, 0.587, 0.114], atol=0.01)
    repeated = to_stored_image(picture(GREY[None]), (3, 24, 20), (0.0, 255.0)).array
    assert (repeated[0] == repeated[2]).all()
    flat = as_one_slice(stored)
    np.testing.assert_allclose(flat.affine, source.affine, atol=1e-9)
    assert flat.array.shape == (1, 24, 20)


@pytest.mark.parametrize("tag", [b"\x08\x00\x60\x00CS", b"\x28\x00\x10\x00US", b"\xe0\x7f\x10\x00OW"])
def test_a_length_beyond_the_file_is_refused_before_memory_is_taken_for_it(tmp_path, image_sets, tag):
    image_sets.write_dicom(tmp_path / "a.dcm", np.zeros((24, 20)))
    content = bytearray((tmp_path / "a.dcm").read_bytes())
    place = content.index(tag) + len(tag)
    length = b"\x00\x00\xf0\xff\xff\x7f" if tag.endswith(b"OW") else b"\xf0\xff"
    content[place : place + len(length)] = length
    (tmp_path / "b.dcm").write_bytes(content)
    assert is_whole(tmp_path / "a.dcm")
    assert not is_whole(tmp_path / "b.dcm")
    with pytest.raises(DataError, match="cut short"):
        read_image(tmp_path / "b.dcm")
    (tmp_path / "c.dcm").write_bytes((tmp_path / "a.dcm").read_bytes() + b"\x11\x22\x33\x44OB\0\0\xff\xff\xff\x7f")
    assert not is_whole(tmp_path / "c.dcm")
    (tmp_path / "d.dcm").write_bytes((tmp_path / "a.dcm").read_bytes() + bytes(64))
    assert read_image(tmp_path / "d.dcm").shape == (1, 24, 20)


def test_a_compressed_radiograph_is_whole_and_read(tmp_path, image_sets):
    import pydicom
    from pydicom.uid import RLELossless

    pixels = np.random.default_rng(0).integers(0, 4096, (24, 20))
    image_sets.write_dicom(tmp_path / "a.dcm", pixels)
    dataset = pydicom.dcmread(tmp_path / "a.dcm")
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "b.dcm")
    assert is_whole(tmp_path / "b.dcm")
    np.testing.assert_array_equal(read_image(tmp_path / "b.dcm").array[0], pixels)
    (tmp_path / "c.dcm").write_bytes((tmp_path / "b.dcm").read_bytes()[:-40])
    with pytest.raises(DataError, match="cut short"):
        read_image(tmp_path / "c.dcm")


def test_slices_of_a_scanner_are_whole(shared_data: Path):
    files = [path for path in shared_data.rglob("*") if path.is_file() and path.suffix.lower() in {".dcm", ".ima"}]
    assert files
    assert [path.name for path in files if not is_whole(path)] == []
