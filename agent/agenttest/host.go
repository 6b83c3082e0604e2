package agenttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A Host is one running Linux system. Its methods fail the test on what a test
// does not expect; only Exec and Command leave the judgement to the caller.
type Host struct {
	Name         string // h1, h2, ...; the host's own name, which other hosts resolve
	Family       string // as in Options
	Addr4, Addr6 string // its addresses on the hosts' network

	systemd bool
	t       testing.TB
	bed     *bed
}

// execLimit ends a command in a host that never ends. It is far above what any
// test waits for; it only keeps a mistake from hanging the run.
const execLimit = 5 * time.Minute

// Exec runs a command inside the host as root, with an empty standard input and
// an environment of PATH, HOME and LANG only, and returns what it printed and
// its exit code: 128 and the signal's number for one that a signal ended.
func (h *Host) Exec(args ...string) (stdout, stderr string, code int) {
	h.t.Helper()
	return h.exec(nil, args...)
}

// MustExec is Exec for a command that has to succeed; it returns standard output.
func (h *Host) MustExec(args ...string) string {
	h.t.Helper()
	out, errs, code := h.exec(nil, args...)
	if code != 0 {
		h.t.Fatalf("%s: %q: exit code %d\n%s%s", h.Name, args, code, out, errs)
	}
	return out
}

func (h *Host) exec(stdin io.Reader, args ...string) (stdout, stderr string, code int) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), execLimit)
	defer cancel()
	cmd := h.Command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		h.t.Fatalf("%s: %q did not end in %v\n%s%s", h.Name, args, execLimit, &out, &errs)
	case errors.As(err, &exit):
		code = exit.ExitCode()
	case errors.Is(err, exec.ErrWaitDelay): // it ended; a child of it keeps the pipe
	case err != nil:
		h.t.Fatalf("%s: %q: %v", h.Name, args, err)
	}
	return out.String(), errs.String(), code
}

// Command is a command inside the host, not yet started, for tests that need
// its input, its output while it runs, or to kill it: it dies with SIGKILL when
// cmd.Process is killed or ctx ends, as in a power cut; what it started stays.
func (h *Host) Command(ctx context.Context, args ...string) *exec.Cmd {
	h.t.Helper()
	pid, err := h.leader()
	if err != nil {
		h.t.Fatalf("%s: %q: %v", h.Name, args, err)
	}
	// The capabilities that are dropped reach past the host: clock, modules, raw I/O.
	full := append([]string{
		"-t", strconv.Itoa(pid), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--",
		"/usr/bin/setpriv", "--pdeathsig", "KILL",
		"--bounding-set", "-sys_time,-sys_module,-sys_rawio,-syslog,-wake_alarm,-block_suspend",
		"/usr/bin/env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "USER=root", "LANG=C.UTF-8", "TERM=dumb", "DEBIAN_FRONTEND=noninteractive",
	}, args...)
	cmd := exec.CommandContext(ctx, "nsenter", full...)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// leader is the host's PID 1 as this machine numbers it: supervisor, then
// systemd-nspawn, then PID 1, which alone is first in a PID namespace.
func (h *Host) leader() (int, error) {
	text, err := os.ReadFile(filepath.Join(h.dir(), "supervisor"))
	if err != nil {
		return 0, fmt.Errorf("the host is down: %w", err)
	}
	pid, _, _ := strings.Cut(string(text), " ")
	for range 2 {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%s/task/%s/children", pid, pid))
		if err != nil {
			return 0, fmt.Errorf("the host is down: %w", err)
		}
		pid, _, _ = strings.Cut(string(text), " ")
		if pid == "" {
			return 0, errors.New("the host is starting or stopping")
		}
	}
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0, fmt.Errorf("the host is down: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "NSpid:" && f[len(f)-1] == "1" {
			return strconv.Atoi(pid)
		}
	}
	return 0, errors.New("the host is starting or stopping")
}

func (h *Host) dir() string { return filepath.Join(h.bed.dir, "hosts", h.Name) }

// Root is the host's root folder as this machine sees it: without /run, /tmp
// and what else the host mounts. Absolute links in it lead out of the host, so
// tests write with Write and Copy, which run inside.
func (h *Host) Root() string { return filepath.Join(h.dir(), "root") }

// Write makes or replaces a file of the host, and missing folders above it.
func (h *Host) Write(path, content string, mode fs.FileMode) {
	h.t.Helper()
	h.install(strings.NewReader(content), path, mode)
}

// Copy puts a file of this machine onto the host, with its permissions.
func (h *Host) Copy(src, dst string) {
	h.t.Helper()
	f, err := os.Open(src)
	if err != nil {
		h.t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		h.t.Fatal(err)
	}
	h.install(f, dst, st.Mode().Perm())
}

func (h *Host) install(from io.Reader, path string, mode fs.FileMode) {
	h.t.Helper()
	// The reader is wrapped so that os/exec hands over a pipe: a file of the
	// machine cannot be opened again through /dev/stdin inside the host.
	_, errs, code := h.exec(struct{ io.Reader }{from}, "install", "-D", "-m", fmt.Sprintf("%04o", mode.Perm()), "/dev/stdin", path)
	if code != 0 {
		h.t.Fatalf("%s: write %q: %s", h.Name, path, errs)
	}
}

// CopyFS puts all files of a tree into a folder of the host, which must not hold
// other files: it is emptied first.
func (h *Host) CopyFS(src fs.FS, dst string) {
	h.t.Helper()
	h.MustExec("rm", "-rf", "--", dst)
	h.MustExec("mkdir", "-p", "--", dst)
	err := fs.WalkDir(src, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(src, path)
		if err == nil {
			h.Write(dst+"/"+path, string(text), 0o644)
		}
		return err
	})
	if err != nil {
		h.t.Fatalf("%s: copy into %q: %v", h.Name, dst, err)
	}
}

// Read is a file's content; the test fails when it cannot be read.
func (h *Host) Read(path string) string {
	h.t.Helper()
	out, errs, code := h.exec(nil, "cat", "--", path)
	if code != 0 {
		h.t.Fatalf("%s: read %q: %s", h.Name, path, errs)
	}
	return out
}

// Exists tells whether there is something at path, a dangling link included.
func (h *Host) Exists(path string) bool {
	h.t.Helper()
	_, _, code := h.exec(nil, "sh", "-c", `[ -e "$1" ] || [ -L "$1" ]`, "sh", path)
	return code == 0
}

// Kill cuts the host's power: files stay, processes and /run are gone.
func (h *Host) Kill() { h.t.Helper(); h.bed.must(h.t, "kill", h.Name) }

// Start starts a host that was killed, and waits until it is up.
func (h *Host) Start() { h.t.Helper(); h.bed.must(h.t, "start", h.Name) }

// Beside starts one more host on this host's network, as this one is: h4, which has the addresses 10.77.0.4 and fd77::4.
func (h *Host) Beside(n int) *Host {
	h.t.Helper()
	o := &Host{Name: fmt.Sprintf("h%d", n), Family: h.Family, Addr4: fmt.Sprintf("10.77.0.%d", n), Addr6: fmt.Sprintf("fd77::%d", n), systemd: h.systemd, t: h.t, bed: h.bed}
	args := []string{"add", o.Name, "--family", o.Family}
	if h.systemd {
		args = append(args, "--systemd")
	}
	h.bed.must(h.t, args...)
	return o
}

// Reboot shuts the host down in order and starts it again.
func (h *Host) Reboot() { h.t.Helper(); h.bed.must(h.t, "reboot", h.Name) }

// Reset cuts the power and starts the host again from its fresh image.
func (h *Host) Reset() { h.t.Helper(); h.bed.must(h.t, "reset", h.Name) }

// Partition drops every frame between this host and the others, both ways.
func (h *Host) Partition(others ...*Host) {
	h.t.Helper()
	names := make([]string, len(others))
	for i, o := range others {
		names[i] = o.Name
	}
	h.bed.must(h.t, "partition", h.Name, strings.Join(names, ","))
}

// Isolate drops every frame between this host and everything else, the switch included.
func (h *Host) Isolate() { h.t.Helper(); h.bed.must(h.t, "isolate", h.Name) }

// Heal ends all faults of the network that this host is on.
func (h *Host) Heal() { h.t.Helper(); h.bed.must(h.t, "heal") }

// Publish adds a version of a package to the archive that this host's family
// installs from; suite is main, updates, security or acme. Families debian and
// ubuntu only; other tests do not see it.
func (h *Host) Publish(suite, name, version string) {
	h.t.Helper()
	h.bed.must(h.t, "publish", "--distro", h.Family, "--suite", suite, name, version)
}

// PublishFile is Publish for a package that was built elsewhere, a .deb file of this machine.
func (h *Host) PublishFile(suite, file string) {
	h.t.Helper()
	h.bed.must(h.t, "publish", "--distro", h.Family, "--suite", suite, file)
}

// Reaches tells whether a TCP connection from this host to addr and port can be
// opened within two seconds.
func (h *Host) Reaches(addr string, port int) bool {
	h.t.Helper()
	_, _, code := h.exec(nil, "nc", "-z", "-w", "2", addr, strconv.Itoa(port))
	return code == 0
}
