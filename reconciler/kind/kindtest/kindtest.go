// Package kindtest is what every resource kind must hold to, as one suite of
// tests: it runs against the real host and against the simulated one.
//
// The laws: Check tells every difference and changes nothing; Apply converges,
// which the next Check confirms; a second Apply changes nothing, not even an
// inode or a time; what is only audited is never changed; one resource that
// fails does not hide the next; a context that has ended stops changes; and a
// crash at any write leaves the old state or the new.
//
// Only tests import this package.
package kindtest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

// Kind is what all resource kinds have in common.
type Kind interface {
	// Check tells for each resource, in order, how the host differs from it. It only reads.
	Check(ctx context.Context, rs []schema.Resource) []schema.Checked
	// Apply makes each resource as wanted and tells for each, in order, why it could not.
	Apply(ctx context.Context, rs []schema.Resource) []error
}

// Case is a kind on a host together with something wanted of it.
type Case struct {
	Kind Kind
	// Resources are wanted, with mode enforce; each differs after Break.
	Resources []schema.Resource
	// Bad, where set, is a resource whose Apply fails, at any time.
	Bad *schema.Resource
	// Break brings the host into a state in which each of Resources differs. It is called several times.
	Break func(t testing.TB)
	// Snapshot is everything of the host that a change could show in: contents, owners, inodes, times.
	Snapshot func(t testing.TB) string
	// Crash, where the host can be made to fail, applies Resources in a way that dies just before
	// the write numbered step, from 0. It reports whether there was such a write: false means that Apply came to its end.
	Crash func(t testing.TB, step int) bool
	// Whole fails the test unless everything on the host is wholly as after Break or wholly as wanted.
	Whole func(t testing.TB)
}

// maxSteps bounds the writes of one Apply in a crash test.
const maxSteps = 500

// Run runs the suite.
func Run(t *testing.T, c Case) {
	t.Helper()
	if len(c.Resources) == 0 || c.Break == nil || c.Snapshot == nil {
		t.Fatal("kindtest: a case needs Resources, Break and Snapshot")
	}
	for i := range c.Resources {
		if c.Resources[i].Mode != schema.Enforce {
			t.Fatalf("kindtest: %s is not enforced", c.Resources[i].Name())
		}
	}
	t.Run("check reports what differs and changes nothing", c.checkReports)
	t.Run("what is audited is reported and left", c.auditLeaves)
	t.Run("apply converges and again changes nothing", c.applyConverges)
	t.Run("a context that has ended changes nothing", c.contextEnds)
	t.Run("nothing wanted is nothing done", c.nothing)
	if c.Bad != nil {
		t.Run("one that fails does not hide the next", c.badOne)
	}
	if c.Crash != nil {
		t.Run("a crash at any write leaves old or new", c.crash)
	}
}

func (c Case) checkReports(t *testing.T) {
	c.Break(t)
	before := c.Snapshot(t)
	c.wantDrift(t, c.Resources)
	if after := c.Snapshot(t); after != before {
		t.Errorf("Check changed the host:\n%s\nwas:\n%s", after, before)
	}
}

func (c Case) auditLeaves(t *testing.T) {
	c.Break(t)
	audited := slices.Clone(c.Resources)
	for i := range audited {
		audited[i].Mode = schema.Audit
	}
	before := c.Snapshot(t)
	c.wantDrift(t, audited)
	for i, err := range c.apply(t, t.Context(), audited) {
		if err == nil {
			t.Errorf("Apply(%s) with mode audit: no error, want a refusal", audited[i].Name())
		}
	}
	if after := c.Snapshot(t); after != before {
		t.Errorf("Apply of audited resources changed the host:\n%s\nwas:\n%s", after, before)
	}
}

func (c Case) applyConverges(t *testing.T) {
	c.Break(t)
	c.converge(t)
	before := c.Snapshot(t)
	for i, err := range c.apply(t, t.Context(), c.Resources) {
		if err != nil {
			t.Errorf("second Apply(%s): %v", c.Resources[i].Name(), err)
		}
	}
	if after := c.Snapshot(t); after != before {
		t.Errorf("the second Apply changed the host:\n%s\nwas:\n%s", after, before)
	}
	c.wantNone(t)
}

func (c Case) contextEnds(t *testing.T) {
	c.Break(t)
	before := c.Snapshot(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i, err := range c.apply(t, ctx, c.Resources) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Apply(%s) after the end of its context = %v, want %v", c.Resources[i].Name(), err, context.Canceled)
		}
	}
	if after := c.Snapshot(t); after != before {
		t.Errorf("Apply after the end of its context changed the host:\n%s\nwas:\n%s", after, before)
	}
}

func (c Case) nothing(t *testing.T) {
	if got := c.Kind.Check(t.Context(), nil); len(got) != 0 {
		t.Errorf("Check(nothing) = %v", got)
	}
	before := c.Snapshot(t)
	if got := c.Kind.Apply(t.Context(), nil); len(got) != 0 {
		t.Errorf("Apply(nothing) = %v", got)
	}
	if after := c.Snapshot(t); after != before {
		t.Errorf("Apply of nothing changed the host:\n%s\nwas:\n%s", after, before)
	}
}

func (c Case) badOne(t *testing.T) {
	c.Break(t)
	rs := append([]schema.Resource{*c.Bad}, c.Resources...)
	if got := c.check(t, rs); got[0].Err == nil && len(got[0].Drift) == 0 {
		t.Errorf("Check(%s) finds nothing wrong", c.Bad.Name())
	}
	for i, err := range c.apply(t, t.Context(), rs) {
		if (err != nil) != (i == 0) {
			t.Errorf("Apply(%s) = %v", rs[i].Name(), err)
		}
	}
	c.wantNone(t)
}

func (c Case) crash(t *testing.T) {
	for step := 0; ; step++ {
		if step > maxSteps {
			t.Fatalf("Apply does not end within %d writes", maxSteps)
		}
		c.Break(t)
		crashed := c.Crash(t, step)
		if c.Whole != nil {
			c.Whole(t)
		}
		c.converge(t)
		if t.Failed() {
			t.Fatalf("after a crash before write %d", step)
		}
		if !crashed {
			if step == 0 {
				t.Fatal("Apply made no write that a crash could precede")
			}
			return
		}
	}
}

// converge applies what differs, as the reconciler does, and wants nothing to differ then.
func (c Case) converge(t *testing.T) {
	t.Helper()
	var drifted []schema.Resource
	for i, got := range c.check(t, c.Resources) {
		if got.Err != nil {
			t.Errorf("Check(%s): %v", c.Resources[i].Name(), got.Err)
		}
		if len(got.Drift) > 0 {
			drifted = append(drifted, c.Resources[i])
		}
	}
	for i, err := range c.apply(t, t.Context(), drifted) {
		if err != nil {
			t.Errorf("Apply(%s): %v", drifted[i].Name(), err)
		}
	}
	c.wantNone(t)
}

func (c Case) wantDrift(t *testing.T, rs []schema.Resource) {
	t.Helper()
	for i, got := range c.check(t, rs) {
		if got.Err != nil {
			t.Errorf("Check(%s): %v", rs[i].Name(), got.Err)
		} else if len(got.Drift) == 0 {
			t.Errorf("Check(%s) finds no difference", rs[i].Name())
		}
		for _, d := range got.Drift {
			if d.Action == "" || d.Want == d.Got {
				t.Errorf("Check(%s): difference %+v says nothing", rs[i].Name(), d)
			}
		}
	}
}

func (c Case) wantNone(t *testing.T) {
	t.Helper()
	for i, got := range c.check(t, c.Resources) {
		if got.Err != nil || len(got.Drift) != 0 {
			t.Errorf("Check(%s) after Apply = %+v, %v, want no difference", c.Resources[i].Name(), got.Drift, got.Err)
		}
	}
}

func (c Case) check(t *testing.T, rs []schema.Resource) []schema.Checked {
	t.Helper()
	got := c.Kind.Check(t.Context(), rs)
	if len(got) != len(rs) {
		t.Fatalf("Check of %d resources gives %d answers", len(rs), len(got))
	}
	return got
}

func (c Case) apply(t *testing.T, ctx context.Context, rs []schema.Resource) []error {
	t.Helper()
	got := c.Kind.Apply(ctx, rs)
	if len(got) != len(rs) {
		t.Fatalf("Apply of %d resources gives %d answers", len(rs), len(got))
	}
	return got
}
