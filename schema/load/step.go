package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	slash "path"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/child"
	"github.com/dunlin-dev/dunlin/schema/load/tree"
)

// Bounds of what is judged as a part. Beyond them the whole is judged.
const (
	maxChanged  = 64      // files that a commit changes
	maxPart     = 400     // files that are looked at
	maxPartText = 4 << 20 // bytes of these
	maxSubjects = 300     // objects that are judged anew, beside those of changed files
	maxWords    = 20_000  // words of changed files that may be names
	maxWarnings = 500     // of the whole
	maxQuestion = maxTried / 2
)

// ErrWhole is wrapped where a change cannot be judged by a part of the repository, for whatever reason.
var ErrWhole = errors.New("the whole repository is to be judged")

func whole(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrWhole, fmt.Sprintf(format, a...))
}

// Evaluated is what a repository says. It is not to be changed: a later one may share what is the same.
type Evaluated struct {
	Repo   schema.Repo
	Faults []schema.Fault
	// Known is what Judge.Step needs of a valid repository; nil for others.
	Known *Known
}

// Judge evaluates repositories, and changes of them.
type Judge struct {
	opts Options
	tree func(context.Context, *tree.Tree) (*result, error)
	part func(context.Context, *partChange) (*verdict, error)
}

// ChildJudge evaluates in processes of its own, as Child does.
func ChildJudge(o Options) *Judge {
	ask := func(ctx context.Context, in []byte) ([]byte, error) {
		out, err := child.Ask(ctx, bytes.NewReader(in), nil)
		if err != nil {
			return nil, fmt.Errorf("evaluate: %w", err)
		}
		return out, nil
	}
	return &Judge{opts: o,
		tree: func(ctx context.Context, t *tree.Tree) (*result, error) {
			var in bytes.Buffer
			if err := t.Write(&in); err != nil {
				return nil, fmt.Errorf("evaluate: %w", err)
			}
			out, err := ask(ctx, in.Bytes())
			if err != nil {
				return nil, err
			}
			return decodeResult(out)
		},
		part: func(ctx context.Context, c *partChange) (*verdict, error) {
			out, err := ask(ctx, encodeAs(changeMagic, *c))
			if err != nil {
				return nil, err
			}
			return decodeAs[verdict](verdictMagic, out)
		},
	}
}

// InProcessJudge evaluates in this process, without limits on time and memory.
func InProcessJudge(o Options) *Judge {
	return &Judge{opts: o,
		tree: func(ctx context.Context, t *tree.Tree) (*result, error) { return evaluate(ctx, o, t) },
		part: func(ctx context.Context, c *partChange) (*verdict, error) { return judgeChange(ctx, o, c) },
	}
}

// Whole evaluates a repository.
func (j *Judge) Whole(ctx context.Context, fsys fs.FS) (Evaluated, error) {
	t, err := tree.Read(fsys)
	if err != nil {
		return Evaluated{}, err
	}
	res, err := j.tree(ctx, t)
	if err != nil {
		return Evaluated{}, err
	}
	known := res.Known
	repo, faults, err := finish(j.opts, fsys, res)
	return Evaluated{Repo: repo, Faults: faults, Known: known}, err
}

// Step evaluates a repository of which changed are the paths of all files that differ from those of base, which is valid.
// It gives exactly what Whole would, or an error: then Whole is to be asked, and nothing is known. It never refuses.
func (j *Judge) Step(ctx context.Context, base Evaluated, before, after fs.FS, changed []string) (Evaluated, error) {
	if base.Known == nil {
		return Evaluated{}, whole("nothing is known of what was before")
	}
	s := &step{base: base, known: base.Known, before: before, after: after, changed: slices.Sorted(slices.Values(changed)), reads: map[string][]string{}}
	c, err := s.choose()
	if err != nil {
		return Evaluated{}, err
	}
	v, err := j.part(ctx, c)
	switch {
	case err != nil:
		return Evaluated{}, fmt.Errorf("%w: %w", ErrWhole, err)
	case v.Doubt != "":
		return Evaluated{}, whole("%s", v.Doubt)
	}
	out, err := s.merge(c, v)
	if err != nil {
		return Evaluated{}, err
	}
	if j.opts.Warn != nil {
		out.Faults = schema.SortFaults(append(slices.Clone(out.Known.Warnings), j.opts.Warn(out.Repo)...))
	}
	return out, nil
}

// step is one change on its way.
type step struct {
	base          Evaluated
	known         *Known
	before, after fs.FS
	changed       []string
	reads         map[string][]string // by what is looked at, who looks at it
	files         int                 // more than before
	bytes         int64
	shards        map[string]bool // of the roster that are changed: their first two letters
}

// sideFile is a file as it is on one side of a change; there is false where it is not.
func sideFile(fsys fs.FS, name string, read bool) (text string, size int64, there bool, err error) {
	info, err := fs.Lstat(fsys, name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
		return "", 0, false, nil
	}
	if err != nil {
		return "", 0, false, whole("%v", err)
	}
	if !info.Mode().IsRegular() {
		return "", 0, false, whole("%q is not a regular file", name)
	}
	if !read {
		return "", info.Size(), true, nil
	}
	b, err := tree.ReadFile(fsys, name, tree.MaxFile)
	if err != nil {
		return "", 0, false, whole("%v", err)
	}
	return string(b), int64(len(b)), true, nil
}

// choose finds what is to be seen to judge the change.
func (s *step) choose() (*partChange, error) {
	c := &partChange{Changed: s.changed, Before: map[string]string{}, After: map[string]string{}, Common: map[string]string{}, Was: map[string]int64{}, Is: map[string]int64{}}
	k := s.known
	switch {
	case len(s.changed) == 0 || len(s.changed) > maxChanged:
		return nil, whole("%d files differ", len(s.changed))
	case len(k.Warnings) > maxWarnings || k.Tried > maxQuestion || k.Asked > maxAsked/2:
		return nil, whole("so much is to be said of the repository that not all is")
	}
	s.shards = map[string]bool{}
	paths := map[string]bool{}
	for _, name := range s.changed {
		paths[name] = true
		if err := s.changedFile(c, name); err != nil {
			return nil, err
		}
	}
	if k.Files+s.files > tree.MaxFiles || k.Bytes+s.bytes > tree.MaxTotal {
		return nil, whole("the repository is as large as one may be")
	}
	for of, list := range k.Looks {
		for _, at := range list {
			s.reads[at] = append(s.reads[at], of)
		}
	}
	// What changes, as far as that is known before the files are read.
	own := map[string]bool{}
	one := s.changed[0] // most commits change one file
	for path, pos := range s.base.Repo.Positions {
		if pos.File == one || len(s.changed) > 1 && paths[pos.File] {
			if key, rest, ok := objectIn(path); ok && rest == "" {
				own[key.text()] = true
			}
		}
	}
	var roots []string
	for key := range own {
		o := keyOf(key)
		roots = append(roots, key)
		if !slices.ContainsFunc(slices.Collect(maps.Values(c.After)), func(text string) bool { return strings.Contains(text, o.name) }) {
			roots = append(roots, exists+key)
		}
	}
	for _, name := range s.changed {
		roots = append(roots, lookFile+" "+name)
	}
	if len(s.shards) > 0 {
		roots = append(roots, lookRoster+" ")
	}
	subjects := s.lookers(roots, own)
	if len(subjects) > maxSubjects {
		return nil, whole("%d objects look at what has changed", len(subjects))
	}
	words, err := s.words(c)
	if err != nil {
		return nil, err
	}
	context := s.lookedAt(own, subjects, words)
	c.Context = slices.Sorted(maps.Keys(context))
	c.Subjects = slices.Sorted(maps.Keys(subjects))
	if err := s.common(c, paths, context, subjects); err != nil {
		return nil, err
	}
	s.sizes(c, paths, own, subjects, words)
	return c, s.roster(c, own, subjects, words)
}

// changedFile takes both sides of one file.
func (s *step) changedFile(c *partChange, name string) error {
	switch {
	case !fs.ValidPath(name) || !utf8.ValidString(name) || len(name) > tree.MaxName || strings.Count(name, "/") >= tree.MaxFolders:
		return whole("%q is not a usual path", name)
	case name == "fleet.cue" || name == ".git" || strings.HasPrefix(name, ".git/") || strings.HasPrefix(name, "lib/") || strings.HasPrefix(name, "cue.mod/"):
		return whole("%s may concern everything", name)
	}
	read := tree.Evaluated(name)
	sizes := [2]int64{}
	for i, side := range []struct {
		fsys  fs.FS
		texts map[string]string
		sizes map[string]int64
	}{{s.before, c.Before, c.Was}, {s.after, c.After, c.Is}} {
		text, size, there, err := sideFile(side.fsys, name, read)
		switch {
		case err != nil:
			return err
		case !there:
			continue
		case read:
			side.texts[name], sizes[i] = text, size
		default:
			side.sizes[name] = size
		}
		s.files += 2*i - 1 // one less for what was, one more for what is
	}
	s.bytes += sizes[1] - sizes[0]
	if shard, ok := strings.CutSuffix(name, ".jsonl"); ok && read {
		shard = strings.TrimPrefix(shard, "nodes/")
		if len(shard) != 2 {
			return whole("%s is no file of the roster", name)
		}
		s.shards[shard] = true
		return nil
	}
	if slash.Ext(name) != ".cue" {
		return nil
	}
	dir := slash.Dir(name)
	for folder, f := range s.known.Folders {
		if f.Active && related(folder, dir) {
			return whole("something in %s/ makes objects or looks at them", folder)
		}
	}
	return nil
}

// related reports whether one of two folders is in the other.
func related(a, b string) bool {
	return a == b || a == "." || b == "." || strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/")
}

// lookers are the objects that look at things, and those that look at these.
func (s *step) lookers(roots []string, own map[string]bool) map[string]bool {
	out := map[string]bool{}
	for queue := roots; len(queue) > 0 && len(out) <= maxSubjects; queue = queue[1:] {
		for _, of := range s.reads[queue[0]] {
			if !own[of] && !out[of] {
				out[of] = true
				queue = append(queue, of)
			}
		}
	}
	return out
}

// lookedAt are the objects that must be there to judge others: what these looked at, and what changed files may name.
func (s *step) lookedAt(own, subjects map[string]bool, words map[string]bool) map[string]bool {
	out := map[string]bool{"fleet ": true}
	var queue []string
	for _, from := range []map[string]bool{own, subjects} {
		for key := range from {
			queue = append(queue, s.known.Looks[key]...)
		}
	}
	r := reflect.ValueOf(s.base.Repo)
	for _, kind := range objectFields() {
		m := r.Field(kind.field)
		for word := range words {
			if m.MapIndex(reflect.ValueOf(word)).IsValid() {
				queue = append(queue, kind.name+" "+word)
			}
		}
	}
	for ; len(queue) > 0; queue = queue[1:] {
		key := strings.TrimPrefix(queue[0], exists)
		if kind := keyOf(key).kind; kind == lookFile || kind == lookRoster || own[key] || subjects[key] || out[key] {
			continue
		}
		out[key] = true
		if len(out) > maxPart {
			break // and more files than that refuse it
		}
		queue = append(queue, s.known.Looks[key]...)
	}
	return out
}

// words are the words of changed files that may be names of objects or files.
func (s *step) words(c *partChange) (map[string]bool, error) {
	out := map[string]bool{}
	for name, text := range c.After {
		if strings.HasSuffix(name, ".jsonl") {
			continue
		}
		for word := range strings.FieldsFuncSeq(text, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r >= utf8.RuneSelf || strings.ContainsRune("_-./@+", r))
		}) {
			out[word] = true
			if !strings.HasPrefix(word, "/") {
				out["/"+word] = true // a parameter, as placeholders may name it
			}
			if i := strings.LastIndexByte(word, '/'); i >= 0 {
				out[word[i+1:]] = true // of an ARN
			}
		}
		if len(out) > maxWords {
			return nil, whole("the changed files have too many words")
		}
	}
	return out, nil
}

// common takes the files of the objects that are to be seen, and those that these depend on.
func (s *step) common(c *partChange, paths, context, subjects map[string]bool) error {
	names := map[string]bool{"fleet.cue": true}
	for _, keys := range []map[string]bool{context, subjects} {
		for key := range keys {
			files, apart := s.known.Apart[key]
			if !apart {
				files = []string{s.base.Repo.Positions[keyOf(key).path().String()].File}
			}
			if subjects[key] && (len(files) == 0 || files[0] == "") {
				return whole("%s is made by something else than its own text", key)
			}
			for _, f := range files {
				if f == "" {
					continue
				}
				if paths[f] {
					return whole("%s is in a changed file and in another", key)
				}
				names[f] = true
			}
		}
	}
	dirs := map[string]bool{}
	for name := range names {
		dirs[slash.Dir(name)] = true
	}
	for _, name := range s.changed {
		dirs[slash.Dir(name)] = true
	}
	for dir := range dirs {
		for _, up := range above(dir) {
			f := s.known.Folders[up]
			for _, name := range f.Support {
				names[name] = true
			}
			if f.Imports {
				for _, name := range s.known.Library {
					names[name] = true
				}
			}
		}
	}
	if len(names) > maxPart {
		return whole("%d files would have to be looked at", len(names))
	}
	size := 0
	for name := range names {
		if paths[name] {
			return whole("%s says more than whole objects", name)
		}
		text, _, there, err := sideFile(s.after, name, true)
		if err != nil {
			return err
		}
		if !there {
			return whole("%s is not there", name)
		}
		if size += len(text); size > maxPartText {
			return whole("more than %d bytes would have to be looked at", maxPartText)
		}
		c.Common[name] = text
	}
	return nil
}

// sizes takes the files that policies give to hosts, as far as they may be named here.
func (s *step) sizes(c *partChange, paths, own, subjects, words map[string]bool) {
	add := func(name string) {
		if b, ok := s.base.Repo.Blobs[name]; ok && !paths[name] {
			c.Was[name], c.Is[name] = b.Size, b.Size
		}
	}
	for name := range s.base.Repo.Blobs {
		if words[name] {
			add(name)
		}
	}
	for _, keys := range []map[string]bool{own, subjects} {
		for key := range keys {
			for _, at := range s.known.Looks[key] {
				if k := keyOf(at); k.kind == lookFile {
					add(k.name)
				}
			}
		}
	}
	looked := 0
	for word := range words {
		if _, has := c.Is[word]; has || !strings.Contains(word, "/") || strings.HasPrefix(word, "/") || !fs.ValidPath(word) {
			continue
		}
		if looked++; looked > 500 {
			return
		}
		if _, size, there, err := sideFile(s.after, word, false); err == nil && there && !paths[word] {
			c.Was[word], c.Is[word] = size, size
		}
	}
}

// roster takes the lines that have not changed, where they may matter.
func (s *step) roster(c *partChange, own, subjects, words map[string]bool) error {
	all := s.base.Repo.Roster
	if len(s.shards) > 0 && len(all) == 0 {
		return whole("there was no roster")
	}
	rest := s.unchanged()
	c.Nodes = len(rest)
	if len(rest) == 0 && len(all) > 0 {
		return whole("the whole roster is new")
	}
	wanted := words["nodes"] || words["SecureString"] || words["contentFrom"]
	for _, keys := range []map[string]bool{own, subjects} {
		for key := range keys {
			wanted = wanted || slices.Contains(s.known.Looks[key], lookRoster+" ")
		}
	}
	if wanted {
		c.Roster = rest
	}
	return nil
}

// unchanged are the lines of the roster in files that have not changed.
func (s *step) unchanged() []schema.RosterLine {
	if len(s.shards) == 0 {
		return s.base.Repo.Roster
	}
	out := make([]schema.RosterLine, 0, len(s.base.Repo.Roster)+8)
	for _, line := range s.base.Repo.Roster {
		if !s.shards[line.ID[:min(2, len(line.ID))]] {
			out = append(out, line)
		}
	}
	return out
}
