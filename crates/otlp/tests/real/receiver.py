"""A receiver of OTLP logs by Google's gRPC. Prints its port, then the numbers of each request's records.

A record is rejected if it is the first of its request and has a number that the first argument divides. The second
argument is the most bytes of a message.
"""

import os
import sys
from concurrent import futures

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as messages
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as service


class Logs(service.LogsServiceServicer):
    def Export(self, request, context):
        records = [record for logs in request.resource_logs for scope in logs.scope_logs for record in scope.log_records]
        numbers = [attribute.value.int_value for record in records for attribute in record.attributes if attribute.key == "number"]
        # One write, since threads share the output.
        os.write(1, (" ".join(map(str, numbers)) + "\n").encode())
        answer = messages.ExportLogsServiceResponse()
        if numbers[0] % int(sys.argv[1]) == 0:
            answer.partial_success.rejected_log_records = 1
            answer.partial_success.error_message = "the first is not wanted"
        return answer


server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", int(sys.argv[2]))])
service.add_LogsServiceServicer_to_server(Logs(), server)
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
# The test closes it.
sys.stdin.read()
