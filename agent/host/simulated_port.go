package host

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// portsFile holds the blocked ports of a simulated host by their key ("in/tcp/23/any"); sessionsFile the SSH
// sessions it is to believe in.
const (
	portsFile    = "ports.json"
	sessionsFile = "ssh-sessions.json"
)

// simulatedBlock is one block. The zero instant is for ever.
type simulatedBlock struct {
	Until time.Time `json:"until,omitzero"`
}

// BlockedPorts tells what is blocked now and for how long, 0 for ever.
func (s Simulated) BlockedPorts(ctx context.Context) (map[schema.BlockedPort]time.Duration, bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	all := map[string]simulatedBlock{}
	if err := s.loadState(portsFile, &all); err != nil {
		return nil, false, err
	}
	now := time.Now()
	out := map[schema.BlockedPort]time.Duration{}
	for key, b := range all {
		f := strings.SplitN(key, "/", 4)
		if len(f) != 4 {
			return nil, false, fmt.Errorf("read %q: %q is not a blocked port", portsFile, key)
		}
		ports, err := schema.ParsePortRange(f[2])
		if err != nil {
			return nil, false, fmt.Errorf("read %q: %w", portsFile, err)
		}
		p, err := schema.BlockedPort{Direction: f[0], Protocol: f[1], Port: ports, From: f[3]}.Canonical()
		if err != nil {
			return nil, false, fmt.Errorf("read %q: %w", portsFile, err)
		}
		switch {
		case b.Until.IsZero():
			out[p] = 0
		case b.Until.After(now):
			out[p] = b.Until.Sub(now)
		}
	}
	return out, true, nil
}

// SetBlockedPorts makes these the blocked ports.
func (s Simulated) SetBlockedPorts(ctx context.Context, left map[schema.BlockedPort]time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	now := time.Now()
	all := map[string]simulatedBlock{}
	for p, t := range left {
		b := simulatedBlock{}
		if t > 0 {
			b.Until = now.Add(t).UTC()
		}
		all[p.Key()] = b
	}
	return s.saveState(portsFile, all)
}

// SSHSessions are those of the file; none without it.
func (s Simulated) SSHSessions(ctx context.Context) ([]schema.SSHSession, error) {
	var out []schema.SSHSession
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return out, s.loadState(sessionsFile, &out)
}
