//go:build linux

package host_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/reconciler/kind/patch"
	"github.com/dunlin-dev/dunlin/reconciler/kind/pkg"
	"github.com/dunlin-dev/dunlin/reconciler/transaction"
	"github.com/dunlin-dev/dunlin/schema"
)

// order is what a driver is to do on a host: one pass of the kinds patch and package.
type order struct {
	Patches     []schema.PackageRef
	Packages    map[string]schema.Package
	MaxRemovals int
	Refresh     bool
	Session     bool
	Deadline    time.Duration
	LockTimeout time.Duration
	Blocked     []string
}

// answer is what became of it, by the resource's name; empty for well.
type answer struct {
	Errors map[string]string
	Drift  map[string]string // what a Check afterwards still finds
	Said   []string
}

const (
	driverOrder = "/run/driver.json"
	driverState = "/var/lib/dunlin"
	marker      = "ANSWER "
)

// driver is the program that does an order, as reconcile would.
func (o order) run(ctx context.Context) answer {
	var a answer
	a.Errors, a.Drift = map[string]string{}, map[string]string{}
	h := host.Packages{
		State: driverState, Program: []string{"/usr/local/bin/dunlin", "tx"}, Session: o.Session,
		Deadline: o.Deadline, LockTimeout: o.LockTimeout, KillGrace: time.Second,
		Progress: func(line string) { fmt.Println(line); a.Said = append(a.Said, line) },
	}
	engine := transaction.Engine{Host: h, Refresh: o.Refresh, Blocked: func(p schema.PackageRef) string {
		for _, b := range o.Blocked {
			if b == p.Name {
				return "it is rejected"
			}
		}
		return ""
	}}
	if err := h.Settle(ctx); err != nil {
		a.Errors["settle"] = err.Error()
		return a
	}
	pass := func(k interface {
		Check(context.Context, []schema.Resource) []schema.Checked
		Apply(context.Context, []schema.Resource) []error
	}, rs []schema.Resource) {
		var drifted []schema.Resource
		for i, c := range k.Check(ctx, rs) {
			if c.Err != nil {
				a.Errors[rs[i].Name()] = c.Err.Error()
			} else if len(c.Drift) > 0 {
				drifted = append(drifted, rs[i])
			}
		}
		for i, err := range k.Apply(ctx, drifted) {
			if err != nil {
				a.Errors[drifted[i].Name()] = err.Error()
			}
		}
		for i, c := range k.Check(ctx, rs) {
			for _, d := range c.Drift {
				a.Drift[rs[i].Name()] = fmt.Sprintf("%s %q -> %q", d.Action, d.Got, d.Want)
			}
		}
	}
	var patches, packages []schema.Resource
	for _, p := range o.Patches {
		patches = append(patches, schema.Resource{Kind: schema.KindPatch, Key: p.Name + "." + p.Arch, Mode: schema.Enforce,
			Patch: &schema.Patch{Package: schema.PackageFact{Name: p.Name, Arch: p.Arch, Version: p.Version}}})
	}
	for name, p := range o.Packages {
		packages = append(packages, schema.Resource{Kind: schema.KindPackage, Key: name, Mode: schema.Enforce, Package: &p})
	}
	pass(pkg.Kind{Host: h, Run: engine}, packages)
	pass(patch.Kind{Host: h, Run: engine, MaxRemovals: o.MaxRemovals}, patches)
	return a
}

// TestDriver is no test: on a testbed's host this test binary is the driver.
func TestDriver(t *testing.T) {
	b, err := os.ReadFile(os.Getenv("DUNLIN_DRIVER_ORDER"))
	if err != nil {
		return // on the machine itself
	}
	var o order
	if err := json.Unmarshal(b, &o); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(o.run(context.Background()))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(marker + string(out))
}

// aptHost is a testbed's host on which orders can be done.
type aptHost struct {
	*agenttest.Host
	t *testing.T
}

func aptHosts(t *testing.T, o agenttest.Options) aptHost {
	t.Helper()
	h := aptHost{agenttest.Hosts(t, 1, o)[0], t}
	h.equip()
	return h
}

// equip puts the programs on a fresh host and reads its archives' lists.
func (h aptHost) equip() {
	h.t.Helper()
	agenttest.Dunlin(h.t, h.Host)
	self, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	h.Copy(self, "/usr/local/bin/driver")
	h.MustExec("apt-get", "-q", "update")
}

// command is the driver with an order, not yet started.
func (h aptHost) command(ctx context.Context, o order) *exec.Cmd {
	h.t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		h.t.Fatal(err)
	}
	h.Write(driverOrder, string(b), 0o600)
	return h.Command(ctx, "env", "DUNLIN_DRIVER_ORDER="+driverOrder, "/usr/local/bin/driver", "-test.run=^TestDriver$", "-test.v")
}

// do does an order on the host and returns what became of it.
func (h aptHost) do(o order) answer {
	h.t.Helper()
	out, err := h.command(h.t.Context(), o).CombinedOutput()
	if err != nil {
		h.t.Fatalf("driver: %v\n%s", err, out)
	}
	return h.answer(out)
}

func (h aptHost) answer(out []byte) answer {
	h.t.Helper()
	_, rest, ok := strings.Cut(string(out), marker)
	line, _, _ := strings.Cut(rest, "\n")
	var a answer
	if !ok || json.Unmarshal([]byte(line), &a) != nil {
		h.t.Fatalf("the driver gave no answer:\n%s", out)
	}
	return a
}

// version is what dpkg says of a package: "ii 1.0-1".
func (h aptHost) version(name string) string {
	h.t.Helper()
	out, _, _ := h.Exec("dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Version}", name)
	return out
}

func (h aptHost) want(want map[string]string) {
	h.t.Helper()
	for name, v := range want {
		if got := h.version(name); got != v {
			h.t.Errorf("dpkg says %s is %q, want %q", name, got, v)
		}
	}
}

// sound fails the test unless dpkg has nothing left to do.
func (h aptHost) sound() {
	h.t.Helper()
	if out, errs, code := h.Exec("dpkg", "--audit"); code != 0 || out != "" {
		h.t.Errorf("dpkg --audit: %d\n%s%s", code, out, errs)
	}
	if out, errs, code := h.Exec("apt-get", "check", "-q"); code != 0 {
		h.t.Errorf("apt-get check: %d\n%s%s", code, out, errs)
	}
}

// logs are the transactions' outputs, for a failed test.
func (h aptHost) logs() string {
	out, _, _ := h.Exec("sh", "-c", "tail -n 60 "+filepath.Join(driverState, "tx/*.log"))
	return out
}
