package agenttest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Debs makes the Debian package of the program once for each version and gives
// the folder that holds them, dunlin_VERSION_amd64.deb, with an index that apt
// takes as an archive of its own. Beside them is tb-after, which needs the last
// version configured first and then takes four seconds.
func Debs(t testing.TB, versions ...string) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, v := range versions {
		cmd := exec.Command("make", "deb", "VERSION=v"+v, "BIN="+filepath.Join(dir, "bin"))
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("make deb: %v\n%s", err, tail(out, 4000))
		}
	}
	debs := filepath.Join(dir, "debs")
	if err := os.Mkdir(debs, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, deb := range glob(filepath.Join(dir, "bin", "*.deb")) {
		if err := os.Rename(deb, filepath.Join(debs, filepath.Base(deb))); err != nil {
			t.Fatal(err)
		}
	}
	after := filepath.Join(dir, "tb-after")
	for path, text := range map[string]string{
		"control":  "Package: tb-after\nVersion: 1\nArchitecture: all\nMaintainer: testbed <root@localhost>\nDepends: dunlin (>= " + versions[len(versions)-1] + ")\nDescription: comes after dunlin\n",
		"postinst": "#!/bin/sh\nsleep 4\n",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Join(after, "DEBIAN"), 0o755), os.WriteFile(filepath.Join(after, "DEBIAN", path), []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("dpkg-deb", "--build", after, debs).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v\n%s", err, out)
	}
	cmd := exec.Command("apt-ftparchive", "packages", ".")
	cmd.Dir = debs
	index, err := cmd.Output()
	if err == nil {
		err = os.WriteFile(filepath.Join(debs, "Packages"), index, 0o644)
	}
	if err != nil {
		t.Fatalf("apt-ftparchive: %v (run `make setup`)", err)
	}
	return debs
}
