"""What is left of a message once its constraints are taken out: the text that retrievals get."""

import re

from deeprec.trm_tool.catalogue.said_clauses import refusing_clauses
from deeprec.trm_tool.text import word_set

FUNCTION_WORDS = word_set(
    "a about again ah all already also always am an and another any anyone anything are as at back be because "
    "been before being both but by can could did do does doing don't done down each either else enough even ever "
    "every far few for from had has have having he her here hers him his how i i'd i'll i'm i've if in instead "
    "into is isn't it it's its just know least less let let's like made make many may maybe me might mine more "
    "most much must my need needed needs never next no none nor not nothing now of off oh on once one ones only "
    "or other others ought our out over own quite rather really s same say see shall she should so some someone "
    "something somewhat soon still such t than that that's the their them then there these they this those though "
    "through to too two under until up upon us use used using very was we well were what when where whether which "
    "while who whose why will with within without would yes yet you your"
)
"""Words that carry no wish by themselves."""
PLAIN_WORDS = FUNCTION_WORDS | word_set(
    "advice alternative alternatives anymore asap ask asking awesome bad bargain bargains best better big bit buy "
    "care case cheap cheers choice choices cost day everybody everyone everything exactly expensive favour feel film "
    "films find fine first fun fussed fussy gear get getting gift give go going good got great haha help hm hmm hope "
    "hopefully idea ideally ideas important inspiration interested item items keen kids kind large later limit "
    "little lol long look looking lot love mainly mate matter mean mind minute model models moment mostly movie "
    "movies new nice nope ok okay old option options people perfect person picky please pls plz point possible "
    "possibly preferably preference present presents pretty price prices problem product products question ready "
    "recommendation recommendations second simple small sometime sort sounds strict stuff suggestion suggestions "
    "sure surprise ta tad take thank thanks thing things think thx time today together tomorrow tonight try urgently "
    "variant variants version versions want wants watch way weekend wish work worry wow wrong yeah year yep"
)
"""Words that never name something that the catalogue lacks."""
_REQUEST_WORDS = word_set(
    "actually after find fine get give got hello hey hi look looking love ok okay please prefer recommend right "
    "search searching show sorry suggest sure tell thank thanks thing things try want wanted wants"
)


FAREWELL = re.compile(
    r"(?:^|[.,;:!?]\s*|\b(?:and|so|ok|okay|well|then|great|cool|no|thanks|thank you|perfect|nice) )"
    r"(?P<words>that(?:'s| is| was| will be|'ll be) (?:all|it|enough|everything)(?: (?:for (?:now|today)|from me))?"
    r"|(?:good)?bye(?:[ -]bye)?(?: (?:for now|now|then))?"
    r"|see you(?: (?:later|soon|then|again|around|tomorrow|next time))?)"
    r"(?=\s*(?:$|[.,;:!?]|(?:thanks|thank you|please|and)\b))",
    re.IGNORECASE,
)
"""A clause that ends a conversation: its "that" refers to nothing."""


def content_words(text: str) -> tuple[str, ...]:
    """The words of a text that may name something: "you idiot" has "idiot"."""
    words = re.findall(r"[^\W\d_][\w'-]+", text.lower().replace("’", "'"))
    return tuple(word for word in words if word not in PLAIN_WORDS | _REQUEST_WORDS)


def without_refusals(text: str) -> str:
    """A text without the clauses that refuse something: "a tent, nothing heavy" gives "a tent"."""
    kept = text
    for clause in refusing_clauses(text):
        kept = kept.replace(clause.text, " ", 1)
    return left_over(kept)


def left_over(text: str) -> str:
    """Text without the gaps and marks that cut words leave behind; empty where no word of it carries a wish."""
    text = " ".join(text.split())
    text = re.sub(r"\s+([.,;:!?])", r"\1", text)
    text = re.sub(r"(?:[.,;:!?]\s*){2,}", ", ", text).strip(" ,.;:!?-/&")
    text = re.sub(
        r"(?:\s+\b(?:a|an|the|and|or|but|by|from|in|of|with|not|is|it)\b)+(?=[.,;:!?]|$)", "", text, flags=re.IGNORECASE
    )
    words = re.findall(r"[\w'-]+", text.lower().replace("’", "'"))
    carries = any(word not in FUNCTION_WORDS and word not in _REQUEST_WORDS for word in words)
    return text.strip(" ,.;:!?-/&") if carries else ""
