package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/inventory"
	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/agent/simulated"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
)

// check reads the reports anew and holds each line against the folder of its host.
func (s *story) check(ctx context.Context) error {
	s.begin(0, "check", "Check", "is it true? Each signature is verified again, each line held against its host")
	w, err := s.written()
	if err != nil {
		return err
	}
	lines, bad, err := s.verify(w)
	if err != nil {
		return err
	}
	for _, b := range bad {
		s.untrue("%s:%d: %s", b.File, b.Line, b.Problem)
	}
	s.same("", "lines of the reports branch", lines, len(s.fleet.Nodes))
	if err := s.checkTrust(ctx); err != nil {
		return err
	}
	for _, n := range s.fleet.Nodes {
		if err := s.checkNode(ctx, w, n); err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
	}
	if n := len(s.result.Untrue); n > 0 {
		for _, u := range s.result.Untrue {
			s.row(Row{Mark: Bad, Text: u})
		}
		return fmt.Errorf("the reports and the hosts differ in %s of %d", plural(n, "thing", "things"), s.result.Checks)
	}
	s.end(ctx, fmt.Sprintf("%s hold: people signed what is in force, and the reports say what the hosts are", plural(s.result.Checks, "comparison", "comparisons")), 0)
	return nil
}

// checkTrust verifies the history once more, as dunlin trust verify does.
func (s *story) checkTrust(ctx context.Context) error {
	src, err := gitrepo.OpenSource(s.repository())
	if err != nil {
		return err
	}
	steps, err := trust.Verify(ctx, agent.TrustSource{Source: src, Fleets: agent.NewFleets(s.shared)}, s.anchor, s.good, time.Now())
	if refusal := (*trust.Refusal)(nil); err != nil && !errors.As(err, &refusal) {
		return err
	}
	s.result.Checks++
	if err != nil {
		s.untrue("the commit in force is not what ann or ben signed: %s", one(err))
	}
	s.result.Signed = len(steps)
	return nil
}

func (s *story) untrue(format string, args ...any) {
	s.result.Untrue = append(s.result.Untrue, fmt.Sprintf(format, args...))
}

// same compares what the reports say with what a host is.
func (s *story) same(node, what string, said, is any) {
	s.result.Checks++
	if said == is {
		return
	}
	if node != "" {
		node += ": "
	}
	s.untrue("%s%s: the reports say %v, the host %v", node, what, said, is)
}

func (s *story) checkNode(ctx context.Context, w written, n *simulated.Node) error {
	l, ok := w.lines[n.Keys.ID()]
	if !ok {
		s.same(n.Name, "line", "nothing", "there")
		return nil
	}
	s.same(n.Name, "commit in force", l.Commit, s.good)

	// Its packages, as dpkg and apt have them on the host.
	last, err := n.Host.LastInstalls().Read()
	if err != nil {
		return err
	}
	facts, _, err := inventory.ReadFacts(ctx, inventory.Options{Root: n.Host.Root()}, inventory.Known{Node: n.Keys.ID(), At: time.Now(), LastInstall: last})
	if err != nil {
		return err
	}
	own, err := report.FactsFile(facts)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(own)
	digest := hex.EncodeToString(sum[:])
	s.same(n.Name, "digest of its packages", l.Facts, digest)
	there, err := w.read("facts/" + l.Facts[:2] + "/" + l.Facts + ".json")
	if err != nil {
		s.untrue("%s: facts %s: %s", n.Name, l.Facts, one(err))
	}
	s.same(n.Name, "facts on the branch", bytes.Equal(bytes.TrimSuffix(there, []byte("\n")), own), true)
	missing := 0
	for _, c := range facts.Candidates {
		for _, o := range c.Origins {
			if o.Label == "Debian-Security" {
				missing++
				break
			}
		}
	}
	s.same(n.Name, "security updates missing", l.Counts["MissingCount"], missing)
	s.same(n.Name, "reboot pending", l.Counts["InstalledPendingRebootCount"] > 0, facts.PendingReboot.Is)

	// All else: what the last good commit would still change.
	account, err := n.Local(s.shared, time.Now).Reconcile(ctx, s.repository(), n.Name, true)
	if err != nil {
		return err
	}
	wrong := 0
	for _, c := range account.Changes {
		if kind, _ := parts(c.Resource); kind != schema.KindPatch {
			wrong++
			s.untrue("%s: %s is %q and should be %q", n.Name, c.Resource, c.Got, c.Want)
		}
	}
	s.same(n.Name, "policy is right", l.Compliance["Policy"] == schema.Compliant, wrong == 0)

	// And by hand, without any of the program's own judgement.
	s.same(n.Name, "port 23 is closed", l.Compliance["Policy"] == schema.Compliant, closed(ctx, n))
	text, err := os.ReadFile(filepath.Join(n.Host.Root(), "etc", "motd"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	s.same(n.Name, "/etc/motd is the policy's", l.Compliance["Policy"] == schema.Compliant, string(text) == motd+"\n")
	return nil
}
