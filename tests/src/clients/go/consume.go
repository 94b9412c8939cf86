package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Between two looks at commands.
const pollMax = 100 * time.Millisecond

type consumer struct {
	*kgo.Client
	chosen *settings
	// Where `until_end` begins and ends, by topic and partition.
	starts, ends kadm.ListedOffsets
	next         map[string]map[int32]int64
}

func consume(ctx context.Context, chosen *settings) error {
	options, err := consumerOptions(chosen)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	reader := &consumer{Client: client, chosen: chosen, next: map[string]map[int32]int64{}}
	defer client.CloseAllowingRebalance()
	if chosen.Assign {
		if err := reader.assign(ctx); err != nil {
			return err
		}
	}
	given := commands()
	say(event{"ready": true})
	for {
		select {
		case next, open := <-given:
			if !open || next.Do == "stop" {
				return client.LeaveGroupContext(ctx)
			}
			reader.commit(ctx)
		default:
		}
		if reader.chosen.UntilEnd && reader.reached() {
			return nil
		}
		if err := reader.poll(ctx); err != nil {
			return err
		}
	}
}

func consumerOptions(chosen *settings) ([]kgo.Opt, error) {
	options := common(chosen)
	if chosen.Isolation == "read_committed" {
		options = append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	from := map[string]kgo.Offset{
		"earliest": kgo.NewOffset().AtStart(),
		"latest":   kgo.NewOffset().AtEnd(),
		"none":     kgo.NoResetOffset(),
	}
	options = append(options, kgo.ConsumeResetOffset(from[chosen.From]))
	if chosen.Assign {
		if chosen.Commit != "none" {
			return nil, fmt.Errorf("this client commits as a member only, not with assign")
		}
		// They move the position behind what is aborted or compacted.
		return append(options, kgo.KeepControlRecords()), nil
	}
	balancer, known := map[string]kgo.GroupBalancer{
		"range":              kgo.RangeBalancer(),
		"roundrobin":         kgo.RoundRobinBalancer(),
		"cooperative-sticky": kgo.CooperativeStickyBalancer(),
	}[chosen.Assignor]
	if !known {
		return nil, fmt.Errorf("no assignor %q", chosen.Assignor)
	}
	options = append(options,
		kgo.ConsumeTopics(chosen.Topics...),
		kgo.ConsumerGroup(*chosen.Group),
		kgo.Balancers(balancer),
		kgo.SessionTimeout(10*time.Second),
		kgo.HeartbeatInterval(500*time.Millisecond),
		kgo.OnPartitionsAssigned(told("assigned")),
		kgo.OnPartitionsRevoked(told("revoked")),
		kgo.OnPartitionsLost(told("lost")),
	)
	if chosen.InstanceID != nil {
		options = append(options, kgo.InstanceID(*chosen.InstanceID))
	}
	if chosen.Commit == "auto" {
		return append(options, kgo.AutoCommitInterval(200*time.Millisecond)), nil
	}
	return append(options, kgo.DisableAutoCommit()), nil
}

func told(what string) func(context.Context, *kgo.Client, map[string][]int32) {
	return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
		say(event{what: flat(partitions)})
	}
}

func flat(partitions map[string][]int32) [][2]any {
	pairs := [][2]any{}
	for topic, indexes := range partitions {
		for _, index := range indexes {
			pairs = append(pairs, [2]any{topic, index})
		}
	}
	return pairs
}

// assign takes every partition of the topics, without a group.
func (c *consumer) assign(ctx context.Context) error {
	admin := kadm.NewClient(c.Client)
	starts, err := admin.ListStartOffsets(ctx, c.chosen.Topics...)
	if err != nil {
		return err
	}
	list := admin.ListEndOffsets
	if c.chosen.Isolation == "read_committed" {
		list = admin.ListCommittedOffsets
	}
	if c.ends, err = list(ctx, c.chosen.Topics...); err != nil {
		return err
	}
	c.starts = starts
	from := map[string]map[int32]kgo.Offset{}
	starts.Each(func(listed kadm.ListedOffset) {
		if c.next[listed.Topic] == nil {
			c.next[listed.Topic] = map[int32]int64{}
			from[listed.Topic] = map[int32]kgo.Offset{}
		}
		c.next[listed.Topic][listed.Partition] = listed.Offset
		from[listed.Topic][listed.Partition] = kgo.NewOffset().At(listed.Offset)
	})
	c.AddConsumePartitions(from)
	return errors.Join(starts.Error(), c.ends.Error())
}

// reached tells the bounds once every partition was read to the end it had.
func (c *consumer) reached() bool {
	bounds, all := [][4]any{}, true
	c.ends.Each(func(end kadm.ListedOffset) {
		start, _ := c.starts.Lookup(end.Topic, end.Partition)
		all = all && c.next[end.Topic][end.Partition] >= end.Offset
		bounds = append(bounds, [4]any{end.Topic, end.Partition, start.Offset, end.Offset})
	})
	if all {
		say(event{"end": bounds})
	}
	return all
}

func (c *consumer) poll(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, pollMax)
	defer cancel()
	fetches := c.PollFetches(limited)
	for _, failed := range fetches.Errors() {
		if errors.Is(failed.Err, context.DeadlineExceeded) {
			continue
		}
		fatal := !kerr.IsRetriable(failed.Err)
		sayError(failed.Err, fatal)
		if fatal && !c.chosen.GoOn {
			return failed.Err
		}
	}
	fetches.EachRecord(c.record)
	if c.chosen.Commit == "each" && fetches.NumRecords() > 0 {
		c.commit(ctx)
	}
	return nil
}

func (c *consumer) record(record *kgo.Record) {
	if positions := c.next[record.Topic]; positions != nil {
		positions[record.Partition] = record.Offset + 1
	}
	if record.Attrs.IsControl() {
		return
	}
	headers := []header{}
	for _, one := range record.Headers {
		headers = append(headers, header{one.Key, one.Value})
	}
	say(event{"record": event{
		"topic":          record.Topic,
		"partition":      record.Partition,
		"offset":         record.Offset,
		"timestamp_ms":   record.Timestamp.UnixMilli(),
		"timestamp_type": record.Attrs.TimestampType(),
		"key":            record.Key,
		"value":          record.Value,
		"headers":        headers,
	}})
}

// commit commits what was delivered, and tells what the broker took.
func (c *consumer) commit(ctx context.Context) {
	answered := func(_ *kgo.Client, asked *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			sayError(err, false)
			return
		}
		refused := map[string]map[int32]error{}
		for _, topic := range answer.Topics {
			refused[topic.Topic] = map[int32]error{}
			for _, partition := range topic.Partitions {
				refused[topic.Topic][partition.Partition] = kerr.ErrorForCode(partition.ErrorCode)
			}
		}
		committed := [][3]any{}
		for _, topic := range asked.Topics {
			for _, partition := range topic.Partitions {
				if err := refused[topic.Topic][partition.Partition]; err != nil {
					sayError(err, false)
					continue
				}
				committed = append(committed, [3]any{topic.Topic, partition.Partition, partition.Offset})
			}
		}
		say(event{"committed": committed})
	}
	if uncommitted := c.UncommittedOffsets(); len(uncommitted) > 0 {
		c.CommitOffsetsSync(ctx, uncommitted, answered)
	}
}
