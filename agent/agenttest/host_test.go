package agenttest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHosts(t *testing.T) {
	hosts := Hosts(t, 2, Options{})
	h1, h2 := hosts[0], hosts[1]

	t.Run("a command gives output, errors and its exit code", func(t *testing.T) {
		out, errs, code := h1.Exec("sh", "-c", "hostname; echo oops >&2; exit 7")
		if out != "h1\n" || errs != "oops\n" || code != 7 {
			t.Errorf("Exec = %q, %q, %d, want h1, oops, 7", out, errs, code)
		}
	})
	t.Run("what is written is read back with its mode", func(t *testing.T) {
		h1.Write("/etc/new/deep/file", "two\nlines\n", 0o640)
		if got := h1.Read("/etc/new/deep/file"); got != "two\nlines\n" {
			t.Errorf("Read = %q", got)
		}
		if got := h1.MustExec("stat", "-c", "%a %U", "/etc/new/deep/file"); got != "640 root\n" {
			t.Errorf("stat = %q, want 640 root", got)
		}
		if h2.Exists("/etc/new/deep/file") {
			t.Error("a file of h1 is on h2")
		}
	})
	t.Run("a file of this machine is copied with its mode", func(t *testing.T) {
		src := filepath.Join(t.TempDir(), "prog")
		if err := os.WriteFile(src, []byte("#!/bin/sh\necho ran\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		h1.Copy(src, "/usr/local/bin/prog")
		if got := h1.MustExec("prog"); got != "ran\n" {
			t.Errorf("prog = %q", got)
		}
	})
	t.Run("files outlive a power cut, and not a reset", func(t *testing.T) {
		h1.Write("/var/kept", "kept", 0o600)
		h1.Kill()
		h1.Start()
		if got := h1.Read("/var/kept"); got != "kept" {
			t.Errorf("after a power cut: %q", got)
		}
		h1.Reset()
		if h1.Exists("/var/kept") {
			t.Error("a file is still there after a reset")
		}
	})
	t.Run("a killed command is gone inside the host", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cmd := h1.Command(ctx, "sh", "-c", "echo up; exec sleep 987654")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := cmd.Wait(); err == nil {
			t.Error("Wait = nil, want the signal")
		}
		gone := `for i in $(seq 100); do grep -lq '98765[4]' /proc/[0-9]*/cmdline || exit 0; sleep 0.05; done; exit 1`
		if _, _, code := h1.Exec("sh", "-c", gone); code != 0 {
			t.Error("the command still runs")
		}
	})
	t.Run("a partition cuts neighbours and heals", func(t *testing.T) {
		ping := func() bool {
			_, _, code := h1.Exec("ping", "-c", "1", "-W", "1", h2.Addr4)
			_, _, code6 := h1.Exec("ping", "-6", "-c", "1", "-W", "1", h2.Addr6)
			if code != code6 {
				t.Errorf("IPv4 exit %d, IPv6 exit %d", code, code6)
			}
			return code == 0
		}
		if !ping() {
			t.Error("h1 does not reach h2")
		}
		h1.Partition(h2)
		if ping() {
			t.Error("h1 reaches h2 through a partition")
		}
		h1.Heal()
		if !ping() {
			t.Error("h1 does not reach h2 after heal")
		}
	})
	t.Run("what is published is there for this test alone", func(t *testing.T) {
		h1.Publish("security", "tb-lib", "1.0-9")
		h1.MustExec("apt-get", "update")
		if got := h1.MustExec("apt-cache", "policy", "tb-lib"); !strings.Contains(got, "Candidate: 1.0-9") {
			t.Errorf("apt-cache policy tb-lib:\n%s", got)
		}
	})
}

func TestSystemdHosts(t *testing.T) {
	for _, family := range []string{"debian", "ubuntu", "real"} {
		t.Run(family, func(t *testing.T) {
			t.Parallel() // hosts of the same names, side by side
			h := Hosts(t, 2, Options{Family: family, Systemd: true})
			if got := h[0].MustExec("systemctl", "is-active", "dbus"); got != "active\n" {
				t.Errorf("dbus is %q", got)
			}
			h[0].MustExec("apt-get", "update")
			upgradable := h[0].MustExec("apt", "list", "--upgradable")
			if family == "real" {
				if !strings.Contains(upgradable, "-security") {
					t.Errorf("no security update is pending:\n%s", upgradable)
				}
				return
			}
			if strings.Contains(upgradable, "1.0-9") {
				t.Errorf("another test's package:\n%s", upgradable)
			}
			for _, addr := range []string{h[0].Addr4, h[0].Addr6} {
				if !h[1].Reaches(addr, 23) {
					t.Errorf("port 23 of %s is not open", addr)
				}
				if h[1].Reaches(addr, 24) {
					t.Errorf("port 24 of %s is open", addr)
				}
			}
		})
	}
}

func TestDunlin(t *testing.T) {
	h := Hosts(t, 1, Options{})
	Dunlin(t, h...)
	if got := h[0].MustExec("dunlin", "--version"); !strings.Contains(got, "dunlin") {
		t.Errorf("dunlin --version = %q", got)
	}
}

// After its test a host has left nothing: no mount, network namespace, process.
func TestNothingIsLeft(t *testing.T) {
	var dir string
	t.Run("hosts come and go", func(t *testing.T) {
		h := Hosts(t, 1, Options{Systemd: true})
		dir = h[0].bed.dir
	})
	if dir == "" {
		t.Fatal("there were no hosts")
	}
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("Lstat(%q) = %v, want that it is gone", dir, err)
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), dir) {
		t.Errorf("something is still mounted in %q", dir)
	}
	for _, name := range glob("/proc/[0-9]*/cmdline") {
		if text, err := os.ReadFile(name); err == nil && strings.Contains(string(text), dir) {
			t.Errorf("%s still runs: %q", name, text)
		}
	}
}

// What a test process that was killed left behind goes with the next one.
func TestSweep(t *testing.T) {
	base, err := prepare()
	if err != nil {
		t.Fatal(err)
	}
	b, unlock, err := claim(base)
	if err != nil {
		t.Fatal(err)
	}
	b.must(t, "up", "1")
	if err := sweep(base); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(b.dir); err != nil {
		t.Fatalf("sweep took a testbed away whose process lives: %v", err)
	}
	// A process that dies loses its lock; the lock file stays.
	unlock()
	if err := os.WriteFile(b.dir+".lock", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sweep(base); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(b.dir); !os.IsNotExist(err) {
		t.Errorf("Lstat(%q) = %v, want that it is gone", b.dir, err)
	}
}
