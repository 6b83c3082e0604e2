package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing/fstest"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// maxFleetFile bounds fleet.cue, in bytes, as the loader does.
const maxFleetFile = 1 << 20

// Fleets are what fleet.cue says, by the hash of its bytes: the file is evaluated alone, in the loader's child, once.
type Fleets struct {
	evaluate load.Func

	mu   sync.Mutex
	kept map[string]schema.Fleet
	acts map[string]map[string]schema.Activation // by what they are evaluated from
}

// NewFleets evaluates with a function.
func NewFleets(evaluate load.Func) *Fleets {
	return &Fleets{evaluate: evaluate, kept: map[string]schema.Fleet{}}
}

// fleetError says that a fleet.cue does not tell who may change what.
type fleetError struct{ reason string }

func (e *fleetError) Error() string { return "fleet.cue: " + e.reason }

func (f *Fleets) of(ctx context.Context, hash string, text []byte) (schema.Fleet, error) {
	f.mu.Lock()
	fleet, ok := f.kept[hash]
	f.mu.Unlock()
	if ok {
		return fleet, nil
	}
	repo, faults, err := f.evaluate(ctx, only("fleet.cue", text))
	if errors.Is(err, load.ErrLimit) {
		return schema.Fleet{}, &fleetError{one(err)}
	}
	if err != nil {
		return schema.Fleet{}, fmt.Errorf("evaluate fleet.cue: %w", err)
	}
	other := ""
	for _, fault := range faults {
		if fault.Severity == schema.SeverityWarning {
			continue
		}
		if tellsWho(fault) {
			return schema.Fleet{}, &fleetError{fault.String()}
		}
		if other == "" {
			other = ": " + fault.String()
		}
	}
	if repo.Fleet.Name == "" {
		return schema.Fleet{}, &fleetError{"it has no fleet that can be read" + other}
	}
	f.mu.Lock()
	if len(f.kept) > 256 {
		clear(f.kept)
	}
	f.kept[hash] = repo.Fleet
	f.mu.Unlock()
	return repo.Fleet, nil
}

// tellsWho reports whether a fault leaves it open who may change what. What else is wrong with fleet.cue, or what it
// names of other files, which are not there when it is evaluated alone, is for the whole policy's evaluation to refuse.
func tellsWho(f schema.Fault) bool {
	rest, ok := strings.CutPrefix(f.Path, "fleet.")
	if !ok {
		return true
	}
	if strings.Contains(rest, ".activations") {
		return false
	}
	field := rest
	if i := strings.IndexAny(rest, ".["); i >= 0 {
		field = rest[:i]
	}
	switch field {
	case "sync", "reports", "runs", "rollout", "witnesses", "minAgent", "recovery", "annotations":
		return false
	}
	return true
}

// only is a repository of one file.
func only(name string, text []byte) fs.FS {
	return fstest.MapFS{name: {Data: text, Mode: 0o444}}
}

// TrustSource gives package trust the objects of a repository.
type TrustSource struct {
	*gitrepo.Source
	Fleets *Fleets
}

var _ trust.Source = TrustSource{}

// Commit is that of gitrepo.Source; what is no commit that Git would write is nobody's word.
func (s TrustSource) Commit(id string) ([]byte, error) {
	raw, err := s.Source.Commit(id)
	return raw, malformed(id, err)
}

// Changed is that of gitrepo.Source.
func (s TrustSource) Changed(ctx context.Context, from, to string) ([]string, error) {
	paths, err := s.Source.Changed(ctx, from, to)
	return paths, malformed(to, err)
}

// Fleet is what fleet.cue says in a commit.
func (s TrustSource) Fleet(ctx context.Context, commit string) (schema.Fleet, error) {
	refuse := func(why string) (schema.Fleet, error) {
		return schema.Fleet{}, &trust.Refusal{Commit: commit, Kind: trust.Malformed, Reason: "its fleet.cue does not say who may change what: " + why +
			fmt.Sprintf("; no commit on top of it mends that: take the commit out of the branch (git rebase --onto %[1]s^ %[1]s, then git push --force)", short(commit))}
	}
	hash, text, err := s.Blob(commit, "fleet.cue", maxFleetFile)
	switch {
	case errors.Is(err, gitrepo.ErrMalformed):
		return refuse(one(err))
	case err != nil:
		return schema.Fleet{}, err
	case hash == "":
		return refuse("it has none")
	}
	fleet, err := s.Fleets.of(ctx, hash, text)
	if wrong := (*fleetError)(nil); errors.As(err, &wrong) {
		return refuse(wrong.reason)
	}
	return fleet, err
}

// Folder is that of gitrepo.Source.
func (s TrustSource) Folder(tree, dir string) (map[string]trust.Entry, error) {
	entries, err := s.Source.Folder(tree, dir)
	if err != nil {
		return nil, malformed(tree, err)
	}
	out := make(map[string]trust.Entry, len(entries))
	for name, e := range entries {
		out[name] = trust.Entry(e)
	}
	return out, nil
}

// Content is that of gitrepo.Source.
func (s TrustSource) Content(hash string, limit int64) ([]byte, error) {
	b, err := s.Source.Content(hash, limit)
	return b, malformed(hash, err)
}

// maxActivations bounds how many files of activations are read, and how deep their folders lie.
const maxActivations, maxActivationDepth = 2000, 8

// Activations gives the activations in a commit. They may refer to their own folder and to fleet.cue alone, so these are
// all that is evaluated.
func (s TrustSource) Activations(ctx context.Context, commit string) (map[string]schema.Activation, error) {
	raw, err := s.Commit(commit)
	if err != nil {
		return nil, err
	}
	c, err := trust.ParseCommit(commit, raw)
	if err != nil {
		return nil, err
	}
	files := fstest.MapFS{}
	sum := sha256.New()
	add := func(path, hash string) error {
		if len(files) >= maxActivations {
			return fmt.Errorf("activations/ has more than %d files", maxActivations)
		}
		b, err := s.Content(hash, maxFleetFile)
		if err != nil {
			return err
		}
		files[path] = &fstest.MapFile{Data: b, Mode: 0o444}
		fmt.Fprintf(sum, "%s %s\n", path, hash)
		return nil
	}
	root, err := s.Folder(c.Tree, "")
	if err != nil {
		return nil, err
	}
	if err := add("fleet.cue", root["fleet.cue"].Hash); err != nil {
		return nil, err
	}
	var walk func(dir string, depth int) error
	walk = func(dir string, depth int) error {
		entries, err := s.Folder(c.Tree, dir)
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(entries)) {
			e := entries[name]
			switch {
			case e.Mode == "40000" && depth < maxActivationDepth:
				err = walk(dir+"/"+name, depth+1)
			case strings.HasSuffix(name, ".cue") && strings.HasPrefix(e.Mode, "100"):
				err = add(dir+"/"+name, e.Hash)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := walk("activations", 1); err != nil {
		return nil, err
	}
	acts, err := s.Fleets.activations(ctx, hex.EncodeToString(sum.Sum(nil)), files)
	if wrong := (*fleetError)(nil); errors.As(err, &wrong) {
		return nil, &trust.Refusal{Commit: commit, Kind: trust.Malformed, Reason: "its activations cannot be read: " + wrong.reason + "; mend them, then let nodes in"}
	}
	return acts, err
}

// activations evaluates files of activations, with the fleet.cue that they may refer to.
func (f *Fleets) activations(ctx context.Context, hash string, files fs.FS) (map[string]schema.Activation, error) {
	f.mu.Lock()
	acts, ok := f.acts[hash]
	f.mu.Unlock()
	if ok {
		return acts, nil
	}
	repo, faults, err := f.evaluate(ctx, files)
	if errors.Is(err, load.ErrLimit) {
		return nil, &fleetError{one(err)}
	}
	if err != nil {
		return nil, fmt.Errorf("evaluate activations: %w", err)
	}
	for _, fault := range faults {
		if fault.Severity != schema.SeverityWarning && (strings.HasPrefix(fault.Path, "activation") || strings.HasPrefix(fault.File, "activations/")) {
			return nil, &fleetError{fault.String()}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.acts == nil || len(f.acts) > 16 {
		f.acts = map[string]map[string]schema.Activation{}
	}
	f.acts[hash] = repo.Activations
	return repo.Activations, nil
}

// malformed makes of an object that cannot be relied upon a refusal.
func malformed(commit string, err error) error {
	if errors.Is(err, gitrepo.ErrMalformed) {
		return &trust.Refusal{Commit: commit, Kind: trust.Malformed, Reason: one(err)}
	}
	return err
}

// Read gives what the text of a fleet.cue says; an error says what leaves it open who may change what.
func (f *Fleets) Read(ctx context.Context, text []byte) (schema.Fleet, error) {
	sum := sha256.Sum256(text)
	return f.of(ctx, "sha256-"+hex.EncodeToString(sum[:]), text)
}
