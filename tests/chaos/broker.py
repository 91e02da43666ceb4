"""The broker as a process: orders come as JSON lines on standard input, and each is answered with one."""

import asyncio
import json
import sys
from base64 import b64encode
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta

from sandbox.run import ROOT
from servicebus_sandbox import Broker, load_queues
from servicebus_sandbox.errors import QuotaExceeded
from servicebus_sandbox.messages import encode_message


async def main(lock):
    queues = load_queues(ROOT / "infra" / "queues.json")
    queues = {name: replace(each, lock_duration=timedelta(seconds=float(lock))) for name, each in queues.items()}
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with Broker(queues) as broker:
        answer(broker.connection_string)
        refusing: dict[str, list[ExitStack]] = {}
        while line := await reader.readline():
            order, *arguments = json.loads(line)
            answer(await ORDERS[order](broker, refusing, *arguments))


async def refuse(broker, refusing, queue, is_full):
    stack = ExitStack()
    stack.enter_context(broker.fail_sends(queue, QuotaExceeded("the queue is full") if is_full else None))
    refusing.setdefault(queue, []).append(stack)


async def admit(_broker, refusing, queue):
    refusing[queue].pop().close()


async def lose_answers(broker, _refusing, count):
    broker.lose_answers(count)


async def detach(broker, _refusing):
    return broker.detach_idle_links(0)


async def look(broker, _refusing, queue):
    """Give all messages of a queue, as a client would get them."""
    return [b64encode(encode_message(each.message, each.stamps())).decode() for each in broker.queue(queue).messages()]


ORDERS = {each.__name__: each for each in (refuse, admit, lose_answers, detach, look)}


def answer(content):
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
