// Command kinds runs a resource kind on the host it is started on, for tests: it reads
// one request from standard input and writes the answer to standard output.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/reconciler/kind/port"
	"github.com/dunlin-dev/dunlin/reconciler/kind/service"
	"github.com/dunlin-dev/dunlin/schema"
)

type request struct {
	Do        string // check, apply, restart, confirm, ssh, bench
	Resources []schema.Resource
}

type answer struct {
	Drift  []schema.Drift // of check
	Errors []string       // one a resource, empty for none
	Micros int64          // of bench: one Check
}

func main() {
	var q request
	if err := json.NewDecoder(os.Stdin).Decode(&q); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	json.NewEncoder(os.Stdout).Encode(do(context.Background(), q))
}

func do(ctx context.Context, q request) (a answer) {
	say := func(errs ...error) {
		for _, err := range errs {
			text := ""
			if err != nil {
				text = err.Error()
				if errors.Is(err, errors.ErrUnsupported) {
					text = "unsupported: " + text
				}
			}
			a.Errors = append(a.Errors, text)
		}
	}
	type kind interface {
		Check(context.Context, []schema.Resource) []schema.Checked
		Apply(context.Context, []schema.Resource) []error
	}
	ports, services := &port.Kind{Host: host.System{}}, service.Kind{Host: host.System{}}
	var k kind = services
	if q.Resources[0].Kind == schema.KindPort {
		k = ports
	}
	switch q.Do {
	case "check":
		for _, c := range k.Check(ctx, q.Resources) {
			a.Drift = append(a.Drift, c.Drift)
			say(c.Err)
		}
	case "apply":
		say(k.Apply(ctx, q.Resources)...)
	case "confirm":
		say(ports.Confirm(ctx, q.Resources))
	case "refused":
		say(ports.Refused(ctx, q.Resources)...)
	case "restart":
		say(services.Restart(ctx, q.Resources[0].Key))
	case "bench":
		start := time.Now()
		const n = 20
		for range n {
			k.Check(ctx, q.Resources)
		}
		a.Micros = time.Since(start).Microseconds() / n
	}
	return a
}
