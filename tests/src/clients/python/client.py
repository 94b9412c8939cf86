"""The kafka-python side of the workload clients: settings as its argument, a JSON document per line both ways."""

import base64
import json
import sys
import threading

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

OUTPUT = threading.Lock()


def say(event):
    with OUTPUT:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


def decoded(text):
    return None if text is None else base64.b64decode(text)


def encoded(data):
    return None if data is None else base64.b64encode(data).decode()


def produce(settings):
    codec = settings["codec"]
    acks = settings["acks"]
    options = {
        "bootstrap_servers": settings["bootstrap"].split(","),
        "client_id": settings["client_id"],
        "compression_type": None if codec == "none" else codec,
        "acks": acks if acks == "all" else int(acks),
        "linger_ms": settings["linger_ms"],
        "enable_idempotence": settings["idempotent"],
        "max_request_size": 4_000_000,
    }
    if settings.get("transactional_id"):
        options["transactional_id"] = settings["transactional_id"]
    options.update(settings.get("properties", {}))
    producer = KafkaProducer(**options)
    if settings.get("transactional_id"):
        producer.init_transactions()
    say({"ready": True})

    def abort():
        # An abort would drop what was not sent yet.
        producer.flush()
        producer.abort_transaction()

    verbs = {
        "flush": producer.flush,
        "begin": producer.begin_transaction,
        "commit": producer.commit_transaction,
        "abort": abort,
    }
    for line in sys.stdin:
        command = json.loads(line)
        if "send" in command:
            send(producer, command["send"])
        else:
            verbs[command["do"]]()
            say({"done": command["do"]})
    producer.flush()
    producer.close()


def send(producer, message):
    number = message["n"]
    future = producer.send(
        message["topic"],
        value=decoded(message["value"]),
        key=decoded(message["key"]),
        headers=[(name, decoded(value)) for name, value in message.get("headers", [])],
        partition=message.get("partition"),
        timestamp_ms=message.get("timestamp_ms"),
    )
    future.add_callback(lambda m: say({"acked": {"n": number, "partition": m.partition, "offset": m.offset}}))
    future.add_errback(lambda e: say({"failed": {"n": number, "error": repr(e)}}))


class Listener(ConsumerRebalanceListener):
    def on_partitions_assigned(self, assigned):
        say({"assigned": [[p.topic, p.partition] for p in assigned]})

    def on_partitions_revoked(self, revoked):
        say({"revoked": [[p.topic, p.partition] for p in revoked]})


def assignor(name):
    if name == "range":
        from kafka.coordinator.assignors.range import RangePartitionAssignor as chosen
    elif name == "roundrobin":
        from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor as chosen
    else:
        from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor as chosen
    return chosen


def consume(settings):
    options = {
        "bootstrap_servers": settings["bootstrap"].split(","),
        "client_id": settings["client_id"],
        "group_id": settings.get("group"),
        "isolation_level": settings["isolation"],
        "auto_offset_reset": settings["from"],
        "enable_auto_commit": settings["commit"] == "auto",
        "auto_commit_interval_ms": 200,
        "session_timeout_ms": 10_000,
        "heartbeat_interval_ms": 500,
        "partition_assignment_strategy": [assignor(settings["assignor"])],
    }
    if settings.get("instance_id"):
        options["group_instance_id"] = settings["instance_id"]
    options.update(settings.get("properties", {}))
    consumer = KafkaConsumer(**options)
    starts, ends = {}, {}
    if settings["assign"]:
        every = [TopicPartition(t, p) for t in settings["topics"] for p in sorted(consumer.partitions_for_topic(t))]
        consumer.assign(every)
        if settings["until_end"]:
            consumer.seek_to_beginning(*every)
            starts, ends = consumer.beginning_offsets(every), consumer.end_offsets(every)
    else:
        consumer.subscribe(topics=settings["topics"], listener=Listener())
    commands = []
    threading.Thread(target=read_commands, args=(commands,), daemon=True).start()
    say({"ready": True})
    try:
        while "stop" not in commands:
            if settings["until_end"] and all(consumer.position(p) >= end for p, end in ends.items()):
                say({"end": [[p.topic, p.partition, starts[p], end] for p, end in ends.items()]})
                break
            poll(consumer, settings, commands)
    finally:
        consumer.close()


def poll(consumer, settings, commands):
    try:
        batches = consumer.poll(timeout_ms=100)
        for records in batches.values():
            for record in records:
                say_record(record)
        asked = "commit" in commands
        if asked:
            commands.remove("commit")
        if asked or (settings["commit"] == "each" and batches):
            offsets = {p: OffsetAndMetadata(consumer.position(p), "", -1) for p in consumer.assignment()}
            consumer.commit(offsets)
            say({"committed": [[p.topic, p.partition, o.offset] for p, o in offsets.items()]})
    except KafkaError as error:
        say({"error": {"message": repr(error), "fatal": not getattr(error, "retriable", False)}})
        if not settings["go_on"] and not getattr(error, "retriable", False):
            raise


def read_commands(commands):
    for line in sys.stdin:
        commands.append(json.loads(line)["do"])
    commands.append("stop")


def say_record(record):
    say(
        {
            "record": {
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "timestamp_ms": record.timestamp,
                "timestamp_type": record.timestamp_type,
                "key": encoded(record.key),
                "value": encoded(record.value),
                "headers": [[name, encoded(value)] for name, value in record.headers],
            }
        }
    )


if __name__ == "__main__":
    chosen = json.loads(sys.argv[1])
    produce(chosen) if chosen["verb"] == "produce" else consume(chosen)
