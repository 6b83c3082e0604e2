// Package journal remembers what a pass is about to do before it does it.
//
// An effect is written down as an intent and forced to disk, then made, then its
// result is written down. Whatever ends the program in between, the next pass
// finds intents without a result, looks at the host again and knows what is still owed:
// a file was replaced, and its service may not have been restarted. What was reverted
// is remembered too: it is not tried again under its commit.
//
// The journal is one append-only file of lines, each a CRC-32C in hex, a blank
// and a JSON record. A torn last line, as a power cut leaves it, is cut off when
// the journal is opened; damage before the last line is an error and the file is
// kept aside, never deleted. One program at a time writes it: the caller holds
// the lock of the state folder.
package journal

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/agent/durable"
	"github.com/dunlin-dev/dunlin/schema"
)

// maxSize is the size in bytes at which the journal is begun anew when nothing is owed, so that opening it stays
// cheap; kept old ones stay beside it, for people.
const (
	maxSize = 64 << 10
	kept    = 8
)

// maxLine bounds one record in bytes.
const maxLine = 64 << 10

// record is a line of the journal.
type record struct {
	Seq    uint64         `json:"seq"`
	At     time.Time      `json:"at"`
	Commit string         `json:"commit,omitempty"`
	Intent *schema.Intent `json:"intent,omitempty"`
	Of     uint64         `json:"of,omitempty"` // the intent's seq
	Result *schema.Result `json:"result,omitempty"`
}

// Journal is an open journal. Its methods are not safe for concurrent use.
type Journal struct {
	// SetAside is where a damaged journal was put when this one was opened, with what it knew of restarts that are owed;
	// empty where it was sound.
	SetAside string

	path    string
	file    *os.File
	named   bool // the file's name is on disk too
	now     func() time.Time
	seq     uint64
	pending map[uint64]record
	order   []uint64
	// reverted are the last intents of resources of which the result was Reverted, with that.
	reverted map[string][2]record
}

// Open reads the journal in dir, made with mode 0700 if it is missing, and leaves it ready to append.
// It wraps fs.ErrPermission where dir is not writable. now gives the instants that are written.
func Open(dir string, now func() time.Time) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{path: filepath.Join(dir, "journal"), now: now, pending: map[uint64]record{}, reverted: map[string][2]record{}}
	if _, err := os.Lstat(j.path); errors.Is(err, fs.ErrNotExist) {
		// The new one was whole when the old one was moved away.
		if err := os.Rename(j.path+newName, j.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("open journal: %w", err)
		}
	}
	f, err := os.OpenFile(j.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	good, err := j.read(f)
	if errors.Is(err, errDamaged) {
		_ = f.Close()
		aside := j.path + ".damaged-" + now().UTC().Format("20060102T150405Z")
		if err := os.Rename(j.path, aside); err != nil {
			return nil, fmt.Errorf("set damaged journal aside: %w", err)
		}
		j.SetAside = aside
		j.pending, j.order, j.reverted = map[uint64]record{}, nil, map[string][2]record{}
		f, err = os.OpenFile(j.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		good = 0
	}
	if err != nil {
		return nil, fmt.Errorf("read journal %q: %w", j.path, err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != good {
		if err := f.Truncate(good); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("cut torn end of journal %q: %w", j.path, err)
		}
	}
	if _, err := f.Seek(good, io.SeekStart); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("open journal %q: %w", j.path, err)
	}
	j.file = f
	if good > maxSize && len(j.pending) == 0 {
		if err := j.restart(); err != nil {
			return nil, err
		}
	}
	return j, nil
}

// errDamaged is a bad line that is not the last one.
var errDamaged = errors.New("damaged before its end")

// read takes in all whole records and returns the offset after the last good one.
func (j *Journal) read(f *os.File) (good int64, err error) {
	r := bufio.NewReaderSize(f, maxLine+16)
	bad := false
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 && bad {
			return 0, errDamaged
		}
		if err == io.EOF {
			return good, nil // a line without newline is torn
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return 0, err
		}
		rec, ok := decode(line)
		if !ok {
			bad = true
			continue
		}
		good += int64(len(line))
		j.take(rec)
	}
}

func (j *Journal) take(rec record) {
	j.seq = max(j.seq, rec.Seq)
	switch {
	case rec.Intent != nil:
		j.pending[rec.Seq] = rec
		j.order = append(j.order, rec.Seq)
		delete(j.reverted, rec.Intent.Resource) // it was tried again
	case rec.Result != nil:
		if intent, ok := j.pending[rec.Of]; ok && rec.Result.Outcome == schema.Reverted {
			j.reverted[intent.Intent.Resource] = [2]record{intent, rec}
		}
		delete(j.pending, rec.Of)
	}
}

// Reverted lists what was reverted under a commit and was not tried again since, by resource.
func (j *Journal) Reverted(commit string) []schema.Change {
	var out []schema.Change
	for _, r := range j.reverted {
		if i, res := r[0].Intent, r[1].Result; r[0].Commit == commit {
			out = append(out, schema.Change{Resource: i.Resource, Want: i.Want, Got: i.Got, Action: i.Action, Result: res.Outcome, Reason: res.Reason})
		}
	}
	slices.SortFunc(out, func(a, b schema.Change) int { return strings.Compare(a.Resource, b.Resource) })
	return out
}

// Owed lists the intents that have no result, oldest first; those of earlier passes were cut off.
func (j *Journal) Owed() []schema.Intent {
	var out []schema.Intent
	for _, seq := range j.order {
		if r, ok := j.pending[seq]; ok {
			out = append(out, *r.Intent)
		}
	}
	return out
}

// Intend writes intents down and forces them to disk before it returns. done writes their results,
// one an intent in the same order; it is called once. After an error nothing may be done to the host.
func (j *Journal) Intend(commit string, intents []schema.Intent) (done func([]schema.Result) error, err error) {
	if len(intents) == 0 {
		return func([]schema.Result) error { return nil }, nil
	}
	recs := make([]record, len(intents))
	for i := range intents {
		j.seq++
		recs[i] = record{Seq: j.seq, At: j.now().UTC(), Commit: commit, Intent: &intents[i]}
	}
	if err := j.append(recs); err != nil {
		return nil, err
	}
	return func(results []schema.Result) error {
		if len(results) != len(recs) {
			return fmt.Errorf("journal: %d results for %d intents", len(results), len(recs))
		}
		ends := make([]record, len(recs))
		for i := range recs {
			j.seq++
			ends[i] = record{Seq: j.seq, At: j.now().UTC(), Of: recs[i].Seq, Result: &results[i]}
		}
		return j.append(ends)
	}, nil
}

// Settle writes the result of every intent of a resource and action that has none.
func (j *Journal) Settle(resource string, action schema.Action, res schema.Result) error {
	var ends []record
	for _, seq := range j.order {
		if r, ok := j.pending[seq]; ok && r.Intent.Resource == resource && r.Intent.Action == action {
			j.seq++
			ends = append(ends, record{Seq: j.seq, At: j.now().UTC(), Of: seq, Result: &res})
		}
	}
	if len(ends) == 0 {
		return nil
	}
	return j.append(ends)
}

// append writes records and forces them to disk. After an error the file is not used again:
// the kernel may have dropped the pages that it could not write.
func (j *Journal) append(recs []record) error {
	if j.file == nil {
		return fmt.Errorf("journal %q: an earlier write failed; nothing more is done", j.path)
	}
	var b []byte
	for _, r := range recs {
		line, err := encode(r)
		if err != nil {
			return err
		}
		b = append(b, line...)
	}
	_, err := j.file.Write(b)
	if err == nil {
		err = j.file.Sync()
	}
	if err == nil && !j.named {
		err = durable.Folder(filepath.Dir(j.path))
		j.named = err == nil
	}
	if err != nil {
		_ = j.file.Close()
		j.file = nil
		return fmt.Errorf("write journal %q: %w", j.path, err)
	}
	for _, r := range recs {
		j.take(r)
	}
	return nil
}

// newName is added to the journal's name while the next one is made.
const newName = ".new"

// restart begins the journal anew with what it must remember, and keeps the old ones beside it.
func (j *Journal) restart() error {
	_ = j.file.Close()
	if err := j.beginNew(); err != nil {
		return fmt.Errorf("begin journal anew: %w", err)
	}
	old := func(n int) string { return j.path + "." + strconv.Itoa(n) }
	for n := kept - 1; n > 0; n-- {
		if err := os.Rename(old(n), old(n+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("begin journal anew: %w", err)
		}
	}
	if err := errors.Join(os.Rename(j.path, old(1)), os.Rename(j.path+newName, j.path)); err != nil {
		return fmt.Errorf("begin journal anew: %w", err)
	}
	f, err := os.OpenFile(j.path, os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("begin journal anew: %w", err)
	}
	j.file, j.order = f, nil
	return nil
}

// beginNew writes the next journal beside this one, and forces it to disk with its name.
func (j *Journal) beginNew() error {
	var b []byte
	for _, resource := range slices.Sorted(maps.Keys(j.reverted)) {
		for _, r := range j.reverted[resource] {
			line, err := encode(r)
			if err != nil {
				return err
			}
			b = append(b, line...)
		}
	}
	f, err := os.OpenFile(j.path+newName, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = durable.Folder(filepath.Dir(j.path))
	}
	return err
}

// Close ends the use of the journal.
func (j *Journal) Close() error {
	if j.file == nil {
		return nil
	}
	return j.file.Close()
}

func encode(r record) ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("journal record: %w", err)
	}
	if len(body) > maxLine-10 {
		return nil, fmt.Errorf("journal record of %d bytes is longer than %d", len(body), maxLine-10)
	}
	line := make([]byte, 0, len(body)+10)
	line = fmt.Appendf(line, "%08x ", checksum(body))
	line = append(line, body...)
	return append(line, '\n'), nil
}

// decode reads one line with its newline; ok is false if anything about it is wrong.
func decode(line []byte) (r record, ok bool) {
	line, found := bytes.CutSuffix(line, []byte{'\n'})
	if !found || len(line) < 10 || line[8] != ' ' {
		return record{}, false
	}
	var sum [4]byte
	if _, err := hex.Decode(sum[:], line[:8]); err != nil {
		return record{}, false
	}
	want := uint32(sum[0])<<24 | uint32(sum[1])<<16 | uint32(sum[2])<<8 | uint32(sum[3])
	if checksum(line[9:]) != want {
		return record{}, false
	}
	if json.Unmarshal(line[9:], &r) != nil || (r.Intent == nil) == (r.Result == nil) {
		return record{}, false
	}
	return r, true
}

// checksum is CRC-32C. The table is made on first use, not at every start of the program.
func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
