package agenttest

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What a build is called is a version that dpkg takes, and a later build is a later version.
func TestVersionsOfPackages(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	before := "0"
	for _, tt := range []struct{ described, commits, want string }{
		{"0.0.0-dev", "", "0.0.0~dev"}, // without Git
		{"f315d36", "7", "0.0.0+7.gf315d36"},
		{"1234567-dirty", "12", "0.0.0+12.g1234567+dirty"},
		{"v0.9.0-rc1", "20", "0.9.0~rc1"},
		{"v0.9.0-rc1-4-g0123abc", "24", "0.9.0~rc1+4.g0123abc"},
		{"v0.9.0-rc2", "25", "0.9.0~rc2"},
		{"v0.9.0", "26", "0.9.0"},
		{"v0.9.0-dirty", "26", "0.9.0+dirty"},
		{"v0.10.0-beta_1", "30", "0.10.0~beta.1"},
		{"v0.10.0", "31", "0.10.0"},
		{"v0.10.0-9-gabc1234", "40", "0.10.0+9.gabc1234"},
		{"v0.10.0-12-gabc1234-dirty", "43", "0.10.0+12.gabc1234+dirty"},
		{"v0.10.1", "44", "0.10.1"},
	} {
		out, err := exec.Command(filepath.Join(root, ".packaging", "version"), tt.described, tt.commits).CombinedOutput()
		got := strings.TrimSpace(string(out))
		if err != nil || got != tt.want {
			t.Errorf("version %s %s = %q, %v; want %s", tt.described, tt.commits, got, err, tt.want)
			continue
		}
		if out, err := exec.Command("dpkg", "--validate-version", got).CombinedOutput(); err != nil {
			t.Errorf("dpkg: %s", out)
		}
		if err := exec.Command("dpkg", "--compare-versions", before, "lt", got).Run(); err != nil {
			t.Errorf("%s does not come after %s", got, before)
		}
		before = got
	}
}
