"""The words of the generated shop. Brands and product lines are invented; no product here exists."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProductType:
    """A kind of product."""

    name: str
    price: float
    """The usual price of such products."""
    materials: tuple[str, ...]
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Department:
    """A category of the shop."""

    name: str
    types: tuple[ProductType, ...]
    """Each type is often followed by the next one in a basket, the last one by the first."""
    uses: tuple[str, ...]
    """Uses of its products."""


def _department(name: str, uses: str, table: str) -> Department:
    """Read a department from lines of `type; price; materials; features`."""
    types = []
    for line in table.strip().splitlines():
        kind, price, materials, features = (part.strip() for part in line.split(";"))
        types.append(ProductType(kind, float(price), tuple(materials.split(", ")), tuple(features.split(", "))))
    return Department(name, tuple(types), tuple(uses.split(", ")))


DEPARTMENTS = (
    _department(
        "Kitchen",
        "slow Sunday cooking, small kitchens, weeknight dinners, cooking with children",
        """
        chef's knife; 45; steel, damask steel, ceramic; hand finished, balanced, beginner friendly
        cutting board; 28; olive wood, bamboo, oak; hand finished, reversible, non-slip
        saucepan; 52; steel, copper, enamel; induction ready, dishwasher safe, stackable
        casserole; 75; cast iron, enamel, stoneware; induction ready, dishwasher safe, hand finished
        spice rack; 24; bamboo, oak, steel; space saving, stackable, reversible
        kettle; 48; steel, copper, glass; induction ready, quiet, energy saving
        """,
    ),
    _department(
        "Garden",
        "balconies, herb beds, early spring, shady corners",
        """
        watering can; 27; zinc, copper, recycled plastic; lightweight, rust free, stackable
        plant pot; 18; terracotta, zinc, stoneware; frost proof, self watering, stackable
        pruning shears; 32; steel, carbon steel, aluminium; rust free, lightweight, beginner friendly
        trowel; 14; steel, ash wood, bamboo; rust free, hand finished, lightweight
        garden bench; 160; teak, ash wood, steel; frost proof, foldable, hand finished
        bird feeder; 22; ash wood, zinc, glass; frost proof, easy to clean, hand finished
        """,
    ),
    _department(
        "Camping",
        "long walks, bike tours, cold nights, first trips with children",
        """
        two-person tent; 190; ripstop nylon, canvas, polycotton; waterproof, lightweight, packable
        sleeping mat; 65; cork, recycled foam, ripstop nylon; lightweight, packable, non-slip
        sleeping bag; 120; down, merino, recycled fleece; packable, lightweight, water repellent
        camp stove; 58; titanium, aluminium, steel; lightweight, packable, repairable
        head torch; 29; aluminium, recycled plastic, polycarbonate; waterproof, rechargeable, lightweight
        water bottle; 19; steel, aluminium, glass; dishwasher safe, insulated, lightweight
        """,
    ),
    _department(
        "Office",
        "home offices, long letters, tidy desks, students",
        """
        desk; 240; oak, walnut, steel; height adjustable, space saving, foldable
        office chair; 210; felt, leather, recycled nylon; height adjustable, breathable, repairable
        desk lamp; 55; brass, steel, oak; dimmable, energy saving, space saving
        notebook; 12; recycled paper, cotton paper, stone paper; refillable, dotted, hand finished
        fountain pen; 38; brass, steel, walnut; refillable, beginner friendly, hand finished
        letter tray; 17; felt, oak, steel; stackable, space saving, hand finished
        """,
    ),
    _department(
        "Lighting",
        "reading corners, dark hallways, summer evenings, dining tables",
        """
        pendant lamp; 95; glass, rattan, concrete; dimmable, warm white, hand finished
        floor lamp; 130; linen, brass, oak; dimmable, warm white, height adjustable
        table lamp; 60; stoneware, glass, brass; dimmable, rechargeable, hand finished
        wall lamp; 70; brass, concrete, glass; dimmable, waterproof, energy saving
        lantern; 26; paper, glass, zinc; rechargeable, foldable, waterproof
        string lights; 20; copper, paper, glass; waterproof, rechargeable, energy saving
        """,
    ),
    _department(
        "Bedroom",
        "hot summers, light sleepers, guest rooms, cold nights",
        """
        duvet cover; 68; linen, organic cotton, bamboo fibre; washable, pre-washed, reversible
        pillow; 36; down, wool, kapok; washable, hypoallergenic, breathable
        blanket; 54; wool, alpaca, organic cotton; washable, reversible, hand finished
        bed sheet; 42; linen, organic cotton, bamboo fibre; washable, pre-washed, breathable
        mattress topper; 140; wool, natural rubber, down; washable, hypoallergenic, breathable
        bedside table; 88; pine, oak, rattan; space saving, stackable, hand finished
        """,
    ),
    _department(
        "Cycling",
        "commuting, gravel tours, rainy days, night rides",
        """
        bicycle helmet; 72; polycarbonate, recycled plastic, cork; reflective, lightweight, breathable
        pannier bag; 66; waxed canvas, recycled nylon, leather; waterproof, reflective, quick release
        bicycle pump; 34; aluminium, steel, carbon; lightweight, repairable, packable
        bicycle light; 31; aluminium, recycled plastic, steel; waterproof, rechargeable, quick release
        cycling gloves; 26; leather, merino, recycled nylon; reflective, breathable, washable
        bicycle lock; 49; steel, titanium, carbon steel; lightweight, foldable, rust free
        """,
    ),
    _department(
        "Crafts",
        "winter evenings, first projects, patient hands, gifts made by hand",
        """
        knitting wool; 11; alpaca, merino, organic cotton; hand dyed, washable, limited series
        knitting needles; 16; birch, bamboo, aluminium; beginner friendly, lightweight, hand finished
        sewing kit; 21; linen, felt, leather; beginner friendly, packable, refillable
        watercolour box; 33; steel, beech, recycled plastic; refillable, non-toxic, packable
        brush set; 24; birch, bamboo, beech; beginner friendly, non-toxic, hand finished
        sketchbook; 14; cotton paper, hemp paper, recycled paper; refillable, limited series, hand finished
        """,
    ),
    _department(
        "Pets",
        "old friends, shy animals, small flats, long journeys",
        """
        dog bed; 70; felt, hemp, corduroy; washable, non-slip, chew proof
        dog lead; 23; leather, hemp, recycled nylon; reflective, chew proof, waterproof
        cat tree; 98; sisal, willow, pine; space saving, non-slip, repairable
        feeding bowl; 15; ceramic, steel, bamboo fibre; non-slip, dishwasher safe, stackable
        pet carrier; 58; canvas, willow, felt; foldable, washable, lightweight
        cat toy; 9; felt, sisal, hemp; washable, chew proof, refillable
        """,
    ),
    _department(
        "Audio",
        "late listening, small rooms, kitchens, commuting",
        """
        headphones; 130; walnut, aluminium, leather; wireless, noise cancelling, foldable
        bookshelf speaker; 220; walnut, ash wood, birch; wireless, repairable, hand finished
        portable radio; 75; walnut, recycled plastic, aluminium; rechargeable, waterproof, wireless
        record player; 260; walnut, ash wood, aluminium; repairable, wireless, beginner friendly
        turntable mat; 19; cork, wool felt, leather; non-slip, limited series, hand finished
        microphone; 110; aluminium, steel, brass; noise cancelling, beginner friendly, repairable
        """,
    ),
    _department(
        "Toys",
        "rainy afternoons, toddlers, whole families, quiet play",
        """
        building blocks; 39; beech, maple, cork; non-toxic, hand finished, stackable
        wooden train; 45; beech, maple, birch; non-toxic, hand finished, repairable
        jigsaw puzzle; 18; cardboard, birch, cork; non-toxic, limited series, plastic free
        board game; 34; cardboard, beech, maple; for two players, plastic free, beginner friendly
        doll; 29; organic cotton, linen, felt; washable, non-toxic, hand finished
        kite; 22; ripstop nylon, cotton, paper; lightweight, packable, beginner friendly
        """,
    ),
    _department(
        "Fitness",
        "small flats, early mornings, beginners, aching backs",
        """
        yoga mat; 42; cork, natural rubber, jute; non-slip, washable, lightweight
        kettlebell; 48; cast iron, steel, concrete; non-slip, rust free, beginner friendly
        foam roller; 27; cork, recycled foam, natural rubber; lightweight, non-slip, washable
        skipping rope; 14; leather, steel, cotton; lightweight, packable, beginner friendly
        resistance band; 16; natural rubber, cotton, recycled nylon; packable, washable, beginner friendly
        gym bag; 52; canvas, recycled nylon, leather; foldable, waterproof, washable
        """,
    ),
)

FEATURES = tuple(
    dict.fromkeys(feature for department in DEPARTMENTS for kind in department.types for feature in kind.features)
)

BRANDS = (
    "Alvenmoor", "Amberlorne", "Birchwithe", "Brinmarsk", "Calderpine", "Cobbleridge", "Dapplethorn", "Dunmarrow",
    "Eskbright", "Everquill", "Fennhollow", "Foxtarn", "Glimmerhythe", "Gorsewick", "Harrowfen", "Hollowbeck",
    "Inkwithe", "Ivelstane", "Jorvane", "Juniperlow", "Keldermoss", "Kestlemoor", "Larkenfold", "Lintharrow",
    "Marlowen", "Mosshanger", "Nethervane", "Nimblewick", "Ottermarl", "Pebblerow", "Pellingray", "Quillmarsh",
    "Quorvale", "Ravelstoke", "Rushmarrow", "Saltonby", "Sorrelwick", "Tarnwhistle", "Thistlemark", "Ulverfold",
    "Velderin", "Vintrowe", "Wexmarl", "Willowhythe", "Yarrowden", "Zephrind",
)  # fmt: skip

LINES = (
    "Aster", "Beacon", "Bramble", "Cinder", "Clover", "Comet", "Delta", "Drift", "Ember", "Fable", "Finch", "Fjord",
    "Grove", "Harbor", "Hazel", "Heron", "Island", "Ivy", "Kestrel", "Lagoon", "Lark", "Maple", "Meadow", "Mistral",
    "Nomad", "North", "Orbit", "Otter", "Pebble", "Plume", "Quarry", "Raven", "Ridge", "Saga", "Sable", "Sparrow",
    "Summit", "Swift", "Tern", "Tidal", "Timber", "Vesper", "Wander", "Willow",
)  # fmt: skip

COLOURS = ("black", "white", "sage green", "navy", "terracotta", "mustard", "grey", "natural", "plum", "sky blue")

QUALITIES = ("compact", "sturdy", "light", "classic", "slim", "roomy", "quiet", "plain", "soft", "everyday")
