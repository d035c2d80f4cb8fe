"""The words of the pocket world: object kinds, super-categories, mat colours, sign texts, places.

Kinds are the COCO category names (Lin et al., 2014) for which Unicode has a glyph; super-categories follow COCO's.
Every name is a fixed string: data, questions, critiques and the evaluation all compare by it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object. glyph: the emoji that depicts it. category: plural name of its super-category."""

    name: str
    plural: str
    glyph: str
    category: str

    @property
    def article(self) -> str:
        """The indefinite article of the name, or "" for a name that is plural already (skis, scissors)."""
        if self.name == self.plural:
            return ""
        return "an" if self.name[0] in "aeiou" else "a"

    @property
    def one(self) -> str:
        """The name with its article: "a dog", "an apple", "skis"."""
        return f"{self.article} {self.name}".strip()


_TABLE = """
person people 🧍 people
bicycle bicycles 🚲 vehicles
car cars 🚗 vehicles
motorcycle motorcycles 🏍 vehicles
airplane airplanes ✈ vehicles
bus buses 🚌 vehicles
train trains 🚆 vehicles
truck trucks 🚚 vehicles
boat boats ⛵ vehicles
traffic_light traffic_lights 🚦 street_things
stop_sign stop_signs 🛑 street_things
bird birds 🐦 animals
cat cats 🐈 animals
dog dogs 🐕 animals
horse horses 🐎 animals
sheep sheep 🐑 animals
cow cows 🐄 animals
elephant elephants 🐘 animals
bear bears 🐻 animals
zebra zebras 🦓 animals
giraffe giraffes 🦒 animals
backpack backpacks 🎒 accessories
umbrella umbrellas ☂ accessories
handbag handbags 👜 accessories
tie ties 👔 accessories
suitcase suitcases 🧳 accessories
frisbee frisbees 🥏 sports_things
skis skis 🎿 sports_things
snowboard snowboards 🏂 sports_things
sports_ball sports_balls ⚽ sports_things
kite kites 🪁 sports_things
skateboard skateboards 🛹 sports_things
surfboard surfboards 🏄 sports_things
tennis_racket tennis_rackets 🎾 sports_things
bottle bottles 🍾 kitchen_things
wine_glass wine_glasses 🍷 kitchen_things
cup cups ☕ kitchen_things
fork forks 🍴 kitchen_things
knife knives 🔪 kitchen_things
spoon spoons 🥄 kitchen_things
bowl bowls 🥣 kitchen_things
banana bananas 🍌 foods
apple apples 🍎 foods
sandwich sandwiches 🥪 foods
orange oranges 🍊 foods
broccoli broccoli 🥦 foods
carrot carrots 🥕 foods
hot_dog hot_dogs 🌭 foods
pizza pizzas 🍕 foods
donut donuts 🍩 foods
cake cakes 🍰 foods
chair chairs 🪑 furniture
couch couches 🛋 furniture
potted_plant potted_plants 🪴 furniture
bed beds 🛏 furniture
toilet toilets 🚽 furniture
tv tvs 📺 electronics
laptop laptops 💻 electronics
mouse mice 🖱 electronics
keyboard keyboards ⌨ electronics
cell_phone cell_phones 📱 electronics
book books 📖 indoor_things
clock clocks ⏰ indoor_things
vase vases 🏺 indoor_things
scissors scissors ✂ indoor_things
teddy_bear teddy_bears 🧸 indoor_things
toothbrush toothbrushes 🪥 indoor_things
"""


def _read_table() -> tuple[Kind, ...]:
    rows = (line.split() for line in _TABLE.strip().splitlines())
    return tuple(Kind(a.replace("_", " "), b.replace("_", " "), g, c.replace("_", " ")) for a, b, g, c in rows)


KINDS = _read_table()
KIND_BY_NAME = {kind.name: kind for kind in KINDS}
CATEGORIES = tuple(dict.fromkeys(kind.category for kind in KINDS if kind.category not in ("people", "street things")))

MAT_COLOURS = {
    "red": (214, 48, 49),
    "blue": (47, 98, 214),
    "green": (48, 148, 70),
    "yellow": (244, 208, 40),
    "purple": (136, 62, 168),
    "white": (250, 250, 250),
    "black": (28, 28, 30),
}
SIGN_WORDS = (
    "exit", "open", "stop", "taxi", "cafe", "menu", "sale", "park", "zoo", "bank", "shop", "hotel",
    "push", "pull", "quiet", "slow",
)  # fmt: skip
SIGN_NUMBERS = tuple(str(number) for number in range(10, 34))
SIGN_TEXTS = SIGN_WORDS + SIGN_NUMBERS

ROWS = ("upper", "middle", "lower")
COLUMNS = ("left", "center", "right")
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight")


def place_name(row: int, column: int) -> str:
    """The name of one of the nine parts of the picture, e.g. "upper left"; row and column in 0..2 from the top left."""
    return f"{ROWS[row]} {COLUMNS[column]}"
