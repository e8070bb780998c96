"""Call a Dask scheduler that somebody else started, and be told within seconds if there is none."""

import asyncio
import socket

from distributed import Client, Security
from distributed.comm import connect

from pipeline.errors import PipelineError

CONNECT_S = 5


def call(address: str) -> Client:
    """Return a client of a scheduler, if one answers soon.

    Raises:
        PipelineError: If none does.
    """
    try:
        # Dask's own client asks a closed port again and again, and waits for ever for an answer.
        if not address.startswith("inproc://"):
            _knock(address)
            asyncio.run(asyncio.wait_for(_greet(address), CONNECT_S))
        return Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError, RuntimeError, ImportError) as error:
        raise PipelineError(
            f"params.yaml: no Dask scheduler answers at runtime.scheduler {address} "
            f"({first_line(error)}). Start one (docs/cluster.md), or set it to null"
        ) from None


def _knock(address: str) -> None:
    scheme, _, rest = address.partition("://")
    host, colon, port = rest.rpartition(":")
    if scheme not in ("tcp", "tls") or not colon or not port.isdigit():
        raise ValueError("it should look like tcp://host:8786")
    socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()


async def _greet(address: str) -> None:
    security = Security().get_connection_args("client")
    comm = await connect(address, timeout=CONNECT_S, **security)
    await comm.close()


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
