"""Action codecs: text into native actions and back. A new one is one file and one line in ``CODECS``."""

from __future__ import annotations

from episode import nearest
from policy.codecs.base import Codec, CodecError, Reply, describe, still
from policy.codecs.compact import Compact
from policy.codecs.qwen import Qwen

CODECS: dict[str, Codec] = {codec.name: codec for codec in (Compact(), Qwen())}

__all__ = ["CODECS", "Codec", "CodecError", "Reply", "codec_named", "describe", "still"]


def codec_named(name: str) -> Codec:
    """The codec of that name; :class:`CodecError` with the nearest ones where there is none."""
    if name not in CODECS:
        raise CodecError(f"no codec is called {name!r}; {nearest(name, CODECS)}")
    return CODECS[name]
