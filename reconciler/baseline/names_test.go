package baseline

import (
	"path"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

// Every spelling of SSM §7.4 for apt, and its wildcards.
func TestNames(t *testing.T) {
	p := schema.PackageFact{Name: "libssl3", Arch: "amd64", Version: "1:3.0.17-1~deb12u3"}
	for _, tt := range []struct {
		entry string
		want  bool
	}{
		{"libssl3", true},
		{"1:3.0.17-1~deb12u3", true},
		{"libssl3.amd64", true},
		{"libssl3-1:3.0.17-1~deb12u3", true},
		{"amd64:1:3.0.17-1~deb12u3", true},
		{"libssl3.amd64:1:3.0.17-1~deb12u3", true},
		{"LibSSL3", true},
		{"libssl*", true},
		{"*", true},
		{"LIBSSL?", true},
		{"libssl[0-9].*", true},
		{"libssl[!a-z]", true},
		{"libssl[]3]", true},
		{"*~deb12u?", true},
		{"libssl", false},
		{"ssl3", false},
		{"libssl3.i386", false},
		{"3.0.17-1~deb12u3", false},
		{"libssl3-3.0*", false},
		{"libssl??", false},
		{"libssl[!0-9]", false},
		{"libssl[3", false},
		{"libssl3:amd64", false},
	} {
		t.Run(tt.entry, func(t *testing.T) {
			got, ok := compileNames([]string{"nothing", tt.entry}).match(&p)
			if ok != tt.want || ok && got != tt.entry {
				t.Errorf("match = %q, %v, want %v", got, ok, tt.want)
			}
			if _, rejected := Rejected(schema.Baseline{RejectedPatches: []string{tt.entry}}, p); rejected != tt.want {
				t.Errorf("Rejected = %v, want %v", rejected, tt.want)
			}
		})
	}
	if got, _ := compileNames([]string{"zlib", "lib*", "libssl3", "*"}).match(&p); got != "lib*" {
		t.Errorf("match names %q, want the first entry that does, lib*", got)
	}
}

// globMatch agrees with path.Match, whose language is the same but for / and \, and never panics.
func FuzzGlob(f *testing.F) {
	for _, s := range [][2]string{{"a*b?c", "axxbyc"}, {"[a-c]*", "b"}, {"[!x]", "y"}, {"[", "["}, {"**", ""}, {"[]", "[]"}, {"[!", "[!"}, {"[a-", "[a-"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		got := globMatch(pattern, s)
		if strings.ContainsAny(pattern, "[]!^\\") || strings.Contains(s, "/") || !ascii(pattern) || !ascii(s) {
			return
		}
		if want, err := path.Match(pattern, s); err == nil && got != want {
			t.Errorf("globMatch(%q, %q) = %v, want %v", pattern, s, got, want)
		}
	})
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 126 })
}
