"""What stands on the screens: words, invented strings, colours; disjoint pools for training and held-out.

Half of all labels are invented, so that reading must be learned letter by letter and not as a list of words.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import takewhile

import numpy as np

from episode import Split
from gui_env.toolkit.canvas import Color

_TRAIN = """
about accept account action active add address adjust admin advance agenda agree airport album alert align allow alter
amount anchor animal answer apple apply april archive area arrow artist ask assign attach audio august author auto
avenue back badge balance bank banner basket beach before begin below bicycle bill bird block blog board body bold book
border bottle bottom bowl box branch bread break bridge brief bright bring browse brush budget build bundle burst
button buy cabin cable cake call camera camp candle card career carry cart case cash castle catalog center chair change
channel chapter chart check cheese cherry choose circle city clean clear click clock clone close cloud coast code
coffee collect column comment compact compare compose confirm connect contact copy corner cost count country course
cover create credit crop cup current custom cut cycle daily dance data date day debug decline deep default delete
deliver demo deposit desert design desk detail device dinner direct discuss disk dismiss display divide dollar done
door double down draft draw dream drive drop duck early earth east edit effect eight email empty enable end energy
engine enter entry erase escape estate event every exact exit expand export extra fabric face fact family farm fast
father feed field figure file fill filter final find finish first fish fit flag flash flight floor flower focus fold
folder follow font food force forest form format forum forward found four frame free fresh friend front fruit full
future galaxy game garden gate general gift give glass global gold good grade grand grant graph green grid ground group
grow guard guest guide half hand happy harvest head health heart heavy height hello help hide high history hold holiday
home honey hope host hotel hour house human ice icon idea image import inbox index info input insert inside install
invite island item jacket join journal july jump june keep kettle key kind king kitchen label lake lamp land large last
later layer layout leaf learn leave left legal length lesson letter level library light limit line link lion list load
local lock log login logo long look lower lunch machine magic mail main make manage map march margin mark market master
match maximum meadow media meet member memory menu merge message metal middle minimum minute mirror mobile mode model
money month moon more morning mother motion mountain mouse move movie music mute name native nature near network never
new news next night nine north note notice number object ocean offer office offline old online open option orange order
other outer output owner pack page paint pair panel paper parent park part party pass paste path pause pay pencil
people pepper person phone photo piano pick picture piece pilot pin place plan planet plant plate play plus pocket
point policy polish poll pond popular port post power preset press preview price print private process product profile
project public publish pull pulse push quality queue quick quiet quit quote radio rain random range rank rate read
ready rebuild receipt recent record redo reduce refresh region reject relax reload remove render repeat reply request
resize restore resume return review reward right river rocket rose round row run salad sand scale scene score script
search seat section select series service settle seven shape sheet ship shop show side silent simple site skip slice
small smooth social sound south spark spell sport square staff stamp start station stay step stop store story street
studio submit sugar summary sun surface symbol system tag target team text ticket tiger title toggle top total tower
toy trade train trash tree trip trust twelve undo unit upload urgent valley vector version view violin voice vote walk
warm water wealth web weight wheel wide wild winter wish word world write year yes zebra zone
"""
_HELDOUT = """
release remind rename repair replace report reset resolve result retry reverse revoke rice ring road room rotate route
rule sail sample save scan school screen scroll season second secure send server session setup shadow share shelf shirt
short shuffle sign silver single size sleep slide smart snow sort source space speed split spring stack stage star
state status steel stone storage storm stream string style subtle suggest summer support switch sync table talk task
test theme tide time today tool topic touch town track trail transit travel trial truck turn type union unlock upper
user value verify video village visit volume wagon wall watch wave weather week west white width window wire wood work
wrap yard yellow young zero zoom
"""


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.capitalize() for word in text.split() if 3 <= len(word) <= 7)


WORDS: dict[Split, tuple[str, ...]] = {"train": _words(_TRAIN), "heldout": _words(_HELDOUT)}
"""Common words of 3 to 7 letters, capitalised."""

COLORS: dict[str, Color] = {
    "red": (205, 40, 40),
    "orange": (235, 130, 25),
    "yellow": (240, 210, 40),
    "green": (45, 155, 65),
    "cyan": (40, 190, 200),
    "blue": (40, 85, 205),
    "purple": (130, 55, 175),
    "pink": (240, 130, 180),
    "brown": (125, 80, 45),
    "gray": (130, 130, 135),
    "black": (28, 28, 30),
    "white": (245, 245, 245),
}
"""Named colours; the names are shared by both splits, the shades are not."""

_SINGLE, _DOUBLE = "bcdfghjklmnprstvwxyz", "blbrchcldrflgrplprqushskslstthtr"
_HEADS = (*_SINGLE, *(_DOUBLE[i : i + 2] for i in range(0, len(_DOUBLE), 2)))
_CORES = (*"aeiou", *"aeiou", "ai", "ea", "ee", "oo", "ou")
_TAILS = ("", "", "", *"nrstlmdkpx", "ng", "sh", "ck")


def invented(rng: np.random.Generator, split: Split, low: int = 3, high: int = 7) -> str:
    """A pronounceable string of ``low`` to ``high`` lower-case letters that is in neither pool of words.

    A string belongs to one split only: a checksum of its letters gives every fifth to the held-out ones.
    """
    while True:
        size = int(rng.integers(low, high + 1))
        text = ""
        while len(text) < size:
            picks = rng.integers(0, 1 << 16, 3).tolist()
            text += _HEADS[picks[0] % len(_HEADS)] + _CORES[picks[1] % len(_CORES)] + _TAILS[picks[2] % len(_TAILS)]
        text = text[:size]
        if belongs(text, split):
            return text


def belongs(text: str, split: Split) -> bool:
    """Whether a lower-case string that is no word of a pool may stand on the screens of ``split``."""
    mine = (zlib.crc32(text.encode()) % 5 == 0) == (split == "heldout")
    return mine and text.capitalize() not in known()


@lru_cache(maxsize=1)
def known() -> frozenset[str]:
    """Every word of both pools."""
    return frozenset(WORDS["train"]) | frozenset(WORDS["heldout"])


def label(rng: np.random.Generator, split: Split, high: int = 7) -> str:
    """A capitalised label of 3 to ``high`` letters: a word of the split's pool or, half of the time, invented."""
    if rng.random() < 0.5:
        return invented(rng, split, 3, high).capitalize()
    pool = WORDS[split]
    while True:
        word = pool[int(rng.integers(len(pool)))]
        if len(word) <= high:
            return word


def labels(rng: np.random.Generator, split: Split, count: int, high: int = 7) -> list[str]:
    """``count`` different labels."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[label(rng, split, high)] = None
    return list(found)


def alike(rng: np.random.Generator, split: Split, count: int) -> list[str]:
    """``count`` different labels, each within two edits of the first: who picks one must have read every letter."""
    found = {label(rng, split): None}
    first = next(iter(found)).lower()
    while len(found) < count:
        text = edited(rng, first)
        if 3 <= len(text) <= 7 and belongs(text, split):
            found[text.capitalize()] = None
    return list(found)


def edited(rng: np.random.Generator, text: str) -> str:
    """``text`` with one or two letters changed, put in or left out."""
    for _ in range(int(rng.integers(1, 3))):
        at, letter = int(rng.integers(len(text))), "abcdefghijklmnoprstuvwz"[int(rng.integers(23))]
        text = text[:at] + ("" if rng.random() < 0.2 else letter) + text[at + int(rng.random() < 0.8) :]
    return text


def is_word(label: str) -> bool:
    """Whether another label can be made of this one."""
    return label.isascii() and label.isalpha() and len(label) > 2


def look_alike(rng: np.random.Generator, split: Split, shown: Sequence[str]) -> str:
    """A label that is easily taken for one of the words ``shown``: within two edits, or of the same first letter.

    A base that was asked for the absence of any label clicked on one of the same first letter instead of scrolling.
    """
    word = pick(rng, tuple(shown)).lower()
    near = edited(rng, word) if rng.random() < 0.5 else word[0] + label(rng, split)[1:]
    return near.capitalize() if is_word(near) and belongs(near, split) else label(rng, split)


def most_alike(text: str, texts: Sequence[str]) -> int:
    """Which of ``texts`` is ``text``, or would be taken for it first: of those that begin like it, the most similar."""

    def likeness(i: int) -> tuple[bool, int, float]:
        pair = (text.lower(), texts[i].lower())
        same = len(list(takewhile(lambda letters: letters[0] == letters[1], zip(*pair, strict=False))))
        return text == texts[i], same, SequenceMatcher(None, *pair, autojunk=False).ratio()

    return max(range(len(texts)), key=likeness)


def secret(rng: np.random.Generator, low: int = 4, high: int = 6) -> str:
    """A password: letters and digits mixed."""
    signs = "abcdefghijkmnopqrstuvwxyz23456789"
    return "".join(signs[i] for i in rng.integers(0, len(signs), int(rng.integers(low, high + 1))))


def color(rng: np.random.Generator, split: Split, names: tuple[str, ...] = tuple(COLORS)) -> tuple[str, Color]:
    """A colour's name and a shade of it; held-out shades lie on the other side of the named one."""
    name = names[int(rng.integers(len(names)))]
    base = np.array(COLORS[name], np.float64)
    share = float(rng.uniform(0.0, 0.16))
    toward = 255.0 if split == "train" else 0.0
    if name in ("black", "white"):
        share *= 0.4
    red, green, blue = (base + (toward - base) * share).round().astype(int).tolist()
    return name, (red, green, blue)


def pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    """One of several."""
    return options[int(rng.integers(len(options)))]


def shades(rng: np.random.Generator, split: Split, count: int) -> list[tuple[str, Color]]:
    """``count`` colours of different names, with a shade of each."""
    names = [list(COLORS)[i] for i in rng.permutation(len(COLORS))[:count]]
    return [color(rng, split, (name,)) for name in names]
