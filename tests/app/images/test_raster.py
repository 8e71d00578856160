from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from app.errors import CorruptImage, ImageTooLarge, InvalidInput, UnsupportedImage
from app.images.headers import media_type_of
from app.images.png import encode_png
from app.images.raster import AnimationKind, encode_animation, encode_webp, read_picture
from app.manifest import ImageSpace, PixelRange

RANGE = PixelRange(low=0, high=1)
GREY = ImageSpace(height=8, width=8, channels=1, pixel_range=RANGE, background=(255, 255, 255))
COLOUR = ImageSpace(height=8, width=8, channels=3, pixel_range=RANGE, background=(10, 20, 30))
MAX_PIXELS = 16_000_000

# Pillow warns of damaged metadata and reads on; here warnings are errors.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise_image(mode: str = "RGB", size: tuple[int, int] = (8, 8)) -> Image.Image:
    shape = (size[1], size[0]) + ((3,) if mode == "RGB" else ())
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


def read(data: bytes, space: ImageSpace = COLOUR) -> np.ndarray:
    return read_picture(data, space, max_pixels=MAX_PIXELS)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int, depth: int = 1, colour_type: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)


# Reading: what a picture becomes


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_lossless_picture_of_the_models_size_is_read_exactly(kind: str) -> None:
    image = noise_image()
    np.testing.assert_array_equal(read(saved(image, kind, lossless=True)), np.asarray(image))


def test_jpeg_is_read_as_the_decoder_gives_it() -> None:
    data = saved(noise_image(), "JPEG", quality=90)
    np.testing.assert_array_equal(read(data), np.asarray(Image.open(io.BytesIO(data))))


def test_grey_model_sees_the_luma_of_colours() -> None:
    image = noise_image()
    red, green, blue = np.asarray(image).astype(float).transpose(2, 0, 1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    np.testing.assert_allclose(read(saved(image), GREY)[:, :, 0], luma, atol=0.51)


def test_colour_model_sees_grey_three_times() -> None:
    image = noise_image("L")
    np.testing.assert_array_equal(read(saved(image)), np.stack([np.asarray(image)] * 3, axis=-1))


def test_one_bit_picture_becomes_black_and_white() -> None:
    bits = np.indices((8, 8)).sum(axis=0) % 2 == 0
    np.testing.assert_array_equal(read(saved(Image.fromarray(bits)), GREY)[:, :, 0], bits * 255)


def test_sixteen_bit_grey_is_cut_to_its_high_byte() -> None:
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1023 + 77
    np.testing.assert_array_equal(read(saved(Image.fromarray(values)), GREY)[:, :, 0], values >> 8)


def test_sixteen_bit_colour_is_cut_to_its_high_byte() -> None:
    row = b"\0" + bytes([0x12, 0xFF, 0x34, 0x00, 0x56, 0x80]) * 8
    data = png_header(8, 8, 16, 2) + png_chunk(b"IDAT", zlib.compress(row * 8)) + png_chunk(b"IEND", b"")
    np.testing.assert_array_equal(read(data), np.broadcast_to([0x12, 0x34, 0x56], (8, 8, 3)))


def test_cmyk_jpeg_is_converted() -> None:
    data = saved(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG", quality=100)
    np.testing.assert_allclose(read(data).astype(int), np.broadcast_to([0, 255, 255], (8, 8, 3)), atol=3)


def test_transparency_shows_the_background() -> None:
    image = Image.new("RGBA", (8, 8), (200, 100, 0, 0))
    image.putpixel((1, 0), (200, 100, 0, 255))
    image.putpixel((2, 0), (210, 120, 30, 128))
    picture = read(saved(image))
    assert picture[0, 0].tolist() == [10, 20, 30]
    assert picture[0, 1].tolist() == [200, 100, 0]
    np.testing.assert_allclose(picture[0, 2], [110, 70, 30], atol=1)


def test_grey_with_alpha_lies_on_the_background() -> None:
    assert np.unique(read(saved(Image.new("LA", (8, 8), (0, 0))), GREY)).tolist() == [255]


def test_transparent_palette_entry_shows_the_background() -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([1, 2, 3, 200, 150, 100])
    image.putpixel((0, 0), 1)
    picture = read(saved(image, transparency=0))
    assert picture[0, 0].tolist() == [200, 150, 100]
    assert picture[5, 5].tolist() == [10, 20, 30]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(noise_image(size=(8, 8)), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(read(data), np.asarray(upright.convert("RGB")))


@pytest.mark.parametrize("garbage", [b"\xff" * 60_000, b"II*\0\x08\0\0\0\xff\xff" + b"\x01" * 600, b"MM\0*", b""])
def test_damaged_exif_is_ignored(garbage: bytes) -> None:
    image = noise_image()
    data = saved(image, "PNG", exif=b"Exif\0\0" + garbage)
    np.testing.assert_array_equal(read(data), np.asarray(image))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_only_the_first_frame_is_read(kind: str) -> None:
    first, second = Image.new("RGB", (8, 8), (9, 8, 7)), Image.new("RGB", (8, 8), (99, 88, 77))
    data = saved(first, kind, save_all=True, append_images=[second] * 5, lossless=True)
    assert np.unique(read(data).reshape(-1, 3), axis=0).tolist() == [[9, 8, 7]]


# Reading: sizes


@pytest.mark.parametrize(("size", "box"), [((16, 8), (0, 2, 8, 6)), ((4, 8), (2, 0, 6, 8)), ((2, 1), (0, 2, 8, 6))])
def test_other_aspects_are_fitted_inside_and_centred(size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    picture = read(saved(Image.new("RGB", size, (200, 0, 100))))
    left, top, right, bottom = box
    inside = np.zeros((8, 8), bool)
    inside[top:bottom, left:right] = True
    assert np.unique(picture[inside], axis=0).tolist() == [[200, 0, 100]]
    assert np.unique(picture[~inside], axis=0).tolist() == [[10, 20, 30]]


def test_shrinking_is_antialiased() -> None:
    """A fine chequerboard becomes its mean, where picking pixels would give black, white or stripes."""
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    np.testing.assert_allclose(read(saved(Image.fromarray(board)), GREY), 127.5, atol=2)


@pytest.mark.parametrize("size", [(1, 65535), (65535, 1), (1, 1)])
def test_extreme_sizes_keep_at_least_a_pixel(size: tuple[int, int]) -> None:
    assert read(saved(Image.new("L", size, 77)), GREY).shape == (8, 8, 1)


def test_picture_over_the_limit_is_refused_by_its_header_alone() -> None:
    with pytest.raises(ImageTooLarge, match="20000 × 20000"):
        read(png_header(20_000, 20_000))
    with pytest.raises(ImageTooLarge, match="at most 63 pixels"):
        read_picture(saved(noise_image()), COLOUR, max_pixels=63)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG"])
@pytest.mark.parametrize("lossless", [True, False])
def test_limit_counts_the_declared_pixels_of_every_format(kind: str, lossless: bool) -> None:
    data = saved(Image.new("RGB", (31, 17)), kind, **({"lossless": lossless} if kind == "WEBP" else {}))
    assert read_picture(data, COLOUR, max_pixels=31 * 17).shape == (8, 8, 3)
    with pytest.raises(ImageTooLarge, match="31 × 17"):
        read_picture(data, COLOUR, max_pixels=31 * 17 - 1)


def test_extended_webp_over_the_limit_is_refused() -> None:
    data = saved(Image.new("RGBA", (300, 200), (1, 2, 3, 4)), "WEBP", exif=b"Exif\0\0MM\0*")
    assert data[12:16] == b"VP8X"
    with pytest.raises(ImageTooLarge, match="300 × 200"):
        read_picture(data, COLOUR, max_pixels=1000)


def test_hundred_megapixels_are_refused_without_a_warning() -> None:
    with pytest.raises(ImageTooLarge):
        read(png_header(10_000, 10_000, 8, 2))


# Reading: what is refused


def test_no_bytes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="empty"):
        read(b"")


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        b"PK\x03\x04",
        *[saved(noise_image(), kind) for kind in ("GIF", "TIFF", "ICO", "BMP", "PPM")],
    ],
)
def test_other_formats_are_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedImage):
        read(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_truncated_picture_is_corrupt_at_every_length(kind: str) -> None:
    data = saved(noise_image(size=(64, 64)), kind)
    for sixteenths in range(1, 16):
        with pytest.raises(CorruptImage):
            read(data[: max(12, len(data) * sixteenths // 16)])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_flipped_bits_give_a_picture_or_a_refusal(kind: str) -> None:
    """Seeded, so that a failure repeats."""
    generator, data = np.random.default_rng(1), np.frombuffer(saved(noise_image(size=(24, 24)), kind), np.uint8)
    for _ in range(400):
        damaged = data.copy()
        damaged[generator.integers(len(data), size=3)] ^= np.uint8(1) << generator.integers(8, dtype=np.uint8)
        try:
            assert read(damaged.tobytes()).shape == (8, 8, 3)
        except (InvalidInput, UnsupportedImage, ImageTooLarge):
            continue


def test_decompression_bomb_in_metadata_is_refused() -> None:
    bomb = zlib.compress(b"\0" * 100_000_000, 9)
    start, rest = saved(noise_image())[:33], saved(noise_image())[33:]
    for chunk in (png_chunk(b"iCCP", b"p\0\0" + bomb), png_chunk(b"zTXt", b"t\0\0" + bomb)):
        with pytest.raises(CorruptImage):
            read(start + chunk + rest)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_media_type_follows_the_signature(kind: str) -> None:
    assert media_type_of(saved(noise_image(), kind)) == f"image/{kind}"
    assert media_type_of(b"RIFF\0\0\0\0WAVE") is None


# Writing


@pytest.mark.parametrize("channels", [1, 3])
def test_written_pictures_are_lossless(channels: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, channels), np.uint8)
    space = GREY if channels == 1 else COLOUR
    np.testing.assert_array_equal(read(encode_png(picture), space), picture)
    np.testing.assert_array_equal(read(encode_webp(picture), space), picture)


def test_png_carries_its_receipt_as_international_text() -> None:
    picture = np.zeros((8, 8, 1), np.uint8)
    data = encode_png(picture, '{"model":"größe"}')
    assert b"iTXtlatentserve\0" in data
    assert Image.open(io.BytesIO(data)).text == {"latentserve": '{"model":"größe"}'}
    assert b"latentserve" not in encode_png(picture)
    assert data == encode_png(picture, '{"model":"größe"}')


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["gif", "webp", "apng"])
def test_animation_holds_every_frame_and_repeats(kind: AnimationKind, channels: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 8, 8, channels), np.uint8)
    with Image.open(io.BytesIO(encode_animation(frames, kind, frame_ms=40))) as animation:
        assert animation.n_frames == 5
        assert animation.info["loop"] == 0
        for index, frame in enumerate(frames):
            animation.seek(index)
            shown = np.asarray(animation.convert("RGB"))
            np.testing.assert_allclose(shown.astype(int), np.broadcast_to(frame, (8, 8, 3)))


def test_animation_of_one_frame_is_a_picture() -> None:
    frame = np.full((1, 8, 8, 1), 9, np.uint8)
    np.testing.assert_array_equal(read(encode_animation(frame, "webp"), GREY), frame[0])
