package inventory

import (
	"os"
	"path/filepath"
	"testing"
)

// stampRoot is a host with the files that a stamp looks at.
func stampRoot(t *testing.T) string {
	root := t.TempDir()
	for name, text := range map[string]string{
		"var/lib/dpkg/status":                 "Package: a\nStatus: install ok installed\n",
		"etc/apt/sources.list":                "deb http://archive.example.org/debian bookworm main\n",
		"etc/apt/preferences.d/pin":           "",
		"etc/os-release":                      "ID=debian\n",
		"var/lib/apt/lists/archive_InRelease": "Origin: Debian\n",
	} {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestAStampChangesWithEachThingThatFactsAreMadeOf(t *testing.T) {
	root := stampRoot(t)
	stamp := func() string {
		t.Helper()
		s, err := Stamp(root)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := stamp()
	if again := stamp(); again != first {
		t.Fatal("two stamps of an unchanged host differ")
	}
	for _, name := range []string{
		"var/lib/dpkg/status", "etc/apt/sources.list", "etc/apt/preferences.d/pin", "etc/apt/preferences.d/new", "etc/os-release",
		"var/lib/apt/lists/archive_InRelease", "run/reboot-required",
	} {
		p := filepath.Join(root, name)
		_ = os.MkdirAll(filepath.Dir(p), 0o755)
		b, _ := os.ReadFile(p)
		if err := os.WriteFile(p, append(b, "# more\n"...), 0o644); err != nil {
			t.Fatal(err)
		}
		next := stamp()
		if next == first {
			t.Errorf("the stamp is the same after %s changed", name)
		}
		first = next
	}
}

func TestThisMachineHasAStamp(t *testing.T) {
	if _, err := Stamp("/"); err != nil {
		t.Error(err)
	}
}

func BenchmarkStamp(b *testing.B) {
	for b.Loop() {
		if _, err := Stamp("/"); err != nil {
			b.Fatal(err)
		}
	}
}
