package sysctl

import (
	"fmt"
	"io/fs"
	"maps"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

type kernel struct{ values, boot map[string]string }

func (k kernel) ReadSysctl(key string) (string, error) {
	v, ok := k.values[key]
	if !ok {
		return "", fs.ErrNotExist
	}
	return v, nil
}
func (k kernel) WriteSysctl(key, v string) error         { k.values[key] = v; return nil }
func (k kernel) BootSysctls() (map[string]string, error) { return maps.Clone(k.boot), nil }
func (k kernel) SetBootSysctls(m map[string]string) error {
	clear(k.boot)
	maps.Copy(k.boot, m)
	return nil
}

func resource(key, value string, mode schema.Mode) schema.Resource {
	return schema.Resource{Kind: schema.KindSysctl, Key: key, Mode: mode, Sysctl: &value}
}

func TestAParameterIsRightNowAndAtBoot(t *testing.T) {
	k := Kind{kernel{map[string]string{"a.now": "1\t 2", "a.wrong": "0", "a.old": "3"}, map[string]string{"a.old": "2", "a.left": "9"}}}
	for _, tt := range []struct {
		name string
		r    schema.Resource
		want string
	}{
		{"right now, not at boot", resource("a.now", "1 2", schema.Enforce), "update: 1 2 at boot <- "},
		{"an audit asks only what is", resource("a.now", "1 2", schema.Audit), ""},
		{"wrong now", resource("a.wrong", "1", schema.Enforce), "update: 1 <- 0"},
		{"another value at boot", resource("a.old", "3", schema.Enforce), "update: 3 at boot <- 2 at boot"},
		{"what left the policy loses its line", schema.Resource{Kind: schema.KindSysctl, Key: "a.left", Mode: schema.Enforce, Released: true}, "delete:  <- 9 at boot"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := k.Check(t.Context(), []schema.Resource{tt.r})[0]
			text := ""
			for _, d := range got.Drift {
				text += fmt.Sprintf("%s: %s <- %s", d.Action, d.Want, d.Got)
			}
			if text != tt.want || got.Err != nil {
				t.Errorf("Check = %q, %v, want %q", text, got.Err, tt.want)
			}
		})
	}
	wanted := []schema.Resource{resource("a.now", "1 2", schema.Enforce), resource("a.old", "3", schema.Enforce)}
	stale, err := k.Stale(t.Context(), wanted)
	if err != nil || len(stale) != 1 || stale[0].Key != "a.left" {
		t.Errorf("Stale = %+v, %v, want a.left alone", stale, err)
	}
	for _, err := range k.Apply(t.Context(), append(wanted, stale...)) {
		if err != nil {
			t.Error(err)
		}
	}
	if got := fmt.Sprint(k.Host.(kernel).boot); got != "map[a.now:1 2 a.old:3]" {
		t.Errorf("kept at boot: %s", got)
	}
}
