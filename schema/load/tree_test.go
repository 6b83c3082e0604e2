package load

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/dunlin-dev/dunlin/schema/load/tree"
)

func TestTreeFaults(t *testing.T) {
	link := files("-- a.txt --\n")
	link["files/motd"] = &fstest.MapFile{Data: []byte("../../etc/shadow"), Mode: fs.ModeSymlink | 0o777}
	link[".git/config"] = &fstest.MapFile{Mode: fs.ModeSymlink | 0o777}
	odd := files("-- a.txt --\n")
	odd["files/caf\xe9"], odd["d\xff/a.cue"] = &fstest.MapFile{}, &fstest.MapFile{}
	if _, err := tree.Digest(odd); err != nil {
		t.Error(err)
	}
	pipe := files("-- a.txt --\n")
	pipe["files/p"] = &fstest.MapFile{Mode: fs.ModeNamedPipe | 0o644}
	huge := files("-- a.cue --\npolicy: p: {targets: all: true, files: \"/x\": source: \"files/image\"}\n")
	huge["files/image"] = &fstest.MapFile{Data: make([]byte, 64<<20)}
	huge["big.cue"] = &fstest.MapFile{Data: make([]byte, tree.MaxFile+1)}
	many := files("-- a.txt --\n")
	for i := range tree.MaxFiles {
		many[fmt.Sprintf("files/%d", i)] = &fstest.MapFile{}
	}
	for _, tt := range []struct {
		name string
		m    fstest.MapFS
		want string
	}{
		{"a symbolic link is named, but not in .git", link, "files/motd: a symbolic link; a policy repository holds folders and files only\n"},
		{"names in another encoding", odd, "d\uFFFD: \"d\\xff\": the name is not UTF-8; rename it\nfiles/caf\uFFFD: \"files/caf\\xe9\": the name is not UTF-8; rename it\n"},
		{"a pipe", pipe, "files/p: neither a folder nor a file\n"},
		{"large files", huge, "a.cue:2:54: policy.p.files.\"/x\".source: \"files/image\" has 67108864 bytes; a managed file has at most 1048576\n" +
			"big.cue: 1048577 bytes; a file that is evaluated has at most 1048576\n"},
		{"too many files", many, "more than 20000 files; a policy repository has fewer\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := lines(faultsOf(t, thisBuild(), tt.m)); got != tt.want {
				t.Errorf("faults:\n%swant:\n%s", got, tt.want)
			}
		})
	}
}

// locked has a folder that cannot be read.
type locked struct{ fstest.MapFS }

func (l locked) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == "policies" {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return l.MapFS.ReadDir(name)
}

func TestUnreadableFolderIsNamed(t *testing.T) {
	_, _, err := thisBuild()(t.Context(), locked{files("-- policies/a.cue --\n")})
	if !errors.Is(err, fs.ErrPermission) || err.Error() != `read "policies": permission denied` {
		t.Errorf("err = %v", err)
	}
	if _, err := tree.Digest(locked{files("-- policies/a.cue --\n")}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Digest = %v", err)
	}
}
