package trust

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// MaxCommit is the largest commit object that is read, in bytes.
const MaxCommit = 64 << 10

// maxParents is of a commit; an octopus merge says nothing that two merges do not.
const maxParents = 2

// Commit is a commit object in strict canonical form.
type Commit struct {
	ID      string // hex SHA-1 of the object
	Tree    string
	Parents []string
	// When is the committer's time, to the second.
	When time.Time
	// Payload is what a signature is over: the object without the header gpgsig.
	Payload []byte
	// Signature is the armour in the header gpgsig, of whatever kind; empty where there is none.
	Signature []byte
	left      bool // Payload and Signature were left out, to save memory
}

// FormError says why an object is no commit in canonical form.
type FormError struct {
	ID     string
	Reason string
}

func (e *FormError) Error() string {
	return fmt.Sprintf("commit %s is not in canonical form: %s", short(e.ID), e.Reason)
}

func short(id string) string { return id[:min(12, len(id))] }

// ident is a name, an address, seconds since 1970 and a zone, as Git writes them.
var ident = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[^<>\x00-\x1f\x7f]* ?<[^<>\x00-\x1f\x7f]*> (0|[1-9][0-9]{0,11}) [+-](0[0-9]|1[0-4])[0-5][0-9]$`)
})

// ParseCommit reads the raw bytes of a commit object (gitformat-commit(5)), which the caller has seen to have that id.
//
// One reading must be the only one: Git, a forge and this program would else see another tree or parent in one object,
// and a signature over one of them would stand for the other. So what Git would never write is refused: another order
// or repetition of headers, headers that it does not have, another encoding, NUL, what is not UTF-8.
func ParseCommit(id string, raw []byte) (Commit, error) {
	c := Commit{ID: id}
	fail := func(format string, a ...any) (Commit, error) {
		return Commit{}, &FormError{ID: id, Reason: fmt.Sprintf(format, a...)}
	}
	switch {
	case len(raw) > MaxCommit:
		return fail("%d bytes, more than %d", len(raw), MaxCommit)
	case bytes.IndexByte(raw, 0) >= 0:
		return fail("it has a NUL byte")
	case !utf8.Valid(raw):
		return fail("it is not UTF-8")
	}
	rest := raw
	line := func() (string, bool) {
		l, more, ok := bytes.Cut(rest, []byte("\n"))
		if ok {
			rest = more
		}
		return string(l), ok
	}
	header := func(name string) (string, bool) {
		if !bytes.HasPrefix(rest, []byte(name+" ")) {
			return "", false
		}
		l, ok := line()
		return l[min(len(name)+1, len(l)):], ok
	}
	var ok bool
	if c.Tree, ok = header("tree"); !ok || !isID(c.Tree) {
		return fail("it does not begin with a tree")
	}
	for {
		p, ok := header("parent")
		if !ok {
			break
		}
		if !isID(p) {
			return fail("a parent is no object id")
		}
		for _, other := range c.Parents {
			if other == p {
				return fail("a parent is named twice")
			}
		}
		if c.Parents = append(c.Parents, p); len(c.Parents) > maxParents {
			return fail("more than %d parents", maxParents)
		}
	}
	author, ok := header("author")
	if !ok || !ident().MatchString(author) {
		return fail("no author, or one that Git does not write")
	}
	committer, ok := header("committer")
	if !ok || !ident().MatchString(committer) {
		return fail("no committer, or one that Git does not write")
	}
	c.When = identTime(committer)
	before := len(raw) - len(rest)
	if first, ok := header("gpgsig"); ok {
		sig := []byte(first)
		for bytes.HasPrefix(rest, []byte(" ")) {
			l, ok := line()
			if !ok {
				return fail("the signature does not end")
			}
			sig = append(append(sig, '\n'), l[1:]...)
		}
		c.Signature = sig
	}
	after := len(raw) - len(rest)
	if !bytes.HasPrefix(rest, []byte("\n")) {
		l, _ := line()
		name, _, _ := bytes.Cut([]byte(l), []byte(" "))
		return fail("the header %q is not taken; there are tree, parent, author, committer and gpgsig, in this order", clip(string(name)))
	}
	c.Payload = append(append(make([]byte, 0, len(raw)-(after-before)), raw[:before]...), raw[after:]...)
	return c, nil
}

// isID reports whether a text is the id of an object: 40 lower-case hex digits.
func isID(s string) bool {
	if len(s) != 40 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func identTime(ident string) time.Time {
	words := ident[bytes.LastIndexByte([]byte(ident), '>')+2:]
	seconds, _, _ := bytes.Cut([]byte(words), []byte(" "))
	n, err := strconv.ParseInt(string(seconds), 10, 64)
	if err != nil {
		return time.Time{} // the pattern has digits only
	}
	return time.Unix(n, 0).UTC()
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}
