"""An episode as a film: ``.html`` (the player of the report), ``.mp4`` or ``.gif``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from episode import Frame, HandeyeError, Trajectory
from training.drawing import Stage
from training.page import film_page
from training.slides import Pieces, slides

FORMATS = (".html", ".mp4", ".gif")
FPS = 10
SEEN, DONE, END = 4, 8, 20
"""Pictures (tenths of a second) that a film holds: the bare frame, the frame with its action, and the last one."""


class FilmError(HandeyeError):
    """An episode could not be written as asked."""


def film(trajectory: Trajectory, path: Path, pieces: Pieces | None = None) -> Path:
    """Write ``trajectory`` to ``path``; the suffix chooses the format. ``pieces`` spells out tokens on a page."""
    check_suffix(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".html":
            path.write_text(film_page(trajectory, pieces), "utf-8", errors="replace")  # a lone surrogate
        elif path.suffix == ".mp4":
            _mp4(trajectory, path)
        else:
            _gif(trajectory, path)
    except OSError as error:
        raise FilmError(f"{path} cannot be written: {error}") from error
    return path


def check_suffix(path: Path) -> None:
    """Refuse a format that ``film`` cannot write; worth asking before the episode is played."""
    if path.suffix not in FORMATS:
        raise FilmError(f"{path.name}: a film is written as {', '.join(FORMATS)}; give --out such a name")


def pictures(trajectory: Trajectory) -> Iterator[tuple[Frame, int]]:
    """Pictures and how many tenths of a second each is shown. RGB, all of one even size."""
    shown = slides(trajectory)
    stage = Stage(trajectory, shown)
    for number, slide in enumerate(shown):
        if slide.marks:
            yield stage.picture(slide, number, marked=False), SEEN
        yield stage.picture(slide, number), DONE
    yield stage.picture(None, len(shown)), END


def _mp4(trajectory: Trajectory, path: Path) -> None:
    import imageio_ffmpeg  # type: ignore[import-untyped]

    writer = None
    for picture, tenths in pictures(trajectory):
        if writer is None:
            size = (picture.shape[1], picture.shape[0])
            writer = imageio_ffmpeg.write_frames(
                str(path),
                size,
                fps=FPS,
                codec="libx264",
                quality=None,
                output_params=["-crf", "20"],
                macro_block_size=2,
            )
            writer.send(None)
        for _ in range(tenths):
            writer.send(picture.tobytes())
    if writer is not None:
        writer.close()


def _gif(trajectory: Trajectory, path: Path) -> None:
    shown = list(pictures(trajectory))
    images = [Image.fromarray(p).quantize(colors=256, dither=Image.Dither.NONE) for p, _ in shown]
    images[0].save(path, save_all=True, append_images=images[1:], duration=[100 * t for _, t in shown], loop=0)
