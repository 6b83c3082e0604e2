package agenttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Options say what the hosts of one [Hosts] call are.
type Options struct {
	// Family is the distribution: debian (the default), ubuntu, rhel, suse, or
	// real, which is Debian with that day's real security updates pending.
	Family string
	// Systemd boots a real systemd as PID 1; without it a host runs a small
	// init only and systemctl finds no systemd.
	Systemd bool
}

// Hosts starts n hosts named h1 to hn, on a network of their own, and ends them
// when the test does. It fails the test when the machine cannot have hosts.
func Hosts(t testing.TB, n int, o Options) []*Host {
	t.Helper()
	if o.Family == "" {
		o.Family = "debian"
	}
	b := newBed(t)
	args := []string{"up", fmt.Sprint(n), "--family", o.Family}
	if o.Systemd {
		args = append(args, "--systemd")
	}
	b.must(t, args...)
	hosts := make([]*Host, n)
	for i := range hosts {
		hosts[i] = &Host{
			Name: fmt.Sprintf("h%d", i+1), Family: o.Family,
			Addr4: fmt.Sprintf("10.77.0.%d", i+1), Addr6: fmt.Sprintf("fd77::%d", i+1),
			systemd: o.Systemd, t: t, bed: b,
		}
	}
	return hosts
}

// A bed is one testbed: a folder, a network, and the hosts on it.
type bed struct {
	script, dir, cache string
}

// newBed makes a testbed of its own for t, and takes it away when t ends.
func newBed(t testing.TB) *bed {
	t.Helper()
	base, err := prepare()
	if err != nil {
		t.Fatalf("real hosts cannot be had: %v", err)
	}
	b, unlock, err := claim(base)
	if err != nil {
		t.Fatalf("make a testbed in %q: %v", base, err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, log := range glob(filepath.Join(b.dir, "hosts", "*", "console.log")) {
				if text, err := os.ReadFile(log); err == nil && len(text) > 0 {
					t.Logf("%s:\n%s", log, tail(text, 2000))
				}
			}
		}
		if _, err := b.run("clean"); err != nil {
			t.Errorf("take the testbed away: %v", err)
		}
		unlock()
	})
	return b
}

// run calls the testbed's own command and returns what it printed.
func (b *bed) run(args ...string) (string, error) {
	// The first start on a machine builds the layers; other processes wait for it.
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.script, args...)
	cmd.Env = append(os.Environ(), "TESTBED_DIR="+b.dir, "TESTBED_CACHE="+b.cache, "TESTBED_QUIET=1", "TESTBED_NO_INSTALL=1")
	// Files, not pipes: what stays running in the background must not keep us waiting.
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("testbed %s: %w: %s", strings.Join(args, " "), err, tail(errs.Bytes(), 4000))
	}
	return out.String(), nil
}

func (b *bed) must(t testing.TB, args ...string) string {
	t.Helper()
	out, err := b.run(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// prepare looks once per process whether this machine can have hosts and removes
// what test processes left that did not end in order. It returns the folder
// that all test processes share.
var prepare = sync.OnceValues(func() (string, error) {
	if runtime.GOOS != "linux" {
		return "", fmt.Errorf("hosts are Linux systems: %w", errors.ErrUnsupported)
	}
	if os.Getuid() != 0 {
		return "", errors.New("namespaces and mounts need root: run the tests as root")
	}
	for _, tool := range []string{"bash", "flock", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("this machine lacks %s: run `make setup`", tool)
		}
	}
	base := os.Getenv("TESTBED_DIR")
	if base == "" {
		base = filepath.Join(os.TempDir(), "dunlin-testbed")
	}
	if err := os.MkdirAll(filepath.Join(base, "beds"), 0o755); err != nil {
		return "", err
	}
	base, err := filepath.EvalSymlinks(base)
	if err != nil {
		return "", err
	}
	if err := sweep(base); err != nil {
		return "", err
	}
	b, unlock, err := claim(base)
	if err != nil {
		return "", err
	}
	defer unlock()
	_, err = b.run("check")
	_, cleanErr := b.run("clean")
	return base, errors.Join(err, cleanErr)
})

// claim makes a new folder in base/beds and locks it for as long as this
// process lives. The lock lies beside the folder, which is removed as a whole.
func claim(base string) (b *bed, unlock func(), err error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, nil, err
	}
	all, err := lockFile(filepath.Join(base, "beds", ".lock"), true)
	if err != nil {
		return nil, nil, err
	}
	defer all.Close()
	dir, err := os.MkdirTemp(filepath.Join(base, "beds"), "")
	if err != nil {
		return nil, nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, nil, err
	}
	own, err := lockFile(dir+".lock", true)
	if err != nil {
		return nil, nil, err
	}
	b = &bed{
		script: filepath.Join(root, "agent", "agenttest", "testbed", "testbed"),
		dir:    dir,
		cache:  filepath.Join(base, "cache"),
	}
	return b, func() {
		_ = os.Remove(own.Name())
		_ = own.Close()
	}, nil
}

// sweep takes away testbeds whose process has ended without doing so.
func sweep(base string) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	all, err := lockFile(filepath.Join(base, "beds", ".lock"), true)
	if err != nil {
		return err
	}
	defer all.Close()
	for _, name := range glob(filepath.Join(base, "beds", "*.lock")) {
		own, err := lockFile(name, false)
		if err != nil {
			continue // its process lives
		}
		b := &bed{
			script: filepath.Join(root, "agent", "agenttest", "testbed", "testbed"),
			dir:    strings.TrimSuffix(name, ".lock"),
			cache:  filepath.Join(base, "cache"),
		}
		if _, err := os.Stat(b.dir); err == nil {
			if _, err := b.run("clean"); err != nil {
				_ = own.Close()
				return fmt.Errorf("take away what an earlier test left: %w", err)
			}
		}
		_ = os.Remove(name)
		_ = own.Close()
	}
	return nil
}

// moduleRoot is the folder of go.mod above the test's folder, where go test
// starts a test program.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod above the working folder")
		}
		dir = up
	}
}

// glob never fails: its patterns are ours.
func glob(pattern string) []string {
	names, _ := filepath.Glob(pattern)
	return names
}

// tail is the last n bytes of text.
func tail(text []byte, n int) string {
	if len(text) > n {
		text = text[len(text)-n:]
	}
	return strings.TrimSpace(string(text))
}
