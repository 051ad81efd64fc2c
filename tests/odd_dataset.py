"""A small data set whose ids are such as pandas would take for something else."""

from deeprec.trm_tool import Catalogue, Dataset, Item


def make_odd_dataset(sequences: list[list[int]], items: int = 20) -> Dataset:
    """Sequences of catalogue rows, as a data set of as many users."""
    odd = {0: "NA", 1: "nan", 2: "007", 3: "1.0", 4: "a b", 5: "#"}
    catalogue = Catalogue(
        [
            Item(id=odd.get(row, f"x{row}"), title=f"T{row}", text=f"t{row}", attributes={"tag": (f"tag{row % 3}",)})
            for row in range(items)
        ],
        {"tag": "tags"},
    )
    users = tuple(["NA", "null", "u"][number] if number < 3 else f"u{number}" for number in range(len(sequences)))
    return Dataset(
        name="odd",
        catalogue=catalogue,
        users=users,
        sequences={
            user: tuple(catalogue.ids[row] for row in rows) for user, rows in zip(users, sequences, strict=True)
        },
    )
