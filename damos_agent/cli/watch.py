"""Showing a text again and again: with rich on a screen of its own, else below each other."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from damos_agent.cli import exits
from damos_agent.cli.session import Session
from damos_agent.model.errors import DamosError


def watch_screen(session: Session, text: Callable[[], str], every_s: float) -> int:
    """Until interrupted. An error is shown in place of the text, and tried again."""

    def shown() -> str:
        try:
            return text()
        except DamosError as error:
            return click.style(f"{error}\n", fg="red")

    try:
        if sys.stdout.isatty():
            _on_screen(session, shown, every_s)
        while True:
            click.echo(shown())
            session.sleep(every_s)
    except KeyboardInterrupt:
        return exits.OK


def _on_screen(session: Session, shown: Callable[[], str], every_s: float) -> None:
    try:
        from rich.live import Live
        from rich.text import Text
    except ImportError:  # the extra `tui` is not installed
        while True:
            click.echo("\x1b[H\x1b[2J" + shown(), nl=False)
            session.sleep(every_s)
    plain = session.color is False

    def frame() -> Text:
        text = shown()
        return Text(click.unstyle(text)) if plain else Text.from_ansi(text)

    with Live(frame(), screen=True, auto_refresh=False) as live:
        while True:
            session.sleep(every_s)
            live.update(frame(), refresh=True)
