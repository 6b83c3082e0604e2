//go:build linux

package host_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/schema"
)

// killPoints are moments of an install, each told by a text in the driver's output or the
// transaction's log. Between the first and the last lie all that dpkg does.
var killPoints = []string{
	`"op":"prepare"`, "Acquire::Retries=3", "Reading package lists", `"op":"transact"`, "Preparing to unpack",
	"Unpacking tb-kernel", "Unpacking tb-slow", "Setting up tb-lib", "Setting up tb-slow", "Setting up tb-web",
}

// patchesAtKill make an install of some length: tb-slow's script takes a second.
func patchesAtKill() []schema.PackageRef {
	return []schema.PackageRef{
		ref("tb-kernel", "6.1.0-1+deb12u1"), ref("tb-kept", "2.0-1+deb12u2"), ref("tb-lib", "1.0-1+deb12u1"),
		ref("tb-multi", "1.1-1"), ref("tb-slow", "1.1-1"), ref("tb-web", "2.4-1+deb12u1"),
	}
}

// untilPoint starts an order and returns when text was written in the transactions' folder, or when
// the driver has ended.
func (h aptHost) untilPoint(o order, text string) (stop func()) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.t.Context())
	cmd := h.command(ctx, o)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	watch := h.Command(ctx, "sh", "-c", `until grep -qsF -e "$1" /var/lib/dunlin/tx/*; do :; done`, "sh", text)
	seen := make(chan error, 1)
	go func() { seen <- watch.Run() }()
	select {
	case <-ended:
		// On a slow machine the text may be seen only after the driver's last word.
		if _, _, code := h.Exec("grep", "-rqsFe", text, "/var/lib/dunlin/tx"); code == 0 {
			break
		}
		h.t.Errorf("the driver ended before %q was seen:\n%s", text, out.String())
	case err := <-seen:
		if err != nil {
			h.t.Fatalf("watch for %q: %v", text, err)
		}
	}
	return func() { cancel(); <-ended }
}

// finish runs the order once more, as the next pass does, and wants everything right.
func (h aptHost) finish(point string, o order) {
	h.t.Helper()
	if got := h.do(o); len(got.Errors)+len(got.Drift) > 0 {
		h.t.Errorf("killed at %q: the next run gives errors %v, drift %v\n%s", point, got.Errors, got.Drift, h.logs())
	}
	for _, p := range o.Patches {
		if got := h.version(p.Name); got != "ii "+p.Version {
			h.t.Errorf("killed at %q: %s is %q, want %q", point, p.Name, got, p.Version)
		}
	}
	h.sound()
}

// onBoth runs a test on a host without systemd and on one with it, side by side.
func onBoth(t *testing.T, test func(*testing.T, aptHost)) {
	for _, systemd := range []bool{false, true} {
		t.Run(fmt.Sprintf("systemd %v", systemd), func(t *testing.T) {
			t.Parallel()
			test(t, aptHosts(t, agenttest.Options{Systemd: systemd}))
		})
	}
}

// Whoever asked for a transaction dies: it goes on, and the next run takes it up.
func TestSIGKILLOfTheCallerAtTenPoints(t *testing.T) {
	onBoth(t, func(t *testing.T, h aptHost) {
		for _, point := range killPoints {
			h.Write("/etc/tb-slow", "1", 0o644)
			o := order{Patches: patchesAtKill(), Refresh: true}
			h.untilPoint(o, point)()
			h.finish(point, o)
			begun := !strings.HasPrefix(point, `"op"`) // an intent alone may belong to a transaction that was not begun
			if logs := h.MustExec("sh", "-c", "cat /var/lib/dunlin/tx/*.result.json"); begun && strings.Contains(logs, "interrupted") {
				t.Errorf("killed at %q: the transaction did not come to its end:\n%s", point, logs)
			}
			h.Reset()
			h.equip()
		}
	})
}

// The power goes: what dpkg left half way is mended by the next run.
func TestPowerCutAtTenPoints(t *testing.T) {
	onBoth(t, func(t *testing.T, h aptHost) {
		for _, point := range killPoints {
			h.Write("/etc/tb-slow", "1", 0o644)
			o := order{Patches: patchesAtKill(), Refresh: true}
			stop := h.untilPoint(o, point)
			h.Kill()
			stop()
			h.Start()
			h.finish(point, o)
			h.Reset()
			h.equip()
		}
	})
}
