package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/inventory"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
)

// judged is what a pass keeps of its judgement, so that the next one on an unchanged host need not read the lists of
// the archives again. Patches that are well are only counted.
type judged struct {
	Key        string            `json:"key"`
	OS         schema.OSFacts    `json:"os"`
	Counts     schema.Counts     `json:"counts"`
	Compliance schema.Compliance `json:"compliance"`
	Patches    []judgedPatch     `json:"patches"`
}

type judgedPatch struct {
	Patch   schema.Patch       `json:"patch"`
	Rule    int                `json:"rule"`
	Package schema.PackageFact `json:"package"`
}

func (l Local) judgedPath() string { return filepath.Join(l.State, "cache", "judged") }

// judgedKey names all that a judgement depends on; ok is false where that cannot be told. Approval may depend on the
// date, so what was judged in another hour does not count.
func (l Local) judgedKey(p Policy, node schema.Node) (key string, ok bool) {
	if p.Digest == "" {
		return "", false
	}
	stamp, err := inventory.Stamp(l.Root)
	if err != nil {
		return "", false
	}
	last, err := l.LastInstalls()
	if err != nil {
		return "", false
	}
	b, err := json.Marshal(struct {
		Policy, Stamp string
		Seen          string `json:",omitempty"`
		Node          schema.Node
		Last          []schema.LastInstall
		Hour          time.Time
		Form          int
	}{p.Digest, stamp, l.seenStamp(p), node, last, l.Now().UTC().Truncate(time.Hour), 1})
	if err != nil {
		return "", false
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), true
}

// PlanAgain is Plan, but what an earlier pass judged of the very same host and policy is not judged again: of patches
// that are well the plan then has only the counts. With keep it is kept for the next pass.
func (l Local) PlanAgain(ctx context.Context, p Policy, node schema.Node, keep bool) (schema.Plan, error) {
	var before judged
	var readErr error
	var reading sync.WaitGroup
	reading.Go(func() { before, readErr = readJudged(l.judgedPath()) })
	key, ok := l.judgedKey(p, node)
	reading.Wait()
	if ok {
		if j := before; readErr == nil && j.Key == key {
			g := j.judgement()
			return reconciler.Plan(reconciler.Inputs{
				Repo: p.Repo, Node: node, Facts: schema.Facts{V: 1, OS: j.OS}, Now: l.Now(), Compare: inventory.CompareVersions, Judged: &g,
			}), nil
		}
	}
	f, archives, problem, err := l.facts(ctx, node)
	if err != nil {
		return schema.Plan{}, err
	}
	l.date(p, node, &f, archives)
	plan := l.plan(p, node, f, problem)
	// The key is taken before the facts were: what changed meanwhile gives the next pass another one.
	if keep && ok && plan.Patching.Problem == "" {
		if err := writeJudged(l.judgedPath(), key, f.OS, plan.Patching.Judgement); err != nil {
			l.tell("warning: judgement is not kept: %s", err)
		}
	}
	return plan, nil
}

func (j judged) judgement() schema.Judgement {
	g := schema.Judgement{Counts: j.Counts, Compliance: j.Compliance}
	for _, p := range j.Patches {
		p.Patch.Rule, p.Patch.Package = p.Rule, p.Package
		g.Patches = append(g.Patches, p.Patch)
	}
	return g
}

func readJudged(path string) (judged, error) {
	var j judged
	info, err := os.Lstat(path)
	if err != nil {
		return j, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxCached || info.Mode().Perm()&0o077 != 0 {
		return j, fs.ErrInvalid
	}
	if err := host.Owned(path); err != nil {
		return j, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return j, err
	}
	return j, json.Unmarshal(b, &j)
}

func writeJudged(path, key string, system schema.OSFacts, g schema.Judgement) error {
	j := judged{Key: key, OS: system, Counts: g.Counts, Compliance: g.Compliance, Patches: []judgedPatch{}}
	for _, p := range g.Patches {
		if p.State != schema.Installed && p.State != schema.InstalledOther {
			j.Patches = append(j.Patches, judgedPatch{p, p.Rule, p.Package})
		}
	}
	b, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return replaceFile(path, func(w io.Writer) error { _, err := w.Write(b); return err })
}
