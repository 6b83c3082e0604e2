package trust

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// forge is a bare repository whose server merges, as GitHub, GitLab and Forgejo do: the commits are its own.
type forge struct {
	*gitRepo
	people *gitRepo // where people work, who push to it
}

func newForge(people *gitRepo) forge {
	dir := people.t.TempDir()
	f := forge{&gitRepo{t: people.t, dir: dir, keys: people.keys, fleets: people.fleets, clock: people.clock}, people}
	f.git("init", "-q", "--bare", "-b", "main")
	people.git("remote", "add", "origin", dir)
	return f
}

// push pushes a branch of the people's to the forge.
func (f forge) push(branch string) {
	f.t.Helper()
	f.people.git("push", "-q", "--force", "origin", branch)
}

// commit makes a commit as a forge's server does, without a work tree. sign is how it signs: not, with a key of its own as SSH,
// or with OpenPGP, of which nothing is believed here.
func (f forge) commit(tree, committer, message, sign string, parents ...string) string {
	f.t.Helper()
	f.clock = f.people.clock.Add(time.Minute)
	at := fmt.Sprintf("%d +0000", f.clock.Unix())
	head := "tree " + tree + "\n"
	for _, p := range parents {
		head += "parent " + p + "\n"
	}
	head += "author Bob <bob@example.org> " + at + "\ncommitter " + committer + " " + at + "\n"
	sig := ""
	switch sign {
	case "ssh":
		sig = f.sign("forge", NamespaceCommit, []byte(head+"\n"+message))
	case "pgp":
		sig = "-----BEGIN PGP SIGNATURE-----\n\nwsFcBAABCAAQBQJpVnQACRC1aQ7uu5UhlAAA\n=abcd\n-----END PGP SIGNATURE-----\n"
	}
	if sig != "" {
		head += "gpgsig " + strings.ReplaceAll(strings.TrimSuffix(sig, "\n"), "\n", "\n ") + "\n"
	}
	return f.object("commit", []byte(head+"\n"+message))
}

// merged is the tree of a merge, as the server makes it.
func (f forge) merged(ours, theirs string) string {
	f.t.Helper()
	return f.git("merge-tree", "--write-tree", ours, theirs)
}

const (
	gitHub  = "GitHub <noreply@github.com>"
	gitLab  = "Bob <bob@users.noreply.gitlab.example>"
	forgejo = "Forgejo <noreply@forge.example>"
)

// TestForges: each way in which a forge brings a branch to main. It is accepted by what people signed of the branch or
// approved, and refused with the forge's word alone, signed or not.
func TestForges(t *testing.T) {
	t.Parallel()
	r, anchor := team(t) // policy needs two of bob and carol
	r.key("forge")
	f := newForge(r)
	f.push("main")
	// topic is a branch of two commits upon main, as the forge has it.
	topic := func(who, text string) (first, tip string) {
		r.git("checkout", "-q", "-B", "topic", anchor)
		first = r.commit(who, map[string]string{"policies/a.cue": text + " half"})
		tip = r.commit(who, map[string]string{"policies/a.cue": text})
		f.push("topic")
		return first, tip
	}
	// approved pushes approvals of a tree, as dunlin approve does.
	approved := func(base, tree string, people ...string) {
		for _, who := range people {
			r.approve(who, base, tree)
			f.push("refs/dunlin/approvals/" + tree + "/" + who)
		}
	}
	const nobody = "needs 2 of the role policy, and nobody with it has signed"
	for _, tt := range []struct{ name, committer, sign string }{
		{"GitHub", gitHub, "pgp"}, {"GitLab", gitLab, ""}, {"Forgejo", forgejo, "ssh"},
	} {
		text := tt.name
		t.Run(tt.name+": merge", func(t *testing.T) {
			_, tip := topic("", text+" merge")
			tree := f.merged(anchor, tip)
			m := f.commit(tree, tt.committer, "Merge pull request #1 from bob/topic\n\nA change\n", tt.sign, anchor, tip)
			refused(t, f.gitRepo, anchor, m, NotAgreed, nobody)
			approved(anchor, tree, "bob", "carol")
			accepted(t, f.gitRepo, anchor, m, "bob", "carol")
		})
		t.Run(tt.name+": merge of a branch that is signed", func(t *testing.T) {
			_, tip := topic("bob", text+" signed")
			tree := f.merged(anchor, tip)
			m := f.commit(tree, tt.committer, "Merge branch 'topic' into 'main'\n", tt.sign, anchor, tip)
			refused(t, f.gitRepo, anchor, m, NotAgreed, "needs 2 of the role policy, and only bob signed")
			approved(anchor, tree, "carol")
			accepted(t, f.gitRepo, anchor, m, "bob", "carol")
		})
		t.Run(tt.name+": squash", func(t *testing.T) {
			_, tip := topic("bob", text+" squash")
			tree := f.merged(anchor, tip)
			m := f.commit(tree, tt.committer, "A change (#1)\n\n* one\n\n* two\n\nCo-authored-by: Carol <carol@example.org>\n", tt.sign, anchor)
			refused(t, f.gitRepo, anchor, m, NotAgreed, nobody)
			approved(anchor, tree, "bob", "carol")
			accepted(t, f.gitRepo, anchor, m, "bob", "carol")
		})
		t.Run(tt.name+": rebase", func(t *testing.T) {
			first, tip := topic("bob", text+" rebase")
			one := f.commit(f.tree(first), tt.committer, "one\n", tt.sign, anchor)
			two := f.commit(f.tree(tip), tt.committer, "two\n", tt.sign, one)
			refused(t, f.gitRepo, anchor, two, NotAgreed, nobody)
			approved(anchor, f.tree(first), "bob", "carol")
			refused(t, f.gitRepo, anchor, two, NotAgreed, nobody) // the second one still
			approved(one, f.tree(tip), "bob", "carol")
			accepted(t, f.gitRepo, anchor, two, "bob", "carol")
		})
	}
	t.Run("GitLab: squash, then a merge commit", func(t *testing.T) {
		_, tip := topic("bob", "semi-linear")
		squash := f.commit(f.tree(tip), gitLab, "A change\n", "", anchor)
		m := f.commit(f.tree(tip), gitLab, "Merge branch 'topic' into 'main'\n\nA change\n\nSee merge request acme/policy!1\n", "ssh", anchor, squash)
		refused(t, f.gitRepo, anchor, m, NotAgreed, nobody)
		approved(anchor, f.tree(tip), "bob", "carol")
		accepted(t, f.gitRepo, anchor, m, "bob", "carol")
	})
	t.Run("Forgejo: rebase, then a merge commit", func(t *testing.T) {
		first, tip := topic("bob", "rebase and merge")
		one := f.commit(f.tree(first), forgejo, "one\n", "", anchor)
		two := f.commit(f.tree(tip), forgejo, "two\n", "", one)
		m := f.commit(f.tree(tip), forgejo, "Merge pull request 'A change' (#1)\n", "ssh", anchor, two)
		refused(t, f.gitRepo, anchor, m, NotAgreed, nobody)
		approved(anchor, f.tree(tip), "bob", "carol") // of the whole: the rebased commits are no steps of the line
		accepted(t, f.gitRepo, anchor, m, "bob", "carol")
	})
	t.Run("fast-forward", func(t *testing.T) {
		first, tip := topic("bob", "ff")
		refused(t, f.gitRepo, anchor, tip, NotAgreed, "only bob signed")
		approved(anchor, f.tree(first), "carol")
		approved(first, f.tree(tip), "carol")
		accepted(t, f.gitRepo, anchor, tip, "bob", "carol")
	})
	t.Run("a branch that the forge brought up to date", func(t *testing.T) {
		_, tip := topic("bob", "old branch")
		r.git("checkout", "-q", "-B", "main", anchor)
		newer := r.commit("bob", map[string]string{"policies/b.cue": "meanwhile"})
		f.push("main")
		approved(anchor, r.tree(newer), "carol")
		accepted(t, f.gitRepo, anchor, newer, "bob", "carol")
		// What the branch's people signed is another tree: they must look at the one with both changes.
		updated := f.commit(f.merged(tip, newer), gitHub, "Merge branch 'main' into topic\n", "pgp", tip, newer)
		tree := f.merged(newer, updated)
		m := f.commit(tree, gitHub, "Merge pull request #1 from bob/topic\n", "pgp", newer, updated)
		refused(t, f.gitRepo, newer, m, NotAgreed, nobody)
		approved(newer, tree, "bob", "carol")
		accepted(t, f.gitRepo, newer, m, "bob", "carol")
	})
	t.Run("a server that brings more than the branch", func(t *testing.T) {
		_, tip := topic("bob", "innocent")
		approved(anchor, f.tree(tip), "bob", "carol")
		f.people.git("checkout", "-q", "-B", "evil", tip)
		evil := f.people.commit("", map[string]string{"policies/evil.cue": "x"})
		f.push("evil")
		for _, m := range []string{
			f.commit(f.tree(evil), gitHub, "Merge pull request #1 from bob/topic\n", "pgp", anchor, tip),
			f.commit(f.tree(evil), gitHub, "A change (#1)\n", "ssh", anchor),
			f.commit(f.tree(evil), gitHub, "Merge pull request #1 from bob/topic\n", "", anchor, evil),
		} {
			refused(t, f.gitRepo, anchor, m, NotAgreed, nobody)
		}
		// And an approval of the branch is none of the same files upon another commit.
		r.git("checkout", "-q", "-B", "main", anchor)
		other := r.commit("bob", map[string]string{"policies/a.cue": "between"})
		f.push("main")
		approved(anchor, r.tree(other), "carol")
		refused(t, f.gitRepo, anchor, f.commit(f.tree(tip), gitHub, "A change (#1)\n", "pgp", other), NotAgreed, nobody)
	})
	if strings.TrimSpace(f.git("rev-parse", "--is-bare-repository")) != "true" || filepath.Clean(f.dir) == filepath.Clean(r.dir) {
		t.Error("the forge has a work tree")
	}
}
