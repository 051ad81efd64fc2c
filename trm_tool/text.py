"""Catalogue and user text is made safe for a prompt (`neutralise`) and for a text encoder (`plain`)."""

import re
import unicodedata

# Brackets that open protocol tags and control tokens, with the wide forms that some tokenizers fold into them.
_LOOKALIKES = str.maketrans(
    {
        **dict.fromkeys("<＜﹤", "‹"),
        **dict.fromkeys(">＞﹥", "›"),
        **dict.fromkeys("[［", "("),
        **dict.fromkeys("]］", ")"),
        **dict.fromkeys("|｜￨", "/"),
    }
)
# Control, format (bidi, zero width, tags), surrogate, private use and unassigned characters.
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
# Between two pictures, a skin tone or a selector of colour aside, the zero-width joiner makes one emoji: 👩‍🚀. Such a
# selector stays only there. Anywhere else either can hide something.
_PICTURE = "[\u2194-\u2199\u2600-\u27bf\u2b05-\u2b55\U0001f000-\U0001faff]"
_JOINED = re.compile(f"{_PICTURE}\ufe0f?(?:\u200d{_PICTURE}\ufe0f?)+")
_LOOSE_ENDS = " \u200d\ufe0f"  # what a cut leaves of such an emoji
# Variation selectors can carry hidden bytes.
_SELECTOR = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")

# Before the host of a web address anything may be a key; the user of a database may be seen, its password may not.
_SECRETS = (
    (re.compile(r"(https?://)[^\s/?#]*@", re.IGNORECASE), r"\1***@"),
    (re.compile(r"\b((?!https?:)[a-z][a-z0-9+.-]*://[^\s:/@?#]*:)[^\s?]*@", re.IGNORECASE), r"\1***@"),
    (
        re.compile(r"([?&][\w.-]*(?:password|passwd|secret|token|key|credential)[\w.-]*=)[^&\s#'\"]+", re.IGNORECASE),
        r"\1***",
    ),
)
_SECRET_NAME = re.compile(
    r"passw|secret|credential|authoriz|cookie|token(?!s)|api_?-?key|(?:^|[^a-z])(?:key|auth)$", re.IGNORECASE
)


def word_set(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


def hide_passwords(text: str) -> str:
    """Replace passwords and keys in the addresses that stand in a text by `***`; all else stays as it is."""
    if "://" in text:
        for pattern, masked in _SECRETS:
            text = pattern.sub(masked, text)
    return text


def is_secret_name(name: str) -> bool:
    """Whether a name says that its value is a password, a key or another secret, such as `x-api-key`."""
    return _SECRET_NAME.search(name) is not None


def plain(text: str, max_chars: int) -> str:
    """Text on one line without invisible characters or lone surrogates, cut at `max_chars`.

    Every run of white space becomes one space. At most four times `max_chars` characters of the input are read, so that
    an enormous text costs no more than a long one.
    """
    kept = text[: 4 * max_chars]
    if not kept.isprintable() or _SELECTOR.search(kept):  # otherwise there is nothing to drop, and every space is plain
        parts, end = list[str](), 0
        for emoji in _JOINED.finditer(kept):
            is_clean = not any(_is_invisible(char) for char in re.sub("[\u200d\ufe0f]", "", emoji[0]))
            parts += [_visible(kept[end : emoji.start()]), emoji[0] if is_clean else _visible(emoji[0])]
            end = emoji.end()
        kept = "".join([*parts, _visible(kept[end:])])
    return " ".join(kept.split())[:max_chars].rstrip(_LOOSE_ENDS)


def whole_characters(text: str) -> str:
    """A text with a question mark in the place of each half of a character (a lone surrogate), which no store takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def has_words(text: str) -> bool:
    """Whether a letter of any script or a digit stands in a text, which a row of emoji has not."""
    return any(char.isalnum() for char in text)


def readable_words(text: str | None, max_chars: int) -> str:
    """What a person wrote, as `plain` gives it; empty where it has no words."""
    shown = plain(text or "", max_chars)
    return shown if has_words(shown) else ""


def neutralise(text: str, max_chars: int) -> str:
    """Catalogue text as it may enter a prompt: one short line that cannot open a protocol tag or a control token.

    Args:
        text: any text, of any length.
        max_chars: most characters of the result, the "…" of a cut included; 1 or more.
    Returns:
        `text` without control, bidi, zero-width and lone surrogate characters, white space collapsed, with `<`, `>`,
        `[`, `]` and `|` replaced by `‹`, `›`, `(`, `)` and `/`. Neutralising twice changes nothing more.
    """
    shown = plain(text, max_chars + 1).translate(_LOOKALIKES)
    was_cut = len(shown) > max_chars or len(text) > 4 * (max_chars + 1)
    return shown[: max_chars - 1].rstrip(_LOOSE_ENDS) + "…" if was_cut else shown


def _visible(text: str) -> str:
    return "".join(" " if char.isspace() else char for char in text if char.isspace() or not _is_invisible(char))


def _is_invisible(char: str) -> bool:
    if char.isascii():
        return not char.isprintable()
    return unicodedata.category(char) in _DROPPED or _SELECTOR.match(char) is not None
