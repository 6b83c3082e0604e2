package main

import (
	"encoding/json"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/schema"
)

// twin is a copy of a node that does not run, keys and all, at other ports of the same address.
func (f *liveFleet) twin(of *liveNode) *liveNode {
	f.t.Helper()
	dir := filepath.Join(f.dir, "twin")
	ip, _, err := net.SplitHostPort(of.gossip)
	if err != nil {
		f.t.Fatal(err)
	}
	n := &liveNode{name: "twin", keys: of.keys, gossip: ip + ":7960", peer: ip + ":7961", state: filepath.Join(dir, "state"),
		socket: filepath.Join(dir, "run", "dunlin.sock"), host: host.Simulated{Dir: filepath.Join(dir, "host")}}
	if err := os.MkdirAll(filepath.Join(n.host.Dir, "files", "etc"), 0o700); err != nil {
		f.t.Fatal(err)
	}
	if err := os.CopyFS(n.state, os.DirFS(of.state)); err != nil {
		f.t.Fatal(err)
	}
	err = filepath.WalkDir(n.state, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chmod(path, map[bool]os.FileMode{true: 0o700, false: 0o600}[d.IsDir()])
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

// A snapshot that was started twice, or a copied state folder: behind one address, too, and where no third node is there to
// see it, both say so, and so does everybody else.
func TestTwoHostsWithOneKey(t *testing.T) {
	for _, tt := range []struct {
		name  string
		nodes []string
		same  bool // as behind a translator: both say that they are at the same port, where neither is reached
	}{
		{"alone", []string{"web-1"}, false}, // they have nobody but each other
		{"two ports", []string{"web-1", "web-2"}, false},
		{"hidden", []string{"web-1", "web-2", "web-3"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newLiveFleet(t, tt.nodes...)
			one := f.nodes[0]
			twin := f.twin(one)
			if tt.same {
				ip, _, _ := net.SplitHostPort(one.gossip)
				one.advertise, twin.advertise = ip+":7999", ip+":7999"
			}
			for _, n := range append(f.nodes, twin) {
				f.start(n)
			}
			for _, n := range []*liveNode{one, twin} {
				out := n.within(t, time.Minute, "status", func(out string) bool { return strings.Contains(out, "another host uses this host's key") })
				if !strings.Contains(out, "1 Conflict") {
					t.Errorf("status of %s:\n%s", n.name, out)
				}
			}
			for _, n := range append(f.nodes, twin) {
				n.within(t, time.Minute, "nodes -o json", func(out string) bool {
					var views []schema.NodeView
					if err := json.Unmarshal([]byte(out), &views); err != nil {
						t.Fatalf("%v: %s", err, out)
					}
					flagged := 0
					for _, v := range views {
						if (v.Status == schema.CloneConflict) == (v.ID == one.keys.ID()) {
							flagged++
						}
					}
					return flagged == len(tt.nodes) && len(views) == len(tt.nodes) // before the policy is in force there are none
				})
			}
		})
	}
}
