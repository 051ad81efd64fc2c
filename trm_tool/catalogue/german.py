"""German words of refusals, limits, bounds and numbers: a table of what the readers of English read in their places.

"Ohne Horror, nicht über 50 Euro" is read as "without Horror, not over 50 Euro". Content words stay as they are: the
text encoder maps them.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deeprec.trm_tool.catalogue.german_negations import (
    TITLE,
    VALUE,
    Edit,
    items_meant,
    needless,
    negated_bounds,
    refused_behind,
)
from deeprec.trm_tool.text import word_set

_NUMBER = (
    r"(?= (?:etwa |rund |ca\.? )?"
    r"(?:[\d€$]|zehn|zwanzig|drei(?:ß|ss)ig|vierzig|fünfzig|sechzig|siebzig|achtzig|neunzig|hundert))"
)
_YEAR = r"(?= (?:dem Jahre? )?(?:1[89]|20)\d\d)"
_WORDS: dict[str, str] = {
    # Refusals and limits
    r"keine (?:Ahnung|Frage)": "no doubt",
    r"keine Sorge": "no worries",
    r"nichts (?:anderes )?als": "nothing but",
    r"auf (?:gar )?keinen Fall|keinesfalls": "not",
    r"kein(?:e[mnrs]?)?": "no",
    r"weder": "neither",
    r"nichts": "nothing",
    r"nicht nur": "not only",
    r"nicht schlecht": "not bad",
    r"ohne": "without",
    r"(?:an)?statt(?: von)?": "instead of",
    r"nie(?:mals)?": "never",
    r"au(?:ß|ss)er": "except",
    r"hasse": "hate",
    r"nur|blo(?:ß|ss)|ausschlie(?:ß|ss)lich": "only",
    # Bounds
    r"nicht (?:mehr|teurer|länger|höher) als": "not more than",
    r"nicht (?:weniger|billiger|günstiger|kürzer) als": "not less than",
    rf"über{_NUMBER}|ueber{_NUMBER}": "over",
    rf"unter{_NUMBER}": "under",
    r"höchstens|hoechstens|maximal": "at most",
    r"mindestens|wenigstens": "at least",
    r"spätestens": "up to",
    r"frühestens": "from",
    r"(?<=\d )bis(?= \d)|(?<=\d Euro )bis(?= \d)": "to",
    rf"bis(?: zu)?{_NUMBER}|bis(?: zu)?{_YEAR}": "up to",
    rf"von(?= vor)|von{_NUMBER}|ab{_NUMBER}|ab{_YEAR}": "from",
    r"weniger als": "less than",
    r"mehr als": "more than",
    r"teurer als": "dearer than",
    r"(?:billiger|günstiger) als": "cheaper than",
    r"älter als": "older than",
    r"(?:neuer|jünger) als": "newer than",
    r"kürzer als": "shorter than",
    r"länger als": "longer than",
    r"leichter als": "lighter than",
    r"schwerer als": "heavier than",
    rf"vor{_YEAR}": "before",
    rf"nach{_YEAR}": "after",
    rf"seit{_YEAR}": "since",
    r"oder (?:weniger|darunter|billiger|günstiger)": "or less",
    r"oder (?:mehr|darüber|teurer)": "or more",
    r"oder (?:früher|älter)": "or earlier",
    r"(?:oder|und) (?:später|neuer)": "or later",
    r"aufwärts": "upwards",
    r"zwischen": "between",
    r"billiger|günstiger|preiswerter": "cheaper",
    r"teurer": "more expensive",
    r"(?:nicht )?zu teuer": "too expensive",
    r"neuer(?:e[ns]?)?": "newer",
    r"ältere?[ns]?": "older",
    # Numbers, units and names of attributes
    r"aus(?= de[nmr] (?:\d0|(?:Zwanz|Drei(?:ß|ss)|Vierz|Fünfz|Sechz|Siebz|Achtz|Neunz)ig))": "from",
    r"Zwanziger(?:n|jahren?| Jahren?)?": "twenties",
    r"Drei(?:ß|ss)iger(?:n|jahren?| Jahren?)?": "thirties",
    r"Vierziger(?:n|jahren?| Jahren?)?": "forties",
    r"Fünfziger(?:n|jahren?| Jahren?)?": "fifties",
    r"Sechziger(?:n|jahren?| Jahren?)?": "sixties",
    r"Siebziger(?:n|jahren?| Jahren?)?": "seventies",
    r"Achtziger(?:n|jahren?| Jahren?)?": "eighties",
    r"Neunziger(?:n|jahren?| Jahren?)?": "nineties",
    r"zehn": "ten",
    r"zwanzig": "twenty",
    r"drei(?:ß|ss)ig": "thirty",
    r"vierzig": "forty",
    r"fünfzig": "fifty",
    r"sechzig": "sixty",
    r"siebzig": "seventy",
    r"achtzig": "eighty",
    r"neunzig": "ninety",
    r"hundert": "100",
    r"tausend": "1000",
    r"Minuten": "minutes",
    r"Stunden?": "hours",
    r"Gramm": "grams",
    r"Kilo": "kg",
    r"Jahre alt": "years old",
    r"Jahre?n?": "years",
    r"Preis": "price",
    r"kosten|kostet": "cost",
    # Items that were shown, the cart, and questions
    r"(?:de[rmns]|die|das) erste[mnrs]?": "the first",
    r"(?:de[rmns]|die|das) zweite[mnrs]?": "the second",
    r"(?:de[rmns]|die|das) dritte[mnrs]?": "the third",
    r"(?:de[rmns]|die|das) vierte[mnrs]?": "the fourth",
    r"(?:de[rmns]|die|das) fünfte[mnrs]?": "the fifth",
    r"(?:de[rmns]|die|das) letzte[mnrs]?": "the last",
    r"in (?:den|meinen) (?:Warenkorb|Einkaufswagen)": "in my cart",
    r"aus (?:dem|meinem) (?:Warenkorb|Einkaufswagen)": "from my cart",
    r"im (?:Warenkorb|Einkaufswagen)|in meinem (?:Warenkorb|Einkaufswagen)": "in my cart",
    r"lege?|packe?|tue?": "put",
    r"nimm|nehmen Sie": "take",
    r"entferne|lösche": "remove",
    r"ich nehme": "i'll take",
    r"gefällt mir nicht": "is not for me",
    r"gefällt mir": "is nice",
    r"was kostet": "how much is",
    r"was ist|was liegt|was habe ich": "what is",
    r"zeige? mir|zeigen Sie mir": "show me",
    r"mehr davon|mehr": "more",
    # Who speaks, of whom, and under which condition
    r"ich|mir|mich": "i",
    r"wir|uns": "we",
    r"mein(?:e[mnrs]?)?": "my",
    r"(?<=meine )Frau|(?<=meiner )Frau": "wife",
    r"(?<=mein )Mann|(?<=meinem )Mann|(?<=meinen )Mann": "husband",
    r"Kind(?:er)?n?": "kids",
    r"Tochter": "daughter",
    r"Sohn": "son",
    r"Schwester": "sister",
    r"Bruder": "brother",
    r"Mutter": "mother",
    r"Vater": "father",
    r"Eltern": "parents",
    r"Freund(?:in|e)?n?": "friend",
    r"er": "he",
    r"sie": "she",
    r"niemand": "nobody",
    r"wenn|falls": "if",
    r"ob": "whether",
    r"warum|wieso|weshalb": "why",
    r"weil|denn": "because",
    r"bin": "am",
    r"ist|war": "is",
    r"sind": "are",
    r"sein": "be",
    r"habe|hab": "have",
    r"gesehen": "seen",
    r"muss": "must",
    r"soll(?:te|en)?": "should",
    r"darf": "may",
    r"möchten?|will|wollen|brauchen?|suchen?|hätten? gerne?": "want",
    # Other words of grammar
    r"nicht": "not",
    r"und": "and",
    r"oder": "or",
    r"aber|sondern": "but",
    r"de[rmns]|die|das": "the",
    r"ein(?:e[mnrs]?)?": "a",
    r"(?:irgend)?etwas|(?:irgend)?was": "something",
    r"es": "it",
    r"mit": "with",
    r"für": "for",
    r"von": "by",
    r"aus": "of",
    r"im|in": "in",
    r"zu[mr]?": "to",
    r"sehr": "very",
    r"auch": "also",
    r"bitte": "please",
    r"danke": "thanks",
    r"hallo": "hello",
    r"heute Abend": "tonight",
    r"heute": "today",
    r"Film(?:en?|s)?": "films",
    r"Sachen|Zeug": "stuff",
    r"Dingen?": "things",
}
_INSIDE: dict[str, str] = {  # parts of words and numbers
    r"(?<=\d0)er(?:n| Jahren?)?(?!\w)": "s",
    r"(?<=\d)\.(?=\d{3}(?!\d))": ",",  # 1.500 is a thousand and a half
    r"(?<=[a-zäöüß]{3})filme?[ns]?(?!\w)": " films",
}
_ENGLISH = [*_WORDS.values(), *_INSIDE.values()]
_ANY = re.compile(
    "(?<!\\w)(?:"
    + "|".join(f"(?P<w{at}>{words})" for at, words in enumerate(_WORDS))
    + ")(?!\\w)|"
    + "|".join(f"(?P<w{at}>{part})" for at, part in enumerate(_INSIDE, len(_WORDS))),
    re.IGNORECASE,
)


_GERMAN_MARKS = word_set(
    "ich wir mir mich uns und nicht nichts kein keine keinen keinem keiner keines ohne oder für mit ein eine einen "
    "einem einer der das den dem aber bitte danke suche brauche möchte mag hätte gern gerne über unter höchstens "
    "mindestens etwas auch aus sein nur zu im ist sind nie wie zwischen heute lieber besser etwa wäre soll "
    "weder alles außer ausschließlich spätestens frühestens maximal keinesfalls nein geht gar kann irgendein "
    "irgendeine mehr warum hallo nehme nimm gefällt warenkorb einkaufswagen zeig zeige kostet meinen meinem "
    "statt anstatt"
)
_ENGLISH_MARKS = word_set(
    "i we my me and not nothing no without or for with a an the but please thanks want need like some something over "
    "under most least also from of to is are be never how only today that it you do don't isn't which than"
)
_BOUND = re.compile(r"(?<!\w)(?:ab|bis)(?= [\d€])", re.IGNORECASE)
_NOR = re.compile(r"(?<!\w)noch(?!\w)", re.IGNORECASE)
"""What goes on behind "weder"; elsewhere it means "still"."""
_TOKEN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


_ARTICLES = word_set("der das den dem einer")
_ARTICLE_IN_USE = re.compile(r"(?<!\w)(?:[Dd](?:er|as|en|em)|[Ee]iner) (?=[a-zäöüß])")


def is_german(text: str, least: int = 1) -> bool:
    """Whether a text has more German than English words of grammar, and at least `least` of them.

    Words that both languages have ("war", "die", "man", "was", "also") count for neither, and articles that only
    stand before names ("Das Boot"), for nothing.
    """
    words = [word.lower() for word in _TOKEN.findall(text)]
    marks = [word for word in words if word in _GERMAN_MARKS]
    german = len(marks) + len(_BOUND.findall(text))
    if _ARTICLES.issuperset(marks) and german == len(marks) and _ARTICLE_IN_USE.search(text) is None:
        return False
    return german >= least and german > sum(word in _ENGLISH_MARKS for word in words)


@dataclass(frozen=True, slots=True)
class EnglishReading:
    """A text with English words of grammar in the places of German ones, and what was written there."""

    original: str
    text: str
    places: Sequence[int]
    """Where each place in `text`, and its end, stands in `original`."""

    def written(self, start: int, end: int) -> str:
        """What was written where `text` has the places from `start` to before `end`; a part of a word as the word."""
        first, last = self.places[start], self.places[end]
        if self.text is self.original or first == last:
            return self.original[first:last]
        while first and self.original[first - 1 : first + 1].isalnum():
            first -= 1
        while self.original[last - 1 : last + 1].isalnum() and last < len(self.original):
            last += 1
        return self.original[first:last]


def read_in_english(
    text: str, values: Iterable[tuple[int, int]] = (), titles: Iterable[tuple[int, int]] = ()
) -> EnglishReading:
    """Put English words of grammar in the places of the German ones; a text in another language stays as it is.

    Args:
        text: What was written.
        values: Where values of the catalogue stand in it, in characters. They stay as they are.
        titles: Where titles stand that the conversation knows. They stay too, and no word of theirs is German.
    """
    reading = EnglishReading(text, text, range(len(text) + 1))
    held = _marked(text, [place for place in titles if _is_name(text, *place)], TITLE)
    if not is_german(held):
        return reading
    held = _marked(held, [place for place in values if _is_name(text, *place)], VALUE)
    reading = EnglishReading(text, held, reading.places)
    for find in (items_meant, negated_bounds, needless, refused_behind):
        reading = _edited(find(reading.text), reading)
    if "weder" in text.lower():
        reading = _edited(((*found.span(), "nor") for found in _NOR.finditer(reading.text)), reading)
    edits = ((*found.span(), _ENGLISH[int((found.lastgroup or "w0")[1:])]) for found in _ANY.finditer(reading.text))
    reading = _edited(edits, reading)
    read = "".join(
        text[place] if letter in (VALUE, TITLE) else letter
        for letter, place in zip(reading.text, reading.places, strict=False)
    )
    return EnglishReading(text, read, reading.places)


def _marked(text: str, places: Iterable[tuple[int, int]], mark: str) -> str:
    for start, end in places:
        if not {VALUE, TITLE}.intersection(text[start:end]):
            text = f"{text[:start]}{mark * (end - start)}{text[end:]}"
    return text


def _is_name(text: str, start: int, end: int) -> bool:
    """Whether words are a value or a title where they stand: one that is German too, such as "War", is written so."""
    words = text[start:end]
    if any(letter.isdigit() for letter in words) and not any(letter.isalpha() for letter in words):
        return False
    if _ANY.fullmatch(words) is None:
        return True
    begins = not text[:start].strip() or text[:start].rstrip()[-1] in ".!?"
    is_listed = re.match(r"\s*(?:$|[.,;!?]|(?:und|oder)\b)", text[end:]) is not None
    behind = re.search(r"(?:^|\W)(?:ohne|kein\w*|nur|nicht|außer|weder|noch)\s+$", text[:start], re.I) is not None
    return (words[0].isupper() and (not begins or is_listed)) or behind


def _edited(edits: Iterable[Edit], reading: EnglishReading) -> EnglishReading:
    parts, places, end = list[str](), list[int](), 0
    for start, stop, word in sorted(edits, key=lambda edit: edit[:2]):
        if start < end:
            continue
        parts += [reading.text[end:start], word]
        places += [*reading.places[end:start], *([reading.places[start]] * len(word))]
        end = stop
    return EnglishReading(reading.original, "".join([*parts, reading.text[end:]]), (*places, *reading.places[end:]))
