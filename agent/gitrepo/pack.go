package gitrepo

import (
	"bufio"
	"compress/zlib"
	"context"
	"crypto/sha1" //nolint:gosec // the format's own checksum
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// Limits of a pack from outside.
const (
	// MaxPack is the largest pack taken, in bytes.
	MaxPack = 64 << 20

	maxObject    = 32 << 20 // bytes of one object, inflated
	maxInflated  = 1 << 30  // bytes of all objects, inflated
	maxObjects   = 500_000
	maxRefDeltas = 50_000 // their depth cannot be known before the hashes are
	maxDepth     = 4095   // of a delta chain; Git's own limit
	tempPrefix   = "tmp_dunlin_"
)

// receive writes a pack to a temporary file in dir/objects/pack, bounded, and checks it before any library reads it.
func receive(ctx context.Context, dir string, r io.Reader) (_ *os.File, err error) {
	f, err := os.CreateTemp(filepath.Join(dir, "objects", "pack"), tempPrefix)
	if err != nil {
		return nil, fmt.Errorf("receive pack: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	n, err := io.Copy(f, io.LimitReader(ctxReader{ctx, r}, MaxPack+1))
	if err != nil {
		return nil, fmt.Errorf("receive pack: %w", err)
	}
	if n > MaxPack {
		return nil, fmt.Errorf("receive pack: more than %d MiB: %w; take large files out of the repository", MaxPack>>20, ErrTooLarge)
	}
	if err := checkPack(f, n); err != nil {
		return nil, fmt.Errorf("receive pack: %w", err)
	}
	return f, nil
}

// ctxReader ends a copy when the context does.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

var errPack = errors.New("malformed pack")

// checkPack reads a whole pack without keeping any of it: checksum, counts, sizes, depth of deltas. What passes can be
// indexed in bounded memory.
func checkPack(f io.ReaderAt, size int64) error { return checkPackOf(f, size, maxInflated) }

// checkPackOf is checkPack of at most so many bytes, inflated.
func checkPackOf(f io.ReaderAt, size, most int64) error {
	if size < 32 {
		return fmt.Errorf("%d bytes: %w", size, errPack)
	}
	sum := sha1.New() //nolint:gosec // see above
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, size-20)); err != nil {
		return err
	}
	var head [12]byte
	var trailer [20]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return err
	}
	if _, err := f.ReadAt(trailer[:], size-20); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if string(head[:4]) != "PACK" || binary.BigEndian.Uint32(head[4:]) != 2 {
		return fmt.Errorf("not a pack of version 2: %w", errPack)
	}
	if string(sum.Sum(nil)) != string(trailer[:]) {
		return fmt.Errorf("checksum differs: %w", errPack)
	}
	count := binary.BigEndian.Uint32(head[8:])
	if count > maxObjects {
		return fmt.Errorf("%d objects, more than %d: %w", count, maxObjects, ErrTooLarge)
	}
	c := packCheck{in: &counter{r: bufio.NewReader(io.NewSectionReader(f, 12, size-32))}, depth: map[int64]int{}, most: most}
	for i := range count {
		if err := c.object(); err != nil {
			if errors.Is(err, ErrTooLarge) {
				return fmt.Errorf("object %d of the pack: %w", i, err)
			}
			return fmt.Errorf("object %d of the pack: %w: %w", i, errPack, err)
		}
	}
	if _, err := c.in.ReadByte(); err != io.EOF {
		return fmt.Errorf("bytes after the last object: %w", errPack)
	}
	return nil
}

// counter is a bufio.Reader that knows how far it is. It does not embed one: io.Copy would find its WriteTo, and read past the count.
type counter struct {
	r *bufio.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counter) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

type packCheck struct {
	in        *counter
	z         io.ReadCloser
	depth     map[int64]int // of objects that are deltas, by where they begin
	total     int64
	most      int64 // of total
	refDeltas int
}

func (c *packCheck) object() error {
	at := c.in.n
	b, err := c.in.ReadByte()
	if err != nil {
		return err
	}
	kind := plumbing.ObjectType(b >> 4 & 7)
	size := int64(b & 15)
	for shift := 4; b&0x80 != 0; shift += 7 {
		if b, err = c.in.ReadByte(); err != nil {
			return err
		}
		if shift > 40 {
			return ErrTooLarge
		}
		size |= int64(b&0x7f) << shift
	}
	switch kind {
	case plumbing.CommitObject, plumbing.TreeObject, plumbing.BlobObject, plumbing.TagObject:
	case plumbing.OFSDeltaObject:
		if err := c.base(at); err != nil {
			return err
		}
	case plumbing.REFDeltaObject:
		if c.refDeltas++; c.refDeltas > maxRefDeltas {
			return fmt.Errorf("more than %d deltas by name: %w", maxRefDeltas, ErrTooLarge)
		}
		if _, err := io.CopyN(io.Discard, c.in, 20); err != nil {
			return err
		}
	default:
		return fmt.Errorf("unknown type %d", kind)
	}
	return c.content(size, kind.IsDelta())
}

// base reads how far back an object's base begins, and bounds the chain.
func (c *packCheck) base(at int64) error {
	b, err := c.in.ReadByte()
	if err != nil {
		return err
	}
	back := int64(b & 0x7f)
	for b&0x80 != 0 {
		if b, err = c.in.ReadByte(); err != nil {
			return err
		}
		if back > MaxPack {
			return errors.New("base before the pack")
		}
		back = (back+1)<<7 | int64(b&0x7f)
	}
	if back <= 0 || back > at {
		return errors.New("base before the pack")
	}
	d := c.depth[at-back] + 1
	if d > maxDepth {
		return fmt.Errorf("a chain of more than %d deltas: %w", maxDepth, ErrTooLarge)
	}
	c.depth[at] = d
	return nil
}

// content inflates one object to nowhere, never more than it declares.
func (c *packCheck) content(size int64, delta bool) (err error) {
	if size > maxObject {
		return fmt.Errorf("%d bytes, more than %d MiB: %w", size, maxObject>>20, ErrTooLarge)
	}
	if c.z == nil {
		c.z, err = zlib.NewReader(c.in)
	} else {
		err = c.z.(zlib.Resetter).Reset(c.in, nil)
	}
	if err != nil {
		return err
	}
	full := size
	body := &counter{r: bufio.NewReaderSize(io.LimitReader(c.z, size+1), 4096)}
	if delta {
		if _, err := binary.ReadUvarint(body); err != nil {
			return err
		}
		to, err := binary.ReadUvarint(body)
		if err != nil {
			return err
		}
		if to > maxObject {
			return fmt.Errorf("%d bytes, more than %d MiB: %w", to, maxObject>>20, ErrTooLarge)
		}
		full = max(full, int64(to))
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		return err
	}
	if body.n != size {
		return fmt.Errorf("%d bytes where %d were declared", body.n, size)
	}
	if c.total += full; c.total > c.most {
		return fmt.Errorf("more than %d MiB inflated: %w", c.most>>20, ErrTooLarge)
	}
	return nil
}

// keep indexes a checked pack and gives both files their names, durably, index first: who reads the folder meanwhile takes
// the pack's name for a sign that both are there, and an index alone is not looked at. It gives the path without extension, "" for a pack of nothing. f is closed and gone in every case.
func keep(dir string, f *os.File, mode os.FileMode) (path string, err error) {
	defer func() { _ = f.Close(); _ = os.Remove(f.Name()) }()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("index pack: %w", err)
	}
	var head [12]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return "", fmt.Errorf("index pack: %w", err)
	}
	if binary.BigEndian.Uint32(head[8:]) == 0 {
		return "", nil
	}
	iw := new(idxfile.Writer)
	parser, err := packfile.NewParser(packfile.NewScanner(f), iw)
	if err != nil {
		return "", fmt.Errorf("index pack: %w", err)
	}
	sum, err := parser.Parse()
	if err != nil {
		return "", fmt.Errorf("index pack: %w: %w", errPack, err)
	}
	idx, err := iw.Index()
	if err != nil {
		return "", fmt.Errorf("index pack: %w", err)
	}
	path = filepath.Join(dir, "objects", "pack", "pack-"+sum.String())
	if _, err := os.Stat(path + ".pack"); err == nil {
		return path, nil
	}
	fi, err := os.CreateTemp(filepath.Dir(path), tempPrefix)
	if err != nil {
		return "", fmt.Errorf("index pack: %w", err)
	}
	ready := fi.Name()
	drop := func() { _ = fi.Close(); _ = os.Remove(ready) }
	w := bufio.NewWriter(fi)
	if _, err = idxfile.NewEncoder(w).Encode(idx); err == nil {
		err = w.Flush()
	}
	if err != nil {
		drop()
		return "", fmt.Errorf("index pack: %w", err)
	}
	if err := finish(fi, path+".idx", mode, func() error { return nil }); err != nil {
		return "", err
	}
	if err := finish(f, path+".pack", mode, func() error { return nil }); err != nil {
		_ = os.Remove(path + ".idx")
		return "", err
	}
	return path, nil
}

// writePack streams the named objects, whole and in order. No deltas: they cost memory, and what is packed here is small.
func writePack(ctx context.Context, w io.Writer, st storer.EncodedObjectStorer, list []plumbing.Hash) error {
	sum := sha1.New() //nolint:gosec // see above
	out := io.MultiWriter(w, sum)
	head := []byte("PACK\x00\x00\x00\x02")
	head = binary.BigEndian.AppendUint32(head, uint32(len(list)))
	if _, err := out.Write(head); err != nil {
		return err
	}
	z := zlib.NewWriter(out)
	for _, h := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := writeObject(out, z, st, h); err != nil {
			return fmt.Errorf("pack object %s: %w", h, err)
		}
	}
	return trailer(w, sum)
}

func trailer(w io.Writer, sum hash.Hash) error { _, err := w.Write(sum.Sum(nil)); return err }

func writeObject(out io.Writer, z *zlib.Writer, st storer.EncodedObjectStorer, h plumbing.Hash) error {
	o, err := st.EncodedObject(plumbing.AnyObject, h)
	if err != nil {
		return err
	}
	size := o.Size()
	b := []byte{byte(o.Type())<<4 | byte(size&15)}
	for size >>= 4; size > 0; size >>= 7 {
		b[len(b)-1] |= 0x80
		b = append(b, byte(size&0x7f))
	}
	if _, err := out.Write(b); err != nil {
		return err
	}
	r, err := o.Reader()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	z.Reset(out)
	if _, err := io.Copy(z, r); err != nil {
		return err
	}
	return z.Close()
}

// Pack writes what a peer needs that has commit have and wants commit want: the commits between them, the folders of
// each on want's first-parent line, with which its steps can be judged, and the files of want that have has not. All of
// it where have is "" or not known here.
func (s *Store) Pack(ctx context.Context, w io.Writer, want, have string) error {
	return s.PackSince(ctx, w, want, have, "")
}

// PackSince is Pack for a peer whose history begins at commit since: without what comes before that.
func (s *Store) PackSince(ctx context.Context, w io.Writer, want, have, since string) error {
	h, err := hash40(want)
	if err != nil {
		return err
	}
	var old, from plumbing.Hash
	if have != "" {
		if old, err = hash40(have); err != nil {
			return err
		}
	}
	if since != "" {
		if from, err = hash40(since); err != nil {
			return err
		}
	}
	list, err := between(ctx, s.objects(), h, old, trees, from)
	if err != nil {
		return fmt.Errorf("pack %s: %w", want, err)
	}
	return writePack(ctx, w, s.objects(), list)
}

// Ingest takes a pack of at most MaxPack bytes from r and keeps it only if the commit want is then here with all its files,
// and with its history: back to have, which this store holds, or to its beginning, or to where the store's begins. have is
// "" where it holds nothing yet.
func (s *Store) Ingest(ctx context.Context, r io.Reader, want, have string) error {
	h, err := hash40(want)
	if err != nil {
		return err
	}
	check := func() error { return nil }
	old := s.to.since
	if have != "" {
		if old, err = hash40(have); err != nil {
			return err
		}
	}
	if !old.IsZero() {
		check = func() error { return joined(ctx, s.st, h, old, s.endings()) }
	}
	if err := s.addIf(ctx, r, h, check); err != nil {
		return fmt.Errorf("take commit %s from a peer: %w", want, err)
	}
	return nil
}

// joined says whether what lies between a commit and one before it is here; a history that does not come by there is whole,
// or goes back to one of ends.
func joined(ctx context.Context, st storer.EncodedObjectStorer, want, have plumbing.Hash, ends []plumbing.Hash) error {
	found := false
	var missing plumbing.Hash
	err := ancestors(ctx, st, want, func(c *object.Commit) bool {
		found = c.Hash == have
		for _, p := range c.ParentHashes {
			if st.HasEncodedObject(p) != nil && !slices.Contains(ends, c.Hash) {
				missing = p
			}
		}
		return !found
	})
	if err != nil || found || missing.IsZero() {
		return err
	}
	return fmt.Errorf("history of %s: commit %s is not here: %w", want, missing, plumbing.ErrObjectNotFound)
}

// add takes a pack into the store, and out again where want is not whole with it.
func (s *Store) add(ctx context.Context, r io.Reader, want plumbing.Hash) error {
	return s.addIf(ctx, r, want, func() error { return nil })
}

// addIf is add that also asks check, which is called with mu held. ends is where history ends in the pack.
func (s *Store) addIf(ctx context.Context, r io.Reader, want plumbing.Hash, check func() error, ends ...plumbing.Hash) error {
	f, err := receive(ctx, s.dir, r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.packs()
	if since := s.to.since; !since.IsZero() && s.st.HasEncodedObject(since) != nil {
		ends = append(slices.Clone(ends), since) // it may come now
	}
	path, err := keep(s.dir, f, 0o600)
	if err != nil {
		return err
	}
	s.reopen()
	if err = s.whole(ctx, s.st, want); err == nil {
		err = check()
	}
	if err == nil {
		err = s.bound(ends...)
	}
	if err != nil {
		if path != "" && !before[path] {
			s.sound.Store(nil)
			_ = os.Remove(path + ".pack")
			_ = os.Remove(path + ".idx")
			s.reopen()
		}
		return err
	}
	if len(before) >= maxPacks || s.loose() > s.loosest {
		// The commit is here. What keeps the store from being repacked shows in Repack, and again at the next pack.
		_ = s.repack(ctx, want)
	}
	return nil
}

// loose is how many bytes of packs a repack could save at most: all but those of the largest, which is the last repack's, or
// the first fetch. A peer may put into a pack what nobody needs. The caller holds mu.
func (s *Store) loose() int64 {
	var sum, largest int64
	for p := range s.packs() {
		if info, err := os.Stat(p + ".pack"); err == nil {
			sum += info.Size()
			largest = max(largest, info.Size())
		}
	}
	return sum - largest
}

// packs are the store's packs, each as its path without extension; the caller holds mu.
func (s *Store) packs() map[string]bool {
	names, _ := filepath.Glob(filepath.Join(s.dir, "objects", "pack", "pack-*.pack"))
	out := map[string]bool{}
	for _, n := range names {
		out[strings.TrimSuffix(n, ".pack")] = true
	}
	return out
}

// Repack writes what the references need into one pack and removes all others. All commits stay; of their files, those
// of each reference's last kept commits, so that a store does not grow with the history of its files.
func (s *Store) Repack() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.repack(context.Background())
}

// hash40 reads a full commit name: 40 lower-case hex characters.
func hash40(name string) (plumbing.Hash, error) {
	if len(name) != 40 || strings.Trim(name, "0123456789abcdef") != "" {
		return plumbing.ZeroHash, fmt.Errorf("%q is not a full commit hash", clip(name))
	}
	b, err := hex.DecodeString(name)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	return plumbing.Hash(b), nil
}
