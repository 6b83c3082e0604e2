package grant

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// Session is one that somebody wants to open.
type Session struct {
	Kind     schema.SessionKind
	RunAs    string        // user of the host; empty: the grant's
	Port     int           // of a forward; 0 for other kinds
	Duration time.Duration // 0: as long as the grant allows
}

// Opening is a session as a grant gives it.
type Opening struct {
	RunAs    string
	Duration time.Duration
}

// Open reports whether who may open a session on a node of the roster, by the policy in force there, and what it is then.
func Open(repo schema.Repo, who string, s Session, node schema.Node, selects Selects) (Opening, Verdict) {
	var words []string
	for _, k := range []schema.SessionKind{schema.SessionShell, schema.SessionForward, schema.SessionExec} {
		words = append(words, string(k))
	}
	forward := s.Kind == schema.SessionForward
	switch {
	case !slices.Contains(words, string(s.Kind)):
		return Opening{}, refused(against("session", "%q is not one of %s", s.Kind, strings.Join(words, ", ")))
	case forward && (s.Port < 1 || s.Port > 65535):
		return Opening{}, refused(against("port", "a forward goes to a port from 1 to 65535, and not %d", s.Port))
	case !forward && s.Port != 0:
		return Opening{}, refused(against("port", "only a forward has a port"))
	case s.Duration < 0:
		return Opening{}, refused(against("duration", "a session does not last %s", s.Duration))
	case node.ID == "":
		return Opening{}, refused(against("nodes", "%q is no node of the roster", node.Name))
	}
	v := judge(repo, who, "open sessions", func(g schema.Grant) bool { return len(g.Sessions) > 0 }, func(g schema.Grant) []Reason {
		return opens(g, s, node, selects)
	})
	if !v.Allowed() {
		return Opening{}, v
	}
	g := repo.Grants[v.Grant]
	o := Opening{RunAs: g.RunAs, Duration: g.MaxDuration.Std()}
	if s.Duration > 0 {
		o.Duration = s.Duration
	}
	return o, v
}

// opens is what a grant has against a session. One for other kinds has nothing to say of the rest.
func opens(g schema.Grant, s Session, node schema.Node, selects Selects) []Reason {
	if !slices.Contains(g.Sessions, s.Kind) {
		var kinds []string
		for _, k := range g.Sessions {
			kinds = append(kinds, string(k))
		}
		return []Reason{against("session", "it is for %s", strings.Join(kinds, ", "))}
	}
	var why []Reason
	if g.Targets == nil || !selects(*g.Targets, node) {
		why = append(why, against("nodes", "%s is not among its nodes", nameOf(node)))
	}
	switch {
	case g.RunAs == "":
		why = append(why, against("runAs", "it names no user"))
	case s.RunAs != "" && s.RunAs != g.RunAs:
		why = append(why, against("runAs", "a session of it is %s's, and not %s's", g.RunAs, s.RunAs))
	}
	if s.Kind == schema.SessionForward && !slices.Contains(g.Ports, s.Port) {
		var ports []string
		for _, p := range g.Ports {
			ports = append(ports, strconv.Itoa(p))
		}
		why = append(why, against("port", "it is for port %s, and not %d", listed(ports), s.Port))
	}
	if most := g.MaxDuration.Std(); most <= 0 || s.Duration > most {
		why = append(why, against("duration", "a session of it lasts at most %s, and not %s", g.MaxDuration, s.Duration))
	}
	return why
}
