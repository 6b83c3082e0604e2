package gitrepo_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
)

// Who reads a repository while others push to it sees one commit or the next, never half of one.
func TestARepositoryIsReadWhileOthersPush(t *testing.T) {
	dir := t.TempDir()
	remote := filepath.Join(dir, "remote.git")
	if _, err := gitrepo.OpenStore(remote, gitrepo.Remote{}); err != nil {
		t.Fatal(err)
	}
	store, err := gitrepo.OpenStore(filepath.Join(dir, "store.git"), gitrepo.Remote{URL: "file://" + filepath.ToSlash(remote), Branch: "main"})
	if err != nil {
		t.Fatal(err)
	}
	pushed := make(chan error, 1)
	first := make(chan struct{})
	go func() {
		head := ""
		for i := range 20 {
			commit, err := store.Commit(gitrepo.Change{Parent: head, Files: map[string][]byte{"n": fmt.Appendf(nil, "%d\n", i)}, Message: "n",
				Author: "ann", Email: "ann@example.org", When: time.Unix(1_700_000_000+int64(i), 0)})
			if err == nil {
				err = store.Push(t.Context(), "main", commit, head)
			}
			if err != nil {
				pushed <- err
				return
			}
			if head == "" {
				close(first)
			}
			head = commit
		}
		pushed <- nil
	}()
	select {
	case <-first:
	case err := <-pushed:
		t.Fatal(err)
	}
	for {
		tree, _, err := gitrepo.OpenRef(remote, "refs/heads/main")
		if err == nil {
			_, err = fs.ReadFile(tree, "n")
		}
		if err != nil {
			t.Error(err)
		}
		select {
		case err := <-pushed:
			if err != nil {
				t.Error(err)
			}
			return
		default:
			if t.Failed() {
				<-pushed
				return
			}
		}
	}
}
