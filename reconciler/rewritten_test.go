package reconciler

import (
	"slices"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

func TestRewritten(t *testing.T) {
	parameters := func(kind schema.StoredType, versions ...string) schema.Repo {
		p := schema.Parameter{Type: kind, Versions: map[string]schema.ParameterVersion{}}
		for i := 0; i < len(versions); i += 2 {
			p.Versions[versions[i]] = schema.ParameterVersion{Value: versions[i+1]}
		}
		return schema.Repo{Parameters: map[string]schema.Parameter{"/a": p}}
	}
	const text, secret = schema.StoredString, schema.StoredSecureString
	for _, tt := range []struct {
		name     string
		old, now schema.Repo
		want     []string
	}{
		{"nothing is other", parameters(text, "1", "x"), parameters(text, "1", "x"), nil},
		{"a new version", parameters(text, "1", "x"), parameters(text, "1", "x", "2", "y"), nil},
		{"several at once, and the oldest gone", parameters(text, "1", "x", "2", "y"), parameters(text, "2", "y", "3", "z", "4", "z"), nil},
		{"a new parameter", schema.Repo{}, parameters(text, "1", "x"), nil},
		{"a parameter is gone", parameters(text, "1", "x"), schema.Repo{}, nil},
		{"another type", parameters(secret, "1", "x"), parameters(text, "1", "y"), []string{"/a was a SecureString and is a String"}},
		{"another value", parameters(text, "1", "x", "2", "y"), parameters(text, "1", "z", "2", "y"), []string{"/a has another value as version 1"}},
		{"a version taken back", parameters(text, "1", "x", "2", "y"), parameters(text, "1", "x"), []string{"/a went back from version 2 to 1"}},
		{"taken back, and written otherwise", parameters(text, "1", "x", "2", "y"), parameters(text, "1", "y"),
			[]string{"/a went back from version 2 to 1", "/a has another value as version 1"}},
		{"a secret that is encrypted anew", parameters(secret, "1", "x", "2", "y"), parameters(secret, "1", "z", "2", "z"), nil},
		{"a secret taken back", parameters(secret, "1", "x", "2", "y"), parameters(secret, "1", "x"), []string{"/a went back from version 2 to 1"}},
	} {
		if got := Rewritten(tt.old, tt.now); !slices.Equal(got, tt.want) {
			t.Errorf("%s: Rewritten = %q, want %q", tt.name, got, tt.want)
		}
	}
}
