"""A cluster of Kafka by librdkafka's mock brokers, and librdkafka's consumer of it.

The first argument is the number of brokers, the others are topics. Prints the brokers' addresses in one line, then each
message as a line of JSON: topic, partition, key, headers, and its value: as a request of OTLP logs, in base64 and with the
numbers of its records, or else as JSON. Checksums are checked.
"""

import base64
import json
import os
import sys

from confluent_kafka import Consumer, Producer, TopicPartition
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

brokers, topics = sys.argv[1], sys.argv[2:]
# The brokers live as long as this.
cluster = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": int(brokers)})
addresses = [f"{broker.host}:{broker.port}" for broker in cluster.list_topics(timeout=60).brokers.values()]
consumer = Consumer(
    {"bootstrap.servers": ",".join(addresses), "group.id": "test", "check.crcs": True, "auto.offset.reset": "earliest"}
)
places = []
for topic in topics:
    # Asking makes it.
    partitions = cluster.list_topics(topic, timeout=60).topics[topic].partitions
    places += [TopicPartition(topic, partition, 0) for partition in partitions]
consumer.assign(places)
print(" ".join(addresses), flush=True)
while os.getppid() != 1:
    message = consumer.poll(1)
    if message is None or message.error():
        continue
    line = {
        "topic": message.topic(),
        "partition": message.partition(),
        "key": (message.key() or b"").decode(),
        "headers": {name: value.decode() for name, value in message.headers() or []},
    }
    try:
        request = ExportLogsServiceRequest.FromString(message.value())
        records = [record for logs in request.resource_logs for scope in logs.scope_logs for record in scope.log_records]
        line["request"] = base64.b64encode(message.value()).decode()
        line["numbers"] = [attribute.value.int_value for record in records for attribute in record.attributes if attribute.key == "number"]
    except DecodeError:
        line["value"] = json.loads(message.value())
    print(json.dumps(line), flush=True)
