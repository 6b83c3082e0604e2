package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

// fleetlab gives scripts a fleet without hosts:
//
//	fleetlab policy STATE N DIR        writes a policy whose roster has N nodes, with their keys below STATE
//	fleetlab agent STATE N SOCKET WHAT answers as an agent that holds a line of each; WHAT is a commit of 40 digits,
//	                                   or "forged", where the last node's line has another's signature
//	fleetlab fleet N SOCKET            answers as an agent of a fleet of N nodes, see newFakeFleet
func fleetlab() {
	if err := lab(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fleetlab:", err)
		os.Exit(1)
	}
}

func lab(args []string) error {
	if len(args) == 3 && args[0] == "fleet" {
		return serveFake(args[1], args[2])
	}
	if len(args) < 4 {
		return errors.New("policy STATE N DIR, or agent STATE N SOCKET WHAT")
	}
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	b := labAgent{facts: map[string][]byte{}}
	for i := range n {
		dir := filepath.Join(args[1], strconv.Itoa(i))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		keys, err := identity.Open(dir)
		if err != nil {
			return err
		}
		b.keys = append(b.keys, keys)
		b.roster = append(b.roster, keys.Line(fmt.Sprintf("web-%d", i+1), "debian", map[string]string{"role": "web"}, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)))
	}
	if args[0] == "policy" {
		return b.policy(args[3])
	}
	if len(args) != 5 {
		return errors.New("agent STATE N SOCKET WHAT")
	}
	if err := b.say(args[1], args[4]); err != nil {
		return err
	}
	return answer(args[3], &b)
}

// answer serves a backend on a socket until it is interrupted.
func answer(socket string, b api.Backend) error {
	l, err := api.Listen(socket)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return api.Serve(ctx, l, b)
}

// labAgent answers what report commit asks.
type labAgent struct {
	api.Backend
	keys   []identity.Keys
	roster []schema.RosterLine
	lines  []api.Line
	facts  map[string][]byte
	// records are what they saw in archives.
	records []schema.Record
}

func (b *labAgent) Joins() []string { return nil }

func (b *labAgent) ArchiveRecords() []schema.Record { return b.records }

func (b *labAgent) Lines() []api.Line { return b.lines }

func (b *labAgent) Nodes() []schema.NodeView {
	var out []schema.NodeView
	for _, l := range b.roster {
		out = append(out, schema.NodeView{Name: l.Name, ID: l.ID, Status: schema.Online})
	}
	return out
}

func (b *labAgent) Facts(_ context.Context, digest string) ([]byte, error) {
	if f, ok := b.facts[digest]; ok {
		return f, nil
	}
	return nil, api.ErrNoFacts
}

func (b *labAgent) policy(dir string) error {
	files := map[string]string{
		"schema.cue":         "package fleet\n\nimport \"dunlin.dev/schema\"\n\nclose({schema.#Repo})\n",
		"fleet.cue":          "package fleet\n\nfleet: name: \"acme\"\n",
		"cue.mod/module.cue": "module: \"acme.example/fleet@v0\"\nlanguage: version: \"v0.17.0\"\n",
	}
	roster := slices.SortedFunc(slices.Values(b.roster), func(x, y schema.RosterLine) int { return strings.Compare(x.ID, y.ID) })
	for _, l := range roster {
		var out bytes.Buffer
		a := app{streams: streams{out: &out}}
		if err := a.printRosterLine(l); err != nil {
			return err
		}
		files["nodes/"+l.ID[:2]+".jsonl"] += out.String()
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// say signs a line of each node, all with the same facts.
func (b *labAgent) say(state, what string) error {
	facts, err := report.FactsFile(schema.Facts{V: 1, OS: schema.OSFacts{ID: "debian", VersionID: "12"}, Arch: "amd64"})
	if err != nil {
		return err
	}
	sum := sha256.Sum256(facts)
	digest := fmt.Sprintf("%x", sum)
	part, archives, err := report.CandidatesFile(schema.Facts{}, []schema.Origin{{Origin: "Debian", Codename: "bookworm", Component: "main", Trusted: true}})
	if err != nil {
		return err
	}
	told := fmt.Sprintf("%x", sha256.Sum256(part))
	b.facts[told] = part
	commit := what
	if what == "forged" {
		commit = strings.Repeat("f", 40)
	}
	for i, keys := range b.keys {
		revs, err := report.OpenRevisions(filepath.Join(state, strconv.Itoa(i)))
		if err != nil {
			return err
		}
		line, err := revs.Next(schema.ReportLine{V: 1, Fleet: "acme", Node: keys.ID(), Commit: commit,
			Compliance: map[string]schema.Compliance{"Patch": schema.Compliant}, Counts: map[string]int{"MissingCount": 0},
			Facts: digest}, keys.Sign, time.Now())
		if err != nil {
			return err
		}
		if what == "forged" && i == len(b.keys)-1 {
			line.Sig = strings.Repeat("A", 86) + "=="
		}
		raw, err := report.Encode(line)
		if err != nil {
			return err
		}
		for kind, body := range map[schema.RecordKind]any{
			schema.RecordCatalog: schema.CatalogRecord{Archives: archives, Candidates: told},
			schema.RecordSeen: schema.SeenRecord{Archives: map[string]schema.SeenArchive{"Debian//bookworm/main": {
				First: time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC), Seen: map[string][]string{"2026-03-01T06:00:00Z": {"openssl 3"}}}}},
		} {
			r := schema.Record{Node: keys.ID(), Kind: kind, Boot: 1, Seq: 1}
			if kind == schema.RecordSeen {
				r.Key = "0"
			}
			if r.Body, err = json.Marshal(body); err != nil {
				return err
			}
			if r.Sig = ed25519.Sign(keys.Sign, r.Message()); what == "forged" {
				r.Sig[0] ^= 1
			}
			b.records = append(b.records, r)
		}
		b.lines = append(b.lines, api.Line{Name: b.roster[i].Name, Status: schema.Online, Line: raw})
	}
	b.facts[digest] = facts
	return nil
}
