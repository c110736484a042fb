"""Who makes room for whom on a full listener."""

from __future__ import annotations

from kube.http.guests import Guest, Guests, Places, Standing

ALL = Places(total=4, per_peer=4, greeting=4, anonymous=4)


class Room:
    """Guests by name, and who was cut, in order."""

    def __init__(self, places: Places) -> None:
        self.guests = Guests(places)
        self.cut: list[str] = []
        self.by_name: dict[str, Guest] = {}

    def arrive(self, name: str, peer: str = "a", standing: Standing = Standing.GREETING) -> bool:
        guest = Guest(peer, lambda: self.cut.append(name), standing)
        self.by_name[name] = guest
        return self.guests.arrive(guest)

    def rise(self, name: str, standing: Standing) -> None:
        self.guests.rise(self.by_name[name], standing)


def test_the_oldest_that_has_shown_nothing_goes_first() -> None:
    room = Room(ALL)
    for name in "1234":
        assert room.arrive(name)
    room.rise("1", Standing.KNOWN)
    room.rise("2", Standing.ANONYMOUS)
    assert room.arrive("5") and room.arrive("6") and room.arrive("7")
    assert room.cut == ["3", "4", "5"]
    assert len(room.guests) == 4


def test_then_the_oldest_without_a_certificate_and_nobody_else() -> None:
    room = Room(ALL)
    for name in "1234":
        room.arrive(name)
        room.rise(name, Standing.ANONYMOUS if name in "23" else Standing.KNOWN)
    assert room.arrive("5")
    room.rise("5", Standing.KNOWN)
    assert room.arrive("6")
    room.rise("6", Standing.KNOWN)
    assert room.cut == ["2", "3"]
    assert not room.arrive("7")
    assert room.cut == ["2", "3"]


def test_a_flood_from_one_address_pushes_out_itself() -> None:
    room = Room(ALL)
    assert room.arrive("friend", "b")
    for name in "12345":
        assert room.arrive(name, "a")
    assert room.cut == ["1", "2"]
    room.rise("friend", Standing.KNOWN)
    assert room.guests.count(Standing.KNOWN) == 1


def test_one_address_does_not_get_all_places() -> None:
    room = Room(Places(total=4, per_peer=3, greeting=4, anonymous=4))
    for name in "123":
        assert room.arrive(name)
        room.rise(name, Standing.KNOWN)
    assert not room.arrive("4")
    assert room.arrive("5", "b")


def test_those_without_a_certificate_get_half() -> None:
    room = Room(Places.of(100, tls=True))
    for number in range(120):
        assert room.arrive(str(number), f"peer-{number}")
        room.rise(str(number), Standing.ANONYMOUS)
    assert room.guests.count(Standing.ANONYMOUS) == 50
    assert room.cut == [str(number) for number in range(70)]


def test_who_was_cut_or_left_is_forgotten() -> None:
    room = Room(ALL)
    for name in "12345":
        room.arrive(name)
    room.rise("1", Standing.KNOWN)  # cut meanwhile
    assert not room.guests.leave(room.by_name["1"])
    for name in "2345":
        assert room.guests.leave(room.by_name[name])
    assert len(room.guests) == 0


def test_a_process_without_room_takes_only_in_exchange() -> None:
    guests = Guests(ALL)
    cut: list[str] = []
    first = Guest("a", lambda: cut.append("first"))
    assert not guests.arrive(first, room=False)
    assert guests.arrive(first)
    assert guests.arrive(Guest("a", lambda: None), room=False)
    assert cut == ["first"]
