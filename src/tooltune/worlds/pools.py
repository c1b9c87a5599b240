"""What the worlds are made of: names, places, ids, dates and amounts, each belonging to one side.

Every value that can tell two traces apart is put on one side (`train`, `held_out` or
`unseen_tools`) by a checksum of its text. A trace draws from its own side only, so no user text
and no call that contains such a value can occur on two sides.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

Side = Literal["train", "held_out", "unseen_tools"]

# Eighths: five to training, two to held_out, one to unseen_tools.
_SIDES: tuple[Side, ...] = ("train",) * 5 + ("held_out",) * 2 + ("unseen_tools",)


def _values(text: str) -> tuple[str, ...]:
    """The comma-separated values of `text`, which may run over several lines."""
    return tuple(" ".join(value.split()) for value in text.split(","))


FIRST_NAMES = _values(
    """
    Ada, Adam, Aisha, Alan, Alma, Amir, Anna, Anton, Bella, Bruno, Carla, Carlos, Cleo, Dana,
    Daniel, Dora, Edgar, Elena, Elias, Emma, Eric, Erin, Fatima, Felix, Fiona, Frank, Gina,
    Gregor, Hana, Hugo, Ida, Igor, Ines, Ivan, Jack, Jana, Jonas, Julia, Karim, Kate, Kenji,
    Laila, Lars, Laura, Leo, Lina, Luca, Maria, Marco, Mina, Nadia, Nina, Noah, Olga, Omar,
    Oscar, Paula, Pedro, Petra, Quinn, Rosa, Ruth, Samir, Sara, Simon, Sofia, Stefan, Tara,
    Theo, Uma, Vera, Victor, Walter, Wendy, Yara, Yusuf, Zara, Zoltan
    """
)
LAST_NAMES = _values(
    """
    Abbott, Adler, Ahmed, Baker, Bauer, Becker, Bianchi, Brandt, Carter, Castro, Chen, Costa,
    Cruz, Dahl, Dubois, Duran, Engel, Farah, Fischer, Flores, Fox, Garcia, Grant, Haas, Hansen,
    Hayes, Hoffman, Ibrahim, Ito, Jansen, Jensen, Kaya, Keller, Khan, Kim, Klein, Kumar, Lang,
    Larsen, Lee, Lopez, Marsh, Meyer, Mills, Moreau, Mori, Nagy, Nolan, Novak, Olsen, Ortiz,
    Park, Patel, Perez, Quist, Ramos, Reed, Rossi, Sato, Schmid, Silva, Singh, Stone, Tanaka,
    Torres, Turner, Vance, Vogel, Wagner, Walsh, Weber, Wong, Young, Zhou
    """
)
CITIES = _values(
    """
    Accra, Amman, Athens, Austin, Baku, Berlin, Bern, Bogota, Bonn, Boston, Brno, Cairo,
    Calgary, Cardiff, Chicago, Cork, Dakar, Delhi, Denver, Dublin, Geneva, Genoa, Graz, Hamburg,
    Hanoi, Havana, Helsinki, Istanbul, Jakarta, Kyoto, Lagos, Leeds, Lima, Lisbon, London, Lyon,
    Madrid, Malmö, Manila, Miami, Milan, Montreal, Munich, Nairobi, Naples, Nice, Osaka, Oslo,
    Ottawa, Paris, Porto, Prague, Quito, Riga, Rome, San Diego, São Paulo, Seattle, Seoul,
    Seville, Sofia, Sydney, Tallinn, Tokyo, Toronto, Tunis, Turin, Vienna, Vilnius, Warsaw,
    Zagreb, Zürich
    """
)
TOPICS = _values(
    """
    Alumni, Audit, Ballet, Board, Brand, Budget, Catering, Chess, Choir, Client, Climate,
    Coding, Contract, Cycling, Dance, Data, Dentist, Design, Drama, Energy, Film, Finance,
    Fitness, French, Garden, Guitar, Harvest, Hiring, History, Insurance, Invoice, Judo,
    Kickoff, Launch, Lease, Legal, Logo, Marketing, Mentor, Museum, Music, Onboarding, Opera,
    Parents, Payroll, Photo, Piano, Pilates, Poetry, Pottery, Pricing, Product, Project,
    Quality, Recipe, Research, Robot, Safety, Sales, Sculpture, Security, Spanish, Sprint,
    Strategy, Supplier, Tax, Team, Tennis, Theatre, Travel, Violin, Website, Wine, Yoga
    """
)
FORMS = ("review", "meeting", "call", "workshop", "session", "update", "class", "lunch")
COLOURS = ("red", "green", "blue", "black", "white", "grey", "yellow", "brown")
ITEMS = _values(
    """
    apron, armchair, backpack, basket, bathrobe, belt, bench, blanket, blender, bookcase, bowl,
    broom, bucket, camera, candle, carpet, chair, clock, coat, cushion, desk, drill, fan, frame,
    grill, guitar case, hammock, hat, headset, helmet, hoodie, jacket, jug, kettle, keyboard,
    kite, ladder, lamp, lantern, mattress, mirror, mixer, mug, notebook, pillow, planter,
    printer, raincoat, rug, saddle, scarf, shelf, skateboard, sleeping bag, sofa, stool,
    suitcase, sweater, table, teapot, tent, toaster, towel, tripod, umbrella, vase, wallet,
    watch, yoga mat
    """
)
ROOMS = _values(
    """
    atelier, attic, balcony, basement, bathroom, bedroom, cellar, conservatory, den, dining
    room, dressing room, foyer, gallery, game room, garage, greenhouse, guest room, gym,
    hallway, kitchen, laundry room, library, living room, lobby, loft, lounge, mudroom, music
    room, nursery, office, pantry, parlour, playroom, porch, sauna, storage room, studio, study,
    sunroom, terrace, utility room, veranda, workshop
    """
)
DOORS = _values(
    """
    back, basement, balcony, barn, boathouse, cellar, courtyard, east, front, garage, garden,
    kitchen, main, north, patio, pool, porch, rear, roof, service, shed, side, south, stable,
    terrace, tower, west, workshop
    """
)
STREETS = _values(
    """
    Acorn, Alder, Ash, Aspen, Beech, Birch, Bridge, Castle, Cedar, Chapel, Cherry, Church,
    Clover, Elm, Fern, Forest, Garden, Hazel, Heather, Hill, Holly, Ivy, Juniper, Lake, Laurel,
    Lilac, Linden, Maple, Market, Meadow, Mill, Oak, Orchard, Park, Pine, Poplar, River, Rose,
    School, Spruce, Station, Walnut, Willow
    """
)
PLOTS = ("Silent", "Golden", "Hidden", "Broken", "Last", "Winter", "Crimson", "Paper", "Distant")
HEROES = _values(
    """
    Harbour, Mountain, River, Garden, Letter, Mirror, Orchard, Island, Bridge, Lantern, Compass,
    Forest, Kingdom, Voyage, Shadow, Clock, Castle, Tide, Meadow, Storm, Portrait, Station,
    Piano, Desert
    """
)
_DOMAINS = ("mail.com", "post.org", "inbox.net")
_STREET_ENDS = ("Street", "Road", "Lane")
MONTHS = _values(
    """
    January, February, March, April, May, June, July, August, September, October, November,
    December
    """
)


def side_of(value: str) -> Side:
    """The one side that `value` may occur on."""
    return _SIDES[zlib.crc32(value.encode()) % len(_SIDES)]


@dataclass(slots=True)
class Draw:
    """Draws values of one side; `drawn` holds the text of each, so that texts can be checked."""

    rng: Random
    side: Side
    drawn: set[str] = field(default_factory=set)

    def _until(self, make: Callable[[], str]) -> str:
        while side_of(value := make()) != self.side:
            pass
        self.drawn.add(value)
        return value

    def pick(self, pool: Sequence[str]) -> str:
        """One value of this side's part of `pool`."""
        return self._until(lambda: self.rng.choice(pool))

    def some(self, draw: Callable[[], str], count: int) -> list[str]:
        """`count` different values of `draw`."""
        values: dict[str, None] = {}
        while len(values) < count:
            values[draw()] = None
        return list(values)

    def any(self, options: Sequence[Any]) -> Any:
        """One of `options`, which are the same on all sides."""
        return self.rng.choice(options)

    def code(self, pattern: str) -> str:
        """`pattern` with each `#` replaced by a digit (none of them a leading zero)."""

        def make() -> str:
            number = str(self.rng.randrange(10 ** (digits - 1), 10**digits))
            return pattern.replace("#", "{}").format(*number)

        digits = pattern.count("#")
        return self._until(make)

    def first_name(self) -> str:
        return self.pick(FIRST_NAMES)

    def person(self) -> str:
        return f"{self.first_name()} {self.pick(LAST_NAMES)}"

    def email(self, person: str) -> str:
        """An address for `person`, who must be of this side."""
        address = f"{person.lower().replace(' ', '.')}@{self.any(_DOMAINS)}"
        self.drawn.add(address)
        return address

    def city(self) -> str:
        return self.pick(CITIES)

    def street(self) -> str:
        number = self.rng.randrange(2, 99)
        return f"{number} {self.pick(STREETS)} {self.any(_STREET_ENDS)}"

    def title(self) -> str:
        return f"{self.pick(TOPICS)} {self.any(FORMS)}"

    def item(self) -> str:
        return f"{self.any(COLOURS)} {self.pick(ITEMS)}"

    def book(self) -> str:
        """A book title; only the held-out world has books, so they need no side."""
        title = f"The {self.any(PLOTS)} {self.any(HEROES)}"
        self.drawn.add(title)
        return title

    def date(self) -> str:
        """A day of the year, such as `May 3`; small models spell long digit strings badly."""
        return self._until(lambda: f"{self.rng.choice(MONTHS)} {self.rng.randrange(1, 29)}")

    def time(self) -> str:
        """A time between 08:00 and 17:45 as `HH:MM`, in steps of a quarter of an hour."""
        return self._until(lambda: clock(self.rng.randrange(32, 72) * 15))

    def amount(self, low: int = 20, high: int = 900) -> float:
        """Money: a whole number, at times one with a half that JSON writes as people do."""

        def make() -> str:
            return f"{self.rng.randrange(low, high)}{self.rng.choice(('', '', '', '', '', '.5'))}"

        text = self._until(make)
        return float(text) if "." in text else int(text)


def clock(minutes: int) -> str:
    """Minutes since midnight as `HH:MM`."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def minutes_of(time: str) -> int:
    """`HH:MM` as minutes since midnight; `ValueError` for anything else."""
    hours, minutes = time.split(":")
    value = int(hours) * 60 + int(minutes)
    if len(time) != 5 or not 0 <= value < 1440 or clock(value) != time:
        raise ValueError(f"{time!r} is no time HH:MM")
    return value
