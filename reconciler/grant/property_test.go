package grant

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dunlin-dev/dunlin/schema"
)

func subset(t *rapid.T, label string, of ...string) []string {
	bits := rapid.IntRange(1, 1<<len(of)-1).Draw(t, label)
	return slices.DeleteFunc(slices.Clone(of), func(s string) bool { return bits&(1<<slices.Index(of, s)) == 0 })
}

// aWorld draws a policy with few words, so that grants and runs often meet.
func aWorld(t *rapid.T) schema.Repo {
	repo := acme()
	repo.Grants = map[string]schema.Grant{}
	for _, name := range []string{"a", "b", "c"} {
		g := schema.Grant{Who: subset(t, "who", "alice", "bob")}
		if rapid.IntRange(0, 2).Draw(t, "runs") > 0 {
			run := &schema.GrantRun{Documents: subset(t, "documents", "restart", "plain", "AWS-RunShellScript"), Targets: role(subset(t, "roles", "web", "db", "edge")...)}
			if rapid.Bool().Draw(t, "everywhere") {
				run.Targets = role("web", "db", "edge")
			}
			run.MaxConcurrency = rapid.SampledFrom([]string{"", "1", "2", "50%", "100%"}).Draw(t, "most")
			if rapid.Bool().Draw(t, "limits") {
				run.Parameters = map[string]string{}
				for _, p := range subset(t, "limited", "Service", "Mode", "commands", "Tags") {
					run.Parameters[p] = rapid.SampledFrom([]string{"nginx", "[a-z]+", "reload|nginx", ".*", "(", "a|b"}).Draw(t, "pattern")
				}
			}
			g.Run = run
		} else {
			all := role(subset(t, "reach", "web", "db", "edge")...)
			g.Targets, g.RunAs, g.MaxDuration = &all, rapid.SampledFrom([]string{"deploy", "postgres"}).Draw(t, "as"), rapid.SampledFrom([]schema.Duration{"1h", "4h"}).Draw(t, "long")
			for _, k := range subset(t, "kinds", "shell", "forward", "exec") {
				g.Sessions = append(g.Sessions, schema.SessionKind(k))
			}
			g.Ports = rapid.SliceOfN(rapid.SampledFrom([]int{22, 5432}), 1, 2).Draw(t, "ports")
		}
		repo.Grants[name] = g
	}
	return repo
}

func aRun(t *rapid.T) (schema.Run, []schema.Node) {
	value := rapid.SampledFrom([]string{"nginx", "nginx", "reload", "a", "", "nginx\n", "{{ssm:/x}}", "Ä"})
	r := schema.Run{Document: rapid.SampledFrom([]string{"restart", "restart", "plain", "AWS-RunShellScript"}).Draw(t, "document"), Parameters: schema.Arguments{},
		MaxConcurrency: rapid.SampledFrom([]string{"1", "2", "3", "25%", "50%", "100%"}).Draw(t, "at once")}
	switch r.Document {
	case "restart":
		r.Parameters["Service"] = text(value.Draw(t, "service"))
		if rapid.Bool().Draw(t, "mode") {
			r.Parameters["Mode"] = text(value.Draw(t, "mode's"))
		}
		if rapid.Bool().Draw(t, "tags") {
			r.Parameters["Tags"] = text(rapid.SliceOfN(value, 0, 3).Draw(t, "tags'")...)
		}
	case "AWS-RunShellScript":
		r.Parameters["commands"] = text(rapid.SliceOfN(value, 1, 3).Draw(t, "commands")...)
	}
	all := slices.Concat(nodesOf("web", 2), nodesOf("db", 2), nodesOf("edge", 1))
	return r, rapid.SliceOfNDistinct(rapid.SampledFrom(all), 1, 5, func(n schema.Node) string { return n.ID }).Draw(t, "nodes")
}

// TestARunIsCoveredByOneGrant holds the decision against the rule read aloud, and against what must follow from it.
func TestARunIsCoveredByOneGrant(t *testing.T) {
	asked, allowed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		repo := aWorld(t)
		r, nodes := aRun(t)
		who := rapid.SampledFrom([]string{"alice", "alice", "bob", "carol"}).Draw(t, "who")
		v := Run(repo, who, r, nodes, byRole)
		if (v.Grant == "") != (len(v.Why) > 0) {
			t.Fatalf("%+v", v)
		}
		if want := readAloud(repo, who, r, nodes); v.Grant != want {
			t.Fatalf("%s, want by %q", v, want)
		}
		if asked++; v.Allowed() {
			allowed++
		}
		if who == "carol" && v.Allowed() {
			t.Fatalf("roles alone: %s", v)
		}
		// Without any of the other grants it is as before, and without that grant it is not by it.
		for name := range repo.Grants {
			less := repo
			less.Grants = maps.Clone(repo.Grants)
			delete(less.Grants, name)
			if got := Run(less, who, r, nodes, byRole); !v.Allowed() && got.Allowed() || name != v.Grant && got.Grant != v.Grant {
				t.Fatalf("without %s: %s, with it: %s", name, got, v)
			}
		}
		// One node of nobody's refuses all of it.
		if got := Run(repo, who, r, append(nodes[:len(nodes):len(nodes)], node("other", "other")), byRole); got.Allowed() {
			t.Fatalf("with a node of nobody's: %s", got)
		}
		// Their order does not matter.
		turned := slices.Clone(nodes)
		slices.Reverse(turned)
		if got := Run(repo, who, r, turned, byRole); got.Grant != v.Grant {
			t.Fatalf("in another order: %s, and %s", got, v)
		}
	})
	if allowed == 0 {
		t.Errorf("none of %d runs was allowed: the test sees too few", asked)
	}
}

// readAloud is the rule in the plainest words: the first grant by name that covers a run, or nothing.
func readAloud(repo schema.Repo, who string, r schema.Run, nodes []schema.Node) string {
	d, ok := repo.Documents[r.Document]
	if !ok {
		d = repo.ShippedDocuments[r.Document]
	}
	number := func(text string) int {
		if digits, percent := strings.CutSuffix(text, "%"); percent {
			return max(1, map[string]int{"25": 25, "50": 50, "100": 100}[digits]*len(nodes)/100)
		}
		return map[string]int{"1": 1, "2": 2, "3": 3}[text]
	}
	for _, name := range slices.Sorted(maps.Keys(repo.Grants)) {
		g := repo.Grants[name]
		if g.Run == nil || !slices.Contains(g.Who, who) || !slices.Contains(g.Run.Documents, r.Document) {
			continue
		}
		fits := true
		for _, n := range nodes {
			fits = fits && slices.Contains(g.Run.Targets.Tags["role"], n.Tags["role"])
		}
		if limit := g.Run.MaxConcurrency; limit != "" {
			fits = fits && number(r.MaxConcurrency) <= number(limit)
			if limit == "50%" {
				fits = fits && r.MaxConcurrency != "100%"
			}
			if limit == "1" || limit == "2" {
				fits = fits && (strings.HasSuffix(r.MaxConcurrency, "%") || r.MaxConcurrency <= limit)
			}
		}
		for p, pattern := range g.Run.Parameters {
			if _, has := d.Parameters[p]; !has {
				continue
			}
			values := map[string][]string{"Mode": {"reload"}, "Tags": {"a", "b"}}[p]
			if a, given := r.Parameters[p]; given {
				values = a.Texts
				if len(values) == 0 {
					values = []string{""}
				}
			}
			for _, s := range values {
				re, err := regexp.Compile(pattern)
				if err != nil || strings.Contains(s, "{{") {
					fits = false
					continue
				}
				re.Longest()
				at := re.FindStringIndex(s)
				fits = fits && at != nil && at[0] == 0 && at[1] == len(s)
			}
		}
		if fits {
			return name
		}
	}
	return ""
}

// TestASessionIsNoMoreThanItsGrant: what is given is within the grant that is named, in each of its limits.
func TestASessionIsNoMoreThanItsGrant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		repo := aWorld(t)
		s := Session{Kind: rapid.SampledFrom([]schema.SessionKind{"shell", "forward", "exec"}).Draw(t, "kind"), RunAs: rapid.SampledFrom([]string{"", "deploy", "root"}).Draw(t, "user"),
			Duration: rapid.SampledFrom([]time.Duration{0, time.Minute, time.Hour, 2 * time.Hour, 5 * time.Hour}).Draw(t, "time")}
		if s.Kind == "forward" {
			s.Port = rapid.SampledFrom([]int{22, 80, 5432}).Draw(t, "port")
		}
		_, nodes := aRun(t)
		who := rapid.SampledFrom([]string{"alice", "bob", "carol"}).Draw(t, "who")
		open, v := Open(repo, who, s, nodes[0], byRole)
		if !v.Allowed() {
			if open != (Opening{}) || len(v.Why) == 0 {
				t.Fatalf("%s gives %+v", v, open)
			}
			return
		}
		g := repo.Grants[v.Grant]
		if who == "carol" || !slices.Contains(g.Who, who) || !slices.Contains(g.Sessions, s.Kind) || !byRole(*g.Targets, nodes[0]) ||
			open.RunAs != g.RunAs || s.RunAs != "" && s.RunAs != open.RunAs || open.Duration <= 0 || open.Duration > g.MaxDuration.Std() || s.Duration != 0 && open.Duration != s.Duration ||
			s.Kind == "forward" && !slices.Contains(g.Ports, s.Port) {
			t.Fatalf("%s gives %s %+v by %+v", v, who, open, g)
		}
	})
}
