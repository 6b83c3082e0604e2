// Package file checks and applies managed files: regular files with content,
// mode and owner, or their absence.
//
// A file is never reached through a link, and a link, a second hard link, a
// mount point or anything else that is not a regular file at the path is an
// error, never followed and never replaced. Parents are not made. A file is
// replaced as a whole: a reader, or a crash, sees the old one or the new one.
// Where only the mode differs it is changed in place, and owner first where
// the policy gives no content: else nobody keeps it open who had it before.
//
// Check compares mode and owner, then the size, and reads only what could be
// equal. Of a file of the commit it needs the digest, not the content.
//
// The content of a file that is made of a secret is opened to be written, and
// else never. It is told by a digest with a key of the host: neither its own
// digest, by which it could be guessed, nor its size stand anywhere.
package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// MaxSize is how large a managed file may be, in bytes.
const MaxSize = 1 << 20

// Host is the file system of a host. Paths are absolute and clean.
type Host interface {
	// LookFiles calls found once for each resource, in order, with what is at its path: state, mode
	// as four octal digits, owner and group in the form that the resource uses (number or name), and Content,
	// the resource's own, if it gives one and the file has just that. The blob has the size, and the digest only if
	// the resource has a blob of the same size, or content of the same size that the file has not. Nothing at the
	// path is state absent. The error wraps fs.ErrNotExist where a parent is missing.
	LookFiles(ctx context.Context, rs []schema.Resource, found func(i int, got schema.File, blob schema.Blob, err error))
	// WriteFile puts content at the path, whole or not at all. An empty mode, owner or group is
	// taken from the file that is replaced; a new one gets 0644, root, root.
	WriteFile(ctx context.Context, path string, want schema.File, content []byte) error
	// ChangeFile sets the mode, owner and group that want names, and nothing else.
	ChangeFile(ctx context.Context, path string, want schema.File) error
	// RemoveFile removes a regular file.
	RemoveFile(ctx context.Context, path string) error
}

// Kind checks and applies managed files.
type Kind struct {
	Host Host
	// Content gives the bytes of a file of the commit. Only Apply asks, and checks them against the blob.
	Content func(source string) ([]byte, error)
	// Secrets are the parameters that files are made of (File.ContentFrom); nil has none.
	Secrets Secrets
}

// Secrets are parameters that this host can read.
type Secrets interface {
	// Look gives the size of a parameter's value and its Digest in the place of its SHA-256, or says why this host cannot have it.
	Look(parameter string) (schema.Blob, error)
	// Digest names content for which a parameter is wanted by its SHA-256, in hex, so that it means nothing to who has not the
	// host's key. The same content is another digest for another parameter: nobody tries guesses by parameters of their own.
	Digest(parameter, sum string) (string, error)
	// Open gives the value. It is wiped by done.
	Open(parameter string) (value []byte, done func(), err error)
}

// Check tells for each resource, in order, how the host differs from it. It only reads.
func (k Kind) Check(ctx context.Context, rs []schema.Resource) []schema.Checked {
	out := make([]schema.Checked, len(rs))
	if slices.ContainsFunc(rs, secret) {
		rs = slices.Clone(rs) // they are given a blob
	}
	for i := range rs {
		err := ctx.Err()
		if err == nil {
			err = valid(rs[i])
		}
		if err == nil {
			err = k.lookSecret(&rs[i])
		}
		if err != nil {
			out[i].Err = fmt.Errorf("check file %q: %w", rs[i].Key, err)
		}
	}
	ready := rs
	var index []int // of ready in rs; nil where all are
	if slices.ContainsFunc(out, func(c schema.Checked) bool { return c.Err != nil }) {
		ready = nil
		for i, c := range out {
			if c.Err == nil {
				ready, index = append(ready, rs[i]), append(index, i)
			}
		}
	}
	k.Host.LookFiles(ctx, ready, func(i int, got schema.File, blob schema.Blob, err error) {
		c := &out[i]
		if index != nil {
			c = &out[index[i]]
		}
		if err == nil && secret(ready[i]) && blob.SHA256 != "" {
			blob.SHA256, err = k.Secrets.Digest(ready[i].File.ContentFrom.Parameter, blob.SHA256)
		}
		if c.Drift, err = compare(ready[i], got, blob, err); err != nil {
			c.Err = fmt.Errorf("check file %q: %w", ready[i].Key, err)
		}
	})
	return out
}

// Apply makes each file as wanted and tells for each, in order, why it could not. A file that is
// right already is left alone.
func (k Kind) Apply(ctx context.Context, rs []schema.Resource) []error {
	errs := make([]error, len(rs))
	for i, r := range rs {
		if err := k.apply(ctx, r); err != nil {
			errs[i] = fmt.Errorf("apply file %q: %w", r.Key, err)
		}
	}
	return errs
}

var errAudit = errors.New("is only audited, not enforced")

func (k Kind) apply(ctx context.Context, r schema.Resource) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.Mode == schema.Audit {
		return errAudit
	}
	checked := k.Check(ctx, []schema.Resource{r})[0]
	if checked.Err != nil {
		return errors.Unwrap(checked.Err) // the caller says which file
	}
	if len(checked.Drift) == 0 {
		return nil
	}
	f := *r.File
	if f.State == schema.Absent {
		return k.Host.RemoveFile(ctx, r.Key)
	}
	content, given, err := k.content(r)
	if err != nil {
		return err
	}
	if secret(r) {
		var done func()
		if content, done, err = k.Secrets.Open(f.ContentFrom.Parameter); err != nil {
			return err
		}
		defer done()
		given = true
	}
	// A file that somebody else may still hold open is neither made setuid nor taken from them: it gets a new inode.
	if given && (contentDiffers(checked.Drift) || privileged(f.Mode) || held(checked.Drift)) {
		return k.Host.WriteFile(ctx, r.Key, f, content)
	}
	return k.Host.ChangeFile(ctx, r.Key, f)
}

// content is what the file should hold; given is false if the policy does not say.
func (k Kind) content(r schema.Resource) (b []byte, given bool, err error) {
	switch {
	case r.File.Content != nil:
		return []byte(*r.File.Content), true, nil
	case r.File.Source == "":
		return nil, false, nil
	case k.Content == nil:
		return nil, false, fmt.Errorf("source %q: no commit to read it from", r.File.Source)
	}
	if b, err = k.Content(r.File.Source); err != nil {
		return nil, false, fmt.Errorf("source %q: %w", r.File.Source, err)
	}
	if got := blobOf(b); got != *r.Blob {
		return nil, false, fmt.Errorf("source %q: has %s, %d bytes, the policy was judged with %s, %d bytes",
			r.File.Source, digest(got.SHA256), got.Size, digest(r.Blob.SHA256), r.Blob.Size)
	}
	return b, true, nil
}

// valid checks once more what validation has checked: from here on root acts on it.
func valid(r schema.Resource) error {
	f := r.File
	switch {
	case f == nil:
		return errors.New("the resource says nothing about a file")
	case f.State == schema.Absent:
		return nil
	case f.State != schema.Present:
		return fmt.Errorf("state %q is neither present nor absent", f.State)
	case f.Content != nil && f.Source != "":
		return errors.New("content and source are alternatives")
	case f.Content != nil && len(*f.Content) > MaxSize:
		return fmt.Errorf("content of %d bytes is over %d", len(*f.Content), MaxSize)
	case f.ContentFrom != nil && (f.Content != nil || f.Source != ""):
		return errors.New("content or source, and contentFrom, are alternatives")
	case f.Source != "" && r.Blob == nil:
		return fmt.Errorf("source %q: its digest is not known", f.Source)
	case f.Source != "" && (r.Blob.Size > MaxSize || len(r.Blob.SHA256) != 2*sha256.Size):
		return fmt.Errorf("source %q: %d bytes with digest %q is not a file of at most %d bytes", f.Source, r.Blob.Size, r.Blob.SHA256, MaxSize)
	}
	return nil
}

// compare gives at most one difference, which names only what differs.
func compare(r schema.Resource, got schema.File, blob schema.Blob, err error) (schema.Drift, error) {
	want := r.File
	if want.State == schema.Absent {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil // no parent, no file
		case err != nil:
			return nil, err
		case got.State == schema.Absent:
			return nil, nil
		}
		if want.ContentFrom != nil || private(got) {
			return schema.Drift{{Action: schema.Delete, Got: "mode " + got.Mode}}, nil
		}
		return schema.Drift{{Action: schema.Delete, Got: fmt.Sprintf("%d bytes, mode %s", blob.Size, got.Mode)}}, nil
	}
	if err != nil {
		return nil, err
	}
	if got.State == schema.Absent {
		b := wanted(r)
		if b == nil {
			return nil, errors.New("does not exist, and the policy gives no content for it")
		}
		return schema.Drift{{Action: schema.Create, Want: list(shown(r, b.SHA256), word("mode", want.Mode), word("owner", want.Owner), word("group", want.Group))}}, nil
	}
	var w, g []string
	if want.Content == nil || got.Content == nil {
		if b := wanted(r); b != nil && *b != blob {
			w, g = append(w, shown(r, b.SHA256)), append(g, shown(r, blob.SHA256))
			if private(got) && !secret(r) {
				g[0] = "other content"
			} else if b.Size != blob.Size && !secret(r) {
				w[0], g[0] = fmt.Sprintf("%s (%d bytes)", digest(b.SHA256), b.Size), fmt.Sprintf("%d bytes", blob.Size)
			}
		}
	}
	for _, a := range [...]struct{ name, want, got string }{
		{"mode", want.Mode, got.Mode}, {"owner", want.Owner, got.Owner}, {"group", want.Group, got.Group},
	} {
		if a.want != "" && a.want != a.got {
			w, g = append(w, word(a.name, a.want)), append(g, word(a.name, a.got))
		}
	}
	if w == nil {
		return nil, nil
	}
	return schema.Drift{{Action: schema.Update, Want: strings.Join(w, ", "), Got: strings.Join(g, ", ")}}, nil
}

// wanted is the blob that the file should be, or nil where the policy does not say.
func wanted(r schema.Resource) *schema.Blob {
	if r.File.Content != nil {
		b := blobOf([]byte(*r.File.Content))
		return &b
	}
	return r.Blob
}

// contentDiffers tells from the texts that compare wrote whether content is to be written.
func contentDiffers(d schema.Drift) bool {
	return d[0].Action == schema.Create || strings.HasPrefix(d[0].Want, digestPrefix) || strings.HasPrefix(d[0].Want, keyedPrefix)
}

// held tells from the texts that compare wrote whether others than those who are to own a file could write it, and may have
// it open still.
func held(d schema.Drift) bool {
	for word := range strings.SplitSeq(d[0].Got, ", ") {
		name, value, _ := strings.Cut(word, " ")
		if name == "owner" || name == "group" || name == "mode" && len(value) == 4 && strings.ContainsAny(value[2:], "2367") {
			return true
		}
	}
	return false
}

// privileged reports whether a mode lends the rights of owner or group to who runs the file.
func privileged(mode string) bool {
	return len(mode) == 4 && strings.ContainsRune("234567", rune(mode[0]))
}

const (
	digestPrefix = "sha256:"
	keyedPrefix  = "keyed:" // by Secrets.Digest
)

// secret reports whether a file is made of a parameter that only some hosts can read.
func secret(r schema.Resource) bool {
	return r.File != nil && r.File.ContentFrom != nil && r.File.State != schema.Absent
}

// private reports whether not everybody on the host may read a file. It may have been made of a secret: neither digest nor
// size of what is in it are told.
func private(got schema.File) bool {
	return len(got.Mode) == 4 && (got.Mode[3]-'0')&4 == 0
}

// lookSecret gives a file that is made of a secret the blob that it should be.
func (k Kind) lookSecret(r *schema.Resource) error {
	if !secret(*r) {
		return nil
	}
	if k.Secrets == nil {
		return fmt.Errorf("parameter %q: no secrets can be read here", r.File.ContentFrom.Parameter)
	}
	b, err := k.Secrets.Look(r.File.ContentFrom.Parameter)
	if err != nil {
		return err
	}
	r.Blob = &b
	return nil
}

// shown is the digest of content as people may see it.
func shown(r schema.Resource, sum string) string {
	switch {
	case !secret(r):
		return digest(sum)
	case sum == "":
		return "other content" // of another size, which would tell how long the secret is not
	}
	return keyedPrefix + sum[:min(len(sum), 12)] + "…"
}

// digest shortens a digest to what people compare by eye.
func digest(hex string) string {
	if len(hex) > 12 {
		hex = hex[:12] + "…"
	}
	return digestPrefix + hex
}

func blobOf(b []byte) schema.Blob {
	sum := sha256.Sum256(b)
	return schema.Blob{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(b))}
}

func word(name, value string) string {
	if value == "" {
		return ""
	}
	return name + " " + value
}

// list joins the words that are not empty.
func list(words ...string) string {
	var b strings.Builder
	for _, w := range words {
		if w == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(w)
	}
	return b.String()
}
