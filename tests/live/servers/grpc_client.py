"""Calls a gRPC server, several channels at once, and says how each call ended: path and status.

usage: grpc_client.py HOST:PORT CHANNELS ROUNDS

With ROUNDS of 0 it makes one call of each line of its input, of method and message, on one channel,
and answers each line before it reads the next.
"""

import concurrent.futures
import queue
import sys

import grpc

ADDRESS, CHANNELS, ROUNDS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def channel():
    # Else all channels of a process to one address share a connection.
    return grpc.insecure_channel(ADDRESS, [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)])


def ended(method, call):
    try:
        for _ in call:
            pass
    except grpc.RpcError as error:
        return f"{method} {error.code().value[0]}"
    return f"{method} 0"


def unary(on, method, number, **options):
    try:
        on.unary_unary(method)(b"%d" % number, **options)
    except grpc.RpcError as error:
        return f"{method} {error.code().value[0]}"
    return f"{method} 0"


def collect(on, number):
    """A client that does not end: the server does."""
    method, messages = "/fleet.Deathstar/Collect", queue.SimpleQueue()
    messages.put(b"%d" % number)
    call = on.stream_unary(method).future(iter(messages.get, None))
    code = call.code().value[0]
    messages.put(None)
    return f"{method} {code}"


def wait(on, timeout=None):
    """Ends by its deadline, or is cancelled."""
    method = "/fleet.Deathstar/Wait"
    call = on.unary_stream(method)(b"0", timeout=timeout)
    next(call)
    if timeout is None:
        call.cancel()
    return ended(method, call)


def calls(_):
    said = []
    with channel() as on, concurrent.futures.ThreadPoolExecutor(8) as workers:
        for _ in range(ROUNDS):
            work = [workers.submit(unary, on, "/fleet.Deathstar/Unary", number) for number in range(17)]
            work += [
                workers.submit(lambda number: ended("/fleet.Deathstar/Stream", on.unary_stream("/fleet.Deathstar/Stream")(b"%d" % number)), number)
                for number in range(17)
            ]
            work += [workers.submit(collect, on, number) for number in (0, 5)]
            work += [workers.submit(wait, on, timeout) for timeout in (None, 0.3)]
            work.append(workers.submit(unary, on, "/fleet.Deathstar/Missing", 0))
            said += [one.result() for one in work]
    return said


if ROUNDS:
    with concurrent.futures.ThreadPoolExecutor(CHANNELS) as channels:
        for said in channels.map(calls, range(CHANNELS)):
            print(*said, sep="\n")
else:
    with channel() as on:
        for line in sys.stdin:
            method, number = line.split()
            print(unary(on, method, int(number)), flush=True)
