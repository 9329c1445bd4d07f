"""The view on a terminal, redrawn in place."""

from __future__ import annotations

from rich.console import Console
from rich.live import Live

from cli.demo import seat_bars
from cli.demo.live_view import Header, LiveView
from cli.demo.view import View


class Screen:
    """A `Display` on the terminal's alternate screen; afterwards the terminal is as it was before."""

    def __init__(self, console: Console, header: Header) -> None:
        self._console = console
        self._header = header
        self._live = Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop")

    def start(self) -> None:
        self._live.start()

    def draw(self, view: View) -> None:
        glyphs = seat_bars.BLOCKS if self._console.encoding.startswith("utf") else seat_bars.ASCII
        width, height = self._console.size
        self._live.update(LiveView(self._header, width, height, glyphs).of(view), refresh=True)

    def end(self) -> None:
        self._live.stop()
