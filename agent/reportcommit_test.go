package agent_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

func runGit(t *testing.T, dir, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

var commitTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// reportNodes are nodes with signed lines and one facts file each.
func reportNodes(t *testing.T, n int) []report.Node {
	t.Helper()
	var out []report.Node
	for i := range n {
		key := ed25519.NewKeyFromSeed(slices.Repeat([]byte{byte(i + 1)}, ed25519.SeedSize))
		pub := key.Public().(ed25519.PublicKey)
		sum := sha256.Sum256(factsOfNode(i))
		l, err := report.SignLine(schema.ReportLine{Fleet: "acme", Node: schema.NodeID(pub), Rev: 1, Since: commitTime, Commit: strings.Repeat("1", 40),
			Compliance: map[string]schema.Compliance{"Patch": schema.Compliant}, Counts: map[string]int{}, Facts: hex.EncodeToString(sum[:])}, key)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, report.Node{Line: l, Name: fmt.Sprintf("node-%d", i), Status: schema.Online, Key: pub})
	}
	return out
}

func factsOfNode(i int) []byte {
	return fmt.Appendf(nil, `{"set":%d,"fill":%q}`, i, strings.Repeat("x", 1000))
}

// Whatever objects somebody put on the branch under our names, the next commit has ours again, and real Git finds it sound.
func TestACommitReplacesWhatIsOnTheBranch(t *testing.T) {
	nodes := reportNodes(t, 3)
	facts := func(n report.Node) ([]byte, error) {
		return factsOfNode(slices.IndexFunc(nodes, func(o report.Node) bool { return o.Line.Node == n.Line.Node })), nil
	}
	bare := filepath.Join(t.TempDir(), "r.git")
	runGit(t, filepath.Dir(bare), "", "init", "-q", "--bare", bare)
	store, err := gitrepo.OpenStore(bare, gitrepo.Remote{})
	if err != nil {
		t.Fatal(err)
	}
	make := func(head string) (string, int) {
		t.Helper()
		all := slices.Clone(nodes)
		commit, _, left, err := agent.ReportsCommit{Store: store, Head: head, Fleet: "acme", Nodes: all, Facts: facts, Room: 1 << 20, Now: commitTime}.Make()
		if err != nil {
			t.Fatal(err)
		}
		return commit, left
	}
	good, left := make("")
	if left != 0 {
		t.Fatalf("%d facts are left", left)
	}
	want := runGit(t, bare, "", "rev-parse", good+"^{tree}")
	if again, _ := make(good); again != good {
		t.Errorf("made again it is %s", again)
	}
	blob := runGit(t, bare, "rubbish", "hash-object", "-w", "--stdin")
	big := runGit(t, bare, strings.Repeat("x", 17<<20), "hash-object", "-w", "--stdin")
	empty := runGit(t, bare, "", "mktree")
	folder := runGit(t, bare, fmt.Sprintf("100644 blob %s\tx\n", blob), "mktree")
	shard := "nodes/" + report.Shard(nodes[0].Line.Node) + ".jsonl"
	fact := "facts/" + nodes[0].Line.Facts[:2] + "/" + nodes[0].Line.Facts + ".json"
	for name, entries := range map[string][]string{
		"a link for a shard":        {"120000 " + blob + "\t" + shard},
		"a folder for a shard":      {"040000 " + folder + "\t" + shard},
		"an empty folder":           {"040000 " + empty + "\t" + shard},
		"a submodule for a shard":   {"160000 " + good + "\t" + shard},
		"a link for the page":       {"120000 " + blob + "\tREADME.md"},
		"a folder for the page":     {"040000 " + folder + "\tREADME.md"},
		"17 MiB for all":            {"100644 " + big + "\tREADME.md", "100644 " + big + "\tsummary.json", "100644 " + big + "\tconflicts.jsonl", "100644 " + big + "\t" + shard, "100644 " + big + "\t" + fact},
		"a file for the shards":     {"100644 " + blob + "\tnodes"},
		"a submodule for them":      {"160000 " + good + "\tnodes"},
		"a file for the pictures":   {"100644 " + blob + "\tcharts"},
		"a link for the facts":      {"120000 " + blob + "\tfacts"},
		"other facts":               {"100644 " + blob + "\t" + fact},
		"a program":                 {"100755 " + blob + "\t" + shard},
		"foreign files of nodes":    {"100644 " + blob + "\tnodes/zz.jsonl", "100644 " + blob + "\tnodes/AA.jsonl", "040000 " + folder + "\tnodes/x", "120000 " + blob + "\tnodes/y"},
		"a folder where no line is": {"040000 " + folder + "\tnodes/00.jsonl"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			head := hurt(t, bare, good, entries)
			commit, left := make(head)
			if left != 0 {
				t.Errorf("%d facts are left", left)
			}
			if got := runGit(t, bare, "", "rev-parse", commit+"^{tree}"); got != want {
				t.Errorf("the tree differs:\n%s", runGit(t, bare, "", "diff-tree", "-r", want, got))
			}
			if again, _ := make(commit); again != commit {
				t.Errorf("made again it is %s", again)
			}
			if m := runGit(t, bare, "", "log", "-1", "--format=%s", commit); !strings.HasPrefix(m, "reports: ") {
				t.Errorf("message %q", m)
			}
		})
	}
	runGit(t, bare, "", "update-ref", "refs/heads/reports", good)
	runGit(t, bare, "", "fsck", "--strict")
}

// hurt makes a commit upon one, with entries ("mode hash\tpath") put in place of what has their path.
func hurt(t *testing.T, bare, commit string, entries []string) string {
	t.Helper()
	index := filepath.Join(t.TempDir(), "index")
	in := func(stdin string, args ...string) string {
		return runGit(t, bare, stdin, slices.Concat([]string{"-c", "core.bare=true"}, args)...)
	}
	t.Setenv("GIT_INDEX_FILE", index)
	in("", "read-tree", commit)
	tree := ""
	for _, e := range entries {
		meta, path, _ := strings.Cut(e, "\t")
		mode, hash, _ := strings.Cut(meta, " ")
		in("", "rm", "-r", "-q", "--cached", "--ignore-unmatch", path)
		if mode == "040000" {
			continue
		}
		in("", "update-index", "--add", "--replace", "--cacheinfo", mode+","+hash+","+path)
	}
	tree = in("", "write-tree")
	for _, e := range entries { // an index holds no folders
		meta, path, _ := strings.Cut(e, "\t")
		if mode, hash, _ := strings.Cut(meta, " "); mode == "040000" {
			tree = graft(t, bare, tree, strings.Split(path, "/"), hash)
		}
	}
	return in("", "commit-tree", "-m", "mine", "-p", commit, tree)
}

// graft puts a folder into a tree.
func graft(t *testing.T, bare, tree string, path []string, hash string) string {
	t.Helper()
	var lines []string
	below := ""
	for _, l := range strings.Split(runGit(t, bare, "", "ls-tree", tree), "\n") {
		meta, name, _ := strings.Cut(l, "\t")
		if name == path[0] {
			below = strings.Fields(meta)[2]
			continue
		}
		if l != "" {
			lines = append(lines, l)
		}
	}
	if len(path) > 1 {
		hash = graft(t, bare, below, path[1:], hash)
	}
	lines = append(lines, "040000 tree "+hash+"\t"+path[0])
	return runGit(t, bare, strings.Join(lines, "\n")+"\n", "mktree")
}

// Facts come a few at a time, and nothing is left out in the end.
func TestFactsComeAFewAtATime(t *testing.T) {
	nodes := reportNodes(t, 7)
	store, err := gitrepo.OpenStore(filepath.Join(t.TempDir(), "r.git"), gitrepo.Remote{})
	if err != nil {
		t.Fatal(err)
	}
	head, known := "", map[string]string{}
	for _, want := range []int{4, 1, 0} {
		commit, _, left, err := agent.ReportsCommit{Store: store, Head: head, Fleet: "acme", Nodes: slices.Clone(nodes), Room: 2500, Known: known, Now: commitTime,
			Facts: func(n report.Node) ([]byte, error) {
				return factsOfNode(slices.IndexFunc(nodes, func(o report.Node) bool { return o.Line.Node == n.Line.Node })), nil
			}}.Make()
		if err != nil || left != want || commit == head {
			t.Fatalf("%d facts are left, want %d; %v", left, want, err)
		}
		head = commit
	}
	for i, n := range nodes {
		b, err := store.Read(head, "facts/"+n.Line.Facts[:2]+"/"+n.Line.Facts+".json")
		if err != nil || string(b) != string(factsOfNode(i)) {
			t.Errorf("facts of %s: %q, %v", n.Name, b, err)
		}
	}
}
