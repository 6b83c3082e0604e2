package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Watch tells what may have changed in the folder until ctx ends, then it closes the channel, as System.Watch does:
// files below "files" and the JSON files of a subject. Nobody is named. What this program itself changes is told too.
func (s Simulated) Watch(ctx context.Context, w Watched) (<-chan []Drift, error) {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("watch host: %w", err)
	}
	dir, err := filepath.EvalSymlinks(s.Dir)
	if err != nil {
		return nil, fmt.Errorf("watch host: %w", err)
	}
	h := newHints()
	files := newFileWatch(dir, h, w.logger())
	for _, f := range w.Files {
		files.file(filepath.Join(dir, "files", filepath.FromSlash(f)), driftFiles+f)
	}
	if len(w.Files) > 0 {
		files.file(filepath.Join(dir, attributesFile), driftFiles)
	}
	if w.Ports {
		files.file(filepath.Join(dir, portsFile), driftPorts)
	}
	if len(w.Units) > 0 {
		files.file(filepath.Join(dir, servicesFile), driftUnits)
	}
	if w.Packages {
		files.file(filepath.Join(dir, packagesFile), driftPackages)
	}
	files.open()
	return h.start(ctx, files.run), nil
}
