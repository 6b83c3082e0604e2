package schema_test

import (
	"go/ast"
	"os"
	"regexp"
	"strings"
	"testing"
)

// Programs are started in one place, which gives them a fixed search path, a clean environment and no open files. The
// others are named here, with why they do not go through it.
func TestLayersOfWhatIsStarted(t *testing.T) {
	starts := map[string]bool{
		"exec.Command": true, "exec.CommandContext": true, "exec.Cmd": true, "os.StartProcess": true,
		"syscall.ForkExec": true, "syscall.StartProcess": true, "syscall.Exec": true, "unix.Exec": true,
	}
	allowed := map[string]string{
		"agent/host/exec_linux.go child": "the one place",
		"schema/load/child/child.go Ask": "the evaluator: this program itself, with an environment of its own",
		"cmd/dunlin/approve.go git.run":  "a person's own git, with their keys and their way to the remote, run as them",
		"cmd/dunlin/approve.go git.sign": "a person's own ssh-keygen, with their ssh-agent, run as them",
		"cmd/recording/main.go watch":    "a tool of the project's, not of the program",
		"agent/agenttest":                "help for tests",
	}
	seen := map[string]bool{}
	for _, s := range sources(t) {
		if s.test || within(s.pkg, "agent/agenttest") {
			continue
		}
		for _, d := range s.ast.Decls {
			where := s.file
			fn, is := d.(*ast.FuncDecl)
			if is {
				where += " " + called(fn)
			}
			look := func(n ast.Node) bool {
				made := n
				switch n := n.(type) {
				case *ast.CallExpr:
					made = n.Fun
				case *ast.CompositeLit:
					made = n.Type
				default:
					return true
				}
				if sel, ok := made.(*ast.SelectorExpr); ok {
					if x, ok := sel.X.(*ast.Ident); ok && starts[x.Name+"."+sel.Sel.Name] {
						seen[where] = true
						if allowed[where] == "" {
							t.Errorf("%s: %s.%s in %q: programs are started by agent/host alone, with a fixed search path, a clean environment and no open files", s.at(n), x.Name, sel.Sel.Name, where)
						}
					}
				}
				return true
			}
			ast.Inspect(d, look)
		}
	}
	for where := range allowed {
		if strings.Contains(where, " ") && !seen[where] {
			t.Errorf("%q starts nothing any more: take it from the list", where)
		}
	}
}

// called is a function's name as "Type.Method" or "Func".
func called(fn *ast.FuncDecl) string {
	if fn.Recv != nil && len(fn.Recv.List) > 0 {
		of := fn.Recv.List[0].Type
		if star, ok := of.(*ast.StarExpr); ok {
			of = star.X
		}
		if x, ok := of.(*ast.Ident); ok {
			return x.Name + "." + fn.Name.Name
		}
	}
	return fn.Name.Name
}

// What a root program writes by a path somebody else may have bent. So whatever code changes the file system is named
// here, with where it does so. What belongs to the host, and not to this program, is written by agent/host through
// descriptors of real folders (openat2 with RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS; step by step
// where a kernel has none), and nowhere else.
func TestLayersOfWhatIsWritten(t *testing.T) {
	const (
		state     = "the state folder: 0700, this program's own, below folders of root's alone (host.StateFolder)"
		managed   = "the host's own files, through descriptors of real folders"
		person    = "a path that a person gives, with that person's rights"
		simulated = "a simulated host's folder, without root"
	)
	changes := map[string]bool{}
	for _, name := range []string{
		"os.WriteFile", "os.Create", "os.CreateTemp", "os.OpenFile", "os.Rename", "os.Chmod", "os.Chown", "os.Lchown", "os.Chtimes", "os.Mkdir", "os.MkdirAll", "os.MkdirTemp",
		"os.Remove", "os.RemoveAll", "os.Symlink", "os.Link", "os.Truncate", "os.CopyFS", "os.OpenRoot", "os.OpenInRoot", "ioutil.WriteFile", "ioutil.TempFile",
		"unix.Open", "unix.Openat", "unix.Openat2", "unix.Creat", "unix.Rename", "unix.Renameat", "unix.Renameat2", "unix.Unlink", "unix.Unlinkat", "unix.Rmdir", "unix.Mkdir", "unix.Mkdirat",
		"unix.Mknod", "unix.Mknodat", "unix.Symlink", "unix.Symlinkat", "unix.Link", "unix.Linkat", "unix.Chmod", "unix.Fchmodat", "unix.Chown", "unix.Lchown", "unix.Fchownat", "unix.Truncate",
		"syscall.Open", "syscall.Rename", "syscall.Unlink", "syscall.Mkdir", "syscall.Chmod", "syscall.Chown", "syscall.Link", "syscall.Symlink",
	} {
		changes[name] = true
	}
	allowed := map[string]string{ // a package, or a file in one
		"agent":                          state,
		"agent/durable":                  state,
		"agent/gitrepo":                  state,
		"agent/identity":                 state,
		"agent/journal":                  state,
		"agent/secret":                   "credentials for a program, in memory, in a folder that only root can write",
		"agent/host/lastinstall.go":      state,
		"agent/host/lock_linux.go":       state,
		"agent/host/owned_linux.go":      state,
		"agent/host/owned_other.go":      state,
		"agent/host/tx.go":               state,
		"agent/host/tx_start_linux.go":   state,
		"agent/host/tx_linux.go":         "the state folder, and dpkg's own lock at the path where dpkg takes it, below folders of root's alone",
		"agent/host/apt_linux.go":        "nothing: it looks at the locks of apt and dpkg",
		"agent/host/file_linux.go":       managed,
		"agent/host/filewrite_linux.go":  managed,
		"agent/host/examine_linux.go":    "nothing: it tries whether openat2 is there",
		"agent/host/hash_linux.go":       "nothing: it reads managed files",
		"agent/host/sysctl_linux.go":     managed,
		"agent/host/simulated.go":        simulated,
		"agent/host/simulated_debian.go": simulated,
		"agent/host/simulated_watch.go":  simulated,
		"agent/api/listen.go":            "the socket, in a folder that it makes or that only root can write",
		"agent/inventory/files_unix.go":  "nothing: it reads",
		"agent/inventory/times_linux.go": "nothing: it reads",
		"cmd/dunlin/approve.go":          person,
		"cmd/dunlin/demo.go":             simulated,
		"cmd/dunlin/doctor_host.go":      "a new folder of its own, for as long as it runs",
		"cmd/dunlin/init.go":             person,
		"cmd/dunlin/join.go":             person,
		"cmd/dunlin/key.go":              person,
		"cmd/dunlin/policyfolder.go":     person,
	}
	seen := map[string]bool{}
	for _, s := range sources(t) {
		// Simulated fleets, their demo and help for tests have folders of their own and no root.
		if s.test || within(s.pkg, "agent/agenttest", "agent/demo", "agent/simulated", "cmd/recording") {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok || x.Obj != nil || !changes[x.Name+"."+sel.Sel.Name] {
				return true
			}
			seen[s.file], seen[s.pkg] = true, true
			if allowed[s.file] == "" && allowed[s.pkg] == "" {
				t.Errorf("%s: %s.%s: a program of root's writes where somebody may have put a link: the host's files are written by host.System, "+
					"which opens real folders only; who writes into the state folder is named in this list", s.at(n), x.Name, sel.Sel.Name)
			}
			return true
		})
	}
	for where := range allowed {
		if !seen[where] {
			t.Errorf("%q writes nothing any more: take it from the list", where)
		}
	}
}

// A control without a test is a wish: what the threat model names exists.
func TestThreatModelNamesTests(t *testing.T) {
	text, err := os.ReadFile("../docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, s := range sources(t) {
		for _, d := range s.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && s.test && fn.Recv == nil {
				there[fn.Name.Name] = true
			}
		}
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`").FindAllStringSubmatch(string(text), -1)
	if len(named) < 50 {
		t.Errorf("the threat model names %d tests: this test looks at the wrong text", len(named))
	}
	for _, n := range named {
		if !there[n[1]] {
			t.Errorf("docs/threat-model.md names %s, which is no test any more: name the one that holds this control now", n[1])
		}
	}
}
