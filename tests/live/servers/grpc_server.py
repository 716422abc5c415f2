"""A gRPC server whose calls end as their first message says.

usage: grpc_server.py LOG PORT

A message is the number of a status. Logs a line for each call that ends by itself: path and status.
"""

import concurrent.futures
import sys
import threading

import grpc

LOG = open(sys.argv[1], "a", buffering=1)
LOCK = threading.Lock()
STATUS = {code.value[0]: code for code in grpc.StatusCode}


def end(context, method, number):
    with LOCK:
        LOG.write(f"/fleet.Deathstar/{method} {number}\n")
    if number:
        context.abort(STATUS[number], "as asked")


def unary(request, context):
    """Headers, a message and trailers; with an error trailers only."""
    end(context, "Unary", int(request))
    return b"landed" * 5000


def stream(request, context):
    """Headers and a message before the trailers, with an error too."""
    yield b"one"
    end(context, "Stream", int(request))


def collect(requests, context):
    """Ends before its client has."""
    end(context, "Collect", int(next(requests)))
    return b"enough"


def wait(request, context):
    """Answers at once, and ends only when its client has gone."""
    gone = threading.Event()
    context.add_callback(gone.set)
    yield b"one"
    gone.wait()


class Fleet(grpc.GenericRpcHandler):
    METHODS = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Wait": grpc.unary_stream_rpc_method_handler(wait),
    }

    def service(self, details):
        return self.METHODS.get(details.method.rsplit("/", 1)[1])


server = grpc.server(concurrent.futures.ThreadPoolExecutor(64), handlers=[Fleet()])
server.add_insecure_port(f"[::]:{sys.argv[2]}")
server.start()
server.wait_for_termination()
