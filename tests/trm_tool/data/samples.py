"""Small folders in exactly the formats that MovieLens and Amazon Reviews are published in. Every row is made up."""

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip


def movie_100k(number: int, title: str, date: str, *genres: str) -> str:
    """A line of u.item: five fields and a flag for each genre, separated by bars."""
    flags = "|".join(str(int(genre in genres)) for genre in GENRES)
    return f"{number}|{title}|{date}||http://example.org/title?{number}|{flags}"


MOVIES_100K = (
    movie_100k(1, "Café of Sighs (1971)", "01-Jan-1971", "Comedy", "Romance"),
    movie_100k(2, "Lantern, The (1988)", "01-Jan-1990", "Horror"),
    movie_100k(3, "Small Robots II (1996) (V)", "01-Jan-1996", "Animation", "Children's", "Sci-Fi"),
    movie_100k(4, "unknown", "", "unknown"),
    movie_100k(5, "Nameless Year", "04-Feb-1972", "Film-Noir"),
)
RATINGS = [
    (user, movie, 1 + (user + movie) % 5, 900_000_000 + 100 * user - movie) for user in (7, 3) for movie in range(1, 6)
]


def write_100k(folder: Path) -> Path:
    """u.data, u.item and u.genre: tabs and bars, latin-1, a blank line at the end of the genres."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "u.data").write_text("".join("\t".join(map(str, row)) + "\n" for row in RATINGS), encoding="latin-1")
    (folder / "u.item").write_text("".join(f"{movie}\n" for movie in MOVIES_100K), encoding="latin-1")
    genres = "".join(f"{name}|{number}\n" for number, name in enumerate(GENRES))
    (folder / "u.genre").write_text(genres + "\n", encoding="latin-1")
    (folder / "u.user").write_text("3|24|M|writer|00000\n", encoding="latin-1")
    return folder


MOVIES_1M = (
    "1::Café of Sighs (1971)::Comedy|Romance",
    "2::Lantern, The (1988)::Horror",
    "3::Colons :: and More (1996)::Animation|Children's|Sci-Fi",
    "4::Quiet (1999)::Drama",
    "5::Last One (2000)::Film-Noir",
)


def write_1m(folder: Path, encoding: str = "latin-1") -> Path:
    """ratings.dat and movies.dat, separated by two colons; latin-1, or UTF-8 as in the 10M set."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ratings.dat").write_text("".join("::".join(map(str, row)) + "\n" for row in RATINGS), encoding="latin-1")
    (folder / "movies.dat").write_text("".join(f"{movie}\n" for movie in MOVIES_1M), encoding=encoding)
    return folder


MOVIES_LATEST = (
    "1,Café of Sighs (1971),Comedy|Romance",
    '2,"Lantern, The (1988)",Horror',
    '3,"""Great Nights"": Cats (1998)",Animation|Children|IMAX',
    "4,Long Series (2006–2007) ,Drama",
    "5,No Year At All,(no genres listed)",
)


def write_latest(folder: Path) -> Path:
    """ratings.csv and movies.csv: headers, half stars, titles in quotes where they need them, UTF-8, CRLF."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["userId,movieId,rating,timestamp", *(f"{u},{m},{r - 0.5},{t}" for u, m, r, t in RATINGS)]
    (folder / "ratings.csv").write_bytes("".join(f"{row}\r\n" for row in rows).encode())
    movies = ["movieId,title,genres", *MOVIES_LATEST]
    (folder / "movies.csv").write_bytes("".join(f"{row}\r\n" for row in movies).encode())
    (folder / "links.csv").write_text("movieId,imdbId,tmdbId\n1,0000001,1\n")
    return folder


def review_2018(user: str, item: str, overall: float, time: int, **more: Any) -> dict[str, Any]:
    """A review as the 2018 edition has it."""
    return {
        "overall": overall,
        "verified": True,
        "reviewTime": "09 4, 2015",
        "reviewerID": user,
        "asin": item,
        "style": {"Size:": " Large"},
        "reviewerName": "A. Nobody",
        "reviewText": "Says\nnothing.",
        "summary": "Nothing",
        "unixReviewTime": time,
    } | more


REVIEWS_2018 = [
    review_2018(f"A{user}X", f"B00{item}", 5.0 - item % 3, 1_441_324_800 + item)
    for user in (2, 1)
    for item in range(1, 6)
]
META_2018: list[dict[str, Any]] = [
    {
        "category": ["Clothing, Shoes &amp; Jewelry", "Scarves", "</span></span></span>", "Keeps you warm " * 6],
        "description": ["<p>A <b>soft</b> scarf.</p>\n<br />Wool &amp; silk.", "", "Second part."],
        "title": "Nobody&#39;s Scarf, 24&quot; &amp; Wide",
        "brand": "Loom &amp; Co",
        "feature": ["Soft"],
        "rank": ["1 in Scarves"],
        "main_cat": "Fashion",
        "price": "$12.99",
        "asin": "B001",
    },
    {"category": [], "description": [], "title": "Cap", "brand": "", "price": "$5.99 - $12.00", "asin": "B002"},
    {
        "category": ["Books", "Poetry"],
        "description": ["Verses."],
        "title": "Verses",
        "brand": "Visit Amazon's Ida Nobody Page",
        "price": "$1,299.50",
        "asin": "B003",
    },
    {
        "category": ["Books"],
        "title": "var aPageStart = (new Date()).getTime();",
        "brand": "Unseen",
        "price": ".a-box-inner{background-color:#fff}#alohaBuyBoxWidget .selected{color:#000}",
        "asin": "B004",
    },
    {"category": ["Books"], "title": "Nothing Much", "price": "", "asin": "B005"},
    {"category": ["Books"], "title": "Verses, told again", "price": "$3.00", "asin": "B003"},
]


def write_json(path: Path, rows: Sequence[Any]) -> Path:
    """JSON lines; packed where the name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_2018(folder: Path, reviews: Sequence[Any] = REVIEWS_2018, meta: Sequence[Any] = META_2018) -> Path:
    """Scarves_5.json.gz and meta_Scarves.json.gz."""
    write_json(folder / "Scarves_5.json.gz", reviews)
    write_json(folder / "meta_Scarves.json.gz", meta)
    return folder


REVIEWS_2023: list[dict[str, Any]] = [
    {
        "rating": float(1 + item % 5),
        "title": "Fine",
        "text": "It is fine.",
        "images": [],
        "asin": f"V{item}",
        "parent_asin": f"P{item}",
        "user_id": user,
        "timestamp": 1_588_687_728_923 + item,
        "helpful_vote": 0,
        "verified_purchase": True,
    }
    for user in ("AFK", "AEZ")
    for item in range(1, 6)
]
META_2023: list[dict[str, Any]] = [
    {
        "main_category": "All Beauty",
        "title": "Salt Spray\t(Coconut)\n8 oz",
        "average_rating": 4.3,
        "rating_number": 384,
        "features": [],
        "description": ["Smells of", "the sea."],
        "price": 17.5,
        "images": [],
        "store": "Nobody Botanicals",
        "categories": ["Beauty & Personal Care", "Hair Care"],
        "details": {"Brand": "Nobody"},
        "parent_asin": "P1",
        "bought_together": None,
    },
    {
        "main_category": None,
        "title": "Comb",
        "description": [],
        "price": None,
        "store": None,
        "categories": [],
        "parent_asin": "P2",
    },
    {
        "main_category": "Tools",
        "title": "Saw",
        "price": "None",
        "store": "",
        "categories": ["Tools"],
        "parent_asin": "P3",
    },
    {
        "main_category": "Tools",
        "title": "Axe",
        "price": "from 21.99",
        "store": "Woodsy",
        "categories": ["Tools"],
        "parent_asin": "P4",
    },
    {
        "main_category": "Tools",
        "title": None,
        "price": "—",
        "store": "Woodsy",
        "categories": ["Tools"],
        "parent_asin": "P5",
    },
]


def write_2023(folder: Path, reviews: Sequence[Any] = REVIEWS_2023, meta: Sequence[Any] = META_2023) -> Path:
    """All_Things.jsonl.gz and meta_All_Things.jsonl."""
    write_json(folder / "All_Things.jsonl.gz", reviews)
    write_json(folder / "meta_All_Things.jsonl", meta)
    return folder


def write_csv(path: Path, rows: Sequence[Sequence[object]], **options: Any) -> Path:
    """A CSV file as Python writes it, the header first."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", **options).writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def item_lines(folder: Path) -> list[list[str]]:
    """Fields of the .item file, the header first."""
    [path] = folder.glob("*.item")
    return [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def inter_lines(folder: Path) -> list[list[str]]:
    """Fields of the .inter file, the header first."""
    [path] = folder.glob("*.inter")
    return [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
