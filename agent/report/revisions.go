package report

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/agent/durable"
	"github.com/dunlin-dev/dunlin/schema"
)

// lineFile holds the node's own newest line.
const lineFile = "report-line.json"

// Revisions numbers a node's own lines: the number rises by one when something changed, and never falls. It is safe for
// concurrent use.
type Revisions struct {
	path string

	mu    sync.Mutex
	state kept
	rose  bool // since the counter was opened, to a line that was above it
}

// kept is what the file holds: people may write {"rev":N}.
type kept struct {
	schema.ReportLine // the newest
	// Anew says that the file was missing, and that what the branch has of this node has not been seen since.
	Anew bool `json:"anew,omitempty"`
}

// OpenRevisions reads the newest line from the state folder dir. A file that is damaged is an error: a lower revision
// would be taken for an old one, so people must decide.
func OpenRevisions(dir string) (*Revisions, error) {
	r := &Revisions{path: filepath.Join(dir, lineFile)}
	b, err := readOwn(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		r.state.Anew = true
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r.state)
	}
	if err == nil && r.state.Rev == 0 {
		err = errors.New("it has no revision")
	}
	if err != nil {
		return nil, fmt.Errorf("open report line %q: %w (where it is lost, write {\"rev\":N} with a number above this node's rev on the reports branch)", r.path, err)
	}
	return r, nil
}

func readOwn(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > 1<<20 {
		return nil, errors.New("it is not a file of ours")
	}
	return os.ReadFile(path)
}

// Next gives line signed, under the last revision where it says the same, else under the next one, since now. A new
// revision is on disk before it is returned.
func (r *Revisions) Next(line schema.ReportLine, key ed25519.PrivateKey, now time.Time) (schema.ReportLine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if same(r.state.ReportLine, line) {
		line.Rev, line.Since = r.state.Rev, r.state.Since
		return SignLine(line, key)
	}
	line.Rev, line.Since = r.state.Rev+1, now.UTC().Truncate(time.Second)
	signed, err := SignLine(line, key)
	if err != nil {
		return schema.ReportLine{}, err
	}
	if err := r.keep(kept{signed, r.state.Anew}); err != nil {
		return schema.ReportLine{}, err
	}
	return signed, nil
}

// keep makes k durable, and then what counts. The caller holds mu.
func (r *Revisions) keep(k kept) error {
	b, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("keep report line: %w", err)
	}
	if err := durable.Write(r.path, b); err != nil {
		return fmt.Errorf("keep report line: %w", err)
	}
	r.state = k
	return nil
}

// Lost reports whether the counter began anew, because its file was missing, and waits for AtLeast: on a new node and on
// one that lost its state.
func (r *Revisions) Lost() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.Anew
}

// AtLeast tells which line of this node the branch has (Standing; Rev 0: none). A counter that is behind, because its file
// was missing or is from a backup, goes on from there: under a lower revision, what the node says would be taken for old.
// Only a line that key signed is believed. It acts once after the file was missing, and once after OpenRevisions where the
// line is above it, and not again: two hosts with one key must not chase each other's counter.
//
// rose says that what Next gave so far does not count, so that it is to be asked again.
func (r *Revisions) AtLeast(line schema.ReportLine, key ed25519.PublicKey) (rose bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.state.Anew && (r.rose || line.Rev <= r.state.Rev) {
		return false, nil
	}
	if line.Rev > 0 {
		if err := verify(line, key); err != nil {
			return false, fmt.Errorf("continue from report line of %q: %w", clip(line.Node), err)
		}
	}
	k := kept{ReportLine: r.state.ReportLine}
	if line.Rev > r.state.Rev || line.Rev > 0 && line.Rev == r.state.Rev && line.Sig != r.state.Sig {
		k.ReportLine, rose = line, true
		r.rose = true
	}
	if k.Rev == 0 {
		r.state.Anew = false // the first line of a new node makes the file
		return false, nil
	}
	return rose, r.keep(k)
}

// same reports whether two lines say the same, revision and time apart.
func same(a, b schema.ReportLine) bool {
	return a.V == b.V && a.Fleet == b.Fleet && a.Node == b.Node && a.Commit == b.Commit && a.Facts == b.Facts &&
		maps.Equal(a.Compliance, b.Compliance) && maps.Equal(a.Counts, b.Counts)
}

// FactsFile is a facts file of the branch: canonical JSON without what is only one node's or moves by itself, so that
// nodes with the same packages share one. Newer versions are in a catalog (CandidatesFile). Its name is the SHA-256 of
// these bytes.
func FactsFile(f schema.Facts) ([]byte, error) {
	b, err := canonical(f, "node", "at", "pendingReboot", "lastInstall", "candidates")
	if err != nil {
		return nil, fmt.Errorf("write facts: %w", err)
	}
	if len(b) > maxFacts {
		return nil, fmt.Errorf("write facts: %d bytes are more than %d", len(b), maxFacts)
	}
	return b, nil
}

// canonical is v as canonical JSON (RFC 8785) without some of its fields.
func canonical(v any, without ...string) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil {
		return nil, err
	}
	for _, own := range without {
		delete(fields, own)
	}
	// Maps are written with their keys sorted, and without blanks: canonical, since all numbers are small integers.
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(fields); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte{'\n'}), nil
}
