package agenttest

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1" //nolint:gosec // Git's own
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/simulated"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// Person has a key, as people who sign commits have one.
type Person = simulated.Person

// NewPerson makes a person; the same name gives the same key.
func NewPerson(name string) Person { return simulated.NewPerson(name) }

// Head is the commit that the policy branch was pointed at last.
func (c *Cluster) Head() string { return c.head }

// Evaluate evaluates policies as the nodes do.
func (c *Cluster) Evaluate() load.Func { return c.evaluate }

func (c *Cluster) sign(by Person, message []byte, namespace string) string {
	c.t.Helper()
	sig, err := by.Sign(message, namespace)
	if err != nil {
		c.t.Fatal(err)
	}
	return sig
}

// PushSigned is Push of a commit that a person has signed.
func (c *Cluster) PushSigned(by Person, files map[string]string) string {
	c.t.Helper()
	return c.PushAt(simulated.Repository, c.head, by, files)
}

// PushAt makes a signed commit upon a parent, and points the policy branch of one of the cluster's repositories at it: the
// usual one, or one that CopyRemote made. An empty text deletes a file.
func (c *Cluster) PushAt(repository, parent string, by Person, files map[string]string) string {
	c.t.Helper()
	change := gitrepo.Change{Parent: parent, Files: map[string][]byte{}, Message: "change", Author: "ann", Email: "ann@example.org", When: time.Now(),
		Sign: func(commit []byte) (string, error) { return by.Sign(commit, trust.NamespaceCommit) }}
	for path, text := range files {
		change.Files[path] = nil
		if text != "" {
			change.Files[path] = []byte(text)
		}
	}
	store := c.Remote
	if repository != simulated.Repository {
		var err error
		if store, err = gitrepo.OpenStore(filepath.Join(c.Dir, repository), gitrepo.Remote{}); err != nil {
			c.t.Fatal(err)
		}
	}
	signed, err := store.Commit(change)
	if err != nil {
		c.t.Fatal(err)
	}
	c.PointAt(repository, signed)
	if repository == simulated.Repository {
		c.head = signed
	}
	return signed
}

// PointAt points the policy branch of one of the cluster's repositories at a commit, whatever it was at.
func (c *Cluster) PointAt(repository, commit string) {
	c.t.Helper()
	c.setRef(repository, "refs/heads/main", commit)
}

func (c *Cluster) setRef(repository, ref, id string) {
	c.t.Helper()
	path := filepath.Join(c.Dir, repository, filepath.FromSlash(ref))
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(id+"\n"), 0o600)); err != nil {
		c.t.Fatal(err)
	}
}

// writeObject writes an object as Git's own loose ones.
func (c *Cluster) writeObject(repository, kind string, content []byte) string {
	c.t.Helper()
	whole := append(fmt.Appendf(nil, "%s %d\x00", kind, len(content)), content...)
	sum := sha1.Sum(whole) //nolint:gosec // Git's own
	id := hex.EncodeToString(sum[:])
	path := filepath.Join(c.Dir, repository, "objects", id[:2], id[2:])
	var packed bytes.Buffer
	z, err := zlib.NewWriterLevel(&packed, zlib.BestSpeed)
	if err == nil {
		_, err = z.Write(whole)
	}
	if err = errors.Join(err, z.Close(), os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, packed.Bytes(), 0o600)); err != nil {
		c.t.Fatal(err)
	}
	return id
}

// TreeOf is the tree of a commit.
func (c *Cluster) TreeOf(commit string) string {
	c.t.Helper()
	raw, err := c.Remote.Source().Commit(commit)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(raw[5:45])
}

// Approve puts a person's approval of a commit, upon its base, into the remote.
func (c *Cluster) Approve(by Person, fleet, base, commit string) {
	c.t.Helper()
	a := trust.Approval{V: 1, Fleet: fleet, Base: base, Tree: c.TreeOf(commit)}
	a.Sig = c.sign(by, a.Message(), trust.NamespaceApproval)
	c.setRef(simulated.Repository, gitrepo.ApprovalsRef+a.Tree+"/"+by.Name, c.writeObject(simulated.Repository, "blob", a.Encode()))
}

// Beat puts a person's heartbeat of now into the remote.
func (c *Cluster) Beat(by Person, fleet, head string) {
	c.t.Helper()
	h := trust.Heartbeat{V: 1, Fleet: fleet, Head: head, Time: time.Now().UTC().Format(time.RFC3339)}
	h.Sig = c.sign(by, h.Message(), trust.NamespaceHeartbeat)
	c.setRef(simulated.Repository, gitrepo.HeartbeatRef, c.writeObject(simulated.Repository, "blob", h.Encode()))
}

// CopyRemote makes another repository of what the remote is now, below the cluster's folder.
func (c *Cluster) CopyRemote(name string) {
	c.t.Helper()
	if err := copyFolder(filepath.Join(c.Dir, simulated.Repository), filepath.Join(c.Dir, name)); err != nil {
		c.t.Fatal(err)
	}
}
