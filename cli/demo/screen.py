"""On a terminal: a live view that stands still except for what happens."""

from __future__ import annotations

from rich.console import Console
from rich.live import Live

from cli.demo import seat_bars
from cli.demo.live_view import About, LiveView
from cli.demo.view import View


class Screen:
    """A `Show` on the terminal's other page, which is left as it was found."""

    def __init__(self, console: Console, about: About) -> None:
        self._console = console
        self._about = about
        self._live = Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop")

    def start(self) -> None:
        self._live.start()

    def draw(self, picture: View) -> None:
        glyphs = seat_bars.BLOCKS if self._console.encoding.startswith("utf") else seat_bars.ASCII
        width, height = self._console.size
        self._live.update(LiveView(self._about, width, height, glyphs).of(picture), refresh=True)

    def end(self) -> None:
        self._live.stop()
