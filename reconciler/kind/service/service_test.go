package service

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

// fakeHost plays a service manager.
type fakeHost struct {
	units map[string]schema.Unit
	fail  map[string]error // by what is done: "start nginx.service"
	did   []string
}

func (h *fakeHost) Units(_ context.Context, names []string) ([]schema.Unit, error) {
	out := make([]schema.Unit, len(names))
	for i, n := range names {
		u, ok := h.units[n]
		if !ok {
			u = schema.Unit{Load: "not-found", Active: "inactive"}
		}
		u.Name = n
		out[i] = u
	}
	return out, h.fail["units"]
}

func (h *fakeHost) UnitFiles(_ context.Context, names []string) ([]string, error) {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = h.units[n].File
	}
	return out, h.fail["files"]
}

func (h *fakeHost) do(what, name string) error {
	h.did = append(h.did, strings.TrimSpace(what+" "+name))
	return h.fail[strings.TrimSpace(what+" "+name)]
}
func (h *fakeHost) StartUnit(_ context.Context, n string) error   { return h.do("start", n) }
func (h *fakeHost) StopUnit(_ context.Context, n string) error    { return h.do("stop", n) }
func (h *fakeHost) RestartUnit(_ context.Context, n string) error { return h.do("restart", n) }
func (h *fakeHost) EnableUnit(_ context.Context, n string) error  { return h.do("enable", n) }
func (h *fakeHost) DisableUnit(_ context.Context, n string) error { return h.do("disable", n) }
func (h *fakeHost) ReloadUnits(context.Context) error             { return h.do("reload", "") }

// want is a resource; each of running and enabled is "yes", "no" or empty.
func want(key, running, enabled string) schema.Resource {
	yesNo := func(s string) *bool {
		if s == "" {
			return nil
		}
		return new(s == "yes")
	}
	return schema.Resource{Kind: schema.KindService, Key: key, Mode: schema.Enforce, Service: &schema.Service{Running: yesNo(running), Enabled: yesNo(enabled)}}
}

func TestWhatAUnitIsAgainstWhatIsWanted(t *testing.T) {
	for _, tt := range []struct {
		name             string
		unit             schema.Unit
		running, enabled string
		drift            string // of Check
		fails            string // a word of Apply's error
	}{
		{"running and enabled", schema.Unit{Load: "loaded", Active: "active", File: "enabled"}, "yes", "yes", "", ""},
		{"reloading runs", schema.Unit{Load: "loaded", Active: "reloading"}, "yes", "", "", ""},
		{"stopped is started", schema.Unit{Load: "loaded", Active: "inactive", File: "disabled"}, "yes", "", "start running/stopped", ""},
		{"failed is started", schema.Unit{Load: "loaded", Active: "failed"}, "yes", "", "start running/failed", ""},
		{"failed is stopped", schema.Unit{Load: "loaded", Active: "failed"}, "no", "", "", ""},
		{"starting is not up yet", schema.Unit{Load: "loaded", Active: "activating", Sub: "start-pre"}, "yes", "", "start running/starting", ""},
		{"a crash loop is no running", schema.Unit{Load: "loaded", Active: "activating", Sub: "auto-restart"}, "yes", "", "start running/restarting", ""},
		{"a crash loop is stopped", schema.Unit{Load: "loaded", Active: "activating", Sub: "auto-restart"}, "no", "", "stop stopped/restarting", ""},
		{"stopping is waited for", schema.Unit{Load: "loaded", Active: "deactivating"}, "no", "", "stop stopped/stopping", ""},
		{"enabled until the next boot is not enabled", schema.Unit{Load: "loaded", Active: "active", File: "enabled-runtime"}, "", "yes", "enable enabled/enabled-runtime", ""},
		{"enabled until the next boot is disabled", schema.Unit{Load: "loaded", Active: "active", File: "enabled-runtime"}, "", "no", "disable disabled/enabled-runtime", ""},
		{"enabled and running is put away", schema.Unit{Load: "loaded", Active: "active", File: "enabled"}, "no", "no", "disable disabled/enabled, stop stopped/running", ""},
		{"an alias is enabled", schema.Unit{Load: "loaded", Active: "active", File: "alias"}, "", "yes", "", ""},
		{"an alias is disabled", schema.Unit{Load: "loaded", Active: "active", File: "alias"}, "", "no", "disable disabled/enabled", ""},
		{"static is disabled", schema.Unit{Load: "loaded", Active: "active", File: "static"}, "", "no", "", ""},
		{"static cannot be enabled", schema.Unit{Load: "loaded", Active: "active", File: "static"}, "", "yes", "enable enabled/static", "[Install]"},
		{"indirect cannot be enabled", schema.Unit{Load: "loaded", Active: "active", File: "indirect"}, "", "yes", "enable enabled/indirect", "Also="},
		{"generated cannot be enabled", schema.Unit{Load: "loaded", Active: "active", File: "generated"}, "", "yes", "enable enabled/generated", "generated"},
		{"masked is stopped and disabled", schema.Unit{Load: "masked", Active: "inactive", File: "masked"}, "no", "no", "", ""},
		{"masked does not run", schema.Unit{Load: "masked", Active: "inactive", File: "masked"}, "yes", "", "start running/masked", "systemctl unmask x.service"},
		{"masked is not enabled", schema.Unit{Load: "masked", Active: "inactive", File: "masked"}, "", "yes", "enable enabled/masked", "systemctl unmask x.service"},
		{"masked and still running is stopped", schema.Unit{Load: "masked", Active: "active", File: "masked"}, "no", "", "stop stopped/running", ""},
		{"what does not exist is stopped and disabled", schema.Unit{Load: "not-found", Active: "inactive"}, "no", "no", "", ""},
		{"what does not exist does not run", schema.Unit{Load: "not-found", Active: "inactive"}, "yes", "", "start running/", "no such unit"},
		{"what does not exist is not enabled", schema.Unit{Load: "not-found", Active: "inactive"}, "", "yes", "enable enabled/", "no such unit"},
		{"the file is gone, the process is not", schema.Unit{Load: "not-found", Active: "active"}, "no", "", "stop stopped/running", ""},
		{"a broken file", schema.Unit{Load: "bad-setting", Active: "inactive", File: "disabled"}, "yes", "", "start running/stopped", "systemd-analyze"},
		{"nothing wanted", schema.Unit{Load: "loaded", Active: "failed", File: "bad"}, "", "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := &fakeHost{units: map[string]schema.Unit{"x.service": tt.unit}}
			r := want("x", tt.running, tt.enabled)
			got := Kind{h}.Check(t.Context(), []schema.Resource{r})[0]
			var words, actions []string
			for _, d := range got.Drift {
				words = append(words, string(d.Action)+" "+d.Want+"/"+d.Got)
				actions = append(actions, string(d.Action)+" x.service")
				if d.Action == schema.Enable || d.Action == schema.Disable {
					actions = append(actions, "reload")
				}
			}
			if got.Err != nil || strings.Join(words, ", ") != tt.drift {
				t.Errorf("Check = %q, %v, want %q", words, got.Err, tt.drift)
			}
			err := Kind{h}.Apply(t.Context(), []schema.Resource{r})[0]
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) || len(h.did) != 0 {
					t.Errorf("Apply = %v, did %q, want an error with %q and nothing done", err, h.did, tt.fails)
				}
			} else if err != nil || !slices.Equal(h.did, actions) {
				t.Errorf("Apply = %v, did %q, want %q", err, h.did, actions)
			}
		})
	}
}

func TestOneReloadForAllAndErrorsStayApart(t *testing.T) {
	off := schema.Unit{Load: "loaded", Active: "inactive", File: "disabled"}
	h := &fakeHost{units: map[string]schema.Unit{"a.service": off, "b.socket": off, "c.service": off},
		fail: map[string]error{"start a.service": errors.New("it did not come up")}}
	errs := Kind{h}.Apply(t.Context(), []schema.Resource{want("a", "yes", "yes"), want("missing", "yes", ""), want("b.socket", "yes", "yes"), want("c", "yes", "")})
	if errs[0] == nil || errs[1] == nil || errs[2] != nil || errs[3] != nil {
		t.Errorf("Apply = %v, want the first two failed", errs)
	}
	if got, want := strings.Join(h.did, ", "), "enable a.service, enable b.socket, reload, start a.service, start b.socket, start c.service"; got != want {
		t.Errorf("did %s, want %s", got, want)
	}
}

func TestRestart(t *testing.T) {
	for _, tt := range []struct {
		name string
		unit schema.Unit
		did  bool
		err  string
	}{
		{"running", schema.Unit{Load: "loaded", Active: "active"}, true, ""},
		{"failed: the change may be the cure", schema.Unit{Load: "loaded", Active: "failed"}, true, ""},
		{"stopped stays so", schema.Unit{Load: "loaded", Active: "inactive"}, false, "stays so"},
		{"missing", schema.Unit{Load: "not-found", Active: "inactive"}, false, "no such unit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := &fakeHost{units: map[string]schema.Unit{"x.service": tt.unit}}
			err := Kind{h}.Restart(t.Context(), "x")
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) || (len(h.did) == 1) != tt.did {
				t.Errorf("Restart = %v, did %q", err, h.did)
			}
		})
	}
}

func TestUnitName(t *testing.T) {
	for key, want := range map[string]string{
		"nginx": "nginx.service", "nginx.service": "nginx.service", "telnet.socket": "telnet.socket", "a.b": "a.b.service",
		"getty@tty1": "getty@tty1.service", "getty@.service": "getty@.service", `dev-disk-by\x2d.mount`: `dev-disk-by\x2d.mount`, "-.mount": "-.mount",
		"": "", ".service": "", "@x": "", "a b": "", "../etc": "", "a/b.service": "", "a\n": "", "é": "", "a*": "", strings.Repeat("x", 250): "", strings.Repeat("x", 247): strings.Repeat("x", 247) + ".service",
	} {
		got, err := UnitName(key)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("UnitName(%q) = %q, %v, want %q", key, got, err, want)
		}
	}
}

func FuzzUnitName(f *testing.F) {
	f.Add("nginx")
	f.Add("a@.socket")
	f.Fuzz(func(t *testing.T, key string) {
		name, err := UnitName(key)
		if err != nil {
			return
		}
		if again, err := UnitName(name); err != nil || again != name || strings.ContainsAny(name, "/ *?\x00\n") {
			t.Errorf("UnitName(%q) = %q, and again %q, %v", key, name, again, err)
		}
	})
}

func TestATemplateIsNoService(t *testing.T) {
	got := Kind{&fakeHost{}}.Check(t.Context(), []schema.Resource{want("getty@.service", "yes", ""), want("getty@.service", "", "yes"), want("getty@tty1", "no", "no")})
	if got[0].Err == nil || got[1].Err == nil || got[2].Err != nil || !strings.Contains(got[0].Err.Error(), "getty@name.service") {
		t.Errorf("Check = %+v, want the templates refused", got)
	}
}

func TestAManagerThatDoesNotAnswerIsNamedForEachService(t *testing.T) {
	for _, what := range []string{"units", "files"} {
		h := &fakeHost{units: map[string]schema.Unit{}, fail: map[string]error{what: errors.New("no answer")}}
		rs := []schema.Resource{want("a", "yes", "yes"), want("b", "no", "no")}
		for i, c := range (Kind{h}).Check(t.Context(), rs) {
			if c.Err == nil || !strings.Contains(c.Err.Error(), rs[i].Key) {
				t.Errorf("%s: Check(%s) = %v", what, rs[i].Key, c.Err)
			}
		}
	}
}
