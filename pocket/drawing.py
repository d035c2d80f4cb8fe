"""Scenes to pictures: glyphs of a colour-emoji font on varied backgrounds, drawn with Pillow.

Needed to build data and weights, not to serve. The default font is Noto Color Emoji (Debian: fonts-noto-color-emoji);
set `GENRM_POCKET_FONT` to use another file of it. The `shifted` split draws backgrounds that no other split has,
other sizes, other tints, and for a third of the scenes, drawn by lot, the glyphs of a second, monochrome font (Debian:
fonts-symbola, `GENRM_POCKET_SECOND_FONT`) where it is installed and has them.
"""

import functools
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from genrm.errors import GenRMError
from pocket.scenes import SIZE_PIXELS, PlacedObject, Scene, Sign, Split
from pocket.vocabulary import KINDS, MAT_COLOURS

_GLYPH_PIXELS = 109  # the only size Noto's bitmaps have
_FONT_FILES = (
    "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/google-noto-color-emoji-fonts/NotoColorEmoji.ttf",
)
_SECOND_FONT_FILES = ("/usr/share/fonts/truetype/ancient-scripts/Symbola_hint.ttf",)


class FontMissingError(GenRMError, FileNotFoundError):
    """No emoji font was found. Install the one the message names, or set the variable it names."""


def emoji_font_path() -> Path:
    """The colour-emoji font file in use. Raises FontMissingError with the remedy."""
    found = _first_file(os.environ.get("GENRM_POCKET_FONT"), _FONT_FILES)
    if found is None:
        raise FontMissingError(
            "No colour-emoji font was found. Install Noto Color Emoji (Debian, Ubuntu: apt-get install "
            "fonts-noto-color-emoji), or set GENRM_POCKET_FONT to the path of NotoColorEmoji.ttf."
        )
    return found


def second_font_path() -> Path | None:
    """The second font file, for the shifted look; None if it is not installed."""
    return _first_file(os.environ.get("GENRM_POCKET_SECOND_FONT"), _SECOND_FONT_FILES)


def draw_scene(scene: Scene) -> Image.Image:
    """The picture of a scene, RGB, 168 x 168. The same scene gives the same picture on every machine with the same
    fonts.
    """
    rng = np.random.default_rng(scene.look_seed)
    shifted = scene.split is Split.SHIFTED
    picture = _background(rng, shifted=shifted)
    pen = ImageDraw.Draw(picture)
    for placed in scene.objects:
        if placed.mat is not None:
            half = placed.size * 0.62 + 2
            corners = (placed.x - half, placed.y - half, placed.x + half, placed.y + half)
            outline = (110, 110, 110) if placed.mat in ("white", "black") else None
            pen.rounded_rectangle(
                corners, radius=int(rng.integers(0, 10)), fill=MAT_COLOURS[placed.mat], outline=outline
            )
    monochrome = is_monochrome(scene)
    for placed in scene.objects:
        sprite = _glyph(placed.kind.glyph, ink=_ink(placed) if monochrome else None)
        scale = placed.size / max(sprite.size)
        side = (max(1, round(sprite.width * scale)), max(1, round(sprite.height * scale)))
        sprite = sprite.resize(side, Image.Resampling.BILINEAR, reducing_gap=2.0)
        if placed.flipped:
            sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        sprite = sprite.rotate(placed.angle, Image.Resampling.BILINEAR, expand=True)
        picture.paste(sprite, (placed.x - sprite.width // 2, placed.y - sprite.height // 2), sprite)
    if scene.sign is not None:
        _draw_sign(picture, scene.sign, rng)
    return _tint(picture, rng, shifted=shifted)


def is_monochrome(scene: Scene) -> bool:
    """Whether a scene is drawn with the second font: a third of the shifted split, drawn by lot, where it is
    installed.
    """
    return scene.split is Split.SHIFTED and scene.look_seed % 3 == 0 and second_font_path() is not None


def _draw_sign(picture: Image.Image, sign: Sign, rng: np.random.Generator) -> None:
    font = ImageFont.load_default(size=18)
    pen = ImageDraw.Draw(picture)
    left, top, right, bottom = pen.textbbox((sign.x, sign.y), sign.text, font=font, anchor="mm")
    board, ink = [((255, 255, 240), (20, 20, 20)), ((250, 220, 60), (20, 20, 20)), ((20, 70, 140), (255, 255, 255))][
        int(rng.integers(3))
    ]
    pen.rectangle((left - 5, top - 5, right + 5, bottom + 5), fill=board, outline=(60, 60, 60))
    pen.text((sign.x, sign.y), sign.text, font=font, anchor="mm", fill=ink)


def _background(rng: np.random.Generator, *, shifted: bool) -> Image.Image:
    """Plain, gradient, two-tone or grainy; for the shifted look stripes, checks or soft blots."""
    light = rng.uniform(150, 245, size=3)
    dark = light - rng.uniform(10, 60)
    ramp = np.linspace(0, 1, SIZE_PIXELS, dtype=np.float32)
    across, down = np.meshgrid(ramp, ramp)
    style = int(rng.integers(3 if shifted else 4))
    if shifted:
        frequency = float(rng.uniform(4, 12))
        waves = np.sin(frequency * 6.283 * across), np.sin(frequency * 6.283 * down)
        mix = [waves[0] > 0, (waves[0] * waves[1]) > 0, 0.5 + 0.5 * np.sin(9 * across + 7 * np.sin(5 * down))][style]
        mix = np.asarray(mix, dtype=np.float32) * 0.6
    elif style == 0:
        mix = np.zeros_like(across)
    elif style == 1:
        turn = rng.uniform(0, 6.283)
        mix = 0.5 + 0.5 * (np.cos(turn) * (across - 0.5) + np.sin(turn) * (down - 0.5)) * 2
    elif style == 2:
        mix = (down > rng.uniform(0.3, 0.8)).astype(np.float32)
    else:
        mix = rng.random((SIZE_PIXELS, SIZE_PIXELS), dtype=np.float32)
    pixels = light + mix[..., None] * (dark - light)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _tint(picture: Image.Image, rng: np.random.Generator, *, shifted: bool) -> Image.Image:
    reach = 0.25 if shifted else 0.15
    picture = ImageEnhance.Brightness(picture).enhance(float(rng.uniform(1 - reach, 1 + reach)))
    return ImageEnhance.Color(picture).enhance(float(rng.uniform(1 - 2 * reach, 1 + reach)))


def _ink(placed: PlacedObject) -> tuple[int, int, int]:
    """What a monochrome glyph is drawn with: dark, but light on a black mat, where dark would be invisible."""
    return (236, 236, 228) if placed.mat == "black" else (40, 40, 48)


@functools.lru_cache(maxsize=4 * len(KINDS))
def _glyph(glyph: str, *, ink: tuple[int, int, int] | None) -> Image.Image:
    """One glyph, RGBA, cut to its ink. ink: draw it with the second font in this colour, if that font has it (a sign
    for "missing" would be no picture of the object); None: in colour.
    """
    second = second_font_path()
    path = second if ink is not None and second is not None and _has_glyph(second, glyph) else emoji_font_path()
    font = ImageFont.truetype(str(path), _GLYPH_PIXELS)
    canvas = Image.new("RGBA", (2 * _GLYPH_PIXELS, 2 * _GLYPH_PIXELS))
    ImageDraw.Draw(canvas).text((20, 20), glyph, font=font, embedded_color=True, fill=(*(ink or (0, 0, 0)), 255))
    bounds = canvas.getbbox()
    if bounds is None:
        raise FontMissingError(f"The font {path} has no glyph for {glyph!r}. Use a current version of the font.")
    return canvas.crop(bounds)


def _has_glyph(path: Path, glyph: str) -> bool:
    """Whether a font draws a character otherwise than one that no font has."""
    font = ImageFont.truetype(str(path), 32)
    return bytes(font.getmask(glyph)) != bytes(font.getmask("\U0010fffe"))


def _first_file(configured: str | None, known: tuple[str, ...]) -> Path | None:
    for name in (configured, *known):
        if name and Path(name).is_file():
            return Path(name)
    return None
