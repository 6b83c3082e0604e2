package tree

import (
	"io/fs"
	"testing"
	"testing/fstest"
)

// files is a repository of names and what is in them.
func files(namesAndTexts ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i := 0; i < len(namesAndTexts); i += 2 {
		m[namesAndTexts[i]] = &fstest.MapFile{Data: []byte(namesAndTexts[i+1]), Mode: 0o644}
	}
	return m
}

func TestDigestSeesWhatMatters(t *testing.T) {
	digest := func(m fstest.MapFS) string {
		t.Helper()
		d, err := Digest(m)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	base := files("a.cue", "", "files/x", "one\n")
	seen := map[string]string{digest(base): "the same"}
	for name, m := range map[string]fstest.MapFS{
		"other content":  files("a.cue", "", "files/x", "two\n"),
		"another name":   files("a.cue", "", "files/y", "one\n"),
		"another file":   files("a.cue", "", "files/x", "one\n", "z", ""),
		"content moved":  files("a.cue", "one\n", "files/x", ""),
		"a file is gone": files("a.cue", ""),
	} {
		d := digest(m)
		if other, ok := seen[d]; ok {
			t.Errorf("%s has the digest of %s", name, other)
		}
		seen[d] = name
	}
	link := files("a.cue", "", "files/x", "one\n")
	link["files/x"].Mode = fs.ModeSymlink | 0o777
	if _, ok := seen[digest(link)]; ok {
		t.Error("a link has the digest of a file")
	}
	base[".git/HEAD"] = &fstest.MapFile{Data: []byte("x")}
	if seen[digest(base)] != "the same" {
		t.Error(".git changes the digest")
	}
}
