package gitrepo

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
)

// Right is what a remote says of a credential and a branch.
type Right struct {
	// May is true where the credential could move the branch, as far as the remote tells.
	May bool
	// Sure is false where what the remote says is not understood; May means nothing then.
	Sure bool
	// Says is the remote's own words, or this package's where it was not asked.
	Says string
}

// MayPush asks a remote whether its credential could move the branch, and changes nothing: it asks to create the branch,
// which is there already, at the commit where it is. Who has no right is refused for that, by the remote's access
// rights, its protected branches or its hooks, all of which come before; who has it is refused because the branch exists.
// Git itself and the large forges judge in that order. A server that looked at the branch first would seem to allow what it
// does not, never the other way. Its hooks before a push run, and none of those after one.
//
// A folder (file://) knows no credentials: Sure is false. The error wraps ErrUnreachable, ErrUnknownHost or ErrNoBranch
// where nothing could be asked.
func MayPush(ctx context.Context, r Remote) (Right, error) {
	to, err := parseRemote(r)
	if err != nil {
		return Right{}, err
	}
	ref, err := branchRef(r.Branch)
	if err != nil {
		return Right{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	var c interface {
		conn
		ask(ctx context.Context, request []byte) (io.ReadCloser, error)
	}
	switch to.scheme {
	case "https":
		var h conn
		if h, err = openHTTPS(to, "git-receive-pack"); err == nil {
			c = h.(*httpsRemote)
		}
	case "ssh":
		var h conn
		if h, err = openSSH(ctx, to, "git-receive-pack"); err == nil {
			c = h.(*sshRemote)
		}
	default:
		return Right{Says: "a folder knows no credentials: who may write it may move its branches"}, nil
	}
	if err != nil {
		return refusedOr(to, err)
	}
	defer c.close()
	refs, _, err := c.refs(ctx)
	if err != nil {
		return refusedOr(to, err)
	}
	head, ok := refs[ref.String()]
	if !ok {
		return Right{}, to.fail("ask", fmt.Errorf("%w %q", ErrNoBranch, ref.Short()))
	}
	body, err := c.ask(ctx, createRequest(ref, head))
	if err != nil {
		return refusedOr(to, err)
	}
	defer func() { _ = body.Close() }()
	says, err := readVerdict(body, ref)
	if err != nil {
		return refusedOr(to, err)
	}
	return rightOf(says), nil
}

// refusedOr takes an access that is refused for an answer, and all else for an error.
func refusedOr(to target, err error) (Right, error) {
	if errors.Is(err, ErrAuth) {
		return Right{Sure: true, Says: err.Error()}, nil
	}
	return Right{}, to.fail("ask", err)
}

// createRequest asks to create a reference at a commit that the remote has: with an empty pack.
func createRequest(ref plumbing.ReferenceName, commit plumbing.Hash) []byte {
	var b bytes.Buffer
	e := pktline.NewEncoder(&b)
	_ = e.Encodef("%s %s %s\x00 report-status %s\n", plumbing.ZeroHash, commit, ref, agentName) // a buffer takes all
	_ = e.Flush()
	pack := binary.BigEndian.AppendUint32([]byte("PACK"), 2)
	pack = binary.BigEndian.AppendUint32(pack, 0)
	sum := sha1.Sum(pack)
	b.Write(pack)
	b.Write(sum[:])
	return b.Bytes()
}

// readVerdict is what the report of a push says of its one reference: "ok", or the words after "ng".
func readVerdict(r io.Reader, ref plumbing.ReferenceName) (string, error) {
	scan := pktline.NewScanner(io.LimitReader(r, 1<<20))
	for scan.Scan() {
		line := strings.TrimSuffix(string(scan.Bytes()), "\n")
		if line == "ok "+ref.String() {
			return "ok", nil
		}
		if words, is := strings.CutPrefix(line, "ng "+ref.String()+" "); is {
			return words, nil
		}
		if words, is := strings.CutPrefix(line, "unpack "); is && words != "ok" {
			return words, nil
		}
	}
	if err := scan.Err(); err != nil {
		return "", notGit(err)
	}
	return "", notGit(io.ErrUnexpectedEOF)
}

// rightOf understands a server's verdict. What refuses a right is looked for first: some servers say both.
func rightOf(says string) Right {
	low := strings.ToLower(says)
	r := Right{Sure: true, Says: clip(says)}
	switch {
	case says == "ok":
		r.May = true
	case containsAny(low, "declined", "denied", "not allowed", "protected", "permission", "unauthorized", "forbidden", "prohibited", "read only", "read-only", "not permitted", "rule violation"):
	case containsAny(low, "exists", "failed to update ref", "cannot lock ref", "failed to lock", "fetch first", "stale info", "non-fast-forward", "incorrect old value"):
		r.May = true
	default:
		r.Sure = false
	}
	return r
}

func (h *httpsRemote) ask(ctx context.Context, request []byte) (io.ReadCloser, error) {
	return h.post(ctx, bytes.NewReader(request), int64(len(request)))
}

func (r *sshRemote) ask(_ context.Context, request []byte) (io.ReadCloser, error) {
	// A server that refuses stops reading: what it says then counts more than the broken pipe.
	_, _ = r.in.Write(request)
	_ = r.in.Close()
	b, err := io.ReadAll(io.LimitReader(r.out, 1<<20))
	if err == nil && len(b) == 0 {
		err = notGit(io.ErrUnexpectedEOF)
	}
	return io.NopCloser(bytes.NewReader(b)), r.explain(err)
}
