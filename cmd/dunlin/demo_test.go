//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/demo"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/simulated"
	"github.com/dunlin-dev/dunlin/schema"
)

// nobody is the user that a demo runs as where the tests are root's.
const nobody = 65534

// strange is a folder's name that is no part of a URL as it is.
const strange = "a temporary folder %41#?"

// demoCommand is this program as somebody who is not root runs it, and the only folder that it may write to.
func demoCommand(t *testing.T, args ...string) (cmd *exec.Cmd, temp string) {
	t.Helper()
	// Not t.TempDir: nobody may go into that.
	dir, err := os.MkdirTemp("", "dunlin-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	temp = filepath.Join(dir, strange)
	program := filepath.Join(dir, "dunlin")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.Chmod(dir, 0o755), os.Mkdir(temp, 0o700), copyProgram(self, program)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd = exec.CommandContext(t.Context(), program, args...)
	cmd.Env = []string{"TMPDIR=" + temp, "HOME=/nonexistent", "LC_ALL=C.UTF-8", "PATH=/nonexistent"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		if err := os.Chown(temp, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return cmd, temp
}

// copyProgram leaves the copying to another process: a file that this one has open for writing cannot be run while any of
// its children is being started.
func copyProgram(from, to string) error {
	out, err := exec.Command("cp", from, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// sealed lets the command run where there is nothing but itself: no network except a loopback of its own, and no file that could be
// written outside of its temporary folder. It needs root, and gives that up before the command starts.
func sealed(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("to take network and files away from the demo needs root")
	}
	const script = `set -e
PATH=/usr/sbin:/usr/bin:/sbin:/bin
ip link set lo up
mount --bind "$TMPDIR" "$TMPDIR"
while read -r _ _ _ _ at _; do
	at=$(printf %b. "$at") && at=${at%.}
	[ "$at" = "$TMPDIR" ] || mount -o remount,bind,ro "$at" 2>/dev/null || : # some, as those of a container, are so already
done </proc/self/mountinfo
for outside in / /tmp /var/tmp "$TMPDIR/.."; do
	if touch "$outside/written" 2>/dev/null; then echo "$outside can be written to" >&2; exit 70; fi
done
[ -z "$(ip -o route show table main)" ] || { echo "there is a route" >&2; exit 70; }
exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"`
	in := exec.CommandContext(t.Context(), "/bin/sh", append([]string{"-c", script, "sh"}, cmd.Args...)...)
	in.Env, in.Dir = cmd.Env, cmd.Dir
	in.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
	return in
}

// The whole of it as CI sees it: without root and network, in a folder with a strange name that alone may be written to, and
// nothing is left.
func TestDemoScript(t *testing.T) {
	t.Parallel()
	cmd, temp := demoCommand(t, "demo", "--script", "-o", "json")
	cmd = sealed(t, cmd)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("demo --script: %v\n%s\n%s", err, out, errs.String())
	}
	if got := entries(t, temp); len(got) > 0 {
		t.Errorf("left in TMPDIR: %q", got)
	}
	if errs.Len() > 0 {
		t.Errorf("on standard error: %s", errs.String())
	}
	var r demo.Result
	d := json.NewDecoder(bytes.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatal(err)
	}
	want := []string{"hosts", "push", "plan", "converge", "report", "drift", "window", "intrude", "refuse", "reboot", "settle", "check"}
	var got []string
	for _, s := range r.Steps {
		got = append(got, s.Name)
		if !s.OK {
			t.Errorf("step %s: %s", s.Name, s.Done)
		}
		t.Logf("%-9s %8.1f ms  %s", s.Name, s.Millis, s.Done)
	}
	if !slices.Equal(got, want) {
		t.Errorf("steps %q, want %q", got, want)
	}
	if !r.OK || r.Nodes != 3 || r.Checks < 20 || len(r.Untrue) > 0 || r.Reports == "" || r.Folder != "" {
		t.Errorf("result %+v", r)
	}
	if s := r.Steps[slices.Index(got, "refuse")]; !strings.Contains(s.Rows[0].Text, "policies/hardening.cue:6:12: ") || len(s.Rows[0].Nodes) != 3 {
		t.Errorf("the refusal names no place on all nodes: %+v", s.Rows)
	}
	if s := r.Steps[slices.Index(got, "intrude")]; !strings.Contains(s.Rows[0].Text, `the change of "policies/hardening.cue" needs 1 of the role policy, and nobody with it has signed`) || len(s.Rows[0].Nodes) != 3 || r.Signed != 4 {
		t.Errorf("the unsigned commit is not refused on all nodes: %+v, %d commits verified", s.Rows, r.Signed)
	}
	if s := r.Steps[slices.Index(got, "drift")]; s.Millis > 1000 {
		t.Errorf("an opened port was closed after %.0f ms, more than a second", s.Millis)
	}
	t.Logf("%.1f s in all, %+v", r.Seconds, r.Usage)
	if r.Usage.EvaluatorSeconds == 0 {
		t.Error("no evaluator was a process of its own")
	}
	if r.Seconds > 20 && !raceDetector {
		t.Errorf("it took %.1f s, more than 20", r.Seconds)
	}
	// The picture in docs is of this story.
	svg, err := os.ReadFile("../../docs/demo.svg")
	if err != nil {
		t.Fatal(err)
	}
	numbered := 0
	for _, s := range r.Steps {
		if s.Number > 0 {
			numbered++
			if title := fmt.Sprintf(">%d %s<", s.Number, s.Title); !bytes.Contains(svg, []byte(title)) {
				t.Errorf("docs/demo.svg shows no step %q: draw it anew with make recording", title)
			}
		}
	}
	if shown := regexp.MustCompile(`>\d+ [A-Z][a-z]+<`).FindAll(svg, -1); len(shown) != numbered {
		t.Errorf("docs/demo.svg shows %q, and there are %d steps: draw it anew with make recording", shown, numbered)
	}
}

// The program that draws the picture in docs still can: it runs the demo as a reader of the page would. What is kept of that
// is what the demo says.
func TestDemoIsRecorded(t *testing.T) {
	t.Parallel()
	nodes := 9 // enough that they share what came of an evaluation
	if os.Getenv("DUNLIN_LONG") != "" {
		nodes = 50
	}
	cmd, temp := demoCommand(t, "-o", "", "dunlin", "demo", "--nodes", fmt.Sprint(nodes), "--keep")
	dir := filepath.Dir(temp)
	drawer, picture := filepath.Join(dir, "recording"), filepath.Join(temp, "demo.svg")
	if out, err := exec.Command("go", "build", "-o", drawer, "../recording").CombinedOutput(); err != nil {
		t.Fatalf("build recording: %v\n%s", err, out)
	}
	cmd.Args[2], cmd.Args[3] = picture, cmd.Path
	cmd.Path = drawer
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("recording: %v\n%s", err, out)
	}
	svg, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{fmt.Sprintf("dunlin demo --nodes %d --keep", nodes), ">3 Converge<", "What happened, with no server", "class=\"c32\""} {
		if !bytes.Contains(svg, []byte(want)) {
			t.Errorf("the picture does not show %q", want)
		}
	}
	kept, err := filepath.Glob(filepath.Join(temp, "dunlin-demo-*"))
	if err != nil || len(kept) != 1 || len(entries(t, temp)) != 2 {
		t.Fatalf("in TMPDIR: %q, %v", entries(t, temp), err)
	}
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"report", "verify", "--repo", filepath.Join(kept[0], simulated.Repository), "-o", "json"}, streams{in: strings.NewReader(""), out: &out, err: &errs})
	if got, want := strings.Join(strings.Fields(out.String()), " "), fmt.Sprintf(`{ "lines": %d, "bad": [] }`, nodes); code != exitDone || got != want {
		t.Errorf("report verify of what was kept: exit code %d, %s, %s", code, got, errs.String())
	}
}

// What the reports say and the hosts do not is found, and is exit code 1.
func TestDemoFindsWhatIsNotTrue(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var out, errs bytes.Buffer
	a := &app{streams: streams{in: strings.NewReader(""), out: &out, err: &errs}, output: "text"}
	err := a.demo(t.Context(), demoFlags{nodes: 4, script: true}, func(step string, f *simulated.Fleet) error {
		if step != "check" {
			return nil
		}
		for _, n := range f.Nodes {
			if err := n.Stop(); err != nil { // it would put right what is done now
				return err
			}
		}
		first, second, third := f.Nodes[0].Host, f.Nodes[1].Host, f.Nodes[2]
		_, err := second.Transact(t.Context(), schema.Transaction{Install: []schema.PackageRef{{Name: "openssl", Arch: "amd64", Version: "3.0.16-1~deb12u1"}}})
		return errors.Join(err,
			first.SetBlockedPorts(t.Context(), map[schema.BlockedPort]time.Duration{}),
			forge(f, third.Keys.ID()))
	})
	if code := a.exit(t.Context(), "dunlin demo", err); code != exitError {
		t.Errorf("exit code %d, want %d", code, exitError)
	}
	for _, want := range []string{
		"web-1: port 23 is closed: the reports say true, the host false",
		"web-2: security updates missing: the reports say 0, the host 1",
		"its signature is wrong",
	} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) {
			t.Errorf("not said: %s", want)
		}
	}
	if t.Failed() {
		t.Logf("%s%s", out.String(), errs.String())
	}
	if !strings.Contains(errs.String(), "the reports and the hosts differ in") {
		t.Errorf("standard error: %s", errs.String())
	}
	if got := entries(t, os.Getenv("TMPDIR")); len(got) > 0 {
		t.Errorf("left in TMPDIR: %q", got)
	}
}

// forge makes the reports branch say of a node what it has not signed.
func forge(f *simulated.Fleet, id string) error {
	dir := filepath.Join(f.Dir, simulated.Repository)
	tree, _, err := gitrepo.OpenRef(dir, "refs/heads/reports")
	if err != nil {
		return err
	}
	shards, err := fs.Glob(tree, "nodes/*.jsonl")
	if err != nil {
		return err
	}
	for _, path := range shards {
		b, err := fs.ReadFile(tree, path)
		if err != nil {
			return err
		}
		if text := string(b); strings.Contains(text, id) {
			text = strings.ReplaceAll(text, `"MissingCount":0`, `"MissingCount":3`)
			store, err := gitrepo.OpenStore(dir, gitrepo.Remote{}) // the fleet's has not seen what others pushed
			if err != nil {
				return err
			}
			commit, err := store.Commit(gitrepo.Change{Parent: tree.Commit, Files: map[string][]byte{path: []byte(text)}, Message: "forged",
				Author: "mallory", Email: "mallory@example.org", When: time.Now()})
			if err != nil {
				return err
			}
			return store.SetRef("refs/heads/reports", commit)
		}
	}
	return errors.New("no line to forge")
}

// Ctrl-C ends it in the middle, and nothing is left.
func TestDemoIsInterrupted(t *testing.T) {
	t.Parallel()
	cmd, temp := demoCommand(t, "demo")
	cmd.SysProcAttr.Setpgid = true
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "3 Converge") {
			// As a terminal does it: to all of the group.
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	for lines.Scan() {
		if strings.Contains(lines.Text(), "context canceled") {
			t.Errorf("people are shown %q", lines.Text())
		}
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d, want %d; %s", code, exitInterrupted, errs.String())
	}
	if got, want := errs.String(), "dunlin: interrupted; nothing is left\n"; got != want {
		t.Errorf("standard error %q, want %q", got, want)
	}
	if got := entries(t, temp); len(got) > 0 {
		t.Errorf("left in TMPDIR: %q", got)
	}
}

// A reader that has seen enough ends it, and nothing is left.
func TestDemoWithoutAReader(t *testing.T) {
	t.Parallel()
	cmd, temp := demoCommand(t, "demo", "--script")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitError {
		t.Errorf("exit code %d, want %d", code, exitError)
	}
	if got := entries(t, temp); len(got) > 0 {
		t.Errorf("left in TMPDIR: %q", got)
	}
}

func TestDemoRefusesWrongFlags(t *testing.T) {
	for _, args := range [][]string{
		{"demo", "--nodes", "2"}, {"demo", "--nodes", "101"}, {"demo", "--nodes", "-1"}, {"demo", "--nodes", "many"},
		{"demo", "tour"}, {"demo", "--fast"}, {"demo", "-o", "xml"},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, streams{in: strings.NewReader(""), out: &out, err: &errs}); code != exitUsage || out.Len() > 0 {
			t.Errorf("%q: exit code %d, want %d; printed %q and %q", args, code, exitUsage, out.String(), errs.String())
		}
	}
}
