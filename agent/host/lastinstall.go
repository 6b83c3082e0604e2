package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/agent/durable"
	"github.com/dunlin-dev/dunlin/schema"
)

// Bounds of the file of last installs.
const (
	maxLastInstalls    = 5000
	maxLastInstallFile = 8 << 20
)

// LastInstalls is the file that remembers what became of each package when it was last installed:
// a JSON list with one entry, the newest, a package. One program at a time writes it.
type LastInstalls struct{ Path string }

// lastInstall is schema.LastInstall as the file has it: with the reason, which reports leave out.
type lastInstall struct {
	Name    string    `json:"name"`
	Arch    string    `json:"arch"`
	Version string    `json:"version"`
	At      time.Time `json:"at"`
	Outcome string    `json:"outcome"`
	Reason  string    `json:"reason,omitempty"`
}

// Read returns the entries sorted by name and architecture; none where there is no file.
func (l LastInstalls) Read() ([]schema.LastInstall, error) {
	f, err := os.Open(l.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read last installs: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxLastInstallFile+1))
	if err != nil {
		return nil, fmt.Errorf("read last installs %q: %w", l.Path, err)
	}
	var list []lastInstall
	if len(b) > maxLastInstallFile {
		err = fmt.Errorf("larger than %d bytes", maxLastInstallFile)
	} else {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("read last installs %q: %w", l.Path, err)
	}
	out := make([]schema.LastInstall, 0, len(list))
	for _, e := range list {
		out = append(out, schema.LastInstall(e))
	}
	return out, nil
}

// Add puts entries in, each in place of an older one of the same package. A file that cannot be
// read is begun anew: it holds explanations, not state.
func (l LastInstalls) Add(entries []schema.LastInstall) error {
	if len(entries) == 0 {
		return nil
	}
	have, err := l.Read()
	if err != nil {
		have = nil
	}
	for _, e := range entries {
		e.Reason, e.At = sentence([]string{clean(e.Reason)}), e.At.Truncate(time.Second)
		have = slices.DeleteFunc(have, func(h schema.LastInstall) bool { return h.Name == e.Name && h.Arch == e.Arch })
		have = append(have, e)
	}
	if len(have) > maxLastInstalls { // the oldest go
		slices.SortFunc(have, func(a, b schema.LastInstall) int { return b.At.Compare(a.At) })
		have = have[:maxLastInstalls]
	}
	slices.SortFunc(have, func(a, b schema.LastInstall) int {
		return strings.Compare(a.Name+"\x00"+a.Arch, b.Name+"\x00"+b.Arch)
	})
	list := make([]lastInstall, 0, len(have))
	for _, h := range have {
		list = append(list, lastInstall(h))
	}
	b, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("write last installs: %w", err)
	}
	return writeDurably(l.Path, append(b, '\n'))
}

// writeDurably replaces a file of the program's own state: a new one beside it, forced to disk,
// renamed over it. The folder is ours alone, so names in it are safe.
func writeDurably(path string, b []byte) (err error) {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write %q: %w", path, err)
		}
	}()
	if _, err = f.Write(b); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return durable.Folder(filepath.Dir(path))
}
