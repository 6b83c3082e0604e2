package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/schema"
)

// known is an agent that knows a little.
type known struct{}

func (known) Status() schema.FleetStatus { return schema.FleetStatus{Node: "web-1", Commit: "c0ffee"} }
func (known) Nodes() []schema.NodeView {
	return []schema.NodeView{{Name: "db-1", Status: schema.Retired}, {Name: "web-1", Status: schema.Online}}
}
func (known) Compliance() []schema.NodeCompliance {
	return []schema.NodeCompliance{{Node: "web-1", Type: "Patch", State: schema.Compliant}, {Node: "web-2", Type: "Patch", State: schema.Compliant}}
}
func (known) Select(targets []string) (map[string]bool, error) {
	if targets[0] == "tag:role=web" {
		return map[string]bool{"web-1": true}, nil
	}
	return nil, fmt.Errorf("%w %q", api.ErrNoMatch, targets)
}
func (known) Explain(_ context.Context, node, item string, all bool) (api.Explained, error) {
	switch {
	case node == "none":
		return api.Explained{}, api.ErrNoPolicy
	case item == "file:/none":
		return api.Explained{}, fmt.Errorf("%w: %s", api.ErrNoItem, item)
	}
	return api.Explained{Node: node, Own: all}, nil
}
func (known) Scan(context.Context) (schema.Patching, error) {
	return schema.Patching{Baseline: "b", Judgement: schema.Judgement{Compliance: schema.Compliant}}, nil
}
func (known) Inventory(_ context.Context, node string, types []string) (map[string]json.RawMessage, error) {
	switch node {
	case "web-1":
		return map[string]json.RawMessage{types[0]: json.RawMessage(`[{"Name":"zsh"}]`)}, nil
	case "web-2":
		return nil, fmt.Errorf("node %q: %w", node, api.ErrNodeUnreachable)
	}
	return nil, fmt.Errorf("node %q: %w", node, api.ErrNoNode)
}
func (known) Sync(context.Context) (schema.RemoteStatus, error) {
	return schema.RemoteStatus{Head: "c0ffee"}, nil
}
func (known) Account() schema.Account { return schema.Account{Commit: "c0ffee"} }
func (known) ArchiveRecords() []schema.Record {
	return []schema.Record{{Node: "n", Kind: schema.RecordSeen, Body: []byte("{}")}}
}
func (known) Joins() []string { return []string{`{"proof":{}}`} }

func (known) Lines() []api.Line {
	return []api.Line{{Name: "web-1", Line: []byte("{\"a\":\"\\u00e9\"}")}}
}
func (known) Facts(_ context.Context, digest string) ([]byte, error) {
	if digest == "d" {
		return []byte("facts\x00"), nil
	}
	return nil, fmt.Errorf("facts %q: %w", digest, api.ErrNoFacts)
}

// serve answers on a socket of its own until the test ends.
func serve(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "run", "dunlin.sock")
	l, err := api.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- api.Serve(ctx, l, known{}) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

func TestAnswersCrossTheSocketUnchanged(t *testing.T) {
	c, ctx := api.Dial(serve(t)), t.Context()
	if s, err := c.Status(ctx); err != nil || s.Node != "web-1" || s.Refused == nil || s.Nodes == nil || s.Reporter.Elected == nil {
		t.Errorf("status %+v, %v", s, err)
	}
	if n, err := c.Nodes(ctx); err != nil || len(n) != 2 || n[1].Status != schema.Online {
		t.Errorf("nodes %+v, %v", n, err)
	}
	if n, err := c.Compliance(ctx); err != nil || len(n) != 2 || n[0].Items == nil {
		t.Errorf("compliance %+v, %v", n, err)
	}
	if n, err := c.Nodes(ctx, "tag:role=web"); err != nil || len(n) != 1 || n[0].Name != "web-1" {
		t.Errorf("nodes of a target %+v, %v", n, err)
	}
	if n, err := c.Compliance(ctx, "tag:role=web"); err != nil || len(n) != 1 || n[0].Node != "web-1" {
		t.Errorf("compliance of a target %+v, %v", n, err)
	}
	if x, err := c.Explain(ctx, "web-1", "file:/a b&c", true); err != nil || x.Node != "web-1" || !x.Own || x.Items == nil || x.Types == nil {
		t.Errorf("explained %+v, %v", x, err)
	}
	if p, err := c.Scan(ctx); err != nil || p.Baseline != "b" || p.Judgement.Patches == nil {
		t.Errorf("scan %+v, %v", p, err)
	}
	if m, err := c.Inventory(ctx, "web-1", []string{"AWS:Application"}); err != nil || string(m["AWS:Application"]) != `[{"Name":"zsh"}]` {
		t.Errorf("inventory %s, %v", m, err)
	}
	if s, err := c.Sync(ctx); err != nil || s.Head != "c0ffee" {
		t.Errorf("sync %+v, %v", s, err)
	}
	if l, err := c.Lines(ctx); err != nil || len(l) != 1 || string(l[0].Line) != "{\"a\":\"\\u00e9\"}" {
		t.Errorf("lines %+v, %v", l, err)
	}
	if b, err := c.Facts(ctx, "d"); err != nil || string(b) != "facts\x00" {
		t.Errorf("facts %q, %v", b, err)
	}
	if a, err := c.Account(ctx); err != nil || a.Commit != "c0ffee" {
		t.Errorf("account %+v, %v", a, err)
	}
}

func TestErrorsKeepTheirKind(t *testing.T) {
	c, ctx := api.Dial(serve(t)), t.Context()
	if _, err := c.Inventory(ctx, "db-9", nil); !errors.Is(err, api.ErrNoNode) {
		t.Error(err)
	}
	if _, err := c.Inventory(ctx, "web-2", nil); !errors.Is(err, api.ErrNodeUnreachable) {
		t.Error(err)
	}
	if _, err := c.Facts(ctx, "e"); !errors.Is(err, api.ErrNoFacts) {
		t.Error(err)
	}
	if _, err := c.Inventory(ctx, "web-1", make([]string, 65)); err == nil {
		t.Error("65 types were taken")
	}
	if _, err := c.Nodes(ctx, make([]string, 101)...); err == nil || errors.Is(err, api.ErrNoMatch) {
		t.Errorf("101 targets: %v", err)
	}
	if _, err := c.Compliance(ctx, "tag:role=none"); !errors.Is(err, api.ErrNoMatch) {
		t.Error(err)
	}
	if _, err := c.Explain(ctx, "web-1", "file:/none", false); !errors.Is(err, api.ErrNoItem) {
		t.Error(err)
	}
	if _, err := c.Explain(ctx, "none", "", false); !errors.Is(err, api.ErrNoPolicy) {
		t.Error(err)
	}
	gone, stop := context.WithCancel(ctx)
	stop()
	if _, err := c.Status(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that was ended: %v", err)
	}
}

func TestSocketIsTakenOverOnlyFromTheDead(t *testing.T) {
	path := serve(t)
	if _, err := api.Listen(path); !errors.Is(err, api.ErrInUse) {
		t.Errorf("a socket that answers was taken over: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the socket: %v, %v", info, err)
	}
	file := filepath.Join(t.TempDir(), "dunlin.sock")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := api.Listen(file); err == nil {
		_ = l.Close()
		t.Error("a file of somebody was replaced by a socket")
	}
	if _, err := api.Dial(filepath.Join(t.TempDir(), "none")).Status(t.Context()); !errors.Is(err, api.ErrUnreachable) {
		t.Errorf("no socket: %v", err)
	}
}
