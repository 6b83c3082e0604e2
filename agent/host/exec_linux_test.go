package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "prog")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRunGivesACleanEnvironmentAndNoInput(t *testing.T) {
	t.Setenv("LD_PRELOAD", "")
	t.Setenv("SECRET", "x")
	out, err := Run(t.Context(), Command{Path: "env", Env: []string{"A=1"}})
	if err != nil || out.ExitCode != 0 {
		t.Fatalf("Run(env) = %+v, %v", out, err)
	}
	if got, want := string(out.Stdout), "PATH=/usr/sbin:/usr/bin:/sbin:/bin\nLC_ALL=C.UTF-8\nHOME=/root\nA=1\n"; got != want {
		t.Errorf("environment:\n%swant:\n%s", got, want)
	}
	if out, err := Run(t.Context(), Command{Path: "cat"}); err != nil || len(out.Stdout) != 0 {
		t.Errorf("cat of no input = %q, %v", out.Stdout, err)
	}
	if out, err := Run(t.Context(), Command{Path: "cat", Stdin: []byte("in")}); err != nil || string(out.Stdout) != "in" {
		t.Errorf("cat = %q, %v", out.Stdout, err)
	}
}

// What a shell or a service manager has given this program open is no child's.
func TestRunGivesNoOpenFiles(t *testing.T) {
	f, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFD, 0); err != nil { // as if inherited
		t.Fatal(err)
	}
	out, err := Run(t.Context(), Command{Path: "sh", Args: []string{"-c", "for f in /proc/$$/fd/*; do readlink $f; done"}})
	if err != nil || !strings.Contains(string(out.Stdout), "pipe:") || strings.Contains(string(out.Stdout), "passwd") {
		t.Errorf("a child has open (%v):\n%s", err, out.Stdout)
	}
}

func TestRunNamesTheExitCodeAndTheLastWords(t *testing.T) {
	c := Command{Path: script(t, "echo first >&2; echo 'E: broken' >&2; exit 7\n")}
	out, err := Run(t.Context(), c)
	if err != nil || out.ExitCode != 7 {
		t.Fatalf("Run = %+v, %v", out, err)
	}
	if got := out.Err(c).Error(); !strings.Contains(got, `exit code 7: E: broken`) {
		t.Errorf("Err = %s", got)
	}
}

func TestRunKeepsTheTailOfLongOutput(t *testing.T) {
	out, err := Run(t.Context(), Command{Path: script(t, "head -c 5000000 /dev/zero; echo END\n")})
	if err != nil || len(out.Stdout) != OutputLimit || !out.Truncated || !strings.HasSuffix(string(out.Stdout), "END\n") {
		t.Errorf("Run: %d bytes, truncated %v, error %v", len(out.Stdout), out.Truncated, err)
	}
}

func TestRunKillsTheWholeGroupAtTheDeadline(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	// The child ignores SIGTERM and has a child of its own that does too.
	c := Command{Path: script(t, "trap '' TERM\nsleep 1000 & echo $! >"+pidFile+"\nwait\nsleep 1000\n"), Timeout: 300 * time.Millisecond, Grace: 50 * time.Millisecond}
	_, err := Run(t.Context(), c)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Run = %v, want deadline exceeded", err)
	}
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	// SIGKILL is on its way or has arrived: dead, or a zombie that init has not reaped yet.
	for range 1000 {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") || strings.Contains(string(stat), ") X ") {
			return
		}
		unix.Poll(nil, 5)
	}
	t.Errorf("grandchild %d is still alive", pid)
}

func TestRunDoesNotWaitForADaemonThatHoldsTheOutput(t *testing.T) {
	out, err := Run(t.Context(), Command{Path: script(t, "setsid sleep 3 &\necho up\n"), Grace: 50 * time.Millisecond})
	if err != nil || out.ExitCode != 0 || string(out.Stdout) != "up\n" {
		t.Errorf("Run = %q, %d, %v", out.Stdout, out.ExitCode, err)
	}
}

func TestRunRefusesAProgramThatOthersCouldHaveChanged(t *testing.T) {
	loose := script(t, "true\n")
	if err := os.Chmod(loose, 0o777); err != nil {
		t.Fatal(err)
	}
	foreign := script(t, "true\n")
	if err := os.Chown(foreign, 1000, 0); err != nil {
		t.Fatal("this test needs root: ", err)
	}
	below := script(t, "true\n")
	if err := os.Chmod(filepath.Dir(below), 0o777); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		loose: "may be written by others", foreign: "belongs to uid 1000", below: "may be written by others",
		"./x": "neither a name nor an absolute path", "": "not a program's name", "/etc/passwd": "is not a program",
		"no-such-program-here": ErrNoProgram.Error(), "/no/such": ErrNoProgram.Error(),
	} {
		if _, err := Run(t.Context(), Command{Path: path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Run(%q) = %v, want %q", path, err, want)
		}
	}
}

func TestRunSaysWhichSignalEndedTheChild(t *testing.T) {
	if out, err := Run(t.Context(), Command{Path: script(t, "kill -9 $$\n")}); err == nil || !strings.Contains(err.Error(), "killed") || out.ExitCode != -1 {
		t.Errorf("Run = %+v, %v", out, err)
	}
}
