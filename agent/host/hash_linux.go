package host

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"

	"golang.org/x/sys/unix"
)

// reader reads files through one buffer.
type reader struct {
	sum hash.Hash
	buf []byte
}

// digest hashes a file of the size that was seen, in lower-case hex. A file that grows meanwhile is
// seen by the next pass.
func (r *reader) digest(folder int, base string, size int64) (string, error) {
	if r.sum == nil {
		r.sum = sha256.New()
	}
	r.sum.Reset()
	err := r.read(folder, base, size, func(b []byte) bool {
		r.sum.Write(b)
		return true
	})
	if err != nil {
		return "", err
	}
	var sum [sha256.Size]byte
	return hex.EncodeToString(r.sum.Sum(sum[:0])), nil
}

// is reports whether a file, seen to have the size of content, has just that, and its digest if not.
func (r *reader) is(folder int, base string, content string) (same bool, digest string, err error) {
	rest := content
	same = true
	err = r.read(folder, base, int64(len(content)), func(b []byte) bool {
		same = rest[:len(b)] == string(b)
		rest = rest[len(b):]
		return same
	})
	if err == nil && !same {
		digest, err = r.digest(folder, base, int64(len(content)))
	}
	return same && err == nil, digest, err
}

// read gives take the first size bytes of a file, until it returns false.
func (r *reader) read(folder int, base string, size int64, take func([]byte) bool) error {
	if r.buf == nil {
		r.buf = make([]byte, 64<<10)
	}
	// Not openFile: this reads only, and what a name swapped meanwhile leads to is something else
	// or is what was wanted. Neither links nor pipes get it anywhere.
	fd, err := unix.Openat(folder, base, readFlags, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for size > 0 {
		n, err := unix.Read(fd, r.buf[:min(size, int64(len(r.buf)))])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return errChanged
		}
		if !take(r.buf[:n]) {
			return nil
		}
		size -= int64(n)
	}
	return nil
}
