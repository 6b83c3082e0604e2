package agenttest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/agent/simulated"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// otherNet is another network namespace as agents take it.
type otherNet struct{ netns string }

func (o otherNet) Listen(addr string) (net.Listener, error) { return listenIn(o.netns, addr) }

func (o otherNet) Packets(addr string) (net.PacketConn, error) {
	return within(o.netns, func() (net.PacketConn, error) { return net.ListenPacket("udp", addr) })
}

func (o otherNet) Dial(ctx context.Context, addr string) (net.Conn, error) {
	return within(o.netns, func() (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", addr) })
}

// BenchmarkAgentBesideFifty runs the real agent of a real host, as a service, beside 50 others: real agents on simulated
// hosts in this process, on the switch's address. For DUNLIN_BESIDE (1m, a Go duration) it looks every second at the
// agent's resident memory, and at the end at the processor's time that it took, at how often it woke up, and at the bytes
// that its host sent.
func BenchmarkAgentBesideFifty(b *testing.B) {
	for b.Loop() {
		besideFifty(b)
	}
	b.ReportMetric(0, "ns/op") // how long was looked means nothing
}

func besideFifty(b *testing.B) {
	const others = 50
	long, err := time.ParseDuration(os.Getenv("DUNLIN_BESIDE"))
	if err != nil {
		long = time.Minute
	}
	h := Hosts(b, 1, Options{Systemd: true})[0]
	h.Copy(filepath.Join(Debs(b, "0.1.0"), "dunlin_0.1.0_amd64.deb"), "/root/dunlin.deb")
	h.MustExec("apt-get", "install", "-y", "/root/dunlin.deb")
	line := h.MustExec("dunlin", "node", "line", "--tags", "role=web")
	h.MustExec("mkdir", "-p", "/srv/fleet", "/etc/dunlin")
	key := make([]byte, 32)
	_, _ = rand.Read(key)

	var specs []simulated.Spec
	for i := range others {
		specs = append(specs, simulated.Spec{Name: fmt.Sprintf("other-%02d", i), Tags: map[string]string{"role": "web"},
			Gossip: fmt.Sprintf("10.77.0.254:%d", 20000+2*i), Peer: fmt.Sprintf("10.77.0.254:%d", 20001+2*i)})
	}
	fleet, err := simulated.New(filepath.Join(h.Root(), "srv", "fleet"), specs)
	if err != nil {
		b.Fatal(err)
	}
	files, err := fleet.Roster(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		b.Fatal(err)
	}
	var self schema.RosterLine
	if err := json.Unmarshal([]byte(line), &self); err != nil {
		b.Fatal(err)
	}
	shard := "nodes/" + self.ID[:2] + ".jsonl"
	if files[shard] > line {
		files[shard] = line + files[shard]
	} else {
		files[shard] += line
	}
	files["fleet.cue"] = "package fleet\n\nfleet: name: \"acme\"\n"
	files["policies/web.cue"] = `package fleet

policy: web: {
	targets: tags: role: ["web"]
	blockedPorts: [{port: 23}]
	files: "/etc/motd": {content: "kept\n", mode: "0644", owner: "root", group: "root"}
}
`
	if _, err := fleet.Commit("main", "", "first", files, time.Now()); err != nil {
		b.Fatal(err)
	}
	around := simulated.Around{Join: fleet.Seeds(), GossipKey: key, Network: otherNet{h.bed.switchNet(b)}, Evaluate: once(load.InProcess(load.Options{})), Now: time.Now}
	for _, n := range fleet.Nodes {
		o := fleet.Options(n, around)
		o.Log, o.Random, o.Version = slog.New(slog.DiscardHandler), mathrand.Float64, "test"
		if err := n.Start(o); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = n.Stop() })
	}
	h.Write("/etc/dunlin/gossip.key", base64.StdEncoding.EncodeToString(key)+"\n", 0o600)
	h.Write("/etc/dunlin/agent.cue", `repo: url: "file:///srv/fleet/policy.git"
reports: {}
trust: "unsigned"
gossip: {keyFile: "/etc/dunlin/gossip.key", join: ["`+strings.Join(fleet.Seeds(), `", "`)+`"]}
`, 0o644)
	h.MustExec("systemctl", "start", "dunlin")
	until := time.Now().Add(3 * time.Minute)
	for {
		s, ok := ask(h, (*api.Client).Status)
		if ok && s.Nodes[string(schema.Online)] == others+1 && s.Commit != "" {
			break
		}
		if time.Now().After(until) {
			b.Fatalf("the fleet is not whole after 3 min: %+v", s)
		}
		time.Sleep(time.Second)
	}

	pid := agentPID(b, h)
	start, cpu, woken, sent := time.Now(), processorTime(b, pid), wakeUps(b, pid), bytesSent(b, h)
	var most, anonymous int64
	for time.Since(start) < long {
		time.Sleep(time.Second)
		rss, anon := resident(b, pid)
		most, anonymous = max(most, rss), max(anonymous, anon)
	}
	took := time.Since(start)
	b.ReportMetric(float64(most)/(1<<20), "MiB-resident")
	b.ReportMetric(float64(anonymous)/(1<<20), "MiB-anonymous")
	b.ReportMetric(100*(processorTime(b, pid)-cpu).Seconds()/took.Seconds(), "%-of-a-core")
	b.ReportMetric(float64(wakeUps(b, pid)-woken)/took.Seconds(), "wake-ups/s")
	b.ReportMetric(float64(bytesSent(b, h)-sent)/took.Seconds(), "B/s-sent")
	for _, n := range fleet.Nodes {
		if err := n.Ended(); err != nil {
			b.Error(err)
		}
	}
}

// once evaluates each tree once for all that share the function.
func once(evaluate load.Func) load.Func {
	type evaluated struct {
		repo   schema.Repo
		faults []schema.Fault
	}
	var mu sync.Mutex
	have := map[string]evaluated{}
	return func(ctx context.Context, tree fs.FS) (schema.Repo, []schema.Fault, error) {
		mu.Lock()
		defer mu.Unlock()
		digest, err := load.Digest(tree)
		if err != nil {
			return schema.Repo{}, nil, err
		}
		if e, ok := have[digest]; ok {
			return e.repo, e.faults, nil
		}
		repo, faults, err := evaluate(ctx, tree)
		if err == nil {
			have[digest] = evaluated{repo, faults}
		}
		return repo, faults, err
	}
}

// agentPID is the number of the host's agent on this machine.
func agentPID(t testing.TB, h *Host) int {
	t.Helper()
	cgroup := strings.TrimSpace(h.MustExec("systemctl", "show", "-P", "MainPID", "dunlin"))
	leader, err := h.leader()
	if err != nil {
		t.Fatal(err)
	}
	// The host has numbers of its own; NSpid of each process names both.
	for _, path := range glob("/proc/[0-9]*/status") {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		pids := strings.Fields(field(string(text), "NSpid"))
		if len(pids) < 2 || pids[len(pids)-1] != cgroup || !sameNamespace(leader, pids[0]) {
			continue
		}
		pid, err := strconv.Atoi(pids[0])
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	t.Fatalf("%s: no process is its %s", h.Name, cgroup)
	return 0
}

func sameNamespace(leader int, pid string) bool {
	a, errA := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", leader))
	b, errB := os.Readlink("/proc/" + pid + "/ns/pid")
	return errA == nil && errB == nil && a == b
}

// field is the rest of the line of /proc/PID/status that begins with a name (proc(5)).
func field(status, name string) string {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return rest
		}
	}
	return ""
}

// resident is a process's resident memory in bytes, and that part of it which is not the content of files.
func resident(t testing.TB, pid int) (all, anonymous int64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	kib := func(name string) int64 {
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(field(string(text), name)), " kB"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n << 10
	}
	return kib("VmRSS"), kib("RssAnon")
}

// processorTime is the time that all threads of a process ran.
func processorTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	var clock int32 = ^int32(pid)<<3 | 2 // MAKE_PROCESS_CPUCLOCK of the kernel, CPUCLOCK_SCHED
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// wakeUps is how often the threads of a process that run now have waited for something (proc(5)). Unlike the time that they
// ran it does not depend on what else the machine does.
func wakeUps(t testing.TB, pid int) int64 {
	t.Helper()
	var all int64
	for _, path := range glob(fmt.Sprintf("/proc/%d/task/*/status", pid)) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseInt(strings.TrimSpace(field(string(text), "voluntary_ctxt_switches")), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		all += n
	}
	return all
}

// bytesSent is what a host has sent so far.
func bytesSent(t testing.TB, h *Host) int64 {
	t.Helper()
	n, err := strconv.ParseInt(strings.TrimSpace(h.MustExec("cat", "/sys/class/net/eth0/statistics/tx_bytes")), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
