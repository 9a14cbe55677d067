"""``compact``: a few tokens a reply, for small models that own the location and bin tokens.

Locations ``<loc_0>`` .. ``<loc_31>`` are 32 equal bins of a screen's side, or of ``body.low`` .. ``body.high`` along an
axis; a bin means its centre. Bins ``<a-10>`` .. ``<a10>`` are tenths of the furthest displacement of one decision
(1.5 cm by default), and notches of a scroll.

    click<loc_3><loc_9>      double..  right..      drag<loc_3><loc_9><loc_20><loc_9>    scroll<loc_3><loc_9><a3>
    type"text"  key"enter"   wait  done  noop       <a2><a-1><a0>open    at<loc_4><loc_5><loc_1><a2><a-1><a0>close

A thought is ``think"..."`` before a screen action, as much as the reply has room for, or the places that the decision
looks at, if it has to: ``at<loc_3><loc_9>"text"`` with what it reads there, or
``at<loc_3><loc_9>..checked<loc_3><loc_9>..``, of what the task names, and of what is checked. On a body it is ``at``
with up to three places: of what the decision looks at, if it has to, and where it takes the hand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from episode import SCREEN_KINDS, Action, Advice, Body, Embodiment, Screen, ScreenKind, chunk_of, nearest, screen_action
from policy.codecs.base import (
    MAX_NOTCHES,
    CodecError,
    Misread,
    Reply,
    body_limits,
    check_pixel,
    check_text,
    displacement,
    excerpt,
    hand_state,
    no_action,
    only_screen_action,
    understood,
)

LOCATIONS = 32
BINS = 10
"""Action bins to each side of zero."""
LONGEST_TEXT = 24
"""Characters between the quotes, escapes included: each is a token of its own, and replies are kept short."""

_LOC = r"<loc_([0-9]{1,6})>"
_BIN = r"<a(-?[0-9]{1,6})>"
_STRING = r'"((?:[^"\\]|\\.)*)"'
_WORD = re.compile(r"[a-z_]*")
_THINK = re.compile("think" + _STRING, re.DOTALL)
PLACES = 3
"""Most places of a thought on a body."""
_LOOKS = re.compile(rf"(at|checked)((?:(?:{_LOC}){{2}})+)")
_READS = re.compile(_STRING, re.DOTALL)
_MOVE = re.compile(rf"(?:at((?:(?:{_LOC}){{3}}){{1,{PLACES}}}))?{_BIN}{_BIN}{_BIN}(open|close)")
_MOVE_USAGE = "[at<loc_x><loc_y><loc_z>..]<a..><a..><a..>open or ...close"


@dataclass(frozen=True)
class _Form:
    """How a screen action is written: its word, then what follows."""

    kind: ScreenKind
    locations: int = 0
    bins: int = 0
    text: bool = False

    @property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(_LOC * self.locations + _BIN * self.bins + _STRING * self.text, re.DOTALL)

    @property
    def usage(self) -> str:
        return "<loc_..>" * self.locations + "<a..>" * self.bins + '"..."' * self.text


_FORMS = {
    "click": _Form("click", locations=2),
    "double": _Form("double_click", locations=2),
    "right": _Form("right_click", locations=2),
    "drag": _Form("drag", locations=4),
    "scroll": _Form("scroll", locations=2, bins=1),
    "type": _Form("type", text=True),
    "key": _Form("key", text=True),
    "wait": _Form("wait"),
    "done": _Form("done"),
    "noop": _Form("noop"),
}
_PATTERNS = {word: form.pattern for word, form in _FORMS.items()}
_WORDS: dict[ScreenKind, str] = {form.kind: word for word, form in _FORMS.items()}


class Compact:
    """The ``compact`` codec; see the module's text for its grammar."""

    name = "compact"
    # `type`, two quotes, LONGEST_TEXT characters, the end token, and a little room to think. Kept tight: a batch
    # decodes for as long as its longest reply, and a model that rambles runs to the end.
    max_tokens = 32

    def system(self, embodiment: Embodiment) -> str:
        """Empty: a small model knows its grammar, and every prompt token costs time."""
        return ""

    def format(self, advice: Advice, embodiment: Embodiment, thought: bool) -> str:
        if isinstance(embodiment, Body):
            places = [locate(point, embodiment) for point in advice.points[-PLACES:]] if thought else []
            return "".join(["at", *places] if places else []) + _format_move(advice, embodiment)
        action = _format_screen(advice, embodiment)
        room = self.max_tokens - _tokens(action) if thought else 0
        said = _tame(advice.thought, room)
        return (f'think"{said}"' if said else _looks(advice, embodiment, room)) + action

    def parse(
        self, text: str, embodiment: Embodiment, *, grip: float = 1.0, cursor: tuple[int, int] | None = None
    ) -> Reply:
        try:
            if isinstance(embodiment, Screen):
                return understood(*_read_screen(text.strip(), embodiment))
            return understood(*_read_move(text.strip(), embodiment))
        except Misread as error:
            return no_action(str(error), embodiment, grip)

    def observe(self, proprio: NDArray[np.float32] | None, embodiment: Embodiment) -> str:
        """``hand<loc_x><loc_y><loc_z>open`` (or ``half``, ``shut``), then `` holding`` where something is held."""
        if proprio is None or isinstance(embodiment, Screen):
            return ""
        position, opening, holding = hand_state(proprio)
        return f"hand{locate(position, embodiment)}{opening}{' holding' if holding else ''}"


def location_of_pixel(x: int, side: int) -> int:
    """The bin 0..31 in which pixel ``x`` of a side of ``side`` pixels lies."""
    return x * LOCATIONS // side


def pixel_of_location(location: int, side: int) -> int:
    """The pixel at the centre of a bin."""
    return (2 * location + 1) * side // (2 * LOCATIONS)


def locate(point: tuple[float, ...] | NDArray[np.float64], body: Body) -> str:
    """Three location tokens for a point in the world frame; a point beyond the body's reach takes the nearest bin."""
    return "".join(f"<loc_{b}>" for b in bins_of(point, body))


def bins_of(point: tuple[float, ...] | NDArray[np.float64], body: Body) -> NDArray[np.int64]:
    """[3] the bins in which a point of the world lies, or the nearest ones."""
    low, high = np.asarray(body.low), np.asarray(body.high)
    shares = (np.asarray(point, np.float64) - low) / (high - low)
    bins: NDArray[np.int64] = np.floor(shares * LOCATIONS).clip(0, LOCATIONS - 1).astype(np.int64)
    return bins


def centre(bins: Sequence[int] | NDArray[np.int64], body: Body) -> NDArray[np.float64]:
    """The middle of three bins, metres: the inverse of :func:`locate`, but for half a bin."""
    low, high = np.asarray(body.low), np.asarray(body.high)
    middle: NDArray[np.float64] = low + (np.asarray(bins) + 0.5) / LOCATIONS * (high - low)
    return middle


def _tokens(action: str) -> int:
    """Tokens of a screen action with the end token: quoted text is spelled out, everything else is whole."""
    head, *rest = action.split('"', 1)
    return 2 + head.count("<") + sum(map(len, rest)) + len(rest)


def _tame(thought: str, room: int) -> str:
    """A thought on one line, of as many words as ``think"..."`` holds in ``room`` tokens, with nothing to escape."""
    words = thought.replace('"', "'").replace("\\", "/").split()
    while words and len(" ".join(words)) + len(["think", '"', '"']) > room:
        words.pop()
    return " ".join(words)


def _format_screen(advice: Advice, screen: Screen) -> str:
    action = only_screen_action(advice)
    word = _WORDS[SCREEN_KINDS[int(action["kind"])]]
    form = _FORMS[word]
    points = [action["position"], action["end"]][: form.locations // 2]
    word += "".join(_on_screen(check_pixel(point, screen), screen) for point in points)
    if form.bins:
        word += f"<a{np.clip(int(action['scroll'][0]), -MAX_NOTCHES, MAX_NOTCHES)}>"
    if form.text:
        try:
            word += f'"{_spelled(action["text"])}"'
        except Misread as error:
            raise CodecError(f"compact cannot say {form.kind} {excerpt(action['text'])}: {error}") from None
    return word


def _on_screen(pixel: tuple[float, ...], screen: Screen) -> str:
    x, y = (int(c) for c in pixel)
    return f"<loc_{location_of_pixel(x, screen.width)}><loc_{location_of_pixel(y, screen.height)}>"


def _looks(advice: Advice, screen: Screen, room: int) -> str:
    """Where a decision looks, all of it or, where that is more than ``room`` tokens, nothing; and what it reads there.

    That is left out where it does not fit, or cannot be spelled or told from a token: half of a text is another one.
    """
    at, checked = (
        word + "".join(_on_screen(p, screen) for p in places) if places else ""
        for word, places in (("at", advice.points), ("checked", advice.checked))
    )
    room -= (at + checked).count("<") + bool(at) + bool(checked)
    if room < 0:
        return ""
    reads = ""
    if at and advice.reads.strip() and "<" not in advice.reads:
        with suppress(Misread):
            reads = f'"{_spelled(advice.reads)}"'
    return at + (reads if len(reads) <= room else "") + checked


def _format_move(advice: Advice, body: Body) -> str:
    # Rounded to the nearest bin, clipped to what one decision can do: experts ask for any size.
    bins = np.rint(displacement(advice.actions) / body_limits(body) * BINS).clip(-BINS, BINS).astype(int)
    return "".join(f"<a{b}>" for b in bins) + ("open" if advice.actions[-1][3] >= 0 else "close")


def _read_screen(text: str, screen: Screen) -> tuple[list[Action], str]:
    thought = ""
    if text.startswith("think"):
        spoken = _THINK.match(text)
        if spoken is None:
            raise Misread(f'expected think"..." with a closing quote, then an action; got {excerpt(text)}')
        thought, text = _unescape(spoken[1]), text[spoken.end() :].lstrip()
    while (seen := _LOOKS.match(text)) is not None:
        looks = _pixels(re.findall(_LOC, seen[2]), screen)
        places = ", ".join(map(str, zip(looks[::2], looks[1::2], strict=True)))
        thought += f"{'; ' if thought else ''}{seen[1]} {places}"
        text = text[seen.end() :]
        if seen[1] == "at" and (read := _READS.match(text)) is not None:
            thought, text = f'{thought} "{_unescape(read[1])}"', text[read.end() :]
    found = _WORD.match(text)
    word = found[0] if found else ""
    if word not in _FORMS:
        raise Misread(f"{excerpt(text)} starts with no action; {nearest(word[:32], _FORMS)}")
    form, parts = _FORMS[word], _PATTERNS[word].fullmatch(text, len(word))
    if parts is None:
        raise Misread(f"expected {word}{form.usage} and nothing else, got {excerpt(text)}")
    numbers = _pixels(parts.groups()[: form.locations], screen)
    x, y, x2, y2 = numbers + [0] * (4 - len(numbers))
    scroll = _within(parts[3], -MAX_NOTCHES, MAX_NOTCHES, "scroll") if form.bins else 0
    string = _unescape(parts[1]) if form.text else ""
    _spelled(string)  # What was read must be possible to say: it is told as the last action.
    return [screen_action(form.kind, x, y, x2, y2, scroll, string)], thought


def _pixels(digits: Sequence[str], screen: Screen) -> list[int]:
    """Location numbers, x and y in turn, as pixels."""
    bins = [_within(n, 0, LOCATIONS - 1, "location") for n in digits]
    return [pixel_of_location(n, (screen.width, screen.height)[i % 2]) for i, n in enumerate(bins)]


def _read_move(text: str, body: Body) -> tuple[list[Action], str]:
    parts = _MOVE.fullmatch(text)
    if parts is None:
        raise Misread(f"expected {_MOVE_USAGE} and nothing else, got {excerpt(text)}")
    thought = ""
    if parts[1] is not None:
        bins = [_within(n, 0, LOCATIONS - 1, "location") for n in re.findall(_LOC, parts[1])]
        places = [centre(bins[i : i + 3], body) for i in range(0, len(bins), 3)]
        thought = "at " + ", ".join(f"({x:.3f}, {y:.3f}, {z:.3f})" for x, y, z in places)
    unit = body_limits(body) / BINS
    *moves, grip = parts.groups()[-4:]
    delta = [_within(n, -BINS, BINS, "displacement") * unit for n in moves]
    return list(chunk_of(body, delta, 1.0 if grip == "open" else -1.0)), thought


def _within(digits: str, low: int, high: int, what: str) -> int:
    number = int(digits)
    if not low <= number <= high:
        raise Misread(f"{what} {number} is outside of {low}..{high}")
    return number


def _spelled(text: str) -> str:
    """``text`` as it stands between quotes; :class:`Misread` where that is not printable or too long."""
    return check_text(text.replace("\\", "\\\\").replace('"', '\\"'), LONGEST_TEXT)


def _unescape(string: str) -> str:
    return re.sub(r"\\(.)", r"\1", string, flags=re.DOTALL)
