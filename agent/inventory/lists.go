package inventory

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/ulikunitz/xz"
)

// list is a Packages file that is on the host.
type list struct {
	path    string // as on the host
	packing string // "", "gz", "lz4", "xz"
	archive archiveInfo
	source  *source
	trusted bool
	want    int64 // bytes unpacked, by the Release file; -1 if it does not say
	prio    int   // of the archive, after pins
}

// entry is one version of an installed package in one list.
type entry struct {
	pkg                           int32 // index of an installed package of the name and architecture
	list                          int32
	version, arch                 string
	source, sourceVer, prio, sect string
	phased                        int // percentage
	identity                      identity
}

// packings are the forms in which apt may keep a list, in the order it looks.
var packings = [...]string{"", "zst", "xz", "bz2", "lzma", "gz", "lz4"}

// findLists opens nothing: it says which of the configured lists are there.
func findLists(t tree, c *aptConf, s *source, rel *release, found, trusted bool) ([]*list, error) {
	encode := c.find("Acquire::URIEncode")
	var out []*list
	for _, ix := range s.indexes {
		base := listPath(c, s.listName(ix.key, encode))
		for _, pack := range packings {
			p := base
			if pack != "" {
				p += "." + pack
			}
			if !t.exists(p) {
				continue
			}
			switch pack {
			case "zst", "bz2", "lzma":
				return nil, &InputError{Path: p, Hint: `set Acquire::GzipIndexes "false"; in apt.conf and run apt-get update`,
					Err: fmt.Errorf("packed as %s, which is not read", pack)}
			}
			_, arch, _ := strings.Cut(ix.key, "/binary-")
			arch, _, _ = strings.Cut(arch, "/")
			l := &list{path: p, packing: pack, source: s, trusted: trusted, want: -1,
				archive: archiveInfo{rel: rel, component: ix.component, site: s.uri.host, arch: arch}}
			if n, ok := rel.size(ix.key); found && ok {
				l.want = n
			}
			out = append(out, l)
			break
		}
	}
	return out, nil
}

// scanner looks for versions of installed packages in lists.
type scanner struct {
	ctx    context.Context
	t      tree
	native string
	pkgs   []Package
	byName map[string]int32 // first package of a name
	chain  []int32          // next package of the same name, or -1
}

func newScanner(ctx context.Context, t tree, native string, pkgs []Package) *scanner {
	s := &scanner{ctx: ctx, t: t, native: native, pkgs: pkgs, byName: make(map[string]int32, len(pkgs)), chain: make([]int32, len(pkgs))}
	for i := len(pkgs) - 1; i >= 0; i-- {
		s.chain[i] = -1
		if n, ok := s.byName[pkgs[i].Name]; ok {
			s.chain[i] = n
		}
		s.byName[pkgs[i].Name] = int32(i)
	}
	return s
}

// unit is a piece of work: a range of a plain list, or a whole packed one.
type unit struct {
	list     int32
	from, to int64
	out      []entry
	err      error
}

const unitSize = 4 << 20 // bytes of a plain list that one worker takes at a time

// run reads all lists with the given number of workers and gives what they
// found in the order of the lists.
func (s *scanner) run(lists []*list, workers int) ([]entry, error) {
	var units []*unit
	for i, l := range lists {
		if l.packing != "" {
			units = append(units, &unit{list: int32(i), to: -1})
			continue
		}
		f, size, err := s.t.open(l.path)
		if err != nil {
			return nil, err
		}
		f.Close()
		if l.want >= 0 && size != l.want {
			return nil, wrongSize(l, size)
		}
		if size > maxListSize {
			return nil, &InputError{Path: l.path, Err: fmt.Errorf("%d bytes, more than the %d that are read", size, int64(maxListSize))}
		}
		for at := int64(0); at < size; at += unitSize {
			units = append(units, &unit{list: int32(i), from: at, to: min(at+unitSize, size)})
		}
	}
	queue := make(chan *unit, len(units))
	for _, u := range units {
		queue <- u
	}
	close(queue)
	var wg sync.WaitGroup
	for range max(1, min(workers, len(units))) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			window := make([]byte, windowSize)
			for u := range queue {
				if u.err = s.ctx.Err(); u.err == nil {
					u.out, u.err = s.unit(lists[u.list], u, window)
				}
			}
		}()
	}
	wg.Wait()
	var out []entry
	for _, u := range units {
		if u.err != nil {
			return nil, u.err
		}
		if len(out)+len(u.out) > maxEntries {
			return nil, &InputError{Path: lists[u.list].path, Err: fmt.Errorf("more than %d versions of installed packages", maxEntries)}
		}
		out = append(out, u.out...)
	}
	return out, nil
}

func wrongSize(l *list, size int64) error {
	return &InputError{Path: l.path, Hint: hintUpdate,
		Err: fmt.Errorf("%d bytes, but its Release file says %d: half-downloaded or from another time", size, l.want)}
}

func (s *scanner) unit(l *list, u *unit, window []byte) ([]entry, error) {
	f, _, err := s.t.open(l.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []entry
	var size int64
	if l.packing == "" {
		out, err = s.plain(f, u, window)
	} else {
		out, size, err = s.packed(f, l, u, window)
	}
	if err != nil {
		if in := (*InputError)(nil); errors.As(err, &in) || errors.Is(err, s.ctx.Err()) {
			return nil, err
		}
		return nil, &InputError{Path: l.path, Hint: hintUpdate, Err: cause(err)}
	}
	if l.packing != "" && l.want >= 0 && size != l.want {
		return nil, wrongSize(l, size)
	}
	return out, nil
}

// plain reads the stanzas that begin within the unit; the last of them may end
// after it. A stanza begins after an empty line, so the range is read from two
// bytes before its start.
func (s *scanner) plain(f *os.File, u *unit, window []byte) ([]entry, error) {
	from := max(0, u.from-2)
	if u.from > 0 {
		// Find the first stanza that begins at or after u.from.
		sec := io.NewSectionReader(f, from, 1<<62)
		skip, err := skipTo(sec, window)
		if err == io.EOF {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		from += skip
	}
	if from >= u.to {
		return nil, nil
	}
	var out []entry
	sr := newStanzaReader(io.NewSectionReader(f, from, 1<<62), window)
	var p entryParser
	for {
		st, err := sr.next(false)
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		// Offset of the stanza: what was read minus what is left in the window minus itself.
		if from+sr.total-int64(sr.hi-sr.lo)-int64(len(st)) >= u.to {
			return out, nil
		}
		if out, err = s.look(st, u.list, &p, out); err != nil {
			return nil, err
		}
	}
}

// skipTo gives the offset after the first empty line.
func skipTo(r io.Reader, window []byte) (int64, error) {
	n, err := io.ReadFull(r, window)
	if err != nil && err != io.ErrUnexpectedEOF {
		return 0, err
	}
	i := bytes.Index(window[:n], stanzaEnd)
	if i < 0 {
		if n < len(window) {
			return 0, io.EOF
		}
		return 0, fmt.Errorf("%w: more than %d bytes", errStanzaSize, len(window))
	}
	return int64(i + 2), nil
}

var errCutOff = errors.New("the packed file is cut off")

// packed reads a whole packed list; one goroutine unpacks while this one looks.
func (s *scanner) packed(f *os.File, l *list, u *unit, window []byte) ([]entry, int64, error) {
	r, err := unpacker(f, l.packing)
	if err != nil {
		return nil, 0, err
	}
	pr := newPipe(r)
	defer pr.stop()
	sr := newStanzaReader(pr, window)
	var out []entry
	var p entryParser
	for {
		st, err := sr.next(false)
		if err == io.EOF {
			return out, sr.total, nil
		}
		if err == nil && sr.total > maxListSize {
			err = fmt.Errorf("unpacks to more than %d bytes", int64(maxListSize))
		}
		if err == nil && l.want >= 0 && sr.total > l.want {
			err = wrongSize(l, sr.total) // no further: it may be a bomb
		}
		if err == nil {
			out, err = s.look(st, u.list, &p, out)
		}
		if err != nil {
			return nil, 0, err
		}
	}
}

func unpacker(f io.Reader, packing string) (io.Reader, error) {
	switch packing {
	case "gz":
		r, err := gzip.NewReader(f)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = errCutOff
		}
		return r, err
	case "lz4":
		return newLZ4(f), nil
	case "xz":
		r, err := xz.NewReader(f)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = errCutOff
		}
		return r, err
	}
	return nil, fmt.Errorf("packed as %q, which is not read", packing)
}

// pipe reads ahead in a goroutine of its own, at most three blocks.
type pipe struct {
	full  chan block
	empty chan []byte
	quit  chan struct{}
	done  chan struct{}
	cur   block
	off   int
}

type block struct {
	b   []byte
	n   int
	err error
}

const blockSize = 256 << 10

func newPipe(r io.Reader) *pipe {
	p := &pipe{full: make(chan block, 3), empty: make(chan []byte, 3), quit: make(chan struct{}), done: make(chan struct{})}
	for range 3 {
		p.empty <- make([]byte, blockSize)
	}
	go func() {
		defer close(p.done)
		defer close(p.full)
		for {
			var b []byte
			select {
			case b = <-p.empty:
			case <-p.quit:
				return
			}
			n, err := readBlock(r, b)
			p.full <- block{b, n, err} // there are never more blocks than room
			if err != nil {
				return
			}
		}
	}()
	return p
}

// readBlock fills b and tells a clean end (io.EOF) from a cut-off file.
func readBlock(r io.Reader, b []byte) (n int, err error) {
	defer func() {
		if r := recover(); r != nil { // an unpacker that trips over hostile input
			err = fmt.Errorf("unpack: %v", r)
		}
	}()
	for n < len(b) && err == nil {
		var k int
		k, err = r.Read(b[n:])
		n += k
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errCutOff
	}
	return n, err
}

// Read implements io.Reader.
func (p *pipe) Read(b []byte) (int, error) {
	for p.off == p.cur.n {
		if p.cur.err != nil {
			return 0, p.cur.err
		}
		if p.cur.b != nil {
			p.empty <- p.cur.b
		}
		p.cur, p.off = <-p.full, 0
	}
	n := copy(b, p.cur.b[p.off:p.cur.n])
	p.off += n
	return n, nil
}

// stop ends the goroutine and waits for it.
func (p *pipe) stop() {
	close(p.quit)
	<-p.done
}

var packageKey = []byte("Package: ")

// look keeps the version of a stanza if its package is installed.
func (s *scanner) look(st []byte, list int32, p *entryParser, out []entry) ([]entry, error) {
	name := stanzaName(st)
	first, ok := s.byName[string(name)]
	if !ok {
		return out, nil
	}
	e, ok := p.parse(st)
	if !ok {
		return out, nil
	}
	arch := e.arch
	if arch == "all" {
		arch = s.native
	}
	for i := first; i >= 0; i = s.chain[i] {
		have := s.pkgs[i].Arch
		if have == "all" {
			have = s.native
		}
		if have == arch {
			e.pkg, e.list = i, list
			return append(out, e), nil
		}
	}
	return out, nil
}

// stanzaName gives the package's name, which nearly always stands first.
func stanzaName(st []byte) []byte {
	if bytes.HasPrefix(st, packageKey) {
		if i := bytes.IndexByte(st, '\n'); i >= 0 {
			return trimSpace(st[len(packageKey):i])
		}
		return trimSpace(st[len(packageKey):])
	}
	it := fields{b: st}
	for {
		k, v, ok, err := it.step()
		if err != nil || !ok {
			return nil
		}
		if is(k, "Package") {
			return v
		}
	}
}

type entryParser struct {
	t   texts
	out []string
}

// parse reads the stanza of a list. A stanza that is none, or has no version,
// is passed over as apt does with single bad entries.
func (ep *entryParser) parse(st []byte) (e entry, ok bool) {
	var version, arch, source, prio, sect, phased []byte
	var id identityBuilder
	it := fields{b: st}
	for {
		k, v, more, err := it.step()
		if err != nil {
			return e, false
		}
		if !more {
			break
		}
		switch {
		case is(k, "Version"):
			version = v
		case is(k, "Architecture"):
			arch = v
		case is(k, "Source"):
			source = v
		case is(k, "Priority"):
			prio = v
		case is(k, "Section"):
			sect = v
		case is(k, "Phased-Update-Percentage"):
			phased = v
		default:
			id.add(k, v)
		}
	}
	if len(version) == 0 || len(arch) == 0 || len(version) > maxValue || len(arch) > maxValue || bytes.IndexByte(st, 0) >= 0 {
		return e, false
	}
	name, sourceVersion := cutSource(source)
	if len(sourceVersion) == 0 {
		sourceVersion = version
	}
	ep.t.reset()
	for _, v := range [][]byte{version, arch, name, sourceVersion, prio, sect} {
		ep.t.add(v)
	}
	ep.out = ep.t.done(ep.out)
	e.version, e.arch, e.source, e.sourceVer, e.prio, e.sect = ep.out[0], ep.out[1], ep.out[2], ep.out[3], ep.out[4], ep.out[5]
	e.phased = 100
	if n, ok := percentage(phased); ok {
		e.phased = n
	}
	e.identity = id.done(e.arch == "all")
	return e, true
}

func percentage(b []byte) (int, bool) {
	if len(b) == 0 || len(b) > 3 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if !isDigit(c) {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, n <= 100
}

// isNotExist is errors.Is(err, fs.ErrNotExist).
func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
