"""Simulated domains whose tools really execute, and seeded traces from them."""

from __future__ import annotations

from tooltune.worlds.bank import BANK
from tooltune.worlds.base import ToolError, World
from tooltune.worlds.calendar import CALENDAR
from tooltune.worlds.home import HOME
from tooltune.worlds.inbox import INBOX
from tooltune.worlds.library import LIBRARY
from tooltune.worlds.shop import SHOP
from tooltune.worlds.travel import TRAVEL

TRAINING_WORLDS: tuple[World, ...] = (CALENDAR, SHOP, BANK, HOME, TRAVEL, INBOX)
HELD_OUT_WORLDS: tuple[World, ...] = (LIBRARY,)
WORLDS: dict[str, World] = {world.name: world for world in TRAINING_WORLDS + HELD_OUT_WORLDS}

__all__ = ["HELD_OUT_WORLDS", "TRAINING_WORLDS", "WORLDS", "ToolError", "World"]
