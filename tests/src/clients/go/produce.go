package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What goes to no partition by name.
const anyPartition = -1

func codec(name string) (kgo.CompressionCodec, error) {
	codecs := map[string]kgo.CompressionCodec{
		"none":   kgo.NoCompression(),
		"gzip":   kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(),
		"lz4":    kgo.Lz4Compression(),
		"zstd":   kgo.ZstdCompression(),
	}
	chosen, known := codecs[name]
	if !known {
		return chosen, fmt.Errorf("no codec %q", name)
	}
	return chosen, nil
}

// The named partition, or one by the key, or by turns.
func partitioner() kgo.Partitioner {
	return kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
		turn := 0
		return func(record *kgo.Record, partitions int) int {
			if record.Partition != anyPartition {
				return int(record.Partition)
			}
			if record.Key == nil {
				turn++
				return turn % partitions
			}
			hash := fnv.New32a()
			hash.Write(record.Key)
			return int(hash.Sum32() % uint32(partitions))
		}
	})
}

func produce(ctx context.Context, chosen *settings) error {
	compression, err := codec(chosen.Codec)
	if err != nil {
		return err
	}
	acks := map[string]kgo.Acks{"all": kgo.AllISRAcks(), "1": kgo.LeaderAck(), "0": kgo.NoAck()}[chosen.Acks]
	options := append(common(chosen),
		kgo.ProducerBatchCompression(compression),
		kgo.RequiredAcks(acks),
		kgo.ProducerLinger(time.Duration(chosen.LingerMs)*time.Millisecond),
		kgo.ProducerBatchMaxBytes(4_000_000),
		kgo.RecordPartitioner(partitioner()),
	)
	if !chosen.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
	}
	if chosen.TransactionalID != nil {
		options = append(options, kgo.TransactionalID(*chosen.TransactionalID))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	say(event{"ready": true})
	for next := range commands() {
		if next.Send != nil {
			send(ctx, client, next.Send)
			continue
		}
		if err := do(ctx, client, next.Do); err != nil {
			return err
		}
		say(event{"done": next.Do})
	}
	return client.Flush(ctx)
}

func do(ctx context.Context, client *kgo.Client, verb string) error {
	switch verb {
	case "flush":
		return client.Flush(ctx)
	case "begin":
		return client.BeginTransaction()
	case "commit", "abort":
		// An abort would drop what was not sent yet.
		if err := client.Flush(ctx); err != nil {
			return err
		}
		return client.EndTransaction(ctx, kgo.TransactionEndTry(verb == "commit"))
	}
	return fmt.Errorf("a producer can't %q", verb)
}

func send(ctx context.Context, client *kgo.Client, sent *message) {
	record := &kgo.Record{Topic: sent.Topic, Partition: anyPartition, Key: sent.Key, Value: sent.Value}
	if sent.Partition != nil {
		record.Partition = *sent.Partition
	}
	if sent.TimestampMs != nil {
		record.Timestamp = time.UnixMilli(*sent.TimestampMs)
	}
	for _, header := range sent.Headers {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.name, Value: header.value})
	}
	client.Produce(ctx, record, func(record *kgo.Record, err error) {
		if err != nil {
			say(event{"failed": event{"n": sent.N, "error": err.Error()}})
			return
		}
		say(event{"acked": event{"n": sent.N, "partition": record.Partition, "offset": record.Offset}})
	})
}
