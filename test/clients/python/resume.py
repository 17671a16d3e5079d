"""The websockets package with ids: python3 resume.py ws://127.0.0.1:PORT/room

It loses its connection again and again, and comes back behind the last message that it has
got. The first failure ends it with exit code 1.
"""

import asyncio
import sys

import websockets

MESSAGES = 60


async def follow(url, compression, got):
    """Gets all messages, with a connection for every few of them."""
    last = None
    while len(got) < MESSAGES:
        target = url if last is None else f"{url}?since={last}"
        async with websockets.connect(target, subprotocols=["other", "crier.v1"], compression=compression) as ws:
            assert ws.subprotocol == "crier.v1", ws.subprotocol
            line, _, greeting = (await ws.recv()).partition("\n")
            word, _, at = line.partition(": ")
            assert word == "at" and greeting == "connection established", line
            assert last is None or at == last, (at, last)
            last = at
            for _ in range(7):
                if len(got) == MESSAGES:
                    break
                message = await asyncio.wait_for(ws.recv(), 20)
                newline = "\n" if isinstance(message, str) else b"\n"
                line, _, payload = message.partition(newline)
                line = line if isinstance(line, str) else line.decode()
                word, _, id = line.partition(": ")
                assert word == "id", line
                assert int(id.split("-")[1]) == int(last.split("-")[1]) + 1, (id, last)
                last = id
                got.append(payload)


async def drain(ws):
    """Reads what comes, so that the connection can be closed in time."""
    async for _ in ws:
        pass


async def main(url):
    want, a, b = [], [], []
    followers = [asyncio.create_task(follow(url, "deflate", a)), asyncio.create_task(follow(url, None, b))]
    async with websockets.connect(url) as sender:
        await sender.recv()
        draining = asyncio.create_task(drain(sender))
        await asyncio.sleep(0.2)  # The followers must be there before the first message.
        for i in range(MESSAGES):
            message = f"message {i} " * (1 + i % 3 * 50)
            if i % 5 == 4:
                message = message.encode() + b"\xff\x00"
            want.append(message)
            await sender.send(message)
            await asyncio.sleep(0.01)
        await asyncio.wait_for(asyncio.gather(*followers), 30)
    await draining
    assert a == want, "with compression"
    assert b == want, "without compression"
    print(f"{MESSAGES} messages over {(MESSAGES + 6) // 7} connections each, compressed and not, once and in order")


asyncio.run(main(sys.argv[1]))
