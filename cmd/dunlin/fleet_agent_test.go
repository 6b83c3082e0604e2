package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/gossip"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// liveFleet is real agents on simulated hosts, on loopback and by this machine's clock.
type liveFleet struct {
	t      *testing.T
	dir    string
	remote *gitrepo.Store
	head   string
	nodes  []*liveNode
	shared []byte // the gossip key
}

type liveNode struct {
	name, state, gossip, peer, socket string
	advertise                         string // where others reach it; empty: gossip
	host                              host.Simulated
	keys                              identity.Keys
	stop                              func()
	log                               io.Writer                            // of the agent; nil: nowhere
	on                                func(host.Simulated) reconciler.Host // what the agent takes for its host; nil: host
}

func newLiveFleet(t *testing.T, names ...string) *liveFleet {
	t.Helper()
	f := &liveFleet{t: t, dir: t.TempDir(), shared: make([]byte, gossip.KeySize)}
	for i := range f.shared {
		f.shared[i] = byte(rand.Uint32())
	}
	var err error
	if f.remote, err = gitrepo.OpenStore(filepath.Join(f.dir, "policy.git"), gitrepo.Remote{}); err != nil {
		t.Fatal(err)
	}
	// A network of its own, so that nobody else on this machine has the ports.
	third := 1 + rand.IntN(250)
	files := map[string]string{"fleet.cue": "package fleet\n\nfleet: {name: \"live\", sync: interval: \"1s\", reports: interval: \"1s\"}\n"}
	for i, name := range names {
		addr := fmt.Sprintf("127.42.%d.%d", third, i+1)
		n := &liveNode{name: name, gossip: net.JoinHostPort(addr, "7950"), peer: net.JoinHostPort(addr, "7951"),
			state: filepath.Join(f.dir, name, "state"), socket: filepath.Join(f.dir, name, "run", "dunlin.sock"),
			host: host.Simulated{Dir: filepath.Join(f.dir, name, "host")}}
		for _, d := range []string{n.state, filepath.Join(n.host.Dir, "files", "etc")} {
			if err := os.MkdirAll(d, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if n.keys, err = identity.Open(n.state); err != nil {
			t.Fatal(err)
		}
		var line bytes.Buffer
		a := app{streams: streams{out: &line}}
		if err := a.printRosterLine(n.keys.Line(name, "debian", map[string]string{"role": "web"}, noon())); err != nil {
			t.Fatal(err)
		}
		files["nodes/"+n.keys.ID()[:2]+".jsonl"] += line.String()
		f.nodes = append(f.nodes, n)
	}
	f.push(files)
	return f
}

func (f *liveFleet) push(files map[string]string) string {
	f.t.Helper()
	change := gitrepo.Change{Parent: f.head, Files: map[string][]byte{}, Message: "change", Author: "ann", Email: "ann@example.org", When: time.Now()}
	for path, text := range files {
		change.Files[path] = []byte(text)
	}
	var err error
	if f.head, err = f.remote.Commit(change); err != nil {
		f.t.Fatal(err)
	}
	if err := f.remote.SetRef("refs/heads/main", f.head); err != nil {
		f.t.Fatal(err)
	}
	return f.head
}

// start runs the node's agent until the test ends or n.stop is called.
func (f *liveFleet) start(n *liveNode) {
	f.t.Helper()
	var join []string
	for _, other := range f.nodes {
		join = append(join, other.gossip)
	}
	secrets := &agent.Secrets{}
	log := slog.New(slog.DiscardHandler)
	if n.log != nil {
		log = agentLog(n.log, slog.LevelDebug, secrets)
	}
	var on reconciler.Host = n.host
	if n.on != nil {
		on = n.on(n.host)
	}
	a, err := agent.New(agent.Options{
		Config: schema.AgentConfig{
			Repo: schema.AgentRepo{URL: "file://" + filepath.Join(f.dir, "policy.git")}, Reports: &schema.AgentReports{},
			Trust: schema.AgentTrust{Unsigned: true}, State: n.state,
			Gossip: &schema.AgentGossip{Bind: n.gossip, Join: join, Advertise: n.advertise}, Peer: schema.AgentPeer{Bind: n.peer},
		},
		Local: agent.Local{
			State: n.state, Root: filepath.Join(n.host.Dir, "files"), Evaluate: load.InProcess(load.Options{}), Host: on, Packages: n.host, Secrets: secrets, Progress: stepLog(log),
			LastInstalls: n.host.LastInstalls().Read, Ceiling: reconciler.NoCeiling(), Now: time.Now,
		},
		GossipKey: f.shared, Network: gossip.System{}, Version: "test",
		Inventory: func(_ context.Context, types []string) (map[string][]byte, error) {
			out := map[string][]byte{}
			for _, t := range types {
				out[t] = fmt.Appendf(nil, `[{"Name":"from-%s"}]`, n.name)
			}
			return out, nil
		},
		Log: log, Random: rand.Float64,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	l, err := api.Listen(n.socket)
	if err != nil {
		f.t.Fatal(err)
	}
	a.Listen(l)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stopped := false
	n.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("agent of %s: %v", n.name, err)
		}
	}
	f.t.Cleanup(n.stop)
}

// run runs a command line at a node.
func (n *liveNode) run(line string) (out, errs string, code int) {
	var o, e bytes.Buffer
	a := &app{streams: streams{in: strings.NewReader(""), out: &o, err: &e}, now: time.Now}
	code = a.execute(context.Background(), append(strings.Fields(line), "--socket", n.socket))
	return o.String(), e.String(), code
}

// until runs a command line until ok likes what it prints.
func (n *liveNode) until(t *testing.T, line string, ok func(out string) bool) string {
	t.Helper()
	return n.within(t, 30*time.Second, line, ok)
}

// within is until with another limit.
func (n *liveNode) within(t *testing.T, limit time.Duration, line string, ok func(out string) bool) string {
	t.Helper()
	end := time.Now().Add(limit)
	for {
		out, errs, code := n.run(line)
		if code == 0 && ok(out) {
			return out
		}
		if time.Now().After(end) {
			more, _, _ := n.run("compliance")
			t.Fatalf("dunlin %s at %s: exit %d\n%s%s%s", line, n.name, code, out, errs, more)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// TestTheFleetAnswersThroughRealAgents asks real agents, over real sockets, what their hosts and their fleet are.
func TestTheFleetAnswersThroughRealAgents(t *testing.T) {
	f := newLiveFleet(t, "web-1", "web-2")
	one, two := f.nodes[0], f.nodes[1]
	for _, n := range f.nodes {
		if err := n.host.SetArchive(host.SimulatedArchive{Arch: "amd64", Debian: "12",
			Installed: map[string]host.SimulatedInstalled{"dpkg": {Version: "1.21.22", State: "installed"}, "openssl": {Version: "3.0.16-1", State: "installed"}},
			Versions:  map[string][]host.SimulatedVersion{"dpkg": {{Version: "1.21.22"}}, "openssl": {{Version: "3.0.16-1"}, {Version: "3.0.17-1", Security: true, Priority: "important"}}},
		}); err != nil {
			t.Fatal(err)
		}
		f.start(n)
	}
	one.until(t, "status -o json", func(out string) bool {
		var s schema.FleetStatus
		return json.Unmarshal([]byte(out), &s) == nil && s.Nodes[string(schema.Online)] == 2 && s.Holds == 2 && s.Compliance[schema.NonCompliant] == 2
	})

	// A push is in force when sync returns, here; the other node follows by itself.
	head := f.push(map[string]string{"policies/web.cue": `package fleet

policy: web: {
	targets: tags: role: "web"
	files: "/etc/motd": content: "ours\n"
}
policy: look: {
	targets: nodes: ["web-2"]
	mode: "audit"
	files: "/etc/issue": content: "ours too\n"
}
`, "parameters/port.cue": "package fleet\n\nparameter: \"/port\": {type: \"String\", versions: \"1\": value: \"8443\"}\n"})
	if out, errs, code := one.run("sync"); code != 0 || !strings.Contains(out, head[:12]) {
		t.Fatalf("sync: exit %d\n%s%s", code, out, errs)
	}
	one.until(t, "nodes -o json", func(out string) bool { return strings.Count(out, `"commit": "`+head+`"`) == 2 })
	for _, tt := range []struct {
		line string
		code int
		want []string
	}{
		{"status", 0, []string{"web-1 of fleet live", head[:12] + " in force for ", ", on all 2 nodes", "its head is in force", "2 Online", "2 NON_COMPLIANT"}},
		{"compliance --exit-status --target node=web-2", 7, []string{"patch:openssl.amd64", "file:/etc/issue"}},
		{"explain file:/etc/motd", 0, []string{"Compliant", "policy web", "policies/web.cue:5:"}},
		{"explain web-2", 0, []string{"! file:/etc/issue  NonCompliant", "policy look, which only audits, policies/web.cue:10", "Missing"}},
		{"explain web-2 openssl.amd64", 0, []string{"Missing", "wanted    3.0.17-1", "baseline ", "shipped with dunlin", "the node told this"}},
		{"inventory --node web-2 --type AWS:Application", 0, []string{"from-web-2"}},
		{"scan", 0, []string{"openssl.amd64:3.0.17-1", "1 Missing"}},
		{"explain web-3", 9, []string{`did you mean "web-`}},
	} {
		out, errs, code := one.run(tt.line)
		if code != tt.code || slices.ContainsFunc(tt.want, func(w string) bool { return !strings.Contains(out+errs, w) }) {
			t.Errorf("dunlin %s: exit %d, want %d and %q:\n%s%s", tt.line, code, tt.code, tt.want, out, errs)
		}
	}

	// A node that is gone is not taken for one that is here.
	two.stop()
	one.until(t, "nodes", func(out string) bool {
		return strings.Contains(out, "! ConnectionLost") && strings.Contains(out, " s ago")
	})
	if out, _, _ := one.run("compliance"); !strings.Contains(out, "last NON_COMPLIANT  web-2 (last heard ") {
		t.Errorf("compliance without web-2:\n%s", out)
	}
	if out, errs, code := one.run("inventory --node web-2"); code != exitUnreachable {
		t.Errorf("inventory of a node that is gone: exit %d\n%s%s", code, out, errs)
	}
	refused := f.push(map[string]string{"policies/web.cue": "package fleet\n\npolicy: web: {targets: all: true, blockedPorts: [{port: 99999}]}\n"})
	if out, errs, code := one.run("sync"); code != exitFaults || !strings.Contains(errs, "policies/web.cue:3:") || !strings.Contains(errs, refused[:12]) {
		t.Errorf("sync with a broken head: exit %d\n%s%s", code, out, errs)
	}
	if err := os.Rename(filepath.Join(f.dir, "policy.git"), filepath.Join(f.dir, "away.git")); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := one.run("sync"); code != exitError || !strings.Contains(errs, head[:12]+" stays in force") {
		t.Errorf("sync without a remote: exit %d\n%s%s", code, out, errs)
	}

	// Parameters are those of what is in force, while the agent has its store open and another head was fetched into it.
	var o, e bytes.Buffer
	read := &app{streams: streams{in: strings.NewReader(""), out: &o, err: &e}, now: time.Now}
	if code := read.execute(context.Background(), []string{"param", "get", "/port", "--state", one.state}); code != 0 || o.String() != "8443\n" || !strings.Contains(e.String(), "commit "+head[:12]+", which is in force here") {
		t.Errorf("param get on a node: exit %d\n%s%s", code, o.String(), e.String())
	}

	// Without an agent the host is still explained, under the commit that was in force last.
	one.stop()
	if _, err := os.Stat(one.socket); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if out, errs, code := one.run("scan --state " + filepath.Join(f.dir, "nowhere")); code != exitUnreachable || !strings.Contains(errs, "--repo DIR") {
		t.Errorf("scan where there never was an agent: exit %d\n%s%s", code, out, errs)
	}
	out, errs, code := one.run("explain file:/etc/motd --state " + one.state)
	if code != 0 || !strings.Contains(errs, "no agent answers; this is under "+head[:12]) || !strings.Contains(out, "policies/web.cue:5:") {
		t.Errorf("explain without an agent: exit %d\n%s%s", code, out, errs)
	}
}
