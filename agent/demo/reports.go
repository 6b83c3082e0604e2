package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/agent/simulated"
	"github.com/dunlin-dev/dunlin/schema"
)

const reportsRef = "refs/heads/reports"

// ownLine is the line that the node's own agent holds of it.
func ownLine(n *simulated.Node) (schema.ReportLine, bool) {
	for _, l := range n.Agent.Lines() {
		if l.Name != n.Name {
			continue
		}
		line, err := report.ParseLine(l.Line)
		return line, err == nil
	}
	return schema.ReportLine{}, false
}

// written is the reports branch as it is now; a zero one where there is none yet.
type written struct {
	tree   gitrepo.Tree
	commit string
	lines  map[string]schema.ReportLine // by node id
}

func (s *story) written() (written, error) {
	w := written{lines: map[string]schema.ReportLine{}}
	tree, _, err := gitrepo.OpenRef(s.repository(), reportsRef)
	if errors.Is(err, gitrepo.ErrNoBranch) {
		return w, nil
	}
	if err != nil {
		return w, err
	}
	w.tree, w.commit = tree, tree.Commit
	for _, n := range s.fleet.Nodes {
		l, err := report.Standing(w.read, n.Keys.ID())
		if err != nil {
			return w, err
		}
		if l.Rev > 0 {
			w.lines[l.Node] = l
		}
	}
	return w, nil
}

func (w written) read(path string) ([]byte, error) { return fs.ReadFile(w.tree.FS, path) }

func (w written) hasFacts(l schema.ReportLine) bool {
	_, err := fs.Stat(w.tree.FS, "facts/"+l.Facts[:2]+"/"+l.Facts+".json")
	return err == nil
}

func (w written) list(dir string) ([]string, error) { return report.Names(w.tree.FS, dir) }

// await waits until the branch has a line of each node that satisfies ok, and the facts that it names: those of a host that
// was away come with the next push.
func (s *story) await(ctx context.Context, ok func(schema.ReportLine) bool) (written, error) {
	var w written
	last := ""
	have := 0
	err := s.until(ctx, func() string {
		return fmt.Sprintf("an elected host writes the reports: %d of %d lines there", have, len(s.fleet.Nodes))
	}, func() (bool, error) {
		// Opening a repository costs more than reading a reference.
		head, err := s.fleet.Remote.Ref(reportsRef)
		if err != nil || head == last {
			return false, err
		}
		if w, err = s.written(); err != nil {
			return false, err
		}
		last, have = w.commit, 0
		for _, n := range s.fleet.Nodes {
			if l, there := w.lines[n.Keys.ID()]; there && ok(l) && w.hasFacts(l) {
				have++
			}
		}
		return have == len(s.fleet.Nodes), nil
	})
	return w, err
}

// verify checks the branch as dunlin report verify does.
func (s *story) verify(w written) (lines int, bad []report.Bad, err error) {
	var roster []schema.RosterLine
	for _, n := range s.fleet.Nodes {
		roster = append(roster, n.Keys.Line(n.Name, "debian", n.Tags, time.Time{}))
	}
	keys, err := report.Keys(roster)
	if err != nil {
		return 0, nil, err
	}
	return report.Verify(w.read, w.list, "demo", keys)
}

// report waits for what all hosts say to be in the repository.
func (s *story) report(ctx context.Context) error {
	s.begin(4, "report", "Report", "an elected host commits what all of them say, signed by each")
	w, err := s.await(ctx, func(l schema.ReportLine) bool { return l.Commit == s.good && l.Counts["MissingCount"] > 0 })
	if err != nil {
		return err
	}
	return s.told(ctx, w)
}

// settle takes the slip back, and waits for the reports to say that all is well.
func (s *story) settle(ctx context.Context) error {
	s.begin(10, "settle", "Mend", "the slip is taken back, and the branch tells how it all ended")
	commit, err := s.commit(s.ben, "main", s.head, "Revert \"Tidy up\"", map[string]string{hardeningFile: branchFiles()[hardeningFile]})
	if err != nil {
		return err
	}
	s.head = commit
	begun := time.Now()
	if _, _, err := s.all(ctx, "commit "+short(commit)+" in force", func(n *simulated.Node) bool { return holds(n, commit) }); err != nil {
		return err
	}
	s.good = commit
	s.row(Row{Nodes: nodeNames(s.fleet.Nodes), Mark: Good, Text: "commit " + short(commit) + " in force after " + seconds(time.Since(begun))})
	w, err := s.await(ctx, func(l schema.ReportLine) bool {
		return l.Commit == s.good && l.Compliance["Patch"] == schema.Compliant && l.Compliance["Policy"] == schema.Compliant
	})
	if err != nil {
		return err
	}
	return s.told(ctx, w)
}

// told shows the branch.
func (s *story) told(ctx context.Context, w written) error {
	lines, bad, err := s.verify(w)
	if err != nil {
		return err
	}
	if len(bad) > 0 {
		return fmt.Errorf("%s on the reports branch are not as their nodes signed them, the first: %s: %s", plural(len(bad), "line", "lines"), bad[0].File, bad[0].Problem)
	}
	for _, r := range alike(s.fleet.Nodes, func(n *simulated.Node) (Mark, string) { return verdict(w.lines[n.Keys.ID()]) }) {
		s.row(r)
	}
	s.step.Commit = w.commit
	s.result.Policy, s.result.Reports = s.good, w.commit
	s.end(ctx, fmt.Sprintf("branch reports is at %s: %s, every signature verified", short(w.commit), plural(lines, "line", "lines")), 0)
	return nil
}

// verdict is a line of the branch for people.
func verdict(l schema.ReportLine) (Mark, string) {
	if len(l.Compliance) == 0 {
		return Attention, string(schema.UnspecifiedData) + ": it has told nothing yet"
	}
	mark, word := Good, schema.Compliant
	policy := "policy kept"
	for kind, state := range l.Compliance {
		if state != schema.Compliant {
			mark, word = Bad, schema.NonCompliant
			if kind == "Policy" {
				policy = "policy not kept"
			}
		}
	}
	text := string(word) + ": " + policy
	for _, of := range []struct{ count, what string }{
		{"MissingCount", "missing"}, {"FailedCount", "failed"}, {"InstalledPendingRebootCount", "waiting for a reboot"}, {"InstalledCount", "installed"},
	} {
		if n := l.Counts[of.count]; n > 0 {
			text += fmt.Sprintf(", %s %s", plural(n, "security update", "security updates"), of.what)
		}
	}
	return mark, text
}
