package host

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/reconciler/kind/kindtest"
	"github.com/dunlin-dev/dunlin/reconciler/kind/port"
	"github.com/dunlin-dev/dunlin/reconciler/kind/service"
	"github.com/dunlin-dev/dunlin/schema"
)

var (
	_ service.Host = System{}
	_ service.Host = Simulated{}
	_ port.Host    = Simulated{}
)

// fileOf is the content of a file of a simulated host.
func fileOf(s Simulated, name string) func(t testing.TB) string {
	return func(t testing.TB) string {
		b, err := os.ReadFile(filepath.Join(s.Dir, name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return string(b)
	}
}

func TestSimulatedServiceConformance(t *testing.T) {
	s := Simulated{Dir: t.TempDir()}
	want := func(key string, running, enabled bool) schema.Resource {
		return schema.Resource{Kind: schema.KindService, Key: key, Mode: schema.Enforce, Service: &schema.Service{Running: &running, Enabled: &enabled}}
	}
	bad := want("missing", true, true)
	kindtest.Run(t, kindtest.Case{
		Kind:      service.Kind{Host: s},
		Resources: []schema.Resource{want("up", true, true), want("down.socket", false, false)},
		Bad:       &bad,
		Break: func(t testing.TB) {
			err := s.saveState(servicesFile, map[string]schema.Unit{
				"up.service":  {Load: "loaded", Active: "failed", File: "disabled"},
				"down.socket": {Load: "loaded", Active: "active", Sub: "listening", File: "enabled"},
			})
			if err != nil {
				t.Fatal(err)
			}
		},
		Snapshot: fileOf(s, servicesFile),
	})
}

func TestSimulatedPortConformance(t *testing.T) {
	s := Simulated{Dir: t.TempDir()}
	bad := schema.Resource{Kind: schema.KindPort, Key: "bad", Mode: schema.Enforce}
	kindtest.Run(t, kindtest.Case{
		Kind:      &port.Kind{Host: s},
		Resources: []schema.Resource{simulatedBlockOf(23), simulatedBlockOf(6000)},
		Bad:       &bad,
		Break: func(t testing.TB) {
			if err := s.SetBlockedPorts(t.Context(), map[schema.BlockedPort]time.Duration{*simulatedBlockOf(99).Port: 0}); err != nil {
				t.Fatal(err)
			}
		},
		Snapshot: fileOf(s, portsFile),
	})
}

func simulatedBlockOf(p uint16) schema.Resource {
	b := schema.BlockedPort{Port: schema.PortRange{First: p, Last: p}, Protocol: "tcp", From: "any", Direction: "in"}
	return schema.Resource{Kind: schema.KindPort, Key: b.Key(), Mode: schema.Enforce, Port: &b}
}

func TestASimulatedBlockEndsByItself(t *testing.T) {
	s := Simulated{Dir: t.TempDir()}
	p := *simulatedBlockOf(23).Port
	if err := s.SetBlockedPorts(t.Context(), map[schema.BlockedPort]time.Duration{p: time.Nanosecond}); err != nil {
		t.Fatal(err)
	}
	if left, _, err := s.BlockedPorts(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("BlockedPorts = %v, %v, want none", left, err)
	}
}
