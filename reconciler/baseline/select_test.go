package baseline

import (
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

// SSM §7.7: the group's baseline for the system, else the repository's default, else the shipped one.
func TestSelect(t *testing.T) {
	of := func(system schema.OperatingSystem, isDefault bool) schema.Baseline {
		return schema.Baseline{OperatingSystem: system, Default: isDefault}
	}
	repo := schema.Repo{
		Baselines: map[string]schema.Baseline{"deb": of(schema.Debian, false), "ubu": of(schema.Ubuntu, false), "deb-default": of(schema.Debian, true)},
		Groups: map[string]schema.Group{
			"both": {Baselines: []string{"ubu", "deb"}}, "ubuntus": {Baselines: []string{"ubu"}}, "none": {},
			"shipped": {Baselines: []string{"AWS-Deb"}}, "broken": {Baselines: []string{"gone"}},
		},
		Shipped: map[string]schema.Baseline{"AWS-Deb": of(schema.Debian, true), "AWS-Ubu": of(schema.Ubuntu, true)},
	}
	for _, tt := range []struct {
		name   string
		system schema.OperatingSystem
		groups []string
		want   string
		reason string
	}{
		{"the group's baseline for the system", schema.Debian, []string{"both"}, "deb", "group both"},
		{"each system has its own", schema.Ubuntu, []string{"both"}, "ubu", "group both"},
		{"a group without one for the system leaves it to the default", schema.Debian, []string{"ubuntus"}, "deb-default", "default baseline of DEBIAN in this repository"},
		{"a group without baselines too", schema.Debian, []string{"none"}, "deb-default", "in this repository"},
		{"no group", schema.Debian, nil, "deb-default", "in this repository"},
		{"without a default in the repository the shipped one", schema.Ubuntu, nil, "AWS-Ubu", "as shipped"},
		{"a group may name a shipped one", schema.Debian, []string{"shipped"}, "AWS-Deb", "group shipped"},
		{"two groups: the default", schema.Debian, []string{"ubuntus", "both"}, "deb-default", "in this repository"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Select(repo, tt.system, tt.groups)
			if err != nil || c.Name != tt.want || c.Baseline.OperatingSystem != tt.system || !strings.Contains(c.Reason, tt.reason) {
				t.Errorf("Select(%s, %q) = %+v, %v, want %s because of %s", tt.system, tt.groups, c, err, tt.want, tt.reason)
			}
			if conflict := len(tt.groups) > 1; conflict != (c.Conflict != "") {
				t.Errorf("conflict = %q with groups %q", c.Conflict, tt.groups)
			}
		})
	}
	for _, tt := range []struct {
		name, want string
		system     schema.OperatingSystem
		groups     []string
	}{
		{"a system that this build cannot judge", `no baseline for operating system "WINDOWS": this build judges DEBIAN, UBUNTU`, "WINDOWS", nil},
		{"a group that names nothing", `group "broken": no baseline "gone"; there are deb, deb-default, ubu, AWS-Deb, AWS-Ubu`, schema.Debian, []string{"broken"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if c, err := Select(repo, tt.system, tt.groups); err == nil || err.Error() != tt.want {
				t.Errorf("Select = %+v, %v, want error %q", c, err, tt.want)
			}
		})
	}
}
