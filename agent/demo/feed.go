package demo

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// noted is a change that an agent made and wrote to its log.
type noted struct {
	node   string
	at     time.Time
	change schema.Change
}

// feed gathers the changes of all agents from their logs.
type feed struct {
	mu  sync.Mutex
	all []noted
}

func (f *feed) since(at time.Time, node string) []schema.Change {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []schema.Change
	for _, n := range f.all {
		if n.node == node && !n.at.Before(at) {
			out = append(out, n.change)
		}
	}
	return out
}

// tap is a log that tells the feed what changed.
type tap struct {
	slog.Handler
	feed *feed
	node string
}

func (t tap) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "change" {
		n := noted{node: t.node, at: r.Time}
		r.Attrs(func(a slog.Attr) bool {
			v := a.Value.String()
			switch a.Key {
			case "resource":
				n.change.Resource = v
			case "action":
				n.change.Action = schema.Action(v)
			case "want":
				n.change.Want = v
			case "got":
				n.change.Got = v
			case "result":
				n.change.Result = schema.Outcome(v)
			case "reason":
				n.change.Reason = v
			}
			return true
		})
		t.feed.mu.Lock()
		t.feed.all = append(t.feed.all, n)
		t.feed.mu.Unlock()
	}
	return t.Handler.Handle(ctx, r)
}

func (t tap) WithAttrs(attrs []slog.Attr) slog.Handler {
	return tap{t.Handler.WithAttrs(attrs), t.feed, t.node}
}

func (t tap) WithGroup(name string) slog.Handler {
	return tap{t.Handler.WithGroup(name), t.feed, t.node}
}
