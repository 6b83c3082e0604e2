package main

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// patchGroups is the order in which people are shown patches: what is wrong first.
var patchGroups = [...]struct {
	state schema.PatchState
	mark  mark
	quiet bool // of packages that are well, only those that wait are listed
}{
	{schema.PatchFailed, bad, false},
	{schema.Missing, bad, false},
	{schema.InstalledRejected, bad, false},
	{schema.InstalledPendingReboot, attention, false},
	{schema.InstalledOther, good, true},
	{schema.Installed, good, true},
}

// printJudgement shows a judgement: its patches by state, the counts, the verdict. Of packages that are
// well only those are listed of which a newer version waits, unless all are asked for.
func (a *app) printJudgement(j schema.Judgement, all bool) error {
	if a.json() {
		return a.printJSON(j)
	}
	l := lookOf(a.out)
	w := bufio.NewWriter(a.out)
	for _, g := range patchGroups {
		var rows [][]string
		for _, p := range j.Patches {
			waiting := p.Deployment == schema.PendingApproval
			if p.State != g.state || g.quiet && !waiting && !all {
				continue
			}
			rows = append(rows, []string{p.Title, levelOf(p), orDash(p.Classification), p.Reason})
		}
		if len(rows) == 0 {
			continue
		}
		m, words := g.mark, string(g.state)
		if g.quiet && !all {
			m, words = waits, words+", a newer version waits"
		}
		fmt.Fprintf(w, "%s %s\n", l.symbol(m), l.bold(words))
		writeTable(w, nil, rows, a.width())
		w.WriteByte('\n')
	}
	m := good
	if j.Compliance != schema.Compliant {
		m = bad
	}
	fmt.Fprintf(w, "%s %s  %s\n", l.symbol(m), l.bold(string(j.Compliance)), countsLine(j.Counts))
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

func levelOf(p schema.Patch) string {
	if p.ComplianceLevel == schema.Unspecified {
		return "-"
	}
	return string(p.ComplianceLevel)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// countsLine has the counters that are not 0, in words that are those of the states.
func countsLine(c schema.Counts) string {
	var parts []string
	for _, x := range []struct {
		n     int
		words string
	}{
		{c.FailedCount, "Failed"}, {c.MissingCount, "Missing"}, {c.InstalledRejectedCount, "InstalledRejected"},
		{c.InstalledPendingRebootCount, "InstalledPendingReboot"}, {c.InstalledCount, "Installed"}, {c.InstalledOtherCount, "InstalledOther"},
	} {
		if x.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", x.n, x.words))
		}
	}
	if len(parts) == 0 {
		return "no packages"
	}
	line := strings.Join(parts, ", ")
	var weight []string
	if c.CriticalNonCompliantCount > 0 {
		weight = append(weight, fmt.Sprintf("%d critical", c.CriticalNonCompliantCount))
	}
	if c.SecurityNonCompliantCount > 0 {
		weight = append(weight, fmt.Sprintf("%d security", c.SecurityNonCompliantCount))
	}
	if len(weight) > 0 {
		line += "; of what is wrong " + strings.Join(weight, " and ")
	}
	return line
}
