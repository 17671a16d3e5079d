"""The websockets package against a broadcaster: python3 client.py ws://127.0.0.1:PORT/

Two clients, one that compresses and one that does not. The first failure ends it with
exit code 1.
"""

import asyncio
import os
import sys

import websockets

SIZES = [0, 1, 125, 126, 511, 512, 65535, 65536, 500_000]


async def main(url):
    async with websockets.connect(url, compression="deflate", max_size=None) as a, \
            websockets.connect(url, compression=None, max_size=None) as b:
        for peer in (a, b):
            assert await peer.recv() == "connection established"
        for sender in (a, b):
            for size in SIZES:
                for message in ("안녕 hello " * (size // 8 + 1))[:size], os.urandom(size):
                    await sender.send(message)
                    for peer in (a, b):
                        got = await asyncio.wait_for(peer.recv(), 20)
                        assert got == message, f"{size}: {got!r:.100}"
            # A message in fragments.
            await sender.send(["one, ", "two, ", "three"])
            for peer in (a, b):
                assert await peer.recv() == "one, two, three"
            await asyncio.wait_for(await sender.ping(b"payload"), 20)
        compressed = [e.name for e in a.extensions]
        print(f"text and binary of {len(SIZES)} sizes, fragments, pings; extensions {compressed}")
        await a.close(1000, "bye")
        assert a.close_code == 1000, a.close_code


asyncio.run(main(sys.argv[1]))
