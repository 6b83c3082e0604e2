package load

import (
	"encoding/json"
	"fmt"
	"maps"
	slash "path"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"

	"github.com/dunlin-dev/dunlin/schema"
)

// plainCUE evaluates the files at the root of a repository as the published tool does offline: imports are what is
// vendored under cue.mod/pkg, and nothing else is known of Dunlin.
func plainCUE(t testing.TB, m fstest.MapFS) (cue.Value, error) {
	t.Helper()
	vendored, err := Vendored(ShippedPackages())
	if err != nil {
		t.Fatal(err)
	}
	vendored["schema.cue"] = []byte(Binding)
	for name, f := range m {
		vendored[name] = f.Data
	}
	var load build.LoadFunc
	instance := func(imp string) *build.Instance {
		inst := build.NewContext(build.Loader(load)).NewInstance(imp, load)
		inst.ImportPath = imp
		dir := "."
		if imp != "" {
			dir = "cue.mod/pkg/" + imp
		}
		for _, name := range slices.Sorted(maps.Keys(vendored)) {
			if slash.Dir(name) != dir || slash.Ext(name) != ".cue" {
				continue
			}
			f, err := parser.ParseFile(name, vendored[name], parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if err := inst.AddSyntax(f); err != nil {
				t.Fatal(err)
			}
		}
		if len(inst.Files) == 0 {
			return nil // of the standard library
		}
		_ = inst.Complete()
		return inst
	}
	load = func(_ token.Pos, imp string) *build.Instance { return instance(imp) }
	inst := instance("")
	if inst.Err != nil {
		return cue.Value{}, inst.Err
	}
	v := newContext().BuildInstance(inst)
	return v, v.Validate(cue.Concrete(true), cue.Final())
}

// shippedPolicies are the ready objects of the library.
func shippedPolicies(t testing.TB) map[string]schema.Policy {
	t.Helper()
	out := map[string]schema.Policy{}
	if err := json.Unmarshal(shippedJSON(t, "policy"), &out); err != nil || len(out) == 0 {
		t.Fatalf("%d policies, %v", len(out), err)
	}
	return out
}

// Every ready policy loads in this build under the name that its author gives it, alone and with all others, and means
// to plain CUE what it means here.
func TestHardeningLoads(t *testing.T) {
	names := slices.Sorted(maps.Keys(shippedPolicies(t)))
	var one strings.Builder
	one.WriteString("-- a.cue --\nimport \"dunlin.dev/policies/hardening\"\n")
	for _, name := range names {
		fmt.Fprintf(&one, "policy: \"my-%s\": hardening.policy.%q\n", name, name)
	}
	for form, text := range map[string]string{
		"one by one": one.String(),
		"all":        "-- a.cue --\nimport \"dunlin.dev/policies/hardening\"\npolicy: hardening.policy\n",
	} {
		t.Run(form, func(t *testing.T) {
			m := files(text)
			repo, faults, err := thisBuild()(t.Context(), m)
			if err != nil || len(faults) > 0 || len(repo.Policies) != len(names) {
				t.Fatalf("%d policies of %d, %v:\n%s", len(repo.Policies), len(names), err, lines(faults))
			}
			for path, at := range repo.Positions {
				if at.File != "a.cue" && at.File != "fleet.cue" || at.Line == 0 {
					t.Errorf("%s is said to stand at %+v, which is no place of the author's", path, at)
				}
			}
			v, err := plainCUE(t, m)
			if err != nil {
				t.Fatalf("plain CUE refuses it: %v", err)
			}
			for name, p := range repo.Policies {
				b, err := v.LookupPath(cue.MakePath(cue.Str("policy"), cue.Str(name))).MarshalJSON()
				if err != nil {
					t.Fatal(err)
				}
				var plain, ours map[string]any
				text, _ := json.Marshal(p)
				if err := json.Unmarshal(text, &ours); err != nil {
					t.Fatal(err)
				}
				if err := json.Unmarshal(b, &plain); err != nil {
					t.Fatal(err)
				}
				for field, value := range plain { // ours has defaults beside it
					if field != "blockedPorts" && field != "files" && !reflect.DeepEqual(ours[field], value) {
						t.Errorf("%s.%s is %v, and to plain CUE %v", name, field, ours[field], value)
					}
				}
				if f, ok := plain["files"].(map[string]any); ok {
					for path, f := range f {
						if *p.Files[path].Content != f.(map[string]any)["content"] {
							t.Errorf("%s: %s is %q, and to plain CUE %v", name, path, *p.Files[path].Content, f)
						}
					}
				}
				if ports, _ := plain["blockedPorts"].([]any); len(ports) != len(p.BlockedPorts) {
					t.Errorf("%s blocks %d ports, and to plain CUE %d", name, len(p.BlockedPorts), len(ports))
				}
			}
		})
	}
}

// Every template and every item of one says why, and where that is written. Every ready policy is a template.
func TestHardeningIsExplained(t *testing.T) {
	v := shippedPackage(t, newContext(), "hardening")
	templates := 0
	it, err := v.Fields(cue.Definitions(true))
	for err == nil && it.Next() {
		name := it.Selector().String()
		items := it.Value().LookupPath(cue.ParsePath("#items"))
		if !items.Exists() {
			continue
		}
		templates++
		text := func(of cue.Value, path string) {
			if s, err := of.LookupPath(cue.ParsePath(path)).String(); err != nil || len(s) < 10 {
				t.Errorf("%s: %s of %v is %q, %v", name, path, of.Path(), s, err)
			}
		}
		text(it.Value(), "description")
		text(it.Value(), "annotations.rationale")
		text(it.Value(), "annotations.reference")
		all, err := items.Fields()
		n := 0
		for ; err == nil && all.Next(); n++ {
			text(all.Value(), "rationale")
			text(all.Value(), "reference")
		}
		if n == 0 {
			t.Errorf("%s has no items: %v", name, err)
		}
	}
	if templates < 9 {
		t.Errorf("%d templates, %v", templates, err)
	}
	for name, p := range shippedPolicies(t) {
		if p.Description == "" || p.Annotations["rationale"] == "" || p.Annotations["reference"] == "" || p.Severity == "" {
			t.Errorf("policy %s is not explained: %+v", name, p)
		}
	}
}

// The ports are those that a fleet should not speak on, in the protocols that they are spoken in, and none that carries
// the fleet or logs.
func TestLegacyPorts(t *testing.T) {
	want := []string{
		"in/tcp/21/any", "in/tcp/23/any", "in/udp/69/any", "in/tcp/111/any", "in/udp/111/any",
		"in/tcp/135/any", "in/udp/135/any", "in/tcp/136/any", "in/udp/136/any", "in/tcp/137/any", "in/udp/137/any",
		"in/tcp/138/any", "in/udp/138/any", "in/tcp/139/any", "in/udp/139/any", "in/tcp/445/any",
		"in/tcp/512/any", "in/tcp/513/any", "in/tcp/514/any", "in/tcp/2049/any", "in/udp/2049/any",
	}
	ports := func(p schema.Policy) []string {
		var out []string
		for _, b := range p.BlockedPorts {
			out = append(out, b.Key())
		}
		return out
	}
	repo, faults, err := thisBuild()(t.Context(), files(`
-- a.cue --
import "dunlin.dev/policies/hardening"
policy: all: hardening.policy."legacy-ports"
policy: some: hardening.#LegacyPorts & {targets: tags: role: "files", #except: ["smb", "nfs", "portmapper"], severity: "CRITICAL", mode: "audit"}
`))
	if err != nil || len(faults) > 0 {
		t.Fatalf("%v:\n%s", err, lines(faults))
	}
	if got := ports(repo.Policies["all"]); !slices.Equal(got, want) {
		t.Errorf("legacy-ports blocks\n%q, want\n%q", got, want)
	}
	p := repo.Policies["some"]
	want = slices.DeleteFunc(want, func(k string) bool {
		return strings.Contains(k, "/445/") || strings.Contains(k, "/2049/") || strings.Contains(k, "/111/")
	})
	if got := ports(p); !slices.Equal(got, want) || p.Severity != "CRITICAL" || p.Mode != schema.Audit {
		t.Errorf("without three it blocks\n%q, want\n%q; %+v", got, want, p)
	}
}

// What a repository wants otherwise it says in the item's own place; the rest stays.
func TestHardeningIsChanged(t *testing.T) {
	m := files(`
-- a.cue --
import "dunlin.dev/policies/hardening"
policy: kernel: hardening.#KernelSysctls & {
	targets: all: true
	#except: ["kernel.yama.ptrace_scope"]
	sysctls: {"kernel.kptr_restrict": "2", "vm.swappiness": "10"}
	annotations: {owner: "ann", rationale: "ours"}
}
policy: services: hardening.#UnneededServices & {
	targets: all: true
	#except: ["cups.socket", "cups.path", "cups.service"]
	services: {"rpcbind.service": running: true, "snapd.service": running: false}
}
policy: ssh: hardening.#SSHDaemon & {
	targets: os: ["rhel"]
	#options: {PermitRootLogin: "no", PasswordAuthentication: "no", AllowGroups: "admins ops"}
	#except: ["X11Forwarding"]
	#file: "/etc/ssh/sshd_config.d/10-ours.conf"
	onChange: restart: ["sshd.service"]
}
`)
	repo, faults, err := thisBuild()(t.Context(), m)
	if err != nil || len(faults) > 0 {
		t.Fatalf("%v:\n%s", err, lines(faults))
	}
	if _, err := plainCUE(t, m); err != nil {
		t.Errorf("plain CUE refuses it: %v", err)
	}
	k := repo.Policies["kernel"]
	if _, there := k.Sysctls["kernel.yama.ptrace_scope"]; there || k.Sysctls["kernel.kptr_restrict"] != "2" || k.Sysctls["vm.swappiness"] != "10" || k.Sysctls["kernel.randomize_va_space"] != "2" || len(k.Sysctls) != 12 {
		t.Errorf("sysctls = %v", k.Sysctls)
	}
	if k.Annotations["owner"] != "ann" || k.Annotations["rationale"] != "ours" || k.Annotations["reference"] == "" {
		t.Errorf("annotations = %v", k.Annotations)
	}
	s := repo.Policies["services"].Services
	if _, there := s["cups.service"]; there || !*s["rpcbind.service"].Running || *s["rpcbind.service"].Enabled || *s["snapd.service"].Running || *s["avahi-daemon.socket"].Running {
		t.Errorf("services = %v", s)
	}
	p := repo.Policies["ssh"]
	want := `# Managed by Dunlin: changes made here are put back.
PermitRootLogin no
PermitEmptyPasswords no
HostbasedAuthentication no
IgnoreRhosts yes
PermitUserEnvironment no
StrictModes yes
MaxAuthTries 4
MaxSessions 10
MaxStartups 10:30:60
LoginGraceTime 60
ClientAliveInterval 15
ClientAliveCountMax 3
LogLevel VERBOSE
PasswordAuthentication no
AllowGroups admins ops
`
	if f := p.Files["/etc/ssh/sshd_config.d/10-ours.conf"]; f.Content == nil || *f.Content != want || f.Mode != "0600" || len(p.Files) != 1 || !slices.Equal(p.OnChange.Restart, []string{"sshd.service"}) {
		t.Errorf("ssh = %+v", p)
	}
}

// A slip in what a template is given is one fault, at its place, and refused by plain CUE as well.
func TestHardeningMistakes(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"an item that there is not", `policy: p: hardening.#OwnUpdates & {targets: all: true, #except: ["apt-daily"]}`,
			`a.cue:3:12: policy.p.services: #except: no item apt-daily; there are apt-daily.timer, apt-daily-upgrade.timer, unattended-upgrades.service, dnf-automatic.timer, dnf-automatic-download.timer, dnf-automatic-install.timer, dnf5-automatic.timer, yum-cron.service, transactional-update.timer`},
		{"no targets", `policy: p: hardening.#LegacyPorts`, `a.cue:3:9: policy.p.targets: required; which nodes, such as {all: true} or {tags: role: "web"}`},
		{"a field that there is not", `policy: p: hardening.#LegacyPorts & {targets: all: true, blockdPorts: []}`,
			`a.cue:3:58: policy.p.blockdPorts: no such field (did you mean "blockedPorts"?); allowed: annotations, description, targets, mode, severity, window, disruption, allowLockout, blockedPorts, packages, services, files, sysctls, users, registry, checks, onChange`},
		{"a word that there is not", `policy: p: hardening.#IPv4Sysctls & {targets: all: true, severity: "high"}`,
			`a.cue:3:68: policy.p.severity: "high" is not one of CRITICAL, HIGH, MEDIUM, LOW, UNSPECIFIED (did you mean "HIGH"?)`},
		{"an option that sshd may not know", `policy: p: hardening.#SSHDaemon & {targets: all: true, #options: PermitRootLogn: "no"}`,
			`a.cue:3:66: policy.p.files."/etc/ssh/sshd_config.d/00-dunlin.conf".content: no such field in the definition that this is combined with`},
		{"a value that lets root in by password", `policy: p: hardening.#SSHDaemon & {targets: all: true, #options: PermitRootLogin: "yes"}`,
			`a.cue:3:83: policy.p.files."/etc/ssh/sshd_config.d/00-dunlin.conf".content: "yes" does not fit =~"^(prohibit-password|no|forced-commands-only)$"`},
		{"a template that there is not", `policy: p: hardening.#LegacyPort & {targets: all: true}`, `a.cue:3:22: policy.p: refers to the field #LegacyPort, which does not exist (did you mean "#LegacyPorts"?)`},
		{"a line smuggled into an option", `policy: p: hardening.#SSHDaemon & {targets: all: true, #options: AllowUsers: "ann\nPermitRootLogin yes"}`,
			`a.cue:3:78: policy.p.files."/etc/ssh/sshd_config.d/00-dunlin.conf".content: "ann\nPermitRootLogin yes" does not fit =~"^[A-Za-z0-9._@*?-]+( [A-Za-z0-9._@*?-]+)*$"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := files("-- a.cue --\nimport \"dunlin.dev/policies/hardening\"\n" + tt.text + "\n")
			if got := strings.TrimSuffix(lines(faultsOf(t, thisBuild(), m)), "\n"); got != tt.want {
				t.Errorf("faults:\n%s\nwant:\n%s", got, tt.want)
			}
			if _, err := plainCUE(t, m); err == nil {
				t.Error("plain CUE accepts it")
			}
		})
	}
}

// Vendored copies that are this version's go without a word. Another one is a warning: plain CUE would see other values.
func TestVendoredLibrary(t *testing.T) {
	m := files("-- a.cue --\nimport \"dunlin.dev/policies/hardening\"\npolicy: ports: hardening.policy.\"legacy-ports\"\n")
	vendored, err := Vendored(ShippedPackages())
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range vendored {
		m[name] = &fstest.MapFile{Data: b}
	}
	_, faults, err := thisBuild()(t.Context(), m)
	if err != nil || len(faults) > 0 {
		t.Errorf("%v:\n%s", err, lines(faults))
	}
	m["cue.mod/pkg/dunlin.dev/policies/hardening/ports.cue"] = &fstest.MapFile{Data: []byte("package hardening\n\npolicy: \"legacy-ports\": blockedPorts: []\n")}
	delete(m, "cue.mod/pkg/dunlin.dev/policies/patching/baselines.cue")
	m["cue.mod/pkg/dunlin.dev/policies/gone/x.cue"] = &fstest.MapFile{Data: []byte("package gone\n")}
	repo, faults, err := thisBuild()(t.Context(), m)
	const want = "cue.mod/pkg/dunlin.dev/policies/hardening: warning: differs from this version's shipped library, which is the one that counts; renew it with: dunlin schema vendor\n"
	if got := lines(faults); err != nil || got != want || len(repo.Policies["ports"].BlockedPorts) < 20 {
		t.Errorf("%v, %d ports blocked:\n%swant:\n%s", err, len(repo.Policies["ports"].BlockedPorts), got, want)
	}
}
