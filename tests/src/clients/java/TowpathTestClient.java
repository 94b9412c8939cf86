import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The Java side of the workload clients: settings as its argument, a JSON document per line both ways. */
public final class TowpathTestClient {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final PrintStream OUT = new PrintStream(System.out, false, StandardCharsets.UTF_8);

    public static void main(String[] arguments) throws Exception {
        JsonNode settings = JSON.readTree(arguments[0]);
        if (settings.get("verb").asText().equals("produce")) {
            produce(settings);
        } else {
            consume(settings);
        }
    }

    private static Properties properties(JsonNode settings) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", settings.get("bootstrap").asText());
        properties.put("client.id", settings.get("client_id").asText());
        return properties;
    }

    /** What the scenario sets by this client's own names wins. */
    private static void override(Properties properties, JsonNode settings) {
        settings.path("properties").fields().forEachRemaining(e -> properties.put(e.getKey(), e.getValue().asText()));
    }

    private static synchronized void print(ObjectNode event) {
        OUT.println(event);
        OUT.flush();
    }

    private static void printError(Exception error, boolean fatal) {
        ObjectNode event = JSON.createObjectNode();
        event.putObject("error").put("message", String.valueOf(error)).put("fatal", fatal);
        print(event);
    }

    private static byte[] bytes(JsonNode node) {
        return node == null || node.isNull() ? null : Base64.getDecoder().decode(node.asText());
    }

    private static String text(byte[] bytes) {
        return bytes == null ? null : Base64.getEncoder().encodeToString(bytes);
    }

    private static void produce(JsonNode settings) throws Exception {
        Properties properties = properties(settings);
        properties.put("compression.type", settings.get("codec").asText());
        properties.put("acks", settings.get("acks").asText());
        properties.put("enable.idempotence", settings.get("idempotent").asText());
        properties.put("linger.ms", settings.get("linger_ms").asText());
        properties.put("max.request.size", "4000000");
        if (settings.hasNonNull("transactional_id")) {
            properties.put("transactional.id", settings.get("transactional_id").asText());
        }
        override(properties, settings);
        KafkaProducer<byte[], byte[]> producer =
            new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
        if (properties.containsKey("transactional.id")) {
            producer.initTransactions();
        }
        print(JSON.createObjectNode().put("ready", true));
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            JsonNode command = JSON.readTree(line);
            if (command.has("send")) {
                send(producer, command.get("send"));
                continue;
            }
            String verb = command.get("do").asText();
            switch (verb) {
                case "flush" -> producer.flush();
                case "begin" -> producer.beginTransaction();
                case "commit" -> producer.commitTransaction();
                case "abort" -> {
                    producer.flush();
                    producer.abortTransaction();
                }
                default -> throw new IllegalArgumentException(verb);
            }
            print(JSON.createObjectNode().put("done", verb));
        }
        producer.flush();
        producer.close();
    }

    private static void send(KafkaProducer<byte[], byte[]> producer, JsonNode message) {
        long number = message.get("n").asLong();
        Integer partition = message.hasNonNull("partition") ? message.get("partition").asInt() : null;
        Long timestamp = message.hasNonNull("timestamp_ms") ? message.get("timestamp_ms").asLong() : null;
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(
            message.get("topic").asText(), partition, timestamp, bytes(message.get("key")), bytes(message.get("value")));
        for (JsonNode header : message.path("headers")) {
            record.headers().add(header.get(0).asText(), bytes(header.get(1)));
        }
        producer.send(record, (metadata, error) -> {
            ObjectNode event = JSON.createObjectNode();
            if (error == null) {
                event.putObject("acked").put("n", number).put("partition", metadata.partition())
                    .put("offset", metadata.offset());
            } else {
                event.putObject("failed").put("n", number).put("error", String.valueOf(error));
            }
            print(event);
        });
    }

    private static void consume(JsonNode settings) throws Exception {
        Properties properties = properties(settings);
        properties.put("isolation.level", settings.get("isolation").asText());
        properties.put("auto.offset.reset", settings.get("from").asText());
        properties.put("enable.auto.commit", settings.get("commit").asText().equals("auto") ? "true" : "false");
        properties.put("auto.commit.interval.ms", "200");
        if (settings.hasNonNull("group")) {
            properties.put("group.id", settings.get("group").asText());
        }
        if (settings.hasNonNull("instance_id")) {
            properties.put("group.instance.id", settings.get("instance_id").asText());
        }
        if (settings.get("protocol").asText().equals("consumer")) {
            properties.put("group.protocol", "consumer");
        } else {
            properties.put("session.timeout.ms", "10000");
            properties.put("heartbeat.interval.ms", "500");
            properties.put("partition.assignment.strategy", assignor(settings.get("assignor").asText()));
        }
        override(properties, settings);
        try (KafkaConsumer<byte[], byte[]> consumer =
                new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            new Consuming(consumer, settings).run();
        }
    }

    private static String assignor(String name) {
        String prefix = "org.apache.kafka.clients.consumer.";
        return switch (name) {
            case "range" -> prefix + "RangeAssignor";
            case "roundrobin" -> prefix + "RoundRobinAssignor";
            case "cooperative-sticky" -> prefix + "CooperativeStickyAssignor";
            default -> throw new IllegalArgumentException(name);
        };
    }

    /** One consumer's life. */
    private static final class Consuming implements ConsumerRebalanceListener {
        private final KafkaConsumer<byte[], byte[]> consumer;
        private final JsonNode settings;
        private final ConcurrentLinkedQueue<String> commands = new ConcurrentLinkedQueue<>();
        private final List<String> topics = new ArrayList<>();

        Consuming(KafkaConsumer<byte[], byte[]> consumer, JsonNode settings) {
            this.consumer = consumer;
            this.settings = settings;
            settings.get("topics").forEach(topic -> topics.add(topic.asText()));
        }

        void run() throws Exception {
            Map<TopicPartition, Long> ends = new HashMap<>();
            Map<TopicPartition, Long> starts = new HashMap<>();
            if (settings.get("assign").asBoolean()) {
                List<TopicPartition> all = new ArrayList<>();
                for (String topic : topics) {
                    consumer.partitionsFor(topic).forEach(p -> all.add(new TopicPartition(topic, p.partition())));
                }
                consumer.assign(all);
                if (settings.get("until_end").asBoolean()) {
                    consumer.seekToBeginning(all);
                    starts = consumer.beginningOffsets(all);
                    ends = consumer.endOffsets(all);
                }
            } else {
                consumer.subscribe(topics, this);
            }
            readCommands();
            print(JSON.createObjectNode().put("ready", true));
            while (!commands.contains("stop")) {
                if (settings.get("until_end").asBoolean() && reached(ends)) {
                    printEnd(starts, ends);
                    return;
                }
                poll();
            }
        }

        private void readCommands() {
            Thread reader = new Thread(() -> {
                try {
                    BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
                    for (String line = input.readLine(); line != null; line = input.readLine()) {
                        commands.add(JSON.readTree(line).get("do").asText());
                    }
                } catch (Exception error) {
                    printError(error, true);
                }
                commands.add("stop");
            });
            reader.setDaemon(true);
            reader.start();
        }

        private void poll() {
            try {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(100));
                records.forEach(this::printRecord);
                boolean each = settings.get("commit").asText().equals("each");
                if (commands.remove("commit") || (each && !records.isEmpty())) {
                    commit();
                }
            } catch (RebalanceInProgressException error) {
                printError(error, false);
            } catch (KafkaException error) {
                // The Java client throws what it can't mend: its owner restarts it, or it goes on polling.
                printError(error, true);
                if (!settings.get("go_on").asBoolean()) {
                    throw error;
                }
            }
        }

        private void commit() {
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            consumer.assignment().forEach(p -> offsets.put(p, new OffsetAndMetadata(consumer.position(p))));
            consumer.commitSync(offsets);
            ObjectNode event = JSON.createObjectNode();
            ArrayNode list = event.putArray("committed");
            offsets.forEach((p, o) -> list.addArray().add(p.topic()).add(p.partition()).add(o.offset()));
            print(event);
        }

        private boolean reached(Map<TopicPartition, Long> ends) {
            return ends.entrySet().stream().allMatch(e -> consumer.position(e.getKey()) >= e.getValue());
        }

        private void printEnd(Map<TopicPartition, Long> starts, Map<TopicPartition, Long> ends) {
            ObjectNode event = JSON.createObjectNode();
            ArrayNode list = event.putArray("end");
            ends.forEach((p, end) -> list.addArray().add(p.topic()).add(p.partition()).add(starts.get(p)).add(end));
            print(event);
        }

        private void printRecord(ConsumerRecord<byte[], byte[]> record) {
            ObjectNode event = JSON.createObjectNode();
            ObjectNode fields = event.putObject("record");
            fields.put("topic", record.topic()).put("partition", record.partition()).put("offset", record.offset());
            fields.put("timestamp_ms", record.timestamp()).put("timestamp_type", record.timestampType().id);
            fields.put("key", text(record.key())).put("value", text(record.value()));
            ArrayNode headers = fields.putArray("headers");
            for (Header header : record.headers()) {
                headers.addArray().add(header.key()).add(text(header.value()));
            }
            print(event);
        }

        private void printPartitions(String name, Collection<TopicPartition> partitions) {
            ObjectNode event = JSON.createObjectNode();
            ArrayNode list = event.putArray(name);
            partitions.forEach(p -> list.addArray().add(p.topic()).add(p.partition()));
            print(event);
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            printPartitions("assigned", partitions);
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            printPartitions("revoked", partitions);
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> partitions) {
            printPartitions("lost", partitions);
        }
    }
}
