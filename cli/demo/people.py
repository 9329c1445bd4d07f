"""The people who work in the accounts of the simulated business."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

_FIRST = """
    Ada Amir Anouk Bela Carla Chidi Dario Edda Elif Farid Freya Goran Hana Hugo Ida Ines Ivo Jarle Jun
    Kaia Kofi Lena Liam Mara Mei Milan Nadia Noa Olga Omar Petra Priya Quinn Rosa Ruben Saba Sven Tara
    Tomas Uma Vera Wim Xenia Yara Yusuf Zoe
"""
_LAST = """
    Abara Baptista Berg Calloway Costa Dahl Eriksen Fabre Ferreira Haddad Hoxha Ito Jansen Kaya Kovac
    Lindqvist Lowe Marek Moreau Nakamura Novak Okafor Pavlova Quist Rao Rossi Santos Schulz Silva Tanaka
    Torres Ueda Vance Weber Yilmaz Zhou
"""


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    email: str

    @property
    def member_id(self) -> str:
        """The id that the app gives the person."""
        return self.email.partition("@")[0]


@dataclass(slots=True)
class WaitingPerson:
    """A person whose claim was refused, and when (monotonic clock, in seconds)."""

    person: Person
    since: float


@dataclass(slots=True)
class Team:
    """The people of one account, as the app knows them. `names` are those in use."""

    account_id: str
    names: set[str] = field(default_factory=set)
    members: list[Person] = field(default_factory=list)
    guests: list[Person] = field(default_factory=list)
    invited: list[Person] = field(default_factory=list)
    waiting: deque[WaitingPerson] = field(default_factory=deque)


def new_person(random_numbers: random.Random, account_id: str, used_names: set[str]) -> Person:
    """A person with a name that is not in `used_names`, to which it is added."""
    while True:
        first, last = (random_numbers.choice(names.split()) for names in (_FIRST, _LAST))
        name = f"{first} {last}"
        if name not in used_names:
            used_names.add(name)
            return Person(name, f"{first}.{last}@{account_id}.example".lower())
