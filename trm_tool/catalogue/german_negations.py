"""German negations that stand apart from what they negate: "Horror mag ich nicht", "über 50 Euro ist mir zu teuer".

Each reader finds edits that put the negation where English has it. A form that is not known for certain is taken out of
the reading or left undecided, so that nothing is read as its opposite.
"""

import re
from collections.abc import Iterator

Edit = tuple[int, int, str]
"""The words from one position to before another are replaced by a text."""

VALUE, TITLE = "\ua000", "\ua001"
"""Letters that stand, once for each character, in the place of a value of the catalogue and of a title."""

_PART = r"[^.,;:!?\n]"
_END = r"(?=\s*(?:[.,;:!?\n]|$|(?:aber|sondern|weil|denn|und ich|bitte)\b))"
_START = r"(?:(?<=[.,;:!?\n])|^)\s*"
_ADVERBS = (
    r"(?: (?:leider|eigentlich|wirklich|dafür|aber|auch|mir|uns|dann|halt|einfach|echt|heute|jetzt|doch|bitte|lieber"
    r"|eher))*"
)
_NOT = r"(?:auf keinen Fall|keinesfalls|(?:gar |überhaupt |absolut )?nichts?|nie(?:mals)?)"
_MODAL = r"(?:mag|mögen|will|wollen|möchten?|brauchen?|kann|können|soll|sollen|darf|dürfen)"
_WHO = r"(?:ich|wir)"
_INFINITIVE = (
    r"(?: (?:sehen|schauen|gucken|haben|ausgeben|zahlen|bezahlen|kosten|ausstehen|leiden|mögen|anfangen|kaufen))?"
)
# Items that were shown
_ORDINAL = (
    r"(?:de[rmns]|die|das) (?:ersten?|zweiten?|dritten?|vierten?|fünften?|letzten?)"
    r"(?: (?:(?-i:[A-ZÄÖÜ])[\w-]+))?"
)
REFERENCE = rf"(?:{_ORDINAL}|{TITLE}+)(?:(?:,| und| oder) (?:{_ORDINAL}|{TITLE}+))*"
_REFERS = re.compile(rf"{_ORDINAL}|{TITLE}", re.IGNORECASE)
_NO_NAMES = (
    r"(?!(?:ich|du|er|sie|es|wir|ihr|das|dies\w*|die|der|den|dem|beide\w*|alle[sn]?|warum|wieso|ist|sind|mag|will|kann"
    r"|ja|nein|danke|bitte|gut|okay|nur|auch|und|oder|aber|lieber|eher|euro|dollar|jahren?|minuten|stunden?|gar|weiß"
    r"|alternativ|bestimmt|natürlich|vielleicht)\b)"
)
_NAME = rf"(?:{VALUE}+|{_NO_NAMES}(?-i:[A-ZÄÖÜ])[\w-]{{1,40}})"
_NAMES = rf"(?<!\w){_NAME}(?:(?:,| und| oder| noch)? {_NAME}){{0,3}}"
# Money, years and sizes
_FIGURE = (
    r"(?:[€$] ?)?(?:\d[\d.,]*\d|\d|zehn|zwanzig|drei(?:ß|ss)ig|vierzig|fünfzig|sechzig|siebzig|achtzig|neunzig|hundert)"
    r"(?: ?(?:€|\$|Euro|Dollar|Jahren?|Minuten|Stunden?|Gramm|Kilo|kg|min)(?!\w))?"
)
_AT_LEAST = (
    r"(?:über|ueber|(?:mehr|teurer|höher|länger|schwerer|neuer|jünger|größer) als|nach|seit|ab|mindestens|wenigstens)"
)
_AT_MOST = (
    r"(?:unter|(?:weniger|billiger|günstiger|kürzer|leichter|älter|kleiner) als|vor|bis(?: zu)?|höchstens|maximal"
    r"|spätestens)"
)
_MORE = r" (?:oder|und) (?:mehr|darüber|teurer|länger|später|neuer|schwerer)"
_LESS = r" (?:oder|und) (?:weniger|darunter|billiger|günstiger|früher|älter|kürzer|leichter)"
_BOUND = re.compile(
    rf"(?<!\w)(?:(?P<least>{_AT_LEAST})|(?P<most>{_AT_MOST})|(?P<range>zwischen {_FIGURE} und))"
    rf"(?: etwa| rund| ca\.?)? {_FIGURE}(?:{_MORE}|{_LESS})?(?!\w)"
    rf"|(?<!\w)(?<!\d[.,]){_FIGURE}(?:(?P<more>{_MORE})|{_LESS})(?!\w)",
    re.IGNORECASE,
)
_BEHIND = re.compile(
    rf"(?:(?! (?:und|oder|aber|sondern) (?:nicht|kein\w*|ohne|bitte)\b){_PART})*"
    rf"(?:, ?(?:das|dies|so ?viel)\b{_PART}*|\?? ?,? ?nein\b{_PART}*)?",
    re.IGNORECASE,
)
_NEGATES = re.compile(
    r"(?<!\w)(?:nichts?|kein(?:e[mnrs]?)?|nie(?:mals)?|keinesfalls|nein|kaum|ungern|ohne|niemand|weder|hasse"
    r"|zu(?: ?viel| \w+))(?!\w)",
    re.IGNORECASE,
)
_TOO = re.compile(r" ?(?:(?:ist|wäre|sind|finde ich|find ich)[\w ]{0,30} )?zu ?(?:\w+)", re.IGNORECASE)
_REFUSES_BOUND = re.compile(
    r"(?: (?:möchten?|will|wollen|mag|mögen|kann|können|soll(?:te|ten|en)?|darf|dürfen|dürfte|gebe|geben|zahle|zahlen"
    r"|bezahle|geht|kommt|ist|wäre|ich|wir|es|er|sie|das|man|dafür|leider|aber|bitte|eigentlich|wirklich|auch|dann|mir"
    r"|uns|für|mich|halt|einfach|echt|gar|überhaupt))* (?:nicht|auf keinen Fall|keinesfalls|nie)"
    r"(?: (?:ausgeben|zahlen|bezahlen|kosten|sein|aus|haben|kaufen|hinlegen|in Frage|infrage))?\s*$"
    r"|(?: ?\?)?,? nein(?: danke| bitte)?\s*$",
    re.IGNORECASE,
)
_IS_TOO = (
    r"(?:,? das)? (?:ist|sind|wäre|wären|finde ich|find ich)(?: (?:mir|uns|für mich|für uns|dann|doch|leider|schon"
    r"|eindeutig|einfach|etwas|wirklich|viel|deutlich|auch))* zu ?"
)
_TOO_MUCH = re.compile(rf"{_IS_TOO}(?:viel|teuer|lang|schwer|hoch|neu|groß)\s*$", re.IGNORECASE)
_TOO_LITTLE = re.compile(rf"{_IS_TOO}(?:alt|wenig|billig|kurz|klein|leicht)\s*$", re.IGNORECASE)
_BARE_BEFORE = re.compile(
    r"\s*(?:(?:aber|und|für|etwas|alles|bitte|also|denn|ich|wir|will|möchten?|wollen|kann|mag) ?)*", re.IGNORECASE
)
_RELATIVE = re.compile(
    r"\s*(?:(?:in|mit|für|von|bei|aus) )?(?:die|der|das|den|dem|deren|dessen|welche[mnrs]?|was|dass|wenn|falls|weil)\b"
    rf"{_PART}*\b(?:kost\w+|ist|sind|war(?:en)?|hat|haben|lieg\w+|erschien\w*|geh\w+|dauer\w*|wieg\w+|komm\w*|kam\w*"
    r"|läuft|laufen|würden?|soll\w*|darf|dürfen|wurden?)\s*$",
    re.IGNORECASE,
)
_NONE_THAT = re.compile(
    r"(?<!\w)(?:kein(?:e[mnrs]?)?(?: [\w-]{1,40}?){0,2}(?P<films>(?<=\w{3})filme?[ns]?)?|nichts)"
    r"(?P<comma>, ?(?:die|der|das|was|welche[mnrs]?))"
    rf"(?= {re.sub('[?]P<[a-z]+>', '?:', _BOUND.pattern)})",
    re.IGNORECASE,
)


def negated_bounds(text: str) -> Iterator[Edit]:
    """Find bounds that words elsewhere in their sentence negate: known forms are turned, others are undecided."""
    for found in _NONE_THAT.finditer(text):
        yield *found.span("comma"), ""
        if found["films"]:  # the value stands beside the bound, so that it is not refused alone
            yield *found.span("films"), ""
    joined = {found.end("comma") for found in _NONE_THAT.finditer(text)}
    last = 0
    for found in _BOUND.finditer(text):
        start, end = found.span()
        if start < last or any(0 <= start - place <= 1 for place in joined):
            continue
        begin = max(text.rfind(mark, 0, start) for mark in ".,;:!?\n") + 1
        behind = _BEHIND.match(text, end)
        tail = behind[0] if behind else ""
        is_bare = _BARE_BEFORE.fullmatch(text[begin:start]) is not None
        word = (found["least"] or "").lower()
        is_least = bool(found["more"]) or (bool(word) and word not in ("mindestens", "wenigstens"))
        is_most = not found["least"] and not found["more"] and not found["range"]
        if is_bare and (
            (is_least and (_REFUSES_BOUND.fullmatch(tail) or _TOO_MUCH.fullmatch(tail)))
            or (is_most and _TOO_LITTLE.fullmatch(tail))
        ):
            yield start, start, "not "
            yield end, end + len(tail), ""
        elif _NEGATES.search(tail) or (
            _RELATIVE.fullmatch(text[begin : end + len(tail)]) and _NEGATES.search(_around(text, begin, end))
        ):
            yield start, start, "needn't "
            less = re.search(rf"{_MORE}|{_LESS}", found[0], re.IGNORECASE)
            if less is not None:  # what stands before the number keeps it undecided
                yield start, start, "at most "
                yield start + less.start(), end, ""
            too = _TOO.match(tail)
            if too is not None:
                yield end, end + too.end(), ""
        last = end


def _around(text: str, begin: int, end: int) -> str:
    """The clauses of the sentence before and behind a clause."""
    first = max(text.rfind(mark, 0, begin) for mark in ".;:!?\n") + 1
    stop = re.compile(r"[.;:!?\n]|$").search(text, end)
    return f"{text[first:begin]} {text[end : stop.start() if stop else end]}"


_MUST = r"(?:muss|müssen|müsste[nst]?|musst|müsst|brauch(?:t|en|e)?(?=[\w ]{0,60} zu \w+))"
_NEED_NOT = re.compile(
    rf"(?<!\w)(?={_PART}{{0,120}}(?<!\w){_MUST}(?!\w))(?={_PART}{{0,160}}(?<!\w)(?:nicht|kein(?:e[mnrs]?)?)(?!\w))"
    rf"{_PART}{{1,200}}",
    re.IGNORECASE,
)
_JOINED = re.compile(
    rf"(?<!\w)(?:und|aber|doch|sondern|denn|oder) (?=(?:(?:es|er|sie|das|die|der|ich) )?{_MUST}(?!\w))", re.IGNORECASE
)
_NOT_BY_NEED = re.compile(
    rf"(?<!\w)(?:nicht|kein(?:e[mnrs]?)?) (?:unbedingt|zwingend|notwendig(?:erweise)?)(?!\w)(?P<behind>{_PART}*)",
    re.IGNORECASE,
)


def needless(text: str) -> Iterator[Edit]:
    """Find clauses that say what need not be, which ask for nothing and refuse nothing: "es muss kein Horror sein"."""
    taken = 0
    for found in _NEED_NOT.finditer(text):
        joined = _JOINED.search(found[0])
        taken = found.end()
        yield found.start() + (joined.start() if joined else 0), taken, ""
    for found in _NOT_BY_NEED.finditer(text, taken):
        has_object = re.search(rf"{VALUE}|\w{{3}}", re.sub(_INFINITIVE, "", found["behind"]))
        begin = max(text.rfind(mark, 0, found.start()) for mark in ".,;:!?\n") + 1
        yield found.start() if has_object else begin, found.end(), ""


_REFUSED_BEHIND = (
    rf"(?: {_MODAL} (?:{_WHO}|es|er){_ADVERBS} {_NOT}(?: mehr)?{_INFINITIVE}"
    rf"|(?: (?:bitte|lieber|eher))+ {_NOT}{_INFINITIVE}|(?: (?:ist|sind|wäre))?{_ADVERBS} nichts für (?:mich|uns)"
    rf"|(?: (?:ist|sind))?{_ADVERBS} nicht (?:so )?(?:(?:mein|unser)e? (?:Ding|Fall|Geschmack|Genre|Stil|Sache)|meins)"
    rf"|(?: (?:gefällt|gefallen) (?:mir|uns)| interessier(?:t|en) (?:mich|uns)){_ADVERBS} {_NOT}(?: mehr)?"
    rf"| geh(?:t|en)(?: (?:für|bei) (?:mich|mir|uns))?{_ADVERBS} {_NOT}"
    rf"| komm(?:t|en)(?: für (?:mich|uns))?{_ADVERBS} nicht (?:in Frage|infrage)"
    rf"| (?:habe?|hätte|haben) {_WHO}{_ADVERBS} (?:gar |überhaupt )?keine Lust"
    r"|(?:\?|[,:]?(?= nein danke))?(?: bitte| lieber)? nein(?: danke| bitte)?| nicht(?: bitte| mehr)?)"
)
_REFUSED = re.compile(
    rf"(?P<only>(?<!\w)(?:nur|bloß|bloss)(?: bitte)? )?(?P<on>(?<!\w)(?:auf|mit) )?"
    rf"(?P<names>{_NAMES})(?P<tail>{_REFUSED_BEHIND}){_END}",
    re.IGNORECASE,
)
_I_REFUSE = re.compile(
    rf"(?<!\w)(?P<who>(?:(?:{_WHO} {_MODAL}|{_MODAL} {_WHO}){_ADVERBS}|(?:es|das) soll|soll|bitte) )(?P<names>{_NAMES})"
    rf"(?P<tail>{_ADVERBS} {_NOT}(?: mehr)?(?: (?:leiden|ausstehen|ab|sehen|schauen|haben|anfangen|sein))?){_END}",
    re.IGNORECASE,
)
_WISHES = re.compile(rf"(?<!\w)(?:{_MODAL}|suchen?|nehme|hätten?)(?!\w)", re.IGNORECASE)
_NO_WISH = re.compile(r"(?<!\w)keine Lust auf(?= )", re.IGNORECASE)
_INSTEAD = re.compile(rf"(?<!\w)(?:an)?statt(?: (?:de[rmns]|eine[mnrs]?))? (?P<names>{_NAMES})(?= \w)", re.IGNORECASE)
_LATE = re.compile(
    rf"(?<![^.,;:!?\n]){_PART}*(?<!\w)(?P<no>(?:nicht|nein|nie)"
    r"(?: (?:mehr|so|sehr|gerne?|sehen|schauen|gucken|haben|leiden|ausstehen|mögen|anfangen|werden|sein|gefallen|ab|an"
    r"|aus|dabei|passen|kaufen|bestellen|wirklich|besonders|unbedingt|heute|mag|will|möchte|danke|bitte))*)"
    r"(?=\s*(?:[.,;:!?\n]|$))",
    re.IGNORECASE,
)
_ONLY = re.compile(r"(?<!\w)(?:nur|bloß|bloss|ausschließlich) ", re.IGNORECASE)


def refused_behind(text: str) -> Iterator[Edit]:
    """Find values that a negation behind them refuses; "nur Horror nicht" limits nothing to them."""
    settled: list[tuple[int, int]] = []
    for found in sorted((*_REFUSED.finditer(text), *_I_REFUSE.finditer(text)), key=lambda each: each.start()):
        if (settled and found.start() < settled[-1][1]) or _REFERS.search(found[0]):
            continue
        settled.append(found.span())
        parts = found.groupdict()
        if parts.get("only") and " und " in found["names"]:  # what is refused alone is not certain
            yield *found.span(), ""
            continue
        start, names = found.start(), found.start("names")
        begin = max(text.rfind(mark, 0, start) for mark in ".,;:!?\n") + 1
        if "who" not in parts and _WISHES.search(text, begin, start) and (joined := found["names"].rfind(" und ")) > 0:
            start = names = names + joined + len(" und ")  # "ich will Drama und Thriller mag ich nicht"
        yield start, names, "not "
        yield *found.span("tail"), ""
    for found in _NO_WISH.finditer(text):
        yield *found.span(), "not"
    for found in _INSTEAD.finditer(text):
        yield found.end(), found.end(), ","
    for found in _LATE.finditer(text):
        if any(start < found.end() and found.start() < end for start, end in settled):
            continue
        for each in re.finditer(rf"{VALUE}+|{_ONLY.pattern}", found[0], re.IGNORECASE):
            yield found.start() + each.start(), found.start() + each.end(), ""
        if VALUE in found[0]:
            yield *found.span("no"), ""


_INTO = r"in (?:den|meinen) (?:Warenkorb|Einkaufswagen)"
_FROM = r"aus (?:dem|meinem) (?:Warenkorb|Einkaufswagen)"
_ASIDE = r"(?:(?:bitte|aber|doch|lieber|mir|dann) ){0,3}"
_VERB = r"(?: (?:legen|packen|tun|geben|nehmen|entfernen|löschen))?(?: bitte)?"
_CART = re.compile(
    rf"{_START}{_ASIDE}(?:(?:lege?|packe?|tue?|gib|füge?|nimm|entferne?|lösche?|nehmen Sie|legen Sie) )?{_ASIDE}"
    rf"(?P<first>(?:auf keinen Fall|nicht|nie) )?{_ASIDE}(?P<items>{REFERENCE}) {_ASIDE}"
    rf"(?P<then>(?:auf keinen Fall|nicht|nie) )?{_ASIDE}(?:{_INTO}|(?P<out>{_FROM})){_VERB}(?=\s*(?:[.,;:!\n]|$))",
    re.IGNORECASE,
)
_LIKES = re.compile(
    rf"(?<!\w)(?:(?:{_WHO} (?:mag|mögen)|mag {_WHO}) (?P<items>{REFERENCE})"
    rf"|(?P<before>{REFERENCE}) (?:mag|mögen) {_WHO}){_ADVERBS}(?P<no> {_NOT})?(?P<more> mehr)?{_END}",
    re.IGNORECASE,
)

_NOT_DONE = re.compile(
    rf"(?<!\w)(?:{_WHO} (?:(?P<takes>nehmen?|kaufen?)|habe?|haben|kennen?) (?P<items>{REFERENCE})"
    rf"|(?P<before>{REFERENCE}) (?:(?P<took>nehmen?|kaufen?)|habe?|haben|kennen?) {_WHO}){_ADVERBS}(?: noch)? {_NOT}"
    rf"(?: (?:mehr|gesehen|gekauft|geschaut|gelesen))?{_END}",
    re.IGNORECASE,
)


def items_meant(text: str) -> Iterator[Edit]:
    """Find what is asked and felt about items that were shown, where German has its verb or negation elsewhere."""
    for found in _CART.finditer(text):
        lead = len(found[0]) - len(found[0].lstrip())
        negation = "don't " if found["first"] or found["then"] else ""
        verb, place = ("remove ", " from my cart") if found["out"] else ("put ", " in my cart")
        yield found.start() + lead, found.start("items"), f"{negation}{verb}"
        yield found.end("items"), found.end(), place
    for found in _NOT_DONE.finditer(text):
        items = "items" if found["items"] else "before"
        if found["takes"] or found["took"]:
            yield found.start(), found.start(items), "don't put "
            yield found.end(items), found.end(), " in my cart"
        else:
            yield *found.span(), ""
    for found in _LIKES.finditer(text):
        items = "items" if found["items"] else "before"
        yield found.start(), found.start(items), "i don't like " if found["no"] else "i like "
        yield found.end(items), found.end(), " any more" if found["no"] and found["more"] else ""
