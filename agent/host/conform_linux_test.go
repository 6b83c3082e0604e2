package host

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dunlin-dev/dunlin/reconciler/kind/file"
	"github.com/dunlin-dev/dunlin/reconciler/kind/kindtest"
	"github.com/dunlin-dev/dunlin/reconciler/kind/sysctl"
	"github.com/dunlin-dev/dunlin/reconciler/kind/user"
	"github.com/dunlin-dev/dunlin/schema"
)

// tree is everything below a folder that a change could show in.
func tree(t testing.TB, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(p, &st); err != nil {
			return err
		}
		content := ""
		if d.Type().IsRegular() {
			c, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			content = string(c)
		}
		fmt.Fprintf(&b, "%s ino=%d mode=%o uid=%d gid=%d ctime=%d.%d %q\n", p, st.Ino, st.Mode, st.Uid, st.Gid, st.Ctim.Sec, st.Ctim.Nsec, content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func put(t testing.TB, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	os.Remove(path)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test changes owners and needs root")
	}
}

func fileResource(path string, f schema.File) schema.Resource {
	if f.State == "" {
		f.State = schema.Present
	}
	return schema.Resource{Kind: schema.KindFile, Key: path, Mode: schema.Enforce, File: &f}
}

func ptr[T any](v T) *T { return &v }

// wantedFiles covers creation, replacement, attributes alone and absence.
func wantedFiles() []schema.Resource {
	return []schema.Resource{
		fileResource("/etc/new", schema.File{Content: ptr("new\n")}),
		fileResource("/etc/changed", schema.File{Content: ptr(strings.Repeat("long ", 60000)), Mode: "0640", Owner: "daemon", Group: "daemon"}),
		fileResource("/etc/mode", schema.File{Mode: "0600"}),
		fileResource("/etc/sub/owner", schema.File{Content: ptr("same"), Owner: "1", Group: "1", Mode: "4755"}),
		fileResource("/etc/gone", schema.File{State: schema.Absent}),
		fileResource("/empty", schema.File{Content: ptr("")}),
	}
}

const passwdText = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/usr/sbin/nologin\n"
const groupText = "root:x:0:\ndaemon:x:1:\nops:x:50:\n"

func breakFiles(t testing.TB, root string) {
	for _, p := range []string{"etc/new", "empty"} {
		os.Remove(filepath.Join(root, p))
	}
	put(t, filepath.Join(root, "etc/changed"), "old", 0o644)
	put(t, filepath.Join(root, "etc/mode"), "kept", 0o644)
	put(t, filepath.Join(root, "etc/sub/owner"), "same", 0o644)
	put(t, filepath.Join(root, "etc/gone"), "here", 0o644)
	put(t, filepath.Join(root, "etc/passwd"), passwdText, 0o644)
	put(t, filepath.Join(root, "etc/group"), groupText, 0o644)
}

func TestFileOnARealHost(t *testing.T) {
	needRoot(t)
	for _, stepwise := range []bool{false, true} {
		t.Run(fmt.Sprintf("stepwise=%v", stepwise), func(t *testing.T) {
			root := t.TempDir()
			kindtest.Run(t, kindtest.Case{
				Kind:      file.Kind{Host: System{Root: root, stepwise: stepwise}},
				Resources: wantedFiles(),
				Bad:       ptr(fileResource("/no/such/parent", schema.File{Content: ptr("x")})),
				Break:     func(t testing.TB) { breakFiles(t, root) },
				Snapshot:  func(t testing.TB) string { return tree(t, root) },
				Crash: func(t testing.TB, step int) bool {
					return crashingChild(t, childTask{Root: root, Stepwise: stepwise, Step: step, Resources: wantedFiles()})
				},
				Whole: func(t testing.TB) { wholeFiles(t, root) },
			})
			if left, _ := filepath.Glob(filepath.Join(root, "etc", tempPrefix+"*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// wholeFiles wants each file's content and, with new content, all attributes to be the old or the new.
func wholeFiles(t testing.TB, root string) {
	t.Helper()
	for p, allowed := range map[string][]string{
		"etc/new": {"", "100644 0 new\n"}, "etc/changed": {"100644 0 old", "100640 1 " + strings.Repeat("long ", 60000)},
		"etc/mode": {"100644 0 kept", "100600 0 kept"}, "etc/sub/owner": {"100644 0 same", "104755 1 same"},
		"etc/gone": {"", "100644 0 here"}, "empty": {"", "100644 0 "},
	} {
		var st syscall.Stat_t
		got := ""
		if err := syscall.Lstat(filepath.Join(root, p), &st); err == nil {
			b, err := os.ReadFile(filepath.Join(root, p))
			if err != nil {
				t.Fatal(err)
			}
			got = fmt.Sprintf("%o %d %s", st.Mode, st.Uid, b)
		}
		if got != allowed[0] && got != allowed[1] {
			t.Errorf("%s is neither old nor new: %.60q", p, got)
		}
	}
}

// childTask is what a copy of this test binary does before it kills itself.
type childTask struct {
	Root      string
	Stepwise  bool
	Step      int // the write before which it dies
	Resources []schema.Resource
}

const childVariable = "DUNLIN_TEST_CHILD"

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		var task childTask
		if err := json.NewDecoder(bufio.NewReader(os.Stdin)).Decode(&task); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		steps := 0
		s := System{Root: task.Root, stepwise: task.Stepwise, step: func(string) {
			if steps == task.Step {
				unix.Kill(unix.Getpid(), unix.SIGKILL)
				runtime.Goexit() // unreached
			}
			steps++
		}}
		for _, err := range (file.Kind{Host: s}).Apply(context.Background(), task.Resources) {
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// crashingChild applies files in a child that dies by SIGKILL before the write numbered Step.
func crashingChild(t testing.TB, task childTask) bool {
	t.Helper()
	b, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childVariable+"=1")
	cmd.Stdin = strings.NewReader(string(b))
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	if st, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !st.Signaled() {
		t.Fatalf("child: %v: %s", err, out)
	}
	return true
}

// inNamespaces runs the rest of the test in network and host name namespaces of its own, where kernel
// parameters can be changed without harm.
func inNamespaces(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWUTS); err != nil {
		t.Fatal("this test needs root and network namespaces: ", err)
	}
}

func sysctlResource(key, value string) schema.Resource {
	return schema.Resource{Kind: schema.KindSysctl, Key: key, Mode: schema.Enforce, Sysctl: &value}
}

func TestSimulatedHost(t *testing.T) {
	dir := t.TempDir()
	s := Simulated{Dir: dir}
	snapshot := func(t testing.TB) string { return tree(t, dir) }
	save := func(t testing.TB, name string, v any) {
		t.Helper()
		if err := s.saveState(name, v); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("file", func(t *testing.T) {
		rs := wantedFiles()
		rs[3].File.Owner, rs[3].File.Group = "daemon", "daemon"
		kindtest.Run(t, kindtest.Case{
			Kind: file.Kind{Host: s}, Resources: rs,
			Bad: ptr(fileResource("/no/such/parent", schema.File{Content: ptr("x")})),
			Break: func(t testing.TB) {
				breakFiles(t, filepath.Join(dir, "files"))
				save(t, attributesFile, map[string]simulatedAttributes{})
				save(t, usersFile, simulatedUsers{Users: map[string]schema.User{"daemon": {UID: ptr(uint32(1))}}, Groups: []string{"daemon"}})
			},
			Snapshot: snapshot,
		})
	})
	t.Run("sysctl", func(t *testing.T) {
		kindtest.Run(t, kindtest.Case{
			Kind: sysctl.Kind{Host: s}, Resources: []schema.Resource{sysctlResource("net.ipv4.ip_forward", "0"), sysctlResource("vm.x", "1 2")},
			Bad: ptr(sysctlResource("no.such", "1")),
			Break: func(t testing.TB) {
				save(t, sysctlsFile, simulatedSysctls{Kernel: map[string]string{"net.ipv4.ip_forward": "1", "vm.x": "2\t1"}})
			},
			Snapshot: snapshot,
		})
	})
	t.Run("user", func(t *testing.T) {
		kindtest.Run(t, kindtest.Case{
			Kind: user.Kind{Host: s}, Resources: wantedUsers(), Bad: ptr(userResource("lost", schema.User{Groups: []string{"nowhere"}})),
			Break: func(t testing.TB) {
				save(t, usersFile, simulatedUsers{Groups: []string{"ops"}, Users: map[string]schema.User{
					"root": {UID: ptr(uint32(0))}, "changed": {UID: ptr(uint32(1500)), Shell: "/bin/sh"}, "gone": {UID: ptr(uint32(1501))},
				}})
			},
			Snapshot: snapshot,
		})
	})
}

func userResource(name string, u schema.User) schema.Resource {
	if u.State == "" {
		u.State = schema.Present
	}
	return schema.Resource{Kind: schema.KindUser, Key: name, Mode: schema.Enforce, User: &u}
}

func wantedUsers() []schema.Resource {
	return []schema.Resource{
		userResource("deploy", schema.User{UID: ptr(uint32(2001)), Shell: "/usr/sbin/nologin", Groups: []string{"ops"}}),
		userResource("changed", schema.User{Shell: "/bin/bash", Groups: []string{"ops"}}),
		userResource("gone", schema.User{State: schema.Absent}),
	}
}

func TestUserOnARealHost(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	kindtest.Run(t, kindtest.Case{
		Kind: user.Kind{Host: System{Root: root}}, Resources: wantedUsers(),
		Bad: ptr(userResource("lost", schema.User{Groups: []string{"nowhere"}})),
		Break: func(t testing.TB) {
			os.RemoveAll(filepath.Join(root, "home"))
			if err := os.MkdirAll(filepath.Join(root, "home/gone"), 0o755); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(root, "etc/passwd"), passwdText+"changed:x:1500:1500::/home/changed:/bin/sh\ngone:x:1501:1501::/home/gone:/bin/sh\n", 0o644)
			put(t, filepath.Join(root, "etc/group"), groupText+"changed:x:1500:\ngone:x:1501:\n", 0o644)
			put(t, filepath.Join(root, "etc/shadow"), "root:*:19000::::::\nchanged:!:19000:0:99999:7:::\ngone:!:19000:0:99999:7:::\n", 0o640)
			put(t, filepath.Join(root, "etc/gshadow"), "root:*::\nops:!::\nchanged:!::\ngone:!::\n", 0o640)
		},
		Snapshot: func(t testing.TB) string { return tree(t, root) },
	})
	if _, err := os.Stat(filepath.Join(root, "home/gone")); err != nil {
		t.Errorf("the home of a deleted account: %v, want it left", err)
	}
	if _, err := os.Stat(filepath.Join(root, "home/deploy")); err != nil {
		t.Errorf("the home of a new account: %v", err)
	}
	shadow, err := os.ReadFile(filepath.Join(root, "etc/shadow"))
	if err != nil || !strings.Contains(string(shadow), "\ndeploy:!:") {
		t.Errorf("the new account's password is not locked: %s, %v", shadow, err)
	}
}

func TestSysctlOnARealHost(t *testing.T) {
	inNamespaces(t)
	// /proc/sys of this thread's namespaces, and a root of its own for the file in sysctl.d.
	root := t.TempDir()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"proc", "etc"} {
		if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("/proc", filepath.Join(root, "proc"), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(filepath.Join(root, "proc"), unix.MNT_DETACH) })
	s := System{Root: root}
	k := sysctl.Kind{Host: s}
	rs := []schema.Resource{
		sysctlResource("net.ipv4.ip_forward", "1"),
		sysctlResource("net.ipv4.ip_local_port_range", "20000   60000"),
		sysctlResource("net/ipv4/conf/lo/rp_filter", "2"),
	}
	set := func(t testing.TB, key, v string) {
		t.Helper()
		if err := s.WriteSysctl(key, v); err != nil {
			t.Fatal(err)
		}
	}
	// kindtest's subtests run in goroutines, and so threads, of their own: the laws are run here one by one.
	set(t, "net.ipv4.ip_forward", "0")
	for i, c := range k.Check(t.Context(), rs) {
		if c.Err != nil || len(c.Drift) != 1 {
			t.Fatalf("Check(%s) = %+v, %v", rs[i].Key, c.Drift, c.Err)
		}
	}
	for i, err := range k.Apply(t.Context(), rs) {
		if err != nil {
			t.Fatalf("Apply(%s) = %v", rs[i].Key, err)
		}
	}
	for i, c := range k.Check(t.Context(), rs) {
		if c.Err != nil || len(c.Drift) != 0 {
			t.Errorf("Check(%s) after Apply = %+v, %v", rs[i].Key, c.Drift, c.Err)
		}
	}
	b, err := os.ReadFile(root + bootFile)
	want := bootHeader + "net.ipv4.ip_forward = 1\nnet.ipv4.ip_local_port_range = 20000 60000\nnet/ipv4/conf/lo/rp_filter = 2\n"
	if err != nil || string(b) != want {
		t.Errorf("%s:\n%s%v\nwant:\n%s", bootFile, b, err, want)
	}
	stale, err := k.Stale(t.Context(), rs[1:])
	if err != nil || len(stale) != 1 || stale[0].Key != "net.ipv4.ip_forward" || !stale[0].Released {
		t.Fatalf("Stale = %+v, %v", stale, err)
	}
	if c := k.Check(t.Context(), stale); len(c[0].Drift) != 1 || c[0].Drift[0].Action != schema.Delete {
		t.Errorf("Check(stale) = %+v", c)
	}
	if errs := k.Apply(t.Context(), stale); errs[0] != nil {
		t.Errorf("Apply(stale) = %v", errs[0])
	}
	if b, _ := os.ReadFile(root + bootFile); strings.Contains(string(b), "ip_forward") {
		t.Errorf("the line of what left the policy is still there:\n%s", b)
	}
	if v, err := s.ReadSysctl("net.ipv4.ip_forward"); v != "1" || err != nil {
		t.Errorf("the value of what left the policy = %q, %v, want it left at 1", v, err)
	}
	for key, want := range map[string]string{
		"net.ipv4.no_such_thing": "no such parameter", "net.no.such.folder": "no such parameter", "net.ipv4": "is a folder", "net.ipv4.ip_forward..": "not the name",
		"../../etc/passwd": "not the name", "net.ipv4.conf.*.rp_filter": "not the name",
	} {
		if c := k.Check(t.Context(), []schema.Resource{sysctlResource(key, "1")}); c[0].Err == nil || !strings.Contains(c[0].Err.Error(), want) {
			t.Errorf("Check(%q) = %v, want %q", key, c[0].Err, want)
		}
	}
	for value, want := range map[string]string{"many": "does not take the value", "1\n2": "has a line break"} {
		if err := k.Apply(t.Context(), []schema.Resource{sysctlResource("net.ipv4.ip_forward", value)})[0]; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Apply(%q) = %v, want %q", value, err, want)
		}
	}
	if err := unix.Mount(filepath.Join(root, "proc/sys"), filepath.Join(root, "proc/sys"), "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", filepath.Join(root, "proc/sys"), "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := k.Apply(t.Context(), []schema.Resource{sysctlResource("net.ipv4.ip_forward", "0")})[0]; err == nil || !strings.Contains(err.Error(), "cannot be written here") {
		t.Errorf("Apply on a read-only /proc/sys = %v", err)
	}
}
