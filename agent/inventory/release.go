package inventory

import (
	"bytes"
	"errors"
	"io/fs"
	"strconv"

	"github.com/dunlin-dev/dunlin/schema"
)

// release is what a Release file says of its archive.
type release struct {
	origin, label, suite, codename, version string
	notAutomatic, butUpgrades               bool

	text []byte // the stanza, to look up sizes
}

// readRelease finds the archive's Release file in the lists, signed inline or
// not. signed reports whether apt has checked a signature: it keeps InRelease
// and Release.gpg only then. found is false if there is neither file.
func readRelease(t tree, c *aptConf, s *source) (r release, signed, found bool, err error) {
	encode := c.find("Acquire::URIEncode")
	for _, name := range [...]string{"InRelease", "Release"} {
		p := listPath(c, s.listName(name, encode))
		b, err := t.read(p, maxRelease)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return r, false, false, err
		}
		if r, err = parseRelease(b); err != nil {
			return r, false, false, &InputError{Path: p, Hint: hintUpdate, Err: err}
		}
		signed = name == "InRelease" || t.exists(listPath(c, s.listName("Release.gpg", encode)))
		return r, signed, true, nil
	}
	return r, false, false, nil
}

var (
	clearSigned  = []byte("-----BEGIN PGP SIGNED MESSAGE-----")
	signatureEnd = []byte("\n-----BEGIN PGP SIGNATURE-----")
)

// parseRelease reads a Release file, clear-signed or plain.
func parseRelease(b []byte) (release, error) {
	var r release
	if bytes.HasPrefix(b, clearSigned) {
		head := bytes.Index(b, stanzaEnd)
		end := bytes.Index(b, signatureEnd)
		if head < 0 || end < head {
			return r, errors.New("cut off: the signed text does not end")
		}
		b = b[head+2 : end+1]
	}
	for len(b) > 0 && (b[0] == '\n' || b[0] == '\r') {
		b = b[1:]
	}
	if i := bytes.Index(b, stanzaEnd); i >= 0 {
		b = b[:i+1]
	}
	if len(b) == 0 {
		return r, errors.New("the file is empty")
	}
	r.text = b
	it := fields{b: b}
	for {
		k, v, ok, err := it.step()
		if err != nil {
			return r, err
		}
		if !ok {
			return r, nil
		}
		if len(v) > maxValue {
			continue // the lists of checksums
		}
		switch {
		case is(k, "Origin"):
			r.origin = string(v)
		case is(k, "Label"):
			r.label = string(v)
		case is(k, "Suite"):
			r.suite = string(v)
		case is(k, "Codename"):
			r.codename = string(v)
		case is(k, "Version"):
			r.version = string(v)
		case is(k, "NotAutomatic"):
			r.notAutomatic = aptBool(string(v), false)
		case is(k, "ButAutomaticUpgrades"):
			r.butUpgrades = aptBool(string(v), false)
		}
	}
}

// size gives the unpacked size in bytes of a file that the Release file lists.
func (r *release) size(key string) (int64, bool) {
	// " <hash> <size> <key>\n", as in every checksum section
	needle := append(append([]byte{' '}, key...), '\n')
	rest := r.text
	for {
		i := bytes.Index(rest, needle)
		if i < 0 {
			return 0, false
		}
		line := rest[bytes.LastIndexByte(rest[:i], '\n')+1 : i]
		rest = rest[i+1:]
		f := bytes.Fields(line)
		if len(f) != 2 {
			continue
		}
		if n, err := strconv.ParseInt(string(f[1]), 10, 64); err == nil && n >= 0 {
			return n, true
		}
	}
}

// origin is the archive of a component, as facts name it.
func (r *release) originOf(s *source, component string, trusted bool) schema.Origin {
	return schema.Origin{Origin: r.origin, Label: r.label, Suite: r.suite, Codename: r.codename,
		Component: component, Site: s.uri.host, Trusted: trusted}
}
