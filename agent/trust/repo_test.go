package trust

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// gitRepo is a real repository, written by git and ssh-keygen as people write theirs.
type gitRepo struct {
	t      testing.TB
	dir    string
	keys   string
	fleets map[string]schema.Fleet // by blob of fleet.cue
	clock  time.Time
	asked  int                                     // times that a fleet was read
	acts   map[string]map[string]schema.Activation // by blob of activations/all.cue
	begins string                                  // as Begins says
	ends   string                                  // as Ends does
	gone   map[string]bool                         // commits that are not here
}

func newGitRepo(t testing.TB, people ...string) *gitRepo {
	t.Helper()
	r := &gitRepo{t: t, dir: t.TempDir(), keys: t.TempDir(), fleets: map[string]schema.Fleet{}, clock: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	r.git("init", "-q", "-b", "main")
	for _, p := range people {
		r.key(p)
	}
	return r
}

var errGone = errors.New("not here")

// key makes a person's key.
func (r *gitRepo) key(name string) {
	r.t.Helper()
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", filepath.Join(r.keys, name)).CombinedOutput(); err != nil {
		r.t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
}

// public is the line of a person's public key.
func (r *gitRepo) public(name string) string {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.keys, name+".pub"))
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func (r *gitRepo) git(args ...string) string {
	r.t.Helper()
	out, err := r.try(args...)
	if err != nil {
		r.t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

func (r *gitRepo) try(args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"-C", r.dir, "-c", "gpg.format=ssh", "-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false", "-c", "advice.detachedHead=false"}, args...)...)
	at := fmt.Sprintf("%d +0100", r.clock.Unix())
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_DATE="+at, "GIT_COMMITTER_DATE="+at)
	out, err := cmd.CombinedOutput()
	return strings.TrimSuffix(string(out), "\n"), err
}

// write puts files into the work tree; an empty text removes one.
func (r *gitRepo) write(files map[string]string) {
	r.t.Helper()
	for name, text := range files {
		path := filepath.Join(r.dir, name)
		if text == "" {
			r.git("rm", "-q", name)
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	r.git("add", "-A")
}

// commit commits files, signed by who unless that is empty, and gives the commit.
func (r *gitRepo) commit(who string, files map[string]string) string {
	r.t.Helper()
	r.clock = r.clock.Add(time.Minute)
	r.write(files)
	args := []string{"commit", "-q", "--allow-empty", "-m", "change"}
	if who != "" {
		args = append(args, "-S"+filepath.Join(r.keys, who))
	}
	r.git(args...)
	return r.head()
}

func (r *gitRepo) head() string { return r.git("rev-parse", "HEAD") }

// fleet is the text of a fleet.cue that stands for f.
func (r *gitRepo) fleet(f schema.Fleet) string {
	r.t.Helper()
	if f.Name == "" {
		f.Name = "acme"
	}
	if f.Roles == nil {
		f.Roles = map[string]schema.Role{"root": {Paths: rootPaths(), Threshold: 1}, "policy": {Paths: []string{"**"}, Threshold: 1}}
	}
	text := fmt.Sprintf("package fleet // %d\n", len(r.fleets))
	r.fleets[text] = f
	return text
}

// signers makes people with roles: "alice=root,policy".
func (r *gitRepo) signers(people ...string) map[string]schema.Signer {
	out := map[string]schema.Signer{}
	for _, p := range people {
		name, roles, _ := strings.Cut(p, "=")
		out[name] = schema.Signer{Keys: []string{r.public(name)}, Roles: strings.Split(roles, ",")}
	}
	return out
}

// approve writes the approval of a person for a tree upon a base, as `dunlin approve` does.
func (r *gitRepo) approve(who, base, tree string) {
	r.t.Helper()
	a := Approval{V: 1, Fleet: "acme", Base: base, Tree: tree}
	a.Sig = r.sign(who, NamespaceApproval, a.Message())
	r.ref("refs/dunlin/approvals/"+tree+"/"+who, a.Encode())
}

func (r *gitRepo) sign(who, namespace string, message []byte) string {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), "message")
	if err := os.WriteFile(path, message, 0o600); err != nil {
		r.t.Fatal(err)
	}
	if out, err := exec.Command("ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", filepath.Join(r.keys, who), path).CombinedOutput(); err != nil {
		r.t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	sig, err := os.ReadFile(path + ".sig")
	if err != nil {
		r.t.Fatal(err)
	}
	return string(sig)
}

func (r *gitRepo) ref(name string, blob []byte) {
	r.t.Helper()
	r.git("update-ref", name, r.object("blob", blob))
}

// object writes an object as it is, well-formed or not.
func (r *gitRepo) object(kind string, raw []byte) string {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), "object")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		r.t.Fatal(err)
	}
	return r.git("hash-object", "-t", kind, "-w", "--literally", path)
}

func (r *gitRepo) tree(rev string) string { return r.git("rev-parse", rev+"^{tree}") }

// Commit, Changed, Fleet and Approvals make it a Source.
func (r *gitRepo) Commit(id string) ([]byte, error) {
	if r.gone[id] {
		return nil, fmt.Errorf("commit %s: %w", id, errGone)
	}
	out, err := exec.Command("git", "-C", r.dir, "cat-file", "commit", id).Output()
	return out, err
}

func (r *gitRepo) Changed(_ context.Context, from, to string) ([]string, error) {
	out, err := r.try("diff-tree", "-r", "-z", "--name-only", "--no-renames", from, to)
	return strings.FieldsFunc(out, func(c rune) bool { return c == 0 }), err
}

func (r *gitRepo) Fleet(_ context.Context, commit string) (schema.Fleet, error) {
	r.asked++
	text, err := exec.Command("git", "-C", r.dir, "cat-file", "blob", commit+":fleet.cue").Output()
	f, ok := r.fleets[string(text)]
	if err == nil && !ok {
		err = fmt.Errorf("no fleet in %q", text)
	}
	return f, err
}

func (r *gitRepo) Begins(id string) bool { return id == r.begins }
func (r *gitRepo) Ends(id string) bool   { return id == r.begins || id == r.ends }

func (r *gitRepo) Approvals(tree string) ([][]byte, error) {
	out, err := r.try("for-each-ref", "--format=%(objectname)", "refs/dunlin/approvals/"+tree+"/")
	if err != nil {
		return nil, err
	}
	var blobs [][]byte
	for _, id := range strings.Fields(out) {
		b, err := exec.Command("git", "-C", r.dir, "cat-file", "blob", id).Output()
		if err != nil {
			return nil, err
		}
		blobs = append(blobs, b)
	}
	return blobs, nil
}

func (r *gitRepo) Activations(_ context.Context, commit string) (map[string]schema.Activation, error) {
	text, _ := exec.Command("git", "-C", r.dir, "cat-file", "blob", commit+":activations/all.cue").Output()
	return r.acts[string(text)], nil
}

func (r *gitRepo) Folder(tree, dir string) (map[string]Entry, error) {
	out, err := exec.Command("git", "-C", r.dir, "ls-tree", "-z", strings.TrimSuffix(tree+":"+dir, ":")).Output()
	if err != nil {
		return nil, nil // there is none
	}
	entries := map[string]Entry{}
	for _, line := range strings.FieldsFunc(string(out), func(c rune) bool { return c == 0 }) {
		head, name, _ := strings.Cut(line, "\t")
		f := strings.Fields(head)
		entries[name] = Entry{Mode: strings.TrimPrefix(f[0], "0"), Hash: f[2]}
	}
	return entries, nil
}

func (r *gitRepo) Content(hash string, limit int64) ([]byte, error) {
	b, err := exec.Command("git", "-C", r.dir, "cat-file", "blob", hash).Output()
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%d bytes, more than %d", len(b), limit)
	}
	return b, err
}

// verify verifies from trusted to head at the repository's own time.
func (r *gitRepo) verify(trusted, head string) ([]Step, error) {
	return Verify(r.t.Context(), r, trusted, head, r.clock)
}
