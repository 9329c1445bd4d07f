"""The command line: `python -m simulator`."""

from __future__ import annotations

import logging
import random
import signal
import threading
from pathlib import Path

import click
from standardwebhooks.webhooks import EmptyWebhookSecretError

from simulator.business import Business
from simulator.refusal import Refusal
from simulator.server import Simulator
from simulator.world import Settings


@click.command()
@click.option("--port", default=0, show_default=True, help="0 lets the system choose one.")
@click.option("--webhook-url", required=True, help="The URL to send webhooks to; http only.")
@click.option("--webhook-secret", required=True, help="The secret to sign webhooks with, whsec_...")
@click.option("--api-key", required=True, help="The API key that requests must have.")
@click.option("--business-id", default="bus_simulator", show_default=True)
@click.option("--speed", default=1.0, show_default=True, help="Divides the delays of webhook retries.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed for ids and random faults.")
@click.option("--delivery-threads", default=16, show_default=True)
@click.option("--port-file", type=click.Path(path_type=Path), help="Write the port to this file when ready.")
@click.option("--play", is_flag=True, help="Simulate the customers of a small business.")
def main(
    *,
    port: int,
    webhook_url: str,
    webhook_secret: str,
    api_key: str,
    business_id: str,
    speed: float,
    seed: int,
    delivery_threads: int,
    port_file: Path | None,
    play: bool,
) -> None:
    """Simulate the billing provider until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.WARNING, format="simulator: %(message)s")
    settings = Settings(
        webhook_url=webhook_url,
        webhook_secret=webhook_secret,
        api_key=api_key,
        business_id=business_id,
        speed=speed,
        seed=seed,
        delivery_threads=delivery_threads,
    )
    simulator = build(settings, port)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    with simulator:
        if port_file:
            write_whole(port_file, str(simulator.port))
        click.echo(f"simulator is ready on {simulator.url}")
        if play:
            business = Business(simulator.world, random.Random(seed))
            business.run(stopping, lambda step: click.echo(step, err=True))
        stopping.wait()


def build(settings: Settings, port: int) -> Simulator:
    """Create the simulator. Raises `ClickException` with one line if an option is wrong."""
    try:
        return Simulator(settings, port=port)
    except (OSError, ValueError, EmptyWebhookSecretError, Refusal) as error:
        raise click.ClickException(str(error)) from error


def write_whole(path: Path, text: str) -> None:
    """Write the file at once, so that no reader sees half of it."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.write_text(text)
    unfinished.replace(path)


if __name__ == "__main__":
    main()
