"""The app: a product whose customers' people come and go, asking for a seat before anybody is let in."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from cli.demo import wording
from cli.demo.api_client import Api, Unanswered, Unexpected
from cli.demo.api_documents import Account
from cli.demo.people import Person, Team, Waiting, somebody_new
from cli.demo.processes import IsOver
from cli.demo.view import Action, Tone

_ROLE: Final = "team_member"
_GUEST_ROLE: Final = "client"
_PAUSE: Final = (0.7, 1.3)
_TICK: Final = 0.1
_MOST_WAITING: Final = 2
_MOST_INVITED: Final = 3
_MOST_GUESTS: Final = 2
_GROUP: Final = (2, 4)
_MOVING_IN: Final = (0.7, 0.95)
_MOST_OVER: Final = 2

Move = Callable[[], None]


class Backend:
    """One thing at a time, about one a second, all of it through the public API."""

    def __init__(self, api: Api, tell: Callable[[Action], None], chance: random.Random) -> None:
        self._api = api
        self._tell = tell
        self._chance = chance
        self._teams: dict[str, Team] = {}

    def run(self, is_over: IsOver) -> None:
        """Go on until it is over; while the service does not answer, people wait."""
        while not is_over():
            try:
                self.step()
            except Unexpected as surprise:
                self._say(Tone.TROUBLE, str(surprise))
            except Unanswered:
                pass
            until = time.monotonic() + self._chance.uniform(*_PAUSE)
            while time.monotonic() < until and not is_over():
                time.sleep(_TICK)
        self._api.close()

    def step(self) -> None:
        """Somebody moves in, else somebody who waited comes in, else anything may happen to anybody."""
        accounts = [self._api.account(each) for each in self._api.account_ids()]
        # An account without a subscription was made by hand, by somebody who tries things out.
        customers = [account for account in accounts if account.subscriptions]
        if not customers or self._moves_in(customers) or self._comes_in():
            return
        account = self._chance.choice(customers)
        moves = self._moves(account, self._team(account.account_id))
        if moves:
            self._chance.choice(moves)()

    def _moves_in(self, customers: list[Account]) -> bool:
        """The first of a new customer's people all come at once."""
        new = next(
            (each for each in customers if each.account_id not in self._teams and not each.refuses_claims),
            None,
        )
        if new is None:
            return False
        team = self._team(new.account_id)
        room = sum(seats.available or 0 for seats in new.seats.values())
        seated = sum(self._is_seated(team) for _ in range(round(room * self._chance.uniform(*_MOVING_IN))))
        if seated:
            self._say(Tone.GRANTED, f"{seated} people of {new.account_id} move in{self._now(team)}")
        return True

    def _is_seated(self, team: Team) -> bool:
        person = self._somebody(team)
        is_granted = self._api.claim(team.account_id, person.member_id, _ROLE, email=person.email).is_granted
        if is_granted:
            team.members.append(person)
        return is_granted

    def _comes_in(self) -> bool:
        """Whoever waits asks, before anything else happens, whether there is a seat by now."""
        for team in self._teams.values():
            if not team.waiting or not self._api.can_add(team.account_id, _ROLE)["allowed"]:
                continue
            first = team.waiting[0]
            if self._api.claim(team.account_id, first.person.member_id, _ROLE).is_granted:
                team.members.append(team.waiting.popleft().person)
                waited = f"after waiting {time.monotonic() - first.since:.0f} s"
                self._say(
                    Tone.GRANTED, f"{first.person.name} joins {team.account_id} {waited}{self._now(team)}"
                )
                return True
        return False

    def _moves(self, account: Account, team: Team) -> list[Move]:
        """What may happen next; what happens often stands there often."""
        leave: list[Move] = [lambda: self._leave(team)] if team.members else []
        join: list[Move] = [lambda: self._join(team)] if len(team.waiting) < _MOST_WAITING else []
        if account.overage > _MOST_OVER:
            return leave
        if account.refuses_claims:
            return join if not team.waiting else []
        has_room = self._api.can_add(team.account_id, _ROLE)["available"] != 0
        moves = [*join * (8 if has_room else 3), *leave * (1 if team.waiting else 2)]
        moves.append(lambda: self._ask(team))
        if team.invited:
            moves += [*[lambda: self._accept(team)] * 4, lambda: self._decline(team)]
        if has_room and len(team.invited) < _MOST_INVITED:
            moves += [lambda: self._invite(team)] * 2
        if len(team.guests) < _MOST_GUESTS:
            moves.append(lambda: self._welcome_guest(team))
        return moves

    def _join(self, team: Team) -> None:
        person = self._somebody(team)
        reply = self._api.claim(team.account_id, person.member_id, _ROLE, email=person.email)
        if reply.is_granted:
            team.members.append(person)
            self._say(Tone.GRANTED, f"{person.name} joins {team.account_id}{self._now(team)}")
            return
        team.waiting.append(Waiting(person, time.monotonic()))
        self._say(Tone.REFUSED, f"{person.name} waits for {team.account_id}: {wording.refusal(reply.body)}")

    def _invite(self, team: Team) -> None:
        person = self._somebody(team)
        if self._api.claim(
            team.account_id, person.member_id, _ROLE, email=person.email, hold=True
        ).is_granted:
            team.invited.append(person)
            self._say(
                Tone.GRANTED,
                f"{person.name} is invited to {team.account_id}, seat held{self._now(team)}",
            )

    def _accept(self, team: Team) -> None:
        person = team.invited[0]
        if self._api.claim(team.account_id, person.member_id, _ROLE, email=person.email).is_granted:
            team.members.append(team.invited.pop(0))
            self._say(
                Tone.GRANTED, f"{person.name} accepts the invitation to {team.account_id}{self._now(team)}"
            )

    def _decline(self, team: Team) -> None:
        self._release(team, team.invited, "declines the invitation to")

    def _leave(self, team: Team) -> None:
        self._release(team, team.members, "leaves")

    def _release(self, team: Team, people: list[Person], does: str) -> None:
        person = self._chance.choice(people)
        self._api.release(team.account_id, person.member_id)
        people.remove(person)
        self._say(Tone.RELEASED, f"{person.name} {does} {team.account_id}{self._now(team)}")

    def _ask(self, team: Team) -> None:
        count = self._chance.randint(*_GROUP)
        told = self._api.can_add(team.account_id, _ROLE, count)
        self._say(Tone.ASKED, f"may {count} more join {team.account_id}? {wording.permission(told)}")

    def _welcome_guest(self, team: Team) -> None:
        person = self._somebody(team)
        if self._api.claim(team.account_id, person.member_id, _GUEST_ROLE, email=person.email).is_granted:
            team.guests.append(person)
            self._say(
                Tone.GRANTED, f"{person.name} joins {team.account_id} as a {_GUEST_ROLE}, which takes no seat"
            )

    def _team(self, account_id: str) -> Team:
        return self._teams.setdefault(account_id, Team(account_id))

    def _somebody(self, team: Team) -> Person:
        return somebody_new(self._chance, team.account_id, team.names)

    def _now(self, team: Team) -> str:
        """How full the account is after what was just done."""
        seat_type = self._api.can_add(team.account_id, _ROLE)["seat_type"]
        standing = wording.seats_of(self._api.account(team.account_id), seat_type)
        return f" ({standing})" if standing else ""

    def _say(self, tone: Tone, text: str) -> None:
        self._tell(Action(datetime.now(UTC), tone, text))
