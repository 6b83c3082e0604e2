// Package port is the resource kind `blockedPorts`: traffic that a host must not pass.
//
// All blocks are held in one table of our own in the packet filter, which Host
// reads and replaces; what other programs have set up is never looked at or
// touched. New blocks are provisional: the host drops them after Timeout unless
// Confirm has made them permanent, so that a block which cuts its own author
// off ends by itself, whatever became of this program.
//
// The order of a pass is Check, Apply of what drifted, Check again, whatever
// test of reachability the caller has, and Confirm. What a killed pass left
// provisional differs from what is wanted, so that the next pass applies and
// confirms it; between its own Apply and Confirm a Kind takes it as right. Blocks
// that no policy names any more come from Stale and are opened by the same Apply.
package port

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// DefaultTimeout is how long a block lives until it is confirmed.
const DefaultTimeout = 90 * time.Second

// Host is what the kind needs of a host; package host satisfies it.
type Host interface {
	// BlockedPorts returns the blocks in our table, each with the time until the host drops it, 0
	// for never. intact is false if the table is not as this version makes it, so that some of
	// them may not hold. No table is no blocks, and intact.
	BlockedPorts(ctx context.Context) (left map[schema.BlockedPort]time.Duration, intact bool, err error)
	// SetBlockedPorts makes these the blocks in our table in one step, without a moment in which
	// a block that stays does not hold, and reads them back. Of none the table is removed. A block that has
	// time left keeps it if what is given is less than a second more.
	SetBlockedPorts(ctx context.Context, left map[schema.BlockedPort]time.Duration) error
	// SSHSessions returns the SSH sessions to this host that are open now.
	SSHSessions(ctx context.Context) ([]schema.SSHSession, error)
}

// Protection is a port that a block may not cover without allowLockout, because it carries the fleet.
type Protection struct {
	Ports     schema.PortRange
	Protocol  string // tcp or udp; empty for both
	Direction string // in or out; empty for both
	What      string // in words, with where it is set: `gossip (gossip.bind in /etc/dunlin/agent.cue)`
}

// Kind checks and applies blocked ports. It remembers what it applied and has not confirmed: use one for
// one pass after another, not for two at once.
type Kind struct {
	Host      Host
	Protected []Protection
	// Timeout is the life of a block until it is confirmed, in whole milliseconds; 0 means DefaultTimeout.
	Timeout time.Duration

	applied map[schema.BlockedPort]bool // by us, not confirmed since
}

// LockoutError says that a block was refused because it would cut off who makes it.
type LockoutError struct {
	Block string           // key of the block
	Ports schema.PortRange // what it must not cover
	What  string           // what they carry
}

// Denied says that nothing was tried.
func (e *LockoutError) Denied() bool { return true }

func (e *LockoutError) Error() string {
	return fmt.Sprintf("block %q: refused, it covers port %s of %s (allowLockout: true in the policy permits it)", e.Block, e.Ports, e.What)
}

// UnconfirmedError says that a block could not be confirmed because it no longer is in force: its time
// ran out, or somebody removed it.
type UnconfirmedError struct{ Block string }

func (e *UnconfirmedError) Error() string {
	return fmt.Sprintf("confirm block %q: no longer in force, its time ran out or it was removed", e.Block)
}

// The words of a difference.
const (
	blocked     = "blocked"
	open        = "open"
	altered     = "altered"     // the block is there, but not everything around it is ours
	unconfirmed = "unconfirmed" // the block is there, and the host will drop it
)

// Check tells for each resource whether its block is in force for good, or gone if it is released.
func (k *Kind) Check(ctx context.Context, rs []schema.Resource) []schema.Checked {
	out := make([]schema.Checked, len(rs))
	if len(rs) == 0 {
		return out
	}
	left, intact, err := k.Host.BlockedPorts(ctx)
	for i, r := range rs {
		if err != nil {
			out[i].Err = fmt.Errorf("check block %q: %w", r.Key, err)
			continue
		}
		b, err := block(r)
		if err != nil {
			out[i].Err = err
			continue
		}
		t, there := left[b]
		switch {
		case r.Released && there:
			out[i].Drift = schema.Drift{{Action: schema.Unblock, Want: open, Got: blocked}}
		case r.Released:
		case !there:
			out[i].Drift = schema.Drift{{Action: schema.Block, Want: blocked, Got: open}}
		case !intact:
			out[i].Drift = schema.Drift{{Action: schema.Block, Want: blocked, Got: altered}}
		case t > 0 && !k.applied[b]:
			out[i].Drift = schema.Drift{{Action: schema.Block, Want: blocked, Got: unconfirmed}}
		}
	}
	return out
}

// Refused tells for each resource why it may not be applied: a *LockoutError, or nil. Apply asks it by
// itself; it is here so that a dry run says the same.
func (k *Kind) Refused(ctx context.Context, rs []schema.Resource) []error {
	out := make([]error, len(rs))
	var sessions []schema.SSHSession
	var sessionsErr error
	asked := false
	for i, r := range rs {
		b, err := block(r)
		if err != nil || r.Released || r.AllowLockout {
			continue
		}
		for _, p := range k.Protected {
			if (p.Protocol == "" || p.Protocol == b.Protocol) && (p.Direction == "" || p.Direction == b.Direction) && overlap(p.Ports, b.Port) {
				out[i] = &LockoutError{Block: b.Key(), Ports: p.Ports, What: p.What}
				break
			}
		}
		if out[i] != nil || b.Direction != "in" || b.Protocol != "tcp" {
			continue
		}
		if !asked {
			sessions, sessionsErr = k.Host.SSHSessions(ctx)
			asked = true
		}
		if sessionsErr != nil {
			out[i] = fmt.Errorf("block %q: find the SSH sessions it must not cut: %w", b.Key(), sessionsErr)
			continue
		}
		out[i] = cuts(b, sessions)
	}
	return out
}

// cuts is a *LockoutError if b covers a session's port for the session's peer. Loopback is never blocked.
func cuts(b schema.BlockedPort, sessions []schema.SSHSession) error {
	for _, s := range sessions {
		peer := s.Peer.Unmap().WithZone("")
		if s.Port < b.Port.First || s.Port > b.Port.Last || peer.IsLoopback() {
			continue
		}
		if n, err := netip.ParsePrefix(b.From); err == nil && peer.IsValid() && !n.Contains(peer) {
			continue
		}
		what := "an SSH session in use"
		if peer.IsValid() {
			what = "the SSH session in use from " + peer.String()
		}
		return &LockoutError{Block: b.Key(), Ports: schema.PortRange{First: s.Port, Last: s.Port}, What: what}
	}
	return nil
}

func overlap(a, b schema.PortRange) bool { return a.First <= b.Last && b.First <= a.Last }

// Apply blocks or, where released, opens what it is given, in one step. Blocks are provisional until
// Confirm; those that are in force already stay as they are. The errors are in the order of rs;
// *LockoutError where a block was refused.
func (k *Kind) Apply(ctx context.Context, rs []schema.Resource) []error {
	out := make([]error, len(rs))
	if len(rs) == 0 {
		return out
	}
	if err := ctx.Err(); err != nil {
		return fill(out, rs, err)
	}
	timeout := cmp.Or(k.Timeout, DefaultTimeout)
	left, intact, err := k.Host.BlockedPorts(ctx)
	if err != nil {
		return fill(out, rs, err)
	}
	changes := false
	var mine []schema.BlockedPort
	refused := k.Refused(ctx, rs)
	for i, r := range rs {
		b, err := block(r)
		if err == nil {
			err = refused[i]
		}
		if err == nil && r.Mode == schema.Audit {
			err = fmt.Errorf("block %q: not applied, its policy only audits", r.Key)
		}
		if err != nil {
			out[i] = err
			continue
		}
		switch t, there := left[b]; {
		case r.Released && there:
			delete(left, b)
			changes = true
		case !r.Released && (!there || !intact || t > 0 && !k.applied[b]):
			left[b] = timeout
			changes = true
			mine = append(mine, b)
		}
	}
	if !changes {
		return out
	}
	if err := k.Host.SetBlockedPorts(ctx, left); err != nil {
		return fill(out, rs, err)
	}
	if k.applied == nil {
		k.applied = map[schema.BlockedPort]bool{}
	}
	for _, b := range mine {
		k.applied[b] = true
	}
	return out
}

// fill puts err in every place that has none.
func fill(out []error, rs []schema.Resource, err error) []error {
	for i, r := range rs {
		if out[i] != nil {
			continue
		}
		verb := "block"
		if r.Released {
			verb = "unblock"
		}
		out[i] = fmt.Errorf("%s %q: %w", verb, r.Key, err)
	}
	return out
}

// Confirm makes those blocks permanent that are provisional, in one step, and leaves the others alone:
// where nothing is provisional it only reads. Its errors, joined, are an *UnconfirmedError for each block
// that is not in force any more, and whatever kept the rest from being confirmed.
func (k *Kind) Confirm(ctx context.Context, rs []schema.Resource) error {
	if len(rs) == 0 {
		return nil
	}
	left, _, err := k.Host.BlockedPorts(ctx)
	if err != nil {
		return fmt.Errorf("confirm blocks: %w", err)
	}
	var errs []error
	pending := false
	for _, r := range rs {
		b, err := block(r)
		if err != nil || r.Released {
			continue
		}
		delete(k.applied, b)
		switch t, there := left[b]; {
		case !there:
			errs = append(errs, &UnconfirmedError{b.Key()})
		case t > 0:
			left[b], pending = 0, true
		}
	}
	if pending {
		if err := k.Host.SetBlockedPorts(ctx, left); err != nil {
			errs = append(errs, fmt.Errorf("confirm blocks: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Stale returns, sorted by key, the blocks of our table that none of wanted names, as resources to be
// released: they were ours and the policy has dropped them.
func (k *Kind) Stale(ctx context.Context, wanted []schema.Resource) ([]schema.Resource, error) {
	left, _, err := k.Host.BlockedPorts(ctx)
	if err != nil {
		return nil, fmt.Errorf("list blocks: %w", err)
	}
	for _, r := range wanted {
		if b, err := block(r); err == nil {
			delete(left, b)
		}
	}
	out := make([]schema.Resource, 0, len(left))
	for b := range left {
		out = append(out, schema.Resource{Kind: schema.KindPort, Key: b.Key(), Mode: schema.Enforce, Severity: schema.Unspecified, Port: &b, Released: true})
	}
	slices.SortFunc(out, func(a, b schema.Resource) int { return cmp.Compare(a.Key, b.Key) })
	return out, nil
}

// block is the canonical form of a resource's block, checked once more.
func block(r schema.Resource) (schema.BlockedPort, error) {
	if r.Port == nil {
		return schema.BlockedPort{}, fmt.Errorf("block %q: names no port", r.Key)
	}
	b, err := r.Port.Canonical()
	if err != nil {
		return b, fmt.Errorf("block %q: %w", r.Key, err)
	}
	return b, nil
}
