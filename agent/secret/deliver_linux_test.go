package secret

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Each way of handing a value to a program gives it the value, and shows it to nobody who looks at the process.
func TestAProgramIsGivenASecret(t *testing.T) {
	s := New("/db/password@3", []byte(canary+"\nsecond line"))
	sum := fmt.Sprintf("%x", sha256.Sum256(s.Reveal()))
	shm, err := os.MkdirTemp("/dev/shm", "dunlin-test-")
	if err != nil {
		t.Fatalf("a folder in memory is needed: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(shm) })
	memory := func(t *testing.T) *os.File {
		t.Helper()
		f, err := Memory(s)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	for name, tt := range map[string]struct {
		script string
		give   func(t *testing.T, cmd *exec.Cmd)
	}{
		"standard input": {`sha256sum; exec sleep 60`, func(t *testing.T, cmd *exec.Cmd) { cmd.Stdin = memory(t) }},
		"an open file":   {`sha256sum <&3; exec sleep 60`, func(t *testing.T, cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{memory(t)} }},
		"a file by name": {`sha256sum </proc/self/fd/3; exec sleep 60`, func(t *testing.T, cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{memory(t)} }},
		"a credential file": {`sha256sum <"$CREDENTIALS_DIRECTORY/db"; exec sleep 60`, func(t *testing.T, cmd *exec.Cmd) {
			cmd.Env = append(cmd.Env, "CREDENTIALS_DIRECTORY="+credentials(t, shm, s))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("/bin/sh", "-c", tt.script)
			cmd.Env = []string{"PATH=/usr/bin:/bin"}
			tt.give(t, cmd)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil || !strings.HasPrefix(line, sum) {
				t.Errorf("the program read %q, %v; want %s", line, err, sum)
			}
			for _, what := range []string{"cmdline", "environ", "comm", "status", "maps"} {
				b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", cmd.Process.Pid, what))
				if err != nil {
					t.Fatal(err)
				}
				if bytes.Contains(b, []byte(canary)) {
					t.Errorf("%s of the program has the value: %q", what, b)
				}
			}
		})
	}
}

func credentials(t *testing.T, parent string, s Secret) string {
	t.Helper()
	c, err := NewCredentials(filepath.Join(parent, "credentials"))
	if err != nil {
		t.Fatal(err)
	}
	path, err := c.Add("db", s)
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]os.FileMode{c.Dir: 0o700, path: 0o400, filepath.Dir(c.Dir): 0o700} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want mode %v", p, info, err, want)
		}
	}
	for _, bad := range []string{"", "a/b", "..", ".hidden", "ü", "db", strings.Repeat("x", 256)} {
		if p, err := c.Add(bad, s); err == nil {
			t.Errorf("Add(%q) = %q, want an error", bad, p)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("Add(%q) shows the value: %v", bad, err)
		}
	}
	t.Cleanup(func() {
		if err := c.Remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(c.Dir); err == nil {
			t.Errorf("%s is still there", c.Dir)
		}
	})
	if os.Geteuid() == 0 {
		if err := c.Give(65534, 65534); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(path); err != nil || info.Sys().(*syscall.Stat_t).Uid != 65534 {
			t.Errorf("after Give: %v, %v", info, err)
		}
		if err := c.Give(0, 0); err != nil {
			t.Error(err)
		}
	}
	return c.Dir
}

func TestCredentialsNeedMemory(t *testing.T) {
	for _, parent := range []string{"/sys", "/proc", filepath.Join(t.TempDir(), "no", "parent")} {
		if c, err := NewCredentials(parent); err == nil {
			t.Errorf("NewCredentials(%s) = %+v, want an error", parent, c)
		}
	}
	shm, err := os.MkdirTemp("/dev/shm", "dunlin-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(shm) }()
	if err := os.Chmod(shm, 0o777); err != nil {
		t.Fatal(err)
	}
	if c, err := NewCredentials(shm); err == nil {
		t.Errorf("a folder that all may write: %+v", c)
	}
	if os.Geteuid() == 0 {
		theirs := filepath.Join(shm, "theirs")
		if err := errors.Join(os.Mkdir(theirs, 0o700), os.Chown(theirs, 65534, 65534)); err != nil {
			t.Fatal(err)
		}
		if c, err := NewCredentials(theirs); err == nil {
			t.Errorf("a folder that somebody else owns: %+v", c)
		}
	}
	if err := os.Symlink(shm, shm+"/link"); err != nil {
		t.Fatal(err)
	}
	if c, err := NewCredentials(shm + "/link"); err == nil {
		t.Errorf("a link: %+v", c)
	}
}

func TestMemoryCannotBeChanged(t *testing.T) {
	f, err := Memory(New("x", []byte(canary)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("y"), 0); err == nil {
		t.Error("it was written to")
	}
	if err := f.Truncate(1); err == nil {
		t.Error("it was cut")
	}
	if b, err := io.ReadAll(f); err != nil || string(b) != canary {
		t.Errorf("it reads %q, %v", b, err)
	}
	if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("programs inherit it: flags %x, %v", flags, err)
	}
}

const crashing = "DUNLIN_TEST_CRASHES"

// A guarded process that crashes with a secret in its memory leaves no core, and its last words do not have it.
func TestACrashLeavesNoCore(t *testing.T) {
	if os.Getenv(crashing) != "" {
		if err := Guard(); err != nil {
			t.Fatal(err)
		}
		s := New("/db/password@3", []byte(canary))
		if v, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || v != 0 {
			t.Fatalf("dumpable is %d, %v", v, err)
		}
		panic(fmt.Sprintf("crash with %v %+v", s, struct{ s Secret }{s}))
	}
	dir := t.TempDir()
	cmd := exec.Command("/bin/sh", "-c", `ulimit -c unlimited; exec "$0" "$@"`, os.Args[0], "-test.run=^TestACrashLeavesNoCore$")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), crashing+"=1", "GOTRACEBACK=crash")
	out, err := cmd.CombinedOutput()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if err == nil || !ok || !status.Signaled() {
		t.Fatalf("it did not crash: %v, %s", err, out)
	}
	if status.CoreDump() {
		t.Error("it dumped its core")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("it left %v, %v", entries, err)
	}
	if !bytes.Contains(out, []byte("crash with [secret /db/password@3]")) || holds(string(out), canary) != "" {
		t.Errorf("its last words are %s", out)
	}
}
