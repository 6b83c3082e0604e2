package demo

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/agent/simulated"
	"github.com/dunlin-dev/dunlin/schema"
)

// alike gives a row for each text, with the nodes that share it, in the order of the nodes.
func alike(nodes []*simulated.Node, of func(n *simulated.Node) (Mark, string)) []Row {
	var rows []Row
	for _, n := range nodes {
		mark, text := of(n)
		i := slices.IndexFunc(rows, func(r Row) bool { return r.Mark == mark && r.Text == text })
		if i < 0 {
			rows, i = append(rows, Row{Mark: mark, Text: text}), len(rows)
		}
		rows[i].Nodes = append(rows[i].Nodes, n.Name)
	}
	return rows
}

// parts cuts "file:/etc/motd" in two.
func parts(resource string) (kind schema.Kind, key string) {
	k, key, _ := strings.Cut(resource, ":")
	return schema.Kind(k), key
}

// phrases say what changes, each in a few words; done says it in the past.
func phrases(changes []schema.Change, done bool) (out []string, patches int) {
	say := func(doing, did, what string) {
		if done {
			doing = did
		}
		if s := doing + " " + what; !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	for _, c := range changes {
		kind, key := parts(c.Resource)
		switch kind {
		case schema.KindPort:
			// in/tcp/23/any
			f := strings.Split(key, "/")
			say("close", "closed", "port "+f[min(2, len(f)-1)])
		case schema.KindPackage:
			if c.Action == schema.Remove {
				say("remove", "removed", key)
			} else {
				say("install", "installed", key)
			}
		case schema.KindService:
			switch c.Action {
			case schema.Stop:
				say("stop", "stopped", key)
			case schema.Disable:
				say("disable", "disabled", key)
			case schema.Enable:
				say("enable", "enabled", key)
			default:
				say("start", "started", key)
			}
		case schema.KindFile:
			say("write", "wrote", key)
		case schema.KindSysctl:
			say("set", "set", key[strings.LastIndexByte(key, '.')+1:]+"="+c.Want)
		case schema.KindPatch:
			patches++
		default:
			say(string(c.Action), string(c.Action), key)
		}
	}
	slices.SortStableFunc(out, func(a, b string) int { return cmp.Compare(weight(a), weight(b)) })
	return out, patches
}

// weight puts what people look for first.
func weight(s string) int {
	if strings.HasPrefix(s, "close") {
		return 0
	}
	return 1
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// seconds are for people: "0.4 s", "38 ms", with a blank at which no line breaks.
func seconds(d time.Duration) string {
	if d < 100*time.Millisecond {
		return fmt.Sprintf("%d\u00a0ms", max(d.Milliseconds(), 1))
	}
	return fmt.Sprintf("%.1f\u00a0s", d.Seconds())
}
