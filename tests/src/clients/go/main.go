// The franz-go side of the workload clients: settings as its argument, a JSON document per line both ways.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

type settings struct {
	Verb            string         `json:"verb"`
	Bootstrap       string         `json:"bootstrap"`
	ClientID        string         `json:"client_id"`
	Codec           string         `json:"codec"`
	Acks            string         `json:"acks"`
	Idempotent      bool           `json:"idempotent"`
	TransactionalID *string        `json:"transactional_id"`
	LingerMs        int            `json:"linger_ms"`
	Group           *string        `json:"group"`
	InstanceID      *string        `json:"instance_id"`
	Topics          []string       `json:"topics"`
	Assign          bool           `json:"assign"`
	UntilEnd        bool           `json:"until_end"`
	Isolation       string         `json:"isolation"`
	From            string         `json:"from"`
	Commit          string         `json:"commit"`
	Protocol        string         `json:"protocol"`
	Assignor        string         `json:"assignor"`
	GoOn            bool           `json:"go_on"`
	Properties      map[string]any `json:"properties"`
}

type command struct {
	Send *message `json:"send"`
	Do   string   `json:"do"`
}

type message struct {
	N           uint64   `json:"n"`
	Topic       string   `json:"topic"`
	Partition   *int32   `json:"partition"`
	TimestampMs *int64   `json:"timestamp_ms"`
	Key         []byte   `json:"key"`
	Value       []byte   `json:"value"`
	Headers     []header `json:"headers"`
}

// A pair on the wire: the name, then the value in base64 or null.
type header struct {
	name  string
	value []byte
}

func (h *header) UnmarshalJSON(text []byte) error {
	pair := []any{&h.name, &h.value}
	return json.Unmarshal(text, &pair)
}

func (h header) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{h.name, h.value})
}

type event = map[string]any

var output sync.Mutex

func say(told event) {
	line, err := json.Marshal(told)
	if err != nil {
		fail(err)
	}
	output.Lock()
	defer output.Unlock()
	os.Stdout.Write(append(line, '\n'))
}

func sayError(err error, fatal bool) {
	say(event{"error": event{"message": err.Error(), "fatal": fatal}})
}

// commands hands out each line of the input, and closes the channel at its end.
func commands() <-chan command {
	given := make(chan command)
	go func() {
		defer close(given)
		lines := bufio.NewReaderSize(os.Stdin, 1<<20)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return
			}
			var next command
			if err := json.Unmarshal(line, &next); err != nil {
				fail(err)
			}
			given <- next
		}
	}()
	return given
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func main() {
	var chosen settings
	if err := json.Unmarshal([]byte(os.Args[1]), &chosen); err != nil {
		fail(err)
	}
	if len(chosen.Properties) > 0 {
		fail(fmt.Errorf("franz-go has no properties by name: %v", chosen.Properties))
	}
	run := consume
	if chosen.Verb == "produce" {
		run = produce
	}
	if err := run(context.Background(), &chosen); err != nil {
		sayError(err, true)
		fail(err)
	}
}

func common(chosen *settings) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(chosen.Bootstrap),
		kgo.ClientID(chosen.ClientID),
		kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelInfo, nil)),
	}
}
