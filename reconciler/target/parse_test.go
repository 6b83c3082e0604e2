package target

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

func TestParse(t *testing.T) {
	exclude := func(t schema.Targets, s schema.Selection) schema.Targets { t.Exclude = &s; return t }
	for _, tt := range []struct {
		name string
		in   []string
		want schema.Targets
	}{
		{"comma means or", []string{"tag:role=web,api"}, sel(tags("role", "api", "web"))},
		{"repeated means and", []string{"tag:role=web", "os=debian"}, sel(schema.Selection{Tags: map[string]schema.Texts{"role": {"web"}}, OS: []string{"debian"}})},
		{"one tag repeated keeps what both lists have", []string{"tag:role=web,api", "tag:role=api,db"}, sel(tags("role", "api"))},
		{"an exclamation mark excludes", []string{"all", "!tag:canary=true"}, exclude(schema.Targets{All: true}, tags("canary", "true"))},
		{"an exclusion repeated excludes either", []string{"all", "!os=debian", "!os=ubuntu"}, exclude(schema.Targets{All: true}, schema.Selection{OS: []string{"debian", "ubuntu"}})},
		{"a key ends at the first =", []string{"tag:a=b=c"}, sel(tags("a", "b=c"))},
		{"a tag may be empty", []string{"tag:note="}, sel(tags("note", ""))},
		{"nodes, groups and resource groups", []string{"node=web-1", "group=edge", "resourceGroup=eu"}, sel(schema.Selection{Nodes: []string{"web-1"}, Groups: []string{"edge"}, ResourceGroups: []string{"eu"}})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.in)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Parse(%q) = %+v, %v, want %+v", tt.in, got, err, tt.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	many := make([]string, 51)
	for i := range many {
		many[i] = fmt.Sprint("v", i)
	}
	for _, tt := range []struct{ name, in, want string }{
		{"nothing", "", `no targets; give "all" for every node`},
		{"an exclusion alone", "!os=debian", `targets only exclude`},
		{"all with a selection", "all os=debian", `"all" goes only with exclusions`},
		{"excluding all", "!all", `excluding all leaves no node`},
		{"a word that is no field", "tags:role=web", `want all, tag:KEY=VALUE`},
		{"no value", "os", `want all, tag:KEY=VALUE`},
		{"an os in capitals", "os=Debian", `"Debian" is not an operating system such as debian`},
		{"an empty node", "node=", `"" is not a node's name or id`},
		{"a tag without key", "tag:=x", `"" is not the key of a tag`},
		{"a tag with a control character", "tag:a=\x1b", `is not the value of a tag`},
		{"one tag repeated without a common value", "tag:a=1 tag:a=2", `no node can match`},
		{"nodes repeated", "node=a node=b", `node is given twice`},
		{"two fields excluded", "all !os=debian !tag:a=1", `already excluding by os`},
		{"two tags excluded", "all !tag:b=1 !tag:a=1", `already excluding by tag:b`},
		{"51 values", "tag:a=" + strings.Join(many, ","), `51 values; at most 50 are allowed`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(strings.Fields(tt.in))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Parse(%q) = %+v, %v, want an error with %q", tt.in, got, err, tt.want)
			}
		})
	}
}

// What Parse accepts, Format writes so that Parse reads the same again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"all", "tag:role=web,api os=debian !tag:canary=true", "tag:a=b=c", "tag:n= node=x", "!os=a all !os=b", "group=g resourceGroup=r"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := Parse(strings.Split(s, " "))
		if err != nil {
			return
		}
		Match(got, web, sets)
		texts, ok := Format(got)
		if !ok {
			t.Fatalf("Format(Parse(%q)) cannot say %+v", s, got)
		}
		again, err := Parse(texts)
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("Parse(%q) = %+v, again from %q = %+v, %v", s, got, texts, again, err)
		}
	})
}
