package host

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// simulatedCodename names a Debian release that a simulated host can be, by its version.
func simulatedCodename(version string) (string, error) {
	switch version {
	case "12":
		return "bookworm", nil
	case "13":
		return "trixie", nil
	}
	return "", fmt.Errorf("simulated host: no Debian release %q", version)
}

// Root is the folder in which the host's files are.
func (s Simulated) Root() string { return filepath.Join(s.Dir, "files") }

// Reboot does to the host what switching it off and on does: rules of the packet filter are gone, kernel parameters are
// those of boot, units run as they are enabled, and nothing asks for a reboot any more. Nobody may use the host meanwhile.
func (s Simulated) Reboot() error {
	for _, name := range []string{filepath.Join(s.Dir, portsFile), s.file(rebootFlag), s.file(rebootPackages)} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	kernel, err := s.sysctls()
	if err != nil {
		return err
	}
	maps.Copy(kernel.Kernel, kernel.Boot)
	if err := s.saveState(sysctlsFile, kernel); err != nil {
		return err
	}
	units, err := s.loadUnits()
	if err != nil {
		return err
	}
	for name, u := range units {
		if u.Active, u.Sub = "inactive", "dead"; u.File == "enabled" {
			u.Active, u.Sub = "active", "running"
		}
		units[name] = u
	}
	return s.saveState(servicesFile, units)
}

// Files of a Debian host.
const (
	osReleaseFile  = "/etc/os-release"
	sourcesFile    = "/etc/apt/sources.list"
	listsFolder    = "/var/lib/apt/lists"
	statusFile     = "/var/lib/dpkg/status"
	rebootFlag     = "/run/reboot-required"
	rebootPackages = "/run/reboot-required.pkgs"
)

func (s Simulated) file(name string) string { return filepath.Join(s.Root(), filepath.FromSlash(name)) }

// put replaces a file of the host as a whole, with its folders.
func (s Simulated) put(name, text string) error {
	at := s.file(name)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(at+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(at+".new", at)
}

// saveArchive keeps the packages, and where the host is a Debian also as dpkg does.
func (s Simulated) saveArchive(a SimulatedArchive) error {
	if a.Debian != "" {
		if err := s.put(statusFile, a.status()); err != nil {
			return err
		}
	}
	return s.saveState(packagesFile, a)
}

// saveLists writes what the archives offer as apt has it after an update.
func (s Simulated) saveLists(a SimulatedArchive) error {
	code, err := simulatedCodename(a.Debian)
	if err != nil {
		return err
	}
	files := map[string]string{
		osReleaseFile: fmt.Sprintf("PRETTY_NAME=\"Debian GNU/Linux %s (%s)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"%s\"\nVERSION_CODENAME=%s\nID=debian\n", a.Debian, code, a.Debian, code),
		sourcesFile:   fmt.Sprintf("deb http://deb.debian.org/debian %s main\ndeb http://security.debian.org/debian-security %s-security main\n", code, code),
	}
	for _, archive := range []struct {
		base, suite, label string
		security           bool
	}{
		{"deb.debian.org_debian_dists_" + code, code, "Debian", false},
		{"security.debian.org_debian-security_dists_" + code + "-security", code + "-security", "Debian-Security", true},
	} {
		files[listsFolder+"/"+archive.base+"_InRelease"] = fmt.Sprintf("Origin: Debian\nLabel: %s\nSuite: %s\nCodename: %s\nArchitectures: all %s\nComponents: main\n", archive.label, archive.suite, archive.suite, a.Arch)
		files[listsFolder+"/"+archive.base+"_main_binary-"+a.Arch+"_Packages"] = a.list(archive.security)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := s.put(name, files[name]); err != nil {
			return err
		}
	}
	return nil
}

// status is dpkg's file of that name.
func (a SimulatedArchive) status() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(a.Installed)) {
		p := a.Installed[name]
		want := "install"
		if p.Held {
			want = "hold"
		}
		v, _ := a.find(name, p.Version)
		v.Version = p.Version
		fmt.Fprintf(&b, "Package: %s\nStatus: %s ok %s\n", name, want, p.State)
		a.stanza(&b, v)
	}
	return b.String()
}

// list is one archive's list of packages.
func (a SimulatedArchive) list(security bool) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(a.Versions)) {
		for _, v := range a.Versions[name] {
			if v.Security == security {
				fmt.Fprintf(&b, "Package: %s\n", name)
				a.stanza(&b, v)
			}
		}
	}
	return b.String()
}

// stanza is what dpkg and the archives say alike of a version.
func (a SimulatedArchive) stanza(b *strings.Builder, v SimulatedVersion) {
	word := func(s, or string) string {
		if s == "" {
			return or
		}
		return s
	}
	fmt.Fprintf(b, "Version: %s\nArchitecture: %s\nPriority: %s\nSection: %s\n", v.Version, word(v.Arch, a.Arch), word(v.Priority, "optional"), word(v.Section, "misc"))
	var depends []string
	for _, name := range slices.Sorted(maps.Keys(v.Depends)) {
		if least := v.Depends[name]; least != "" {
			name += " (>= " + least + ")"
		}
		depends = append(depends, name)
	}
	if len(depends) > 0 {
		fmt.Fprintf(b, "Depends: %s\n", strings.Join(depends, ", "))
	}
	b.WriteByte('\n')
}

// askForReboot notes packages that are not in force before a reboot, as their maintainers' scripts do.
func (s Simulated) askForReboot(names []string) error {
	if len(names) == 0 {
		return nil
	}
	had, err := os.ReadFile(s.file(rebootPackages))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.put(rebootPackages, string(had)+strings.Join(names, "\n")+"\n"); err != nil {
		return err
	}
	return s.put(rebootFlag, "*** System restart required ***\n")
}
